"""One server and one browser for all tests here; the server serves copies of the notebooks."""

import os

import pytest
from nbformat import write
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tests.browser import chromium, page, server

SAMPLE = "sample.ipynb"
FIGURE = """\
import matplotlib.pyplot as plt

print("six times seven is", 6 * 7)
plt.plot([1, 2, 4])
plt.show()
"""
WIDGET = """\
from ipywidgets import interact


@interact(bits=(2, 8))
def draw(bits=4):
    plt.plot(range(bits))
    plt.show()
    print("levels", 2**bits)
"""
SAMPLE_CELLS = (
    new_markdown_cell("# A sample\n\nEverything that the helpers of these tests must handle."),
    new_code_cell(FIGURE),
    new_code_cell(WIDGET),
    new_code_cell("answer = ..."),
    new_code_cell("print('not yet' if answer is ... else f'passed with {answer}')"),
)


def pytest_collection_modifyitems(items):
    for item in items:
        if "lab" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """The server that `make lab` starts, on the copies that it makes of notebooks/, and a sample of our own."""
    if None in chromium.programs():
        message = "chromium or chromedriver is missing (Debian: apt install chromium chromium-driver)"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    home = tmp_path_factory.mktemp("lab")
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    process, running = server.start(home / "my-notebooks", home / "jupyter")
    write(new_notebook(cells=list(SAMPLE_CELLS), metadata={"kernelspec": kernelspec}), running.folder / SAMPLE)
    yield running
    server.stop(process)


@pytest.fixture(scope="session")
def browser(lab, tmp_path_factory):
    """One headless browser."""
    driver = chromium.start(tmp_path_factory.mktemp("browser") / "chromedriver.log")
    yield driver
    driver.quit()


@pytest.fixture
def notebook(lab, browser):
    """A page on the server; `notebook.open(name)` opens one. What the console said before is forgotten."""
    browser.get_log("browser")
    opened = page.Page(browser, lab)
    yield opened
    opened.close()
