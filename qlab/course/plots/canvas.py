"""What every figure helper does first and last."""

import functools

import matplotlib
import numpy as np

from qlab import palette

INK = "#3C434A"  # text, and lines that are about no kind of number


def styled(helper):
    """Run a figure helper under the course's style: titles and legends read the defaults while they are made."""

    @functools.wraps(helper)
    def in_style(*arguments, **keywords):
        with matplotlib.rc_context(palette.STYLE):
            return helper(*arguments, **keywords)

    return in_style


def panel(axes, **options):
    """The axes to draw into: the caller's, or those of a new figure."""
    return axes if axes is not None else palette.figure(**options)[1]


def colour(kind):
    """The palette's colour for a kind of number. Raises ValueError for a kind it does not know."""
    if kind not in palette.COLOURS:
        raise ValueError(f"kind {kind!r}: expected one of {', '.join(palette.COLOURS)}")
    return palette.COLOURS[kind]


def numbers(values, what):
    """A non-empty float array. Raises ValueError for an empty one or one with NaN or infinity."""
    array = np.asarray(values, np.float64)
    if array.size == 0 or not np.isfinite(array).all():
        raise ValueError(
            f"{what}: expected finite numbers, got {array.size}, {np.isfinite(array).sum()} of them finite"
        )
    return array


def with_interval(value):
    """A number, or (number, low, high) -> (number, low, high); a bare number is its own interval."""
    value, *interval = np.atleast_1d(value).astype(float)
    low, high = interval or (value, value)
    return value, low, high


def spread(positions, gap):
    """Positions of labels, moved apart as little as keeps them `gap` from each other, in the order they had."""
    order = np.argsort(positions, kind="stable")
    moved = np.array(positions, float)[order]
    for _ in range(500):  # each round pushes neighbours that are too close half of what is missing, both ways
        push = np.maximum(gap - np.diff(moved), 0) / 2
        if push.max(initial=0) < 1e-9:
            break
        moved[:-1] -= push
        moved[1:] += push
    result = np.empty_like(moved)
    result[order] = moved
    return result
