"""A report's words as Markdown: fit to be read in a terminal, and to be rendered.

All text comes in plain, a stranger's names in it, and is shown as it is: `md` escapes whatever means something in
Markdown. Structure comes from the functions below only.
"""

import re
import textwrap

from qlab.text import printable

WIDTH = 98

_STRING = r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\""""
_INNER = rf"""(?:{_STRING}|[^()'"])*"""
# What Python runs is shown as code, where nothing is escaped, so that it can be copied.
_CODE = re.compile(
    rf"""(?<![^\s(])(?:from\ qlab\ import\ \w+(?:,\ \w+)*
    |(?:qlab\.)?(?:recipes|machine|doctor)\.\w+\((?:{_STRING}|\({_INNER}\)|[^()'"])*\))(?![^\s.,;:)])""",
    re.VERBOSE,
)

# Each sign where it could mean something: emphasis but not in a_name or 3 * 4, brackets where a link could follow, ...
_SIGNS = re.compile(
    r"""[`|$] | ~(?=~) | (?<=~)~ | :(?=//) | \\(?![^\W_]) | <(?![\s=\d]) | &(?=[\w#]) | \](?=[(\[:]) | (?<!\S)\#
    | \*(?!\s) | (?<!\s)\* | (?<!\w)_++ | (?<!_)_++(?![^\W_])""",
    re.VERBOSE,
)
# What opens a list, a quotation or the like where a line begins: escaped at the first, kept from the others.
_OPENER = re.compile(r"(\d*)(?=(?<=\d)[.)](?:\s|$)|[-+](?:[-\s]|$)|>|=|~~)")
_BEFORE_OPENERS = re.compile(r" (?=[-+*=>#~|_:]|```|\d+[.)](?: |$))")


def md(text):
    r"""Plain text as Markdown that shows it, in one line; Python calls in it as code.

    >>> md("/a_b/*c [d](e) takes recipes.static('_x.onnx')")
    "/a_b/\\*c [d\\](e) takes `recipes.static('_x.onnx')`"
    """
    shown, parts, place = _one_line(text), [], 0
    for call in _CODE.finditer(shown):
        parts += [_escaped(shown[place : call.start()]), _span(call[0])]
        place = call.end()
    return "".join([*parts, _escaped(shown[place:])])


def _one_line(text):
    return " ".join(printable(text).split())


def _escaped(text):
    return _SIGNS.sub(lambda signs: "".join(f"\\{sign}" for sign in signs[0]), text)


def _span(text):
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{text}{fence}"


def heading(level, text):
    return f"{'#' * level} {_escaped(_one_line(text))}"


def paragraph(text):
    return _filled("", md(text))


def items(texts):
    """A list of texts."""
    return "\n".join(_filled("- ", md(text)) for text in texts)


def facts(entries):
    """A list of terms, each with lines about it: [(term, [line, ...]), ...]."""
    return "\n".join(
        "  \n".join([_filled("- ", f"**{md(term)}:** {md(first)}"), *(_filled("  ", md(line)) for line in rest)])
        for term, (first, *rest) in entries
    )


def table(rows, left=(0,), marked=None):
    """Rows of text, the first of them the head; columns numbered in `left` are text, the others numbers.

    marked  the place of a row that stands out, counted with the head, or None
    """
    cells = [[_escaped(_one_line(cell)) for cell in row] for row in rows]
    if marked is not None:
        cells[marked][0] = f"**{cells[marked][0]}**"
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    rule = [":" + "-" * (width - 1) if at in left else "-" * (width - 1) + ":" for at, width in enumerate(widths)]
    lines = [cells[0], rule, *cells[1:]]
    pads = [str.ljust if at in left else str.rjust for at in range(len(widths))]
    padded = ((pad(cell, width) for pad, cell, width in zip(pads, line, widths, strict=True)) for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def code(text):
    """Lines to copy."""
    return textwrap.indent(printable(text), "    ")


def _filled(start, text):
    """Markdown in lines of WIDTH. What has no blanks, a path, is not cut: it must be copied whole."""
    opener = _OPENER.match(text)
    text = text if opener is None else f"{opener[0]}\\{text[opener.end() :]}"
    layout = {"break_long_words": False, "break_on_hyphens": False, "subsequent_indent": " " * len(start)}
    return textwrap.fill(start + _BEFORE_OPENERS.sub("\0", text), WIDTH, **layout).replace("\0", " ")
