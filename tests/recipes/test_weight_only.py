"""recipes.weight_only: matrices as codes in blocks, by three methods."""

import importlib

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from qlab import graph, measure, models, recipes, sqnr_db
from qlab.calibration.hessians import hessians
from qlab.numerics.blockwise import gptq, half_quadratic, round_to_nearest
from qlab.runtime import open_session
from tests.builders import blocks

ROOM = importlib.import_module("qlab.recipes.weight_only")  # the front door's name is that of the function
READER = [blocks.conformer_feed(seed=seed) for seed in (1, 2)]


def fates(quantized):
    return {fate.name: fate.how for fate in quantized.products}


def products(path):
    return [node for node in onnx.load(path).graph.node if node.op_type == "MatMulNBits"]


def stored(path):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


def floats(path):
    """{name of a product: its weights [K, N]} as the codes in the file tell them."""
    model = graph.in_floats(onnx.load(path))
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return {node.name: weights[node.input[1]] for node in model.graph.node if node.op_type == "MatMul" and
            node.input[1] in weights}  # fmt: skip


@pytest.mark.parametrize("method", ["rtn", "gptq", "hqq"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_every_matrix_and_pointwise_convolution_becomes_codes(method, symmetric, tmp_path, quality):
    model = blocks.conformer_block(tmp_path)
    reader = READER if method == "gptq" else None
    made = recipes.weight_only(model, tmp_path / "a.onnx", reader, method=method, symmetric=symmetric)
    assert fates(made) == {
        **dict.fromkeys(("q", "k", "v", "out", "pointwise1", "pointwise2"), "in blocks"),
        **dict.fromkeys(("scores", "context", "depthwise"), "float"),
    }
    assert quality(model, made.path, blocks.conformer_feed()) > 20
    assert {len(node.input) for node in products(made)} == {3 if symmetric else 4}


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_each_width_is_stored_as_its_repr_says_and_answers_as_its_weights_do(bits, tmp_path):
    model, feed = blocks.linear(tmp_path), blocks.linear_feed()
    made = recipes.weight_only(model, tmp_path / "a.onnx", bits=bits, block_size=16, accuracy_level=0)
    assert f"weights of {bits} bits in blocks of 16, symmetric, rounded to nearest" in repr(made)
    assert ("codes of 3 bits ride in 4, and are no smaller" in repr(made)) == (bits == 3)
    weights = blocks.weights(24, 32)
    codes = round_to_nearest(weights.T, bits=bits, block_size=16)
    np.testing.assert_array_equal(floats(made)["first"], codes.dequantize().T)
    in_floats = graph.in_floats(onnx.load(made)).SerializeToString()
    expected, found = (open_session(one).run(None, feed)[0] for one in (in_floats, made.path))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_result_says_what_it_is(tmp_path):
    model = blocks.conformer_block(tmp_path)
    made = recipes.weight_only(model, tmp_path / "a.onnx", READER, method="gptq", symmetric=False)
    assert repr(made).splitlines() == [
        f"weight_only: {tmp_path / 'a.onnx'}, {made.size_mb:.3g} MB (before: {made.original_mb:.3g} MB)",
        "  weights of 4 bits in blocks of 32, with zero points, GPTQ",
        f"  accuracy level 4: {made.choice.why}",
        "  as codes: 4 of 6 MatMul (in blocks), 2 of 3 Conv (in blocks)",
        "  in float: 2 of 6 MatMul: no constant weights: both factors move with the input",
        "  in float: 1 of 3 Conv: a convolution that is no matrix product",
        *repr(made).splitlines()[6:],
    ]
    assert repr(made).splitlines()[6].startswith("  in float besides, no products: ")
    assert made.size_mb < made.original_mb


@pytest.mark.parametrize(("level", "least", "most"), [(0, 100, np.inf), (1, 100, np.inf), (4, 25, 80)])
def test_the_accuracy_level_decides_how_activations_are_multiplied(level, least, most, tmp_path):
    made = recipes.weight_only(blocks.linear(tmp_path), tmp_path / "a.onnx", accuracy_level=level)
    in_floats = graph.in_floats(onnx.load(made)).SerializeToString()
    answers = [open_session(one).run(None, blocks.linear_feed())[0] for one in (in_floats, made.path)]
    is_integer = "activations int8" in repr(made)
    assert least < sqnr_db(*answers) <= most or (level == 4 and not is_integer)
    assert ("floats in every sum" in repr(made)) != is_integer
    assert made.census.integer["com.microsoft", "MatMulNBits"] == (2 if level == 4 else 0)


def test_level_4_without_an_integer_kernel_is_said_to_compute_in_floats(tmp_path, monkeypatch):
    monkeypatch.setattr(ROOM, "on_integers", lambda choice: False)
    made = recipes.weight_only(blocks.linear(tmp_path), tmp_path / "a.onnx")
    assert "accuracy level 4: floats in every sum nevertheless: onnxruntime has no integer kernel" in repr(made)


def test_the_bias_of_a_gemm_is_added_behind_its_product(tmp_path, quality):
    made = recipes.weight_only(blocks.linear(tmp_path), tmp_path / "a.onnx", bits=8, accuracy_level=0)
    assert [node.op_type for node in onnx.load(made).graph.node] == ["MatMulNBits", "Add", "Relu", "MatMulNBits", "Add"]
    assert quality(blocks.linear(tmp_path), made.path, blocks.linear_feed()) > 35


def test_gptq_beats_rounding_in_the_file_as_well(tmp_path, quality):
    """Two layers whose inputs resemble each other."""
    model = blocks.linear(tmp_path)
    mixing = blocks.noise(6, 24, seed=8)
    reader = [{"x": blocks.noise(64, 6, seed=seed) @ mixing} for seed in range(4)]
    lost = {}
    for method in ("rtn", "gptq"):
        made = recipes.weight_only(model, tmp_path / "a.onnx", reader, method=method, accuracy_level=0)
        lost[method] = quality(model, made.path, {"x": blocks.noise(64, 6, seed=9) @ mixing})
    assert lost["gptq"] > lost["rtn"] + 3


def tied(folder):
    """Two products of the same matrix, one of them transposed, of different inputs; a Gather of its rows."""
    w = {"w": blocks.weights(24, 24)}
    nodes = [
        blocks.node("MatMul", ["x", "w"], ["h"], "one"),
        blocks.node("Relu", ["h"], ["r"], "relu"),
        blocks.node("MatMul", ["r", "w"], ["m"], "two"),
        blocks.node("Gemm", ["m", "w"], ["y"], "turned", transB=1),
        blocks.node("Gather", ["w", "place"], ["row"], "looked_up"),
    ]
    outputs = [blocks.value("y", blocks.FLOAT, ["n", 24]), blocks.value("row", blocks.FLOAT, [24])]
    inputs = [blocks.value("x", blocks.FLOAT, ["n", 24]), blocks.value("place", blocks.INT64, [])]
    return blocks.save(folder / "tied.onnx", nodes, inputs, outputs, w)


@pytest.mark.parametrize("method", ["rtn", "gptq"])
def test_tied_weights_are_coded_once_for_all_that_they_are_multiplied_by(method, tmp_path):
    model, feed = tied(tmp_path), blocks.linear_feed() | {"place": np.array(3)}
    made = recipes.weight_only(model, tmp_path / "a.onnx", [feed], method=method, accuracy_level=0)
    one, two, turned = products(made)
    assert one.input[1] == two.input[1] != turned.input[1]
    w = blocks.weights(24, 24)
    np.testing.assert_array_equal(stored(made)["w"], w)  # for the Gather
    if method == "gptq":
        session = graph.opened(model).unoptimized(shown=["h", "r"])
        x, r = feed["x"], session.run(["r"], feed)[0]
        both = {"x": x.T.astype(float) @ x, "r": r.T.astype(float) @ r}
        np.testing.assert_array_equal(floats(made)["two"], gptq(w.T, both["x"] + both["r"]).dequantize().T)


def test_excluded_products_stay_float(tmp_path):
    model = blocks.conformer_block(tmp_path)
    made = recipes.weight_only(model, tmp_path / "a.onnx", exclude=("q", "pointwise1"))
    assert made.stayed_float["MatMul", "excluded by name"] == ["q"]
    assert made.stayed_float["Conv", "excluded by name"] == ["pointwise1"]


def test_what_is_no_matrix_of_the_main_graph_stays_float_and_says_why(tmp_path):
    w = {"vector": blocks.weights(24), "stack": blocks.weights(2, 24, 8)}
    nodes = [
        blocks.node("MatMul", ["x", "vector"], ["u"], "by_vector"),
        blocks.node("MatMul", ["x", "stack"], ["v"], "by_stack"),
    ]
    outputs = [blocks.value(name, blocks.FLOAT, None) for name in "uv"]
    model = blocks.save(tmp_path / "m.onnx", nodes, [blocks.value("x", blocks.FLOAT, ["n", 24])], outputs, w)
    made = recipes.weight_only(model, tmp_path / "a.onnx")
    assert all("no float32 matrix" in why for _, why in made.stayed_float)
    assert "nothing was quantized" in repr(made)
    inner = recipes.weight_only(blocks.branches(tmp_path), tmp_path / "b.onnx")
    assert {why for _, why in inner.stayed_float} <= {
        "inside If, Loop or Scan",
        "no constant weights: both factors move with the input",
    }


def test_padding_that_makes_the_file_larger_is_noted(tmp_path):
    made = recipes.weight_only(blocks.linear(tmp_path), tmp_path / "a.onnx", block_size=64)
    assert made.notes[0] == "58% of the codes are padding: blocks of 64 do not divide rows of 24, 32"
    assert recipes.weight_only(blocks.conformer_block(tmp_path), tmp_path / "b.onnx").notes == ()


def test_hessians_are_summed_in_groups_that_fit(tmp_path, monkeypatch):
    model = blocks.conformer_block(tmp_path)
    whole, grouped = (tmp_path / f"{name}.onnx" for name in "ab")
    recipes.weight_only(model, whole, READER, method="gptq")
    monkeypatch.setattr(ROOM, "GROUP", 8 * 32**2)
    recipes.weight_only(model, grouped, iter(READER), method="gptq")
    assert whole.read_bytes() == grouped.read_bytes()


def test_layer_errors_and_in_floats_read_the_result(tmp_path):
    model, feed = blocks.conformer_block(tmp_path), blocks.conformer_feed()
    made = recipes.weight_only(model, tmp_path / "a.onnx", bits=2)
    spoilt = {row.node for row in measure.layer_errors(model, made.path, feed).rows if row.local_db < 20}
    assert spoilt == {"q", "k", "v", "out", "pointwise1", "pointwise2"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "gptq"}, "gptq needs a reader"),
        ({"method": "awq"}, "method is 'awq'; expected one of rtn, gptq, hqq"),
        ({"method": ["rtn"]}, "method is"),
        ({"bits": 5}, "bits is 5; expected one of 2, 3, 4, 8"),
        ({"bits": True}, "bits is True; expected a whole number"),
        ({"block_size": 8}, "block_size is 8; expected a power of two from 16"),
        ({"block_size": 48}, "block_size is 48; expected a power of two"),
        ({"bits": 2, "block_size": 512}, "block_size is 512; for 2 bits onnxruntime takes 256 at most"),
        ({"symmetric": None}, "symmetric is None"),
        ({"accuracy_level": 2}, "accuracy_level is 2; expected 4"),
        ({"accuracy_level": "4"}, "accuracy_level is '4'; expected a whole number"),
        ({"exclude": ("nobody",)}, "exclude names 'nobody'"),
        ({"method": "gptq", "reader": []}, "the reader gave no feed"),
        ({"method": "gptq", "reader": [{"x": 1}]}, "feed 0 of the reader: feed has"),
        ({"method": "gptq", "reader": [READER[0] | {"speech": READER[0]["speech"] * np.inf}]}, "NaN or infinite"),
    ],
)
def test_what_cannot_be_is_refused_by_name_and_nothing_is_written(options, message, tmp_path):
    with pytest.raises(ValueError, match=message), np.errstate(invalid="ignore"):
        recipes.weight_only(blocks.conformer_block(tmp_path), tmp_path / "a.onnx", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["conformer.onnx"]


def test_a_quantized_model_is_refused(tmp_path):
    made = recipes.weight_only(blocks.linear(tmp_path), tmp_path / "a.onnx")
    with pytest.raises(ValueError, match="already quantized: it has MatMulNBits"):
        recipes.weight_only(made.path, tmp_path / "b.onnx")


def test_a_tensor_that_is_not_finite_is_named(tmp_path):
    model = graph.opened(blocks.linear(tmp_path))
    with pytest.raises(ValueError, match=r"feed 0 of the reader: tensor 'h': x holds NaN or infinity"):
        hessians(model.unoptimized(shown=["h"]), ["h"], [{"x": np.full((2, 24), 3e38, np.float32)}], "linear.onnx")


@pytest.fixture(scope="module")
def trained():
    """[(weights [N, K], what it reads of sentences to calibrate on, of others)] of some layers of the conformer."""
    model = graph.opened(models.path("conformer"))
    constants = model.network.constants
    layers = {}
    for node in model.nodes:
        if node.op_type == "MatMul" and node.input[1] in constants:
            layers.setdefault(tuple(constants[node.input[1]].dims), []).append(node)
    some = [nodes[-1] for shape, nodes in sorted(layers.items())][:3]
    names = [node.input[0] for node in some]
    session = model.unoptimized(shown=names)
    read = []
    for split in ("calibration", "test"):
        feeds = [models.feed(utterance.samples) for utterance in models.utterances(split)[:4]]
        answers = [session.run(names, feed) for feed in feeds]
        read.append([np.concatenate([x.reshape(-1, x.shape[-1]) for x in one]) for one in zip(*answers, strict=True)])
    weights = [model.array(constants[node.input[1]]).T for node in some]
    return list(zip(weights, *read, strict=True))


def test_gptq_beats_rounding_on_sentences_that_it_was_not_calibrated_on(trained):
    for w, seen, unseen in trained:
        h = seen.T.astype(np.float64) @ seen
        by_gptq, rounded = (
            codes.dequantize() for codes in (gptq(w, h, block_size=128), round_to_nearest(w, block_size=128))
        )
        assert sqnr_db(unseen @ w.T, unseen @ by_gptq.T) > sqnr_db(unseen @ w.T, unseen @ rounded.T) + 0.5


def test_hqq_is_as_good_as_rounding_in_what_it_sums_on_trained_weights(trained):
    for w, _, _ in trained[:2]:
        by_hqq, rounded = (
            np.sum(np.abs(w - way(w, block_size=128).dequantize(), dtype=float) ** 0.7)
            for way in (half_quadratic, round_to_nearest)
        )
        assert by_hqq < rounded
