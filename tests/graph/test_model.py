"""A file opened once: what a Model keeps, and when it no longer stands for its file."""

import os

import numpy as np
import onnx
import pytest

from qlab import graph
from qlab.graph.network import Links, Network
from qlab.runtime import run
from tests.builders.blocks import FLOAT, node, save, value, weights


@pytest.fixture
def path(tmp_path):
    """x -> MatMul -> Relu -> y, and a Neg of the product that nobody reads."""
    nodes = [node("MatMul", ["x", "w"], ["p"]), node("Relu", ["p"], ["y"]), node("Neg", ["p"], ["n"])]
    inputs, outputs = [value("x", FLOAT, ["rows", 4])], [value("y", FLOAT, None)]
    return save(tmp_path / "model.onnx", nodes, inputs, outputs, {"w": weights(4, 4)})


def test_a_model_stands_for_its_path_and_is_loaded_once(path, monkeypatch):
    model = graph.opened(path)
    monkeypatch.setattr(onnx, "load", None)
    assert graph.opened(model) is model
    assert os.fspath(model) == str(path)
    assert model.operators == {"MatMul": 1, "Relu": 1, "Neg": 1}
    assert model.bytes == path.stat().st_size
    x = np.eye(4, dtype=np.float32)
    fused, plain = run(model.session(), {"x": x}), run(model.unoptimized(), {"x": x})
    np.testing.assert_allclose(fused[0], plain[0], rtol=1e-5)


def test_a_copy_may_be_changed(path):
    model = graph.opened(path)
    copied = model.copy(weights=True)
    del copied.graph.node[:]
    assert len(model.nodes) == 3


def test_weights_outside_the_file_are_counted_read_and_copied(path, tmp_path):
    apart = tmp_path / "apart" / "model.onnx"
    apart.parent.mkdir()
    onnx.save(onnx.load(path), apart, save_as_external_data=True, location="w.bin", size_threshold=0)
    model = graph.opened(apart)
    assert model.external == {"w.bin"}
    assert model.bytes == apart.stat().st_size + (apart.parent / "w.bin").stat().st_size
    (stored,) = model.proto.graph.initializer
    (whole,) = model.copy(weights=True).graph.initializer
    np.testing.assert_array_equal(model.array(stored), onnx.numpy_helper.to_array(whole))
    assert stored.data_location == onnx.TensorProto.EXTERNAL


def test_a_model_whose_file_has_changed_is_refused(path):
    model = graph.opened(path)
    path.write_bytes(path.read_bytes() + b"\0\0")
    assert not model.is_current
    with pytest.raises(ValueError, match=r"has changed since it was opened; open it again"):
        graph.opened(model)
    path.unlink()
    with pytest.raises(ValueError, match=r"has changed"):
        graph.opened(model)


def test_links_know_who_computes_and_who_reads(path):
    product, relu, negative = graph.load(path).graph.node
    links = Links([product, relu, negative], ends=["y"])
    assert links.makers(relu) == [product]
    assert links.maker(product) is None
    assert links.behind(product) == [relu, negative]
    assert links.sole_reader("p") is None
    assert links.sole_reader("x") is product
    assert links.takers("p", "Relu") == [relu]
    assert links.moving(["p"]) == {"p", "y", "n"}
    assert links.layer("y", {"p"}) == [product, relu]
    assert Links([product, relu], ends=["p"]).sole_reader("p") is None


def test_what_a_body_reads_is_read_by_the_node_that_holds_it(tmp_path):
    branch = onnx.helper.make_graph([node("Relu", ["p"], ["r"])], "branch", [], [value("r", FLOAT, None)])
    choice = onnx.helper.make_node("If", ["c"], ["y"], "choice", then_branch=branch, else_branch=branch)
    network = Network(onnx.helper.make_model(onnx.helper.make_graph(
        [node("Neg", ["x"], ["p"]), choice], "g", [value("x", FLOAT, [1]), value("c", onnx.TensorProto.BOOL, [])],
        [value("y", FLOAT, [1])],
    )))  # fmt: skip
    assert [one.name for one in network.readers["p"]] == ["choice"]
    assert network.inside == {"r"}
    assert network.moving(["x"]) == {"x", "p", "y"}
