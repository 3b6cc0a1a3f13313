"""Positions that a feed marks as padding: what a model answers there, nobody reads."""

import re

import numpy as np

SAME = 1e-4  # of an output's largest number
OVER_THE_EDGE = 0.25  # of the positions that are no padding: more than these no convolution changes
NAMED = re.compile("mask|len", re.I)


def counted_places(run, feeds, reference):
    """For each feed, {output: booleans that fit it, False where the feed marks padding}; nothing where it marks none.

    run        gives {output: array} of the reference for a feed; `reference` is what it gave for each of `feeds`

    Padding stands at the end, or the beginning, of each row. It is marked by an input of two values, one of them
    zero, [batch, time], such as attention_mask, or by lengths, integers [batch]. Neither name nor type tells
    (token_type_ids are zeros and ones too, and some masks have ones where they hide), so it is tried, on the first feed
    that could have some:

    1. Other content in the padding changes what is answered there, and not elsewhere, but for positions next to it,
       since a convolution looks over the edge.
    2. With nothing marked, the answers elsewhere change; where they cannot, as in a causal model, the name decides.
    An output's time may be shorter or longer than the input's, and its axis is the second or the last.
    """
    places = [{} for _ in feeds]
    for name in feeds[0]:
        for marking in _markings(name, feeds):
            at = next((at for at, mark in enumerate(marking) if mark is not None), None)
            if at is None:
                continue
            axes = _padded_axes(run, feeds[at], reference[at], name, *marking[at])
            for mark, here, answers in zip(marking, places, reference, strict=True):
                if mark is not None:
                    shown = {
                        output: _shown(mark[0], answers[output].shape, axis)
                        for output, axis in axes.items()
                        if len(answers[output]) == len(mark[0])
                    }
                    here |= {output: here.get(output, True) & one for output, one in shown.items()}
            if axes:
                break
    return places


def _markings(name, feeds):
    """Ways in which the input could mark padding: for each feed (booleans [batch, time], the input marking none)."""
    for hiding in (0, 1):
        yield [_mask(feed.get(name), hiding) for feed in feeds]
    for axis in (1, -1):
        yield [_lengths(name, feed, axis) for feed in feeds]


def _mask(array, hiding):
    if not _is_array(array) or array.dtype.kind not in "iubf" or array.ndim < 2:
        return None
    if array.size != len(array) * max(array.shape[1:]):
        return None
    values = np.unique(array)
    if values.size != 2 or not (values == 0).any():
        return None
    hidden = (array == values[hiding]).reshape(len(array), -1)
    return (hidden, np.full_like(array, values[1 - hiding])) if _at_an_edge(hidden) else None


def _lengths(name, feed, axis):
    array = feed.get(name)
    if not _is_array(array) or array.dtype.kind not in "iu" or array.ndim > 1 or not array.size or array.min() < 1:
        return None
    for other in filter(_is_array, feed.values()):
        if other.ndim > 1 and other.shape[0] == array.size and other.shape[axis] >= array.max() > 1:
            time = other.shape[axis]
            hidden = np.arange(time) >= array.reshape(-1, 1)
            return (hidden, np.full_like(array, time)) if hidden.any() else None
    return None


def _is_array(value):
    return isinstance(value, np.ndarray)


def _at_an_edge(hidden):
    """Whether each row hides none, its end, or its beginning, and shows something."""
    steps = np.diff(hidden.astype(int), axis=1)
    return bool(((steps != 0).sum(axis=1) <= 1).all() and not hidden.all(axis=1).any())


def _padded_axes(run, feed, reference, name, hidden, unmarked):
    """{output: the axis of its time} of the outputs that have padding; {} where it is none."""
    try:
        refilled, unmasked = run(_refilled(feed, name, hidden)), run(feed | {name: unmarked})
    except ValueError:
        return {}
    axes, is_used = {}, bool(NAMED.search(name))
    padded = hidden.any(axis=1)
    arrays = {output: x for output, x in reference.items() if _is_array(x) and x.ndim > 1 and x.dtype.kind in "fiub"}
    for output, expected in arrays.items():
        changed, moved = (_differs(expected, other[output]) for other in (refilled, unmasked))
        axis = _time_axis(expected, changed, hidden)
        if axis is None:
            is_used |= bool(moved.any())
        else:
            axes[output] = axis
            is_used |= _shares(moved[padded], hidden[padded], axis)[0] > 0.5
    times = {arrays[output].shape[:2] for output, axis in axes.items() if axis == 1}
    axes |= {output: 1 for output, x in arrays.items() if x.shape[:2] in times}  # labels may not change
    return axes if is_used else {}


def _time_axis(expected, changed, hidden):
    """The axis of an output along which what is hidden changed it, and only there or next to it; or None."""
    for axis in dict.fromkeys((1, expected.ndim - 1)):
        if len(expected) == len(hidden) and expected.shape[axis] > 1:
            others = tuple(at for at in range(1, expected.ndim) if at != axis)
            silent = (expected == 0).all(axis=others, keepdims=True) & bool(others)  # a mask may end as a factor
            elsewhere, inside = _shares(changed, hidden, axis)[0], _shares(changed | silent, hidden, axis)[1]
            padded = changed.any(axis=others) | ~_shown(hidden, expected.shape, axis).reshape(len(hidden), -1)
            if elsewhere < OVER_THE_EDGE and inside > 0.5 and _at_an_edge(padded):
                return axis
    return None


def _shares(changed, hidden, axis):
    """The shares of the positions that changed, of those shown and of those hidden."""
    shown = _shown(hidden, changed.shape, axis).reshape(len(changed), -1)
    other = tuple(at for at in range(changed.ndim) if at not in (0, axis))
    changed = changed.any(axis=other)
    return [changed[places].mean() if places.any() else 0.0 for places in (shown, ~shown)]


def _refilled(feed, name, hidden):
    """The feed with content that counts, over again, in the padding of every other input that has this time."""
    filled = dict(feed)
    for other, array in feed.items():
        axis = next(
            (at for at in (1, -1) if _is_array(array) and array.ndim > 1 and array.shape[at] == hidden.shape[1]), None
        )
        if other == name or axis is None or len(array) != len(hidden) or np.isin(array, (0, 1)).all():
            continue
        filled[other] = array.copy()
        for row, marked in zip(np.moveaxis(filled[other], axis, 1), hidden, strict=True):
            shown, places = np.flatnonzero(~marked), np.flatnonzero(marked)
            row[places] = row[np.resize(shown, places.size)]
    return filled


def _differs(expected, other):
    """Where they differ; everywhere if the shapes do."""
    if expected.shape != other.shape:
        return np.ones(expected.shape, bool)
    finite = np.where(np.isfinite(expected), np.abs(expected), 0)
    return ~np.isclose(expected, other, rtol=0, atol=SAME * finite.max(initial=0), equal_nan=True)


def _shown(hidden, shape, axis):
    """Booleans that fit an output of this shape, whose time is `axis`: False where it comes from hidden positions."""
    places = np.arange(shape[axis]) * hidden.shape[1] // shape[axis]
    return ~hidden[:, places].reshape([size if at in (0, axis) else 1 for at, size in enumerate(shape)])
