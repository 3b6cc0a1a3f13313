"""Each fault is found on a model made to have just that one, and a healthy model gives none."""

import ast
import inspect
import platform
import re
from dataclasses import fields, replace
from functools import cache

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnxruntime.quantization import QuantFormat, quantize_static

from qlab import calibration, graph, machine, measure, recipes
from qlab.machine import probes
from qlab.measure.diagnosis.diagnose import Bill
from qlab.measure.diagnosis.examination import ExactSums
from qlab.measure.diagnosis.float_products import _reason
from qlab.text import ms
from tests.builders import blocks, faults, steady
from tests.builders.blocks import FLOAT, node, save, value

ON_X86 = platform.machine().lower() in ("x86_64", "amd64")


@pytest.fixture(scope="module")
def card():
    """Fixed ratios, so that the same pairs are slow on every machine that runs the tests, under this one's own name."""
    return replace(machine.card("x86-avx512-vnni"), name=machine.card().name)


@pytest.fixture(scope="module")
def other_card():
    return machine.card("x86-avx512-vnni")


@cache
def steady_profiler():
    return steady.profiler(replace(machine.card("x86-avx512-vnni"), name=machine.card().name))


def diagnose(*models_and_feed, **options):
    return measure.diagnose(*models_and_feed, profiler=steady_profiler(), **options)


def examine(*models_and_feed, **options):
    return measure.examine(*models_and_feed, profiler=steady_profiler(), **options)


class Strict(measure.Examination):
    """In which whatever takes a thousandth of a run matters."""

    def matters(self, milliseconds, share):
        return super().matters(milliseconds, 0.001)


def strictly(examined):
    return Strict(**{one.name: getattr(examined, one.name) for one in fields(examined)})


def codes(findings):
    return {finding.code for finding in findings}


def only(findings, code):
    """The one finding, which must be of this code and complete."""
    assert codes(findings) == {code}, findings
    assert len(findings) == 1
    finding = findings[0]
    assert any(character.isdigit() for character in finding.evidence)
    assert finding.why
    assert finding.remedy
    assert code in measure.CODES
    assert_calls_can_be_made(finding.remedy)
    return finding


def assert_calls_can_be_made(remedy):
    """Each recipes.<name>(...) in the text has the arguments that the recipe takes."""
    for name, rest in re.findall(r"recipes\.(\w+)\((.*)", remedy):
        end = next(at for at in range(len(rest)) if rest[:at].count("(") + 1 == rest[: at + 1].count(")"))
        written = ast.parse(f"f({rest[:end]})", mode="eval").body
        keywords = {keyword.arg: keyword.value for keyword in written.keywords}
        inspect.signature(getattr(recipes, name)).bind(*written.args, **keywords)


def test_a_healthy_dynamic_model_gives_no_finding(tmp_path, card):
    model = faults.layers(tmp_path)
    quantized = recipes.dynamic(model, tmp_path / "int8.onnx", card=card)
    findings = diagnose(model, quantized, faults.layers_feed(), card=card)
    assert findings == []
    assert repr(findings) == "nothing found: none of the causes in measure.CODES"


def test_a_healthy_static_model_gives_no_finding(tmp_path, card):
    model, feed = faults.residual(tmp_path), faults.image_feed()
    quantized = recipes.static(model, tmp_path / "int8.onnx", feed, card=card)
    assert diagnose(model, quantized, feed, card=card) == []


def test_a_healthy_hybrid_model_gives_no_finding(tmp_path, card):
    model, feed = faults.mixed(tmp_path), faults.image_feed(2 * faults.CHANNELS)
    quantized = recipes.hybrid(model, tmp_path / "int8.onnx", feed, card=card)
    assert diagnose(model, quantized, feed, card=card) == []


def test_conv_integer_is_found_and_the_recipe_it_names_removes_it(tmp_path, card):
    model, feed = faults.residual(tmp_path), faults.image_feed()
    quantized = faults.by_hand(model, tmp_path, "uint8")
    finding = only(diagnose(model, quantized, feed, card=card), "conv-integer")
    assert "5 ConvInteger" in finding.evidence
    assert "u8 x u8" in finding.evidence
    assert finding.cost_ms > 0
    assert len(finding.nodes) == 5
    made = tmp_path / "residual.static.onnx"
    assert finding.remedy.startswith(f"recipes.static({str(model)!r}, {str(made)!r}, reader)")
    mended = recipes.static(model, tmp_path / "mended.onnx", feed, card=card)
    assert diagnose(model, mended, feed, card=card) == []


def test_signed_weights_of_conv_integer_are_a_slow_pair_besides_and_no_millisecond_is_counted_twice(tmp_path, card):
    model = faults.residual(tmp_path)
    quantized = faults.by_hand(model, tmp_path, "int8")
    examined = examine(model, quantized, faults.image_feed(), card=card)
    findings = measure.findings_of(examined)
    assert codes(findings) == {"slow-sign-pair", "conv-integer"}
    assert "s8 x u8" in next(finding.evidence for finding in findings if finding.code == "slow-sign-pair")
    assert 0 < findings.cost_ms < examined.quantized.total_ms


def test_a_slow_pair_of_signs_is_found(tmp_path, card):
    model = faults.layers(tmp_path)
    quantized = faults.by_hand(model, tmp_path, "uint8")
    finding = only(diagnose(model, quantized, faults.layers_feed(), card=card), "slow-sign-pair")
    assert "3 products (DynamicQuantizeMatMul) multiply u8 x u8" in finding.evidence
    assert "1.72 times float32's speed, u8 x s8 at 3.47" in finding.evidence
    assert finding.cost_ms > 0


def test_where_all_pairs_are_equally_fast_no_pair_is_slow(tmp_path, card):
    model = faults.layers(tmp_path)
    quantized = faults.by_hand(model, tmp_path, "uint8")
    even = replace(card, speed=dict.fromkeys(card.speed, 3.0))
    assert "slow-sign-pair" not in codes(diagnose(model, quantized, faults.layers_feed(), card=even))


def test_another_machines_card_gives_no_cost_that_would_mix_two_machines(tmp_path, other_card):
    model = faults.layers(tmp_path)
    quantized = faults.by_hand(model, tmp_path, "uint8")
    finding = only(diagnose(model, quantized, faults.layers_feed(), card=other_card), "slow-sign-pair")
    assert finding.cost_ms is None
    assert "x86-avx512-vnni does that at" in finding.evidence
    model, feed = faults.residual(tmp_path), faults.image_feed()
    found = diagnose(model, faults.by_hand(model, tmp_path, "uint8"), feed, card=other_card)
    assert only(found, "conv-integer").cost_ms is None


def test_the_mend_of_what_stands_in_a_branch_reaches_into_it(tmp_path, card):
    model, feed = faults.branching(tmp_path), faults.image_feed(faults.CHANNELS) | {"first": np.array(True)}
    quantized = faults.by_hand(model, tmp_path, "int8", inside=True)
    findings = diagnose(model, quantized, feed, card=card)
    assert {"conv-integer", "slow-sign-pair"} <= codes(findings)
    assert {finding.recipe for finding in findings} == {"dynamic"}
    finding = next(one for one in findings if one.code == "conv-integer")
    assert "in the body of an If, Loop or Scan, where static quantization does not reach" in finding.remedy


def test_batch_normalizations_behind_something_else_are_not_sent_to_the_recipe_that_made_the_model(tmp_path, card):
    model, feed = faults.normalized_late(tmp_path), faults.image_feed(faults.CHANNELS)
    quantized = recipes.static(model, tmp_path / "int8.onnx", feed, card=card)
    findings = diagnose(model, quantized, feed, card=card)
    finding = next(one for one in findings if one.code == "norm-not-behind-conv")
    assert "these BatchNormalization stand behind 3 Relu, so that no convolution before them can" in finding.evidence
    assert "swap the two when you train" in finding.remedy
    assert finding.nodes == ("norm0", "norm1", "norm2")
    assert "unfolded-norm" not in codes(findings)


@pytest.mark.parametrize("build", ["normalized_late", "islands", "mixed", "upsampler", "residual"])
@pytest.mark.parametrize("recipe", ["static", "hybrid", "dynamic"])
def test_no_mend_is_the_call_that_made_the_model(tmp_path, card, build, recipe):
    model = getattr(faults, build)(tmp_path)
    (given,) = onnx.load(model).graph.input
    feed = {"x": faults.noise(*(size.dim_value for size in given.type.tensor_type.shape.dim))}
    reader = () if recipe == "dynamic" else (feed,)
    quantized = getattr(recipes, recipe)(model, tmp_path / "int8.onnx", *reader, card=card)
    for finding in measure.findings_of(strictly(examine(model, quantized, feed, card=card))):
        assert (finding.recipe, finding.options) != (recipe, {}), finding
        assert finding.advice == ("to try" if finding.recipe else "mend")


@pytest.mark.skipif(not ON_X86, reason="onnxruntime leaves s8 x s8 as it is on other CPUs")
def test_a_residual_of_signed_codes_is_named_as_what_keeps_convolutions_in_float(tmp_path, card):
    model, feed = faults.residual(tmp_path), faults.image_feed()
    quantized = faults.static_by_hand(model, tmp_path, feed, "int8", "int8")
    finding = only(diagnose(model, quantized, feed, card=card), "float-second-consumer")
    assert "because the int8 codes in front of the product have two consumers" in finding.evidence
    assert "of 5 convolutions (" in finding.evidence
    assert {"conv0", "conv1"} <= set(finding.nodes)


def test_an_operator_without_an_integer_kernel_is_named(tmp_path, card):
    model, feed = faults.upsampler(tmp_path), faults.image_feed(faults.CHANNELS)
    quantized = recipes.static(model, tmp_path / "int8.onnx", feed, card=card)
    finding = only(diagnose(model, quantized, feed, card=card), "float-no-kernel")
    assert "2 of 3 convolutions (2 ConvTranspose)" in finding.evidence
    assert set(finding.nodes) == {"up0", "up1"}
    examined = examine(model, quantized, feed, card=card)
    edges = sum(node.ms for node in examined.quantized.nodes if node.family != "convolution")
    assert measure.findings_of(examined).cost_ms <= edges  # no kernel could save the products' own time


def test_products_in_which_both_factors_move_are_named(tmp_path, card):
    model, feed = faults.attention(tmp_path), faults.attention_feed()
    quantized = recipes.dynamic(model, tmp_path / "int8.onnx", card=card)
    finding = only(diagnose(model, quantized, feed, card=card), "float-both-move")
    assert len(finding.nodes) == 2
    assert finding.remedy.startswith("recipes.static(")


def test_products_that_the_quantizer_left_out_are_named(tmp_path, card):
    model, feed = faults.mixed(tmp_path), faults.image_feed(2 * faults.CHANNELS)
    quantized = recipes.dynamic(model, tmp_path / "int8.onnx", card=card)
    finding = only(diagnose(model, quantized, feed, card=card), "float-left-out")
    assert finding.evidence.startswith("2 of 2 convolutions (2 Conv) in float")
    assert finding.remedy.startswith("recipes.hybrid(")


def test_a_convolution_whose_result_nobody_quantizes_is_named(tmp_path, card):
    model, feed = faults.islands(tmp_path), faults.image_feed(faults.CHANNELS, 2 * faults.SIDE)
    quantized = faults.without_result_quantizer(model, tmp_path, feed)
    finding = only(diagnose(model, quantized, feed, card=card), "float-result-read")
    assert "3 because its result goes to Abs as a float" in finding.evidence


def test_codes_that_no_kernel_takes_are_named(tmp_path, card):
    model, feed = faults.residual(tmp_path), faults.image_feed()
    quantized = faults.static_by_hand(model, tmp_path, feed, "uint16", "int8")
    finding = only(diagnose(model, quantized, feed, card=card), "float-not-fused")
    assert "5 because there is no kernel for uint16 in front of and uint16 behind the product" in finding.evidence


def test_a_bias_whose_scale_does_not_fit_is_not_blamed_on_the_types_of_the_codes(tmp_path, card):
    model, feed = faults.residual(tmp_path), faults.image_feed()
    proto = onnx.load(recipes.static(model, tmp_path / "int8.onnx", feed, card=card).path)
    scale = next(tensor for tensor in proto.graph.initializer if tensor.name == "b1_quantized_scale")
    scale.CopyFrom(numpy_helper.from_array(1.5 * numpy_helper.to_array(scale), scale.name))
    onnx.save(proto, tmp_path / "odd.onnx")
    findings = diagnose(model, tmp_path / "odd.onnx", feed, card=card)
    finding = next(one for one in findings if one.code == "float-not-fused")
    assert finding.nodes == ("conv1",)
    assert "there is a kernel for uint8 in front of and uint8 behind the product" in finding.evidence


def test_weights_that_are_dequantized_on_every_run_are_found(tmp_path, card):
    model, feed = faults.residual(tmp_path), faults.image_feed()
    quantized = faults.weight_only(model, tmp_path)
    finding = only(diagnose(model, quantized, feed, card=card), "weight-only")
    assert finding.evidence.startswith("5 DequantizeLinear of constant weights in every run")
    assert "5 products behind them in float" in finding.evidence


def test_weights_that_a_fused_product_dequantizes_are_found_where_that_is_slower_than_fp32(tmp_path, card):
    model, feed = faults.narrow(tmp_path), {"x": faults.noise(8000, 32)}
    quantized = faults.weight_only(model, tmp_path)
    finding = only(diagnose(model, quantized, feed, card=card), "weight-only")
    assert finding.evidence.startswith("3 MatMulNBits unpack constant weights, block by block, in every run and take ")
    assert finding.remedy.startswith("recipes.dynamic(")
    examined = examine(model, quantized, feed, card=card)
    quick = tuple(replace(node, ms=node.ms / 2) for node in examined.quantized.nodes)
    assert measure.findings_of(replace(examined, quantized=replace(examined.quantized, nodes=quick))) == []


def test_quantizing_between_float_operators_is_found(tmp_path, card):
    model, feed = faults.narrow(tmp_path), {"x": faults.noise(8000, 32)}
    quantized = recipes.static(model, tmp_path / "int8.onnx", feed, card=card)
    finding = only(diagnose(model, quantized, feed, card=card), "boundary-overhead")
    assert "3 QuantizeLinear" in finding.evidence
    assert "between float operators 3 products gain" in finding.evidence
    assert finding.cost_ms > 0
    assert finding.remedy == "stay with fp32 for speed: not one of its products gains"


@pytest.mark.parametrize(
    ("operator", "called"),
    [
        ("HardSwish", "HardSigmoid of HardSwish"),
        ("HardSigmoid", "HardSigmoid"),
        ("InstanceNormalization", "InstanceNormalization"),
        ("LayerNormalization", "LayerNormalization"),
        ("Abs", "Abs"),
    ],
)
def test_what_runs_in_float_between_integers_is_named_with_its_time(tmp_path, card, operator, called):
    model, feed = faults.between(tmp_path, operator), faults.image_feed(faults.CHANNELS, 2 * faults.SIDE)
    quantized = recipes.static(model, tmp_path / "int8.onnx", feed, card=card)
    examined = examine(model, quantized, feed, card=card)
    finding = only(measure.findings_of(examined), "float-between")
    own_ms = sum(node.ms for node in examined.quantized.nodes if node.op_type == called.split()[0])
    assert finding.evidence.startswith(
        f"between integer operators 1 {called} compute on floats, {ms(own_ms)} a run; 2 Q/"
    )
    assert finding.recipe == ""
    assert finding.remedy.startswith("no recipe can")


def test_conv_integer_is_not_sent_to_a_recipe_without_saying_that_fp32_is_faster(tmp_path, card):
    model, feed = faults.islands(tmp_path), faults.image_feed(faults.CHANNELS, 2 * faults.SIDE)
    examined = examine(model, faults.by_hand(model, tmp_path, "uint8"), feed, card=card)
    slow = [finding.remedy for finding in measure.findings_of(examined)]
    assert not any("and fp32 takes" in remedy for remedy in slow)
    nodes = tuple(replace(node, ms=node.ms / 100) for node in examined.fp32.nodes)
    quick = replace(examined, fp32=replace(examined.fp32, nodes=nodes, total_ms=examined.fp32.total_ms / 100))
    finding = next(one for one in measure.findings_of(quick) if one.code == "conv-integer")
    assert finding.remedy.endswith(f"and fp32 takes {ms(quick.fp32.total_ms)}: stay with it")


@pytest.mark.slow
def test_only_the_products_that_lose_are_to_be_left_in_float(tmp_path, card):
    model, feed = faults.narrow(tmp_path, last=256), {"x": faults.noise(8000, 32)}
    quantized = recipes.static(model, tmp_path / "int8.onnx", feed, card=card)
    examined = strictly(examine(model, quantized, feed, card=card))
    finding = only(measure.findings_of(examined), "boundary-overhead")
    assert "exclude=('product0', 'product1'))" in finding.remedy
    mended = recipes.static(model, tmp_path / "mended.onnx", feed, exclude=("product0", "product1"), card=card)
    assert diagnose(model, mended, feed, card=card) == []


def test_a_model_that_cannot_gain_is_told_so_and_nothing_about_its_speed_besides(tmp_path, card):
    model, feed = faults.small(tmp_path), {"x": faults.noise(64, 16)}
    quantized = faults.by_hand(model, tmp_path, "uint8")
    finding = only(diagnose(model, quantized, feed, card=card), "too-small")
    assert "1 operator that integers could take over compute" in finding.evidence
    assert finding.cost_ms is None


@pytest.mark.slow
def test_saturation_is_a_risk_only_where_the_card_saturates_and_the_weights_are_large(tmp_path, card):
    model, feed = faults.layers(tmp_path), faults.layers_feed()
    bad = replace(card, saturates=True)
    large = recipes.dynamic(model, tmp_path / "large.onnx", card=card)
    finding = next(one for one in diagnose(model, large, feed, card=bad) if one.code == "saturation-risk")
    assert finding.evidence.startswith("3 of 3 u8 x s8 products")
    assert "no sum leaves 16 bits" in finding.remedy
    small = recipes.dynamic(model, tmp_path / "small.onnx", card=bad)
    assert "saturation-risk" not in codes(diagnose(model, small, feed, card=bad))
    assert "saturation-risk" not in codes(diagnose(model, large, feed, card=card))


SIDE_BY_SIDE, ABOVE_EACH_OTHER = np.ones((1, 4, 1, 1)), np.ones((1, 1, 3, 3))  # what has one sign
SIGNS = {
    "neighbouring channels of one sign": (SIDE_BY_SIDE * (-1) ** np.arange(9).reshape(1, 1, 3, 3), {}, True),
    "neighbouring channels of two signs": (ABOVE_EACH_OTHER * (-1) ** np.arange(4).reshape(1, 4, 1, 1), {}, False),
    "depthwise": (ABOVE_EACH_OTHER, {"group": 4}, False),
}


@pytest.mark.parametrize("signs", SIGNS)
def test_which_weights_of_a_convolution_are_neighbours_is_as_the_kernels_have_it(tmp_path, card, signs):
    signs, attributes, is_at_risk = SIGNS[signs]
    w = np.random.default_rng(0).uniform(0.9, 1, (4, *signs.shape[1:])).astype(np.float32) * signs.astype(np.float32)
    model, feed = tmp_path / "conv.onnx", {"x": faults.noise(1, 4, 8, 8)}
    ends = [value("x", FLOAT, [1, 4, 8, 8])], [value("y", FLOAT, None)]
    save(model, [node("Conv", ["x", "w"], ["y"], "conv", **attributes)], *ends, {"w": w})
    quantized = recipes.static(model, tmp_path / "int8.onnx", feed, activation_dtype="uint8", weight_dtype="int8",
                               card=replace(card, saturates=False))  # fmt: skip
    found = codes(diagnose(model, quantized, feed, card=replace(card, saturates=True)))
    assert ("saturation-risk" in found) == is_at_risk


@pytest.mark.parametrize("place", ["inside", "beside"])
def test_the_codes_of_saturating_weights_are_read_wherever_they_are_stored(tmp_path, card, place):
    model, feed = faults.layers(tmp_path), faults.layers_feed()
    quantized, stored = recipes.dynamic(model, tmp_path / "int8.onnx", card=card).path, tmp_path / "stored.onnx"
    options = {"save_as_external_data": True, "location": "stored.data", "size_threshold": 0}
    onnx.save(onnx.load(quantized), stored, **(options if place == "beside" else {}))
    found = diagnose(model, stored, feed, card=replace(card, saturates=True))
    assert "saturation-risk" in codes(found)


def test_ranges_that_clip_are_found_with_the_share_that_lies_outside(tmp_path, card):
    model, feed = faults.layers(tmp_path), faults.layers_feed()
    narrow = recipes.static(model, tmp_path / "narrow.onnx", faults.layers_feed(seed=6, scale=0.2), card=card)
    finding = only(diagnose(model, narrow, feed, card=card), "range-clips")
    assert "% outside" in finding.evidence
    assert "x" in finding.nodes
    assert finding.cost_ms is None


def test_ranges_that_waste_codes_are_found_with_the_number_in_use(tmp_path, card):
    model, feed = faults.layers(tmp_path), faults.layers_feed()
    wide = recipes.static(model, tmp_path / "wide.onnx", faults.layers_feed(seed=6, scale=40.0), card=card)
    finding = only(diagnose(model, wide, feed, card=card), "range-wastes")
    assert "of 256 codes in use" in finding.evidence


def test_a_layer_that_loses_far_more_than_the_rest_is_found(tmp_path, card):
    w = {f"w{k}": faults.weights(faults.WIDTH, faults.WIDTH, seed=k) for k in range(3)}
    w["w1"][3, 5] = 40.0  # one weight stretches the range of all the others
    model = faults.layers(tmp_path, w=w)
    quantized = recipes.dynamic(model, tmp_path / "int8.onnx", per_channel=False, card=card)
    feed = faults.layers_feed()
    finding = only(diagnose(model, quantized, feed, card=card), "layer-loss")
    assert finding.nodes == ("layer1",)
    assert "'m1' (MatMul)" in finding.evidence


def test_no_node_is_charged_more_than_it_takes():
    class Node:
        ms = 2.0

    node = Node()
    bill = Bill([node])
    assert bill.charge(node, 1.5) == 1.5
    assert bill.charge(node) == 0.5
    assert bill.charge(node, 1.0) == 0.0
    assert bill.charge(node, -1.0) == 0.0
    assert bill.left([node]) == 0.0


def test_models_that_do_not_belong_together_are_refused(tmp_path):
    first, second = faults.layers(tmp_path), faults.attention(tmp_path)
    with pytest.raises(ValueError, match=r"attention\.onnx.* takes \[1, time, 64\]"):
        diagnose(first, second, faults.layers_feed())


def test_a_feed_that_does_not_fit_is_refused(tmp_path, card):
    model = faults.layers(tmp_path)
    quantized = recipes.dynamic(model, tmp_path / "int8.onnx", card=card)
    with pytest.raises(ValueError, match="holds 384 NaN or infinite values"):
        diagnose(model, quantized, {"x": np.float32([[np.nan] * faults.WIDTH])})


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        diagnose(faults.layers(tmp_path), tmp_path / "nowhere.onnx", faults.layers_feed())


def test_calibration_is_what_the_ranges_are_compared_with(tmp_path, card):
    """The same ranges are right for the feeds that they were collected on."""
    model, feed = faults.layers(tmp_path), faults.layers_feed(scale=40.0)
    prepared = recipes.prepare(model, tmp_path / "prepared.onnx")
    ranges = calibration.collect(prepared, feed)
    quantized = recipes.static(model, tmp_path / "int8.onnx", ranges=ranges, card=card)
    assert diagnose(model, quantized, feed, card=card) == []


def test_products_in_the_branches_of_an_if_are_said_to_be_there(tmp_path, card):
    model, feed = blocks.branches(tmp_path), blocks.branches_feed()
    examined = examine(model, faults.by_hand(model, tmp_path, "int8"), feed, card=card)
    node = next(one for one in examined.quantized.nodes if one.name == "yes_product")
    kind, _ = _reason(examined, node)
    assert kind.code == "float-in-body"
    entered = graph.census(recipes.dynamic(model, tmp_path / "entered.onnx", card=card))
    assert entered.integer.total() > graph.census(examined.file.path).integer.total()


def test_the_negatives_that_a_folded_relu_removes_are_not_clipped(tmp_path, card):
    model, feed = faults.layers(tmp_path), faults.layers_feed()
    quantized = tmp_path / "operators.onnx"
    prepared, cache = recipes.prepare(model, tmp_path / "prepared.onnx"), tmp_path / "ranges.json"
    calibration.collect(prepared, feed).save(cache)
    quantize_static(prepared, quantized, None, calibration_cache_path=cache, quant_format=QuantFormat.QOperator)
    assert "range-clips" not in codes(diagnose(model, quantized, feed, card=card))


def test_an_lstm_is_sent_to_the_recipe_with_the_operators_that_it_needs(tmp_path, card):
    model, feed = blocks.recurrent(tmp_path, "LSTM"), {"x": faults.noise(5, 2, 16)}
    quantized = recipes.dynamic(model, tmp_path / "int8.onnx", op_types=("MatMul", "LSTM"), card=card)
    examined = examine(model, quantized, feed, card=card)
    assert examined.call(recipes.RECIPES["dynamic"]).endswith("op_types=('MatMul', 'LSTM'))")


@pytest.mark.parametrize("kind", ["dynamic", "static"])
@pytest.mark.skipif(not probes.saturates(), reason="u8 x s8 is exact on this CPU")
def test_what_saturation_does_to_the_feeds_is_measured_where_it_happens(tmp_path, card, kind):
    model, feed = faults.layers(tmp_path), faults.layers_feed()
    exact = replace(card, saturates=False)  # so that the recipe leaves weights of 8 bits
    reader = () if kind == "dynamic" else (feed,)
    quantized = getattr(recipes, kind)(model, tmp_path / "int8.onnx", *reader, card=exact)
    findings = diagnose(model, quantized, feed, card=replace(card, saturates=True))
    finding = next(one for one in findings if one.code == "saturation-risk")
    now, then = map(float, re.search(r"'y' keeps ([\d.]+) dB, and would keep ([\d.]+)", finding.evidence).groups())
    compared = measure.compare({"fp32": model, "int8": quantized.path}, feed, rounds=1)
    assert abs(now - compared.rows[1].sqnr_db) < 0.06
    assert then > now + 0.5
    assert "session.x64quantprecision = 1" in finding.remedy


def saturating(folder, card):
    """Weights that are all large, in whose dynamic product every second pair of full activations is beyond 16 bits."""
    signs = np.random.default_rng(1).choice([-1, 1], (faults.WIDTH, faults.WIDTH))
    large = (signs * np.random.default_rng(2).uniform(0.9, 1, signs.shape) / np.sqrt(faults.WIDTH)).astype(np.float32)
    w = {f"w{k}": faults.weights(faults.WIDTH, faults.WIDTH, seed=k) for k in (1, 2)} | {"w0": large}
    model = faults.layers(folder, w=w)
    feed = {"x": np.random.default_rng(3).uniform(0.8, 1, faults.layers_feed()["x"].shape).astype(np.float32)}
    return model, recipes.dynamic(model, folder / "int8.onnx", card=replace(card, saturates=False)), feed


@pytest.fixture
def examined_where_sums_saturate(tmp_path, card):
    """examined(card, exact_db): an Examination as on a CPU that saturates: the first layer and the output keep 7.7."""
    model, quantized, feed = saturating(tmp_path, card)

    def examined(judged_by, exact_db):
        sums = ExactSums("y", 7.7, exact_db, True)
        found = examine(model, quantized, feed, card=judged_by)
        poor = {"m0": {"local_db": 7.7}, "y": {"accumulated_db": 7.7}}
        rows = [replace(row, **poor.get(row.name, {})) for row in found.layers.rows]
        return replace(found, layers=replace(found.layers, rows=rows), saturates_here=True, exact_sums=lambda *_: sums)

    return examined


def test_what_only_this_cpu_saturates_is_told_apart_and_no_layer_is_blamed(examined_where_sums_saturate, other_card):
    finding = only(measure.findings_of(examined_where_sums_saturate(other_card, 38.6)), "saturation-here")
    assert finding.evidence.endswith("On these feeds output 'y' keeps 7.7 dB, and would keep 38.6 with exact sums")
    assert other_card.name in finding.why
    assert finding.remedy.startswith(f"nothing, for {other_card.name}")
    assert not finding.is_harmless
    assert "layer0" in finding.nodes


def test_where_exact_sums_lose_as_much_the_layer_is_blamed_and_not_the_sums(examined_where_sums_saturate, other_card):
    assert codes(measure.findings_of(examined_where_sums_saturate(other_card, 7.7))) == {"layer-loss"}


def test_on_this_cpus_own_card_a_layer_that_saturates_is_not_blamed_on_its_weights(examined_where_sums_saturate, card):
    found = measure.findings_of(examined_where_sums_saturate(replace(card, saturates=True), 38.6))
    assert codes(found) == {"saturation-risk"}


@pytest.mark.skipif(probes.saturates(), reason="u8 x s8 saturates on this CPU as well")
def test_where_only_the_cards_machine_saturates_the_finding_says_that_nothing_here_is_of_it(tmp_path, card, other_card):
    model, quantized, feed = saturating(tmp_path, card)
    there = replace(other_card, saturates=True)
    examination = replace(examine(model, quantized, feed, card=there), saturates_here=False)
    finding = only(measure.findings_of(examination), "saturation-risk")
    assert finding.evidence.endswith("The CPU at hand adds exactly: no loss measured here is of this")
    assert "machine.card(" in finding.remedy


@pytest.mark.skipif(not probes.saturates(), reason="u8 x s8 is exact on this CPU")
def test_with_the_card_of_an_exact_machine_the_loss_by_this_cpus_sums_is_measured(tmp_path, card, other_card):
    model, quantized, feed = saturating(tmp_path, card)
    finding = only(diagnose(model, quantized, feed, card=other_card), "saturation-here")
    now, then = map(float, re.search(r"'y' keeps ([\d.]+) dB, and would keep ([\d.]+)", finding.evidence).groups())
    assert then > now + 15


@pytest.mark.slow
def test_batch_normalizations_that_were_not_folded_are_found(tmp_path, card):
    model, feed = faults.normalized(tmp_path), faults.image_feed(faults.CHANNELS)
    quantized = faults.unprepared(model, tmp_path, feed)
    finding = only(diagnose(model, quantized, feed, card=card), "unfolded-norm")
    assert finding.evidence.startswith("3 BatchNormalization take")
    assert finding.nodes == ("norm0", "norm1", "norm2")
    mended = recipes.static(model, tmp_path / "mended.onnx", feed, card=card)
    assert diagnose(model, mended, feed, card=card) == []


def test_a_convolution_that_was_left_out_and_runs_on_codes_all_the_same_is_found(tmp_path, card):
    model, feed = faults.residual(tmp_path), faults.image_feed()
    quantized = faults.static_by_hand(model, tmp_path, feed, "uint8", "int8", exclude=("conv1",))
    finding = only(diagnose(model, quantized, feed, card=card), "quantized-at-load")
    assert finding.evidence.startswith("1 product with float weights in the file, weights of int8 when it runs")
    assert finding.nodes == ("conv1",)
    assert "exclude=('conv1',)" in finding.remedy
    mended = recipes.static(model, tmp_path / "mended.onnx", feed, exclude=("conv1",), card=card)
    assert "quantized-at-load" not in codes(diagnose(model, mended, feed, card=card))


def test_an_output_that_is_of_no_use_is_found_where_no_layer_is_to_blame(tmp_path, card):
    model, feed = faults.cancelling(tmp_path), faults.layers_feed()
    quantized = recipes.dynamic(model, tmp_path / "int8.onnx", card=card)
    finding = only(diagnose(model, quantized, feed, card=card), "output-loss")
    assert finding.evidence.startswith("'y' keeps ")
    assert "In graph order 'y' (Sub) is the first tensor below 15 dB" in finding.evidence


def test_codes_that_no_integer_operator_reads_are_found(tmp_path, card):
    model, feed = faults.narrow(tmp_path), {"x": faults.noise(8000, 32)}
    findings = diagnose(model, faults.rounded(model, tmp_path), feed, card=card)
    assert codes(findings) == {"boundary-overhead", "float-left-out"}
    finding = next(one for one in findings if one.code == "boundary-overhead")
    assert "6 of them" in finding.evidence
    assert "make codes that no integer operator reads" in finding.evidence


def test_findings_name_nodes_as_the_files_do(tmp_path, card):
    model, feed = faults.residual(tmp_path), faults.image_feed()
    quantized = faults.static_by_hand(model, tmp_path, feed, "uint8", "uint8")
    finding = only(diagnose(model, quantized, feed, card=card), "slow-sign-pair")
    assert set(finding.nodes) <= {node.name for node in graph.nodes(graph.load(model))}
    recipes.static(model, tmp_path / "excluded.onnx", feed, exclude=finding.nodes[:1], card=card)


def test_the_mends_of_one_model_name_one_recipe(tmp_path, card):
    model = faults.mixed(tmp_path)
    quantized = faults.by_hand(model, tmp_path, "int8")
    findings = diagnose(model, quantized, faults.image_feed(2 * faults.CHANNELS), card=card)
    assert len(findings) >= 2
    assert {finding.recipe for finding in findings} == {"hybrid"}


def test_the_layers_that_a_mend_excludes_are_really_left_in_float_by_it(tmp_path, card):
    """A cap of -10000 stretches the range of the scores; they become codes as long as Sigmoid reads codes."""
    model, feed = faults.capped(tmp_path), faults.capped_feed()
    quantized = recipes.static(model, tmp_path / "int8.onnx", feed, card=card)
    finding = next(one for one in diagnose(model, quantized, feed, card=card) if one.code == "layer-loss")
    assert "exclude=('mask', 'sigmoid')" in finding.remedy
    mended = recipes.static(model, tmp_path / "mended.onnx", feed, exclude=("mask", "sigmoid"), card=card)
    assert "layer-loss" not in codes(diagnose(model, mended, feed, card=card))


def test_an_embedding_that_is_dequantized_has_no_product_behind_it(tmp_path, card):
    model, feed = faults.embedding(tmp_path), {"ids": np.arange(200) % 50}
    quantized = faults.weight_only(model, tmp_path, operators=("Gather",), place=0)
    finding = next(one for one in diagnose(model, quantized, feed, card=card) if one.code == "weight-only")
    assert "no product reads them" in finding.evidence
