"""What the tests of draw ask of a Page, and how they read a figure."""

from itertools import combinations

import numpy as np

from qlab.graph.draw import route_path
from qlab.graph.layout import PAGE


def right(box):
    return box.left + box.text.width


def overlap(one, two):
    across = min(right(one), right(two)) - max(one.left, two.left)
    down = min(one.bottom, two.bottom) - max(one.top, two.top)
    return across > 0 and down > 0


def check_page(page, most):
    """What must hold for every picture."""
    assert 1 <= len(page.boxes) <= most
    for one, two in combinations(page.boxes, 2):
        assert not overlap(one, two)
    for box in page.boxes:
        assert box.left >= 0
        assert right(box) <= PAGE
        assert box.top >= 0
        assert box.bottom <= page.height
    for route in page.routes:
        assert route.points[0][1] < route.points[-1][1]
        check_line(route, page.boxes)


def check_line(route, boxes):
    """A line keeps off the boxes that it does not connect."""
    points = route_path(route).to_polygons(closed_only=False)[0]
    points = np.linspace(points[:-1], points[1:], 5).reshape(-1, 2)
    for box in boxes:
        inside = (points > (box.left + 1, box.top + 1)) & (points < (right(box) - 1, box.bottom - 1))
        assert not inside.all(axis=1).any()


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def title(figure):
    return " ".join(text.get_text() for text in figure.axes[0].texts if text.get_fontsize() == 12)
