"""The right and the wrong answers that are tried on a notebook's exercises, listed in right/NN.py and wrong/NN.py."""

import runpy
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent


class Right(NamedTuple):
    """A right answer in another style than the solution's: its name, the code that takes the stub's place."""

    name: str
    code: str


class Wrong(NamedTuple):
    """A plausible wrong answer: its name, the code that takes the stub's place, and what the refusal must say."""

    name: str
    code: str
    says: str


def wrong_answers(path):
    """Of the notebook NN_name.ipynb: what tests/notebooks/wrong/NN.py lists, as {exercise id: [Wrong, ...]}.

    That file holds WRONG_ANSWERS = {"NN.k": [(name, code that takes the stub's place, what the refusal says), ...]}, at
    least three for an exercise; a choice has one for each wrong option instead, and its id stands in CHOICES as well.
    """
    listed = _registry("wrong", path).get("WRONG_ANSWERS", {})
    return {name: [Wrong(*answer) for answer in answers] for name, answers in listed.items()}


def right_answers(path):
    """Of the notebook NN_name.ipynb: what tests/notebooks/right/NN.py lists, as {exercise id: [Right, ...]}.

    That file holds RIGHT_ANSWERS = {"NN.k": [(name, code that takes the stub's place), ...]}: loops, float64, lists,
    other names. At least five for an exercise that asks for code.
    """
    listed = _registry("right", path).get("RIGHT_ANSWERS", {})
    return {name: [Right(*answer) for answer in answers] for name, answers in listed.items()}


def choices(path):
    """The ids of the notebook's exercises whose answer is one of a few options."""
    return set(_registry("wrong", path).get("CHOICES", ()))


def _registry(kind, path):
    file = FOLDER / kind / f"{path.name[:2]}.py"
    return runpy.run_path(str(file)) if file.exists() else {}
