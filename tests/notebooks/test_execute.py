"""`make notebooks` replaces a file by its execution, or leaves it as it was."""

import nbformat
import pytest

from nbtools import execute
from nbtools.problems import file_problems
from tests.notebooks.samples import notebook_of, with_exercise

pytestmark = pytest.mark.notebook


def test_make_notebooks_replaces_a_file_by_its_execution(tmp_path):
    path = tmp_path / "98_sound.ipynb"
    nbformat.write(notebook_of("6 * 7"), path)
    assert execute.main([str(path)]) == 0
    (cell,) = nbformat.read(path, as_version=4).cells
    assert cell.outputs[0].data["text/plain"] == "42"
    assert file_problems(nbformat.read(path, as_version=4)) == []


@pytest.mark.parametrize(
    ("notebook", "says"),
    [
        (with_exercise("answer = 42"), "the stub of exercise 99.1 is filled in"),
        (notebook_of("1 / 0"), "cell 1 raised ZeroDivisionError"),
        (notebook_of("import os"), "ruff check fails"),
        (notebook_of("x=1"), "ruff format fails"),
    ],
)
def test_make_notebooks_leaves_a_faulty_file_as_it_was(notebook, says, tmp_path, capsys):
    path = tmp_path / "97_faulty.ipynb"
    nbformat.write(notebook, path)
    before = path.read_bytes()
    assert execute.main([str(path)]) == 1
    assert says in capsys.readouterr().err
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
