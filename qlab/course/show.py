"""How the course speaks: words and colour in Jupyter, the same words as plain text everywhere else.

Everything that an answer, a claim or a quiz shows goes through `Shown`. Text from a learner (exceptions, printed
output, values) is escaped here, once, and nowhere else.
"""

import html
import re
import sys

from IPython import get_ipython
from IPython.display import display

from qlab.markup import TONES, without_formulas

GOOD, WAITING, NEARLY, BAD = (TONES[tone] for tone in ("good", "quiet", "watch", "bad"))


# `code`, or *emphasis*: stars that touch a word on its outer sides, which those of 2*x*3 or f(*a, *b) do not.
_MARKED = re.compile(r"`(?P<code>[^`\n]+)`|(?<![\w*])\*(?=[^\s*])(?P<stressed>[^*\n]+)(?<=[^\s*])\*(?![\w*])")


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


def in_jupyter():
    """Is there a Jupyter kernel, to which a page with widgets may be connected?"""
    return hasattr(get_ipython(), "kernel")


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


def _cell():
    """What tells one execution of a cell from the next."""
    shell = get_ipython()
    return None if shell is None else shell.execution_count


def _print(text):
    """Print, also where the terminal cannot show a tick."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding))
