"""Paint a Page: boxes with a colour and a letter for where they compute, lines, frames, a legend."""

import numpy as np
from matplotlib.patches import PathPatch, Polygon, Rectangle
from matplotlib.path import Path

from qlab import palette
from qlab.graph.composing import MARGIN, PAGE, stub_text, stub_width
from qlab.graph.labelling import MARK, PAD, SPACE, TAG, line_height, measure
from qlab.graph.marks import ABOUT, COLOURS, INK, LINES, PALE, legend_rows, paint_legend, tag, write

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
        _paint_frame(axes, page, framed)
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
    axes.add_patch(Rectangle((placed.left, placed.top), placed.width, placed.height, fc="white", ec=colour, **style))
    _paint_tags(axes, placed)
    _paint_lines(axes, placed, placed.left + placed.text.tags + PAD)
    _paint_stubs(axes, placed)


def _paint_end(axes, placed):
    """An input or output of the model: its name on grey."""
    axes.add_patch(Rectangle((placed.left, placed.top), placed.width, placed.height, fc="#ECECEC", ec="none", zorder=3))
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
            write(axes, start, middle, piece.text, size=piece.size, weight=weight, zorder=5)
            x += piece.width + SPACE
        y += line_height(line)


def _paint_tags(axes, placed):
    """A tag for each kind of node in the box."""
    for number, kind in enumerate(kind for kind in COLOURS if placed.text.kinds[kind]):
        tag(axes, kind, placed.left + number * TAG, placed.top, placed.height)


def _paint_stubs(axes, placed):
    for number, y, towards in ((placed.box.hidden[0], placed.top, -1), (placed.box.hidden[1], placed.bottom, 1)):
        if number:
            left = placed.right - stub_width(number)
            axes.plot([left - 4] * 2, [y, y + 11 * towards], color=PALE, linewidth=1.0, linestyle=(0, (2, 2)), zorder=2)
            write(axes, left, y + 7 * towards, stub_text(number), color=palette.FP32)


def _paint_frame(axes, page, framed):
    size = PAGE - 2 * EDGE, framed.bottom - framed.top
    axes.add_patch(Rectangle((EDGE, framed.top), *size, fc=FRAME, ec=PALE, linewidth=0.8, zorder=0))
    left, top, width = caption_place(page, framed)
    axes.add_patch(Rectangle((left, top), width, CAPTION, fc=FRAME, ec="none", zorder=2))
    write(axes, left + 3, top + CAPTION / 2, framed.caption, weight="bold", zorder=2.5)


def caption_place(page, framed):
    """Where a frame's caption covers the fewest lines, above its boxes or below them: (left, top, width)."""
    width = measure(framed.caption, bold=True) + 6
    lefts = np.linspace(MARGIN, PAGE - MARGIN - width, 60)
    tops = (framed.top + 2, framed.bottom - CAPTION - 2)
    paths = [route_path(route).to_polygons(closed_only=False)[0] for route in page.routes]

    def covered(place):
        return sum(_passes(path, *place, place[0] + width, place[1] + CAPTION) for path in paths)

    return *min(((left, top) for top in tops for left in lefts), key=covered), width


def _passes(path, left, top, right, bottom):
    """Whether a line, given as points (x, y), passes through a rectangle."""
    steps = np.linspace(path[:-1], path[1:], 9).reshape(-1, 2)
    inside = (steps > (left, top)) & (steps < (right, bottom))
    return bool(inside.all(axis=1).any())


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
