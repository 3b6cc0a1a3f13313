"""What qlab prints and shows: words, numbers, names made harmless, and tables as text and HTML."""

import html
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

# Of words. Each reads on JupyterLab's light and dark pages and on their striped tables (tests/test_text.py computes
# it), so that one colour serves both, also where a viewer knows no themes.
TONES = {"good": "#238B4A", "quiet": "#757D86", "watch": "#AD6A00", "bad": "#D1453B"}
MOST_ROWS = 40
LONGEST = 1200  # letters of a cell or a line
SHORT = 24  # letters of a cell that stays in one line

_MATH = re.compile(r"[$\\]")
_BREAKS = re.compile(r"(?<=[/_])(?=\w)")  # where a long name goes on in the next line


def plural(count, what):
    """ "1 feed", "3 feeds"."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def listed(counter, most=5):
    """ "74 MatMul, 38 Conv, ..." of a Counter; `most=None`: all of it."""
    shown = [f"{count} {name}" for name, count in counter.most_common(most)]
    return ", ".join(shown + ["..."] * (len(counter) > len(shown)))


def ratio(value):
    """ "2.77", "12.3"."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def figures(value, sign=""):
    """Three significant figures and no exponent: "0.00123", "12.3", "1,234"; with sign "+", "+12.3"."""
    if abs(value) >= 999.5:
        return f"{value:{sign},.0f}"
    return np.format_float_positional(float(f"{value:.3g}"), trim="-", sign=sign == "+")


def ms(value, sign=""):
    """ "12.3 ms", "1,234 ms"; with sign "+", "+12.3 ms"."""
    return f"{figures(value, sign)} ms"


def decibels(value):
    """ "8.1", "exact" for infinity, "n/a" for NaN."""
    if math.isnan(value):
        return "n/a"
    return "exact" if value == math.inf else f"{round(value, 1) + 0.0:.1f}"  # no "-0.0"


def shortened(text, most, where="end"):
    """`text` in at most `most` letters, "..." for what is left out: at its end, or in its middle.

    Names begin and end with what tells them apart: for them, the middle.

    >>> shortened("encoder.layer.12", 12), shortened("encoder.layer.12", 12, "middle")
    ('encoder.l...', 'enco...er.12')
    """
    if len(text) <= most:
        return text
    tail = (most - 2) // 2 if where == "middle" else 0
    return f"{text[: most - 3 - tail]}...{text[len(text) - tail :]}"


def printable(text):
    r"""`text` with control characters, direction marks and broken letters as escapes; line ends stay.

    Names from a model are a stranger's text: what could steer a terminal or a page is shown, not obeyed.

    >>> printable("a\x1b[2J")
    'a\\x1b[2J'
    """
    return "".join(
        letter if letter.isprintable() or letter == "\n" else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def element(tag, *inner, **attributes):
    """An element of HTML. `inner` is HTML already; attributes are text: class_ is class, http_equiv is http-equiv."""
    names = ((name.rstrip("_").replace("_", "-"), value) for name, value in attributes.items() if value is not None)
    start = tag + "".join(f' {name}="{escaped(str(value))}"' for name, value in names)
    if tag in ("meta", "img"):
        return f"<{start}>"
    return f"<{start}>{''.join(inner)}</{tag}>"


def escaped(text):
    """Text as HTML that shows it."""
    return html.escape(printable(text), quote=True)


def literal(text):
    """Text as HTML that shows it in a notebook too, in lines; of what is very long, the beginning."""
    rest = len(text) - LONGEST
    text = f"{text[:LONGEST]}... ({rest:,} more letters)" if rest > 0 else text
    broken = _BREAKS.sub("<wbr>", escaped(text)).replace("\n", "<br>")
    return without_formulas(broken)


def without_formulas(markup):
    r"""HTML in whose text JupyterLab finds no formula, which it looks for between $ and $ or \( and \).

    A sign that is alone in an element begins none, and is copied with its neighbours all the same.
    """
    return _MATH.sub(lambda sign: f"<span>{sign[0]}</span>", markup)


def aligned(table, left=(0,)):
    """Lines of `table`, a list of rows of text, in columns: those numbered in `left` to the left, others to the right.

    >>> aligned([["what", "ms"], ["a", "10.5"]])
    ['what    ms', 'a     10.5']
    """
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


@dataclass(frozen=True, repr=False)
class Table:
    """Rows of text below their heads, in columns: printed, or shown in a notebook.

    left   the columns that are text; the others are numbers
    tones  {(row, column): one of TONES}: cells that stand out; row 0 is the heads
    above  lines above it, and `below` it

    >>> Table([["model", "ms"], ["fp32", "10.5"]], below=["1 thread"])
    model    ms
    fp32   10.5
    1 thread
    """

    rows: Sequence[Sequence[str]]
    left: Sequence[int] = (0,)
    tones: Mapping[tuple[int, int], str] = field(default_factory=dict)
    above: Sequence[str] = ()
    below: Sequence[str] = ()

    def __repr__(self):
        return "\n".join([*self.above, *(aligned(self.rows, self.left) if len(self.rows) > 1 else []), *self.below])

    def _repr_html_(self) -> str:
        """HTML. A viewer that strips styles, as GitHub's does, keeps the alignment and the bold letters."""
        shown, rest = self.rows[: MOST_ROWS + 1], len(self.rows) - MOST_ROWS - 1
        parts = [element("div", literal(line)) for line in self.above]
        if len(self.rows) > 1:
            head, *body = (self._row(place, row) for place, row in enumerate(shown))
            parts.append(element("table", element("thead", head), element("tbody", *body)))
        if rest > 0:
            parts.append(element("div", f"{rest:,} more {'row' if rest == 1 else 'rows'}: print() shows all"))
        parts += [element("div", element("small", literal(line))) for line in self.below]
        return element("div", *parts)

    def _row(self, place, row):
        """A row in HTML; if one of its cells stands out, with a bar at its left end."""
        tones = {column: TONES[tone] for (at, column), tone in self.tones.items() if at == place}
        bar = tones[min(tones)] if tones else "transparent"
        cells = []
        for column, text in enumerate(row):
            side = "left" if column in self.left else "right"
            style = f"text-align: {side}; vertical-align: top"
            if side == "right" or len(text) <= SHORT:
                style += "; white-space: nowrap"
            if column == 0:
                style += f"; border-left: 4px solid {bar}"
            inner = literal(text)
            if column in tones:
                inner = element("b", inner, style=f"color: {tones[column]}")
            cells.append(element("th" if place == 0 else "td", inner, align=side, style=style))
        return element("tr", *cells)


class Tabular:
    """What is printed and shown as the Table that its `_table()` gives."""

    def __repr__(self):
        return repr(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()
