"""Run a model node by node, as its file says: nothing fused, so that every tensor in it can be shown."""

import onnx
import onnxruntime


def show(model, names):
    """Make outputs of the tensors `names` of the ModelProto `model`, in place; what is one already stays as it is."""
    shown = {value.name for value in model.graph.output}
    # A name is enough: onnxruntime knows the types, also where ONNX's own inference does not (other domains).
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in shown)


def open_unoptimized(model, path):
    """An onnxruntime session for the ModelProto `model`, made from the file `path`, with graph optimizations off.

    They fuse nodes and rename tensors. Weights stored outside `path` are read where they lie.
    Raises ValueError if onnxruntime cannot run the model.
    """
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
        raise ValueError(
            f"{path}: onnxruntime cannot open it ({error}); does it run in an ordinary session?"
        ) from error
