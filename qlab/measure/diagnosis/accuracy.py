"""The ranges of activations that calibration wrote into a quantized model.

Calibrated ranges that do not fit the activations: too narrow, much too wide, or shared by numbers of unlike size.

Layers that lose much more than the others.

Outputs that are of no use any more, though no single layer is to blame."""

import math
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, numpy_helper

from qlab import graph
from qlab.calibration.collect import WatchedModel
from qlab.graph.network import Network
from qlab.graph.operators import CLIPS
from qlab.measure.cutting import find
from qlab.measure.diagnosis.examination import to_exclude
from qlab.measure.diagnosis.finding import Finding, calibrated_kind, call, excluding, made_by
from qlab.measure.outputs import energy
from qlab.numerics.dtypes import code_range
from qlab.text import decibels, plural


def stored_ranges(model, fp32, names, folder):
    """{tensor: (low, high, scale)} of the fp32 tensors `names` that the quantized ModelProto `model` has as codes.

    fp32     the ModelProto that it was made from
    folder   where the quantized model's file lies, for constants stored outside it
    One range each: tensors with a scale per channel, or with scales found while the model runs, have none here.
    """
    network = Network(model)
    kept, _ = find(names, network, Network(fp32))
    ranges = {}
    for name, one in kept.items():
        for codes in one.codes:
            scale = _constant(network, codes.scale, folder)
            zero_point = _constant(network, codes.zero_point, folder)
            if scale is None or scale.size != 1:
                continue
            dtype = "uint8" if zero_point is None else TensorProto.DataType.Name(_dtype(network, codes)).lower()
            first, last = code_range(dtype)
            middle = 0 if zero_point is None else int(zero_point.item())
            step = float(scale.item())
            ranges[name] = (step * (first - middle), step * (last - middle), step)
    return ranges


def _dtype(network, codes):
    return network.constants[codes.zero_point].data_type


def _constant(network, name, folder):
    tensor = network.constants.get(name)
    return None if tensor is None else numpy_helper.to_array(tensor, base_dir=str(folder))


CLIPPED_DB = 20.0  # clipping alone leaves less signal than this ...


CLIPPED_TIMES = 4.0  # ... and errs this many times as much as rounding


WASTED = 1 / 8  # the share of the codes in use, three bits of eight unused, ...


WASTED_DB = 25.0  # ... and rounding then leaves less than this


SHOWN = 3


PERCENTILE = {"method": "percentile"}


@dataclass
class _Seen:
    """What a tensor really held on the feeds, against the range (low, high) and step that its codes stand for."""

    low: float
    high: float
    scale: float
    least: float = math.inf
    most: float = -math.inf
    count: int = 0
    outside: int = 0
    power: float = 0.0
    clipped: float = 0.0

    def add(self, x):
        x = x.astype(np.float32, copy=False).ravel()
        least, most = float(x.min(initial=math.inf)), float(x.max(initial=-math.inf))
        if not math.isfinite(most - least):  # or empty
            x = x[np.isfinite(x)]
            if not x.size:
                return
            least, most = float(x.min()), float(x.max())
        self.least, self.most, self.count = min(self.least, least), max(self.most, most), self.count + x.size
        self.power += energy(x)
        if least < self.low or most > self.high:
            beyond = x[(x < self.low) | (x > self.high)].astype(np.float64)
            error = beyond - np.clip(beyond, self.low, self.high)
            self.outside += np.count_nonzero(np.abs(error) > self.scale / 2)
            self.clipped += energy(error)

    @property
    def rounding(self):
        return self.count * self.scale**2 / 12

    @property
    def used(self):
        """Share of the codes between the lowest and the highest number that was seen (0 counts as seen)."""
        return (max(self.most, 0.0) - min(self.least, 0.0)) / (self.high - self.low)

    @property
    def clips(self):
        return self.clipped > CLIPPED_TIMES * self.rounding and _db(self.power, self.clipped) < CLIPPED_DB

    @property
    def wastes(self):
        return self.used < WASTED and _db(self.power, self.rounding) < WASTED_DB


def calibration_ranges(examination):
    """Up to three Findings: fixed ranges that clip the activations of these feeds, that waste codes, or that numbers of
    very different size share."""
    seen, joins = examination.once(_watched)
    clipping = {name: one for name, one in seen.items() if one.clips}
    if clipping:
        yield _clips(examination, clipping, len(seen))
    wasting = {name: one for name, one in seen.items() if one.wastes and name not in clipping}
    if wasting:
        yield _wastes(examination, wasting, len(seen))
    crowded = {name: joins.crowded(name, one.least, one.most) for name, one in seen.items()}
    if crowded := {name: who for name, who in crowded.items() if who}:
        yield _unlike(examination, crowded, graph.nodes(graph.load(examination.fp32.path)))


def _watched(examination):
    """{tensor: _Seen} of all fixed ranges, and the Joins of the fp32 model, after a run on the feeds."""
    watched = WatchedModel(examination.fp32.path)
    fp32 = graph.load(examination.fp32.path)
    bounded = _bounded(fp32) | examination.once(folded_clips)
    names = [name for name in watched.tensors if name not in bounded]
    ranges = stored_ranges(examination.file, fp32, names, examination.path.parent)
    seen = {name: _Seen(*found) for name, found in ranges.items()}
    for feed in examination.feeds if seen else ():
        for name, x in watched.run(feed):
            watched.joins.observe(name, x)
            if name in seen:
                seen[name].add(x)
    return {name: one for name, one in seen.items() if one.power}, watched.joins


def _bounded(model):
    """Tensors whose range the operator sets, whatever was calibrated: onnxruntime gives Softmax 0 to 1."""
    return {node.output[0] for node in graph.nodes(model) if node.op_type in ("Softmax", "Sigmoid")}


def folded_clips(examination):
    """Tensors whose codes do the work of the Relu or Clip that alone reads them: what they cut off is not lost."""
    fp32, readers = graph.load(examination.fp32.path), {}
    for node in graph.nodes(fp32):
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    names = [name for name, operators in readers.items() if operators <= CLIPS]
    return set(stored_ranges(examination.file, fp32, names, examination.path.parent))


def _clips(examination, clipping, total):
    recipe = calibrated_kind(examination)
    worst = sorted(clipping.items(), key=lambda item: _db(item[1].power, item[1].clipped))
    shown = "; ".join(
        f"{name!r} holds {one.least:.3g} to {one.most:.3g}, its codes {one.low:.3g} to {one.high:.3g}: "
        f"{100 * one.outside / one.count:.1f} % outside, {_db(one.power, one.clipped):.1f} dB left"
        for name, one in worst[:SHOWN]
    )
    return Finding(
        code="range-clips",
        evidence=f"{len(clipping)} of {total} ranges are too narrow for these feeds: {shown}",
        why="numbers outside the range become its end; where they carry the signal, that error is far larger than "
        "rounding's. Calibration saw other data than these, or cut too much",
        cost_ms=None,
        remedy=f"{call(examination, recipe)} with a reader of feeds like these; or a wider method, method='minmax'",
        nodes=tuple(name for name, _ in worst),
        recipe=recipe,
    )


def _wastes(examination, wasting, total):
    recipe = calibrated_kind(examination)
    worst = sorted(wasting.items(), key=lambda item: item[1].used)
    shown = "; ".join(
        f"{name!r} holds {one.least:.3g} to {one.most:.3g}, its codes {one.low:.3g} to {one.high:.3g}: "
        f"{max(1, round(256 * one.used))} of 256 codes in use"
        for name, one in worst[:SHOWN]
    )
    return Finding(
        code="range-wastes",
        evidence=f"{len(wasting)} of {total} ranges are far wider than what these feeds need: {shown}",
        why="codes that nothing uses are bits thrown away: an eighth of the codes is 5 bits of 8. One outlier among "
        "the calibration feeds does that",
        cost_ms=None,
        remedy=f"{call(examination, recipe, **PERCENTILE)} with a reader of feeds like these, or method='mse'",
        nodes=tuple(name for name, _ in worst),
        recipe=recipe,
        options=PERCENTILE,
    )


def _unlike(examination, crowded, nodes):
    makers = tuple(node.name for node in nodes if set(node.output) & crowded.keys())
    options = {"exclude": makers} if made_by(examination) == "static" else {}
    shown = "; ".join(f"{name!r}: {who}" for name, who in list(crowded.items())[:SHOWN])
    return Finding(
        code="unlike-parts",
        evidence=f"in {plural(len(crowded), 'tensor')} numbers of very different size share one scale: {shown}",
        why="the largest numbers set the scale of the whole tensor, and the small ones share what codes remain. SQNR "
        "of the whole does not show it: the large numbers carry nearly all of its energy",
        cost_ms=None,
        remedy=f"{call(examination, 'static', **options)}: leaves in float what puts numbers of unlike size together",
        nodes=tuple(crowded),
        recipe="static",
        options=options,
    )


def _db(signal, noise):
    return math.inf if noise == 0 else 10 * math.log10(signal / noise)


POOR_DB = 15.0  # below, one layer alone changes its result by more than a sixth


OUTLIER_DB = 10.0  # this much below the middle layer stands out


SHOWN_LAYERS = 3


def layer_losses(examination, explained, saturated=()):
    """One Finding, if layers lose so much, fed with fp32's own values, that they stand out.

    explained   Findings that tell already why tensors lose: their ranges
    saturated   names of the products that lose by sums which saturate
    """
    elsewhere = {name for finding in explained for name in finding.nodes} | examination.once(folded_clips)
    rows = [row for row in examination.layers.rows if math.isfinite(row.local_db)]
    if not rows:
        return
    middle = float(np.median([row.local_db for row in rows]))
    limit = min(POOR_DB, middle - OUTLIER_DB)
    poor = [row for row in rows if row.local_db < limit and row.name not in elsewhere and row.node not in saturated]
    poor.sort(key=lambda row: row.local_db)
    if not poor:
        return
    nodes = tuple(row.node for row in poor if row.node)
    shown = ", ".join(f"{row.name!r} ({row.op_type}) {row.local_db:.1f} dB" for row in poor[:SHOWN_LAYERS])
    yield Finding(
        code="layer-loss",
        evidence=f"{len(poor)} of {len(rows)} layers lose far more than the rest: {shown}; the middle layer keeps "
        f"{middle:.1f} dB. Each was fed with the fp32 model's own values, so this is its own loss",
        why="a few weights or activations far from the rest (a mask's -10000 is one) stretch the range, and the others "
        "share what remains",
        cost_ms=None,
        nodes=nodes,
        **excluding(
            examination,
            to_exclude(examination, poor),
            "these layers and those that read them in float; or per_channel=True, or another method of calibration, "
            "if they were not used",
        ),
    )


USELESS_DB = 15.0  # below, more than a sixth of the answer is error


SHOWN_OUTPUTS = 3


def output_losses(examination, explained):
    """One Finding, if an output keeps less than USELESS_DB and none of the Findings `explained` tells why."""
    rows = examination.layers.rows
    useless = {row.name: row for row in rows if row.name in examination.layers.outputs and _is_useless(row)}
    if explained or not useless:
        return
    first = next(row for row in rows if _is_useless(row))
    weakest = examination.layers.worst(SHOWN_OUTPUTS)
    nodes = tuple(dict.fromkeys(row.node for row in weakest if row.node))
    outputs = ", ".join(f"{name!r} keeps {decibels(row.accumulated_db)} dB" for name, row in useless.items())
    layers = ", ".join(f"{row.name!r} ({row.op_type}) {decibels(row.local_db)} dB" for row in weakest)
    yield Finding(
        code="output-loss",
        evidence=f"{outputs}. In graph order {first.name!r} ({first.op_type}) is the first tensor below "
        f"{USELESS_DB:.0f} dB, with {decibels(first.accumulated_db)}; by themselves the weakest layers keep: {layers}",
        why="errors add up from layer to layer, and some layers enlarge those that they are given: a difference of "
        "large numbers, a threshold, a loop. The body of an If, Loop or Scan may also read a tensor that the quantizer "
        "changed without looking inside",
        cost_ms=None,
        nodes=(first.name, *nodes),
        **excluding(
            examination,
            to_exclude(examination, weakest),
            "leaves the weakest layers in float; go on with the next ones of measure.layer_errors until the output is "
            "good enough",
        ),
    )


def _is_useless(row):
    return row.accumulated_db < USELESS_DB
