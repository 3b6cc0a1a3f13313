"""Every notebook in JupyterLab, used as a learner uses it: run, move, guess, choose, answer wrongly, answer rightly."""

import re
from contextlib import contextmanager

import nbformat
import pytest
from selenium.webdriver.common.by import By

from nbtools.exercises import exercises, paths
from nbtools.problems import verdict
from qlab.course.show import plain
from tests.browser.cells import calls, needed
from tests.browser.page import NO_RESULT_YET
from tests.browser.widget import unmoved, widgets
from tests.notebooks.answers import wrong_answers

# Run from the first cell to the last. Of the others runs what answers to a hand, and the cells that this needs:
# tests/notebooks runs all of every notebook, with every exercise, without a page.
WHOLE = {"01_linear_quantization"}
OPTION = re.compile(r"^  [✓✗] ([a-z]): ", re.MULTILINE)


def test_the_notebook_that_runs_whole_is_there():
    assert {path.stem for path in paths()} >= WHOLE


@pytest.mark.parametrize("path", paths(), ids=lambda path: path.stem)
def test_a_learner_gets_through_a_notebook(path, notebook, tell):
    """What the notebook does not contain, such as the first one's quiz, is not looked for."""
    source = nbformat.read(path, as_version=4)
    notebook.open(path.name)
    with notebook.pictured(path.stem):
        run(notebook, source, path)
        shows_its_figures(notebook)
    for index in cells_calling("explore", source):
        with notebook.pictured(f"{path.stem}-widget-{index}"):
            tell(f"{path.stem}, until the picture stood in the page: {moves_every_control(notebook, index)}")
    for index in cells_calling("predict", source)[:1]:
        notebook.run_code(NO_RESULT_YET)
        with notebook.pictured(f"{path.stem}-guess"), progress_changes(notebook, source):
            takes_a_guess(notebook, index)
    for index in cells_calling("quiz", source):
        with notebook.pictured(f"{path.stem}-quiz"), progress_changes(notebook, source):
            explains_every_option(notebook, index)
    with notebook.pictured(f"{path.stem}-exercise"):
        judges_an_exercise(notebook, source, path)
    assert notebook.errors() == []
    assert notebook.stderr() == []
    assert notebook.console_errors() == []


def cells_calling(function, source):
    """The indices of the cells of code that call `function`."""
    return [index for index, cell in enumerate(source.cells) if calls(cell, function)]


def tried(source, path):
    """The exercise that is answered, and the first wrong answer to it."""
    exercise = exercises(source)[0]
    return exercise, wrong_answers(path)[exercise.id][0]


def touched(source, path):
    """{index: code} of what a test here touches: widgets, quizzes, progress, the first guess, the first exercise."""
    exercise, wrong = tried(source, path)
    cells = [index for name in ("explore", "quiz", "progress") for index in cells_calling(name, source)]
    cells += [*cells_calling("predict", source)[:1], exercise.check]
    return {index: source.cells[index].source for index in cells} | {
        exercise.stub: f"{wrong.code}\n{exercise.solution}"
    }


def run(notebook, source, path):
    """Run the notebook, whole or what is touched of it; the check then says that nothing is answered yet."""
    if path.stem in WHOLE:
        notebook.run_all()
    else:
        notebook.run_cells(needed(source, touched(source, path)))
    assert notebook.errors() == []
    exercise, _ = tried(source, path)
    assert judged(notebook, exercise)[0] == "not yet"


def shows_its_figures(notebook):
    """Every figure of a cell stands in the page as a picture."""
    with_figures = [
        index
        for index, cell in enumerate(notebook.cells())
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", ()))
    ]
    assert with_figures
    assert all(notebook.figures(index) for index in with_figures)


def moves_every_control(notebook, index):
    """Each control of the cell's widget changes its picture. -> what was moved, and how long the picture took"""
    told = []
    for widget in widgets(notebook, index):
        moves = widget.move_everything()
        assert unmoved(moves) == [], f"of {len(moves)} moves, those of these controls never changed the picture"
        seen = [move for move in moves if move.changed and move.milliseconds]
        told += [f"{move.control} to {move.to}: {move.milliseconds:.0f} ms" for move in seen]
    assert told
    return "; ".join(told)


def takes_a_guess(notebook, index):
    """A click on an option of a prediction is answered by that option."""
    first, *_ = notebook.element(index).find_elements(By.CSS_SELECTOR, ".widget-toggle-buttons button")
    first.click()
    notebook.wait_for_text(index, f"Your guess: {first.text}")


def explains_every_option(notebook, index):
    """Click the options of the first question, one after the other: each shows its own explanation."""
    buttons = notebook.element(index).find_element(By.CSS_SELECTOR, ".widget-toggle-buttons")
    said = notebook.element(index).find_element(By.CSS_SELECTOR, ".widget-vbox .widget-html")
    answers = next(output for output in notebook.cells()[index]["outputs"] if "answers" in facts(output))
    lettered = OPTION.split("".join(answers["data"]["text/plain"]))
    explanations = dict(zip(lettered[1::2], lettered[2::2], strict=True))
    assert len(explanations) >= 2
    for button in buttons.find_elements(By.TAG_NAME, "button"):
        letter, _, option = button.text.partition(") ")
        assert option
        explanation = words(explanations.pop(letter))
        button.click()
        notebook.wait(lambda wanted=explanation: wanted in words(said.text), f"the explanation {explanation!r}")
    assert explanations == {}


def judges_an_exercise(notebook, source, path):
    """A wrong answer is typed and refused by name, the folded solution is typed and passes; progress shows both."""
    exercise, wrong = tried(source, path)
    for code, status, says in ((wrong.code, "almost", wrong.says), (exercise.solution, "passed", "passed")):
        with progress_changes(notebook, source):
            notebook.type_into(exercise.stub, code.rstrip()).run_cell(exercise.stub).run_cell(exercise.check)
            verdict_status, text = judged(notebook, exercise)
            assert (verdict_status, words(says) in words(text)) == (status, True), f"answered by {text!r}"
            in_page = lambda says=says: words(says) in words(notebook.output_text(exercise.check))
            notebook.wait(in_page, f"the verdict {text!r} in the page")


@contextmanager
def progress_changes(notebook, source):
    """Inside something is reached, so `progress()`, run before and after, draws another picture."""
    cells = cells_calling("progress", source)
    before = [picture_of_progress(notebook, index) for index in cells]
    yield
    assert all(picture_of_progress(notebook, index) != old for index, old in zip(cells, before, strict=True)), (
        "progress() draws the same picture as before"
    )


def picture_of_progress(notebook, index):
    """What `progress()` draws now."""
    notebook.run_cell(index)
    return notebook.wait(lambda: notebook.figures(index), "the picture of progress()")


def judged(notebook, exercise):
    """What the check of the exercise shows now: (status, text)."""
    return verdict(nbformat.from_dict(notebook.cells()[exercise.check])["outputs"], exercise.id)


def facts(output):
    """What qlab says about an output, for programs."""
    return output.get("metadata", {}).get("qlab", {})


def words(text):
    """Text as it reads in the page: without the signs of code and emphasis, and however it is broken into lines."""
    return " ".join(plain(text).replace("`", "").split())
