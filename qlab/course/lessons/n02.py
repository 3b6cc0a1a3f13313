"""Notebook 02: a symmetric scale, ReLU without a zero point, schemes for tensors, dynamic quantization by the card.

Its pictures come first, then what it and its checks use.
"""

import tempfile
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.quant_utils import compute_scale_zp
from onnxruntime.quantization.shape_inference import quant_pre_process

from qlab import choose_qparams, fake_quantize, machine, models, palette, quantize, sqnr_db
from qlab.course.expect import call, expect_array, expect_close, expect_equal, expect_number, expect_shape, tensors
from qlab.course.lessons import exercise
from qlab.course.lessons.common import operator_session
from qlab.course.plots.schematic import Schematic
from qlab.course.show import Almost, brief, kind, number
from qlab.numerics.saturation import can_saturate
from qlab.palette import INK, styled
from qlab.runtime import interleave, open_session, run_operator


@styled
def ranges(tensors):
    """The range of each tensor, in units of its largest absolute value."""
    figure, axes = palette.figure(height=3.6)
    for row, (name, x) in enumerate(tensors.items()):
        low, high = min(x.min(), 0) / np.abs(x).max(), max(x.max(), 0) / np.abs(x).max()
        color = palette.WEIGHTS if "weight" in name else palette.ACTIVATIONS
        axes.barh(row, high - low, left=low, height=0.62, color=color)
        first, last = (round(float(end), 2) + 0 for end in (x.min(), x.max()))  # + 0 makes 0 of -0
        axes.text(1.1, row, f"{first:g} to {last:g}", va="center", fontsize=9)
    axes.grid(visible=False, axis="y")
    axes.axvline(0, color=INK, linewidth=1.5)
    axes.set_yticks(range(len(tensors)), list(tensors))
    axes.set(ylim=(len(tensors) - 0.5, -0.5), xlim=(-1.05, 1.75), xticks=[-1, -0.5, 0, 0.5, 1])
    axes.set_xlabel("range / largest absolute value (weights blue, activations orange)")
    axes.set_title("Some ranges lie around zero, some begin or end there")
    return figure


def two_grids(low=-1.0, high=4.0, x=1.3):
    """One range, one value, four bits: the symmetric and the asymmetric grid."""
    drawn = Schematic(
        10,
        4.5,
        title="Symmetric levels also lie where no value is",
        alt=f"A range from {low:g} to {high:g}. Symmetric int4 lays 15 levels from {-high:g} to {high:g}, some of them "
        "below the range; asymmetric uint4 lays 16 finer levels over the range alone.",
    )
    symmetric = np.arange(-7, 8) * high / 7
    scale = (high - low) / 15
    zero_point = round(-low / scale)
    asymmetric = scale * (np.arange(16) - zero_point)
    at = drawn.levels(0.7, 9.3, 3.1, symmetric, low=-high, high=high, labels=range(-7, 8))
    drawn.levels(at(asymmetric[0]), at(asymmetric[-1]), 1.05, asymmetric, labels=range(16))
    drawn.text(0.2, 4.2, f"symmetric int4: scale {high:g} / 7, zero point 0", kind="integer", align="left", bold=True)
    said = f"asymmetric uint4: scale ({high:g} - {low:g}) / 15, zero point {zero_point}".replace("- -", "+ ")
    drawn.text(0.2, 0.3, said, kind="integer", align="left", bold=True)
    drawn.bracket(at(low), at(high), 3.4, f"the range of the values, {low:g} to {high:g}")
    for y in (2.78, 0.73):
        drawn.text(0.05, y, "codes", align="left", size=9)
    drawn.axes.plot([at(0), at(0)], [2.55, 1.3], color=INK, linewidth=1, linestyle=":")
    drawn.text(at(0) - 0.3, 1.9, "0.0", size=9)
    idle = symmetric[symmetric < low]
    drawn.bracket(at(idle[0]), at(idle[-1]), 2.6, f"{idle.size} of 15 levels: no value here", kind="error", up=False)
    drawn.text(at(x), 2.0, f"x = {x:g}", kind="activations", bold=True)
    for y, levels in ((2.65, symmetric), (1.23, asymmetric)):
        nearest = levels[np.abs(levels - x).argmin()]
        drawn.arrow((at(x), 2.17 if y > 2 else 1.83), (at(nearest), y), kind="activations")
        beside = 2.4 if y > 2 else 1.5
        drawn.text(at(x) + 0.25, beside, f"decoded as {nearest:.2f}", kind="activations", align="left", size=9)
    return drawn.figure


def four_scales():
    """The ends of -a ... a under four conventions, with 4 bits."""
    drawn = Schematic(
        10,
        5.9,
        title="Four scales for symmetric int4, and what becomes of -a and +a",
        alt="Levels of symmetric int4 between -a and a. With a/7 both ends are levels; with a/7.5 both err by half a "
        "step; with a/8 -a is a level and +a errs by a whole step; with the signed extreme / -8 the extreme is a level "
        "and the other end errs by a whole step.",
    )
    at = lambda value: 5.75 + 3.1 * value
    rows = (
        ("a / 7", 7, -7, "8 bits: a / 127"),
        ("a / 7.5", 7.5, -8, "8 bits: a / 127.5"),
        ("a / 8", 8, -8, "8 bits: a / 128"),
        ("extreme / -8", 8, -8, "blocks: MatMulNBits"),
    )
    for row, (name, divisor, first, where) in enumerate(rows):
        y = 4.9 - 1.32 * row
        codes = np.arange(first, 8)
        levels = codes / (-divisor if row == 3 else divisor)
        drawn.levels(at(min(levels)), at(max(levels)), y, levels, labels=codes)
        drawn.text(0.15, y + 0.3, name, align="left", bold=True)
        drawn.text(0.15, y, f"{codes.size} levels", align="left", size=9)
        drawn.text(0.15, y - 0.27, where, align="left", size=9)
        for end in (-1, 1):
            drawn.axes.plot([at(end)] * 2, [y - 0.14, y + 0.45], color=INK, linewidth=0.8, linestyle=":")
            nearest = levels[np.abs(levels - end).argmin()]
            error = abs(end - nearest) * divisor
            if error:
                drawn.arrow((at(end), y + 0.42), (at(nearest), y + 0.16), kind="error")
            said = f"{'+' if end > 0 else '-'}a: " + (f"{error:g} step off" if error else "exact")
            drawn.text(at(end), y + 0.58, said, kind="error" if error else None, size=9)
    drawn.text(0.15, 0.2, "extreme: the value of largest size, with its sign; here it is +a", align="left", size=9)
    return drawn.figure


@styled
def gains(points):
    """{name: (kind, position of zero, dB gained)}: every tensor, and the formula as a line."""
    figure, axes = palette.figure(height=4.6)
    line = np.linspace(0, 1, 100)
    formula = 20 * np.log10(2 / (1 + line) * 127.5 / 127)
    axes.plot(line, formula, color=INK, linewidth=1.2, label="the formula")
    for what in ("activations", "weights"):
        across, up = zip(*(point[1:] for point in points.values() if point[0] == what), strict=True)
        size = 3 if what == "weights" else 6  # so that neither hides the other
        axes.plot(
            across,
            up,
            "o",
            color=palette.COLOURS[what],
            alpha=0.7,
            markersize=size,
            label=f"{len(up)} {what}",
            zorder=3,
        )
    silus = sum(name.startswith("Mul silu") for name in points)
    named = {
        "ReLU, sigmoid, softmax": ("Relu relu_8", (0.1, 7.3)),
        f"the first of {silus} SiLUs": ("Mul silu of", (0.24, 6.2)),
        "cosines of positions": ("Cos cos", (0.72, -2.6)),
    }
    for said, (begins, place) in named.items():
        _, across, up = next(point for name, point in points.items() if name.startswith(begins))
        axes.annotate(
            said, (across, up), place, color=INK, va="center",
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.8, "shrinkB": 4},
        )  # fmt: skip
    axes.set(ylim=(-3.9, 8), ylabel="dB gained by asymmetric uint8")
    axes.set_xlabel("shorter side of the range / longer side (0: one-sided, 1: zero in the middle)")
    axes.legend(loc="lower left")
    axes.set_title("Where zero lies in the range decides nearly everything")
    return figure


@styled
def codes(x, ways):
    """{name: QParams}: how often each code occurs, and how many never do."""
    figure, axes = palette.figure(len(ways), 1, height=3.6, sharex=True, sharey=True)
    for axis, (name, qparams) in zip(axes, ways.items(), strict=True):
        taken, counts = np.unique(quantize(x, qparams).astype(int), return_counts=True)
        axis.bar(taken, 100 * counts / x.size, width=1, color=palette.INTEGER)
        axis.axvspan(qparams.quant_min, qparams.quant_max, color=palette.INTEGER, alpha=0.12, linewidth=0)
        idle = qparams.quant_max - qparams.quant_min + 1 - taken.size
        axis.set(yscale="log", ylabel="% of the\nnumbers (log)", title=f"{name}: {idle} of 256 codes idle")
    axes[-1].set_xlabel("code (shaded: all that the type has)")
    return figure


def dynamic_product():
    """What quantize_dynamic makes of one MatMul."""
    drawn = Schematic(
        10,
        3.7,
        title="One MatMul after quantize_dynamic: the range of x is found while the model runs",
        alt="x goes through DynamicQuantizeLinear, which finds its range and gives uint8 codes, scale and zero point; "
        "MatMulInteger multiplies the codes by codes of the weight into int32; Cast makes floats of them, and Mul "
        "multiplies by both scales: float32.",
    )
    drawn.text(0.35, 1.9, "x", kind="activations", bold=True)
    first = drawn.box(2.35, 1.9, "DynamicQuantizeLinear\nlow, high -> codes", kind="activations", width=2.6, height=0.9)
    product = drawn.box(5.6, 1.9, "MatMulInteger", kind="integer", width=1.7)
    last = drawn.box(8.0, 1.9, "Cast, Mul", width=1.3)
    weight = drawn.box(5.6, 3.25, "codes of the weight,\nmade beforehand", kind="weights", width=2.6, height=0.8)
    drawn.arrow((0.5, 1.9), first, kind="activations")
    drawn.arrow(first, product, "uint8", kind="integer")
    drawn.arrow(weight, product, "int8 or uint8", kind="integer")
    drawn.arrow(product, last, "int32", kind="integer")
    drawn.arrow(last, (9.75, 1.9), "float32", kind="fp32")
    scales = drawn.box(8.0, 0.5, "scale of x times\nscale of the weight", width=2.0, height=0.8)
    drawn.axes.plot([2.35, 2.35], [1.43, 0.5], color=INK, linewidth=1.4)
    drawn.arrow((2.35, 0.5), scales, "scale of x, new for every x")
    drawn.arrow(scales, last)
    return drawn.figure


SOURCES = {  # name: (model, tensor)
    "convolution weight": ("conformer", "encoder.embed.conv.2.weight"),
    "feed-forward weight": ("conformer", "val_81"),
    "filter banks": ("conformer", "speech"),
    "ReLU": ("digits", "relu_8"),
    "SiLU": ("conformer", "silu"),
    "LayerNorm": ("conformer", "layer_norm"),
    "softmax": ("conformer", "softmax"),
    "log-probabilities": ("conformer", "ctc_log_probs"),
}
MOVES = {"Transpose", "Reshape", "Slice", "Split", "Concat", "Unsqueeze", "Squeeze", "Pad", "Where", "Cast"}


@cache
def eight_tensors():
    """{name: float32 array}: two weights, an input, and what the two networks compute for a sentence and 64 digits."""
    found = {(model, name): array for model in ("conformer", "digits") for name, _, array in _everything(model)}
    return {name: found[source] for name, source in SOURCES.items()}


def many_tensors():
    """{name: (kind, array)}: every weight of both networks, and what they compute, of 1,000 numbers or more.

    Without what only moves or copies numbers, and without constants.
    """
    found = {}
    for model in ("conformer", "digits"):
        for name, made_by, array in _everything(model):
            if made_by not in MOVES and array.size >= 1000 and np.ptp(array) > 0 and made_by != "input":
                found[f"{made_by} {name} of the {model}"] = "weights" if made_by == "weight" else "activations", array
    return found


def matrices():
    """The weights of the conformer's matrix products: [inputs, outputs] float32 arrays."""
    return [array for _, made_by, array in _everything("conformer") if made_by == "weight" and _is_matrix(array)]


def product_times(zero_points, rounds=300):
    """{zero point of an int8 weight: seconds of one MatMulInteger}, the fastest of some rounds, one thread."""
    random = np.random.default_rng(25)
    codes, weight = random.integers(0, 256, (128, 512), "u1"), random.integers(-100, 100, (512, 512), "i1")
    product = partial(operator_session, "MatMulInteger", codes, weight, np.uint8(120))
    sessions = {zero_point: product(np.int8(zero_point)) for zero_point in zero_points}
    actions = {zero_point: partial(session.run, None, {"x": codes}) for zero_point, session in sessions.items()}
    return {zero_point: min(times) for zero_point, times in interleave(actions, rounds).items()}


def _is_matrix(array):
    return array.ndim == 2 and array.size >= 1000


@cache
def _everything(model):
    """[(name, operator or "weight" or "input", float32 array), ...] of a model, for one sentence or 64 digits."""
    if model == "digits":
        feed = {"images": models.digit_split()[2][:64]}
    else:
        feed = models.feed(models.utterances("test")[0].samples)
    network = onnx.load(models.path(model))
    made_by = {output: node.op_type for node in network.graph.node for output in node.output}
    held = [(entry.name, "weight", numpy_helper.to_array(entry)) for entry in network.graph.initializer]
    del network.graph.output[:]
    network.graph.output.extend(onnx.ValueInfoProto(name=output) for output in made_by)
    arrays = open_session(network.SerializeToString()).run(list(made_by), feed)
    held += [(name, "input", array) for name, array in feed.items()]
    held += [(name, made_by[name], array) for name, array in zip(made_by, arrays, strict=True)]
    return [entry for entry in held if entry[2].dtype == np.float32 and entry[2].size > 1]


def symmetric_qparams(x):
    """Scale and zero point of symmetric int8 with the codes -127 to 127."""
    largest = float(np.abs(x).max())
    return largest / 127 if largest else 1.0, 0


def asked(answer, x):
    return _pair(called(answer, x, "symmetric_qparams"), ("scale", "zero_point"))


def called(answer, x, name):
    """`call`, and a word on Python's max where it meets an array of several dimensions."""
    try:
        return call(answer, x, name=name)
    except Almost as error:
        if "ambiguous" not in str(error):
            raise
        said = "Python's `max` compares rows of an array as a whole; `x.max()` takes the largest of all numbers"
        raise Almost(f"{name}, for an x of shape {x.shape}: {said}") from error


def _pair(seen, names):
    if isinstance(seen, dict) or not isinstance(seen, tuple | list | np.ndarray) or len(seen) != 2:
        raise Almost(f"expected two values, {' and '.join(names)}, seen {brief(seen)} of type `{kind(seen)}`")
    return [expect_number(value, what) for value, what in zip(seen, names, strict=True)]


def judge_symmetric(x, scale, zero_point, where, turned):
    """Against onnxruntime's own choice for symmetric int8, whose codes are -127 to 127. turned(): the scale for -x."""
    _, expected = compute_scale_zp(np.array(x.min()), np.array(x.max()), np.int8(-127), np.int8(127), symmetric=True)
    expected, largest = float(expected), float(np.abs(x).max())
    if zero_point != 0 and (scale == 0 or np.isclose(zero_point, expected, rtol=1e-6, atol=0)):
        raise Almost(f"{where}: seen ({number(scale)}, {number(zero_point)}): return the scale first, then zero_point")
    if zero_point != 0:
        raise Almost(f"zero_point {where}: expected 0, seen {number(zero_point)}: symmetric codes mirror at the code 0")
    if not largest and scale != 1:
        why = "0 / 0 has no code" if scale == 0 or not np.isfinite(scale) else "no value there tells one"
        raise Almost(f"scale {where}: seen {number(scale)}; {why}: where all is 0, use scale 1, as onnxruntime does")
    if np.isclose(scale, expected, rtol=1e-6, atol=0):
        return
    mistakes = _wrong_scales(x, largest)
    said = next((text for text, wrong in mistakes.items() if np.isclose(scale, wrong, rtol=1e-6, atol=0)), None)
    if said and "end only" in said and not np.isclose(turned(), expected, rtol=1e-6, atol=0):
        said = "this takes the end that is nearer to 0: take the largest |x|"
    if said is None and np.isclose(-scale, list(mistakes.values()), rtol=1e-6, atol=0).any():
        said = "a scale is positive: take the absolute value"
    if said is None and largest < 1e-2 and scale > expected:
        said = guarded(scale)
    said = said or _effect(scale, expected)
    raise Almost(f"scale {where}: expected {number(expected)}, seen {number(scale)}: {said}")


def _effect(scale, expected):
    """What a scale does that no foreseen mistake explains."""
    if scale > 0 and has_few_digits(scale, expected):
        return "it was rounded: keep the digits of float32"
    if scale == 0:
        return "nothing is left of it: does // or an integer type cut it off?"
    if not scale > 0:
        return "a scale is a positive number"
    if scale > expected:
        return (
            "no value reaches the code 127, so the outer codes lie idle: a is the largest |x|, and the code 127 means a"
        )
    return "the largest |x| lies beyond the code 127 and clips: a is the largest |x|, and the code 127 means a"


def has_few_digits(scale, exact):
    """Is it the exact scale in float16, or with some decimals only? In float64 or float32."""
    rounded = [float(np.float16(exact)), *(round(exact, digits) for digits in range(1, 9))]
    return np.float32(scale) in np.float32(rounded)


def guarded(scale):
    if scale == 1:
        return "a guard such as `if largest < 1e-3` takes small numbers for zeros; only where all is 0 has no scale"
    return "a floor under the scale, or a small number added to it: small values need a small scale"


def _wrong_scales(x, largest):
    """{what was done wrong: the scale that it gives}, in the order of asking: on some tensors two give one number."""
    low, high = float(x.min()), float(x.max())
    ends = {
        "this is largest / 128: +largest needs the code 128, which does not exist, and errs by a whole step": 128,
        "this is largest / 127.5: the outer values lie half a step beyond the last code; here both ends shall have a "
        "code": 127.5,
        "this is largest / 255: 255 codes on one side of 0; int8 has 127 there": 255,
        "this is largest / 256: 8 bits for one side of 0; int8 has 127 codes there": 256,
        "this is largest / 126: from 0 to the code 127 there are 127 steps": 126,
        "this is largest / 254: the mirrored range is twice as wide, 2 a over 254 steps": 254,
        "this is 2 a / 127: 127 steps lead from 0 to a, 254 from -a to a": 63.5,
        "this is a, the largest |x|, not yet divided by the 127 steps from 0 to it": 1,
        "this is a / 8, as in 4 bits: int8 has 127 steps from 0 to a": 8,
        "this is a / 7.5, as in 4 bits: int8 has 127 steps from 0 to a": 7.5,
        "this is a / 7, as in 4 bits: int8 has 127 steps from 0 to a": 7,
    }
    mistakes = {said: largest / codes for said, codes in ends.items()}
    mistakes["this is a times 127: a step is a / 127"] = largest * 127
    mistakes["this is a / 32767, of 16 bits: int8 has 127 steps from 0 to a"] = largest / 32767
    mistakes["this is one over the scale: the code 127 shall mean a, so a step is a / 127"] = 127 / (largest or 1)
    mistakes |= {
        "this looks at the positive end only: take the largest |x|": high / 127,
        "this looks at the negative end only: take the largest |x|": -low / 127,
        "this is the asymmetric scale, the whole range over 255: the mirrored range runs from -largest to largest": (
            max(high, 0) - min(low, 0)
        )
        / 255,
        "this is the whole range over 254: the mirrored range runs from -largest to largest": (high - low) / 254,
        "this takes the mean of |x|: the range follows the largest |x|": float(np.abs(x).mean()) / 127,
        "this takes the standard deviation: the range follows the largest |x|": float(x.std()) / 127,
    }
    mistakes["this is the whole range over 255: the mirrored range runs from -largest to largest"] = (high - low) / 255
    return mistakes


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


def judge_relu(x, codes, scale, sqnr, where):
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


MIRRORED, FITTED = ("int8", True), ("uint8", False)
SCHEMES = {"symmetric int8": MIRRORED, "symmetric uint8": ("uint8", True), "asymmetric uint8": FITTED}


def budgets():
    """[(where, tensors, zero points allowed), ...]"""
    eight, made_up = eight_tensors(), _made_up()
    return [
        *((f"for the eight tensors and {count} zero points", eight, count) for count in (3, 0, 2, 8)),
        *((f"for other tensors and {count} zero point{'s' * (count != 1)}", made_up, count) for count in (1, 2, 3, 7)),
    ]


@cache
def _made_up():
    random = np.random.default_rng(23)
    return {
        "numbers below zero": -random.random((20, 30), np.float32) - 0.1,
        "cosines": np.cos(random.uniform(-0.04, 0.04, (10, 30)) + np.pi * random.integers(0, 2, (10, 30))).astype("f4"),
        "a small dip": random.uniform(-1, 8, (9, 50)).astype(np.float32) * 1e-3,
        "a third below zero": random.uniform(-2, 4, (9, 50)).astype(np.float32) * 50,
        "many small numbers and a few large": _crowded(random, 3e-4, 0.05),
        "nearly all tiny": _crowded(random, 2e-3, 0.1),
        "never negative": random.random((7, 60), np.float32) * 0.02,
    }


def _crowded(random, size, share):
    """Numbers of one small size, and a share of large ones above zero for the most part."""
    large = random.uniform(-0.05, 1, (60, 50)) * (random.random((60, 50)) < share)
    return (np.where(large, large, size * random.choice([-1, 1], (60, 50)))).astype(np.float32)


@cache
def all_measured(names):
    """What `measured` says of each of the names."""
    given = eight_tensors() | _made_up()
    return {name: measured(given[name]) for name in names}


def measured(x):
    """{scheme: (error, zero point, sum of squares)}: an error of 1 for symmetric int8, 1/4 for half its steps."""
    qparams = {name: choose_qparams(x, dtype, symmetric=symmetric) for name, (dtype, symmetric) in SCHEMES.items()}
    energy = {name: np.sum(np.square(x - fake_quantize(x, chosen), dtype=float)) for name, chosen in qparams.items()}
    unit = energy["symmetric int8"]
    return {name: (energy[name] / unit, int(qparams[name].zero_point), energy[name]) for name in SCHEMES}


def least_total(found, allowed):
    """The least sum of errors with at most so many zero points other than 0."""
    free = {name: min(error for error, zero, _ in schemes.values() if not zero) for name, schemes in found.items()}
    best = {name: min(error for error, *_ in schemes.values()) for name, schemes in found.items()}
    gains = sorted((free[name] - best[name] for name in found), reverse=True)
    return sum(free.values()) - sum(gains[:allowed])


def read(chosen, given, where):
    """What the answer returned as {tensor: scheme}; raises Almost if it is not one scheme for each tensor."""
    if not isinstance(chosen, dict):
        raise Almost(f"{where}: expected {{tensor: scheme}}, seen {brief(chosen)} of type `{kind(chosen)}`")
    if set(chosen) != set(given):
        missing = [name for name in given if name not in chosen]
        unknown = [brief(name) for name in chosen if name not in given]
        raise Almost(f"{where}: expected one scheme for each of {len(given)}; missing: {missing}, unknown: {unknown}")
    for name, scheme in chosen.items():
        if not isinstance(scheme, str) or scheme not in SCHEMES:
            raise Almost(f"{name!r}: expected one of {', '.join(map(repr, SCHEMES))}, seen {brief(scheme)}")
    return chosen


def judge_schemes(chosen, given, allowed, where):
    """-> total error"""
    found = all_measured(tuple(given))
    errors = {name: found[name][scheme][0] for name, scheme in chosen.items()}
    paid = [name for name, scheme in chosen.items() if found[name][scheme][1]]
    clothes = [name for name in paid if chosen[name] == "symmetric uint8"]
    total, least = sum(errors.values()), least_total(found, allowed)
    if (len(paid) > allowed or total > 1.002 * least) and clothes:
        raise Almost(
            f"{where}: {clothes[0]!r} has negative values, so with symmetric uint8 its zero point is the mid-code 128: "
            "symmetric int8 in other clothes, at the price of a zero point"
        )
    if len(paid) > allowed:
        worst = max(paid, key=errors.get)
        raise Almost(
            f"{where}: {len(paid)} have a zero point other than 0 ({', '.join(paid)}). The least is gained "
            f"on {worst!r}: error {errors[worst]:.2f} instead of 1"
        )
    if total > 1.002 * least:
        raise Almost(
            f"{where}: total error {total:.2f}, possible: {least:.2f}. {_advice(chosen, given, paid, allowed)}"
        )
    return total


def _advice(chosen, given, paid, allowed):
    """What to look at: harm first, then what costs nothing, then where a zero point would do more."""
    found = all_measured(tuple(given))
    errors = {name: found[name][scheme][0] for name, scheme in chosen.items()}
    lost = {name: errors[name] - min(error for error, *_ in found[name].values()) for name in chosen}
    worst = max(errors, key=errors.get)
    if errors[worst] > 1.002:
        return (
            f"On {worst!r} {chosen[worst]} does harm: error {errors[worst]:.2f} instead of 1. A finer step does not "
            "promise less error: measure, and spend a zero point only where it gains"
        )
    free = [name for name in chosen if lost[name] > 0.01 and not found[name]["symmetric uint8"][1]]
    name = max(free or [name for name in chosen if name not in paid] or chosen, key=lost.get)
    said = (
        f"Look at {name!r}: {errors[name]:.2f} with {chosen[name]}, {errors[name] - lost[name]:.2f} would be possible"
    )
    if free:
        return (
            f"{said}. It has no negative value, so half of int8's codes lie idle, and unsigned codes need no zero point"
        )
    if len(paid) == allowed and paid:
        least = max(paid, key=errors.get)
        return (
            f"{said} with a zero point. The one on {least!r} gains less: {errors[least]:.2f} instead of 1"
            f"{_compared(given, found, paid)}"
        )
    return f"{said} with a zero point; you have spent {len(paid)} of {allowed}, since one that comes out as 0 is free"


def _compared(given, found, paid):
    """By which other measure these are the tensors on which a zero point saves most, in a sentence; or nothing."""
    saved, unit = {}, "The unit is the error of symmetric int8"
    for name in (name for name in found if found[name]["symmetric uint8"][1]):
        x = given[name].astype(float)
        both = (choose_qparams(given[name], dtype, symmetric=symmetric) for dtype, symmetric in (MIRRORED, FITTED))
        before, after = (np.abs(x - fake_quantize(given[name], qparams)) for qparams in both)
        squares = np.sum(np.square(before)) - np.sum(np.square(after))
        saved[name] = {
            "Was each error divided by that of symmetric int8?": squares,
            "Was the largest error compared, or the range alone? The error is the sum of all squares": 1
            - after.max() / before.max(),
            "Were the errors squared before they were added up?": 1 - after.sum() / before.sum(),
            f"Was it divided by the signal's energy? {unit}": squares / np.sum(np.square(x)),
            f"Was it divided by the variance, or by a * a? {unit}": squares / np.var(x),
            f"Was it divided by a * a? {unit}": squares / np.square(x).max(),
        }
    for said in next(iter(saved.values())):
        if set(paid) == set(sorted(saved, key=lambda name: saved[name][said])[-len(paid) :]):
            return f". {said}"
    return ""


FEED_FORWARD = (["mul_72"], ["linear_2"])  # where the conformer's first feed-forward module begins and ends
AS_GOOD = 0.95  # speeds of one machine differ by some percent from run to run


def quantize_for(card, source, target):
    """Dynamic quantization of the matrix products by the fastest pair that `card` has for uint8 activations."""
    signed, unsigned = card.speed["u8s8"] or 0, card.speed["u8u8"] or 0
    if max(signed, unsigned) <= 1:
        return
    weight_type = QuantType.QInt8 if signed >= unsigned else QuantType.QUInt8
    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=["MatMul"],
        weight_type=weight_type,
        per_channel=True,
        reduce_range=card.saturates and weight_type == QuantType.QInt8,
    )


def finished(answer):
    """The answer, but with something returned: it may well return nothing."""
    if not callable(answer):
        return answer

    def quantize_for(*arguments):
        result = answer(*arguments)
        return ... if result is ... else True

    return quantize_for


@cache
def feed_forward():
    """The conformer's first feed-forward module, two products, and a convolution beside it, pre-processed: bytes."""
    with tempfile.TemporaryDirectory() as folder:
        cut, ready = Path(folder) / "cut.onnx", Path(folder) / "ready.onnx"
        onnx.utils.extract_model(str(models.path("conformer")), str(cut), *FEED_FORWARD)
        onnx.save(_with_convolution(onnx.load(cut)), cut)
        quant_pre_process(cut, ready, skip_symbolic_shape=True)
        return ready.read_bytes()


def _with_convolution(model):
    """The model with one more branch: it tells whether an answer quantizes MatMuls alone."""
    weight = np.random.default_rng(24).normal(size=(4, 2, 3)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "conv_weight"))
    model.graph.input.append(onnx.helper.make_tensor_value_info("bands", onnx.TensorProto.FLOAT, [1, 2, 16]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("convolved", onnx.TensorProto.FLOAT, [1, 4, 14]))
    model.graph.node.append(onnx.helper.make_node("Conv", ["bands", "conv_weight"], ["convolved"], name="conv"))
    return model


def cards():
    """The course's cards, then machines made up to differ from them."""
    vnni, avx2 = machine.card("x86-avx512-vnni"), machine.card("x86-avx2")

    def made_up(name, u8s8, u8u8, s8s8, s8u8, saturates=False):
        speed = {"u8s8": u8s8, "u8u8": u8u8, "s8s8": s8s8, "s8u8": s8u8}
        return replace(vnni, name=name, speed=speed, saturates=saturates, note="made up")

    return [
        vnni,
        avx2,
        made_up("a card of ARM's kind", 3.4, 3.4, 3.5, None),
        made_up("a card on which s8 x u8 is fastest", 3.6, 2.2, 3.6, 3.9),
        made_up("a card on which u8 x u8 is fastest", 1.2, 1.9, 0.3, 0.3),
        made_up("a card that saturates and has u8 x u8 fastest", 1.2, 1.9, 0.3, 0.3, saturates=True),
        made_up("a card on which u8 x u8 alone is faster than float32", 0.8, 1.4, 0.3, 0.3),
        made_up("a card that saturates and has u8 x s8 alone faster", 1.4, 0.8, 0.3, 0.3, saturates=True),
        made_up("a card on which both are fast, u8 x u8 more so", 1.8, 2.4, 0.3, 0.3),
        made_up("a card that saturates and has a fast s8 x s8", 2.2, 1.3, 2.1, None, saturates=True),
        made_up("a card on which no integer product is faster", 0.8, 0.7, 0.3, 0.3),
        made_up("a card without a kernel for u8 x u8", 2.1, None, None, None),
        made_up("a card without a kernel for u8 x s8", None, 1.6, 1.9, 0.3),
    ]


def judge_dynamic(card, target):
    """The graph that came out against the card. -> what was chosen, in a few words"""
    where, speeds = f"for {card.name}", {pair: card.speed[pair] or 0 for pair in ("u8s8", "u8u8")}
    fastest = max(speeds, key=speeds.get)
    if not target.is_file():
        if speeds[fastest] > 1:
            said = f"{_spaced(fastest)} is {speeds[fastest]:.2f} times as fast as float32 there"
            raise Almost(f"{where}: nothing was written to target, but {said}")
        return "left in float32"
    graph = _opened(target, where)
    products, floats = _products(graph)
    if speeds[fastest] <= 1 and not products and floats:
        return "left in float32"
    dtype, low, high = _read_products(graph, products, floats, where)
    if dtype not in (np.int8, np.uint8):
        raise Almost(f"{where}: weights of type {dtype}: QuantType.QInt8 or QuantType.QUInt8")
    pair, reduced = ("u8s8" if dtype == np.int8 else "u8u8"), (high - low <= 128)
    risky = pair == "u8s8" and card.saturates
    if risky and any(can_saturate(weight).any() for weight in _weights(graph, products)):
        raise Almost(
            f"{where}: its weights have codes from {low} to {high} in u8 x s8 products, which saturate there: "
            "255 * 127 + 255 * 127 = 64,770 becomes 32,767. Give them 7 bits (reduce_range), or take QUInt8"
        )
    if reduced and not risky:
        raise Almost(
            f"{where}: 7-bit weights ({low} to {high}) give a bit away; {_spaced(pair)} does not saturate there"
        )
    kept_exact = card.saturates and pair == "u8u8" and speeds[pair] > 1
    if speeds[pair] < AS_GOOD * speeds[fastest] and not kept_exact and speeds[fastest] > 1:
        tempting = max(card.speed, key=lambda name: card.speed[name] or 0)
        yours = f"your products are {_spaced(pair)}, {speeds[pair]:.2f} times as fast as float32"
        other = f". Activations are always uint8: no {_spaced(tempting)} here" if tempting[0] == "s" else ""
        raise Almost(f"{where}: {yours}; {_spaced(fastest)} is {speeds[fastest]:.2f} times as fast{other}")
    guard = " with 7-bit weights" if reduced else " with scales that keep every sum within 16 bits" if risky else ""
    return f"{_spaced(pair)}{guard}"


def products_in(target):
    """The integer products of the model at `target`, in a line."""
    if not Path(target).is_file():
        return "Nothing was written: on this card no product with uint8 activations is faster than float32."
    graph = onnx.load(target).graph
    products, left = _products(graph)
    dtype, low, high = _codes(graph, products)
    pair = f"u8 x {'s8' if dtype == np.int8 else 'u8'}"
    return (
        f"{len(products)} products {pair}, weights with codes {low} to {high}; {left} MatMuls of activations stay float"
    )


def _spaced(pair):
    return f"{pair[:2]} x {pair[2:]}"


def _opened(target, where):
    try:
        return onnx.load(target).graph
    except Exception as error:
        raise Almost(f"{where}: target is no ONNX file: did quantize_dynamic write it? ({kind(error)})") from None


def _read_products(graph, products, left, where):
    """dtype of the products' weights, and their least and greatest code; raises Almost if a product stayed float."""
    if left:
        raise Almost(f"{where}: {left} of {left + len(products)} MatMuls are still float")
    if not products:
        raise Almost(f"{where}: there is no MatMulInteger in target")
    if any(node.op_type == "ConvInteger" for node in graph.node):
        raise Almost(f'{where}: a Conv was quantized too: pass op_types_to_quantize=["MatMul"]')
    held = {entry.name: entry for entry in graph.initializer}
    if any(not held[node.input[3]].dims for node in products):
        raise Almost(f"{where}: one scale for a whole weight: with per_channel=True each output channel has its own")
    return _codes(graph, products)


def _products(graph):
    """Integer products, and how many MatMuls stayed float."""
    products = [node for node in graph.node if node.op_type == "MatMulInteger"]
    return products, sum(node.op_type == "MatMul" for node in graph.node)


def _weights(graph, products):
    """The codes of the products' weights, each [K, N]."""
    held = {entry.name: entry for entry in graph.initializer}
    return [numpy_helper.to_array(held[node.input[1]]) for node in products]


def _codes(graph, products):
    """dtype of the products' weights, and their least and greatest code."""
    weights = _weights(graph, products)
    return weights[0].dtype, min(int(w.min()) for w in weights), max(int(w.max()) for w in weights)


@exercise("02.1", "a symmetric scale", place="symmetric_qparams", otherwise=symmetric_qparams)
def _(answer):
    small = [(f"numbers around {size:g}", np.float32([-3, 1, 2]) * np.float32(size)) for size in (1e-10, 1e-30)]
    cases = [*tensors(2), *small]
    for name, x in cases:
        scale, zero_point = asked(answer, x)
        judge_symmetric(x, scale, zero_point, f"for {name}", lambda x=x: asked(answer, -x)[0])
    return f"{len(cases)} tensors, zeros among them: each end has a code, and onnxruntime has the same scale"


@exercise("02.2", "ReLU without a zero point")
def _(answer):
    for name, x in relu_outputs():
        result = called(answer, x, "quantize_relu")
        if not isinstance(result, tuple | list) or len(result) != 3:
            raise Almost(f"expected three values, codes, scale and SQNR, seen {brief(result)}")
        seen = judge_relu(x, *result, f"for {name}")
    mirrored = sqnr_db(x, fake_quantize(x, choose_qparams(x, "int8", symmetric=True)))
    return f"on the real ReLU {seen:.2f} dB without any zero point; symmetric int8 has {mirrored:.2f} dB"


@exercise("02.3", "a scheme for each tensor")
def _(answer):
    if isinstance(answer, dict):
        raise Almost("expected the function `choose_schemes(tensors, zero_points)`, seen a dictionary: let it choose")
    totals = []
    for where, given, allowed in budgets():
        chosen = read(call(answer, given, allowed, name="choose_schemes"), given, where)
        totals.append(judge_schemes(chosen, given, allowed, where))
    return (
        f"8 tensors, 3 zero points: an error of {totals[0]:.2f} instead of 8; {len(totals) - 1} other budgets as well"
    )


@exercise("02.4", "quantize_dynamic by the card", place="quantize_for", otherwise=quantize_for)
def _(answer):
    said = {}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "feed_forward.onnx"
        source.write_bytes(feed_forward())
        for index, card in enumerate(cards()):
            target = Path(folder) / f"quantized_{index}.onnx"
            call(finished(answer), card, source, target, name="quantize_for")
            said[card.name] = judge_dynamic(card, target)
    return "; ".join(f"{name}: {what}" for name, what in said.items())
