"""How near two models' outputs are: SQNR pooled over feeds, its worst part, and which positions count at all."""

import math
import re

import numpy as np

from qlab.graph.operators import COUNTING
from qlab.numerics.pooled import PooledError, is_float
from qlab.runtime import answers

RANDOM_WEIGHTS = "random weights: latency only"
SAME = 1e-4  # of an output's largest number
OVER_THE_EDGE = 0.25  # of the positions that are no padding: more than these no convolution changes
NAMED = re.compile("mask|len", re.I)
LOST_DB, HIDDEN_DB = 15.0, 20.0  # a part that keeps less than this, and so much less than the whole, is remarked on
OTHER_NUMBER, DIFFERS = "other number of", "differs"


def answer(session, feed, says=None):
    """{output: array} that the session gives for a feed; `says` begins a ValueError's text if it does not run."""
    try:
        return answers(session, feed)
    except Exception as error:  # onnxruntime's exceptions share no base class
        if says is None:
            raise
        raise ValueError(f"{says}: {error}") from error


def has_random_weights(session):
    """Whether the model of `session` is marked as filled with noise: fit for timing, its answers without meaning."""
    return session.get_modelmeta().custom_metadata_map.get("qlab.weights") == "random"


def counted_places(run, feeds, reference):
    """For each feed, {output: booleans that fit it, False where the feed marks padding}; nothing where it marks none.

    run        gives {output: array} of the reference for a feed; `reference` is what it gave for each of `feeds`

    Padding stands at the end, or the beginning, of each row. It is marked by an input of two values, one of them
    zero, [batch, time], such as attention_mask, or by lengths, integers [batch]. Neither name nor type tells
    (token_type_ids are zeros and ones too, and some masks have ones where they hide), so it is tried, on the first feed
    that could have some:

    1. Other content in the padding changes what is answered there, and not elsewhere, but for positions next to it,
       since a convolution looks over the edge.
    2. With nothing marked, the answers elsewhere change; where they cannot, as in a causal model, the name decides.
    An output's time may be shorter or longer than the input's, and its axis is the second or the last.
    """
    places = [{} for _ in feeds]
    for name in feeds[0]:
        for marking in _markings(name, feeds):
            at = next((at for at, mark in enumerate(marking) if mark is not None), None)
            if at is None:
                continue
            axes = _padded_axes(run, feeds[at], reference[at], name, *marking[at])
            for mark, here, given in zip(marking, places, reference, strict=True):
                if mark is not None:
                    shown = {
                        output: _shown(mark[0], given[output].shape, axis)
                        for output, axis in axes.items()
                        if len(given[output]) == len(mark[0])
                    }
                    here |= {output: here.get(output, True) & one for output, one in shown.items()}
            if axes:
                break
    return places


def _markings(name, feeds):
    """Ways in which the input could mark padding: for each feed (booleans [batch, time], the input marking none)."""
    for hiding in (0, 1):
        yield [_mask(feed.get(name), hiding) for feed in feeds]
    for axis in (1, -1):
        yield [_lengths(name, feed, axis) for feed in feeds]


def _mask(array, hiding):
    if not _is_array(array) or array.dtype.kind not in "iubf" or array.ndim < 2:
        return None
    if array.size != len(array) * max(array.shape[1:]):
        return None
    values = np.unique(array)
    if values.size != 2 or not (values == 0).any():
        return None
    hidden = (array == values[hiding]).reshape(len(array), -1)
    return (hidden, np.full_like(array, values[1 - hiding])) if _at_an_edge(hidden) else None


def _lengths(name, feed, axis):
    array = feed.get(name)
    if not _is_array(array) or array.dtype.kind not in "iu" or array.ndim > 1 or not array.size or array.min() < 1:
        return None
    for other in filter(_is_array, feed.values()):
        if other.ndim > 1 and other.shape[0] == array.size and other.shape[axis] >= array.max() > 1:
            time = other.shape[axis]
            hidden = np.arange(time) >= array.reshape(-1, 1)
            return (hidden, np.full_like(array, time)) if hidden.any() else None
    return None


def _is_array(value):
    return isinstance(value, np.ndarray)


def _at_an_edge(hidden):
    """Whether each row hides none, its end, or its beginning, and shows something."""
    steps = np.diff(hidden.astype(int), axis=1)
    return bool(((steps != 0).sum(axis=1) <= 1).all() and not hidden.all(axis=1).any())


def _padded_axes(run, feed, reference, name, hidden, unmarked):
    """{output: the axis of its time} of the outputs that have padding; {} where it is none."""
    try:
        refilled, unmasked = run(_refilled(feed, name, hidden)), run(feed | {name: unmarked})
    except ValueError:
        return {}
    axes, is_used = {}, bool(NAMED.search(name))
    padded = hidden.any(axis=1)
    arrays = {output: x for output, x in reference.items() if _is_array(x) and x.ndim > 1 and x.dtype.kind in "fiub"}
    for output, expected in arrays.items():
        changed, moved = (_differs(expected, other[output]) for other in (refilled, unmasked))
        axis = _time_axis(expected, changed, hidden)
        if axis is None:
            is_used |= bool(moved.any())
        else:
            axes[output] = axis
            is_used |= _shares(moved[padded], hidden[padded], axis)[0] > 0.5
    times = {arrays[output].shape[:2] for output, axis in axes.items() if axis == 1}
    axes |= {output: 1 for output, x in arrays.items() if x.shape[:2] in times}  # labels may not change
    return axes if is_used else {}


def _time_axis(expected, changed, hidden):
    """The axis of an output along which what is hidden changed it, and only there or next to it; or None."""
    for axis in dict.fromkeys((1, expected.ndim - 1)):
        if len(expected) == len(hidden) and expected.shape[axis] > 1:
            others = tuple(at for at in range(1, expected.ndim) if at != axis)
            silent = (expected == 0).all(axis=others, keepdims=True) & bool(others)  # a mask may end as a factor
            elsewhere, inside = _shares(changed, hidden, axis)[0], _shares(changed | silent, hidden, axis)[1]
            padded = changed.any(axis=others) | ~_shown(hidden, expected.shape, axis).reshape(len(hidden), -1)
            if elsewhere < OVER_THE_EDGE and inside > 0.5 and _at_an_edge(padded):
                return axis
    return None


def _shares(changed, hidden, axis):
    """The shares of the positions that changed, of those shown and of those hidden."""
    shown = _shown(hidden, changed.shape, axis).reshape(len(changed), -1)
    other = tuple(at for at in range(changed.ndim) if at not in (0, axis))
    changed = changed.any(axis=other)
    return [changed[places].mean() if places.any() else 0.0 for places in (shown, ~shown)]


def _refilled(feed, name, hidden):
    """The feed with content that counts, over again, in the padding of every other input that has this time."""
    filled = dict(feed)
    for other, array in feed.items():
        axis = next(
            (at for at in (1, -1) if _is_array(array) and array.ndim > 1 and array.shape[at] == hidden.shape[1]), None
        )
        if other == name or axis is None or len(array) != len(hidden) or np.isin(array, (0, 1)).all():
            continue
        filled[other] = array.copy()
        for row, marked in zip(np.moveaxis(filled[other], axis, 1), hidden, strict=True):
            shown, places = np.flatnonzero(~marked), np.flatnonzero(marked)
            row[places] = row[np.resize(shown, places.size)]
    return filled


def _differs(expected, other):
    """Where they differ; everywhere if the shapes do."""
    if expected.shape != other.shape:
        return np.ones(expected.shape, bool)
    finite = np.where(np.isfinite(expected), np.abs(expected), 0)
    return ~np.isclose(expected, other, rtol=0, atol=SAME * finite.max(initial=0), equal_nan=True)


def _shown(hidden, shape, axis):
    """Booleans that fit an output of this shape, whose time is `axis`: False where it comes from hidden positions."""
    places = np.arange(shape[axis]) * hidden.shape[1] // shape[axis]
    return ~hidden[:, places].reshape([size if at in (0, axis) else 1 for at, size in enumerate(shape)])


def counted_by(network):
    """{output: operator} of the outputs of the Network whose length depends on values, and what decides it."""
    found = {}
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
