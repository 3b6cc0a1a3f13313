"""What a tool did to a graph: the nodes that went, those that came, and those that changed in their place."""

from collections import Counter
from dataclasses import dataclass

import onnx
from onnx import AttributeProto, ModelProto, numpy_helper
from onnx.external_data_helper import uses_external_data

from qlab.files import ModelPath
from qlab.graph.census import counted, line, operator_label
from qlab.graph.match import match
from qlab.graph.wiring import wire
from qlab.text import Table, shortened

NEUTRAL = {"pads": 0, "strides": 1, "dilations": 1}  # values that some exporters write out and others leave away
LONGEST = 40  # characters of an attribute's value
_TONES = {"gone": "bad", "come": "good", "changed": "watch"}


@dataclass(frozen=True)
class Node:
    """One node of a model: its name (without one, that of its first output), domain ("": standard) and operator."""

    name: str
    domain: str
    op_type: str

    def __str__(self):
        return operator_label(self.domain, self.op_type)


@dataclass(frozen=True)
class Change:
    """A place whose node has another operator, domain or attributes.

    attributes  {name: (value before, value after)}, None where the node has none; empty where the operator is another
    """

    before: Node
    after: Node
    attributes: dict[str, tuple]

    @property
    def how(self):
        """ "Conv -> com.microsoft.QLinearConv", or "Conv: group 1 -> 8"."""
        if (self.before.domain, self.before.op_type) != (self.after.domain, self.after.op_type):
            return self._what()
        details = (f"{name} {_short(old)} -> {_short(new)}" for name, (old, new) in self.attributes.items())
        return f"{self.after}: {', '.join(details)}"

    def _what(self):
        """`how` without values, so that equal changes can be counted."""
        if self.attributes:
            return f"{self.after}: {', '.join(self.attributes)}"
        return f"{self.before} -> {self.after}"


@dataclass(frozen=True, repr=False)
class Diff:
    """What `diff` found; printing it counts by operator.

    gone, come  lists of Node, in the order of computation
    changed     list of Change
    same        how many nodes are neither
    """

    gone: list[Node]
    come: list[Node]
    changed: list[Change]
    same: int = 0

    def __repr__(self):
        return "\n".join(map(line, self._rows()))

    def _repr_html_(self) -> str:
        rows = [["", "nodes", "operators"], *self._rows()]
        tones = {(place, 0): _TONES[what] for place, (what, *_) in enumerate(rows) if what in _TONES}
        return Table(rows, (0, 2), tones)._repr_html_()

    def _rows(self):
        changes = [change._what() for change in self.changed]
        kinds = {"gone": map(str, self.gone), "come": map(str, self.come), "changed": changes}
        rows = [counted(what, Counter(texts)) for what, texts in kinds.items()]
        return [*(row for row in rows if row[1] != "0"), ["same", str(self.same), ""]]


def diff(before: ModelPath | ModelProto, after: ModelPath | ModelProto) -> Diff:
    """Which nodes are only in `before`, only in `after`, or changed in their place. Either is a path or a ModelProto.

    >>> graph.diff(models.path("digits"), graph.optimized(models.path("digits")))
    gone        14: 11 Relu, 3 Add
    come         1: 1 com.microsoft.nchwc.ReorderOutput
    changed     11: 11 Conv -> com.microsoft.nchwc.Conv
    same         2

    Nodes are matched by their place in the graph: what they read, what reads them, their weights and operator. Names
    only decide between places that look alike, since quantizers and optimizers rename, and some exporters name nothing.
    Where one node became several, one of them took its place and the others came. Nodes of subgraphs count, and the
    model's own functions are compared by their contents.
    Raises what `graph.load` raises.
    """
    one, two = wire(before), wire(after)
    pairs = match(one, two)
    taken = set(pairs.values())
    places = ((one.ops[index], two.ops[pairs[index]]) for index in one.order if index in pairs)
    changes = ((old, new, _changes(old, new, one, two)) for old, new in places)
    changed = [Change(_node(old), _node(new), what) for old, new, what in changes if what is not None]
    return Diff(
        [_node(one.ops[index]) for index in one.order if index not in pairs],
        [_node(two.ops[index]) for index in two.order if index not in taken],
        changed,
        len(pairs) - len(changed),
    )


def _node(op):
    return Node(op.name, op.domain, op.op_type)


def _changes(old, new, one, two):
    """What changed in a place, as Change.attributes; None if nothing did."""
    if (old.domain, old.op_type) != (new.domain, new.op_type):
        return {}
    before, after = _attributes(old, one.opsets), _attributes(new, two.opsets)
    names = sorted(before.keys() | after.keys())
    different = {name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}
    return different or None


def _attributes(op, opsets):
    """The values of an op's attributes, the operator's defaults included; subgraphs are compared node by node."""
    values = {attribute.name: _value(attribute) for attribute in op.node.attribute if not _holds_graphs(attribute)}
    values = {name: value for name, value in values.items() if not _is_neutral(name, value)}
    if "Conv" in op.op_type:
        values.pop("kernel_shape", None)  # optional: the weights have it
    try:
        schema = onnx.defs.get_schema(op.op_type, opsets.get(op.domain, 1), op.domain)
    except (onnx.defs.SchemaError, TypeError):  # somebody else's operator, or a version that no number is
        return values
    defaults = {name: attribute.default_value for name, attribute in schema.attributes.items()}
    return {name: _value(default) for name, default in defaults.items() if default.type} | values


def _value(attribute):
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.type == AttributeProto.TENSOR:
        return value if uses_external_data(value) else _Array(numpy_helper.to_array(value))
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return tuple(value) if isinstance(value, list) else value


class _Array:
    """A stored tensor's values, to be compared and shown; its name and its encoding do not matter."""

    def __init__(self, values):
        self.values = values

    def __eq__(self, other):
        if not isinstance(other, _Array) or self.values.dtype != other.values.dtype:
            return False
        return self.values.shape == other.values.shape and self.values.tobytes() == other.values.tobytes()

    def __repr__(self):
        return repr(self.values.item()) if self.values.size == 1 else f"{self.values.dtype} {list(self.values.shape)}"


def _is_neutral(name, value):
    return name in NEUTRAL and isinstance(value, tuple) and all(number == NEUTRAL[name] for number in value)


def _holds_graphs(attribute):
    return attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS)


def _short(value):
    return shortened("nothing" if value is None else str(list(value) if isinstance(value, tuple) else value), LONGEST)
