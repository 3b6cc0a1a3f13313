"""Notebook 11: quantization-aware training of the digits network, in NumPy.

Its pictures come first, then the network with its scales, then the checks. The trainer is in `training`.
"""

import re
from collections import Counter
from typing import NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime import GraphOptimizationLevel

from qlab import models, palette
from qlab.course.expect import call, expect_array, expect_close, expect_number, expect_shape
from qlab.course.lessons import exercise, n08
from qlab.course.lessons.training import Adam, Network, cross_entropy, fake, log_softmax, patches  # noqa: F401
from qlab.course.plots.schematic import Schematic
from qlab.course.show import Almost, brief, error_text, kind
from qlab.numerics.affine import QParams, mse_range, qparams_from_range
from qlab.numerics.granularity import PerAxis
from qlab.numerics.metrics import paired_bootstrap
from qlab.numerics.rounding import adaptive, second_moments
from qlab.palette import INK, styled
from qlab.runtime import bar, open_session

BATCH = 64
_METHODS = {"nearest": (palette.ERROR, "o"), "AdaRound": (palette.WEIGHTS, "s"), "QAT": (palette.INTEGER, "D")}
_BEYOND = 1.6  # of a picture of one scale: how far it goes past the outer levels, in scales


def fake_node():
    """Where fake quantization stands in training, and what takes its place in the file."""
    s = Schematic(
        20, 6.2, title="Training keeps the real weight; the file keeps its codes",
        alt="Above, training: the weight w, float32, goes through round and clip to w hat, which enters the layer; the "
        "gradient comes back from the layer and passes round as if it were not there. Below, the file: codes go "
        "through DequantizeLinear into the layer.",
    )  # fmt: skip
    s.text(0.2, 5.8, "training", align="left", bold=True)
    weight = s.box(2.2, 4.6, "w, float32", kind="weights", width=2.6)
    rounds = s.box(9.4, 4.6, "s · clip(round(w / s))", kind="integer", width=4.6)
    layer = s.box(17.4, 4.6, "layer, loss", kind="fp32", width=2.8)
    s.arrow(weight, rounds)
    s.arrow(rounds, layer, "ŵ")
    s.arrow((17.4, 3.35), (2.2, 3.35), "")
    s.text(9.4, 3.0, "gradient: as if the green box were not there, 0 where it clips", size=9)
    s.text(0.2, 2.1, "the file", align="left", bold=True)
    codes = s.box(2.2, 1.1, "codes, int8", kind="weights", width=2.6)
    back = s.box(9.4, 1.1, "DequantizeLinear", kind="integer", width=4.6)
    layer = s.box(17.4, 1.1, "layer", kind="fp32", width=2.8)
    s.arrow(codes, back)
    s.arrow(back, layer, "the same ŵ")
    return s.figure


@styled
def staircase(x, rounded, true, straight, *, title):
    """Above x with its fake quantization, below what it really changes by, and what is put in its place. -> Figure"""
    figure, (above, below) = palette.figure(2, 1, height=4.4, layout=None, sharex=True)
    figure.subplots_adjust(left=0.09, right=0.97, bottom=0.12, top=0.92, hspace=0.16)
    above.plot(x, x, color=palette.FP32, linewidth=1.2, label="x")
    above.plot(x, rounded, color=palette.INTEGER, label="fake-quantized x")
    above.set(ylabel="real number", title=title)
    above.legend(loc="upper left")
    below.plot(x, np.clip(true, 0, 3), color=palette.ERROR, linewidth=1.2, label="its derivative, cut off at 3")
    below.plot(x, straight, color=palette.WEIGHTS, label="straight-through")
    below.set(xlabel="x, a weight", ylabel="derivative", ylim=(-0.15, 4.6))
    below.legend(loc="upper left", ncols=2)
    ends, levels = x[straight != 0][[0, -1]], np.unique(rounded)
    figure.alt = (
        f"{title}. Above, x and its fake quantization, a staircase of {len(levels)} levels from {levels[0]:.3g} to "
        f"{levels[-1]:.3g}; below, its derivative, 0 but for spikes at the steps, and the straight-through one, 1 from "
        f"{ends[0]:.3g} to {ends[1]:.3g}, 0 beyond"
    )
    return figure


def explored(bits, clip):
    """The widget: a fake quantizer of so many bits whose range ends at `clip`, and both its derivatives. -> Figure"""
    first, last = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    scale, x = np.float32(clip / -first), np.linspace(-1, 1, 1201, dtype=np.float32)
    rounded, h = fake(x, scale, first, last), np.float32(x[1] - x[0])
    true = np.gradient(rounded, h)
    straight = fake_quantize_backward(x, scale, first, last, np.ones_like(x))
    share = np.mean(straight == 0)
    title = f"{2**bits} levels, scale {scale:.3f}: {share:.0%} of this range gets no gradient"
    return staircase(x, rounded, true, straight, title=title)


@styled
def loss_of_one(weights, losses, at, slope, scale):
    """The loss against one weight, with the straight-through slope drawn where the weight stands. -> Figure"""
    figure, axes = palette.figure(height=3.4)
    axes.step(np.asarray(weights) / scale, losses, where="mid", color=palette.ERROR, label="loss of a batch")
    middle = float(np.interp(at, weights, losses))
    reach = 1.2 * scale
    axes.plot(
        [(at - reach) / scale, (at + reach) / scale], [middle - slope * reach, middle + slope * reach],
        color=palette.WEIGHTS, label="straight-through slope", linestyle="--",
    )  # fmt: skip
    axes.plot(at / scale, middle, "o", color=palette.WEIGHTS, label="the weight as it stands")
    axes.set(xlabel="the weight, in scales", ylabel="cross entropy")
    axes.set_title("One weight moves: the loss stands still, then jumps")
    axes.legend(loc="best")
    steps = np.flatnonzero(np.diff(losses))
    jumps = np.asarray(weights)[steps] / 2 + np.asarray(weights)[np.minimum(steps + 1, len(weights) - 1)] / 2
    figure.alt = (
        "The loss of a batch against one weight: level steps, and a sloped dashed line through one of them; the level "
        f"changes at {', '.join(f'{jump / scale:.1f}' for jump in jumps) or 'no place'}"
    )
    return figure


@styled
def foretold_and_changed(foretold, changed, *, title):
    """The loss's change that the slope foretells against the one that came, of single weights. -> Figure"""
    figure, axes = palette.figure(height=3.6)
    reach = 1.15 * max(np.abs(foretold).max(), np.abs(changed).max())
    axes.plot([-reach, reach], [-reach, reach], color=palette.FP32, linewidth=1.2, label="as foretold")
    axes.plot(foretold, changed, "o", color=palette.WEIGHTS, markersize=5, label="a weight")
    axes.set(xlabel="change of the loss, by the straight-through slope", ylabel="change of the loss", title=title)
    axes.legend(loc="upper left")
    figure.alt = f"{title}. Points of single weights around the diagonal on which both changes are the same"
    return figure


@styled
def loss_curves(runs, *, title):
    """Training loss step by step, {bits: losses}, log axis. -> Figure"""
    figure, axes = palette.figure(height=3.4)
    shades = dict(zip(runs, (palette.INTEGER, palette.WEIGHTS, palette.ERROR), strict=False))
    for bits, losses in runs.items():
        axes.plot(np.arange(1, len(losses) + 1), np.maximum(losses, 1e-5), color=shades[bits], linewidth=1.2)
        axes.annotate(f"{bits} bits", (len(losses), max(losses[-1], 1e-5)), (4, 0), textcoords="offset points",
                      color=shades[bits], va="center")  # fmt: skip
    axes.set(
        yscale="log",
        xlabel=f"step, a batch of {BATCH} training digits each",
        ylabel="cross entropy of the batch (log)",
        title=title,
    )
    axes.margins(x=0.08)
    figure.alt = f"{title}. Loss of each step's batch, falling, one curve for each number of bits"
    return figure


@styled
def accuracy_against_bits(found, fp32, *, title):
    """found: {method: {bits: (accuracy, low, high)}}, fp32: accuracy, all fractions. -> Figure"""
    figure, axes = palette.figure(height=4.2)
    axes.axhline(100 * fp32, color=palette.FP32, linewidth=1.4, linestyle=":")
    axes.annotate("fp32", (2, 100 * fp32), (0, 4), textcoords="offset points", color=INK, ha="center")
    for shift, (method, points) in zip((-0.05, 0, 0.05), found.items(), strict=False):
        shade, marker = _METHODS[method]
        bits = np.array(sorted(points, reverse=True))
        middle, low, high = 100 * np.array([points[each] for each in bits]).T
        axes.errorbar(bits + shift, middle, (middle - low, high - middle), color=shade, marker=marker, capsize=3,
                      label={"nearest": "round to nearest"}.get(method, method))  # fmt: skip
    axes.set(xlabel="bits of a weight", ylabel="test digits read right, %", title=title, ylim=(0, 107))
    axes.set_xticks(sorted({each for points in found.values() for each in points}))
    axes.invert_xaxis()
    axes.legend(loc="lower left")
    figure.alt = f"{title}. Digits read right against bits of a weight, three methods with intervals, fp32 dotted"
    return figure


@styled
def weights_on_levels(before, after, ends, *, title):
    """Weights in units of their scales before and after training, levels and the borders between them. -> Figure"""
    figure, panels = palette.figure(2, 1, height=4.4, layout=None, sharex=True, sharey=True)
    figure.subplots_adjust(left=0.09, right=0.97, bottom=0.12, top=0.86, hspace=0.32)
    first, last = ends
    view = first - _BEYOND, last + _BEYOND
    bins = np.linspace(*view, 97)
    for axes, values, said in zip(panels, (before, after), ("before training", "after training"), strict=True):
        counts, _ = np.histogram(values, bins)
        axes.stairs(100 * counts / values.size, bins, fill=True, color=palette.WEIGHTS, alpha=0.75)
        for border in np.arange(first, last) + 0.5:
            axes.axvline(border, color=palette.ERROR, linewidth=1, linestyle="--")
        for level in range(first, last + 1):
            axes.axvline(level, 0, 0.16, color=palette.INTEGER, linewidth=4)
        axes.set_ylabel("% of the weights")
        axes.set_title(said, fontsize=10, fontweight="normal")
    panels[1].set_xlabel("weight / its scale (green: levels; red: where the code changes)")
    figure.suptitle(title, x=0.02, ha="left", fontsize=12, fontweight="bold")
    figure.alt = f"{title}. Histograms of weight / scale before and after, one vertical axis"
    return figure


class Trained(NamedTuple):
    """Parameters {name: array}, scales {name: array}, grids {name: (quant_min, quant_max)}, the loss of each step."""

    parameters: dict
    scales: dict
    grids: dict
    losses: tuple = ()


def split():
    """(x_fit, y_fit, x_held, y_held): of the training digits, five sixths to learn from, one sixth to choose by."""
    x, y, *_ = models.digit_split()
    held = np.arange(len(x)) % 6 == 5
    return x[~held], y[~held], x[held], y[held]


def start(network, bits, images):
    """Where each method begins: parameters as they are, weights' scales of least squared error, others of min-max.

    A weight has one scale for each output channel and 2^bits codes; an activation one scale and 256 codes, from 0 on
    where it is never negative, else from -128 on. The classifier, a Gemm, stays in float. -> Trained
    """
    convs, flows = n08.convolutions(network.model), {}
    network.forward(images, network.parameters, watch=flows)
    scales, grids = {}, {}
    for each in convs:
        name, dtype = each.node.input[1], f"int{bits}"
        options = {"symmetric": True, "granularity": PerAxis(0)}
        qparams = qparams_from_range(*mse_range(each.weight, dtype, **options), dtype, **options)
        scales[name], grids[name] = qparams.scale.reshape(-1, 1, 1, 1).copy(), (qparams.quant_min, qparams.quant_max)
    for name in sorted({name for each in convs for name in (each.x, each.y)}):
        x = flows[name][0]
        grids[name] = (-128, 127) if x.min() < 0 else (0, 255)
        scales[name] = np.float32(max(np.abs(x).max(), 1e-6) / grids[name][1])
    return Trained({name: array.copy() for name, array in network.parameters.items()}, scales, grids)


def digits_network():
    """The digits network, ready to be trained; `.model` is its ModelProto."""
    model = onnx.load(models.path("digits"))
    network = Network(model)
    network.model = model
    return network


def batches(x, y, epochs, seed=0):
    """(images, labels, share of the step size, does it end an epoch?) of each step, with a bar where it takes long."""
    random, each = np.random.default_rng(seed), len(x) // BATCH
    for number in bar(range(epochs * each), "training", unit="step"):
        if number % each == 0:
            order = random.permutation(len(x))
        at = order[number % each * BATCH :][:BATCH]
        share = (1 + np.cos(np.pi * number / (epochs * each))) / 2
        yield x[at], y[at], np.float32(share), number % each == each - 1


def copied(parameters, scales, grids, losses):
    """A Trained that further steps leave as it is."""
    return Trained(*({name: np.array(each) for name, each in part.items()} for part in (parameters, scales)), grids,
                   tuple(losses))  # fmt: skip


def loss_of(network, trained, x, y):
    """Mean cross entropy on these digits."""
    return cross_entropy(network.forward(x, *trained[:3])[0], y)[0]


def convolutions(network):
    """The convolutions with their ReLUs, as notebook 08's `convolutions` gives them."""
    return n08.convolutions(network.model)


def right(network, trained, x, y):
    """Which digits are read right, bool [n]."""
    logits, _ = network.forward(x, trained.parameters, trained.scales, trained.grids)
    return logits.argmax(axis=1) == y


def with_interval(fp32, found):
    """(accuracy, low, high) of a method: fp32's, moved by the paired interval of the difference."""
    interval, base = paired_bootstrap(fp32, found), float(np.mean(fp32))
    return float(np.mean(found)), base + interval.low, min(1.0, base + interval.high)


def layer(network, trained, name, images):
    """(weight rows [out, K], QParams, what they read [N, K] or [groups, N, K]) of the convolution with this weight."""
    flows = {}
    network.forward(images, trained.parameters, trained.scales, trained.grids, watch=flows)
    step = next(step for step in network.steps if step.op == "Conv" and step.reads[1] == name)
    weight, bits = trained.parameters[name], int(trained.grids[name][1] + 1).bit_length()
    scale = trained.scales[name].ravel()
    qparams = QParams(scale, np.zeros(len(scale)), f"int{bits}", PerAxis(0))
    return weight.reshape(len(weight), -1), qparams, patches(flows[step.reads[0]][1], step)


def one_code_moves(network, run, gradient, name, x, y, count):
    """(foretold, real change of the loss) of `count` weights drawn from those with a gradient, each moved by a code."""
    moved = copied(*run)
    weight, scale, (first, last) = moved.parameters[name], moved.scales[name], moved.grids[name]
    before, pairs = loss_of(network, moved, x, y), []
    places = np.argwhere(gradient != 0)
    for place in map(tuple, np.random.default_rng(11).choice(places, min(count, len(places)), replace=False)):
        old, unit = weight[place], scale[place[0]].item()
        step = unit if np.clip(np.rint(old / unit), first, last) < last else -unit
        weight[place] = old + step
        pairs.append((float(gradient[place]) * step, loss_of(network, moved, x, y) - before))
        weight[place] = old
    return np.array(pairs).T


def round_all(network, begun, images):
    """AdaRound, layer after layer: each sees what the layers before it, already rounded, hand on. -> Trained"""
    done = begun._replace(parameters=dict(begun.parameters))
    convs = [step.reads[1] for step in network.steps if step.op == "Conv"]
    for name in bar(convs, "rounding", unit="layer"):
        rows, qparams, x = layer(network, done, name, images)
        codes = adaptive(rows, qparams, second_moments(x)).astype(np.float32)
        weight = done.parameters[name]
        done.parameters[name] = codes.reshape(weight.shape) * done.scales[name]
    return done


def batch_statistics(network, name, images):
    """(spread of each channel that the convolution gives over all images, over each batch of 64 of them)."""
    flows = {}
    network.forward(images, network.parameters, watch=flows)
    step = next(step for step in network.steps if step.op == "Conv" and step.reads[1] == name)
    x = flows[step.writes][0]
    whole = x.std(axis=(0, 2, 3))
    return whole, [x[at : at + BATCH].std(axis=(0, 2, 3)) for at in range(0, len(x) - BATCH + 1, BATCH)]


def qparams_of(trained, name):
    """(scale, zero point) of an activation's uint8 codes: where codes here begin at -128, 128 is added in the file."""
    return float(trained.scales[name]), -trained.grids[name][0]


def exported(network, trained, write):
    """The Q/DQ model of a trained network, ModelProto. write: of the form of exercise 11.4."""
    model = onnx.ModelProto.FromString(network.model.SerializeToString())
    for tensor in model.graph.initializer:
        if tensor.name in trained.parameters:
            tensor.CopyFrom(numpy_helper.from_array(trained.parameters[tensor.name], tensor.name))
    written = {}
    for each in n08.convolutions(model):
        name = each.node.input[1]
        written[each.node.name] = write(
            each.node, each.weight, each.bias, trained.scales[name], trained.grids[name],
            qparams_of(trained, each.x), qparams_of(trained, each.y),
        )  # fmt: skip
    return n08.assembled(model, written)


def weight_codes(model):
    """{name of a Conv: the codes of its weight as they stand in the file}."""
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    made = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    return {node.name: held[made[node.input[1]]] for node in model.graph.node if node.op_type == "Conv"}


def with_bias_as_codes(network, trained):
    """Each bias as the file holds it: a whole number of x's scale times the weight's. -> Trained"""
    parameters = dict(trained.parameters)
    for each in n08.convolutions(network.model):
        weight, bias = each.node.input[1:]
        unit = np.float32(trained.scales[each.x]) * trained.scales[weight].ravel()
        parameters[bias] = np.rint(parameters[bias] / unit).astype(np.int32) * unit
    return trained._replace(parameters=parameters)


def codes_inside(model, images):
    """(codes {activation: array}, the logits) that onnxruntime computes, the graph fused as always."""
    watched = onnx.ModelProto.FromString(model.SerializeToString())
    ends = {node.input[0]: node.output[0] for node in watched.graph.node if node.op_type == "DequantizeLinear"}
    of_convs = {node.output[0] for node in watched.graph.node if node.op_type == "Conv"}
    names = {}
    for node in watched.graph.node:
        if node.op_type == "QuantizeLinear":  # what a convolution gives has its name behind its pair, all else before
            (code,) = node.output
            names[ends[code] if node.input[0] in of_convs else node.input[0]] = code
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names.values())
    logits, *codes = open_session(watched.SerializeToString()).run(None, {"images": images})
    return dict(zip(names, codes, strict=True)), logits


class Compared(NamedTuple):
    """An activation's codes: how many, how many differ, by at most what, and how far those lie from a tie, in codes."""

    name: str
    codes: int
    differ: int
    most: int
    tie: float


def compare_codes(network, trained, codes, images):
    """A Compared for each activation, in the graph's order.

    The fake network is given, before each layer, the codes that onnxruntime computed: a difference is that layer's own.
    """
    numbers = {name: np.float32(trained.scales[name]) * (q.astype(np.float32) - np.float32(-trained.grids[name][0]))
               for name, q in codes.items()}  # fmt: skip
    flows, rows = {}, []
    network.forward(images, trained.parameters, trained.scales, trained.grids, watch=flows, given=numbers)
    for name, real in codes.items():
        quotient = flows[name][0] / np.float32(trained.scales[name])
        ours = np.clip(np.rint(quotient), *trained.grids[name]) - trained.grids[name][0]
        apart = np.abs(ours - real)
        tie = np.abs(quotient - np.floor(quotient) - 0.5)[apart > 0]
        farthest = float(tie.max()) if tie.size else 0.0
        rows.append(Compared(name, real.size, int((apart > 0).sum()), int(apart.max()), farthest))
    return rows


def packed(model, bits):
    """The model with the codes of its convolutions' weights as ONNX's int4 or int2, several in a byte. -> ModelProto"""
    small = onnx.ModelProto.FromString(model.SerializeToString())
    dtype = {4: onnx.TensorProto.INT4, 2: onnx.TensorProto.INT2}[bits]
    held = {tensor.name: tensor for tensor in small.graph.initializer}
    made = {node.output[0]: node for node in small.graph.node if node.op_type == "DequantizeLinear"}
    for node in small.graph.node:
        if node.op_type != "Conv":
            continue
        back = made[node.input[1]]
        codes = held[back.input[0]]
        array = numpy_helper.to_array(codes)
        codes.CopyFrom(helper.make_tensor(codes.name, dtype, array.shape, array.ravel().tolist()))
        del back.input[2:]  # its zero points are 0, and would have to be of this type too
    small.opset_import[0].version, small.ir_version = {4: (21, 10), 2: (25, 13)}[bits]
    return small


def opened(path, images):
    """(what onnxruntime makes of the file, in words, the logits); computed node by node where it cannot be opened."""
    try:
        ops = Counter(node.op_type for node in n08.running(path).node)
        said = f"{ops['QLinearConv']} QLinearConv, {ops['Conv']} Conv in float"
        session = open_session(path)
    except ValueError as error:
        cause = re.search(r"Type '([^']*)'.*?operator \((\w+)\)", str(error))
        said = f"{cause[2]} takes no {cause[1]}" if cause else error_text(error)
        said = f"does not open ({said}); with all optimizations off it runs"
        session = open_session(path, adjust=_plainly)
    return said, session.run(None, {"images": images})[0]


def _plainly(options):
    options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL


def fake_quantize_backward(x, scale, quant_min, quant_max, gradient):
    """The straight-through estimator: the gradient, where x / scale lies within the codes; else 0."""
    v = x / scale
    return gradient * ((v >= quant_min) & (v <= quant_max))


def scale_gradient(x, scale, quant_min, quant_max, gradient):
    """LSQ's gradient of the scale, of the scale's shape (Esser et al. 2020, arXiv 1902.08153, eq. 3)."""
    v = x / scale
    codes = np.clip(np.rint(v), quant_min, quant_max)
    each = gradient * np.where((v > quant_min) & (v < quant_max), codes - v, codes)
    return _summed_to(each, np.shape(scale))


def _summed_to(x, shape):
    """x summed over all that an array of this shape was broadcast along."""
    lead = x.ndim - len(shape)
    axes = (*range(lead), *(lead + axis for axis, size in enumerate(shape) if size == 1))
    return x.sum(axis=axes, keepdims=True).reshape(shape)


def layer_gradients(x, labels, weight, bias, scale, quant_min, quant_max):
    """(loss, by weight, by bias, by scale) of a linear layer with fake-quantized weight [classes, k] under x [n, k]."""
    logits = x @ fake(weight, scale, quant_min, quant_max).T + bias
    loss, gradient = cross_entropy(logits, labels)
    by_rounded = gradient.T @ x
    ends = scale, quant_min, quant_max
    by_weight = fake_quantize_backward(weight, *ends, by_rounded)
    return loss, by_weight, gradient.sum(axis=0), scale_gradient(weight, *ends, by_rounded)


def learned_qdq(conv, weight, bias, w_scale, ends, x_qparams, y_qparams):
    """(nodes, tensors) of a convolution between Q/DQ whose weight has learned scales: what exercise 11.4 asks for."""
    nodes, tensors = n08.write_qdq(conv, weight, bias, x_qparams, y_qparams)
    scale = np.asarray(w_scale, np.float32).ravel()
    unit = np.float32(x_qparams[0]) * scale
    learned = {
        "w_codes": np.clip(np.rint(weight / w_scale), *ends).astype(np.int8), "w_scale": scale,
        "b_codes": np.rint(bias / unit).astype(np.int32), "b_scale": unit,
    }  # fmt: skip
    for tensor in tensors:
        what = tensor.name.rpartition(".")[2]
        if what in learned:
            tensor.CopyFrom(numpy_helper.from_array(learned[what], tensor.name))
    return nodes, tensors


def leaks(used, x_test):
    """{what the digits were used for: how many of them are test digits}."""
    test = {image.tobytes() for image in x_test}
    return {name: sum(image.tobytes() in test for image in images) for name, images in used.items()}


def _rounding_cases():
    """(said, x, scale, quant_min, quant_max, gradient): no quotient lies on an end or a tie."""
    random = np.random.default_rng(111)
    shapes = (
        ("a weight with one scale, 3 bits", (6, 5), (), (-4, 3)),
        ("a weight with a scale for each output channel, 2 bits", (4, 3, 3, 3), (4, 1, 1, 1), (-2, 1)),
        ("an activation behind a ReLU, 8 bits", (2, 5, 4, 3), (), (0, 255)),
        ("a linear layer's weight, 4 bits", (5, 9), (5, 1), (-8, 7)),
    )
    for said, shape, of_scale, (first, last) in shapes:
        least = 0.05 if of_scale or last > 100 else 1.5  # above 1 once: what is held against the codes then matters
        scale = np.float32(random.uniform(least, 4 * least, of_scale))
        v = random.uniform(first - 0.6 * (last - first), last + 0.6 * (last - first), shape)
        v = np.floor(v) + random.choice([0.11, 0.3, 0.42, 0.63, 0.8, 0.94], shape)
        yield said, np.float32(v * scale), scale, first, last, np.float32(random.normal(size=shape))
    yield "numbers just beyond the ends", np.float32([-4.3, -4.2, 3.2, 3.45]), np.float32(1), -4, 3, np.ones(4, "f")


def _keeping(answer, given):
    """The answer; what it is called with, the check's copies, ends up in the list `given`."""

    def called(*arguments):
        given[:] = arguments
        return answer(*arguments)

    return called


def _judge_untouched(said, given, x, gradient):
    """x and the gradient are read by others after the answer: training's weight, the other exercise's function."""
    if not np.array_equal(given[-1], gradient):
        raise Almost(f"{said}: `gradient` was changed in place: the other of the two functions needs it whole; return "
                     "a new array")  # fmt: skip
    if not np.array_equal(given[0], x):
        raise Almost(f"{said}: `x` was changed in place: it is the weight that training keeps; make a new array")


def _expect_function(answer, name):
    if not callable(answer):
        raise Almost(f"expected the function {name}, seen {brief(answer)}, a `{kind(answer)}`")


@exercise(
    "11.1", "the straight-through estimator", place="fake_quantize_backward", otherwise=fake_quantize_backward
)  # fmt: skip
def _(answer):
    _expect_function(answer, "fake_quantize_backward")
    at_ends = "numbers on the ends", np.float32([-4, -1, 0, 3]), np.float32(1), -4, 3, np.ones(4, "f")
    for said, x, scale, first, last, gradient in (*_rounding_cases(), at_ends):
        given = []
        seen = call(_keeping(answer, given), x, scale, first, last, gradient, name="fake_quantize_backward")
        v = x / scale
        codes = np.rint(v)
        inside = (v >= first) & (v <= last)
        expect_close(
            seen, np.where(inside, gradient, 0), f"{said}: the gradient of x", rtol=1e-5,
            mistakes={
                "the gradient passes everywhere; where x is clipped, x can move and nothing changes": gradient,
                "x itself is held against the codes; it is x / scale that they count":
                    gradient * ((x >= first) & (x <= last)),
                "this passes where the *rounded* code needs no clipping (as PyTorch's does), half a step further out "
                "than asked: hold x / scale itself against the ends": gradient * ((codes >= first) & (codes <= last)),
                "the ends themselves pass: <= and >=": gradient * ((v > first) & (v < last)),
                "the lower end is quant_min; this holds the magnitude of x / scale against quant_max":
                    gradient * (np.abs(v) <= last),
                "the ends are one code too near": gradient * ((v > first) & (v < last) & (v <= last - 1)),
                "only the upper end clips here; the lower one does, too": gradient * (v <= last),
                "only the lower end clips here; the upper one does, too": gradient * (v >= first),
                "it passes where x is clipped, and stops where it is not: the mask is upside down": gradient * ~inside,
                "this is the mask alone: the gradient that comes back belongs in it as a factor": inside,
                "divided by the scale once too often: x was divided by it, and multiplied again":
                    gradient * inside / scale,
                "multiplied by the scale once too often: x was divided by it, and multiplied again":
                    gradient * inside * scale,
                "this is the true derivative, and nothing would ever be learned": np.zeros_like(x),
                "these are rounded numbers of the forward pass: asked for the gradient":
                    np.clip(codes, first, last) * scale,
                "these are codes, of the forward pass: asked for the gradient": np.clip(codes, first, last),
                "the forward pass times the gradient: it is the derivative that is a factor, 1 inside and 0 beyond":
                    gradient * np.clip(codes, first, last) * scale,
                "codes times the gradient: it is the derivative that is a factor, 1 inside and 0 beyond":
                    gradient * np.clip(codes, first, last),
            },
            hint="the gradient where quant_min <= x / scale <= quant_max, 0 elsewhere",
        )  # fmt: skip
        _judge_untouched(said, given, x, gradient)
    return "passes inside, stops at both ends, one scale or one for each channel"


@exercise("11.2", "LSQ's gradient of the scale", place="scale_gradient", otherwise=scale_gradient)
def _(answer):
    _expect_function(answer, "scale_gradient")
    for said, x, scale, first, last, gradient in _rounding_cases():
        given = []
        try:
            seen = call(_keeping(answer, given), x, scale, first, last, gradient, name="scale_gradient")
        except Almost as found:
            if "AxisError" not in str(found):
                raise
            raise Almost(
                f"{said}: {found}; the scale's shape here is {np.shape(scale)}: take the axes from it"
            ) from None
        v = x / scale
        inside, codes = (v > first) & (v < last), np.clip(np.rint(v), first, last)

        def shaped(each, gradient=gradient, scale=scale):
            return _summed_to(np.asarray(gradient * each, np.float32), np.shape(scale))

        array = expect_array(seen, f"{said}: the gradient of the scale")
        if array.shape != np.shape(scale) and array.size == x.size > 1:
            raise Almost(f"{said}: one number for each entry of x, shape {array.shape}; entries that share a scale add "
                         f"up, to the scale's shape {np.shape(scale)}")  # fmt: skip
        if array.shape != np.shape(scale) and array.size != np.size(scale):
            raise Almost(f"{said}: shape {array.shape}; the scale has shape {np.shape(scale)}: sum over what shares a "
                         "scale, and no further")  # fmt: skip
        count = x.size / max(1, np.size(scale))
        expect_close(
            array.reshape(np.shape(scale)), shaped(np.where(inside, codes - v, codes)),
            f"{said}: the gradient of the scale", rtol=2e-3, atol=2e-3,
            mistakes={
                "this is the code: right while no code changes, but the estimator lets round(v) follow v = x / s, and "
                "gives round(v) - v": shaped(codes),
                "inside, the sign is turned round: round(v) - v": shaped(np.where(inside, v - codes, codes)),
                "clipped entries count as well, with quant_min or quant_max": shaped(np.where(inside, codes - v, 0)),
                "beyond the ends the gradient is quant_min or quant_max; this goes on with round(v) - v":
                    shaped(np.rint(v) - v),
                "beyond the ends this is (the last code) - v: what is clipped no longer follows x / scale":
                    shaped(codes - v),
                "held against the ends is the *rounded* code here (as in PyTorch), half a step further out: inside is "
                "where v itself lies between the ends": shaped(
                    np.where((np.rint(v) >= first) & (np.rint(v) <= last), codes - v, codes)),
                "divided by the scale: v = x / scale is without a unit already": shaped(
                    np.where(inside, codes - v, codes)) / scale,
                "clipped entries count with 1 here: x̂ is scale times quant_max there": shaped(np.where(
                    inside, codes - v, np.sign(v))),
                "the gradient that comes back is not in it": _summed_to(
                    np.float32(np.where(inside, codes - v, codes)), np.shape(scale)),
                "the sum is asked for, this is the mean": shaped(np.where(inside, codes - v, codes)) / count,
                "the sum is asked for, without LSQ's factor g": shaped(np.where(inside, codes - v, codes))
                    / np.sqrt(count * last),
                "multiplied by the scale: v = x / scale is without a unit already": shaped(
                    np.where(inside, codes - v, codes)) * scale,
                "this is x̂ - x: divide it by the scale": shaped(np.where(inside, codes - v, codes - v)) * scale,
            },
            hint="round(v) - v inside, quant_min or quant_max beyond, times the gradient; what shares a scale adds up",
        )  # fmt: skip
        if array.shape != np.shape(scale):  # the trainer's Adam changes the scale in place
            how = "keepdims=True" if np.ndim(scale) else "the sum of all, without axes"
            raise Almost(f"{said}: shape {array.shape}; the scale has shape {np.shape(scale)}: {how}")
        _judge_untouched(said, given, x, gradient)
    return "inside and beyond, summed over just what shares a scale"


def _layer_cases():
    random = np.random.default_rng(113)
    for said, n, k, classes, of_scale, bits, size in (
        ("8 rows, 6 features, 4 classes", 8, 6, 4, (4, 1), 3, 1),
        ("one scale, 2 bits", 5, 7, 3, (), 2, 1),
        ("large numbers", 6, 5, 3, (3, 1), 4, 300),
    ):
        first, last = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        scale = np.float32(random.uniform(0.1, 0.3, of_scale))
        v = random.integers(first - 2, last + 2, (classes, k)) + random.choice([0.12, 0.31, 0.66, 0.83], (classes, k))
        x, bias = size * random.normal(size=(n, k)), random.normal(size=classes)
        labels = random.integers(0, classes, n)
        yield said, np.float32(x), labels, np.float32(v * scale), np.float32(bias), scale, first, last


@exercise("11.3", "the gradients of a fake-quantized layer", place="layer_gradients", otherwise=layer_gradients)
def _(answer):
    _expect_function(answer, "layer_gradients")
    for said, *case in _layer_cases():
        seen = call(answer, *case, name="layer_gradients")
        if not isinstance(seen, tuple | list) or len(seen) != 4:
            raise Almost(f"{said}: expected (loss, by_weight, by_bias, by_scale), seen {brief(seen)}")
        _judge_layer(said, case, seen)
    return "loss, weight, bias and scale agree on three layers"


_LOG_P = "log p is (logit - the row's largest) - log(sum of exp of these), without a log of p itself"


def _judge_layer(said, case, seen):
    x, labels, weight, bias, scale, *ends = case
    loss, by_weight, by_bias, by_scale = layer_gradients(*case)
    shapes, asked = [expect_array(each, said).shape for each in seen], [(), weight.shape, bias.shape, np.shape(scale)]
    if shapes != asked and sorted(shapes) == sorted(asked):
        raise Almost(f"{said}: the order is loss, by_weight, by_bias, by_scale, of shapes "
                     f"{', '.join(map(str, asked))}; seen {', '.join(map(str, shapes))}")  # fmt: skip
    n, (rounded, real) = len(x), (fake(weight, scale, *ends), weight)
    summed = cross_entropy(x @ real.T + bias, labels)
    softmax = lambda w: n * cross_entropy(x @ w.T + bias, labels)[1]
    tolerance = {"rtol": 2e-3, "atol": 1e-4 * max(1.0, float(np.abs(x).max()))}
    number = expect_number(seen[0], f"{said}: the loss")
    if np.isnan(number):
        raise Almost(f"{said}: the loss is nan: exp of a large logit overflows; subtract the largest of each row")
    if np.isinf(number):
        raise Almost(f"{said}: the loss is {number}: exp of a large logit overflows, or a small p became 0 and its log "
                     f"infinite; {_LOG_P}")  # fmt: skip
    expect_close(
        number, loss, f"{said}: the loss", **tolerance, hint=_LOG_P,
        mistakes={
            "this is the loss with the weight as it is; the layer computes with the fake-quantized one": summed[0],
            "the sum over the rows, asked for the mean": n * loss,
            "the sign is turned round: minus the log of the right class's share": -loss,
        },
    )  # fmt: skip
    gradient = softmax(rounded) / n
    by_rounded = gradient.T @ x
    expect_close(
        expect_shape(seen[2], bias.shape, f"{said}: by_bias"), by_bias, f"{said}: by_bias", **tolerance,
        mistakes={
            "the loss is a mean over the rows, and so is its gradient: divide by n": n * by_bias,
            "this is the mean over the rows twice": by_bias / n,
            "1 is missing at the right class: softmax minus one-hot":
                (gradient + np.eye(len(bias))[labels] / n).sum(axis=0),
        },
    )  # fmt: skip
    stopped = fake_quantize_backward(weight, scale, *ends, by_rounded)
    expect_close(
        expect_shape(seen[1], weight.shape, f"{said}: by_weight"), by_weight, f"{said}: by_weight", **tolerance,
        mistakes={
            "clipped weights get a gradient here: pass it through fake_quantize_backward": by_rounded,
            "the loss is a mean over the rows, and so is its gradient: divide by n": n * by_weight,
            "this belongs to logits of the weight as it is; the layer computes with the fake-quantized one":
                fake_quantize_backward(weight, scale, *ends, (softmax(weight) / n).T @ x),
            "multiplied by the scale": stopped * scale,
        },
    )  # fmt: skip
    expect_close(
        expect_shape(seen[3], np.shape(scale), f"{said}: by_scale"), by_scale, f"{said}: by_scale", **tolerance,
        mistakes={
            "it was given what fake_quantize_backward had stopped: clipped weights move the scale, too":
                scale_gradient(weight, scale, *ends, stopped),
            "it was given the fake-quantized weight, whose round(v) - v is 0":
                scale_gradient(rounded, scale, *ends, by_rounded),
            "the loss is a mean over the rows, and so is its gradient: divide by n": n * by_scale,
        },
    )  # fmt: skip


def _export_cases():
    random = np.random.default_rng(114)
    for said, w_shape, x_shape, attributes, bits in (
        ("a 3 × 3 convolution, 2 bits", (4, 3, 3, 3), (2, 3, 8, 8), {"pads": [1, 1, 1, 1]}, 2),
        ("a depthwise convolution, stride 2, 4 bits", (6, 1, 3, 3), (1, 6, 9, 9), {"group": 6, "strides": [2, 2]}, 4),
        ("a 1 × 1 convolution, 3 bits, y with a sign", (5, 7, 1, 1), (3, 7, 4, 4), {}, 3),
    ):
        first, last = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        w_scale = np.float32(random.uniform(0.05, 0.4, (w_shape[0], 1, 1, 1)))
        v = random.integers(first - 1, last + 2, w_shape) + random.choice([-0.37, -0.2, 0.0, 0.18, 0.4], w_shape)
        x = np.float32(random.uniform(0, 1, x_shape))
        x_qparams = np.float32(1 / 255), 0
        y_qparams = (np.float32(0.021), 128) if "sign" in said else (np.float32(0.013), 0)
        conv = helper.make_node("Conv", ["before", f"w{bits}", f"b{bits}"], ["after"], f"conv_{bits}", **attributes)
        bias = np.float32(random.uniform(-0.5, 0.9, w_shape[0]))
        yield said, x, (conv, np.float32(v * w_scale), bias, w_scale, (first, last), x_qparams, y_qparams)


@exercise("11.4", "learned scales to Q/DQ", place="learned_qdq", otherwise=learned_qdq)
def _(answer):
    _expect_function(answer, "learned_qdq")
    for said, x, case in _export_cases():
        conv, *others = case
        seen = call(answer, onnx.NodeProto.FromString(conv.SerializeToString()), *others, name="learned_qdq")
        if not isinstance(seen, tuple | list) or len(seen) != 2:
            raise Almost(f"{said}: expected (nodes, tensors), seen {brief(seen)}")
        _judge_export(said, x, case, list(seen[0]), list(seen[1]))
    return "the codes of three weights are the fake ones to the last bit, and all three fuse"


def _judge_export(said, x, case, nodes, tensors):
    conv, _, bias, w_scale, _, x_qparams, _ = case
    try:
        model = n08.model_of(nodes, tensors, conv, x)
        written = onnx.ModelProto.FromString(model)
    except Exception as error:
        raise Almost(f"{said}: no model can be made of it: {error_text(error)}") from None
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in written.graph.initializer}
    made = {node.output[0]: node for node in written.graph.node if node.op_type == "DequantizeLinear"}
    own = [node for node in written.graph.node if node.op_type == "Conv"]
    if len(own) != 1:
        raise Almost(f"{said}: {len(own)} Conv nodes, expected one")
    if len(own[0].input) < 3:
        raise Almost(f"{said}: the Conv lost its bias")
    for name, what in zip(own[0].input, ("input", "weight", "bias"), strict=False):
        if name not in made:
            raise Almost(f"{said}: the {what} that the Conv reads does not come from a DequantizeLinear")
    _judge_codes(said, case, [held.get(name) for name in made[own[0].input[1]].input])
    codes, scale = (held.get(name) for name in list(made[own[0].input[2]].input)[:2])
    unit = np.float32(x_qparams[0]) * w_scale.ravel()
    if scale is None or scale.shape != unit.shape or not np.allclose(scale, unit, rtol=1e-3, atol=0):
        raise Almost(f"{said}: the bias has scale {brief(scale)}; the sums have x's scale times the learned one, "
                     f"{brief(unit)}")  # fmt: skip
    if codes is not None and codes.shape == bias.shape and 0.51 < np.abs(codes - bias / unit).max() < 1.01:
        raise Almost(f"{said}: the bias' codes are cut off instead of rounded (astype cuts): np.rint")
    if codes is None or (np.abs(codes - bias / unit) > 1.5).any():
        asked = np.rint(bias / unit).astype(np.int32)
        raise Almost(f"{said}: the bias' codes do not fit its new scale: {brief(codes)}, asked for "
                     f"round(bias / scale), {brief(asked)}")  # fmt: skip
    _judge_pairs(said, case, written.graph.node, held, own[0].output[0])
    _judge_outcome(said, x, case, model)


def _judge_pairs(said, case, nodes, held, result):
    """x's and y's QuantizeLinear have the scales and zero points that were given."""
    conv, *_, x_qparams, y_qparams = case
    codes = {node.input[0]: node for node in nodes if node.op_type == "QuantizeLinear"}
    for what, name, (scale, zero) in (("x", conv.input[0], x_qparams), ("y", result, y_qparams)):
        if name not in codes:
            raise Almost(f"{said}: no QuantizeLinear reads {what}")
        seen = [held[each] for each in codes[name].input[1:]]
        if not np.isclose(seen[0], scale, rtol=1e-3).all() or (seen[1] if len(seen) > 1 else np.uint8(0)) != zero:
            raise Almost(f"{said}: {what} has scale {brief(seen[0])}, not {scale:.4g} with zero point {zero} as given")


def _judge_codes(said, case, read):
    _, weight, _, w_scale, ends, *_ = case
    codes, scale = read[:2] if len(read) > 1 else (None, None)
    if codes is None or scale is None:
        raise Almost(f"{said}: the weight's codes and scale are to stand among the tensors")
    if codes.dtype != np.int8 or codes.shape != weight.shape:
        raise Almost(f"{said}: the weight's codes are {codes.dtype} of shape {codes.shape}, asked for int8 of shape "
                     f"{weight.shape}")  # fmt: skip
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1) / 127
    if scale.shape == largest.shape and np.allclose(scale, largest, rtol=1e-3):
        raise Almost(f"{said}: the weight's scale is its largest magnitude / 127, and not the learned one")
    if scale.shape != largest.shape:
        raise Almost(f"{said}: the weight's scale has shape {scale.shape}; DequantizeLinear takes one axis, "
                     f"{largest.shape}")  # fmt: skip
    if not np.array_equal(scale, w_scale.ravel()):
        raise Almost(f"{said}: the weight's scale is {brief(scale)}, learned was {brief(w_scale.ravel())}")
    wanted = np.clip(np.rint(weight / w_scale), *ends)
    if not np.array_equal(codes, wanted):
        free = np.clip(np.rint(weight / w_scale), -128, 127)
        narrow = np.clip(np.rint(weight / w_scale), -ends[1], ends[1])
        cut = np.clip(np.trunc(weight / w_scale), *ends)
        own = np.rint(weight / largest.reshape(-1, *[1] * (weight.ndim - 1)))
        whole = fake(weight, w_scale, *ends)
        why = (
            ": these are real numbers, stored in int8; a code is such a number / w_scale"
            if any(np.array_equal(codes, cut_off(real)) for cut_off in (np.trunc, np.rint) for real in (weight, whole))
            else ": they leave the learned codes' range; clip to `ends`" if np.array_equal(codes, free)
            else ": quant_min is one code further than -quant_max" if np.array_equal(codes, narrow)
            else ": cut off instead of rounded (astype cuts): np.rint" if np.array_equal(codes, cut)
            else ": these are write_qdq's own, of its scale; divide by w_scale" if np.abs(codes - own).max() <= 1
            else ""
        )  # fmt: skip
        raise Almost(f"{said}: {np.sum(codes != wanted)} of {wanted.size} codes are not those of training{why}")


def _judge_outcome(said, x, case, model):
    conv, weight, bias, w_scale, ends, x_qparams, y_qparams = case
    rounded = fake(weight, w_scale, *ends)
    numbers = fake(x, np.float32(x_qparams[0]), 0, 255)
    held = [numpy_helper.from_array(array, name) for array, name in zip((rounded, bias), conv.input[1:], strict=True)]
    (exact,) = open_session(n08.model_of([conv], held, conv, x)).run(None, {conv.input[0]: numbers})
    scale, zero = np.float32(y_qparams[0]), float(y_qparams[1])
    wanted = (np.clip(np.rint(exact / scale) + zero, 0, 255) - zero) * scale
    try:
        seen = open_session(model).run(None, {conv.input[0]: x})[0]
        counted = [node.op_type for node in n08.running(model).node]
    except ValueError as error:
        raise Almost(f"{said}: onnxruntime does not open it: {error_text(error)}") from None
    if seen.shape != wanted.shape:
        raise Almost(f"{said}: the result has shape {seen.shape}, expected {wanted.shape}: were attributes lost?")
    apart = np.abs(seen - wanted) / scale
    if (apart > 1.01).any() or np.mean(apart > 0.5) > 0.02:
        raise Almost(
            f"{said}: {np.mean(apart > 0.5):.0%} of what onnxruntime computes has other codes than the fake-quantized "
            "convolution"
        )
    if counted.count("QLinearConv") != 1:
        raise Almost(f"{said}: the numbers are right, and the Conv stays in float when it runs")


def _leak_cases():
    x, _, test, _ = models.digit_split()
    random = np.random.default_rng(115)
    some = lambda array, count: array[random.permutation(len(array))[:count]]
    mixed = some(np.concatenate([x[:200], test[100:150]]), 250)
    yield "an honest run", {"training": some(x, 300), "scales": x[:64], "epoch": some(x, 100)}, test
    yield "test digits among the training digits, in another order", {"training": mixed, "epoch": x[:50]}, test
    yield "an epoch chosen on the test digits", {"training": x[:50], "scales": x[:9], "epoch": some(test, 599)}, test
    yield "a test digit used twice", {"training": np.concatenate([x[:5], test[7:8], test[7:8]])}, test
    near = test[:20].copy()
    near[:, 0, 0, 0] += np.float32(1 / 16)
    yield "digits that are like test digits but for one pixel", {"training": near}, test


@exercise("11.5", "find the leak", place="leaks", otherwise=leaks)
def _(answer):
    _expect_function(answer, "leaks")
    for said, used, test in _leak_cases():
        seen = call(answer, used, test, name="leaks")
        wanted = leaks(used, test)
        if not isinstance(seen, dict) or set(seen) != set(wanted):
            raise Almost(f"{said}: expected a dictionary with {', '.join(map(repr, wanted))}, seen {brief(seen)}")
        for name, count in wanted.items():
            number = expect_number(seen[name], f"{said}: {name!r}")
            if isinstance(seen[name], bool | np.bool_):
                raise Almost(f"{said}: {name!r}: {seen[name]}: how many is asked for, not whether")
            if number != count:
                raise Almost(f"{said}: {name!r}: {number:g} test digits, and {count} of the {len(used[name])} are"
                             + _why_leaks(number, used[name], test))  # fmt: skip
    return "every use of a test digit is seen, in any order, and no other"


def _why_leaks(number, images, test):
    places = sum(np.array_equal(a, b) for a, b in zip(images, test, strict=False))
    distinct = len({image.tobytes() for image in images} & {image.tobytes() for image in test})
    sums = set(test.sum(axis=(1, 2, 3)).tolist())
    alike = sum(float(image.sum()) in sums for image in images)
    if number == distinct:
        return ": a digit that is used twice counts twice"
    if number == places:
        return ": this compares digits at equal places; order may differ"
    if number == alike:
        return ": pictures that are alike, or of one sum, are not one picture: all 64 numbers count"
    if number == len(images):
        return ": this counts all of them (with arrays `in` asks whether any single number is the same)"
    if 0 < number < 1:
        return ": this is a share; the number is asked for"
    if number > len(images):
        return ": are single pixels compared?"
    return ": compare whole pictures, for example by image.tobytes()"
