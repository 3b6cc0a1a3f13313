"""The marks of a picture, each readable without its colour, and the legend that explains them."""

from matplotlib.patches import Polygon, Rectangle

from qlab import palette
from qlab.graph.composing import MARGIN, PAGE
from qlab.graph.labelling import TAG
from qlab.graph.lettering import DETAIL, measure

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
