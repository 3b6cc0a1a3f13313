"""What costs accuracy: ranges that do not fit the activations, layers that lose more than others, useless outputs."""

import math
from dataclasses import dataclass

import numpy as np

from qlab.calibration.collect import WatchedModel
from qlab.graph.operators import CLIPS
from qlab.measure.cutting import find
from qlab.measure.diagnosis.finding import ACCURACY, FIRST, Cause, Finding, Kind
from qlab.measure.diagnosis.saturation import harms, saturated_layers
from qlab.measure.trace import side_by_side, type_name
from qlab.numerics.dtypes import code_range
from qlab.numerics.pooled import energy, sqnr
from qlab.recipes import RECIPES
from qlab.text import decibels, plural

CLIPPED_DB = 20.0  # clipping alone leaves less signal than this ...
CLIPPED_TIMES = 4.0  # ... and errs this many times as much as rounding
WASTED = 1 / 8  # the share of the codes in use, three bits of eight unused, ...
WASTED_DB = 25.0  # ... and rounding then leaves less than this
POOR_DB = 15.0  # below, one layer alone changes its result by more than a sixth
OUTLIER_DB = 10.0  # this much below the middle layer stands out
USELESS_DB = 15.0  # below, more than a sixth of the answer is error
SHOWN = 3

RANDOM = Kind(
    "random-numbers",
    "nodes that draw other numbers in each run, so that accuracy cannot be judged",
    why="two runs of the fp32 model differ: what quantization loses cannot be told from that, nor is looked for",
    mend="give each such node a `seed` attribute, or feed a scale of 0 if the model has one, and diagnose that",
    mended_by=(),
    costs=ACCURACY,
    told=FIRST,
)
CLIPPED = Kind(
    "range-clips",
    "calibrated ranges too narrow for the activations",
    why="numbers outside the range become its end; where they carry the signal, that error is far larger than "
    "rounding's. Calibration saw other data than these, or cut too much",
    mend=" with a reader of feeds like these; or a wider method, method='minmax'",
    costs=ACCURACY,
    needs_values=True,
)
WASTEFUL = Kind(
    "range-wastes",
    "calibrated ranges far wider than the activations",
    why="codes that nothing uses are bits thrown away: an eighth of the codes is 5 bits of 8. One outlier among "
    "the calibration feeds does that",
    mend=" with a reader of feeds like these, or method='mse'",
    costs=ACCURACY,
    needs_values=True,
)
UNLIKE = Kind(
    "unlike-parts",
    "numbers of very different size under one scale, which leaves the small ones hardly a code",
    why="the largest numbers set the scale of the whole tensor, and the small ones share what codes remain. SQNR "
    "of the whole does not show it: the large numbers carry nearly all of its energy",
    mend="leaves in float what puts numbers of unlike size together",
    costs=ACCURACY,
    needs_values=True,
    is_of_a_part=True,
)
LAYER = Kind(
    "layer-loss",
    "layers that lose much more than the rest",
    why="a few weights or activations far from the rest (a mask's -10000 is one) stretch the range, and the others "
    "share what remains",
    mend="these layers and those that read them in float; or per_channel=True, or another method of calibration, "
    "if they were not used",
    costs=ACCURACY,
    needs_values=True,
    shows_in_answers=True,
)
OUTPUT = Kind(
    "output-loss",
    "errors that add up until an output is of no use",
    why="errors add up from layer to layer, and some layers enlarge those that they are given: a difference of "
    "large numbers, a threshold, a loop. The body of an If, Loop or Scan may also read a tensor that the quantizer "
    "changed without looking inside",
    mend="leaves the weakest layers in float; go on with the next ones of measure.layer_errors until the output is "
    "good enough",
    costs=ACCURACY,
    needs_values=True,
    shows_in_answers=True,
)


def random_numbers(examination, bill):
    """One Finding, if the fp32 model draws numbers, so that two runs of it differ."""
    if examination.layers.draws:
        yield Finding.of(RANDOM, examination, examination.layers.draws)


def is_repeatable(examination):
    """Whether what is lost can be told from what is drawn."""
    return not examination.layers.draws


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
    def left_db(self):
        return sqnr(self.power, self.clipped)

    @property
    def clips(self):
        return self.clipped > CLIPPED_TIMES * self.rounding and self.left_db < CLIPPED_DB

    @property
    def wastes(self):
        return self.used < WASTED and sqnr(self.power, self.rounding) < WASTED_DB


def calibration_ranges(examination, bill):
    """Up to three Findings: fixed ranges that clip the activations of these feeds, that waste codes, or that numbers of
    very different size share."""
    seen, joins = examination.once(_watched)
    if clipping := sorted((item for item in seen.items() if item[1].clips), key=lambda item: item[1].left_db):
        evidence = f"{len(seen)} ranges are too narrow for these feeds"
        says = lambda one: f"{100 * one.outside / one.count:.1f} % outside, {one.left_db:.1f} dB left"
        yield _unfit(CLIPPED, examination, clipping, evidence, says)
    wasting = ((name, one) for name, one in seen.items() if one.wastes and not one.clips)
    if wasting := sorted(wasting, key=lambda item: item[1].used):
        evidence = f"{len(seen)} ranges are far wider than what these feeds need"
        says = lambda one: f"{max(1, round(256 * one.used))} of 256 codes in use"
        yield _unfit(WASTEFUL, examination, wasting, evidence, says, method="percentile")
    crowded = {name: joins.crowded(name, one.least, one.most) for name, one in seen.items()}
    if crowded := {name: who for name, who in crowded.items() if who}:
        yield _unlike(examination, crowded)


def _watched(examination):
    """{tensor: _Seen} of all fixed ranges, and the Joins of the fp32 model, after a run on the feeds."""
    watched = WatchedModel(examination.original)
    # Tensors whose range the operator sets, whatever was calibrated: onnxruntime gives Softmax 0 to 1.
    bounded = {node.output[0] for node in examination.original.nodes if node.op_type in ("Softmax", "Sigmoid")}
    bounded |= examination.once(folded_clips)
    ranges = stored_ranges(examination, [name for name in watched.tensors if name not in bounded])
    seen = {name: _Seen(*found) for name, found in ranges.items()}
    for feed in examination.feeds if seen else ():
        for name, x in watched.run(feed):
            watched.joins.observe(name, x)
            if name in seen:
                seen[name].add(x)
    return {name: one for name, one in seen.items() if one.power}, watched.joins


def stored_ranges(examination, names):
    """{tensor: (low, high, scale)} of the fp32 tensors `names` that the quantized file has as codes.

    One range each: tensors with a scale per channel, or with scales found while the model runs, have none here.
    """
    file, network = examination.file, examination.file.network
    kept, _ = find(names, network, examination.original.network)
    ranges = {}
    for name, one in kept.items():
        for codes in one.codes:
            stored = [network.constants.get(part) for part in (codes.scale, codes.zero_point)]
            scale, zero_point = (None if tensor is None else file.array(tensor) for tensor in stored)
            if scale is None or scale.size != 1:
                continue
            dtype = "uint8" if zero_point is None else type_name(stored[1].data_type)
            first, last = code_range(dtype)
            middle = 0 if zero_point is None else int(zero_point.item())
            step = float(scale.item())
            ranges[name] = (step * (first - middle), step * (last - middle), step)
    return ranges


def folded_clips(examination):
    """Tensors whose codes do the work of the Relu or Clip that alone reads them: what they cut off is not lost."""
    readers = side_by_side(examination.original.nodes).readers
    names = [name for name, nodes in readers.items() if {node.op_type for node in nodes} <= CLIPS]
    return set(stored_ranges(examination, names))


def _unfit(kind, examination, worst, evidence, says, **options):
    """A Finding of ranges that do not fit, [(tensor, _Seen)], the worst first; `says` tells of one what is wrong."""
    shown = "; ".join(
        f"{name!r} holds {one.least:.3g} to {one.most:.3g}, its codes {one.low:.3g} to {one.high:.3g}: {says(one)}"
        for name, one in worst[:SHOWN]
    )
    more = {"nodes": [name for name, _ in worst], "recipe": examination.calibrated, "options": options}
    return Finding.of(kind, examination, f"{len(worst)} of {evidence}: {shown}", **more)


def _unlike(examination, crowded):
    recipe = next(one for one in RECIPES.values() if one.spares_unlike)
    makers = tuple(node.name for node in examination.original.nodes if set(node.output) & crowded.keys())
    options = {"exclude": makers} if examination.is_as_made(recipe) else {}
    shown = "; ".join(f"{name!r}: {who}" for name, who in list(crowded.items())[:SHOWN])
    evidence = f"in {plural(len(crowded), 'tensor')} numbers of very different size share one scale: {shown}"
    return Finding.of(UNLIKE, examination, evidence, nodes=crowded, recipe=recipe, options=options)


def layer_losses(examination, bill):
    """One Finding, if layers lose so much, fed with fp32's own values, that they stand out.

    Not those of which ranges tell already why they lose, nor products that lose by sums which saturate.
    """
    told = {name for one in bill.found if one.code in _codes(RANGES) for name in one.nodes}
    told |= examination.once(folded_clips)
    saturated = saturated_layers(examination, bill)
    rows = [row for row in examination.layers.rows if math.isfinite(row.local_db)]
    if not rows:
        return
    middle = float(np.median([row.local_db for row in rows]))
    limit = min(POOR_DB, middle - OUTLIER_DB)
    poor = [row for row in rows if row.local_db < limit and row.name not in told and row.node not in saturated]
    poor.sort(key=lambda row: row.local_db)
    if not poor:
        return
    shown = ", ".join(f"{row.name!r} ({row.op_type}) {row.local_db:.1f} dB" for row in poor[:SHOWN])
    evidence = (
        f"{len(poor)} of {len(rows)} layers lose far more than the rest: {shown}; the middle layer keeps "
        f"{middle:.1f} dB. Each was fed with the fp32 model's own values, so this is its own loss"
    )
    nodes, mend = [row.node for row in poor if row.node], examination.excluding_layers(poor)
    yield Finding.of(LAYER, examination, evidence, nodes=nodes, **mend)


def _codes(*causes):
    return {kind.code for cause in causes for kind in cause.kinds}


def output_losses(examination, bill):
    """One Finding, if an output keeps less than USELESS_DB and no other Finding tells why: ranges, layers, sums."""
    rows = examination.layers.rows
    useless = {row.name: row for row in rows if row.name in examination.layers.outputs and _is_useless(row)}
    is_explained = any(one.code in _codes(RANGES, LAYERS) for one in bill.found) or harms(examination, bill)
    if is_explained or not useless:
        return
    first = next(row for row in rows if _is_useless(row))
    weakest = examination.layers.worst(SHOWN)
    outputs = ", ".join(f"{name!r} keeps {decibels(row.accumulated_db)} dB" for name, row in useless.items())
    layers = ", ".join(f"{row.name!r} ({row.op_type}) {decibels(row.local_db)} dB" for row in weakest)
    evidence = (
        f"{outputs}. In graph order {first.name!r} ({first.op_type}) is the first tensor below "
        f"{USELESS_DB:.0f} dB, with {decibels(first.accumulated_db)}; by themselves the weakest layers keep: {layers}"
    )
    nodes = [first.name, *dict.fromkeys(row.node for row in weakest if row.node)]
    mend = examination.excluding_layers(weakest)
    yield Finding.of(OUTPUT, examination, evidence, nodes=nodes, **mend)


def _is_useless(row):
    return row.accumulated_db < USELESS_DB


RANDOM_NUMBERS = Cause((RANDOM,), random_numbers)
RANGES = Cause((CLIPPED, WASTEFUL, UNLIKE), calibration_ranges, when=is_repeatable)
LAYERS = Cause((LAYER,), layer_losses, when=is_repeatable)
OUTPUTS = Cause((OUTPUT,), output_losses, when=is_repeatable)
