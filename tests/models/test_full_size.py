"""The full-size skeletons: filled alike everywhere, alive in every layer, cached, and marked as random."""

import hashlib
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from qlab import files, models
from qlab.models import full_size as filled
from qlab.models import full_size as skeletons


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow if "conformer" in name else ()) for name in models.FULL_SIZE],
)
def full(request):
    return request.param, onnx.load(models.path(request.param))


# Made once; the same on every platform, since only integers and one float32 product are involved.
TENSOR_BYTES = {"conformer_full": "96f996aae97f7c88", "face_unet_full": "e9a783b9ace4f994"}


def test_the_same_seed_gives_the_same_bytes_on_every_platform(full):
    name, model = full
    digest = hashlib.sha256()
    for tensor in model.graph.initializer:
        digest.update(numpy_helper.to_array(tensor).tobytes())
    assert digest.hexdigest()[:16] == TENSOR_BYTES[name]


def test_another_seed_gives_other_weights():
    tensors = []
    for seed in (1, 2):
        model = onnx.load(files.checked("models/face_unet_full.onnx"))
        skeletons.fill(model, seed)
        tensors.append(numpy_helper.to_array(model.graph.initializer[0]))
    assert not np.array_equal(*tensors)


def test_sizes_are_those_of_the_public_models(full):
    name, model = full
    parameters = sum(np.prod(tensor.dims) for tensor in model.graph.initializer)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    groups = Counter(helper.get_node_attr_value(node, "group") > 1 for node in convolutions)
    if name == "conformer_full":
        assert 33e6 < parameters < 37e6
        assert [output.type.tensor_type.shape.dim[-1].dim_value for output in model.graph.output][2] == 4233
    else:
        assert 12e6 < parameters < 14e6
        assert (len(convolutions), groups[True]) == (81, 26)


@pytest.mark.slow
def test_every_activation_is_finite_and_none_dies_or_saturates(full):
    name, model = full
    inferred = onnx.shape_inference.infer_shapes(model)
    known = {value.name: value for value in inferred.graph.value_info}
    layers = [node.output[0] for node in model.graph.node if node.op_type in {"Conv", "MatMul", "Gemm", "Sigmoid"}]
    model.graph.output.extend(known[output] for output in layers if output in known)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = dict(
        zip((o.name for o in session.get_outputs()), session.run(None, models.example_feed(name)), strict=True)
    )
    makers = {node.output[0]: node.op_type for node in model.graph.node}
    assert len(values) > 80
    for output, value in values.items():
        assert np.isfinite(value).all(), output
        if makers.get(output) == "Sigmoid":
            assert np.mean((value < 1e-3) | (value > 1 - 1e-3)) < 0.01, output
        elif output in layers:
            assert 0.05 < value.std() < 20, output


def test_a_filled_model_says_that_its_weights_are_random(full):
    _, model = full
    assert {entry.key: entry.value for entry in model.metadata_props}["qlab.weights"] == "random"


@pytest.mark.slow
def test_filling_happens_once_and_a_damaged_cache_is_mended(tmp_path, monkeypatch):
    monkeypatch.setenv("QLAB_CACHE", str(tmp_path))
    calls = []
    fill = skeletons.fill
    monkeypatch.setattr(skeletons, "fill", lambda *arguments: (calls.append(1), fill(*arguments)))
    first = models.path("face_unet_full")
    content = first.read_bytes()
    assert models.path("face_unet_full") == first
    assert len(calls) == 1
    first.write_bytes(content[:1000])
    assert models.path("face_unet_full").read_bytes() == content
    assert len(calls) == 2
    assert not list(tmp_path.glob("*.part"))


def test_a_weight_that_no_node_reads_is_refused():
    graph = helper.make_graph([], "empty", [], [], [TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4])])
    with pytest.raises(ValueError, match="no node reads the initializer 'w'"):
        skeletons.fill(helper.make_model(graph), 0)


def test_an_example_feed_has_the_length_asked_for():
    assert models.example_feed("conformer_full", frames=64)["speech"].shape == (1, 64, 80)
    with pytest.raises(ValueError, match="conformer_full"):
        filled.example_feed("digits")
