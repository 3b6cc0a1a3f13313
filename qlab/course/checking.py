"""`check`: judge an answer, whatever it is, without ever raising."""

import contextlib
import io
import warnings

import numpy as np

from qlab.course import cells, lessons, places, store
from qlab.course.blanks import blank_part
from qlab.course.brief import brief, error_text, kind, learner_line
from qlab.course.verdict import ALMOST, NOT_YET, PASSED, Almost, NotYet, Verdict

cells.watch()  # from the import of qlab.course on: a cell that fails later is known to the check after it

PRINTED_LIMIT = 2_000  # characters: a check calls an answer many times


def check(exercise_id, answer=...):
    """Judge the answer to an exercise, show the verdict and remember it.

    >>> check("00.1", ...).status
    [00.1] not yet: fill in the `...` above, run that cell, then this one
    'not yet'

    The verdict is "passed", "not yet" (nothing filled in) or "almost", with what is wrong as seen in your output.
    Nothing that the answer does is raised here; only interrupting the kernel stops a check.
    """
    verdict = judge(exercise_id, answer)
    verdict.judged = _judged(answer)
    if verdict.status == PASSED:
        verdict.add(places.take(lessons.find(exercise_id), answer))
    return record(verdict).show()


def record(verdict):
    """Remember a verdict in the progress file, and say in it if that fails. -> verdict"""
    if verdict.status != NOT_YET and (trouble := store.record_check(verdict.id, verdict.status)):
        verdict.add(f"({trouble})")
    return verdict


def judge(exercise_id, answer):
    """The verdict on an answer, neither shown nor remembered."""
    try:
        exercise = lessons.find(exercise_id)
    except LookupError as error:
        return Verdict(brief(exercise_id).strip("'"), NOT_YET, error.args[0])
    except Exception as error:
        return Verdict(brief(exercise_id).strip("'"), NOT_YET, f"this check could not be loaded: {error_text(error)}")
    printed = _Printed()
    try:
        status, message = PASSED, _run(exercise.checker, answer, printed) or ""
    except KeyboardInterrupt:
        raise
    except Almost as found:
        status, message = ALMOST, str(found)
    except NotYet as found:
        status, message = NOT_YET, str(found)
    except BaseException as error:  # SystemExit too: a learner's `exit()` must not end the kernel
        status, message = ALMOST, _unforeseen(error, answer)
    return Verdict(exercise.id, status, message, title=exercise.title, printed=printed.getvalue())


def _judged(answer):
    try:
        return cells.judged(answer)
    except Exception:  # an answer that cannot even be asked for its name
        return cells.Judged()


def _run(checker, answer, printed):
    """Call the check with the learner's printing caught, warnings silent and NumPy's error state put back."""
    with contextlib.redirect_stdout(printed), warnings.catch_warnings(), np.errstate():
        warnings.simplefilter("ignore")
        if part := blank_part(answer):
            raise NotYet(f"fill in {part} above, run that cell, then this one")
        return checker(answer)


def _unforeseen(error, answer):
    """The check did not get through: in the learner's code, or because the answer is of a kind it cannot read."""
    if line := learner_line(error):
        return f"your code raised {error_text(error)}{line}"
    return f"your answer is of type `{kind(answer)}`, and reading it raised {error_text(error)}"


class _Printed(io.StringIO):
    """Keeps the beginning of what is printed: a loop that prints for ever must not fill the memory."""

    def close(self):
        """Stays open: what was printed is read later, even if the answer closes its standard output."""

    def write(self, text):
        room = PRINTED_LIMIT - self.tell()
        if room > 0:
            super().write(text[:room] if len(text) <= room else f"{text[:room]}\n...")
        return len(text)
