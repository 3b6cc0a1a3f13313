"""The texts of a picture: what stands in a box, what its scales and zero points say, and as much of it as fits."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain

import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties, findfont, get_font
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import uses_external_data

from qlab import palette
from qlab.graph.operators import LAYERS, REARRANGING, core, of
from qlab.graph.view import cut, kinds
from qlab.text import shortened

HEAD, DETAIL = 9.0, 8.0  # points
HEIGHTS = {HEAD: 15.0, DETAIL: 12.5}  # pixels of a line
WIDEST = 250.0  # pixels of a line
TAG = 15.0  # pixels of the mark, on the left of a box, that bears a kind's letter
PAD = 5.0  # pixels around the text of a box
SPACE = 8.0  # pixels between the pieces of a line
MARK = 12.0  # pixels that the mark before a label takes
MANY = 16  # operators in a box of which some are named
SHORT = {"QuantizeLinear": "Q", "DequantizeLinear": "DQ", "DynamicQuantizeLinear": "dynamic Q"}  # among many
RUN_TIME = "scale at run time"


@dataclass(frozen=True)
class Piece:
    """Some words of one look; about "weights" or "activations" they get their mark."""

    text: str
    size: float = DETAIL
    bold: bool = False
    about: str = ""
    faint: bool = False

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
        return Text(_of_one(box, wiring, close) + _hidden(box), kinds(wiring, ops))
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
    for what, text in labels(wiring, [copy[0] for copy in box.copies]):
        found += [Piece(fit(part, width=WIDEST - MARK), about=what) for part in _wrapped(text)]
    for piece in found:
        if line_width([*lines[0], piece]) <= WIDEST and not (close and piece.about):
            lines[0].append(piece)
        else:
            lines.append([piece])
    return lines


def _hidden(box):
    """ "... 2 more above, 1 below": neighbours that are not shown."""
    sides = [f"{number} {side}" for number, side in zip(box.hidden, ("above", "below"), strict=True) if number]
    return [[Piece(f"... {', '.join(sides).replace(' ', ' more ', 1)}", faint=True)]] if sides else []


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
    whole, rest = [", ".join(names)] if len(names) <= MANY else [], f"... ({total} nodes)"
    parts = (", ".join([*names[:shown], rest]) for shown in range(min(MANY, len(names) - 1), -1, -1))
    return next((text for text in chain(whole, parts) if measure(text) <= WIDEST), rest)


def _ends(names):
    return names[0] if len(names) == 1 else f"{len(names)}: {names[0]}, {names[1]}, ..."


def labels(wiring, copies):
    """Labels for a box of one node: (about what, text); `copies` has its op for each time that its block comes.

    >>> labels(wiring, [convolution])
    [('weights', 'int8 64x3x3x3, 64 scales 0.0011 to 0.034'), ('activations', 'scale 0.0157, zero 64')]
    """
    ops = [wiring.ops[index] for index in copies]
    row, found = of(ops[0].op_type), []
    scales = dict(row.scales)
    if row.weights is not None:
        places = (row.weights, *scales.get(row.weights, (None, None)))
        found.append(("weights", _weights_text(wiring, ops, places)))
    # What codes are written with is said; what they are read with is in the label of who wrote them.
    activations = row.writes or scales.get(0)
    if row.at_run_time:
        found.append(("activations", RUN_TIME))
    elif activations:
        what = "weights" if wiring.constant[copies[0]] else "activations"
        found.append((what, _scale_text(wiring, ops, *activations) or RUN_TIME))
    return [label for label in found if label[1]]


def _weights_text(wiring, ops, slots):
    """ "int8 64x3x3x3, 64 scales 0.0011 to 0.034"; empty where the second factor is no constant either."""
    where, scale, zero_point = slots
    weights = [_stored(wiring, op, where) for op in ops]
    if not all(isinstance(tensor, TensorProto) for tensor in weights):
        return _dequantized_text(wiring, ops, where)
    kind = helper.tensor_dtype_to_np_dtype(weights[0].data_type).name
    text = f"{kind} " if kind != "float32" else ""
    text += _shapes(weights)
    scales = _scale_text(wiring, ops, scale, zero_point) if scale is not None else ""
    return f"{text}, {scales}" if scales else text


def _shapes(tensors):
    """ "64x3x3x3"; of the smallest and the largest where they differ."""
    shapes = sorted({tuple(tensor.dims) for tensor in tensors}, key=lambda shape: (np.prod(shape), shape))
    ends = ["x".join(map(str, shape)) or "1" for shape in shapes]
    return ends[0] if len(ends) == 1 else f"{ends[0]} to {ends[-1]}"


def _dequantized_text(wiring, ops, where):
    """The same for weights that a DequantizeLinear of their own prepares."""
    sources = [op.sources[where] if where < len(op.sources) else None for op in ops]
    if not all(isinstance(source, int) and wiring.constant[source] for source in sources):
        return ""
    inner = [wiring.ops[source] for source in sources]
    return _weights_text(wiring, inner, (0, 1, 2)) if inner[0].op_type == "DequantizeLinear" else ""


def _scale_text(wiring, ops, scale, zero_point):
    """ "scale 0.0157, zero 64", or for many "256 scales 0.0011 to 0.034"; empty where the scale is no constant."""
    scales = [_stored(wiring, op, scale) for op in ops]
    if not all(isinstance(tensor, TensorProto) for tensor in scales):
        return ""
    number = int(np.prod(scales[0].dims))
    values = [_values(tensor) for tensor in scales]
    zeros = [_values(tensor) for tensor in (_stored(wiring, op, zero_point) for op in ops) if tensor is not None]
    text = "scale" if number == 1 else f"{number} scales"
    if all(value is not None for value in values):
        text += f" {_range(np.concatenate(values), '{:.3g}')}"
    if zeros and len(zeros) == len(ops) and all(value is not None for value in zeros):
        points = np.concatenate(zeros)
        text += f", zero {_range(points, '{:.0f}')}" if number == 1 or points.any() else ""
    return text


def _range(values, style):
    low, high = style.format(values.min()), style.format(values.max())
    return low if low == high else f"{low} to {high}"


def _stored(wiring, op, slot):
    """The tensor at an input, stored in the model or made by a Constant node; None if it is anything else."""
    source = op.sources[slot] if slot is not None and slot < len(op.sources) else None
    if isinstance(source, int) and wiring.ops[source].op_type == "Constant":
        tensors = [attribute.t for attribute in wiring.ops[source].node.attribute if attribute.name == "value"]
        return tensors[0] if tensors else None
    return source if isinstance(source, TensorProto) else None


def _values(tensor):
    """The values as float64 [n]; None if they are stored outside the model, where nobody looks for a label."""
    if uses_external_data(tensor):
        return None
    return numpy_helper.to_array(tensor).astype(np.float64).reshape(-1)


def fit(text, size=DETAIL, width=WIDEST, bold=False):
    """`text`, its middle left out where it is too wide: names begin and end with what tells them apart."""
    text = printable(cut(text))
    if measure(text, size, bold) <= width:
        return text
    lengths = range(4, max(5, len(text)))
    fits = bisect_left(lengths, True, key=lambda length: measure(shortened(text, length, "middle"), size, bold) > width)
    return shortened(text, lengths[max(0, fits - 1)], "middle")


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
