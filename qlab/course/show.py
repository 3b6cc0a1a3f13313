"""How the course speaks: words and colour in Jupyter, the same words as plain text everywhere else.

Everything that an answer, a claim or a quiz shows goes through `Shown`. Text from a learner (exceptions, printed
output, values) is escaped here, once, and nowhere else; `brief`, `error_text` and `learner_line` say it in a few words,
and raise on no hostile object. At the end the three answers of `check`, and how they look.
"""

import html
import linecache
import re
import sys
import sysconfig
from pathlib import Path
from typing import NamedTuple

import numpy as np
from IPython import get_ipython
from IPython.display import display

from qlab.text import TONES, without_formulas

GOOD, WAITING, NEARLY, BAD = (TONES[tone] for tone in ("good", "quiet", "watch", "bad"))
LIMIT = 160  # characters of a value or of an exception's text

# `code`, or *emphasis*: stars that touch a word on its outer sides, which those of 2*x*3 or f(*a, *b) do not.
_MARKED = re.compile(r"`(?P<code>[^`\n]+)`|(?<![\w*])\*(?=[^\s*])(?P<stressed>[^*\n]+)(?<=[^\s*])\*(?![\w*])")

_LIBRARY = (
    *(path for name, path in sysconfig.get_paths().items() if name in {"stdlib", "platstdlib", "purelib", "platlib"}),
    str(Path(__file__).resolve().parents[1]),
)


class Shown:
    """Something the learner sees. It appears at once, wherever in a cell it is made, and only once.

    Subclasses give `text()` and `html()`; `facts()` goes into the output's metadata, under "qlab", for programs that
    read notebooks. `widget()` may give a control to stand below the text when a Jupyter kernel is running, and `rest()`
    something more to be shown below that.
    """

    _shown_in = None

    def text(self):
        raise NotImplementedError

    def html(self):
        raise NotImplementedError

    def facts(self):
        return {}

    def widget(self):
        return None

    def rest(self):
        return None

    def show(self):
        """Publish now. As the last expression of the same cell the object then keeps quiet. -> self"""
        self._shown_in = _cell()
        if get_ipython() is None:
            _print(self.text())
        else:
            display(self._repr_mimebundle_(), raw=True, metadata={"qlab": self.facts()})
            control = self.widget() if in_jupyter() else None
            if control is not None:
                display(control)
        if (more := self.rest()) is not None:
            more.show()
        return self

    def _repr_mimebundle_(self, **_):
        return {"text/plain": self.text(), "text/html": self.html()}

    def _ipython_display_(self):
        if self._shown_in is None or self._shown_in != _cell():
            self.show()

    def __repr__(self):
        return self.text()


class Line(Shown):
    """One line that does not ask for attention; with a colour, one that does."""

    def __init__(self, said, colour=None):
        self.said, self.colour = said, colour

    def text(self):
        return self.said

    def html(self):
        return box(self.colour, rich(self.said)) if self.colour else quiet(self.said)


def _cell():
    """What tells one execution of a cell from the next."""
    shell = get_ipython()
    return None if shell is None else shell.execution_count


def _print(text):
    """Print, also where the terminal cannot show a tick."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding))


def in_jupyter():
    """Is there a Jupyter kernel, to which a page with widgets may be connected?"""
    return hasattr(get_ipython(), "kernel")


def rich(text):
    """Plain text as HTML: escaped, `code` in backticks set as code, *emphasis* as such, lines kept."""
    return without_formulas(_marked(html.escape(text, quote=True))).replace("\n", "<br>")


def _marked(escaped):
    def mark(found):
        if found["code"] is not None:
            return f"<code>{found['code']}</code>"
        return f"<em>{_marked(found['stressed'])}</em>"

    return _MARKED.sub(mark, escaped)


def plain(text):
    """Text without the signs that set code and emphasis, for places that show neither, such as a button."""
    return _MARKED.sub(lambda found: found["code"] or plain(found["stressed"]), text)


def box(colour, body):
    """A block of HTML with a coloured bar at its left edge."""
    return f'<div style="border-left: 4px solid {colour}; padding: 2px 10px; margin: 4px 0">{body}</div>'


def strong(colour, text):
    """Plain text as bold, coloured HTML."""
    return f'<b style="color: {colour}">{rich(text)}</b>'


def quiet(text):
    """Plain text as HTML that does not ask for attention."""
    return f'<span style="color: {WAITING}">{rich(text)}</span>'


def kind(value):
    """The name of a value's type."""
    return type(value).__name__


def brief(value):
    """A value as a learner knows it: dtype, shape and first entries of an array, otherwise a shortened repr."""
    try:
        if isinstance(value, np.ndarray | np.generic):
            return _array(np.asarray(value))
        return shortened(repr(value))
    except Exception:  # a __repr__ of the learner's own may do anything
        return f"a {kind(value)}"


def _array(array):
    numbers = ", ".join(number(entry) for entry in array.ravel()[:6])
    if array.ndim == 0:
        return f"{numbers} ({array.dtype})"
    more = ", ..." if array.size > 6 else ""
    return f"{array.dtype} of shape {array.shape} [{numbers}{more}]"


def number(value):
    """One entry of an array in at most six digits."""
    try:
        return f"{float(value):.6g}"
    except (TypeError, ValueError):
        return shortened(str(value), 20)


def shortened(text, limit=LIMIT):
    """The text, or its beginning and how much is left out."""
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text):,} characters)"


def error_text(error):
    """What was raised: the exception's type and its shortened text."""
    try:
        text = shortened(str(error))
    except Exception:  # a __str__ of the learner's own may do anything
        text = ""
    return f"{kind(error)}: {text}" if text else kind(error)


def learner_line(error):
    """Where in the learner's own code it was raised: ", in line 2, `return 1 / 0`", or "" if nowhere there."""
    found, step = None, error.__traceback__
    while step is not None:
        filename = step.tb_frame.f_code.co_filename
        if not filename.startswith((*_LIBRARY, "<frozen", "<__array_function__")):
            found = filename, step.tb_lineno, step.tb_frame.f_globals
        step = step.tb_next
    if found is None:
        return ""
    source = linecache.getline(*found).strip()
    return f", in line {found[1]}" + (f", `{shortened(source, 80)}`" if source else "")


PASSED, NOT_YET, ALMOST = "passed", "not yet", "almost"
_COLOURS = {PASSED: GOOD, NOT_YET: WAITING, ALMOST: NEARLY}


class Almost(Exception):
    """Raised inside a check: what is wrong, as seen in the learner's output."""


class NotYet(Exception):
    """Raised inside a check: the answer turned out to be unfinished, such as a function that returned `...`."""


class Judged(NamedTuple):
    """line: what was judged. warning: why it may not be what stands on the page. source: of the functions, or ""."""

    line: str = ""
    warning: str = ""
    source: str = ""


class Verdict(Shown):
    """What a check answers: `.status` is "passed", "not yet" or "almost", `.message` says why.

    `.printed` is what the learner's code printed while it was checked, `.judged` which code that was.
    """

    judged = Judged()

    def __init__(self, exercise_id, status, message="", *, title="", printed=""):
        self.id, self.status, self.message, self.title, self.printed = exercise_id, status, message, title, printed

    def add(self, line):
        """One more line of the message; "" adds none."""
        self.message = f"{self.message}\n{line}".strip()

    def facts(self):
        return {"check": self.id, "status": self.status}

    def text(self):
        lines = [f"[{self.id}] {self.status}" + (f": {self.message}" if self.message else "")]
        lines += filter(None, [self.judged.line, self.judged.warning])
        if self.printed:
            lines += ["Your code printed:", *(f"  {line}" for line in self.printed.splitlines())]
        return "\n".join(lines)

    def html(self):
        name = f"{self.id} {self.title}".strip()
        body = f"{rich(name)} &nbsp;{strong(_COLOURS[self.status], self._marked_status())}"
        if self.message:
            body += f"{strong(_COLOURS[self.status], ':')} {rich(self.message)}"
        if self.judged.warning:
            body += f"<br>{strong(NEARLY, self.judged.warning)}"
        if self.judged.line:
            line = quiet(self.judged.line)
            source = html.escape(self.judged.source)
            body += f"<details><summary>{line}</summary><pre>{source}</pre></details>" if source else f"<br>{line}"
        if self.printed:
            body += f"<details><summary>Your code printed</summary><pre>{rich(self.printed)}</pre></details>"
        return box(_COLOURS[self.status], body)

    def _marked_status(self):
        return f"✓ {self.status}" if self.status == PASSED else self.status
