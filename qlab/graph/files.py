"""Open a model file and find what is wrong with it before anything is built on it."""

from pathlib import Path, PureWindowsPath

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from qlab.graph.walking import tensors
from qlab.types import ModelPath


def load(path: ModelPath) -> ModelProto:
    """The ModelProto in the file `path`. Weights that are stored outside it are checked, and stay outside.

    Raises FileNotFoundError if the file or its external data are not there. Raises ValueError if the file is truncated
    or no ONNX model or a folder, or if its external data lie outside the model's folder or end too early.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; expected a model file in it, such as {path / 'model.onnx'}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such model file; check the path, or make the model first")
    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise ValueError(f"{path}: truncated, or not an ONNX file ({error}); export or copy it again") from error
    if not model.graph.node or not model.opset_import:
        raise ValueError(f"{path}: {path.stat().st_size} bytes that hold no ONNX graph; export or copy the model again")
    check_external_data(model, path)
    return model


def check_external_data(model, path):
    """Raise unless every tensor of `model` that is stored outside `path` is there, whole, inside the model's folder."""
    for tensor in tensors(model):
        if uses_external_data(tensor):
            _check_tensor(tensor.name, ExternalDataInfo(tensor), path)


def _check_tensor(name, info, path):
    folder, location = path.parent.resolve(), info.location
    # A model from a stranger could name any file of the reader's, and its bytes would end up in the quantized model.
    absolute = Path(location).is_absolute() or PureWindowsPath(location).is_absolute()
    target = (folder / location).resolve()
    if not location or absolute or not target.is_relative_to(folder):
        raise ValueError(
            f"{path}: tensor {name!r} is stored in {location!r}, outside the model's folder; expected a file beside "
            "the model: move it there and save the model again with onnx.save(..., location=...)"
        )
    if not target.is_file():
        raise FileNotFoundError(f"{path}: its external data file {location!r} is missing; copy it beside the model")
    end, size = (info.offset or 0) + (info.length or 0), target.stat().st_size
    if end > size:
        raise ValueError(
            f"{path}: its external data file {location!r} is truncated: it has {size:,} bytes, but tensor {name!r} "
            f"ends at byte {end:,}; copy it again"
        )
