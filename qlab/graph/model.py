"""A model file, opened once: found whole or refused, and what is asked of it, worked out once."""

from collections import Counter
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PureWindowsPath

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto, numpy_helper
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_model, uses_external_data

from qlab.files import ModelPath, as_path, scratch
from qlab.graph.network import Network, element_types, graphs, nodes, tensors
from qlab.numerics.dtypes import Array
from qlab.runtime import open_session, open_unoptimized

ELEMENT_TYPES = {kind for kind in onnx.TensorProto.DataType.values() if kind != onnx.TensorProto.UNDEFINED}
OPTIMIZED = "optimized.onnx"
LARGE = 1_500_000_000  # bytes; a protobuf message ends at 2**31. Well below, weights move to a file beside the model
OLDEST_OPSET = 13  # QuantizeLinear and DequantizeLinear have an axis since then


class Model:
    """A model file, opened once and checked: its ModelProto, and what is asked of it, worked out once.

    >>> model = graph.opened("model.onnx")  # doctest: +SKIP
    >>> model.operators["MatMul"], model.size_mb  # doctest: +SKIP
    (74, 14.7)

    path    the file; a Model stands for it wherever a path does
    proto   the ModelProto. Weights that are stored outside the file stay outside. Nobody's to change: `copy` is
    Raises as `load`. Where the ModelProto in the file is at hand, it need not be read again.
    """

    def __init__(self, path: ModelPath, proto: ModelProto | None = None):
        self.path = as_path(path)
        self.proto = load(path) if proto is None else proto
        self._stamp = _stamp(self.path)

    def __fspath__(self):
        return str(self.path)

    def __repr__(self):
        return f"Model({str(self.path)!r})"

    @property
    def is_current(self) -> bool:
        """Whether the file is still the one that was opened."""
        return self.path.is_file() and _stamp(self.path) == self._stamp

    @cached_property
    def nodes(self):
        """All nodes, those of bodies and functions included."""
        return tuple(nodes(self.proto))

    @cached_property
    def operators(self) -> Counter[str]:
        """How many nodes there are of each type."""
        return Counter(node.op_type for node in self.nodes)

    @cached_property
    def network(self) -> Network:
        """Who computes and who reads what in the main graph."""
        return Network(self.proto)

    @cached_property
    def types(self) -> dict[str, int]:
        """{tensor: element type}, as far as they can be told."""
        return element_types(self.proto)

    @cached_property
    def metadata(self) -> dict[str, str]:
        """What the file says about itself, such as {"qlab.recipe": "static"}."""
        return {entry.key: entry.value for entry in self.proto.metadata_props}

    @property
    def opset(self) -> int:
        """The version of the standard operators."""
        return opset_of(self.proto)

    @cached_property
    def external(self) -> set[str]:
        """Names of the files, relative to the model's own, that hold its weights."""
        return external_files(self.proto)

    @cached_property
    def bytes(self) -> int:
        """Size of the file and of those that hold its weights."""
        files = (self.path, *(self.path.parent / name for name in self.external))
        return sum(file.stat().st_size for file in files)

    @property
    def size_mb(self) -> float:
        """The same in MB (10^6 bytes)."""
        return self.bytes / 1e6

    @cached_property
    def optimized(self) -> ModelProto:
        """The ModelProto of the graph that onnxruntime runs, see `graph.optimized`; nobody's to change either."""
        with scratch() as folder:
            open_session(self.path, adjust=lambda options: keep_optimized(options, folder))
            return kept(folder)

    def copy(self, *, weights: bool = False) -> ModelProto:
        """A ModelProto to change. `weights`: with those from outside the file in it."""
        copied = onnx.ModelProto()
        copied.CopyFrom(self.proto)
        if weights:
            load_external_data_for_model(copied, str(self.path.parent))
        return copied

    def array(self, tensor: TensorProto) -> Array:
        """The numbers of one of its stored tensors, wherever they lie."""
        return numpy_helper.to_array(tensor, base_dir=str(self.path.parent))

    def session(self, **options):
        """An onnxruntime session, see `runtime.open_session`."""
        return open_session(self.path, **options)

    def unoptimized(self, proto: ModelProto | None = None, shown=()):
        """A session with nothing fused, of a changed copy `proto` if one is given, see `runtime.open_unoptimized`."""
        return open_unoptimized(self.proto if proto is None else proto, self.path, shown)


def opened(model: ModelPath | Model) -> Model:
    """The Model of a path; a Model is handed on. Raises as `load`, and ValueError if its file has changed since."""
    if not isinstance(model, Model):
        return Model(model)
    if not model.is_current:
        raise ValueError(f"{model.path} has changed since it was opened; open it again: graph.opened(path)")
    return model


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


def _stamp(path):
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def optimized(path: ModelPath | Model) -> ModelProto:
    """The ModelProto of the graph that onnxruntime runs for the model file `path` on this CPU, without its weights.

    "Did it really run on integers?" is answered here, not by the file that a quantizer wrote: onnxruntime decides at
    load which Q/DQ pairs become integer kernels. Names of nodes match those in its profile.
    Raises what `graph.load` raises, and ValueError if onnxruntime cannot open the model.
    """
    return opened(path).optimized


def keep_optimized(options, folder):
    """Let a session with these SessionOptions write the graph that it runs into `folder`, where `kept` reads it."""
    options.optimized_model_filepath = str(Path(folder) / OPTIMIZED)
    # Weights go to a file of their own, which nobody reads: quick, and no limit at 2 GB.
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")


def kept(folder):
    """The ModelProto that a session with `keep_optimized` wrote into `folder`, without its large weights."""
    return onnx.load(Path(folder) / OPTIMIZED, load_external_data=False)


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


def external_files(model):
    """Names of the files, relative to the model's own, that hold its weights."""
    return {ExternalDataInfo(tensor).location for tensor in tensors(model) if uses_external_data(tensor)}


def data_file(output):
    """Where the weights of a large model are stored: beside it."""
    return output.with_name(f"{output.name}.data")


def write(model, folder, name):
    """Write the ModelProto `model` as `folder / name`; a large one with its weights in a second file."""
    path = folder / name
    if sum(len(tensor.raw_data) for tensor in tensors(model)) > LARGE:
        onnx.save(model, path, save_as_external_data=True, location=data_file(path).name, convert_attribute=False)
    else:
        onnx.save(model, path)
    return path


def opset_of(model):
    """The version of the standard operators that a ModelProto has; OLDEST_OPSET if it has none of them."""
    return max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=OLDEST_OPSET)
