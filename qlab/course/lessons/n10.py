"""Notebook 10: which layers lose, the cures that leave the float function, and which layers stay in float.

Its pictures come first, then what it and its checks use.
"""

import hashlib
import tempfile
from collections.abc import Set
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from qlab import calibration, models, palette
from qlab.course.expect import call, expect_shape
from qlab.course.lessons import common, exercise, words
from qlab.course.plots.schematic import Schematic
from qlab.course.show import Almost, brief, kind
from qlab.numerics.affine import choose_qparams, fake_quantize, qparams_from_range
from qlab.palette import styled
from qlab.recipes.quantizers import captured_logs
from qlab.runtime import open_unoptimized

PRODUCTS = ("Conv", "Gemm", "MatMul")


def two_ways():
    """Five layers in a row, two ways to ask what the third one costs."""
    s = Schematic(
        23.5, 5.4, title="Two questions about one layer",
        alt="Two rows of five layers. Above, only the third computes on integers, the others in float: what it loses "
        "alone. Below, only the third computes in float: what is won by leaving it out.",
    )  # fmt: skip
    rows = ((3.9, "alone", "what does it lose?", lambda place: place == 2),
            (1.6, "all but it", "what is won without it?", lambda place: place != 2))  # fmt: skip
    for y, name, asked, is_integer in rows:
        s.text(0.2, y, name, align="left", bold=True)
        last = None
        for place in range(5):
            on_integers = is_integer(place)
            box = s.box(4.2 + 2.7 * place, y, "int8" if on_integers else "float", width=1.9, height=1.0,
                        kind="integer" if on_integers else "fp32")  # fmt: skip
            if last is not None:
                s.arrow(last, box)
            last = box
        s.text(17.0, y, asked, align="left", size=9)
    return s.figure


@styled
def sensitivity(found, *, title, kinds=None, whole=None):
    """What each layer costs, asked both ways, one panel a network. found: {network: {layer: (alone, without)}} in dB

    kinds: {layer: what to say of it before its name};   whole: {network: dB with all layers on int8}
    """
    figure, panels = palette.figure(1, len(found), height=4.0, sharex=True, sharey=True, squeeze=False)
    short = lambda name: name.rpartition("_")[2]
    for axes, (network, layers) in zip(panels[0], found.items(), strict=True):
        for place, (alone, without) in enumerate(layers.values()):
            axes.plot(
                alone, place, "o", color=palette.INTEGER, markersize=7, label="only it on int8" if not place else ""
            )
            axes.plot(
                without, place, "D", color=palette.FP32, markersize=6, label="all but it on int8" if not place else ""
            )
        if whole:
            axes.axvline(whole[network], color=palette.ERROR, linestyle=":", linewidth=1.6, label="all on int8")
        axes.set_yticks(range(len(layers)), [f"{(kinds or {}).get(name, '')} {short(name)}" for name in layers])
        axes.set_ylim(len(layers) - 0.5, -0.5)
        axes.set(xlabel="SQNR of the answers, dB", title=network)
    panels[0, 0].set_ylabel("layer, in order")
    panels[0, -1].legend(loc="lower right", fontsize=9)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    figure.alt = f"{title}. SQNR of the answers for each layer, alone on int8 and all but it, in {' and '.join(found)}"
    if whole:
        figure.alt += f"; dotted, all on int8: {', '.join(f'{name} {db:.1f} dB' for name, db in whole.items())}"
    return figure


@styled
def staircase(found, *, title, bound=None):
    """Digits read right against layers in float, one panel a network. found: {network: {order: [% for 0, 1, ...]}}"""
    figure, panels = palette.figure(1, len(found), height=3.8, sharey=True, squeeze=False)
    styles = ((palette.INTEGER, "-"), (palette.WEIGHTS, "--"), (palette.ACTIVATIONS, ":"))
    for axes, (network, orders) in zip(panels[0], found.items(), strict=True):
        for (order, reached), (colour, line) in zip(orders.items(), styles, strict=False):
            axes.step(range(len(reached)), reached, where="post", color=colour, linestyle=line, label=order)
        if bound is not None:
            axes.axhline(bound, color=palette.FP32, linewidth=1.4, label="fp32 minus half a point")
        axes.set(xlabel="layers in float", title=network, ylim=(0, 103))
    panels[0, 0].set_ylabel("digits read right, %")
    panels[0, 0].legend(loc="lower right", fontsize=9)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    figure.alt = f"{title}. Digits read right against layers in float, three orders, in {' and '.join(found)}"
    for network, orders in found.items():
        together = next((at for at, each in enumerate(zip(*orders.values(), strict=True)) if len(set(each)) > 1), None)
        figure.alt += f". {network}: " + ("the orders lie on each other" if together is None else
                                         f"they part at {together} in float")  # fmt: skip
    return figure


@styled
def mixture(layers, floats, reached, *, whole):
    """Which layers are in float, and what the network reads right. -> Figure"""
    figure, (above, below) = palette.figure(2, 1, height=2.6, layout=None, height_ratios=(1, 1))
    figure.subplots_adjust(left=0.05, right=0.97, bottom=0.2, top=0.87, hspace=1.1)
    for place, name in enumerate(layers):
        in_float = name in floats
        above.barh(0, 0.92, left=place, color=palette.FP32 if in_float else palette.INTEGER)
        above.text(
            place + 0.46, 0, "float" if in_float else "int8", ha="center", va="center", color="white", fontsize=9
        )
    above.set(xlim=(0, len(layers)), yticks=[], xticks=np.arange(len(layers)) + 0.46)
    above.set_xticklabels([name.rpartition("_")[2] for name in layers], fontsize=9)
    above.set_title(f"{len(floats)} of {len(layers)} layers in float: {reached:.1f} % of the digits right")
    below.barh(0, reached, color=palette.INTEGER if reached >= whole - 0.5 else palette.ERROR)
    below.axvline(whole, color=palette.FP32, linewidth=1.6)
    below.set(xlim=(0, 101), yticks=[], xlabel="digits read right, % (line: fp32)")
    for axes in (above, below):
        axes.grid(False, axis="y")
    who = ", ".join(name.rpartition("_")[2] for name in layers if name in floats) or "none"
    figure.alt = (
        f"{len(layers)} boxes in order, {who} float, the rest int8; below, a bar at {reached:.1f} % of the digits read "
        f"right, with fp32's line at {whole:.1f} %"
    )
    return figure


def layers_of(model):
    """{name of a product: the names of the nodes that become one integer node with it}: itself, and its ReLU."""
    nodes = onnx.load(model).graph.node
    readers = {name: [node for node in nodes if name in node.input] for each in nodes for name in each.output}
    found = {}
    for node in nodes:
        if node.op_type in PRODUCTS:
            behind = readers[node.output[0]]
            relu = [each.name for each in behind if each.op_type == "Relu"] if len(behind) == 1 else []
            found[node.name] = [node.name, *relu]
    return found


class Mixed:
    """A network whose layers compute on int8 codes or in float, as one asks at each run: Q/DQ by arithmetic.

    Each layer's weights stand in it twice, exact and rounded (int8, one scale, symmetric); what it reads and writes is
    rounded (uint8, the range of `feeds`) if a layer on codes reads or writes it. No kernel of integers plays a part, so
    that the numbers are those of every machine.
    """

    def __init__(self, path, feeds):
        network = onnx.load(path)
        self._path, collected = Path(path), calibration.collect(path, feeds)
        nodes = {node.name: node for node in network.graph.node}
        self.groups = layers_of(path)
        self.layers = list(self.groups)
        held = {tensor.name: numpy_helper.to_array(tensor) for tensor in network.graph.initializer}
        self._touches = {name: (nodes[group[0]].input[0], nodes[group[-1]].output[0])
                         for name, group in self.groups.items()}  # fmt: skip
        self._flags = {}
        added = {}  # a tensor -> the nodes behind what makes it
        constants = []
        for tensor in dict.fromkeys(name for both in self._touches.values() for name in both):
            qparams = qparams_from_range(*map(float, collected[tensor]), "uint8", symmetric=False)
            constants += [numpy_helper.from_array(np.float32(qparams.scale), f"{tensor}/s"),
                          numpy_helper.from_array(np.uint8(qparams.zero_point), f"{tensor}/z")]  # fmt: skip
            added[tensor] = [
                helper.make_node("QuantizeLinear", [tensor, f"{tensor}/s", f"{tensor}/z"], [f"{tensor}/q"]),
                helper.make_node("DequantizeLinear", [f"{tensor}/q", f"{tensor}/s", f"{tensor}/z"], [f"{tensor}/dq"]),
                helper.make_node("Where", [self._flag(network, tensor), f"{tensor}/dq", tensor], [f"{tensor}/mix"]),
            ]
        head = []
        for name in self.layers:
            weight = nodes[name].input[1]
            rounded = fake_quantize(held[weight], choose_qparams(held[weight], symmetric=True, narrow_range=True))
            constants.append(numpy_helper.from_array(rounded.astype(np.float32), f"{weight}/dq"))
            inputs = [self._flag(network, name), f"{weight}/dq", weight]
            head.append(helper.make_node("Where", inputs, [f"{weight}/mix"]))
        outputs = [value.name for value in network.graph.output]
        self._session = self._built(network, head, added, constants, outputs)
        self._cache = {}

    def _flag(self, network, name):
        self._flags[name] = f"{name}/on"
        network.graph.input.append(helper.make_tensor_value_info(self._flags[name], TensorProto.BOOL, []))
        return self._flags[name]

    def _built(self, network, head, added, constants, outputs):
        """The session: each reader reads what is mixed; an output of the model too."""
        mixed = {f"{one.output[0].removesuffix('/mix')}" for one in head} | set(added)
        made = [
            *head,
            *(node for name in added if name in {i.name for i in network.graph.input} for node in added[name]),
        ]
        for node in network.graph.node:
            own = onnx.NodeProto.FromString(node.SerializeToString())
            own.input[:] = [f"{name}/mix" if name in mixed else name for name in node.input]
            made.append(own)
            made += [each for name in node.output for each in added.get(name, ())]
        del network.graph.node[:], network.graph.value_info[:]
        network.graph.node.extend(made)
        network.graph.initializer.extend(constants)
        for value in network.graph.output:
            value.name = f"{value.name}/mix" if value.name in added else value.name
        self._outputs = [f"{name}/mix" if name in added else name for name in outputs]
        return open_unoptimized(network, self._path)

    def answers(self, images, floats=()):
        """The logits [n, 10] of images with the layers `floats` in float."""
        names = frozenset(floats)
        if strangers := names - set(self.layers):
            raise ValueError(f"{', '.join(sorted(strangers))}: no layer; the layers are {', '.join(self.layers)}")
        key = (names, images.shape, hashlib.sha256(np.ascontiguousarray(images)).digest())
        if key not in self._cache:
            coded = [name for name in self.layers if name not in names]
            touched = {tensor for name in coded for tensor in self._touches[name]}
            on = {flag: np.array(name in touched or name in coded) for name, flag in self._flags.items()}
            self._cache[key] = self._session.run(self._outputs, {"images": images} | on)[0]
        return self._cache[key]

    def right(self, images, labels, floats=()):
        """Which of the images are read right, bool [n]."""
        return self.answers(images, floats).argmax(axis=1) == labels


def kinds_of(model):
    """{name of a layer: its kernel, "3 x 3", "depthwise 3 x 3" or "1 x 1", or the operator where it has none}."""
    graph = onnx.load(model).graph
    shapes = {tensor.name: tensor.dims for tensor in graph.initializer}
    found = {}
    for node in graph.node:
        if node.op_type in PRODUCTS:
            groups = next((each.i for each in node.attribute if each.name == "group"), 1)
            kernel = " x ".join(map(str, shapes[node.input[1]][2:]))
            found[node.name] = f"{'depthwise ' * (groups > 1)}{kernel}" if kernel else node.op_type
    return found


def products_of(model):
    """{name of a layer: the products of two numbers that it forms for one image}."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(model)).graph
    shapes = {tensor.name: tensor.dims for tensor in graph.initializer}
    places = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim[2:]] for value in graph.value_info}
    return {node.name: int(np.prod(shapes[node.input[1]]) * np.prod(places.get(node.output[0], [])))
            for node in graph.node if node.op_type in PRODUCTS}  # fmt: skip


def only(layers, name):
    """All layers but this one: what stays in float where it alone is on integers."""
    return [other for other in layers if other != name]


def rank_correlation(one, other):
    """Spearman's: 1 where two lists of numbers have the same order, 0 where one says nothing of the other."""
    ranks = [np.argsort(np.argsort(np.asarray(each, dtype=float))) for each in (one, other)]
    return float(np.corrcoef(*ranks)[0, 1])


def attention_entry(loud=60.0):
    """A LayerNormalization and the three products that read it, q, k and v of the conformer's first layer, its weights.

    One channel is made loud: the norm's scale and bias are multiplied by `loud` there, the weights' rows divided by it.
    """
    conformer = onnx.load(models.path("conformer"))
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in conformer.graph.initializer}
    at, where = "encoder.encoders.0", 7
    scale, bias = (held[f"{at}.norm_mha.{part}"].copy() for part in ("weight", "bias"))
    scale[where] *= loud
    bias[where] *= loud
    arrays, nodes = {"scale": scale, "bias": bias}, []
    nodes.append(helper.make_node("LayerNormalization", ["x", "scale", "bias"], ["h"], name="norm", axis=-1))
    for letter in "qkv":
        weight = common.linear(conformer, f"{at}.self_attn.linear_{letter}").weight.copy()
        weight[where] /= loud
        arrays[f"w_{letter}"] = weight
        nodes.append(helper.make_node("MatMul", ["h", f"w_{letter}"], [letter], name=letter))
    size = len(scale)
    shaped = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["tokens", size])
    inside = [numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "entry", [shaped("x")], [shaped(letter) for letter in "qkv"], inside)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


# ---- 10.1


@cache
def _small():
    """(bytes of a network of three products, {layer: nodes}, feeds, the weight's name of each)"""
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["": 21]>
        small (float[N, 2, 6, 6] x) => (float[N, 4, 6, 6] y) {
        a = Conv<pads = [1, 1, 1, 1]>(x, w1) b = Relu(a) c = Conv<pads = [1, 1, 1, 1]>(b, w2) d = Relu(c)
        e = Conv(d, w3) y = Add(d, e) }""")
    random = np.random.default_rng(101)
    for name, shape in {"w1": (4, 2, 3, 3), "w2": (4, 4, 3, 3), "w3": (4, 4, 1, 1)}.items():
        model.graph.initializer.append(numpy_helper.from_array(random.normal(size=shape).astype(np.float32) / 4, name))
    for node in model.graph.node:
        node.name = f"{node.op_type}_{node.output[0]}"
    layers = {"Conv_a": ["Conv_a", "Relu_b"], "Conv_c": ["Conv_c", "Relu_d"], "Conv_e": ["Conv_e"]}
    feeds = [{"x": (size * random.uniform(-1, 1, (1, 2, 6, 6))).astype(np.float32)} for size in (1.0, 2.0, 4.0)]
    return model.SerializeToString(), layers, feeds, {"Conv_a": "w1", "Conv_c": "w2", "Conv_e": "w3"}


class _Spy:
    """The `score` of the check: reads which layers a file has on codes, and gives a number of its own for each set."""

    def __init__(self, names, folder):
        self.names, self.folder, self.seen, self.problem = names, folder, [], ""

    def number(self, coded):
        return float(sum(2**place * (1.5 + place) for place, name in enumerate(self.names) if name in coded))

    def __call__(self, path):
        if not isinstance(path, str | Path) or not Path(path).is_file():
            raise Almost(f"score wants the path of a file, seen {brief(path)}")
        graph = onnx.load(path).graph
        made = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
        integer = {node.name.removesuffix("_quant") for node in graph.node if node.op_type.startswith("QLinear")}
        integer |= {node.name for node in graph.node if len(node.input) > 1 and node.input[1] in made}
        if {node.op_type for node in graph.node} & {"ConvInteger", "DynamicQuantizeLinear"}:
            raise Almost("this file is quantized dynamically; asked for quantize_static")
        coded = frozenset(self.names) & integer
        self._judge_codes(graph)
        self.seen.append(coded)
        return self.number(coded)

    def _judge_codes(self, graph):
        held = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        back = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
        if any(node.op_type == "Relu" and node.input[0] in back for node in graph.node):
            self.problem = ("a convolution stands on integers and its ReLU was left out: codes lie between the two; "
                            "`layers[name]` lists both nodes")  # fmt: skip
        written = {node.input[0] for node in graph.node if node.op_type == "QuantizeLinear"}
        for node in graph.node:
            if node.op_type == "QLinearAdd" or (node.op_type == "Add" and node.output[0] in written):
                self.problem = ("an Add that is in no layer stands on codes as well: all but what is excluded is "
                                "quantized; nodes_to_quantize names what is, and nothing else")  # fmt: skip
            at = {"DequantizeLinear": 1, "QLinearConv": 4}.get(node.op_type)
            if at and held[node.input[at]].size > 1:
                self.problem = (
                    "a scale for each channel (per_channel): asked for one scale for each tensor, as in **OPTIONS"
                )
            if node.op_type == "QuantizeLinear":
                if held[node.input[2]].dtype != np.uint8:
                    self.problem = "an activation has int8 codes: activation_type=QuantType.QUInt8 is asked for"
                if node.input[0] == "x" and held[node.input[1]] < 7 / 255:
                    self.problem = "the range of x is not that of all feeds: is a reader made anew for each file?"


def sensitivity_by_static(model, layers, feeds, score):
    """{layer: (score with only it quantized, score with all but it)}, as 10.1 asks."""
    from onnxruntime.quantization import QuantType, quantize_static

    weight_type = QuantType.QInt8
    with tempfile.TemporaryDirectory(prefix="qlab-10-") as folder, captured_logs():
        path = str(Path(folder) / "mixed.onnx")

        def of(names):
            quantize_static(
                model, path, common.Feeds(feeds), nodes_to_quantize=[node for name in names for node in layers[name]],
                activation_type=QuantType.QUInt8, weight_type=weight_type,
            )  # fmt: skip
            return score(path)

        return {name: (of([name]), of(only(layers, name))) for name in layers}


@exercise("10.1", "sensitivity of each layer, two ways", place="sensitivity", otherwise=sensitivity_by_static)
def _(answer):
    data, layers, feeds, _ = _small()
    with tempfile.TemporaryDirectory(prefix="qlab-10-") as folder, captured_logs():
        path = Path(folder) / "small.onnx"
        path.write_bytes(data)
        spy = _Spy(list(layers), folder)
        arguments = str(path), {name: list(nodes) for name, nodes in layers.items()}, list(feeds), spy
        try:
            seen = call(answer, *arguments, name="sensitivity")
        except Almost as found:
            if "No data is collected" in str(found):
                raise Almost("quantize_static got no data: a reader is read once, so make one for each file") from None
            raise
        finally:
            if not path.is_file() or path.read_bytes() != data:
                raise Almost("the fp32 file was written over: give quantize_static another path for its output")
    _judge_sensitivity(seen, spy, layers)
    return f"{len(spy.seen)} files, each with the layers on integers that it should have"


def _judge_sensitivity(seen, spy, layers):
    if not isinstance(seen, dict) or set(seen) != set(layers):
        raise Almost(f"expected a dict with the layers {', '.join(layers)}, seen {brief(seen)}")
    everything = frozenset(layers)
    for name in layers:
        pair = expect_shape(seen[name], (2,), f"the entry of {name}: two numbers (alone, all but it)")
        alone, without = (spy.number(coded) for coded in (frozenset([name]), everything - {name}))
        if np.allclose(pair, (alone, without)):
            continue
        if np.allclose(pair, (without, alone)):
            raise Almost(f"{name}: the two are swapped: first the score with only this layer on integers")
        known = {spy.number(coded): coded for size in range(4) for coded in map(frozenset, combinations(layers, size))}
        for wanted, number, what in (
            (frozenset([name]), pair[0], "alone"),
            (everything - {name}, pair[1], "all but it"),
        ):
            if np.isclose(number, spy.number(wanted)):
                continue
            coded = known.get(float(number))
            if coded is None:
                raise Almost(f"{name}, {what}: {number:g} is no score of a file: return what score(path) gives")
            raise Almost(f"{name}, {what}: expected a file with {_listed(wanted)} on integers, seen one with "
                         f"{_listed(coded)}")  # fmt: skip
    if spy.problem:
        raise Almost(spy.problem)


def _listed(names):
    return ", ".join(sorted(names)) or "no layer"


# ---- 10.2


def equalize(w1, b1, w2):
    """Two layers with a ReLU between, their channels' ranges made equal: (w1, b1, w2) of the same function."""
    wrote, read = np.abs(w1).max(axis=1), np.abs(w2).max(axis=0)
    alive = (wrote > 0) & (read > 0)
    s = np.sqrt(np.where(alive, wrote, 1) / np.where(alive, read, 1))
    return w1 / s[:, None], b1 / s, w2 * s


def _pairs():
    random = np.random.default_rng(102)
    for name, shape in {
        "4 and 3 outputs": (5, 4, 3),
        "as many everywhere": (6, 6, 6),
        "one channel": (3, 1, 2),
    }.items():
        inputs, middle, outputs = shape
        spread = 2.0 ** random.integers(-4, 5, middle)
        w1 = random.normal(size=(middle, inputs)) * spread[:, None]
        yield name, w1.astype(np.float32), random.normal(size=middle).astype(np.float32), random.normal(
            size=(outputs, middle)).astype(np.float32)  # fmt: skip
    w1 = random.normal(size=(5, 3)).astype(np.float32)
    w2 = random.normal(size=(2, 5)).astype(np.float32)
    w1[1] = 0
    w2[:, 3] = 0
    yield "a channel of zeros", w1, random.normal(size=5).astype(np.float32), w2


@exercise("10.2", "equalize two layers", place="equalize", otherwise=equalize)
def _(answer):
    for name, w1, b1, w2 in _pairs():
        try:
            seen = call(answer, w1, b1, w2, name="equalize")
        except Almost as found:
            if "broadcast" not in str(found):
                raise
            raise Almost(f"{found}; a channel is a row of w1 and a column of w2") from None
        if not isinstance(seen, tuple | list) or len(seen) != 3:
            raise Almost(f"{name}: expected (w1, b1, w2), three arrays, seen {brief(seen)}, a `{kind(seen)}`")
        arrays = [expect_shape(each, wanted.shape, f"{name}: {what}")
                  for each, wanted, what in zip(seen, (w1, b1, w2), ("w1", "b1", "w2"), strict=True)]  # fmt: skip
        _judge_pair(name, (w1, b1, w2), [each.astype(np.float64) for each in arrays])
    return "the same function, and each channel as large on both sides, a channel of zeros as well"


def _judge_pair(name, before, after):
    if not all(np.isfinite(each).all() for each in after):
        raise Almost(f"{name}: NaN or infinity: a channel that is 0 on one side has no factor; give it 1")
    x = np.random.default_rng(1).normal(size=(64, before[0].shape[1]))
    compute = lambda w1, b1, w2: np.maximum(x @ w1.T + b1, 0) @ w2.T
    exact, changed = compute(*(each.astype(np.float64) for each in before)), compute(*after)
    if not np.allclose(exact, changed, rtol=1e-4, atol=1e-4 * (np.abs(exact).max() + 1e-9)):
        without = compute(after[0], before[1] / _ratio(before[0], after[0]), after[2])
        if np.allclose(exact, without, rtol=1e-4, atol=1e-4 * (np.abs(exact).max() + 1e-9)):
            raise Almost(
                f"{name}: the function changed: the bias is written together with w1's channel, and is divided too"
            )
        raise Almost(f"{name}: the function changed: what w1's row i is divided by, w2's column i is multiplied by")
    wrote, read = np.abs(after[0]).max(axis=1), np.abs(after[2]).max(axis=0)
    tops = [np.abs(before[0]).max(axis=1), np.abs(before[2]).max(axis=0)]
    alive = (tops[0] > 0) & (tops[1] > 0)
    others = {
        "the largest magnitude counts, not the largest number (np.abs)": (before[0].max(axis=1), before[2].max(axis=0)),
        "the bias takes no part in the factor": (np.maximum(tops[0], np.abs(before[1])), tops[1]),
    }
    for channel in np.flatnonzero(alive & ~np.isclose(wrote, read, rtol=1e-3)):
        r1, r2 = np.abs(before[0][channel]).max(), np.abs(before[2][:, channel]).max()
        more = ""
        if np.allclose([wrote[channel], read[channel]], [r1, r2]):
            more = ": nothing moved"
        elif np.allclose([wrote[channel], read[channel]], [r2, r1], rtol=1e-3):
            more = ": the two have changed places: the factor is the root of their ratio"
        elif said := _other_ranges(others, channel, r1 / wrote[channel]):
            more = f": {said}"
        elif np.isclose(wrote[channel], 1, rtol=1e-3):
            more = ": then w1 is even, and w2 has all of the spread"
        elif np.isclose(wrote[channel] / read[channel], (r1 / r2) ** 2, rtol=1e-2):
            more = ": the factor is upside down"
        raise Almost(
            f"{name}: channel {channel} has {wrote[channel]:.3g} as its largest weight in w1 and {read[channel]:.3g} "
            f"in w2; both should be sqrt({r1:.3g} * {r2:.3g}) = {np.sqrt(r1 * r2):.3g}{more}"
        )
    for what, old, new in (("b1", before[1], after[1]), ("w2", before[2].T, after[2].T)):
        if not np.allclose(new[~alive], old[~alive], rtol=1e-4):
            raise Almost(f"{name}: {what} changed where a channel is 0 on one side; such a channel keeps its factor 1")


def _other_ranges(others, channel, factor):
    """Which of `others`, {what was done: (what writes, what reads)}, gives this factor; "" for none."""
    found = [said for said, (wrote, read) in others.items()
             if np.isclose(factor, np.sqrt(abs(wrote[channel] / read[channel])), rtol=1e-3)]  # fmt: skip
    return found[0] if found else ""


def _ratio(before, after):
    """What each row was divided by; 1 where it is 0."""
    top, now = np.abs(before).max(axis=1).astype(np.float64), np.abs(after).max(axis=1)
    return np.where((top > 0) & (now > 0), top / np.where(now > 0, now, 1), 1)


# ---- 10.3


def correct_bias(codes, scale, exact, rounded):
    """The int32 codes of a bias after which a layer's output has the channels' means of `exact`."""
    shift = exact.mean(axis=(0, 2, 3)) - rounded.mean(axis=(0, 2, 3))
    return (codes + np.rint(shift / scale)).astype(np.int32)


def _outputs():
    random = np.random.default_rng(103)
    for name, (n, c, h, w) in {
        "pictures": (6, 4, 5, 7),
        "one picture": (1, 3, 4, 4),
        "single numbers": (8, 5, 1, 1),
    }.items():
        exact = random.normal(size=(n, c, h, w)) + random.normal(size=(c, 1, 1))
        shift = random.normal(size=c)
        rounded = exact + shift[:, None, None] + 0.1 * random.normal(size=exact.shape)
        scale = random.uniform(1e-3, 4e-3, c).astype(np.float32)
        codes = random.integers(-900, 900, c).astype(np.int32)
        yield name, codes, scale, exact.astype(np.float32), rounded.astype(np.float32)


@exercise("10.3", "bias correction from two means", place="correct_bias", otherwise=correct_bias)
def _(answer):
    for name, codes, scale, exact, rounded in _outputs():
        try:
            seen = call(answer, codes, scale, exact, rounded, name="correct_bias")
        except Almost as found:
            if "broadcast" not in str(found):
                raise
            raise Almost(f"{found}; channels are axis 1, their means go over axes 0, 2 and 3") from None
        seen = expect_shape(seen, codes.shape, f"{name}: the codes, one for each channel")
        _judge_codes(name, seen, codes, scale.astype(float), exact.astype(float), rounded.astype(float))
    return "every channel's mean within half a code of fp32's"


def _judge_codes(name, seen, codes, scale, exact, rounded):
    shift = (exact - rounded).mean(axis=(0, 2, 3))
    real = codes + shift / scale
    off = np.abs(seen.astype(float) - real)
    if not np.isfinite(off).all():
        raise Almost(f"{name}: NaN or infinity: the scale is a number above 0 for each channel, and so is each mean")
    if off.max() > 1.01:
        mistakes = _bias_mistakes(codes, scale, exact, rounded, shift)
        apart = {said: np.abs(seen - wrong).max() for said, wrong in mistakes.items()}
        said = min(apart, key=apart.get)
        channel = int(off.argmax())
        raise Almost(f"{name}: {said}" if apart[said] <= 1.01 else
                     f"{name}: channel {channel}: expected {np.rint(real[channel]):.0f}, "
                     f"seen {brief(seen[channel])}")  # fmt: skip
    if not np.array_equal(seen, np.rint(seen)):
        raise Almost(f"{name}: these are real numbers; the bias has int32 codes: round, and .astype(np.int32)")
    if off.max() > 0.51:
        raise Almost(f"{name}: up to {off.max():.2f} codes off: round to the nearest (np.rint), do not cut off")
    if seen.dtype != np.int32:
        raise Almost(f"{name}: dtype {seen.dtype}; the bias of a file has int32 codes: .astype(np.int32)")


def _bias_mistakes(codes, scale, exact, rounded, shift):
    """{what was done wrong: the codes that it gives}, all [channels]."""
    return {
        "the codes hardly changed: in codes the shift is `shift / scale`": codes + shift * scale,
        "the means are subtracted the other way round": codes - shift / scale,
        "one mean for all channels: a bias has one number for each": codes + (exact - rounded).mean() / scale,
        "the shift alone: it is added to the bias that is there": shift / scale,
        "the difference is in the output's unit, and one code is worth `scale` of it: divide": codes + shift,
        "the shift is in codes, but the answer is real: the bias itself, not its codes": codes * scale + shift,
        "a real number and codes are added: `codes * scale` is the bias itself, `shift / scale` is in codes": codes
        * scale
        + shift / scale,
        "the codes are divided by the scale, too: they are codes already": (codes + shift) / scale,
        "all channels got the first one's scale": codes + shift / scale[0],
        "all channels got one scale, the mean of theirs": codes + shift / scale.mean(),
        "rounded before the division by the scale: most of the shift is gone": codes + np.rint(shift) / scale,
        "the size of the differences: they have signs, and those that cancel are no shift": codes
        + np.abs(exact - rounded).mean(axis=(0, 2, 3)) / scale,
        "the size of the shift: it has a sign": codes + np.abs(shift) / scale,
        "the first picture alone: the mean is over all of them": codes + (exact - rounded)[0].mean(axis=(1, 2)) / scale,
    }


# ---- 10.4


CALLS = 90


@cache
def patient(which="everywhere"):
    """Path of the digits network, its channels scaled: "everywhere", or between two layers only, "one joint"."""
    from qlab.course.lessons import folder

    path = folder("10") / f"{which.replace(' ', '-')}.onnx"
    octaves, chosen = {"everywhere": (3, None), "one joint": (5, {4})}[which]
    return common.rescaled(models.path("digits"), path, octaves=octaves, only=chosen)


@cache
def simulated(which="everywhere"):
    """The Mixed of a patient, calibrated on 32 training digits."""
    images = models.digit_split()[0]
    return Mixed(patient(which), [{"images": image[None]} for image in images[:32]])


class Measure:
    """measure(floats) -> % of training digits read right with these layers in float. Counts what it is asked."""

    def __init__(self, which, most=CALLS):
        self._network, self.most, self.calls = simulated(which), most, 0
        self._images, self._labels, *_ = models.digit_split()

    def __call__(self, floats):
        if isinstance(floats, str) or not np.iterable(floats):
            one = ", seen one name" if isinstance(floats, str) else ""
            raise ValueError(f"measure({brief(floats)}): expected a list or set of names{one}")
        names = list(floats)
        if strangers := [name for name in names if name not in self._network.layers]:
            raise ValueError(f"measure was given {brief(strangers[0])}, which is no layer")
        self.calls += 1
        if self.calls > self.most:
            raise ValueError(f"measure was called more than {self.most} times: at work each call runs over all data")
        return self.value(names)

    def value(self, names):
        return 100 * float(self._network.right(self._images[64:164], self._labels[64:164], names).mean())


def choose_floats(layers, measure, k):
    """At most k layers to keep in float: in each round one more, that which helps most beside those chosen."""
    chosen = []
    for _ in range(k):
        chosen.append(max(only_new(layers, chosen), key=lambda name: measure([*chosen, name])))
    return chosen


def only_new(layers, chosen):
    """The layers that are not chosen yet."""
    return [name for name in layers if name not in chosen]


def worst_alone(layers, measure, k):
    """What a search tries first: the k layers that lose most alone, all others in float."""
    return sorted(layers, key=lambda name: measure(only(layers, name)))[:k]


@exercise("10.4", "a budget of layers in float", place="choose_floats", otherwise=choose_floats)
def _(answer):
    said = []
    for which, k in (("everywhere", 8), ("one joint", 2)):
        measure = Measure(which)
        layers = list(measure._network.layers)
        seen = _chosen(call(answer, list(layers), measure, k, name="choose_floats"), layers, k)
        reached, asked = measure.value(seen), measure.value(worst_alone(layers, measure.value, k))
        by_a_rule = (_lowest(seen, layers, k, _alone(layers, measure.value)), _greedy(seen, layers, k, measure.value))
        if reached < asked - 0.5 and not any(by_a_rule):
            raise Almost(f"{which!r}, {k} layers: {reached:.1f} % right with {', '.join(seen) or 'none'} in float; "
                         f"the search's way, the {k} that lose most alone, reaches {asked:.1f} %"
                         + _how_chosen(seen, layers, k, measure.value))  # fmt: skip
        said.append(f"{which}: {reached:.1f} % against {asked:.1f} %, {measure.calls} calls")
    return "; ".join(said)


def _alone(layers, value):
    """What is read right with one layer on integers, as a function of its name."""
    return lambda name: value(only(layers, name))


def _lowest(seen, layers, k, value):
    """Are these k layers of lowest value, however layers of equal value are sorted?"""
    return len(seen) == k and max(map(value, seen)) <= min(map(value, only_new(layers, seen)))


def _greedy(seen, layers, k, value):
    """Can these have been chosen one after the other, each one that helped most, however equal values are sorted?"""

    def grows(chosen):
        if len(chosen) == k:
            return True
        reached = {name: value([*chosen, name]) for name in only_new(layers, chosen)}
        best = max(reached.values())
        return any(grows([*chosen, name]) for name in only_new(seen, chosen) if reached[name] == best)

    return len(seen) == k and grows([])


def _how_chosen(seen, layers, k, value):
    """How these layers may have been chosen, in words, or ""."""
    alone, left_out = _alone(layers, value), lambda name: value([name])
    if len(seen) == len(layers) - k and _lowest(only_new(layers, seen), layers, k, alone):
        return ": these are the layers on integers; those in float are asked for"
    if len(seen) < k:
        return f": only {len(seen)} of {k} were chosen; scores tie and dip, so go on where nothing helps at once"
    if set(seen) in (set(layers[:k]), set(layers[-k:])):
        return f": these are the {'first' if layers[0] in seen else 'last'} {k} of the list; measure"
    if _lowest(seen, layers, k, lambda name: -alone(name)):
        return ": these lose least alone: is the order upside down?"
    if _lowest(seen, layers, k, left_out):
        return ": these help least when only one is in float: the order is upside down"
    if _lowest(seen, layers, k, lambda name: -left_out(name)):
        return (": these help most when only one is in float, and then the others' errors drown what it is worth: "
                "ask each alone on integers, or each beside those that are chosen")  # fmt: skip
    return ""


def _chosen(seen, layers, k):
    seen = seen.tolist() if isinstance(seen, np.ndarray) else seen
    if not isinstance(seen, list | tuple | Set):
        raise Almost(f"expected a list or set of at most {k} names, seen {brief(seen)}, a `{kind(seen)}`")
    names = list(seen)
    if strangers := [name for name in names if name not in layers]:
        what = ": the names are asked for, not their places" if isinstance(strangers[0], int | np.integer) else ""
        raise Almost(f"{brief(strangers[0])} is none of the layers{what}")
    if len(set(names)) > k:
        raise Almost(f"{len(set(names))} layers are chosen, the budget is {k}")
    return list(dict.fromkeys(names))


# ---- 10.5

CURES = {name: about["what"] for name, about in words("10", "cures").items()}
FAILURES = {name: about["what"] for name, about in words("10", "failures").items()}


@exercise("10.5", "name the cure for each of four failures")
def _(answer):
    if not isinstance(answer, dict) or set(answer) != set(FAILURES):
        raise Almost(f"expected a dict with the keys {', '.join(FAILURES)}, seen {brief(answer)}")
    about = words("10", "failures")
    for failure, cure in answer.items():
        name = cure.strip().lower() if isinstance(cure, str) else cure
        if not isinstance(name, str) or name not in CURES:
            raise Almost(f"{failure}: expected one of {', '.join(map(repr, CURES))}, seen {brief(cure)}")
        if name != about[failure]["cure"]:
            raise Almost(f"{failure}, {name!r}: {about[failure]['not'].get(name, about[failure]['why'])}")
    return "; ".join(f"{failure}: {about[failure]['cure']}" for failure in FAILURES)
