"""Open a model in onnxruntime the way every measurement of the course does."""

import os
from os import PathLike
from pathlib import Path

import onnxruntime


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
