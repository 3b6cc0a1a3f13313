"""Which code was judged: the cell that defined it, and whether a later one that should have ended in an error."""

import re
from typing import NamedTuple

from IPython import get_ipython

from qlab.course import sources

LONGEST = 6_000  # characters of source to show


class Ran(NamedTuple):
    """A cell that was run: its number, its source, and what it raised, or ""."""

    number: int
    source: str
    raised: str


class Judged(NamedTuple):
    """line: what was judged. warning: why it may not be what stands on the page. source: of the functions, or ""."""

    line: str = ""
    warning: str = ""
    source: str = ""


_ran = []


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
    functions = [part for part in (answer if isinstance(answer, tuple | list) else [answer]) if _name(part)]
    found = [(part, number) for part in functions if (number := _cell(part)) is not None]
    warning = next(filter(None, (_overtaken(_name(part), number) for part, number in found)), "")
    warning = warning or _last_failed([number for _, number in found])
    said = [f"{_called(_name(part))}, defined in [{number}]" for part, number in found]
    return Judged(f"judged: {'; '.join(said)}" if said else "", warning, "\n\n".join(map(_source, functions)).strip())


def _name(part):
    name = getattr(part, "__name__", None) if callable(part) else None
    return name if isinstance(name, str) else None


def _called(name):
    return "a lambda" if name == "<lambda>" else f"`{name}`"


def _cell(part):
    """The number of the cell in which a function or class was last defined with this very source, or None."""
    code = sources.code_of(part)
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
        return sources.find(part, _name(part)).text[:LONGEST]
    except sources.NotKept:
        return ""
