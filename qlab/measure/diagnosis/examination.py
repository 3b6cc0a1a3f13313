"""Everything that a diagnosis looks at, measured once: an Examination, and the questions that several causes ask it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from onnx import TensorProto

from qlab import graph, machine
from qlab.files import ModelPath
from qlab.graph import Model
from qlab.graph.operators import (
    CONVOLUTION,
    CONVOLUTIONS,
    MATRIX_PRODUCTS,
    NO_INTEGER_KERNEL,
    PRODUCT,
    Q_AND_DQ,
    QUANTIZERS,
    factors,
    is_product,
    originals,
)
from qlab.machine.card import Card
from qlab.measure.answers import random_draws
from qlab.measure.compare import open_model
from qlab.measure.diagnosis.finding import NOTHING
from qlab.measure.layer_errors import LayerErrors, layer_errors
from qlab.measure.outputs import answer, output_quality
from qlab.measure.predict import Yardstick
from qlab.measure.profile import ROUNDS, Profile, profile_models
from qlab.measure.trace import side_by_side, stored, took
from qlab.recipes import RECIPES, Product
from qlab.recipes.choice import STATIC, Choice, choose, made_by
from qlab.runtime import Feeds, as_feeds
from qlab.text import decibels

SMALL_SHARE = 0.05  # of all multiply-adds: a kind of product below does not decide which recipe fits
STEPS = 4  # from a fused node's last operator back to its product
OPTION = "session.x64quantprecision"  # onnxruntime then makes int8 weights uint8, whose products do not saturate
HARMLESS_DB = 0.2  # that exact sums would mend
LUCK_DB = 1.5  # of an output of few numbers: rounding may fall either way
DEAREST_START_MS = 0.005  # a larger tensor's time is work
LAYER_FEEDS = 2  # on which the errors of layers are measured: three runs each, every tensor looked at
NOTABLY = 1.1  # two profiles of one model differ by some percent


class Names:
    """What the nodes that ran are called in the fp32 file `fp32`, and otherwise in the quantized one; Models.

    >>> names.in_files(node)  # of the QLinearConv "stem_token_1"  # doctest: +SKIP
    'stem'

    1. The node's own name, or what is left of it without what fusing added, is that of a node of the fp32 file.
    2. It, or that of a tensor the node computes, is that of a tensor: the node that computes it there, and of what was
       fused the product.
    3. The same in the quantized file, for Q/DQ and whatever else quantizing added; otherwise the name as it ran.
    """

    def __init__(self, fp32, quantized):
        self._fp32, self._added = ({node.name for node in one.nodes if node.name} for one in (fp32, quantized))
        self._links = side_by_side(fp32.nodes)

    def in_files(self, node):
        """The name of the NodeProto `node`, of the graph that ran, in the files."""
        own = list(originals(node.name))
        if found := next((name for name in own if name in self._fp32), ""):
            return found
        if node.op_type not in QUANTIZERS:
            for name in [*own, *node.output]:
                if made := self._links.producers.get(name):
                    return (self._product(made) if is_product(node) else made).name
        return next((name for name in own if name in self._added), node.name)

    def _product(self, node):
        """The product that what `node` computes begins with; `node`, if it is one itself or none is near."""
        before = node
        for _ in range(STEPS):
            if before is None or is_product(before):
                return before or node
            before = self._links.maker(before)
        return node


@dataclass(frozen=True)
class ExactSums:
    """The float output that exact sums mend most: its SQNR in dB as the model runs, and with exact sums.

    has_option  whether onnxruntime opens the model with OPTION, so that its user can have exact sums as well
    """

    output: str
    running_db: float
    exact_db: float
    has_option: bool

    @property
    def is_harmless(self):
        """Whether these feeds lose nothing by sums that saturate."""
        return self.exact_db - self.running_db < HARMLESS_DB

    def __str__(self):
        now, then = decibels(self.running_db), decibels(self.exact_db)
        if self.is_harmless:
            return f". On these feeds that does no harm: output {self.output!r} keeps {now} dB, with exact sums {then}"
        return f". On these feeds output {self.output!r} keeps {now} dB, and would keep {then} with exact sums"


def with_exact_sums(fp32, quantized, feeds):
    """The ExactSums of the Model `quantized`, made from the Model `fp32`; None where nothing can be told.

    1. Opened with OPTION. onnxruntime 1.32 cannot do that with every model.
    2. Otherwise, a model in Q/DQ format with nothing fused: its products are then those of floats.
    """
    session, has_option = _exact_session(quantized)
    if session is None:
        return None
    sessions = fp32.session(), quantized.session(), session
    reference, here, exactly = ([answer(one, feed) for feed in feeds] for one in sessions)
    running, exact = (output_quality(reference, answers)[0] for answers in (here, exactly))
    gains = {name: exact[name] - running[name] for name in running if math.isfinite(exact[name] - running[name])}
    if not gains or min(gains.values()) < -LUCK_DB:  # exact sums are not worse: these were none
        return None
    name = max(gains, key=gains.get)
    return ExactSums(name, running[name], exact[name], has_option)


def _exact_session(model):
    """(session or None, whether OPTION opened it)."""
    try:
        return model.session(adjust=lambda options: options.add_session_config_entry(OPTION, "1")), True
    except ValueError:
        pass
    if all(node.op_type in Q_AND_DQ for node in model.nodes if graph.is_quantized(node)):
        return model.unoptimized(), False
    return None, False


@dataclass(frozen=True)
class Examination:
    """What was measured of an fp32 model and its quantized version; the causes read it.

    fp32, quantized  Profiles, taken in turns
    original, file   the Models of the two files
    layers           LayerErrors
    card             whose ratios say what is slow; choice, what the recipes would choose on it
    is_own_card      whether the card is this machine's, so that its ratios and the profile's times go together
    saturates_here   whether u8 x s8 saturates on the CPU that measured this, whatever the card says of another
    exact_sums       how the ExactSums are found
    """

    fp32: Profile
    quantized: Profile
    original: Model
    file: Model
    feeds: list = field(repr=False)
    layers: LayerErrors
    card: Card
    choice: Choice
    is_own_card: bool
    saturates_here: bool = False
    exact_sums: Callable = with_exact_sums
    _known: dict = field(default_factory=dict, repr=False)

    def once(self, find):
        """What `find(self)` gives, found once: for what rests on files and feeds, so that no new profile changes it."""
        if find not in self._known:
            self._known[find] = find(self)
        return self._known[find]

    @cached_property
    def yardstick(self):
        """What each product would take in fp32, and on healthy integers."""
        return Yardstick(self.fp32, self.card.speed[self.choice.pair])

    @cached_property
    def names(self):
        """What the nodes that ran are called in the files."""
        return Names(self.original, self.file)

    @cached_property
    def ran(self):
        """Links: who computes and who reads each tensor in the graph that ran, NodeTimes."""
        return side_by_side(self.quantized.nodes, lambda time: time.node)

    @cached_property
    def initializers(self):
        """{name: TensorProto} of the constants of the graph that ran, bodies included; large ones without values."""
        return stored(self.quantized.model)

    def is_weight(self, name):
        """Whether `name` is a constant in the graph that ran, or one turned into floats by a DequantizeLinear."""
        source = self.ran.producers.get(name)
        return name in self.initializers or (source is not None and self.has_constant_codes(source))

    def has_constant_codes(self, node):
        """Whether `node` is a DequantizeLinear of a constant of more than a few numbers."""
        tensor = self.initializers.get(node.node.input[0]) if node.op_type == "DequantizeLinear" else None
        return tensor is not None and len(tensor.dims) > 0 and tensor.data_type != TensorProto.INT32

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

    @cached_property
    def fitting(self):
        """The Recipe that fits the products of the fp32 model.

        Static quantization does not reach into the bodies of If, Loop and Scan: what is there does not call for it.
        """
        work = {CONVOLUTION: 0, PRODUCT: 0}
        for node in self.fp32.nodes:
            if node.op_type in CONVOLUTIONS and not node.inside:
                work[CONVOLUTION] += node.macs
            elif node.op_type in MATRIX_PRODUCTS - NO_INTEGER_KERNEL and node.weights:
                work[PRODUCT] += node.macs
        return RECIPES.fitting({what for what, macs in work.items() if macs > SMALL_SHARE * sum(work.values())})

    @cached_property
    def alike(self):
        """The Recipe that quantizes as this model is quantized, where only its settings are at fault.

        A model with ConvInteger has none: what fits its products is named instead, so that no two findings of one model
        send their reader to different recipes.
        """
        operators = {node.op_type for node in self.quantized.nodes}
        return (None if "ConvInteger" in operators else RECIPES.like(operators)) or self.fitting

    @property
    def calibrated(self):
        """The same, of the recipes that take a reader: hybrid treats matrix products as dynamic does."""
        return RECIPES[self.alike.calibrated or self.alike.name]

    def is_as_made(self, recipe):
        """Whether the recipe made this model, by the file's own word: it would make it again."""
        return recipe.name == made_by(self.file.proto)

    def mending(self, nodes, first, *, is_other=False):
        """A Recipe that reaches most of the products `nodes`, `first` before others; None if none does.

        is_other   the fault itself shows that the model was made with other settings than the recipe's own. Where it
                   does not, the recipe that made the model would make it again
        """
        for recipe in (first, self.fitting, *sorted(RECIPES.values(), key=lambda one: -len(one.keeps))):
            reached = took(node for node in nodes if self._is_reached(node, recipe))
            if reached > took(nodes) / 2 and (is_other or not self.is_as_made(recipe)):
                return recipe
        return None

    def _is_reached(self, node, recipe):
        """Whether the recipe's plain call quantizes the product `node` of the graph that ran, by operator and place.

        A ConvInteger is mended where the convolution stays in float, too.
        """
        if node.op_type == "ConvInteger":
            return CONVOLUTION not in recipe.fits or not node.inside
        is_constant = any(self.is_weight(node.node.input[place]) for place in factors(node.node))
        product = Product(node.op_type, len(node.weights) or 2 * is_constant, node.depthwise, node.inside)
        return bool(recipe.how(product, **recipe.options(self.original_operators)))

    def excluding(self, names, mend=""):
        """The recipe, options and `mend` of a Finding: this model made again as it was, without the nodes `names`."""
        if not names:  # nodes without a name cannot be left out by it
            return {}
        return {"recipe": self.alike, "options": {"exclude": tuple(names)}, "mend": mend}

    def excluding_layers(self, rows):
        """The same, to leave these LayerErrors' tensors in float: without who computes them, and who reads them.

        A tensor that a quantized node reads becomes codes, whoever computed it.
        """
        names = []
        for row in rows:
            names += [row.node, *(node.name for node in self.original.nodes if row.name in node.input)]
        return self.excluding(dict.fromkeys(filter(None, names)))

    def is_out_of_reach(self, nodes, recipe):
        """Whether most of the time of `nodes` is spent in bodies of If, Loop and Scan, where the recipe cannot go."""
        return STATIC in recipe.ways and took(node for node in nodes if node.inside) > took(nodes) / 2

    @cached_property
    def original_operators(self):
        """The operators of the fp32 model as it ran. Beside an LSTM onnxruntime quantizes with int8 weights only."""
        return {node.op_type for node in self.fp32.nodes}

    @property
    def stay(self):
        """What to do where no recipe mends it."""
        if self.is_slower:
            return f"{NOTHING}: stay with fp32 for speed"
        return f"{NOTHING}: keep this model as it is, or stay with fp32"

    def call(self, recipe, **options):
        """The Python call of the Recipe on the fp32 model, as text."""
        card = "" if self.is_own_card else self.card.name
        added = recipe.options(self.original_operators)
        return recipe.call(self.original.path, card=card, **(options | (added | options)))

    def neighbours(self, node):
        """The NodeTimes whose results `node` reads, then those that read its."""
        return [*self.ran.makers(node), *self.ran.behind(node)]

    def reads_codes(self, node):
        """Whether the activations of the product `node` come straight from a DequantizeLinear of codes that move."""
        places = [factors(node.node)[0]] if node.macs else range(len(node.node.input))
        sources = [self.ran.maker(node, place) for place in places]
        return any(
            source is not None and source.op_type == "DequantizeLinear" and not self.has_constant_codes(source)
            for source in sources
        )

    def code_type(self, node):
        """Element type of the codes that a QuantizeLinear makes or a DequantizeLinear takes, a TensorProto number."""
        zero_point = self.initializers.get("".join(node.node.input[2:3]))
        return TensorProto.UINT8 if zero_point is None else zero_point.data_type


def examine(
    fp32: ModelPath | Model,
    quantized: ModelPath | Model,
    feed: Feeds,
    *,
    card: str | Card | None = None,
    rounds: int = ROUNDS // 2,
    threads: int = 1,
    layers: bool = True,
    profiler: Callable = profile_models,
) -> Examination:
    """The Examination of the model file `quantized`, made from the file `fp32`, on `feed`.

    card, and what is raised, as in `diagnose`; rounds and threads as in `profile`
    layers    False: the errors of layers, which take longest, are not looked for
    profiler  takes the profiles: measure.profile.profile_models, or what is called as it is
    """
    feeds, own, card = as_feeds(feed), machine.card(), machine.card(card)
    file = graph.opened(quantized)
    try:
        original = graph.opened(fp32)
        if layers:
            errors = layer_errors(original, file, feeds[:LAYER_FEEDS])
        else:
            errors = LayerErrors([], {}, (), feeds=0, draws=random_draws(original, feeds[0]))
        profiles = profiler({"fp32": original, "quantized": file}, feeds, rounds=rounds, threads=threads)
    except Exception:
        open_model(quantized, fp32=fp32)  # if it is the model that does not open, that is what is told
        raise
    return Examination(
        fp32=profiles["fp32"],
        quantized=profiles["quantized"],
        original=original,
        file=file,
        feeds=feeds,
        layers=errors,
        card=card,
        choice=choose(card),
        is_own_card=card.name == own.name,
        saturates_here=(card if card.name == own.name else own).saturates,
    )


def profiled_again(examination, *, rounds=ROUNDS // 2, threads=1, profiler=profile_models):
    """The Examination with its two profiles taken anew: the machine may have been busy."""
    models = {"fp32": examination.original, "quantized": examination.file}
    return replace(examination, **profiler(models, examination.feeds, rounds=rounds, threads=threads))
