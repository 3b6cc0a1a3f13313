"""Run a model so that every float tensor on the way can be seen."""

from itertools import islice
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from qlab.graph.feeds import check_feed
from qlab.graph.files import load
from qlab.graph.walking import graphs

WATCHED = {"tensor(float)": np.float32, "tensor(float16)": np.float16}  # what onnxruntime's quantizer takes
OTHER_FLOATS = {"tensor(double)", "tensor(bfloat16)"}


class WatchedModel:
    """The model file `path`, opened so that `run` shows the tensors inside: the inputs and what the nodes compute.

    Graph optimizations are off: they fuse nodes and rename tensors, and a quantizer works on the names in the file.
    The file is not changed, and weights stored outside it are read where they lie.
    tensors   {name: np.float32 or np.float16} of all that is watched, in graph order
    left_out  {name: reason} of the tensors that cannot be
    Raises what `graph.load` raises, and ValueError if onnxruntime cannot run the model.
    """

    def __init__(self, path):
        self.path = Path(path)
        model = load(self.path)
        inputs, computed = _show_all(model)
        self.session = _open(model, self.path)
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
            arrays = self.session.run(self._fetched, dict(feed))
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise ValueError(f"onnxruntime could not run {self.path.name!r} on this feed ({error})") from error
        yield from ((name, feed[name]) for name in self.tensors if name in feed)
        yield from zip(self._fetched, arrays, strict=True)


def _show_all(model):
    """Make an output of all that the nodes compute. Returns the names of inputs and of computed tensors, in order."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value.name for value in model.graph.input if value.name not in weights]
    computed = [name for node in model.graph.node for name in node.output if name]
    shown = {value.name for value in model.graph.output}
    # A name is enough: onnxruntime knows the types, also where ONNX's own inference does not (other domains).
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in computed if name not in shown)
    return inputs, computed


def _open(model, path):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4  # failures arrive as exceptions
    options.enable_mem_pattern = False  # one plan would be kept for each new length of input
    # Idle workers would otherwise spin on the cores that do the counting.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    folder = str(path.parent.resolve())
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise ValueError(f"{path}: onnxruntime cannot open it ({error}); does it run without quantization?") from error
