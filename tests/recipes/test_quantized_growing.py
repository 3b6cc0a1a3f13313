"""A file that grew says so, and why."""

import numpy as np
import onnx
import pytest

from qlab import recipes
from tests.builders import faults
from tests.builders.blocks import BOOL, FLOAT, INT64, node, noise, save, value, weights

FLOAT16 = onnx.TensorProto.FLOAT16


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
    ends = [value("x", FLOAT, [256, 256])], [value("y", FLOAT, [256, 256])]
    model = save(tmp_path / "m.onnx", nodes, *ends, {"w": weights(256, 256)})
    quantized = recipes.static(model, tmp_path / "int8.onnx", {"x": noise(256, 256)}, exclude=("add",))
    assert "'w' stays in it as floats beside its codes, for what else reads it" in note(quantized)


def test_a_model_with_little_to_save_says_that(tmp_path):
    nodes = [node("MatMul", [f"x{k}", f"w{k}"], [f"x{k + 1}"]) for k in range(60)]
    ends = [value("x0", FLOAT, [8, 4])], [value("x60", FLOAT, [8, 4])]
    model = save(tmp_path / "m.onnx", nodes, *ends, {f"w{k}": weights(4, 4, seed=k) for k in range(60)})
    quantized = recipes.dynamic(model, tmp_path / "int8.onnx")
    assert "the nodes, scales and shapes that were added take more than codes save" in note(quantized)


def test_float16_that_became_float32_is_named(tmp_path):
    nodes = [node("MatMul", ["x", "w"], ["m"]), node("Add", ["m", "table"], ["y"])]
    stored = {"w": weights(64, 8).astype(np.float16), "table": noise(8000, 8).astype(np.float16)}
    ends = [value("x", FLOAT16, [8000, 64])], [value("y", FLOAT16, [8000, 8])]
    quantized = recipes.dynamic(save(tmp_path / "m.onnx", nodes, *ends, stored), tmp_path / "int8.onnx")
    assert "pre-processing stores as float32 what was of 16 bits" in note(quantized)


def test_a_file_that_shrank_has_no_such_note(tmp_path):
    quantized = recipes.static(faults.layers(tmp_path), tmp_path / "int8.onnx", {"x": noise(8, faults.WIDTH)})
    assert quantized.size_mb < quantized.original_mb
    assert note(quantized) == ""
