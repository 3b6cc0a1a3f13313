"""A report as plain text, for a terminal of 100 columns."""

import textwrap

from qlab.measure.doctor.document import Case, Code, Facts, Items, Paragraph, Picture, Table
from qlab.text import aligned, printable

WIDTH = 98


def as_text(report):
    """The Report as text; of pictures, what stands in their place."""
    parts = [f"{report.title}\n{'=' * len(report.title)}", *map(_filled, (report.verdict, report.advice, report.units))]
    for section in report.sections:
        blocks = [shown for shown in map(_block, section.blocks) if shown]
        parts += [f"{section.title}\n{'-' * len(section.title)}", *blocks] if blocks else []
    return printable("\n\n".join(part for part in [*parts, _filled(report.colophon)] if part)) + "\n"


def _block(block):
    match block:
        case Paragraph(text):
            return _filled(text)
        case Items(texts):
            return "\n".join(_filled(text, "- ", "  ") for text in texts)
        case Facts(entries):
            width = max(len(term) for term, _ in entries) + 2
            return "\n".join(_fact(term, lines, width) for term, lines in entries)
        case Table(rows, left, _, note):
            return "\n".join([*aligned(rows, left), *([_filled(note)] if note else [])])
        case Code(text):
            return textwrap.indent(text, "    ")
        case Case(title, entries):
            return "\n".join([_filled(title), *(_filled(text, f"   {term}: ", "     ") for term, text in entries)])
        case Picture(instead=instead):
            return "" if instead is None else _block(instead)


def _fact(term, lines, width):
    first, *rest = [_filled(line, " " * width) for line in lines]
    return "\n".join([term.ljust(width) + first.lstrip(), *rest])


def _filled(text, first="", rest=None):
    """`text` in lines of WIDTH. What has no blanks, a path or a call, is not cut: it must be copied whole."""
    rest = first if rest is None else rest
    layout = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.fill(text, WIDTH, initial_indent=first, subsequent_indent=rest, **layout)
