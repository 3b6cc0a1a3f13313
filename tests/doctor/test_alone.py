"""A quantized model without the fp32 one that it was made from: what can be said about it alone."""

from onnxruntime.quantization import QuantFormat, quantize_static

from qlab import calibration, recipes
from tests.builders import faults
from tests.doctor.conftest import words
from tests.doctor.test_request import refused


def test_a_quantized_model_alone_is_diagnosed_against_its_own_floats(doctor, tmp_path, measured):
    sittings = measured()
    model = faults.weight_only(faults.residual(tmp_path), tmp_path)
    code, out, _ = doctor(model)
    text = words(out)
    assert code == 0
    assert sittings == [["fp32", "int8"]]
    assert "weight_only.onnx is 2.00 times as fast as weight_only.float.onnx" in text
    assert "No fp32 model was given, so one was made from the quantized one" in text
    assert f"python -m qlab doctor {model} on" in text
    assert {entry.name for entry in tmp_path.iterdir()} == {"cache", "residual.onnx", "weight_only.onnx"}


def test_calls_do_not_name_a_folder_that_is_gone(doctor, tmp_path):
    model = faults.by_hand(faults.residual(tmp_path), tmp_path, "uint8")
    code, out, _ = doctor(model, "--rounds", 2)
    assert code == 1
    text = words(out)
    assert "conv-integer" in text
    assert "recipes.static('dynamic-uint8.float.onnx', 'dynamic-uint8.float.static.onnx', reader)" in text


def test_where_there_is_no_way_back_to_floats_the_nodes_are_counted(doctor, tmp_path):
    model, feed = faults.residual(tmp_path), faults.image_feed()
    prepared, cache = recipes.prepare(model, tmp_path / "prepared.onnx"), tmp_path / "ranges.json"
    calibration.collect(prepared, feed).save(cache)
    path = tmp_path / "q.onnx"
    quantize_static(prepared, path, None, calibration_cache_path=cache, quant_format=QuantFormat.QOperator)
    answer = doctor(path)
    refused(answer, f"{path} is already quantized, and there is no way back", "give the fp32 model", "on integers (")
