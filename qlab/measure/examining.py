"""Everything that a diagnosis looks at, measured once: an Examination."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx

from qlab import graph, machine
from qlab.graph.feeds import as_feeds
from qlab.machine import Card
from qlab.measure.layer_rows import LayerErrors
from qlab.measure.layers import layer_errors
from qlab.measure.naming import Names
from qlab.measure.opening import open_model
from qlab.measure.profiles import Profile
from qlab.measure.profiling import ROUNDS, profile_models
from qlab.measure.randomness import random_draws
from qlab.measure.remedies import inner
from qlab.measure.yardstick import Yardstick
from qlab.recipes.choosing import Choice, choose
from qlab.types import Feeds, ModelPath

DEAREST_START_MS = 0.005  # a larger tensor's time is work
LAYER_FEEDS = 2  # on which the errors of layers are measured: three runs each, every tensor looked at
NOTABLY = 1.1  # two profiles of one model differ by some percent


@dataclass(frozen=True)
class Examination:
    """What was measured of an fp32 model and its quantized version; the causes read it.

    fp32, quantized  Profiles, taken in turns
    file             the quantized model as the file has it, a ModelProto with its external weights left outside
    layers           LayerErrors
    card             whose ratios say what is slow; choice, what the recipes would choose on it
    is_own_card      whether the card is this machine's, so that its ratios and the profile's times go together
    saturates_here   whether u8 x s8 saturates on the CPU that measured this, whatever the card says of another
    """

    fp32: Profile
    quantized: Profile
    file: onnx.ModelProto
    feeds: list = field(repr=False)
    layers: LayerErrors
    card: Card
    choice: Choice
    is_own_card: bool
    saturates_here: bool = False
    _known: dict = field(default_factory=dict, repr=False)

    def once(self, find):
        """What `find(self)` gives, found once: for what rests on files and feeds, so that no new profile changes it."""
        if find not in self._known:
            self._known[find] = find(self)
        return self._known[find]

    @property
    def path(self):
        """The quantized model's file."""
        return self.quantized.path

    @cached_property
    def yardstick(self):
        """What each product would take in fp32, and on healthy integers."""
        return Yardstick(self.fp32, self.card.speed[self.choice.pair])

    @cached_property
    def names(self):
        """What the nodes that ran are called in the files."""
        return Names(graph.load(self.fp32.path), self.file)

    @cached_property
    def producers(self):
        """{tensor: NodeTime that computes it} in the graph that ran."""
        return {name: time for time in self.quantized.nodes for name in time.node.output if name}

    @cached_property
    def consumers(self):
        """{tensor: [NodeTimes that read it]} in the graph that ran."""
        found = {}
        for time in self.quantized.nodes:
            for name in dict.fromkeys(time.node.input):
                found.setdefault(name, []).append(time)
        return found

    @cached_property
    def initializers(self):
        """{name: TensorProto} of the constants of the graph that ran, bodies included; large ones without values."""
        return {tensor.name: tensor for one in graph.graphs(self.quantized.model) for tensor in one.initializer}

    def is_weight(self, name):
        """Whether `name` is a constant in the graph that ran, or one turned into floats by a DequantizeLinear."""
        source = self.producers.get(name)
        return name in self.initializers or (source is not None and self.has_constant_codes(source))

    def has_constant_codes(self, node):
        """Whether `node` is a DequantizeLinear of a constant of more than a few numbers."""
        tensor = self.initializers.get(node.node.input[0]) if node.op_type == "DequantizeLinear" else None
        return tensor is not None and len(tensor.dims) > 0 and tensor.data_type != onnx.TensorProto.INT32

    @cached_property
    def inside(self):
        """Identities of the nodes that run in the body of an If, Loop or Scan."""
        return inner(self.quantized.model)

    @cached_property
    def start_ms(self):
        """What it takes to start an operator, by the time of the cheapest ones."""
        times = [node.ms for node in self.quantized.nodes if node.ms > 0]
        return min(float(np.quantile(times, 0.05)), DEAREST_START_MS) if times else 0.0

    @property
    def is_slower(self):
        """Whether the quantized model takes notably longer than fp32."""
        return self.quantized.total_ms > NOTABLY * self.fp32.total_ms

    def cost(self, milliseconds):
        """A cost that rests on the card's ratios: None for another machine's card, since the times are this one's."""
        return milliseconds if self.is_own_card else None

    def matters(self, milliseconds, share):
        """Whether so many milliseconds are more than `share` of a run of the quantized model."""
        return milliseconds > share * self.quantized.total_ms


def examine(
    fp32: ModelPath,
    quantized: ModelPath,
    feed: Feeds,
    *,
    card: str | Card | None = None,
    rounds: int = ROUNDS // 2,
    threads: int = 1,
    layers: bool = True,
) -> Examination:
    """The Examination of the model file `quantized`, made from the file `fp32`, on `feed`.

    card, and what is raised, as in `diagnose`; rounds and threads as in `profile`
    layers  False: the errors of layers, which take longest, are not looked for
    """
    fp32, quantized = Path(fp32), Path(quantized)  # also from a recipe's Quantized, which prints as a report
    feeds, own, card = as_feeds(feed), machine.card(), machine.card(card)
    file = graph.load(quantized)
    try:
        if layers:
            errors = layer_errors(fp32, quantized, feeds[:LAYER_FEEDS])
        else:
            errors = LayerErrors([], {}, (), feeds=0, draws=random_draws(graph.load(fp32), fp32, feeds[0]))
        profiles = profile_models({"fp32": fp32, "quantized": quantized}, feeds, rounds=rounds, threads=threads)
    except Exception:
        open_model(quantized, fp32=fp32)  # if it is the model that does not open, that is what is told
        raise
    return Examination(
        fp32=profiles["fp32"],
        quantized=profiles["quantized"],
        file=file,
        feeds=feeds,
        layers=errors,
        card=card,
        choice=choose(card),
        is_own_card=card.name == own.name,
        saturates_here=(card if card.name == own.name else own).saturates,
    )


def profiled_again(examination, *, rounds=ROUNDS // 2, threads=1):
    """The Examination with its two profiles taken anew: the machine may have been busy."""
    models = {"fp32": examination.fp32.path, "quantized": examination.quantized.path}
    profiles = profile_models(models, examination.feeds, rounds=rounds, threads=threads)
    return replace(examination, **profiles)
