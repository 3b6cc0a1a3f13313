"""Notebook 12: what the harness of right and wrong answers does not reach."""

import numpy as np
import pytest

from qlab import sqnr_db
from qlab.course.check import judge
from qlab.course.lessons import common, n12
from qlab.numerics import blockwise


@pytest.mark.parametrize("sort", ["fp32", "int8", "int4"])
def test_a_chain_has_as_many_products_and_keeps_the_size_of_what_flows(sort):
    session = n12.chain(sort, [(64, 128), (128, 64)] * 3)
    x = np.random.default_rng(0).standard_normal((5, 64), np.float32)
    (y,) = session.run(None, {"x": x})
    assert y.shape == (5, 64)
    assert 0.2 < y.std() < 5


def test_the_matrices_of_a_chain_differ(monkeypatch):
    seen = []
    monkeypatch.setattr(n12, "open_session", lambda model: seen.append(n12.onnx.ModelProto.FromString(model)))
    n12.chain("int4", [(64, 64)] * 3)
    held = [n12.numpy_helper.to_array(t) for t in seen[0].graph.initializer if t.name.endswith("_0")]
    assert len(held) == 3
    assert not np.array_equal(held[0], held[1])


def test_the_lines_cross_where_one_is_ahead_from_there_on():
    found = {"a": [(1, 3.0), (2, 1.0), (4, 3.0), (8, 1.0)], "b": [(1, 2.0), (2, 2.0), (4, 2.0), (8, 2.0)]}
    assert n12.crossing(found, "a", "b") == 8
    assert n12.crossing(found, "b", "a") is None
    assert n12.crossing({"a": found["b"], "b": [(n, 9.0) for n, _ in found["b"]]}, "a", "b") == 1


def test_columns_and_rows_tell_the_same_weights():
    weight = np.random.default_rng(1).standard_normal((40, 6), np.float32)
    codes, scales = n12.to_nearest(weight, 4, 16)
    assert (codes.shape, scales.shape) == ((40, 6), (3, 6))
    as_rows = blockwise.round_to_nearest(weight.T, block_size=16)
    assert np.array_equal(n12.told(codes, scales, 16), as_rows.dequantize().T)
    assert np.array_equal(n12.unpack(n12.pack(codes.T)), codes.T)


def test_without_a_mistake_the_wrong_turns_are_gptq():
    weight, hessian, _ = n12._real_layer()
    codes = n12.gptq(weight, hessian, 4, 32)[0]
    assert np.mean(codes == n12.wrong_turn(weight, hessian, 4, 32, "")) > 0.99
    assert all(np.mean(codes == n12.wrong_turn(weight, hessian, 4, 32, turn)) < 0.9 for turn in n12._WRONG_TURNS)


def test_bits_a_weight_are_those_of_blocks_in_memory():
    weight = np.random.default_rng(2).standard_normal((3, 144), np.float32)
    for symmetric in (True, False):
        codes = blockwise.round_to_nearest(weight, block_size=32, symmetric=symmetric)
        assert n12.bits_per_weight(144, 4, 32, 32, not symmetric) == pytest.approx(codes.bits_per_weight)


def test_a_fed_matrix_is_that_of_the_product():
    x = np.eye(16, dtype=np.float32)
    (w,) = n12.fed_product(16).run(None, {"x": x})
    assert np.allclose(n12.fed_product(16).run(None, {"x": 2 * x})[0], 2 * w)
    assert 0.5 < w.std() < 1.5


def test_matmul_bnb4_multiplies_by_the_levels_of_nf4():
    x = np.random.default_rng(3).standard_normal((2, 64), np.float32)
    (y,) = n12.bnb4_session(64).run(None, {"x": x})
    assert y.shape == (2, 64)
    assert np.isfinite(y).all()


def test_the_first_part_of_12_1_can_be_checked_alone_and_passes_nothing():
    verdict = judge("12.1", n12.pack)
    assert verdict.status != "passed"
    assert "pack is right" in verdict.message


def test_exactly_one_choice_for_the_phone_and_the_server_is_right():
    assert [name for name in n12.DEVICES if judge("12.5", name).status == "passed"] == ["int4 and int8"]


def test_the_node_of_the_reference_computes_what_its_codes_tell():
    weight = np.random.default_rng(4).standard_normal((48, 8), np.float32)
    codes, scales = n12.to_nearest(weight, 4, 32)
    x = np.random.default_rng(5).standard_normal((3, 48), np.float32)
    (y,) = n12.open_session(n12.nbits_model(codes, scales, 32, 1).SerializeToString()).run(None, {"x": x})
    assert sqnr_db(x @ n12.told(codes, scales, 32), y) > 80


def test_the_figures_say_in_words_what_they_show():
    assert len(n12.packed().alt) > 100
    found = {name: [(1, 0.1 * k), (8, 0.3 * k)] for k, name in enumerate(("fp32", "int8", "int4"), 1)}
    assert "int4 0.30 ms at 1" in n12.rows_ms({"a loop": found}, title="three lines").alt
    assert "int8" in n12.load(found, title="busy").alt
    drawn = n12.roofline(1024, 100, 10, 3, 1.5)
    assert drawn.axes[0].get_title("left") == "Fastest by the roofline: int4 at 1 row, int8 at 256"
    assert "5.00 bits" in n12.price({"int4": (5, 20.0), "int8": (9, 44.0)}, title="two formats").alt
    rows = {"layer": {"weights": (20.0, 18.0), "output": (22.0, 26.0)}}
    assert n12.before_and_after(rows, title="both").axes


def test_more_than_the_caches_is_little_for_tests(monkeypatch):
    monkeypatch.setattr(n12, "in_haste", lambda: False)
    assert n12.more_than_caches() >= 2 * n12._LEAST_CACHE
    monkeypatch.setattr(n12, "in_haste", lambda: True)
    assert n12.more_than_caches() == 8 << 20
    assert common.fewer([1, 2])
