"""A quantized model cut between its layers, so that each can be given what the fp32 model gives.

To that end each tensor of the fp32 model is found in the quantized one: as floats, as codes, or as both.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from qlab.graph.editing import show
from qlab.graph.network import bodies
from qlab.graph.operators import CLIPS, MOVERS, attribute, moves, scale_places
from qlab.runtime import check_feed, run

TO_CODES, TO_FLOATS = "QuantizeLinear", "DequantizeLinear"
CUT = "/fp32"  # ends the names of what carries the fp32 model's values
FLOATS = {f"tensor({name})": getattr(TensorProto, name.upper()) for name in ("float", "float16", "double")}


@dataclass(frozen=True)
class Codes:
    """A tensor of codes with its scale and zero point, all by name ("": the default zero point).

    quantizer  the QuantizeLinear that made them; None: an integer kernel did
    """

    name: str
    scale: str
    zero_point: str
    options: dict
    domain: str
    quantizer: NodeProto | None

    def quantize(self, value, output):
        """A node that turns the float tensor `value` into codes of this kind, called `output`."""
        if self.quantizer is None:
            return self._node(TO_CODES, value, output)
        node = NodeProto()
        node.CopyFrom(self.quantizer)
        node.name, node.input[0], node.output[0] = output, value, output
        return node

    def dequantize(self, output):
        """A node that turns the codes themselves into the float tensor `output`."""
        return self._node(TO_FLOATS, self.name, output)

    def _node(self, op_type, value, output):
        inputs = [name for name in (value, self.scale, self.zero_point) if name]
        return helper.make_node(op_type, inputs, [output], output, domain=self.domain, **self.options)


@dataclass(frozen=True)
class Kept:
    """What stands for one fp32 tensor in the quantized graph.

    raw      names of its values as computed; rounded, as DequantizeLinear gives them back
    codes    its codes; empty where it is not quantized
    seen     where its readers find it: after DequantizeLinear, one name for each kind of codes, if it is quantized
    decoders nodes to add, so that codes which only integer kernels read can be seen
    """

    raw: frozenset[str]
    rounded: frozenset[str]
    codes: tuple[Codes, ...]
    seen: tuple[str, ...]
    decoders: tuple[NodeProto, ...]


def find(names, network, original):
    """What stands in the Network `network` for the tensors `names` of the fp32 Network `original`.

    Returns {name: Kept}, and {name: why not} for the others.

    1. A float of that name, with the Q and DQ that follow it: its readers see what DQ gives.
    2. What DQ gives has that name, such as an output of the model: Q, and the float before it, come before.
    3. There are codes only, called <name>_quantized, as onnxruntime's integer format (QOperator) writes them.
    4. A Relu, or a Clip at 0, is gone, since codes without negative values clip by themselves: the codes before it are
       those of what it gave.
    An input of the model counts where it is quantized.
    """
    kept, missing, taken = {}, {}, set(names)
    for name in names:
        start = next((start for start in (name, f"{name}_quantized") if network.has(start)), None)
        if start is None:
            missing[name] = _why_missing(name, network)
            continue
        floats, codes = _connected(start, start != name, network, taken - {name})
        codes = [_described(one, network) for one in codes]
        if None in codes:
            missing[name] = "kept as codes whose scale is not in the graph"
        elif codes or name not in network.inputs:
            kept[name] = _kept(floats, codes, network)
    for name in names:
        before = _clipped_by_codes(name, kept, missing, network, original)
        if before is not None:
            kept[name], missing[before] = kept.pop(before), f"holds what {name!r} is in the fp32 model"
            del missing[name]
    return {name: kept[name] for name in names if name in kept}, missing


def _clipped_by_codes(name, kept, missing, network, original):
    """The tensor whose codes stand for the missing `name` by rule 4, or None."""
    maker = original.producers.get(name)
    if name not in missing or maker is None or maker.op_type not in CLIPS:
        return None
    before = maker.input[0]
    alone = len(original.readers[before]) == 1 and before not in original.outputs
    codes = kept[before].codes if alone and before in kept else ()
    return before if codes and all(network.starts_at_zero(one.zero_point) for one in codes) else None


def moved(kept, network):
    """Those of the tensors `kept` whose codes are another's, only moved: they were rounded there, to the same scale."""
    homes = {value: one for one in kept.values() for value in (*one.rounded, *(codes.name for codes in one.codes))}
    return {name for name, one in kept.items() if len(one.codes) == 1 and _is_moved(one, homes, network)}


def _is_moved(one, homes, network):
    makers = [network.producers.get(value) for value in (*one.raw, one.codes[0].name)]
    movers = [node for node in makers if node and moves(node) and node.input[0] in homes]
    sources = [homes[node.input[0]] for node in movers if _fills_in_codes(node, one.codes[0], network)]
    scales = [(codes.scale, codes.zero_point) for source in sources for codes in source.codes]
    own = (one.codes[0].scale, one.codes[0].zero_point)
    return any(all(map(network.are_equal, own, other)) for other in scales)


def _fills_in_codes(node, codes, network):
    """Whether the number that a Pad puts around others, if `node` is one, is a code of theirs: so is 0, always."""
    if node.op_type != "Pad" or attribute(node, "mode", b"constant") != b"constant":
        return True
    name = node.input[2] if len(node.input) > 2 else ""
    maker = network.producers.get(name)
    if name and maker is None:
        return network.is_on_grid(name, codes.scale, codes.zero_point)
    if maker is not None and maker.op_type == TO_FLOATS:
        value = (*maker.input, "")[:3]  # codes, scale, zero point
        own = (codes.scale, codes.zero_point)
        return network.are_equal(value[0], value[2]) or all(map(network.are_equal, value[1:], own))
    return not name and not attribute(node, "value", 0.0)


def _why_missing(name, network):
    if name in network.constants:
        return "a constant in the quantized model"
    if name in network.inside:
        return "inside the body of an If, Loop or Scan"
    return "not in the quantized model: fused into another or folded away"


def _connected(start, is_codes, network, others):
    """All names that Q and DQ connect with `start`, as (floats, codes) in order; `others` are tensors of their own."""
    floats, codes, todo = [], [], [(start, is_codes)]
    while todo:
        name, is_codes = todo.pop(0)
        if name in (*floats, *codes) or name in others or not network.has(name):
            continue
        (codes if is_codes else floats).append(name)
        forward, backward = (TO_FLOATS, TO_CODES) if is_codes else (TO_CODES, TO_FLOATS)
        todo += [(node.output[0], not is_codes) for node in network.takers(name, forward)]
        maker = network.producers.get(name)
        if maker is not None and maker.op_type == backward:
            todo.append((maker.input[0], not is_codes))
    return floats, codes


def _described(name, network):
    """The Codes called `name`, or None if their scale is in no node that makes or reads them."""
    maker = network.producers[name]
    if maker.op_type == TO_CODES:
        return _codes(name, maker, (1, 2))
    found = _place_of_scale(name, network)
    return None if found is None else _codes(name, *found)


def _codes(name, node, places):
    scale, zero_point = (node.input[place] if place < len(node.input) else "" for place in places)
    if node.op_type not in (TO_CODES, TO_FLOATS):
        return Codes(name, scale, zero_point, {}, "", None)
    attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    options = {key: attributes[key] for key in ("axis", "block_size") if key in attributes}
    return Codes(name, scale, zero_point, options, node.domain, node if node.op_type == TO_CODES else None)


def _place_of_scale(name, network):
    """Where scale and zero point of codes made by an integer kernel stand: (node, places among its inputs), or None.

    1. DequantizeLinear and the integer kernels with scales that are fixed ahead read them beside the codes.
    2. What moves codes, or works between them as a Resize does, leaves their scale as it is: what follows has it too.
    """
    for node in network.readers.get(name, ()):
        if name not in node.input:  # read in a body
            continue
        places = scale_places(node, list(node.input).index(name))
        if places is not None and places[0] is not None:
            return node, places
        if node.op_type in MOVERS and (found := _place_of_scale(node.output[0], network)) is not None:
            return found
    return None


def _kept(floats, codes, network):
    seen, decoders = [], []
    for one in codes:
        takers = network.takers(one.name, TO_FLOATS)
        if not takers:
            decoders.append(one.dequantize(f"{one.name}/seen"))
        seen.append((takers or decoders[-1:])[0].output[0])
    decoded = {node.output[0] for one in codes for node in network.takers(one.name, TO_FLOATS)}
    raw, rounded = frozenset(floats) - decoded, frozenset(floats) & decoded
    return Kept(raw, rounded, tuple(codes), tuple(seen or floats), tuple(decoders))


class CutModel:
    """The quantized Model `model`, to be run whole, or cut at those of the tensors `names` that it keeps.

    names, original  tensors of the fp32 model, and its Network

    kept     {name: Kept} of the tensors that can be compared
    skipped  {name: reason} of the others
    Raises ValueError if onnxruntime cannot run the model.
    """

    def __init__(self, model, names, original):
        self.path, self.network = model.path, model.network
        self._open, self._model = model.unoptimized, model.copy()
        self.kept, self.skipped = find(names, self.network, original)
        for one in self.kept.values():
            self._model.graph.node.extend(one.decoders)
        show(self._model, [name for one in self.kept.values() for name in one.seen])
        self.session = self._open(self._model)
        self._types = {value.name: value.type for value in self.session.get_outputs()}
        for name in list(self.kept):
            if self._type(name) not in FLOATS:
                self.skip(name, f"holds {self._type(name)} in the quantized model")
        self._cut_session, self._cut_at = None, set()

    def run(self, feed):
        """Yield (name, place, array) of every kept tensor as its readers see it, which may be in several places."""
        check_feed(self.session, feed, self.path.name)
        yield from self._run(self.session, feed, self.kept)

    def run_cut(self, feed, reference):
        """The same for the tensors in `reference`, {name: array}: whoever reads one of them is given that array."""
        if self._cut_at != set(reference):  # nearly always once: which tensors compare seldom depends on the feed
            readers = {name: (self.kept[name], FLOATS[self._type(name)]) for name in reference}
            model = cut(self._model, readers)
            self._cut_session, self._cut_at = self._open(model), set(reference)
        here = {name: helper.tensor_dtype_to_np_dtype(FLOATS[self._type(name)]) for name in reference}
        with np.errstate(over="ignore"):  # float16 has no room for float32's largest
            given = {f"{name}{CUT}": array.astype(here[name], copy=False) for name, array in reference.items()}
        yield from self._run(self._cut_session, dict(feed) | given, reference)

    def skip(self, name, reason):
        """Compare the tensor `name` no longer."""
        self.skipped[name] = reason
        del self.kept[name]

    def _type(self, name):
        return self._types[self.kept[name].seen[0]]

    def _run(self, session, feed, names):
        places = [(name, place) for name in names for place in self.kept[name].seen]
        if not places:  # onnxruntime would take an empty list for all outputs
            return
        try:
            arrays = run(session, feed, [place for _, place in places])
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise ValueError(f"onnxruntime could not run {self.path.name!r} on this feed ({error})") from error
        yield from ((*place, array) for place, array in zip(places, arrays, strict=True))


def cut(model, kept):
    """A copy of the ModelProto `model` in which whoever reads a tensor in `kept` reads an input of the model instead.

    kept  {name: (Kept, element type)}; the new input is called <name>/fp32
    1. The layers still compute their outputs, with the Q and DQ that belong to them: nobody reads those any more.
    2. Who reads floats reads the new input: after the cut a tensor is exact, so that its rounding is charged once.
    3. Who reads codes, an integer kernel, must still read codes: those of the new input, so that it also pays for them.
    4. Bodies of If, Loop and Scan read tensors from outside by name, and are cut alike.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    floats, codes, owner = {}, {}, {}
    for name, (one, kind) in kept.items():
        result.graph.input.append(helper.make_tensor_value_info(f"{name}{CUT}", kind, None))
        floats |= dict.fromkeys((*one.raw, *one.rounded), f"{name}{CUT}")
        codes |= {each.name: each for each in one.codes}
        owner |= dict.fromkeys((*one.raw, *one.rounded, *one.seen, *(each.name for each in one.codes)), name)
    renamed = floats | {name: f"{name}{CUT}" for name in codes}
    used = set()
    for node in result.graph.node:
        if not _is_within(node, owner):
            used |= _redirect(node, renamed)
    encoders = [codes[name].quantize(f"{owner[name]}{CUT}", renamed[name]) for name in codes if renamed[name] in used]
    result.graph.node.extend(encoders)
    return result


def _is_within(node, owner):
    """Whether `node` is the Q or DQ between two values of one tensor."""
    ends = node.op_type in (TO_CODES, TO_FLOATS) and {owner.get(node.input[0]), owner.get(node.output[0])}
    return bool(ends) and len(ends) == 1 and None not in ends


def _redirect(node, renamed):
    """Let `node` read the new names, its bodies too, except for what they call so themselves. Returns those used."""
    used = set()
    for place, name in enumerate(node.input):
        if name in renamed:
            node.input[place] = renamed[name]
            used.add(renamed[name])
    for body in bodies(node):
        own = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
        own |= {name for inner in body.node for name in inner.output}
        outer = {name: new for name, new in renamed.items() if name not in own}
        for inner in body.node:
            used |= _redirect(inner, outer)
    return used
