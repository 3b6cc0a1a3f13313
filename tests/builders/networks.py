"""Models for the tests of diff and draw: written node by node, drawn at random, renamed, shuffled."""

import random
import sys
from collections import Counter
from graphlib import TopologicalSorter

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT
UNARY, BINARY = ("Relu", "Sigmoid", "Abs", "Neg"), ("Add", "Mul", "MatMul", "Sub")
node = helper.make_node


def model(nodes, inputs=("x",), outputs=("y",), constants=None, functions=()):
    """A ModelProto of square float matrices; what is neither an input nor made by a node is a constant of its own."""
    made = {name for one in nodes for name in one.output}
    read = dict.fromkeys(name for one in nodes for name in one.input)
    constants = {name: noise(name) for name in read if name and name not in made | set(inputs)} | (constants or {})
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, FLOAT, [8, 8]) for name in inputs],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    opsets += [helper.make_opsetid(function.domain, 1) for function in functions]
    return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=10)


def noise(name):
    """A matrix that belongs to a name."""
    return np.random.default_rng(list(name.encode())).standard_normal((8, 8), np.float32)


def chain(*steps, names=True):
    """A model in which each step reads the one before; ("MatMul", "w") has a constant."""
    nodes, last = [], "x"
    for number, step in enumerate(steps):
        op_type, *rest = (step,) if isinstance(step, str) else step
        out = "y" if number == len(steps) - 1 else f"t{number}"
        nodes.append(node(op_type, [last, *rest], [out], f"{op_type}_{number}" if names else ""))
        last = out
    return model(nodes)


@st.composite
def networks(draw, most=40, least=1):
    """A random graph of one or two inputs, in which every node is read or is an output."""
    seed, count = draw(st.integers(0, 10_000)), draw(st.integers(least, most))
    reach = draw(st.sampled_from([1, 3, 10, most]))  # how far back a node reads: from a chain to a tangle
    rng = random.Random(seed)
    nodes, tensors = [], ["x", "z"]
    for number in range(count):
        two = rng.random() < 0.5
        inputs = [rng.choice(tensors[-reach:]) for _ in range(1 + two)]
        if rng.random() < 0.2:
            inputs = [inputs[0], f"w{number}"]
            two = True
        nodes.append(node(rng.choice(BINARY if two else UNARY), inputs, [f"t{number}"], f"n{number}"))
        tensors.append(f"t{number}")
    read = {name for one in nodes for name in one.input}
    return model(nodes, ("x", "z"), [f"t{number}" for number in range(count) if f"t{number}" not in read])


def renamed(source, seed=0):
    """The same graph with other names for all nodes and tensors, its nodes and weights in another valid order."""
    result, rng, names = onnx.ModelProto(), random.Random(seed), {}
    result.CopyFrom(source)
    graph = result.graph
    for one in graph.node:
        one.name = f"op{rng.randrange(10**9)}"
        for field in (one.input, one.output):
            field[:] = [name and names.setdefault(name, f"v{rng.randrange(10**9)}") for name in field]
    for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        value.name = names.setdefault(value.name, f"v{rng.randrange(10**9)}")
    for field in (graph.node, graph.initializer):
        items = list(field)
        del field[:]
        rng.shuffle(items)
        field.extend(items)
    _sort(graph)
    return result


def _sort(graph):
    """Put the nodes into an order in which each follows its sources."""
    nodes = list(graph.node)
    made = {name: number for number, one in enumerate(nodes) for name in one.output}
    sources = {number: [made[name] for name in one.input if name in made] for number, one in enumerate(nodes)}
    del graph.node[:]
    graph.node.extend(nodes[number] for number in TopologicalSorter(sources).static_order())


def with_qdq(source, tensors):
    """`source` with a Q/DQ pair behind each of `tensors`, which is renamed as onnxruntime's quantizer does it."""
    result = onnx.ModelProto()
    result.CopyFrom(source)
    graph = result.graph
    for name in tensors:
        for one in graph.node:
            one.input[:] = [f"{name}_DequantizeLinear_Output" if read == name else read for read in one.input]
        codes = [f"{name}_QuantizeLinear_Output"]
        scale = ["scale", "zero"]
        graph.node.append(node("QuantizeLinear", [name, *scale], codes, f"{name}_QuantizeLinear"))
        real = [f"{name}_DequantizeLinear_Output"]
        graph.node.append(node("DequantizeLinear", [*codes, *scale], real, f"{name}_DequantizeLinear"))
    graph.initializer.append(numpy_helper.from_array(np.float32(0.0157), "scale"))
    graph.initializer.append(numpy_helper.from_array(np.uint8(64), "zero"))
    _sort(graph)
    return result


def dynamic(source):
    """`source` with every MatMul by a constant written as onnxruntime's dynamic quantization writes it."""
    result = onnx.ModelProto()
    result.CopyFrom(source)
    graph = result.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    products = [one for one in graph.node if one.op_type == "MatMul" and one.input[1] in stored]
    for one in products:
        (x, w), y, name = one.input, one.output[0], one.name
        graph.node.remove(one)
        quantized = [f"{x}_{name}_quantized", f"{x}_{name}_scale", f"{x}_{name}_zero_point"]
        graph.node.extend(
            [
                node("DynamicQuantizeLinear", [x], quantized, f"{x}_{name}_QuantizeLinear"),
                node(
                    "MatMulInteger",
                    [quantized[0], f"{w}_quantized", quantized[2], f"{w}_zero_point"],
                    [f"{y}_output_quantized"],
                    f"{name}_quant",
                ),
                node("Cast", [f"{y}_output_quantized"], [f"{y}_cast"], f"{name}_cast", to=FLOAT),
                node("Mul", [quantized[1], f"{w}_scale"], [f"{y}_scales"], f"{name}_quant_scales_mul"),
                node("Mul", [f"{y}_cast", f"{y}_scales"], [y], f"{name}_quant_output_scale_mul"),
            ]
        )
        graph.initializer.extend(
            [
                numpy_helper.from_array(np.ones(stored[w].dims, np.int8), f"{w}_quantized"),
                numpy_helper.from_array(np.int8(0), f"{w}_zero_point"),
                numpy_helper.from_array(np.float32(0.02), f"{w}_scale"),
            ]
        )
    _sort(graph)
    return result


def calls_made(function):
    """How many functions, of Python and of C, run until `function` is done: work that no other program slows down."""
    made = Counter()
    sys.setprofile(lambda frame, event, argument: made.update([event]))
    try:
        function()
    finally:
        sys.setprofile(None)
    return made["call"] + made["c_call"]
