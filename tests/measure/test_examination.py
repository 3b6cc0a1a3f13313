"""What ran is found again in the files, whatever it was called meanwhile."""

import pytest
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

from qlab import calibration, graph, recipes
from qlab.measure.diagnosis.examination import Names
from tests.builders import blocks, faults
from tests.builders.blocks import node


def names_of_products(model, quantized):
    """The names in the fp32 file of all integer products and float products that run."""
    names = Names(graph.opened(model), graph.opened(quantized))
    ran = [one for one in graph.nodes(graph.optimized(quantized)) if "Conv" in one.op_type or "MatMul" in one.op_type]
    return [names.in_files(one) for one in ran]


@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_static_convolutions_are_found_again(tmp_path, kind):
    model = faults.residual(tmp_path)
    quantized = faults.static_by_hand(model, tmp_path, faults.image_feed(), kind, kind)
    assert sorted(names_of_products(model, quantized)) == ["conv0", "conv1", "conv2", "conv3", "stem"]


def test_dynamic_products_are_found_again(tmp_path):
    model = faults.layers(tmp_path)
    assert names_of_products(model, faults.by_hand(model, tmp_path, "int8")) == ["layer0", "layer1", "layer2"]


def test_a_gemm_that_became_a_product_is_found_again(tmp_path):
    model = blocks.linear(tmp_path)
    gemms = [one.name for one in graph.nodes(graph.load(model)) if one.op_type in ("Gemm", "MatMul")]
    assert names_of_products(model, recipes.dynamic(model, tmp_path / "int8.onnx").path) == gemms


def test_the_operator_format_is_found_again(tmp_path):
    model, cache, path = faults.residual(tmp_path), tmp_path / "ranges.json", tmp_path / "operators.onnx"
    calibration.collect(model, faults.image_feed()).save(cache)
    quantize_static(
        model, path, None, calibration_cache_path=cache, quant_format=QuantFormat.QOperator,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QUInt8,
    )  # fmt: skip
    assert sorted(names_of_products(model, path)) == ["conv0", "conv1", "conv2", "conv3", "stem"]


def test_what_quantizing_added_keeps_its_name_in_the_quantized_file(tmp_path):
    model = faults.layers(tmp_path)
    file = graph.opened(faults.static_by_hand(model, tmp_path, faults.layers_feed(), "uint8", "int8"))
    added = next(one for one in file.nodes if one.op_type == "QuantizeLinear")
    copy = node("QuantizeLinear", list(added.input), list(added.output), f"{added.name}/duplicated_token_3")
    names = Names(graph.opened(model), file)
    assert names.in_files(copy) == added.name
    assert names.in_files(node("Transpose", ["a"], ["b"], "Transpose_token_4")) == "Transpose_token_4"
