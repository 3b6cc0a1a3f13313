"""Notebook 04: what the harness of right and wrong answers does not reach."""

import itertools

import numpy as np
import onnx.parser
import pytest
from onnx.reference import ReferenceEvaluator

from qlab import PerAxis, PerBlock, PerTensor, choose_qparams, quantize, sqnr_db
from qlab.course.check import judge
from qlab.course.lessons import n04
from qlab.runtime import run_operator

LINEAR = "(float[a, b] x, float[b, c] w) => (float[a, c] y) { y = MatMul(x, w) }"
CONV = "(float[a, b, c, d] x, float[e, f, g, h] w) => (float[i, j, k, l] y) { y = Conv(x, w) }"
DEPTHWISE = CONV.replace("Conv(", "Conv<group = 4>(")
TRIALS = {  # name -> graph, shapes of x and w, which of them the scale is on, its shape repeated to the summed axes
    "x ()": (LINEAR, (3, 8), (8, 4), "x", (1, 1)),
    "x (T, 1)": (LINEAR, (3, 8), (8, 4), "x", (3, 1)),
    "x (1, K)": (LINEAR, (3, 8), (8, 4), "x", (1, 8)),
    "x (T, K/32)": (LINEAR, (3, 64), (64, 4), "x", (3, 2)),
    "w ()": (LINEAR, (3, 8), (8, 4), "w", (1, 1)),
    "w (1, N)": (LINEAR, (3, 8), (8, 4), "w", (1, 4)),
    "w (K, 1)": (LINEAR, (3, 8), (8, 4), "w", (8, 1)),
    "w (K/32, N)": (LINEAR, (3, 64), (64, 4), "w", (2, 4)),
    "conv w (out, 1, 1, 1)": (CONV, (1, 4, 3, 3), (5, 4, 3, 3), "w", (5, 1, 1, 1)),
    "conv w (1, in, 1, 1)": (CONV, (1, 4, 3, 3), (5, 4, 3, 3), "w", (1, 4, 1, 1)),
    "conv x (1, in, 1, 1)": (CONV, (1, 4, 3, 3), (5, 4, 3, 3), "x", (1, 4, 1, 1)),
    "depthwise x (1, C, 1, 1)": (DEPTHWISE, (1, 4, 3, 3), (4, 1, 3, 3), "x", (1, 4, 1, 1)),
}


@pytest.mark.parametrize("name", TRIALS)
def test_a_scale_is_said_to_leave_the_sum_exactly_where_integer_sum_times_a_number_is_the_real_sum(name):
    graph, x_shape, w_shape, scaled, scale_shape = TRIALS[name]
    random = np.random.default_rng(4)
    evaluator = ReferenceEvaluator(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 21]> g {graph}'))
    scale = (1 + random.random(scale_shape)).astype(np.float32)
    shape = {"x": x_shape, "w": w_shape}[scaled]
    for axis, (n, groups) in enumerate(zip(shape, scale_shape, strict=True)):
        scale = np.repeat(scale, n // groups, axis=axis) if groups not in (1, n) else scale
    ratios = []
    for _ in range(8):  # one number per output must turn every integer sum into the real one
        codes = {"x": random.integers(1, 9, x_shape), "w": random.integers(1, 9, w_shape)}
        codes = {key: value.astype(np.float32) for key, value in codes.items()}
        (sums,) = evaluator.run(None, codes)
        (real,) = evaluator.run(None, codes | {scaled: codes[scaled] * scale})
        ratios.append(real / sums)
    leaves = np.ptp(ratios, axis=0).max() < 1e-5
    assert leaves == n04.SCALES[name]["factors"]


def test_every_scale_of_exercise_04_4_is_tried_above():
    assert set(TRIALS) == set(n04.SCALES)


def test_the_reference_of_block_codes_is_qlabs_own_quantizer_too():
    for _, x, block_size in n04.matrices():
        qparams = choose_qparams(x, "int8", symmetric=True, granularity=PerBlock(1, block_size))
        scales = n04.block_scales(x, block_size)
        np.testing.assert_allclose(scales, qparams.scale, rtol=1e-6)
        np.testing.assert_array_equal(
            run_operator("QuantizeLinear", x, scales, axis=1, block_size=block_size, output_dtype=3),
            quantize(x, qparams),
        )


def test_every_habit_errs_in_some_question_of_04_3_and_no_two_habits_err_alike():
    asked = list(n04.cases())
    chosen = {said: [n04.best_by(wanted, case) for case in asked] for said, wanted in n04.HABITS}
    chosen["right"] = [n04.best_by(n04.quality, case) for case in asked]
    assert [(a, b) for a, b in itertools.combinations(chosen, 2) if chosen[a] == chosen[b]] == []


def test_a_budget_that_the_best_choice_costs_exactly_is_among_the_questions_of_04_3():
    best = [(case, n04.best_by(n04.quality, case)) for case in n04.cases()]
    assert any(n04.cost(case.x, *choice) == case.budget for case, choice in best)


def random_product(inputs, outputs):
    random = np.random.default_rng(4)
    x, w = random.normal(size=(16, inputs)), random.normal(size=(inputs, outputs))
    return x.astype(np.float32), w.astype(np.float32)


@pytest.mark.parametrize(("x_dtype", "w_dtype"), [("uint8", "int8"), ("uint8", "uint8"), ("int8", "int8")])
def test_the_reading_of_an_optimized_graph_names_the_types_and_scales_that_were_built(x_dtype, w_dtype):
    x, w = random_product(32, 48)
    model = n04.qdq_model(x, w, PerTensor(), PerAxis(1), x_dtype=x_dtype, w_dtype=w_dtype)
    op_type, x_read, w_read, shape = n04.reading(model)
    assert op_type == "MatMulIntegerToFloat"
    assert (w_read, shape) == (w_dtype, (48,))
    assert x_read in {x_dtype, "uint8"}  # onnxruntime turns int8 activations into uint8 where that is faster


def test_a_product_per_output_channel_is_right_with_the_precise_instruction():
    x, w = random_product(144, 144)
    y, _ = n04.optimized(n04.qdq_model(x, w, PerTensor(), PerAxis(1)), x, x64quantprecision="1")
    assert sqnr_db(x @ w, y) > 30


def test_a_saved_graph_with_int8_activations_is_read_as_such_on_any_machine():
    x, w = random_product(32, 48)
    assert n04.reading(n04.saved_int8(x, w)) == ("MatMulIntegerToFloat", "int8", "int8", (48,))


@pytest.mark.parametrize("tokens", [32, 16])
def test_scales_per_token_without_a_zero_point_run_and_are_wrong_where_there_are_as_many_tokens_as_outputs(tokens):
    x, w = random_product(24, 32)
    x = np.abs(np.resize(x, (tokens, 24)))
    model = n04.qdq_model(x, w, PerAxis(0), PerTensor())
    for node in model.graph.node[:2]:
        del node.input[2]
    held = [tensor for tensor in model.graph.initializer if tensor.name != "x_zero"]
    del model.graph.initializer[:]
    model.graph.initializer.extend(held)
    (right,) = ReferenceEvaluator(model).run(None, {"x": x})
    if tokens == w.shape[1]:
        y, graph = n04.optimized(model, x, x64quantprecision="1")
        assert "MatMulIntegerToFloat" in [node.op_type for node in graph.node]
        assert sqnr_db(right, y) < 25
    else:
        with pytest.raises(Exception, match="broadcast"):
            n04.optimized(model, x)


def effective_bits(shape, bits, granularity, scale_bits=16):
    return bits + scale_bits * np.prod(granularity.scale_shape(shape)) / np.prod(shape)


def build(x, w):
    return n04.qdq_model(x, w, PerTensor(), PerAxis(1))


@pytest.mark.parametrize(("exercise", "first"), [("04.3", effective_bits), ("04.5", build)])
def test_the_first_of_two_functions_can_be_checked_alone_and_passes_nothing(exercise, first):
    verdict = judge(exercise, first)
    assert verdict.status == "not yet"
    assert f"{first.__name__} is right" in verdict.message


@pytest.mark.parametrize("picture", ["who_shares", "the_sum"])
def test_a_schematic_says_in_words_what_it_shows(picture):
    assert len(getattr(n04, picture)().alt) > 100


def test_every_fate_has_a_look_of_its_own():
    assert len(set(n04.LOOKS.values())) == len(n04.LOOKS)
    ran = {("float32", said): said for said in n04.LOOKS}
    assert n04.fates(ran, title="a cell each").alt
