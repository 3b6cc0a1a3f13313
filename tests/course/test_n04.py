"""Exercises 04.2 to 04.4: what the harness of wrong answers does not reach."""

import numpy as np
import onnx.parser
import pytest
from onnx.reference import ReferenceEvaluator

from qlab import PerBlock, choose_qparams, quantize
from qlab.course import check
from qlab.course.lessons import n04
from qlab.machine.runtime import run_operator

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


def in_float64(x, block_size):
    codes, scales = np.zeros(x.shape), []
    for start in range(0, x.shape[1], block_size):
        block = x[:, start : start + block_size].astype(float)
        scale = np.abs(block).max(axis=1, keepdims=True) / 127
        scale[scale == 0] = 1
        codes[:, start : start + block_size] = np.round(block / scale)
        scales.append(scale)
    return codes.astype("int8"), np.concatenate(scales, axis=1).astype(np.float32)


def padded_and_reshaped(x, block_size):
    missing = -x.shape[1] % block_size
    blocks = np.pad(x, [(0, 0), (0, missing)]).reshape(len(x), -1, block_size)
    scales = np.abs(blocks).max(axis=2) / np.float32(127)
    scales = np.where(scales == 0, np.float32(1), scales)
    codes = np.clip(np.rint(blocks / scales[..., None]), -127, 127).astype(np.int8)
    return codes.reshape(len(x), -1)[:, : x.shape[1]], scales


@pytest.mark.parametrize("answer", [in_float64, padded_and_reshaped])
def test_04_2_takes_other_right_ways(answer):
    assert check("04.2", answer).status == "passed"


def test_04_4_takes_numpys_truth_values():
    assert check("04.4", {name: np.bool_(about["factors"]) for name, about in n04.SCALES.items()}).status == "passed"
