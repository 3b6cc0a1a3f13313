"""The nodes that ran, from onnxruntime's profile: when, how long, on what, and how much work each had to do.

Read what the profiler wrote, join it to the nodes of the graph that ran, and count their multiply-adds and bytes.
"""

import json
import math
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from onnx import NodeProto, TensorProto, helper

from qlab import graph
from qlab.graph.census import operator_label
from qlab.graph.network import Links
from qlab.graph.operators import (
    ATTENTION,
    CODES,
    CONVOLUTIONS,
    DYNAMIC,
    MATRIX_PRODUCTS,
    PRODUCTS,
    RECURRENT,
    attribute,
    codes_of,
    factors,
    is_product,
    kind_of,
)

SIGNS = {TensorProto.UINT8: "u8", TensorProto.INT8: "s8"}
PROFILER_TYPES = {name.lower(): number for name, number in TensorProto.DataType.items()}
SUFFIX = "_kernel_time"
PRODUCT_FAMILIES = {"convolution": CONVOLUTIONS, "matrix product": MATRIX_PRODUCTS, "other product": PRODUCTS}
WORK = ("macs", "bytes", "input_bytes")  # what is added over the feeds


@dataclass(frozen=True, eq=False)
class NodeTime:
    """One node of the graph that ran; equal to itself alone.

    kind       where it computes: "integer", "float", "boundary" or "other", as in `graph.census`
    ms         its own time in one run, milliseconds, without what it ran inside (If, Loop), and without the part by
               which the profiler slows the whole down
    macs       multiply-adds of one run, with the channels that a blocked kernel adds to fill its blocks
    bytes      what it must read and write at the least; input_bytes, the part of them that is a product's activations
    sign_pair  "u8s8": signs of the left and the right factor of an integer product (ConvInteger's left one: weights)
    weights    shape of the constant right factor, () where there is none
    depthwise  a convolution in which each channel is by itself
    inside     whether it stands in the body of an If, Loop or Scan
    """

    name: str
    domain: str
    op_type: str
    kind: str
    ms: float
    macs: int
    bytes: int
    input_bytes: int
    sign_pair: str
    weights: tuple[int, ...]
    depthwise: bool
    node: NodeProto = field(repr=False)
    inside: bool = False

    @property
    def label(self):
        """The operator with its domain, as in "com.microsoft.QLinearConv"."""
        return operator_label(self.domain, self.op_type)

    @property
    def family(self):
        """What it is for: "convolution", "matrix product", "other product", "boundary", or "the rest"."""
        of_others = "boundary" if self.kind == "boundary" else "the rest"
        return next((family for family, operators in PRODUCT_FAMILIES.items() if self.op_type in operators), of_others)

    @property
    def multiplies(self):
        """Whether its family is one of products."""
        return self.op_type in PRODUCTS


def side_by_side(items, node=lambda item: item, ends=()):
    """Links of nodes of a main graph and of bodies, each with its own inputs only: who holds a body does not read."""
    items = list(items)
    bare = {id(one): NodeProto(op_type=node(one).op_type, input=node(one).input, output=node(one).output)
            for one in items}  # fmt: skip
    return Links(items, lambda one: bare[id(one)], ends)


def took(nodes):
    """Milliseconds of these NodeTimes together."""
    return sum(node.ms for node in nodes)


@dataclass(frozen=True)
class Tensor:
    """What is known of a tensor: its element type (a TensorProto number), shape, and whether it is a constant."""

    dtype: int
    shape: tuple[int, ...]
    constant: bool = False

    @property
    def bytes(self):
        """Its size. Types narrower than a byte are packed."""
        return math.ceil(math.prod(self.shape) * bits(self.dtype) / 8)


def stored(model):
    """{name: TensorProto} of the weights of a ModelProto, those of bodies included."""
    return {tensor.name: tensor for one in graph.graphs(model) for tensor in one.initializer}


def type_name(number):
    """ "int8" for TensorProto.INT8."""
    return TensorProto.DataType.Name(number).lower()


def bits(dtype):
    """Bits of one element of the type; 0 for text, which has no fixed size."""
    name = type_name(dtype)
    if name in ("uint4", "int4", "float4e2m1", "uint2", "int2"):
        return 2 if name.endswith("2") else 4
    if name in ("undefined", "string"):
        return 0
    return 8 * helper.tensor_dtype_to_np_dtype(dtype).itemsize


def _factors(node, tensors):
    """The Tensors that a product multiplies; None for one that is unknown, and for both of what is no product."""
    return [tensors.get(node.input[place]) if is_product(node) else None for place in factors(node)]


def macs(node, tensors):
    """Multiply-adds of one execution of `node`, 0 for what is no product or of unknown shape.

    `tensors` maps names to Tensors. Convolutions and matrix products are exact; the products inside attention operators
    are left out, their projections are counted.
    """
    left, right = _factors(node, tensors)
    result = tensors.get(node.output[0])
    if left is None or result is None:
        return 0
    if node.op_type == "MatMulNBits":
        return math.prod(result.shape) * attribute(node, "K", 0)
    if right is None:
        return 0
    if node.op_type == "Einsum":
        return _einsum_macs(node, [tensors.get(name) for name in node.input])
    if node.op_type in CONVOLUTIONS:
        moving = left if "Transpose" in node.op_type else result
        return math.prod(moving.shape) * math.prod(right.shape[1:])
    if node.op_type in RECURRENT:  # input [time, batch, features]; weights [directions, gates * hidden, features]
        hidden = attribute(node, "hidden_size", 0)
        gates = max(right.shape[1:]) if node.op_type.startswith("Dynamic") else right.shape[1]
        return math.prod(left.shape[:2]) * right.shape[0] * gates * (left.shape[-1] + hidden)
    if node.op_type in ATTENTION:
        return math.prod(left.shape) * right.shape[-1] if len(right.shape) == 2 else 0
    if not left.shape:
        return 0
    depth = left.shape[-2 if attribute(node, "transA", 0) and len(left.shape) > 1 else -1]
    return math.prod(result.shape) * depth


def _einsum_macs(node, inputs):
    """The product of the sizes of all its indices; what "..." stands for is as long as the longest."""
    terms = attribute(node, "equation", b"").decode().replace(" ", "").split("->")[0].split(",")
    if None in inputs:
        return 0
    sizes, rest = {}, [1]
    for term, tensor in zip(terms, inputs, strict=True):
        before, _, behind = term.partition("...")
        shape, end = tensor.shape, len(tensor.shape) - len(behind)
        rest.append(math.prod(shape[len(before) : end]))
        sizes |= zip(before + behind, shape[: len(before)] + shape[end:], strict=True)
    return math.prod(sizes.values()) * max(rest)


def sign_pair(node, tensors):
    """ "u8s8" and the like: the left factor's and the right factor's sign in the product that `node` computes, or "".

    ConvInteger hands its weights over as the left factor, so there the weights' sign comes first.
    """
    left, right = (SIGNS.get(getattr(one, "dtype", 0), "") for one in _factors(node, tensors))
    if node.op_type in DYNAMIC:
        left = "u8"
    if not left or not right:
        return ""
    return right + left if node.op_type == "ConvInteger" else left + right


def is_depthwise(node, tensors):
    """Whether `node` is a convolution that makes one channel of each, by itself: many of each are work like any."""
    weights = _factors(node, tensors)[1] if node.op_type in CONVOLUTIONS else None
    return weights is not None and weights.shape[:2] == (attribute(node, "group", 1), 1) and weights.shape[0] > 1


@dataclass(frozen=True)
class Event:
    """One execution of one node, in one run of the model.

    self_us     microseconds in the node itself, without the nodes in the branch or body that it ran
    details     what onnxruntime says of it
    """

    name: str
    op_type: str
    index: int
    self_us: int
    details: dict

    def tensors(self, side):
        """[(type, shape)] of "input" or "output", named as onnxruntime does ("float"); none that was packed at load."""
        return [next(iter(entry.items()), ("", [])) for entry in self.details[f"{side}_type_shape"]]


def read_runs(path):
    """The runs in the profile file `path`: for each, a list of Events in the order in which they ended.

    A run that the profiler's limit of a million events cut off is left out.
    """
    runs, done = [], []
    for entry in json.loads(Path(path).read_text(encoding="utf-8")):
        if entry["name"] == "model_run":
            runs.append([event for _, _, event in done])
            done = []
        elif entry.get("cat") == "Node" and entry["name"].endswith(SUFFIX):
            start, end = entry["ts"], entry["ts"] + entry["dur"]
            own = max(0, entry["dur"] - _inside(done, start))
            name, details = entry["name"].removesuffix(SUFFIX), entry["args"]
            done.append((start, end, Event(name, details["op_name"], int(details["node_index"]), own, details)))
    return runs


def _inside(done, start):
    """Microseconds of the events, at the end of `done`, that ran inside one that began at `start` and ends now.

    onnxruntime writes an event when it ends, so what an If or a Loop ran stands before it. Events inside those are
    part of their time already.
    """
    total, covered_from = 0, None
    for first, last, _ in reversed(done):
        if first < start:
            break
        if covered_from is None or last <= covered_from:
            total += last - first
            covered_from = first
    return total


def node_times(model, runs, feeds):
    """The NodeTimes of the optimized ModelProto `model`, in order of execution; nodes that never ran come last.

    runs   lists of Events, round after round, in each round one for every feed
    Times are medians over the rounds of the mean over the feeds; work and types are those of the first round.
    """
    every, (_, *bodies) = list(graph.nodes(model)), graph.graphs(model)
    inside = {id(node) for body in bodies for node in body.node}
    nodes = _matched(every, [event for run in runs for event in run])
    milliseconds, facts = defaultdict(lambda: np.zeros(len(runs))), {}
    for at, run in enumerate(runs):
        for event in run:
            milliseconds[_key(event)][at] += event.self_us / 1e3
    for feed, run in zip(feeds, runs, strict=False):
        tensors = _known_tensors(model, feed)
        codes = codes_of(graph.nodes(model), {name: one.dtype for name, one in tensors.items()})
        for event in run:
            node = nodes[_key(event)]
            _learn(node, event, tensors)
            facts.setdefault(_key(event), []).append(_facts(node, tensors, codes))
    ran = {id(node) for node in nodes.values()}
    nodes |= {(node.name, id(node)): node for node in every if id(node) not in ran}
    for key, node in nodes.items():
        known = facts.get(key) or [_facts(node, {})]
        rounds = milliseconds[key].reshape(-1, len(feeds)).mean(axis=1) if key in facts else 0.0
        whole = known[0] | {what: sum(one[what] for one in known) // len(feeds) for what in WORK}
        where = {"domain": "" if node.domain == "ai.onnx" else node.domain, "inside": id(node) in inside}
        yield NodeTime(key[0], op_type=node.op_type, ms=float(np.median(rounds)), node=node, **where, **whole)


def _key(event):
    return event.name, event.op_type, event.index


def _matched(nodes, events):
    """{key of an event: its node}, in order of execution. onnxruntime calls a node without a name "MatMul_17"."""
    named, unnamed = defaultdict(list), defaultdict(list)
    for node in nodes:
        (named[node.name] if node.name else unnamed[node.op_type]).append(node)
    matched = {}
    for key in sorted({_key(event) for event in events}, key=lambda key: key[2]):
        candidates = named.get(key[0]) or unnamed.get(key[1])
        if candidates:
            matched[key] = candidates.pop(0)
    return {key: matched[key] for key in dict.fromkeys(map(_key, events)) if key in matched}


def _known_tensors(model, feed):
    weights = stored(model).items()
    tensors = {name: Tensor(one.data_type, tuple(one.dims), constant=True) for name, one in weights}
    for name, value in feed.items():
        value = np.asarray(value)
        if value.dtype.kind not in "OUS":
            tensors[name] = Tensor(helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
    return tensors


def _learn(node, event, tensors):
    """Note the shapes that an event shows: of its outputs, and of inputs that came into a body from outside."""
    unknown = any(name and name not in tensors for name in node.input)
    seen = list(_inputs(node, event, tensors)) if unknown else []
    seen += zip([name for name in node.output if name], event.tensors("output"), strict=False)
    for name, (kind, shape) in seen:
        tensors[name] = Tensor(PROFILER_TYPES.get(kind, TensorProto.UNDEFINED), tuple(shape))


def _inputs(node, event, tensors):
    """(name, what the event shows of it) of the inputs that move; constants that were packed at load are not shown."""
    shown = iter(event.tensors("input"))
    following = next(shown, None)
    for name in filter(None, node.input):
        known = tensors.get(name)
        is_constant = known is not None and known.constant
        if following is None or (is_constant and known.shape != tuple(following[1])):
            continue
        if not is_constant:
            yield name, following
        following = next(shown, None)


def _facts(node, tensors, codes=CODES):
    types = {name: tensors[name].dtype for name in (*node.input, *node.output) if name in tensors}
    left, right = _factors(node, tensors)
    work = macs(node, tensors)
    return {
        "kind": kind_of(node, types, codes),
        "macs": work,
        "bytes": sum(tensors[name].bytes for name in {*node.input, *node.output} if name in tensors),  # each once
        "input_bytes": left.bytes if work else 0,
        "sign_pair": sign_pair(node, tensors),
        "weights": right.shape if right is not None and right.constant else (),
        "depthwise": is_depthwise(node, tensors),
    }
