"""Names of nodes to leave alone, followed through the fusing that pre-processing does."""

import difflib

import onnx

from qlab import graph
from qlab.graph.operators import CLIPS, FLOAT_PRODUCTS, PASSED_AT_LOAD
from qlab.recipes.choosing import check_names

NEEDED = "a Log, root or quotient behind needs smaller numbers than codes tell apart"
SHOWN = 5  # names in a note
WIDEST_SPAN = 255.0  # of what a Softmax reads: steps of 1, each a factor of e in the result


def excluded(work, names):
    """{name in the pre-processed model: why} of the nodes that `names` names in the original.

    A node that was fused into another is found by what it computes: from its output forward, along single consumers, to
    the first tensor that is still there. Raises ValueError for a name that the original does not have.
    """
    check_names(names, "exclude")
    nodes = {node.name: node for node in graph.nodes(work.source) if node.name}
    prepared = onnx.load(work.prepared, load_external_data=False)
    still = {node.name for node in graph.nodes(prepared)}
    producers = {name: node for node in graph.nodes(prepared) for name in node.output}
    found = set()
    for name in names:
        if name not in nodes and name not in still:
            close = difflib.get_close_matches(name, nodes, n=3)
            hint = (
                f"did you mean {', '.join(map(repr, close))}?" if close else f"the model has {len(nodes)} named nodes"
            )
            raise ValueError(f"exclude names {name!r}, which {work.model} does not have; {hint}")
        fused = {name} & still or {f"{name}/MatMulAddFusion"} & still
        found.update(fused or [_fused_into(nodes[name], work.source, producers)])
    # A Relu or Clip computes nothing on codes: it is where they end. Alone in float it would be given coarser ones.
    clips = (node for node in graph.nodes(prepared) if node.op_type in CLIPS and node.input[0] in producers)
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
    prepared = onnx.load(work.prepared, load_external_data=False)
    reasons, left_out = {}, ranges.left_out
    for node in prepared.graph.node:
        lacking = next((name for name in (*node.input, *node.output) if name in left_out), None)
        if node.op_type in op_types and lacking is not None:
            reasons[node.name] = f"{lacking!r} has no range: {left_out[lacking]}"
    return reasons


def around_masks(work, ranges, op_types):
    """{name: why} of each Softmax whose scores no code could tell apart, and of what made their range so wide.

    Such is what a mask of -10000 or of the lowest float does, added or chosen: 255 codes from there to the scores. Wide
    tensors are followed back from the Softmax; products stay integer products, since a mask is none.
    """
    nodes = list(onnx.load(work.prepared, load_external_data=False).graph.node)
    producers = {name: node for node in nodes for name in node.output}
    reasons, seen = {}, set()
    for softmax in (node for node in nodes if node.op_type == "Softmax" and _is_wide(ranges, node.input[0])):
        todo = [softmax]
        while todo:
            node = todo.pop()
            if node.name in seen or node.op_type in FLOAT_PRODUCTS:
                continue
            seen.add(node.name)
            if node.op_type in op_types:
                reasons[node.name] = f"{softmax.input[0]!r}, what {softmax.name!r} reads, is masked"
            todo += [producers[name] for name in node.input if name in producers and _is_wide(ranges, name)]
    return reasons


def of_unlike_sizes(work, ranges, op_types):
    """{name: why} of each Concat and sum whose one scale would leave some of its numbers without codes, see `Joins`.

    With it stays in float what reads it and is no product: that would ask for codes of the same tensor.
    """
    nodes = onnx.load(work.prepared, load_external_data=False).graph.node
    crowded, reasons = {}, {}
    for node in nodes:
        from_join = next((crowded[name] for name in node.input if name in crowded), "")
        why = from_join or next((f"{name!r}: {why}" for name in node.output[:1] if (why := _crowded(ranges, name))), "")
        if not why or node.op_type in FLOAT_PRODUCTS or (from_join and node.op_type not in op_types):
            continue
        if node.op_type in op_types:
            reasons[node.name] = why
        crowded |= dict.fromkeys(node.output, why)
    return reasons


def of_small_numbers(work, ranges, static, dynamic=()):
    """{name: why} of the nodes whose codes would lose the small numbers that a Log, root or quotient behind them needs.

    static, dynamic  operators that get codes to read and to write, and to read only. See `Magnitudes`.
    """
    lost = ranges.joins.magnitudes.lost(ranges)
    reasons = {}
    for node in onnx.load(work.prepared, load_external_data=False).graph.node:
        read, written = ([lost[name] for name in names if name in lost] for names in (node.input, node.output))
        needed = read + written if node.op_type in static else read and written if node.op_type in dynamic else ()
        if needed:
            reasons[node.name] = f"too few codes for the small numbers that {needed[0]} needs"
    return reasons


def _crowded(ranges, name):
    return ranges.joins.crowded(name, *map(float, ranges[name])) if name in ranges else ""


def _is_wide(ranges, name):
    low, high = ranges.get(name, (0.0, 0.0))
    return float(high) - float(low) > WIDEST_SPAN


def _fused_into(node, source, producers):
    consumers = {}
    for other in graph.nodes(source):
        for name in other.input:
            consumers.setdefault(name, []).append(other)
    moves = node.op_type in PASSED_AT_LOAD
    while node is not None:
        if node.output[0] in producers:
            found = producers[node.output[0]]
            while found.op_type in PASSED_AT_LOAD and not moves:  # products of stacks are fused between two Reshapes
                found = producers[found.input[0]]
            return found.name
        following = consumers.get(node.output[0], [])
        node = following[0] if len(following) == 1 else None
    return None  # folded into a constant: nothing is left to quantize
