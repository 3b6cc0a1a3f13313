"""The lessons: one module a notebook, each check registered under its id; their prose is data, beside it (n04.toml).

    @exercise("04.2", "block-wise quantization")
    def _(answer):
        seen = call(answer, x, 32)
        expect_close(seen, expected, what="the scales")
        return "12 tensors, the last block short in 5 of them"      # shown with "passed"

A check raises `Almost` (most often through qlab.course.expect) or returns. The module of notebook 04 is n04; it is
imported when the first of its ids is asked for.

An exercise whose answer belongs in the reader's own quantizer (qlab.course.mine) names its place there, and what stands
in that place until the exercise is passed, with the signature that the exercise asks for:

    @exercise("01.2", "quantize", place="quantize", otherwise=reference)
    @exercise("01.3", "dequantize", place=("dequantize", "error_bound"), otherwise=(to_real, bound))    # two functions
"""

import importlib
import keyword
import pkgutil
import re
import tempfile
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

_ID = re.compile(r"(\d\d)\.(\d+)")
_PLACE = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_TAKEN = {"adopt", "reset"}  # what `mine` itself offers
_WRITTEN = re.compile(r'^@exercise\(\s*"([\d.]+)"', re.MULTILINE)
_REGISTRY = {}


class Exercise(NamedTuple):
    """An exercise's id, its title in a few words, the function that judges an answer, and its places in `mine`.

    places: {name in `mine`: what stands there until the exercise is passed}, in the order of the answer's functions.
    """

    id: str
    title: str
    checker: Callable
    places: dict

    def parts(self, answer):
        """{place: the function of the answer that belongs there}; empty where the answer has another form."""
        if len(self.places) == 1:
            return dict.fromkeys(self.places, answer)
        fits = isinstance(answer, tuple | list) and len(answer) == len(self.places)
        return dict(zip(self.places, answer, strict=True)) if fits else {}


def exercise(exercise_id, title, *, place=None, otherwise=None):
    """Register the decorated function as the check of one exercise.

    place: the name in `mine` of the function or class that is the answer, or a tuple of names for a tuple of them;
    otherwise: what stands there until the exercise is passed, one for each name.
    Raises ValueError for an id not of the form NN.k, in the wrong module, or already taken by another check, and for a
    place that is no name, is taken, or has nothing to stand there.
    """
    places = _places(exercise_id, place, otherwise)

    def register(checker):
        matched = _ID.fullmatch(exercise_id)
        if not matched:
            raise ValueError(f"exercise id {exercise_id!r}: expected two digits, a point and a number, such as 04.2")
        if _is_of_a_notebook(checker.__module__) and not checker.__module__.endswith(f".n{matched[1]}"):
            raise ValueError(f"exercise {exercise_id} belongs in n{matched[1]}.py, not in {checker.__module__}")
        taken = _REGISTRY.get(exercise_id)
        if taken and taken.checker.__code__.co_firstlineno != checker.__code__.co_firstlineno:
            raise ValueError(f"exercise {exercise_id} is registered twice: {taken.title!r} and {title!r}")
        for other in _REGISTRY.values():
            if other.id != exercise_id and (shared := places.keys() & other.places.keys()):
                raise ValueError(f"exercises {other.id} and {exercise_id} have one place: {', '.join(sorted(shared))}")
        _REGISTRY[exercise_id] = Exercise(exercise_id, title, checker, places)
        return checker

    return register


def _places(exercise_id, place, otherwise):
    names = () if place is None else (place,) if isinstance(place, str) else tuple(place)
    standing = (otherwise,) if place is None or isinstance(place, str) else otherwise
    if place is not None and not (isinstance(standing, tuple) and len(standing) == len(names) > 0):
        raise ValueError(f"exercise {exercise_id}: place={place!r} needs as many in `otherwise`, seen {otherwise!r}")
    for name in names:
        if not isinstance(name, str) or not _PLACE.fullmatch(name) or keyword.iskeyword(name) or name in _TAKEN:
            raise ValueError(f"exercise {exercise_id}: {name!r} cannot be a place in `mine`")
    if len(set(names)) < len(names) or not all(map(callable, standing[: len(names)])):
        raise ValueError(f"exercise {exercise_id}: expected different names and a function for each, seen {place!r}")
    return dict(zip(names, standing, strict=False))


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
    """Every exercise id, in reading order; of one notebook ("04") if it is named.

    Read from the lessons' text: a notebook's outputs then do not depend on the code of every other lesson.
    """
    written = {name for number in _notebooks() for name in _WRITTEN.findall(_text(number))}
    chosen = [name for name in written | _REGISTRY.keys() if notebook in (None, name[:2])]
    return tuple(sorted(chosen, key=lambda name: tuple(map(int, name.split(".")))))


def places():
    """{name in `mine`: the exercise whose answer takes that place}, in reading order."""
    return {name: find(exercise_id) for exercise_id in ids() for name in find(exercise_id).places}


def with_place(name):
    """The exercise whose answer takes that place in `mine`, or None."""
    for number in _notebooks():
        if re.search(rf'place=[^=]*"{re.escape(name)}"', _text(number)):
            _module(number)
    return next((found for found in _REGISTRY.values() if name in found.places), None)


def questions(quiz):
    """A notebook's quiz ("04"), or what follows its prediction ("04.why").

    -> [{"asked": text, "options": [{"right" or "wrong": text, "why": text}, ...]}, ...], options as they are shown
    """
    notebook, _, which = quiz.partition(".")
    return _prose(notebook).get(which or "quiz", [])


def folder(notebook):
    """Path of the folder for models that a lesson's checks make; it is gone when Python ends."""
    return Path(_scratch(notebook).name)


@cache
def _scratch(notebook):
    return tempfile.TemporaryDirectory(prefix=f"qlab-{notebook}-")


def words(notebook, name):
    """A word list of a lesson, {word: {...}}, which its checks and its notebook share."""
    return _prose(notebook)["words"][name]


@cache
def _prose(notebook):
    file = Path(__file__).parent / f"n{notebook}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


@cache
def _notebooks():
    return [found.name[1:] for found in pkgutil.iter_modules(__path__) if re.fullmatch(r"n\d\d", found.name)]


@cache
def _text(notebook):
    return (Path(__file__).parent / f"n{notebook}.py").read_text(encoding="utf-8")


def _is_of_a_notebook(module):
    return re.fullmatch(rf"{re.escape(__name__)}\.n\d\d", module) is not None


def _module(notebook):
    """The module of a notebook's exercises, or None if it has none."""
    return importlib.import_module(f"{__name__}.n{notebook}") if notebook in _notebooks() else None
