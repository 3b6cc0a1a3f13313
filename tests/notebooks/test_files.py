"""The harness is itself tested: tiny files that it must refuse, read or clean. No kernel runs here."""

import base64
import io

import pytest
from nbformat.v4 import new_output
from PIL import Image

from nbtools.exercises import exercises, is_blank
from nbtools.problems import WIDGET_VIEW, file_problems
from tests.notebooks.samples import FOLDED, executed, noise_png, notebook_of, with_exercise

NAMED = {"image/png": {"alt": "noise"}}


def test_a_file_executed_out_of_order_is_refused():
    notebook = executed(notebook_of("x = 1", "x += 1", "x"))
    notebook.cells[1].execution_count, notebook.cells[2].execution_count = 3, 2
    (problem,) = file_problems(notebook)
    assert "execution counts are [1, 3, 2]" in problem


def test_a_file_with_a_cell_that_was_not_executed_is_refused():
    notebook = executed(notebook_of("x = 1", "x"))
    notebook.cells[1].execution_count = None
    (problem,) = file_problems(notebook)
    assert "execution counts are [1, None]" in problem


def test_a_file_with_widget_state_is_refused():
    notebook = executed(notebook_of("x = 1"))
    state = {"version_major": 2, "version_minor": 0, "state": {}}
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": state}
    (problem,) = file_problems(notebook)
    assert "metadata.widgets" in problem


def test_a_file_edited_after_its_execution_is_refused():
    notebook = executed(notebook_of("x = 1"))
    notebook.cells[0].source = "x = 2"
    (problem,) = file_problems(notebook)
    assert "edited after" in problem


@pytest.mark.parametrize(
    ("cells", "refused"),
    [
        (["import onnxruntime", "import qlab"], True),
        (["import numpy\nimport onnxruntime.quantization as q\nfrom qlab import recipes"], True),
        (["def late():\n    from onnxruntime import quantization", "import qlab.graph"], True),
        (["from qlab import runtime\nimport onnxruntime"], False),
        (["x = 1", "import numpy"], False),
    ],
)
def test_a_file_that_imports_onnxruntime_before_qlab_is_refused(cells, refused):
    problems = file_problems(executed(notebook_of(*cells)))
    assert ["it imports onnxruntime before qlab" in problem for problem in problems] == [True] * refused


@pytest.mark.parametrize(
    ("output", "says"),
    [
        (new_output("error", ename="ValueError", evalue="nan", traceback=[]), "cell 1 raised ValueError: nan"),
        (new_output("stream", name="stderr", text="RuntimeWarning: overflow"), "wrote to stderr"),
        (new_output("display_data", {"image/svg+xml": "<svg/>"}), "SVG"),
        (new_output("display_data", {"text/html": "<p><svg/></p>"}), "SVG"),
        (new_output("display_data", {"image/png": noise_png(400)}, metadata=NAMED), "PNG of more than"),
        (new_output("display_data", {"image/png": noise_png(4)}), "without alt text"),
        (new_output("display_data", {"text/plain": "<Legend at 0x7f51c0a2b310>"}), "<Legend at 0x7f51c0a2b310>"),
    ],
)
def test_an_output_that_must_not_be_committed_is_refused(output, says):
    notebook = notebook_of("x = 1")
    notebook.cells[0].outputs = [output]
    (problem,) = file_problems(executed(notebook))
    assert says in problem


@pytest.mark.parametrize(
    ("folded", "says"),
    [
        (FOLDED.replace("Hint 2", "Note"), "two <details> hints"),
        (FOLDED.replace("Solution", "Answer"), "<summary>Solution</summary>"),
        (FOLDED.replace("```python", "```"), "exactly one python fence"),
    ],
)
def test_an_exercise_without_hints_or_solution_is_refused(folded, says):
    notebook = with_exercise()
    notebook.cells[3].source = folded
    with pytest.raises(ValueError, match=says):
        exercises(notebook)


def test_an_exercise_whose_check_does_not_follow_is_refused():
    notebook = with_exercise()
    del notebook.cells[2]
    with pytest.raises(ValueError, match=r"must be code that calls check"):
        exercises(notebook)


@pytest.mark.parametrize(
    ("source", "blank"),
    [
        ("answer = ...", True),
        ("def f(x):\n    ...", True),
        ("scale, zero_point = ..., ...", True),
        ("answer = x[..., 0]", False),
        ("answer = 42  # was ...", False),
    ],
)
def test_a_stub_is_blank_while_it_holds_an_ellipsis(source, blank):
    assert is_blank(source) is blank


def test_cleaning_drops_what_differs_between_equal_runs_and_what_is_blank_without_a_kernel():
    noisy = io.BytesIO()
    Image.new("RGBA", (64, 64), "white").save(noisy, "png", compress_level=0)
    picture = base64.b64encode(noisy.getvalue()).decode()
    notebook, said = notebook_of("x = 1"), {"width": 64, "alt": "white"}
    notebook.cells[0].metadata = {"execution": {"iopub.status.busy": "now"}, "tags": ["kept"]}
    notebook.cells[0].outputs = [
        new_output("display_data", {WIDGET_VIEW: {"model_id": "a"}, "text/plain": "IntSlider()"}),
        new_output("stream", name="stdout", text="\r100%|#####| 8/8\r               \r"),
        new_output("display_data", {"image/png": picture}, metadata={"image/png": said, "made": "now"}),
    ]
    (cell,) = executed(notebook).cells
    (output,) = cell.outputs
    assert cell.metadata == {"tags": ["kept"]}
    assert output.metadata == {"image/png": said}
    smaller = base64.b64decode(output.data["image/png"])
    assert len(smaller) < len(noisy.getvalue()) / 10
    assert Image.open(io.BytesIO(smaller)).getextrema() == ((255, 255),) * 3


@pytest.mark.parametrize(
    ("printed", "kept"),
    [
        ("\r 10%|#   |\r 90%|### |\r           \rdone\n", "done\n"),
        ("before\n\r50%|## |\r        \r", "before\n"),
        ("\r0/2\n\r 10%|#   |\x1b[A\n\r 90%|### |\x1b[A\n\r      \r\x1b[A\r1/2\r   \rdone\n", "done\n"),
        ("two  \n\n  lines \n", "two  \n\n  lines \n"),
    ],
)
def test_cleaning_leaves_of_printed_text_what_stands_on_the_page_at_the_end(printed, kept):
    notebook = notebook_of("x = 1")
    notebook.cells[0].outputs = [new_output("stream", name="stdout", text=printed)]
    assert executed(notebook).cells[0].outputs[0].text == kept
