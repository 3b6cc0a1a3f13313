"""Exercises 03.1 to 03.5: what the harness of right and wrong answers does not reach."""

import logging

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from qlab import PerAxis, choose_qparams, fake_quantize, sqnr_db
from qlab.course import check
from qlab.course.explore import ends
from qlab.course.lessons import n03
from qlab.numerics.codebook import Codebook, normal_float, powers_of_two

NF4 = normal_float(4).levels


@pytest.mark.parametrize("levels", [NF4, powers_of_two(4).levels, np.float32([-3, -1, 0, 0.5, 4])])
def test_what_stands_in_the_place_of_03_1_is_the_codebooks_own_encoding(levels):
    x = np.random.default_rng(3).normal(size=(9, 50)).astype(np.float32)
    np.testing.assert_array_equal(n03.nearest(x, levels), Codebook("", levels).encode(x))


def test_what_stands_in_the_place_of_03_3_is_qlabs_quantizers_block_by_block():
    x = np.random.default_rng(3).normal(size=(8, 96)).astype(np.float32)
    even, uneven, first = n03.crossing(x, (32, 64), NF4)
    blocks = x.reshape(-1, 32)
    assert even[0] == sqnr_db(blocks, fake_quantize(blocks, choose_qparams(blocks, "int4", granularity=PerAxis(0))))
    assert uneven[0] == sqnr_db(blocks, normal_float(4).fake_quantize(blocks, PerAxis(0)))
    assert first in (None, 32, 64)


@pytest.mark.parametrize(("x", "first"), [(np.random.default_rng(1).uniform(-1, 1, 2**13), None),
                                          (np.random.default_rng(1).laplace(size=2**13), 64)])  # fmt: skip
def test_the_first_block_size_is_none_where_nf4_never_leads(x, first):
    assert n03.crossing(x.astype(np.float32), (16, 64, 128), NF4)[2] == first


def test_every_threshold_of_03_5_lies_apart_from_what_any_version_keeps(tmp_path):
    for name, weight, x in n03._products():
        path = tmp_path / f"{name}.onnx"
        onnx.save(n03.matmul_model(weight), path)
        tried = n03._tried(path, x)
        kept = [version.kept for version in tried]
        limits = n03._limits(tried)
        assert min(abs(limit - one) for limit in limits for one in kept) > 0.05
        assert n03._chosen(tried, limits[-1], min) is None
        assert len({n03._chosen(tried, limit, min) for limit in limits}) > 3


def test_symmetric_int4_of_onnxruntime_is_the_signed_extreme_over_minus_8(monkeypatch):
    monkeypatch.setattr(logging.root.manager, "disable", logging.WARNING)
    weight = np.random.default_rng(3).normal(size=(64, 6)).astype(np.float32)
    quantizer = MatMulNBitsQuantizer(n03.matmul_model(weight), block_size=32, is_symmetric=True)
    quantizer.process()
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantizer.model.model.graph.initializer}
    (scales,) = (array for name, array in held.items() if "scale" in name)
    blocks = weight.T.reshape(-1, 32)
    extreme = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1, keepdims=True), axis=1)
    np.testing.assert_allclose(scales.ravel(), (extreme / -8).ravel(), rtol=1e-6)
    (packed,) = (array for array in held.values() if array.dtype == np.uint8)
    codes = np.stack([packed & 15, packed >> 4], axis=-1).reshape(-1, 32).astype(int) - 8
    np.testing.assert_allclose(n03._signed_extreme(blocks), codes * (extreme / -8), atol=1e-6)


@pytest.mark.parametrize("byte", [0x00, 0x80])
def test_03_4_tells_minus_zero_from_zero(byte):
    def decode(seen):
        value = float(np.uint8(seen).view(ml_dtypes.float8_e4m3fn))
        return -value if seen == byte else value

    verdict = check("03.4", decode)
    assert verdict.status == "almost"
    assert f"{n03._bits(byte)}: expected" in verdict.message


def test_03_4_names_the_kind_of_byte_of_which_most_are_read_wrongly():
    assert "ordinary" in check("03.4", lambda byte: 0.0 if byte & 120 else float(byte & 7)).message


def test_the_widget_draws_at_the_ends_of_its_controls():
    from qlab.course import choice, slider

    picture = n03.CodebookPicture(np.random.default_rng(0).normal(size=(8, 64)))
    controls = {
        "method": choice(n03.METHODS),
        "bits": slider(2, 6, 4),
        "shared_by": choice(n03.GROUPS),
    }
    for values in ends(**controls):
        assert len(picture(**values).axes) == 2


def test_the_borders_drawn_are_where_the_code_changes():
    figure = n03.thresholds([-3, -1, 0, 0.5, 4], x=1.8)
    assert "1.8 becomes 0.5" in [text.get_text() for text in figure.axes[0].texts]
