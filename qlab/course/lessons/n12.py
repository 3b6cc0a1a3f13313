"""Notebook 12: weight-only quantization, from the roofline to GPTQ and to the bytes of MatMulNBits.

Its pictures come first, then what it and its checks use.
"""

import math
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from onnx import helper, numpy_helper

from qlab import models, palette, sqnr_db
from qlab.course.expect import call, expect_array, expect_dtype, expect_number, expect_shape, judge_choice
from qlab.course.expect import two_functions as pair_of
from qlab.course.lessons import exercise, words
from qlab.course.lessons.common import fewer, in_haste, linear, operator_session, watching
from qlab.course.plots.figures import spread
from qlab.course.plots.schematic import Schematic
from qlab.course.show import Almost, brief, error_text, kind
from qlab.models.speech import in_noise
from qlab.numerics import blockwise
from qlab.palette import INK, styled
from qlab.runtime import interleave, open_session

MICROSOFT = "com.microsoft"
SIDE = 1024  # of the square matrices that are timed: 4 MB of float32
SENT_MS = 40  # a row of the recognizers stands for so much sound
WIDEST = "node_MatMul_29"  # of the speech model: 2,736 inputs
_KINDS = {"fp32": palette.FP32, "int8": palette.INTEGER, "int4": palette.WEIGHTS}
_MARKS = {"fp32": "o", "int8": "s", "int4": "D"}
_LEAST_CACHE = 32 << 20  # bytes: where the system does not tell, and most machines have no more


def packed():
    """How MatMulNBits lays codes in bytes: a column of the weight, its blocks, two codes in each byte."""
    s = Schematic(
        20, 7.6, title="Two codes in a byte: the first in the low half",
        alt="A column of the weight is cut into blocks along K. Of a block, the codes -8, 3, 0, 7 become 0, 11, 8, 15 "
        "by adding 8. The first byte holds 11 in its high half and 0 in its low half, hexadecimal b0; the second holds "
        "15 and 8, f8. Each block has one scale. Columns follow each other.",
    )  # fmt: skip
    s.text(0.3, 7.0, "a column of the weight (K numbers), in blocks", align="left")
    for place in range(3):
        s.cells(0.6 + 6.4 * place, 6.2, ["", "", "", "..."], kind="weights", size=1.4, height=0.8)
        s.text(3.4 + 6.4 * place, 5.5, f"block {place}, one scale", size=9)
    s.text(0.3, 4.0, "codes", align="left")
    codes = s.cells(3.2, 4.0, [-8, 3, 0, 7], kind="integer", size=1.4, height=0.8)
    s.text(11.4, 4.0, "+ 8", size=12)
    shifted = s.cells(13.2, 4.0, [0, 11, 8, 15], kind="integer", size=1.4, height=0.8)
    s.arrow((codes[-1].x + 0.8, 4.0), (10.9, 4.0))
    s.arrow((11.9, 4.0), (13.1, 4.0))
    s.text(0.3, 1.6, "bytes", align="left")
    for place, (high, low, value) in enumerate(((11, 0, "0xB0"), (15, 8, "0xF8"))):
        x = 11.0 + 4.8 * place
        halves = s.cells(x, 1.6, [f"{high:04b}", f"{low:04b}"], kind="integer", size=1.9, height=0.8)
        s.text(x + 1.9, 0.8, f"{value}: high half, low half", size=9)
        s.arrow(shifted[2 * place], halves[1])
        s.arrow(shifted[2 * place + 1], halves[0])
    return s.figure


@styled
def rows_ms(panels, *, title):
    """A panel a way to measure: milliseconds of one product against rows. -> Figure

    panels: {what is measured: {"fp32", "int8", "int4": [(rows, milliseconds), ...]}}
    """
    figure, axes = palette.figure(1, len(panels), height=4.2, sharey=True, squeeze=False)
    for panel, (name, found) in zip(axes[0], panels.items(), strict=True):
        _lines(panel, found)
        panel.set_xlabel("rows of activations (log)")
        panel.set_title(name, fontsize=10, fontweight="normal")
    axes[0][0].set_ylabel("milliseconds a product (log)")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    at = lambda points: ", ".join(f"{ms:.2f} ms at {count}" for count, ms in (points[0], points[-1]))
    figure.alt = f"{title}. " + " ".join(
        f"{name}: {'; '.join(f'{which} {at(points)}' for which, points in found.items())}."
        for name, found in panels.items()
    )
    return figure


def _lines(axes, found, unit=1.0):
    """One line for fp32, int8, int4, their names at the ends; logarithmic axes."""
    ends = []
    for name, points in found.items():
        at, value = np.array(points, float).T
        dashes = (0, (4, 2)) if name == "int4" else "-"  # such that a line below shows where two are the same
        axes.plot(at, unit * value, color=_KINDS[name], marker=_MARKS[name], markersize=5, linestyle=dashes)
        ends.append((name, at[-1], unit * value[-1]))
    counts = sorted({count for points in found.values() for count, _ in points})
    axes.set(xscale="log", yscale="log", xlim=(counts[0] / 1.25, counts[-1] * 2.6))
    low, high = axes.get_ylim()
    heights = np.exp(spread([np.log(value) for _, _, value in ends], np.log(high / low) / 14))
    for (name, at, _), height in zip(ends, heights, strict=True):
        axes.text(1.15 * at, height, name, color=_KINDS[name], va="center", fontweight="bold")
    axes.xaxis.set_major_locator(FixedLocator(counts))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="x", labelsize=8)


@styled
def roofline(side, gflops, gb_s, gain_int8, gain_int4):
    """Milliseconds against rows as the roofline has them, for a machine of these rates. -> Figure

    side: of the square matrix; gb_s: 10^9 bytes of weights read a second; gains: arithmetic against float32's.
    """
    counts = 2 ** np.arange(9)
    figure, axes = palette.figure(height=3.8)
    found = {}
    for name, bits, gain in (("fp32", 32, 1), ("int8", 8, gain_int8), ("int4", 5, gain_int4)):
        arithmetic = 2e3 * counts * side**2 / (gflops * gain * 1e9)
        reading = np.full(counts.shape, 1e3 * bits / 8 * side**2 / (gb_s * 1e9))
        found[name] = list(zip(counts, np.maximum(arithmetic, reading), strict=True))
    _lines(axes, found)
    axes.set_xlabel("rows of activations (log)")
    axes.set_ylabel("milliseconds a product (log)")
    least = [min(points[at][1] for points in found.values()) for at in (0, -1)]
    quickest = [" and ".join(name for name, points in found.items() if points[at][1] < 1.001 * each)
                for at, each in zip((0, -1), least, strict=True)]  # fmt: skip
    title = f"Fastest by the roofline: {quickest[0]} at 1 row, {quickest[1]} at {counts[-1]}"
    axes.set_title(title)
    at = lambda points: ", ".join(f"{ms:.2f} ms at {count}" for count, ms in (points[0], points[-1]))
    figure.alt = f"{title}. {'; '.join(f'{name} {at(points)}' for name, points in found.items())}."
    return figure


@styled
def price(points, *, title, unit="SQNR of the layer's output (dB)"):
    """Formats by what they cost and keep: {name: (bits a weight, dB)}. -> Figure"""
    figure, axes = palette.figure(height=4.6)
    apart, step = {}, np.ptp([kept for _, kept in points.values()]) / 60
    for name, (bits, kept) in points.items():  # one label where two points lie on each other
        same = [other for other, (b, k) in apart.items() if abs(b - bits) < 0.02 and abs(k - kept) < step]
        key = f"{same[0]} and {name}" if same else name
        apart[key] = apart.pop(same[0]) if same else (bits, kept)
    alone, points = points, apart
    names = sorted(points, key=lambda name: points[name][1])
    heights = [points[name][1] for name in names]
    gap = max(0.35, np.ptp(heights) / 18)
    left, right = min(bits for bits, _ in points.values()), max(bits for bits, _ in points.values())
    bend, column = (right + share * (right - left) for share in (0.03, 0.13))  # leaders do not cross before it
    for name, height in zip(names, spread(heights, gap), strict=True):
        bits, kept = points[name]
        axes.plot([bits, bend, column], [kept, kept, height], color="#C8C8C8", linewidth=0.7, zorder=1)
        colour = palette.INTEGER if "GPTQ" in name else palette.WEIGHTS  # all others are rounded to nearest
        axes.plot(bits, kept, "o", color=colour, markersize=7, markeredgecolor="white", zorder=3)
        axes.text(column, height, f" {name}", va="center", color=INK, fontsize=9)
    axes.set_xlim(left - 0.05 * (right - left), right + 0.75 * (right - left))
    axes.set_xticks([tick for tick in axes.get_xticks() if left - 0.1 <= tick <= right + 0.1])
    axes.set_xlabel("bits a weight, scales included")
    axes.set_ylabel(unit)
    axes.set_title(title)
    figure.alt = f"{title}. " + "; ".join(
        f"{name}: {bits:.2f} bits, {kept:.1f} dB"
        for name, (bits, kept) in sorted(alone.items(), key=lambda each: -each[1][1])
    )
    return figure


@styled
def before_and_after(rows, *, title):
    """Two panels: SQNR of the weights, and of the outputs: {layer: {"weights": (rtn, gptq), "output": ...}}."""
    figure, panels = palette.figure(1, 2, height=3.6, sharex=True, sharey=True)
    names = list(rows)
    for axes, which in zip(panels, ("weights", "output"), strict=True):
        for y, name in enumerate(names):
            before, after = rows[name][which]
            better = palette.INTEGER if after > before else palette.ERROR
            axes.plot([before, after], [y, y], color=better, linewidth=2)
            axes.plot(before, y, "o", color=palette.FP32)
            axes.plot(after, y, "D", color=better)
        axes.set_xlabel("SQNR (dB)")
        axes.set_title(f"of the {which}", fontsize=10, fontweight="normal")
        axes.grid(False, axis="y")
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    keys = [
        Line2D([], [], marker="o", linestyle="", color=palette.FP32, label="round to nearest"),
        Line2D([], [], marker="D", linestyle="", color=palette.INTEGER, label="GPTQ, better"),
        Line2D([], [], marker="D", linestyle="", color=palette.ERROR, label="GPTQ, worse"),
    ]
    figure.legend(handles=keys, loc="outside lower center", ncols=3, fontsize=9)
    figure.alt = f"{title}. SQNR by round-to-nearest and by GPTQ: " + "; ".join(
        f"{name}, {', '.join(f'{which} {a:.1f} and {b:.1f} dB' for which, (a, b) in row.items())}"
        for name, row in rows.items()
    )
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


@styled
def load(found, *, title):
    """What part of a core's time the products of a stream take, against the rows of a chunk. -> Figure

    found: {"fp32", "int8", "int4": [(rows of a chunk, milliseconds a chunk), ...]}
    """
    figure, axes = palette.figure(height=3.8)
    shares = {name: [(count, 100 * ms / (count * SENT_MS)) for count, ms in points] for name, points in found.items()}
    _lines(axes, shares)
    axes.set_xlabel(f"rows of a chunk, {SENT_MS} ms of sound each (log)")
    axes.set_ylabel("share of one core kept busy, % (log)")
    axes.set_title(title)
    figure.alt = f"{title}. " + "; ".join(
        f"{name}: {', '.join(f'{share:.2g} % at {count}' for count, share in points)}"
        for name, points in shares.items()
    )
    return figure


DEVICES = {name: about["what"] for name, about in words("12", "devices").items()}


def last_level_cache():
    """Bytes of the largest cache that the system tells of; where it tells nothing, 32 MB."""
    sizes = [_LEAST_CACHE]
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = file.read_text(encoding="ascii", errors="replace").strip()
        if text[:-1].isdigit() and text[-1] in "KMG":
            sizes.append(int(text[:-1]) << {"K": 10, "M": 20, "G": 30}[text[-1]])
    return max(sizes)


def more_than_caches():
    """Bytes that no cache here holds: twice the largest, at most 512 MB; under QLAB_FAST=1, for tests, 8 MB."""
    return 8 << 20 if in_haste() else min(512 << 20, 2 * last_level_cache())


BYTES_A_WEIGHT = {"fp32": 4, "int8": 1, "int4": 5 / 8}  # int4 in blocks of 32, with float32 scales


def chain(sort, shapes, *, level=4):
    """A session of products one after another: y = x W1 W2 ..., of the matrices' shapes [(K, N), ...].

    sort: "fp32" (MatMul), "int8" (as quantize_dynamic makes it: u8 activations, s8 weights) or "int4" (MatMulNBits in
    blocks of 32, at the accuracy level). The numbers are drawn, such that what flows through keeps its size.
    """
    nodes, tensors, x = [], [], "x"
    drawn = {shape: _drawn(sort, *shape) for shape in dict.fromkeys(shapes)}
    for place, shape in enumerate(shapes):
        y = f"y{place}"
        # Rolled: no two matrices are the same, and no runtime could keep one for all of them.
        held = [np.roll(array, place) if array.size > 1 else array for array in drawn[shape]]
        tensors += [numpy_helper.from_array(array, f"w{place}_{k}") for k, array in enumerate(held)]
        nodes += _product(sort, x, [f"w{place}_{k}" for k in range(len(held))], y, shape, level)
        x = y
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["rows", size])
            for name, size in (("x", shapes[0][0]), (x, shapes[-1][1]))]  # fmt: skip
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], tensors)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
    return open_session(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


def _drawn(sort, k, n):
    random = np.random.default_rng(k + n)
    if sort == "fp32":
        return [(random.standard_normal((k, n), np.float32) / np.float32(np.sqrt(k)))]
    if sort == "int8":
        codes = random.integers(-127, 128, (k, n)).astype(np.int8)
        return [codes, np.full(n, 1 / (73 * np.sqrt(k)), np.float32), np.zeros(n, np.int8)]
    codes = random.integers(0, 256, (n, k // 32, 16)).astype(np.uint8)
    return [codes, np.full(n * (k // 32), 1 / (4.6 * np.sqrt(k)), np.float32)]


def _product(sort, x, held, y, shape, level):
    if sort == "fp32":
        return [helper.make_node("MatMul", [x, *held], [y])]
    if sort == "int4":
        about = {"K": shape[0], "N": shape[1], "bits": 4, "block_size": 32, "accuracy_level": level}
        return [helper.make_node("MatMulNBits", [x, *held], [y], domain=MICROSOFT, **about)]
    codes, scale, zero = held
    return [
        helper.make_node("DynamicQuantizeLinear", [x], [f"{y}_q", f"{y}_s", f"{y}_z"]),
        helper.make_node("MatMulInteger", [f"{y}_q", codes, f"{y}_z", zero], [f"{y}_i"]),
        helper.make_node("Cast", [f"{y}_i"], [f"{y}_f"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [f"{y}_s", scale], [f"{y}_u"]),
        helper.make_node("Mul", [f"{y}_f", f"{y}_u"], [y]),
    ]


def race_rows(counts, *, most, rounds=9):
    """{"fp32", "int8", "int4": [(rows, milliseconds a product), ...]} by matrices of SIDE × SIDE.

    most: bytes of different matrices that pass before the first comes again; 0: one matrix, again and again.
    """
    sessions, held = {}, {}
    for name, width in BYTES_A_WEIGHT.items():
        held[name] = max(1, int(most / (width * SIDE**2)))
        sessions[name] = chain(name, [(SIDE, SIDE)] * held[name])
    found = {name: [] for name in sessions}
    for count in counts:
        times = rounds if count <= 16 else 3 if most else 7
        seconds = _seconds(sessions, count, SIDE, 2 if in_haste() else times, 1 if most else max(1, 16 // count))
        for name, each in seconds.items():
            found[name].append((count, 1e3 * each / held[name]))
    return found


def _seconds(sessions, count, width, rounds, repeats=1):
    """{name: median seconds} of sessions run in turn on that many rows."""
    x = {"x": np.random.default_rng(count).standard_normal((count, width), np.float32)}
    actions = {name: partial(session.run, None, x) for name, session in sessions.items()}
    taken = interleave(actions, rounds, repeats=dict.fromkeys(actions, repeats))
    return {name: float(np.median(each)) for name, each in taken.items()}


def race(sessions, counts, width, *, rounds=9, repeats=1):
    """{name: [(rows, milliseconds), ...]} of sessions run in turn, each so often before the next.

    Once each, and what a session finds in the caches is what the others left there; often, and it is its own.
    """
    found = {name: [] for name in sessions}
    for count in counts:
        for name, each in _seconds(sessions, count, width, 2 if in_haste() else rounds, repeats).items():
            found[name].append((count, 1e3 * each))
    return found


STREAMED = [(256, 2048), (2048, 256)] * 24  # (K, N)


def stream(sort):
    """A session of the feed-forward products of a conformer of the article's size: 12 blocks, 2 a block, 256 × 2048."""
    return chain(sort, STREAMED[:8] if in_haste() else STREAMED)


def bnb4_session(size, block_size=32):
    """A session of MatMulBnb4, NF4, by a square matrix of drawn codes."""
    random = np.random.default_rng(4)
    codes = random.integers(0, 256, size * size // 2).astype(np.uint8)
    scales = np.full(size * size // block_size, 1 / np.sqrt(size), np.float32)
    x = np.zeros((1, size), np.float32)
    about = {"K": size, "N": size, "block_size": block_size, "quant_type": 1}
    return operator_session("MatMulBnb4", x, codes, scales, domain=MICROSOFT, **about)


def fed_product(size):
    """What runs as a session does: a float product by a matrix fed on each call, so that nothing is prepared."""
    node = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)  # as MatMulBnb4 holds it: a row for each output
    x, w, y = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", ["rows", size]), ("w", [size, size]), ("y", ["rows", size]))
    )
    graph = helper.make_graph([node], "fed", [x, w], [y])
    opsets = [helper.make_opsetid("", 21)]
    session = open_session(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())
    held = np.random.default_rng(size).standard_normal((size, size), np.float32)
    return SimpleNamespace(run=lambda names, feed: session.run(names, {**feed, "w": held}))


def crossing(found, first, second):
    """The fewest rows measured from which on `first` is the faster of two at every count, or None."""
    ahead = [mine < other for (_, mine), (_, other) in zip(found[first], found[second], strict=True)]
    at = len(ahead)
    while at and ahead[at - 1]:
        at -= 1
    return found[first][at][0] if at < len(ahead) else None


def signed_scale(block, bits=4):
    """A scale for each column of a block [rows, columns]: its largest magnitude becomes the code -2**(bits - 1)."""
    extreme = np.take_along_axis(block, np.abs(block).argmax(axis=0)[None], axis=0)[0]
    return np.where(extreme == 0, 1, extreme / -(2 ** (bits - 1)))


def to_nearest(weight, bits, block_size):
    """(codes int8 [K, N], scales float32 [blocks, N]) of a weight [K, N], cut into blocks along K."""
    return _by_column(blockwise.round_to_nearest(weight.T, bits=bits, block_size=block_size))


def gptq(weight, hessian, bits, block_size):
    """The same by GPTQ, hessian float64 [K, K]."""
    return _by_column(blockwise.gptq(weight.T, hessian, bits=bits, block_size=block_size))


def _by_column(codes):
    """BlockCodes, a row for each output, as a product has them: a column for each output, codes around 0."""
    return (codes.codes.T.astype(np.int16) - 2 ** (codes.bits - 1)).astype(np.int8), codes.scales.T


def told(codes, scales, block_size):
    """The weight [K, N] that codes and scales stand for, float32."""
    return (codes * np.repeat(scales, block_size, axis=0)[: len(codes)]).astype(np.float32)


def wrong_turn(weight, hessian, bits, block_size, turn):
    """The codes of GPTQ with one of the mistakes of `_WRONG_TURNS`, for messages that name it."""
    rows = weight.astype(np.float64)
    damped = hessian + blockwise.DAMPING * np.mean(np.diag(hessian)) * np.eye(len(rows))
    inverse = damped if turn == "hessian" else np.linalg.inv(damped)
    passing = inverse if turn == "inverse" else np.linalg.cholesky(inverse).T
    passing = np.linalg.inv(np.linalg.cholesky(damped)).T if turn == "other factor" else passing
    most, codes = 2 ** (bits - 1), np.empty(weight.shape, np.int8)
    for k, row in enumerate(rows):
        if k % block_size == 0:
            scale = signed_scale(rows[k : k + block_size], bits)
        codes[k] = np.clip(np.rint(row / scale), -most, most - 1)
        whole = weight[k] if turn == "first weight" else row
        error = (whole - codes[k] * scale) / (1 if turn == "undivided" else passing[k, k])
        rows[k + 1 :] -= (-1 if turn == "sign" else 1) * np.outer(passing[k, k + 1 :], error)
    return codes


def pack(codes):
    """Bytes uint8 [..., n / 2] of codes -8 to 7, [..., n]: code + 8, the first of two in the low half."""
    return blockwise.pack(np.asarray(codes, np.int8) + np.int8(8), 4)


def unpack(packed_bytes):
    """Codes int8 -8 to 7, [..., 2 m], of bytes [..., m]."""
    return blockwise.unpack(packed_bytes, 4).astype(np.int8) - np.int8(8)


def in_the_street():
    """Every fourth test sentence, in street noise of 5 dB; under QLAB_FAST=1, for tests, every eighth."""
    return [in_noise("test", place, 5) for place in fewer(range(3, len(models.utterances("test")), 4))]


@cache
def conformer():
    """(the speech model, {name: its Linear layer of notebook 04}) of the feed-forward and attention layers."""
    model = onnx.load(models.path("conformer"))
    biases = [tensor.name.removesuffix(".bias") for tensor in model.graph.initializer if tensor.name.endswith(".bias")]
    chosen = [name for name in biases if ("feed_forward" in name or "self_attn" in name) and "norm" not in name]
    return model, {name.removeprefix("encoder.encoders."): linear(model, name) for name in chosen}


def entering(utterances, names):
    """{layer: its inputs, float32 [rows, K]} of all sentences together."""
    model, layers = conformer()
    inside = [layers[name].enters for name in names]
    session, met = watching(model, list(dict.fromkeys(inside))), {name: [] for name in names}
    for utterance in utterances:
        found = dict(zip(dict.fromkeys(inside), session.run(list(dict.fromkeys(inside)),
                     models.feed(utterance.samples)), strict=True))  # fmt: skip
        for name, tensor in zip(names, inside, strict=True):
            met[name].append(found[tensor].reshape(-1, found[tensor].shape[-1]))
    return {name: np.concatenate(parts) for name, parts in met.items()}


def nbits_session(packed_codes, scales, k, *, block_size, zero_points=None, level=1, rows=1):
    """A session of MatMulNBits by codes [N, blocks, block_size / 2] and scales [N, blocks]."""
    held = [packed_codes, np.ascontiguousarray(scales).ravel()]
    held += [] if zero_points is None else [zero_points]
    about = {"K": k, "N": len(packed_codes), "bits": 4, "block_size": block_size, "accuracy_level": level}
    return operator_session("MatMulNBits", np.zeros((rows, k), np.float32), *held, domain=MICROSOFT, **about)


# ---- 12.1


def _mistakes_of_packing(codes):
    shifted, half = (codes + 8).astype(np.uint8), codes.shape[-1] // 2
    signed, whole = codes.astype(np.uint8) & 15, codes.astype(np.uint8)
    return {
        "the two halves are swapped: the first code belongs in the low half": shifted[..., 1::2]
        | shifted[..., 0::2] << 4,
        "these are the codes without the 8: MatMulNBits takes 8 off what it reads": signed[..., 0::2]
        | signed[..., 1::2] << 4,
        "negative codes have ones in their upper bits, which spoil the other half: add 8 first, then none is": whole[
            ..., 0::2
        ]
        | whole[..., 1::2] << 4,
        "the bits are right, but read as int8: make uint8 of the codes before you shift": pack(codes).astype(np.int8),
        "the first half of the codes is packed with the second: neighbours belong together": shifted[..., :half]
        | shifted[..., half:] << 4,
    }


def _mistakes_of_unpacking(packed_bytes):
    low, high = (packed_bytes & 15).astype(int), (packed_bytes >> 4).astype(int)
    woven = lambda a, b: np.stack([a, b], axis=-1).reshape(*packed_bytes.shape[:-1], -1)
    whole = lambda codes: np.where(codes > 7, codes - 16, codes)
    return {
        "the high half came first: the first code lies in the low half": woven(high, low) - 8,
        "8 is still to be taken off": woven(low, high),
        "uint8 has no numbers below 0, so it wraps around: make int8 of the halves before you take 8 off": (
            woven(low, high) - 8
        )
        % 256,
        "the halves were read as numbers with a sign: they are 0 to 15, 8 too many": whole(woven(low, high)),
        "all low halves, then all high ones: neighbours lie in one byte": np.concatenate([low, high], axis=-1) - 8,
    }


def _named(seen, expected, what, mistakes):
    for said, wrong in mistakes.items():
        if np.array_equal(seen, wrong) and not np.array_equal(wrong, expected):
            raise Almost(f"{what}: {said}")
    if not np.array_equal(seen, expected):
        place = tuple(int(at) for at in np.argwhere(seen != expected)[0])
        raise Almost(f"{what} at {place}: expected {expected[place]}, seen {seen[place]}")


@exercise("12.1", "two codes in a byte", place=("pack", "unpack"), otherwise=(pack, unpack))
def _(answer):
    packs, unpacks = pair_of(answer, "pack", "unpack")
    random = np.random.default_rng(121)
    cases = [np.arange(-8, 8, dtype=np.int8), random.integers(-8, 8, (3, 5, 16)).astype(np.int8),
             random.integers(-8, 8, (40, 2, 32)).astype(np.int8)]  # fmt: skip
    for codes in cases:
        what, expected = f"pack of codes {codes.shape}", pack(codes)
        seen = expect_shape(call(packs, codes, name="pack"), expected.shape, what)
        _named(seen, expected, what, _mistakes_of_packing(codes))
        expect_dtype(seen, np.uint8, what)
    if unpacks is None:
        raise Almost('pack is right; now unpack, and check both: check("12.1", (pack, unpack))')
    for codes in cases:
        what = f"unpack of bytes {pack(codes).shape}"
        seen = expect_shape(call(unpacks, pack(codes), name="unpack"), codes.shape, what)
        _named(seen, codes, what, _mistakes_of_unpacking(pack(codes)))
    codes, x = cases[-1], random.normal(size=(2, 64)).astype(np.float32)
    scales = (0.1 + random.random((40, 2))).astype(np.float32)
    (y,) = nbits_session(np.asarray(call(packs, codes, name="pack")), scales, 64, block_size=32).run(None, {"x": x})
    kept = sqnr_db(x @ (codes * scales[..., None]).reshape(40, 64).T, y)
    if kept < 80:
        raise Almost(f"onnxruntime's MatMulNBits with your bytes agrees to {kept:.0f} dB only")
    return f"all 256 bytes both ways, and MatMulNBits of onnxruntime reads yours: {kept:.0f} dB"


# ---- 12.2


@cache
def _real_layer():
    """(weight [144, 48], Hessian, inputs of other sentences) of a feed-forward layer of the speech model."""
    name = "3.feed_forward.w_1"
    weight = conformer()[1][name].weight[:, ::12]
    x = entering(models.utterances("calibration")[:6], [name])[name].astype(np.float64)
    return weight, x.T @ x, entering(models.utterances("test")[:3], [name])[name]


_WRONG_TURNS = {
    "hessian": "this is what comes of the Hessian where its inverse belongs: cholesky(inv(H))",
    "inverse": "this is what comes of the rows of H⁻¹ as they are: it still knows the rows that are done. Take "
    "the Cholesky factor's, cholesky(inv(H)).T",
    "other factor": "this U is upper too, but of U Uᵀ = H⁻¹; wanted is Uᵀ U = H⁻¹: cholesky(inv(H)).T",
    "first weight": "the error is taken from the weight as it was: compare row k as it stands when it is rounded",
    "sign": "the error is passed on with the wrong sign: what row k lost, the rows behind it must make good",
    "undivided": "the error is not divided by the factor's diagonal entry, U[k, k]",
}


def _codes_and_scales(answer, weight, hessian, bits, block_size, said):
    given = weight.copy()
    given.flags.writeable = False  # as the notebook's are
    try:
        seen = call(partial(answer, given) if callable(answer) else answer, hessian, bits, block_size, name="gptq")
    except Almost as error:
        why = ""
        if isinstance(error.__cause__, np.linalg.LinAlgError):
            why = ". Was the Hessian damped? An input that is always 0, or fewer rows than inputs, leave it singular"
        elif isinstance(error.__cause__, ValueError) and "read-only" in str(error.__cause__):
            why = ". The weight that comes in is not to be changed: work on a copy"
        raise Almost(f"{said}: {error}{why}") from None
    if not isinstance(seen, tuple | list) or len(seen) != 2:
        raise Almost(f"{said}: expected (codes, scales), seen {brief(seen)}")
    blocks = -(-len(weight) // block_size)
    if np.shape(seen[0]) == (blocks, weight.shape[1]) != weight.shape:
        raise Almost(f"{said}: the two are swapped: (codes, scales)")
    codes = expect_shape(seen[0], weight.shape, f"{said}: codes")
    scales = expect_shape(seen[1], (blocks, weight.shape[1]), f"{said}: scales")
    if not np.isfinite(codes).all() or not np.isfinite(scales).all():
        raise Almost(f"{said}: NaN or infinite codes or scales: was the Hessian damped, and is no scale 0?")
    if np.any(codes != np.rint(codes)):
        raise Almost(f"{said}: codes are whole numbers, seen {codes[codes != np.rint(codes)][0]:.4g}: divide by scales")
    most = 2 ** (bits - 1)
    if codes.min() < -most or codes.max() > most - 1:
        raise Almost(f"{said}: codes from {codes.min():g} to {codes.max():g}; {bits} bits hold {-most} to {most - 1}")
    return codes.astype(int), scales.astype(np.float32)


def _alike(one, other):
    """Share of codes that agree."""
    return float(np.mean(one == other))


def _judge_diagonal(answer):
    random = np.random.default_rng(122)
    weight = random.normal(size=(40, 12)).astype(np.float32)
    diagonal = np.diag(np.float64(random.random(40) + 0.2))
    said = "a diagonal Hessian"
    codes, scales = _codes_and_scales(answer, weight, diagonal, 4, 16, said)
    expected, its_scales = to_nearest(weight, 4, 16)
    if not np.allclose(scales, its_scales, rtol=1e-4):
        place = tuple(int(at) for at in np.argwhere(~np.isclose(scales, its_scales, rtol=1e-4))[0])
        raise Almost(
            f"{said}: scale at {place}: expected {its_scales[place]:.4g}, seen {scales[place]:.4g}. No error is passed "
            "on here, so they are signed_scale of the weight's own blocks"
        )
    if _alike(codes, expected) < 0.998:
        share = 1 - _alike(codes, expected)
        raise Almost(f"{said}: nothing can be passed on, so the codes are round-to-nearest's; {share:.0%} differ")


def _judge_real(answer, bits, block_size):
    weight, hessian, x = _real_layer()
    said = f"a real layer, {bits} bits in blocks of {block_size}"
    codes, scales = _codes_and_scales(answer, weight, hessian, bits, block_size, said)
    y, nearest = x @ weight, to_nearest(weight, bits, block_size)
    of = lambda pair: sqnr_db(y, x @ told(*pair, block_size))
    seen, plain, best = of((codes, scales)), of(nearest), of(gptq(weight, hessian, bits, block_size))
    if seen >= plain + 0.75 * (best - plain):
        if np.mean(np.isclose(scales[1:], nearest[1][1:], rtol=1e-4)) > 0.5:
            raise Almost(
                f"{said}: from the second block on the scales are those of the weight as it came; find a "
                "block's scales when it begins, from the rows as they stand then"
            )
        _judge_damping(codes, weight, hessian, bits, block_size, said)
        return plain, seen
    if _alike(codes, nearest[0]) > 0.995:
        raise Almost(
            f"{said}: the codes are round-to-nearest's: is what row k lost passed on to the rows behind it? (NumPy's "
            "cholesky gives the lower triangle, in which nothing stands right of the diagonal: take its transpose)"
        )
    for turn, why in _WRONG_TURNS.items():
        if _alike(codes, wrong_turn(weight, hessian, bits, block_size, turn)) > 0.97:
            raise Almost(f"{said}: {why}")
    if len(scales) > 1 and np.allclose(scales, scales[:1], rtol=1e-6):
        raise Almost(f"{said}: all blocks have the first one's scale: find it anew where k % block_size is 0")
    raise Almost(
        f"{said}: on other sentences the output keeps {seen:.1f} dB; round-to-nearest {plain:.1f}, GPTQ {best:.1f}"
    )


def _judge_damping(codes, weight, hessian, bits, block_size, said):
    """Almost, if another damping than 1 % of the mean of the diagonal gives these codes."""
    codes_of = lambda h: gptq(weight, h, bits, block_size)[0]
    mean, alike = np.mean(np.diag(hessian)), _alike(codes, codes_of(hessian))
    for what, damping in (
        ("10 % of that mean", 0.1 * mean),
        ("0.01 itself, or of none. Was the Hessian damped?", 0.01),
    ):
        more = (damping - 0.01 * mean) / 1.01  # gptq adds 1 % of the mean, this included
        if _alike(codes, codes_of(hessian + more * np.eye(len(hessian)))) > max(alike, 0.97):
            raise Almost(f"{said}: damping is 1 % of the mean of the Hessian's diagonal; these codes come of {what}")


@exercise("12.2", "GPTQ", place="gptq", otherwise=gptq)
def _(answer):
    _judge_diagonal(answer)
    kept = [_judge_real(answer, bits, block_size) for bits, block_size in ((4, 32), (3, 64), (2, 128))]
    weight, hessian, _ = _real_layer()
    dead = hessian.copy()
    dead[5], dead[:, 5] = 0, 0  # an input that is always 0
    _codes_and_scales(answer, weight, dead, 4, 32, "a Hessian with an input that is always 0")
    gains = ", ".join(f"{plain:.1f} -> {seen:.1f}" for plain, seen in kept)
    return f"a diagonal Hessian gives round-to-nearest; on other sentences, dB of the output at 4, 3, 2 bits: {gains}"


# ---- 12.3


def bits_per_weight(k, bits, block_size, scale_bits, zero_points=False, group=None):
    """Bits that a column of k weights takes, a weight: padded codes, scales, packed zero points, scales of scales."""
    blocks = -(-k // block_size)
    total = blocks * (block_size * bits + scale_bits)
    if zero_points:
        total += 8 * -(-blocks * bits // 8)
    if group is not None:
        total += 32 * -(-blocks // group)
    return total / k


_FORMATS = (  # what is said, (k, bits, block_size, scale_bits, zero_points, group)
    ("int4 in blocks of 32, float32 scales", (576, 4, 32, 32, False, None)),
    ("the same, float16 scales", (576, 4, 32, 16, False, None)),
    ("a short last block", (144, 4, 32, 32, False, None)),
    ("zero points", (1024, 4, 128, 32, True, None)),
    ("zero points of an odd number of blocks", (160, 4, 32, 16, True, None)),
    ("2 bits with zero points, a short last block", (144, 2, 64, 32, True, None)),
    ("MXFP4", (2048, 4, 32, 8, False, None)),
    ("NF4 with double quantization (QLoRA)", (32768, 4, 64, 8, False, 256)),
    ("8-bit scales in groups, the last one short", (576, 4, 32, 8, False, 16)),
    ("one block a column", (2048, 8, 2048, 32, False, None)),
)


def _mistakes_of_bits(k, bits, block_size, scale_bits, zero_points, group):
    blocks, whole = -(-k // block_size), k / block_size
    zeros, more = (8 * -(-blocks * bits // 8) if zero_points else 0), (32 * -(-blocks // group) if group else 0)
    yield "the short last block is padded to block_size codes", (k * bits + blocks * scale_bits + zeros + more) / k
    yield (
        "divide by k itself, not by the length that the padded blocks have",
        (blocks * (block_size * bits + scale_bits) + zeros + more) / (blocks * block_size),
    )
    yield (
        "a short last block has a scale as well: round the number of blocks up",
        (whole * (block_size * bits + scale_bits) + zeros + more) / k,
    )
    yield (
        "the short last block is left out: round the number of blocks up",
        (k // block_size * (block_size * bits + scale_bits) + zeros + more) / k,
    )
    yield "the zero points are missing", (blocks * (block_size * bits + scale_bits) + more) / k
    yield (
        "a column's zero points fill whole bytes",
        (blocks * (block_size * bits + scale_bits) + blocks * bits * bool(zero_points) + more) / k,
    )
    yield "the scales of the scales are missing", (blocks * (block_size * bits + scale_bits) + zeros) / k
    yield (
        "a short last group has a scale as well: round the number of groups up",
        (blocks * (block_size * bits + scale_bits) + zeros + (32 * blocks / group if group else 0)) / k,
    )
    yield (
        "`group` scales share one more scale: it does not take a scale for each",
        (blocks * (block_size * bits + scale_bits) + zeros + 32 * (group or 0)) / k,
    )
    yield "that is in bytes", bits_per_weight(k, bits, block_size, scale_bits, zero_points, group) / 8
    yield "the scales are missing", (blocks * block_size * bits + zeros + more) / k
    yield (
        "that is for the column, not for a weight",
        bits_per_weight(k, bits, block_size, scale_bits, zero_points, group) * k,
    )
    yield "one scale is shared by a block's weights, not had by each", bits + scale_bits


@exercise("12.3", "bits a weight", place="bits_per_weight", otherwise=bits_per_weight)
def _(answer):
    for said, asked in _FORMATS:
        expected = bits_per_weight(*asked)
        seen = expect_number(call(answer, *asked, name="bits_per_weight"), said)
        if math.isclose(seen, expected, rel_tol=1e-6):
            continue
        fit = (name for name, wrong in _mistakes_of_bits(*asked) if math.isclose(seen, wrong, rel_tol=1e-6))
        why = "; or: ".join(fit)  # two mistakes may give the same number
        raise Almost(f"{said}: expected {expected:.4f} bits, seen {seen:.4f}{': ' * bool(why)}{why}")
    for (k, n), block_size, symmetric in (((144, 24), 32, True), ((144, 24), 32, False), ((576, 8), 128, False)):
        stored = 8 * sum(tensor.nbytes for tensor in _written(k, n, block_size, symmetric)) / (k * n)
        seen = expect_number(call(answer, k, 4, block_size, 32, not symmetric, None, name="bits_per_weight"))
        if not math.isclose(seen, stored, rel_tol=1e-6):
            raise Almost(f"onnxruntime's file of a {k} × {n} weight has {stored:.4f} bits a weight, yours {seen:.4f}")
    return f"{len(_FORMATS)} formats, and the bytes that onnxruntime's quantizer wrote for three weights"


@cache
def _written(k, n, block_size, symmetric):
    """The tensors that onnxruntime's quantizer writes for a weight of k × n."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    from qlab.recipes.quantizers import captured_logs

    weight = np.random.default_rng(k).normal(size=(k, n)).astype(np.float32)
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, size])
            for name, size in (("x", k), ("y", n))]  # fmt: skip
    body = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"], name="product")], "product", ends[:1],
                             ends[1:], [numpy_helper.from_array(weight, "w")])  # fmt: skip
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    with captured_logs():
        quantizer = MatMulNBitsQuantizer(model, block_size=block_size, is_symmetric=symmetric)
        quantizer.process()
    return [numpy_helper.to_array(tensor) for tensor in quantizer.model.model.graph.initializer if tensor.name != "w"]


# ---- 12.4


def nbits_model(codes, scales, block_size, level):
    """A model x [T, K] -> y [T, N] of one MatMulNBits: codes int8 [K, N], scales float32 [blocks, N]."""
    (k, n), blocks = codes.shape, len(scales)
    padded = np.pad(codes, ((0, blocks * block_size - k), (0, 0)))
    held = {"codes": pack(padded.T.reshape(n, blocks, block_size)), "scales": np.ascontiguousarray(scales.T).ravel()}
    about = {"K": k, "N": n, "bits": 4, "block_size": block_size, "accuracy_level": level}
    node = helper.make_node("MatMulNBits", ["x", "codes", "scales"], ["y"], domain=MICROSOFT, **about)
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["T", size])
            for name, size in (("x", k), ("y", n))]  # fmt: skip
    tensors = [numpy_helper.from_array(array, name) for name, array in held.items()]
    graph = helper.make_graph([node], "product", ends[:1], ends[1:], tensors)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def _judge_node(model, k, n, block_size, level, said):
    if not isinstance(model, onnx.ModelProto):
        raise Almost(f"{said}: expected an onnx.ModelProto, seen {brief(model)}, a `{kind(model)}`")
    found = [node for node in model.graph.node if node.op_type == "MatMulNBits"]
    if len(found) != 1:
        names = ", ".join(sorted({node.op_type for node in model.graph.node})) or "nothing"
        raise Almost(f"{said}: expected one MatMulNBits, seen {len(found)} among {names}")
    (node,) = found
    if node.domain != MICROSOFT:
        raise Almost(f'{said}: MatMulNBits is no operator of ONNX itself: domain="{MICROSOFT}", seen {node.domain!r}')
    if MICROSOFT not in {entry.domain for entry in model.opset_import}:
        raise Almost(f"{said}: the model's opset_imports lack the domain {MICROSOFT!r}, version 1")
    about = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    if (about.get("K"), about.get("N")) == (n, k) != (k, n):
        raise Almost(f"{said}: K and N are swapped: K, {k}, is what the product sums over")
    asked = {"K": k, "N": n, "block_size": block_size, "accuracy_level": level}
    wrong = [f"{name}={about.get(name, 'missing')}, asked for {value}" for name, value in asked.items()
             if about.get(name, 0 if name == "accuracy_level" else None) != value]  # fmt: skip
    if about.get("bits", 4) != 4:
        wrong.append(f"bits={about['bits']}, asked for 4")
    if wrong:
        raise Almost(f"{said}: {'; '.join(wrong)}")
    return node


def _judge_tensors(model, node, codes, scales, block_size, said):
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    (k, n), blocks = codes.shape, len(scales)
    if any(name not in held for name in node.input[1:3]) or len(node.input) < 3:
        raise Almost(f"{said}: the node reads {list(node.input)}: x, the packed codes, the scales; the last two stored")
    bytes_, its_scales = held[node.input[1]], held[node.input[2]].ravel()
    if bytes_.dtype != np.uint8 or bytes_.shape != (n, blocks, block_size // 2):
        raise Almost(
            f"{said}: the codes are {bytes_.dtype} {bytes_.shape}; expected uint8 of shape "
            f"({n}, {blocks}, {block_size // 2}): each column's blocks, the last one padded, two codes a byte"
        )
    if its_scales.dtype != np.float32:
        raise Almost(f"{said}: the scales are {its_scales.dtype}; where x is float32 they are float32 too")
    expected = np.pad(codes, ((0, blocks * block_size - k), (0, 0))).T.ravel()
    inside = np.arange(blocks * block_size * n) % (blocks * block_size) < k
    seen = unpack(bytes_.ravel())
    if not np.array_equal(seen[inside], expected[inside]):
        rows = np.pad(codes, ((0, blocks * block_size - k), (0, 0)))
        turned = {
            "they lie row by row: MatMulNBits wants column after column; transpose to (N, K) first": rows.ravel(),
            "8 is to be added before packing (your `pack` of 12.1 does it)": expected - 8 + 16 * (expected < 0),
        }
        why = next((f": {name}" for name, wrong in turned.items() if np.array_equal(seen, wrong)), "")
        raise Almost(f"{said}: the packed codes are not the weight's{why}")
    if its_scales.size != n * blocks or not np.allclose(its_scales, scales.T.ravel()):
        same = its_scales.size == n * blocks and np.allclose(its_scales, scales.ravel())
        shape = held[node.input[2]].shape
        other = f"are {shape} of other numbers; expected the ({blocks}, {n}) given, column by column"
        turned = "lie block by block; like the codes, they go column after column: scales.T"
        raise Almost(f"{said}: the scales {turned if same else other}")


@exercise("12.4", "a node MatMulNBits by hand", place="nbits_model", otherwise=nbits_model)
def _(answer):
    random, said_of = np.random.default_rng(124), []
    for (k, n), block_size, level in (((64, 24), 32, 1), ((144, 20), 32, 4), ((96, 96), 16, 4), ((144, 12), 128, 1)):
        said = f"a {k} × {n} weight in blocks of {block_size}, level {level}"
        codes, scales = to_nearest(random.normal(size=(k, n)).astype(np.float32), 4, block_size)
        model = call(answer, codes, scales, block_size, level, name="nbits_model")
        node = _judge_node(model, k, n, block_size, level, said)
        _judge_tensors(model, node, codes, scales, block_size, said)
        for rows in (1, 5):
            x = random.normal(size=(rows, k)).astype(np.float32)
            try:
                session = open_session(model.SerializeToString())
                (y,) = session.run(None, {session.get_inputs()[0].name: x})
            except Exception as error:
                fixed = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][:1] if rows > 1 else []
                why = f"x is declared with {fixed[0]} row; leave T open, a name or None. " if any(fixed) else ""
                raise Almost(f"{said}: {why}onnxruntime does not run it on {rows} rows: {error_text(error)}") from None
            kept = sqnr_db(x @ told(codes, scales, block_size), expect_array(y, "y"))
        if kept < (80 if level == 1 else 30):
            raise Almost(f"{said}: onnxruntime's result is {kept:.0f} dB from the product by the weights told")
        said_of.append(f"level {level} {min(kept, 150):.0f} dB")
    return f"four models, run by onnxruntime; against the float product: {', '.join(said_of)}"


# ---- 12.5


@exercise("12.5", "one for a phone, one for a server")
def _(answer):
    return judge_choice(answer, words("12", "devices"))
