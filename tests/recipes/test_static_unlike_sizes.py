"""Numbers of very different size under one scale: the small ones keep their codes, or it is said that they do not."""

from dataclasses import replace

import numpy as np
import pytest
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

from qlab import calibration, measure, recipes, sqnr_db
from qlab.measure.diagnosis.boundary import float_between
from qlab.measure.diagnosis.diagnose import Bill
from qlab.runtime import open_session
from tests.builders import blocks


def parts(model, quantized, feed):
    """SQNR of the boxes and of the scores."""
    expected, found = (open_session(path).run(None, feed)[0] for path in (model, quantized))
    return [float(sqnr_db(expected[..., place], found[..., place])) for place in (slice(4), slice(4, 6))]


def by_hand(model, folder, reader):
    """What onnxruntime's own call makes of a model: one scale for all that meets."""
    prepared, cache = recipes.prepare(model, folder / "prepared.onnx"), folder / "ranges.json"
    calibration.collect(prepared, reader).save(cache)
    types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(
        prepared, folder / "by_hand.onnx", None, calibration_cache_path=cache, quant_format=QuantFormat.QDQ, **types
    )
    return folder / "by_hand.onnx"


@pytest.fixture
def images():
    return [blocks.detector_feed(seed=seed) for seed in range(8)]


@pytest.mark.parametrize("largest", [1, 3, 640, 100_000])
@pytest.mark.parametrize("order", [("boxes", "scores"), ("scores", "boxes")])
def test_scores_beside_boxes_of_any_size_keep_30_db(tmp_path, card, images, largest, order):
    model = blocks.detector(tmp_path, largest=largest, order=order)
    quantized = recipes.static(model, tmp_path / "a.onnx", images, card=card)
    expected, found = (open_session(path).run(None, blocks.detector_feed(seed=20))[0] for path in (model, quantized))
    turned = slice(None) if order[0] == "boxes" else slice(None, None, -1)
    expected, found = expected[..., turned], found[..., turned]
    for place in (slice(4), slice(4, 6)):
        assert sqnr_db(expected[..., place], found[..., place]) > 30
    assert {fate.how for fate in quantized.products} == {"static"}
    assert ("differs too much in size to share codes: meet, turn" in repr(quantized)) == (largest > 3)


def test_a_comparison_and_a_diagnosis_see_what_the_sqnr_of_the_whole_hides(tmp_path, card, images):
    model = blocks.detector(tmp_path)
    quantized = by_hand(model, tmp_path, images)
    boxes, scores = parts(model, quantized, images[0])
    assert boxes > 30 > 3 > scores
    comparison = measure.compare({"fp32": model, "int8": quantized}, images[0], rounds=2)
    part = comparison.worst_part["int8"]
    assert comparison.rows[1].sqnr_db > 30
    assert (part.tensor, part.axis, part.sqnr_db) == ("detections", 2, pytest.approx(scores, abs=3))
    assert part.index in (4, 5)
    assert f"of {part}" in repr(comparison)
    finding = next(one for one in measure.diagnose(model, quantized, images, card=card) if one.code == "unlike-parts")
    assert "'both': 'scores' (" in finding.evidence
    assert "gets 1 of 256 codes" in finding.evidence
    assert "recipes.static(" in finding.remedy
    mended = recipes.static(model, tmp_path / "mended.onnx", images, card=card)
    assert measure.compare({"fp32": model, "int8": mended}, images[0], rounds=2).worst_part["int8"].sqnr_db > 25
    assert "unlike-parts" not in [one.code for one in measure.diagnose(model, mended, images, card=card)]


@pytest.mark.parametrize("loud", [1, 180, 10_000])
def test_loud_channels_of_a_residual_stream_cost_the_others_nothing(tmp_path, card, quality, loud):
    model, reader = blocks.loud_channels(tmp_path, loud=loud), [blocks.stream_feed(seed) for seed in range(8)]
    quantized = recipes.static(model, tmp_path / "a.onnx", reader, card=card)
    assert quality(model, quantized, blocks.stream_feed(20)) > 30
    assert {fate.how for fate in quantized.products} == {"static"}
    assert ("to share codes: place, residual0, residual1" in repr(quantized)) == (loud > 1)
    if loud > 1:
        found = measure.diagnose(model, by_hand(model, tmp_path, reader), reader, card=card)
        assert (
            "half of its 96 channels get at most" in next(one for one in found if one.code == "unlike-parts").evidence
        )


def test_sums_that_were_left_in_float_are_not_said_to_have_no_integer_kernel(tmp_path, card):
    model, feed = blocks.loud_channels(tmp_path, loud=180), blocks.stream_feed(20)
    quantized = recipes.static(model, tmp_path / "a.onnx", [feed], card=card)
    examined = measure.examine(model, quantized, feed, card=card)
    slow = tuple(replace(one, ms=one.ms + 100 * (one.kind == "float")) for one in examined.quantized.nodes)
    slow_one = replace(examined, quantized=replace(examined.quantized, nodes=slow))
    (between,) = float_between(slow_one, Bill(slow))  # alone: whether a whole diagnosis tells it is up to times
    assert "Add with them" in between.evidence
    assert "LayerNormalization" in between.why
    assert "Add" not in between.why


def test_ranges_from_shards_see_the_same_as_ranges_from_all(tmp_path, card, images):
    model = blocks.detector(tmp_path)
    prepared = recipes.prepare(model, tmp_path / "prepared.onnx")
    whole = calibration.collect(prepared, images)
    merged = calibration.collect(prepared, images[:3]).merge(calibration.collect(prepared, images[3:]))
    notes = [recipes.static(model, tmp_path / "a.onnx", ranges=ranges, card=card).notes for ranges in (whole, merged)]
    assert notes[0] == notes[1] != ()


def test_a_join_that_is_no_operator_of_the_quantizer_hands_no_codes_on(tmp_path, card, quality):
    """A mask that is subtracted: no Q stands at the Sub, but the Sigmoid behind would ask for one."""
    nodes = [
        blocks.node("MatMul", ["x", "w"], ["h"], "first"),
        blocks.node("Sub", ["h", "hidden"], ["masked"], "masking"),
        blocks.node("Sigmoid", ["masked"], ["p"], "squash"),
        blocks.node("MatMul", ["p", "v"], ["y"], "second"),
    ]
    hidden = np.where(np.arange(16) < 13, 0, 10_000).astype(np.float32)
    w = {"w": blocks.weights(16, 16), "v": blocks.weights(16, 8, seed=1), "hidden": hidden}
    ends = [[blocks.value(name, blocks.FLOAT, ["n", size])] for name, size in (("x", 16), ("y", 8))]
    model = blocks.save(tmp_path / "m.onnx", nodes, *ends, w)
    quantized = recipes.static(
        model, tmp_path / "a.onnx", [blocks.narrow_feed(seed=seed) for seed in range(8)], card=card
    )
    assert quality(model, quantized, blocks.narrow_feed(seed=20)) > 30
    assert "to share codes: squash" in repr(quantized)


def test_padding_of_zeros_in_a_concat_needs_no_codes(tmp_path, card):
    w = {"w": blocks.weights(16, 16), "v": blocks.weights(32, 8, seed=1)}
    nodes = [
        blocks.node("MatMul", ["x", "w"], ["h"], "first"),
        blocks.node("Mul", ["h", "zero"], ["nothing"], "silence"),
        blocks.node("Concat", ["h", "nothing"], ["both"], "meet", axis=1),
        blocks.node("MatMul", ["both", "v"], ["y"], "second"),
    ]
    ends = [[blocks.value(name, blocks.FLOAT, ["n", size])] for name, size in (("x", 16), ("y", 8))]
    model = blocks.save(tmp_path / "m.onnx", nodes, *ends, w | {"zero": np.float32(0)})
    assert recipes.static(model, tmp_path / "a.onnx", [blocks.narrow_feed()], card=card).notes == ()
