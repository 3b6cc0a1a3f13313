"""static with rounding="adaptive": on what the layers of a model really read, nearer to fp32 than nearest codes."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from qlab import calibration, models, recipes
from tests.builders import blocks

INT4 = {"weight_dtype": "int4"}


def smooth(batch, channels, *sizes, seed):
    """Pictures or sounds whose channels and neighbours are alike, as real ones are."""
    draw = np.random.default_rng(seed)
    mixed = draw.standard_normal((channels, 2)) @ draw.standard_normal((2, batch * int(np.prod(sizes))))
    x = mixed.reshape(channels, batch, *sizes).swapaxes(0, 1)
    for axis in range(2, x.ndim):
        x = x + np.roll(x, 1, axis)
    return np.float32(np.maximum(x + 0.3 * draw.standard_normal(x.shape), 0))


@pytest.fixture(scope="module")
def digits():
    train, _, test, truth = models.digit_split()
    return models.path("digits"), [{"images": train[i::8]} for i in range(4)], {"images": test}, truth


@pytest.mark.parametrize("per_channel", [False, True])
def test_int4_digits_win_back_half_of_what_they_lose_to_int8(digits, tmp_path, card, quality, per_channel):
    model, feeds, test, _ = digits
    db = {}
    for dtype, rounding in (("int8", "nearest"), ("int4", "nearest"), ("int4", "adaptive")):
        options = {"weight_dtype": dtype, "rounding": rounding, "per_channel": per_channel, "card": card}
        quantized = recipes.static(model, tmp_path / "a.onnx", iter(feeds), **options, activation_dtype="uint8")
        db[dtype, rounding] = quality(model, quantized.path, test)
    lost = db["int8", "nearest"] - db["int4", "nearest"]
    assert db["int4", "adaptive"] - db["int4", "nearest"] > lost / 2
    text = repr(quantized)
    assert "x weights int4" in text
    assert "multiplies by them in float" in text
    assert "12 layers are rounded up or down by their outputs' errors on 4 feeds" in text


CONVOLUTIONS = {
    "padded": {"pads": [1, 1, 1, 1]},
    "strided and dilated": {"strides": [2, 1], "dilations": [1, 2]},
    "same upper": {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    "same lower": {"auto_pad": "SAME_LOWER", "strides": [1, 2]},
    "valid": {"auto_pad": "VALID"},
    "grouped": {"group": 2},
    "depthwise": {"group": 8},
}


@pytest.mark.parametrize("how", list(CONVOLUTIONS))
def test_convolutions_are_rounded_by_what_their_windows_see(tmp_path, card, quality, how):
    attributes = CONVOLUTIONS[how]
    w = {"w": blocks.weights(16, 8 // attributes.get("group", 1), 3, 3), "b": blocks.noise(16, seed=1)}
    nodes = [blocks.node("Conv", ["x", "w", "b"], ["y"], "conv", **attributes)]
    ends = [[blocks.value(name, blocks.FLOAT, ["batch", size, None, None])] for name, size in (("x", 8), ("y", 16))]
    model = blocks.save(tmp_path / "m.onnx", nodes, *ends, w)
    feeds = [{"x": smooth(8, 8, 9, 10, seed=seed)} for seed in range(2)]
    nearest, adaptive = (
        quality(
            model,
            recipes.static(model, tmp_path / "a.onnx", feeds, **INT4, rounding=rounding, card=card).path,
            {"x": smooth(8, 8, 9, 10, seed=0)},
        )
        for rounding in ("nearest", "adaptive")
    )
    assert adaptive > nearest + 2


@pytest.mark.parametrize("gemm", [True, False])
@pytest.mark.parametrize("dtype", ["int4", "int8", "uint8"])
def test_matrix_products_are_rounded_by_what_they_read(tmp_path, card, quality, gemm, dtype):
    model = blocks.linear(tmp_path, gemm=gemm)
    feeds = [{"x": smooth(200, 24, seed=seed)} for seed in range(2)]
    options = {"weight_dtype": dtype, "activation_dtype": "uint8", "reduce_range": False, "card": card}
    db = [quality(model, recipes.static(model, tmp_path / "a.onnx", feeds, rounding=one, **options | no).path, feeds[0])
          for one in ("nearest", "adaptive") for no in [{} if dtype != "int4" else {"reduce_range": None}]]  # fmt: skip
    assert db[1] > db[0] + (3 if dtype == "int4" else 0.3)


def test_a_layer_without_a_bias_is_rounded_too_and_7_bits_stay_7_bits(tmp_path, card, quality):
    model = blocks.residual_cnn(tmp_path)
    feeds = [{"x": smooth(4, 3, 12, 12, seed=seed)} for seed in range(4)]
    options = {"weight_dtype": "int8", "activation_dtype": "uint8", "reduce_range": True, "card": card}
    quantized = recipes.static(model, tmp_path / "a.onnx", feeds, rounding="adaptive", **options)
    stored = [onnx.numpy_helper.to_array(one) for one in onnx.load(quantized.path).graph.initializer
              if one.data_type == TensorProto.INT8 and len(one.dims) > 1]  # fmt: skip
    assert stored
    assert max(np.abs(one.astype(int)).max() for one in stored) <= 64
    assert quality(model, quantized.path, feeds[0]) > 25


def test_sound_of_any_length_is_rounded_from_a_generator_that_is_consumed_once(tmp_path, card, quality):
    model = blocks.conformer_block(tmp_path)
    feeds = [blocks.conformer_feed(seed=seed) for seed in range(3)]
    nearest, adaptive = (
        quality(
            model,
            recipes.static(model, tmp_path / "a.onnx", iter(feeds), **INT4, rounding=rounding, card=card).path,
            blocks.conformer_feed(seed=0),
        )
        for rounding in ("nearest", "adaptive")
    )
    assert adaptive > nearest


def test_ranges_alone_do_not_say_what_layers_read(tmp_path, card):
    model = blocks.linear(tmp_path)
    ranges = calibration.collect(model, [blocks.linear_feed()])
    with pytest.raises(ValueError, match=r"adaptive' looks at what each layer reads.*give a reader"):
        recipes.static(model, tmp_path / "a.onnx", ranges=ranges, rounding="adaptive", card=card)


def test_other_roundings_and_7_bits_of_4_are_refused(tmp_path, card):
    model, feeds = blocks.linear(tmp_path), [blocks.linear_feed()]
    with pytest.raises(ValueError, match="rounding is 'up'; expected 'nearest' or 'adaptive'"):
        recipes.static(model, tmp_path / "a.onnx", feeds, rounding="up", card=card)
    with pytest.raises(ValueError, match="reduce_range=True guards products of 8-bit codes"):
        recipes.static(model, tmp_path / "a.onnx", feeds, **INT4, reduce_range=True, card=card)
    with pytest.raises(ValueError, match="weight_dtype is 'int4'; expected 'uint8', 'int8' or None"):
        recipes.dynamic(model, tmp_path / "a.onnx", weight_dtype="int4", card=card)
