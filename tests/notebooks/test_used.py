"""What a notebook's outputs depend on is found in its kernel, and a change of it asks for `make notebooks`."""

import pytest

from nbtools import execute, used
from nbtools.problems import file_problems
from tests.notebooks.samples import executed, notebook_of

SOURCE = '''\
"""A module."""

import math  # the mathematics


def area(radius):
    """Of a disc.

    >>> area(0)
    0.0
    """
    text = """not # a comment

    nor a docstring"""
    return math.pi * radius**2  # pi r^2
'''


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# the mathematics", "# the whole of it"),
        ("  # pi r^2", ""),
        ('"""A module."""', '"""The module.\n\nIt has an area.\n"""'),
        (">>> area(0)", ">>> area(0.0)"),
        ("\n\n\ndef", "\n\n# A remark.\n\n\ndef"),
    ],
)
def test_a_change_of_comments_docstrings_or_empty_lines_is_none(before, after):
    changed = SOURCE.replace(before, after)
    assert changed != SOURCE
    assert used.code_of(changed) == used.code_of(SOURCE)


@pytest.mark.parametrize(
    ("before", "after"),
    [("radius**2", "radius**3"), ("not # a", "not # the"), ("nor a", "nor the"), ("def area", "def areas")],
)
def test_a_change_of_code_or_of_a_text_is_one(before, after):
    assert used.code_of(SOURCE.replace(before, after)) != used.code_of(SOURCE)


def test_a_folder_stands_for_many_of_its_files_and_is_known_by_its_checksums(tmp_path):
    spoken = {f"data/speech/test/{n}.flac" for n in range(used.MANY)}
    assert used.gathered(spoken | {"data/models/digits.onnx"}) == {"data/speech/test", "data/models/digits.onnx"}
    (tmp_path / "data" / "speech" / "test").mkdir(parents=True)
    digests = []
    for listed in ("a speech/test/0.flac", "a speech/test/0.flac\nb speech/testing/0.flac", "c speech/test/0.flac"):
        (tmp_path / used.SUMS).write_text(listed, encoding="utf-8")
        digests.append(used.digest.__wrapped__("data/speech/test", tmp_path))
    assert digests[0] == digests[1] != digests[2]


def test_a_file_whose_qlab_changed_since_is_refused_with_the_names_of_what_changed():
    now = used.digest("qlab/palette.py")
    made_with = {"qlab/palette.py": now, "qlab/numerics/affine.py": "0" * 12, "qlab/no.py": now}
    (problem,) = file_problems(executed(notebook_of("x = 1"), made_with))
    assert problem.startswith("made with other qlab/numerics/affine.py, qlab/no.py: ")


def test_a_file_that_does_not_say_what_it_was_made_with_is_refused():
    notebook = executed(notebook_of("x = 1"))
    del notebook.metadata.qlab["used"]
    (problem,) = file_problems(notebook)
    assert "never executed by it" in problem


USES = """\
from qlab import machine, models

models.path("digits")
models.utterances("calibration")
machine.card("x86-avx2")
open("elsewhere.txt", "w").close()
"""


@pytest.mark.notebook
def test_what_a_kernel_loads_and_reads_is_found_and_nothing_else(tmp_path):
    found = execute.execute(tmp_path / "98_sound.ipynb", notebook_of(USES)).used
    modules = {path for path in found if path.endswith(".py")}
    assert {"qlab/__init__.py", "qlab/numerics/affine.py", "qlab/models/speech.py"} <= modules
    assert all(path.startswith("qlab/") for path in modules)
    assert not [path for path in modules if path.startswith(("qlab/measure/", "qlab/course/"))]
    assert {"data/models/digits.onnx", "data/machines/x86-avx2.json", "data/speech/calibration"} <= set(found) - modules
    assert all(path.startswith("data/") for path in set(found) - modules)
    assert found == {path: used.digest(path) for path in found}
