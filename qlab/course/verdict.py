"""The three answers of `check`, and how they look."""

import html

from qlab.course.cells import Judged
from qlab.course.show import GOOD, NEARLY, WAITING, Shown, box, rich, strong

PASSED, NOT_YET, ALMOST = "passed", "not yet", "almost"
_COLOURS = {PASSED: GOOD, NOT_YET: WAITING, ALMOST: NEARLY}


class Almost(Exception):
    """Raised inside a check: what is wrong, as seen in the learner's output."""


class NotYet(Exception):
    """Raised inside a check: the answer turned out to be unfinished, such as a function that returned `...`."""


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
            line = f'<span style="color: {WAITING}">{rich(self.judged.line)}</span>'
            source = html.escape(self.judged.source)
            body += f"<details><summary>{line}</summary><pre>{source}</pre></details>" if source else f"<br>{line}"
        if self.printed:
            body += f"<details><summary>Your code printed</summary><pre>{rich(self.printed)}</pre></details>"
        return box(_COLOURS[self.status], body)

    def _marked_status(self):
        return f"✓ {self.status}" if self.status == PASSED else self.status
