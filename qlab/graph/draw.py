"""Draw a model as a figure: whole with its repeats folded, or what lies around one node; marks read without colour."""

from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Polygon, Rectangle
from matplotlib.path import Path
from onnx import ModelProto

from qlab import palette
from qlab.files import ModelPath
from qlab.graph.fold import Folding
from qlab.graph.labels import DETAIL, MARK, PAD, SPACE, TAG, fit, line_height, measure, printable
from qlab.graph.layout import MARGIN, PAGE, compose
from qlab.graph.view import around as neighbourhood
from qlab.graph.view import cut, kinds
from qlab.graph.wiring import wire

PALE, INK = "#A8A8A8", "#222222"
FRAME, END = "#F4F1EA", "#ECECEC"


class Kind(NamedTuple):
    """How what computes somewhere is drawn, in the legend called, and in a title."""

    colour: str
    letter: str
    meaning: str
    does: str
    edge: float = 0.9  # points


KINDS = {
    "integer": Kind(palette.INTEGER, "I", "integer", "computes on integers", 1.8),
    "float": Kind(palette.FP32, "F", "float", "computes on floats"),
    "boundary": Kind(palette.FP32, "B", "boundary: Q, DQ, cast", "stands between floats and integers"),
    "other": Kind(PALE, "S", "shapes, indices, masks", "handles shapes, indices or control"),
}
ABOUT = {"weights": palette.WEIGHTS, "activations": palette.ACTIVATIONS}
LINES = {
    "codes": {"color": palette.INTEGER, "linewidth": 2.2},
    "sums": {"color": palette.INTEGER, "linewidth": 1.3, "linestyle": (0, (6, 2))},
    "floats": {"color": palette.FP32, "linewidth": 1.1},
    "other": {"color": PALE, "linewidth": 1.0, "linestyle": (0, (3, 2))},
}
FLOWS = {
    "codes": "8-bit codes or narrower",
    "sums": "int32 sums of products",
    "floats": "floats",
    "other": "shapes, indices, masks",
}
CAPTION = 16.0  # pixels
EDGE = 5.0  # pixels from the page's edge to a frame
TITLE_LINE, LEGEND_LINE = 20.0, 18.0
TALLEST = 1320.0  # pixels below the heading: a figure that still fits a screen or two
MOST, FEW = 40, 12  # boxes of a picture; those of one that has room for names
STEP = 12  # of a picture that is too tall, which part of its boxes goes at once


def draw(model: ModelPath | ModelProto, *, around: str | None = None, depth: int = 2) -> Figure:
    """A figure of `model`, a path or a ModelProto: top to bottom, at most forty boxes, no taller than a screen or two.

    >>> graph.draw(recipes.static(model, "int8.onnx", reader))  # the file: Q and DQ everywhere
    >>> graph.draw(graph.optimized("int8.onnx"), around="node_conv2d_7")  # what runs, around one node

    A colour and a letter say where a node computes, as in `graph.census`; a box of several nodes has all their letters.
    Lines in green carry codes. Scales and zero points are in the boxes where they are small constants, names of nodes
    in close-up and in pictures of up to twelve boxes.
    around  the name of a node or tensor: shows the nodes within `depth` steps, "... 3 more below" where it cuts off.
            None: the whole model. Blocks that repeat (equal operators, equally wired, of any sizes) are drawn
            once, an If, Loop or Scan inside another is one box with all that is in it, and nodes are put together
            until all fits, shapes and indices first. Constants, and what only prepares them, get no boxes.
    Raises what `graph.load` raises, and ValueError if there is no `around`, with names like it, or if `depth` is below
    1.
    """
    if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
        raise ValueError(f"depth is {depth!r}; expected a whole number from 1 up")
    if around is not None and not isinstance(around, str):
        raise ValueError(f"around is a {type(around).__name__}; expected the name of a node or tensor, or None")
    wiring = wire(model)
    page = compose_model(wiring, around, depth)
    counted = range(len(wiring.ops)) if around is None else [op for box in page.view.boxes for op in box.ops]
    return paint(page, _lines(_title(page, around, depth)), kinds(wiring, counted))


def compose_model(wiring, around=None, depth=2, most=MOST):
    """The Page that `draw` paints: `most` boxes, fewer if the picture would be too wide or too tall."""
    if not wiring.ops:
        raise ValueError("the model has no nodes; expected a graph with at least one")
    folding = Folding(wiring) if around is None else None
    while True:
        view = folding.view(most) if folding else neighbourhood(wiring, around, depth, most)
        page = compose(view, close=around is not None or len(view.boxes) <= FEW)
        if page is not None and (page.height <= TALLEST or most == 1):
            return page
        most = max(1, min(len(view.boxes), most) - max(1, most // STEP))


def _title(page, around, depth):
    """What the picture finds, in one sentence."""
    view = page.view
    total = len(view.wiring.ops)
    shown = [box for box in view.boxes if box.role == "ops"]
    if around is not None:
        focus = next(view.wiring.ops[box.ops[0]] for box in shown if box.is_focus)
        steps = f"{depth} step{'s' if depth > 1 else ''}"
        return f"{cut(focus.name)} {KINDS[focus.kind].does}: {len(shown)} of {_nodes(total)} within {steps}"
    if not any(len(box.ops) > 1 or view.wiring.ops[box.ops[0]].folded for box in shown) and not view.frames:
        rest = total - len(shown)
        drawn = f"{len(shown)} drawn, {rest} only {'prepares' if rest == 1 else 'prepare'} constants"
        return f"{_nodes(total)}: {drawn}" if rest else f"{_nodes(total)}, all drawn"
    folded = f"{_nodes(total)}, folded to {len(shown)} boxes"
    if len(view.frames) < 2:
        return folded + "".join(f": {frame.times} equal blocks of {frame.size}" for frame in view.frames)
    return f"{folded}; equal blocks: {', '.join(f'{frame.times} of {frame.size}' for frame in view.frames)}"


def _nodes(number):
    return f"{number:,} node{'s' if number != 1 else ''}"


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


@palette.style()
def paint(page, title, census):
    """The figure of a Page under its title lines; `census` counts nodes by kind: all, in a close-up those drawn."""
    legend = _legend(page, census)
    head = MARGIN + TITLE_LINE * len(title) + LEGEND_LINE * len(legend)
    height = head + page.height
    figure = palette.Figure(figsize=(PAGE / palette.DPI, height / palette.DPI), dpi=palette.DPI)
    figure.alt = " ".join(title)  # it stands as text among the boxes, where Figure does not look for titles
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, PAGE), ylim=(height - head, -head))
    axes.set_axis_off()
    for number, line in enumerate(title):
        _write(axes, MARGIN, MARGIN + TITLE_LINE * (number + 0.5) - head, line, size=12, weight="bold")
    for number, row in enumerate(legend):
        _paint_legend(axes, row, MARGIN + TITLE_LINE * len(title) + LEGEND_LINE * (number + 0.5) - head)
    for framed in page.frames:
        _paint_frame(axes, framed)
    for route in sorted(page.routes, key=lambda route: list(LINES).index(route.flow), reverse=True):
        _paint_route(axes, route)
    for placed in page.boxes:
        _paint_box(axes, placed)
    return figure


def _legend(page, census):
    """Entries (kind of mark, which, text) for what is on the page, in rows as wide as the page."""
    entries = [("tag", kind, f"{KINDS[kind].meaning} ({census[kind]})") for kind in KINDS if census[kind]]
    about = {piece.about for placed in page.boxes for line in placed.text.lines for piece in line}
    entries += [("square", what, what) for what in ABOUT if what in about]
    flows = {route.flow for route in page.routes}
    entries += [("line", flow, FLOWS[flow]) for flow in LINES if flow in flows]
    rows, used = [[]], 0.0
    for entry in entries:
        width = 40 + measure(entry[2])
        if used + width > PAGE - 2 * MARGIN and rows[-1]:
            rows.append([])
            used = 0.0
        rows[-1].append((entry, used))
        used += width
    return rows


def _paint_legend(axes, row, y):
    for (mark, which, text), offset in row:
        x = MARGIN + offset
        if mark == "tag":
            _tag(axes, which, x, y - 7, 14)
        elif mark == "square":
            axes.add_patch(Rectangle((x + 5, y - 4), 8, 8, color=ABOUT[which], linewidth=0))
        else:
            axes.plot([x, x + TAG], [y, y], **LINES[which])
        _write(axes, x + TAG + 5, y, text)


def _paint_frame(axes, framed):
    size = PAGE - 2 * EDGE, framed.bottom - framed.top
    axes.add_patch(Rectangle((EDGE, framed.top), *size, fc=FRAME, ec=PALE, linewidth=0.8, zorder=0))
    width, top = measure(framed.caption, bold=True) + 6, framed.top + 2
    axes.add_patch(Rectangle((MARGIN, top), width, CAPTION, fc=FRAME, ec="none", zorder=2))  # over lines
    _write(axes, MARGIN + 3, top + CAPTION / 2, framed.caption, weight="bold", zorder=2.5)


def route_path(route):
    """The curve of a Route: its bends leave and arrive straight down."""
    vertices, codes = [route.points[0]], [Path.MOVETO]
    for number, point in enumerate(route.points[1:]):
        x, y = vertices[-1]
        if number % 2 == 0:
            vertices.append(point)
            codes.append(Path.LINETO)
        else:
            half = (point[1] - y) / 2
            vertices += [(x, y + half), (point[0], point[1] - half), point]
            codes += [Path.CURVE4] * 3
    return Path(vertices, codes)


def _paint_route(axes, route):
    style = LINES[route.flow]
    axes.add_patch(PathPatch(route_path(route), fill=False, zorder=1.5, capstyle="butt", **style))
    x, y = route.points[-1]
    corners = [(x - 4, y - 7), (x + 4, y - 7), (x, y)]
    axes.add_patch(Polygon(corners, closed=True, color=style["color"], linewidth=0, zorder=2))


def _paint_box(axes, placed):
    """Its outline, a tag for each kind of node in it, its lines; an input or output of the model: its name on grey."""
    text, style = placed.text, {"fc": END, "ec": "none"}
    if placed.box.role == "ops":
        kind = max(text.kinds, key=text.kinds.get)
        style = {"fc": "white", "ec": KINDS[kind].colour, "linewidth": KINDS[kind].edge}
        if placed.box.is_focus:
            style |= {"ec": INK, "linewidth": 2.6}
        elif kind == "other":
            style["linestyle"] = (0, (3, 2))
    axes.add_patch(Rectangle((placed.left, placed.top), text.width, text.height, zorder=3, **style))
    for number, kind in enumerate(kind for kind in KINDS if text.kinds[kind]):
        _tag(axes, kind, placed.left + number * TAG, placed.top, text.height)
    y = placed.top + PAD - 1
    for line in text.lines:
        _paint_line(axes, line, placed.left + text.tags + PAD, y + line_height(line) / 2)
        y += line_height(line)


def _tag(axes, kind, left, top, height):
    """The mark of a kind: its colour, and its letter for those to whom the colours look alike."""
    axes.add_patch(Rectangle((left, top), TAG, height, fc=KINDS[kind].colour, ec="none", zorder=4))
    if kind == "boundary":  # between floats and integers: both colours
        corners = [(left, top), (left + TAG, top), (left, top + height)]
        axes.add_patch(Polygon(corners, closed=True, fc=palette.INTEGER, ec="none", zorder=4))
    middle = left + TAG / 2, top + height / 2
    _write(axes, *middle, KINDS[kind].letter, color="white", ha="center", weight="bold", zorder=5)


def _paint_line(axes, line, x, middle):
    for piece in line:
        if piece.about:
            axes.add_patch(Rectangle((x, middle - 4), 8, 8, color=ABOUT[piece.about], linewidth=0, zorder=4))
        look = {"weight": "bold" if piece.bold else "normal", "color": palette.FP32 if piece.faint else INK}
        _write(axes, x + (MARK if piece.about else 0), middle, piece.text, size=piece.size, zorder=5, **look)
        x += piece.width + SPACE


def _write(axes, x, y, text, *, size=DETAIL, color=INK, **options):
    # A name with two dollar signs is no formula.
    options = {"ha": "left", "va": "center_baseline", "family": palette.fonts(), "parse_math": False} | options
    return axes.text(x, y, text, fontsize=size, color=color, **options)
