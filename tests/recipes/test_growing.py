"""A file that grew says so, and why."""

import numpy as np
import onnx
import pytest

from qlab import recipes
from tests.measure import faults
from tests.recipes.builders import BOOL, FLOAT, INT64, node, noise, save, value, weights


def note(quantized):
    return next((one for one in quantized.notes if one.startswith("the file grew from ")), "")


def tied(folder):
    """An embedding that is looked up, and multiplied transposed, in both branches of an If."""
    branches = {}
    for name in ("then", "else"):
        nodes = [
            node("Gather", ["embed", "ids"], [f"{name}_e"], f"{name}/lookup"),
            node("Transpose", ["embed"], [f"{name}_t"], f"{name}/turn", perm=[1, 0]),
            node("MatMul", [f"{name}_e", f"{name}_t"], [f"{name}_y"], f"{name}/product"),
        ]
        branches[f"{name}_branch"] = onnx.helper.make_graph(nodes, name, [], [value(f"{name}_y", FLOAT, None)])
    nodes = [node("MatMul", ["x", "w"], ["m"], "main"), node("If", ["first"], ["z"], "if", **branches)]
    nodes.append(node("Add", ["m", "z"], ["y"], "add"))
    ends = [value("ids", INT64, [5]), value("first", BOOL, []), value("x", FLOAT, [5, 9])], [value("y", FLOAT, None)]
    return save(folder / "tied.onnx", nodes, *ends, {"embed": weights(900, 32), "w": weights(9, 900)})


@pytest.mark.parametrize("recipe", ["dynamic", "static"])
def test_a_table_that_is_stored_once_more_in_each_branch_is_named(tmp_path, recipe):
    reader = () if recipe == "dynamic" else ({"ids": np.arange(5), "first": np.array(True), "x": noise(5, 9)},)
    quantized = getattr(recipes, recipe)(tied(tmp_path), tmp_path / "int8.onnx", *reader)
    assert quantized.size_mb > quantized.original_mb
    assert "pre-processing stores 'embed' 3 times, once for each use of it" in note(quantized)


def test_a_constant_that_was_computed_is_named(tmp_path):
    nodes = [
        node("ConstantOfShape", ["shape"], ["table"]),
        node("Add", ["x", "table"], ["h"]),
        node("MatMul", ["h", "w"], ["y"]),
    ]
    ends = [value("x", FLOAT, [300, 64])], [value("y", FLOAT, [300, 8])]
    path = save(tmp_path / "m.onnx", nodes, *ends, {"shape": np.array([300, 64]), "w": weights(64, 8)})
    quantized = recipes.dynamic(path, tmp_path / "int8.onnx")
    assert "pre-processing stores 'table', which the model computes from constants" in note(quantized)


def test_a_weight_that_is_read_as_floats_too_is_named(tmp_path):
    nodes = [node("MatMul", ["x", "w"], ["m"]), node("Relu", ["m"], ["r"]), node("Add", ["r", "w"], ["y"], "add")]
    ends = [value("x", FLOAT, [64, 64])], [value("y", FLOAT, [64, 64])]
    model = save(tmp_path / "m.onnx", nodes, *ends, {"w": weights(64, 64)})
    quantized = recipes.static(model, tmp_path / "int8.onnx", {"x": noise(64, 64)}, exclude=("add",))
    assert "'w' stays in it as floats beside its codes, for what else reads it" in note(quantized)


def test_a_model_with_little_to_save_says_that(tmp_path):
    quantized = recipes.dynamic(faults.small(tmp_path), tmp_path / "int8.onnx")
    assert "the nodes, scales and shapes that were added take more than codes save" in note(quantized)


def test_a_file_that_shrank_has_no_such_note(tmp_path):
    quantized = recipes.static(faults.layers(tmp_path), tmp_path / "int8.onnx", {"x": noise(8, faults.WIDTH)})
    assert quantized.size_mb < quantized.original_mb
    assert note(quantized) == ""
