"""Notebook 02: a symmetric scale, ReLU without a zero point, and a scheme for each of eight real tensors."""

import numpy as np
import onnx
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info
from onnx.reference import ReferenceEvaluator
from onnxruntime.quantization.quant_utils import compute_scale_zp

from qlab import choose_qparams, fake_quantize, sqnr_db
from qlab.course.brief import brief, kind, number
from qlab.course.exercises import exercise, schemes
from qlab.course.expect import call, expect_array, expect_close, expect_equal, expect_number, expect_shape, tensors
from qlab.course.quizzes import question, right, wrong
from qlab.course.verdict import Almost


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
    yield "the ReLU of the digits' network", schemes.eight_tensors()["ReLU"]


def _judge_relu(x, codes, scale, sqnr, where):
    """Codes and SQNR of one ReLU output; the reference codes are ONNX's QuantizeLinear to uint8. -> SQNR in dB"""
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
    reference = _quantize_linear(x, np.float32(scale))
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


def _quantize_linear(x, scale):
    """uint8 codes by onnx.reference: QuantizeLinear without a zero point."""
    node = make_node("QuantizeLinear", ["x", "scale"], ["codes"])
    floats, codes = onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8
    inputs = [make_tensor_value_info("x", floats, x.shape), make_tensor_value_info("scale", floats, [])]
    graph = make_graph([node], "relu", inputs, [make_tensor_value_info("codes", codes, x.shape)])
    model = make_model(graph, opset_imports=[make_opsetid("", 21)])
    return ReferenceEvaluator(model).run(None, {"x": x, "scale": np.array(scale)})[0]


@exercise("02.3", "a scheme for each of eight tensors")
def _(answer):
    chosen = schemes.read(answer)
    errors = {name: schemes.energies()[name][scheme] for name, scheme in chosen.items()}
    zero_points = {name: schemes.zero_point(name, scheme) for name, scheme in chosen.items()}
    for name, scheme in chosen.items():
        if scheme == "symmetric uint8" and zero_points[name]:
            raise Almost(
                f"{name!r} has negative values, so with symmetric uint8 its zero point is the mid-code "
                f"{zero_points[name]}: symmetric int8 in other clothes, at the price of a zero point"
            )
    paid = [name for name, zero_point in zero_points.items() if zero_point]
    if len(paid) > schemes.ZERO_POINTS:
        least = max(paid, key=lambda name: errors[name])
        raise Almost(
            f"{len(paid)} tensors have a zero point other than 0 ({', '.join(paid)}), {schemes.ZERO_POINTS} are "
            f"allowed. The least is gained on {least!r}: error {errors[least]:.2f} instead of 1"
        )
    total, target = sum(errors.values()), schemes.target()
    if total > target:
        raise Almost(f"total error {total:.2f}, to beat: {target:.2f}. {schemes.advice(chosen, errors, paid)}")
    return f"total error {total:.2f} instead of {len(errors)}, with {len(paid)} zero points: {', '.join(paid)}"


QUIZ = (
    question(
        "Behind a ReLU, uint8 gains 6 dB over symmetric int8. Where do they come from?",
        wrong("from the zero point", "the zero point of a ReLU's output is 0, the same as symmetric int8 has"),
        right("from the sign", "all 256 codes lie where values are, instead of 128: steps half as wide, 6.02 dB"),
        wrong("from smaller values", "both scales follow the largest value, so its size cancels"),
    ),
    question(
        "A tensor lies between -1 and 3. What does an asymmetric quantizer gain, about?",
        wrong("nothing", "a mirrored range is -3 to 3: a third of its codes lie below -1, where no value is"),
        right("3.5 dB", "the covered range shrinks from 6 to 4, and 20 log10(6 / 4) is 3.5 dB"),
        wrong("6 dB", "a step halves only where the range ends at 0, and that is 6 dB"),
    ),
    question(
        "int8 codes with scale largest / 128: who pays?",
        right(
            "a largest value that is positive",
            "it would need the code 128 and gets 127: a whole step of error; all others err by at most half of one",
        ),
        wrong("every value, by up to a whole step", "the scale is even a little finer; only what rounds to 128 clips"),
        wrong("a largest value that is negative", "-128 is a code: the negative end is exact"),
    ),
    question(
        "Log-probabilities run from -33 to 0. Which 8-bit codes suit them?",
        wrong("uint8 with zero point 0", "then every code stands for a number from 0 up, and all values clip to 0"),
        wrong("symmetric int8", "it works, but no value ever takes a code from 1 to 127: one bit is wasted"),
        right("uint8 with zero point 255", "the code 255 stands for 0, and the 255 others for what lies below"),
    ),
    question(
        "Why do most tools keep weights symmetric and let activations be asymmetric?",
        wrong("weights have no zero point in ONNX", "they may have one: ONNX allows it, and QUInt8 weights use it"),
        right(
            "a weight's zero point gains little and costs work in every run",
            "weights lie around 0, and their zero point multiplies sums of activations, known at run time only",
        ),
        wrong("activations are never symmetric", "a LayerNorm's output nearly is: its gain is as small as a weight's"),
    ),
)
