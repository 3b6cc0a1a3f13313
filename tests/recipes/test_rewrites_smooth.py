"""Smoothing: the float function stays, and a loud channel no longer takes the codes of the others."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlab import graph, models, recipes
from qlab.runtime import open_session
from tests.builders import blocks
from tests.builders.blocks import FLOAT, node, noise, save, value, weights

ALIKE = 1e-5  # of the largest number
LOUD = 60


def apart(model, other, feed):
    """The largest difference of two models' answers over the largest number."""
    pairs = zip(*(open_session(path).run(None, feed) for path in (model, other)), strict=True)
    return max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in pairs)


def attention(folder, *, written_out=False, residual=False, bias=True, loud=LOUD):
    """A LayerNorm with one loud channel, which q, k and v read through small weights; `residual`, so does a sum.

    written_out  a norm by the mean absolute number instead, which onnxruntime does not fuse
    """
    gain = np.ones(16, np.float32)
    gain[3] = loud
    w = {"gain": gain, "shift": noise(16, seed=1) * gain, "tiny": np.float32(1e-5)}
    w |= {name: weights(16, 16, seed=seed) / gain[:, None] for seed, name in enumerate(("wq", "wk", "wv"))}
    norm = [node("LayerNormalization", ["x", "gain", *["shift"] * bias], ["n"], "norm")]
    if written_out:
        norm = [
            node("ReduceMean", ["x"], ["m"], axes=[-1]),
            node("Sub", ["x", "m"], ["d"]),
            node("Abs", ["d"], ["p"]),
            node("ReduceMean", ["p"], ["s"], axes=[-1]),
            node("Add", ["s", "tiny"], ["e"]),
            node("Div", ["d", "e"], ["h"]),
            node("Mul", ["h", "gain"], ["g"], "norm"),
            node("Add", ["g", "shift"], ["n"]),
        ]
    nodes = [
        *norm,
        *(node("MatMul", ["n", f"w{k}"], [k], k) for k in "qkv"),
        node("Sum", ["q", "k", "v", *["n"] * residual], ["y"], "sum"),
    ]
    ends = [[value(name, FLOAT, ["n", 5, 16])] for name in "xy"]
    return save(folder / "attention.onnx", nodes, *ends, w)


def feeds(count=3):
    return [{"x": noise(2, 5, 16, seed=seed)} for seed in range(count)]


def stored(path):
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.load(path).graph.initializer}


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"written_out": True}], ids=str)
def test_q_k_and_v_share_one_factor_and_the_norms_bias_takes_it_too(options, tmp_path):
    model = attention(tmp_path, **options)
    result = recipes.smooth(model, tmp_path / "smoothed.onnx", feeds())
    assert apart(model, result, feeds()[0]) < ALIKE
    assert result.done == ("norm -> q",)
    before, after = stored(model), stored(result)
    name = next(one for one in after if one.startswith("gain"))
    factors = before["gain"] / after[name]
    for w in ("wq", "wk", "wv"):
        np.testing.assert_allclose(after[w], before[w] * factors[:, None], rtol=1e-5)
    assert factors.argmax() == 3


def test_the_factors_are_those_of_the_paper(tmp_path):
    model = attention(tmp_path)
    result = recipes.smooth(model, tmp_path / "smoothed.onnx", feeds(), alpha=0.7)
    session = graph.opened(model).unoptimized(shown=["n"])
    a = np.max([np.abs(session.run(["n"], feed)[0]).max(axis=(0, 1)) for feed in feeds()], axis=0)
    before, after = stored(model), stored(result)
    w = np.max([np.abs(before[f"w{k}"]).max(axis=1) for k in "qkv"], axis=0)
    np.testing.assert_allclose(before["gain"] / after["gain"], a**0.7 / w**0.3, rtol=1e-5)


def test_a_loud_channel_leaves_the_others_their_codes(tmp_path, card, quality):
    model = attention(tmp_path)
    smoothed = recipes.smooth(model, tmp_path / "smoothed.onnx", feeds())
    plain, better = (
        recipes.static(one, tmp_path / f"{index}.onnx", feeds(), per_channel=False, card=card)
        for index, one in enumerate((model, smoothed))
    )
    won = quality(model, better, feeds()[0]) - quality(model, plain, feeds()[0])
    assert won > 6, won


def test_a_norm_that_a_residual_reads_stays_and_says_why(tmp_path):
    model = attention(tmp_path, residual=True)
    result = recipes.smooth(model, tmp_path / "smoothed.onnx", feeds())
    assert not result.done
    assert "the channels are an output of the model" in result.left
    assert apart(model, result, feeds()[0]) < ALIKE


def test_channels_that_never_speak_keep_their_factor(tmp_path):
    model = attention(tmp_path, bias=False)
    proto = onnx.load(model)
    gain = next(tensor for tensor in proto.graph.initializer if tensor.name == "gain")
    gain.CopyFrom(onnx.numpy_helper.from_array(np.float32([0, *[1] * 15]), "gain"))
    onnx.save(proto, model)
    result = recipes.smooth(model, tmp_path / "smoothed.onnx", feeds())
    assert apart(model, result, feeds()[0]) < ALIKE
    np.testing.assert_array_equal(stored(result)["wq"][0], stored(model)["wq"][0])


@settings(max_examples=10, deadline=None)
@given(alpha=st.floats(0, 1), loud=st.sampled_from([0.01, 1, 300]), written_out=st.booleans())
def test_whatever_alpha_the_function_stays(tmp_path_factory, alpha, loud, written_out):
    folder = tmp_path_factory.mktemp("smooth")
    model = attention(folder, loud=loud, written_out=written_out)
    result = recipes.smooth(model, folder / "smoothed.onnx", feeds(1), alpha=alpha)
    assert len(result.done) == 1
    assert apart(model, result, feeds()[1]) < ALIKE


def test_products_behind_relu_are_smoothed_as_well(tmp_path):
    model = blocks.residual_cnn(tmp_path)
    result = recipes.smooth(model, tmp_path / "smoothed.onnx", [blocks.cnn_feed()])
    assert len(result.done) == 2
    assert apart(model, result, blocks.cnn_feed(seed=1)) < ALIKE


def test_the_conformer_computes_the_same(tmp_path):
    given_feeds = [models.feed(one.samples) for one in models.utterances("calibration")[:2]]
    result = recipes.smooth(models.path("conformer"), tmp_path / "smoothed.onnx", given_feeds)
    assert len(result.done) > 20
    assert apart(models.path("conformer"), result, given_feeds[1]) < ALIKE
    assert "24 LayerNormalization" in repr(result)


def test_a_generator_is_read_once_and_a_reader_of_onnxruntime_too(tmp_path):
    model = attention(tmp_path)
    one = recipes.smooth(model, tmp_path / "one.onnx", (feed for feed in feeds()))
    two = recipes.smooth(model, tmp_path / "two.onnx", feeds())
    assert one.path.read_bytes() == two.path.read_bytes()


@pytest.mark.parametrize(
    ("reader", "options", "why"),
    [
        ([], {}, "the reader gave no feed"),
        (iter(()), {}, "the reader gave no feed"),
        ([{"z": noise(2, 5, 16)}], {}, r"feed 0 of the reader: .*missing: \['x'\]"),
        ([{"x": noise(2, 5, 16)}, {"x": noise(2, 5, 3)}], {}, "feed 1 of the reader: .*has shape"),
        ([{"x": noise(2, 5, 16) * np.float32(np.nan)}], {}, "feed 0 of the reader: .*NaN"),
        (7, {}, "feed holds int"),
        (feeds(), {"alpha": 1.5}, r"alpha is 1\.5; expected a number from 0"),
        (feeds(), {"alpha": "much"}, "alpha is 'much'"),
        (feeds(), {"alpha": float("nan")}, "alpha is nan"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_and_nothing_is_left_behind(reader, options, why, tmp_path):
    model = attention(tmp_path)
    with pytest.raises(ValueError, match=why):
        recipes.smooth(model, tmp_path / "smoothed.onnx", reader, **options)
    assert list(tmp_path.iterdir()) == [model]
