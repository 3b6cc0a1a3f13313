"""Notebook 02: its checks' targets and advice, and what its prose says of onnxruntime."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnxruntime.capi._pybind_state import quantize_matmul_4bits
from onnxruntime.quantization.quant_utils import (
    compute_scale_zp,
    get_qmin_qmax_for_qType,
    snap_zero_point_to_uint8,
)

from qlab import machine
from qlab.course import check
from qlab.course.lessons import n02
from qlab.runtime import run_operator


@pytest.mark.slow
def test_the_least_total_is_the_least_of_all_choices_and_what_is_not_as_good_is_clearly_worse():
    for _, given, allowed in n02.budgets():
        found = n02.all_measured(tuple(given))
        totals = []
        for choice in itertools.product(n02.SCHEMES, repeat=len(given)):
            rows = [found[name][scheme] for name, scheme in zip(given, choice, strict=True)]
            if sum(bool(zero_point) for _, zero_point, _ in rows) <= allowed:
                totals.append(sum(error for error, *_ in rows))
        least = n02.least_total(found, allowed)
        assert min(totals) == pytest.approx(least)
        assert not [total for total in totals if 1.0001 * least < total < 1.01 * least]


@pytest.mark.slow
def test_symmetric_int8_has_the_error_1_on_every_tensor():
    assert all(n02.measured(x)["symmetric int8"][0] == 1 for x in n02.eight_tensors().values())


@pytest.mark.parametrize("answer", ["asymmetric uint8", {"ReLU": "symmetric int8"}, 8])
def test_an_answer_of_another_form_is_refused_with_what_was_expected(answer):
    verdict = check("02.3", answer)
    assert (verdict.status, "expected" in verdict.message) == ("almost", True)


@pytest.mark.parametrize(
    ("dtype", "divisor"), [("INT8", 127), ("INT16", 32767), ("UINT8", 127.5), ("INT4", 7.5), ("UINT4", 7.5)]
)
def test_onnxruntime_divides_the_largest_value_by_another_number_for_each_type(dtype, divisor):
    first, last = get_qmin_qmax_for_qType(getattr(TensorProto, dtype), symmetric=True)
    _, scale = compute_scale_zp(np.float32(-3), np.float32(2), first, last, symmetric=True)
    assert 3 / scale == pytest.approx(divisor)


def test_onnxruntimes_blockwise_symmetric_int4_has_16_levels_and_divides_the_signed_extreme_by_minus_8():
    weight = np.random.default_rng(0).normal(size=(64, 16)).astype(np.float32)
    blocks = weight.reshape(2, 32, 16)
    extreme = np.take_along_axis(blocks, np.abs(blocks).argmax(1)[:, None], 1)[:, 0].T
    codes, scales, zero_points = np.zeros((16, 2, 16), "u1"), np.zeros(32, "f4"), np.zeros(16, "u1")
    quantize_matmul_4bits(codes, weight, scales, zero_points, 32, 16, 64, True)
    assert scales.reshape(16, 2) == pytest.approx(extreme / -8)
    assert {int(code) for packed in codes.ravel() for code in (packed & 15, packed >> 4)} == set(range(16))


def test_restricted_asymmetric_takes_zero_point_0_or_128_and_the_scale_of_the_side_that_needs_more():
    assert snap_zero_point_to_uint8(np.float32(0), np.float32(5)) == (0, np.float32(5 / 255))
    assert snap_zero_point_to_uint8(np.float32(-4), np.float32(1)) == (128, np.float32(4 / 128))
    assert snap_zero_point_to_uint8(np.float32(-1), np.float32(4)) == (128, np.float32(4 / 127))


def test_a_zero_point_that_is_left_out_leaves_the_type_to_output_dtype_and_to_uint8_without_it():
    x, scale = np.float32([-3, 3]), np.float32(1)
    assert run_operator("QuantizeLinear", x, scale).dtype == np.uint8
    signed = run_operator("QuantizeLinear", x, scale, output_dtype=TensorProto.INT8)
    assert (signed.dtype, signed.tolist()) == (np.int8, [-3, 3])


def test_qlabs_own_answers_pass():
    assert check("02.1", n02.symmetric_qparams).status == "passed"
    assert check("02.4", n02.quantize_for).status == "passed"


@pytest.mark.parametrize("missing", [(), ("u8s8",), ("u8u8",), ("s8s8",), ("s8u8",), ("u8s8", "u8u8")])
def test_qlabs_own_quantizer_takes_the_faster_pair_that_has_a_kernel(missing, tmp_path):
    file = Path(__file__).parents[1] / "cards" / "arm-like.json"
    like_arm = machine.Card.from_json(file.read_text(encoding="utf-8"))
    card = replace(like_arm, speed={pair: None if pair in missing else 3.0 for pair in machine.SIGN_PAIRS})
    source, target = tmp_path / "source.onnx", tmp_path / "target.onnx"
    source.write_bytes(n02.feed_forward())
    n02.quantize_for(card, source, target)
    fit = [pair for pair in ("u8s8", "u8u8") if pair not in missing]
    assert n02.judge_dynamic(card, target) == (f"u8 x {fit[0][2:]}" if fit else "left in float32")


def test_the_products_of_a_model_are_told_in_a_line(tmp_path):
    source, target = tmp_path / "source.onnx", tmp_path / "target.onnx"
    source.write_bytes(n02.feed_forward())
    assert n02.products_in(target).startswith("Nothing was written")
    saturating, exact = n02.cards()[1], n02.cards()[0]
    n02.quantize_for(saturating, source, target)
    assert n02.products_in(target).startswith("2 products u8 x s8, weights with codes -64 to 64")
    n02.quantize_for(exact, source, target)
    assert n02.products_in(target).startswith("2 products u8 x s8, weights with codes -127 to 127")
    assert not any(node.op_type == "MatMul" for node in onnx.load(target).graph.node)


@pytest.mark.parametrize("draw", [n02.two_grids, n02.four_scales, n02.dynamic_product])
def test_a_schematic_says_in_words_what_it_shows(draw):
    assert len(draw().alt) > 80
