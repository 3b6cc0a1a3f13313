"""HTML, for the pages that qlab writes and for what it shows in notebooks: names escaped, nothing loaded or run."""

import html
import re

from qlab.text import printable

# Of words. Each reads on JupyterLab's light and dark pages and on their striped tables (tests/test_markup.py computes
# it), so that one colour serves both, also where a viewer knows no themes.
TONES = {"good": "#238B4A", "quiet": "#757D86", "watch": "#AD6A00", "bad": "#D1453B"}
MOST_ROWS = 40
LONGEST = 1200  # letters of a cell or a line
SHORT = 24  # letters of a cell that stays in one line
_MATH = re.compile(r"[$\\]")
_BREAKS = re.compile(r"(?<=[/_])(?=\w)")  # where a long name goes on in the next line


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


def table(rows, *, left=(0,), tones=None, above=(), below=()):
    """A table for a notebook: `rows` of text below their heads, as `text.aligned` takes them, lines above and below.

    left   the columns that are text; the others are numbers
    tones  {(row, column): one of TONES}: cells that stand out, each with a bar at the left end of its row

    A viewer that strips styles, as GitHub's does, keeps the alignment and the bold letters.
    """
    shown, rest = rows[: MOST_ROWS + 1], len(rows) - MOST_ROWS - 1
    parts = [element("div", literal(line)) for line in above]
    if len(rows) > 1:
        head, *body = (_row(row, place, left, tones or {}) for place, row in enumerate(shown))
        parts.append(element("table", element("thead", head), element("tbody", *body)))
    if rest > 0:
        parts.append(element("div", f"{rest:,} more {'row' if rest == 1 else 'rows'}: print() shows all"))
    parts += [element("div", element("small", literal(line))) for line in below]
    return element("div", *parts)


def _row(row, place, left, tones):
    bar = next((TONES[tones[place, column]] for column in range(len(row)) if (place, column) in tones), None)
    cells = []
    for column, text in enumerate(row):
        side = "left" if column in left else "right"
        style = f"text-align: {side}; vertical-align: top"
        if side == "right" or len(text) <= SHORT:
            style += "; white-space: nowrap"
        if column == 0:
            style += f"; border-left: 4px solid {bar or 'transparent'}"
        inner = literal(text)
        if (place, column) in tones:
            inner = element("b", inner, style=f"color: {TONES[tones[place, column]]}")
        cells.append(element("th" if place == 0 else "td", inner, align=side, style=style))
    return element("tr", *cells)
