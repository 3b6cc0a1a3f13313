"""The learner's progress: one small JSON file, and `progress()`, one picture of what is done.

`QLAB_PROGRESS` names the file; otherwise it is .qlab-progress.json beside the course's notebooks folder (git ignores
it), or in ~/quantization-lab where that cannot be written, or qlab was installed without the notebooks. With
`QLAB_TEST` set and no `QLAB_PROGRESS`, nothing is written: a test cannot touch a learner's file by forgetting to name
its own.

Losing progress is a nuisance, stopping a lesson is worse: nothing here raises for a file that cannot be read or
written, and none is written over that could not be read. What went wrong is returned as a sentence, or "".
"""

import json
import os
import secrets
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from matplotlib.patches import Rectangle

from qlab import palette
from qlab.course import lessons
from qlab.course.show import GOOD, NEARLY, Line
from qlab.files import write_whole
from qlab.palette import styled

SECTIONS = ("exercises", "predictions", "quizzes")
FILE_NAME = ".qlab-progress.json"
LARGEST = 10_000_000  # bytes: no course has as many exercises
_LOCK = b"qlab progress "  # so a lock of ours begins
_LOCK_WAIT_S, _LOCK_STALE_S = 1.0, 5.0
_memory = {}  # stands in for the file in tests that name none

GROUPS = ("exercises", "predictions", "quiz")
_LOOKS = {  # state -> (fill, mark): the mark says it too, for those who do not see the colours apart
    "passed": (GOOD, "✓"),
    "right": (GOOD, "✓"),
    "almost": (NEARLY, "~"),
    "wrong": (NEARLY, "✗"),
    "open": ("#E4E7EA", ""),
    "guessed": ("#E4E7EA", "?"),
    "late": ("#E4E7EA", "–"),
}
_KEY = "✓ passed or right    ~ almost    ✗ not right    ? not yet settled    – no guess before the result"
_QUIET = "#5F6770"
_ROW, _ABOVE, _BELOW = 0.42, 0.75, 0.45  # inches


def progress_file():
    """Where progress is kept, or None if it is kept in memory only."""
    if configured := os.environ.get("QLAB_PROGRESS"):
        with suppress(RuntimeError):  # no such user: said where it is read or written
            return Path(configured).expanduser()
        return Path(configured)
    if os.environ.get("QLAB_TEST"):
        return None
    repository = Path(__file__).resolve().parents[2]
    is_ones_own = (repository / "notebooks").is_dir() and os.access(repository, os.W_OK)
    return (repository if is_ones_own else Path.home() / "quantization-lab") / FILE_NAME


def read_progress():
    """-> (progress, trouble): {"exercises": {id: entry}, "predictions": {...}, "quizzes": {...}}, and "".

    It moves no file: what is said about it would get lost where only an entry is asked for.
    """
    file = progress_file()
    try:
        return _read(file), ""
    except OSError as error:
        return _complete({}), f"your progress could not be read from {file}: {error.strerror or error}"
    except ValueError:
        return _complete({}), f"the progress file was unreadable: {file.name} is set aside when you answer next"


def record_check(exercise_id, status):
    """Count a try; an exercise once passed stays passed. -> trouble"""

    def change(progress):
        entry = progress["exercises"].setdefault(exercise_id, {"status": status, "tries": 0})
        entry["tries"] += 1
        if entry["status"] != "passed":
            entry.update(status=status, when=_now())

    return update_progress(change)


def update_progress(change):
    """Read, let `change` alter the progress in place, write; other kernels wait meanwhile. -> trouble"""
    file, trouble = progress_file(), ""
    if file is None:
        change(_complete(_memory))
        return ""
    try:
        _check_place(file)
        file.parent.mkdir(parents=True, exist_ok=True)
        with _locked(file.with_name(f".{file.name}.qlab-lock")):
            try:
                progress = _read(file)
            except ValueError:
                progress, trouble = _complete({}), _set_aside(file)
            change(progress)
            write_whole(file, json.dumps(progress, indent=1, ensure_ascii=False) + "\n")
        return trouble
    except OSError as error:
        return f"your progress could not be saved in {file}: {error.strerror or error}"


def _read(file):
    """Raises ValueError for what is no JSON, no UTF-8, or of another structure; OSError for what cannot be read now."""
    if file is None:
        return _complete(_memory)
    _check_place(file)
    try:
        if file.stat().st_size > LARGEST:
            raise ValueError(f"larger than {LARGEST:,} bytes")
        progress = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return _complete({})
    except RecursionError as error:
        raise ValueError("brackets in brackets without end") from error
    if not _well_formed(progress):
        raise ValueError("not what this course writes")
    return _complete(progress)


def _check_place(file):
    """Raise OSError where no progress file can be: at a device or a pipe, which would block, or beyond an unknown ~."""
    if file.parts[:1] and file.parts[0].startswith("~"):
        raise OSError(f"there is no user {file.parts[0]}; set QLAB_PROGRESS to the path of a file")
    if file.exists() and not file.is_file():
        raise OSError("it is no regular file; set QLAB_PROGRESS to the path of one")


def _well_formed(progress):
    """A dictionary of sections, each a dictionary of entries; exercises with the fields that are read."""
    if not isinstance(progress, dict) or not all(isinstance(progress.get(name, {}), dict) for name in SECTIONS):
        return False
    entries = [entry for name in SECTIONS for entry in progress.get(name, {}).values()]
    return all(isinstance(entry, dict) for entry in entries) and all(
        isinstance(entry.get("status"), str) and isinstance(entry.get("tries"), int)
        for entry in progress.get("exercises", {}).values()
    )


def _complete(progress):
    for name in SECTIONS:
        progress.setdefault(name, {})
    return progress


def _set_aside(file):
    """Rename an unreadable file, never delete it: a learner may mend it by hand."""
    kept = file.with_name(f"{file.stem}.unreadable-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}.json")
    file.replace(kept)
    return f"the progress file was unreadable: it is kept as {kept.name}, and a new one begins"


@contextmanager
def _locked(lock):
    """Hold a lock file. One left by a killed kernel is removed; after a second's wait we go on without it.

    Only what is ours is removed: a file that begins as our locks do, or is as empty as they are for a moment.
    """
    deadline, own, held = time.monotonic() + _LOCK_WAIT_S, _LOCK + secrets.token_hex(8).encode(), False
    while not held and time.monotonic() < deadline:
        try:
            with os.fdopen(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666), "wb") as stream:
                held = True
                stream.write(own)
        except FileExistsError:
            with suppress(OSError):
                if time.time() - lock.stat().st_mtime > _LOCK_STALE_S and _holder(lock)[: len(_LOCK)] in (b"", _LOCK):
                    lock.unlink()
            time.sleep(0.01)
        except PermissionError:  # Windows, while another kernel removes it
            time.sleep(0.01)
    try:
        yield
    finally:
        with suppress(OSError):
            if held and _holder(lock) == own:
                lock.unlink()


def _holder(lock):
    """What stands in a lock file. Raises OSError for what is no regular file."""
    if not lock.is_file():
        raise OSError("no regular file")
    with lock.open("rb") as stream:
        return stream.read(100)


def _now():
    return datetime.now(UTC).isoformat(timespec="seconds")


@styled
def progress():
    """Notebooks in rows; exercises, predictions and quiz questions in columns. -> matplotlib Figure

    An exercise is passed, almost, or open; a prediction or a quiz answer was right or wrong; "?" is a guess that waits
    for its measurement, "–" a measurement before which there was none.
    """
    done, trouble = read_progress()
    if trouble:
        Line(trouble, NEARLY).show()
    rows = _rows(done)
    widths = [max(3, *(len(cells[group]) for cells in rows.values())) for group in GROUPS]
    starts = [0, widths[0] + 1, widths[0] + widths[1] + 2]
    height = _ABOVE + _BELOW + _ROW * len(rows)
    figure, axes = palette.figure(height=height, layout=None)
    figure.subplots_adjust(left=0.13, right=0.99, bottom=_BELOW / height, top=1 - _ABOVE / height)
    _frame(axes, list(rows), starts[2] + widths[2], _title(rows))
    for group, start in zip(GROUPS, starts, strict=True):
        axes.text(start, -0.62, group, va="bottom", color=_QUIET)
        for y, cells in enumerate(rows.values()):
            _draw(axes, start, y, cells[group])
    axes.text(0, len(rows) - 0.4, _KEY, color=_QUIET, va="top")
    return figure


def _rows(done):
    """{notebook: {group: [(id, state), ...]}} for every notebook that has exercises or of which something is known."""
    known = dict.fromkeys(lessons.ids(), "open")
    known |= {name: entry["status"] for name, entry in done["exercises"].items()}
    tables = {
        "exercises": known,
        "predictions": {name: _foreseen(entry) for name, entry in done["predictions"].items()},
        "quiz": {name: _outcome(entry, "open") for name, entry in done["quizzes"].items()},
    }
    notebooks = sorted({name.partition(".")[0] for table in tables.values() for name in table})
    return {notebook: {group: _of(notebook, table) for group, table in tables.items()} for notebook in notebooks}


def _of(notebook, table):
    chosen = [(name, state) for name, state in table.items() if name.partition(".")[0] == notebook]
    return sorted(chosen, key=lambda entry: (len(entry[0]), entry[0]))  # 04.2 before 04.10


def _outcome(entry, unsettled):
    return {True: "right", False: "wrong"}.get(entry.get("right"), unsettled)


def _foreseen(entry):
    return _outcome(entry, "late" if "measured" in entry else "guessed")


def _title(rows):
    states = {group: [state for cells in rows.values() for _, state in cells[group]] for group in GROUPS}
    passed = f"{states['exercises'].count('passed')} of {len(states['exercises'])} exercises passed"
    settled = [state for state in states["predictions"] if state in ("right", "wrong")]
    return f"{passed}, {settled.count('right')} of {len(settled)} predictions right" if settled else passed


def _frame(axes, notebooks, width, title):
    axes.set(xlim=(-0.1, width), ylim=(len(notebooks) - 0.5, -0.5), xticks=[], yticks=range(len(notebooks)))
    axes.set_yticklabels([f"notebook {name}" for name in notebooks])
    axes.set_title(title, pad=24)
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _draw(axes, start, y, cells):
    for x, (name, state) in enumerate(cells, start):
        fill, mark = _LOOKS.get(state, _LOOKS["open"])
        axes.add_patch(Rectangle((x + 0.05, y - 0.4), 0.9, 0.8, facecolor=fill, edgecolor="none"))
        ink = "#3C434A" if fill == _LOOKS["open"][0] else "white"
        axes.text(x + 0.5, y, f"{name.partition('.')[2]} {mark}".strip(), ha="center", va="center", color=ink)
    if not cells:
        axes.text(start + 0.05, y, "none yet", va="center", color=_QUIET)
