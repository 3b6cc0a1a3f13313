"""A claim stands beside its number, and a false one about mathematics fails the tests."""

import numpy as np
import pytest

from qlab import machine
from qlab.course import FalseClaim, claim

CARD = machine.Card(
    name="Test <chip>",
    platform="x",
    cores=2,
    versions={},
    speed={"u8s8": 3.9, "u8u8": 1.6, "s8s8": 0.33, "s8u8": None},
    saturates=True,
    float32_gflops=50.0,
    copy_gb_per_s=9.0,
)


def test_a_claim_that_holds_shows_a_tick_and_the_measured_value(capsys):
    shown = claim("every file shrinks", np.bool_(True), "3.9 times")
    assert shown.holds is True
    assert capsys.readouterr().out == "✓ every file shrinks: 3.9 times\n"
    assert "<b>3.9 times</b>" in shown.html()


@pytest.mark.parametrize(
    ("value", "said"), [(None, "c\n"), (24.31, "c: 24.31\n"), (np.float32(0.1), "c: 0.1 (float32)\n")]
)
def test_a_value_may_be_of_any_kind(value, said, capsys):
    claim("c", True, value)
    assert capsys.readouterr().out == f"✓ {said}"


def test_a_false_mathematical_claim_raises_under_test_after_it_was_shown(capsys):
    with pytest.raises(FalseClaim, match=r"error <= scale / 2: 0\.7 scale"):
        claim("error <= scale / 2", False, "0.7 scale")
    assert capsys.readouterr().out.startswith("✗ error <= scale / 2")
    assert issubclass(FalseClaim, AssertionError)


def test_a_false_claim_only_shows_a_cross_to_a_learner(monkeypatch):
    monkeypatch.delenv("QLAB_TEST")
    assert claim("x", 0 > 1, 3).text().startswith("✗ x: 3")


def test_a_claim_about_machines_shows_the_card_and_never_raises():
    shown = claim("u8 x s8 is exact", False, "32,767", depends_on="machine", card=CARD, otherwise="Use reduce_range.")
    assert shown.text().splitlines() == [
        "✗ u8 x s8 is exact: 32,767",
        "  Test <chip>, against float32: u8 x s8 3.90x, u8 x u8 1.60x, s8 x s8 0.33x, s8 x u8 no kernel; "
        "u8 x s8 saturates",
        "  Use reduce_range.",
    ]
    assert "<chip>" not in shown.html()
    assert shown.facts() == {"claim": "u8 x s8 is exact", "holds": False, "depends_on": "machine"}


def test_where_a_claim_about_machines_holds_only_the_card_stands_below():
    assert len(claim("x", True, depends_on="machine", card=CARD, otherwise="no").text().splitlines()) == 2


def test_without_a_card_this_machines_own_is_read(monkeypatch):
    monkeypatch.setattr(machine, "card", lambda name: CARD)
    assert "Test <chip>" in claim("x", True, depends_on="machine").text()


def test_a_card_that_cannot_be_measured_does_not_stop_the_reader(monkeypatch):
    def fails(name):
        raise OSError("no probe")

    monkeypatch.setattr(machine, "card", fails)
    assert "could not be made: OSError: no probe" in claim("x", False, depends_on="machine").text()


def test_a_condition_that_is_no_truth_value_is_refused():
    with pytest.raises(ValueError, match=r"use \.all\(\)"):
        claim("x", np.array([True, False]))


def test_a_dependence_of_another_kind_is_refused():
    with pytest.raises(ValueError, match='expected "machine"'):
        claim("x", True, depends_on="weather")
