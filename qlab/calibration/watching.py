"""Run a model so that every float tensor on the way can be seen."""

from itertools import islice

import numpy as np

from qlab.calibration.joins import Joins
from qlab.files import as_path
from qlab.graph.feeds import check_feed
from qlab.graph.files import load
from qlab.graph.unoptimized import open_unoptimized, show
from qlab.graph.walking import graphs
from qlab.machine.runtime import run

WATCHED = {"tensor(float)": np.float32, "tensor(float16)": np.float16}  # what onnxruntime's quantizer takes
OTHER_FLOATS = {"tensor(double)", "tensor(bfloat16)"}


class WatchedModel:
    """The model file `path`, opened so that `run` shows the tensors inside: the inputs and what the nodes compute.

    Graph optimizations are off: they fuse nodes and rename tensors, and a quantizer works on the names in the file.
    The file is not changed, and weights stored outside it are read where they lie.
    tensors   {name: np.float32 or np.float16} of all that is watched, in graph order
    left_out  {name: reason} of the tensors that cannot be
    joins     Joins of the model, which has seen nothing yet
    Raises what `graph.load` raises, and ValueError if onnxruntime cannot run the model.
    """

    def __init__(self, path):
        self.path = as_path(path)
        model = load(self.path)
        inputs, computed = _names(model)
        show(model, computed)
        self.session = open_unoptimized(model, self.path)
        self.joins = Joins(model)  # of a model that runs: each node has the inputs and outputs that it needs
        types = {value.name: value.type for value in (*self.session.get_inputs(), *self.session.get_outputs())}
        types = {name: types[name] for name in (*inputs, *computed)}
        self.tensors = {name: WATCHED[kind] for name, kind in types.items() if kind in WATCHED}
        self.left_out = {name: f"holds {kind}" for name, kind in types.items() if kind in OTHER_FLOATS}
        inside = {name for graph in islice(graphs(model), 1, None) for node in graph.node for name in node.output}
        self.left_out |= dict.fromkeys(inside - {"", *types}, "inside the body of an If, Loop or Scan")
        self._fetched = [name for name in computed if name in self.tensors]

    def run(self, feed):
        """Yield (name, array) of every watched tensor for one feed, which is checked first."""
        check_feed(self.session, feed, self.path.name)
        try:
            arrays = run(self.session, feed, self._fetched) if self._fetched else []
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise ValueError(f"onnxruntime could not run {self.path.name!r} on this feed ({error})") from error
        yield from ((name, feed[name]) for name in self.tensors if name in feed)
        yield from zip(self._fetched, arrays, strict=True)


def _names(model):
    """Names of inputs and of what the nodes compute, in order."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value.name for value in model.graph.input if value.name not in weights]
    return inputs, [name for node in model.graph.node for name in node.output if name]
