"""The reader's own functions as files beside the progress file, one readable .py each, and the right to run them.

A file is run only if its text is, letter for letter, one that passed here. The progress file keeps for each place a
seal: the HMAC of that text under a random key of this user's, which lies in qlab's cache folder and never beside the
files. So neither an edit, nor a file that came with a clone, nor one that came with its progress file, is run unasked.
It is a guard against running what nobody looked at, in proportion: whoever can read this user's cache folder can run
code as this user anyway. Where the key is lost, the functions are adopted anew.

Whose function stands in each place of the reader's quantizer, in this kernel:

1. A function that passed here and could not be kept as text: it serves until the kernel ends.
2. The kept file, if its text is one that passed; where it passed in this kernel, the very function that did.
3. A function that passed here, while its file was edited since, or is gone.
4. What the exercise names otherwise.
"""

import hmac
import linecache
import os
import secrets
import sys
import types
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from qlab import machine
from qlab.course import lessons
from qlab.course.progress import FILE_NAME, progress_file, read_progress, update_progress
from qlab.course.show import error_text, kind, learner_line
from qlab.course.standalone import NotKept, standalone
from qlab.files import write_whole

KEPT, NONE, GONE, OTHER, UNREADABLE = "kept", "none", "gone", "other", "unreadable"
LARGEST = 1_000_000  # bytes: no function is longer
_SECTION = "mine"
_KEY, _KEY_BYTES = "mine.key", 32

_HEAD = """\
# `mine.{place}`: yours, it passed exercise {exercise}. Read it, edit it (in a notebook: %load, change, run its check).
# After an edit of this file mine.adopt("{place}") checks it and takes it; until then it is not run.

"""
_NOTES = {
    NONE: "",
    GONE: "its file {file} is gone",
    OTHER: '{file} is not run, for it is not as it passed here; read it, then mine.adopt("{place}")',
    UNREADABLE: "{file} cannot be read: {why}",
}

_looked = {}  # file -> (stamps of all that is read, what was found): `mine` is asked in loops
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
    found = look(place)
    if found.state == KEPT:
        if text == found.text:
            return Standing(place, exercise, function, True)
        loaded, why = _load(place, found.text)
        if loaded is not None:
            return Standing(place, exercise, loaded, True)
        note = f"{shown(place)} could not be run: {why}"
    else:
        note = _NOTES[found.state]
        note = note and note.format(file=shown(place), place=place, why=found.why)
    if function is not None and found.state != NONE:
        return Standing(place, exercise, function, True, note)
    return Standing(place, exercise, exercise.places[place], False, note)


def _load(place, text):
    key = file_of(place), text
    if key not in _loaded:
        _loaded[key] = try_to_run(place, text)
    return _loaded[key]


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
        trouble = keep(place, text)
        if look(place) != (KEPT, text, ""):
            text = None
    _here[place] = function, text
    said = f"`mine.{place}` is yours"
    if text is not None:
        return f"{said} from now on, kept in {shown(place)}" + (f" ({trouble})" if trouble else "")
    if not trouble:
        return f"{said} from now on"
    later = "; later notebooks have the one kept before" if look(place).state == KEPT else ""
    return f"{said} in this kernel only: {trouble}{later}"


def _written(place, exercise_id, function):
    """-> (the function's text as its file will have it, or None; why there is none)"""
    if folder() is None:
        return None, ""
    try:
        text = _HEAD.format(place=place, exercise=exercise_id) + standalone(function, place)
        if kind(run(place, text)) != kind(function):
            raise NotKept("its text gives something else")
        return text, ""
    except NotKept as error:
        return None, str(error)
    except Exception as error:  # whatever hostile things the answer holds
        return None, error_text(error)


def leave(place):
    """Give the place back to qlab; the text is set aside. -> what to say about it"""
    _here.pop(place, None)
    moved, trouble = forget(place)
    said = f"mine.{place}: qlab's again" + (f"; your text is set aside as {_relative(moved)}" if moved else "")
    return f"{said} ({trouble})" if trouble else said


def shown(place):
    """A place's file as one types it from where the kernel runs."""
    return _relative(file_of(place))


def _relative(file):
    try:
        return Path(os.path.relpath(file)).as_posix()
    except (OSError, ValueError):  # another drive, or the kernel's folder is gone
        return str(file)


class Found(NamedTuple):
    """What lies in a place: the state of its file, the file's text, and for UNREADABLE the reason."""

    state: str
    text: str = ""
    why: str = ""


def folder():
    """Where the files lie, or None where progress is kept in memory only."""
    progress = progress_file()
    if progress is None:
        return None
    suffix = "" if progress.name == FILE_NAME else f"-{progress.stem}"
    return progress.with_name(f".qlab-mine{suffix}")


def file_of(place):
    return folder() / f"{place}.py"


def look(place):
    """What is kept for a place. Never raises, never runs anything."""
    if folder() is None:
        return Found(NONE)
    file, progress = file_of(place), progress_file()
    stamps = _stamp(file), _stamp(progress), _key()
    if _looked.get(file, (None,))[0] != stamps:
        _looked[file] = stamps, _look(place, file)
    return _looked[file][1]


def _look(place, file):
    seal = _seals(read_progress()[0]).get(place)
    try:
        if not file.is_file() and file.exists():
            return Found(UNREADABLE, why="it is no regular file")
        if file.stat().st_size > LARGEST:
            return Found(UNREADABLE, why=f"it is larger than {LARGEST:,} bytes")
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Found(GONE if seal else NONE)
    except (OSError, ValueError) as error:
        return Found(UNREADABLE, why=error_text(error))
    key = _key()
    known = key and isinstance(seal, str)
    sealed = known and hmac.compare_digest(seal.encode("utf-8", "replace"), _seal(place, text, key).encode())
    return Found(KEPT if sealed else OTHER, text)


def _stamp(file):
    """Changes when the file does."""
    try:
        seen = file.stat()
    except (OSError, ValueError):
        return None
    return seen.st_mtime_ns, seen.st_size, seen.st_ino


def keep(place, text):
    """Write the text that passed, set aside another one that lay there, and seal it. -> trouble

    With the progress file's lock held: two kernels that pass one exercise leave a file and a seal that fit together.
    """

    def change(progress):
        seal = _seal(place, text, _key() or _make_key())
        file = file_of(place)
        file.parent.mkdir(parents=True, exist_ok=True)
        if look(place).text != text or not file.is_file():
            _set_aside(place)
            write_whole(file, text)
        progress[_SECTION] = {**_seals(progress), place: seal}

    try:
        return update_progress(change)
    except ValueError as error:  # no folder for the key
        return str(error)


def forget(place):
    """Set the file aside and take the seal away. -> (the file as it is called now or None, trouble)"""
    moved = []

    def change(progress):
        moved.append(_set_aside(place))
        _seals(progress).pop(place, None)

    trouble = "" if folder() is None else update_progress(change)
    return (moved[0] if moved else None), trouble


def run(place, text):
    """Run the text of a place's file, and give what it calls by the place's name. Raises whatever the text raises."""
    file = str(file_of(place))
    module = types.ModuleType(f"qlab.course.mine.{place}")
    module.__file__ = file
    linecache.checkcache(file)  # tracebacks show the file as it is now
    sys.modules[module.__name__] = module  # dataclasses look for it there, but for this moment only: nobody imports it
    try:
        exec(compile(text, file, "exec", dont_inherit=True), vars(module))
    finally:
        sys.modules.pop(module.__name__, None)
    if not callable(vars(module).get(place)):
        raise ValueError(f"the file defines no function or class `{place}`")
    return vars(module)[place]


def try_to_run(place, text):
    """-> (what `run` gives, "") or (None, why the text could not be run, with the line). A lesson goes on."""
    try:
        return run(place, text), ""
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: it must not end the kernel
        return None, f"{error_text(error)}{learner_line(error)}"


def _set_aside(place):
    """Move the file into the folder "earlier", under a name with the time. -> its new path, or None without a file"""
    file = file_of(place)
    if not os.path.lexists(file):
        return None
    earlier = file.parent / "earlier"
    earlier.mkdir(exist_ok=True)
    return file.rename(earlier / f"{place}-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}.py")


def _seals(progress):
    """{place: seal}, whatever may stand there."""
    seals = progress.get(_SECTION)
    return seals if isinstance(seals, dict) else {}


def _seal(place, text, key):
    return hmac.new(key, f"{place}\0{text}".encode(), "sha256").hexdigest()


def _key():
    """This user's 32 random bytes; b"" if there are none that can be read: no seal is true then."""
    try:
        key = bytes.fromhex((machine.cache_folder() / _KEY).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return b""
    return key if len(key) == _KEY_BYTES else b""


def _make_key():
    """Write a new key that nobody else can read. Raises OSError or ValueError where the cache folder takes none."""
    file = machine.cache_folder() / _KEY
    write_whole(file, secrets.token_hex(_KEY_BYTES), private=True)
    return _key()
