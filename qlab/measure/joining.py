"""Join what the profiler saw to the nodes of the graph that ran."""

from collections import defaultdict

import numpy as np
from onnx import TensorProto, helper

from qlab import graph
from qlab.graph.operators import codes_of, factors, is_product, kind_of
from qlab.measure.profiles import NodeTime
from qlab.measure.work import PROFILER_TYPES, Tensor, is_depthwise, macs, moved_bytes, sign_pair


def node_times(model, runs, feeds):
    """The NodeTimes of the optimized ModelProto `model`, in order of execution; nodes that never ran come last.

    runs   lists of Events, round after round, in each round one for every feed
    Times are medians over the rounds of the mean over the feeds; work and types are those of the first round.
    """
    nodes = _matched(list(graph.nodes(model)), [event for run in runs for event in run])
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
    for key, node in nodes.items():
        rounds = milliseconds[key].reshape(-1, len(feeds)).mean(axis=1)
        yield _node_time(node, key[0], float(np.median(rounds)), facts.get(key, []), len(feeds))
    ran = {id(node) for node in nodes.values()}
    for node in graph.nodes(model):
        if id(node) not in ran:
            yield _node_time(node, node.name, 0.0, [], len(feeds))


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
    tensors = {
        tensor.name: Tensor(tensor.data_type, tuple(tensor.dims), constant=True)
        for one in graph.graphs(model)
        for tensor in one.initializer
    }
    for name, value in feed.items():
        value = np.asarray(value)
        if value.dtype.kind not in "OUS":
            tensors[name] = Tensor(helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
    return tensors


def _learn(node, event, tensors):
    """Note the shapes that an event shows: of its outputs, and of inputs that came into a body from outside."""
    unknown = any(name and name not in tensors for name in node.input)
    seen = list(_inputs(node, event, tensors)) if unknown else []
    seen += zip([name for name in node.output if name], event.outputs, strict=False)
    for name, (kind, shape) in seen:
        tensors[name] = Tensor(PROFILER_TYPES.get(kind, TensorProto.UNDEFINED), tuple(shape))


def _inputs(node, event, tensors):
    """(name, what the event shows of it) of the inputs that move; constants that were packed at load are not shown."""
    shown = iter(event.inputs)
    following = next(shown, None)
    for name in filter(None, node.input):
        known = tensors.get(name)
        is_constant = known is not None and known.constant
        if following is None or (is_constant and known.shape != tuple(following[1])):
            continue
        if not is_constant:
            yield name, following
        following = next(shown, None)


def _facts(node, tensors, codes):
    types = {name: tensors[name].dtype for name in (*node.input, *node.output) if name in tensors}
    weights = tensors.get(node.input[factors(node)[1]]) if is_product(node) else None
    return {
        "kind": kind_of(node, types, codes),
        "macs": macs(node, tensors),
        "bytes": moved_bytes(node, tensors),
        "input_bytes": tensors[node.input[factors(node)[0]]].bytes if macs(node, tensors) else 0,
        "sign_pair": sign_pair(node, tensors),
        "weights": weights.shape if weights is not None and weights.constant else (),
        "depthwise": is_depthwise(node, tensors),
    }


def _node_time(node, name, milliseconds, facts, feeds):
    first = facts[0] if facts else {"kind": kind_of(node, {}), "sign_pair": "", "weights": (), "depthwise": False}
    return NodeTime(
        name=name,
        domain="" if node.domain == "ai.onnx" else node.domain,
        op_type=node.op_type,
        kind=first["kind"],
        ms=milliseconds,
        macs=sum(one["macs"] for one in facts) // feeds,
        bytes=sum(one["bytes"] for one in facts) // feeds,
        input_bytes=sum(one["input_bytes"] for one in facts) // feeds,
        sign_pair=first["sign_pair"],
        weights=first["weights"],
        depthwise=first["depthwise"],
        node=node,
    )
