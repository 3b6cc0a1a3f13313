"""Open a model, or run one operator, in onnxruntime the way every measurement of the course does."""

import os
import threading
from concurrent.futures import Future
from os import PathLike
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from qlab.machine.identity import usable_cores

LIMIT_S, LONGEST_S, GRACE_S = 120.0, 1_000_000, 10.0  # seconds: for one run of a model, to end one that is stopped
MOST_THREADS = 64  # or as many as there are cores
_NARROW = {TensorProto.INT4: TensorProto.INT8, TensorProto.UINT4: TensorProto.UINT8}


def open_session(model, *, threads=1, adjust=None):
    """An onnxruntime session on the CPU for `model`, a path or a serialized model's bytes.

    `threads` run inside one operator, and operators run one after another. `adjust(options)` may change the
    SessionOptions first. Raises FileNotFoundError if the file is not there, ValueError if onnxruntime cannot read or
    run it.
    """
    check_threads(threads)
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


def check_threads(threads):
    """Raise ValueError unless `threads` is a number of threads that a machine can serve."""
    most = max(MOST_THREADS, usable_cores())
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= most:
        raise ValueError(f"threads is {threads!r}; expected a whole number from 1 up, {most} at most")


def run(session, feed, names=None, *, limit_s=None):
    """What the onnxruntime session `session` answers to `feed`: its outputs, or those in `names`, as a list.

    A model that has not answered after `limit_s` seconds (None: QLAB_TIME_LIMIT, or else LIMIT_S) is stopped, with a
    ValueError. The caller's thread only waits, so that an interrupt stops it as well. Not for timing: starting a thread
    takes a while. Raises what onnxruntime raises.
    """
    limit_s = _limit_s() if limit_s is None else limit_s
    options, outcome = onnxruntime.RunOptions(), Future()

    def work():
        try:
            outcome.set_result(session.run(names, dict(feed), options))
        except BaseException as error:
            outcome.set_exception(error)

    thread = threading.Thread(target=work, name="qlab run", daemon=True)
    thread.start()
    try:
        return outcome.result(limit_s)
    except TimeoutError:
        raise NeverEnds(
            f"the model has not answered after {limit_s:g} s, and may never: is there a Loop without an end in it? If "
            "it only is that slow, set QLAB_TIME_LIMIT to more seconds"
        ) from None
    finally:
        options.terminate = True  # without effect on what has ended
        thread.join(GRACE_S)  # the end of the process would meet it in the midst of onnxruntime


def repeats(session, feed):
    """Whether the model answers `feed` alike twice: one that draws random numbers does not."""
    return all(_alike(*pair) for pair in zip(run(session, feed), run(session, feed), strict=True))


def _alike(one, other):
    if not isinstance(one, np.ndarray):
        return one == other
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


class NeverEnds(ValueError):
    """A model did not answer in time. To try it again, with another feed, would take as long."""


def _limit_s():
    text = os.environ.get("QLAB_TIME_LIMIT", str(LIMIT_S))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= LONGEST_S:
        raise ValueError(f"QLAB_TIME_LIMIT is {text!r}; expected seconds, more than 0 and at most {LONGEST_S:,}")
    return seconds


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
