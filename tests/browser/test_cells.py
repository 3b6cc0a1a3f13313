"""The cells that a test must run are found from the code alone."""

import pytest

from tests.browser.cells import calls, needed
from tests.notebooks.samples import notebook_of

SET_UP = "import numpy as np\nfrom qlab.course import plots"


def cells_for(*cells, target=-1):
    """What `needed` finds for one cell of a notebook that begins with the set-up."""
    notebook = notebook_of(SET_UP, *cells)
    index = range(len(notebook.cells))[target]
    return needed(notebook, {index: notebook.cells[index].source})


def test_a_cell_brings_those_before_it_that_it_needs_and_the_set_up():
    assert cells_for("a = 1", "b = 2", "c = a + 1", "unused = b", "print(c)") == [0, 1, 3, 5]


def test_a_name_that_the_cell_binds_itself_is_not_sought_before():
    assert cells_for("figure = np.ones(1)", "figure = np.zeros(1)\nfigure") == [0, 2]
    assert cells_for("total = 1", "total = total + 1") == [0, 1, 2]


def test_what_a_function_uses_is_needed_when_it_is_called():
    assert cells_for("scale = 2", "def double(x):\n    return [scale * y for y in x]", "double([1])") == [0, 1, 2, 3]


@pytest.mark.parametrize("change", ["kept[0] = 1", "kept.name = 1", "kept.append(1)", "kept.rows[0].clear()"])
def test_a_cell_that_changes_the_object_in_place_is_needed(change):
    assert cells_for("kept = make()", change, "print(kept)") == [0, 1, 2, 3]


def test_calling_a_module_changes_nothing():
    assert cells_for("plots.bars({})", "np.seterr(all='raise')", "plots.bars({})") == [0, 3]


def test_the_code_that_will_stand_in_a_cell_counts():
    notebook = notebook_of(SET_UP, "x = np.ones(3)", "answer = ...", "check('99.1', answer)")
    assert needed(notebook, {2: "answer = x.sum()", 3: notebook.cells[3].source}) == [0, 1, 2, 3]


def test_a_call_is_found_by_its_bare_name_and_as_an_attribute():
    first, second, third = notebook_of("explore(draw)", "course.explore(draw)", "explored = 'explore()'").cells
    assert [calls(cell, "explore") for cell in (first, second, third)] == [True, True, False]
