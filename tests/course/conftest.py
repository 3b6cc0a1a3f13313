"""Every test has a progress file of its own, and may register an exercise that is gone afterwards."""

import pytest

from qlab.course import lessons


@pytest.fixture(autouse=True)
def progress_file(tmp_path, monkeypatch):
    """The progress file of this test, not yet there."""
    monkeypatch.setenv("QLAB_PROGRESS", str(tmp_path / "progress.json"))
    return tmp_path / "progress.json"


@pytest.fixture
def register(monkeypatch):
    """Registers a function as the check of exercise 99.1 for the time of this test."""
    lessons.places()  # loads all: one first loaded during this test would be forgotten with it, and never loaded again
    monkeypatch.setattr(lessons, "_REGISTRY", dict(lessons._REGISTRY))

    def with_checker(checker, exercise_id="99.1", **places):
        lessons.exercise(exercise_id, "a test's own", **places)(checker)
        return exercise_id

    return with_checker
