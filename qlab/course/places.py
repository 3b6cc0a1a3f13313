"""Whose function stands in each place of the reader's quantizer, in this kernel.

1. A function that passed here and could not be kept as text: it serves until the kernel ends.
2. The kept file, if its text is one that passed; where it passed in this kernel, the very function that did.
3. A function that passed here, while its file was edited since, or is gone.
4. What the exercise names otherwise.
"""

import os
from pathlib import Path
from typing import NamedTuple

from qlab.course import kept, lessons
from qlab.course.brief import error_text, kind
from qlab.course.standalone import NotKept, standalone

_HEAD = """\
# `mine.{place}`: yours, it passed exercise {exercise}. Read it, edit it (in a notebook: %load, change, run its check).
# After an edit of this file mine.adopt("{place}") checks it and takes it; until then it is not run.

"""
_NOTES = {
    kept.NONE: "",
    kept.GONE: "its file {file} is gone",
    kept.OTHER: '{file} is not run, for it is not as it passed here; read it, then mine.adopt("{place}")',
    kept.UNREADABLE: "{file} cannot be read: {why}",
}
_here = {}  # place -> (function, its kept text or None): passed in this kernel
_loaded = {}  # (file, its text) -> (function or None, what went wrong)


class Standing(NamedTuple):
    """place: its name. yours: is the function the reader's? note: what else there is to say, or ""."""

    place: str
    exercise: lessons.Exercise
    function: object
    yours: bool
    note: str = ""

    @property
    def whose(self):
        """In a few words, as every line and table has it."""
        said = f"yours, from exercise {self.exercise.id}" if self.yours else "qlab's"
        if self.note:
            return f"{said}; {self.note}"
        return said if self.yours else f"qlab's, until you pass {self.exercise.id}"


def standing(place, exercise):
    """Whose function stands there now. The file is looked at each time: another kernel may have passed the exercise."""
    function, text = _here.get(place, (None, None))
    if function is not None and text is None:
        return Standing(place, exercise, function, True, "in this kernel only")
    found = kept.look(place)
    if found.state == kept.KEPT:
        if text == found.text:
            return Standing(place, exercise, function, True)
        loaded, why = _load(place, found.text)
        if loaded is not None:
            return Standing(place, exercise, loaded, True)
        note = f"{shown(place)} could not be run: {why}"
    else:
        note = _NOTES[found.state]
        note = note and note.format(file=shown(place), place=place, why=found.why)
    if function is not None and found.state != kept.NONE:
        return Standing(place, exercise, function, True, note)
    return Standing(place, exercise, exercise.places[place], False, note)


def take(exercise, answer):
    """Let an answer that passed take its places, and keep it. -> what to say about it, "" where there is no place

    Never raises: a lesson goes on, whatever becomes of the file.
    """
    said = []
    for place, function in exercise.parts(answer).items():
        text, trouble = _written(place, exercise.id, function)
        said.append(serve(place, function, text, trouble))
    return "\n".join(said)


def serve(place, function, text, trouble=""):
    """The function stands in the place from now on; its text, if there is one, is kept. -> what to say about it"""
    if text is not None:
        trouble = kept.keep(place, text)
        if kept.look(place) != (kept.KEPT, text, ""):
            text = None
    _here[place] = function, text
    said = f"`mine.{place}` is yours"
    if text is not None:
        return f"{said} from now on, kept in {shown(place)}" + (f" ({trouble})" if trouble else "")
    if not trouble:
        return f"{said} from now on"
    later = "; later notebooks have the one kept before" if kept.look(place).state == kept.KEPT else ""
    return f"{said} in this kernel only: {trouble}{later}"


def _written(place, exercise_id, function):
    """-> (the function's text as its file will have it, or None; why there is none)"""
    if kept.folder() is None:
        return None, ""
    try:
        text = _HEAD.format(place=place, exercise=exercise_id) + standalone(function, place)
        if kind(kept.run(place, text)) != kind(function):
            raise NotKept("its text gives something else")
        return text, ""
    except NotKept as error:
        return None, str(error)
    except Exception as error:  # whatever hostile things the answer holds
        return None, error_text(error)


def leave(place):
    """Give the place back to qlab; the text is set aside. -> what to say about it"""
    _here.pop(place, None)
    moved, trouble = kept.forget(place)
    said = f"mine.{place}: qlab's again" + (f"; your text is set aside as {_relative(moved)}" if moved else "")
    return f"{said} ({trouble})" if trouble else said


def shown(place):
    """A place's file as one types it from where the kernel runs."""
    return _relative(kept.file_of(place))


def _relative(file):
    try:
        return Path(os.path.relpath(file)).as_posix()
    except (OSError, ValueError):  # another drive, or the kernel's folder is gone
        return str(file)


def _load(place, text):
    key = kept.file_of(place), text
    if key not in _loaded:
        try:
            _loaded[key] = kept.run(place, text), ""
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit too: a lesson goes on
            _loaded[key] = None, kept.told(error)
    return _loaded[key]
