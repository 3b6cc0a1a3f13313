"""Bias correction: the means of a quantized layer's channels are those of fp32, and what fused stays fused."""

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

from qlab import graph, models, recipes
from qlab.course.lessons.common import Feeds
from qlab.recipes.quantizers import captured_logs
from tests.builders import blocks
from tests.builders.blocks import FLOAT, node, noise, save, value, weights


def network(folder, *, bias=True):
    """Conv, Relu, depthwise Conv, Relu, Conv, pooling, Gemm; `bias`, whether the products have one."""
    w = {"w1": weights(8, 3, 3, 3), "w2": weights(8, 1, 3, 3, seed=1), "w3": weights(8, 8, 1, 1, seed=2),
         "w4": weights(8, 5, seed=3)}  # fmt: skip
    w |= {f"b{one}": noise(size, seed=10 + one) for one, size in enumerate((8, 8, 8, 5), 1)} if bias else {}

    def inputs(x, place):
        return [x, f"w{place}", *[f"b{place}"] * bias]

    nodes = [
        node("Conv", inputs("x", 1), ["c1"], "first", pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r1"], "relu1"),
        node("Conv", inputs("r1", 2), ["c2"], "deep", pads=[1, 1, 1, 1], group=8),
        node("Relu", ["c2"], ["r2"], "relu2"),
        node("Conv", inputs("r2", 3), ["c3"], "wide"),
        node("GlobalAveragePool", ["c3"], ["p"], "pool"),
        node("Flatten", ["p"], ["f"], "flat"),
        node("Gemm", inputs("f", 4), ["y"], "head"),
    ]
    ends = [value("x", FLOAT, ["n", 3, 8, 8])], [value("y", FLOAT, ["n", 5])]
    return save(folder / "network.onnx", nodes, *ends, w)


def feeds(count=3):
    return [{"x": noise(4, 3, 8, 8, seed=seed)} for seed in range(count)]


def spoiled(folder, card, model=None, **options):
    """A quantized model with few codes for its weights: the means of its channels are off."""
    model = model or network(folder, **options)
    quantized = recipes.static(model, folder / "int8.onnx", feeds(), per_channel=False, reduce_range=True, card=card)
    return model, quantized


def means(model, names, given):
    session = graph.opened(model).unoptimized(shown=names)
    return [np.mean([session.run([name], feed)[0].mean(axis=(0, *range(2, rank(name)))) for feed in given], axis=0)
            for name in names]  # fmt: skip


def step(result, name):
    """The scale of the int32 bias of a node."""
    network = graph.opened(result).network
    (product,) = (one for one in network.items if one.name == name)
    return onnx.numpy_helper.to_array(network.constants[network.maker(product, 2).input[1]])


def rank(name):
    return 2 if name in ("y", "y_QuantizeLinear_Input") else 4


@pytest.mark.parametrize("bias", [True, False])
def test_the_means_agree_afterwards_and_what_fused_stays_fused(bias, tmp_path, card):
    model, quantized = spoiled(tmp_path, card, bias=bias)
    result = recipes.correct_bias(model, quantized, tmp_path / "corrected.onnx", feeds())
    assert result.done == ("first", "deep", "wide", "head")
    assert not result.left
    assert graph.census(quantized) == graph.census(result)
    assert not result.notes
    outputs = {one.name: one.output[0] for one in graph.load(result.path).graph.node}
    names = [outputs[name] for name in result.done]
    wanted = means(model, ["c1", "c2", "c3", "y"], feeds())
    steps = [step(result, name) for name in result.done]
    for after, want, of_bias in zip(means(result, names, feeds()), wanted, steps, strict=True):
        assert np.all(np.abs(after - want) <= 0.501 * of_bias + 1e-6)
    off = [np.abs(found - want).max() for found, want in zip(means(quantized, names, feeds()), wanted, strict=True)]
    assert max(off[1:] / np.array([np.max(one) for one in steps[1:]])) > 1  # as they were not before


def test_it_says_what_it_won_on_the_feeds(tmp_path, card, quality):
    model, quantized = spoiled(tmp_path, card)
    result = recipes.correct_bias(model, quantized, tmp_path / "corrected.onnx", feeds(1))
    before, after = (quality(model, one, feeds(1)[0]) for one in (quantized, result))
    lines = repr(result).splitlines()
    assert lines[0] == f"correct_bias: {tmp_path / 'corrected.onnx'}, 4 of 4 layers"
    assert lines[1] == f"  SQNR on the feeds: {before:.1f} dB became {after:.1f} dB (the worst float output)"
    assert after > before
    assert graph.opened(result).metadata == graph.opened(quantized).metadata


@pytest.mark.parametrize("weight_type", [QuantType.QInt8, QuantType.QInt4])
@pytest.mark.parametrize("per_channel", [True, False])
def test_a_file_of_onnxruntimes_own_quantizer(per_channel, weight_type, tmp_path):
    model, made = network(tmp_path), tmp_path / "made.onnx"
    options = {"quant_format": QuantFormat.QDQ, "per_channel": per_channel, "weight_type": weight_type}
    with captured_logs():
        quantize_static(model, made, Feeds(feeds()), **options)
    result = recipes.correct_bias(model, made, tmp_path / "corrected.onnx", feeds())
    assert len(result.done) == 4
    assert graph.census(made) == graph.census(result)


def test_matrix_products_take_the_correction_in_the_constant_behind_them(tmp_path, card):
    """Tensors of three dimensions: a MatMul and an Add of 8-bit codes. A product without an Add has no bias."""
    w = {"w": weights(16, 12), "b": noise(12, seed=1), "v": weights(12, 4, seed=2)}
    nodes = [
        node("MatMul", ["x", "w"], ["m"], "first"),
        node("Add", ["m", "b"], ["a"], "plus"),
        node("Relu", ["a"], ["r"], "relu"),
        node("MatMul", ["r", "v"], ["y"], "second"),
    ]
    ends = [value("x", FLOAT, ["n", 5, 16])], [value("y", FLOAT, ["n", 5, 4])]
    model = save(tmp_path / "m.onnx", nodes, *ends, w)
    given = [{"x": noise(8, 5, 16, seed=seed)} for seed in range(2)]
    quantized = recipes.static(model, tmp_path / "int8.onnx", given, per_channel=False, reduce_range=True, card=card)
    result = recipes.correct_bias(model, quantized, tmp_path / "corrected.onnx", given)
    assert result.done == ("first",)
    assert [names for why, names in result.left.items() if "without a constant" in why] == [["second"]]
    assert graph.census(quantized) == graph.census(result)

    def mean(path, name):
        session = graph.opened(path).unoptimized(shown=[name])
        return np.mean([session.run([name], feed)[0] for feed in given], axis=(0, 1, 2))

    want, before, after = mean(model, "a"), *(mean(one, "r") for one in (quantized, result))
    assert np.abs(after - want).mean() < 0.7 * np.abs(before - want).mean()


def test_products_in_float_and_dynamic_ones_are_left(tmp_path, card):
    model, given = network(tmp_path), feeds()
    quantized = recipes.hybrid(model, tmp_path / "int8.onnx", given, card=card)
    result = recipes.correct_bias(model, quantized, tmp_path / "corrected.onnx", given)
    assert result.done == ("first", "deep", "wide")
    assert "MatMulInteger: no product with a bias in Q/DQ format" in result.left
    quantized = recipes.static(model, tmp_path / "int8.onnx", given, exclude=["wide"], card=card)
    result = recipes.correct_bias(model, quantized, tmp_path / "corrected.onnx", given)
    assert list(result.left.values()) == [["wide"]]


def test_the_digits_take_it(tmp_path, card):
    x, _, _, _ = models.digit_split()
    given = [{"images": x[:64]}]
    quantized = recipes.static(models.path("digits"), tmp_path / "int8.onnx", given, per_channel=False, card=card)
    result = recipes.correct_bias(models.path("digits"), quantized, tmp_path / "corrected.onnx", given)
    assert len(result.done) == 12
    assert not result.left
    assert not result.notes


def other(folder, seed):
    """The network with other weights, a stranger's."""
    proto = onnx.load(network(folder))
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(onnx.numpy_helper.from_array(noise(*tensor.dims, seed=seed), tensor.name))
    onnx.save(proto, folder / "other.onnx")
    return folder / "other.onnx"


def test_what_does_not_belong_together_is_refused_and_nothing_is_left_behind(tmp_path, card):
    model, quantized = spoiled(tmp_path, card)
    stranger, linear = other(tmp_path, 9), blocks.linear(tmp_path)
    dynamic = recipes.dynamic(linear, tmp_path / "dynamic.onnx", card=card)
    here = sorted(tmp_path.iterdir())
    cases = [
        ((stranger, quantized, feeds()), "it was made of another model"),
        ((linear, quantized, feeds()), "it was made of another model"),
        ((model, model, feeds()), "no product between Q and DQ"),
        ((linear, dynamic, feeds()), "no product between Q and DQ"),
        ((quantized, quantized, feeds()), "already quantized"),
        ((model, quantized, []), "the reader gave no feed"),
        ((model, quantized, [{"z": noise(1, 3, 8, 8)}]), r"feed 0 of the reader: .*missing: \['x'\]"),
        ((model, quantized, [*feeds(1), {"x": noise(1, 2, 8, 8)}]), "feed 1 of the reader: .*has shape"),
        ((model, quantized, 7), "feed holds int"),
    ]
    for (fp32, int8, reader), why in cases:
        with pytest.raises(ValueError, match=why):
            recipes.correct_bias(fp32, int8, tmp_path / "corrected.onnx", reader)
    with pytest.raises(ValueError, match="would overwrite the model"):
        recipes.correct_bias(model, quantized, quantized, feeds())
    assert sorted(tmp_path.iterdir()) == here
