"""Exercise 01.4: the tensors whose range is sought, the least error there is, and other searches by name."""

from functools import cache, partial

import numpy as np

from qlab.course.brief import brief, kind, number
from qlab.course.expect import call, expect_number
from qlab.course.lessons.n01_tensors import heavy_tailed_weight
from qlab.course.verdict import Almost
from qlab.machine.runtime import run_operator
from qlab.numerics.affine import fake_quantize, qparams_from_range
from qlab.numerics.clipping import mse_range

TOLERANCE_DB = 0.5  # stated in the text; a search over mirrored ranges, -a to a, stays within it


def range_of(answer, name):
    """(low, high) as the answer gives it for one of the samples."""
    seen = call(answer, with_target(name)[0], name="best_range")
    if not isinstance(seen, tuple | list | np.ndarray) or np.ndim(seen) == 0 or len(seen) != 2:
        raise Almost(f"for {name}: expected (low, high), seen {brief(seen)} of type `{kind(seen)}`")
    low, high = (expect_number(end, f"{what} for {name}") for end, what in zip(seen, ("low", "high"), strict=True))
    if not low < high or not np.isfinite([low, high]).all():
        raise Almost(f"for {name}: expected low < high, seen {number(low)} and {number(high)}")
    return low, high


def why_not(name, ranges, lost):
    """What is wrong with a range whose error is too large, as far as it can be seen in the ranges of all samples."""
    (x, _, best), (low, high) = with_target(name), ranges[name]
    shown = f"for {name}: {number(low)} to {number(high)} has {lost:.1f} dB more noise than the best range"
    if _alike(ranges, lambda x: (x.min(), x.max())) or _alike(ranges, lambda x: np.abs(x).max() * np.array([-1, 1])):
        return (
            f"{shown}: that is min-max, which also the least *largest* error asks for. Clipping does lose information, "
            f"but so does rounding: {number(best[0])} to {number(best[1])} loses less in all"
        )
    if said := _one_sided(ranges) or _habit(ranges) or _signs_cancel(ranges) or _other_search(ranges):
        return f"{shown}: {said}"
    if low < 1.05 * x.min() and high > 1.05 * x.max():
        return f"{shown}: it reaches beyond the values, and the levels out there are wasted. Try others, and measure"
    outside = noise_of(x, low, high)[1]
    advice = "in finer steps, and compare the mean of the *squares* of all differences"
    if outside > 0.5:
        return f"{shown}: too narrow, {outside:.0%} of its squared error is clipping. Try wider ones, {advice}"
    return f"{shown}: too wide, {1 - outside:.0%} of its squared error is rounding. Try narrower ones, {advice}"


def copied(ranges):
    """Are these, to the last bit, the ranges of qlab's own search?"""
    return all(ends == tuple(map(float, mse_range(with_target(name)[0], "uint4"))) for name, ends in ranges.items())


def _alike(ranges, find):
    """Is the range of every sample about the one that `find(x)` gives for it?"""
    return all(np.allclose(ends, find(with_target(name)[0]), rtol=0.07) for name, ends in ranges.items())


def _one_sided(ranges):
    """One end that stands still in all samples, in words, or ""."""
    samples = [(with_target(name)[0], ends) for name, ends in ranges.items()]
    if all(low >= 0 or high <= 0 for _, (low, high) in samples):
        return "it leaves out one side of 0, and all values there are clipped"
    still = (
        [np.isclose(low, x.min()) for x, (low, _) in samples],
        [np.isclose(high, x.max()) for x, (_, high) in samples],
    )
    return "one end stays at min-max for every tensor: move both" if any(map(all, still)) else ""


def _habit(ranges):
    """A property that the ranges of all samples share, in words, or ""."""
    measures = {
        "it is the same share of min-max, whatever the tensor. If a search found it: look for the least error, and "
        "count the clipped values too": lambda x, end: end / (x.min() if end < 0 else x.max()),
        "it is the same multiple of the standard deviation, whatever the tensor. Measure each tensor, keep the best": (
            lambda x, end: end / x.std()
        ),
        "it clips the same share of the values, whatever the tensor. Measure each tensor, keep the best": (
            lambda x, end: np.mean((x < end) if end < 0 else (x > end))
        ),
        "it is the same range, whatever the tensor. Measure each tensor, keep the best": lambda x, end: end,
    }
    tried = [(with_target(name)[0], ends) for name, ends in ranges.items()]
    clipping = [(x, ends) for x, ends in tried if not np.allclose(ends, (x.min(), x.max()), rtol=1e-3)]
    for said, measure in measures.items():
        found = np.array([[measure(x, end) for end in ends] for x, ends in (clipping if len(clipping) > 1 else tried)])
        if (np.ptp(found, axis=0) <= 0.04 * np.abs(found).max(axis=0)).all():
            return said
    return ""


def _signs_cancel(ranges):
    """Was a sum of differences made small that nobody had squared? In words, or ""."""
    found, best, least, most = np.transpose(
        [(_mean(name, ends), _mean(name, with_target(name)[2]), *_extreme_means(name)) for name, ends in ranges.items()]
    )
    if (np.abs(found) <= 0.2 * np.abs(best)).all() or (found <= 0.9 * least).all() or (found >= 0.9 * most).all():
        return "errors of both signs cancel in this sum. Square each difference *before* the mean is taken"
    return ""


def _mean(name, ends):
    x = with_target(name)[0]
    return (x - fake_quantize(x, qparams_from_range(*ends, "uint4"))).mean(dtype=np.float64)


@cache
def _extreme_means(name):
    """The least and the greatest mean of the differences that a share of min-max gives."""
    x = with_target(name)[0]
    means = [_mean(name, (share * x.min(), share * x.max())) for share in np.linspace(0.02, 1, 50)]
    return min(means), max(means)


def _other_search(ranges):
    """What was searched for instead of the least squared error of 4 bits, if all ranges show it, or ""."""
    objectives = {
        f"that is the best range for {bits} bits. With 4 bits it is {other}": (f"uint{bits}", _mean_square)
        for bits, other in ((2, "wider"), (3, "wider"), (5, "narrower"), (8, "narrower"))
    }
    objectives |= {
        "that is the least *absolute* error. Squares weigh a large error more, so that clipping costs more": (
            "uint4", lambda difference: np.abs(difference).mean()
        ),
        "that is the least *cube* of the error. It weighs large errors more than squares do": (
            "uint4", lambda difference: (np.abs(difference).astype(np.float64) ** 3).mean()
        ),
        "that is the least *fourth power* of the error. It all but ignores the small errors; squares were asked for": (
            "uint4", lambda difference: (difference.astype(np.float64) ** 4).mean()
        ),
        "that is the *greatest* error: look for the least, or for the greatest SQNR": (
            "uint4", lambda difference: -_mean_square(difference)
        ),
    }  # fmt: skip
    for said, (dtype, objective) in objectives.items():
        for mirrored in (False, True):
            if _alike(ranges, partial(_searched, dtype=dtype, objective=objective, mirrored=mirrored)):
                return said
    return ""


def _mean_square(difference):
    return np.square(difference).mean()


def _searched(x, dtype, objective, mirrored):
    """The range of least `objective(difference)`, over shares of min-max or of a mirrored range."""
    largest = np.abs(x).max()
    low, high = (-largest, largest) if mirrored else (x.min(), x.max())

    def judged(share):
        return objective(x - fake_quantize(x, qparams_from_range(share * low, share * high, dtype)))

    share = min(np.linspace(0.02, 1, 50), key=judged)
    return share * low, share * high


def noise_of(x, low, high):
    """(mean squared error of 4 bits over this range, the clipped values' share of it), by ONNX's own operators."""
    qparams = qparams_from_range(low, high, "uint4")
    codes = run_operator("QuantizeLinear", x, qparams.scale, qparams.zero_point).astype(qparams.zero_point.dtype)
    real = run_operator("DequantizeLinear", codes, qparams.scale, qparams.zero_point)
    squares = np.square(x - real, dtype=np.float64)
    outside = (x < min(low, 0)) | (x > max(high, 0))
    return squares.mean(), squares[outside].sum() / max(squares.sum(), 1e-300)


def _sample(draw):
    """20,000 float32 numbers of a distribution, each with its mirror image, so that both sides are alike."""
    half = draw(np.random.default_rng(11))
    return np.concatenate([half, -half]).astype(np.float32)


SAMPLES = {  # name: a function that makes the tensor; the real one last, since it may be trained anew
    "a uniform sample": lambda: _sample(lambda random: random.uniform(-1, 1, size=10_000)),
    "a normal sample": lambda: _sample(lambda random: random.normal(size=10_000)),
    "a Laplace sample": lambda: _sample(lambda random: random.laplace(size=10_000)),
    "a Student t sample": lambda: _sample(lambda random: random.standard_t(3, size=10_000)),
    "the conformer's conv2d weight": heavy_tailed_weight,
}


@cache
def with_target(name):
    """(the tensor, the least mean squared error of 4 bits that a fine search finds, the range that has it)"""
    x = SAMPLES[name]()
    low, high = mse_range(x, "uint4", steps=60)
    return x, noise_of(x, low, high)[0], (low, high)


def decibels_lost(name, ends):
    """How far the error of this range lies above the least one, for one of the samples."""
    x, target, _ = with_target(name)
    return 10 * np.log10(noise_of(x, *ends)[0] / target)


def decibels_gained(name, ends):
    """How far the error of this range lies below min-max's."""
    x, _, _ = with_target(name)
    return 10 * np.log10(noise_of(x, x.min(), x.max())[0] / noise_of(x, *ends)[0])
