"""The texts of a picture: what stands in a box, and in how much room."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from qlab.graph.lettering import DETAIL, HEAD, WIDEST, cut, fit, measure
from qlab.graph.operators import LAYERS, REARRANGING, core
from qlab.graph.scales import labels
from qlab.graph.view import kinds

HEIGHTS = {HEAD: 15.0, DETAIL: 12.5}  # pixels of a line
TAG = 15.0  # pixels of the mark, on the left of a box, that bears a kind's letter
PAD = 5.0  # pixels around the text of a box
SPACE = 8.0  # pixels between the pieces of a line
MARK = 12.0  # pixels that the mark before a label takes
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
    ops = [part for op in box.ops for part in range(op - wiring.ops[op].folded, op + 1)]
    if len(ops) == 1:
        return Text(_of_one(box, wiring, close), kinds(wiring, ops))
    holder = wiring.ops[box.ops[0]] if len(box.ops) == 1 else None
    return Text(_of_many([wiring.ops[op] for op in (ops[:-1] if holder else ops)], holder), kinds(wiring, ops))


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


def _of_many(ops, holder=None):
    """The operators with their numbers, in two lines: first what computes most, last what only moves values.

    holder  an inner If, Loop or Scan that holds all of them: it comes before all
    """
    counts = Counter(op.op_type for op in ops)
    order = {op.op_type: (_importance(op), -counts[op.op_type]) for op in ops}
    names = [
        cut(f"{counts[name] if counts[name] > 1 else ''} {SHORT.get(name, name)}".lstrip())
        for name in sorted(counts, key=order.get)
    ]
    head = f"{holder.op_type}: {names.pop(0)}" if holder else names.pop(0)
    while names and measure(f"{head}, {names[0]}", HEAD, True) < WIDEST * 0.75:
        head = f"{head}, {names.pop(0)}"
    lines = [[Piece(fit(head, HEAD, bold=True), HEAD, bold=True)]]
    lines += [[Piece(_shortened(names, len(ops)))]] if names else []
    return lines + ([[Piece(fit(place))]] if (place := _place([holder] if holder else ops)) else [])


def _place(ops):
    """ "in then_branch", where all ops are in one body of an If, Loop or Scan."""
    scopes = {op.scope for op in ops}
    return f"in {', '.join(scopes.pop())}" if len(scopes) == 1 and () not in scopes else ""


def _importance(op):
    name = core(op.op_type)
    if name in LAYERS:
        return 0
    return 3 if name in REARRANGING else 2 if op.kind in ("boundary", "other") else 1


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
