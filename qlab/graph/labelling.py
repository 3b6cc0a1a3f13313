"""The texts of a picture: what stands in a box, and in how much room."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache

from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties, findfont, get_font

from qlab import palette
from qlab.graph.scales import labels
from qlab.graph.surroundings import MOVERS, PRODUCTS, core
from qlab.graph.view import kinds

HEAD, DETAIL = 9.0, 8.0  # points
HEIGHTS = {HEAD: 15.0, DETAIL: 12.5}  # pixels of a line
WIDEST = 250.0  # pixels of a line
TAG = 15.0  # pixels of the mark, on the left of a box, that bears a kind's letter
PAD = 5.0  # pixels around the text of a box
SPACE = 8.0  # pixels between the pieces of a line
MARK = 12.0  # pixels that the mark before a label takes
LONGEST = 300  # letters of which some are shown
MANY = 16  # operators in a box of which some are named

SHORT = {"QuantizeLinear": "Q", "DequantizeLinear": "DQ", "DynamicQuantizeLinear": "dynamic Q"}  # among many


@dataclass(frozen=True)
class Piece:
    """Some words of one look; about "weights" or "activations" they get their mark."""

    text: str
    size: float = DETAIL
    bold: bool = False
    about: str = ""

    @property
    def width(self):
        """Pixels."""
        return measure(self.text, self.size, self.bold) + (MARK if self.about else 0.0)


@dataclass
class Text:
    """The lines of a box, each some pieces, and the kinds of its nodes: {"integer": 2, "boundary": 1}."""

    lines: list[list[Piece]]
    kinds: Counter = field(default_factory=Counter)

    @property
    def width(self):
        """Pixels that the box needs."""
        return max(map(line_width, self.lines)) + 2 * PAD + self.tags

    @property
    def tags(self):
        """Pixels that the marks of its kinds need."""
        return TAG * len(self.kinds)

    @property
    def height(self):
        """Pixels that the box needs."""
        return sum(map(line_height, self.lines)) + 2 * PAD - 2


def line_width(line):
    """Pixels of a line of pieces."""
    return sum(piece.width for piece in line) + SPACE * (len(line) - 1)


def line_height(line):
    """Pixels of a line of pieces."""
    return HEIGHTS[max(piece.size for piece in line)]


def text_of(box, wiring, *, close):
    """The Text of a box; `close` for a picture of few nodes, which has room for names."""
    if box.role != "ops":
        return Text([[Piece(fit(_ends(box.ends)))]])
    if len(box.ops) == 1:
        return Text(_of_one(box, wiring, close), kinds(wiring, box.ops))
    return Text(_of_many(box, wiring), kinds(wiring, box.ops))


def _of_one(box, wiring, close):
    """The operator and its domain, in close-up its name, and what its scales say."""
    op = wiring.ops[box.ops[0]]
    lines = [[Piece(fit(op.op_type, HEAD, bold=True), HEAD, bold=True)]]
    found = [Piece(fit(op.domain.removeprefix("com.")))] if op.domain else []
    place = _place([op])
    if close:
        lines.append([Piece(fit(f"{place}: {op.name}" if place else op.name))])
    elif place:
        found.append(Piece(fit(place)))
    for label in labels(wiring, [copy[0] for copy in box.copies]):
        found += [Piece(fit(text, width=WIDEST - MARK), about=label.what) for text in _wrapped(label.text)]
    for piece in found:
        if line_width([*lines[0], piece]) <= WIDEST and not (close and piece.about):
            lines[0].append(piece)
        else:
            lines.append([piece])
    return lines


def _wrapped(text):
    """A label in lines, broken at its commas."""
    lines = []
    for part in text.split(", "):
        longer = f"{lines[-1]}, {part}" if lines else part
        if lines and measure(longer) <= WIDEST - MARK:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


def _of_many(box, wiring):
    """The operators with their numbers, in two lines: first what computes most, last what only moves values."""
    ops = [wiring.ops[index] for index in box.ops]
    counts = Counter(op.op_type for op in ops)
    order = {op.op_type: (_importance(op), -counts[op.op_type]) for op in ops}
    names = [
        cut(f"{counts[name] if counts[name] > 1 else ''} {SHORT.get(name, name)}".lstrip())
        for name in sorted(counts, key=order.get)
    ]
    head = names.pop(0)
    while names and measure(f"{head}, {names[0]}", HEAD, True) < WIDEST * 0.75:
        head = f"{head}, {names.pop(0)}"
    lines = [[Piece(fit(head, HEAD, bold=True), HEAD, bold=True)]]
    lines += [[Piece(_shortened(names, len(ops)))]] if names else []
    return lines + ([[Piece(fit(place))]] if (place := _place(ops)) else [])


def _place(ops):
    """ "in then_branch", where all ops are in one body of an If, Loop or Scan."""
    scopes = {op.scope for op in ops}
    return f"in {', '.join(scopes.pop())}" if len(scopes) == 1 and () not in scopes else ""


def _importance(op):
    name = core(op.op_type)
    if name in PRODUCTS:
        return 0
    return 3 if name in MOVERS else 2 if op.kind in ("boundary", "other") else 1


def _shortened(names, total):
    """As many names as fit, then how many nodes there are in all."""
    shown, rest = names[:MANY], f"... ({total} nodes)"
    text = ", ".join(names if len(shown) == len(names) else [*shown, rest])
    if measure(text) <= WIDEST:
        return text
    texts = [", ".join([*shown[:number], rest]) for number in range(len(shown))]
    return texts[max(0, bisect_left(texts, True, key=lambda shorter: measure(shorter) > WIDEST) - 1)]


def _ends(names):
    return names[0] if len(names) == 1 else f"{len(names)}: {names[0]}, {names[1]}, ..."


def fit(text, size=DETAIL, width=WIDEST, bold=False):
    """`text`, its middle left out where it is too wide: names begin and end with what tells them apart."""
    text = printable(cut(text))
    if measure(text, size, bold) <= width:
        return text
    lengths = range(2, len(text))
    fits = bisect_left(lengths, True, key=lambda length: measure(_without_middle(text, length), size, bold) > width)
    return _without_middle(text, lengths[max(0, fits - 1)])


def cut(text):
    """`text`, at most LONGEST letters of it: no line has room for more, and measuring takes time."""
    return text if len(text) <= LONGEST else _without_middle(text, LONGEST)


def _without_middle(text, length):
    return f"{text[: length // 2]}...{text[len(text) - (length + 1) // 2 :]}"


def printable(text):
    r"""`text` with an escape, such as \u5c42, for each letter that no font here has, and for what does not print."""
    return "".join(
        letter
        if letter.isprintable() and any(ord(letter) in letters for letters in _letters())
        else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


@lru_cache(maxsize=16384)
def measure(text, size=DETAIL, bold=False):
    """The width of a text in pixels."""
    font = FontProperties(family=palette.fonts(), size=size, weight="bold" if bold else "normal")
    return _renderer().get_text_width_height_descent(text, font, ismath=False)[0]


@lru_cache(maxsize=1)
def _letters():
    return [get_font(findfont(FontProperties(family=family))).get_charmap() for family in palette.fonts()]


@lru_cache(maxsize=1)
def _renderer():
    return RendererAgg(1, 1, palette.DPI)
