"""Open a model file and find what is wrong with it before anything is built on it."""

from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PureWindowsPath

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from qlab.files import as_path
from qlab.graph.walking import graphs, nodes, tensors
from qlab.types import ModelPath

ELEMENT_TYPES = {kind for kind in onnx.TensorProto.DataType.values() if kind != onnx.TensorProto.UNDEFINED}


def load(path: ModelPath) -> ModelProto:
    """The ModelProto in the file `path`. Weights that are stored outside it are checked, and stay outside.

    Raises FileNotFoundError if the file or its external data are not there. Raises ValueError if the file is truncated
    or no ONNX model or a folder, or if its external data lie outside the model's folder or end too early, if a name in
    it is no text, or a function of its own calls itself.
    """
    path = as_path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; expected a model file in it, such as {path / 'model.onnx'}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such model file; check the path, or make the model first")
    if onnx.serialization.registry.get_format_from_file_extension(path.suffix) not in (None, "protobuf"):
        raise ValueError(
            f"{path} is a model as text, going by its name; onnxruntime opens binary .onnx files: "
            f"onnx.save(onnx.load({path.name!r}), {path.with_suffix('.onnx').name!r}) makes one"
        )
    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise ValueError(f"{path}: truncated, or not an ONNX file ({error}); export or copy it again") from error
    if not model.graph.node or not model.opset_import:
        raise ValueError(f"{path}: {path.stat().st_size} bytes that hold no ONNX graph; export or copy the model again")
    _check_names(model, path)
    _check_functions(model, path)
    check_external_data(model, path)
    return model


def _check_names(model, path):
    """Raise unless all names are UTF-8: protobuf hands out others as bytes, on which all that follows would trip."""
    for one in graphs(model):
        _check_text(path, (one.name,))
        for value in (*one.input, *one.output, *one.value_info):
            _check_text(path, (value.name, *(size.dim_param for size in value.type.tensor_type.shape.dim)))
    for node in nodes(model):
        attributes = (attribute.name for attribute in node.attribute)
        _check_text(path, (node.op_type, node.domain, node.name, *node.input, *node.output, *attributes))
    for tensor in tensors(model):
        _check_text(path, (tensor.name, *(text for entry in tensor.external_data for text in (entry.key, entry.value))))
        if tensor.data_type not in ELEMENT_TYPES or min(tensor.dims, default=0) < 0:
            raise ValueError(
                f"{path}: damaged, the tensor {tensor.name!r} is of element type {tensor.data_type} and shape "
                f"{list(tensor.dims)}; export or copy the model again"
            )
    _check_text(path, (one.domain for one in (*model.opset_import, *model.functions)))
    _check_text(path, (function.name for function in model.functions))
    _check_text(path, (text for entry in model.metadata_props for text in (entry.key, entry.value)))


def _check_text(path, names):
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"{path}: damaged, the name {name!r} is no text (UTF-8); export or copy the model again")


def _check_functions(model, path):
    """Raise if a function of the model's own calls itself: it could never be put in its place."""
    calls = {
        (function.domain, function.name): {(node.domain, node.op_type) for node in function.node}
        for function in model.functions
    }
    try:
        TopologicalSorter(calls).prepare()
    except CycleError as error:
        names = " -> ".join(name for _, name in error.args[1])
        raise ValueError(f"{path}: functions call each other in a circle, {names}; export the model anew") from None


def check_external_data(model, path):
    """Raise unless every tensor of `model` that is stored outside `path` is there, whole, inside the model's folder."""
    for tensor in tensors(model):
        if uses_external_data(tensor):
            try:
                info = ExternalDataInfo(tensor)
                if "\0" in info.location:
                    raise ValueError("its file's name holds a zero")
                target = (path.parent.resolve() / info.location).resolve()
                target.is_file()
            except (OSError, RuntimeError, ValueError) as error:  # a name too long, a circle of links, no number
                raise ValueError(
                    f"{path}: where tensor {tensor.name!r} is stored cannot be read, the model is damaged: {error}; "
                    "export or copy it again"
                ) from None
            _check_tensor(tensor.name, info, path, target)


def _check_tensor(name, info, path, target):
    folder, location = path.parent.resolve(), info.location
    # A model from a stranger could name any file of the reader's, and its bytes would end up in the quantized model.
    absolute = Path(location).is_absolute() or PureWindowsPath(location).is_absolute()
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
