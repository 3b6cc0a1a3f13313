"""Notebook 07: what the harness of right and wrong answers does not reach."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest

from qlab import graph, models
from qlab.course.check import judge
from qlab.course.lessons import n07
from qlab.numerics.kernels import conv_integer, dynamic_quantize_linear, matmul_integer

SETTINGS = {"article": "u8", "MatMul only": "s8"}


@pytest.mark.parametrize("name", [*SETTINGS, "digits, static"])
def test_the_count_of_integer_nodes_is_that_of_the_census(name):
    path = n07.quantized(name)
    counted = Counter({op_type: count for (_, op_type), count in graph.census(path).integer.items()})
    assert n07.integer_nodes(path) == {name: count for name, count in counted.items() if name in n07.INTEGER_NODES}


@pytest.mark.parametrize(("name", "sign"), SETTINGS.items())
def test_the_pairs_of_a_dynamic_model_are_those_of_its_weights_with_a_convolution_turned_round(name, sign):
    found = n07.pairs(n07.quantized(name))
    matrices = {said: count for said, count in found.items() if not said.startswith("ConvInteger")}
    assert sum(matrices.values()) == 56
    assert all(said.endswith(f"u8 × {sign}") for said in matrices)
    assert found.get("ConvInteger, u8 × u8", 0) == (20 if name == "article" else 0)


def test_convinteger_keeps_one_scale_for_the_weights_whatever_per_channel_says(tmp_path):
    path = tmp_path / "per_channel.onnx"
    with n07.captured_logs():
        n07.quantize_dynamic(models.path("digits"), path, per_channel=True, op_types_to_quantize=["Conv"])
    model = onnx.load(path)
    shapes = {tuple(tensor.dims) for tensor in model.graph.initializer if tensor.name.endswith("_scale")}
    assert any(node.op_type == "ConvInteger" for node in model.graph.node)
    assert all(np.prod(shape, dtype=int) == 1 for shape in shapes)


def test_the_raced_products_compute_the_same_sums():
    random = np.random.default_rng(7)
    x, w = random.integers(0, 256, (1, 8, 11), np.uint8), random.integers(-127, 128, (6, 8, 1)).astype(np.int8)
    expected = conv_integer(x, w, np.uint8(9))
    rows, columns = np.ascontiguousarray(x[0].T), np.ascontiguousarray(w[:, :, 0].T)
    for expression, left, right, turn in (
        ("ConvInteger(x, w, x_zero, w_zero)", x, w, lambda y: y),
        ("MatMulInteger(x, w, x_zero, w_zero)", rows, columns, lambda y: y.T[None]),
        ("MatMulInteger(w, x, w_zero, x_zero)", x[0], w[:, :, 0], lambda y: y[None]),
    ):
        session, feed = n07.trial(expression, left, np.ascontiguousarray(right), 9, 0)
        np.testing.assert_array_equal(turn(session.run(None, feed)[0]), expected)
    np.testing.assert_array_equal(matmul_integer(rows, columns, np.uint8(9)).T[None], expected)


def test_private_quantizers_stand_before_every_product_and_change_no_number():
    shared = n07.quantized("MatMul only")
    model = n07.private_quantizers(shared)
    onnx.checker.check_model(model)
    assert sum(node.op_type == "DynamicQuantizeLinear" for node in model.graph.node) == 56
    feed = models.feed(models.utterances("test")[0].samples)
    one = onnxruntime.InferenceSession(shared).run(None, feed)
    options = {"disabled_optimizers": ["CommonSubexpressionElimination"]}
    other = onnxruntime.InferenceSession(model.SerializeToString(), **options).run(None, feed)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_range_beside_a_louder_neighbour_is_that_of_the_operator():
    x = np.random.default_rng(7).normal(size=500).astype(np.float32)
    for db in (0, 20, 34):
        _, scale, zero_point = dynamic_quantize_linear(np.concatenate([x, x * np.float32(10 ** (db / 20))]))
        assert n07.dynamic_range(x, db) == (pytest.approx(scale), zero_point)


def test_the_parts_of_a_file_add_up_to_it():
    path = n07.quantized("article")
    assert sum(n07.account(path).values()) == path.stat().st_size


@pytest.mark.parametrize(
    ("heard", "told"),
    [
        ("open the door", "open the door"),
        ("open a door", "open [a] door"),
        ("open door", "open [–] door"),
        ("please open the door", "[please] open the door"),
        ("", "[–] [–] [–]"),
    ],
)
def test_words_that_were_not_said_are_marked(heard, told):
    assert n07.Heard("open the door", {"int8": heard}).text().splitlines()[1] == f"int8  {told}"


def test_what_was_heard_is_escaped():
    assert "<b>" not in n07.Heard("<b>", {"int8": "<b>"}).html()


def test_the_first_of_two_functions_can_be_checked_alone_and_passes_nothing():
    verdict = judge("07.4", n07.together)
    assert verdict.status == "not yet"
    assert "together is right" in verdict.message


def test_no_one_answer_fits_every_card_of_07_1():
    every = [{"op_types_to_quantize": ["MatMul"], "weight_type": kind, "reduce_range": reduced}
             for kind in (n07.QuantType.QInt8, n07.QuantType.QUInt8) for reduced in (False, True)]  # fmt: skip
    verdicts = [judge("07.1", lambda card, answer=answer: answer).status for answer in [*every, "none is faster"]]
    assert verdicts == ["almost"] * 5


def test_a_product_without_a_kernel_on_the_card_is_named():
    def answer(card):
        signed, unsigned = card.speed["u8s8"] or 0, card.speed["u8u8"] or 0
        if max(signed, unsigned) < 1:
            return "none is faster there"
        fast = (card.speed["s8u8"] or 1) >= 1 and signed >= unsigned
        kind = n07.QuantType.QInt8 if signed >= unsigned else n07.QuantType.QUInt8
        chosen = {"weight_type": kind, "reduce_range": card.saturates and signed >= unsigned}
        return chosen if fast else chosen | {"op_types_to_quantize": ["MatMul"]}

    assert "it has no kernel for it" in judge("07.1", answer).message


def test_the_schematic_and_the_figures_draw_where_a_kernel_is_missing():
    card = next(card for card in n07._cards() if card.speed["s8u8"] is None)
    assert len(n07.left_factor().alt) > 100
    assert n07.signs(card, {"u8": (1.4, 1.3, 1.5), "s8": None}, title="one bit").alt
