"""In a real kernel everything shows itself once, with words first and the widget below."""

import os
from pathlib import Path

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).resolve().parents[2]
WIDGET = "application/vnd.jupyter.widget-view+json"
CELLS = {
    "set up": """
from qlab import palette
from qlab.course import check, claim, explore, predict, progress, question, quiz, right, settle, slider, wrong

def draw(bits=4):
    if bits == 8:
        raise ValueError("no 8 bits")
    return palette.figure(height=2.0, layout=None)[0]
""",
    "two claims in a loop": "for k in (1, 2):\n    claim(f'claim {k}', True, k)",
    "a kept verdict": "verdict = check('00.1', {'cpu'})",
    "shown again": "verdict",
    "last expression": "check('00.1', ...)",
    "exit": "def leaves(x):\n    raise SystemExit(3)\ncheck('00.1', leaves)",
    "prediction": "predict('00.1', 'The sign is', ['plus', 'minus'])",
    "result": "settle('00.1', 'plus')",
    "quiz": "quiz('00', [question('Which', right('a', 'yes'), wrong('b', 'no'))])",
    "static figure": "draw()",
    "widget": "explorer = explore(draw, bits=slider(2, 8, 4))",
    "a moved control": "import os\nos.environ.pop('QLAB_TEST')\nexplorer.controls['bits'].value = 8",
    "progress": "progress()",
}


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """-> ({cell: its outputs}, {widget model: its state})"""
    notebook = new_notebook(cells=[new_code_cell(code) for code in CELLS.values()])
    client = NotebookClient(notebook, kernel_name="python3", timeout=None, resources={"metadata": {"path": str(ROOT)}})
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    environment["QLAB_PROGRESS"] = str(tmp_path_factory.mktemp("progress") / "progress.json")
    client.execute(env=environment)
    outputs = dict(zip(CELLS, (cell.outputs for cell in notebook.cells), strict=True))
    return outputs, client.widget_state


def plain(outputs):
    return [output.data["text/plain"] for output in outputs if WIDGET not in output.get("data", {})]


pytestmark = pytest.mark.notebook


def test_each_answer_shows_itself_once_wherever_it_stands_in_a_cell(executed):
    outputs, _ = executed
    assert plain(outputs["two claims in a loop"]) == ["✓ claim 1: 1", "✓ claim 2: 2"]
    assert len(outputs["last expression"]) == 1
    assert "text/html" in outputs["last expression"][0].data
    assert outputs["last expression"][0].metadata["qlab"] == {"check": "00.1", "status": "not yet"}


def test_a_verdict_that_was_kept_can_be_shown_again(executed):
    outputs, _ = executed
    assert plain(outputs["a kept verdict"]) == plain(outputs["shown again"])


def test_an_answer_that_exits_leaves_the_kernel_running(executed):
    outputs, _ = executed
    assert plain(outputs["exit"])[0].startswith("[00.1] almost: ")


@pytest.mark.parametrize("cell", ["prediction", "quiz", "widget"])
def test_words_stand_first_and_the_widget_below(executed, cell):
    outputs, _ = executed
    words, view, *rest = outputs[cell]
    assert {"text/plain", "text/html"} == set(words.data)
    assert WIDGET in view.data
    assert ["<summary>Answer</summary>" in answers.data["text/html"] for answers in rest] == [True] * (cell == "quiz")


def test_figures_are_one_png_each(executed):
    outputs, _ = executed
    for cell in ("static figure", "progress"):
        (output,) = outputs[cell]
        assert output.data["image/png"]
    assert output.metadata["image/png"]["alt"].startswith("0 of ")
    assert output.data["text/plain"].startswith("<Figure: 0 of ")


def test_an_error_of_a_callback_is_an_error_output_in_the_widget_state(executed):
    _, state = executed
    errors = [output for model in state.values() for output in model.get("outputs", ())]
    assert [(output["output_type"], output["evalue"]) for output in errors] == [("error", "no 8 bits")]
