"""The helpers that move widgets are themselves tested: on a widget that works, and on ones that do not."""

import nbformat
import pytest

from tests.browser.widget import unmoved, widgets
from tests.notebooks.samples import notebook_of

SET_UP = """\
from matplotlib.figure import Figure

from qlab.course import choice, explore, range_slider, slider, toggle


def picture(*shown):
    figure = Figure((4, 2))
    figure.text(0.1, 0.5, " ".join(map(str, shown)))
    return figure
"""
SOUND = """\
def draw(ends, shared, block, dark):
    return picture(ends, shared, block if shared == "by block" else "", dark)


explore(draw, ends=range_slider(-1.0, 1.0), shared=choice(["by all", "by block", "by row"]), block=slider(8, 64),
        dark=toggle(label="dark"))
"""
IDLE = "explore(lambda bits, idle: picture(bits), bits=slider(2, 8, 4), idle=slider(0.0, 1.0, 0.5, label='idle (s)'))"
RAISING = "explore(lambda bits: picture(1 / (bits - 8)), bits=slider(2, 8, 4))"


@pytest.fixture(scope="module")
def sample(lab):
    path = lab.folder / "widgets.ipynb"
    nbformat.write(notebook_of(SET_UP, SOUND, IDLE, RAISING), path)
    return path.name


def test_every_control_is_moved_and_one_that_matters_only_beside_some_choice_is_found_to_matter(notebook, sample):
    notebook.open(sample).run_all()
    (widget,) = widgets(notebook, 1)
    moves = widget.move_everything()
    assert unmoved(moves) == []
    assert {(move.control, move.to) for move in moves} == {
        ("ends, handle 1", "its high end"), ("ends, handle 1", "its low end"), ("ends, handle 2", "its low end"),
        ("ends, handle 2", "its high end"), ("shared", "by all"), ("shared", "by block"),
        ("shared", "by row"), ("block", "its high end"), ("block", "its low end"),
        ("dark", "its other side"), ("dark", "its first side"),
    }  # fmt: skip
    assert notebook.console_errors() == []


def test_a_control_that_changes_nothing_is_named(notebook, sample):
    notebook.open(sample).run_all()
    (widget,) = widgets(notebook, 2)
    assert unmoved(widget.move_everything()) == ["idle (s)"]


def test_an_error_at_a_sliders_end_is_seen(notebook, sample):
    notebook.open(sample).run_all()
    (widget,) = widgets(notebook, 3)
    with pytest.raises(RuntimeError, match=r"(?s)moving 'bits' to its high end: .*ZeroDivisionError"):
        widget.move_everything()
