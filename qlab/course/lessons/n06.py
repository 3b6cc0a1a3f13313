"""Notebook 06: products of codes in integers, requantization, bias, the overflows, what a network answers.

Its pictures come first, then what it and its checks use.
"""

from functools import cache
from itertools import product as pairs_of

import numpy as np
import onnx
import onnxruntime
from numpy.lib.stride_tricks import sliding_window_view
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from qlab import PerAxis, choose_qparams, models, palette, quantize
from qlab.course.expect import call, expect_array, expect_equal, expect_shape, two_functions
from qlab.course.lessons import exercise
from qlab.course.lessons.common import in_haste, operator_session
from qlab.course.plots.schematic import Schematic
from qlab.course.show import Almost, NotYet, brief, error_text
from qlab.numerics import kernels
from qlab.numerics.affine import qparams_from_range
from qlab.numerics.saturation import can_saturate, largest_safe_k, vpmaddubsw_matmul
from qlab.palette import styled
from qlab.runtime import open_session

_INT16 = 32_767


def dataflow():
    """The way of an integer linear layer: codes, int32 sums, bias, multiplier, codes."""
    s = Schematic(
        20,
        5.6,
        title="Codes in, codes out: the only real numbers on the way are the multipliers",
        alt="Codes of x, uint8, and codes of w, uint8 or int8, each less its zero point, enter an integer product. Its "
        "int32 sums get the bias's int32 codes added, are multiplied by a float32 multiplier, rounded, moved by y's "
        "zero point and saturated to the uint8 codes of y.",
    )
    x = s.box(2.0, 4.3, "codes of x\nuint8", kind="activations", width=3, height=1.1)
    w = s.box(2.0, 2.1, "codes of w\nuint8 or int8", kind="weights", width=3, height=1.1)
    product = s.box(6.6, 3.2, "multiply and add\nint32 sums", kind="integer", width=3.6, height=1.1)
    bias = s.box(11.0, 3.2, "+ bias\nint32", kind="integer", width=2.2, height=1.1)
    multiply = s.box(14.2, 3.2, "× multiplier\nfloat32", kind="fp32", width=2.8, height=1.1)
    y = s.box(18.2, 3.2, "codes of y\nuint8", kind="activations", width=2.8, height=1.1)
    s.arrow(x, product)
    s.arrow(w, product)
    for height in (4.3, 2.1):
        s.text(3.8, height, "- zero point", size=9, align="left")
    s.arrow(product, bias)
    s.arrow(bias, multiply)
    s.arrow(multiply, y)
    s.text(16.2, 4.15, "round, + zero point,\nsaturate", size=9)
    s.bracket(4.8, 12.1, 1.3, "scale x_scale · w_scale, zero point 0", kind="integer", up=False)
    s.text(14.2, 2.1, "x_scale · w_scale\n/ y_scale", size=9)
    return s.figure


@styled
def room(wrong, *, title):
    """How many cells are wrong against the length of the sum. wrong: {name: {K: share}}; -> Figure"""
    figure, axes = palette.figure(height=3.6)
    inks = {"int16 pairs": palette.ERROR, "float32": palette.FP32, "int32": palette.INTEGER}
    marks = {"int16 pairs": "s", "float32": "o", "int32": "^"}
    wide = {
        "int32": {"linewidth": 6, "markersize": 9, "alpha": 0.5, "zorder": 1}
    }  # else it hides float32 at 0 and 100 %
    for name, shares in wrong.items():
        label = {"int16 pairs": "u8 × s8, pairs in int16", "float32": "u8 × u8, float32", "int32": "u8 × u8, int32"}
        axes.plot(
            list(shares), [100 * share for share in shares.values()], marker=marks[name], color=inks[name],
            label=label[name], **wide.get(name, {}),
        )  # fmt: skip
    axes.set(xscale="log", xlabel="K, products in a sum", ylabel="% of the sums that are wrong", ylim=(-4, 104))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_title(title)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)
    return figure


@styled
def pair_square(first, second):
    """What an int16 pair loses for every two uint8 inputs, beside two int8 weights. -> Figure"""
    inputs = np.arange(256)
    sums = inputs[None] * first + inputs[:, None] * second
    lost = np.abs(sums - np.clip(sums, -_INT16 - 1, _INT16))
    share = (lost > 0).mean()
    figure, axes = palette.figure(height=3.9, layout=None)
    figure.subplots_adjust(left=0.09, right=0.93, bottom=0.14, top=0.9)
    shown = axes.imshow(
        lost, origin="lower", cmap=_reds(), vmin=0, vmax=32_512, extent=(-0.5, 255.5, -0.5, 255.5), aspect="auto"
    )
    figure.colorbar(shown, ax=axes, label="what is lost of the sum's size", fraction=0.06)
    if 0 < share < 1:  # the smallest losses are nearly white: their edge needs a line
        axes.contour(lost > 0, levels=[0.5], colors=[palette.ERROR], linewidths=1)
    axes.set(xlabel=f"first input, beside the weight {first}", ylabel=f"second input, beside the weight {second}")
    axes.grid(False)
    axes.set_title(f"{first} and {second}: {100 * share:.1f} % of all pairs of inputs saturate")
    return figure


def _reds():
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("lost", ["#FFFFFF", palette.ERROR])


def instructions():
    """How five instructions take their operands: the shapes of one lane, or of one tile."""
    s = Schematic(
        20,
        11.6,
        title="One instruction, one lane or tile: how many products meet in one sum",
        alt="vpmaddubsw adds 2 products of uint8 by int8 into int16, which saturates. vpdpbusd adds 4 products of "
        "uint8 by int8 into int32. SDOT adds 4 products of int8 by int8 into int32. SMMLA multiplies 2 by 8 and 8 by 2 "
        "int8 into 2 by 2 int32. AMX multiplies 16 by 64 and 64 by 16 bytes into 16 by 16 int32.",
    )
    y = 10.5
    for name, left, right, result, note, bad in (
        ("vpmaddubsw\nx86 without VNNI", ["u8"] * 2, ["s8"] * 2, "int16", "2 products a sum;\nit saturates", True),
        ("vpdpbusd\nx86, VNNI", ["u8"] * 4, ["s8"] * 4, "int32", "4 products a sum", False),
        ("SDOT\nArm, dot product", ["s8"] * 4, ["s8"] * 4, "int32", "4 products a sum;\nUDOT: u8 × u8", False),
    ):
        s.text(0.3, y, name, align="left", size=9, bold=True)
        s.cells(4.3, y, left, kind="activations", size=0.75, height=0.6)
        s.text(7.75, y, "·")
        s.cells(8.2, y, right, kind="weights", size=0.75, height=0.6)
        s.text(11.75, y, "→")
        s.cells(12.3, y, [result], kind="error" if bad else "integer", size=1.5, height=0.6)
        s.text(14.8, y, note, align="left", size=9)
        y -= 1.45
    _grids(s, 5.2, "SMMLA\nArm, i8mm", (2, 8), (8, 2), "8 products a sum, 4 sums;\nUMMLA: u8 × u8,\nUSMMLA: u8 × s8")
    note = "each side drawn at a quarter:\n16 × 64 by 64 × 16 bytes,\n64 products a sum, 256 sums;\n"
    note += "TDPBSSD, TDPBSUD,\nTDPBUUD: other signs"
    _grids(s, 1.9, "TDPBUSD\nx86, AMX", (4, 16), (16, 4), note)
    return s.figure


def _grids(s, y, name, left, right, note):
    """Two small matrices and their product."""
    size = 0.27 if left[0] == 2 else 0.17
    s.text(0.3, y, name, align="left", size=9, bold=True)
    _grid(s, 4.3, y, left, size, "activations")
    s.text(7.75, y, "·")
    _grid(s, 8.4, y, right, size, "weights")
    s.text(11.75, y, "→")
    _grid(s, 12.5, y, (left[0], right[1]), 2 * size, "integer")
    s.text(14.8, y, note, align="left", size=9)


def _grid(s, x, y, shape, size, kind):
    rows, columns = shape
    for row in range(rows):
        s.cells(x, y + (rows / 2 - row - 0.5) * size, [""] * columns, kind=kind, size=size)


def precise(op_type, x, *held, **attributes):
    """An operator's first output in onnxruntime, x its input and all else constant, where int16 pairs are ruled out."""
    choose = lambda options: options.add_session_config_entry("session.x64quantprecision", "1")
    outputs = 3 if op_type == "DynamicQuantizeLinear" else 1
    session = operator_session(op_type, x, *held, outputs=outputs, adjust=choose, **attributes)
    return session.run(["y"], {"x": x})[0]


def noisy_digits(noise=0.2):
    """The test digits as a bad scanner sees them: (pictures float32 [n, 1, 8, 8], labels). Fewer under QLAB_FAST=1."""
    *_, pictures, labels = models.digit_split()
    count = 200 if in_haste() else None
    added = np.random.default_rng(0).normal(0, noise, pictures.shape)
    return np.clip(pictures + added, 0, 1).astype(np.float32)[:count], labels[:count]


class IntegerDigits:
    """The digits network, its activations uint8 and its weights int8 with a scale for each output channel.

    network(pictures, product) -> logits. product(a uint8 [M, K], b int8 [K, N]) -> sums [M, N], without zero points:
    it stands for the instruction. The depthwise layers, which onnxruntime does not compute as a matrix product, are
    summed exactly. Ranges of the activations come from the training digits.
    """

    def __init__(self, *, weight_bits=8):
        self.model = onnx.load(models.path("digits"))
        self.held = {tensor.name: numpy_helper.to_array(tensor) for tensor in self.model.graph.initializer}
        self.ranges = _ranges()
        self.reduce_range = weight_bits == 7

    def __call__(self, pictures, product):
        values = {"images": pictures}
        for node in self.model.graph.node:
            x = values[node.input[0]]
            if node.op_type == "Conv":
                y = self._conv(node, x, product)
            elif node.op_type == "Gemm":
                y = self._sums(node, x, self.held[node.input[1]], product)
            elif node.op_type == "Relu":
                y = np.maximum(x, 0)
            elif node.op_type == "Add":
                y = x + values[node.input[1]]
            elif node.op_type == "ReduceMean":
                y = x.mean(axis=(2, 3))
            values[node.output[0]] = y.astype(np.float32)
        return values["logits"]

    def _conv(self, node, x, product):
        """A convolution as a matrix product: each window a row, each output channel a column."""
        how = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        weight, pad, stride = self.held[node.input[1]], how["pads"][0], how["strides"][0]
        x = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)])
        windows = sliding_window_view(x, weight.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
        if how["group"] > 1:
            return self._depthwise(node, windows, weight)
        n, _, height, width = windows.shape[:4]
        rows = windows.transpose(0, 2, 3, 4, 5, 1).reshape(n * height * width, -1)
        y = self._sums(node, rows, weight.transpose(0, 2, 3, 1).reshape(len(weight), -1), product)
        return y.reshape(n, height, width, -1).transpose(0, 3, 1, 2)

    def _sums(self, node, rows, weight, product):
        """rows @ weight.T + bias, by codes; weight [outputs, inputs]."""
        qx, qw = self.ranges[node.input[0]], self._weight_qparams(weight)
        codes = quantize(weight, qw).T
        sums = product(quantize(rows.astype(np.float32), qx), codes)
        sums = sums - np.int64(qx.zero_point) * codes.sum(axis=0, dtype=np.int64)
        scale = qx.scale * qw.scale
        return (sums + np.rint(self.held[node.input[2]] / scale)) * scale

    def _depthwise(self, node, windows, weight):
        qx, qw = self.ranges[node.input[0]], self._weight_qparams(weight)
        codes = quantize(windows, qx).astype(np.float32) - np.float32(qx.zero_point)
        sums = np.einsum("nchwij,cij->nchw", codes, quantize(weight, qw)[:, 0].astype(np.float32))
        scale = (qx.scale * qw.scale)[:, None, None]
        return (sums + np.rint(self.held[node.input[2]][:, None, None] / scale)) * scale

    def _weight_qparams(self, weight):
        return choose_qparams(weight, "int8", symmetric=True, granularity=PerAxis(0), reduce_range=self.reduce_range)


@cache
def _ranges():
    """{tensor that enters a product: its QParams}, from the training digits."""
    model = onnx.load(models.path("digits"))
    names = {node.input[0] for node in model.graph.node if node.op_type in ("Conv", "Gemm")} - {"images"}
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in sorted(names))
    pictures, *_ = models.digit_split()
    seen = open_session(model.SerializeToString()).run(sorted(names), {"images": pictures})
    seen = dict(zip(sorted(names), seen, strict=True)) | {"images": pictures}
    return {name: qparams_from_range(min(x.min(), 0), max(x.max(), 0), "uint8") for name, x in seen.items()}


def ways_to_a_code(sums, x_scale, w_scale, y_scale, zero_point):
    """{how: uint8 codes}: onnxruntime's requantization of int32 sums [M, N], and other ways to compute the same.

    Scales are float32 numbers. "multiplier and shift" is the way of integer-only hardware: an int32 multiplier of 31
    bits, a 64-bit product, a shift that rounds halves up.
    """
    f = np.float32
    x_scale, w_scale, y_scale = f(x_scale), f(w_scale), f(y_scale)
    codes = lambda real: np.clip(np.rint(real) + zero_point, 0, 255).astype(np.uint8)
    multiplier = float(x_scale) * float(w_scale) / float(y_scale)
    fraction, exponent = np.frexp(multiplier)
    shift = 31 - int(exponent)
    shifted = (sums.astype(np.int64) * round(fraction * 2**31) + (1 << shift - 1)) >> shift
    zeros = np.zeros((len(sums), 1), np.uint8), np.zeros((1, sums.shape[1]), np.int8)
    operands = x_scale, np.uint8(0), zeros[1], w_scale, np.int8(0), sums, y_scale, np.uint8(zero_point)
    return {
        "onnxruntime": precise("QGemm", zeros[0], *operands, domain="com.microsoft"),
        "float32, x_scale * w_scale / y_scale": codes(sums.astype(f) * (x_scale * w_scale / y_scale)),
        "float64, of the same float32 scales": codes(sums * multiplier),
        "float32, x_scale * (w_scale / y_scale)": codes(sums.astype(f) * (x_scale * (w_scale / y_scale))),
        "float32, real number first, then / y_scale": codes(sums.astype(f) * (x_scale * w_scale) / y_scale),
        "integer multiplier and shift": np.clip(shifted + zero_point, 0, 255).astype(np.uint8),
    }


def matmul_integer(a, b, a_zero_point=0, b_zero_point=0):
    """What stands for 06.1 until it is passed: ONNX's MatMulInteger."""
    a, b = np.asarray(a), np.asarray(b)
    return kernels.matmul_integer(a, b, np.asarray(a_zero_point, a.dtype), np.asarray(b_zero_point, b.dtype))


def products():
    """(name, a, b, a_zero_point, b_zero_point): ordinary ones, then edges."""
    random = np.random.default_rng(61)
    draw = lambda shape, dtype: random.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    yield "u8 × u8", draw((4, 6), np.uint8), draw((6, 7), np.uint8), np.uint8(131), np.uint8(77)
    yield "u8 × s8", draw((3, 8), np.uint8), draw((8, 5), np.int8), np.uint8(120), np.int8(0)
    yield "u8 × u8, square", draw((5, 5), np.uint8), draw((5, 5), np.uint8), np.uint8(3), np.uint8(250)
    yield "s8 × s8", draw((2, 7), np.int8), draw((7, 3), np.int8), np.int8(-11), np.int8(6)
    yield "Python's own ints for zero points", draw((3, 9), np.uint8), draw((9, 4), np.uint8), 200, 100
    yield "zero points left at 0", draw((3, 9), np.uint8), draw((9, 4), np.int8), None, None
    columns = draw(6, np.uint8)
    yield "a zero point for each column of b", draw((4, 6), np.uint8), draw((6, 6), np.uint8), np.uint8(9), columns
    yield "K = 1", draw((3, 1), np.uint8), draw((1, 4), np.int8), np.uint8(255), np.int8(-128)
    large = np.full((2, 4_001), 255, np.uint8), np.full((4_001, 3), 255, np.uint8)
    large[0][1, ::3] -= 1
    yield "K = 4,001, all codes large", *large, np.uint8(0), np.uint8(0)
    yield "K = 4,001, as far from the zero point as can be", *large, np.uint8(0), np.uint8(1)


def product_of(a, b, a_zero_point, b_zero_point):
    """The same by onnx.reference, int32."""
    zeros = [np.asarray(z, x.dtype) for z, x in ((a_zero_point, a), (b_zero_point, b))]
    node = helper.make_node("MatMulInteger", ["a", "b", "az", "bz"], ["y"])
    evaluator = ReferenceEvaluator(node)
    return evaluator.run(None, {"a": a, "b": b, "az": zeros[0], "bz": zeros[1]})[0]


def product_mistakes(a, b, a_zero_point, b_zero_point):
    """{what was done wrong: the sums that it gives}."""
    za, zb = np.asarray(a_zero_point, a.dtype), np.asarray(b_zero_point, b.dtype)
    wide = [x.astype(np.int64) for x in (a, b, za, zb)]
    A, B, Za, Zb = wide
    k, m, n = len(b), len(a), b.shape[1]
    raw, columns, rows = A @ B, B.sum(axis=0), A.sum(axis=1, keepdims=True)
    with np.errstate(over="ignore"):
        wrapped = (a - za).astype(np.int64), (b - zb).astype(np.int64)
    f32 = np.float32
    right = (A - Za) @ (B - Zb)
    rounded = (A - Za).astype(f32) @ (B - Zb).astype(f32)
    narrow = lambda x, dtype: np.asarray(x).astype(dtype)
    both = narrow(za.astype(np.int64) * zb.astype(np.int64), a.dtype).astype(np.int64)  # in the codes' own type
    found = {
        "the zero points were left out: both are subtracted before the product": raw,
        "a's zero point was left out": A @ (B - Zb),
        "b's zero point was left out": (A - Za) @ B,
        "the zero points were added; the codes stand that much too high, so subtract": (A + Za) @ (B + Zb),
        "code - zero_point does not fit the codes' own type, and wrapped around: widen the codes first, to int32": (
            wrapped[0] @ wrapped[1]
        ),
        "a - a_zero_point wrapped around in a's own type: widen a first, to int32": wrapped[0] @ (B - Zb),
        "b - b_zero_point wrapped around in b's own type: widen b first, to int32": (A - Za) @ wrapped[1],
        "the sums wrapped around in the codes' own type: widen the codes before the product": narrow(right, a.dtype),
        "the sums wrapped around in int8: widen the codes before the product": narrow(right, np.int8),
        "the sums wrapped around in int16: int32 is wide enough": narrow(right, np.int16),
        "the raw codes were multiplied in their own type, and wrapped around: widen them first": a @ b,
        "the zero points were left out, and the sums wrapped around in int16": narrow(raw, np.int16),
        "the zero points were subtracted from the sums, not from the codes": raw - Za - Zb,
        "the product of the zero points was subtracted from the sums; each code has its zero point taken off": (
            raw - Za * Zb
        ),
        "the last of the four terms is missing, + K * a_zero_point * b_zero_point": raw - Za * columns - Zb * rows,
        "the last of the four terms, K * a_zero_point * b_zero_point, is added, not subtracted": (
            raw - Za * columns - Zb * rows - k * Za * Zb
        ),
        "the last of the four terms counts K, the length of the sum": raw - Za * columns - Zb * rows + Za * Zb,
        "the last of the four terms has K, the length of the sum, and here the number of rows stood there": (
            raw - Za * columns - Zb * rows + m * Za * Zb
        ),
        "the last of the four terms has K, the length of the sum, and here the number of columns stood there": (
            raw - Za * columns - Zb * rows + n * Za * Zb
        ),
        "the zero points stand the other way round: a's is taken off a, and so goes with b's column sums": (
            (A - Zb) @ (B - Za) if Zb.ndim == 0 else raw
        ),
        "a_zero_point * b_zero_point wrapped around in the codes' own type: widen the zero points, too": (
            raw - Za * columns - Zb * rows + k * both
        ),
        "K * zero point was subtracted from the sums; the zero point comes off each code, before the product": (
            raw - k * Za - k * Zb
        ),
        "float16 ends at 65,504, and has 11 bits for an integer: sum in int32 or float64": _half(A - Za, B - Zb),
        "float32 has 24 bits for an integer: beyond 16,777,216 sums are rounded; sum in int32 or float64": rounded,
        "the sums were saturated at int16": np.clip(right, -(2**15), 2**15 - 1),
        "the sums were saturated at the codes of uint8: they stay sums here": np.clip(right, 0, 255),
        "negative differences were cut to 0: code - zero_point may be negative": (
            np.maximum(A - Za, 0) @ np.maximum(B - Zb, 0)
        ),
        "the size of code - zero_point was taken; its sign belongs to it": np.abs(A - Za) @ np.abs(B - Zb),
        "the result is transposed": right.T,
    }  # fmt: skip
    if Zb.ndim:
        found["the zero point of a column goes along the columns, not along K"] = (
            (A - Za) @ (B - Zb[:, None]) if len(Zb) == k else raw
        )
        found["one zero point of b was taken for all columns"] = (A - Za) @ (B - Zb[0])
    if m == k == n or (n == k and Zb.ndim == 0):
        found["b was transposed: its rows go along K already"] = (A - Za) @ (B - Zb).T
    if a.shape == b.shape:
        found["* multiplies entry by entry; @ is the matrix product"] = (A - Za) * (B - Zb)
        found["the order is swapped: a @ b"] = (B - Zb) @ (A - Za)
    if a.dtype == np.uint8 and b.dtype == np.int8:
        found["pairs of products were summed in int16"] = (
            vpmaddubsw_matmul(a, b) - Za * columns - Zb * rows + k * Za * Zb
        )
    return found


def _half(a, b):
    """The product in float16, as int32: beyond its range a cast of infinity gives the least int32."""
    with np.errstate(all="ignore"):
        y = (a.astype(np.float16) @ b.astype(np.float16)).astype(np.float64)
    return np.where(np.isfinite(y), y, -(2**31)).astype(np.int64)


@exercise("06.1", "a product of codes", place="matmul_integer", otherwise=matmul_integer)
def _(answer):
    seen_of = 0
    for name, a, b, za, zb in products():
        given = () if za is None else (za, zb)
        za, zb = (0, 0) if za is None else given
        said = f"{name}, {a.shape} @ {b.shape}"
        seen = expect_array(call(answer, a, b, *given, name="matmul_integer"), said)
        expected = product_of(a, b, za, zb)
        if seen.shape == expected.T.shape != expected.shape:
            raise Almost(f"{said}: expected shape {expected.shape}, seen {seen.shape}: transposed")
        expect_shape(seen, expected.shape, said)
        expect_equal(seen, expected, said, mistakes=product_mistakes(a, b, za, zb))
        if seen.dtype != np.int32:
            raise Almost(
                f"{said}: the numbers are right, in {seen.dtype}; expected dtype int32, as MatMulInteger has it: "
                "end with .astype(np.int32)"
            )
        seen_of += seen.size
    return f"{seen_of} sums as onnx.reference has them, zero points and long sums included"


def requantize(sums, multiplier, zero_point):
    """What stands for 06.2 until it is passed."""
    return kernels.requantize(np.asarray(sums), np.asarray(multiplier, np.float32), zero_point)


def code_limits(zero_point):
    limits = np.iinfo(zero_point.dtype)
    return int(limits.min), int(limits.max)


def sums_to_requantize():
    """(name, sums int32 [M, N], multiplier float32, zero_point)."""
    random = np.random.default_rng(62)
    draw = lambda size=(6, 8), spread=40_000: np.rint(random.normal(0, spread, size)).astype(np.int32)
    f = np.float32
    yield "to uint8", draw(), f(0.00213), np.uint8(118)
    yield "to int8", draw(), f(0.00137), np.int8(-9)
    yield "to uint8, many too large or too small", draw(spread=400_000), f(0.0011), np.uint8(30)
    yield "to int8, many too large or too small", draw(spread=400_000), f(0.0009), np.int8(17)
    yield "a multiplier for each column", draw(), f(random.uniform(0.0005, 0.004, 8)), np.uint8(125)
    ties = np.int32([[1, 3, 5, 7, -1, -3, -5, -7], [9, 11, 13, 2, -9, -11, -13, 0]])
    yield "ties, zero point even", ties, f(0.5), np.int8(4)
    yield "ties, zero point odd", ties, f(0.5), np.uint8(101)
    yield "sums of millions", draw(spread=30_000_000), f(1.5e-6), np.uint8(128)
    yield "a multiplier above 1", draw(spread=20), f(2.75), np.uint8(128)


def requantized(sums, multiplier, zero_point):
    """The codes by onnxruntime: QGemm of zeros, the sums its bias."""
    x_dtype, columns = zero_point.dtype, sums.shape[1]
    scales = np.broadcast_to(np.float32(multiplier), columns).copy()
    one = np.float32(1)
    return precise(
        "QGemm", np.zeros((len(sums), 1), x_dtype), one, x_dtype.type(0), np.zeros((1, columns), np.int8), scales,
        np.zeros(columns, np.int8), sums, one, zero_point, domain="com.microsoft",
    )  # fmt: skip


def undecided(real):
    """Where a real number lies nearer to a tie than float32 arithmetic can tell, but not on it."""
    real = np.asarray(real, np.float64)
    distance = np.abs(np.abs(real) % 1 - 0.5)
    return (distance > 0) & (distance <= np.abs(real) * 2.0**-22)


def code_mistakes(sums, multiplier, zero_point):
    """{what was done wrong: the codes that it gives}, of real = sums * multiplier."""
    low, high = code_limits(zero_point)
    z = int(zero_point)
    real = sums.astype(np.float64) * np.asarray(multiplier, np.float64)
    clip = lambda codes: np.clip(codes, low, high)
    wrap = lambda codes: np.asarray(codes).astype(np.int64).astype(zero_point.dtype)
    even = np.rint(real)
    away = np.trunc(real + np.copysign(0.5, real))
    other = np.asarray(1 / np.asarray(multiplier, np.float64))
    at_ties = {
        "halves were rounded towards 0; ONNX rounds half to even, as np.rint does": clip(np.trunc(real) + z),
        "halves were rounded down; ONNX rounds half to even, as np.rint does": clip(np.floor(real) + z),
    }  # other answers than a cut or a floor only if all else is rounded rightly, as in a matrix of ties alone
    if z % 2 == 0:  # with an odd one it is what adding the zero point before rounding gives
        at_ties["halves were rounded to odd; ONNX rounds half to even, as np.rint does"] = clip(
            np.where(real % 1 == 0.5, 2 * np.floor(real / 2) + 1, even) + z
        )
    return (at_ties if (real * 2 == np.rint(real * 2)).all() else {}) | {
        "halves were rounded up; ONNX rounds half to even, as np.rint does": clip(np.floor(real + 0.5) + z),
        "halves were rounded away from 0; ONNX rounds half to even, as np.rint does": clip(away + z),
        "0.5 was added and the rest cut, which rounds negative numbers up: np.rint": clip(np.trunc(real + 0.5) + z),
        "floor always goes down: round to the nearest code": clip(np.floor(real) + z),
        "a cast cuts towards 0: round first": clip(np.trunc(real) + z),
        "ceil always goes up: round to the nearest code": clip(np.ceil(real) + z),
        "the zero point was added before rounding: where it is odd, ties go to the other neighbour": clip(
            np.rint(real + z)
        ),
        "the zero point was left out": clip(even),
        "the zero point was subtracted: real numbers become codes, so add it": clip(even - z),
        "the codes wrapped around: saturate, with np.clip, before the cast": wrap(even + z),
        "saturated before the zero point was added: add it first": wrap(clip(even) + z),
        "saturated before the zero point was added: add it first ": clip(clip(even) + z),
        "the zero point was added to the sums, before the multiplier: it is a code of y": clip(
            np.rint((sums.astype(np.float64) + z) * multiplier)
        ),
        "the sums were divided by the multiplier": clip(np.rint(sums * other) + z),
        "saturated to 0..255, which are uint8's codes": wrap(np.clip(even + z, 0, 255)),
        "saturated to -128..127, which are int8's codes": wrap(np.clip(even + z, -128, 127)),
        "saturated to -127..127; -128 is a code too": np.clip(even + z, -127, 127),
        "the multiplier was rounded to a whole number": clip(np.rint(sums * np.rint(multiplier)) + z),
        "the rounded numbers were cast to 8 bits before the zero point was added, and wrapped around": (
            wrap(np.rint(real).astype(np.int64).astype(np.int8) + np.int64(z))
        ),
        "the sums were cut to 16 bits": clip(np.rint(sums.astype(np.int16) * np.float64(multiplier)) + z),
        "the sums were saturated at 16 bits; they are int32": clip(
            np.rint(np.clip(sums, -(2**15), 2**15 - 1) * np.float64(multiplier)) + z
        ),
        "nothing was multiplied": clip(sums.astype(np.int64) + z),
        "these are the real numbers: round, add the zero point, saturate": np.float32(sums) * np.float32(multiplier),
        "rounded, but the codes do not saturate: 8 bits end at the type's last code": even + z,
    }  # fmt: skip


def judge_codes(seen, expected, real, said, mistakes):
    """Codes as the reference has them; either neighbour where `real` is nearer to a tie than float32 can tell."""
    seen = expect_array(seen, said)
    if seen.shape == expected.T.shape != expected.shape:
        raise Almost(f"{said}: expected shape {expected.shape}, seen {seen.shape}: transposed")
    expect_shape(seen, expected.shape, said)
    near = np.abs(seen.astype(np.float64) - expected) <= 1
    reference = np.where(undecided(real) & near, seen, expected)
    expect_equal(seen, reference, said, mistakes=mistakes)
    if seen.dtype != expected.dtype:
        raise Almost(
            f"{said}: the codes are right, in {seen.dtype}; expected dtype {expected.dtype}, the zero point's: "
            "end with .astype(zero_point.dtype)"
        )
    return seen


@exercise("06.2", "back to 8 bits", place="requantize", otherwise=requantize)
def _(answer):
    counted = 0
    for name, sums, multiplier, zero_point in sums_to_requantize():
        said = f"{name}, {sums.shape}"
        seen = call(answer, sums, multiplier, zero_point, name="requantize")
        expected = requantized(sums, multiplier, zero_point)
        real = sums.astype(np.float64) * np.asarray(multiplier, np.float64)
        counted += judge_codes(seen, expected, real, said, code_mistakes(sums, multiplier, zero_point)).size
    return f"{counted} codes as onnxruntime has them, ties and saturation included"


def linears():
    """(name, the arguments of linear by name)."""
    random = np.random.default_rng(63)
    f = np.float32
    yield (
        "coarse scales",
        {
            "x_codes": random.integers(110, 125, (7, 8), dtype=np.uint8),
            "x_scale": f(0.5),
            "x_zero_point": np.uint8(117),
            "w_codes": random.integers(-2, 3, (8, 9), dtype=np.int8),
            "w_scale": random.uniform(0.2, 0.3, 9).astype(f),
            "bias": random.normal(0, 12, 9).astype(f),
            "y_scale": f(0.23),
            "y_zero_point": np.uint8(131),
        },
    )
    halves = np.float32([0.5, 1.5, 2.5, 3.5, -0.5, -1.5, -2.5, -3.5, 0])
    for name, bias, steps in (("a bias of half steps", halves, 1), ("sums that end on ties", np.rint(halves), 4)):
        yield (
            name,
            {
                "x_codes": random.integers(110, 125, (7, 8), dtype=np.uint8),
                "x_scale": f(2**-5),
                "x_zero_point": np.uint8(117),
                "w_codes": random.integers(-2, 3, (8, 9), dtype=np.int8),
                "w_scale": np.full(9, f(2**-6)),
                "bias": bias * f(2**-11),
                "y_scale": f(steps * 2**-11),
                "y_zero_point": np.uint8(131),
            },
        )
    for name, (tokens, k, n), odd in (
        ("a small layer", (5, 16, 7), {}),
        ("a layer of the speech model's size", (9, 144, 290), {}),
        ("one token", (1, 33, 4), {}),
        ("a layer whose bias is large", (6, 24, 5), {"bias": 60}),
        ("a layer whose bias needs more than 16 bits", (6, 24, 5), {"bias": 20, "y_scale": 0.4}),
        ("a layer that saturates", (6, 24, 5), {"y_scale": 0.02}),
        ("scales that are powers of two", (8, 16, 16), {"x_scale": 2**-5, "w_scale": 2**-6, "y_scale": 2**-4}),
    ):
        w_scale = random.uniform(0.002, 0.01, n) if "w_scale" not in odd else np.full(n, odd["w_scale"])
        yield (
            name,
            {
                "x_codes": random.integers(0, 256, (tokens, k), dtype=np.uint8),
                "x_scale": f(odd.get("x_scale", 0.0173)),
                "x_zero_point": np.uint8(128 if "w_scale" in odd else 117),
                "w_codes": random.integers(-127, 128, (k, n), dtype=np.int8),
                "w_scale": w_scale.astype(f),
                "bias": random.normal(0, odd.get("bias", 2), n).astype(f),
                "y_scale": f(odd.get("y_scale", 0.0171 * np.sqrt(k))),
                "y_zero_point": np.uint8(131),
            },
        )


def linear_of(x_codes, x_scale, x_zero_point, w_codes, w_scale, bias, y_scale, y_zero_point):
    """onnxruntime's QGemm: (codes, the real number of steps that each stands for)."""
    bias_codes = np.rint(bias / (x_scale * w_scale)).astype(np.int32)
    codes = precise(
        "QGemm", x_codes, x_scale, x_zero_point, w_codes, w_scale, np.zeros(len(w_scale), np.int8), bias_codes,
        y_scale, y_zero_point, domain="com.microsoft",
    )  # fmt: skip
    sums = (x_codes.astype(np.int64) - x_zero_point) @ w_codes.astype(np.int64) + bias_codes
    return codes, sums * (float(x_scale) * w_scale.astype(np.float64) / float(y_scale))


def linear_mistakes(x_codes, x_scale, x_zero_point, w_codes, w_scale, bias, y_scale, y_zero_point):
    sums = (x_codes.astype(np.int64) - x_zero_point) @ w_codes.astype(np.int64)
    raw = x_codes.astype(np.int64) @ w_codes.astype(np.int64)
    scale, z = x_scale.astype(np.float64) * w_scale, int(y_zero_point)
    bias_codes = np.rint(bias / (x_scale * w_scale))
    codes = lambda real, z=z: np.clip(np.rint(real) + z, 0, 255)
    multiplier = scale / float(y_scale)
    return {
        "the bias was left out": codes(sums * multiplier),
        "halves of the bias's codes were rounded up; round half to even": codes(
            (sums + np.floor(bias / scale + 0.5)) * multiplier
        ),
        "halves of the bias's codes were rounded down; round half to even": codes(
            (sums + np.ceil(bias / scale - 0.5)) * multiplier
        ),
        "halves of the bias's codes were rounded away from 0; round half to even": codes(
            (sums + np.trunc(bias / scale + np.copysign(0.5, bias))) * multiplier
        ),
        "the real bias was added to the sums; divide it by x_scale * w_scale and round first": codes(
            (sums + bias.astype(np.float64)) * multiplier
        ),
        "the bias was cut to whole numbers before it was divided by its scale": codes(
            (sums + np.rint(np.trunc(bias) / scale)) * multiplier
        ),
        "the bias's codes were cut, not rounded": codes((sums + np.trunc(bias / scale)) * multiplier),
        "the bias was divided by w_scale alone; its scale is x_scale * w_scale": codes(
            (sums + np.rint(bias / w_scale)) * multiplier
        ),
        "the bias was divided by x_scale alone; its scale is x_scale * w_scale": codes(
            (sums + np.rint(bias / x_scale)) * multiplier
        ),
        "the bias was divided by y_scale; it is added to the sums, whose scale is x_scale * w_scale": codes(
            (sums + np.rint(bias / y_scale)) * multiplier
        ),
        "the bias was divided by y_scale as well; the sums' scale is x_scale * w_scale": codes(
            (sums + np.rint(bias / (scale * float(y_scale)))) * multiplier
        ),
        "the bias's codes were rounded down; round half to even": codes((sums + np.floor(bias / scale)) * multiplier),
        "the bias was rounded to codes of y, and added after the requantization": np.clip(
            codes(sums * multiplier) + np.rint(bias / np.float64(y_scale)), 0, 255
        ),
        "the bias was rounded to codes of y, and added after the requantization, in 8 bits": (
            codes(sums * multiplier) + np.rint(bias / np.float64(y_scale))
        )
        % 256,
        "w is symmetric: its zero point is 0, and not x's": codes(
            ((x_codes.astype(np.int64) - x_zero_point) @ (w_codes.astype(np.int64) - x_zero_point) + bias_codes)
            * multiplier
        ),
        "the bias was multiplied by its scale; divide": codes((sums + np.rint(bias * scale)) * multiplier),
        "the bias was subtracted": codes((sums - bias_codes) * multiplier),
        "the bias is real and was added to the codes of y": codes(sums * multiplier + bias),
        "the bias's codes were not rounded (or the bias was added in float): an integer layer adds int32 codes": codes(
            sums * multiplier + bias / np.float64(y_scale)
        ),
        "the bias's codes were cut to 8 bits; they are int32": codes(
            (sums + bias_codes.astype(np.int64).astype(np.int8)) * multiplier
        ),
        "the bias's codes were saturated at 8 bits; they are int32": codes(
            (sums + np.clip(bias_codes, -128, 127)) * multiplier
        ),
        "x's zero point was left out": codes((raw + bias_codes) * multiplier),
        "y's zero point was left out": codes((sums + bias_codes) * multiplier, 0),
        "y_scale was left out of the multiplier": codes((sums + bias_codes) * scale),
        "the sums were multiplied by y_scale; it divides": codes((sums + bias_codes) * scale * float(y_scale)),
        "x_scale was left out of the multiplier": codes((sums + bias_codes) * (w_scale / np.float64(y_scale))),
        "w_scale was left out of the multiplier": codes((sums + bias_codes) * (np.float64(x_scale) / y_scale)),
        "one scale of w was taken for all outputs": codes((sums + bias_codes) * multiplier[0]),
        "one scale of w was taken for the codes of all biases": codes(
            (sums + np.rint(bias / scale[0])) * multiplier
        ),
        "the mean of w's scales was taken for the codes of all biases": codes(
            (sums + np.rint(bias / scale.mean())) * multiplier
        ),
        "the bias's codes were rounded up; round half to even": codes((sums + np.ceil(bias / scale)) * multiplier),
        "the bias's codes were cut to 16 bits; they are int32": codes(
            (sums + bias_codes.astype(np.int64).astype(np.int16)) * multiplier
        ),
        "the bias's codes were saturated at 16 bits; they are int32": codes(
            (sums + np.clip(bias_codes, -(2**15), 2**15 - 1)) * multiplier
        ),
        "the multiplier is upside down: x_scale * w_scale / y_scale": codes((sums + bias_codes) / multiplier),
        "the zero points of x and y are swapped": codes(
            (raw - z * w_codes.sum(axis=0, dtype=np.int64) + bias_codes) * multiplier, int(x_zero_point)
        ),
    } | rounding_mistakes((sums + bias_codes) * multiplier, z)  # fmt: skip


def rounding_mistakes(real, z):
    """{what was done wrong from the real number of steps on: the uint8 codes that it gives}."""
    clip = lambda codes: np.clip(codes, 0, 255)
    return {
        "the codes wrapped around: saturate, with np.clip, before the cast": (np.rint(real) + z) % 256,
        "the zero point was added before rounding: where it is odd, ties go to the other neighbour": clip(
            np.rint(real + z)
        ),
        "halves were rounded up; ONNX rounds half to even, as np.rint does": clip(np.floor(real + 0.5) + z),
        "halves were rounded away from 0; ONNX rounds half to even, as np.rint does": clip(
            np.trunc(real + np.copysign(0.5, real)) + z
        ),
        "a cast cuts towards 0: round first": clip(np.trunc(real) + z),
        "floor always goes down: round to the nearest code": clip(np.floor(real) + z),
        "ceil always goes up: round to the nearest code": clip(np.ceil(real) + z),
        "saturated before the zero point was added: add it first": clip(clip(np.rint(real)) + z),
    }


@exercise("06.3", "an integer linear layer with bias")
def _(answer):
    counted = 0
    for name, arguments in linears():
        said = f"{name}, x {arguments['x_codes'].shape}, w {arguments['w_codes'].shape}"
        seen = call(answer, *arguments.values(), name="linear")
        expected, real = linear_of(**arguments)
        counted += judge_codes(seen, expected, real, said, linear_mistakes(**arguments)).size
    return f"{counted} codes, as onnxruntime's QGemm has them"


def weights_to_break():
    """(name, w int8 [K, N])."""
    random = np.random.default_rng(64)
    yield "two weights of 127", np.int8([[127], [127]])
    yield "two weights of -128", np.int8([[-128], [-128]])
    yield "one pair among many", np.int8([[3, 0], [1, -2], [10, 70], [-90, 70], [2, 127], [1, -127]])
    yield "a pair at rows 1 and 2 is none", np.int8([[0], [127], [127], [0]])
    yield "the least that saturates", np.int8([[64], [65]])
    yield "the most that does not", np.int8([[64], [64]])
    yield "the least negative that saturates", np.int8([[-64], [-65]])
    yield "the most negative that does not", np.int8([[-64], [-64]])
    yield "an odd K", np.int8([[5, 100], [7, 100], [127, 127]])
    yield "an odd K, its last row alone", np.int8([[5], [7], [127]])
    yield "pairs of both signs in one column", np.int8([[127], [127], [-127], [-127]])
    for number in range(4):
        yield f"a random weight, {number + 1}", random.integers(-127, 128, (12, 3), dtype=np.int8)
    yield "7-bit weights", random.integers(-64, 65, (12, 3), dtype=np.int8)


def judge_worst(answer):
    for name, w in weights_to_break():
        said = f"worst_input, {name}, w {w.tolist() if w.size <= 12 else w.shape}"
        seen = _worst(answer, w)
        if not can_saturate(w).any():
            if seen is not None:
                raise Almost(
                    f"{said}: no uint8 input saturates here, so None is expected; seen {brief(seen)}. Pairs are rows 0 "
                    "and 1, 2 and 3, ...; their sum must leave -32,768 to 32,767"
                )
            continue
        if seen is None:
            raise Almost(f"{said}: seen None, and there is an input whose sum saturates: {_why_not_none(w)}")
        x = _as_input(seen, len(w), said)
        exact = x.astype(np.int64) @ w.astype(np.int64)
        if np.array_equal(vpmaddubsw_matmul(x, w), exact):
            raise Almost(f"{said}: {brief(x)} gives {exact[0].tolist()} with and without saturation{_why_exact(x, w)}")


def _why_not_none(w):
    """An input that would do, and the trap that hides it."""
    k = next(k for k in range(0, len(w) - 1, 2) if can_saturate(w[k : k + 2]).any())
    pair = w[k : k + 2, can_saturate(w[k : k + 2]).argmax()].astype(int)
    said = f"255 in rows {k} and {k + 1}, beside the weights {pair[0]} and {pair[1]}"
    wraps = not -128 <= pair.sum() <= 127
    return f"{said} (if you add the two, widen w first: in int8 their sum wraps around)" if wraps else said


def _worst(answer, w):
    try:
        return call(answer, w, name="worst_input")
    except Almost as error:
        if "returned None" in str(error):  # None is an answer here
            return None
        raise


def _as_input(seen, k, said):
    x = expect_array(seen, said)
    if x.shape == (k,):
        x = x[None]
    if x.shape != (1, k):
        raise Almost(f"{said}: expected an input of shape (1, {k}), one number for each row of w; seen {x.shape}")
    if ((x < 0) | (x > 255) | (x != np.rint(x))).any():
        raise Almost(f"{said}: a uint8 input has whole numbers from 0 to 255; seen {brief(x)}")
    return x.astype(np.uint8)


def _why_exact(x, w):
    if x.max() <= 127:
        return ": an input may be as large as 255"
    pairs = np.pad(x, [(0, 0), (0, x.size % 2)]).reshape(-1, 2)
    if not (pairs > 0).all(axis=1).any():
        return ": one product alone always fits 16 bits; it takes two neighbours"
    return ": neighbours are rows 0 and 1, 2 and 3, ...; what counts is one pair's sum, 255 * (w[k] + w[k + 1])"


def product_model(w):
    """A model with one MatMulInteger, x uint8 [T, K], whose weights are constant."""
    node = helper.make_node("MatMulInteger", ["x", "w"], ["y"])
    ends = [
        helper.make_tensor_value_info("x", onnx.TensorProto.UINT8, ["T", w.shape[0]]),
        helper.make_tensor_value_info("y", onnx.TensorProto.INT32, ["T", w.shape[1]]),
    ]
    graph = helper.make_graph([node], "product", ends[:1], ends[1:], [numpy_helper.from_array(w, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


ENTRY = "session.x64quantprecision"
LEVELS_WITHOUT_IT = (
    onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
)


def judge_mended(answer):
    random = np.random.default_rng(640)
    for shape in ((16, 32), (64, 48)):
        w = random.choice(np.int8([-127, 127]), shape)
        model, said = product_model(w), f"mended, a model with w {shape}"
        session = call(answer, model, name="mended")
        if isinstance(session, onnx.ModelProto | bytes):
            raise Almost(f"{said}: expected an onnxruntime.InferenceSession, seen a model")
        if isinstance(session, onnxruntime.SessionOptions):
            raise Almost(f"{said}: these are the options; return the InferenceSession that is made with them")
        if not isinstance(session, onnxruntime.InferenceSession):
            raise Almost(f"{said}: expected an onnxruntime.InferenceSession, seen {brief(session)}")
        x = random.integers(128, 256, (3, shape[0]), dtype=np.uint8)
        try:
            (y,) = session.run(None, {session.get_inputs()[0].name: x})
        except Exception as error:
            raise Almost(f"{said}: the session does not run: {error_text(error)}") from None
        exact = x.astype(np.int64) @ w.astype(np.int64)
        if y.shape != exact.shape:
            raise Almost(f"{said}: the session's result has shape {y.shape}, expected {exact.shape}: is it that model?")
        asked = _entry(session)
        if asked != "1":
            here = "and saturates here" if not np.array_equal(y, exact) else "which this machine hides"
            value = f"{ENTRY} is {asked!r}" if asked else f"{ENTRY} is not set"
            raise Almost(
                f'{said}: {value}, {here}: add_session_config_entry("{ENTRY}", "1") before the session is made'
            )
        if session.get_session_options().graph_optimization_level in LEVELS_WITHOUT_IT:
            raise Almost(
                f"{said}: {ENTRY} is 1, and the level of graph optimizations is too low for it to do anything: a graph "
                "optimization of the extended level makes the weight uint8. Leave graph_optimization_level as it is"
            )
        if not np.array_equal(y, exact):
            raise Almost(f"{said}: {ENTRY} is 1, and {int((y != exact).sum())} sums are wrong: is it that model?")


def _entry(session):
    try:
        return session.get_session_options().get_session_config_entry(ENTRY)
    except Exception:  # onnxruntime raises where an entry was never set
        return ""


@exercise("06.4", "make it saturate, and mend it")
def _(answer):
    worst_input, mended = two_functions(answer, "worst_input", "mended")
    judge_worst(worst_input)
    if mended is None:
        raise NotYet("worst_input is right; mended is next, then check both")
    judge_mended(mended)
    return "16 weights judged by the emulated instruction, and a session that is exact on any machine"


def largest_k_mistakes(a_dtype, b_dtype, any_zero_point):
    """{what was done wrong: the K that it gives}."""
    ends = [(int(np.iinfo(name).min), int(np.iinfo(name).max)) for name in (a_dtype, b_dtype)]
    plain = [x * y for x, y in pairs_of(*ends)]
    reach = [(low - high, high - low) for low, high in ends] if any_zero_point else ends
    products = [x * y for x, y in pairs_of(*reach)]
    top, largest = 2**31 - 1, max(map(abs, products))
    found = {
        f"{size} squared is not the largest product here: write down the least and the largest of both factors": (
            top // size**2
        )
        for size in (127, 128, 255)
    }
    if any_zero_point:
        either = "the zero points may be any code: code - zero_point then reaches from -255 to 255"
        found[either] = min(top // max(plain), 2**31 // max(1, -min(plain)))
        found[f"{either} "] = top // max(plain)
    return found | {
        "the negative end was left out: the most negative product reaches -2**31 sooner": top // max(products),
        "int32 ends at 2**31 - 1, since half of its codes are negative": (2**32 - 1) // largest,
        "2**31 - 1 and -2**31 are the ends; one product more does not fit": top // largest + 1,
        "one product more does not fit": 2**31 // largest + 1,
        "only float32's 24 bits were counted; int32 has 31 and a sign": 2**24 // largest,
        "int16 was counted; the sum is an int32": (2**15 - 1) // largest,
        "this is the largest product, not how many of them fit": largest,
        "256 codes lie 255 apart at most": top // 256**2,
        "256 codes lie 255 apart at most ": 2**31 // 256**2,
        "code - zero_point reaches from -255 to 255: its size is 255 at most, not 510": top // 510**2,
        "the ends of both factors were multiplied, sizes of the same sign alone": top // abs(plain[0])
        if plain[0]
        else 0,
    }


@exercise("06.5", "the longest safe sum")
def _(answer):
    cases = [
        *((a, b, True) for a, b in (("uint8", "uint8"), ("uint8", "int8"), ("int8", "int8"))),
        *((a, b, False) for a, b in (("uint8", "uint8"), ("uint8", "int8"), ("int8", "uint8"), ("int8", "int8"))),
    ]
    for a, b, any_zero_point in cases:
        said = f"largest_k({a!r}, {b!r}, any_zero_point={any_zero_point})"
        seen = call(answer, a, b, any_zero_point, name="largest_k")
        array = expect_array(seen, said)
        if array.size != 1:
            raise Almost(f"{said}: expected one number, seen {brief(seen)}")
        seen, zero = array.reshape(()).item(), None if any_zero_point else 0
        expected = largest_safe_k(a, b, a_zero_point=zero, b_zero_point=zero)
        if seen != expected:
            if isinstance(seen, float) and int(seen) == expected:
                raise Almost(f"{said}: {seen:,.2f} products do not exist: take the whole number below")
            why = next((f": {name}" for name, k in largest_k_mistakes(a, b, any_zero_point).items() if k == seen), "")
            more = "one more overflows" if seen > expected else "more of them fit"
            raise Almost(f"{said}: seen {seen:,}, and {more}{why}")
    return f"{len(cases)} pairs; u8 x u8 with any zero points is safe up to K = 33,025"


def convolutions():
    """(name, the arguments of qlinear_conv by name): 3 × 3, one pixel of padding."""
    random = np.random.default_rng(66)
    f = np.float32
    for name, (n, c, height, width), m, odd in (
        ("one channel", (1, 1, 5, 5), 2, {}),
        ("three channels", (1, 3, 6, 5), 4, {}),
        ("two pictures", (2, 2, 4, 7), 3, {}),
        ("a zero point of 0", (1, 2, 5, 5), 3, {"zero": 0}),
        ("as many channels out as in", (1, 3, 4, 4), 3, {"zero": 255}),
        ("sums that end on ties", (1, 2, 5, 4), 4, {"ties": True}),
    ):
        ties = {
            "x": random.integers(90, 105, (n, c, height, width), dtype=np.uint8),
            "x_scale": f(2**-5),
            "w": random.integers(-2, 3, (m, c, 3, 3), dtype=np.int8),
            "w_scale": np.full(m, f(2**-6)),
            "bias": random.integers(-9, 9, m, dtype=np.int32),
            "y_scale": f(2**-9),
            "y_zero_point": np.uint8(125),
        }
        yield (
            name,
            {
                "x": random.integers(0, 256, (n, c, height, width), dtype=np.uint8),
                "x_scale": f(0.021),
                "x_zero_point": np.uint8(odd.get("zero", 97)),
                "w": random.integers(-127, 128, (m, c, 3, 3), dtype=np.int8),
                "w_scale": random.uniform(0.003, 0.009, m).astype(f),
                "bias": random.integers(-9_000, 9_000, m, dtype=np.int32),
                "y_scale": f(0.06 * np.sqrt(c)),
                "y_zero_point": np.uint8(124),
            }
            | (ties if odd.get("ties") else {}),
        )


def conv_of(x, x_scale, x_zero_point, w, w_scale, bias, y_scale, y_zero_point):
    """onnxruntime's QLinearConv: (codes, the real number of steps that each stands for)."""
    zeros = np.zeros(len(w), np.int8)
    codes = precise(
        "QLinearConv", x, x_scale, x_zero_point, w, w_scale, zeros, y_scale, y_zero_point, bias, pads=[1, 1, 1, 1]
    )
    multiplier = float(x_scale) * w_scale.astype(np.float64) / float(y_scale)
    return codes, (_conv_sums(x, w, int(x_zero_point)) + bias[:, None, None]) * multiplier[:, None, None]


def _conv_sums(x, w, zero, fill=None, centre=True, edge=(1, 1)):
    """Exact sums [N, M, H, W] over windows of x, padded with `fill` (the zero point, if not given)."""
    edges = [(0, 0), (0, 0), edge, edge]
    padded = np.pad(x.astype(np.int64), edges, constant_values=zero if fill is None else fill) - (zero if centre else 0)
    windows = sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.einsum("nchwij,mcij->nmhw", windows, w.astype(np.int64))


def conv_mistakes(x, x_scale, x_zero_point, w, w_scale, bias, y_scale, y_zero_point):
    zero, z = int(x_zero_point), int(y_zero_point)
    sums, b = _conv_sums(x, w, zero), bias[:, None, None]
    multiplier = (float(x_scale) * w_scale.astype(np.float64) / float(y_scale))[:, None, None]
    codes = lambda real, z=z: np.clip(np.rint(real) + z, 0, 255)
    flipped = _conv_sums(x, w[:, :, ::-1, ::-1], zero)
    n, m, height, width = sums.shape
    scaled = lambda sums: codes((sums + b) * multiplier)
    return {
        "padding has the code 0, which stands for a negative number: a real 0 has x's zero point": codes(
            (_conv_sums(x, w, zero, fill=0) + b) * multiplier
        ),
        "x's zero point was left out": codes((_conv_sums(x, w, zero, fill=0, centre=False) + b) * multiplier),
        "x's zero point was left out of the sums": codes((_conv_sums(x, w, zero, centre=False) + b) * multiplier),
        "padding holds y's zero point; it is x that is padded": codes(
            (_conv_sums(x, w, zero, fill=z) + b) * multiplier
        ),
        "padding repeats the border; ONNX pads with a real 0": codes(
            (_edge_sums(x, w, zero) + b) * multiplier
        ),
        "padding mirrors the picture; ONNX pads with a real 0": scaled(_edge_sums(x, w, zero, "reflect")),
        "padding goes on at the other side; ONNX pads with a real 0": scaled(_edge_sums(x, w, zero, "wrap")),
        "padding is 128; a real 0 has x's zero point, whatever that is": scaled(_conv_sums(x, w, zero, fill=128)),
        "the rows of the product go (n, H, W, M); reshape them so, then move the channels to the second place": (
            scaled(sums).transpose(0, 2, 3, 1).reshape(n, m, height, width)
        ),
        "H and W are swapped in the result": (
            scaled(sums).transpose(0, 2, 3, 1).reshape(n, width, height, m).transpose(0, 3, 2, 1)
        ),
        "the windows are in order W, H; their rows must go through H first": (
            scaled(sums).transpose(0, 1, 3, 2).reshape(n, m, height, width)
        ),
        "w.reshape(-1, M) mixes the channels; w.reshape(M, -1).T has a column for each": scaled(
            _conv_sums(x, w.reshape(-1, m).T.reshape(w.shape), zero)
        ),
        "the windows were reshaped without moving the channels behind H and W: transpose them first": scaled(
            _unturned_sums(x, w, zero)
        ),
        "the border stands before each axis only: one pixel on each side": codes(
            (_conv_sums(x, w, zero, edge=(2, 0)) + b) * multiplier
        ),
        "the border stands behind each axis only: one pixel on each side": codes(
            (_conv_sums(x, w, zero, edge=(0, 2)) + b) * multiplier
        ),
        "y's zero point was taken off x; x has its own": codes((_conv_sums(x, w, z) + b) * multiplier),
        "the bias was left out": codes(sums * multiplier),
        "the bias was divided by its scale; here it comes as int32, in steps of x_scale * w_scale": codes(
            (sums + np.rint(b / (x_scale * w_scale)[:, None, None])) * multiplier
        ),
        "the bias was added after the multiplier; its codes belong to the sums": codes(sums * multiplier + b),
        "y's zero point was left out": codes((sums + b) * multiplier, 0),
        "one scale of w was taken for all channels": codes((sums + b) * multiplier[0]),
        "the window was mirrored; ONNX's Conv does not turn it round": codes((flipped + b) * multiplier),
        "the window's rows and columns are swapped": codes(
            (_conv_sums(x, w.transpose(0, 1, 3, 2), zero) + b) * multiplier
        ),
        "the window's axes and the channels stand in another order than in w": codes(
            (_conv_sums(x, _disordered(w), zero) + b) * multiplier
        ),
        "y_scale was left out of the multiplier": codes((sums + b) * multiplier * float(y_scale)),
    } | rounding_mistakes((sums + b) * multiplier, z)  # fmt: skip


def _unturned_sums(x, w, zero):
    """The sums where windows (n, C, H, W, 3, 3) become rows (n * H * W, C * 9) without a transpose."""
    n, c, height, width = x.shape
    padded = np.pad(x.astype(np.int64), [(0, 0), (0, 0), (1, 1), (1, 1)], constant_values=zero) - zero
    rows = sliding_window_view(padded, (3, 3), axis=(2, 3)).reshape(n * height * width, c * 9)
    return (rows @ w.reshape(len(w), -1).T).reshape(n, height, width, len(w)).transpose(0, 3, 1, 2)


def _disordered(w):
    """w, where its numbers are read as if the window came before the channels."""
    return w.reshape(len(w), 3, 3, -1).transpose(0, 3, 1, 2)


def _edge_sums(x, w, zero, mode="edge"):
    padded = np.pad(x.astype(np.int64), [(0, 0), (0, 0), (1, 1), (1, 1)], mode=mode) - zero
    return np.einsum("nchwij,mcij->nmhw", sliding_window_view(padded, (3, 3), axis=(2, 3)), w.astype(np.int64))


@exercise("06.6", "a convolution on codes")
def _(answer):
    counted = 0
    for name, arguments in convolutions():
        said = f"{name}, x {arguments['x'].shape}, w {arguments['w'].shape}"
        seen = expect_array(_convolved(answer, arguments), said)
        expected, real = conv_of(**arguments)
        _judge_conv_shape(seen, expected.shape, said)
        counted += judge_codes(seen, expected, real, said, conv_mistakes(**arguments)).size
    return f"{counted} codes, as onnxruntime's QLinearConv has them"


def _convolved(answer, arguments):
    try:
        return call(answer, *arguments.values(), name="qlinear_conv")
    except Almost as error:
        if "cannot reshape" not in str(error):
            raise
        raise Almost(
            f"{error}. Without a border of one pixel there are fewer windows than pixels: is x padded?"
        ) from None


def _judge_conv_shape(seen, shape, said):
    n, m, height, width = shape
    for wrong, why in (
        ((n, m, height - 2, width - 2), "the border is missing: pad x by one pixel on each side"),
        ((n, height, width, m), "the channels stand last; ONNX has them second"),
        ((n * height * width, m), "these are the rows of the matrix product: bring them back into a picture"),
        ((m, height, width), "the axis of the pictures is missing"),
        ((n, m, height + 2, width + 2), "a border too many"),
    ):
        if seen.shape == wrong != shape:
            raise Almost(f"{said}: expected shape {shape}, seen {seen.shape}: {why}")
    expect_shape(seen, shape, said)
