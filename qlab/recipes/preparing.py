"""Pre-processing: what onnxruntime's quantizer wants done to a model before it quantizes."""

from pathlib import Path

import onnx
from onnx import inliner, version_converter
from onnxruntime.quantization.shape_inference import quant_pre_process

from qlab import graph
from qlab.files import as_path
from qlab.graph.unoptimized import open_unoptimized, show
from qlab.machine.runtime import open_session
from qlab.recipes.files import LARGE, check_output, publish, stored_bytes, workshop, write, writing
from qlab.recipes.logs import captured_logs
from qlab.recipes.naming import part_names
from qlab.recipes.rewriting import delist_weights, listed_weights, rewrite
from qlab.recipes.widening import narrow_types, widen
from qlab.types import ModelPath

OLDEST_OPSET = 13  # QuantizeLinear and DequantizeLinear have an axis since then
TYPES = {  # onnxruntime's names of those that operators of its own give
    "tensor(float)": onnx.TensorProto.FLOAT, "tensor(int32)": onnx.TensorProto.INT32,
    "tensor(int64)": onnx.TensorProto.INT64, "tensor(bool)": onnx.TensorProto.BOOL,
}  # fmt: skip
DONE = ("onnx.quant.pre_process", "onnxruntime.quant")  # without this mark onnxruntime's quantizers complain


def prepare(model: ModelPath, output: ModelPath) -> Path:
    """Write the model that the recipes really quantize: `model` fused and folded, with its shapes. Returns the path.

    Collect ranges on this one if several recipes are to share them: fusing drops and renames tensors.
    Raises ValueError for a model that is quantized already or cannot be opened, FileNotFoundError where one is missing.
    """
    model, source = as_path(model), check_source(model)
    output = check_output(output, model, source)
    with workshop(output) as folder, writing(output):
        prepared, _ = prepared_in(folder, model, source)
        return publish(write(onnx.load(prepared), folder, output.name), output)


def check_source(model):
    """The ModelProto of the file `model`, its external weights left where they are, if a recipe can start from it.

    Raises ValueError naming what shows that it is quantized already, and what `graph.load` raises.
    """
    source = graph.load(model)
    if found := graph.quantized_by(source):
        raise ValueError(
            f"{model} is already quantized: it has {', '.join(found)} nodes. Quantizing twice only adds error; start "
            "from the fp32 model that it was made from"
        )
    return source


def prepared_in(folder, model, source):
    """The path of the pre-processed model in `folder`, and notes on what was done or failed on the way.

    1. Floats of 16 bits become float32, weights that are listed as inputs constants.
    2. onnxruntime's own pre-processing folds constants, fuses BatchNorm and biases, and infers shapes.
    3. If it fails, as it may where declared shapes contradict each other: the model as it is, functions inlined,
       constants turned into weights, declared shapes dropped.
    4. A model of an opset before 13 is converted to that.
    5. What the quantizers take wrongly is rewritten: see `rewrite`.
    Every node then has a name of its own, by which the quantizer tells nodes apart.
    """
    model, notes = _plain(folder, model, source)
    open_session(model)  # a model that does not run at all fails here, with a better message
    target, large = folder / "prepared.onnx", stored_bytes(model, onnx.load(model, load_external_data=False)) > LARGE
    why = _pre_process(model, target, large)
    if why is not None and not target.exists():
        write(_as_it_is(model), folder, target.name)
    notes += [] if why is None else [f"pre-processing failed, so less was fused ahead: {why}"]
    if not large:
        notes += _modernize(target)
    _tidy(target)
    return target, notes


def _plain(folder, model, source):
    """The path of `model` with float32 numbers and constant weights, a copy in `folder` where need be, and notes."""
    if not narrow_types(source) and not listed_weights(source):
        return model, []
    plain = onnx.load(model)
    notes = [widen(plain), delist_weights(plain)]
    with writing(folder):
        return write(plain, folder, "plain.onnx"), [note for note in notes if note]


def opset_of(model):
    """The version of the standard operators that a ModelProto has; OLDEST_OPSET if it has none of them."""
    return max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=OLDEST_OPSET)


def _modernize(path):
    """Convert the model to OLDEST_OPSET if its opset is an older one, in place; or else say in a note why it is not."""
    model = onnx.load(path)
    opset = opset_of(model)
    if opset >= OLDEST_OPSET:
        return []
    try:
        converted = version_converter.convert_version(model, OLDEST_OPSET).SerializeToString()
        open_session(converted)
    except Exception as error:  # its C++ has no exceptions of its own, and knows no operators but the standard ones
        return [f"opset {opset} is too old for a scale per channel, and cannot be converted: {_in_a_line(error)}"]
    path.write_bytes(converted)
    return [f"opset {opset} was converted to {OLDEST_OPSET}: the first with a scale per channel"]


def _pre_process(model, target, large):
    """What went wrong in onnxruntime's pre-processing, in one line, or None."""
    placed = {"all_tensors_to_one_file": True, "external_data_location": "prepared.onnx.data"} if large else {}
    with captured_logs() as records:
        try:
            # Symbolic shape inference would need sympy; onnxruntime's optimizer infers shapes as well.
            quant_pre_process(str(model), str(target), skip_symbolic_shape=True, save_as_external_data=large, **placed)
        except Exception as error:  # whatever a model of foreign make provokes in onnx and onnxruntime
            target.unlink(missing_ok=True)
            return _in_a_line(error)
    return next((record.getMessage().strip().splitlines()[-1] for record in reversed(records)), None)


def _in_a_line(error):
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _as_it_is(path):
    model = inliner.inline_local_functions(onnx.load(path))
    for one in graph.graphs(model):
        del one.value_info[:]
        for node in [node for node in one.node if node.op_type == "Constant" and node.attribute[0].name == "value"]:
            weight = one.initializer.add()
            weight.CopyFrom(node.attribute[0].t)
            weight.name = node.output[0]
            one.node.remove(node)
    return model


def _tidy(path):
    """Rewrite the model, name every node, drop unused operator sets, and mark it as pre-processed, in place."""
    model = onnx.load(path, load_external_data=False)
    part_names(model)
    _fill_in_types(model, path)
    rewrite(model, path.parent)
    taken, domains = set(), {""}
    for index, node in enumerate(graph.nodes(model)):
        if not node.name or node.name in taken:
            node.name = next(name for name in _names(node, index) if name not in taken)
        taken.add(node.name)
        domains.add("" if node.domain == "ai.onnx" else node.domain)
    used = [opset for opset in model.opset_import if opset.domain in domains | {"ai.onnx"}]
    del model.opset_import[:]
    model.opset_import.extend(used)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, properties | dict([DONE]))
    path.write_bytes(model.SerializeToString())


def _fill_in_types(model, path):
    """Declare, in place, the types of tensors that ONNX cannot infer, behind onnxruntime's own operators for one."""
    known = {value.name for value in (*model.graph.value_info, *model.graph.output)}
    lacking = {name for node in model.graph.node for name in node.output if name} - known
    if not lacking:
        return
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    show(shown, sorted(lacking))
    try:
        session = open_unoptimized(shown, path)
    except ValueError:  # a tensor that cannot be an output, such as one that is only there with optimizations
        return
    for value in session.get_outputs():
        if value.name in lacking and value.type in TYPES:
            sizes = value.shape or None  # onnxruntime shows a scalar and an open rank alike
            model.graph.value_info.append(onnx.helper.make_tensor_value_info(value.name, TYPES[value.type], sizes))


def _names(node, index):
    yield f"{node.op_type}_{index}"
    while True:
        index = f"{index}_"
        yield f"{node.op_type}_{index}"
