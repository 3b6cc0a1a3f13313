"""Notebook 08: static quantization of convolutional networks, from the article's call to Q/DQ written by hand.

Its pictures come first, then what it and its checks use.
"""

import tempfile
from collections import Counter
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
from matplotlib.colors import LinearSegmentedColormap
from onnx import helper, numpy_helper
from onnxruntime import GraphOptimizationLevel
from onnxruntime.quantization import QuantType, quantize_static

from qlab import graph, models, palette, sqnr_db
from qlab.course.expect import call, class_and_function, expect_array, judge_choice
from qlab.course.lessons import exercise, words
from qlab.course.lessons.common import Feeds, digits_right, operator_session, watching
from qlab.course.plots.figures import spread, times_axis
from qlab.course.plots.schematic import Schematic
from qlab.course.show import Almost, NotYet, brief, error_text, kind
from qlab.graph.operators import FLOAT_PRODUCTS
from qlab.palette import INK, styled
from qlab.recipes.quantizers import captured_logs
from qlab.runtime import open_session

_LARGEST = 0.25  # difference of a picture, in 0..1, that is drawn darkest


def qdq():
    """A convolution between Q and DQ as the file holds it, and the one node that runs in its place."""
    s = Schematic(
        20, 7.4, title="Four scales around one Conv",
        alt="Above, the file: x goes through QuantizeLinear and DequantizeLinear into Conv, the codes of the weight, "
        "int8, and of the bias, int32, through a DequantizeLinear each; the result through QuantizeLinear and "
        "DequantizeLinear to y. Below, what runs: QuantizeLinear, QLinearConv, DequantizeLinear.",
    )  # fmt: skip
    s.text(0.2, 6.9, "in the file", align="left", bold=True)
    x, y = s.box(0.9, 5.6, "x", kind="activations", width=1.2), s.box(19.1, 5.6, "y", kind="activations", width=1.2)
    chain = [x]
    for at, text, role in ((3.4, "Quantize\nLinear", "integer"), (6.5, "Dequantize\nLinear", "integer"),
                           (10.1, "Conv", "fp32"), (13.4, "Quantize\nLinear", "integer"),
                           (16.6, "Dequantize\nLinear", "integer")):  # fmt: skip
        chain.append(s.box(at, 5.6, text, kind=role, width=2.2, height=1.1))
    for start, end in zip(chain, [*chain[1:], y], strict=True):
        s.arrow(start, end)
    for at, text in ((8.4, "weight's codes, int8\nDequantizeLinear"), (12.4, "bias' codes, int32\nDequantizeLinear")):
        s.arrow(s.box(at, 3.5, text, kind="weights", width=3.7, height=1.1), chain[3])
    s.text(0.2, 2.2, "what runs", align="left", bold=True)
    x, y = s.box(0.9, 1.1, "x", kind="activations", width=1.2), s.box(19.1, 1.1, "y", kind="activations", width=1.2)
    chain = [x]
    for at, text in ((3.4, "Quantize\nLinear"), (10.1, "QLinearConv"), (16.6, "Dequantize\nLinear")):
        width = 3.4 if text == "QLinearConv" else 2.2
        chain.append(s.box(at, 1.1, text, kind="integer", width=width, height=1.1))
    for start, end, said in zip(chain, [*chain[1:], y], ("", "codes", "codes", ""), strict=True):
        s.arrow(start, end, said)
    return s.figure


def residual():
    """The residual block of exercise 08.3: five convolutions, a fork, an addition."""
    s = Schematic(
        20, 5.2, title="A residual block: t is read twice",
        alt="x enters the Conv stem, which gives t. t is read by the Conv widen and by Add. Behind widen come the "
        "depthwise Conv and the Conv narrow, which enters Add as well. Behind Add comes the Conv last, which gives y.",
    )  # fmt: skip
    names = ((3.6, "stem\n3 × 3"), (7.6, "widen\n1 × 1"), (10.6, "depthwise\n3 × 3"), (13.6, "narrow\n1 × 1"))
    convs = [s.box(at, 3.6, text, width=2.2, height=1.1) for at, text in names]
    x, y = s.box(0.9, 3.6, "x", kind="activations", width=1.2), s.box(19.3, 3.6, "y", kind="activations", width=1.1)
    add, last = s.box(15.9, 3.6, "Add", width=1.3), s.box(17.9, 2.0, "last\n3 × 3", width=1.8, height=1.1)
    s.arrow(x, convs[0])
    s.arrow(convs[0], convs[1], "t")
    for start, end in ((convs[1], convs[2]), (convs[2], convs[3]), (convs[3], add), (add, last), (last, y)):
        s.arrow(start, end)
    fork = (5.6, 3.6)
    s.axes.plot([fork[0], fork[0], 15.9], [fork[1], 1.2, 1.2], color=INK, linewidth=1.4)
    s.arrow((15.9, 1.15), add)
    s.text(10.6, 0.85, "t once more: the skip connection", size=9)
    s.text(10.0, 4.8, "stem, widen, depthwise and the sum are followed by a ReLU each", size=9)
    return s.figure


@styled
def fused_against_speed(points, *, convolutions, title):
    """Speed against the number of convolutions on integers: {name: (how many, (speed-up, low, high))}. -> Figure"""
    figure, axes = palette.figure(height=3.8)
    found = [value for _, speeds in points.values() for value in speeds]
    low, high = min(0.7, *found) / 1.3, max(1.5, *found) * 1.3
    axes.axhline(1, color=palette.FP32, linewidth=1.6)
    axes.annotate("fp32", (0, 1), (0, 4), textcoords="offset points", color=INK)
    for count, (speed, below, above) in points.values():
        axes.plot([count, count], [below, above], color=palette.INTEGER, linewidth=2)
        axes.plot(count, speed, "o", color=palette.INTEGER, markersize=8)
    for count in sorted({count for count, _ in points.values()}):
        names = [name for name, (other, _) in points.items() if other == count]
        heights = np.log([points[name][1][0] for name in names])
        for name, height in zip(names, np.exp(spread(heights, np.log(high / low) / 13)), strict=True):
            text = f"{name}, {points[name][1][0]:.2f}×"
            told = axes.annotate(text, (count, height), (11, 0), textcoords="offset points", va="center", color=INK)
            told.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})  # else fp32's line strikes it through
    times_axis(axes, low, high)
    axes.set_xlim(-0.04 * convolutions, 1.45 * convolutions)
    axes.set_xticks(sorted({0, convolutions, *(count for count, _ in points.values())}))
    axes.set_xlabel(f"convolutions that run on integers, of {convolutions}")
    axes.set_ylabel("speed against fp32 (log)")
    axes.set_title(title)
    return figure


@styled
def beside(reference, picture, *, title, said):
    """Left a picture, right how far it lies from the reference, both float [3, n, n] in 0..1. -> Figure"""
    figure, (left, right) = palette.figure(1, 2, height=3.4, layout=None)
    figure.subplots_adjust(left=0.02, right=0.9, bottom=0.04, top=0.8, wspace=0.1)
    left.imshow(np.clip(picture, 0, 1).transpose(1, 2, 0), interpolation="nearest")
    ramp = LinearSegmentedColormap.from_list("error", ["white", palette.ERROR])
    drawn = right.imshow(
        np.abs(picture - reference).max(axis=0), cmap=ramp, vmin=0, vmax=_LARGEST, interpolation="nearest"
    )
    figure.colorbar(drawn, ax=right, label="difference, of a range of 1", extend="max")
    for axes, text in ((left, said), (right, "largest of the three colours' differences")):
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
        axes.set_title(text, fontsize=10, fontweight="normal")
    figure.suptitle(title, x=0.02, ha="left", fontsize=12, fontweight="bold")
    return figure


RESIDUAL = {name: about["what"] for name, about in words("08", "residual").items()}


def opening(truth, pictures):
    """How the opening of the painted mouths correlates with that of the true ones."""
    return float(np.corrcoef(models.mouth_opening(truth), models.mouth_opening(pictures))[0, 1])


def convolutions(model):
    """The Conv nodes of a model in order, each with .node, .weight, .bias (or None), .x and .y.

    x, y: the names of the activations that get codes. Where a ReLU alone reads what the convolution gives, y is the
    ReLU's output: codes that begin at 0 clip as the ReLU does, and `node` gives y itself.
    """
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    found = []
    for node in model.graph.node:
        if node.op_type != "Conv":
            continue
        own = onnx.NodeProto.FromString(node.SerializeToString())
        if (relu := _only_relu(model.graph, node.output[0])) is not None:
            own.output[0] = relu.output[0]
        bias = held[node.input[2]] if len(node.input) > 2 else None
        found.append(SimpleNamespace(node=own, weight=held[node.input[1]], bias=bias, x=node.input[0], y=own.output[0]))
    return found


def _only_relu(graph, name):
    readers = [node for node in graph.node if name in node.input]
    return readers[0] if len(readers) == 1 and readers[0].op_type == "Relu" else None


def assembled(model, written):
    """The model with what was written, {name of a Conv: (nodes, tensors)}, in the place of each Conv and its ReLU.

    Two convolutions write the pair of the tensor between them both; one of the two is kept. Whoever else reads a tensor
    that has a pair reads the pair's end.
    """
    built = onnx.ModelProto.FromString(model.SerializeToString())
    replaced = {each.node.name: each for each in convolutions(model)}
    ends = {each.y for each in replaced.values()}
    weights = {name for each in replaced.values() for name in each.node.input[1:]}
    nodes, tensors = [], [tensor for tensor in model.graph.initializer if tensor.name not in weights]
    for node in model.graph.node:
        if node.op_type == "Conv":
            more, held = written[node.name]
            nodes += more
            tensors += held
        elif not (node.op_type == "Relu" and node.output[0] in ends):
            nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
    nodes = _joined(nodes)
    used = {name for node in nodes for name in node.input}
    del built.graph.node[:], built.graph.initializer[:], built.graph.value_info[:]
    built.graph.node.extend(nodes)
    built.graph.initializer.extend(tensor for tensor in tensors if tensor.name in used)
    opset = max(13, *(entry.version for entry in built.opset_import if entry.domain in ("", "ai.onnx")))
    built.opset_import[0].version = opset
    return built


def _joined(nodes):
    """Each tensor with one Q/DQ pair, which all its readers read."""
    codes = {node.output[0]: node for node in nodes if node.op_type == "QuantizeLinear"}
    pairs = {}  # tensor -> the pair's end; what is a pair's end already needs none
    again = {}  # the end of a second pair -> the first one's
    first = {node.output[0] for node in nodes if node.op_type == "DequantizeLinear" and node.input[0] in codes}
    drop = set()
    for node in nodes:
        if node.op_type != "DequantizeLinear" or node.input[0] not in codes:
            continue
        source = codes[node.input[0]].input[0]
        if source in first or source in pairs:
            again[node.output[0]] = pairs.get(source, source)
            drop |= {id(node), id(codes[node.input[0]])}
        else:
            pairs[source] = node.output[0]
    kept = [node for node in nodes if id(node) not in drop]
    for node in kept:
        for place, name in enumerate(node.input):
            name = again.get(name, name)
            reads_pair = name in pairs and node.op_type != "QuantizeLinear"
            node.input[place] = pairs[name] if reads_pair else name
    return kept


def watched(model, names):
    """A function of a feed: {name: what flows through that tensor}, for inputs of the model and tensors inside."""
    inside = [name for name in names if name not in {entry.name for entry in model.graph.input}]
    session = watching(model, inside)
    return lambda feed: {**{n: feed[n] for n in names if n in feed}, **dict(zip(inside, session.run(inside, feed)))}  # noqa: B905


def residual_model():
    """The residual block of exercise 08.3, with random weights; each Conv bears its name in the drawing."""
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["": 21]>
        residual (float[N, 3, H, W] x) => (float[N, 8, H, W] y) {
        s = Conv<pads = [1, 1, 1, 1]>(x, stem) t = Relu(s) a = Conv(t, widen) b = Relu(a)
        c = Conv<pads = [1, 1, 1, 1], group = 16>(b, depthwise) d = Relu(c) e = Conv(d, narrow)
        f = Add(e, t) g = Relu(f) y = Conv<pads = [1, 1, 1, 1]>(g, last) }""")
    random = np.random.default_rng(83)
    shapes = {"stem": (8, 3, 3, 3), "widen": (16, 8, 1, 1), "depthwise": (16, 1, 3, 3), "narrow": (8, 16, 1, 1),
              "last": (8, 8, 3, 3)}  # fmt: skip
    for name, shape in shapes.items():
        weight = random.normal(size=shape).astype(np.float32) / np.float32(np.sqrt(np.prod(shape[1:])))
        model.graph.initializer.append(numpy_helper.from_array(weight, name))
    for node in model.graph.node:
        node.name = node.input[1] if node.op_type == "Conv" else f"{node.op_type}_{node.output[0]}"
    return model


def one_product():
    """{operator: (session, feed)} of one convolution: in float32, and twice with u8 activations and s8 weights."""
    random = np.random.default_rng(85)
    x, w = random.integers(0, 99, (1, 64, 32, 32)).astype(np.uint8), random.integers(-99, 99, (64, 64, 3, 3))
    scale, one, x_zero, w_zero = np.float32(0.01), np.float32(1), np.uint8(3), np.int8(0)
    codes = w.astype(np.int8)
    inputs = {
        "Conv": (x.astype(np.float32), w.astype(np.float32)),
        "QLinearConv": (x, scale, x_zero, codes, scale, w_zero, one, x_zero),
        "ConvInteger": (x, codes, x_zero, w_zero),
    }
    return {op: (operator_session(op, *each, pads=[1, 1, 1, 1]), {"x": each[0]}) for op, each in inputs.items()}


def head(largest):
    """What a detector ends in: boxes, up to about `largest` pixels, and scores, 0 to 1, in one tensor."""
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["": 21]>
        head (float[N, 16, H, W] x) => (float[N, 6, H, W] found) {
        boxes = Conv(x, to_boxes) raw = Conv(x, to_scores) scores = Sigmoid(raw)
        found = Concat <axis = 1> (boxes, scores) }""")
    random = np.random.default_rng(84)
    for name, rows, size in (("to_boxes", 4, largest / 16), ("to_scores", 2, 0.5)):
        weight = (size * random.normal(size=(rows, 16, 1, 1))).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weight, name))
    for node in model.graph.node:
        node.name = node.output[0]
    return model


def running(model, *, fused=True):
    """The graph that onnxruntime makes of a path or bytes; fused=False: without its optimizations."""
    with tempfile.TemporaryDirectory() as folder:
        target = str(Path(folder) / "running.onnx")

        def adjust(options):
            options.optimized_model_filepath = target
            if not fused:
                options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL

        open_session(model, adjust=adjust)
        return onnx.load(target).graph


def _unfused(model):
    """A session that computes node by node, on floats between Q and DQ: no machine's integer kernels play a part."""
    level = GraphOptimizationLevel.ORT_DISABLE_ALL
    return open_session(model, adjust=lambda options: setattr(options, "graph_optimization_level", level))


def _held(onnx_graph):
    """{name: array} of the constants of a graph: initializers, and Constant nodes."""
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx_graph.initializer}
    for node in onnx_graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            held[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return held


def _ranges(onnx_graph):
    """{tensor: (lowest, highest number that its codes reach, dtype of the codes)} of the activations of a file."""
    held, found = _held(onnx_graph), {}
    for node in onnx_graph.node:
        if node.op_type != "QuantizeLinear" or node.input[0] in held:
            continue
        scale = held[node.input[1]]
        zero = held[node.input[2]] if len(node.input) > 2 else np.uint8(0)
        ends = np.iinfo(zero.dtype)
        low, high = (float(scale.max() * (end - float(zero.max()))) for end in (ends.min, ends.max))
        found[node.input[0]] = low, high, zero.dtype.name
    return found


@cache
def marked_frames():
    """Eleven frames, the two with the ends of `audio` at an odd and an even place: half of them lacks one."""
    frames = models.face_frames("calibration")
    spread = frames[:: len(frames) // 9][:9]
    highest = max(frames, key=lambda frame: frame.audio.max())
    lowest = min(frames, key=lambda frame: frame.audio.min())
    return (*spread[:3], lowest, *spread[3:], highest)


def judge_batches(reader_class):
    if not isinstance(reader_class, type):
        raise Almost(f"BatchReader: expected the class itself, seen {brief(reader_class)}")
    if not callable(getattr(reader_class, "get_next", None)):
        raise Almost("BatchReader has no method get_next")
    frames = marked_frames()
    for count, size in ((8, 4), (11, 4), (3, 8), (5, 1)):
        _judge_reading(reader_class, list(frames[:count]), size)


def _judge_reading(reader_class, frames, size):
    said = f"{len(frames)} frames, {size} a call"
    given = list(frames)
    try:
        reader = reader_class(given, size)
    except Exception as error:
        raise Almost(f"BatchReader(frames, {size}) raised {error_text(error)}") from None
    start = 0
    while start < len(frames):
        feed, expected = _next(reader, said), frames[start : start + size]
        if feed is ...:
            raise NotYet("`get_next` still returns `...`")
        if feed is None:
            if start + size > len(frames):
                raise Almost(f"{said}: None, and {len(frames) - start} frames are left: the last call has the rest")
            raise Almost(f"{said}: None after {start} frames")
        if not isinstance(feed, dict) or set(feed) != {"audio", "face"}:
            raise Almost(f"{said}: expected {{'audio': array, 'face': array}}, seen {brief(feed)}")
        for name in ("audio", "face"):
            _judge_stack(feed[name], [frame.feed[name] for frame in expected], f"{said}: {name!r}, from frame {start}")
        start += size
    if (after := _next(reader, said)) is not None:
        raise Almost(f"{said}: all were given, then {brief(after)}: asked for None")
    if len(given) < len(frames):
        raise Almost(f"{said}: the reader takes frames out of the list it was given: keep a copy, list(frames)")


def _next(reader, said):
    try:
        return reader.get_next()
    except Exception as error:
        raise Almost(f"{said}: get_next raised {error_text(error)}") from None


def _judge_stack(seen, arrays, said):
    array, expected = expect_array(seen, said), np.concatenate(arrays)
    if array.shape == (len(arrays), *arrays[0].shape):
        raise Almost(f"{said}: shape {array.shape}: a frame's array has a batch axis already, np.concatenate joins it")
    if array.shape[1:] != expected.shape[1:]:
        raise Almost(f"{said}: expected shape {expected.shape}, seen {array.shape}")
    if len(array) < len(expected):
        raise Almost(f"{said}: {len(array)} frames in this call, {len(expected)} are asked for")
    if len(array) > len(expected):
        raise Almost(f"{said}: {len(array)} frames in this call, of which {len(expected)} are left: none twice")
    if array.dtype != np.float32:
        raise Almost(f"{said}: the model takes float32, seen {array.dtype}")
    if not np.array_equal(array, expected):
        raise Almost(f"{said}: these are not the frames' numbers, or not in order")


class _Spied:
    """A frame that knows whether somebody read it: the ranges tell of a few frames alone whether they were used."""

    def __init__(self, frame):
        self._frame, self.read = frame, False

    def __getattr__(self, name):
        self.read |= name in ("audio", "face", "feed")
        return getattr(self._frame, name)


def judge_face(quantize_face):
    """The file that was written: static Q/DQ, ranges of all frames, each convolution on integers, on x86 too."""
    frames = list(marked_frames())
    spied = [_Spied(frame) for frame in frames]
    with tempfile.TemporaryDirectory(prefix="qlab-08-") as folder, captured_logs():
        output = Path(folder) / "yours.onnx"
        try:
            result = quantize_face(str(models.path("face")), str(output), list(spied))
        except Exception as error:
            raise Almost(f"quantize_face raised {error_text(error)}") from None
        if result is ...:
            raise NotYet("quantize_face still returns `...`")
        if not output.is_file():
            raise Almost("quantize_face wrote no file at `output`: quantize_static(model, output, reader, ...)")
        written, ran = onnx.load(output).graph, running(output)
    kinds = {node.op_type for node in written.node}
    if "ConvInteger" in kinds:
        raise Almost("the file holds ConvInteger: that is dynamic quantization; asked for quantize_static")
    if any(name.startswith("QLinear") for name in kinds):
        raise Almost("the file holds QLinearConv and the like: asked for Q/DQ, quant_format=QuantFormat.QDQ")
    if "QuantizeLinear" not in kinds:
        raise Almost("the file has no QuantizeLinear: nothing was quantized statically")
    _judge_inputs(written, frames)
    if unread := [place for place, frame in enumerate(spied) if not frame.read]:
        named = ", ".join(map(str, unread[:4])) + ", ..." * (len(unread) > 4)
        raise Almost(f"{len(unread)} of {len(frames)} frames were never read, those at {named}: calibrate on all")
    signed = _signed(written)
    floats = sum(node.op_type == "Conv" for node in ran.node)
    if signed:
        here = f"; {floats} convolutions stay float here" if floats else "; on x86 their convolutions would stay float"
        raise Almost(f"{len(signed)} activations with several readers have codes with a sign{here}")
    if floats:
        raise Almost(f"{floats} convolutions stay float in the graph that runs here")


def _judge_inputs(written, frames):
    found = _ranges(written)
    for name in ("audio", "face"):
        if name not in found:
            raise Almost(f"the input {name!r} is not quantized: were both inputs fed, and is what reads it quantized?")
        arrays = [frame.feed[name] for frame in frames]
        low, high, _ = found[name]
        if _fits(low, high, arrays):
            continue
        parts = {"the last frames": arrays[-3:], "all but the last frames": arrays[:8], "the first frame": arrays[:1],
                 "every other frame": arrays[::2]}  # fmt: skip
        fits = [said for said, some in parts.items() if _fits(low, high, some)]
        why = f": that is the range of {' or of '.join(fits)}" if fits else ""
        expected = min(0.0, *(float(x.min()) for x in arrays)), max(float(x.max()) for x in arrays)
        raise Almost(
            f"the codes of {name!r} reach from {low:.3g} to {high:.3g}; the frames, all {len(frames)} of them, from "
            f"{expected[0]:.3g} to {expected[1]:.3g}{why}"
        )


def _fits(low, high, arrays):
    """Is this the min-max range of the arrays, symmetric or not, within one code?"""
    least, most = min(0.0, *(float(x.min()) for x in arrays)), max(0.0, *(float(x.max()) for x in arrays))
    largest, step = max(-least, most), (high - low) / 255
    near = lambda a, b: abs(a - b) <= 1.01 * step
    return (near(low, least) and near(high, most)) or (near(low, -largest) and near(high, largest))


def _signed(onnx_graph):
    """Names of the activations of a file that have several readers, and codes with a sign."""
    return [name for name in shared(onnx_graph) if _ranges(onnx_graph)[name][2] == "int8"]


def shared(onnx_graph):
    """Names of the activations of a file that have several readers, through one Q/DQ pair or one pair each."""
    readers = Counter(name for node in onnx_graph.node for name in node.input)
    quantized = {node.output[0]: node.input[0] for node in onnx_graph.node if node.op_type == "QuantizeLinear"}
    found = Counter()
    for node in onnx_graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in quantized:
            found[quantized[node.input[0]]] += readers[node.output[0]]
    return [name for name, count in found.items() if count > 1]


@exercise("08.1", "no convolution in float")
def _(answer):
    reader, quantize_face = class_and_function(answer, "BatchReader", "quantize_face")
    judge_batches(reader)
    if quantize_face is None:
        raise NotYet("BatchReader is right; now quantize_face, and check both")
    if not callable(quantize_face):
        raise Almost(f"quantize_face: expected a function, seen {brief(quantize_face)}")
    judge_face(quantize_face)
    return "both inputs, several frames a call, none lost; every convolution of the face runs on integers"


def write_qdq(conv, weight, bias, x_qparams, y_qparams, *, bias_scale=1):
    """(nodes, tensors) of a Conv between Q/DQ: uint8 activations, int8 weights per output channel, int32 bias.

    bias_scale: the bias' scale, in units of the scale that its sums have.
    """
    x, y, tensors = conv.input[0], conv.output[0], []

    def hold(array, what):
        tensors.append(numpy_helper.from_array(array, f"{conv.name}.{what}"))
        return tensors[-1].name

    def pair(name, qparams, what, end):
        held = [hold(np.float32(qparams[0]), f"{what}_scale"), hold(np.uint8(qparams[1]), f"{what}_zero")]
        middle = f"{conv.name}.{what}_codes"
        return [helper.make_node("QuantizeLinear", [name, *held], [middle]),
                helper.make_node("DequantizeLinear", [middle, *held], [end])]  # fmt: skip

    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    codes = np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.int8)
    own = onnx.NodeProto.FromString(conv.SerializeToString())
    own.input[0], own.output[0] = f"{conv.name}.x", f"{conv.name}.y"
    own.input[1] = f"{conv.name}.w"
    put = [hold(codes, "w_codes"), hold(scale, "w_scale"), hold(np.zeros(len(codes), np.int8), "w_zero")]
    nodes = pair(x, x_qparams, "x", own.input[0])
    nodes.append(helper.make_node("DequantizeLinear", put, [own.input[1]], axis=0))
    if bias is not None:
        unit = (np.float32(x_qparams[0]) * scale * np.float32(bias_scale)).astype(np.float32)
        own.input[2] = f"{conv.name}.b"
        put = [hold(np.rint(bias / unit).astype(np.int32), "b_codes"), hold(unit, "b_scale")]
        nodes.append(helper.make_node("DequantizeLinear", put, [own.input[2]], axis=0))
    return [*nodes, own, *pair(own.output[0], y_qparams, "y", y)], tensors


def _convolution_cases():
    """(said, conv, weight, bias, x_qparams, y_qparams, x): they differ in all that a mistake could hide in."""
    random = np.random.default_rng(82)
    cases = (
        ("a 3 × 3 convolution", (4, 3, 3, 3), (2, 3, 8, 8), {"pads": [1, 1, 1, 1]}, True),
        ("a depthwise convolution, stride 2, no bias", (6, 1, 3, 3), (1, 6, 9, 7), {"group": 6, "strides": [2, 2]},
         False),
        ("a 1 × 1 convolution with a channel of zeros", (5, 7, 1, 1), (3, 7, 4, 5), {}, True),
        ("a dilated convolution of equal sides", (4, 4, 3, 3), (1, 4, 9, 9), {"dilations": [2, 2]}, True),
        ("a convolution over time with a faint channel", (40, 2, 5), (2, 2, 12), {"pads": [2, 2]}, True),
    )  # fmt: skip
    for number, (said, w_shape, x_shape, attributes, with_bias) in enumerate(cases):
        loud = 2.0 ** random.integers(-4, 4, size=(w_shape[0], *[1] * (len(w_shape) - 1)))
        weight = (random.normal(size=w_shape) * loud).astype(np.float32)
        if "zeros" in said:
            weight[2] = 0
        if "faint" in said:
            weight[3] *= np.float32(1e-4) / np.abs(weight[3]).max()
        bias = (3 * random.normal(size=w_shape[0])).astype(np.float32) if with_bias else None
        x = (random.normal(size=x_shape) * 2 + number).astype(np.float32)
        inputs = [f"in{number}", f"weight{number}", *[f"bias{number}"] * with_bias]
        conv = helper.make_node("Conv", inputs, [f"out{number}"], name=f"conv{number}", **attributes)
        yield said, conv, weight, bias, _qparams(x), _qparams(_real(conv, weight, bias, x)), x


def one_convolution():
    """(conv, weight, bias, x_qparams, y_qparams, x): numbers to write a convolution's Q/DQ with, and to run it on."""
    return next(_convolution_cases())[1:]


def _real(conv, weight, bias, x):
    held = [numpy_helper.from_array(a, n) for a, n in zip((weight, bias), conv.input[1:], strict=False)]
    return open_session(model_of([conv], held, conv, x)).run(None, {conv.input[0]: x})[0]


def _qparams(x):
    """Scale and zero point of uint8 codes for the numbers of x."""
    low, high = min(0.0, float(x.min())), max(0.0, float(x.max()))
    scale = np.float32((high - low) / 255)
    return scale, np.uint8(np.clip(np.rint(-low / scale), 0, 255))


def model_of(nodes, tensors, conv, x, last=None):
    """Bytes of a model from the input of `conv` to its output, or to that of `last`."""
    put = helper.make_tensor_value_info(conv.input[0], onnx.TensorProto.FLOAT, [None, *x.shape[1:]])
    out = helper.make_tensor_value_info((last or conv).output[0], onnx.TensorProto.FLOAT, [None] * x.ndim)
    body = helper.make_graph(nodes, "written", [put], [out], tensors)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()


def _written(answer, case):
    said, conv, weight, bias, x_qparams, y_qparams, _ = case
    own = onnx.NodeProto.FromString(conv.SerializeToString())
    seen = call(
        lambda: answer(own, weight.copy(), None if bias is None else bias.copy(), x_qparams, y_qparams),
        name=f"write_qdq, for {said},",
    )
    if not isinstance(seen, tuple | list) or len(seen) != 2:
        raise Almost(f"{said}: expected (nodes, tensors), seen {brief(seen)}")
    nodes, tensors = (list(part) if hasattr(part, "__iter__") else [part] for part in seen)
    if nodes and all(isinstance(each, onnx.TensorProto) for each in nodes):
        raise Almost(f"{said}: the two are swapped: (nodes, tensors)")
    for entries, what, sort in ((nodes, "nodes", onnx.NodeProto), (tensors, "tensors", onnx.TensorProto)):
        wrong = [each for each in entries if not isinstance(each, sort)]
        if any(each is ... for each in wrong):
            raise NotYet(f"{what} still hold `...`")
        if wrong:
            raise Almost(f"{said}: {what} are to be {kind(sort())}, seen {brief(wrong[0])}, a `{kind(wrong[0])}`")
    return nodes, tensors


def _judge_names(nodes, tensors, said):
    made = [name for node in nodes for name in node.output] + [tensor.name for tensor in tensors]
    if twice := [name for name, count in Counter(made).items() if count > 1]:
        raise Almost(f"{said}: the name {twice[0]!r} is given twice; make names from the convolution's own")


def _source(nodes, name, op_type):
    return next((node for node in nodes if name in node.output and node.op_type == op_type), None)


def _judge_structure(nodes, tensors, case):
    """What the nodes say: codes, scales and zero points in their places."""
    said, conv, weight, bias, x_qparams, y_qparams, _ = case
    held = _held(SimpleNamespace(initializer=tensors, node=nodes))
    convs = [node for node in nodes if node.op_type == "Conv"]
    if len(convs) != 1:
        found = ", ".join(sorted({node.op_type for node in nodes})) or "nothing"
        raise Almost(f"{said}: expected one Conv between Q and DQ, seen {len(convs)} among {found}")
    own = convs[0]
    attributes = lambda node: {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if attributes(own) != attributes(conv):
        raise Almost(f"{said}: the Conv has the attributes {attributes(own)}, asked for {attributes(conv)}: copy it")
    if len(own.input) < 2:
        raise Almost(f"{said}: the Conv reads {list(own.input)}: asked for x, weight and bias")
    _judge_pair(nodes, held, own.input[0], conv.input[0], x_qparams, y_qparams, f"{said}: the input")
    scale = _judge_weight(nodes, held, own.input[1], weight, said)
    has_bias = len(own.input) > 2 and own.input[2]
    if bias is None and has_bias:
        raise Almost(f"{said}: the Conv reads a bias that is not there")
    if bias is not None:
        if not has_bias:
            raise Almost(f"{said}: the Conv lost its bias")
        _judge_bias(nodes, held, own.input[2], bias, scale, x_qparams[0], y_qparams[0], said)
    if own.output[0] == conv.output[0]:
        raise Almost(f"{said}: the Conv gives {conv.output[0]!r} itself, with no pair behind it; then it stays float")
    _judge_pair(nodes, held, conv.output[0], own.output[0], y_qparams, x_qparams, f"{said}: the output")


def _judge_pair(nodes, held, end, start, qparams, other, said):
    """A Q/DQ pair leads from the tensor `start` to the tensor `end`, with these scale and zero point."""
    back = _source(nodes, end, "DequantizeLinear")
    if back is None:
        raise Almost(f"{said}: {end!r} comes from no DequantizeLinear")
    forth = _source(nodes, back.input[0], "QuantizeLinear")
    if forth is None:
        raise Almost(f"{said}: the DequantizeLinear reads {back.input[0]!r}, which no QuantizeLinear gives")
    if forth.input[0] != start:
        raise Almost(f"{said}: the QuantizeLinear reads {forth.input[0]!r}, asked for {start!r}")
    for node in (forth, back):
        scale, zero = _scale_and_zero(node, held, said)
        if zero is None:
            if int(qparams[1]) != 0:
                raise Almost(f"{said}: the {node.op_type} has no zero point; without one it is 0")
            continue
        if scale.size != 1 or zero.size != 1:
            raise Almost(f"{said}: expected one scale and one zero point, seen {scale.size} and {zero.size}")
        if zero.dtype != np.uint8:
            raise Almost(f"{said}: the zero point is {zero.dtype}, and with it the codes; asked for uint8")
        seen, wanted = (scale.item(), zero.item()), (float(qparams[0]), int(qparams[1]))
        if not np.isclose(seen[0], wanted[0], rtol=1e-3) or seen[1] != wanted[1]:
            swapped = ": that is the other side's" if np.isclose(seen[0], float(other[0]), rtol=1e-3) else ""
            raise Almost(
                f"{said}: the {node.op_type} has scale {seen[0]:.6g} and zero point {seen[1]}, asked for "
                f"{wanted[0]:.6g} and {wanted[1]}{swapped}"
            )


def _scale_and_zero(node, held, said):
    for name in node.input[1:3]:
        if name and name not in held:
            raise Almost(f"{said}: {name!r}, which a {node.op_type} reads, is not among the tensors")
    if len(node.input) < 2:
        raise Almost(f"{said}: a {node.op_type} reads codes or numbers, a scale and a zero point")
    return held[node.input[1]], held[node.input[2]] if len(node.input) > 2 and node.input[2] else None


def _stored(nodes, held, name, what, said):
    """(codes, scale, zero point, axis) of a constant that a DequantizeLinear turns back."""
    if name in held:
        raise Almost(f"{said}: the {what} stands in the file as {held[name].dtype}; asked for codes, DequantizeLinear")
    back = _source(nodes, name, "DequantizeLinear")
    if back is None:
        raise Almost(f"{said}: the {what} {name!r} comes from no DequantizeLinear")
    if back.input[0] not in held:
        raise Almost(f"{said}: the {what}'s codes are to stand among the tensors, not to be computed in every run")
    axis = next((attribute.i for attribute in back.attribute if attribute.name == "axis"), 1)
    return held[back.input[0]], *_scale_and_zero(back, held, said), axis


def _judge_weight(nodes, held, name, weight, said):
    codes, scale, zero, axis = _stored(nodes, held, name, "weight", said)
    if codes.dtype != np.int8:
        raise Almost(f"{said}: the weight's codes are {codes.dtype}, asked for int8")
    if codes.shape != weight.shape:
        raise Almost(f"{said}: the weight's codes have shape {codes.shape}, the weight has {weight.shape}")
    if zero is not None and zero.any():
        raise Almost(f"{said}: the weight's zero points are not 0: symmetric codes have none")
    if scale.size == 1 and len(weight) > 1:
        raise Almost(f"{said}: the weight has one scale; asked for one for each output channel, {len(weight)}")
    if scale.shape != (len(weight),):
        raise Almost(f"{said}: the weight's scales have shape {scale.shape}, DequantizeLinear takes ({len(weight)},)")
    if axis not in (0, -weight.ndim):
        raise Almost(f"{said}: the weight's DequantizeLinear has axis {axis}; output channels are axis 0")
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    lives = largest > 0
    if (scale <= 0).any() or not np.isfinite(scale).all():
        raise Almost(f"{said}: a scale is {scale.min():.3g}: a channel of zeros wants a positive one, such as 1")
    off = lives & ~np.isclose(scale, largest / 127, rtol=1e-3, atol=0)
    if off.any():
        _say_scale(scale, largest, off, said)
    expected = np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))
    if (np.abs(codes - expected) > 1).any():
        raise Almost(f"{said}: the weight's codes are not weight / scale: did they wrap around, or miss their channel?")
    if (codes != expected).mean() > 0.02:
        raise Almost(f"{said}: the weight's codes are one off in {np.mean(codes != expected):.0%}: round, np.rint")
    return scale


def _say_scale(scale, largest, off, said):
    """What is wrong with the scales of the channels that are `off`."""
    faint = int(np.argmin(np.where(off, largest, np.inf)))
    if off.sum() < len(off) / 2 and np.isclose(scale[off], scale[faint]).all() and (127 * scale > largest)[off].all():
        raise Almost(
            f"{said}: channel {faint}, whose largest weight is {largest[faint]:.3g}, has the scale {scale[faint]:.3g}, "
            f"asked for {largest[faint] / 127:.3g}: a guard against zeros must not reach small weights"
        )
    worst = int(np.argmax(np.abs(scale * 127 / np.where(off, largest, 1) - 1) * off))
    seen = largest[worst] / scale[worst]
    raise Almost(f"{said}: the scale of channel {worst} is its largest weight / {seen:.4g}; asked for / 127")


def _judge_bias(nodes, held, name, bias, scale, x_scale, y_scale, said):
    codes, seen, zero, axis = _stored(nodes, held, name, "bias", said)
    unit = np.float32(x_scale) * scale
    if axis not in (0, -1):
        raise Almost(f"{said}: the bias' DequantizeLinear has axis {axis}, as by default; the bias has axis 0 alone")
    if codes.dtype != np.int32:
        raise Almost(f"{said}: the bias' codes are {codes.dtype}, asked for int32")
    if zero is not None and zero.any():
        raise Almost(f"{said}: the bias' zero points are not 0")
    if seen.shape != unit.shape or not np.allclose(seen, unit, rtol=1.001e-3, atol=0):
        wrong = {
            "the weight's scale alone": scale,
            "x's scale alone": np.full_like(scale, x_scale),
            "y's scale alone": np.full_like(scale, y_scale),
            "y's scale times the weight's": y_scale * scale,
        }
        wrong |= {f"{times:g} times as much": times * unit for times in (2, 0.5, 127, 255)}
        like = lambda other: seen.shape == other.shape and np.allclose(seen, other, rtol=1e-3, atol=0)
        fits = [why for why, other in wrong.items() if like(other)]
        why = f": that is {fits[0]}" if fits else ""
        raise Almost(
            f"{said}: the bias has scale {brief(seen)}; the sums it is added to have x's scale times the weight's, "
            f"{brief(unit)}{why}"
        )
    expected = np.rint(bias.astype(float) / seen.astype(float))
    if (far := np.abs(expected) >= 2**31).any():
        at = int(np.argmax(far))
        raise Almost(
            f"{said}: bias / scale is {expected[at]:.3g} in channel {at}, more than int32 holds: the weight's scale is "
            f"{scale[at]:.3g} there; a channel of zeros has the scale 1"
        )
    off = np.abs(codes - expected) > 1e-6 * np.abs(expected)  # a scale in float32 moves a large code
    if codes.shape != bias.shape or (np.abs(codes - expected) > 1 + 1e-4 * np.abs(expected)).any():
        raise Almost(f"{said}: the bias' codes are not bias / scale: {brief(codes)}, expected {brief(expected)}")
    if off.sum() > 1 + 0.02 * off.size:
        raise Almost(f"{said}: the bias' codes are one off in {off.mean():.0%} of the channels: round, np.rint")


def _judge_run(model, reference, case, convs=1):
    """It opens, fuses, and computes what the reference does."""
    said, conv, *_, (scale, _), x = case
    try:
        onnx.checker.check_model(onnx.ModelProto.FromString(model))
    except onnx.checker.ValidationError as error:
        raise Almost(f"{said}: onnx.checker says: {error_text(error)}") from None
    try:
        seen = _unfused(model).run(None, {conv.input[0]: x})[0]
        counted = Counter(node.op_type for node in running(model).node)
    except ValueError as error:
        raise Almost(f"{said}: onnxruntime does not open it: {error_text(error)}") from None
    expected = _unfused(reference).run(None, {conv.input[0]: x})[0]
    if seen.shape != expected.shape or np.abs(seen - expected).max() > 1.5 * float(scale):
        raise Almost(f"{said}: it computes other numbers than the convolution between its codes")
    if counted["Conv"] or counted["QLinearConv"] != convs:
        raise Almost(f"{said}: it computes the right numbers, but {counted['Conv']} Conv stay float when it runs")


@exercise("08.2", "write the Q/DQ of a convolution", place="write_qdq", otherwise=write_qdq)
def _(answer):
    cases = list(_convolution_cases())
    for case in cases:
        said, conv, *_, x = case
        nodes, tensors = _written(answer, case)
        _judge_names(nodes, tensors, said)
        _judge_structure(nodes, tensors, case)
        _judge_run(model_of(nodes, tensors, conv, x), model_of(*write_qdq(*case[1:6]), conv, x), case)
    _judge_two(answer, cases[0])
    return f"{len(cases)} convolutions, each one QLinearConv when it runs; two in one model keep their names apart"


def _judge_two(answer, case):
    """A second convolution behind the first, in one model."""
    _, conv, weight, bias, _, y_qparams, x = case
    behind = helper.make_node("Conv", [conv.output[0], "w2", "b2"], ["end"], name="behind", pads=[1, 1, 1, 1])
    random = np.random.default_rng(1)
    w2, b2 = random.normal(size=(3, 4, 3, 3)).astype(np.float32), random.normal(size=3).astype(np.float32)
    y = _real(behind, w2, b2, _real(conv, weight, bias, x))
    second = ("two convolutions in a row", behind, w2, b2, y_qparams, _qparams(y), x)
    parts = [_written(answer, case), _written(answer, second)]
    nodes, tensors = _together(parts)
    _judge_names(nodes, tensors, second[0])
    reference = model_of(*_together([write_qdq(*each[1:6]) for each in (case, second)]), conv, x, behind)
    _judge_run(model_of(nodes, tensors, conv, x, behind), reference, (second[0], conv, second[5], x), 2)
    twin = onnx.NodeProto.FromString(conv.SerializeToString())
    twin.name, twin.output[0] = "beside", "other end"
    twins = "two convolutions that read the same tensors", twin, *case[2:]
    _judge_names(*_together([parts[0], _written(answer, twins)]), twins[0])


def _together(parts):
    """(nodes, tensors) of several (nodes, tensors)."""
    return [node for nodes, _ in parts for node in nodes], [tensor for _, tensors in parts for tensor in tensors]


@exercise("08.3", "which convolutions of a residual block stay float")
def _(answer):
    return judge_choice(answer, words("08", "residual"))


def my_quantizer(model, images):
    """The digits network with Q/DQ around each convolution, by qlab's functions."""
    from qlab.course import mine

    found = convolutions(model)
    names = sorted({name for each in found for name in (each.x, each.y)})
    watch, observers = watched(model, names), {name: mine.Observer() for name in names}
    for image in images:
        for name, x in watch({"images": image[None]}).items():
            observers[name].observe(x)
    qparams = {name: mine.choose_qparams(*observers[name].range(), 0, 255) for name in names}
    written = {
        each.node.name: mine.write_qdq(each.node, each.weight, each.bias, qparams[each.x], qparams[each.y])
        for each in found
    }
    return assembled(model, written)


def judge_quantizer(seen, model, images, said):
    if isinstance(seen, bytes | str | Path):
        raise Almost(f"{said}: expected a ModelProto, such as n08.assembled gives, seen a `{kind(seen)}`")
    if not isinstance(seen, onnx.ModelProto):
        raise Almost(f"{said}: expected a ModelProto, seen {brief(seen)}, a `{kind(seen)}`")
    if seen.producer_name == "onnx.quantize":
        raise Almost(f"{said}: this is the model that quantize_static makes; asked for one of your own parts")
    try:
        counted = Counter(node.op_type for node in running(seen.SerializeToString()).node)
        answers = _unfused(seen.SerializeToString()).run(None, {"images": models.digit_split()[2]})[0]
    except ValueError as error:
        raise Almost(f"{said}: onnxruntime does not open it: {error_text(error)}") from None
    _judge_watched(seen, model, images, said)
    total = len(convolutions(model))
    biases = lambda some: sum(node.op_type == "Conv" and len(node.input) > 2 for node in some.graph.node)
    if lost := biases(model) - biases(seen):
        raise Almost(f"{said}: {lost} of {total} convolutions lost their bias: write_qdq takes `each.bias`")
    if counted["QLinearConv"] != total:
        raise Almost(f"{said}: {counted['QLinearConv']} of {total} convolutions run on integers")
    reference = open_session(model.SerializeToString()).run(None, {"images": models.digit_split()[2]})[0]
    found, best = sqnr_db(reference, answers), _best(images, reference)
    if found < best - 3:
        raise Almost(f"{said}: SQNR {found:.1f} dB where min-max ranges and 8 bits give {best:.1f} dB")


def _best(images, reference):
    with tempfile.TemporaryDirectory() as folder, captured_logs():
        path = Path(folder) / "best.onnx"
        feeds = Feeds([{"images": image[None]} for image in images])
        quantize_static(models.path("digits"), path, feeds, weight_type=QuantType.QInt8, per_channel=True)
        answers = _unfused(path).run(None, {"images": models.digit_split()[2]})[0]
    return sqnr_db(reference, answers)


def _judge_watched(seen, model, images, said):
    """The activations' ranges are the lowest and highest of all images."""
    found = convolutions(model)
    names = sorted({name for each in found for name in (each.x, each.y)})
    watch = watched(model, names)
    passed = [watch({"images": image[None]}) for image in images]
    spans = {name: [(float(p[name].min()), float(p[name].max())) for p in passed] for name in names}
    codes = _ranges(seen.graph)
    if len(codes) < len(names):
        raise Almost(f"{said}: {len(codes)} activations have codes; the convolutions read and write {len(names)}")
    widest = lambda some: (min(0.0, *(a for a, _ in some)), max(0.0, *(b for _, b in some)))
    near = lambda seen, wanted: any(
        all(abs(a - b) <= (high - low) / 250 for a, b in zip((low, high), wanted, strict=True)) for low, high, _ in seen
    )
    wrong = [name for name in names if not near(codes.values(), widest(spans[name]))]
    if not wrong:
        return
    parts = {"the last image alone": slice(-1, None), "the first image alone": slice(0, 1),
             "all but the first image": slice(1, None), "all but the last image": slice(0, -1)}  # fmt: skip
    fits = [why for why, part in parts.items() if all(near(codes.values(), widest(spans[n][part])) for n in names)]
    asked = widest(spans[wrong[0]])
    closest = min(codes.values(), key=lambda seen: abs(seen[0] - asked[0]) + abs(seen[1] - asked[1]))
    ends = f"from {asked[0]:.3g} to {asked[1]:.3g}, the nearest 256 codes from {closest[0]:.3g} to {closest[1]:.3g}"
    why = f"these are the ranges of {fits[0]}" if fits else f"it reaches {ends}"
    raise Almost(
        f"{said}: {len(wrong)} of {len(names)} activations, {wrong[0]!r} first, have not the range of all "
        f"{len(images)} images: {why}"
    )


@exercise("08.4", "your own quantizer on the digits network")
def _(answer):
    model, (images, *_) = onnx.load(models.path("digits")), models.digit_split()
    ordered = images[np.argsort(images.sum(axis=(1, 2, 3)))]  # so that first and last differ from the rest
    asked = {"24 images": images[:24], "5 images, the brightest last": ordered[[9, 40, 300, 600, -1]]}
    for said, some in asked.items():
        own = onnx.ModelProto.FromString(model.SerializeToString())
        judge_quantizer(call(lambda given, own=own: answer(own, given), some, name="my_quantizer"), model, some, said)
    return "11 of 11 convolutions run on integers, and every range is that of all images"


MOST_BYTES, MOST_WRONG, LEAST_DB = 80_000, 2, 27


def _by_channel(path):
    """What scales and zero points for each channel take in a file, in words; nothing where there are none."""
    model = onnx.load(path)
    names = {name for node in model.graph.node if "Linear" in node.op_type for name in node.input[1:]}
    held = [numpy_helper.to_array(one) for one in model.graph.initializer if one.name in names]
    size = sum(one.nbytes for one in held if one.ndim == 1 and one.size > 1)
    return f" ({size:,} of them are scales and zero points for each channel)" if size else ""


def judge_met(path):
    """The file at `path` meets the three aims, as it runs here. -> what it reached"""
    images, labels = models.digit_split()[2:]
    before, _, reference = digits_right(models.path("digits"), images, labels)
    try:
        counted = graph.census(path)
        right, _, answers = digits_right(path, images, labels)
    except ValueError as error:
        raise Almost(f"the file at `output` does not open: {error_text(error)}") from None
    size, missed = Path(path).stat().st_size, []
    if size > MOST_BYTES:
        missed.append(f"{size:,} bytes, at most {MOST_BYTES:,} are wanted{_by_channel(path)}")
    if floats := sum(count for (_, op), count in counted.float.items() if op in FLOAT_PRODUCTS):
        missed.append(f"{floats} of 12 products compute in float")
    if signed := _signed(onnx.load(path).graph):
        missed.append(
            f"{len(signed)} activations with several readers have codes with a sign: on x86 products stay float"
        )
    if counted.integer["", "ConvInteger"]:
        missed.append("ConvInteger: that is dynamic quantization, asked for static")
    lost, dB = int(before.sum() - right.sum()), sqnr_db(reference, answers)
    if lost > MOST_WRONG:
        missed.append(f"{lost} digits more than fp32 are read wrong, at most {MOST_WRONG} are allowed")
    if not dB >= LEAST_DB:
        missed.append(f"SQNR {dB:.1f} dB, at least {LEAST_DB} are wanted")
    if missed:
        raise Almost("; ".join(missed))
    return f"{size:,} bytes, all 12 products on integers, {right.sum()} of {right.size} digits right, {dB:.1f} dB"


@exercise("08.5", "size, integers and answers together")
def _(answer):
    images, *_ = models.digit_split()
    with tempfile.TemporaryDirectory(prefix="qlab-08-") as folder, captured_logs():
        output = Path(folder) / "yours.onnx"
        (result,) = call(lambda: [answer(str(models.path("digits")), str(output), images[:64])], name="configure")
        if result is ...:
            raise NotYet("configure still returns `...`")
        if not output.is_file():
            raise Almost("configure wrote no file at `output`")
        return judge_met(output)
