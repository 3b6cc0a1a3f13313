"""Everything in a model, wherever it hides: in the branches of If, the bodies of Loop and Scan, in functions.

Open a model file and find what is wrong with it before anything is built on it.

The graph that onnxruntime really runs, after its own optimizations.

What a model's files say about it: size on disk, and whether its weights mean anything."""

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PureWindowsPath

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from qlab.files import ModelPath, as_path, scratch
from qlab.runtime import open_session


def graphs(model: ModelProto) -> Iterator[GraphProto]:
    """Every graph of `model`: its own first, then those inside If, Loop and Scan, at any depth, functions' too."""
    yield from _with_subgraphs(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _inside(node)


def nodes(model: ModelProto) -> Iterator[NodeProto]:
    """Every node of `model`, those of subgraphs and functions included."""
    for one in graphs(model):
        yield from one.node
    for function in model.functions:
        yield from function.node


def tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every stored tensor of `model`: initializers, sparse ones too, and tensors in attributes (Constant)."""
    for one in graphs(model):
        yield from one.initializer
        for sparse in one.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in nodes(model):
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            yield from attribute.tensors


def bodies(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs inside one node: the branches of an If, the body of a Loop or Scan."""
    for attribute in node.attribute:
        yield from [attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs


def reads(node: NodeProto) -> Iterator[str]:
    """Every name that `node` reads: its inputs, and what the nodes of its bodies read, at any depth."""
    yield from (name for name in node.input if name)
    for body in bodies(node):
        for inner in body.node:
            yield from reads(inner)


def depth_first(roots, producers):
    """Every index that leads to `roots`, each once and after all its producers."""
    order, seen = [], set()
    for root in roots:
        stack = [] if root in seen else [(root, iter(producers[root]))]
        seen.add(root)
        while stack:
            index, rest = stack[-1]
            following = next((producer for producer in rest if producer not in seen), None)
            if following is None:
                order.append(index)
                stack.pop()
            else:
                seen.add(following)
                stack.append((following, iter(producers[following])))
    return order


def _with_subgraphs(graph):
    yield graph
    for node in graph.node:
        yield from _inside(node)


def _inside(node):
    for body in bodies(node):
        yield from _with_subgraphs(body)


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


def size_mb(path):
    """Size in MB (10^6 bytes) of an ONNX model with the external data files that its tensors name."""
    path = Path(path)
    model = onnx.load(path, load_external_data=False)
    locations = {ExternalDataInfo(tensor).location for tensor in _tensors(model) if uses_external_data(tensor)}
    return sum(file.stat().st_size for file in [path, *(path.parent / location for location in locations)]) / 1e6


def _tensors(model):
    """Every tensor that is stored in the model: initializers and attributes, of subgraphs and functions too."""
    graphs = [model.graph]
    nodes = [node for function in model.functions for node in function.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
            nodes += graph.node
            continue
        for attribute in nodes.pop().attribute:
            yield from ([attribute.t] if attribute.HasField("t") else []) + list(attribute.tensors)
            graphs += ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs)


# A protobuf message ends at 2**31 bytes. Well below that, weights move to a file beside the model.
LARGE = 1_500_000_000


def external_files(model):
    """Names of the files, relative to the model's own, that hold its weights."""
    return {ExternalDataInfo(tensor).location for tensor in tensors(model) if uses_external_data(tensor)}


def stored_bytes(path, model):
    """Bytes of a model file and of the files that hold its weights."""
    return sum(Path(file).stat().st_size for file in (path, *(path.parent / name for name in external_files(model))))


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


OLDEST_OPSET = 13  # QuantizeLinear and DequantizeLinear have an axis since then


def opset_of(model):
    """The version of the standard operators that a ModelProto has; OLDEST_OPSET if it has none of them."""
    return max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=OLDEST_OPSET)
