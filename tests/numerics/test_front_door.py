"""`import qlab`: the public face."""

import doctest
import inspect

import numpy as np
import pytest

import qlab
from qlab import calibration
from qlab.numerics import kernels, saturation
from qlab.numerics.affine import mse_range
from qlab.numerics.codebook import normal_float, uniform

FUNCTIONS = ["choose_qparams", "quantize", "dequantize", "fake_quantize"]


def test_the_front_door_shows_exactly_the_names_of_the_contract():
    assert sorted(qlab.__all__) == sorted(
        ["PerAxis", "PerBlock", "PerTensor", "PerToken", "QParams", "sqnr_db", *FUNCTIONS]
    )
    assert all(hasattr(qlab, name) and inspect.getdoc(getattr(qlab, name)) for name in qlab.__all__)


def test_the_front_doors_examples_are_true():
    result = doctest.testmod(qlab, raise_on_error=False)
    assert result.attempted > 5
    assert result.failed == 0


X, CODES, ONE = np.float32([[1.0, 2.0], [3.0, 1e6]]), np.uint8([[1, 2], [3, 4]]), np.float32(1)
MASKED, PARAMETERS = np.ma.masked_greater(X, 9), qlab.QParams(1.0, 0, "uint8")
MASKED_CODES = np.ma.masked_greater(CODES, 3)


@pytest.mark.parametrize(
    "call",
    [
        lambda: qlab.choose_qparams(MASKED),
        lambda: qlab.choose_qparams([MASKED[0], MASKED[1]]),
        lambda: qlab.choose_qparams([1.0, np.ma.masked]),
        lambda: qlab.quantize(MASKED, PARAMETERS),
        lambda: qlab.dequantize(MASKED_CODES, PARAMETERS),
        lambda: qlab.sqnr_db(MASKED, X),
        lambda: qlab.QParams(MASKED[1], 0, granularity=qlab.PerAxis(0)),
        lambda: normal_float(4).encode(MASKED),
        lambda: normal_float(4).decode(MASKED_CODES),
        lambda: mse_range(MASKED),
        lambda: kernels.quantize_linear(MASKED, ONE),
        lambda: kernels.quantize_linear(X, MASKED[1], axis=1),
        lambda: kernels.quantize_linear(X, ONE, MASKED_CODES[1], axis=1),
        lambda: kernels.dequantize_linear(MASKED_CODES, ONE),
        lambda: kernels.matmul_integer(MASKED_CODES, CODES),
        lambda: kernels.conv_integer(MASKED_CODES[None, None], CODES[None, None]),
        lambda: saturation.vpmaddubsw_matmul(MASKED_CODES, CODES.astype(np.int8)),
        lambda: calibration.MinMaxObserver().observe(MASKED),
        lambda: calibration.PercentileObserver().observe(MASKED),
    ],
)
def test_a_mask_is_never_dropped_in_silence(call):
    with pytest.raises(ValueError, match=r"is a masked array.*\.compressed\(\).*\.filled"):
        call()


def test_a_mask_that_hides_nothing_is_no_mask():
    assert qlab.choose_qparams(np.ma.masked_greater(X, 1e9)) == qlab.choose_qparams(X)


@pytest.mark.parametrize("order", ["<", ">"])
def test_either_byte_order_gives_the_same_numbers(order):
    x, scale, codes = X.astype(f"{order}f4"), ONE.astype(f"{order}f4"), np.int32([[7, -9]]).astype(f"{order}i4")
    assert qlab.choose_qparams(x) == qlab.choose_qparams(X)
    np.testing.assert_array_equal(qlab.quantize(x, PARAMETERS), qlab.quantize(X, PARAMETERS))
    assert qlab.sqnr_db(x, x / 2) == qlab.sqnr_db(X, X / 2)
    for given, expected in (
        (kernels.quantize_linear(x, scale), kernels.quantize_linear(X, ONE)),
        (kernels.quantize_linear(x, scale, np.array(3, f"{order}i2")), kernels.quantize_linear(X, ONE, np.int16(3))),
        (kernels.dequantize_linear(codes, scale), np.float32([[7, -9]])),
    ):
        assert given.dtype == expected.dtype
        np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: kernels.quantize_linear(X, X[0], axis=1.0), r"axis is 1\.0; expected a whole number"),
        (lambda: kernels.conv_integer(CODES[None, None], CODES[None, None], group=0), "group=0"),
        (lambda: kernels.conv_integer(CODES[None, None], CODES[None, None], group=1.5), r"group is 1\.5"),
        (lambda: kernels.conv_integer(CODES[None, None], CODES[None, None], strides=[1.5, 1]), r"strides is 1\.5"),
        (lambda: kernels.conv_integer(CODES[None, None], CODES[None, None], pads=1), "pads is 1; expected whole"),
        (lambda: qlab.choose_qparams(X, granularity="per_tensor"), "granularity is 'per_tensor'; expected PerTensor()"),
        (lambda: qlab.choose_qparams(X, granularity=qlab.PerToken), "granularity is <class"),
        (lambda: qlab.QParams(1.0, 0, granularity=None), "granularity is None"),
        (lambda: normal_float(4).fake_quantize(X, "per_tensor"), "granularity is 'per_tensor'"),
        (lambda: qlab.choose_qparams(X, granularity=qlab.PerAxis(1.0)), r"axis is 1\.0; expected a whole number"),
        (lambda: qlab.choose_qparams(X, granularity=qlab.PerAxis("0")), "axis is '0'"),
        (lambda: qlab.choose_qparams(X, granularity=qlab.PerAxis(True)), "axis is True"),
        (lambda: qlab.PerBlock(1, 2.0), r"block_size is 2\.0; expected a whole number"),
        (lambda: qlab.choose_qparams(X, symmetric="no"), "symmetric is 'no'; expected True or False"),
        (lambda: qlab.choose_qparams(X, reduce_range="false"), "reduce_range is 'false'"),
        (lambda: qlab.choose_qparams(X, True), "dtype True is unknown"),
        (lambda: qlab.choose_qparams(X, {"names": 3}), "dtype .* is unknown"),
        (lambda: qlab.quantize(X, 0.5), "qparams is a float; expected QParams"),
        (lambda: qlab.dequantize(CODES, (0.5, 3)), "qparams is a tuple"),
        (lambda: uniform(3.5), r"bits is 3\.5"),
        (lambda: saturation.largest_safe_k(a_zero_point=3.7), r"zero_point is 3\.7"),
        (lambda: calibration.MinMaxObserver(symmetric="no"), "symmetric is 'no'"),
    ],
)
def test_a_setting_of_the_wrong_kind_is_refused_and_never_cut_to_fit(call, says):
    with pytest.raises(ValueError, match=says):
        call()
