"""The graph that onnxruntime really runs, after its own optimizations."""

from pathlib import Path

import onnx
from onnx import ModelProto

from qlab.files import scratch
from qlab.graph.files import load
from qlab.machine.runtime import open_session
from qlab.types import ModelPath

FILE = "optimized.onnx"


def optimized(path: ModelPath) -> ModelProto:
    """The ModelProto of the graph that onnxruntime runs for the model file `path` on this CPU, without its weights.

    "Did it really run on integers?" is answered here, not by the file that a quantizer wrote: onnxruntime decides at
    load which Q/DQ pairs become integer kernels. Names of nodes match those in its profile.
    Raises what `graph.load` raises, and ValueError if onnxruntime cannot open the model.
    """
    load(path)
    with scratch() as folder:
        open_session(path, adjust=lambda options: keep_optimized(options, folder))
        return kept(folder)


def keep_optimized(options, folder):
    """Let a session with these SessionOptions write the graph that it runs into `folder`, where `kept` reads it."""
    options.optimized_model_filepath = str(Path(folder) / FILE)
    # Weights go to a file of their own, which nobody reads: quick, and no limit at 2 GB.
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")


def kept(folder):
    """The ModelProto that a session with `keep_optimized` wrote into `folder`, without its large weights."""
    return onnx.load(Path(folder) / FILE, load_external_data=False)
