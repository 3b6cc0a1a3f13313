"""What happens to codes while the model runs: sums that saturate, weights rounded at load, ranges that move.

8-bit weights in u8 x s8 products, whose sums saturate in 16 bits: on the card's machine, on this one, or on both;
products that the file keeps in float, and onnxruntime quantizes by itself; dynamic ranges, which move with whatever
else stands in the batch.
"""

import math

import numpy as np
from onnx import TensorProto

from qlab.graph.operators import DYNAMIC, STATIC, factors, is_product, summed_rows
from qlab.measure.compare import declared
from qlab.measure.diagnosis.examination import OPTION
from qlab.measure.diagnosis.finding import ACCURACY, LAST, Cause, Finding, Kind
from qlab.measure.outputs import answer
from qlab.measure.trace import stored
from qlab.numerics.affine import choose_qparams, fake_quantize
from qlab.numerics.metrics import sqnr_db
from qlab.numerics.pooled import PooledError
from qlab.numerics.saturation import can_saturate
from qlab.runtime import run
from qlab.text import decibels, plural

MOST_FEEDS = 4  # that are stacked
LOST_TO_THE_BATCH_DB = 10.0  # three times the error; rows that are alike differ by less
GOOD_DB = 30.0  # a row that keeps so much beside the others is good enough
SAME_DB = 60.0  # fp32 against itself: it may add up in another order
TINY = np.finfo(np.float32).tiny

RISK = Kind(
    "saturation-risk",
    "8-bit weights where u8 x s8 saturates",
    mend="scales of weights with which no sum leaves 16 bits, since the card says that sums saturate",
    costs=ACCURACY,
    told=LAST,
)
HERE = Kind(
    "saturation-here",
    "8-bit weights that saturate on this CPU, but not on the machine of the card",
    costs=ACCURACY,
)
AT_LOAD = Kind(
    "quantized-at-load",
    "float weights that onnxruntime rounds itself when it opens the model",
    why="where a Conv, Gemm or ConvTranspose stands between a DequantizeLinear and a QuantizeLinear, onnxruntime "
    "rounds its float weights when it opens the model, at 8 bits even where those saturate. Leaving the node out "
    "of quantize_static does not keep it in float",
    mend="keeps them in float when they run too; or let the recipe quantize them, with a scale per channel",
    costs=ACCURACY,
)
MOVING = Kind(
    "range-moves-with-batch",
    "dynamic ranges that the other rows of a batch widen",
    why="a dynamic range is that of a whole activation, found while the model runs: the largest number in the "
    "batch, padding included, sets the scale for all of it, and a row of small numbers gets few codes",
    mend="run such inputs one at a time; or stack only what is alike, pad less, or bring all to one loudness "
    "first. Calibrated ranges (static) do not move, but one that holds the largest row gives a small one no more codes",
    mended_by=(),
    costs=ACCURACY,
)


def saturation(examination, bill):
    """One Finding, if the card or this CPU saturates and some input could make a product of this model go wrong.

    Two neighbouring products along the sum are added in 16 bits: 255 * (w1 + w2) must stay below 32,768. What that does
    to these feeds is measured against exact sums, where this CPU saturates. With another machine's card that does not,
    the finding tells what of the measured loss is this CPU's own.
    """
    if not (examination.card.saturates or examination.saturates_here):
        return
    products, risky, share = _at_risk(examination)
    if not risky:
        return
    exact = None
    # The option that makes sums exact does not reach into the bodies of If, Loop and Scan.
    if examination.saturates_here and not any(node.inside for node in risky):
        exact = examination.exact_sums(examination.original, examination.file, examination.feeds)
    seen = (
        f"{len(risky)} of {products} u8 x s8 products have neighbouring weights whose sum is beyond 128, "
        f"in {100 * share:.0f} % of their output channels"
    )
    if examination.card.saturates:
        yield _risk(examination, seen, exact, risky)
    elif not (exact and exact.is_harmless):
        yield _only_here(examination, seen, exact, risky)


def harms(examination, bill):
    """The Findings on sums that saturate here, and are not known to do these feeds no harm."""
    if not examination.saturates_here:
        return []
    return [one for one in bill.found if one.code in (RISK.code, HERE.code) and not one.is_harmless]


def saturated_layers(examination, bill):
    """Names, in the fp32 file, of the products whose loss in `layer_errors` is that of sums which saturate here.

    Between Q and DQ a layer's error is measured on float kernels, which do not saturate.
    """
    told, written = {name for one in harms(examination, bill) for name in one.nodes}, examination.file.operators
    products = [one for one in examination.quantized.nodes if one.sign_pair]
    on_integers = [one.node for one in products if one.op_type not in STATIC or one.op_type in written]
    return told.intersection(map(examination.names.in_files, on_integers))


def _at_risk(examination):
    """(how many u8 x s8 products add in pairs, those that some input makes saturate, in which share of channels)."""
    weights = stored(examination.file.proto)
    products, risky, columns, at_risk = 0, [], 0, 0
    for node in examination.quantized.nodes:
        name = node.node.input[factors(node.node)[1]] if node.sign_pair == "u8s8" else None
        if name not in weights:
            continue
        rows = summed_rows(node.node, examination.file.array(weights[name]))
        if rows is None:
            continue
        products += 1
        found = can_saturate(rows.T)
        columns, at_risk = columns + found.size, at_risk + int(found.sum())
        risky += [node] if found.any() else []
    return products, risky, at_risk / max(columns, 1)


def _risk(examination, seen, exact, risky):
    recipe = examination.mending(risky, examination.alike, is_other=True) or examination.alike
    option = f"keep this model and open it with the session option {OPTION} = 1, at the speed of u8 x u8"
    otherwise = option if exact and exact.has_option else ""
    elsewhere = "" if examination.saturates_here else ". The CPU at hand adds exactly: no loss measured here is of this"
    return Finding.of(
        RISK,
        examination,
        f"{seen}{exact or ''}{elsewhere}",
        why=f"on {examination.card.name} two products are added in 16 bits, and 255 * 129 = 32,895 becomes 32,767: "
        "a wrong answer, without a warning",
        nodes=risky,
        recipe=recipe,
        mend=f"{RISK.mend}; or {otherwise}" if otherwise else "",
        otherwise=otherwise,
        is_harmless=bool(exact and exact.is_harmless),
    )


def _only_here(examination, seen, exact, risky):
    there = examination.card.name
    option = f"; opened with the session option {OPTION} = 1 it answers here as it does there"
    return Finding.of(
        HERE,
        examination,
        f"{seen}{exact or ''}",
        why=f"the CPU at hand adds two products in 16 bits, and 255 * 129 = 32,895 becomes 32,767; {there} adds "
        "exactly. What that loses is in every SQNR measured here, and will not be there",
        remedy=f"nothing, for {there}" + (option if exact and exact.has_option else ": measure it there"),
        nodes=risky,
    )


def quantized_at_load(examination, bill):
    """One Finding, if float weights of the file run as codes: the products that were to stay in float do not.

    How much the weights lose is worked out as onnxruntime rounds them: int8, one scale for all channels.
    """
    network = examination.file.network
    floats = {
        node.name: network.constants[node.input[factors(node)[1]]]
        for node in network.items
        if node.name and is_product(node) and node.input[factors(node)[1]] in network.constants
    }
    found = {}
    for node in examination.quantized.nodes:
        name = examination.names.in_files(node.node)
        tensor = floats.get(name)
        if tensor is not None and tensor.data_type == TensorProto.FLOAT and _has_codes(examination, node):
            found[name] = _rounded_db(examination.file.array(tensor).astype(np.float32))
    if not found:
        return
    worst = min(found, key=found.get)
    evidence = (
        f"{plural(len(found), 'product')} with float weights in the file, weights of int8 when it runs, one "
        f"scale for all channels; those of {worst!r} keep {decibels(found[worst])} dB"
    )
    recipe, options = examination.calibrated, {"exclude": tuple(found)}
    yield Finding.of(AT_LOAD, examination, evidence, nodes=found, recipe=recipe, options=options)


def _has_codes(examination, node):
    """Whether the weights of this product that ran are codes: its own, or those that a DequantizeLinear turns back."""
    if not is_product(node.node):
        return False
    before = examination.ran.maker(node, factors(node.node)[1])
    return node.kind == "integer" or (before is not None and examination.has_constant_codes(before))


def _rounded_db(weights):
    if not weights.size or not np.isfinite(weights).all():
        return math.nan
    return sqnr_db(weights, fake_quantize(weights, choose_qparams(weights, "int8", symmetric=True)))


def ranges_that_move(examination, bill):
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
    evidence = (
        f"{who} keeps {decibels(together_db)} dB in output {output!r} beside {plural(count - 1, 'other')} in one "
        f"batch, and {decibels(alone_db)} alone; fp32 gives it the same answer both times"
    )
    yield Finding.of(MOVING, examination, evidence, is_harmless=together_db >= GOOD_DB)


def _batch_axes(model, feed):
    """{input: the axis along which feeds are stacked}; {} where none is open: one called "batch", or the first."""
    dimensions = {name: x.ndim for name, x in feed.items() if isinstance(x, np.ndarray)}
    shapes = ((name, sizes) for name, (_, sizes) in declared(model.graph.input).items())
    fitting = [(name, sizes) for name, sizes in shapes if len(sizes) == dimensions.get(name)]
    places = [(size, name, axis) for name, sizes in fitting for axis, size in enumerate(sizes)]
    places = [place for place in places if isinstance(place[0], str)]  # open
    called = [place for place in places if "batch" in place[0].lower()]
    axes = {}
    for symbol, first, at in (called or [place for place in places if place[2] == 0])[:1]:
        for _, name, axis in sorted(places, key=lambda place: place[0] != symbol):
            if feed[name].shape[axis] == feed[first].shape[at]:
                axes.setdefault(name, axis)
    return axes


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
    fp32, quantized = examination.original.session(), examination.file.session()
    names, rows = [one.name for one in fp32.get_outputs()], list(alone)
    answers = [answer(one, stack) for one in (fp32, quantized)]
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
    return (worst, len(rows)) if worst is not None and worst[3] - worst[2] >= LOST_TO_THE_BATCH_DB else (None, 0)


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


SATURATION = Cause((RISK, HERE), saturation)
WEIGHTS_AT_LOAD = Cause((AT_LOAD,), quantized_at_load)
MOVING_RANGES = Cause((MOVING,), ranges_that_move, when=lambda examination: not examination.layers.draws)
