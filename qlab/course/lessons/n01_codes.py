"""Exercise 01.2: numbers that tell mistakes apart, and wrong codes by name."""

import numpy as np

from qlab.course.brief import number
from qlab.course.expect import call, expect_dtype, expect_equal, expect_shape
from qlab.course.lessons.n01_tensors import heavy_tailed_weight
from qlab.course.verdict import Almost
from qlab.machine.runtime import run_operator

# Of these, products with 1 / scale miss ties that the quotient hits: in float32 of the first, in float64 of the second.
AWKWARD_SCALES = 7 / 16, 49 / 64


def cases():
    """(name, x, scale, zero_point) of every question."""
    weight = heavy_tailed_weight()[::16, ::4].ravel()
    halves = np.arange(-4.5, 5, 1, dtype=np.float32)
    many = np.arange(-100.5, 154, dtype=np.float32)
    return [
        ("a real weight", _away_from_ties(weight, 0.001), 0.001, 60),
        ("x / scale halfway between whole numbers", halves * 0.25, 0.25, 7),
        ("x / scale halfway, even zero_point", halves * 0.5, 0.5, 128),
        *((f"x / scale exactly halfway, scale {s:g}", np.float32(s) * many, s, 101) for s in AWKWARD_SCALES),
        ("numbers beyond the levels", np.float32([-9, -2.1, -2, 0, 1.5, 4.4, 99, 4000]), 0.025, 80),
        ("huge numbers", np.float32([-1e30, -1e12, 0.0, 1e12, 1e30]), 0.5, 3),
        ("a matrix", _away_from_ties(weight[:48], 0.01).reshape(-1, 2), 0.01, 0),
    ]


def _away_from_ties(x, scale):
    """An even number of values, none of them near a tie."""
    kept = x[np.abs((x / np.float32(scale)) % 1 - 0.5) > 1e-3]
    return kept[: kept.size // 2 * 2]


def judge(answer, x, scale, zero_point, where):
    given = []

    def watched(x, scale, zero_point):
        given.append(x)
        return answer(x, scale, zero_point)

    try:
        seen = call(watched if callable(answer) else answer, x, scale, zero_point, name="to_codes")
    except Almost as error:
        advice = ". x may have any shape: NumPy's own functions take every entry" if x.ndim > 1 else ""
        raise Almost(f"{error}{advice}") from error
    if not np.array_equal(given[0], x):
        raise Almost(
            "to_codes changes the array that it was given, and whoever called it has lost their numbers: x / scale "
            "makes a new array, x /= scale and out=x do not"
        )
    seen = expect_shape(seen, x.shape, f"the codes {where}")
    expected = run_operator("QuantizeLinear", x, scale, zero_point)
    ideal = np.rint(x.astype(np.float64) / scale) + int(zero_point)
    at_the_ends = (ideal <= 0) | (ideal >= 255)
    differs = seen.astype(np.float64) != expected
    if differs.any() and not differs[~at_the_ends].any():
        said = _wrong_ends(seen, ideal)
        raise Almost(
            f"the codes {where}: {number(x[differs][0])} should become {expected[differs][0]}, seen "
            f"{number(seen[differs][0])}: {said}"
        )
    wrong = (said for said, codes in _wrong_codes(x, scale, zero_point) if np.array_equal(codes, seen))
    said = next(wrong, _other_kind(seen, ideal, scale, zero_point)) if differs.any() else ""
    expect_equal(seen, expected, f"the codes {where}", hint=said)
    expect_dtype(seen, np.uint8, f"the codes {where}")


def _other_kind(seen, ideal, scale, zero_point):
    """What can be said of codes that no slip in the formula gives."""
    if np.allclose(seen, (np.clip(ideal, 0, 255) - zero_point) * scale, atol=scale / 10):
        return "these are real numbers again, not the codes"
    if np.array_equal(seen, np.clip(ideal, seen.min(), seen.max())):
        return f"uint8 codes run from 0 to 255, yours from {number(seen.min())} to {number(seen.max())}"
    return "divide, round, add zero_point, clip"


def _wrong_ends(seen, ideal):
    """What is wrong with the codes of numbers beyond the levels, all others being right."""
    below, above = np.unique(seen[ideal <= 0]), np.unique(seen[ideal >= 255])
    limited = below.size <= 1 and above.size <= 1 and (below < 128).all() and (above >= 128).all()
    if limited:
        first, last = (number(end[0]) if end.size else right for end, right in ((below, "0"), (above, "255")))
        return f"uint8 codes run from 0 to 255, yours from {first} to {last}"
    return (
        "clip to 0 ... 255 while the numbers are still float; an integer cast of what does not fit wraps around, "
        "and clipping after it comes too late"
    )


def _wrong_codes(x, scale, zero_point):
    """(what was done wrong, the codes that it gives) for every mistake that the check knows by name."""
    z, steps = int(zero_point), x.astype(np.float64) / scale
    away = np.sign(steps) * np.floor(np.abs(steps) + 0.5)
    toward = np.sign(steps) * np.ceil(np.abs(steps) - 0.5)
    tie = (
        "where x / scale is halfway between two whole numbers it goes to the even one (np.rint), then comes zero_point"
    )
    inverse = "x * (1 / scale) is not x / scale: 1 / scale was rounded itself, and misses ties that the quotient hits"
    own = "scale and zero_point are given, and the least x has no part in it: x / scale, rounded, + zero_point"
    early = "clipped too early: a negative x has a code below zero_point. Clip the codes, once zero_point is added"
    unclipped = [  # those of ties first: where all are ties, floor looks like rounding down
        ("zero_point was added before rounding: an odd one turns the ties around", np.rint(steps + z)),
        (f"{tie}, not always up", np.floor(steps + 0.5) + z),
        (f"{tie}, not always away from 0", away + z),
        (f"{tie}, not always down", np.ceil(steps - 0.5) + z),
        (f"{tie}, not always toward 0", toward + z),
        (f"{tie}; int(... + 0.5) also cuts off negative numbers on the wrong side", np.trunc(steps + 0.5) + z),
        ("floor takes the level below; round to the nearest: np.rint", np.floor(steps) + z),
        ("casting to an integer cuts off the fraction; round first: np.rint", np.trunc(steps) + z),
        ("this rounds up; round to the nearest: np.rint", np.ceil(steps) + z),
        (inverse, np.rint(x * (np.float32(1) / scale)) + z),
        (inverse, np.rint(x.astype(np.float64) * (1 / np.float64(scale))) + z),
        ("zero_point is missing", np.rint(steps)),
        ("zero_point is subtracted: that is the way back", np.rint(steps) - z),
        ("zero_point is a code, no real number: add it after dividing", np.rint((x.astype(np.float64) - z) / scale)),
        ("zero_point is a code, no real number: add it after dividing", np.rint((x.astype(np.float64) + z) / scale)),
        (
            "this multiplies by scale, which is the way back, or rounds x before it is divided",
            np.rint(x.astype(np.float64) * scale) + z,
        ),
        ("the sign of x is lost", np.rint(np.abs(steps)) + z),
        (early, np.rint(np.clip(x.astype(np.float64), 0, 255) / scale) + z),
        (early, np.clip(np.rint(steps), 0, 255) + z),
        (own, np.rint((x.astype(np.float64) - x.min()) / scale)),
        (own, np.rint((x.astype(np.float64) - x.min()) / scale) + z),
        (own, np.rint((x.astype(np.float64) - x.min()) / np.ptp(x.astype(np.float64)) * 255)),
    ]
    yield (
        "every code is 255: 0 - zero_point wraps around in uint8, or zero_point was added to x itself",
        np.full(x.shape, 255),
    )
    for said, codes in unclipped:
        yield said, np.clip(codes, 0, 255)
    yield early, (np.clip(np.rint(steps), 0, 255) + z) % 256
    yield early, np.clip(np.rint(steps), 0, 255) + z
    short = "x / scale needs more than the 8 bits of int8, before zero_point is added and after: stay in float"
    yield short, np.clip((np.rint(np.clip(steps, -1e9, 1e9)) + 128) % 256 - 128 + z, 0, 255)
    yield short, np.clip((np.clip(np.rint(steps), -1e9, 1e9) + z + 128) % 256 - 128, 0, 255)
    half = np.rint(x.astype(np.float16) / np.float16(scale)).astype(np.float64) + z
    yield "float16 has no digits to spare for codes up to 255: divide in float32", np.clip(half, 0, 255)
    signed = np.clip(np.rint(steps) + z, -128, 127)
    yield "int8 codes run from -128 to 127; those of uint8 from 0 to 255", signed
    yield "int8 codes run from -128 to 127; those of uint8 from 0 to 255", signed % 256
