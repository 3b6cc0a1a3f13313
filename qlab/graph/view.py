"""What a picture of a graph shows: boxes that stand for one node or many, what flows between them, repeated blocks."""

from collections import Counter
from dataclasses import dataclass, field, replace

from qlab.graph.operators import FLOATS, gives_floats
from qlab.graph.wiring import Wiring

STRONGEST = ("integer", "float", "boundary", "other")  # kinds: what a part of a model is that does several
TO_SUMS = {"MatMulInteger", "ConvInteger"}


@dataclass
class Box:
    """One box.

    ops     indices into the wiring; of a repeated block, those of its first time
    copies  the ops that correspond to them, one list for each time the block comes; [ops] where nothing is repeated
    ends    for a box that stands for inputs or outputs of the model: their names
    zone    boxes of a lower zone lie above those of a higher one
    hidden  how many neighbours above and below are not shown
    """

    ops: list[int] = field(default_factory=list)
    copies: list[list[int]] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    role: str = "ops"  # or "input", "output"
    zone: int = 0
    hidden: tuple[int, int] = (0, 0)
    is_focus: bool = False


@dataclass(frozen=True)
class Frame:
    """A block that comes `times` in a row, drawn once; `size` nodes each; its boxes have the number `zone`."""

    times: int
    size: int
    zone: int


@dataclass
class View:
    """Boxes of a picture. edges: {(from, to): what flows}, which is "codes", "sums", "floats" or "other"."""

    wiring: Wiring
    boxes: list[Box]
    edges: dict[tuple[int, int], str]
    frames: list[Frame] = field(default_factory=list)


def kinds(wiring, ops):
    """How many of `ops` compute where."""
    return Counter(wiring.ops[op].kind for op in ops)


def flow(wiring, producer, reader):
    """What `reader` gets from `producer`.

    "codes" of a quantized tensor, int32 "sums" of their products, "floats", or "other" (shapes, masks).
    """
    op, source = wiring.ops[reader], wiring.ops[producer]
    if source.op_type in TO_SUMS:
        return "sums"
    known = [name for name in op.read_from.get(producer, ()) if wiring.types.get(name)]
    if known:
        return mixed({flow_of(wiring, name) for name in known})
    if source.kind == "other":
        return "other"
    quantizes = source.op_type in ("QuantizeLinear", "DynamicQuantizeLinear")
    return "codes" if quantizes or (source.kind == "integer" and not gives_floats(source.node)) else "floats"


def flow_of(wiring, name):
    """What the tensor of that name is, as in `flow`; without a type, floats."""
    kind = wiring.types.get(name)
    return "codes" if kind in wiring.codes else "floats" if not kind or kind in FLOATS else "other"


def mixed(flows):
    """What flows along an edge that stands for several: codes, if there are any."""
    return next(what for what in ("codes", "sums", "floats", "other") if what in flows)


def with_inner_folded(wiring):
    """The Wiring in which each If, Loop and Scan that stands in a body has taken in what its own bodies do.

    It reads what they read from outside; the ops in it are still there, and lead nowhere. An If in an If is a detail of
    an exporter's, such as a choice between two ways to pad, and would cover the page.
    """
    ops = list(wiring.ops)
    for index, op in enumerate(wiring.ops):
        if len(op.scope) == 1 and op.inside:
            inner = range(index - op.inside, index)
            parts = [*inner, index]
            read = [source for part in parts for source in wiring.ops[part].sources if not _is_in(source, inner)]
            kind = min((wiring.ops[part].kind for part in parts), key=STRONGEST.index)
            sources = [*op.sources[: len(op.node.input)], *(source for source in read if source is not None)]
            ops[index] = replace(op, sources=sources, kind=kind, folded=op.inside)
    return wiring if ops == wiring.ops else replace(wiring, ops=ops)


def _is_in(source, inner):
    return isinstance(source, int) and source in inner
