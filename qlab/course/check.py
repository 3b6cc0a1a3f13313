"""`check`: judge an answer, whatever it is, without ever raising.

Whether it is still blank is decided from the answer itself, so that it works wherever the cell's source is. Beside the
verdict stands which code was judged: the cell that defined it, and whether a later one, which should have, ended in an
error.
"""

import contextlib
import dis
import functools
import inspect
import io
import re
import types
import warnings
from typing import NamedTuple

import numpy as np
from IPython import get_ipython

from qlab.course import kept, lessons, standalone
from qlab.course.progress import record_check
from qlab.course.show import (
    ALMOST,
    NOT_YET,
    PASSED,
    Almost,
    Judged,
    NotYet,
    Verdict,
    brief,
    error_text,
    kind,
    learner_line,
)

LONGEST = 6_000  # characters of source to show
PRINTED_LIMIT = 2_000  # characters: a check calls an answer many times
_DEPTH = 3  # of containers within containers
_SETUP = {"RESUME", "NOP", "CACHE", "COPY_FREE_VARS", "MAKE_CELL", "NOT_TAKEN"}
_ran = []


def check(exercise_id, answer=...):
    """Judge the answer to an exercise, show the verdict and remember it.

    >>> check("00.1", ...).status
    [00.1] not yet: fill in the `...` above, run that cell, then this one
    'not yet'

    The verdict is "passed", "not yet" (nothing filled in) or "almost", with what is wrong as seen in your output.
    Nothing that the answer does is raised here; only interrupting the kernel stops a check.
    """
    verdict = judge(exercise_id, answer)
    verdict.judged = judged(answer)
    if verdict.status == PASSED:
        verdict.add(kept.take(lessons.find(exercise_id), answer))
    return record(verdict).show()


def record(verdict):
    """Remember a verdict in the progress file, and say in it if that fails. -> verdict"""
    if verdict.status != NOT_YET and (trouble := record_check(verdict.id, verdict.status)):
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


def blank_part(answer):
    """What is still to be filled in, in words, or None if nothing is.

    1. `...` itself, or a container that holds it.
    2. A function that does nothing but return None or `...`: in bytecode, `...`, `pass` and a docstring leave no trace.
    3. A function where a `...` is still assigned or returned.
    4. A class in which no function has a body yet, or with a function of case 3.
    """
    return _blank(answer, _DEPTH)


def _blank(answer, depth):
    if answer is ...:
        return "the `...`"
    if depth and type(answer) in (list, tuple, set, frozenset, dict):
        entries = answer.values() if type(answer) is dict else answer
        return next((part for entry in entries if (part := _blank(entry, depth - 1))), None)
    if isinstance(answer, type):
        return _blank_class(answer)
    code = _code(answer)
    if code is None:
        return None
    if _does_nothing(code):
        return f"the body of `{code.co_name}`"
    return f"the `...` in `{code.co_name}`" if _keeps_ellipsis(code) else None


def _blank_class(answer):
    codes = [code for member in vars(answer).values() if (code := _code(member))]
    if codes and all(map(_does_nothing, codes)):
        return f"the body of `{answer.__name__}`"
    return next((f"the `...` in `{code.co_name}`" for code in codes if _keeps_ellipsis(code)), None)


def _code(answer):
    """The code object behind a function, however it is wrapped; None for anything else."""
    while isinstance(answer, functools.partial | staticmethod | classmethod | types.MethodType):
        answer = answer.func if isinstance(answer, functools.partial) else answer.__func__
    if isinstance(answer, property):
        answer = answer.fget
    if not isinstance(answer, types.FunctionType):
        return None
    return inspect.unwrap(answer, stop=lambda wrapped: not isinstance(wrapped, types.FunctionType)).__code__


def _does_nothing(code):
    instructions = [step for step in dis.get_instructions(code) if step.opname not in _SETUP]
    names = [step.opname for step in instructions]
    returned = instructions[0].argval if instructions else None
    return names in (["LOAD_CONST", "RETURN_VALUE"], ["RETURN_CONST"]) and (returned is None or returned is ...)


def _keeps_ellipsis(code):
    """Is a `...` stored under a name or returned? As an index, x[..., 0], it is neither."""
    instructions = [step for step in dis.get_instructions(code) if step.opname not in _SETUP]
    for step, following in zip(instructions, [*instructions[1:], None], strict=True):
        if step.argval is ... and (
            step.opname == "RETURN_CONST"
            or (step.opname == "LOAD_CONST" and following.opname.startswith(("STORE_FAST", "STORE_NAME", "RETURN")))
        ):
            return True
    return False


class Ran(NamedTuple):
    """A cell that was run: its number, its source, and what it raised, or ""."""

    number: int
    source: str
    raised: str


def watch():
    """From now on, remember how each cell of this kernel ended."""
    shell = get_ipython()
    if shell is not None and _remember not in shell.events.callbacks["post_run_cell"]:
        shell.events.register("post_run_cell", _remember)


def _remember(result):
    error = result.error_before_exec or result.error_in_exec
    source = result.info.raw_cell if result.info else ""
    _ran.append(Ran(result.execution_count, source, type(error).__name__ if error else ""))


def judged(answer):
    """What is known about the code behind an answer; nothing outside IPython."""
    if get_ipython() is None:
        return Judged()
    try:
        functions = [part for part in (answer if isinstance(answer, tuple | list) else [answer]) if _name(part)]
        found = [(part, number) for part in functions if (number := _cell(part)) is not None]
        warning = next(filter(None, (_overtaken(_name(part), number) for part, number in found)), "")
        warning = warning or _last_failed([number for _, number in found])
        said = [f"{_called(_name(part))}, defined in [{number}]" for part, number in found]
        return Judged(
            f"judged: {'; '.join(said)}" if said else "", warning, "\n\n".join(map(_source, functions)).strip()
        )
    except Exception:  # an answer that cannot even be asked for its name
        return Judged()


def _name(part):
    name = getattr(part, "__name__", None) if callable(part) else None
    return name if isinstance(name, str) else None


def _called(name):
    return "a lambda" if name == "<lambda>" else f"`{name}`"


def _cell(part):
    """The number of the cell in which a function or class was last defined with this very source, or None."""
    code = standalone.code_of(part)
    named = code and get_ipython().compile.format_code_name(code.co_filename)
    number = re.search(r"\d+", named[1]) if named else None
    return int(number[0]) if number else None


def _overtaken(name, number):
    """What to say if a later cell that would have defined the name anew ended in an error."""
    since = next((index for index in reversed(range(len(_ran))) if _ran[index].number == number), len(_ran))
    own = re.escape(name)
    defines = re.compile(rf"^\s*(?:(?:async\s+)?def|class)\s+{own}\b|^\s*{own}\s*=", re.MULTILINE)
    for ran in reversed(_ran[since + 1 :]):
        if ran.raised and defines.search(ran.source):
            anew = f"[{ran.number}], which was to define it anew, ended in {_a(ran.raised)}"
            return f"this is {_called(name)} as [{number}] defined it: {anew}"
    return ""


def _last_failed(numbers):
    """What to say if the cell before the check ended in an error, unless it came as far as to define the answer."""
    if _ran and _ran[-1].raised and _ran[-1].number not in numbers:
        return f"the cell run just before, [{_ran[-1].number}], ended in {_a(_ran[-1].raised)}: was the answer in it?"
    return ""


def _a(name):
    return f"an {name}" if name[0] in "AEIOU" else f"a {name}"


def _source(part):
    try:
        return standalone.find(part, _name(part)).text[:LONGEST]
    except standalone.NotKept:
        return ""


watch()  # from the import of qlab.course on: a cell that fails later is known to the check after it
