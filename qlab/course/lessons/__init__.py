"""The lessons: one module a notebook, each check registered under its id; their prose is data (*.toml).

    @exercise("04.2", "block-wise quantization")
    def _(answer):
        seen = call(answer, x, 32)
        expect_close(seen, expected, what="the scales")
        return "12 tensors, the last block short in 5 of them"      # shown with "passed"

A check raises `Almost` (most often through qlab.course.expect) or returns. The module of notebook 04 is n04; it is
imported when the first of its ids is asked for.
"""

import importlib
import pkgutil
import re
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

__all__ = ["Exercise", "exercise", "find", "ids", "questions", "words"]

_ID = re.compile(r"(\d\d)\.(\d+)")
_REGISTRY = {}


class Exercise(NamedTuple):
    """An exercise's id, its title in a few words, and the function that judges an answer."""

    id: str
    title: str
    checker: Callable


def exercise(exercise_id, title):
    """Register the decorated function as the check of one exercise.

    Raises ValueError for an id not of the form NN.k, in the wrong module, or already taken by another check.
    """

    def register(checker):
        matched = _ID.fullmatch(exercise_id)
        if not matched:
            raise ValueError(f"exercise id {exercise_id!r}: expected two digits, a point and a number, such as 04.2")
        if _is_of_a_notebook(checker.__module__) and not checker.__module__.endswith(f".n{matched[1]}"):
            raise ValueError(f"exercise {exercise_id} belongs in n{matched[1]}.py, not in {checker.__module__}")
        taken = _REGISTRY.get(exercise_id)
        if taken and taken.checker.__code__.co_firstlineno != checker.__code__.co_firstlineno:
            raise ValueError(f"exercise {exercise_id} is registered twice: {taken.title!r} and {title!r}")
        _REGISTRY[exercise_id] = Exercise(exercise_id, title, checker)
        return checker

    return register


def find(exercise_id):
    """The exercise of that id. Raises LookupError, which says which ids there are."""
    matched = _ID.fullmatch(exercise_id) if isinstance(exercise_id, str) else None
    if matched and exercise_id not in _REGISTRY:
        _module(matched[1])
    try:
        return _REGISTRY[exercise_id]
    except (KeyError, TypeError):
        known = ids(matched[1]) if matched else ()
        where = f"notebook {matched[1]} has {', '.join(known)}" if known else f"there are {', '.join(ids())}"
        raise LookupError(f"there is no exercise {exercise_id!r}: {where}") from None


def ids(notebook=None):
    """Every exercise id, in reading order; of one notebook ("04") if it is named."""
    for number in [notebook] if notebook else _notebooks():
        _module(number)
    chosen = [name for name in _REGISTRY if notebook in (None, name[:2])]
    return tuple(sorted(chosen, key=lambda name: tuple(map(int, name.split(".")))))


def questions(notebook):
    """The quiz of a notebook, [{"asked": text, "options": [{"right" or "wrong": text, "why": text}, ...]}, ...]."""
    return _data("quizzes.toml").get(notebook, [])


def words(notebook, name):
    """A word list of a lesson, {word: {...}}, which its checks and its notebook share."""
    return _data("words.toml")[notebook][name]


@cache
def _data(file):
    return tomllib.loads((Path(__file__).parent / file).read_text(encoding="utf-8"))


def _notebooks():
    return [found.name[1:] for found in pkgutil.iter_modules(__path__) if re.fullmatch(r"n\d\d", found.name)]


def _is_of_a_notebook(module):
    return re.fullmatch(rf"{re.escape(__name__)}\.n\d\d", module) is not None


def _module(notebook):
    """The module of a notebook's exercises, or None if it has none."""
    return importlib.import_module(f"{__name__}.n{notebook}") if notebook in _notebooks() else None
