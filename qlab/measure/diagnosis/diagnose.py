"""Who pays for a node's time: no two findings count the same milliseconds.

Why is this int8 model slow, or wrong? Every cause is looked for, and each finding has its evidence and its price."""

from dataclasses import replace

from qlab.files import ModelPath
from qlab.machine.card import Card
from qlab.measure.diagnosis.accuracy import calibration_ranges, layer_losses, output_losses
from qlab.measure.diagnosis.boundary import boundary_overhead, float_between
from qlab.measure.diagnosis.examination import Examination, examine
from qlab.measure.diagnosis.finding import STILL_SLOWER, Finding, Findings
from qlab.measure.diagnosis.float_products import float_products
from qlab.measure.diagnosis.saturation import quantized_at_load, ranges_that_move, saturated_layers, saturation
from qlab.measure.diagnosis.slow_products import conv_integer, slow_sign_pairs, too_small, unfolded_norms, weight_only
from qlab.runtime import Feeds
from qlab.text import ms


class Bill:
    """The times of the quantized model's nodes, of which findings take their parts, root causes first."""

    def __init__(self, nodes):
        self._left = {id(node): node.ms for node in nodes}
        self._explained = set()
        self._used = False

    def charge(self, node, milliseconds=None):
        """Take so many milliseconds of the node's time, or what is left of it, and return them."""
        left = self._left[id(node)]
        taken = left if milliseconds is None else min(max(milliseconds, 0.0), left)
        self._left[id(node)] = left - taken
        self._used |= taken > 0
        return taken

    @property
    def is_used(self):
        """Whether any finding has taken its part yet."""
        return self._used

    def left(self, nodes):
        """Milliseconds of these nodes that nobody has paid for yet."""
        return sum(self._left[id(node)] for node in nodes)

    def explain(self, nodes):
        """Note that a finding says why these products are slow, so that no other gives another reason."""
        self._explained |= {id(node) for node in nodes}

    def is_explained(self, node):
        """Whether a finding says already why this product is slow."""
        return id(node) in self._explained


CODES = {
    "too-small": "the products take too little of the time for integers to gain",
    "slow-sign-pair": "products whose pair of signs is slow on the card",
    "conv-integer": "convolutions that dynamic quantization made ConvInteger",
    "weight-only": "weights that are stored as codes and multiplied as floats",
    "unfolded-norm": "batch normalizations that were quantized before they were folded into their convolutions",
    "norm-not-behind-conv": "batch normalizations that no convolution before them can take",
    "float-second-consumer": "products in float because int8 codes beside them have a second consumer",
    "float-result-read": "products in float because their result is read as a float",
    "float-no-kernel": "products of a kind that has no integer kernel",
    "float-not-fused": "products between Q and DQ that were not fused",
    "float-both-move": "products without a constant factor",
    "float-in-body": "products inside an If, Loop or Scan, which the quantizer did not enter",
    "float-left-out": "products that the quantizer left in float",
    "float-between": "float operators without an integer kernel among integer ones",
    "boundary-overhead": "much time between floats and codes",
    "saturation-risk": "8-bit weights where u8 x s8 saturates",
    "saturation-here": "8-bit weights that saturate on this CPU, but not on the machine of the card",
    "quantized-at-load": "float weights that onnxruntime rounds itself when it opens the model",
    "range-clips": "calibrated ranges too narrow for the activations",
    "range-wastes": "calibrated ranges far wider than the activations",
    "range-moves-with-batch": "dynamic ranges that the other rows of a batch widen",
    "unlike-parts": "numbers of very different size under one scale, which leaves the small ones hardly a code",
    "random-numbers": "nodes that draw other numbers in each run, so that accuracy cannot be judged",
    "layer-loss": "layers that lose much more than the rest",
    "output-loss": "errors that add up until an output is of no use",
}


DOMINANT = 0.1  # of a run: what makes a model slow that is too small to gain


def diagnose(fp32: ModelPath, quantized: ModelPath, feed: Feeds, *, card: str | Card | None = None) -> Findings:
    """Name what makes the model file `quantized` slow or inexact, compared to `fp32` that it was made from.

    >>> measure.diagnose("model.onnx", "model.int8.onnx", {"x": x})  # doctest: +SKIP
    conv-integer, about 10.2 ms a run
      38 ConvInteger take 19.1 ms a run as u8 x u8 products, 115 nodes around them 4.6 ms more; ...
      why: ConvInteger fuses with nothing ...
      mend: recipes.hybrid('model.onnx', 'model.hybrid.onnx', reader): convolutions static, as QLinearConv; ...

    feed   {input name: array}, or several: representative ones, since times, ranges and losses are measured on them
    card   the machine card whose ratios say what is slow; None: this machine's own. With another machine's card, costs
           that rest on its ratios are None: the profile's times are this machine's

    Returns Findings, a list of Finding, the costliest first; an empty one for a healthy model. `measure.CODES` lists
    what is looked for. A finding of time is worth some percent of a run at the least, and no two count the same time.
    Raises ValueError where the models or the feed do not fit together, FileNotFoundError for a path that is not there.
    """
    return findings_of(examine(fp32, quantized, feed, card=card))


def findings_of(examination: Examination) -> Findings:
    """The Findings of an Examination."""
    saturating = list(saturation(examination))
    found = [*_of_time(examination), *saturating, *quantized_at_load(examination)]
    if draws := examination.layers.draws:
        return Findings([_random_numbers(draws), *sorted(map(_in_the_files_names(examination), found), key=_weight)])
    ranges = list(calibration_ranges(examination))
    saturated = saturated_layers(examination, saturating)
    losses = [*ranges, *layer_losses(examination, ranges, saturated)]
    harm = [one for one in saturating if examination.saturates_here and not one.is_harmless]
    found += [*losses, *output_losses(examination, [*losses, *harm]), *ranges_that_move(examination)]
    return Findings(sorted(map(_in_the_files_names(examination), found), key=_weight))


def _random_numbers(draws):
    return Finding(
        code="random-numbers",
        evidence=draws,
        why="two runs of the fp32 model differ: what quantization loses cannot be told from that, nor is looked for",
        cost_ms=None,
        remedy="give each such node a `seed` attribute, or feed a scale of 0 if the model has one, and diagnose that",
    )


def _weight(finding):
    """The costliest first; of what costs accuracy, a risk last."""
    return -(finding.cost_ms or 0.0), finding.code == "saturation-risk"


def _of_time(examination):
    """Findings of what costs time, the roots first."""
    bill = Bill(examination.quantized.nodes)
    found, whole = list(too_small(examination)), examination.quantized.total_ms
    is_too_small = bool(found)
    if is_too_small and not examination.is_slower:  # as fast as fp32, and nothing could make it much faster
        return found
    for cause in (
        slow_sign_pairs,
        conv_integer,
        weight_only,
        unfolded_norms,
        float_products,
        boundary_overhead,
        float_between,
    ):
        found += [
            one for one in cause(examination, bill) if not is_too_small or (one.cost_ms or 0.0) > DOMINANT * whole
        ]
    return _beside_fp32(found, examination)


def _beside_fp32(found, examination):
    """The Findings of time; where mending all of them leaves more than fp32 takes, their recipes say so."""
    fp32, quantized = examination.fp32, examination.quantized
    cost = sum(one.cost_ms or 0.0 for one in found)
    left, of_kernels = quantized.total_ms - cost, quantized.kernel_ms - cost
    # What lies between the kernels is a busy machine's doing more often than the model's.
    if not examination.is_own_card or left <= fp32.total_ms or of_kernels <= fp32.kernel_ms:
        return found
    note = f"{STILL_SLOWER}{ms(left)} a run would be left, and fp32 takes {ms(fp32.total_ms)}: stay with it"
    return [replace(one, remedy=one.remedy + note) if one.recipe else one for one in found]


def _in_the_files_names(examination):
    """A function from a Finding to the same with nodes that a reader finds in their files."""
    ran = {time.name: time.node for time in examination.quantized.nodes}

    def renamed(finding):
        names = (examination.names.in_files(ran[name]) if name in ran else name for name in finding.nodes)
        return replace(finding, nodes=tuple(dict.fromkeys(names)))

    return renamed
