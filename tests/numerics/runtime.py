"""One ONNX operator, run by onnxruntime's CPU kernels."""

import ml_dtypes
import numpy as np
import onnxruntime
from onnx import helper, numpy_helper

NATIVE = {np.dtype(name) for name in ("int8", "uint8", "int16", "uint16", "int32", "float16", "float32")}


def run(operator, *inputs, output_dtypes, opset=25, **attributes):
    """The operator's outputs. An input may be None (left out).

    Types that NumPy lacks go in as initializers and come out through a Cast: onnxruntime's Python door does not take
    them.
    """
    names = [f"x{i}" if x is not None else "" for i, x in enumerate(inputs)]
    arrays = {name: np.asarray(x) for name, x in zip(names, inputs, strict=True) if name}
    fed = {name: x for name, x in arrays.items() if x.dtype in NATIVE}
    outputs = [f"y{i}" for i in range(len(output_dtypes))]
    nodes, graph_outputs = [helper.make_node(operator, names, outputs, **attributes)], []
    for name, dtype in zip(outputs, output_dtypes, strict=True):
        shown = np.dtype(dtype) if np.dtype(dtype) in NATIVE else _wider(dtype)
        onnx_type = helper.np_dtype_to_tensor_dtype(shown)
        if shown != dtype:
            nodes.append(helper.make_node("Cast", [name], [f"{name}_wide"], to=onnx_type))
        graph_outputs.append(helper.make_tensor_value_info(name if shown == dtype else f"{name}_wide", onnx_type, None))
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape) for n, x in fed.items()],
        graph_outputs,
        [numpy_helper.from_array(x, n) for n, x in arrays.items() if n not in fed],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    results = [y.astype(dtype) for y, dtype in zip(session.run(None, fed), output_dtypes, strict=True)]
    return results[0] if len(results) == 1 else results


def _wider(dtype):
    name = np.dtype(dtype).name
    if name in ("int4", "int2"):
        return np.dtype(np.int8)
    return np.dtype(np.uint8 if name in ("uint4", "uint2") else np.float32)


def saturates():
    """Whether this computer's u8 x s8 kernels saturate at int16 (x86 without VNNI), as twice 255 * 127 shows."""
    a, b = np.full((1, 64), 255, np.uint8), np.full((64, 16), 127, np.int8)
    y = run("MatMulInteger", a, b, output_dtypes=["int32"])
    return bool((y != 64 * 255 * 127).any())


assert ml_dtypes  # registers int4, float8 ... with NumPy
