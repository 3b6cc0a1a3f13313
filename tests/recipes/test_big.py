"""A model of more than 2 GB, which no single file can hold: `make test-big`, with 12 GB of memory and of disk."""

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from qlab import graph, recipes
from qlab.runtime import open_session
from tests.builders import blocks

pytestmark = pytest.mark.skipif(os.environ.get("QLAB_BIG") != "1", reason="gigabytes: `make test-big` runs it")
WIDTH, LAYERS = 8192, 9  # 9 * 8192**2 * 4 = 2.4 GB


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("big")
    rng = np.random.default_rng(0)
    tensors, offset = [], 0
    with (folder / "big.data").open("wb") as data:
        for layer in range(LAYERS):
            weight = rng.standard_normal((WIDTH, WIDTH), np.float32) / np.float32(WIDTH**0.5)
            data.write(weight.tobytes())
            tensor = TensorProto(name=f"w{layer}", data_type=TensorProto.FLOAT, dims=weight.shape)
            tensor.data_location = TensorProto.EXTERNAL
            for key, text in {"location": "big.data", "offset": str(offset), "length": str(weight.nbytes)}.items():
                tensor.external_data.add(key=key, value=text)
            tensors.append(tensor)
            offset += weight.nbytes
    names = ["x", *(f"h{layer}" for layer in range(LAYERS - 1)), "y"]
    nodes = [blocks.node("MatMul", [names[i], f"w{i}"], [names[i + 1]], f"layer{i}") for i in range(LAYERS)]
    ends = [blocks.value(name, blocks.FLOAT, ["n", WIDTH]) for name in "xy"]
    body = helper.make_graph(nodes, "big", ends[:1], ends[1:], tensors)
    proto = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "big.onnx").write_bytes(proto.SerializeToString())
    return folder / "big.onnx"


@pytest.mark.parametrize("recipe", ["dynamic", "static", "hybrid"])
def test_a_model_of_more_than_2_gb_is_quantized(recipe, model, tmp_path, card, quality):
    feeds = [{"x": blocks.noise(4, WIDTH, seed=seed)} for seed in range(4)]
    reader = () if recipe == "dynamic" else (feeds,)
    quantized = getattr(recipes, recipe)(model, tmp_path / "int8.onnx", *reader, card=card)
    assert quality(model, quantized.path, feeds[0]) > 25
    assert quantized.original_mb > 2147
    assert quantized.size_mb < quantized.original_mb / 3.9
    assert not quantized.stayed_float
    assert [path.name for path in tmp_path.iterdir()] == ["int8.onnx"]


def test_a_prepared_model_of_more_than_2_gb_keeps_its_weights_beside_it(model, tmp_path):
    prepared = recipes.prepare(model, tmp_path / "prepared.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prepared.onnx", "prepared.onnx.data"]
    feed = {"x": blocks.noise(2, WIDTH)}
    expected, found = (open_session(path).run(None, feed)[0] for path in (model, prepared))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert graph.census(prepared).float["", "MatMul"] == LAYERS
    assert not onnx.load(prepared, load_external_data=False).graph.initializer[0].raw_data
