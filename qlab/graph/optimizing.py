"""The graph that onnxruntime really runs, after its own optimizations."""

import tempfile
from pathlib import Path

import onnx
import onnxruntime

from qlab.graph.files import load


def optimized(path):
    """The ModelProto of the graph that onnxruntime runs for the model file `path` on this CPU, without its weights.

    "Did it really run on integers?" is answered here, not by the file that a quantizer wrote: onnxruntime decides at
    load which Q/DQ pairs become integer kernels. Names of nodes match those in its profile.
    Raises what `graph.load` raises, and ValueError if onnxruntime cannot open the model.
    """
    load(path)
    with tempfile.TemporaryDirectory(prefix="qlab-") as folder:
        target = Path(folder) / "optimized.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        options.optimized_model_filepath = str(target)
        # Weights go to a file of their own, which nobody reads: quick, and no limit at 2 GB.
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
        try:
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise ValueError(f"{path}: onnxruntime cannot open it ({error})") from error
        return onnx.load(target, load_external_data=False)
