"""Why is this int8 model slow, or wrong? Every cause is looked for, and each finding has its evidence and its price."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from qlab.files import ModelPath
from qlab.graph import Model
from qlab.machine.card import Card
from qlab.measure.diagnosis import accuracy, boundary, float_products, saturation, slow_products
from qlab.measure.diagnosis.examination import Examination, examine
from qlab.measure.diagnosis.finding import FIRST, LAST, STILL_SLOWER, TIME, Findings, Kind
from qlab.measure.profile import profile_models
from qlab.runtime import Feeds
from qlab.text import ms


class Causes(dict):
    """{code of the first of its Kinds: Cause}, in order of charging: a root cause before what follows from it."""

    def __init__(self, *causes):
        super().__init__({one.kinds[0].code: one for one in causes})

    @property
    def kinds(self):
        """{code: Kind} of them all."""
        return {kind.code: kind for cause in self.values() for kind in cause.kinds}

    def kind(self, code):
        """The Kind of a code; of a code that no cause has, one that says only that it costs time."""
        return self.kinds.get(code) or Kind(code, "see measure.CODES")


CAUSES = Causes(
    slow_products.TOO_SMALL,
    slow_products.SLOW_PAIRS,
    slow_products.CONV_INTEGERS,
    slow_products.WEIGHTS_ONLY,
    slow_products.NORMS,
    float_products.FLOAT_PRODUCTS,
    boundary.BOUNDARY,
    boundary.FLOAT_BETWEEN,
    saturation.SATURATION,
    saturation.WEIGHTS_AT_LOAD,
    accuracy.RANDOM_NUMBERS,
    accuracy.RANGES,
    accuracy.LAYERS,
    accuracy.OUTPUTS,
    saturation.MOVING_RANGES,
)


class Codes(Mapping):
    """{code of a Finding: what it means}, for all that is looked for."""

    def __getitem__(self, code):
        return CAUSES.kinds[code].means

    def __iter__(self):
        return iter(CAUSES.kinds)

    def __len__(self):
        return len(CAUSES.kinds)

    def __repr__(self):
        return repr(dict(self))


CODES = Codes()


class Bill:
    """The times of the quantized model's nodes, of which findings take their parts, root causes first.

    found     the Findings so far;   is_used, whether any of them has taken its part yet
    explained  the nodes of which a Finding says already why they are slow, so that no other gives another reason
    least_ms  what a finding of time must cost to be told, where an earlier one leaves others little to say
    """

    def __init__(self, nodes):
        self.found, self.least_ms = Findings(), -math.inf
        self.is_used = False
        self._left = {node: node.ms for node in nodes}
        self.explained = set()

    def charge(self, node, milliseconds=None):
        """Take so many milliseconds of the node's time, or what is left of it, and return them."""
        left = self._left[node]
        taken = left if milliseconds is None else min(max(milliseconds, 0.0), left)
        self._left[node] = left - taken
        self.is_used |= taken > 0
        return taken

    def left(self, nodes):
        """Milliseconds of these nodes that nobody has paid for yet."""
        return sum(self._left[node] for node in nodes)


def diagnose(
    fp32: ModelPath | Model,
    quantized: ModelPath | Model,
    feed: Feeds,
    *,
    card: str | Card | None = None,
    profiler: Callable = profile_models,
) -> Findings:
    """Name what makes the model file `quantized` slow or inexact, compared to `fp32` that it was made from.

    >>> measure.diagnose("model.onnx", "model.int8.onnx", {"x": x})  # doctest: +SKIP
    conv-integer, about 10.2 ms a run
      38 ConvInteger take 19.1 ms a run as u8 x u8 products, 115 nodes around them 4.6 ms more; ...
      why: ConvInteger fuses with nothing ...
      mend: recipes.hybrid('model.onnx', 'model.hybrid.onnx', reader): convolutions static, as QLinearConv; ...

    feed   {input name: array}, or several: representative ones, since times, ranges and losses are measured on them
    card   the machine card whose ratios say what is slow; None: this machine's own. With another machine's card, costs
           that rest on its ratios are None: the profile's times are this machine's
    profiler  as in `examine`

    Returns Findings, a list of Finding, the costliest first; an empty one for a healthy model. `measure.CODES` lists
    what is looked for. A finding of time is worth some percent of a run at the least, and no two count the same time.
    Raises ValueError where the models or the feed do not fit together, FileNotFoundError for a path that is not there.
    """
    return findings_of(examine(fp32, quantized, feed, card=card, profiler=profiler))


def findings_of(examination: Examination) -> Findings:
    """The Findings of an Examination."""
    bill, kinds = Bill(examination.quantized.nodes), CAUSES.kinds
    for cause in CAUSES.values():
        for one in cause.look(examination, bill) if cause.when(examination) else ():
            if kinds[one.code].costs != TIME or (one.cost_ms or 0.0) > bill.least_ms:
                bill.found.append(one)
    found = _beside_fp32(bill.found, kinds, examination)
    return Findings(sorted(found, key=lambda one: _weight(one, kinds[one.code])))


def _weight(finding, kind):
    """The costliest first; of what costs accuracy, a risk last; but before all what makes the rest untold."""
    return kind.told != FIRST, -(finding.cost_ms or 0.0), kind.told == LAST


def _beside_fp32(found, kinds, examination):
    """The Findings; where mending all that costs time leaves more than fp32 takes, the recipes for it say so."""
    fp32, quantized = examination.fp32, examination.quantized
    left, of_kernels = quantized.total_ms - found.cost_ms, quantized.kernel_ms - found.cost_ms
    # What lies between the kernels is a busy machine's doing more often than the model's.
    if not examination.is_own_card or left <= fp32.total_ms or of_kernels <= fp32.kernel_ms:
        return found
    note = f"{STILL_SLOWER}{ms(left)} a run would be left, and fp32 takes {ms(fp32.total_ms)}: stay with it"
    is_of_time = (bool(one.recipe) and kinds[one.code].costs == TIME for one in found)
    return [replace(one, remedy=one.remedy + note * is_it) for one, is_it in zip(found, is_of_time, strict=True)]
