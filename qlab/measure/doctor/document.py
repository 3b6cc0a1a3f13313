"""A report as a document: what stands in it, without a thought of how it looks."""

from collections.abc import Callable
from dataclasses import dataclass, field

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list of short texts."""

    texts: list[str]


@dataclass(frozen=True)
class Facts:
    """Terms, each with one or more lines about it: [(term, [line, ...])]."""

    entries: list[tuple[str, list[str]]]


@dataclass(frozen=True)
class Table:
    """Rows of text, the first of them the head; columns numbered in `left` are text, the others numbers.

    marked  the place of a row that stands out, counted with the head, or None
    note    what must be known to read it
    """

    rows: list[list[str]]
    left: tuple[int, ...] = (0,)
    marked: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Code:
    """Lines to copy."""

    text: str


@dataclass(frozen=True)
class Case:
    """One finding: a title, and texts under a word each, [("seen", "..."), ...]."""

    title: str
    entries: list[tuple[str, str]]


@dataclass(frozen=True)
class Picture:
    """A figure, drawn only where it can be seen.

    what     what it shows, in a few words; with the figure's own title it becomes the text for those who do not see it
    instead  a block to show where there are no pictures, or None
    """

    draw: Callable[[], Figure]
    what: str
    instead: Table | None = None


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: list


@dataclass(frozen=True)
class Report:
    """A whole report. `verdict` is its first sentence, `advice` what to do about it, `units` how to read them."""

    title: str
    verdict: str
    advice: str
    is_healthy: bool
    sections: list[Section] = field(default_factory=list)
    colophon: str = ""
    units: str = ""
