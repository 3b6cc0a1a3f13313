"""What is decided before anything is quantized: which recipe, which dtypes, and which nodes stay in float."""

import difflib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from qlab import machine
from qlab.graph import operators
from qlab.graph.network import Links
from qlab.graph.operators import CLIPS, FLOAT_PRODUCTS, PASSED_AT_LOAD, PRODUCT

CodeType = Literal["uint8", "int8"]
WeightType = Literal["uint8", "int8", "int4"]  # int4: of a static product, for the sake of its numbers

DTYPES = ("uint8", "int8")
SHORT = {"uint8": "u8", "int8": "s8", "int4": "s4"}
# How a product gets its codes: ranges from the file, or while it runs; or its weights only, block by block.
STATIC, DYNAMIC, IN_BLOCKS = WAYS = ("static", "dynamic", "in blocks")
MADE_BY = "qlab.recipe"  # where a file's metadata say which recipe made it
# Speeds of one machine differ by some percent from run to run; within this, two pairs are equally fast.
AS_GOOD = 0.95
NEEDED = "a Log, root or quotient behind needs smaller numbers than codes tell apart"
INT4 = "int4"
IN_FLOAT = "as asked; onnxruntime multiplies by them in float, a smaller file and no faster"
SHOWN = 5  # names in a note


@dataclass(frozen=True)
class Product:
    """A product that a recipe may meet, in the file or in a graph that ran.

    rank       how many dimensions its constant factor has; 0 if both factors move
    depthwise  a convolution in which each channel is by itself
    inside     whether it stands in the body of an If, Loop or Scan
    """

    op_type: str
    rank: int
    depthwise: bool = False
    inside: bool = False

    @property
    def core(self):
        """ "Conv", "MatMul", "LSTM" ..., whatever it became."""
        return operators.core(self.op_type)

    @property
    def is_stack(self):
        """Whether it multiplies by a constant vector or stack of matrices, which no scale per channel fits."""
        is_float_matrix = self.op_type in FLOAT_PRODUCTS and operators.of(self.op_type).family == PRODUCT
        return is_float_matrix and self.rank not in (0, 2)


@dataclass(frozen=True)
class Recipe:
    """A named way to quantize a model, and what its plain call does: all that anyone asks about a recipe.

    make      the function, `recipes.<name>`
    how       how(product, **options): STATIC, DYNAMIC, or "" for a Product that it leaves in float
    ways      all that `how` may say of a product that it quantizes
    fits      the families of products that it is for, such as operators.CONVOLUTION
    needs_reader  whether it takes feeds to calibrate on
    activations   dtypes that it can give the activations
    keeps     operators, no products, that work on codes
    spreads   whether these are quantized wherever they stand, so that any other operator stands between codes;
              otherwise only beside a static product
    options   options(operators): what a call on a model with these operators needs besides, or {}
    pointless  pointless(operators): why it makes nothing of such a model that another does not make, or ""
    calibrated  name of the recipe that does the same with ranges from a reader; "" if it has them itself
    spares_unlike  whether it leaves in float what puts numbers of unlike size under one scale
    """

    name: str
    make: Callable
    how: Callable[..., str]
    ways: frozenset[str]
    fits: frozenset[str]
    needs_reader: bool = True
    activations: tuple[str, ...] = DTYPES
    keeps: frozenset[str] = frozenset()
    spreads: bool = False
    options: Callable[[Iterable[str]], dict] = lambda operators: {}
    pointless: Callable[[Iterable[str]], str] = lambda operators: ""
    calibrated: str = ""
    spares_unlike: bool = False

    def __call__(self, model, output, reader=None, **options):
        """Run it; the reader is left out where it needs none."""
        return self.make(model, output, *[reader] * self.needs_reader, **options)

    def call(self, model, output=None, *, reader="reader", card="", **options):
        """The Python that runs it, as text; the output is beside the model if none is named.

        >>> from qlab.recipes import RECIPES
        >>> RECIPES["hybrid"].call("a.onnx", exclude=("conv0",))
        "recipes.hybrid('a.onnx', 'a.hybrid.onnx', reader, exclude=('conv0',))"

        reader  the name of the variable that holds the feeds;   card, that of a machine card, "" for this machine's own
        """
        output = Path(model).with_name(f"{Path(model).stem}.{self.name}.onnx") if output is None else output
        arguments = [repr(os.fspath(model)), repr(os.fspath(output)), *[reader] * self.needs_reader]
        arguments += [f"{name}={value!r}" for name, value in options.items()]
        arguments += [f"card=machine.card({card!r})"] * bool(card)
        return f"recipes.{self.name}({', '.join(arguments)})"


class Recipes(dict):
    """{name: Recipe}, in the order in which they are told."""

    def __init__(self, *recipes):
        super().__init__({one.name: one for one in recipes})

    def fitting(self, families):
        """The Recipe for a model whose products are of these families: as many of its own, and as few others."""
        families = set(families)
        return min(self.values(), key=lambda one: len(one.fits ^ families))

    def of_ways(self, *ways):
        """The first Recipe whose products get their codes in these ways, or None."""
        return next((one for one in self.values() if one.ways == set(ways)), None)

    def like(self, op_types):
        """The Recipe that quantizes as a model with these operators is quantized, or None."""
        is_static = any(
            name == "QuantizeLinear" or name in operators.STATIC or name.startswith("QLinear") for name in op_types
        )
        is_dynamic = bool(operators.DYNAMIC & set(op_types))
        return self.of_ways(*[STATIC] * is_static, *[DYNAMIC] * is_dynamic)


def made_by(model):
    """Name of the recipe that made the ModelProto `model`, by its own word; "" where none did."""
    return next((entry.value for entry in model.metadata_props if entry.key == MADE_BY), "")


@dataclass(frozen=True)
class Choice:
    """How a recipe represents numbers, and why.

    activation_dtype, weight_dtype  "uint8" or "int8"; weights "int4" as well
    symmetric                       whether the activations' zero point is 0 (int8 activations)
    reduce_range                    whether two products have to fit in 16 bits, since u8 x s8 saturates: 7-bit weights
    fits_pairs                      or, for weights of convolutions and matrices, 8 bits with scales that see to it
    why                             the reason, for the reader
    """

    activation_dtype: str
    weight_dtype: str
    symmetric: bool
    reduce_range: bool
    why: str
    fits_pairs: bool = False

    @property
    def pair(self):
        """The sign pair, such as "u8s8"."""
        return SHORT[self.activation_dtype] + SHORT[self.weight_dtype]

    def __str__(self):
        bits = "7-bit " if self.reduce_range and not self.fits_pairs else ""
        return f"activations {self.activation_dtype} x {bits}weights {self.weight_dtype}"


def check_names(names, what):
    """Raise ValueError unless `names` are several texts, and not one text, which is several letters."""
    if isinstance(names, str) or not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names):
        alone = f", such as ({names!r},)" if isinstance(names, str) else ""
        raise ValueError(f"{what} is {names!r}; expected several names in a tuple{alone}")


def check_op_types(op_types, known, other=""):
    """Raise ValueError unless `op_types` are some of the operators `known`; `other` is what else could be given."""
    check_names(op_types, "op_types")
    if not op_types or not set(op_types) <= known:
        raise ValueError(f"op_types is {op_types!r}; expected {other}some of {sorted(known)}, in a tuple")


def choose(
    card=None,
    activation_dtype=None,
    weight_dtype=None,
    reduce_range=None,
    *,
    activations=DTYPES,
    weights=DTYPES,
    fits_pairs=True,
):
    """The Choice for a machine; None leaves a part of it to the card (this machine's own if `card` is None).

    1. Where s8 x s8 is as fast as anything (ARM), that: symmetric, no zero points to correct for.
    2. Otherwise the fastest pair that a recipe can use: u8 x s8 or u8 x u8 on x86.
    3. Where u8 x s8 saturates, int8 weights get scales with which every sum of two products stays within 16 bits,
       whatever the feeds; or 7 bits, which do the same, where that is asked for (reduce_range=True, fits_pairs=False).

    4. int4 weights are multiplied in float, whatever the machine: its activations are those of int8 weights.

    `activations`, `weights`: the dtypes that the recipe can give them. Raises ValueError for a pair that cannot run.
    """
    for what, dtype, known in (
        ("activation_dtype", activation_dtype, DTYPES), ("weight_dtype", weight_dtype, weights)
    ):  # fmt: skip
        if dtype not in (None, *known):
            names = ", ".join(map(repr, known))
            raise ValueError(f"{what} is {dtype!r}; expected {names} or None for what the machine card says")
    if not (reduce_range is None or isinstance(reduce_range, bool)):
        raise ValueError(f"reduce_range is {reduce_range!r}; expected True, False or None for what the card says")
    if (activation_dtype, weight_dtype) == ("int8", "uint8"):
        raise ValueError("int8 activations with uint8 weights: onnxruntime has no such kernels; make both int8")
    card = machine.card(card)
    if weight_dtype == INT4:
        if reduce_range:
            raise ValueError("reduce_range=True guards products of 8-bit codes; with weight_dtype 'int4' leave it out")
        like = choose(card, activation_dtype, "int8", False, activations=activations)
        return replace(like, weight_dtype=INT4, why=IN_FLOAT)
    asked = (SHORT.get(activation_dtype, ""), SHORT.get(weight_dtype, ""))
    usable = tuple(SHORT[dtype] for dtype in activations)
    pairs = [
        pair
        for pair in ("s8s8", "u8s8", "u8u8")
        if pair[:2] in usable and pair.startswith(asked[0]) and pair.endswith(asked[1])
    ]
    speeds = {pair: card.speed[pair] for pair in pairs if card.speed[pair] is not None}
    if not speeds:
        raise ValueError(f"{card.name} has no integer product for {' or '.join(pairs) or asked}: leave the dtypes out")
    fastest = max(speeds.values())
    pair = next(pair for pair, speed in speeds.items() if speed >= AS_GOOD * fastest)
    # s8 x s8 as well: onnxruntime shifts its activations to unsigned where the CPU multiplies u8 x s8 only.
    saturating = pair.endswith("s8") and card.saturates
    reduced = saturating if reduce_range is None else reduce_range
    fitted = reduced and reduce_range is None and fits_pairs
    return Choice(
        activation_dtype="uint8" if pair[0] == "u" else "int8",
        weight_dtype="uint8" if pair[2] == "u" else "int8",
        symmetric=pair[0] == "s",
        reduce_range=reduced,
        why=_why(card, pair, asked, saturating, reduced, fitted),
        fits_pairs=fitted,
    )


def _why(card, pair, asked, saturating, reduced, fitted):
    whose = "as asked" if all(asked) else "the fastest usable pair"
    text = f"{whose} on {card.name} ({card.speed[pair]:.2f}x float32)"
    if not saturating:
        return text
    if fitted:
        return f"{text}, with scales such that no sum of two products leaves 16 bits, where it would saturate there"
    if reduced:
        return f"{text}, with 7-bit weights because 8-bit ones saturate there"
    return f"{text}, but SATURATES there: large sums come out wrong (reduce_range=None mends it)"


def excluded(work, names):
    """{name in the pre-processed model: why} of the nodes that `names` names in the original.

    A node that was fused into another is found by what it computes: from its output forward, along single consumers, to
    the first tensor that is still there. Raises ValueError for a name that the original does not have.
    """
    check_names(names, "exclude")
    source, nodes = Links(work.model.nodes), {node.name: node for node in work.model.nodes if node.name}
    prepared = work.prepared.nodes
    still, producers = {node.name for node in prepared}, Links(prepared).producers
    found = set()
    for name in names:
        if name not in nodes and name not in still:
            close = difflib.get_close_matches(name, nodes, n=3)
            hint = (
                f"did you mean {', '.join(map(repr, close))}?" if close else f"the model has {len(nodes)} named nodes"
            )
            raise ValueError(f"exclude names {name!r}, which {work.model.path} does not have; {hint}")
        fused = {name} & still or {f"{name}/MatMulAddFusion"} & still
        found.update(fused or [_fused_into(nodes[name], source, producers)])
    # A Relu or Clip computes nothing on codes: it is where they end. Alone in float it would be given coarser ones.
    clips = (node for node in prepared if node.op_type in CLIPS and node.input[0] in producers)
    ahead = {clip.name: producers[clip.input[0]] for clip in clips}
    of_codes = {name for name, node in ahead.items() if node.op_type in FLOAT_PRODUCTS and node.name not in found}
    return dict.fromkeys(found - {None} - of_codes, "excluded by name")


def in_float(why, names):
    """[a note on the nodes `names`, which stay in float for a reason found in the numbers]; [] if there are none."""
    shown = [*sorted(names)[:SHOWN], *["..."] * (len(names) > SHOWN)]
    return [f"left in float, since {why}: {', '.join(shown)}"] if names else []


def without_range(work, ranges, op_types):
    """{name: why} of the nodes that cannot be quantized, since a tensor that they read or write got no range.

    A mask of minus infinities is such a tensor; onnxruntime's quantizer would stop there.
    """
    reasons, left_out = {}, ranges.left_out
    for node in work.prepared.proto.graph.node:
        lacking = next((name for name in (*node.input, *node.output) if name in left_out), None)
        if node.op_type in op_types and lacking is not None:
            reasons[node.name] = f"{lacking!r} has no range: {left_out[lacking]}"
    return reasons


def of_small_numbers(work, ranges, static, dynamic=()):
    """{name: why} of the nodes whose codes would lose the small numbers that a Log, root or quotient behind them needs.

    static, dynamic  operators that get codes to read and to write, and to read only. See `Magnitudes`.
    """
    lost = ranges.joins.magnitudes.lost(ranges)
    reasons = {}
    for node in work.prepared.proto.graph.node:
        read, written = ([lost[name] for name in names if name in lost] for names in (node.input, node.output))
        needed = read + written if node.op_type in static else read and written if node.op_type in dynamic else ()
        if needed:
            reasons[node.name] = f"too few codes for the small numbers that {needed[0]} needs"
    return reasons


def _fused_into(node, source, producers):
    moves = node.op_type in PASSED_AT_LOAD
    while node is not None:
        if node.output[0] in producers:
            found = producers[node.output[0]]
            while found.op_type in PASSED_AT_LOAD and not moves:  # products of stacks are fused between two Reshapes
                found = producers[found.input[0]]
            return found.name
        node = source.sole_reader(node.output[0])
    return None  # folded into a constant: nothing is left to quantize
