"""Dynamic ranges, which move with whatever else stands in the batch."""

import math

import numpy as np

from qlab.machine.runtime import open_session, run
from qlab.measure.finding import Finding
from qlab.measure.pooled import PooledError
from qlab.measure.remedies import DYNAMIC
from qlab.text import decibels, plural

MOST_FEEDS = 4  # that are stacked
LOST_DB = 10.0  # three times the error; rows that are alike differ by less
GOOD_DB = 30.0  # a row that keeps so much beside the others is good enough
SAME_DB = 60.0  # fp32 against itself: it may add up in another order
TINY = np.finfo(np.float32).tiny


def ranges_that_move(examination):
    """One Finding, if a row of these feeds loses LOST_DB where it stands beside others, in a model of dynamic ranges.

    Measured: what two rows keep alone and stacked, in six runs. Feeds of other lengths are padded with zeros. Where
    fp32 answers a row differently when it is stacked, the axis is no batch, and nothing is said.
    """
    if not any(node.op_type in DYNAMIC for node in examination.quantized.nodes):
        return
    try:
        found, count = _worst_row(examination)
    except Exception:  # what cannot be stacked, or meets a size that is fixed inside: onnxruntime has no base class
        return
    if found is None:
        return
    who, output, together_db, alone_db = found
    others = plural(count - 1, "other")
    yield Finding(
        code="range-moves-with-batch",
        evidence=f"{who} keeps {decibels(together_db)} dB in output {output!r} beside {others} in one batch, and "
        f"{decibels(alone_db)} alone; fp32 gives it the same answer both times",
        why="a dynamic range is that of a whole activation, found while the model runs: the largest number in the "
        "batch, padding included, sets the scale for all of it, and a row of small numbers gets few codes",
        cost_ms=None,
        remedy="run such inputs one at a time; or stack only what is alike, pad less, or bring all to one loudness "
        "first. Calibrated ranges (static) do not move, but one that holds the largest row gives a small one no more "
        "codes",
        is_harmless=together_db >= GOOD_DB,
    )


def _batch_axes(model, feed):
    """{input: the axis along which feeds are stacked}; {} where none is open: one called "batch", or the first."""
    shapes = {
        one.name: [dim.dim_value or dim.dim_param for dim in one.type.tensor_type.shape.dim]
        for one in model.graph.input
        if isinstance(feed.get(one.name), np.ndarray) and len(one.type.tensor_type.shape.dim) == feed[one.name].ndim
    }
    open_axes = [(name, axis) for name, shape in shapes.items() for axis, one in enumerate(shape) if _is_open(one)]
    called = [place for place in open_axes if "batch" in str(shapes[place[0]][place[1]]).lower()]
    places = called or [place for place in open_axes if place[1] == 0]
    if not places:
        return {}
    name, axis = places[0]
    symbol, size, axes = shapes[name][axis], feed[name].shape[axis], {}
    for name, axis in sorted(open_axes, key=lambda place: shapes[place[0]][place[1]] != symbol):
        if feed[name].shape[axis] == size and name not in axes:
            axes[name] = axis
    return axes


def _is_open(size):
    return not isinstance(size, int)


def _stacked(feeds, axes):
    """(several rows as one feed, {what a row is called: that row as a feed}), the most uneven feed or several of one.

    Feeds of one row each are stacked if nothing differs that has no batch: the quietest, the loudest, others between.
    """
    several = [at for at, feed in enumerate(feeds) if _size(feed, axes) > 1]
    if several:
        loudness = {at: [_loudness(row, axes) for row in _split(feeds[at], axes)] for at in several}
        at = max(several, key=lambda at: max(loudness[at]) / max(min(loudness[at]), TINY))
        where = f" of feed {at}" if len(feeds) > 1 else ""
        return feeds[at], {f"row {row}{where}": one for row, one in enumerate(_split(feeds[at], axes))}
    alike = [at for at, feed in enumerate(feeds) if _form(feed, axes) == _form(feeds[0], axes)]
    order = sorted(alike, key=lambda at: _loudness(feeds[at], axes))
    chosen = sorted({order[-1], *order[: MOST_FEEDS - 1]})
    stack = {name: _padded([feeds[at][name] for at in chosen], axis) for name, axis in axes.items()}
    return feeds[0] | stack, {f"feed {at}": feeds[at] for at in chosen}


def _size(feed, axes):
    """How many rows a feed has; 0 if its inputs do not agree."""
    sizes = {feed[name].shape[axis] for name, axis in axes.items()}
    return sizes.pop() if len(sizes) == 1 else 0


def _split(feed, axes):
    """The rows of a feed, each a feed of its own."""
    return [
        feed | {name: np.take(feed[name], [row], axis) for name, axis in axes.items()}
        for row in range(_size(feed, axes))
    ]


def _form(feed, axes):
    """What must be equal for feeds to be stacked: dimensions, and whatever has no batch."""
    return _size(feed, axes), {name: x.ndim if name in axes else np.asarray(x).tobytes() for name, x in feed.items()}


def _padded(arrays, axis):
    """Arrays one behind the other along `axis`, with zeros where another is longer."""
    sizes = np.max([array.shape for array in arrays], axis=0)
    sizes[axis] = 1
    ends = [[(0, size - own) for size, own in zip(sizes, array.shape, strict=True)] for array in arrays]
    return np.concatenate([np.pad(array, end) for array, end in zip(arrays, ends, strict=True)], axis)


def _loudness(feed, axes):
    """The largest number in the inputs that are floats; where there is none, how long it is."""
    floats = [np.abs(feed[name]).max(initial=0) for name in axes if feed[name].dtype.kind == "f"]
    return float(max(floats)) if floats else float(sum(feed[name].size for name in axes))


def _worst_row(examination):
    """((row, output, dB beside the others, dB alone) of the row that loses most by its neighbours, how many there are).

    None and 0 where no row does. Tried are the row that keeps least, and the quietest.
    """
    axes = _batch_axes(examination.fp32.model, examination.feeds[0])
    stack, alone = _stacked(examination.feeds, axes) if axes else ({}, {})
    if len(alone) < 2:
        return None, 0
    fp32, quantized = (open_session(one.path) for one in (examination.fp32, examination.quantized))
    names, rows = [one.name for one in fp32.get_outputs()], list(alone)
    answers = [dict(zip(names, run(one, stack, names), strict=True)) for one in (fp32, quantized)]
    quietest = min(range(len(rows)), key=lambda at: _loudness(alone[rows[at]], axes))
    found = []
    for at in {_keeps_least(*answers, len(rows)), quietest}:
        by_itself = [run(one, alone[rows[at]], names) for one in (fp32, quantized)]
        for name, expected, got in zip(names, *by_itself, strict=True):
            floats, integers = (_cut(answer[name], at, len(rows), expected) for answer in answers)
            if floats is not None and _kept(expected, floats) >= SAME_DB:
                found.append((rows[at], name, _kept(expected, integers), _kept(expected, got)))
    lossy = [one for one in found if math.isfinite(one[2])]
    worst = max(lossy, key=lambda one: one[3] - one[2], default=None)
    return (worst, len(rows)) if worst is not None and worst[3] - worst[2] >= LOST_DB else (None, 0)


def _keeps_least(expected, got, count):
    """Which of the rows keeps least in any output."""
    shares = np.zeros(count)
    for name, one in expected.items():
        if one.dtype.kind == "f" and count in one.shape and one.shape == got[name].shape:
            others = tuple(axis for axis in range(one.ndim) if axis != one.shape.index(count))
            expects, gets = _where_finite(one, got[name])
            signal, error = (np.square(x).sum(axis=others) for x in (expects, gets - expects))
            shares = np.maximum(shares, error / np.maximum(signal, TINY))
    return int(np.argmax(shares))


def _cut(stacked, row, count, alone):
    """What of a stacked output answers `row`, without padding: as large as the answer to it alone; or None."""
    if stacked.ndim != alone.ndim or alone.dtype.kind != "f" or not alone.size:
        return None
    axes = [axis for axis, sizes in enumerate(zip(alone.shape, stacked.shape, strict=True)) if sizes == (1, count)]
    own = np.take(stacked, [row], axes[0])[tuple(map(slice, alone.shape))] if axes else None
    return own if own is not None and own.shape == alone.shape else None


def _kept(expected, got):
    """SQNR in dB."""
    error = PooledError()
    error.add(*_where_finite(expected, got))
    return error.db


def _where_finite(one, other):
    """Both arrays, with zeros where either is infinite or no number."""
    both = np.isfinite(one) & np.isfinite(other)
    return [np.where(both, array, 0).astype(np.float64) for array in (one, other)]
