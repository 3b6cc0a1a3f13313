"""Every notebook of the course, opened in JupyterLab and run whole."""

import pytest

from tests.notebooks.exercises import paths


@pytest.mark.parametrize("path", paths(), ids=lambda path: path.stem)
def test_a_notebook_runs_whole_in_jupyterlab_and_shows_its_figures(path, notebook):
    notebook.open(path.name).run_all()
    assert notebook.errors() == []
    assert notebook.console_errors() == []
    with_figures = [
        index
        for index, cell in enumerate(notebook.cells())
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", ()))
    ]
    assert with_figures
    for index in with_figures:
        assert notebook.figures(index)
    notebook.screenshot(path.stem)
