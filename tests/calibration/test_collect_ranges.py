"""Ranges: a mapping that merges, and a file that onnxruntime's quantizer takes its scales from."""

import functools
import resource

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_static

from qlab import calibration
from qlab.calibration import Ranges
from qlab.calibration.observers import Joins
from qlab.numerics.affine import qparams_from_range
from tests.builders.watched import Reader, feeds, linear

METHODS = ["minmax", "moving_average", "percentile", "mse", "entropy"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return linear(tmp_path_factory.mktemp("ranges") / "linear.onnx")


def activation_qparams(path):
    """{tensor name: (scale, zero_point)} of every QuantizeLinear in a quantized model."""
    graph = onnx.load(path).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return {
        node.input[0]: (stored[node.input[1]], stored[node.input[2]])
        for node in graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] not in stored
    }


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("dtype", "symmetric", "activation_type"),
    [("uint8", False, QuantType.QUInt8), ("int8", True, QuantType.QInt8)],
)
def test_quantize_static_takes_its_scales_from_the_saved_ranges(
    tmp_path, model, method, dtype, symmetric, activation_type
):
    ranges = calibration.collect(model, feeds(6, rows=[4, 30]), method=method, dtype=dtype, symmetric=symmetric)
    cache = ranges.save(tmp_path / "ranges.json")
    quantize_static(
        model,
        tmp_path / "int8.onnx",
        None,
        calibration_cache_path=cache,
        activation_type=activation_type,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul"],
        extra_options={"ActivationSymmetric": symmetric},
    )
    found = activation_qparams(tmp_path / "int8.onnx")
    assert set(found) == {"x", "h"}
    for name, (scale, zero_point) in found.items():
        expected = qparams_from_range(*ranges[name], dtype, symmetric=symmetric)
        # onnxruntime divides in float64 and rounds the scale once; qlab computes in float32.
        np.testing.assert_array_max_ulp(scale, expected.scale, 1)
        assert (zero_point, zero_point.dtype) == (expected.zero_point, expected.zero_point.dtype)


def test_saved_min_max_ranges_give_the_model_that_onnxruntimes_own_calibration_gives(tmp_path, model):
    given = feeds(4, spread=3)
    cache = calibration.collect(model, given).save(tmp_path / "ranges.json")
    quantize_static(model, tmp_path / "ours.onnx", None, calibration_cache_path=cache)
    quantize_static(model, tmp_path / "theirs.onnx", Reader(given))
    ours, theirs = (activation_qparams(tmp_path / name) for name in ("ours.onnx", "theirs.onnx"))
    assert ours == theirs


def test_half_precision_ranges_are_saved_in_half_precision(tmp_path):
    ranges = Ranges({"x": calibration.MinMaxObserver()}, {"x": np.float16}, {}, Joins(onnx.ModelProto()))
    ranges.observe("x", np.float16([-1, 2]))
    loaded = load(ranges.save(tmp_path / "ranges.json"))["x"]
    assert (loaded.lowest.dtype, float(loaded.lowest), float(loaded.highest)) == (np.float16, -1, 2)


def load(path):
    from onnxruntime.quantization.calibrate import load_tensors_data

    return load_tensors_data(path)


def test_every_range_survives_the_file_to_the_last_bit(tmp_path, model):
    ranges = calibration.collect(model, feeds(3))
    loaded = load(ranges.save(tmp_path / "deep" / "ranges.json"))
    assert {name: loaded[name].range_value for name in loaded} == ranges


def test_a_full_disk_leaves_the_old_file_and_no_half_one(tmp_path, model):
    ranges = calibration.collect(model, feeds(3))
    path = tmp_path / "ranges.json"
    path.write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            ranges.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("ranges.json", "old")]


@pytest.mark.parametrize("method", METHODS)
def test_merged_shards_are_the_ranges_of_one_pass(model, method):
    given = feeds(9, rows=[2, 25, 7])
    shards = [calibration.collect(model, part, method=method) for part in (given[:4], given[4:5], given[5:])]
    merged, whole = functools.reduce(Ranges.merge, shards), calibration.collect(model, given, method=method)
    assert merged.feeds == whole.feeds == 9
    assert list(merged) == list(whole)
    for name in whole:
        np.testing.assert_allclose(merged[name], whole[name], rtol=0 if method != "moving_average" else 1e-6)


def test_ranges_that_were_read_once_still_take_in_more(model):
    first, *more = feeds(3, spread=1.0)
    ranges = calibration.collect(model, first)
    assert ranges["x"][1] == first["x"].max()
    ranges.observe("x", np.float32([70.0]))
    assert ranges["x"][1] == 70
    high = {"x": more[0]["x"] + 90}
    assert ranges.merge(calibration.collect(model, high))["x"][1] == high["x"].max()


def test_ranges_of_different_models_or_methods_do_not_merge(tmp_path, model):
    ranges = calibration.collect(model, feeds(1))
    other = Ranges({"x": calibration.MinMaxObserver()}, {"x": np.float32}, {}, Joins(onnx.ModelProto()))
    with pytest.raises(ValueError, match="different models: 'h' and 1 more"):
        ranges.merge(other)
    with pytest.raises(ValueError, match="cannot take in PercentileObserver"):
        ranges.merge(calibration.collect(model, feeds(1), method="percentile"))


def test_ranges_are_a_mapping_that_explains_itself(model):
    ranges = calibration.collect(model, feeds(2), method="percentile", percentile=99.9)
    assert dict(ranges) == ranges
    assert "x" in ranges
    assert ranges.get("w") is None
    with pytest.raises(KeyError, match="no range of tensor 'w': the model has no such tensor, or it is a weight"):
        ranges["w"]
    assert repr(ranges) == (
        "Ranges of 3 tensors from 2 feeds, "
        "PercentileObserver(dtype='uint8', symmetric=False, bins=2048, percentile=99.9)"
    )
