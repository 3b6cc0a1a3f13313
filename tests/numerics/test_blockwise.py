"""qlab.numerics.blockwise: codes in blocks, beside onnxruntime's product of them and its quantizer."""

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from qlab import sqnr_db
from qlab.numerics import blockwise
from qlab.numerics.blockwise import BITS, gptq, half_quadratic, hessian, pack, round_to_nearest, unpack
from qlab.runtime import run_operator

WAYS = {
    "rtn": round_to_nearest,
    "hqq": half_quadratic,
    "gptq": lambda w, **how: gptq(w, hessian(noise(2 * w.shape[1], w.shape[1], seed=9)), **how),
}
some_codes = {
    "bits": st.sampled_from(BITS),
    "block_size": st.sampled_from([16, 32, 128]),
    "symmetric": st.booleans(),
}


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def product(x, codes, level):
    """What onnxruntime's MatMulNBits makes of x [rows, K] and BlockCodes."""
    rows, depth = codes.codes.shape
    inputs = [x, codes.packed(), codes.scales, codes.packed_zero_points()]
    sizes = {"N": rows, "K": depth, "bits": codes.stored_bits, "block_size": codes.block_size, "accuracy_level": level}
    return run_operator("MatMulNBits", *inputs[: 3 if codes.symmetric else 4], domain="com.microsoft", **sizes)


def correlated(rows, depth, seed=0):
    """Rows whose columns resemble each other, some of them much larger than others."""
    mixing = noise(depth // 4, depth, seed=seed + 1)
    loud = np.where(np.arange(depth) % 17 == 3, 6, 1)
    return ((noise(rows, depth // 4, seed=seed) @ mixing + noise(rows, depth, seed=seed + 2)) * loud).astype(np.float32)


def test_the_examples_are_true():
    result = doctest.testmod(blockwise, raise_on_error=False)
    assert result.attempted >= 4
    assert result.failed == 0


@settings(max_examples=25)
@given(st.integers(1, 9), st.integers(1, 70), st.sampled_from(sorted(WAYS)), st.fixed_dictionaries(some_codes))
def test_onnxruntime_multiplies_by_what_the_codes_stand_for(rows, depth, way, how):
    """Odd sizes, short last blocks, 3 bits in 4: every layout is the one that MatMulNBits reads."""
    codes, x = WAYS[way](noise(rows, depth, seed=depth), **how), noise(3, depth, seed=1)
    expected = x @ codes.dequantize().T
    np.testing.assert_allclose(product(x, codes, 0), expected, rtol=1e-4, atol=1e-4)
    assert codes.codes.max() < 2 ** how["bits"]
    assert sqnr_db(expected, product(x, codes, 4)) > 20 or not expected.any()


@settings(max_examples=20)
@given(st.integers(1, 9), st.integers(1, 70), st.fixed_dictionaries(some_codes | {"bits": st.sampled_from([2, 4, 8])}))
def test_rounding_gives_the_codes_of_onnxruntimes_quantizer(rows, depth, how):
    w = noise(rows, depth, seed=rows)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["m", depth])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["m", rows])],
        [numpy_helper.from_array(np.ascontiguousarray(w.T), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    theirs = MatMulNBitsQuantizer(model, how["bits"], how["block_size"], how["symmetric"])
    theirs.process()
    (node,) = theirs.model.model.graph.node
    stored = {one.name: numpy_helper.to_array(one) for one in theirs.model.model.graph.initializer}
    packed, scales, *zero_points = (stored[name] for name in node.input[1:])
    ours = round_to_nearest(w, **how)
    np.testing.assert_allclose(ours.scales, scales.reshape(rows, -1), rtol=2e-7)
    if not how["symmetric"]:
        found = unpack(zero_points[0].reshape(rows, -1), how["bits"])[:, : ours.zero_points.shape[1]]
        np.testing.assert_array_equal(ours.zero_points, found)
    codes = unpack(packed.reshape(rows, -1), how["bits"])[:, :depth].astype(int)
    apart = np.abs(codes - ours.codes)
    # At 8 bits, float32's own rounding decides for the few numbers that lie halfway between two codes.
    assert apart.max() <= 1
    assert apart.mean() < 0.02


def test_a_symmetric_block_uses_all_codes_by_a_scale_with_a_sign():
    for sign in (1, -1):
        codes = round_to_nearest(sign * np.float32([[8, -7, 0, 3]]), block_size=16)
        assert codes.scales.item() == -sign
        np.testing.assert_array_equal(codes.codes - 8.0, [[-8, 7, 0, -3]])


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.sampled_from([2, 4, 8]))
def test_packing_is_undone_by_unpacking(values, bits):
    packed = pack(values, bits)
    assert packed.dtype == np.uint8
    assert packed.size == -(-len(values) * bits // 8)
    found = unpack(packed, bits)
    np.testing.assert_array_equal(found[: len(values)], values)
    assert not found[len(values) :].any()


@settings(max_examples=20)
@given(st.integers(1, 5), st.integers(1, 50), st.fixed_dictionaries(some_codes))
def test_hqq_never_errs_more_than_rounding_in_what_it_sums(rows, depth, how):
    w = np.random.default_rng(depth).standard_t(2, (rows, depth)).astype(np.float32)
    least, most = (
        np.sum(np.abs(w - way(w, **how).dequantize(), dtype=np.float64) ** blockwise.NORM, axis=1)
        for way in (half_quadratic, round_to_nearest)
    )
    assert (least <= most * (1 + 1e-5) + 1e-5).all()


def test_hqq_errs_notably_less_than_rounding_beside_outliers():
    w = np.random.default_rng(0).standard_t(3, (32, 128)).astype(np.float32)
    told = (way(w, block_size=128).dequantize() for way in (half_quadratic, round_to_nearest))
    by_hqq, rounded = (np.sum(np.abs(w - one) ** 0.7) for one in told)
    assert by_hqq < 0.95 * rounded


@settings(max_examples=15)
@given(st.integers(1, 5), st.integers(1, 40), st.floats(0.1, 100), st.fixed_dictionaries(some_codes))
def test_gptq_with_a_diagonal_hessian_is_rounding(rows, depth, size, how):
    w = noise(rows, depth, seed=depth)
    diagonal = np.random.default_rng(depth).uniform(0, size, depth).round(1)  # some inputs are always 0
    weighed, rounded = gptq(w, np.diag(diagonal), **how), round_to_nearest(w, **how)
    np.testing.assert_array_equal(weighed.codes, rounded.codes)
    np.testing.assert_array_equal(weighed.scales, rounded.scales)
    np.testing.assert_array_equal(weighed.zero_points, rounded.zero_points)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", BITS)
def test_gptq_spoils_outputs_less_than_rounding_on_rows_that_it_has_not_seen(bits, symmetric):
    seen, w = correlated(600, 96), noise(24, 96, seed=4)
    unseen = (seen[::-1][:200] + 0.3 * noise(200, 96, seed=8)).astype(np.float32)
    how = {"bits": bits, "block_size": 32, "symmetric": symmetric}
    errors = [
        np.linalg.norm(unseen @ (w - codes.dequantize()).T)
        for codes in (gptq(w, hessian(seen), **how), round_to_nearest(w, **how))
    ]
    assert errors[0] < 0.8 * errors[1]


def test_gptq_follows_its_definition_one_column_at_a_time():
    """The textbook's way: eliminate a column of the inverse after the other, without Cholesky and without blocks."""
    w, h = noise(5, 40, seed=3).astype(np.float64), hessian(correlated(100, 40))
    codes = gptq(w, h, block_size=16)
    inverse = np.linalg.inv(h + 0.01 * h.diagonal().mean() * np.eye(40))
    scales = np.repeat(codes.scales, 16, axis=1)[:, :40].astype(np.float64)
    left = w.copy()
    for j in range(40):
        rounded = np.clip(np.rint(left[:, j] / scales[:, j]), -8, 7)
        np.testing.assert_array_equal(codes.codes[:, j] - 8.0, rounded)
        left -= np.outer((left[:, j] - rounded * scales[:, j]) / inverse[j, j], inverse[j])
        inverse -= np.outer(inverse[:, j], inverse[j]) / inverse[j, j]


def test_hessians_of_parts_add_up():
    x = noise(4, 5, 6)
    np.testing.assert_allclose(hessian(x[:1]) + hessian(x[1:]), hessian(x), rtol=1e-12)
    np.testing.assert_allclose(hessian(x), x.reshape(20, 6).T.astype(float) @ x.reshape(20, 6), rtol=1e-12)


def test_blocks_of_zeros_and_the_largest_and_smallest_floats_have_codes():
    w = np.zeros((3, 40), np.float32)
    w[1, :3], w[2, 5] = (3.4e38, -3.4e38, 1e-45), 1e-45
    for symmetric in (True, False):
        for way in (round_to_nearest, half_quadratic):
            told = way(w, symmetric=symmetric).dequantize()
            assert np.isfinite(told).all()
            assert not told[0].any()
            assert np.abs(told[1, :2] / w[1, :2] - 1).max() < 0.15


def test_bits_per_weight_count_codes_scales_zero_points_and_padding():
    w = noise(2, 64)
    assert round_to_nearest(w).bits_per_weight == 4 + 32 / 32
    assert round_to_nearest(w, symmetric=False).bits_per_weight == 4 + 32 / 32 + 8 / 64
    assert round_to_nearest(w, bits=3).bits_per_weight == 5
    assert round_to_nearest(w, block_size=128).bits_per_weight == 8 + 32 / 64
    packed = round_to_nearest(w, symmetric=False)
    stored = packed.packed().nbytes + packed.scales.nbytes + packed.packed_zero_points().nbytes
    assert packed.bits_per_weight == 8 * stored / w.size


W, H = noise(2, 16), np.eye(16)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: round_to_nearest(noise(4)), r"weights have shape \(4,\); expected a matrix \[N, K\]"),
        (lambda: round_to_nearest(np.float32([[np.nan]])), "NaN"),
        (lambda: round_to_nearest(np.zeros((0, 3))), "weights is empty"),
        (lambda: round_to_nearest(W, bits=5), "bits is 5; expected one of 2, 3, 4, 8"),
        (lambda: half_quadratic(W, bits=4.0), r"bits is 4\.0; expected a whole number"),
        (lambda: half_quadratic(W, block_size=24), "block_size is 24; expected a power of two from 16 up"),
        (lambda: gptq(W, H, block_size=8), "block_size is 8; expected a power of two"),
        (lambda: round_to_nearest(W, symmetric="no"), "symmetric is 'no'"),
        (lambda: gptq(W, np.eye(3)), r"hessian has shape \(3, 3\); expected \(16, 16\)"),
        (lambda: gptq(W, np.triu(np.ones((16, 16)))), "hessian is not symmetric"),
        (lambda: gptq(W, H * np.nan), "NaN"),
        (lambda: gptq(W, H - 2 * np.ones((16, 16))), "negative numbers on its diagonal"),
        (lambda: gptq(W, np.ones((16, 16)) - H + 0.1 * H), "negative eigenvalues"),
        (lambda: gptq(W, H, damping=0), "damping is 0; expected a share"),
        (lambda: hessian(np.float32(3)), "x is float32 of shape"),
        (lambda: hessian(np.float32([[np.inf]])), "x holds NaN or infinity"),
        (lambda: pack([4], 2), "expected whole numbers from 0 to 3"),
        (lambda: pack([0.5], 2), "codes are float64"),
        (lambda: pack([1], 3), "3 ride in 4"),
        (lambda: unpack([1], 4), "expected bytes, uint8"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
