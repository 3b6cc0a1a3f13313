"""A model's size counts every file that it needs."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qlab.graph.model import opened
from tests.builders.linear import INPUT, WIDTH, linear, save, weights


def bytes_of(*paths):
    return sum(Path(path).stat().st_size for path in paths) / 1e6


def test_a_model_in_one_file_has_that_files_size(tmp_path):
    path = linear(tmp_path / "one.onnx", weights())
    assert opened(path).size_mb == bytes_of(path) > WIDTH * WIDTH * 4 / 1e6


def test_external_data_is_counted_each_file_once(tmp_path):
    external = {"save_as_external_data": True, "size_threshold": 0}
    shared = linear(tmp_path / "shared.onnx", weights(), ballast=64, location="weights.bin", **external)
    apart = linear(tmp_path / "apart.onnx", weights(), ballast=64, all_tensors_to_one_file=False, **external)
    assert opened(shared).size_mb == bytes_of(shared, tmp_path / "weights.bin")
    assert opened(apart).size_mb == bytes_of(apart, *(tmp_path / name for name in ("w", "in", "zeros")))


@pytest.mark.parametrize("keep_in", ["initializer", "attribute"])
def test_external_data_inside_a_branch_is_counted(tmp_path, keep_in):
    w = numpy_helper.from_array(weights(), "w")
    out = helper.make_tensor_value_info("y_branch", TensorProto.FLOAT, ["rows", WIDTH])
    product = helper.make_node("MatMul", ["x", "w"], ["y_branch"])
    if keep_in == "initializer":
        branch = helper.make_graph([product], "branch", [], [out], [w])
    else:
        branch = helper.make_graph([helper.make_node("Constant", [], ["w"], value=w), product], "branch", [], [out])
    nodes = [helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)]
    path = save(
        tmp_path / "branch.onnx",
        nodes,
        {"y": (TensorProto.FLOAT, ["rows", WIDTH])},
        initializers={"yes": np.array(True)},
        inputs=[INPUT],
    )
    model = onnx.load(path)
    onnx.save(
        model,
        path,
        save_as_external_data=True,
        size_threshold=0,
        location="branch.bin",
        convert_attribute=True,
    )
    assert opened(path).size_mb == bytes_of(path, tmp_path / "branch.bin") > 2 * WIDTH * WIDTH * 4 / 1e6
