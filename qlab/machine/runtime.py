"""Open a model, or run one operator, in onnxruntime the way every measurement of the course does."""

import os
from os import PathLike
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

_NARROW = {TensorProto.INT4: TensorProto.INT8, TensorProto.UINT4: TensorProto.UINT8}


def open_session(model, *, threads=1, adjust=None):
    """An onnxruntime session on the CPU for `model`, a path or a serialized model's bytes.

    `threads` run inside one operator, and operators run one after another. `adjust(options)` may change the
    SessionOptions first. Raises FileNotFoundError if the file is not there, ValueError if onnxruntime cannot read or
    run it.
    """
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads is {threads!r}; expected a whole number from 1 up")
    if not isinstance(model, bytes | str | PathLike):
        raise ValueError(f"model is a {type(model).__name__}; expected a path, or a serialized model's bytes")
    source = model if isinstance(model, bytes) else os.fspath(model)
    shown = f"a model of {len(model)} bytes" if isinstance(model, bytes) else source
    if not isinstance(model, bytes) and not Path(source).is_file():
        raise FileNotFoundError(f"{shown}: no such model file; check the path, or make the model first")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # warnings would litter notebooks; failures arrive as exceptions
    # Idle workers of one session would otherwise spin on the cores that the next session is timed on.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if adjust is not None:
        adjust(options)
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise ValueError(
            f"{shown}: onnxruntime cannot open it; is it a complete ONNX file, its external data beside it? ({error})"
        ) from error


def run_operator(op_type, *inputs, opset=21, domain="", **attributes):
    """The first output of one operator, by onnxruntime.

    >>> run_operator("QuantizeLinear", np.float32([-1, 0.5]), np.float32(0.1), np.uint8(10))
    array([ 0, 15], dtype=uint8)

    inputs: arrays in the operator's order, ml_dtypes' 4-bit ones too; None for one that is left out. Integers of fewer
    than 8 bits come back as int8 or uint8, since onnxruntime hands none to NumPy. Raises ValueError as `open_session`.
    """
    names = ["" if array is None else f"input_{index}" for index, array in enumerate(inputs)]
    held = [numpy_helper.from_array(np.asarray(x), name) for x, name in zip(inputs, names, strict=True) if name]
    nodes = [helper.make_node(op_type, names, ["output"], domain=domain, **attributes)]
    graph = helper.make_graph(nodes, op_type, [], [onnx.ValueInfoProto(name="output")], held)
    opsets = [helper.make_opsetid(name, version) for name, version in {domain: 1, "": opset}.items()]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    try:
        inferred = onnx.shape_inference.infer_shapes(model).graph.output[0].type.tensor_type.elem_type
    except onnx.shape_inference.InferenceError as error:
        raise ValueError(f"{op_type} does not take these inputs: {error}") from error
    if inferred in _NARROW:
        graph = model.graph
        graph.node.append(helper.make_node("Cast", ["output"], ["widened"], to=_NARROW[inferred]))
        graph.output[0].name = "widened"
    return open_session(model.SerializeToString()).run(None, {})[0]
