"""A quantized model back in floats: the weights that its codes stand for, and activations that nothing rounds."""

import onnx
import pytest
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from qlab import calibration, graph, measure, recipes
from tests.builders import blocks, faults


def decibels(reference, path, feed):
    return measure.compare({"one": reference, "other": path}, feed, rounds=1).rows[1].sqnr_db


def floats_of(path):
    model = graph.in_floats(onnx.load(path))
    assert graph.quantized_by(model) == []
    onnx.save(model, path.with_name("floats.onnx"))
    return path.with_name("floats.onnx")


@pytest.mark.parametrize("recipe", ["dynamic", "static", "hybrid"])
@pytest.mark.parametrize("build", ["layers", "residual", "mixed", "conformer_block", "branches"])
def test_what_is_left_of_the_error_is_that_of_the_weights(tmp_path, recipe, build):
    make = getattr(faults, build, None) or getattr(blocks, build)
    feed = {
        "layers": faults.layers_feed, "residual": faults.image_feed, "branches": blocks.branches_feed,
        "mixed": lambda: faults.image_feed(2 * faults.CHANNELS), "conformer_block": blocks.conformer_feed,
    }[build]()  # fmt: skip
    model = make(tmp_path)
    quantized = getattr(recipes, recipe)(model, tmp_path / "int8.onnx", *(() if recipe == "dynamic" else (feed,)))
    if graph.quantized_by(onnx.load(quantized.path)):
        found = decibels(model, floats_of(quantized.path), feed)
        assert found > decibels(model, quantized.path, feed) + 1 or found > 100


@pytest.mark.parametrize(("bits", "symmetric"), [(4, True), (4, False), (8, True), (8, False)])
def test_packed_weights_of_whole_blocks_are_unpacked(tmp_path, bits, symmetric):
    model, feed = faults.layers(tmp_path), faults.layers_feed()
    quantizer = MatMulNBitsQuantizer(onnx.load(model), block_size=128, is_symmetric=symmetric, bits=bits)
    quantizer.process()
    quantizer.model.save_model_to_file(str(tmp_path / "packed.onnx"))
    assert decibels(tmp_path / "packed.onnx", floats_of(tmp_path / "packed.onnx"), feed) > 90


def test_weights_behind_a_dequantize_linear_are_folded(tmp_path):
    model, feed = faults.residual(tmp_path), faults.image_feed()
    quantized = faults.weight_only(model, tmp_path)
    assert decibels(quantized, floats_of(quantized), feed) > 100


def test_operators_without_a_way_back_are_named(tmp_path):
    model, feed = faults.residual(tmp_path), faults.image_feed()
    prepared, cache = recipes.prepare(model, tmp_path / "prepared.onnx"), tmp_path / "ranges.json"
    calibration.collect(prepared, feed).save(cache)
    settings = {"quant_format": QuantFormat.QOperator, "weight_type": QuantType.QInt8}
    quantize_static(prepared, tmp_path / "q.onnx", None, calibration_cache_path=cache, **settings)
    with pytest.raises(ValueError, match="there is no way back to floats from QLinearAdd, QLinearConv"):
        graph.in_floats(onnx.load(tmp_path / "q.onnx"))
