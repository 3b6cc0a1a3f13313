from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, version_converter

from qlab import calibration, graph, machine, models, recipes
from qlab.graph.operators import is_product, summed_rows
from qlab.numerics.saturation import can_saturate
from qlab.recipes.hybrid import as_products
from qlab.runtime import open_session
from tests.builders import blocks

AVX2 = machine.card("x86-avx2")
READER = [blocks.cnn_feed(seed=seed) for seed in (10, 11)]


def stored(path, dtype):
    """Every weight of `dtype` in the model: more than one dimension, so no scales, zero points or biases."""
    weights = (numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer)
    return [weight for weight in weights if weight.dtype == dtype and weight.ndim > 1]


def on_avx2(folder, **settings):
    """Models of each recipe, for a machine whose sums saturate."""
    operators = {"op_types": ("MatMul", "LSTM"), "card": AVX2} | settings
    yield recipes.dynamic(blocks.recurrent(folder, "LSTM"), folder / "a.onnx", **operators)
    yield recipes.static(blocks.residual_cnn(folder), folder / "b.onnx", READER, card=AVX2, **settings)
    if not settings:
        yield recipes.hybrid(blocks.residual_cnn(folder), folder / "c.onnx", READER, card=AVX2)


def weights_of(path):
    """(node, codes of its weights) of every quantized product in the file."""
    model = onnx.load(path)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    codes = {one.output[0]: stored.get(one.input[0]) for one in model.graph.node if one.op_type == "DequantizeLinear"}
    for node in model.graph.node:
        name = node.input[1] if is_product(node) else ""
        found = (codes | stored).get(name)
        if found is not None and found.dtype == np.int8:
            yield node, found


def test_where_u8_x_s8_saturates_no_input_can_make_a_sum_do_so(tmp_path):
    largest = {}
    for quantized in on_avx2(tmp_path):
        assert "7-bit" not in str(quantized.choice)
        for node, codes in weights_of(quantized.path):
            rows = summed_rows(node, codes)
            assert rows is None or not can_saturate(rows.T).any(), node.name
            largest.setdefault(node.op_type, []).append(int(np.abs(codes.astype(int)).max()))
    assert set(largest) == {"Conv", "Gemm", "MatMulInteger", "DynamicQuantizeLSTM"}
    assert min(largest["Conv"] + largest["Gemm"] + largest["MatMulInteger"]) > 64
    assert max(largest["DynamicQuantizeLSTM"]) == 64


def test_what_gets_no_scales_that_fit_has_7_bits_and_is_told_of(tmp_path):
    lstm, static, _ = on_avx2(tmp_path)
    assert any("have 7 bits" in note for note in lstm.notes)
    assert not static.notes


def test_weights_have_7_or_8_bits_where_that_is_asked_for(tmp_path):
    for reduced, largest in ((True, 64), (False, 127)):
        for quantized in on_avx2(tmp_path, reduce_range=reduced):
            assert max(np.abs(weight.astype(int)).max() for weight in stored(quantized.path, np.int8)) == largest


def test_scales_that_fit_pairs_lose_less_than_7_bits(tmp_path, quality):
    model, kept = blocks.residual_cnn(tmp_path), {}
    for reduced in (None, True):
        path = recipes.static(model, tmp_path / f"{reduced}.onnx", READER, reduce_range=reduced, card=AVX2).path
        kept[reduced] = quality(model, path, READER[0])
    assert kept[None] > kept[True] + 1


def test_one_scale_for_all_channels_fits_the_pairs_of_each(tmp_path):
    options = {"per_channel": False, "card": AVX2}
    static = recipes.static(blocks.residual_cnn(tmp_path), tmp_path / "a.onnx", READER, **options)
    dynamic = recipes.dynamic(blocks.linear(tmp_path), tmp_path / "b.onnx", **options)
    found = [summed_rows(*one) for path in (static.path, dynamic.path) for one in weights_of(path)]
    assert not any(can_saturate(rows.T).any() for rows in found if rows is not None)
    assert min(np.abs(rows.astype(int)).max() for rows in found if rows is not None) > 64


def test_ranges_without_what_products_read_give_scales_that_fit_all_the_same(tmp_path):
    model = blocks.residual_cnn(tmp_path)
    ranges = calibration.collect(recipes.prepare(model, tmp_path / "prepared.onnx"), READER)
    ranges.inputs = None
    path = recipes.static(model, tmp_path / "int8.onnx", ranges=ranges, card=AVX2).path
    found = [summed_rows(*one) for one in weights_of(path)]
    assert not any(can_saturate(rows.T).any() for rows in found if rows is not None)


def test_where_u8_x_s8_saturates_and_u8_x_u8_is_faster_no_weight_is_signed(tmp_path):
    card = replace(AVX2, speed={**AVX2.speed, "u8s8": 1.2})
    for recipe in (recipes.static, recipes.hybrid):
        path = recipe(blocks.residual_cnn(tmp_path), tmp_path / "int8.onnx", READER, card=card).path
        assert not stored(path, np.int8)
        assert stored(path, np.uint8)


def test_convolutions_quantized_dynamically_get_the_weights_that_are_fast_as_left_operand(tmp_path, card):
    path = recipes.dynamic(
        blocks.residual_cnn(tmp_path), tmp_path / "a.onnx", op_types=("Conv", "MatMul"), card=card
    ).path
    assert {weight.ndim for weight in stored(path, np.uint8)} == {4}
    assert {weight.ndim for weight in stored(path, np.int8)} == {2}


def test_lstms_refuse_unsigned_weights(tmp_path, card):
    model = blocks.recurrent(tmp_path, "LSTM")
    with pytest.raises(ValueError, match="LSTM has int8 weights only"):
        recipes.dynamic(model, tmp_path / "a.onnx", op_types=("LSTM",), weight_dtype="uint8", card=card)


def test_operators_that_the_quantizer_does_not_know_are_refused(tmp_path, card):
    model = blocks.linear(tmp_path)
    for recipe, wrong in ((recipes.dynamic, ("Softmaxx",)), (recipes.dynamic, "MatMul"), (recipes.static, ("matmul",))):
        reader = () if recipe is recipes.dynamic else ([blocks.linear_feed()],)
        with pytest.raises(ValueError, match=r"op_types is .*expected"):
            recipe(model, tmp_path / "a.onnx", *reader, op_types=wrong, card=card)


@pytest.mark.parametrize("recipe", [recipes.static, recipes.hybrid])
def test_a_reader_or_ranges_not_both_and_not_neither(recipe, tmp_path, card):
    model = blocks.residual_cnn(tmp_path)
    ranges = calibration.collect(model, READER)
    with pytest.raises(ValueError, match="got neither of reader and ranges"):
        recipe(model, tmp_path / "a.onnx", card=card)
    with pytest.raises(ValueError, match="got both of reader and ranges"):
        recipe(model, tmp_path / "a.onnx", READER, ranges=ranges, card=card)


@pytest.mark.parametrize("recipe", [recipes.static, recipes.hybrid])
def test_ranges_collected_on_the_prepared_model_give_what_a_reader_gives(recipe, tmp_path, card):
    model = blocks.residual_cnn(tmp_path)
    ranges = calibration.collect(recipes.prepare(model, tmp_path / "prepared.onnx"), READER)
    recipe(model, tmp_path / "a.onnx", READER, card=card)
    recipe(model, tmp_path / "b.onnx", ranges=ranges, card=card)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_ranges_of_the_original_model_serve_as_well_where_nothing_they_lack_is_needed(tmp_path, card, quality):
    model = blocks.conformer_block(tmp_path)
    ranges = calibration.collect(model, [blocks.conformer_feed(seed=seed) for seed in (1, 2)])
    quantized = recipes.static(model, tmp_path / "a.onnx", ranges=ranges, card=card)
    assert quality(model, quantized.path, blocks.conformer_feed()) > 29


def test_ranges_of_another_model_are_refused(tmp_path, card):
    (tmp_path / "other").mkdir()
    other = blocks.linear(tmp_path / "other")
    ranges = calibration.collect(other, [blocks.linear_feed()])
    with pytest.raises(ValueError, match=r"ranges lack the tensor 'n1' .*recipes\.prepare"):
        recipes.static(blocks.residual_cnn(tmp_path), tmp_path / "a.onnx", ranges=ranges, card=card)


def test_a_mask_of_minus_infinities_stays_float_and_the_rest_is_quantized(tmp_path, card, quality):
    w = {"w": blocks.weights(16, 16), "v": blocks.weights(16, 12, seed=1), "never": np.float32(-np.inf)}
    nodes = [
        blocks.node("MatMul", ["x", "w"], ["h"], "first"),
        blocks.node("Where", ["mask", "h", "never"], ["masked"], "masking"),
        blocks.node("Softmax", ["masked"], ["p"], "softmax"),
        blocks.node("MatMul", ["p", "v"], ["y"], "second"),
    ]
    inputs = [blocks.value("x", blocks.FLOAT, ["n", 16]), blocks.value("mask", blocks.BOOL, ["n", 16])]
    outputs = [blocks.value("y", blocks.FLOAT, ["n", 12])]
    model = blocks.save(tmp_path / "m.onnx", nodes, inputs, outputs, w)
    mask = np.tile(np.arange(16) < 13, (32, 1))
    reader = [blocks.narrow_feed(seed=seed) | {"mask": mask} for seed in range(16)]
    quantized = recipes.static(model, tmp_path / "a.onnx", reader, card=card)
    assert quality(model, quantized.path, blocks.narrow_feed(seed=20) | {"mask": mask}) > 29
    assert {fate.name: fate.how for fate in quantized.products} == {"first": "static", "second": "static"}


@pytest.mark.parametrize("how", ["added", "chosen"])
def test_masked_scores_stay_float_up_to_the_product_and_the_rest_is_quantized(tmp_path, card, quality, how):
    """The mask of -10000 that BERT adds, and the lowest float that is chosen in later models."""
    w = {"w": blocks.weights(16, 16), "v": blocks.weights(16, 12, seed=1)}
    if how == "added":
        mask = [blocks.node("Add", ["r", "hidden"], ["masked"], "masking")]
        hidden, kind = np.where(np.arange(16) < 13, 0, -10000).astype(np.float32), blocks.FLOAT
    else:
        mask = [blocks.node("Where", ["hidden", "r", "never"], ["masked"], "masking")]
        hidden, kind = np.arange(16) < 13, blocks.BOOL
        w["never"] = np.finfo(np.float32).min
    nodes = [
        blocks.node("MatMul", ["x", "w"], ["h"], "first"),
        blocks.node("Relu", ["h"], ["r"], "between"),
        *mask,
        blocks.node("Reshape", ["masked", "shape"], ["shaped"], "shaping"),
        blocks.node("Softmax", ["shaped"], ["p"], "softmax"),
        blocks.node("MatMul", ["p", "v"], ["y"], "second"),
    ]
    w["shape"] = np.array([-1, 16])
    inputs = [blocks.value("x", blocks.FLOAT, ["n", 16]), blocks.value("hidden", kind, ["n", 16])]
    model = blocks.save(tmp_path / "m.onnx", nodes, inputs, [blocks.value("y", blocks.FLOAT, ["n", 12])], w)
    reader = [blocks.narrow_feed(seed=seed) | {"hidden": np.tile(hidden, (32, 1))} for seed in range(16)]
    quantized = recipes.static(model, tmp_path / "a.onnx", reader, card=card)
    assert quality(model, quantized.path, reader[0]) > 29
    assert {fate.name: fate.how for fate in quantized.products} == {"first": "static", "second": "static"}
    assert "masked scores are too wide for codes: masking, shaping, softmax" in repr(quantized)


def test_scores_that_no_mask_stretches_are_codes(tmp_path, card):
    w = {"w": blocks.weights(16, 16)}
    nodes = [
        blocks.node("MatMul", ["x", "w"], ["h"], "first"),
        blocks.node("Softmax", ["h"], ["y"], "softmax"),
    ]
    ends = [[blocks.value(name, blocks.FLOAT, ["n", 16])] for name in "xy"]
    model = blocks.save(tmp_path / "m.onnx", nodes, *ends, w)
    quantized = recipes.static(model, tmp_path / "a.onnx", [blocks.narrow_feed()], card=card)
    assert quantized.census.integer["com.microsoft", "QLinearSoftmax"] == 1
    assert quantized.notes == ()


def test_a_reader_is_consumed_once_and_calibration_data_readers_are_readers(tmp_path, card):
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.feeds, self.asked = iter(READER), 0

        def get_next(self):
            self.asked += 1
            return next(self.feeds, None)

    reader = Reader()
    recipes.static(blocks.residual_cnn(tmp_path), tmp_path / "a.onnx", reader, card=card)
    assert reader.asked == len(READER) + 1


@pytest.mark.parametrize("recipe", [recipes.static, recipes.hybrid])
def test_excluded_nodes_stay_float_even_if_they_were_fused_into_others(recipe, tmp_path, card):
    quantized = recipe(blocks.residual_cnn(tmp_path), tmp_path / "a.onnx", READER, exclude=("stem", "head"), card=card)
    assert quantized.stayed_float == {
        ("Conv", "excluded by name"): ["stem"],
        ("Gemm", "excluded by name"): ["head"],
    }
    named = recipe(blocks.linear(tmp_path, gemm=False), tmp_path / "a.onnx", [blocks.linear_feed()], exclude=["first"])
    assert [why for _, why in named.stayed_float] == ["excluded by name"]


@pytest.mark.parametrize("recipe", [recipes.static, recipes.hybrid])
def test_an_excluded_convolution_stays_float_between_integers_as_well(recipe, tmp_path, card):
    """onnxruntime quantizes such weights by itself when it opens the model."""
    model = blocks.residual_cnn(tmp_path)
    quantized = recipe(model, tmp_path / "a.onnx", READER, exclude=("depthwise",), card=card)
    assert quantized.census.integer["com.microsoft", "QLinearConv"] == 2
    convolutions = [count for (_, name), count in quantized.census.float.items() if name in ("Conv", "FusedConv")]
    assert convolutions == [1]
    kept = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(quantized.path).graph.initializer}
    np.testing.assert_array_equal(kept["w2"], blocks.weights(8, 1, 3, 3, seed=5))


def test_the_weights_of_a_product_without_integer_kernel_are_not_rounded(tmp_path, card):
    reader = [blocks.image_feed(seed=seed) for seed in (10, 11)]
    quantized = recipes.static(blocks.transposed_conv(tmp_path), tmp_path / "a.onnx", reader, card=card)
    ran = graph.optimized(quantized.path)
    moving = {name for node in graph.nodes(ran) for name in node.output}
    dequantized = [node for node in graph.nodes(ran) if node.op_type == "DequantizeLinear"]
    assert all(node.input[0] in moving for node in dequantized)


def test_a_model_of_an_old_opset_is_converted_and_says_so(tmp_path, card, quality):
    model = blocks.residual_cnn(tmp_path, opset=11)
    quantized = recipes.static(model, tmp_path / "a.onnx", READER, card=card)
    assert quantized.notes == ("opset 11 was converted to 13: the first with a scale per channel",)
    assert onnx.load(quantized.path).opset_import[0].version == 13
    assert onnx.load(model).opset_import[0].version == 11


def test_an_old_model_that_cannot_be_converted_keeps_its_opset(tmp_path, card, monkeypatch):
    def convert(model, opset):
        raise RuntimeError("No Adapter For Upsample\nat some line")

    monkeypatch.setattr(version_converter, "convert_version", convert)
    model = blocks.residual_cnn(tmp_path, opset=11)
    reason = (
        "opset 11 is too old for a scale per channel, and cannot be converted: RuntimeError: No Adapter For Upsample"
    )
    assert recipes.dynamic(model, tmp_path / "a.onnx", card=card).notes == (reason,)
    with pytest.raises(ValueError, match=r"cnn\.onnx has opset 11, .*: export it with opset 13 or later"):
        recipes.static(model, tmp_path / "b.onnx", READER, card=card)
    plain = recipes.static(model, tmp_path / "c.onnx", READER, per_channel=False, card=card)
    assert plain.census.integer["com.microsoft", "QLinearConv"] == 3


def test_a_name_that_is_not_there_is_refused_and_a_close_one_offered(tmp_path, card):
    with pytest.raises(ValueError, match=r"exclude names 'stemm', which .* does not have; did you mean 'stem'"):
        recipes.static(blocks.residual_cnn(tmp_path), tmp_path / "a.onnx", READER, exclude=["stemm"], card=card)


def test_pointwise_convolutions_over_time_become_products_that_answer_the_same(tmp_path):
    model = onnx.load(blocks.conformer_block(tmp_path))
    feed = blocks.conformer_feed()
    before = open_session(model.SerializeToString()).run(None, feed)
    as_products(model)
    after = open_session(model.SerializeToString()).run(None, feed)
    np.testing.assert_allclose(after[0], before[0], rtol=1e-5, atol=1e-5)
    assert [node.name for node in model.graph.node if node.op_type == "Conv"] == ["depthwise"]
    assert {tensor.name for tensor in model.graph.initializer}.isdisjoint({"w1", "w3"})


def test_hybrid_gives_a_residual_the_float_that_its_convolution_reads_as_codes(tmp_path, card, quality):
    model, feed = blocks.crossroads(tmp_path), blocks.crossroads_feed()
    reader = [blocks.crossroads_feed(seed=seed) for seed in range(10, 42)]
    hybrid, dynamic = tmp_path / "hybrid.onnx", tmp_path / "dynamic.onnx"
    recipes.hybrid(model, hybrid, reader, card=card)
    recipes.dynamic(model, dynamic, card=card)
    beside = [open_session(path).run(["z"], feed)[0] for path in (hybrid, dynamic)]
    reference = open_session(model).run(["z"], feed)[0]
    errors = [np.square(answer - reference).mean() for answer in beside]
    assert errors[0] < 2 * errors[1]


@pytest.mark.slow
def test_the_face_network_has_every_convolution_fused(tmp_path, card):
    feed = models.example_feed("face_unet_full")
    quantized = recipes.static(models.path("face_unet_full"), tmp_path / "a.onnx", [feed], card=card)
    assert [fate.how for fate in quantized.products] == ["static"] * 81
    convolutions = sum(
        count for (_, name), count in graph.census(quantized.path).integer.items() if name == "QLinearConv"
    )
    assert convolutions == 81


@pytest.mark.slow
def test_what_costs_time_in_the_trained_conformer_runs_on_integers(tmp_path, card):
    reader = [models.feed(utterance.samples) for utterance in models.utterances("calibration")[:2]]
    quantized = recipes.hybrid(models.path("conformer"), tmp_path / "a.onnx", reader, card=card)
    assert {reason: len(names) for reason, names in quantized.stayed_float.items()} == {
        ("MatMul", "no constant weights: both factors move with the input"): 18,
        ("Conv", "depthwise over time: too few products to gain by integers"): 6,
    }
    assert quantized.size_mb < quantized.original_mb / 3


def test_the_result_says_what_was_done_and_what_stayed_float_and_why(tmp_path):
    card = machine.card("x86-avx512-vnni")
    quantized = recipes.hybrid(
        blocks.conformer_block(tmp_path), tmp_path / "a.onnx", [blocks.conformer_feed()], card=card
    )
    assert repr(quantized).splitlines() == [
        f"hybrid: {tmp_path / 'a.onnx'}, {quantized.size_mb:.3g} MB (before: {quantized.original_mb:.3g} MB)",
        "  activations uint8 x weights int8, a weight scale per output channel: "
        f"the fastest usable pair on x86-avx512-vnni ({card.speed['u8s8']:.2f}x float32)",
        "  on integers: 4 of 6 MatMul (dynamic), 2 of 3 Conv (dynamic)",
        "  in float: 2 of 6 MatMul: no constant weights: both factors move with the input",
        "  in float: 1 of 3 Conv: depthwise over time: too few products to gain by integers",
        *repr(quantized).splitlines()[5:],
    ]
    assert repr(quantized).splitlines()[5].startswith("  in float besides, no products: ")
    assert Path(quantized) == quantized.path


@pytest.mark.parametrize("recipe", ["static", "hybrid"])
def test_a_relu_whose_result_a_body_reads_is_kept(recipe, tmp_path, card, quality):
    model, feed = blocks.branch_behind_relu(tmp_path), blocks.branches_feed()
    quantized = getattr(recipes, recipe)(model, tmp_path / "int8.onnx", [feed], card=card)
    assert quality(model, quantized.path, feed) > 20
