"""The table of operators is right and the only one; what its twins once differed in is the same everywhere."""

import ast
import math
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

import qlab
from qlab import graph, machine, measure, recipes
from qlab.graph import operators
from qlab.graph.operators import OPERATORS
from qlab.runtime import run_operator
from tests.builders import faults, steady
from tests.builders.blocks import FLOAT, node, noise, save, value, weights

MICROSOFT = "com.microsoft"
BLOCKED = {"ReorderInput", "ReorderOutput"}  # onnxruntime shows no schema of its own layout's operators


def saved(path, nodes, feed, outputs, initializers, opset=21, kinds=None):
    """A model whose inputs are what `feed` holds; outputs {name: element type}. Returns its path."""
    kinds = kinds or {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in feed.items()}
    inputs = [value(name, kinds[name], list(array.shape)) for name, array in feed.items()]
    save(path, nodes, inputs, [value(name, kind, None) for name, kind in outputs.items()], initializers, opset=opset)
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    onnx.save(model, path)
    return path


# The table itself


@pytest.fixture(scope="module")
def schemas():
    """{operator: names of its inputs}, of all that onnxruntime knows."""
    return {one.name: [each.name for each in one.inputs] for one in get_all_operator_schema()}


def test_every_row_is_an_operator_that_onnxruntime_knows(schemas):
    assert set(OPERATORS) - set(schemas) - {one.name for one in onnx.defs.get_all_schemas()} <= BLOCKED


def test_scales_and_zero_points_stand_where_the_table_says(schemas):
    for name, row in OPERATORS.items():
        for scale, zero_point in [*dict(row.scales).values(), *filter(None, [row.writes])]:
            assert scale is None or "scale" in schemas[name][scale].lower(), name
            assert "zero" in schemas[name][zero_point].lower(), name


def test_what_has_its_scale_fixed_ahead_does_not_find_it_at_run_time():
    fixed = {name for name, row in OPERATORS.items() if row.writes or 0 in dict(row.scales)}
    assert not operators.DYNAMIC & fixed
    assert {"QLinearAdd", "QLinearSoftmax", "QGemm"} <= operators.STATIC
    assert "QAttention" not in operators.DYNAMIC | operators.STATIC


def test_only_products_of_floats_are_what_a_recipe_may_find():
    assert operators.FLOAT_PRODUCTS.isdisjoint(operators.STATIC | operators.DYNAMIC)
    assert {
        "ConvTranspose", "Einsum", "GRU", "RNN", "MultiHeadAttention", "GroupQueryAttention",
    } == operators.NO_INTEGER_KERNEL & operators.PRODUCTS  # fmt: skip


# Products


@pytest.mark.parametrize(
    ("equation", "shapes", "expected"),
    [
        ("bij,jk->bik", [(2, 8, 16), (16, 4)], 2 * 8 * 16 * 4),
        ("...ij,jk->...ik", [(2, 3, 8, 16), (16, 4)], 2 * 3 * 8 * 16 * 4),
        ("bhqd, bhkd -> bhqk", [(1, 2, 5, 8), (1, 2, 6, 8)], 2 * 5 * 6 * 8),
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)], 2 * 3 * 4 * 5),
    ],
)
def test_an_einsum_is_a_matrix_product_of_all_its_indices(tmp_path, equation, shapes, expected):
    feed = {f"x{place}": noise(*shape, seed=place) for place, shape in enumerate(shapes)}
    product = node("Einsum", list(feed), ["y"], "e", equation=equation)
    model = saved(tmp_path / "m.onnx", [product], feed, {"y": FLOAT}, {})
    (found,) = (one for one in measure.profile(model, feed, rounds=2).nodes if one.op_type == "Einsum")
    assert (found.family, found.macs) == ("matrix product", expected)


def test_an_einsum_in_float_is_told_and_no_recipe_promised(tmp_path):
    profiler = steady.profiler(machine.card("x86-avx512-vnni"))
    feed = {"x": noise(1, 192, 384)}
    nodes = [
        node("Einsum", ["x", "w0"], ["h"], "first", equation="bij,jk->bik"),
        node("Relu", ["h"], ["r"], "relu"),
        node("MatMul", ["r", "w1"], ["y"], "second"),
    ]
    w = {"w0": weights(384, 384), "w1": weights(384, 384, seed=1)}
    model = saved(tmp_path / "m.onnx", nodes, feed, {"y": FLOAT}, w, opset=17)
    quantized = recipes.dynamic(model, tmp_path / "q.onnx")
    found = {one.code: one for one in measure.diagnose(model, quantized.path, feed, profiler=profiler)}
    assert "1 Einsum" in found["float-no-kernel"].evidence
    assert found["float-no-kernel"].nodes == ("first",)


def test_a_grouped_attention_is_said_to_stay_in_float(tmp_path):
    feed = {"x": noise(1, 8, 32)}
    sizes = {"lengths": np.int32([7]), "total": np.int32(8), "w": weights(32, 32)}
    inputs, sides = ["q", "x", "x", "", "", "lengths", "total"], {"num_heads": 2, "kv_num_heads": 2}
    attention = node("GroupQueryAttention", inputs, ["y", "k", "v"], "attention", domain=MICROSOFT, **sides)
    nodes = [node("MatMul", ["x", "w"], ["q"], "project"), attention]
    model = saved(tmp_path / "m.onnx", nodes, feed, {"y": FLOAT}, sizes, opset=17)
    quantized = recipes.dynamic(model, tmp_path / "q.onnx")
    fates = {one.op_type: (one.how, one.why) for one in quantized.products}
    assert fates["MatMul"][0] == "dynamic"
    assert fates["GroupQueryAttention"] == ("float", "onnxruntime has no integer kernel for it")


def test_stacked_matrices_are_predicted_to_stay_as_static_leaves_them(tmp_path):
    feed, w = {"x": noise(4, 32, 64)}, {"w": weights(4, 64, 64)}
    model = saved(tmp_path / "m.onnx", [node("MatMul", ["x", "w"], ["y"], "s")], feed, {"y": FLOAT}, w, opset=17)
    (product,) = recipes.static(model, tmp_path / "q.onnx", [feed]).products
    assert product.how == "float"
    prediction = measure.predict(model, feed, "static", card=machine.card("x86-avx512-vnni"))
    assert prediction.limit == prediction.speedup == 1


def test_a_hard_swish_behind_a_conv_integer_serves_it_alone(tmp_path):
    profiler = steady.profiler(machine.card("x86-avx512-vnni"))
    around = {}
    for operator in ("Relu", "HardSwish"):
        (tmp_path / operator).mkdir()
        model, feed = faults.islands(tmp_path / operator, operator), faults.image_feed(faults.CHANNELS, 80)
        quantized = faults.by_hand(model, tmp_path / operator, "uint8", operators=["Conv"])
        found = measure.diagnose(model, quantized, feed, profiler=profiler)
        (finding,) = (one for one in found if one.code == "conv-integer")
        around[operator] = int(re.search(r"(\d+) nodes around them", finding.evidence)[1])
    assert around["HardSwish"] == around["Relu"] + 3  # each is two nodes: HardSigmoid and Mul


# What codes do besides


@pytest.mark.parametrize("recipe", [recipes.static, recipes.hybrid])
def test_a_clip_whose_bound_is_computed_still_clips(tmp_path, recipe):
    feed = {"x": noise(1, 8, 8, 8)}
    nodes = [
        node("Conv", ["x", "w0"], ["c"], "first"),
        node("ReduceMax", ["x"], ["largest"], "largest", keepdims=0),
        node("Mul", ["largest", "tenth"], ["bound"], "bound"),
        node("Clip", ["c", "zero", "bound"], ["d"], "clip"),
        node("Conv", ["d", "w1"], ["y"], "second"),
    ]
    w = {"w0": weights(8, 8, 1, 1), "w1": weights(8, 8, 1, 1, seed=1), "tenth": np.float32(0.1), "zero": np.float32(0)}
    model = saved(tmp_path / "m.onnx", nodes, feed, {"y": FLOAT}, w, opset=17)
    quantized = recipe(model, tmp_path / "q.onnx", [feed])
    quieter = {"x": feed["x"] * np.float32(0.3)}
    rows = {row.name: row for row in measure.layer_errors(model, quantized.path, quieter).rows}
    assert rows["y"].accumulated_db > 10


# What marks a quantized model


@pytest.mark.parametrize("width", [8, 4])
def test_a_table_of_codes_is_that_of_a_quantized_model(tmp_path, width):
    codes = np.zeros((20, 32 * width // 8), np.uint8)
    look_up = node("GatherBlockQuantized", ["codes", "x", "scales"], ["y"], "look_up", domain=MICROSOFT, block_size=16,
                   bits=width, quantize_axis=1, gather_axis=0)  # fmt: skip
    feed = {"x": np.int64([1, 2])}
    table = {"codes": codes, "scales": np.ones((20, 2), np.float32)}
    model = saved(tmp_path / "m.onnx", [look_up], feed, {"y": FLOAT}, table)
    assert graph.quantized_by(graph.load(model)) == ["GatherBlockQuantized"]
    assert graph.census(model, optimized=False).float == {(MICROSOFT, "GatherBlockQuantized"): 1}
    with pytest.raises(ValueError, match="already quantized: it has GatherBlockQuantized"):
        recipes.dynamic(model, tmp_path / "q.onnx")


@pytest.mark.parametrize("operator", ["MatMulBnb4", "MatMulNBits", "QGemm", "QLinearUnheardOf", "QMoE"])
def test_what_only_a_quantizer_writes_is_known(operator):
    assert graph.is_quantized(node(operator, ["x"], ["y"]))


@pytest.mark.parametrize("operator", ["Cast", "Conv", "Einsum", "Gather", "Unheard"])
def test_what_others_write_too_is_no_sign(operator):
    assert not graph.is_quantized(node(operator, ["x"], ["y"]))


# Codes


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "float8_e4m3fn"])
def test_codes_of_every_width_are_codes_to_who_moves_them(tmp_path, dtype):
    zero = np.zeros((), np.dtype(dtype))
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"], "quantize"),
        node("Transpose", ["q"], ["t"], "move", perm=[1, 0]),
        node("DequantizeLinear", ["t", "s", "z"], ["y"], "back"),
    ]
    feed = {"x": noise(4, 8)}
    model = saved(tmp_path / "m.onnx", nodes, feed, {"y": FLOAT}, {"s": np.float32(0.1), "z": zero})
    assert graph.census(model, optimized=False).integer == {("", "Transpose"): 1}


def test_recorded_sound_is_no_code(tmp_path):
    nodes = [
        node("Transpose", ["x"], ["t"], "move", perm=[1, 0]),
        node("Cast", ["t"], ["y"], "widen", to=FLOAT),
    ]
    model = saved(tmp_path / "m.onnx", nodes, {"x": np.zeros((1, 16), np.int16)}, {"y": FLOAT}, {})
    assert not graph.census(model, optimized=False).integer
    (move,) = (one for one in measure.profile(model, {"x": np.ones((1, 16), np.int16)}, rounds=2).nodes
               if one.op_type == "Transpose")  # fmt: skip
    assert move.kind == "other"


@pytest.mark.parametrize("dtype", ["int2", "uint2", "int4", "uint4"])
def test_one_operator_gives_narrow_codes_in_a_byte_each(dtype):
    codes = run_operator("QuantizeLinear", np.float32([-1, 0.5]), np.float32(0.5), np.zeros((), dtype), opset=25)
    assert codes.dtype == np.dtype(f"{dtype[:-1]}8")
    assert codes.tolist() == ([0, 1] if dtype[0] == "u" else [-2, 1])


@pytest.mark.parametrize("outputs", [("y_scale", "y_zero"), ()])
def test_a_qgemm_gives_codes_only_with_a_scale_for_them(outputs):
    inputs = ["a", "a_scale", "a_zero", "b", "b_scale", "b_zero", "c"]
    assert operators.gives_floats(node("QGemm", [*inputs, *outputs], ["y"], domain=MICROSOFT)) == (not outputs)


# What moves numbers, between the same codes


def between(path, operator, extra=(), *, constants=None, scales=("s", "s"), **attributes):
    """A float model of Relu, `operator`, Relu, and the same with Q/DQ around the operator, as files and a feed."""
    feed, constants = {"x": noise(1, 4, 8, 8)}, constants or {}
    middle = node(operator, ["r", *extra], ["m"], "middle", **attributes)
    ends = node("Relu", ["x"], ["r"], "first"), node("Relu", ["m"], ["y"], "last")
    fp32 = saved(path / "fp32.onnx", [ends[0], middle, ends[1]], feed, {"y": FLOAT}, constants)
    moved = node(operator, ["r/d", *extra], ["m"], "middle", **attributes)
    nodes = [ends[0], moved]
    for name, scale in zip("rm", scales, strict=True):
        nodes += [
            node("QuantizeLinear", [name, scale, "z"], [f"{name}/q"], f"{name}/quantize"),
            node("DequantizeLinear", [f"{name}/q", scale, "z"], [f"{name}/d"], f"{name}/back"),
        ]
    nodes.append(node("Relu", ["m/d"], ["y"], "last"))
    order = ["first", "r/quantize", "r/back", "middle", "m/quantize", "m/back", "last"]
    nodes.sort(key=lambda one: order.index(one.name))
    constants = constants | {"s": np.float32(1 / 64), "s2": np.float32(1 / 50), "z": np.uint8(3)}
    return fp32, saved(path / "int8.onnx", nodes, feed, {"y": FLOAT}, constants), feed


RESIZED = {"sizes": np.float32([1, 1, 2, 2])}
PADDED = {"pads": np.int64([0, 0, 1, 1, 0, 0, 1, 1])}
EXACT = {
    "nearest": ("Resize", ["", "sizes"], RESIZED, {"mode": "nearest"}),
    "nearest by default": ("Resize", ["", "sizes"], RESIZED, {}),
    "zeros around": ("Pad", ["pads"], PADDED, {}),
    "a zero that is given": ("Pad", ["pads", "v"], PADDED | {"v": np.float32(0)}, {}),
    "another code": ("Pad", ["pads", "v"], PADDED | {"v": np.float32(40 / 64)}, {}),
    "reflected": ("Pad", ["pads"], PADDED, {"mode": "reflect"}),
    "elements": ("GatherElements", ["at"], {"at": np.zeros((1, 4, 8, 3), np.int64)}, {"axis": 3}),
    "transposed": ("Transpose", [], {}, {"perm": [0, 2, 3, 1]}),
}
INEXACT = {
    "linear": ("Resize", ["", "sizes"], RESIZED, {"mode": "linear"}),
    "between two codes": ("Pad", ["pads", "v"], PADDED | {"v": np.float32(0.3)}, {}),
    "beyond the last code": ("Pad", ["pads", "v"], PADDED | {"v": np.float32(8)}, {}),
}


def alone(path, operator, extra, constants, attributes, **options):
    result = measure.layer_errors(*between(path, operator, extra, constants=constants, **options, **attributes))
    return {row.name: row.local_db for row in result.rows}


@pytest.mark.parametrize("kind", EXACT)
def test_numbers_that_only_move_between_the_same_codes_lose_nothing(tmp_path, kind):
    found = alone(tmp_path, *EXACT[kind])
    assert found["m"] == math.inf
    assert 20 < found["r"] < math.inf


@pytest.mark.parametrize("kind", INEXACT)
def test_numbers_that_are_computed_or_filled_in_between_codes_lose(tmp_path, kind):
    assert alone(tmp_path, *INEXACT[kind])["m"] < 70


def test_numbers_that_move_to_other_codes_lose(tmp_path):
    assert alone(tmp_path, *EXACT["nearest"], scales=("s", "s2"))["m"] < 70


def test_an_int8_model_of_the_quantizer_resizes_without_loss(tmp_path):
    feed = {"x": noise(1, 8, 8, 8)}
    nodes = [
        node("Conv", ["x", "w0"], ["c"], "first"),
        node("Resize", ["c", "", "sizes"], ["r"], "larger", mode="nearest", nearest_mode="floor",
             coordinate_transformation_mode="asymmetric"),
        node("Conv", ["r", "w1"], ["y"], "second"),
    ]  # fmt: skip
    w = {"w0": weights(8, 8, 1, 1), "w1": weights(8, 8, 1, 1, seed=1), "sizes": np.float32([1, 1, 2, 2])}
    model = saved(tmp_path / "m.onnx", nodes, feed, {"y": FLOAT}, w, opset=17)
    quantized = recipes.static(model, tmp_path / "q.onnx", [feed])
    assert set(graph.census(quantized.path).integer) >= {(MICROSOFT, "QLinearConv"), ("", "Resize")}
    rows = {row.name: row.local_db for row in measure.layer_errors(model, quantized.path, feed).rows}
    assert rows["r"] == math.inf > rows["c"]


def test_codes_that_a_kernel_reads_beside_a_float_result_have_their_scale_there(tmp_path):
    w = {"a": weights(16, 16), "b": weights(16, 16, seed=1)}
    feed = {"x": noise(8, 16)}
    nodes = [node("MatMul", ["x", "a"], ["h"], "one"), node("MatMul", ["h", "b"], ["y"], "two")]
    fp32 = saved(tmp_path / "fp32.onnx", nodes, feed, {"y": FLOAT}, w, opset=17)
    step = {name: np.float32(np.abs(matrix).max() / 127) for name, matrix in w.items()}
    codes = {name: np.rint(matrix / step[name]).astype(np.int8) for name, matrix in w.items()}
    scale = np.float32(np.abs(feed["x"] @ w["a"]).max() / 127)
    nodes = [
        node("QuantizeLinear", ["x", "sx", "z"], ["x_quantized"], "quantize"),
        node("QLinearMatMul", ["x_quantized", "sx", "z", "a", "sa", "zw", "sh", "z"], ["h_quantized"], "one"),
        node("MatMulIntegerToFloat", ["h_quantized", "b", "sh", "sb", "z", "zw"], ["y"], "two", domain=MICROSOFT),
    ]
    scales = {"sx": np.float32(np.abs(feed["x"]).max() / 127), "sa": step["a"], "sb": step["b"], "sh": scale}
    int8 = saved(tmp_path / "int8.onnx", nodes, feed, {"y": FLOAT},
                 codes | scales | {"z": np.uint8(128), "zw": np.int8(0)}, opset=17)  # fmt: skip
    result = measure.layer_errors(fp32, int8, feed)
    rows = {row.name: row for row in result.rows}
    assert not result.skipped
    assert 30 < rows["h"].local_db < 60
    assert 30 < rows["y"].accumulated_db < 60


# Names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("node_Conv_7_nchwc", "node_Conv_7"),
        ("fc1_MatMul_quant", "fc1"),
        ("conv_token_12", "conv"),
        ("fused fc0", "fc0"),
        ("qk/MatMulScaleFusion/", "qk"),
        ("y_output_quantized", "y"),
        ("y_quantized", "y"),
        ("scores/float", "scores/float"),  # another node's: the Sum of one that recipes.static puts behind it
        ("", None),
    ],
)
def test_a_name_goes_back_to_the_one_in_the_file(name, expected):
    assert [*operators.originals(name), None][-1 if not name else -2] == expected


# There is one table

ALLOWED = {
    # names for the eye, no property
    ("graph/labels.py", "SHORT"): "what long operators are called among many in a box",
    # another question than any row answers
    ("models/full_size.py", ""): "those whose fan-in it can tell from the shape of the weights",
    ("graph/floating.py", "FOLDED"): "what quantizers put between stored codes and floats",
    ("graph/floating.py", "NEVER_NEGATIVE"): "what needs no Clip behind it",
    ("measure/diagnosis/slow_products.py", "TAKES"): "what onnxruntime folds a BatchNormalization into",
    ("calibration/rounding.py", "ROUNDED"): "layers of which it can write what each output is summed over",
    ("recipes/biases.py", "CORRECTED"): "layers whose bias, in a file of Q and DQ, it can find or add",
    ("recipes/channels.py", "RESHAPES"): "what it can follow channels through by the sizes of two shapes",
    ("recipes/channels.py", "SUMS"): "sums that a factor on all terms passes",
    ("recipes/channels.py", "NORMS"): "norms that end in a gain and a bias a channel: at which axis",
    ("recipes/channels.py", "WHY_NOT"): "reasons in words",
    ("recipes/channels.py", ""): "elementwise functions that a positive factor passes",
    ("measure/answers.py", "_HEADS"): "what an output is that such a node gives",
    ("measure/answers.py", "_POOLED"): "what an embedding is the result of",
}
LEAST = 3  # operators in a set that make it a table


def tables(package):
    """(file, name it is assigned to) of every set, tuple, list or dict of LEAST operators of the table or more."""
    for path in sorted(package.rglob("*.py")):
        if path.name == "operators.py" or "lessons" in path.parts:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        called = {}
        for one in ast.walk(tree):
            if isinstance(one, ast.Assign):
                target = one.targets[0].elts[0] if isinstance(one.targets[0], ast.Tuple) else one.targets[0]
                called |= {id(inner): getattr(target, "id", "") for inner in ast.walk(one.value)}
        for one in ast.walk(tree):
            parts = one.keys if isinstance(one, ast.Dict) else getattr(one, "elts", [])
            named = {part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)}
            if len(named & OPERATORS.keys()) >= LEAST:
                yield path.relative_to(package).as_posix(), called.get(id(one), "")


def test_no_other_module_has_a_table_of_operators():
    found = set(tables(Path(qlab.__file__).parent))
    assert found - ALLOWED.keys() == set()
    assert ALLOWED.keys() - found == set()


def test_a_table_elsewhere_is_found(tmp_path):
    (tmp_path / "one.py").write_text('X = {"Conv", "MatMul", "Gemm"}\nif y in ("Add", "Sum", "Max"):\n    pass\n')
    (tmp_path / "two.py").write_text('X = {"Conv", "MatMul"}\nY = ["Conv", "no", "operator"]\n')
    assert list(tables(tmp_path)) == [("one.py", "X"), ("one.py", "")]
