"""Notebook 13: what the harness of right and wrong answers does not reach."""

from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlab.course.lessons import n13
from qlab.course.show import Almost
from qlab.numerics.metrics import Interval
from qlab.runtime import open_session

WORDS = st.text("ab ", max_size=6)


@given(WORDS, WORDS, WORDS)
@settings(max_examples=40, deadline=None)
def test_edits_are_a_distance(a, b, c):
    assert (n13.edits(a, b) == 0) == (a == b)
    assert n13.edits(a, b) == n13.edits(b, a) <= max(len(a), len(b))
    assert n13.edits(a, c) <= n13.edits(a, b) + n13.edits(b, c)


@given(st.text("0123456789", max_size=9))
@settings(max_examples=20, deadline=None)
def test_a_said_text_is_read_again(text):
    session = n13.Said(["7", text])
    assert [n13.reading(session, feed) for feed in session.feeds() * 2] == ["7", text] * 2


def test_a_package_s_model_is_found_without_importing_the_package(monkeypatch, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"")

    class File:
        def locate(self):
            return tmp_path / "model.onnx"

        def __str__(self):
            return "magika/models/model.onnx"

    monkeypatch.setattr(n13, "distribution", lambda name: SimpleNamespace(files=[File()], version="9.9"))
    assert n13.carried("kinds") == (tmp_path / "model.onnx", "magika", "9.9")
    assert n13.carried("clean") is None  # the package is there, the file is not


def test_a_missing_package_is_no_error(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(n13, "distribution", missing)
    assert n13.carried("kinds") is None
    assert n13.files() == []


def test_what_the_network_sees_of_a_file_are_its_two_ends(tmp_path):
    (tmp_path / "short").write_bytes(b"  ab ")
    x = n13.tokens(tmp_path / "short")
    assert x.shape == (1, 2048)
    assert x.dtype == np.int32
    assert x[0, :3].tolist() == [*b"ab", 32]
    assert x[0, -4:].tolist() == [32, 32, *b"ab"]
    assert set(x[0, 5:-5]) == {n13.PADDING}


def test_ridge_finds_a_linear_map_again():
    random = np.random.default_rng(0)
    x = random.normal(size=(50, 4)).astype(np.float32)
    weights, bias = random.normal(size=(4, 2)), random.normal(size=2)
    found, offset = n13.ridge(x, x @ weights + bias, 1e-9)
    np.testing.assert_allclose(found, weights, atol=1e-4)
    np.testing.assert_allclose(offset, bias, atol=1e-4)


def test_what_all_answers_are_off_by_counts_for_nothing():
    session = SimpleNamespace(run=lambda _, feed: [np.float32([feed + 7])])
    assert n13.off_by(session, [1, 2, 5], [1, 2, 5])[0].tolist() == [0, 0, 0]


def test_the_stream_sees_the_past_alone_and_all_of_it():
    path, frames = n13.streaming()
    session, frames = open_session(path), frames[0][:, :30]
    whole = n13.whole(session, frames)
    changed = frames.copy()
    changed[:, 20:] *= -1
    assert np.array_equal(n13.whole(session, changed)[:, :20], whole[:, :20])
    changed = frames.copy()
    changed[:, 0] *= -1  # a constant more would be taken out by LayerNorm
    assert np.abs(n13.whole(session, changed)[:, -1] - whole[:, -1]).max() > 1e-4


@pytest.mark.parametrize("dtype", ["int4", "int8"])
def test_codes_in_a_weight_s_place_give_the_weight(dtype, tmp_path):
    import ml_dtypes

    weight = np.float32([[-7, 3], [1, 0]])
    older = n13.parsed(  # in opset 12 axes are an attribute, in 21 an input
        '<ir_version: 7, opset_import: ["": 12]> g (float[N, 2] x) => (float[N, 2] y) '
        "{ raw = MatMul(x, w) room = Unsqueeze<axes = [1]>(raw) y = Squeeze<axes = [1]>(room) }",
        {"w": weight},
    )
    onnx.save(older, tmp_path / "older.onnx")
    model = n13.up_to_date(tmp_path / "older.onnx")
    assert model.opset_import[0].version == 21
    codes = weight.astype(ml_dtypes.int4 if dtype == "int4" else np.int8)
    n13.stored_as(model, "w", codes, np.float32([0.5, 2]), 1)
    onnx.checker.check_model(model)
    (y,) = open_session(model.SerializeToString()).run(None, {"x": np.eye(2, dtype=np.float32)})
    assert np.array_equal(y, weight * np.float32([0.5, 2]))


@pytest.mark.parametrize("point", n13.POINTS)
def test_a_page_without_a_point_is_refused_by_the_point_s_name(point):
    facts = n13._made_up(1)
    written = n13.page(facts)
    n13.judge_page(written, facts)
    del written[point]
    with pytest.raises(Almost, match=f"'{point}' is missing"):
        n13.judge_page(written, facts)
    assert f"not yet: '{point}'" in n13.checked(written, facts)


def test_a_page_passes_whose_quality_is_the_same_on_the_calibration_data():
    facts = n13._made_up(1)
    for same in (facts.quality, Interval(0.0, 0.0, 0.0, 0.95)):
        facts.quality = facts.calibration_quality = same
        n13.judge_page(n13.page(facts), facts)


def test_another_model_s_page_is_refused():
    with pytest.raises(Almost, match="is missing"):
        n13.judge_page(n13.page(n13._made_up(2)), n13._made_up(1))


@pytest.mark.parametrize(("text", "wanted", "points", "there"), [
    ("2.13 times", 2.1349, False, True), ("2.13 times", 2.147, False, False), ("2 times", 2.13, False, False),
    ("2.66-3.14", 3.14, False, True), ("−0.0123", -0.01231, False, True), ("-1.23 points", -0.0123, True, True),
    ("1,234 items", 1234, False, True), ("0.01", 0.0123, False, False), ("v1.234x", 1.234, False, False),
])  # fmt: skip
def test_a_number_is_found_in_a_text_if_it_is_rounded_to_two_digits_or_more(text, wanted, points, there):
    assert n13._has(text, wanted, points=points) is there


def test_the_figures_say_in_words_what_they_show():
    assert len(n13.streams().alt) > 100
    random = np.random.default_rng(0)
    assert "near" in n13.near_ties(random.normal(size=99), random.normal(size=99), title="near").alt
    assert "5" in n13.staircase([5, 4, 3], 3, unit="dB", title="down").alt
    assert "static 2.00" in n13.expected({"static": (2, 1, 3)}, title="here", target=1.1).alt
