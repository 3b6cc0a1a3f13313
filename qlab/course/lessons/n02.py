"""Notebook 02: a symmetric scale, ReLU without a zero point, and a scheme for each of eight real tensors."""

import itertools
import math
from functools import cache

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization.quant_utils import compute_scale_zp

from qlab import choose_qparams, fake_quantize, models, sqnr_db
from qlab.course.brief import brief, kind, number
from qlab.course.expect import call, expect_array, expect_close, expect_equal, expect_number, expect_shape, tensors
from qlab.course.lessons import exercise
from qlab.course.verdict import Almost
from qlab.machine.runtime import open_session, run_operator

ZERO_POINTS = 3  # how many of the eight may have a zero point other than 0
SCHEMES = {
    "symmetric int8": {"dtype": "int8", "symmetric": True},
    "symmetric uint8": {"dtype": "uint8", "symmetric": True},
    "asymmetric uint8": {"dtype": "uint8", "symmetric": False},
}
SOURCES = {  # name: (model, tensor)
    "conv weight": ("conformer", "encoder.embed.conv.2.weight"),
    "feed-forward weight": ("conformer", "val_81"),
    "filter banks": ("conformer", "speech"),
    "ReLU": ("digits", "relu_8"),
    "SiLU": ("conformer", "silu"),
    "LayerNorm": ("conformer", "layer_norm"),
    "softmax": ("conformer", "softmax"),
    "log-probabilities": ("conformer", "ctc_log_probs"),
}


@exercise("02.1", "a symmetric scale")
def _(answer):
    tried = 0
    for name, x in tensors(2):
        result = call(answer, x, name="symmetric_qparams")
        if not isinstance(result, tuple | list) or len(result) != 2:
            raise Almost(f"expected two values, scale and zero_point, seen {brief(result)} of type `{kind(result)}`")
        scale, zero_point = (
            expect_number(value, what) for value, what in zip(result, ("scale", "zero_point"), strict=True)
        )
        _judge_symmetric(x, scale, zero_point, f"for {name}")
        tried += 1
    return f"{tried} tensors, zeros among them: each end has a code, and onnxruntime has the same scale"


def _judge_symmetric(x, scale, zero_point, where):
    """Against onnxruntime's own choice for symmetric int8, whose codes are -127 to 127."""
    low, high = np.array(x.min()), np.array(x.max())
    _, expected = compute_scale_zp(low, high, np.int8(-127), np.int8(127), symmetric=True)
    if scale == 0 and zero_point != 0:
        raise Almost(f"{where}: seen (0, {number(zero_point)}): return the scale first, then the zero point")
    if scale == 0 or not np.isfinite(scale):
        raise Almost(f"scale {where}: seen {number(scale)}, and 0 / 0 has no code: where all is 0, use scale 1")
    if zero_point != 0:
        raise Almost(f"zero_point {where}: expected 0, seen {number(zero_point)}: symmetric codes mirror at the code 0")
    largest = float(np.abs(x).max())
    ends = {  # checked in this order: on some tensors two of them give one number
        "this is largest / 128, and the code of the positive end, 128, does not exist: it errs by a whole step": 128,
        "this is largest / 127.5: the outer values lie half a step beyond the last code; here both ends shall have a "
        "code": 127.5,
        "this is largest / 255: 255 codes on one side of 0; int8 has 127 there": 255,
    }
    mistakes = {said: largest / codes for said, codes in ends.items()}
    mistakes |= {
        "this looks at the positive end only: take the largest |x|": high / 127,
        "this looks at the negative end only: take the largest |x|": -low / 127,
        "this is the asymmetric scale, the whole range over 255: the mirrored range runs from -largest to largest": (
            high - low
        )
        / 255,
    }
    expect_close(scale, expected, f"scale {where}", rtol=1e-6, mistakes=mistakes)


@exercise("02.2", "ReLU without a zero point")
def _(answer):
    for name, x in _relu_outputs():
        result = call(answer, x, name="quantize_relu")
        if not isinstance(result, tuple | list) or len(result) != 3:
            raise Almost(f"expected three values, codes, scale and SQNR, seen {brief(result)}")
        seen = _judge_relu(x, *result, f"for {name}")
    mirrored = sqnr_db(x, fake_quantize(x, choose_qparams(x, "int8", symmetric=True)))
    return f"on the real ReLU {seen:.2f} dB without any zero point; symmetric int8 has {mirrored:.2f} dB"


def _relu_outputs():
    random = np.random.default_rng(22)
    yield "a random ReLU", np.maximum(random.normal(size=(5, 40)), 0).astype(np.float32)
    yield "a ReLU of large numbers", np.maximum(random.standard_t(3, size=200) * 1e3, 0).astype(np.float32)
    yield "a single number", np.float32([2.5])
    yield "a ReLU that never fires", np.zeros((2, 3), np.float32)
    yield "the ReLU of the digits' network", eight_tensors()["ReLU"]


def _judge_relu(x, codes, scale, sqnr, where):
    """Codes and SQNR of one ReLU output; the reference codes are those of QuantizeLinear to uint8. -> SQNR in dB"""
    scale = expect_number(scale, f"scale {where}")
    if not (np.isfinite(scale) and scale > 0):
        raise Almost(f"scale {where}: expected a positive number, seen {number(scale)}: where all is 0, use scale 1")
    stored = expect_array(expect_shape(codes, x.shape, f"codes {where}"), f"codes {where}")
    codes, largest = stored.astype(np.float64), float(x.max())
    _judge_codes(codes, scale, largest, where)
    if stored.dtype.itemsize != 1:
        raise Almost(f"codes {where} are {stored.dtype}: expected 8-bit codes, so end with .astype(np.uint8)")
    expected = largest / 255 or scale
    beyond = "this is largest / 256: the code of the largest value, 256, does not exist in 8 bits"
    halved = "this is largest / 127, symmetric int8: no value needs a negative code, so half of the codes lie idle"
    mistakes = {halved: largest / 127, halved.replace("127", "128"): largest / 128, beyond: largest / 256}
    expect_close(scale, expected, f"scale {where}", rtol=1e-6, mistakes=mistakes)
    reference = run_operator("QuantizeLinear", x, np.float32(scale))
    quotient = x / np.float64(scale)
    tie = np.abs(quotient - np.floor(quotient) - 0.5) < 1e-4  # there the last bit of a float32 decides: either way
    reference = np.where(tie & (np.abs(codes - reference) == 1), codes, reference)
    floored = {"these are rounded down; ONNX rounds to the nearest": np.floor(x / np.float32(scale))}
    expect_equal(codes, reference, f"codes {where}", mistakes=floored, hint="divide by the scale, then np.rint")
    return _judge_sqnr(x, codes * scale, sqnr, where) if x.size > 1 and largest else None


def _judge_sqnr(x, decoded, sqnr, where):
    """SQNR in dB. -> the measured one"""
    measured = sqnr_db(x, decoded)
    mistakes = {
        "this is half of it: 20 log10 is for a ratio of norms, 10 log10 for one of squares": measured / 2,
        "this is twice as much: 20 log10 is for a ratio of norms, 10 log10 for one of squares": measured * 2,
        "signal and noise have changed places: the signal stands above the fraction bar": -measured,
    }
    return float(expect_close(expect_number(sqnr, "SQNR"), measured, f"SQNR {where}", atol=0.01, mistakes=mistakes))


def _judge_codes(codes, scale, largest, where):
    """8-bit whole numbers that `scale * codes` decodes."""
    if (codes != np.rint(codes)).any():
        raise Almost(f"codes {where}: expected whole numbers, seen {brief(codes)}")
    if codes.min() < -128 or codes.max() > 255:
        raise Almost(f"codes {where} run from {codes.min():g} to {codes.max():g}: 8 bits hold 0 to 255, or -128 to 127")
    if codes.min() < 0 <= largest and codes.max() > 0 and largest / scale > 200:
        raise Almost(
            f"codes {where} run from {codes.min():g} to {codes.max():g}. If the zero point is -128: decoding is to be "
            "scale * codes, with no zero point. If int8 wrapped around: store the codes as uint8"
        )
    if codes.min() < 0:
        raise Almost(f"codes {where} begin at {codes.min():g}, but no value is negative: 0.0 needs the code 0")


@exercise("02.3", "a scheme for each of eight tensors")
def _(answer):
    chosen = _read(answer)
    errors = {name: energies()[name][scheme] for name, scheme in chosen.items()}
    zero_points = {name: zero_point_of(name, scheme) for name, scheme in chosen.items()}
    for name, scheme in chosen.items():
        if scheme == "symmetric uint8" and zero_points[name]:
            raise Almost(
                f"{name!r} has negative values, so with symmetric uint8 its zero point is the mid-code "
                f"{zero_points[name]}: symmetric int8 in other clothes, at the price of a zero point"
            )
    paid = [name for name, zero_point in zero_points.items() if zero_point]
    if len(paid) > ZERO_POINTS:
        least = max(paid, key=lambda name: errors[name])
        raise Almost(
            f"{len(paid)} tensors have a zero point other than 0 ({', '.join(paid)}), {ZERO_POINTS} are "
            f"allowed. The least is gained on {least!r}: error {errors[least]:.2f} instead of 1"
        )
    total = sum(errors.values())
    if total > target():
        raise Almost(f"total error {total:.2f}, to beat: {target():.2f}. {_advice(chosen, errors, paid)}")
    return f"total error {total:.2f} instead of {len(errors)}, with {len(paid)} zero points: {', '.join(paid)}"


@cache
def eight_tensors():
    """{name: float32 array}: the tensors of notebook 02, for its sentence and its 64 digits."""
    feeds = {"conformer": models.feed(models.utterances("test")[0].samples)}
    feeds["digits"] = {"images": models.digit_split()[2][:64]}
    found = {}
    for model, feed in feeds.items():
        names = [tensor for owner, tensor in SOURCES.values() if owner == model]
        found |= {(model, tensor): array for tensor, array in _tensors(model, feed, names).items()}
    return {name: found[source] for name, source in SOURCES.items()}


def _tensors(name, feed, wanted):
    """Inputs, weights and activations of a model by their names in the graph."""
    model = onnx.load(models.path(name))
    weights = {entry.name: entry for entry in model.graph.initializer if entry.name in wanted}
    computed = [output for node in model.graph.node for output in node.output if output in wanted]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=output) for output in computed)
    arrays = open_session(model.SerializeToString()).run(computed, feed)
    found = dict(zip(computed, arrays, strict=True))
    found |= {weight: numpy_helper.to_array(entry) for weight, entry in weights.items()}
    return found | {name: array for name, array in feed.items() if name in wanted}


def zero_point_of(name, scheme):
    """The zero point that a scheme gives one of the eight."""
    return int(choose_qparams(eight_tensors()[name], **SCHEMES[scheme]).zero_point)


@cache
def energies():
    """{tensor: {scheme: error}}: the energy of the error as a part of what symmetric int8 makes."""
    return {name: relative_errors(x) for name, x in eight_tensors().items()}


def relative_errors(x):
    """{scheme: error}: 1 for symmetric int8, 1/4 for half its steps."""
    sqnr = {name: sqnr_db(x, fake_quantize(x, choose_qparams(x, **scheme))) for name, scheme in SCHEMES.items()}
    return {name: 10 ** ((sqnr["symmetric int8"] - value) / 10) for name, value in sqnr.items()}


@cache
def target():
    """The total error to beat: the least that is possible within the zero points allowed, and 1 % more."""
    free, paid = [], []
    for name, found in energies().items():
        without = min(error for scheme, error in found.items() if zero_point_of(name, scheme) == 0)
        free.append(without)
        paid.append(min(without, *found.values()))
    gains = sorted((before - after for before, after in zip(free, paid, strict=True)), reverse=True)
    return math.ceil(101 * (sum(free) - sum(itertools.islice(gains, ZERO_POINTS)))) / 100


def _read(answer):
    """An answer to exercise 02.3 as {tensor: scheme}; raises Almost if it is not one scheme for each of the eight."""
    if not isinstance(answer, dict):
        raise Almost(f"expected a dictionary {{tensor: scheme}}, seen {brief(answer)} of type `{kind(answer)}`")
    if set(answer) != set(SOURCES):
        missing = [name for name in SOURCES if name not in answer]
        unknown = [brief(name) for name in answer if name not in SOURCES]
        raise Almost(f"expected the eight tensors; missing: {missing}, unknown: {unknown}")
    for name, scheme in answer.items():
        if not isinstance(scheme, str) or scheme not in SCHEMES:
            raise Almost(f"{name!r}: expected one of {', '.join(map(repr, SCHEMES))}, seen {brief(scheme)}")
    return answer


def _advice(chosen, errors, paid):
    """Where most is lost against what that tensor could have, and what to look at: what costs nothing first."""
    best = {name: min(errors.values()) for name, errors in energies().items()}
    lost = {name: errors[name] - best[name] for name in chosen}
    free = [name for name in chosen if lost[name] > 0.1 and zero_point_of(name, "symmetric uint8") == 0]
    name = max(free or chosen, key=lost.get)
    said = f"Look at {name!r}: {errors[name]:.2f} with {chosen[name]}, {best[name]:.2f} would be possible"
    if free:
        return f"{said}. It has no negative value, so half of int8's codes lie idle"
    if paid and (least := max(paid, key=errors.get)) != name and len(paid) == ZERO_POINTS:
        return f"{said} with a zero point. The one spent on {least!r} gains less: {errors[least]:.2f} instead of 1"
    return f"{said} with a zero point, and you have spent {len(paid)} of {ZERO_POINTS}"
