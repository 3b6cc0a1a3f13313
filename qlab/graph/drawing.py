"""Draw a model as a figure: whole with its repeats folded, or what lies around one node."""

from matplotlib.figure import Figure
from onnx import ModelProto

from qlab.graph.composing import MARGIN, PAGE, compose
from qlab.graph.folding import Folding
from qlab.graph.labelling import fit, measure, printable
from qlab.graph.neighbourhood import around as neighbourhood
from qlab.graph.painting import paint
from qlab.graph.view import kinds
from qlab.graph.wiring import wire
from qlab.types import ModelPath

TALLEST = 1320.0  # pixels below the heading: a figure that still fits a screen or two
FEW = 12  # boxes that have room for names
LOOSE, TIGHT = 26.0, 17.0  # pixels between two layers

DOES = {
    "integer": "computes on integers",
    "float": "computes on floats",
    "boundary": "stands between floats and integers",
    "other": "handles shapes, indices or control",
}


def draw(model: ModelPath | ModelProto, *, around: str | None = None, depth: int = 2, max_nodes: int = 40) -> Figure:
    """A figure of `model`, a path or a ModelProto: top to bottom, at most `max_nodes` boxes.

    >>> graph.draw(recipes.static(model, "int8.onnx", reader))  # the file: Q and DQ everywhere
    >>> graph.draw(graph.optimized("int8.onnx"), around="node_conv2d_7")  # what runs, around one node

    A colour and a letter say where a node computes, as in `graph.census`; a box of several nodes has all their letters.
    Lines in green carry codes. Scales and zero points are in the boxes where they are small constants, names of nodes
    in close-up and in pictures of up to twelve boxes.
    around     the name of a node or tensor: shows the nodes within `depth` steps, and "... 3 more" where it cuts off.
               None: the whole model. Blocks that repeat (equal operators, equally wired, of any sizes) are drawn
               once, and nodes put together until all fits, shapes and indices first. Constants, and what only prepares
               them, get no boxes.
    max_nodes  most boxes; a page that would get too tall for a screen or two has fewer, so that more than 40 seldom fit
    Raises what `graph.load` raises, and ValueError if there is no `around`, with names like it, or if `depth` or
    `max_nodes` is below 1.
    """
    for name, number in (("depth", depth), ("max_nodes", max_nodes)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ValueError(f"{name} is {number!r}; expected a whole number from 1 up")
    page = compose_model(wire(model), around, depth, max_nodes)
    wiring, boxes = page.view.wiring, page.view.boxes
    counted = range(len(wiring.ops)) if around is None else [op for box in boxes for op in box.ops]
    return paint(page, _lines(_title(page, around, depth)), kinds(wiring, counted))


def compose_model(wiring, around=None, depth=2, max_nodes=40):
    """The Page that `draw` paints: as many boxes as allowed, fewer if the picture would be too wide or too tall."""
    if not wiring.ops:
        raise ValueError("the model has no nodes; expected a graph with at least one")
    folding = Folding(wiring) if around is None else None
    limit = max_nodes
    while True:
        view = folding.view(limit) if folding else neighbourhood(wiring, around, depth, limit)
        boxes = len(view.boxes)
        for down in (LOOSE, TIGHT):
            page = compose(view, close=around is not None or boxes <= FEW, down=down)
            if page is not None and (page.height <= TALLEST or limit == 1):
                return page
        excess = page.height / TALLEST if page is not None else 1
        limit = max(1, min(boxes - 1, limit - 1, round(boxes / excess)))


def _title(page, around, depth):
    """What the picture finds, in one sentence."""
    view = page.view
    total = len(view.wiring.ops)
    shown = [box for box in view.boxes if box.role == "ops"]
    if around is not None:
        focus = next(view.wiring.ops[box.ops[0]] for box in shown if box.is_focus)
        steps = f"{depth} step{'s' if depth > 1 else ''}"
        return f"{focus.name} {DOES[focus.kind]}: {len(shown)} of {_count(total, 'node')} within {steps}"
    if not any(len(box.ops) > 1 for box in shown) and not view.frames:
        return f"{_count(total, 'node')}, all drawn" if len(shown) == total else _constants(total, len(shown))
    folded = f"{_count(total, 'node')}, folded to {len(shown)} boxes"
    if len(view.frames) < 2:
        return folded + "".join(f": {frame.times} equal blocks of {frame.size}" for frame in view.frames)
    return f"{folded}; equal blocks: {', '.join(f'{frame.times} of {frame.size}' for frame in view.frames)}"


def _constants(total, shown):
    rest = total - shown
    return f"{_count(total, 'node')}: {shown} drawn, {rest} only {'prepares' if rest == 1 else 'prepare'} constants"


def _count(number, what):
    return f"{number:,} {what}{'s' if number != 1 else ''}"


def _lines(title):
    """The title in lines no wider than the page."""
    lines, width = [""], PAGE - 2 * MARGIN
    for word in printable(title).split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and measure(longer, 12, True) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return [fit(line, 12, width, bold=True) for line in lines]
