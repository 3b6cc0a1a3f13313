"""Equalizing: the float function stays, and channels that share one scale get codes."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlab import graph, models, recipes
from qlab.course.lessons.common import digits_right, rescaled
from qlab.runtime import open_session
from tests.builders import blocks
from tests.builders.blocks import FLOAT, node, noise, save, value, weights

ALIKE = 1e-5  # of the largest number


def apart(model, other, feed):
    """The largest difference of two models' answers over the largest number."""
    pairs = zip(*(open_session(path).run(None, feed) for path in (model, other)), strict=True)
    return max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in pairs)


def chain(folder, between, *, first=None, second=None, outputs=("y",), more=(), listed=(), opset=17, **extra):
    """Two convolutions, 3 -> 6 -> 4 channels, of very unlike ranges, and `between` from tensor "c" to "r"."""
    scales = 2.0 ** np.arange(-3, 3, dtype=np.float32)
    w = {"w": weights(6, 3, 3, 3) * scales[:, None, None, None], "b": noise(6, seed=1) * scales,
         "v": weights(4, 6, 1, 1, seed=2), "u": noise(4, seed=3)} | extra  # fmt: skip
    nodes = [
        first or node("Conv", ["x", "w", "b"], ["c"], "first", pads=[1, 1, 1, 1]),
        *between,
        second or node("Conv", ["r", "v", "u"], ["y"], "second"),
        *more,
    ]
    inputs = [value("x", FLOAT, ["n", 3, 8, 8]), *(value(name, FLOAT, w[name].shape) for name in listed)]
    return save(folder / "chain.onnx", nodes, inputs, [value(name, FLOAT, None) for name in outputs], w, opset=opset)


def feed(seed=5):
    return {"x": noise(2, 3, 8, 8, seed=seed)}


def changed(folder, model):
    """What equalize says of a model whose function it must leave as it was."""
    result = recipes.equalize(model, folder / "equalized.onnx")
    assert apart(model, result, feed()) < ALIKE
    assert [each.name for each in folder.iterdir() if each.name.startswith(".qlab")] == []
    return result


PASS = {
    "nothing but a name": [node("Identity", ["c"], ["r"])],
    "Relu": [node("Relu", ["c"], ["r"])],
    "LeakyRelu": [node("LeakyRelu", ["c"], ["r"], alpha=0.3)],
    "PRelu": [node("PRelu", ["c", "slope"], ["r"])],
    "Clip without an upper end": [node("Clip", ["c", "zero"], ["r"])],
    "MaxPool": [node("MaxPool", ["c"], ["r"], kernel_shape=[2, 2])],
    "AveragePool": [node("AveragePool", ["c"], ["r"], kernel_shape=[2, 2], pads=[1, 1, 0, 0])],
    "GlobalAveragePool": [node("GlobalAveragePool", ["c"], ["r"])],
    "a mean": [node("ReduceMean", ["c"], ["r"], axes=[2, 3], keepdims=1)],
    "Pad": [node("Pad", ["c", "pads"], ["r"])],
    "Resize": [node("Resize", ["c", "", "scales"], ["r"], mode="linear")],
    "there and back": [node("Transpose", ["c"], ["t"], perm=[0, 2, 3, 1]),
                       node("Relu", ["t"], ["s"]), node("Transpose", ["s"], ["r"], perm=[0, 3, 1, 2])],
    "a constant of a number a channel": [node("Add", ["c", "column"], ["a"]), node("Relu", ["a"], ["r"])],
    "a constant of one number": [node("Sub", ["one", "c"], ["a"]), node("Relu", ["a"], ["r"])],
    "a product with a constant": [node("Mul", ["column", "c"], ["a"]), node("Relu", ["a"], ["r"])],
    "BatchNorm": [node("BatchNormalization", ["c", "gain", "shift", "shift", "gain"], ["r"])],
    "a residual": [node("Relu", ["c"], ["p"]), node("Conv", ["p", "square"], ["q"], "middle"),
                   node("Add", ["p", "q"], ["r"])],
    "a depthwise Conv": [node("Relu", ["c"], ["p"]), node("Conv", ["p", "depth"], ["r"], "deep", group=6)],
    "a grouped Conv": [node("Relu", ["c"], ["p"]), node("Conv", ["p", "grouped"], ["r"], "deep", group=2)],
    "a ConvTranspose": [node("Relu", ["c"], ["p"]), node("ConvTranspose", ["p", "square"], ["r"], "up")],
    "a grouped ConvTranspose": [node("ConvTranspose", ["c", "up"], ["r"], "up", group=2)],
}  # fmt: skip
CONSTANTS = {
    "slope": np.abs(noise(6, 1, 1, seed=4)), "zero": np.float32(0), "one": np.float32([0.3]),
    "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "scales": np.float32([1, 1, 2, 2]), "column": noise(6, 1, 1, seed=6),
    "gain": np.abs(noise(6, seed=7)) + 0.5, "shift": noise(6, seed=8), "square": weights(6, 6, 1, 1, seed=9),
    "depth": weights(6, 1, 3, 3, seed=10), "grouped": weights(6, 3, 3, 3, seed=11), "up": weights(6, 3, 2, 2, seed=12),
}  # fmt: skip


def used(nodes):
    read = {name for one in nodes for name in one.input}
    return {name: array for name, array in CONSTANTS.items() if name in read}


@pytest.mark.parametrize("between", list(PASS))
def test_a_factor_per_channel_passes(between, tmp_path):
    result = changed(tmp_path, chain(tmp_path, PASS[between], **used(PASS[between])))
    joints = 2 if "Conv" in between else 1
    assert len(result.done) == joints
    assert list(result.left) == ["the channels are an output of the model"]


STOP = {
    "Clip": ([node("Clip", ["c", "zero", "one"], ["r"])], "Clip cuts the channels"),
    "Sigmoid": ([node("Sigmoid", ["c"], ["r"])], "Sigmoid reads the channels"),
    "SiLU": ([node("Sigmoid", ["c"], ["s"]), node("Mul", ["c", "s"], ["r"])], "reads the channels"),
    "LayerNorm": ([node("LayerNormalization", ["c", "line"], ["r"])], "mixes the channels"),
    "a mean of the channels": ([node("ReduceMean", ["c"], ["m"], axes=[1]), node("Sub", ["c", "m"], ["r"])], "Reduce"),
    "Split and Concat": ([node("Split", ["c"], ["s", "t"], axis=1), node("Concat", ["t", "s"], ["r"], axis=1)], "Spli"),
    "an input beside": ([node("Add", ["c", "x6"], ["r"])], "come from an input"),
    "a filled edge": ([node("Pad", ["c", "pads", "one0"], ["r"])], "Pad reads the channels"),
}  # fmt: skip


@pytest.mark.parametrize("between", list(STOP))
def test_what_a_factor_does_not_pass_is_left_and_says_why(between, tmp_path):
    nodes, why = STOP[between]
    extra = used(nodes) | {"line": np.abs(noise(8)), "one0": np.float32(1), "x6": noise(1, 6, 8, 8)}
    if between == "Clip":
        extra["one"] = np.float32(6)
    if between == "an input beside":
        del extra["x6"]
        nodes = [node("Concat", ["x", "x"], ["x6"], axis=1), *nodes]
        why = "Concat"
    read = {name for one in nodes for name in one.input}
    result = changed(tmp_path, chain(tmp_path, nodes, **{name: extra[name] for name in extra if name in read}))
    assert not result.done
    assert any(why in reason for reason in result.left), result


def test_channels_that_are_an_output_stay(tmp_path):
    result = changed(tmp_path, chain(tmp_path, [node("Relu", ["c"], ["r"])], outputs=("y", "r")))
    assert not result.done
    assert sum(map(len, result.left.values())) == 2


def test_channels_that_a_body_reads_stay(tmp_path):
    body = [
        onnx.helper.make_graph([node("Relu", ["c"], [name])], name, [], [value(name, FLOAT, None)])
        for name in ("then", "else")
    ]
    nodes = [node("ReduceMax", ["x"], ["m"], keepdims=0), node("Greater", ["m", "zero"], ["g"]),
             node("If", ["g"], ["r"], then_branch=body[0], else_branch=body[1])]  # fmt: skip
    result = changed(tmp_path, chain(tmp_path, nodes, zero=np.float32(0)))
    assert not result.done


def test_all_readers_of_the_channels_take_the_same_factor_or_none_does(tmp_path):
    both = [node("Conv", ["r", "v"], ["z"], "third")]
    result = changed(tmp_path, chain(tmp_path, [node("Relu", ["c"], ["r"])], outputs=("y", "z"), more=both))
    assert "several nodes share the weights" in result.left  # second and third read the same v
    own = [node("Conv", ["r", "own"], ["z"], "third")]
    result = changed(
        tmp_path, chain(tmp_path, [node("Relu", ["c"], ["r"])], outputs=("y", "z"), more=own, own=weights(2, 6, 1, 1))
    )
    assert len(result.done) == 1
    spoiled = [node("Softmax", ["r"], ["z"], "soft")]
    result = changed(tmp_path, chain(tmp_path, [node("Relu", ["c"], ["r"])], outputs=("y", "z"), more=spoiled))
    assert not result.done


def test_weights_that_serve_twice_are_not_rescaled_for_one(tmp_path):
    between = [node("Relu", ["c"], ["p"]), node("Conv", ["p", "square"], ["q"]), node("Conv", ["q", "square"], ["r"])]
    result = changed(tmp_path, chain(tmp_path, between, **used(between)))
    assert len(result.left["several nodes share the weights"]) == 3


def test_a_bias_that_serves_twice_is_kept_for_the_other(tmp_path):
    between = [node("Relu", ["c"], ["p"]), node("Conv", ["p", "square", "b"], ["r"], "middle")]
    assert len(changed(tmp_path, chain(tmp_path, between, **used(between))).done) == 2


def test_a_dead_channel_keeps_its_factor_and_a_bias_of_one_number_its_shape(tmp_path):
    dead = weights(6, 3, 3, 3)
    dead[2] = 0
    v = weights(4, 6, 1, 1)
    v[:, 4] = 0
    assert len(changed(tmp_path, chain(tmp_path, [node("Relu", ["c"], ["r"])], w=dead, v=v)).done) == 1
    only = {"w": weights(1, 3, 3, 3), "b": noise(1), "v": weights(4, 1, 1, 1)}
    assert len(changed(tmp_path, chain(tmp_path, [node("Relu", ["c"], ["r"])], **only)).done) == 1


@pytest.mark.parametrize("opset", [9, 11, 13, 18, 21])
def test_any_opset_and_weights_listed_as_inputs(opset, tmp_path):
    model = chain(tmp_path, [node("Relu", ["c"], ["r"])], listed=("w", "b", "v"), opset=opset)
    result = changed(tmp_path, model)
    assert len(result.done) == 1
    assert any("listed as inputs" in note for note in result.notes)


@pytest.mark.parametrize("gemm", [True, False])
def test_matrix_products(gemm, tmp_path):
    model = blocks.linear(tmp_path, gemm=gemm)
    result = recipes.equalize(model, tmp_path / "equalized.onnx")
    assert len(result.done) == 1
    assert apart(model, result, blocks.linear_feed()) < ALIKE
    one, two = (weight_ranges(result.path, *each) for each in ((0, gemm), (1, not gemm)))
    np.testing.assert_allclose(one, two, rtol=1e-2)


def weight_ranges(path, layer, first):
    """The largest weight of each hidden channel, in the layer that writes or in the one that reads them."""
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.load(path).graph.initializer}
    products = [one for one in graph.load(path).graph.node if one.op_type in ("Gemm", "MatMul")]
    w = np.abs(tensors[products[layer].input[1]])
    return w.max(axis=1 if first else 0)


def test_flattened_channels_are_followed_where_each_is_one_number(tmp_path):
    w = {"w": weights(6, 3, 3, 3), "head": weights(6, 4, seed=1), "wide": weights(6 * 36, 4, seed=2)}
    for pooled, done in ((True, 1), (False, 0)):
        pool = [node("GlobalAveragePool", ["c"], ["p"])] if pooled else [node("Relu", ["c"], ["p"])]
        nodes = [node("Conv", ["x", "w"], ["c"], "first"), *pool, node("Flatten", ["p"], ["f"], "flat"),
                 node("MatMul", ["f", "head" if pooled else "wide"], ["y"], "head")]  # fmt: skip
        model = save(tmp_path / "m.onnx", nodes, [value("x", FLOAT, ["n", 3, 8, 8])], [value("y", FLOAT, None)], w)
        assert len(changed(tmp_path, model).done) == done


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_whatever_stands_between_layers_the_function_stays(tmp_path_factory, data):
    """Three layers in a row, with one to three steps drawn between them."""
    folder, nodes, name, extra = tmp_path_factory.mktemp("drawn"), [], "c", {}
    steps = [key for key in PASS if key not in ("GlobalAveragePool", "a mean")]
    for place in range(data.draw(st.integers(1, 3))):
        chosen = PASS[data.draw(st.sampled_from(steps))]
        renamed = {one: f"{one}_{place}" for step in chosen for one in step.output} | {"c": name}
        for step in chosen:
            new = onnx.NodeProto()
            new.CopyFrom(step)
            new.name = f"{step.op_type}_{len(nodes)}"
            new.input[:] = [renamed.get(one, one) for one in step.input]
            new.output[:] = [renamed[one] for one in step.output]
            nodes.append(new)
        name, extra = f"r_{place}", extra | used(chosen)
    nodes.append(node("Relu", [name], ["r"]))
    changed(folder, chain(folder, nodes, **extra))


@pytest.mark.parametrize(("name", "least"), [("digits", 8), ("face", 30), ("conformer", 1)])
def test_the_courses_networks_compute_the_same(name, least, tmp_path):
    given_feed = {
        "digits": lambda: {"images": models.digit_split()[0][:8]},
        "face": lambda: {"audio": noise(1, 144, 16), "face": np.abs(noise(1, 6, 96, 96)).clip(0, 1)},
        "conformer": lambda: models.feed(models.utterances("test")[0].samples),
    }[name]()
    result = recipes.equalize(models.path(name), tmp_path / "equalized.onnx")
    assert len(result.done) >= least
    assert apart(models.path(name), result, given_feed) < ALIKE


def test_a_network_with_rescaled_channels_is_lost_per_tensor_and_comes_back(tmp_path, card):
    """Its floats are the same, bit for bit; int8 guesses; equalized, it reads as before."""
    x_train, _, x, y = models.digit_split()
    feeds = [{"images": x_train[:64]}]
    plain = recipes.prepare(models.path("digits"), tmp_path / "plain.onnx")
    victim = rescaled(models.path("digits"), tmp_path / "victim.onnx")
    np.testing.assert_array_equal(digits_right(plain, x, y)[2], digits_right(victim, x, y)[2])

    def right(model):
        quantized = recipes.static(model, tmp_path / "int8.onnx", feeds, per_channel=False, card=card)
        return digits_right(quantized, x, y)[0].mean()

    equalized = recipes.equalize(victim, tmp_path / "equalized.onnx")
    lost, back = right(victim), right(equalized)
    assert lost < 0.2
    assert back > 0.99


def test_what_it_says(tmp_path):
    result = recipes.equalize(chain(tmp_path, [node("Relu", ["c"], ["r"])]), tmp_path / "e.onnx")
    lines = repr(result).splitlines()
    assert lines[0] == f"equalize: {tmp_path / 'e.onnx'}, 1 of 2 joints"
    assert "left: 1 of 2: the channels are an output of the model" in lines[-1]
    assert result.done == ("first -> second",)
    assert graph.opened(result).operators["Conv"] == 2  # a Rewritten stands for its path


def test_what_cannot_be_equalized_is_refused_and_nothing_is_written(tmp_path, card):
    model = chain(tmp_path, [node("Relu", ["c"], ["r"])])
    quantized = recipes.static(model, tmp_path / "int8.onnx", [feed()], card=card)
    here = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match="already quantized"):
        recipes.equalize(quantized, tmp_path / "e.onnx")
    with pytest.raises(ValueError, match="would overwrite the model"):
        recipes.equalize(model, model)
    with pytest.raises(FileNotFoundError, match="no such model file"):
        recipes.equalize(tmp_path / "none.onnx", tmp_path / "e.onnx")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        recipes.equalize(model, tmp_path / "none" / "e.onnx")
    assert sorted(tmp_path.iterdir()) == here
