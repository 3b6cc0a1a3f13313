"""Count where a model's nodes compute: on integers, on floats, or at the boundary between the two."""

from collections import Counter
from dataclasses import dataclass, field

from onnx import ModelProto, NodeProto

from qlab.files import ModelPath
from qlab.graph.model import load
from qlab.graph.model import optimized as optimized_graph
from qlab.graph.network import bodies, element_types, graphs, nodes
from qlab.graph.operators import CODES, FLOAT_PRODUCTS, SOUND, codes_of, is_quantized, kind_of, of
from qlab.text import Table, listed

_TONES = {"integer": "good", "float": "quiet", "boundary": "watch"}


@dataclass(frozen=True)
class Census:
    """How many nodes compute where; Counters keyed (domain, op_type), the standard domain being "".

    integer   a matrix product or convolution of integers, or any other node that works on codes
    float     nodes that read or write floats
    boundary  QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear, Cast
    other     shapes, indices and masks (int64, bool), and control flow: neither
    """

    integer: Counter
    float: Counter
    boundary: Counter
    other: Counter = field(default_factory=Counter)

    def __repr__(self):
        return "\n".join(map(line, self._rows()))

    def _repr_html_(self) -> str:
        rows = [["computes on", "nodes", "operators"], *self._rows()]
        tones = {(place, 0): _TONES[kind] for place, (kind, *_) in enumerate(rows) if kind in _TONES}
        return Table(rows, (0, 2), tones)._repr_html_()

    def _rows(self):
        for kind in ("integer", "float", "boundary", "other"):
            if counter := getattr(self, kind):
                labelled = {operator_label(*operator): number for operator, number in counter.items()}
                yield counted(kind, Counter(labelled))


def census(path: ModelPath, *, optimized: bool = True) -> Census:
    """Count the nodes of the model file `path`, those in subgraphs included, by where they compute.

    optimized  count the graph that onnxruntime makes of it and runs on this CPU; False: the file as it is
    Raises what `graph.load` raises, and ValueError if onnxruntime cannot open the model.
    """
    return count(optimized_graph(path) if optimized else load(path))


def count(model: ModelProto) -> Census:
    """The Census of a ModelProto."""
    counters = {kind: Counter() for kind in ("integer", "float", "boundary", "other")}
    types = element_types(model)
    codes = codes_of(nodes(model), types)
    for node in nodes(model):
        domain = "" if node.domain == "ai.onnx" else node.domain
        counters[kind_of(node, types, codes)][domain, node.op_type] += 1
    return Census(**counters)


def operator_label(domain, op_type):
    """ "Conv", "com.microsoft.QLinearConv": an operator with its domain."""
    return f"{domain}.{op_type}".lstrip(".")


def quantized_by(model: ModelProto) -> list[str]:
    """What shows that `model` is quantized: operators that a quantizer writes, weights stored as codes; [] for neither.

    >>> quantized_by(graph.load("int8.onnx"))  # doctest: +SKIP
    ['DequantizeLinear', 'QuantizeLinear']

    Codes need no such operator: see `products_of_cast_codes`.
    """
    found = {node.op_type for node in nodes(model) if is_quantized(node)}
    found |= {f"{node.op_type} (weights cast from codes)" for node in products_of_cast_codes(model)}
    return sorted(found)


def products_of_cast_codes(model: ModelProto) -> list[NodeProto]:
    """The products whose weights are codes that are cast to floats; onnxruntime does so when it opens `model`."""
    codes, constants, found = set(), set(), []
    for graph in graphs(model):
        constants |= {tensor.name for tensor in graph.initializer}
        codes |= {tensor.name for tensor in graph.initializer if _holds_codes(tensor)}
    for node in nodes(model):
        stored = [one.t for one in node.attribute if node.op_type == "Constant" and one.name == "value"]
        if _weights_of(node) in codes:
            found.append(node)
        handed_on = not is_quantized(node) and not any(bodies(node))
        if handed_on and constants.issuperset(filter(None, node.input)):
            constants.update(node.output)
            codes.update(node.output if codes.intersection(node.input) or any(map(_holds_codes, stored)) else ())
    return found


def _weights_of(node):
    place = of(node.op_type).weights if node.op_type in FLOAT_PRODUCTS else None
    return node.input[place] if place is not None and len(node.input) > place else None


def _holds_codes(tensor):
    return tensor.data_type in CODES | {SOUND} and len(tensor.dims) > 1


def counted(what, counter):
    """A row of texts about a Counter of texts: what is counted, how many there are, which."""
    return [what, str(counter.total()), listed(counter, most=None)]


def line(row):
    """ "float     12: 5 Add, 4 Mul, ..." of what `counted` gives."""
    what, number, which = row
    return f"{what:<9}{number:>5}" + (f": {which}" if which else "")
