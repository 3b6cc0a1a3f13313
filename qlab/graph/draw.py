"""Draw a model as a figure: whole with its repeats folded, or what lies around one node; marks read without colour."""

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

PALE = "#A8A8A8"
INK = "#222222"
COLOURS = {"integer": palette.INTEGER, "float": palette.FP32, "boundary": palette.FP32, "other": PALE}
LETTERS = {"integer": "I", "float": "F", "boundary": "B", "other": "S"}
MEANINGS = {
    "integer": "integer",
    "float": "float",
    "boundary": "boundary: Q, DQ, cast",
    "other": "shapes, indices, masks",
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


def write(axes, x, y, text, *, size=DETAIL, color=INK, **options):
    # A name with two dollar signs is no formula.
    options = {"ha": "left", "va": "center_baseline", "family": palette.fonts(), "parse_math": False} | options
    return axes.text(x, y, text, fontsize=size, color=color, **options)


def tag(axes, kind, left, top, height):
    """The mark of a kind: its colour, and its letter for those to whom the colours look alike."""
    axes.add_patch(Rectangle((left, top), TAG, height, fc=COLOURS[kind], ec="none", zorder=4))
    if kind == "boundary":  # between floats and integers: both colours
        corners = [(left, top), (left + TAG, top), (left, top + height)]
        axes.add_patch(Polygon(corners, closed=True, fc=palette.INTEGER, ec="none", zorder=4))
    middle = left + TAG / 2, top + height / 2
    write(axes, *middle, LETTERS[kind], color="white", ha="center", weight="bold", zorder=5)


def legend_rows(page, census):
    """Entries (kind of mark, which, text) for what is on the page, in rows as wide as the page."""
    entries = [("tag", kind, f"{MEANINGS[kind]} ({census[kind]})") for kind in COLOURS if census[kind]]
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


def paint_legend(axes, row, y):
    for (mark, which, text), offset in row:
        x = MARGIN + offset
        if mark == "tag":
            tag(axes, which, x, y - 7, 14)
        elif mark == "square":
            axes.add_patch(Rectangle((x + 5, y - 4), 8, 8, color=ABOUT[which], linewidth=0))
        else:
            axes.plot([x, x + TAG], [y, y], **LINES[which])
        write(axes, x + TAG + 5, y, text)


FRAME = "#F4F1EA"
CAPTION = 16.0  # pixels
EDGE = 5.0  # pixels from the page's edge to a frame
EDGES = {"integer": 1.8, "float": 0.9, "boundary": 0.9, "other": 0.9}
TITLE_LINE, LEGEND_LINE = 20.0, 18.0


@palette.style()
def paint(page, title, census):
    """The figure of a Page under its title lines; `census` counts nodes by kind: all, in a close-up those drawn."""
    legend = legend_rows(page, census)
    head = MARGIN + TITLE_LINE * len(title) + LEGEND_LINE * len(legend)
    height = head + page.height
    figure = palette.Figure(figsize=(PAGE / palette.DPI, height / palette.DPI), dpi=palette.DPI)
    figure.alt = " ".join(title)  # it stands as text among the boxes, where Figure does not look for titles
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, PAGE), ylim=(height - head, -head))
    axes.set_axis_off()
    for number, line in enumerate(title):
        write(axes, MARGIN, MARGIN + TITLE_LINE * (number + 0.5) - head, line, size=12, weight="bold")
    for number, row in enumerate(legend):
        paint_legend(axes, row, MARGIN + TITLE_LINE * len(title) + LEGEND_LINE * (number + 0.5) - head)
    for framed in page.frames:
        _paint_frame(axes, framed)
    for route in sorted(page.routes, key=lambda route: list(LINES).index(route.flow), reverse=True):
        _paint_route(axes, route)
    for placed in page.boxes:
        _paint_box(axes, placed)
    return figure


def _paint_box(axes, placed):
    if placed.box.role != "ops":
        _paint_end(axes, placed)
        return
    kind = max(placed.text.kinds, key=placed.text.kinds.get)
    style = {"linewidth": 2.6 if placed.box.is_focus else EDGES[kind], "zorder": 3}
    if kind == "other" and not placed.box.is_focus:
        style["linestyle"] = (0, (3, 2))
    colour = INK if placed.box.is_focus else COLOURS[kind]
    axes.add_patch(Rectangle((placed.left, placed.top), placed.text.width, placed.text.height, fc="white", ec=colour, **style))
    _paint_tags(axes, placed)
    _paint_lines(axes, placed, placed.left + placed.text.tags + PAD)


def _paint_end(axes, placed):
    """An input or output of the model: its name on grey."""
    axes.add_patch(Rectangle((placed.left, placed.top), placed.text.width, placed.text.height, fc="#ECECEC", ec="none", zorder=3))
    _paint_lines(axes, placed, placed.left + PAD)


def _paint_lines(axes, placed, left):
    y = placed.top + PAD - 1
    for line in placed.text.lines:
        x, middle = left, y + line_height(line) / 2
        for piece in line:
            if piece.about:
                axes.add_patch(Rectangle((x, middle - 4), 8, 8, color=ABOUT[piece.about], linewidth=0, zorder=4))
            weight = "bold" if piece.bold else "normal"
            start = x + (MARK if piece.about else 0)
            colour = palette.FP32 if piece.faint else INK
            write(axes, start, middle, piece.text, size=piece.size, weight=weight, color=colour, zorder=5)
            x += piece.width + SPACE
        y += line_height(line)


def _paint_tags(axes, placed):
    """A tag for each kind of node in the box."""
    for number, kind in enumerate(kind for kind in COLOURS if placed.text.kinds[kind]):
        tag(axes, kind, placed.left + number * TAG, placed.top, placed.text.height)


def _paint_frame(axes, framed):
    size = PAGE - 2 * EDGE, framed.bottom - framed.top
    axes.add_patch(Rectangle((EDGE, framed.top), *size, fc=FRAME, ec=PALE, linewidth=0.8, zorder=0))
    width, top = measure(framed.caption, bold=True) + 6, framed.top + 2
    axes.add_patch(Rectangle((MARGIN, top), width, CAPTION, fc=FRAME, ec="none", zorder=2))  # over lines
    write(axes, MARGIN + 3, top + CAPTION / 2, framed.caption, weight="bold", zorder=2.5)


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


TALLEST = 1320.0  # pixels below the heading: a figure that still fits a screen or two
FEW = 12  # boxes that have room for names
MOST_BOXES = 400  # more never fit a page of this height
STEP = 12  # of a picture that is too tall, which part of its boxes goes at once
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
               once, an If, Loop or Scan inside another is one box with all that is in it, and nodes are put together
               until all fits, shapes and indices first. Constants, and what only prepares them, get no boxes.
    max_nodes  most boxes; a page that would get too tall for a screen or two has fewer, so that more than 40 seldom fit
    Raises what `graph.load` raises, and ValueError if there is no `around`, with names like it, or if `depth` or
    `max_nodes` is below 1.
    """
    for name, number in (("depth", depth), ("max_nodes", max_nodes)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ValueError(f"{name} is {number!r}; expected a whole number from 1 up")
    if around is not None and not isinstance(around, str):
        raise ValueError(f"around is a {type(around).__name__}; expected the name of a node or tensor, or None")
    wiring = wire(model)
    page = compose_model(wiring, around, depth, max_nodes)
    counted = range(len(wiring.ops)) if around is None else [op for box in page.view.boxes for op in box.ops]
    return paint(page, _lines(_title(page, around, depth)), kinds(wiring, counted))


def compose_model(wiring, around=None, depth=2, max_nodes=40):
    """The Page that `draw` paints: as many boxes as allowed, fewer if the picture would be too wide or too tall."""
    if not wiring.ops:
        raise ValueError("the model has no nodes; expected a graph with at least one")
    folding = Folding(wiring) if around is None else None
    limit = min(max_nodes, MOST_BOXES)
    while True:
        view = folding.view(limit) if folding else neighbourhood(wiring, around, depth, limit)
        page = compose(view, close=around is not None or len(view.boxes) <= FEW)
        if page is not None and (page.height <= TALLEST or limit == 1):
            return page
        limit = max(1, min(len(view.boxes), limit) - max(1, limit // STEP))


def _title(page, around, depth):
    """What the picture finds, in one sentence."""
    view = page.view
    total = len(view.wiring.ops)
    shown = [box for box in view.boxes if box.role == "ops"]
    if around is not None:
        focus = next(view.wiring.ops[box.ops[0]] for box in shown if box.is_focus)
        steps = f"{depth} step{'s' if depth > 1 else ''}"
        return f"{cut(focus.name)} {DOES[focus.kind]}: {len(shown)} of {_count(total, 'node')} within {steps}"
    if not any(len(box.ops) > 1 or view.wiring.ops[box.ops[0]].folded for box in shown) and not view.frames:
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
