"""The reader's own functions as files beside the progress file, one readable .py each, and the right to run them.

A file is run only if its text is, letter for letter, one that passed here. The progress file keeps for each place a
seal: the HMAC of that text under a random key of this user's, which lies in qlab's cache folder and never beside the
files. So neither an edit, nor a file that came with a clone, nor one that came with its progress file, is run unasked.
It is a guard against running what nobody looked at, in proportion: whoever can read this user's cache folder can run
code as this user anyway. Where the key is lost, the functions are adopted anew.
"""

import hmac
import linecache
import os
import secrets
import sys
import types
from datetime import UTC, datetime
from typing import NamedTuple

from qlab import machine
from qlab.course import store
from qlab.course.brief import error_text, learner_line
from qlab.files import write_whole

KEPT, NONE, GONE, OTHER, UNREADABLE = "kept", "none", "gone", "other", "unreadable"
LARGEST = 1_000_000  # bytes: no function is longer
_SECTION = "mine"
_KEY, _KEY_BYTES = "mine.key", 32
_looked = {}  # file -> (stamps of all that is read, what was found): `mine` is asked in loops


class Found(NamedTuple):
    """What lies in a place: the state of its file, the file's text, and for UNREADABLE the reason."""

    state: str
    text: str = ""
    why: str = ""


def folder():
    """Where the files lie, or None where progress is kept in memory only."""
    progress = store.path()
    if progress is None:
        return None
    suffix = "" if progress.name == store.NAME else f"-{progress.stem}"
    return progress.with_name(f".qlab-mine{suffix}")


def file_of(place):
    return folder() / f"{place}.py"


def look(place):
    """What is kept for a place. Never raises, never runs anything."""
    if folder() is None:
        return Found(NONE)
    file, progress = file_of(place), store.path()
    stamps = _stamp(file), _stamp(progress), _key()
    if _looked.get(file, (None,))[0] != stamps:
        _looked[file] = stamps, _look(place, file)
    return _looked[file][1]


def _look(place, file):
    seal = _seals(store.read()[0]).get(place)
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
        return store.update(change)
    except ValueError as error:  # no folder for the key
        return str(error)


def forget(place):
    """Set the file aside and take the seal away. -> (the file as it is called now or None, trouble)"""
    moved = []

    def change(progress):
        moved.append(_set_aside(place))
        _seals(progress).pop(place, None)

    trouble = "" if folder() is None else store.update(change)
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


def told(error):
    """Why a file could not be run, with the line."""
    return f"{error_text(error)}{learner_line(error)}"


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
