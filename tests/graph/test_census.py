from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qlab import graph

FLOAT = TensorProto.FLOAT
MICROSOFT = "com.microsoft"


def save(path, nodes, weights, inputs=("x",), kind=FLOAT, result=FLOAT):
    """A model from `nodes` over inputs [n, 16], with the output y."""
    body = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, kind, ["n", 16]) for name in inputs],
        [helper.make_tensor_value_info("y", result, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(body, opset_imports=opsets, ir_version=8), path)
    return path


def dynamic_product(path):
    """A matrix product as onnxruntime's dynamic quantization writes it."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["q", "w", "zero"], ["product"]),
        helper.make_node("Cast", ["product"], ["number"], to=FLOAT),
        helper.make_node("Mul", ["scale", "w_scale"], ["scales"]),
        helper.make_node("Mul", ["number", "scales"], ["y"]),
    ]
    return save(path, nodes, {"w": np.ones((16, 16), np.int8), "w_scale": np.float32(0.1)})


def test_a_file_is_counted_as_it_is(tmp_path):
    census = graph.census(dynamic_product(tmp_path / "m.onnx"), optimized=False)
    assert census.integer == Counter({("", "MatMulInteger"): 1})
    assert census.float == Counter({("", "Mul"): 2})
    assert census.boundary == Counter({("", "DynamicQuantizeLinear"): 1, ("", "Cast"): 1})


def test_the_optimized_graph_shows_what_was_fused(tmp_path):
    census = graph.census(dynamic_product(tmp_path / "m.onnx"))
    assert census.integer == Counter({("com.microsoft", "DynamicQuantizeMatMul"): 1})
    assert not census.float
    assert not census.boundary


def test_a_node_that_moves_codes_is_an_integer_node_and_one_that_moves_floats_is_not(tmp_path):
    codes = graph.census(
        save(tmp_path / "a.onnx", [helper.make_node("Transpose", ["x"], ["y"])], {}, kind=2, result=2), optimized=False
    )
    floats = graph.census(save(tmp_path / "b.onnx", [helper.make_node("Transpose", ["x"], ["y"])], {}), optimized=False)
    assert codes.integer == floats.float == Counter({("", "Transpose"): 1})


def test_what_moves_the_codes_of_onnxruntimes_own_operators_is_an_integer_node(tmp_path):
    """ONNX's inference does not know their types: the optimized graph leaves the tensors behind them open."""
    quantization = ["s", "z"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *quantization], ["q"]),
        helper.make_node(
            "QLinearAdd", ["q", *quantization, "q", *quantization, *quantization], ["a"], domain=MICROSOFT
        ),
        helper.make_node("Transpose", ["a"], ["t"]),
        helper.make_node("Reshape", ["t", "shape"], ["r"]),
        helper.make_node("DequantizeLinear", ["r", *quantization], ["y"]),
    ]
    weights = {"s": np.float32(0.1), "z": np.uint8(3), "shape": np.array([-1, 4])}
    census = graph.census(save(tmp_path / "m.onnx", nodes, weights), optimized=False)
    assert census.integer == Counter({(MICROSOFT, "QLinearAdd"): 1, ("", "Transpose"): 1, ("", "Reshape"): 1})
    assert not census.float


def test_shapes_and_indices_are_neither(tmp_path):
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Add", ["shape", "one"], ["more"]),
        helper.make_node("Tile", ["x", "more"], ["y"]),
    ]
    census = graph.census(save(tmp_path / "m.onnx", nodes, {"one": np.array(1)}), optimized=False)
    assert census.other == Counter({("", "Shape"): 1, ("", "Add"): 1})
    assert census.float == Counter({("", "Tile"): 1})


@pytest.mark.parametrize(("level", "kind"), [(0, "float"), (4, "integer")])
def test_weight_only_products_are_integer_where_they_may_quantize_their_activations(level, kind):
    node = helper.make_node("MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft", accuracy_level=level)
    assert graph.count(onnx.ModelProto(graph=helper.make_graph([node], "g", [], []))).__dict__[kind].total() == 1


def test_nodes_inside_branches_are_counted(tmp_path):
    def branch(name):
        return helper.make_graph(
            [helper.make_node("Relu", ["x"], [name])], name, [], [helper.make_tensor_value_info(name, FLOAT, None)]
        )

    nodes = [
        helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
        helper.make_node("Cast", ["top"], ["flag"], to=TensorProto.BOOL),
        helper.make_node("If", ["flag"], ["y"], then_branch=branch("yes"), else_branch=branch("no")),
    ]
    census = graph.census(save(tmp_path / "m.onnx", nodes, {}), optimized=False)
    assert census.float["", "Relu"] == 2
    assert census.other == Counter({("", "If"): 1})


def test_a_model_that_onnxruntime_refuses_is_named(tmp_path):
    path = save(tmp_path / "m.onnx", [helper.make_node("NoSuchOperator", ["x"], ["y"])], {})
    with pytest.raises(ValueError, match=r"m\.onnx: onnxruntime cannot open it"):
        graph.census(path)


def test_a_census_prints_one_line_a_kind(tmp_path):
    text = repr(graph.census(dynamic_product(tmp_path / "m.onnx"), optimized=False))
    assert text.splitlines() == [
        "integer      1: 1 MatMulInteger",
        "float        2: 2 Mul",
        "boundary     2: 1 DynamicQuantizeLinear, 1 Cast",
    ]


def test_counting_leaves_nothing_beside_the_model(tmp_path):
    path = dynamic_product(tmp_path / "m.onnx")
    graph.census(path)
    assert list(tmp_path.iterdir()) == [path]
