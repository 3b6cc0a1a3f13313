"""Who runs beside whom: what shares a set-up or a file stays on one worker, whoever takes longest begins first."""

from tests.parallel import in_order, room

ONE = "tests/notebooks/test_notebooks.py::test_it_runs_and_no_control_raises[{}]"
OTHER = "tests/notebooks/test_notebooks.py::test_the_folded_solution_passes[{}]"


def test_all_tests_of_a_browser_of_a_notebook_or_of_a_file_share_a_worker():
    assert room("tests/browser/test_lab.py::test_a") == room("tests/browser/test_learner.py::test_b[01]")
    assert room(ONE.format("01_linear_quantization")) == room(OTHER.format("01_linear_quantization"))
    assert room(ONE.format("01_linear_quantization")) != room(ONE.format("02_symmetric_and_asymmetric"))
    assert room("tests/test_make.py::test_a") == room("tests/test_make.py::test_b[x::y]") == "tests/test_make.py"
    assert room("qlab/numerics/affine.py::qlab.numerics.affine.quantize") == "qlab/numerics/affine.py"


def test_the_longest_begin_first():
    files = ["tests/course/test_progress.py::a", "tests/notebooks/test_runs.py::a", "tests/browser/test_lab.py::a"]
    assert sorted(files, key=in_order) == files[::-1]
