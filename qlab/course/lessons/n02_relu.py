"""Exercise 02.2: a ReLU's output in 8 bits without a zero point, and its SQNR."""

import numpy as np

from qlab import sqnr_db
from qlab.course.brief import brief, number
from qlab.course.expect import expect_array, expect_close, expect_equal, expect_number, expect_shape
from qlab.course.lessons.n02_symmetric import guarded, has_few_digits
from qlab.course.lessons.n02_tensors import eight_tensors
from qlab.course.verdict import Almost
from qlab.machine.runtime import run_operator


def relu_outputs():
    random = np.random.default_rng(22)
    yield "a random ReLU", np.maximum(random.normal(size=(5, 40)), 0).astype(np.float32)
    yield "a ReLU of large numbers", np.maximum(random.standard_t(3, size=200) * 1e3, 0).astype(np.float32)
    yield "two numbers", np.float32([2.5, 0.7])
    yield "one large number and 4,000 small ones", np.r_[np.float32(100), np.full(4000, 0.15, np.float32)]
    for size in (1e-10, 1e-14):
        yield f"a ReLU of numbers around {size:g}", np.maximum(random.normal(size=90) * size, 0).astype(np.float32)
    yield "a ReLU that never fires", np.zeros((2, 3), np.float32)
    yield "the ReLU of the digits' network", eight_tensors()["ReLU"]


def judge(x, codes, scale, sqnr, where):
    """Codes, scale and SQNR of one ReLU output. -> SQNR in dB"""
    if np.ndim(codes) == 0 < x.ndim and (np.ndim(scale) or np.ndim(sqnr)):
        raise Almost(f"{where}: the first value is {brief(codes)}: return codes, scale, SQNR in this order")
    scale = expect_number(scale, f"scale {where}")
    if isinstance(sqnr, float | np.floating) and scale > 5 > 2 * sqnr and np.isclose(sqnr, x.max() / 255, rtol=1e-4):
        raise Almost(f"{where}: scale and SQNR have changed places: return codes, scale, SQNR in this order")
    if x.any() and scale == 0:
        raise Almost(f"scale {where}: 0. It was rounded away: neither float16 nor few digits hold {x.max() / 255:.1g}")
    if not (np.isfinite(scale) and np.float32(scale) > 0):
        raise Almost(f"scale {where}: expected a positive number, seen {number(scale)}: where all is 0, take 1")
    stored = expect_array(expect_shape(codes, x.shape, f"codes {where}"), f"codes {where}")
    codes = stored.astype(np.float64)
    _judge_codes(x, codes, scale, where)
    if stored.dtype.itemsize != 1:
        raise Almost(f"codes {where} are {stored.dtype}: expected 8-bit codes, so end with .astype(np.uint8)")
    if x.any():
        _judge_loss(x, codes, scale, where)
    return _judge_sqnr(x, codes * scale, scale, sqnr, where) if x.size > 1 and x.any() else None


def _judge_codes(x, codes, scale, where):
    """The 8-bit codes of QuantizeLinear for this scale, without a zero point."""
    first, last, reach = codes.min(), codes.max(), float(x.max()) / scale
    if x.any() and np.isclose(scale, 255 / x.max(), rtol=1e-5) and not np.isclose(scale, x.max() / 255, rtol=1e-5):
        raise Almost(f"scale {where}: seen {number(scale)}: this is one over the scale, 255 / largest")
    if (codes != np.rint(codes)).any() and np.abs(codes - x).max() <= scale:
        raise Almost(f"codes {where}: these are the decoded numbers, scale * codes: return the codes themselves")
    if (codes != np.rint(codes)).any():
        raise Almost(f"codes {where}: expected whole numbers, seen {brief(codes)}: round with np.rint")
    if first < -128 or last > 255:
        raise Almost(f"codes {where} run from {first:g} to {last:g}: 8 bits hold 0 to 255, or -128 to 127")
    if first < 0 < last and reach > 200:
        raise Almost(
            f"codes {where} run from {first:g} to {last:g}. If the zero point is -128: decoding is to be "
            "scale * codes, with no zero point. If int8 wrapped around: store the codes as uint8"
        )
    if first < 0:
        raise Almost(f"codes {where} begin at {first:g}, but no value is negative: 0.0 needs the code 0")
    quotient = x / np.float64(scale)
    reference = run_operator("QuantizeLinear", x, np.float32(scale)).astype(np.float64)
    tie = np.abs(quotient - np.floor(quotient) - 0.5) < 1e-4  # there the last bit of a float32 decides: either way
    reference = np.where(tie & (np.abs(codes - reference) == 1), codes, reference)
    whole = np.abs(quotient - np.rint(quotient)) < 1e-4  # there float32 may fall on either side of a whole number
    mistakes = {
        "these are rounded down; ONNX rounds to the nearest": np.where(whole, codes, np.floor(quotient)),
        "these are rounded up; ONNX rounds to the nearest": np.where(whole, codes, np.ceil(quotient)),
        "these clip at 127, the last code of int8; uint8 ends at 255": np.minimum(reference, 127),
        "these clip at 254; the last code of uint8 is 255": np.minimum(reference, 254),
        "these wrap around: clip to 0 ... 255 before .astype(np.uint8)": np.rint(quotient) % 256,
        "these begin at 1: 0.0 needs the code 0": np.minimum(reference + 1, 255),
        "the least value was subtracted first, which is a zero point: 0.0 needs the code 0": np.rint(
            (x - x.min()) / np.float64(scale)
        ),
        "a zero point of 128 was added: decoding is to be scale * codes": np.minimum(reference + 128, 255),
    }
    mistakes = {said: wrong for said, wrong in mistakes.items() if not np.array_equal(wrong, reference)}
    shifted = np.rint((x - x.min()) / np.float64(scale))
    if x.min() > 0 and np.isclose(scale, np.ptp(x) / 255, rtol=1e-5) and not np.array_equal(codes, shifted):
        raise Almost(
            f"scale {where}: this is (max - min) / 255: without a zero point the range begins at 0, not at min"
        )
    expect_equal(codes, reference, f"codes {where}", mistakes=mistakes, hint="divide by the scale, np.rint, clip")


def _judge_loss(x, codes, scale, where):
    """No more error than with the scale that gives the largest value the last code; less is welcome."""
    largest, wide = float(x.max()), x.astype(np.float64)
    plain = run_operator("QuantizeLinear", x, np.float32(largest / 255)) * np.float64(np.float32(largest / 255))
    error, allowed = np.linalg.norm(wide - codes * scale), np.linalg.norm(wide - plain)
    if error <= 1.001 * allowed + 1e-6 * np.linalg.norm(wide):
        return
    steps = largest / scale
    named = {
        127: "this is largest / 127, symmetric int8: no value needs a negative code, so half of the codes lie idle",
        127.5: "this is largest / 127.5, symmetric int8: no value needs a negative code, so half of the codes lie idle",
        128: "this is largest / 128, symmetric int8: no value needs a negative code, so half of the codes lie idle",
        255.5: "this is largest / 255.5: the largest value lies half a step beyond the code 255, and errs by that much",
        254: "this is largest / 254: the codes end at 255, so 255 steps lead to the largest value",
        256: "this is largest / 256: the code of the largest value, 256, does not exist in 8 bits",
        1: "this is the largest value itself, not yet divided by the 255 steps that lead to it",
        15: "this is largest / 15, of 4 bits: 8 bits have 255 steps",
    }
    said = next((text for count, text in named.items() if np.isclose(steps, count, rtol=1e-5)), None)
    if np.isclose(scale, 1 / 255, rtol=1e-5):
        said = "this is 1 / 255, right for values up to 1: take the largest of x"
    if said is None and np.isclose(scale, largest / 255, rtol=2e-2, atol=0) and has_few_digits(scale, largest / 255):
        said = "it was rounded, to float16 or to a few digits: keep the digits of float32"
    if said is None and largest < 1e-6:
        said = guarded(scale)
    if said is None and steps < 255:
        said = f"the largest value gets the code {codes.max():g}: the codes above it lie idle"
    said = said or f"{np.mean(wide / scale > 255.5):.1%} of the values lie beyond the code 255 and clip"
    lost = 20 * np.log10(error / allowed) if allowed else np.inf
    more = f"it loses {lost:.2f} dB more than need be" if np.isfinite(lost) else "its error is larger than need be"
    raise Almost(f"scale {where}: seen {number(scale)}, and {more}: {said}")


def _judge_sqnr(x, decoded, scale, sqnr, where):
    """SQNR in dB. -> the measured one"""
    measured, noise = sqnr_db(x, decoded), x - decoded
    ratio = 10 ** (measured / 20)
    codes = np.rint(decoded / scale)
    mistakes = {
        "this is half of it: 20 log10 is for a ratio of norms, 10 log10 for one of squares": measured / 2,
        "this is twice as much: 20 log10 is for a ratio of norms, 10 log10 for one of squares": measured * 2,
        "signal and noise have changed places: the signal stands above the fraction bar": -measured,
        "this is the natural logarithm: np.log10, not np.log": measured * np.log(10),
        "this is the logarithm to base 2: np.log10, not np.log2": measured * np.log2(10),
        "the factor 20 is missing": measured / 20,
        "this is 10 times the natural logarithm: 20 np.log10": measured * np.log(10) / 2,
        "this is the ratio of the norms itself: dB are 20 log10 of it": ratio,
        "this is the ratio of the squares itself: dB are 20 log10 of the ratio of the norms": ratio**2,
        "this is noise over signal, and no logarithm": 1 / ratio,
        "below the bar stands |decoded|; it is the error that counts, |x - decoded|": 20
        * np.log10(np.linalg.norm(x) / np.linalg.norm(decoded)),
        "above the bar stands |decoded|; the signal is what was there before, |x|": 20
        * np.log10(np.linalg.norm(decoded) / np.linalg.norm(noise)),
        "this compares the largest value with the error (PSNR); the signal is |x|, the norm of all": 20
        * np.log10(x.max() / np.sqrt(np.mean(np.square(noise)))),
        "this takes the mean away first (a variance); |x| is the root of the sum of squares": 20
        * np.log10(np.std(x.astype(float)) / np.std(noise)),
        "the signal is a variance, which takes the mean away first; |x| is the root of the sum of squares": 10
        * np.log10(np.var(x.astype(float)) / np.mean(np.square(noise))),
        "below the bar stands |x - codes|: decode the codes first, scale * codes": 20
        * np.log10(np.linalg.norm(x) / np.linalg.norm(x - codes)),
        "this compares the largest value with the largest error; |·| is the norm, over all values": 20
        * np.log10(x.max() / np.abs(noise).max()),
        "this is the noise alone; the signal is missing: |x| / |x - decoded|": 20 * np.log10(np.linalg.norm(noise)),
        "this compares the mean of x with the error; the signal is |x|, the norm of all": 20
        * np.log10(x.mean() / np.sqrt(np.mean(np.square(noise)))),
        "this is the rule of 6.02 dB a bit: measure this tensor's own error": 6.02 * 8,
        "this is the textbook's 6.02 dB a bit and 1.76 for a sine: measure this tensor's own error": 6.02 * 8 + 1.76,
        "this sums absolute values; |x| is the root of the sum of squares": 20
        * np.log10(np.abs(x).sum(dtype=float) / np.abs(noise).sum()),
    }
    if x.ndim == 2:
        mistakes["np.linalg.norm(x, 2) of a matrix is its largest singular value: take the norm of x.ravel()"] = (
            20 * np.log10(np.linalg.norm(x, 2) / np.linalg.norm(noise, 2))
        )
    what = f"SQNR {where}"
    seen = expect_number(sqnr, what)
    if abs(seen - measured) > 0.01 and np.isclose(seen, [round(measured, 1), round(measured)], rtol=1e-6).any():
        raise Almost(f"{what}: seen {number(seen)}, measured {number(measured)}: it was rounded; leave its digits")
    said = next((text for text, wrong in mistakes.items() if np.isclose(seen, wrong, rtol=1e-4, atol=2e-6)), None)
    said = said or "20 * np.log10(|x| / |x - scale * codes|), |·| being np.linalg.norm"
    return float(expect_close(seen, measured, what, atol=0.01, rtol=0, hint=said))
