"""What the course shows in a page with a kernel: guesses, quizzes, sounds, widgets in narrow windows, bars.

One page for all: the tests follow each other as a reader does.
"""

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_output
from selenium.webdriver.common.by import By

from qlab.course import plots
from tests.browser.page import NO_RESULT_YET
from tests.notebooks.samples import notebook_of

SET_UP = """\
from qlab import palette
from qlab.course import choice, explore, predict, question, quiz, range_slider, right, settle, slider, wrong
from qlab import runtime


def draw(shares, block, ends):
    figure, axes = palette.figure(height=2.5, layout=None)
    axes.set_title(f"{shares}, {block}")
    axes.set_xlim(*ends)
    return figure


runtime._PATIENCE_S = 0
list(runtime.bar(range(9), "counting"))
None
"""
SOUND = "'a sound'"
PREDICT = "predict('99.1', 'Int8 will be', ['faster', 'slower'])"
SETTLE = "settle('99.1', 'faster')"
LATE = "settle('99.2', 'faster')\npredict('99.2', 'Int8 will be', ['faster', 'slower'])"
LONG = "the one whose numbers lie far from each other, so that one scale for all of them leaves the small ones no code"
QUIZ = f"quiz('99', [question('Which is *hard*?', wrong('`the even one`', 'no'), right('{LONG}', 'an *outlier*'))])"
EXPLORE = """\
explore(draw, shares=choice(["by all", "by block"]), block=slider(8, 64), ends=range_slider(-0.4321, 0.5),
        when={"block": lambda values: values["shares"] == "by block"})
"""
FIGURE = "draw('by all', 8, (0, 1))"
CELLS = [SET_UP, SOUND, PREDICT, SETTLE, LATE, QUIZ, EXPLORE, FIGURE]
SOUND_AT, PREDICT_AT, SETTLE_AT, LATE_AT, QUIZ_AT, EXPLORE_AT, FIGURE_AT = range(1, 8)
LIT = "button.mod-active"
WITHOUT_KERNEL = "[class^=qlab-without]"


@pytest.fixture(scope="module")
def sample(lab):
    source = notebook_of(*CELLS)
    sound = plots.Sound(np.sin(np.arange(16_000) / 5), said="a tone")
    source.cells[SOUND_AT].outputs = [new_output("display_data", {"text/html": sound._repr_html_()})]
    path = lab.folder / "course.ipynb"
    nbformat.write(source, path)
    return path.name


def test_a_page_of_the_course_with_a_kernel(notebook, sample):
    notebook.open(sample)
    a_committed_sound_plays_before_its_cell_has_run(notebook)
    notebook.run_all()
    assert notebook.errors() == []
    with notebook.pictured("course"):
        words_for_readers_without_a_kernel_are_gone(notebook)
        the_lit_button_is_the_guess_that_counts(notebook)
        a_guess_after_the_result_does_not_count(notebook)
        buttons_bear_whole_options_and_the_answer_comes_last(notebook)
        pictures_say_what_they_show(notebook)
        a_control_without_effect_is_off(notebook)
    with notebook.as_wide_as(700), notebook.pictured("course-narrow"):
        everything_fits_into_a_narrow_window(notebook)
    assert notebook.stderr() == []
    assert notebook.console_errors() == []


def a_committed_sound_plays_before_its_cell_has_run(page):
    player = page.element(SOUND_AT).find_element(By.CSS_SELECTOR, "audio")
    page.wait(lambda: page.driver.execute_script("return arguments[0].duration", player) == 1, "the sound to load")
    assert "a tone" in page.output_text(SOUND_AT)


def words_for_readers_without_a_kernel_are_gone(page):
    for index in (PREDICT_AT, LATE_AT, QUIZ_AT, EXPLORE_AT):
        found = page.element(index).find_elements(By.CSS_SELECTOR, WITHOUT_KERNEL)
        assert found
        page.wait(lambda words=found: not any(word.is_displayed() for word in words), "the words to go")
    assert "run the notebook to use it" not in page.output_text(EXPLORE_AT)


def lit(page, index):
    return [button.text for button in page.element(index).find_elements(By.CSS_SELECTOR, LIT)]


def the_lit_button_is_the_guess_that_counts(page):
    page.run_code(NO_RESULT_YET).run_cell(PREDICT_AT)
    page.click_button(PREDICT_AT, "slower").wait_for_text(PREDICT_AT, "Your guess: slower")
    page.run_cell(SETTLE_AT).wait_for_text(SETTLE_AT, "You guessed: slower.")
    page.click_button(PREDICT_AT, "faster").wait_for_text(PREDICT_AT, "the result is out: this guess stays")
    page.wait(lambda: lit(page, PREDICT_AT) == ["slower"], "the old guess to be lit")
    page.run_cell(PREDICT_AT).wait(lambda: lit(page, PREDICT_AT) == ["slower"], "the guess to be lit again")


def a_guess_after_the_result_does_not_count(page):
    page.run_cell(LATE_AT).click_button(LATE_AT, "faster").wait_for_text(LATE_AT, "it does not count")
    page.run_cell(LATE_AT).wait_for_text(LATE_AT, "You guessed: faster, after the result was out.")


def buttons_bear_whole_options_and_the_answer_comes_last(page):
    cell = page.element(QUIZ_AT)
    first, second = cell.find_elements(By.CSS_SELECTOR, ".widget-toggle-buttons button")
    assert (first.text, second.text) == ("a) the even one", f"b) {LONG}")
    assert cell.find_element(By.CSS_SELECTOR, "em").text == "hard"
    assert page.is_shown_whole(second)
    second.click()
    page.wait_for_text(QUIZ_AT, "an outlier")
    answer = page.element(QUIZ_AT).find_element(By.CSS_SELECTOR, "summary")
    said = page.element(QUIZ_AT).find_element(By.CSS_SELECTOR, ".widget-vbox .widget-html-content")
    assert answer.location["y"] > said.location["y"] > second.location["y"]
    page.run_cell(QUIZ_AT).wait_for_text(QUIZ_AT, "an outlier")
    assert lit(page, QUIZ_AT) == [f"b) {LONG}"]


def pictures_say_what_they_show(page):
    assert page.element(FIGURE_AT).find_element(By.CSS_SELECTOR, "img").get_attribute("alt") == "by all, 8"
    spoken = page.element(EXPLORE_AT).find_element(By.CSS_SELECTOR, "[role=status]")
    assert spoken.get_attribute("textContent") == "by all, 8"


def a_control_without_effect_is_off(page):
    off = lambda: len(page.element(EXPLORE_AT).find_elements(By.CSS_SELECTOR, ".qlab-idle [disabled]")) > 0
    assert off()
    page.element(EXPLORE_AT).find_elements(By.CSS_SELECTOR, "option")[1].click()
    page.wait(lambda: not off(), "the size of a block to be switched on")


def everything_fits_into_a_narrow_window(page):
    cell = page.element(EXPLORE_AT)
    image = cell.find_element(By.CSS_SELECTOR, ".widget-image")
    width, height = (image.size[name] for name in ("width", "height"))
    assert width < 500
    assert abs(width / height - 800 / 250) < 0.05
    for part in [*cell.find_elements(By.CSS_SELECTOR, ".widget-readout"), cell.find_element(By.CSS_SELECTOR, "select")]:
        assert page.is_shown_whole(part), part.text
    for button in page.element(QUIZ_AT).find_elements(By.CSS_SELECTOR, ".widget-toggle-buttons button"):
        assert page.is_shown_whole(button), button.text
