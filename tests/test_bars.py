"""A progress bar is written on a terminal's stderr, on a notebook's stdout, and never into an answer's output."""

import io
import sys

import pytest

from qlab import runtime as bars


class Page(io.StringIO):
    """A stand-in for a notebook's stream."""

    __module__ = "ipykernel.iostream"


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(bars, "_PATIENCE_S", 0)


def run_a_bar(monkeypatch, out, err):
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert list(bars.bar(range(3), "counting", unit="step")) == [0, 1, 2]
    return out.getvalue(), err.getvalue()


def test_in_a_terminal_a_bar_is_on_stderr_and_leaves_the_results_alone(monkeypatch, at_once):
    out, err = run_a_bar(monkeypatch, io.StringIO(), io.StringIO())
    assert out == ""
    assert "counting:" in err
    assert err.rpartition("\r")[0].endswith(" " * 20)  # wiped away


def test_in_a_notebook_a_bar_is_on_stdout(monkeypatch, at_once):
    out, err = run_a_bar(monkeypatch, Page(), Page())
    assert "counting:" in out
    assert err == ""


def test_a_bar_does_not_get_into_what_a_notebook_catches(monkeypatch, at_once):
    assert run_a_bar(monkeypatch, io.StringIO(), Page()) == ("", "")


def test_what_is_quick_shows_no_bar(monkeypatch, no_bar_is_due):
    assert run_a_bar(monkeypatch, io.StringIO(), io.StringIO()) == ("", "")


def test_beside_a_bar_of_the_whole_no_other_shows_until_its_end(monkeypatch, at_once):
    monkeypatch.setattr(sys, "stderr", inside := io.StringIO())
    with bars.only_bar("all of it", unit="part") as shown:
        list(bars.bar(range(3), "a part"))
        shown.update()
    assert "all of it:" in inside.getvalue()
    assert "a part" not in inside.getvalue()
    assert "counting:" in run_a_bar(monkeypatch, io.StringIO(), io.StringIO())[1]
