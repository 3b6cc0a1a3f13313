"""In real kernels: `check` says which code it judged, and `mine` reaches from one notebook into the next."""

import os
import re
from pathlib import Path

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).resolve().parents[2]
SET_UP = """
import numpy as np
from qlab.course import check, lessons, mine
from qlab.course.expect import call, expect_equal

def qlabs(x):
    return x + 1

@lessons.exercise("98.1", "one more", place="bump", otherwise=qlabs)
def _(answer):
    expect_equal(call(answer, 1), 2, "the result")

@lessons.exercise("98.2", "two functions", place=("one", "two"), otherwise=(qlabs, qlabs))
def _(answer):
    expect_equal(call(answer[1], 1), 2, "the result")

@lessons.exercise("98.3", "a value")
def _(answer):
    expect_equal(answer, 3, "the value")
"""
FIRST = {  # cell [1] is SET_UP
    "blank": "def add(x):\n    ...",
    "check blank": "check('98.1', add)",
    "syntax error": "def add(x):\n    return x + 1)",
    "check after a syntax error": "check('98.1', add)",
    "defined": "def add(x):\n    return np.add(x, 1)  # <right>",
    "check": "check('98.1', add)",
    "fails after its def": "def add(x):\n    return x + 3\nraise ValueError('late')",
    "check what was defined before the error": "check('98.1', add)",
    "fails before its def": "1 / 0\ndef add(x):\n    return x + 1",
    "another cell": "'unrelated'",
    "check after another cell": "check('98.1', add)",
    "defined again": "def add(x):\n    return np.add(x, 1)  # <right>",
    "check again": "check('98.1', add)",
    "unrelated error": "nowhere",
    "check after an unrelated error": "check('98.1', add)",
    "a value": "value = 3",
    "check a value": "check('98.3', value)",
    "a value with an error": "value = 3 +",
    "check a value after an error": "check('98.3', value)",
    "one": "def one(x):\n    return x",
    "two": "def two(x):\n    return one(x) + 1",
    "check two": "check('98.2', (one, two))",
    "check a class and a lambda": "class A:\n    def f(self):\n        return 1\n\ncheck('98.2', (A, lambda x: x + 1))",
    "check by a magic": "%%time\ndef timed(x):\n    return x + 1\ncheck('98.1', timed)",
    "check the right one": "check('98.1', add)",
    "mine": "mine.bump(1), mine.two(1)",
    "mine again": "mine.bump(1), mine.two(1)",
    "table": "mine",
}
SECOND = {
    "mine": "mine.bump(1)",
    "its error": "mine.bump('text')",
    "reset": "mine.reset()",
    "qlab's": "mine.bump(1)",
}

pytestmark = pytest.mark.notebook


def executed(cells, progress):
    """-> {cell: its outputs}"""
    notebook = new_notebook(cells=[new_code_cell(code) for code in (SET_UP, *cells.values())])
    client = NotebookClient(notebook, kernel_name="python3", timeout=None, allow_errors=True)
    client.resources = {"metadata": {"path": str(ROOT)}}
    client.execute(env={**os.environ, "QLAB_PROGRESS": str(progress)})
    assert notebook.cells[0].outputs == []
    return dict(zip(cells, (cell.outputs for cell in notebook.cells[1:]), strict=True))


@pytest.fixture(scope="module")
def progress(tmp_path_factory):
    return tmp_path_factory.mktemp("kernels") / "progress.json"


@pytest.fixture(scope="module")
def first(progress):
    return executed(FIRST, progress)


@pytest.fixture(scope="module")
def second(first, progress):
    return executed(SECOND, progress)


def plain(outputs):
    return [output.data["text/plain"] for output in outputs if "data" in output]


def judged(outputs):
    """The lines of a verdict below its first."""
    (text,) = plain(outputs)
    return [line for line in text.splitlines()[1:] if not line.startswith("`mine.")]


CASES = {
    "check blank": ["judged: `add`, defined in [2]"],
    "check after a syntax error": [
        "judged: `add`, defined in [2]",
        "this is `add` as [2] defined it: [4], which was to define it anew, ended in a SyntaxError",
    ],
    "check": ["judged: `add`, defined in [6]"],
    "check what was defined before the error": ["judged: `add`, defined in [8]"],
    "check after another cell": [
        "judged: `add`, defined in [8]",
        "this is `add` as [8] defined it: [10], which was to define it anew, ended in a ZeroDivisionError",
    ],
    "check again": ["judged: `add`, defined in [13]"],
    "check after an unrelated error": [
        "judged: `add`, defined in [13]",
        "the cell run just before, [15], ended in a NameError: was the answer in it?",
    ],
    "check a value": [],
    "check a value after an error": ["the cell run just before, [19], ended in a SyntaxError: was the answer in it?"],
    "check two": ["judged: `one`, defined in [21]; `two`, defined in [22]"],
    "check a class and a lambda": ["judged: `A`, defined in [24]; a lambda, defined in [24]"],
    "check the right one": ["judged: `add`, defined in [13]"],
}


@pytest.mark.parametrize(("cell", "lines"), CASES.items(), ids=CASES)
def test_a_verdict_says_which_code_was_judged(first, cell, lines):
    assert judged(first[cell]) == lines


def test_the_code_is_folded_under_the_verdict(first):
    (output,) = first["check"]
    assert "def add(x):\n    return np.add(x, 1)  # &lt;right&gt;" in output.data["text/html"]
    assert output.data["text/html"].count("<details>") == 1


def test_a_function_made_by_a_magic_is_judged_and_serves_in_this_kernel(first):
    (text,) = plain(first["check by a magic"])
    assert text.startswith("[98.1] passed: `mine.bump` is yours in this kernel only: the source of `timed` is not")


def test_whose_function_runs_is_said_once_in_a_kernel(first):
    assert plain(first["mine"]) == [
        "mine.bump: yours, from exercise 98.1",
        "mine.two: yours, from exercise 98.2",
        "(np.int64(2), 2)",
    ]
    assert plain(first["mine again"]) == ["(np.int64(2), 2)"]


def test_mine_as_the_last_expression_of_a_cell_shows_its_table(first):
    (output,) = first["table"]
    assert "text/html" in output.data
    assert output.data["text/plain"].startswith("your own quantizer: ")
    assert "mine.bump" in output.data["text/plain"]


def test_what_passed_in_one_notebook_serves_in_the_next(second):
    assert plain(second["mine"]) == ["mine.bump: yours, from exercise 98.1", "np.int64(2)"]


def test_the_traceback_of_a_kept_function_shows_its_file_and_line(second, progress):
    (error,) = second["its error"]
    assert error.output_type == "error"
    shown = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))
    assert str(progress.parent / ".qlab-mine-progress" / "bump.py") in shown
    assert "return np.add(x, 1)" in shown


def test_after_a_reset_qlabs_function_stands_there_again(second):
    assert plain(second["qlab's"]) == ["mine.bump: qlab's, until you pass 98.1", "2"]
