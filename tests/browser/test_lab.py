"""JupyterLab as `make lab` starts it: who may enter, what it asks. And these tests' own helpers: they see the truth."""

import urllib.error
import urllib.request

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.browser.conftest import SAMPLE


def test_the_server_listens_on_this_machine_only_and_wants_a_token(lab):
    assert lab.url.startswith("http://127.0.0.1:")
    assert len(lab.token) >= 32
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{lab.url}api/contents")


def test_the_address_that_make_lab_prints_opens_the_first_notebook(lab):
    assert f"{lab.url}lab/tree/my-notebooks/00_the_puzzle.ipynb?token={lab.token}" in lab.log.read_text()


def test_nothing_is_asked_and_no_news_is_fetched(notebook):
    notebook.open(SAMPLE)
    assert notebook.driver.find_elements(By.CSS_SELECTOR, ".jp-Dialog, .Toastify__toast") == []
    asked = notebook.driver.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert asked
    assert [address for address in asked if not address.startswith((notebook.server.url, "data:", "blob:"))] == []


def test_the_helpers_run_type_move_and_see(notebook):
    notebook.open(SAMPLE).run_all()
    assert notebook.output_text(1).startswith("six times seven is 42")
    (before,) = notebook.figures(2)
    notebook.wait_for_text(2, "levels 16")
    notebook.move_slider(2, key=Keys.END).wait_for_text(2, "levels 256")
    (after,) = notebook.figures(2)
    assert after != before
    assert notebook.output_text(4) == "not yet"
    notebook.type_into(3, "def f(x):\n    return [x, (x + 1)]\nanswer = f(1)").run_cell(3).run_cell(4)
    notebook.wait_for_text(4, "passed with [1, 2]")
    assert notebook.errors() == []
    assert notebook.console_errors() == []
    assert notebook.screenshot("sample").stat().st_size > 10_000


RAISING_AT_ITS_END = """\
from ipywidgets import interact

@interact(bits=(2, 8))
def draw(bits=4):
    1 / (8 - bits)
"""


def test_the_helpers_see_an_error_in_a_cell_and_one_in_a_widget(notebook):
    notebook.open(SAMPLE)
    notebook.type_into(1, "{}['figure']").run_cell(1)
    assert notebook.errors() == ["cell 1: KeyError: 'figure'"]
    notebook.type_into(1, "mended = True").run_cell(1)
    notebook.type_into(2, RAISING_AT_ITS_END).run_cell(2)
    assert notebook.errors() == []
    notebook.move_slider(2, key=Keys.END).wait_for_text(2, "ZeroDivisionError")
    (error,) = notebook.errors()
    assert error.endswith("ZeroDivisionError: division by zero")


def test_the_helpers_see_an_error_in_the_console(notebook):
    notebook.open(SAMPLE)
    notebook.driver.execute_script("console.error('drawn by nobody')")
    (error,) = notebook.console_errors()
    assert "drawn by nobody" in error
