"""The harness is itself tested: kernel runs of tiny notebooks that it must pass or refuse."""

import pytest

from nbtools import kernel
from nbtools.clean import clean
from nbtools.problems import file_problems, run_problems, verdict
from tests.notebooks.answers import Wrong
from tests.notebooks.samples import notebook_of, with_exercise

pytestmark = pytest.mark.notebook


def test_a_sound_notebook_passes(tmp_path):
    run = kernel.run(notebook_of("x = 6", "print(x * 7)"), tmp_path)
    assert run.notebook.cells[1].outputs[0].text == "42\n"
    assert run_problems(run) == []
    assert file_problems(clean(run.notebook, {})) == []


def test_a_cell_that_raises_is_refused(tmp_path):
    run = kernel.run(notebook_of("x = 1", "x / 0", "y = x"), tmp_path)
    assert run_problems(run) == ["cell 2 raised ZeroDivisionError: division by zero"]


def test_an_error_that_reaches_stderr_only_is_refused(tmp_path):
    (problem,) = run_problems(kernel.run(notebook_of("raise ExceptionGroup('two', [ValueError()])"), tmp_path))
    assert problem.startswith("cell 1 raised ExceptionGroup: two")


def test_what_is_left_on_stderr_is_refused_and_a_progress_bar_is_not_left_there(tmp_path):
    warns = "import warnings\n\nwarnings.warn('too many bits')"
    logs = "import logging\n\nlogging.warning('pre-process first')"
    waits = "import qlab.runtime as bars\n\nbars._PATIENCE_S = 0\nfor _ in bars.bar(range(9), 'counting'):\n    pass"
    run = kernel.run(notebook_of(warns, logs, waits), tmp_path)
    first, second = run_problems(run)
    assert "too many bits" in first
    assert "pre-process first" in second
    (shown,) = run.notebook.cells[2].outputs
    assert (shown.name, shown.text.strip()) == ("stdout", "")


INTERACT = """\
from ipywidgets import interact


@interact(bits=(2, 8))
def draw(bits=4):
    return {}
"""


def test_a_callback_that_raises_inside_interact_is_refused(tmp_path):
    first, second = run_problems(kernel.run(notebook_of(INTERACT.format("{}['figure']")), tmp_path))
    assert first.startswith("moving a control raised RuntimeError: IntSlider 'bits': KeyError('figure')")
    assert second.startswith("the Output widget")
    assert second.endswith("raised KeyError: 'figure'")


def test_a_callback_that_raises_only_at_a_sliders_end_is_refused(tmp_path):
    (problem,) = run_problems(kernel.run(notebook_of(INTERACT.format("1 / (8 - bits)")), tmp_path))
    says = "IntSlider 'bits': ZeroDivisionError('division by zero')"
    assert problem == f"moving a control raised RuntimeError: {says}"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("button = Button()\nbutton.on_click(lambda _: {}['figure'])", "Button '': KeyError('figure')"),
        ("box = Checkbox()\nbox.observe(lambda change: {}['figure'])", "Checkbox '': KeyError('figure') at value=True"),
        (
            "output, slider = Output(), IntSlider()\nslider.observe(output.capture()(lambda change: {}['figure']))",
            "IntSlider '': KeyError('figure')",
        ),
    ],
)
def test_a_control_whose_callback_raises_is_refused(code, says, tmp_path):
    notebook = notebook_of(f"from ipywidgets import Button, Checkbox, IntSlider, Output\n{code}")
    (problem,) = run_problems(kernel.run(notebook, tmp_path))
    assert problem.startswith(f"moving a control raised RuntimeError: {says}")


@pytest.mark.parametrize(
    ("code", "asks"), [("machine.card()", True), ("machine.reference_cards()", False), ("machine", False)]
)
def test_it_is_seen_whether_a_notebook_asks_for_a_card(code, asks, tmp_path):
    assert kernel.run(notebook_of("from qlab import machine", code), tmp_path).asks_for_a_card is asks


def test_every_answer_of_an_exercise_is_tried_where_it_stands(tmp_path):
    leak = "print('helper' in globals(), answer)"
    wrong = {"99.1": [Wrong("adds", "answer = 6 + 7", "13 is not")]}
    run = kernel.run(with_exercise("answer = ...", leak), tmp_path, wrong)
    said = {name: verdict(outputs, "99.1") for name, outputs in run.answers["99.1"].items()}
    assert {name: status for name, (status, _) in said.items()} == {
        "blank": "not yet",
        "adds": "almost",
        "solution": "passed",
    }
    assert "13 is not six times seven" in said["adds"][1]
    assert run.notebook.cells[-1].outputs[0].text == "False Ellipsis\n"  # no answer reaches a later cell


def test_an_answer_that_passed_takes_no_place_in_the_cells_that_follow(tmp_path):
    set_up = (
        "from qlab.course import check, lessons, mine\n\n"
        "@lessons.exercise('99.1', 'a place', place='place', otherwise=abs)\n"
        "def _(answer):\n    return f'{mine.place(-1)} before'"
    )
    notebook = with_exercise("def answer(x):\n    ...", "print(mine.place(-1))")
    notebook.cells[0].source = set_up
    notebook.cells[3].source = notebook.cells[3].source.replace("answer = helper * 7", "answer = lambda x: helper * 7")
    run = kernel.run(notebook, tmp_path, QLAB_PROGRESS=str(tmp_path / "progress.json"))
    status, text = verdict(run.answers["99.1"]["solution"], "99.1")
    assert status == "passed"
    assert "`mine.place` is yours from now on" in text
    assert run.notebook.cells[-1].outputs[-1].text == "1\n"


def test_a_check_without_a_verdict_is_refused(tmp_path):
    run = kernel.run(notebook_of("1 / 0"), tmp_path)
    with pytest.raises(ValueError, match=r"no verdict.*it raised ZeroDivisionError"):
        verdict(run.notebook.cells[0].outputs, "99.1")


def test_a_false_mathematical_claim_is_refused(tmp_path):
    code = "from qlab.course import claim\n\nclaim('rounding is exact', 1 == 2, 0.5)"
    (problem,) = run_problems(kernel.run(notebook_of(code), tmp_path))
    assert problem.startswith("cell 1 raised")
    assert "rounding is exact" in problem


def test_the_verdict_of_the_courses_own_check_is_read(tmp_path):
    code = "from qlab.course import check\n\ncheck('00.1', {'cpu'})"
    run = kernel.run(notebook_of(code), tmp_path)
    status, text = verdict(run.notebook.cells[0].outputs, "00.1")
    assert status == "almost"
    assert "only the CPU is named" in text


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("return Figure().add_subplot(8 - bits) and Figure()", "ValueError"),
        ("return None", "expected a matplotlib Figure"),
    ],
)
def test_a_widget_of_the_course_that_cannot_be_drawn_at_its_end_is_refused(code, says, tmp_path):
    source = f"""\
from matplotlib.figure import Figure

from qlab.course import explore, slider


def draw(bits):
    if bits == 8:
        {code}
    return Figure()


explore(draw, bits=slider(2, 8))
"""
    problems = run_problems(kernel.run(notebook_of(source), tmp_path))
    assert problems[0].startswith("moving a control raised")
    assert says in problems[0]
