"""Networks drawn at random, for what must hold whatever stands behind a product, and a look at what really runs."""

import re

import numpy as np
import onnx
import onnxruntime
from hypothesis import strategies as st
from onnx import helper

from tests.builders.blocks import FLOAT, node, noise, save, value, weights

OPSETS = (11, 13, 17, 21)
PRODUCTS = ("Conv", "depthwise", "grouped", "pointwise", "ConvTranspose", "MatMul")
BEHIND = (
    "nothing", "Relu", "Clip", "narrow Clip", "LeakyRelu", "HardSwish", "Sigmoid", "BatchNormalization", "MaxPool",
    "Add", "residual", "Concat", "Reshape", "Transpose",
)  # fmt: skip
CHANNELS = 8
FLOAT_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@st.composite
def drawn(draw):
    """What `built` builds: (dimensions, opset, head, blocks); a block is (product, bias, behind, read twice)."""
    block = st.tuples(
        st.sampled_from(PRODUCTS),
        st.booleans(),
        st.lists(st.sampled_from(BEHIND), min_size=1, max_size=2),
        st.sampled_from(("no", "product", "result")),
    )
    blocks = draw(st.lists(block, min_size=1, max_size=3))
    return (
        draw(st.sampled_from((1, 2))),
        draw(st.sampled_from(OPSETS)),
        draw(st.sampled_from(("", "Gemm", "MatMul"))),
        blocks,
    )


class Built:
    """A model under construction: nodes, weights, and the tensor that the next node reads."""

    def __init__(self, dimensions, opset):
        self.dimensions, self.opset = dimensions, opset
        self.nodes, self.weights, self.products, self.outputs = [], {}, [], []
        self.last, self.seed = "x", 0

    def constant(self, array):
        name = f"w{len(self.weights)}"
        self.weights[name] = array
        return name

    def add(self, op_type, inputs, name="", **attributes):
        name = name or f"{op_type.lower()}{len(self.nodes)}"
        self.nodes.append(node(op_type, inputs, [f"{name}_out"], name, **attributes))
        self.last = f"{name}_out"
        return name

    def noise(self, *shape):
        self.seed += 1
        return weights(*shape, seed=self.seed)

    def product(self, kind, bias):
        axes, c = self.dimensions, CHANNELS
        inside = {"grouped": 2, "depthwise": 1}.get(kind, c)
        size = 1 if kind == "pointwise" else 3
        if kind == "MatMul":
            name = self.add("MatMul", [self.last, self.constant(self.noise(8, 8))], f"product{len(self.products)}")
            if bias:
                self.add("Add", [self.last, self.constant(noise(8, seed=self.seed))])
        else:
            op_type = "ConvTranspose" if kind == "ConvTranspose" else "Conv"
            stored = [self.constant(self.noise(c, inside, *[size] * axes))]
            if bias:
                stored.append(self.constant(noise(c, seed=self.seed)))
            pads = [size // 2] * 2 * axes
            options = {"kernel_shape": [size] * axes, "pads": pads, "group": c // inside}
            name = self.add(op_type, [self.last, *stored], f"product{len(self.products)}", **options)
        self.products.append(name)

    def behind(self, kind, before):
        match kind:
            case "Clip":
                self.add("Clip", [self.last, self.constant(np.float32(0)), self.constant(np.float32(6))])
            case "narrow Clip":
                self.add("Clip", [self.last, self.constant(np.float32(-1)), self.constant(np.float32(0.8))])
            case "HardSwish" if self.opset < 14:
                gate = self.last
                self.add("HardSigmoid", [gate], alpha=1 / 6)
                self.add("Mul", [gate, self.last])
            case "BatchNormalization":
                stored = [
                    np.abs(noise(CHANNELS, seed=k)) + 0.5 if k in (1, 4) else noise(CHANNELS, seed=k)
                    for k in (1, 2, 3, 4)
                ]
                self.add("BatchNormalization", [self.last, *map(self.constant, stored)])
            case "MaxPool":
                ones = [1] * 2 * self.dimensions
                self.add("MaxPool", [self.last], kernel_shape=[3] * self.dimensions, pads=ones)
            case "Add":
                self.add("Add", [self.last, self.constant(noise(CHANNELS, *[1] * self.dimensions, seed=3))])
            case "residual":
                self.add("Add", [self.last, before])
            case "Concat":
                self.add("Concat", [self.last, before], axis=1)
                self.add(
                    "Slice",
                    [
                        self.last,
                        self.constant(np.array([4])),
                        self.constant(np.array([12])),
                        self.constant(np.array([1])),
                    ],
                )
            case "Reshape":
                self.add("Reshape", [self.last, self.constant(np.array([0, CHANNELS, *[8] * self.dimensions]))])
            case "Transpose":
                self.add("Transpose", [self.last], perm=[0, 1, 3, 2] if self.dimensions == 2 else [0, 2, 1])
            case "Relu" | "LeakyRelu" | "Sigmoid" | "HardSwish":
                self.add(kind, [self.last])

    def again(self, name):
        """A second reader of a tensor, whose result is an output of the model."""
        kept = self.last
        self.add("Sigmoid", [name])
        self.outputs.append(self.last)
        self.last = kept


def built(folder, plan):
    """The model file of a drawn plan, feeds for it, and the names of its products."""
    dimensions, opset, head, blocks = plan
    made = Built(dimensions, opset)
    for kind, bias, behind, twice in blocks:
        before = made.last
        made.product(kind, bias)
        result = made.last
        for each in behind:
            made.behind(each, before)
        if twice != "no":
            made.again(result if twice == "product" else made.last)
    if head:
        made.add("Flatten", [made.last])
        size = CHANNELS * 8**dimensions
        inputs = [made.last, made.constant(made.noise(size, 24))]
        if head == "Gemm":
            inputs.append(made.constant(noise(24)))
        made.products.append(made.add(head, inputs, f"product{len(made.products)}"))
    made.outputs.append(made.last)
    shape = [4, CHANNELS, *[8] * dimensions]
    ends = [value("x", FLOAT, shape)], [value(name, FLOAT, None) for name in dict.fromkeys(made.outputs)]
    path = save(folder / "drawn.onnx", made.nodes, *ends, made.weights, opset=opset)
    return path, [{"x": noise(*shape, seed=seed)} for seed in range(100, 108)], made.products


def not_as_fp32(model, quantized, names, feed):
    """{name: what differs} of the products `names` that do not compute in the file `quantized` what `model` computes.

    Judged by what onnxruntime really runs: what goes into the product and comes out of it is watched in the optimized
    graph, and the same input goes through the same product of `model`, with whatever was fused into it.
    """
    ran, source = _as_run(quantized, quantized.with_name("ran.onnx")), onnx.load(model)
    floats = [one for one in ran.graph.node if one.op_type.removeprefix("Fused") in FLOAT_PRODUCTS]
    wrong = {}
    for name in names:
        runs, computes = next(filter(all, ((one, _computed(source, name, one)) for one in floats)), (None, None))
        if runs is None:
            wrong[name] = "is no product of floats"
            continue
        expected, found = _both(source, ran, name, runs, computes, feed)
        error = np.abs(expected.ravel() - found.ravel()).max() / np.abs(expected).max()
        if not error < 1e-5:
            wrong[name] = f"differs by {error:.2g} of the largest number"
    return wrong


def _original(name):
    """What a tensor of a quantized model is called in the model that it was made of."""
    return re.sub(r"(/float|/duplicated|_(De|Q)[a-z]+Linear_(In|Out)put|_pre_q|_post_dq\d*)+$", "", name)


def _computed(source, name, runs):
    """Which tensor of `source` the node `runs` computes, if it is the product `name` with what was fused into it."""
    found = {}
    for one in source.graph.node:
        if one.name == name or (found.keys() & set(one.input) and one.op_type not in FLOAT_PRODUCTS):
            found[one.output[0]] = one.op_type
    if runs.name.startswith(f"{name}/MatMulAddFusion"):  # between two Reshapes
        return next(tensor for tensor, op_type in found.items() if op_type == "Add")
    if _original(runs.output[0]) in found:
        return _original(runs.output[0])
    return next(iter(found)) if runs.name == name else None  # what it is called is lost where a Transpose was moved


def _both(source, ran, name, runs, computes, feed):
    """What the product computes in `source`, and what it computes in `ran`, from the input that it has in `ran`."""
    stored = {tensor.name for tensor in ran.graph.initializer}
    inputs, result = [one for one in runs.input if one and one not in stored], runs.output[0]
    answers = _unoptimized(ran, feed, [*inputs, result])
    known = {_original(one): answers[one] for one in inputs}
    if not any(one.name == "transA" and one.i for one in runs.attribute):
        reads = next(one for one in source.graph.node if one.name == name).input[0]
        known[reads] = answers[inputs[0]].reshape(_unoptimized(source, feed, [reads])[reads].shape)
    return _unoptimized(_cut(source, known, computes), known, [computes])[computes], answers[result]


def _cut(source, known, wanted):
    """The part of `source` that computes `wanted` from the arrays `known`."""
    producers = {name: one for one in source.graph.node for name in one.output}
    stored = {tensor.name for tensor in source.graph.initializer}
    nodes, inputs, todo = [], set(), [wanted]
    while todo:
        name = todo.pop()
        if name in known:
            inputs.add(name)
        elif name and name not in stored and producers[name] not in nodes:
            nodes.append(producers[name])
            todo += producers[name].input
    nodes.sort(key=list(source.graph.node).index)
    ends = [value(name, FLOAT, known[name].shape) for name in sorted(inputs)], [value(wanted, FLOAT, None)]
    part = helper.make_graph(nodes, "part", *ends, source.graph.initializer)
    return helper.make_model(part, opset_imports=source.opset_import, ir_version=source.ir_version)


def _as_run(path, target):
    """The graph that onnxruntime makes of a file, weights included; channels are not blocked, so that names stay."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"], disabled_optimizers=["NchwcTransformer"])
    return onnx.load(target)


def _unoptimized(model, feed, names):
    """{name: array} of the tensors `names` of the ModelProto `model`, run node by node."""
    if not set(names) - feed.keys():
        return feed
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in feed)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(shown.SerializeToString(), options, ["CPUExecutionProvider"])
    wanted = [value.name for value in session.get_outputs()]
    given = {value.name: feed[value.name] for value in session.get_inputs()}
    return feed | dict(zip(wanted, session.run(wanted, given), strict=True))
