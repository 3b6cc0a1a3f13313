"""The fewest milliseconds within a bound on what your own metric loses: which layers of a recipe stay in float."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise

from qlab import machine
from qlab.calibration.collect import RangesOf
from qlab.files import ModelPath, writing
from qlab.graph.model import Model, write
from qlab.graph.timing import time_models
from qlab.machine.card import Card
from qlab.recipes.found import Search, Sensitivity, Step, few_of
from qlab.recipes.job import check_output, check_source, publish, sharing, workshop
from qlab.recipes.mixing import Mixer
from qlab.recipes.remembered import Remembered, finite
from qlab.recipes.table import RECIPES
from qlab.recipes.trials import FINAL_ROUNDS, FINAL_S, Trials
from qlab.runtime import Reader, as_feeds, only_bar, open_session
from qlab.text import figures, ratio

DIFFUSE = 0.5  # of the loss: if the few worst layers in float win back less, no few are to blame
LARGE, GROUP, FEWER = 100, 8, 4  # layers: of a model that is looked at in groups; in one; and for each run then
ADDS_UP = 0.5  # the metric tells layers apart if their losses add up to that of all, within this factor
CLOSE = 8  # a beginning that is longer than need be by less than this part of it is taken back one by one
MOST_TAKEN_BACK = 8  # floats that are tried on integers again
MOST_JOINED, GAP = 4, 2  # intervals between floats that are tried in float as well; layers in one
FINALISTS = 4
FP32, WHOLE = "fp32", "all quantized"


def search(
    model: ModelPath | Model,
    output: ModelPath,
    reader: Reader,
    metric: Callable,
    *,
    at_most: float,
    recipe: str = "static",
    ranges: RangesOf | None = None,
    card: str | Card | None = None,
    keep: ModelPath | None = None,
    timer: Callable = time_models,
) -> Search:
    """Quantize `model` with a recipe, and put back to float as few milliseconds as your metric asks for.

    >>> found = recipes.search("model.onnx", "out.onnx", feeds, accuracy, at_most=0.005)  # doctest: +SKIP

    model, output  a path or graph.Model, and a path; `model` is never touched, `output` appears whole or not at all
    reader         representative feeds: ranges are collected on all of them, answers compared on the first 4, times on
                   as many of these as fit into a second
    metric         metric(session) gives a number, larger is better; the same each time for the same session
    at_most        how much less of it than fp32 has is good enough, in the metric's own unit
    recipe         the name of one of RECIPES;   card, the machine to optimize for; None: this one
    ranges         instead of collecting them: what calibration.collect gave
    keep           a folder for finished trials: interrupted, the same call goes on where it was. They are those of this
                   model, recipe, feeds and versions, and of a metric of this name: another metric, another folder
    timer          times the open models: timer(sessions, feeds, rounds) gives {name: seconds [rounds]}

    1. All quantized: if that holds, it is the answer.
    2. Each layer alone on integers, all others in float: one run of the metric a layer, and fewer in a model of more
       than 100, which is looked at in groups. A layer is a product with what works on its codes. Where the losses of
       single layers do not add up to that of all (a coarse metric, or one in dB), the error's energy in the worst part
       of the outputs tells them apart.
    3. The worst ones stay in float: nearly as few as hold the bound, by doubling and halving, from one on, or from a
       tenth of all where even these win back less than half of the loss. If that is more than one, the same with those
       that win most for each millisecond of fp32, from as many on.
    4. Each of them on integers again, where the bound holds without it.
    5. What lies between two floats joins them, where that is faster: a boundary less.
    6. The fastest of what holds, timed in one run beside fp32, is published. Where fp32 is faster, it is fp32.
    Returns a `Search`. Raises ValueError for a metric that gives no number, not the same number for the same model
    within `at_most`, or the same one for fp32 and a model with its weights in disorder; and what the recipe raises.
    """
    row = _row(recipe)
    if not callable(metric):
        raise ValueError(f"metric is a {type(metric).__name__}; expected a function of a session that gives a number")
    if not finite(at_most) or at_most < 0:
        raise ValueError(f"at_most is {at_most!r}; expected a finite number, 0 or more: the loss that is good enough")
    model = check_source(model)
    output = check_output(output, model)
    card, feeds = machine.card(card), as_feeds(reader)
    options = {"card": card}
    if row.needs_reader and ranges is not None:
        options["ranges"] = ranges
    elif ranges is not None:
        raise ValueError(f"ranges are given, but the recipe {recipe!r} takes none: leave them out")
    with workshop(output) as folder, sharing(folder):
        mixer = Mixer(row, model, output, None if ranges is not None else feeds, **options)
        if not mixer.layers:
            raise ValueError(f"the recipe {recipe!r} quantizes no layer of {model.path}: nothing to choose from")
        data = [model.path.parent / name for name in sorted(model.external)]
        numbers = None if ranges is None else {name: [*map(float, pair)] for name, pair in ranges.items()}
        called = getattr(metric, "__qualname__", type(metric).__qualname__)
        parts = [model.path, data, recipe, repr(card), feeds, numbers, called]
        trials = Trials(mixer, model, metric, feeds, Remembered(keep, [*map(_plain, parts)]), timer)
        return _Hunt(trials, float(at_most)).run(row, model, output)


def _plain(part):
    return [dict(one) for one in part] if isinstance(part, list) and part and hasattr(part[0], "keys") else part


def _row(recipe):
    if not isinstance(recipe, str) or recipe not in RECIPES:
        raise ValueError(f"recipe is {recipe!r}; expected one of {', '.join(map(repr, RECIPES))}")
    return RECIPES[recipe]


@dataclass
class _Hunt:
    """One search: what it measured so far. Layers are told by their places in graph order."""

    trials: Trials
    at_most: float
    fp32: float = 0.0
    steps: list = field(default_factory=list)
    sensitivity: dict = field(default_factory=dict)  # {place: Sensitivity}
    by: str = ""
    share: float = 0.0
    notes: list = field(default_factory=list)
    shown: object = None  # the bar of the mixes, while there is one

    @property
    def layers(self):
        return self.trials.mixer.layers

    @property
    def _is_diffuse(self):
        return bool(self.sensitivity) and self.share < DIFFUSE

    def run(self, row, model, output):
        """The Search: measured, chosen, and published at `output`."""
        self._start()
        whole = self._step(WHOLE, frozenset())
        if not whole.holds:
            everything = frozenset(range(len(self.layers)))
            if self.trials.mixed(everything, "all in float") < self.fp32 - self.at_most:
                self.notes.append(
                    "not even with all layers in float does the bound hold: the metric minds what fusing and folding "
                    "round, so it is fp32 as it was"
                )
            else:
                self._first_order()
                with only_bar("mixes tried", unit="mix") as self.shown:
                    self._walk()
        best = self._fastest()
        quantized = self._publish(best, model, output)
        return Search(
            path=output,
            recipe=row.name,
            quantized=quantized,
            at_most=self.at_most,
            fp32=self.fp32,
            best=best,
            floats=self._floats(best, quantized),
            steps=tuple(self.steps),
            sensitivity=tuple(sorted(self.sensitivity.values(), key=lambda one: -one.share)),
            layers=len(self.layers),
            by=self.by,
            share=self.share,
            diffuse=self._is_diffuse,
            calls=dict(self.trials.calls),
            notes=tuple(self.notes),
        )

    def _start(self):
        """fp32 twice, all quantized: refuse a metric that is no measure."""
        self.fp32, again = self.trials.fp32()
        if abs(self.fp32 - again) > self.at_most:
            raise ValueError(
                f"metric gives {self.fp32!r}, then {again!r} for the same fp32 session: more apart than at_most "
                f"({self.at_most}). Fix its seeds, or average over more, or allow more"
            )
        whole = self.trials.mixed((), WHOLE)
        if whole == self.fp32 and (wrong := self.trials.damaged()) == self.fp32:
            raise ValueError(
                f"metric does not respond: {self.fp32!r} for fp32, {whole!r} for all quantized, and {wrong!r} for a "
                "model with its weights in reverse order. Does it run the session that it is given?"
            )

    def _step(self, what, floats):
        """Measure the model with the layers `floats` in float, time it beside fp32, and keep it."""
        floats = frozenset(floats)
        names = tuple(self.layers[place].name for place in sorted(floats))
        if known := next((step for step in self.steps if step.floats == names), None):
            return known
        value = self.trials.mixed(floats, what)
        timed = self.trials.timed({"mixed": self.trials.session(floats)})
        loss = self.fp32 - value
        step = Step(what, names, value, loss, loss <= self.at_most, timed["mixed"])
        self.steps.append(step)
        if self.shown is not None:
            self.shown.update()
        return step

    def _places(self, step):
        return [place for place, layer in enumerate(self.layers) if layer.name in step.floats]

    def _first_order(self):
        """What each layer loses alone on integers, and by which of the two measures they are told apart."""
        alone = self._parts()
        lost = {part: max(0.0, self.fp32 - trial.value) for part, trial in alone.items()}
        whole = self.fp32 - self.trials.mixed((), WHOLE)
        if ADDS_UP <= sum(lost.values()) / whole <= 1 / ADDS_UP:
            self.by, charged = "the metric", lost
        else:
            self.by, charged = "the worst part's SQNR", {part: trial.noise for part, trial in alone.items()}
        total = sum(charged.values())
        for part, trial in alone.items():
            share, count = _share(charged[part], total) / len(part), len(part)
            loss, db = (self.fp32 - trial.value) / count, trial.db + 10 * math.log10(count)
            for place in part:
                layer = self.layers[place]
                self.sensitivity[place] = Sensitivity(layer.name, layer.op_type, loss, db, share, count)
        few = self.trials.mixed(self._worst_first()[: few_of(len(self.layers))], "the few worst")
        self.share = 1 - (self.fp32 - few) / whole

    def _parts(self):
        """{places of layers that follow each other: their Trial, alone on integers}.

        Each layer is a part, up to LARGE of them. In a larger model GROUP of them are, and of these the worst are
        halved, as long as there are runs left: what is not to blame is not looked at one by one.
        """
        count = len(self.layers)
        everything, size = frozenset(range(count)), 1 if count <= LARGE else GROUP
        parts = [tuple(range(at, min(at + size, count))) for at in range(0, count, size)]
        left = max(0, count // FEWER - len(parts)) if size > 1 else 0
        found = {}
        with only_bar("layers", total=len(parts) + left, unit="run") as shown:
            while parts:
                for part in parts:
                    found[part] = self.trials.looked_into(everything - set(part), "one layer")
                    shown.update()
                worst = max(found, key=lambda part: (len(part) > 1, found[part].noise, -found[part].value))
                parts = []
                if len(worst) > 1 and left > 1:
                    del found[worst]
                    parts, left = [worst[: len(worst) // 2], worst[len(worst) // 2 :]], left - 2
        return found

    def _worst_first(self, costs=None):
        """The places of the layers, by what they lose; with `costs`, {place: milliseconds}, by what a one wins."""
        return sorted(
            self.sensitivity,
            key=lambda place: (
                -self.sensitivity[place].share / (costs[place] if costs else 1),
                self.sensitivity[place].sqnr_db,
                place,
            ),
        )

    def _walk(self):
        """As few as hold the bound, of the worst layers, and of those that win most a millisecond; the rest of it.

        Where the loss is diffuse one layer is not tried, but a tenth. Of layers that each win less, it takes more than
        half as many.
        """
        floats = self._fewest(self._worst_first(), "worst", 0, few_of(len(self.layers)) if self._is_diffuse else 1)
        if (count := len(floats)) > 1:
            self._fewest(self._worst_first(self.trials.costs()), "best a millisecond", count // 2, count)
        self._joined(self._taken_back(set(floats)))

    def _fewest(self, order, what, low, high):
        """The shortest beginning of `order` that holds the bound, as a list: by doubling `high`, then halving.

        low, high  how many layers are too few, and how many are tried first
        """
        count = len(self.layers)
        while not self._step(f"{high} {what}", order[:high]).holds and high < count:
            low, high = high, min(2 * high, count)
        while high - low > max(1, high // CLOSE):
            middle = (low + high) // 2
            if self._step(f"{middle} {what}", order[:middle]).holds:
                high = middle
            else:
                low = middle
        return order[:high]

    def _taken_back(self, floats):
        """`floats` without those that the bound does not need, the largest tried first."""
        candidates = sorted(floats, key=lambda place: -self.layers[place].weights)[:MOST_TAKEN_BACK]
        for place in candidates if len(floats) > 1 else ():
            fewer = floats - {place}
            if self.fp32 - self.trials.mixed(fewer, "taken back") <= self.at_most:
                floats = fewer
            self.shown.update()
        self._step("needed ones", floats)
        return floats

    def _joined(self, floats):
        """Put in float what lies between two floats, or beside one, as long as that makes it faster."""
        best = self._step("needed ones", floats)
        for between in self._intervals(floats)[:MOST_JOINED]:
            wider = frozenset(floats | between)
            joined = self._step("joined", wider)
            if joined.holds and joined.timing.speedup > best.timing.speedup:
                best, floats = joined, set(wider)

    def _intervals(self, floats):
        """Sets of at most GAP layers between two floats that follow each other, the smallest first."""
        ordered = sorted(floats)
        found = [set(range(one + 1, other)) for one, other in pairwise(ordered)]
        return sorted((one for one in found if 0 < len(one) <= GAP), key=lambda one: (len(one), min(one)))

    def _fastest(self):
        """The Step to publish: the fastest that holds, all timed in one run beside fp32; or fp32 itself."""
        holding = sorted((step for step in self.steps if step.holds), key=lambda step: -step.timing.speedup)
        if holding:
            holding = [step for step in holding if step.timing.high >= holding[0].timing.low][:FINALISTS]
            mixes = {step.floats: self.trials.mixer.mixed(self._places(step)) for step in holding}
            timed = self.trials.timed(mixes, FINAL_ROUNDS, FINAL_S)
            holding = [replace(step, timing=timed[step.floats]) for step in holding]
            renewed = {step.floats: step for step in holding}
            self.steps = [renewed.get(step.floats, step) for step in self.steps]
            best = max(holding, key=lambda step: step.timing.speedup)
            if best.timing.verdict != "slower":
                if best.timing.verdict != "faster":
                    self.notes.append(
                        f"whether it is faster than fp32 cannot be told here ({ratio(best.timing.speedup)}x, "
                        f"{ratio(best.timing.low)} to {ratio(best.timing.high)})"
                    )
                return best
            self.notes.append(
                f"what holds is slower than fp32 ({ratio(best.timing.speedup)}x at best): the output is fp32 as it was"
            )
        names = tuple(layer.name for layer in self.layers)
        timed = self.trials.timed({"again": self.trials.reference})
        step = Step(FP32, names, self.fp32, 0.0, True, timed["again"])
        self.steps.append(step)
        return step

    def _floats(self, best, quantized):
        """The names of the layers that the file computes in float; a note on those that were to be, and are not."""
        if quantized is None:
            return best.floats
        floats = {fate.name for fate in quantized.products if fate.how == "float"}
        if coded := [name for name in best.floats if name not in floats]:
            self.notes.append(f"meant for float, but between codes and so on integers: {', '.join(coded)}")
        return tuple(layer.name for layer in self.layers if layer.name in floats)

    def _publish(self, best, model, output):
        """Write `best` to the output: a Quantized of the recipe, or None for the model as it was."""
        if best.what == FP32:
            with workshop(output) as folder, writing(output):
                publish(write(model.copy(weights=True), folder, output.name), output)
            return None
        quantized = self.trials.mixer.publish(self._places(best))
        value = self.trials.value(open_session(quantized.path), "the output")
        if value != best.value:
            self.notes.append(f"the metric gives {figures(value)} for the file, {figures(best.value)} for the trial")
        return quantized


def _share(one, total):
    if one == float("inf"):
        return 1.0
    return one / total if 0 < total < float("inf") else 0.0
