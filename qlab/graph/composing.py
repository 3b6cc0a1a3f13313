"""Turn a View into places on a page: boxes, lines and frames, in pixels."""

from dataclasses import dataclass
from itertools import pairwise

from qlab.graph.labelling import Text, text_of
from qlab.graph.layering import LANE, gap, layer
from qlab.graph.lettering import measure
from qlab.graph.placing import place
from qlab.graph.view import Box, View

PAGE = 800.0  # pixels
MARGIN = 14.0
STUB = 15.0  # pixels above or below a box for a word on what is not shown
FRAME_HEAD, FRAME_FOOT = 34.0, 26.0  # pixels between a frame's edges and its layers, those of the caption included
PORT = 14.0  # pixels between the lines that enter a box


@dataclass(frozen=True)
class Placed:
    """A box on the page: its left upper corner and its size, the room for stubs not included."""

    box: Box
    text: Text
    left: float
    top: float
    width: float
    height: float

    @property
    def bottom(self):
        """The y of its lower edge."""
        return self.top + self.height

    @property
    def right(self):
        """The x of its right edge."""
        return self.left + self.width


@dataclass(frozen=True)
class Route:
    """A line between two boxes through `points` (x, y), in turn straight down and bent: straight first and last."""

    points: list[tuple[float, float]]
    flow: str


@dataclass(frozen=True)
class Framed:
    """The frame of a repeated block, as wide as the page."""

    caption: str
    top: float
    bottom: float


@dataclass(frozen=True)
class Page:
    """All that is drawn of a View, below the heading. The width is that of a notebook, the height in pixels."""

    view: View
    boxes: list[Placed]
    routes: list[Route]
    frames: list[Framed]
    height: float


def compose(view, *, close, down):
    """The Page of a View, or None if one of its layers is wider than the page.

    close  whether the boxes bear names
    down   pixels between two layers
    """
    texts = [text_of(box, view.wiring, close=close) for box in view.boxes]
    sizes = [_size(box, text) for box, text in zip(view.boxes, texts, strict=True)]
    layers = _layers_that_fit([width for width, _ in sizes], view)
    if layers is None:
        return None
    zones = [next(view.boxes[key].zone for key in row if isinstance(key, int)) for row in layers.rows]
    headroom = [_headroom(before, zone) for before, zone in zip([zones[0] % 2 - 1, *zones], zones, strict=False)]
    columns, bands = place(layers, sizes, PAGE - 2 * MARGIN, headroom, down)
    columns = {key: x + MARGIN for key, x in columns.items()}
    bands = [(top + MARGIN, bottom + MARGIN) for top, bottom in bands]
    home = {key: number for number, row in enumerate(layers.rows) for key in row}
    boxes = [
        _placed(box, text, columns[number], bands[home[number]])
        for number, (box, text) in enumerate(zip(view.boxes, texts, strict=True))
    ]
    frames = [_frame(frame, zones, bands) for frame in view.frames]
    end = bands[-1][1] + MARGIN + (FRAME_FOOT if zones[-1] % 2 else 0)
    return Page(view, boxes, _routes(view, layers, boxes, columns, bands, home), frames, end)


def _size(box, text):
    stubs = [stub_width(number) for number in box.hidden if number]
    width = max([text.width, *(stub + 3 * PORT for stub in stubs)])
    return width, text.height + STUB * len(stubs)


def stub_text(number):
    """What stands for neighbours that are not shown."""
    return f"... {number} more"


def stub_width(number):
    """Its width in pixels."""
    return measure(stub_text(number)) + 4


def _layers_that_fit(widths, view):
    """Layers no wider than the page, their lanes included: the more lanes, the fewer boxes side by side."""
    room = PAGE - 2 * MARGIN
    allowed, zones = room, [box.zone for box in view.boxes]
    while allowed >= max(widths):
        layers = layer(widths, view.edges, zones, allowed)
        used = max(_width(row, widths) for row in layers.rows)
        if used <= room:
            return layers
        allowed = min(allowed - 20, allowed + room - used)
    return None


def _width(row, widths):
    gaps = sum(gap(one, two) for one, two in pairwise(row))
    return gaps + sum(widths[key] if isinstance(key, int) else LANE for key in row)


def _headroom(before, zone):
    if before == zone:
        return 0.0
    return (FRAME_FOOT if before % 2 == 1 and before > 0 else 0.0) + (FRAME_HEAD if zone % 2 else 0.0)


def _placed(box, text, middle, band):
    width, height = _size(box, text)
    top = (band[0] + band[1] - height) / 2 + (STUB if box.hidden[0] else 0)
    return Placed(box, text, middle - width / 2, top, width, text.height)


def _frame(frame, zones, bands):
    inside = [band for zone, band in zip(zones, bands, strict=True) if zone == frame.zone]
    caption = f"{frame.times} x this block of {frame.size} nodes, each behind the one before"
    return Framed(caption, inside[0][0] - FRAME_HEAD + 6, inside[-1][1] + FRAME_FOOT - 6)


def _routes(view, layers, boxes, columns, bands, home):
    ports = _ports(layers, boxes, columns)
    routes = []
    for (one, two), keys in layers.routes.items():
        start, end = _free(boxes[one], 1)[0], ports[one, two]
        points = [(start, boxes[one].bottom), (start, bands[home[one]][1])]
        for key in keys[1:-1]:
            points += [(columns[key], bands[home[key]][0]), (columns[key], bands[home[key]][1])]
        points += [(end, bands[home[two]][0]), (end, boxes[two].top)]
        routes.append(Route(points, view.edges[one, two]))
    return routes


def _free(placed, side):
    """Middle and width of the part of a box's upper (0) or lower (1) edge that no stub takes."""
    hidden = placed.box.hidden[side]
    width = placed.width - (stub_width(hidden) + 8 if hidden else 0)
    return placed.left + width / 2, width


def _ports(layers, boxes, columns):
    """Where each line enters its box: side by side, in the order in which they come."""
    entering = {}
    for (one, two), keys in layers.routes.items():
        entering.setdefault(two, []).append((columns[keys[-2]], one))
    ports = {}
    for two, lines in entering.items():
        middle, width = _free(boxes[two], 0)
        step = min(PORT, (width - 12) / max(1, len(lines) - 1))
        for number, (_, one) in enumerate(sorted(lines)):
            ports[one, two] = middle + (number - (len(lines) - 1) / 2) * step
    return ports
