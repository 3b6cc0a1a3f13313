"""Compare what two models answer to the same feeds."""

import numpy as np

from qlab.numerics.metrics import sqnr_db


def check_outputs(reference, answers, reference_name, name):
    """Raise ValueError unless both models answered alike: names of the outputs, shapes and kinds for each feed.

    `reference` and `answers` hold, for every feed, {output name: array}.
    """
    first, other = set(reference[0]), set(answers[0])
    if first != other:
        raise ValueError(
            f"model {name!r} has the outputs {sorted(other)}, {reference_name!r} has {sorted(first)}: "
            "a comparison needs the same names in both"
        )
    for index, (expected, got) in enumerate(zip(reference, answers, strict=True)):
        for output in expected:
            if _description(expected[output]) != _description(got[output]):
                raise ValueError(
                    f"output {output!r} for feed {index} is {_description(got[output])} from {name!r}, "
                    f"{_description(expected[output])} from {reference_name!r}: a comparison needs the same from both"
                )


def output_quality(reference, answers):
    """SQNR in dB of every float output over all feeds together, {output name: dB}, and remarks on what has none.

    Infinite or NaN values that both have alike (masked positions) are left out; where they differ, the SQNR is NaN.
    """
    quality, remarks = {}, []
    for output, first in reference[0].items():
        if not isinstance(first, np.ndarray):
            continue
        expected = np.concatenate([answer[output].ravel() for answer in reference])
        got = np.concatenate([answer[output].ravel() for answer in answers])
        if not _is_float(first):
            if not np.array_equal(expected, got):
                remarks.append(f"{output} differs")
        elif expected.size:
            quality[output], remark = _float_quality(expected, got)
            remarks += [f"{output} {remark}"] if remark else []
    return quality, remarks


def _float_quality(expected, got):
    expected, got = expected.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(expected)
    if not np.array_equal(expected[~finite], got[~finite], equal_nan=True) or not np.isfinite(got[finite]).all():
        return float("nan"), "has NaN or infinity where the reference has not, or the reverse"
    if not finite.any():
        return float("nan"), "has no finite value"
    return float(sqnr_db(expected[finite], got[finite])), ""


def _is_float(array):
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


def _description(value):
    """What must agree. Float precisions may differ: a float16 model against its float32 one is a fair comparison."""
    if not isinstance(value, np.ndarray):
        return type(value).__name__
    return f"{'float' if _is_float(value) else value.dtype.name} {list(value.shape)}"
