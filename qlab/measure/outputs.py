"""Compare what two models answer to the same feeds, where it counts."""

import math

import numpy as np

from qlab.measure.network import Network
from qlab.measure.pooled import PooledError, is_float

LOST_DB, HIDDEN_DB = 15.0, 20.0  # a part that keeps less than this, and so much less than the whole, is remarked on

# How many results these give depends on the values that they read.
COUNTING = ("NonMaxSuppression", "NonZero", "Unique", "Compress", "BeamSearch", "GreedySearch", "Sampling", "Loop")
OTHER_NUMBER, DIFFERS = "other number of", "differs"


def counted_by(model):
    """{output: operator} of the outputs of the ModelProto whose length depends on values, and what decides it."""
    network, found = Network(model), {}
    for output in network.outputs:
        before = {node.op_type for node in network.layer(output, network.producers)}
        if deciders := [one for one in COUNTING if one in before]:
            found[output] = deciders[0]
    return found


def check_outputs(reference, answers, reference_name, name, counted=()):
    """Raise ValueError unless both models answered alike: names of the outputs, shapes and kinds for each feed.

    `reference` and `answers` hold, for every feed, {output name: array}. Sizes of the outputs `counted` may differ.
    """
    first, other = set(reference[0]), set(answers[0])
    if first != other:
        raise ValueError(
            f"model {name!r} has the outputs {sorted(other)}, {reference_name!r} has {sorted(first)}: "
            "a comparison needs the same names in both"
        )
    for index, (expected, got) in enumerate(zip(reference, answers, strict=True)):
        for output in expected:
            pair = (expected[output], got[output])
            if len(set(map(_description, pair))) > 1 and not (output in counted and len(set(map(_kind, pair))) == 1):
                raise ValueError(
                    f"output {output!r} for feed {index} is {_description(got[output])} from {name!r}, "
                    f"{_description(expected[output])} from {reference_name!r}: a comparison needs the same from both"
                )


def output_quality(reference, answers, counted=None, places=None):
    """SQNR in dB of every float output over all feeds together, {output name: dB}; remarks; the worst Part, or None.

    places  for each feed, {output: the positions that count, an array of booleans that fits}; padding does not

    Remarks tell of what has no SQNR.
    Infinite or NaN values that both have alike (masked positions) are left out; where they differ, the SQNR is NaN.
    So it is where the numbers of results differ; `counted`, {output: operator}, says what decides them.
    """
    quality, remarks, parts = {}, [], []
    for output, first in reference[0].items():
        if not isinstance(first, np.ndarray):
            continue
        pairs = [(expected[output], got[output]) for expected, got in zip(reference, answers, strict=True)]
        counting = [np.asarray(one.get(output, True)) for one in places or [{}] * len(pairs)]
        if any(expected.shape != got.shape for expected, got in pairs):
            quality |= {output: math.nan} if is_float(first) else {}
            remarks.append(_miscounted(output, pairs, (counted or {}).get(output)))
            continue
        if not is_float(first):
            if any(((one != other) & here).any() for (one, other), here in zip(pairs, counting, strict=True)):
                remarks.append(f"{output} {DIFFERS}")
            continue
        error = PooledError()
        for pair, here in zip(pairs, counting, strict=True):
            error.add(*pair, counted=here)
        if error.size:
            quality[output] = error.db
            remarks += [f"{output} {error.remark}"] if error.remark else []
            part = error.worst_part(output)
            parts += [part] if part else []
    return quality, remarks, min(parts, key=lambda part: part.sqnr_db, default=None)


def is_hidden(part, quality):
    """Whether a Part is lost though its output keeps much: SQNR of the whole is that of its large numbers."""
    return part is not None and part.sqnr_db < min(LOST_DB, quality[part.tensor] - HIDDEN_DB)


def _miscounted(output, pairs, decider):
    expected, got = next(pair for pair in pairs if pair[0].shape != pair[1].shape)
    what = "detections" if decider == "NonMaxSuppression" else "results"
    why = f"; {decider} decides it" if decider else ""
    return f"{output}: {OTHER_NUMBER} {what}, {list(got.shape)} instead of {list(expected.shape)}{why}"


def _description(value):
    """What must agree. Float precisions may differ: a float16 model against its float32 one is a fair comparison."""
    return f"{_kind(value)[0]} {list(value.shape)}" if isinstance(value, np.ndarray) else _kind(value)[0]


def _kind(value):
    if not isinstance(value, np.ndarray):
        return type(value).__name__, 0
    return "float" if is_float(value) else value.dtype.name, value.ndim
