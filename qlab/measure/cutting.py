"""Cut a quantized model between its layers, so that each of them can be given what the fp32 model gives."""

import numpy as np
import onnx
from onnx import TensorProto, helper

from qlab.files import as_path
from qlab.graph.feeds import check_feed
from qlab.graph.files import load
from qlab.graph.unoptimized import open_unoptimized, show
from qlab.graph.walking import bodies
from qlab.machine.runtime import run
from qlab.measure.matching import TO_CODES, TO_FLOATS, find
from qlab.measure.network import Network

CUT = "/fp32"  # ends the names of what carries the fp32 model's values
FLOATS = {
    "tensor(float)": (TensorProto.FLOAT, np.float32),
    "tensor(float16)": (TensorProto.FLOAT16, np.float16),
    "tensor(double)": (TensorProto.DOUBLE, np.float64),
}


class CutModel:
    """The quantized model file `path`, to be run whole, or cut at those of the tensors `names` that it keeps.

    names, original  tensors of the fp32 model, and its Network

    kept     {name: Kept} of the tensors that can be compared
    skipped  {name: reason} of the others
    Raises what `graph.load` raises, and ValueError if onnxruntime cannot run the model.
    """

    def __init__(self, path, names, original):
        self.path = as_path(path)
        self._model = load(self.path)
        self.network = Network(self._model)
        self.kept, self.skipped = find(names, self.network, original)
        for one in self.kept.values():
            self._model.graph.node.extend(one.decoders)
        show(self._model, [name for one in self.kept.values() for name in one.seen])
        self.session = open_unoptimized(self._model, self.path)
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
            types = {name: FLOATS[self._type(name)][0] for name in reference}
            model = cut(self._model, {name: (self.kept[name], kind) for name, kind in types.items()})
            self._cut_session, self._cut_at = open_unoptimized(model, self.path), set(reference)
        given = {f"{name}{CUT}": self._as_here(name, array) for name, array in reference.items()}
        yield from self._run(self._cut_session, dict(feed) | given, reference)

    def skip(self, name, reason):
        """Compare the tensor `name` no longer."""
        self.skipped[name] = reason
        del self.kept[name]

    def _type(self, name):
        return self._types[self.kept[name].seen[0]]

    def _as_here(self, name, array):
        with np.errstate(over="ignore"):  # float16 has no room for float32's largest
            return array.astype(FLOATS[self._type(name)][1], copy=False)

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
