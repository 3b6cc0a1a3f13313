"""Who runs beside whom: what shares a set-up or a file stays on one worker, whoever takes longest begins first."""

import nbformat
import pytest

from tests.browser.cells import needed
from tests.browser.test_learner import WHOLE, touched
from tests.notebooks.exercises import paths
from tests.parallel import in_order, quantizes_in_place, room

ONE = "tests/notebooks/test_notebooks.py::test_it_runs_and_no_control_raises[{}]"
OTHER = "tests/notebooks/test_notebooks.py::test_the_folded_solution_passes[{}]"


def test_all_tests_of_a_browser_of_a_notebook_or_of_a_file_share_a_worker():
    assert room("tests/browser/test_lab.py::test_a") == room("tests/browser/test_learner.py::test_b[01]")
    assert room(ONE.format("01_linear_quantization")) == room(OTHER.format("01_linear_quantization"))
    assert room(ONE.format("01_linear_quantization")) != room(ONE.format("02_symmetric_and_asymmetric"))
    assert room("tests/test_make.py::test_a") == room("tests/test_make.py::test_b[x::y]") == "tests/test_make.py"
    assert room("qlab/numerics/affine.py::qlab.numerics.affine.quantize") == "qlab/numerics/affine.py"


def test_notebooks_that_quantize_a_shipped_model_in_its_place_do_so_in_turn():
    in_place = [path.stem for path in paths() if quantizes_in_place(path.stem)]
    assert "00_the_puzzle" in in_place
    assert len({room(ONE.format(stem)) for stem in in_place}) == 1


@pytest.mark.parametrize("path", paths(), ids=lambda path: path.stem)
def test_the_browser_beside_them_quantizes_nothing_in_its_place(path):
    notebook = nbformat.read(path, as_version=4)
    cells = range(len(notebook.cells)) if path.stem in WHOLE else needed(notebook, touched(notebook, path))
    code = "\n".join(notebook.cells[index].source for index in cells if notebook.cells[index].cell_type == "code")
    assert not [name for name in ("quantize_dynamic(", "quantize_static(") if name in code]


def test_the_longest_begin_first():
    files = ["tests/course/test_board.py::a", "tests/notebooks/test_runs.py::a", "tests/browser/test_lab.py::a"]
    assert sorted(files, key=in_order) == files[::-1]
