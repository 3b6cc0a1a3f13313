"""Notebook 04: shapes of scales, blocks, effective bits, which scales leave the sum, what onnxruntime makes of them.

Its pictures come first, then what it and its checks use.
"""

import math
import tempfile
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.patches import Rectangle
from onnx import TensorProto, numpy_helper

from qlab import (
    PerAxis,
    PerBlock,
    PerTensor,
    PerToken,
    choose_qparams,
    fake_quantize,
    models,
    palette,
    quantize,
    sqnr_db,
)
from qlab.course.expect import (
    call,
    expect_array,
    expect_close,
    expect_dtype,
    expect_number,
    expect_shape,
    two_functions,
)
from qlab.course.lessons import exercise, words
from qlab.course.lessons.common import linear
from qlab.course.plots.schematic import Schematic
from qlab.course.show import Almost, NotYet, brief, error_text, kind
from qlab.numerics.granularity import bits_per_element
from qlab.palette import styled
from qlab.runtime import run_operator

SHARES = {  # what the widget offers, for a matrix (rows, columns)
    "one scale for all": lambda block_size: PerTensor(),
    "one scale a row": lambda block_size: PerAxis(0),
    "one scale a column": lambda block_size: PerAxis(1),
    "one scale a block of a row": partial(PerBlock, 1),
    "one scale a block of a column": partial(PerBlock, 0),
}
_SHOWN = 160  # rows and columns that are drawn: about as many as there are pixels to show them


@styled
def shared_scales(x, shares, block_size, bits):
    """Left |x|, right |error| of symmetric integer codes; the title counts scales, SQNR and effective bits. -> Figure

    x: float32 (rows, columns), of which the first 160 by 160 are drawn and all are measured. shares: a key of `SHARES`;
    block_size matters to blocks only. Full red is half a step of one scale for all: the largest error that it makes.
    """
    granularity = SHARES[shares](block_size)
    qparams = choose_qparams(x, f"int{bits}", symmetric=True, granularity=granularity)
    approximation = fake_quantize(x, qparams)
    half_step = float(np.abs(x).max()) / (2**bits - 2)
    figure, (left, right) = palette.figure(1, 2, height=3.7, layout=None, sharey=True)
    figure.subplots_adjust(left=0.08, right=0.97, top=0.82, bottom=0.13, wspace=0.1)
    _draw(figure, left, x, palette.WEIGHTS, "|value|, colours by square root", float(np.abs(x).max()))
    _draw(figure, right, approximation - x, palette.ERROR, "|error|; full red: half a step of one scale", half_step)
    left.set_ylabel(_counted("row", x.shape[0]))
    for axes in (left, right):
        axes.set_xlabel(_counted("column", x.shape[1]))
    cost = bits_per_element(x.shape, bits, granularity, scale_dtype="float16")
    scales = f"{qparams.scale.size:,} scale" + ("s" if qparams.scale.size > 1 else "")
    figure.suptitle(
        f"{scales}: SQNR {sqnr_db(x, approximation):.1f} dB for {cost:.2f} bits a number",
        x=0.01, ha="left", fontsize=12, fontweight="bold",
    )  # fmt: skip
    return figure


def _draw(figure, axes, values, ink, said, top):
    ramp = LinearSegmentedColormap.from_list(said, ["white", ink])
    norm = PowerNorm(0.5, 0, top) if ink == palette.WEIGHTS else None
    limits = {"norm": norm} if norm else {"vmin": 0, "vmax": top}
    drawn = axes.imshow(np.abs(values[:_SHOWN, :_SHOWN]), cmap=ramp, aspect="auto", interpolation="nearest", **limits)
    figure.colorbar(drawn, ax=axes, pad=0.02, aspect=30)
    axes.set_title(said, fontsize=10, fontweight="normal")
    axes.grid(False)


def _counted(what, count):
    return what if count <= _SHOWN else f"{what} (first {_SHOWN} of {count:,})"


def who_shares():
    """The same 4 × 10 numbers under five granularities, and how a row in blocks lies in memory."""
    shape, kinds = (4, 10), (PerTensor(), PerAxis(0), PerAxis(1), PerToken(), PerBlock(1, 4))
    counts = [math.prod(each.scale_shape(shape)) for each in kinds]
    s = Schematic(
        20,
        5.3,
        title=f"The same 4 × 10 numbers share {', '.join(map(str, counts[:-1]))} or {counts[-1]} scales",
        alt="Five grids of 4 by 10 cells, cut into the groups that share a scale, with the shape of the scales below: "
        "() for PerTensor, (4,) for PerAxis(0), (10,) for PerAxis(1), (4, 1) for PerToken, (4, 3) for PerBlock(1, 4). "
        "Below, a row of the last in memory: ten codes as 4, 4 and 2, then three scales.",
    )
    for place, each in enumerate(kinds):
        name = f"{type(each).__name__}({', '.join(map(str, vars(each).values()))})"
        _grid(s, 0.35 + 4 * place, shape, each, name)
    s.text(0.35, 1.95, "a row of the last one in memory:", align="left", size=9)
    for block, start in enumerate((0, 4, 8)):
        codes = [f"q{index}" for index in range(start, min(start + 4, 10))]
        left, width = 0.35 + 0.9 * start + 0.3 * block, 0.9 * len(codes)
        s.cells(left, 1.2, codes, kind="integer", size=0.9, height=0.6)
        said = "block of 4" if len(codes) == 4 else "short: 2"
        s.bracket(left + 0.05, left + width - 0.05, 0.78, said, up=False)
    s.cells(11.6, 1.2, ["s0", "s1", "s2"], kind="fp32", size=0.9, height=0.6)
    s.bracket(11.65, 14.25, 0.78, "their scales, one each", up=False)
    s.text(15.0, 1.2, "codes: 4 or 8 bits each\nscales: 8 to 32 bits each", align="left", size=9)
    return s.figure


def _grid(s, left, shape, each, name):
    """One matrix whose cells stand apart where the scale changes."""
    number = each.spread(np.arange(math.prod(each.scale_shape(shape))).reshape(each.scale_shape(shape)), shape)
    number = np.broadcast_to(number, shape)
    s.text(left + 1.65, 5.0, name, bold=True)
    s.text(left + 1.65, 2.55, f"scales {each.scale_shape(shape)}", size=9)
    for row, column in product(*map(range, shape)):
        across = len(set(number[row, : column + 1])) - 1
        down = len(set(number[: row + 1, column])) - 1
        s.cells(left + 0.27 * column + 0.08 * across, 4.55 - 0.35 * row - 0.13 * down, [""], kind="fp32", size=0.27)


def the_sum():
    """Where a scale may stand: after the whole sum, inside it, or after short sums."""
    s = Schematic(
        20,
        8.1,
        title="A scale that does not depend on k leaves the sum",
        alt="Three sums of four products of codes. Where all terms share their scales, codes are summed in int32 and "
        "scaled afterwards. Where each term has a scale of its own, it is scaled before the sum, in float32. Where "
        "pairs share a scale, two short int32 sums are scaled and added in float32.",
    )
    code = "qx{0} · qw{0}"
    end = _row(s, 6.6, "1. the same scales for all k", [code.format(k) for k in range(4)], kind="integer")
    s.bracket(1.0, end, 6.1, "one integer product: int32", kind="integer", up=False)
    _ends_in(s, 6.6, "× (sx · sw)")
    terms = [f"s{k} · {code.format(k)}" for k in range(4)]
    end = _row(s, 3.9, "2. a scale for each k", terms, kind="fp32")
    s.bracket(1.0, end, 3.4, "each term is scaled before it is added: float32", kind="fp32", up=False)
    _ends_in(s, 3.9, None)
    s.text(0.4, 2.15, "3. a scale for each block", align="left", bold=True)
    for block, left in enumerate((1.9, 9.7)):
        s.text(left - 0.2, 1.2, f"{'+  ' if block else ''}s{'ab'[block]} ·", size=11, align="right")
        for k in (0, 1):
            s.box(left + 1.2 + 2.9 * k, 1.2, code.format(2 * block + k), kind="integer", width=2.4)
        s.text(left + 2.65, 1.2, "+", size=11)
        s.bracket(left, left + 5.3, 0.7, "a short integer product: int32", kind="integer", up=False)
    _ends_in(s, 1.2, None)
    return s.figure


def _row(s, y, said, terms, kind):
    """The heading and the terms of one sum; -> where it ends."""
    s.text(0.4, y + 0.95, said, align="left", bold=True)
    for k, term in enumerate(terms):
        s.box(2.4 + 3.4 * k, y, term, kind=kind, width=2.8)
        if k:
            s.text(0.7 + 3.4 * k, y, "+", size=11)
    return 2.4 + 3.4 * (len(terms) - 1) + 1.4


def _ends_in(s, y, scaled):
    start = (15.2, y)
    if scaled:
        box = s.box(17.1, y, scaled, kind="fp32", width=2.4)
        s.arrow(start, box)
        start = box
    s.arrow(start, (19.1, y))
    s.text(19.45, y, "y")


@styled
def slices(largest):
    """The largest |value| of every slice beside the median slice. largest: {what a slice is: array}."""
    figure, panels = palette.figure(1, len(largest), height=3.2)
    for axes, (name, sizes) in zip(panels, largest.items(), strict=True):
        colour = palette.ACTIVATIONS if "activation" in name else palette.WEIGHTS
        axes.vlines(np.arange(sizes.size), 0, sizes, color=colour, linewidth=max(1.2, 150 / sizes.size))
        axes.axhline(np.median(sizes), color="black", linestyle="--", linewidth=1.2, label="median")
        axes.set(xlabel=name, ylabel="largest |value|", title=f"max: {sizes.max() / np.median(sizes):.1f} × median")
        axes.set_ylim(0, 1.25 * sizes.max())
        axes.legend(loc="upper right")
    said = "One scale for all is made for the largest slice"
    figure.suptitle(said, x=0.01, ha="left", fontweight="bold")
    return figure


@styled
def price(codes, *series, title):
    """SQNR against effective bits: more bits in the codes, dashed, against more scales, one line for each of `series`.

    codes: {bits: (effective bits, dB)} with one scale a channel. series: (label, {block size: (effective bits, dB)}).
    """
    figure, axes = palette.figure(height=4.4)
    axes.plot(
        *zip(*codes.values(), strict=True),
        "D--",
        color=palette.WEIGHTS,
        markerfacecolor="white",
        markersize=6,
        label=f"{', '.join(f'int{bits}' for bits in codes)}, one scale a channel",
    )
    for bits, place in codes.items():
        axes.annotate(f"int{bits}", place, (-6, 6), textcoords="offset points", fontsize=9, ha="right")
    for index, (label, blocks) in enumerate(series):
        style, face = ("o-", palette.WEIGHTS) if index == 0 else ("s:", "white")
        axes.plot(*zip(*blocks.values(), strict=True), style, color=palette.WEIGHTS, markerfacecolor=face, markersize=5)
        axes.lines[-1].set_label(label)
        for size, place in blocks.items():
            if index and size > 64:
                continue  # they lie on the first line's, and the others tell how it goes
            offset, side = ((-4, 6), "right") if index else ((7, -8) if size == max(blocks) else (5, -12), "left")
            axes.annotate(f"{size}", place, offset, textcoords="offset points", fontsize=9, ha=side)
    axes.set(xlabel="effective bits a number, scales included", ylabel="SQNR (dB)", title=title)
    axes.margins(0.08, 0.12)
    axes.legend(loc="lower right")
    return figure


LOOKS = {  # what became of a model: (ground, ink, hatch)
    "one integer product": (palette.INTEGER, "white", ""),
    "x rounded too": ("white", palette.INTEGER, ""),
    "float": ("#E3E3E3", "black", ""),
    "stops": ("white", "black", "///"),
    "saturates": ("white", palette.ERROR, ""),
    "wrong": (palette.ERROR, "white", ""),
}


@styled
def fates(ran, *, title):
    """A table of what became of each combination. ran: {(scales of x, scales of w): a key of LOOKS}."""
    rows, columns = (list(dict.fromkeys(pair[side] for pair in ran)) for side in (0, 1))
    figure, axes = palette.figure(height=3.6)
    for (x, w), said in ran.items():
        row, column, (ground, ink, hatch) = rows.index(x), columns.index(w), LOOKS[said]
        edge = ink if ground == "white" and not hatch else "#9A9A9A"
        place = (column - 0.47, row - 0.45)
        axes.add_patch(Rectangle(place, 0.94, 0.9, facecolor=ground, edgecolor=edge, hatch=hatch, linewidth=1.4))
        axes.text(
            column,
            row,
            said.replace("integer ", "integer\n"),
            ha="center",
            va="center",
            color=ink,
            fontweight="bold",
            fontsize=9.5,
            bbox={"facecolor": ground, "edgecolor": "none", "pad": 2},
        )
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5), title=title)
    axes.set(xlabel="scales of the weight (K, N)", ylabel="scales of the activations (T, K)")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.grid(False)
    return figure


BORDER = {"QuantizeLinear", "DequantizeLinear"}
X_SHARES = {"none: float32": None, "tensor ()": PerTensor(), "token (T,)": PerAxis(0), "channel (K,)": PerAxis(1)}
X_SHARES["block (T, K/16)"] = PerBlock(1, 16)
W_SHARES = {"tensor ()": PerTensor(), "output (N,)": PerAxis(1), "input (K,)": PerAxis(0)}
W_SHARES["block (K/16, N)"] = PerBlock(0, 16)


def qdq_model(x, w, x_shares, w_shares, *, x_dtype="uint8", w_dtype="int8"):
    """An ONNX model x -> Q -> DQ -> MatMul <- DQ <- codes of w. Where x_shares is None, x stays float32."""
    qw = choose_qparams(w, w_dtype, symmetric=True, granularity=w_shares)
    held = {"w_codes": quantize(w, qw), "w_scale": qw.scale, "w_zero": qw.zero_point}
    nodes, real = [], "x"
    if x_shares is not None:
        qx = choose_qparams(x, x_dtype, symmetric=True, granularity=x_shares)
        held |= {"x_scale": qx.scale, "x_zero": qx.zero_point}
        scaled, along = ["x_scale", "x_zero"], vars(x_shares)
        nodes.append(onnx.helper.make_node("QuantizeLinear", ["x", *scaled], ["x_codes"], **along))
        nodes.append(onnx.helper.make_node("DequantizeLinear", ["x_codes", *scaled], [real := "x_real"], **along))
    nodes.append(
        onnx.helper.make_node("DequantizeLinear", ["w_codes", "w_scale", "w_zero"], ["w_real"], **vars(w_shares))
    )
    nodes.append(onnx.helper.make_node("MatMul", [real, "w_real"], ["y"]))
    return product_model(nodes, held, *w.shape)


def product_model(nodes, held, inputs, outputs):
    """An ONNX model float32 x [T, inputs] -> y [T, outputs] of these nodes; held: {name: array} of its initializers."""
    ends = [
        onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, ["T", size])
        for name, size in (("x", inputs), ("y", outputs))
    ]
    held = [numpy_helper.from_array(np.asarray(array), name) for name, array in held.items()]
    graph = onnx.helper.make_graph(nodes, "product", ends[:1], ends[1:], held)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)


def optimized(model, x, **settings):
    """What onnxruntime computes, and the graph that it runs. settings: session options, named without "session."."""
    session, graph = opened(model, **settings)
    (y,) = session.run(None, {session.get_inputs()[0].name: x})
    return y, graph


def opened(model, **settings):
    """A session, and the graph that it will run."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # failures arrive as exceptions
    for name, value in settings.items():
        options.add_session_config_entry(f"session.{name}", value)
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        return session, onnx.load(options.optimized_model_filepath).graph


def saved_int8(x, w):
    """A product with int8 activations as onnxruntime saves it, optimized: it may not make uint8 of them on the way."""
    model = qdq_model(x, w, PerTensor(), PerAxis(1), x_dtype="int8")
    _, graph = opened(model, qdqisint8allowed="1")
    sets = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("com.microsoft", 1)]
    return onnx.helper.make_model(graph, opset_imports=sets, ir_version=10)


def reading(model):
    """Of the graph that runs: (op_type of the product, dtype of x, dtype of w, shape of the scales of w)."""
    _, graph = opened(model)
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    node = next(n for n in graph.node if n.op_type not in BORDER)
    quantizes = next(n for n in graph.node if n.output[0] == node.input[0])
    x_dtype = held[quantizes.input[2]].dtype.name if len(quantizes.input) > 2 else "uint8"
    return node.op_type, x_dtype, held[node.input[1]].dtype.name, held[node.input[3]].shape


def scale_shape(shape, axis, block_size):
    """(shape, [(mistake, the shape that comes of it), ...]): the shape, by counting groups along each axis."""
    kept = axis % len(shape)
    groups = [len({index if block_size is None else index // block_size for index in range(n)}) for n in shape]
    others = shape[:kept] + shape[kept + 1 :]
    mirrored = "axis -1 is the last one, -2 the one before: abs(axis) counts from the wrong end; take axis % len(shape)"
    if block_size is None:
        return (groups[kept],), [
            ("`axis` is the one that is kept, not the one that goes", others),
            ("PerAxis scales are one-dimensional, as ONNX wants them: no axes of length 1",
             tuple(n if i == kept else 1 for i, n in enumerate(shape))),
            ("a negative axis counts from the end", ()),
            (mirrored, shape[abs(axis) : abs(axis) + 1] if axis < 0 else None),
            ("-axis is not the axis counted from the end", shape[-axis - 1 : -axis or None] if axis < 0 else None),
            ("this is how many numbers share a scale, not how many scales there are", (math.prod(others),)),
            ("this is how many numbers the tensor has: PerAxis shares over all other axes", (math.prod(shape),)),
            ("with block_size=None there are no blocks: one axis is kept, all others share", shape),
            ("the axes but the last are kept: that is per token", (*shape[:-1], 1)),
            ("one scale for all would have the shape (); here each index of `axis` has its own", (1,)),
            *(
                (f"this is the length of axis {other}, and axis {axis} is asked for", (length,))
                for other, length in enumerate(shape)
            ),
        ]  # fmt: skip
    cut = lambda blocks: tuple(blocks if i == kept else n for i, n in enumerate(shape))
    behind = shape if kept == len(shape) - 1 else shape[kept + 1 :]
    away = abs(axis) if axis < 0 else None
    return cut(groups[kept]), [
        ("the last block may be short, and it needs a scale as well", cut(shape[kept] // block_size)),
        ("the other axes are not shared: each of their indices has blocks of its own", (groups[kept],)),
        ("there is a block more than the numbers need", cut(shape[kept] // block_size + 1)),
        ("the quotient was rounded to the nearest number; round up, or the short last block has no scale",
         cut(round(shape[kept] / block_size))),
        ("every axis was cut; only `axis` is", tuple(groups)),
        ("of a negative axis, axis + 1 is no place behind it: take axis % len(shape) first",
         (*shape[:kept], groups[kept], *behind)),
        (mirrored, None if away is None or away >= len(shape) else tuple(
            -(-n // block_size) if i == away else n for i, n in enumerate(shape))),
        ("a negative axis counts from the end", shape),
        ("the axis that is cut does not vanish: the number of its blocks stands in its place", others),
        ("the axes behind `axis` were dropped", cut(groups[kept])[: kept + 1]),
        ("the axes before `axis` were dropped", cut(groups[kept])[kept:]),
        ("the number of blocks belongs in the place of `axis`, not in front", (groups[kept], *others)),
        ("the number of blocks belongs in the place of `axis`, not behind the others", (*others, groups[kept])),
        ("that is block_size itself; the shape has the *number* of blocks there", cut(block_size)),
        ("the number of blocks and block_size both stand there; a block has one scale",
         (*shape[:kept], groups[kept], block_size, *shape[kept + 1 :])),
        ("a block has one scale, whatever it holds: no axis of length 1 is needed", (*cut(groups[kept]), 1)),
        ("the other axes keep their length: each of their indices has blocks of its own",
         tuple(groups[kept] if i == kept else 1 for i in range(len(shape)))),
        ("the blocks run along `axis` only, not through all numbers of the tensor", (math.prod(shape) // block_size,)),
        ("the blocks run along `axis` only, not through all numbers of the tensor",
         (-(-math.prod(shape) // block_size),)),
        ("the short last block is one block, however many numbers it holds",
         cut(shape[kept] // block_size + shape[kept] % block_size)),
        ("`axis` is the one that is cut; here all others were", tuple(
            n if i == kept else group for i, (n, group) in enumerate(zip(shape, groups, strict=True)))),
        *(
            (f"axis {other} was cut, and axis {axis} is asked for",
             tuple(group if i == other else n for i, (n, group) in enumerate(zip(shape, groups, strict=True))))
            for other in range(len(shape))
        ),
        ("this is PerAxis's shape; with a block_size the axis is cut, and the others stay", (shape[kept],)),
    ]  # fmt: skip


def block_sizes(x, block_size, size=lambda block: np.abs(block).max(axis=1)):
    """What `size` says of each block, (rows, blocks): the largest |value|, 0 where a block is of zeros."""
    return np.stack([size(x[:, start : start + block_size]) for start in range(0, x.shape[1], block_size)], axis=1)


def block_scales(x, block_size, largest=127.0, size=lambda block: np.abs(block).max(axis=1)):
    """Scales (rows, blocks) from what `size` says of each block; 1 where that is 0."""
    sizes = block_sizes(x, block_size, size)
    return np.where(sizes == 0, 1, sizes / np.float32(largest)).astype(np.float32)


def spread(scales, x, block_size):
    return np.repeat(scales, block_size, axis=1)[:, : x.shape[1]]


def scale_mistakes(x, block_size, expected):
    of = lambda largest=127.0, **how: lambda: block_scales(x, block_size, largest, **how)
    parts = np.array_split(np.arange(x.shape[1]), expected.shape[1])
    sizes = block_sizes(x, block_size)
    some_zeros = {
        "one block of zeros is no reason for the others: only its own scale is 1": np.ones_like(expected),
        "one block of zeros is no reason for the others of its row: its own scale alone is 1": np.where(
            (sizes == 0).any(axis=1, keepdims=True), 1, expected
        ),
        "the *scale* of a block of zeros is 1; here its size was taken for 1, and divided by 127": np.where(
            sizes == 0, np.float32(1 / 127), expected
        ),
    }
    return (
        (some_zeros if (sizes == 0).any() else {})
        | _guards(sizes)
        | {
            "int8 has 127 positive codes: divide by 127": of(128),
            "this is largest / 127.5, half of 255 steps: the largest number then lies half a step beyond the last; "
            "divide by 127": of(127.5),
            "this is largest / 126; the last code is 127": of(126),
            "this is largest / 255: int8 has 127 codes on one side of 0": of(255),
            "this is largest / 7, the scale of int4; int8 has 127 positive codes": of(7),
            "this is the largest size itself; the scale is a 127th of it": of(1),
            "this is 1 / scale: a scale is the step between two codes, largest / 127": lambda: 1 / expected,
            "the range of int8 was divided by 255 steps; a symmetric scale is the largest size / 127": of(
                255, size=lambda block: np.ptp(block, axis=1)
            ),
            "this is the asymmetric scale, its range widened to 0, over 255": of(
                255, size=lambda block: np.maximum(block.max(axis=1), 0) - np.minimum(block.min(axis=1), 0)
            ),
            "a zero in a block is no block of zeros: its scale is 1 only if all its numbers are 0": lambda: np.where(
                block_sizes(x, block_size, lambda b: (b == 0).any(axis=1)), 1, expected
            ),
            "the first number of a block is 0, and the block is not of zeros: its scale is 1 only if all are 0": (
                lambda: np.where(block_sizes(x, block_size, lambda b: b[:, 0] == 0), 1, expected)
            ),
            "the numbers of a block add up to 0, and are no zeros: look at the largest size": lambda: np.where(
                block_sizes(x, block_size, lambda b: b.sum(axis=1)) == 0, 1, expected
            ),
            "the scale has the sign of the number that is largest in size; a scale is a size, largest |value| / 127": (
                of(128, size=lambda b: -_extreme(b))
            ),
            "the scale has the sign of the number that is largest in size; a scale is positive, largest |value|": (
                of(size=_extreme)
            ),
            "the last block has its neighbour's scale; it has numbers of its own": lambda: np.concatenate(
                [expected[:, :-1], expected[:, -2:-1]], axis=1
            ),
            "the largest number was taken, not the largest size: negative ones count as well": of(
                size=lambda block: block.max(axis=1)
            ),
            "the least number was taken: positive ones count as well": of(size=lambda block: -block.min(axis=1)),
            "this is |largest number|: take the size first, then the largest": of(size=lambda b: np.abs(b.max(axis=1))),
            "this is the mean size; the largest one must still have a code": of(size=lambda b: np.abs(b).mean(axis=1)),
            "this is the standard deviation; the largest size must have a code": of(size=lambda b: b.std(axis=1)),
            "this is the root of the mean square; the largest size must have a code": of(
                size=lambda b: np.sqrt((b**2).mean(axis=1))
            ),
            "this is the median size; the largest one must have a code": of(
                size=lambda b: np.median(np.abs(b), axis=1)
            ),
            "this is a percentile of the sizes; the largest one must have a code": of(
                size=lambda b: np.percentile(np.abs(b), 99, axis=1)
            ),
            "this is the sum of the sizes; the largest one is meant": of(size=lambda b: np.abs(b).sum(axis=1)),
            "only the first number of each block was looked at": of(size=lambda b: np.abs(b[:, 0])),
            "this is half the range; symmetric codes reach as far on both sides: largest |value|": of(
                size=lambda b: np.ptp(b, axis=1) / 2
            ),
            "the scales were rounded; keep them as they come": lambda: np.round(expected, 4),
            "these are float16 numbers; a scale is a float32 here": lambda: expected.astype(np.float16),
            "the blocks were made equally long; all have block_size numbers, and only the last may be short": lambda: (
                np.stack([np.abs(x[:, part]).max(axis=1) / 127 for part in parts], axis=1)
            ),
            "every block of a row has the row's scale": lambda: np.broadcast_to(
                np.abs(x).max(axis=1, keepdims=True) / 127, expected.shape
            ),
            "one scale for everything": lambda: np.full(expected.shape, np.abs(x).max() / 127),
            "all rows share a block's scale; each row has its own": lambda: np.broadcast_to(
                expected.max(axis=0), expected.shape
            ),
            "the short last block was left out": lambda: np.where(
                np.arange(expected.shape[1]) < x.shape[1] // block_size, expected, 1
            ),
        }
    )


def _extreme(block):
    """The number of largest size in each row, with its sign."""
    return np.take_along_axis(block, np.abs(block).argmax(axis=1, keepdims=True), axis=1)[:, 0]


def _guards(sizes):
    """What becomes of blocks that are small, or of zeros, if a guard against 0 / 0 takes in too much."""
    scales = sizes / np.float32(127)
    guards = {}
    for least in (*(10.0**power for power in range(-20, 0)), np.finfo(np.float32).eps, np.finfo(np.float64).eps):
        least, said = np.float32(least), f"{least:.0e}"
        small = f"a block is not of zeros because it is small (a guard of about {said}): compare with 0"
        guards[small] = np.where(sizes < least, 1, scales)
        guards[f"{small} "] = np.where(scales < least, 1, scales)
        raised = f"the scale is held above about {said}: small blocks lose their codes, and zeros do not get scale 1"
        guards[raised] = np.maximum(scales, least)
        guards[f"{raised} "] = np.maximum(sizes, least) / 127
        added = f"about {said} was added against 0 / 0: no scale is right any more; use 1 for a block of zeros only"
        guards[added] = scales + least
        guards[f"{added} "] = (sizes + least) / 127
    return guards


def code_mistakes(x, scales, block_size):
    """{what was done wrong: the codes that it gives}."""
    quotient = x / spread(scales, x, block_size)
    tiled = x / np.tile(scales, (1, block_size))[:, : x.shape[1]]
    codes = np.rint(quotient)
    results = {
        "0.5 was added before flooring; round half to even, as np.rint does": np.floor(quotient + 0.5),
        "halves were rounded away from 0; round half to even, as np.rint does": np.trunc(
            quotient + np.copysign(np.float32(0.5), quotient)
        ),
        "halves were rounded down; round half to even, as np.rint does": np.ceil(quotient - 0.5),
        "halves were rounded towards 0; round half to even, as np.rint does": np.sign(quotient)
        * np.ceil(np.abs(quotient) - 0.5),
        "a cast to int8 truncates towards 0: round first": np.trunc(quotient),
        "floor always goes down: round to the nearest code": np.floor(quotient),
        "ceil always goes up: round to the nearest code": np.ceil(quotient),
        "np.tile repeats the whole row of scales; np.repeat(..., axis=1) repeats each one": np.rint(tiled),
        "np.tile repeats the whole row of scales; what was too large for int8 was clipped": np.clip(
            np.rint(tiled), -128, 127
        ),
        "x was multiplied by its scale; divide": np.rint(x * spread(scales, x, block_size)),
        "x was rounded before it was divided by its scale; round the quotient": np.rint(
            np.rint(x) / spread(scales, x, block_size)
        ),
        "x was rounded before it was divided by its scale, and the quotient was cut off": (
            np.rint(x) / spread(scales, x, block_size)
        ),
        "clipped to 7 bits, -64 to 63: the codes reach from -127 to 127": np.clip(codes, -64, 63),
        "codes of uint8 and not of int8: the zero point of symmetric codes is 0": codes + 128,
        "clipped to 126: 127 is a code too": np.clip(codes, -126, 126),
        "clipped to -127 to 126: 127 is a code too": np.clip(codes, -127, 126),
        "clipped to int4's codes": np.clip(codes, -7, 7),
        "negative codes were clipped away": np.clip(codes, 0, 127),
        "these are the sizes of the codes; the sign belongs to them": np.abs(codes),
        "all codes are 0: was x divided by 127 instead of by its scale?": np.zeros_like(codes),
    }
    # An int8 wraps around where a wrong code does not fit.
    return {said: np.clip(wrong, -(2**40), 2**40).astype(np.int64).astype(np.int8) for said, wrong in results.items()}


def blocks_of(x, block_size):
    """What stands for 04.2 until it is passed: codes int8 (rows, columns), scales float32 (rows, blocks)."""
    qparams = choose_qparams(x, "int8", symmetric=True, granularity=PerBlock(1, block_size))
    return quantize(x, qparams), qparams.scale


def judge_blocks(seen, x, block_size, said):
    codes, scales = (
        expect_array(part, f"{what} of {said}") for part, what in zip(seen, ("codes", "scales"), strict=True)
    )
    expected = block_scales(x, block_size)
    if (codes.shape, scales.shape) == (expected.shape, x.shape) != (x.shape, x.shape):
        raise Almost(f"{said}: the two are swapped: return the codes first, then the scales")
    _judge_scale_shape(scales, x, block_size, expected, said)
    zeros = np.asarray(scales, np.float64)[block_sizes(x, block_size) == 0]
    if not (np.isfinite(zeros) & (zeros > 0)).all():
        raise Almost(
            f"scales of {said}: a block of zeros got the scale {zeros[0]:g}. A scale must be positive, or the "
            "codes are 0 / 0: use 1 there, as onnxruntime's quantize_static does"
        )
    mistakes = scale_mistakes(x, block_size, expected)
    expect_close(scales, expected, f"scales of {said}", rtol=1e-5, atol=0, mistakes=mistakes)
    if scales.dtype != np.float32:
        raise Almost(
            f"scales of {said}: expected dtype float32, seen {scales.dtype}: the numbers are right, but ONNX's "
            "DequantizeLinear, which is to read them, takes float32"
        )
    _judge_code_shape(codes, x, block_size, expected.shape[1], said)
    if codes.dtype.kind == "f" and np.allclose(codes, x, atol=np.abs(x).max() / 100) and np.abs(x).max() > 1:
        raise Almost(f"codes of {said}: expected dtype int8, seen {codes.dtype}: real numbers again, scale × code")
    expect_dtype(codes, np.int8, f"codes of {said}")
    attributes = {"axis": 1, "block_size": block_size, "output_dtype": TensorProto.INT8}
    reference = run_operator("QuantizeLinear", x, expected, **attributes)
    reference = np.where(_rounds_either_way(x, expected, block_size), codes, reference)
    mistakes = code_mistakes(x, expected, block_size)
    expect_close(codes, reference, f"codes of {said}", rtol=0, atol=0, mistakes=mistakes)


def _judge_scale_shape(scales, x, block_size, expected, said):
    if scales.shape == expected.shape:
        return
    for shape, why in (
        (expected.shape[::-1], "they stand as (blocks, rows): transpose them"),
        ((x.shape[1], -(-x.shape[0] // block_size)), "the blocks run along axis 0; cut the rows' length, axis 1"),
        ((-(-x.shape[0] // block_size), x.shape[1]), "the blocks run along axis 0; cut the rows' length, axis 1"),
        (x.shape, "each number has a scale; a block shares one"),
        ((len(x),), "one scale a row; each row has several blocks"),
        ((expected.shape[1],), "one scale a block for all rows together; each row has its own"),
        ((len(x), x.shape[1] // block_size), "the short last block has no scale"),
        ((expected.size,), "they are right in number, and flat: make them (rows, blocks)"),
        ((*expected.shape, 1), "an axis of length 1 is left: drop it, or leave out keepdims"),
        ((), "one scale for everything"),
    ):
        if scales.shape == shape:
            raise Almost(f"scales of {said}: expected shape {expected.shape}, seen {scales.shape}: {why}")
    expect_shape(scales, expected.shape, f"scales of {said}")


def _judge_code_shape(codes, x, block_size, blocks, said):
    rows, columns = x.shape
    for shape, why in (
        ((rows, blocks * block_size), "the codes of what was filled up are left: cut them to the columns of x"),
        ((rows, blocks, block_size), "they stand block by block: reshape them to (rows, columns)"),
        ((rows, columns // block_size * block_size), "the short last block was lost"),
        ((columns, rows), "they are transposed"),
    ):
        if codes.shape == shape != x.shape:
            raise Almost(f"codes of {said}: expected shape {x.shape}, seen {codes.shape}: {why}")
    expect_shape(codes, x.shape, f"codes of {said}")


def _rounds_either_way(x, scales, block_size):
    """Where x / scale lies so near a half, but not on it, that float32 and float64 may round apart."""
    quotient = np.abs(x.astype(np.float64) / spread(scales, x, block_size))
    distance = np.abs(quotient % 1 - 0.5)
    return (distance > 0) & (distance < 1e-4)


def matrices():
    """(name, matrix, block size): ordinary ones, then edges."""
    random = np.random.default_rng(4)
    normal = random.normal(size=(6, 100)).astype(np.float32)
    yield "whole blocks", normal[:, :96], 32
    yield "a short last block", normal, 32
    loud = normal[:3, :10].copy()
    loud[:, -1] *= 50
    yield "an outlier in the short last block", loud, 4
    yield "blocks of negative numbers", -np.abs(normal[:3, :7]), 3
    yield "a block longer than the row", normal[:2, :5], 16
    yield "blocks of one", normal[:2, :5], 1
    halves = np.float32([[0.5, 1.5, 2.5, -0.5, -2.5, 127.0, 3.5, -1.5]])
    yield "numbers halfway between two codes", halves, 8
    for size in (1e-4, 1e-8, 1e-30):
        yield f"blocks of numbers of {size:g}", normal[:3, :9] * np.float32(size), 4
    yield "zeros among other numbers", np.float32([[0, 3, -1, 2, 4, 0, 0, -5], [1, -1, 2, -2, 0, 0, 0.5, 0]]), 4
    zeros = normal[:3, :10].copy()
    zeros[1, 4:8] = 0
    yield "a block of zeros", zeros, 4


SCALE_BITS = 16
CANDIDATES = [  # what exercise 04.3 chooses from: (bits, granularity) for a weight (out, in)
    (4, PerTensor()), (4, PerAxis(0)), (4, PerAxis(1)), (4, PerBlock(1, 128)), (4, PerBlock(1, 32)),
    (4, PerBlock(1, 8)), (5, PerTensor()), (5, PerAxis(0)), (5, PerBlock(1, 64)),
]  # fmt: skip


def cases():
    """The questions of 04.3: each habit below errs in one of them, and no two habits err alike in all."""
    random = np.random.default_rng(43)
    tailed = random.standard_t(3, size=(24, 160)).astype(np.float32)
    striped = random.normal(size=(24, 160)).astype(np.float32) * np.exp(random.normal(size=160)).astype(np.float32)
    spiked = random.normal(size=(24, 160)).astype(np.float32)
    spiked[np.arange(0, 24, 3), 7] *= 12
    whole = random.integers(-5, 6, size=(24, 160)) + random.normal(scale=0.03, size=(24, 160))
    whole[0, 0] = 7  # one scale of 1 fits all of them, finer ones do not
    whole = whole.astype(np.float32)
    even = random.uniform(-1, 1, size=(24, 160)).astype(np.float32)  # the best choice is a little too dear
    other = np.random.default_rng(1)  # on its numbers, mean, median and mean relative error choose differently
    small = other.normal(size=(24, 160)).astype(np.float32)
    small[other.random(small.shape) < 0.9] *= 0.02
    peaked = np.random.default_rng(1).laplace(size=(24, 160)).astype(np.float32)
    weight = linear(onnx.load(models.path("conformer")), "encoder.embed.out.0").weight.T
    asked = [
        *(("a heavy-tailed matrix", tailed, budget) for budget in (4.05, 4.5, 6.0, 7.0)),
        *(("a matrix with outlier columns", striped, budget) for budget in (4.15, 4.8, 5.5)),
        *(("a matrix with a few outliers", spiked, budget) for budget in (4.2, 5.02, 5.3)),
        ("a matrix of nearly whole numbers", whole, 4.7),
        ("an evenly spread matrix", even, 5.002),
        ("a matrix of many small numbers", small, 5.4),
        *(("a peaked matrix", peaked, budget) for budget in (4.2, 6.1)),
        *(("the real weight", weight, budget) for budget in (5.3, 4.2)),
    ]
    for name, x, budget in asked:
        yield Case(name, x, budget, [CANDIDATES[index] for index in random.permutation(len(CANDIDATES))])


def check_effective_bits(effective_bits, shape, bits, granularity, scale_bits):
    seen = call(effective_bits, shape, bits, granularity, scale_bits, name="effective_bits")
    numbers = math.prod(shape)
    scales = choose_qparams(np.ones(shape, np.float32), "int8", granularity=granularity).scale.size
    block = getattr(granularity, "block_size", None)
    mistakes = {
        "the scales were left out": bits,
        "these are all bits together; divide by how many numbers there are": bits * numbers + scale_bits * scales,
        "one scale was counted, whatever the granularity": bits + scale_bits / numbers,
        "16 bits were counted for a scale; it has `scale_bits`": bits + 16 * scales / numbers,
        "each number was given a scale of its own; count the scales": bits + scale_bits,
        "a scale was counted as 32 bits; it has `scale_bits`": bits + 32 * scales / numbers,
        "a scale was counted as one bit; it has `scale_bits`": bits + scales / numbers,
        "numbers were counted per scale; scales per number is its inverse": bits + scale_bits * numbers / scales,
        "these are the bits of the scales alone; each number has its code as well": scale_bits * scales / numbers,
        "the bits of the scales were not divided by how many numbers share them": bits + scale_bits * scales,
        "// drops what is behind the point: divide with /": bits + scale_bits * scales // numbers,
        "it was rounded up; a fraction of a bit is meant": math.ceil(bits + scale_bits * scales / numbers),
        "this is the product of code bits and the scales' share; they add up": bits * scale_bits * scales / numbers,
    }
    scale_shape = granularity.scale_shape(shape)
    mistakes |= {
        "len counts the axes of the scales' shape; multiply its entries": bits
        + scale_bits * len(scale_shape) / numbers,
        "the entries of the scales' shape were added; multiply them": bits + scale_bits * sum(scale_shape) / numbers,
        "the bits of the scales were divided by the number of axes; divide by that of the values": (
            bits + scale_bits * scales / len(shape)
        ),
        "the bits of a code were divided by 8; bits are asked for, not bytes": bits / 8 + scale_bits * scales / numbers,
        "these are bytes": (bits + scale_bits * scales / numbers) / 8,
        "the scales cost bits: add them": bits - scale_bits * scales / numbers,
        "one scale was divided by the number of scales; all of them by the number of values": bits
        + scale_bits / scales,
        "a zero point was counted for each scale; symmetric codes have none": (
            bits + (scale_bits + bits) * scales / numbers
        ),
        **{
            f"only axis {axis} of the scales' shape was counted": bits + scale_bits * length / numbers
            for axis, length in enumerate(scale_shape)
        },
        **{
            f"the bits of the scales were divided by the length of axis {axis}; divide by the number of values": (
                bits + scale_bits * scales / length
            )
            for axis, length in enumerate(shape)
        },
    }
    if block:
        mistakes["a short last block has a whole scale: count the scales, do not divide by block_size"] = (
            bits + scale_bits / block
        )
    said = f"effective_bits({shape}, {bits}, {granularity}, {scale_bits})"
    seen = expect_number(seen, said)
    expect_close(seen, bits + scale_bits * scales / numbers, said, rtol=1e-6, mistakes=mistakes)


class Case(NamedTuple):
    """One question: a tensor, the effective bits that may be spent on it, and the candidates in some order."""

    name: str
    x: np.ndarray
    budget: float
    candidates: list

    def __str__(self):
        return f"{self.name} {self.x.shape}, at most {self.budget} bits"


def quality(x, bits, granularity, *, symmetric=True):
    """SQNR in dB."""
    return sqnr_db(x, fake_quantize(x, choose_qparams(x, f"int{bits}", symmetric=symmetric, granularity=granularity)))


def cost(x, bits, granularity, scale_bits=SCALE_BITS):
    """Effective bits, scales included."""
    return bits + scale_bits * np.prod(granularity.scale_shape(x.shape)) / x.size


def _error(x, bits, granularity):
    return fake_quantize(x, choose_qparams(x, f"int{bits}", symmetric=True, granularity=granularity)) - x


# (what went wrong, what was made as large as possible among those that fit)
HABITS = (
    ("the lowest SQNR was taken; the highest is the best", lambda x, bits, each: -quality(x, bits, each)),
    ("the cheapest was taken; cheaper than the budget is no aim, the SQNR is", lambda x, *choice: -cost(x, *choice)),
    ("the first that fits was taken, in the order of the list; measure them all", lambda *_: 0),
    ("the last that fits was taken, in the order of the list; measure them all", None),
    ("the most expensive that fits is not always the best; measure", cost),
    ("the most code bits are not always the best; a finer granularity may be", lambda x, bits, each: bits),
    (
        "the most scales are not always the best; more code bits may be",
        lambda x, bits, each: np.prod(each.scale_shape(x.shape)),
    ),
    (
        "dB per bit were compared; the bits are paid for already, so the SQNR alone decides",
        lambda x, *choice: quality(x, *choice) / cost(x, *choice),
    ),
    (
        "dB per bit of a code were compared; the bits are paid for already, so the SQNR alone decides",
        lambda x, bits, each: quality(x, bits, each) / bits,
    ),
    (
        "the choice is that of 8-bit codes throughout; is `bits` missing in shared(x, granularity, bits)?",
        lambda x, bits, each: quality(x, 8, each),
    ),
    (
        "the choice is that of 4-bit codes throughout; each candidate has bits of its own",
        lambda x, bits, each: quality(x, 4, each),
    ),
    (
        "the smallest blocks are not always the best; measure",
        lambda x, bits, each: -getattr(each, "block_size", math.inf),
    ),
    (
        "bits were charged against dB, 6 a bit; they are paid for already, so the SQNR alone decides",
        lambda x, *choice: quality(x, *choice) - 6.02 * cost(x, *choice),
    ),
    (
        "the choice is that of the least mean |error|; SQNR counts the squares",
        lambda x, bits, each: -np.abs(_error(x, bits, each)).mean(),
    ),
    (
        "the choice is that of the least median |error|; SQNR counts all errors, squared",
        lambda x, bits, each: -np.median(np.abs(_error(x, bits, each))),
    ),
    (
        "the choice is that of the least mean relative error; SQNR counts the squares, and divides once, by all of x",
        lambda x, bits, each: -(np.abs(_error(x, bits, each)) / (np.abs(x) + 1e-9)).mean(),
    ),
    (
        "the SQNR was rounded to whole dB, and another was as good as the best then",
        lambda x, *choice: round(quality(x, *choice)),
    ),
    (
        "the most code bits came first, and the SQNR only among those; it decides alone",
        lambda x, bits, each: (bits, quality(x, bits, each)),
    ),
    (
        "only blocks were compared; any granularity may be the best",
        lambda x, bits, each: (hasattr(each, "block_size"), quality(x, bits, each)),
    ),
    (
        "the choice is that of asymmetric codes; here they are symmetric",
        lambda x, bits, each: quality(x, bits, each, symmetric=False),
    ),
    (
        "the choice is that of the least single error; SQNR counts all of them, squared",
        lambda x, bits, each: -np.abs(_error(x, bits, each)).max(),
    ),
)


def judge_choices(best_within, asked):
    """Ask `best_within` every case; -> its choice in the last. A wrong one is told by the habit behind them all."""
    asked = list(asked)
    seen = [_chosen(best_within, case) for case in asked]
    for case, chosen in zip(asked, seen, strict=True):
        best = best_by(quality, case)
        has, could = quality(case.x, *chosen), quality(case.x, *best)
        if has < could:
            said = f"{case}: seen {chosen}, which has {has:.1f} dB, where {best} has {could:.1f} dB"
            raise Almost(f"{said}: {_why(asked, seen, case, best)}")
    return seen[-1]


def _chosen(best_within, case):
    answer = call(best_within, case.x, case.budget, list(case.candidates), name="best_within")
    if isinstance(answer, int | float | np.number):
        raise Almost(
            f"{case}: expected one of the candidates, a pair (bits, granularity), seen the number {answer:.4g}"
        )
    if not isinstance(answer, tuple | list) or tuple(answer) not in case.candidates:
        raise Almost(f"{case}: expected one of the candidates, a pair (bits, granularity), seen {brief(answer)}")
    price = cost(case.x, *answer)
    if price > case.budget:
        raise Almost(f"{case}: {tuple(answer)} costs {price:.3f} bits, its scales included: too many")
    return tuple(answer)


def best_by(wanted, case, price=cost):
    """The candidate within the budget of which `wanted` is largest, the first of equals; without `wanted` the last."""
    affordable = [candidate for candidate in case.candidates if price(case.x, *candidate) <= case.budget]
    return max(affordable, key=lambda candidate: wanted(case.x, *candidate)) if wanted else affordable[-1]


def _why(asked, seen, case, best):
    for said, wanted in HABITS:
        if all(best_by(wanted, each) == chosen for each, chosen in zip(asked, seen, strict=True)):
            return said
    dearer = lambda x, *choice: cost(x, *choice, scale_bits=32)
    if all(best_by(quality, each, dearer) == chosen for each, chosen in zip(asked, seen, strict=True)):
        return "a scale was counted as 32 bits; here it is a float16, of 16"
    strictly = lambda each: Case(each.name, each.x, np.nextafter(each.budget, 0), each.candidates)
    if all(best_by(quality, strictly(each)) == chosen for each, chosen in zip(asked, seen, strict=True)):
        return f"{best} costs exactly the budget, which is allowed"
    return "the SQNR decides, measured on this tensor"


def as_model(seen):
    try:
        model = seen if isinstance(seen, onnx.ModelProto) else onnx.load_model_from_string(seen)
    except Exception:
        raise Almost(f"build: expected an onnx.ModelProto (helper.make_model), seen {brief(seen)}") from None
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise Almost(f"build: onnx.checker does not accept the model: {str(error).splitlines()[0]}") from None
    return model


def judge_built(model, x, w, said):
    """Is this x @ w with uint8 activations per tensor and int8 weights per output channel, as Q/DQ?"""
    held, makers = _arrays(model.graph), {output: node for node in model.graph.node for output in node.output}
    products = [node for node in model.graph.node if "MatMul" in node.op_type or node.op_type == "Gemm"]
    if len(products) != 1 or products[0].op_type != "MatMul":
        raise Almost(f"{said}: expected one MatMul between Q/DQ, seen {[node.op_type for node in products]}")
    if products[0].output[0] not in {output.name for output in model.graph.output}:
        raise Almost(f"{said}: the result of MatMul is to be the model's output; here something follows it")
    before = [makers.get(name) for name in products[0].input]
    for what, node in zip(("activations reach", "weight reaches"), before, strict=True):
        if node is not None and node.op_type == "Transpose":
            raise Almost(f"{said}: a Transpose stands before MatMul; store the codes as MatMul takes them, (K, N)")
        if node is None or node.op_type != "DequantizeLinear":
            raise Almost(f"{said}: the {what} MatMul in float32, without a DequantizeLinear before it")
    _judge_weight(before[1], held, makers, w, said)
    quantizes, x_scale = makers.get(before[0].input[0]), held.get(before[0].input[1])
    if quantizes is not None and quantizes.op_type == "DynamicQuantizeLinear":
        raise Almost(
            f"{said}: DynamicQuantizeLinear finds a scale for x anew in each run; asked for QuantizeLinear with the "
            "scale and zero point of this x"
        )
    if x_scale is not None and x_scale.size != 1:
        raise Almost(f"{said}: the activations have {x_scale.size} scales, of shape {x_scale.shape}; one is asked for")
    _judge_sizes(model.graph, w, said)
    try:
        y, graph = optimized(model, x, x64quantprecision="1")
    except Exception as error:
        new = max(each.version for each in model.opset_import) > 21
        hint = '; an operator set that it knows: helper.make_opsetid("", 21)' if new else ""
        raise Almost(f"{said}: onnxruntime stops: {error_text(error)}{hint}") from None
    db = sqnr_db(x @ w, y) if np.shape(y) == (len(x), w.shape[1]) else -math.inf
    if db < 30:
        raise Almost(f"{said}: the result has {db:.1f} dB against x @ w{_why_x(quantizes, x_scale, held, x)}")
    if _x_dtype(quantizes, held) != "uint8":
        raise Almost(f"{said}: the activations' codes are int8; asked for uint8")
    _judge_range(quantizes, held, x, said)
    if "MatMul" in [node.op_type for node in graph.node]:
        raise Almost(f"{said}: it runs, but as a float MatMul: {[node.op_type for node in graph.node]}")


def _arrays(graph):
    """The arrays that stand in a graph by name: initializers, and what Constant nodes give."""
    constants = {
        node.output[0]: entry.t
        for node in graph.node
        for entry in node.attribute
        if node.op_type == "Constant" and entry.name == "value"
    }
    held = {tensor.name: tensor for tensor in graph.initializer} | constants
    return {name: numpy_helper.to_array(tensor) for name, tensor in held.items()}


def _judge_sizes(graph, w, said):
    """x [T, K] -> y [T, N], of these K and N and any T, where the model declares it."""
    for end, name, size, letter in ((graph.input, "x", w.shape[0], "K"), (graph.output, "y", w.shape[1], "N")):
        value = next((each for each in end if each.name not in {t.name for t in graph.initializer}), None)
        if value is None or not value.type.tensor_type.HasField("shape"):
            continue
        tokens, *others = value.type.tensor_type.shape.dim
        if others and others[-1].HasField("dim_value") and others[-1].dim_value != size:
            raise Almost(
                f"{said}: {name} is declared with {others[-1].dim_value} channels; w has the shape {w.shape}, so "
                f"{letter} is {size}: take the sizes from w.shape"
            )
        if tokens.HasField("dim_value"):
            raise Almost(
                f'{said}: {name} is declared with {tokens.dim_value} tokens; any number is asked for: write "T" there'
            )


def _judge_range(quantizes, held, x, said):
    """Does the scale of the activations reach from the least to the largest x?"""
    if quantizes is None or quantizes.input[1] not in held:
        return
    scale = float(held[quantizes.input[1]].squeeze())
    zero = int(held[quantizes.input[2]].squeeze()) if len(quantizes.input) > 2 else 0
    low, high = -zero * scale, (255 - zero) * scale
    if low > x.min() + 0.6 * scale or high < x.max() - 0.6 * scale:
        raise Almost(
            f"{said}: the codes of x reach from {low:.2f} to {high:.2f}, and x from {x.min():.2f} to {x.max():.2f}: "
            "what lies beyond is clipped"
        )


def _judge_weight(node, held, makers, w, said):
    """The DequantizeLinear before the weight's side of MatMul: codes int8, a scale for each output channel."""
    attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
    inputs = [held.get(name) for name in node.input]
    if inputs[0] is None and (quantizes := makers.get(node.input[0])) is not None:  # float weight -> Q -> DQ
        how = {entry.name: onnx.helper.get_attribute_value(entry) for entry in quantizes.attribute}
        parts = [held.get(name) for name in quantizes.input]
        inputs[0] = run_operator("QuantizeLinear", *parts, **how) if None not in map(type, parts) else None
    codes, scale = inputs[:2]
    if codes is None or scale is None:
        raise Almost(f"{said}: the weight's codes and scales must stand in the model as initializers")
    if scale.dtype != np.float32:
        raise Almost(f"{said}: the weight's scales are {scale.dtype}; ONNX takes float32 beside a float32 MatMul")
    if codes.dtype != np.int8:
        raise Almost(f"{said}: the weight's codes are {codes.dtype}; asked for int8")
    if codes.shape != w.shape:
        raise Almost(f"{said}: the weight's codes have shape {codes.shape}; MatMul needs (K, N), {w.shape}")
    if scale.size == 1:
        raise Almost(f"{said}: the weight has one scale; asked for one for each output channel, {(w.shape[1],)}")
    if attributes.get("block_size"):
        raise Almost(f"{said}: these are blocks; asked for one scale for each output channel, without block_size")
    axis = attributes.get("axis", 1) % 2
    if scale.shape != (w.shape[axis],):
        raise Almost(f"{said}: scales {scale.shape} do not fit axis={axis} of a weight {w.shape}")
    real = run_operator("DequantizeLinear", *(part for part in inputs if part is not None), axis=axis)
    db = sqnr_db(w, real)
    if axis == 0 and db > 30:
        wide = (
            "stops, or multiplies in float" if w.shape[0] != w.shape[1] else "takes them for output channels, silently"
        )
        raise Almost(
            f"{said}: the scales lie along axis 0, the inputs, which are summed: onnxruntime {wide}. "
            "Output channels of a weight (K, N) are axis 1"
        )
    if db < 30:
        raise Almost(
            f"{said}: the codes and scales of the weight tell {db:.1f} dB of it: {_why_w(codes, scale, real, w, axis)}"
        )
    if len(inputs) > 2 and np.any(inputs[2]):
        raise Almost(
            f"{said}: the weight has zero points, such as {inputs[2][np.flatnonzero(inputs[2])[0]]}; symmetric codes "
            "have 0: choose_qparams(..., symmetric=True)"
        )
    _judge_rounding(codes, scale, w, said)


def _judge_rounding(codes, scale, w, said):
    """Each weight has the code next to it: none was cut off, none was clipped."""
    steps = w / scale
    off = np.abs(steps - codes)
    if off.max() < 0.5 + 1e-3:
        return
    if np.array_equal(codes, np.trunc(steps)):
        raise Almost(f"{said}: the codes of the weight are cut off, by a cast to int8; round first, as quantize does")
    row, column = np.unravel_index(off.argmax(), w.shape)
    raise Almost(
        f"{said}: w[{row}, {column}] / scale is {steps[row, column]:.2f}, and its code {codes[row, column]}; each code "
        "is to be the nearest, and the scale of a column its largest |value| / 127"
    )


def _why_w(codes, scale, real, w, axis):
    spread = np.expand_dims(scale, 1 - axis)
    for told, why in (
        (codes.T * spread if codes.T.shape == w.shape else None, "they are transposed"),
        (codes / spread, "these are 1 / scale; a scale is the step between two codes, largest / 127"),
        (codes * spread / 127, "the scales are the largest |value|; a scale is a 127th of it"),
    ):
        if told is not None and sqnr_db(w, told.astype(np.float32)) > 30:
            return why
    if np.abs(codes.astype(int)).max() <= 8:
        return "the codes have 4 bits; int8 reaches from -127 to 127"
    centred = codes - codes.mean(axis=1 - axis, keepdims=True)
    if sqnr_db(w - w.mean(axis=1 - axis, keepdims=True), (centred * spread).astype(np.float32)) > 30:
        return "the codes have a zero point that DequantizeLinear is not told; symmetric ones need none"
    return f"were the codes made with these scales, along axis={axis}?"


def _x_dtype(quantizes, held):
    zero = held.get(quantizes.input[2]) if quantizes is not None and len(quantizes.input) > 2 else None
    return "uint8" if zero is None else zero.dtype.name


def _why_x(quantizes, scale, held, x):
    """What may be wrong with scale and zero point of the activations."""
    if quantizes is not None and len(quantizes.input) < 3:
        return "; QuantizeLinear without a zero point gives uint8 codes from 0 up: negative activations are lost"
    zero = held.get(quantizes.input[2]) if quantizes is not None else None
    if zero is not None and zero.dtype == np.uint8 and zero == 0 and x.min() < 0:
        return "; the zero point of the activations is 0, so uint8 has no code for negative ones"
    if scale is not None and float(scale) > 10:
        return "; is the scale of the activations 1 / scale?"
    return "; do scale and zero point of the activations hold the whole range of x?"


def judge_reading(seen, model, said):
    expected = reading(model)
    if not isinstance(seen, tuple | list) or len(seen) != 4:
        raise Almost(f"{said}: expected (op_type, dtype of x, dtype of w, shape of w's scales), seen {brief(seen)}")
    op_type, *dtypes, shape = seen
    if not isinstance(op_type, str):
        raise Almost(f"{said}: expected the op_type of the node that multiplies, a str, seen a {kind(op_type)}")
    op_type = op_type.rpartition(".")[2]
    dtypes = [_dtype_name(dtype, said) for dtype in dtypes]
    if op_type in BORDER:
        raise Almost(f"{said}: {op_type} stands at the border; asked for the node that multiplies")
    if op_type == "MatMul" != expected[0]:
        raise Almost(
            f"{said}: MatMul stands in the model as it was written. The one that runs is the *optimized* one: set "
            "options.optimized_model_filepath, make the session, and load that file"
        )
    if op_type != expected[0]:
        raise Almost(f"{said}: the node that multiplies is {expected[0]!r}, seen {brief(op_type)}")
    if dtypes != list(expected[1:3]):
        swapped = ": the activations come first, then the weights" if dtypes[::-1] == list(expected[1:3]) else ""
        floats = ": these are the types before quantization; ask for those of the codes" if "float32" in dtypes else ""
        raise Almost(
            f"{said}: the product takes {expected[1]} × {expected[2]}, seen {' × '.join(dtypes)}"
            f"{swapped or floats or ': read it from this graph, whatever was true of another'}"
        )
    _judge_scale_reading(shape, expected[3], said)


def _judge_scale_reading(shape, expected, said):
    try:
        shape = tuple(int(n) for n in shape)
    except (TypeError, ValueError):
        raise Almost(f"{said}: the shape of the scales is a tuple such as {expected}, seen {brief(shape)}") from None
    if shape != expected:
        why = ": read it from this graph, whatever was true of another"
        if shape == ():
            why = ": that is the activations' scale; the weights' is the next input"
        elif len(shape) == 2:
            why = ": that is the shape of the weight's codes"
        raise Almost(f"{said}: the weights' scales have shape {expected}, seen {shape}{why}")


def _dtype_name(dtype, said):
    """A dtype in any of its spellings: "uint8", np.uint8, an array's dtype, ONNX's number or name."""
    try:
        if isinstance(dtype, int) and not isinstance(dtype, bool):
            return onnx.helper.tensor_dtype_to_np_dtype(dtype).name
        return np.dtype(dtype.lower() if isinstance(dtype, str) else dtype).name
    except (TypeError, KeyError, ValueError):
        raise Almost(f"{said}: expected the name of a dtype, such as 'uint8', seen {brief(dtype)}") from None


SCALES = words("04", "scales")  # name: {"what": which scale it is, "factors": does it leave the sum, "why": or why not}


@exercise("04.1", "the shape of the scales")
def _(answer):
    cases = [
        *(((64, 3, 3, 3), axis, None) for axis in (0, 1, -1)),
        *(((5, 4, 3, 2), axis, None) for axis in (-1, -2, -4, 2)),
        *(((2, 14, 10), axis, 5) for axis in (1, 2, -1, -3)),
        *(((8, 64), 1, size) for size in (16, 64, 1, 100)),
        *(((64, 100), axis, 32) for axis in (1, -1, 0, -2)),
        *(((6, 9), 1, size) for size in (2, 7)),
    ]
    for shape, axis, block_size in cases:
        said = f"scale_shape(shape={shape}, axis={axis}, block_size={block_size})"
        seen = call(answer, shape, axis, block_size, name="scale_shape")
        if not isinstance(seen, tuple):
            raise Almost(f"{said}: expected a tuple, seen {brief(seen)}, a `{kind(seen)}`")
        if not all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in seen):
            how = "round up, in integers: -(-n // block_size), or int(...) around it"
            raise Almost(f"{said}: expected whole numbers (int), seen {seen}: {how}")
        expected, mistakes = scale_shape(shape, axis, block_size)
        if seen != expected:
            why = next((f": {name}" for name, shown in mistakes if seen == shown), "")
            raise Almost(f"{said}: expected {expected}, seen {seen}{why}")
        ones = np.ones(shape, np.int8), np.ones(expected, np.float32)
        run_operator("DequantizeLinear", *ones, axis=axis, block_size=block_size or 0)  # it raises if they do not fit
    return f"{len(cases)} shapes, and onnxruntime's DequantizeLinear takes every one"


@exercise("04.2", "quantize in blocks", place="quantize_blocks", otherwise=blocks_of)
def _(answer):
    for name, x, block_size in matrices():
        said = f"{name} {x.shape}, block_size={block_size}"
        seen = call(answer, x, block_size, name="quantize_blocks")
        if not isinstance(seen, tuple | list) or len(seen) != 2:
            raise Almost(f"{said}: expected two arrays, codes and scales, seen {brief(seen)}")
        judge_blocks(seen, x, block_size, said)
    return "scales and codes as onnxruntime's QuantizeLinear has them, short last blocks included"


@exercise("04.3", "the most for your bits")
def _(answer):
    effective_bits, best_within = two_functions(answer, "effective_bits", "best_within")
    shapes = [
        ((5, 7), PerBlock(0, 2)), ((64, 128), PerTensor()), ((64, 128), PerAxis(0)), ((64, 3, 3, 3), PerAxis(0)),
        ((64, 128), PerBlock(1, 32)), ((64, 100), PerBlock(1, 32)), ((2, 5, 8), PerToken()),
    ]  # fmt: skip
    for bits, scale_bits in ((4, 16), (8, 32)):
        for shape, granularity in shapes:
            check_effective_bits(effective_bits, shape, bits, granularity, scale_bits)
    if best_within is None:
        raise NotYet("effective_bits is right; best_within is next, then check both")
    bits, granularity = judge_choices(best_within, cases())
    return f"on the real weight, 4.2 bits buy {bits}-bit codes with {granularity}"


@exercise("04.4", "may it leave the sum?")
def _(answer):
    if not isinstance(answer, dict):
        raise Almost(f'expected a dictionary such as {{"x ()": True, ...}}, seen {brief(answer)}, a `{kind(answer)}`')
    if strangers := [name for name in answer if name not in SCALES]:
        raise Almost(f"{brief(strangers[0])} is not in the list: {', '.join(SCALES)}")
    if missing := [name for name in SCALES if name not in answer]:
        raise Almost(f"{missing[0]!r} is missing, {SCALES[missing[0]]['what']}")
    for name, said in answer.items():
        if not isinstance(said, bool | np.bool_):
            raise Almost(f"{name!r}: expected True or False, seen {brief(said)}")
    wrong_ones = [name for name in SCALES if answer[name] != SCALES[name]["factors"]]
    if len(wrong_ones) == len(SCALES):
        raise Almost("all of them are the other way round: True is for a scale that leaves the sum")
    if wrong_ones:
        first = wrong_ones[0]
        more = f" ({len(wrong_ones) - 1} more to think over)" if len(wrong_ones) > 1 else ""
        raise Almost(f"{first!r}, {SCALES[first]['what']}, {_said(first)}: {SCALES[first]['why']}{more}")
    return f"all {len(SCALES)}: what depends on the summed index stays in, all else may leave"


def _said(name):
    return "factors out of the sum" if SCALES[name]["factors"] else "does not factor out of the sum"


@exercise("04.5", "per output channel, as at work")
def _(answer):
    build, read = two_functions(answer, "build", "read")
    random = np.random.default_rng(45)
    conformer = onnx.load(models.path("conformer"))
    for part in ("self_attn.linear_q", "feed_forward.w_2", "feed_forward.w_1"):
        w = linear(conformer, f"encoder.encoders.0.{part}").weight
        x = (random.normal(size=(40, len(w))) + 0.4).astype(np.float32)
        model = as_model(call(build, x, w, name="build"))
        judge_built(model, x, w, f"build, K = {w.shape[0]}, N = {w.shape[1]}")
    if read is None:
        raise NotYet("build is right; read is next, then check both")
    variants = {
        "of your own model": model,
        "of one with a single scale for the weights": qdq_model(x, w, PerTensor(), PerTensor()),
        "of one with uint8 weights": qdq_model(x, w, PerTensor(), PerAxis(1), w_dtype="uint8"),
        "of a saved one with int8 activations": saved_int8(x, w),
    }
    for said, variant in variants.items():
        judge_reading(call(read, variant, name="read"), variant, f"read, {said}")
    op_type, x_dtype, w_dtype, scales = reading(model)
    return f"{op_type} takes {x_dtype} × {w_dtype}, and {scales[0]} scales after the sum; 4 graphs were read"
