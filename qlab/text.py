"""Words, numbers and columns, as qlab prints them everywhere."""

import math

import numpy as np


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
