"""Exercise 01.5: a Q/DQ pair in ONNX: what is right, and wrong graphs by name."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from qlab.course.brief import brief, error_text, kind
from qlab.course.expect import call, expect_close
from qlab.course.verdict import Almost
from qlab.machine.runtime import open_session, run_operator

PAIRS = [(0.02, 120), (0.5, 3), (1.5, 255)]  # scale, zero_point
EXAMPLE = np.float32([-3.0, -0.31, 0.0, 0.25, 0.74, 1.0, 7.3, 1e4])


def qdq_model(scale, zero_point):
    """An ONNX model of a vector: x -> QuantizeLinear -> DequantizeLinear -> y."""
    return _pair(scale, zero_point)


def run_model(model, x):
    """The model's y for x, an array, as onnxruntime computes it."""
    return open_session(model.SerializeToString()).run(None, {"x": x})[0]


def _pair(scale, zero_point, domain=""):
    """The pair; with a domain a Neg follows, so that who computes both by hand gives another y."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "y")]
    held = [numpy_helper.from_array(np.array(np.float32(scale)), "scale")]
    held += [numpy_helper.from_array(np.array(np.uint8(zero_point)), "zero_point")]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero_point"], ["q"], domain=domain),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero_point"], ["back" if domain else "y"], domain=domain),
    ]
    nodes += [helper.make_node("Neg", ["back"], ["y"])] if domain else []
    opsets = [helper.make_opsetid("", 21)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    graph = helper.make_graph(nodes, "pair", ends[:1], ends[1:], held)
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def judge(build, run, scale, zero_point):
    """Refuse a pair that is wrong for this scale and zero point. -> the model as it was built"""
    where = f"for scale {scale:g} and zero_point {zero_point}"
    given = _built(build, run, scale, zero_point)
    model = _opened(given)
    _judge_pair(model, scale, zero_point, where)
    for x in (EXAMPLE, EXAMPLE[:3]):
        codes = run_operator("QuantizeLinear", x, scale, zero_point)
        expected = run_operator("DequantizeLinear", codes, scale, zero_point)
        _judge_result(_run_itself(model, x), expected, f"y of your model {where}")
        _judge_result(call(run, given, x, name="run_model"), expected, f"y of run_model {where}")
    return given


def _built(build, run, scale, zero_point):
    """What qdq_model returns; if it raises, and run_model makes a model, the two are swapped."""
    try:
        return call(build, scale, zero_point, name="qdq_model")
    except Almost:
        try:
            swapped = isinstance(call(run, scale, zero_point), onnx.ModelProto | bytes)
        except Almost:
            swapped = False
        if swapped:
            raise Almost("the two functions are in the wrong order: give (qdq_model, run_model)") from None
        raise


def _opened(given):
    """The model that the answer made: a ModelProto, its bytes, or the path of its file."""
    if isinstance(given, onnx.GraphProto):
        raise Almost("qdq_model returned the graph: `helper.make_model(graph, ...)` makes a model of it")
    if isinstance(given, tuple | list):
        raise Almost(f"qdq_model returned a {kind(given)}: expected the model alone")
    try:
        model = given if isinstance(given, onnx.ModelProto) else None
        model = onnx.load_from_string(given) if isinstance(given, bytes) else model or onnx.load(given)
    except Exception as error:
        raise Almost(f"qdq_model returned {brief(given)} of type `{kind(given)}`: expected an onnx model") from error
    return model


def _judge_pair(model, scale, zero_point, where):
    graph = model.graph
    types = [node.op_type for node in graph.node]
    if "Constant" in types:
        raise Almost("scale or zero_point comes out of a Constant node: hand it to make_graph as an initializer")
    if types == ["DequantizeLinear", "QuantizeLinear"] and set(graph.node[0].input) & {i.name for i in graph.input}:
        raise Almost(
            "the nodes stand the other way round: QuantizeLinear makes codes, then DequantizeLinear reads them"
        )
    if sorted(types) != ["DequantizeLinear", "QuantizeLinear"]:
        raise Almost(f"the nodes are {types}: expected one QuantizeLinear, then one DequantizeLinear")
    nodes = {node.op_type: node for node in graph.node}
    _judge_wires(graph, nodes["QuantizeLinear"], nodes["DequantizeLinear"])
    for node in (nodes["QuantizeLinear"], nodes["DequantizeLinear"]):
        _judge_constants(graph, node, scale, zero_point, where)
    _judge_ends(graph)
    _judge_opens(model)


def _judge_wires(graph, first, second):
    inputs = [entry.name for entry in graph.input]
    held = {tensor.name for tensor in graph.initializer}
    for node in (first, second):
        for name in node.input[1:]:
            if name in inputs and name not in held:
                raise Almost(
                    f"{name!r} is an input of the graph: then whoever runs the model must bring it along. Keep it in "
                    "the model, as an initializer"
                )
            if name and name not in held:
                raise Almost(f"{node.op_type} reads {name!r}, and no initializer has this name: {sorted(held)}")
    inputs = [name for name in inputs if name not in held]
    outputs = [entry.name for entry in graph.output]
    if len(inputs) != 1 or len(outputs) != 1:
        raise Almost(f"the graph's inputs are {inputs}, its outputs {outputs}: expected one of each")
    if first.output[0] in outputs and second.input[0] == first.output[0]:
        raise Almost("the graph's output is what QuantizeLinear makes, the codes: expected what DequantizeLinear makes")
    if second.input[0] != first.output[0]:
        raise Almost(
            f"DequantizeLinear reads {second.input[0]!r}, and QuantizeLinear writes {first.output[0]!r}: a wire "
            "between two nodes is a name that both use"
        )
    if list(first.input[:1]) != inputs or list(second.output) != outputs:
        raise Almost(
            f"the nodes read {first.input[0]!r} and write {second.output[0]!r}, the graph's input is {inputs[0]!r} and "
            f"its output {outputs[0]!r}: use the same names"
        )


def _judge_constants(graph, node, scale, zero_point, where):
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    names = [*node.input[1:], "", ""]
    if not names[0]:
        raise Almost(f"{node.op_type} has no scale: its inputs are {list(node.input)}")
    if not names[1]:
        raise Almost(f"{node.op_type} has no zero_point: left out, it is 0")
    found_scale, found_zero_point = held[names[0]], held[names[1]]
    if found_scale.dtype.kind in "iu" and found_zero_point.dtype.kind == "f":
        raise Almost(f"{node.op_type}: scale comes before zero_point among the inputs, seen {list(node.input)}")
    if found_scale.dtype != np.float32:
        raise Almost(f"the scale of {node.op_type} is {found_scale.dtype}: the type of x is float32, and so is scale's")
    if found_zero_point.dtype != np.uint8:
        raise Almost(
            f"the zero point of {node.op_type} is {found_zero_point.dtype}: its type is that of the codes, uint8"
        )
    for name, found, expected in (("scale", found_scale, scale), ("zero point", found_zero_point, zero_point)):
        if found.size != 1:
            raise Almost(f"the {name} of {node.op_type} has shape {found.shape}: expected one number")
        expect_close(found.reshape(()), expected, f"the {name} of {node.op_type} {where}", rtol=1e-6, atol=0)


def _judge_ends(graph):
    for entry, what in ((graph.input[0], "input"), (graph.output[0], "output")):
        found = entry.type.tensor_type.elem_type
        if found != TensorProto.FLOAT:
            name = TensorProto.DataType.Name(found)
            raise Almost(f"the graph's {what} {entry.name!r} is declared {name}: real numbers are TensorProto.FLOAT")
    shape = graph.input[0].type.tensor_type.shape
    fixed = [dimension.dim_value for dimension in shape.dim if dimension.HasField("dim_value")]
    if fixed:
        raise Almost(f"x has the fixed shape {fixed}: name the length, as in ['n'], so that any length will do")
    if graph.input[0].type.tensor_type.HasField("shape") and len(shape.dim) != 1:
        raise Almost(f"x is declared with {len(shape.dim)} axes: a vector has one, ['n']")


def _judge_opens(model):
    newest = max((entry.version for entry in model.opset_import if not entry.domain), default=0)
    try:
        open_session(model.SerializeToString())
    except Exception as error:
        said = ""
        if "ir version" in str(error).lower():
            said = f". The file's format is IR version {model.ir_version}: name an older one, `ir_version=10`"
        elif newest < 10:
            said = f". The model asks for opset {newest}: QuantizeLinear came with opset 10, so name a later one, as 21"
        elif "implementation for" in str(error) or "opset" in str(error).lower():
            said = (
                f". The model asks for opset {newest}; name one that this onnxruntime knows: "
                '`opset_imports=[helper.make_opsetid("", 21)]`'
            )
        raise Almost(f"onnxruntime cannot open the model: {error_text(error)}{said}") from error


def _run_itself(model, x):
    """y of a model with one input, by the check's own hand."""
    return open_session(model.SerializeToString()).run(None, {model.graph.input[0].name: x})[0]


def _judge_result(seen, expected, what):
    if isinstance(seen, list) and len(seen) == 1 and isinstance(seen[0], np.ndarray):
        raise Almost(f"{what}: `session.run` gives a list, one array for each output: return its first entry")
    if isinstance(seen, np.ndarray) and seen.dtype == np.uint8:
        raise Almost(f"{what}: these are the codes; y are real numbers again")
    expect_close(seen, expected, what, hint="run the model that was given, with x under its input's name")


def judge_runs_what_it_is_given(run, given):
    """A pair from onnxruntime's own domain, which onnx's reference evaluator cannot run, with other constants."""
    other = _pair(0.125, 9, domain="com.microsoft")
    other.graph.input[0].name = other.graph.node[0].input[0] = _opened(given).graph.input[0].name
    if not isinstance(given, onnx.ModelProto | bytes):
        return  # a path: what it names was run above
    try:
        seen = call(run, other.SerializeToString() if isinstance(given, bytes) else other, EXAMPLE, name="run_model")
    except Almost as error:
        raise Almost(f"{error}. onnxruntime runs this model: does it use onnxruntime.InferenceSession?") from error
    expected, given_y = _run_itself(other, EXAMPLE), _run_itself(_opened(given), EXAMPLE)
    mistakes = {
        "this is computed by hand from scale and zero_point; let onnxruntime run the model": -expected,
        "run_model gives the same for every model: run the one that it is given": given_y,
    }
    expect_close(seen, expected, "y of another model, with a Neg behind the pair", mistakes=mistakes)
