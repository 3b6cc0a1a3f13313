"""A search's measurements: the metric and the worst part's SQNR of a mixed model, and its time beside fp32."""

import json
import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from onnx import numpy_helper

from qlab import graph
from qlab.files import scratch
from qlab.graph.timing import judge, rounds_here, speedup_interval
from qlab.numerics.pooled import PooledError, is_float
from qlab.recipes.remembered import finite
from qlab.runtime import MINIMUM_ROUNDS, answers, open_session

FEW_FEEDS = 4  # that answers are compared on, and models timed, unless they are slow
KERNEL = "_kernel_time"  # how onnxruntime's profile calls the time that a node's kernel took
ROUNDS, STEP_S = 10, 1.0  # of a step: so many at most, and as fit into so many seconds
FINAL_ROUNDS, FINAL_S = 30, 8.0  # the same where the last few are told apart


@dataclass(frozen=True)
class Trial:
    """One model that was tried.

    value  what the metric says;   db, SQNR of the worst part of its float outputs, against fp32
    """

    value: float
    db: float

    @property
    def noise(self):
        """Energy of the error over that of the signal, in that part."""
        return 10 ** (-self.db / 10) if math.isfinite(self.db) else math.inf if self.db < 0 else 0.0


@dataclass(frozen=True)
class Timing:
    """How fast a model is beside fp32, in one run: medians, the paired 95 % interval, and the verdict on it."""

    ms: float
    speedup: float
    low: float
    high: float
    verdict: str


class Trials:
    """Measures what a `Mixer` mixes, each mix once. `calls` counts what the metric was asked, as {what for: times}."""

    def __init__(self, mixer, model, metric, feeds, remembered, timer):
        self.mixer, self._metric, self._remembered, self._timer = mixer, metric, remembered, timer
        self.calls = Counter()
        self.model, self._feeds = model, feeds[:FEW_FEEDS]
        self._answers, self._last = None, (None, None)

    @cached_property
    def reference(self):
        """A session of the model as it is."""
        return open_session(self.model)

    def fp32(self):
        """Two values of the metric on fp32: the same, unless it draws random numbers or looks at the clock."""
        return self._remembered("fp32", lambda: [self.value(self.reference, "fp32") for _ in range(2)])

    def damaged(self):
        """The metric of a model whose weights are in the wrong order; NaN where it gives no number then."""

        def measure():
            self.calls["damaged"] += 1
            value = self._metric(open_session(damaged(self.model)))
            return [value if finite(value) else math.nan]

        return self._remembered("damaged", measure)[0]

    def mixed(self, floats, what):
        """What the metric says of the model with the layers at the places `floats` in float."""
        names = sorted(self.mixer.names(floats))
        return self._remembered(names, lambda: [self.value(self.session(floats), what)])[0]

    def looked_into(self, floats, what):
        """The Trial of that model: its outputs compared with fp32's as well."""
        value, names = self.mixed(floats, what), sorted(self.mixer.names(floats))
        return Trial(value, self._remembered(["worst part", names], lambda: [self._worst(self.session(floats))])[0])

    def value(self, session, what):
        """What the metric says of a session. Raises ValueError if that is no number."""
        self.calls[what] += 1
        value = self._metric(session)
        if not finite(value):
            raise ValueError(
                f"metric gives {value!r} for {what}; expected a finite number, larger is better: return a float"
            )
        return float(value)

    def session(self, floats):
        """A session of that model; the one that was opened last is kept."""
        names = self.mixer.names(floats)
        if self._last[0] != names:
            self._last = None, None  # two large ones at a time are one too many
            self._last = names, self.mixer.mixed(floats)
        return self._last[1]

    def _worst(self, session):
        """dB of the worst part of the float outputs over the feeds; infinite where the model has none."""
        if self._answers is None:
            self._answers = [answers(self.reference, feed) for feed in self._feeds]
        errors = {}
        for feed, expected in zip(self._feeds, self._answers, strict=True):
            for name, found in answers(session, feed).items():
                reference = expected[name]
                if not isinstance(reference, np.ndarray) or not is_float(reference):
                    continue
                if reference.shape != found.shape:
                    return -math.inf
                errors.setdefault(name, PooledError()).add(reference, found, masks=True)
        levels = [-math.inf if math.isnan(error.db) else error.db for error in errors.values()]
        parts = [part.sqnr_db for name, error in errors.items() if (part := error.worst_part(name))]
        return min([*levels, *parts], default=math.inf)

    def costs(self):
        """{place: milliseconds} of every layer in float, from onnxruntime's profile of one run; a guess is the median.

        Names tell which kernel is whose, also where others were fused into it.
        """
        with scratch() as folder:

            def profiled(options):
                options.enable_profiling, options.profile_file_prefix = True, str(folder / "profile")

            session = open_session(self.mixer.prepared, adjust=profiled)
            for feed in self._feeds[:1] * 2:  # the first run is a warm-up
                answers(session, feed)
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        taken = {one["name"].removesuffix(KERNEL): one["dur"] / 1e3 for one in events if one["name"].endswith(KERNEL)}
        known = {
            place: max(taken[layer.name], 1e-3) for place, layer in enumerate(self.mixer.layers) if layer.name in taken
        }
        usual = float(np.median([*known.values()])) if known else 1.0
        return {place: known.get(place, usual) for place in range(len(self.mixer.layers))}

    @cached_property
    def _pace(self):
        """[seconds of fp32 for each feed that models are timed on]: of slow models, as many as fit into a step."""
        found = []
        for feed in self._feeds:
            found.append(float(self._timer({"fp32": self.reference}, [feed], 1)["fp32"][0]))
            if 2 * MINIMUM_ROUNDS * sum(found) > STEP_S:
                return found[: max(1, len(found) - 1)]
        return found

    def timed(self, mixes, most_rounds=ROUNDS, budget_s=STEP_S):
        """{key: Timing} of the sessions `mixes`, all timed beside fp32 in one run.

        As many rounds as fit into `budget_s` seconds if each model is as slow as fp32, but enough for an interval.
        """
        sessions = {"fp32": self.reference} | {f"mix {at}": one for at, one in enumerate(mixes.values())}
        fitting = int(budget_s / max(len(sessions) * sum(self._pace), budget_s / most_rounds))
        rounds = rounds_here(max(MINIMUM_ROUNDS, fitting))
        seconds = self._timer(sessions, self._feeds[: len(self._pace)], rounds)
        reference = seconds["fp32"]
        found = {}
        for at, key in enumerate(mixes):
            taken = seconds[f"mix {at}"]
            speedup, low, high = speedup_interval(reference, taken)
            verdict = judge(low, high, rounds=len(reference))
            found[key] = Timing(1e3 * float(np.median(taken)), speedup, low, high, verdict)
        return found


def damaged(model):
    """The Model, serialized, with the numbers of each of its larger weights in reverse order."""
    wrong = model.copy(weights=True)
    for tensor in graph.tensors(wrong):
        array = numpy_helper.to_array(tensor)
        if array.dtype.kind == "f" and array.size > 1:
            reversed_ = np.ascontiguousarray(array.ravel()[::-1].reshape(array.shape))
            tensor.CopyFrom(numpy_helper.from_array(reversed_, tensor.name))
    return wrong.SerializeToString()
