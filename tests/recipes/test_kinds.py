"""Every kind of model that a reader may bring goes through every recipe, and answers nearly as before."""

from collections import Counter
from functools import partial

import pytest

from qlab import recipes
from tests.builders import blocks

KINDS = {
    "Gemm": (blocks.linear, blocks.linear_feed),
    "MatMul and Add, opset 13": (partial(blocks.linear, gemm=False, opset=13), blocks.linear_feed),
    "MatMul and Add, opset 21": (partial(blocks.linear, gemm=False, opset=21), blocks.linear_feed),
    "residual CNN": (blocks.residual_cnn, blocks.cnn_feed),
    "residual CNN, opset 11": (partial(blocks.residual_cnn, opset=11), blocks.cnn_feed),
    "conformer block": (blocks.conformer_block, blocks.conformer_feed),
    "transposed convolution": (blocks.transposed_conv, blocks.image_feed),
    "LSTM": (partial(blocks.recurrent, op_type="LSTM"), blocks.recurrent_feed),
    "GRU": (partial(blocks.recurrent, op_type="GRU"), blocks.recurrent_feed),
    "If": (blocks.branches, blocks.branches_feed),
    "Loop": (blocks.loop, blocks.loop_feed),
    "shared weights": (blocks.shared_weights, blocks.shared_feed),
    "weights in Constant nodes, no names": (blocks.constants, blocks.narrow_feed),
    "functions": (blocks.functions, blocks.narrow_feed),
    "several readers of a convolution's input": (blocks.crossroads, blocks.crossroads_feed),
}
# kind -> recipe -> what is quantized: {(operator, how): nodes}. Where a recipe is not listed, it finds nothing to do.
DONE = {
    "Gemm": {"dynamic": {("Gemm", "dynamic"): 2}, "static": {("Gemm", "static"): 2}},
    "residual CNN": {
        "dynamic": {("Gemm", "dynamic"): 1},
        "static": {("Conv", "static"): 3, ("Gemm", "static"): 1},
        "hybrid": {("Conv", "static"): 3, ("Gemm", "dynamic"): 1},
    },
    "conformer block": {
        "dynamic": {("MatMul", "dynamic"): 4},
        "static": {("MatMul", "static"): 6, ("Conv", "static"): 3},
        "hybrid": {("MatMul", "dynamic"): 4, ("Conv", "dynamic"): 2},
    },
    "transposed convolution": {"dynamic": {}, "static": {("Conv", "static"): 2}, "hybrid": {("Conv", "static"): 2}},
    "LSTM": {"dynamic": {("MatMul", "dynamic"): 1}, "static": {("MatMul", "static"): 1}},
    "GRU": {"dynamic": {("MatMul", "dynamic"): 1}, "static": {("MatMul", "static"): 1}},
    "Loop": {"dynamic": {("MatMul", "dynamic"): 2}, "static": {("MatMul", "static"): 1}},
    "functions": {"dynamic": {("MatMul", "dynamic"): 2}, "static": {("MatMul", "static"): 2}},
}  # fmt: skip
CALIBRATION_SEEDS = range(10, 42)  # of small inputs it takes many to see nearly all that comes
AT_LEAST_DB = {"dynamic": 33, "static": 29, "hybrid": 29}


@pytest.mark.parametrize("kind", KINDS)
def test_every_recipe_takes_every_kind_of_model(kind, tmp_path, card, quality):
    build, feed = KINDS[kind]
    model = build(tmp_path)
    for recipe, least in AT_LEAST_DB.items():
        run = getattr(recipes, recipe)
        reader = () if recipe == "dynamic" else ([feed(seed=seed) for seed in CALIBRATION_SEEDS],)
        quantized = run(model, tmp_path / "int8.onnx", *reader, card=card)
        assert quality(model, quantized.path, feed()) > least, quantized
        done = Counter((fate.op_type, fate.how) for fate in quantized.products if fate.how != "float")
        assert done == DONE.get(kind, {}).get(recipe, done)


@pytest.mark.parametrize("kind", KINDS)
def test_seven_bit_weights_and_unsigned_weights_work_as_well(kind, tmp_path, card, quality):
    build, feed = KINDS[kind]
    model = build(tmp_path)
    reader = [feed(seed=seed) for seed in CALIBRATION_SEEDS]
    for settings in ({"reduce_range": True}, {"weight_dtype": "uint8"}):
        quantized = recipes.static(model, tmp_path / "int8.onnx", reader, card=card, **settings)
        assert quality(model, quantized.path, feed()) > 27, quantized
        quantized = recipes.dynamic(model, tmp_path / "int8.onnx", card=card, **settings)
        assert quality(model, quantized.path, feed()) > 30, quantized


@pytest.mark.parametrize("kind", ["residual CNN", "conformer block", "transposed convolution"])
def test_symmetric_int8_works_as_well(kind, tmp_path, card, quality):
    build, feed = KINDS[kind]
    model = build(tmp_path)
    reader = [feed(seed=seed) for seed in CALIBRATION_SEEDS]
    settings = {"activation_dtype": "int8", "weight_dtype": "int8"}
    quantized = recipes.static(model, tmp_path / "int8.onnx", reader, card=card, **settings)
    assert quality(model, quantized.path, feed()) > 29, quantized


@pytest.mark.parametrize("kind", ["LSTM", "conformer block", "residual CNN", "shared weights"])
def test_dynamic_takes_convolutions_recurrent_layers_and_embeddings_where_asked(kind, tmp_path, card, quality):
    build, feed = KINDS[kind]
    model = build(tmp_path)
    operators = ("Conv", "Gather", "LSTM", "MatMul")
    quantized = recipes.dynamic(model, tmp_path / "int8.onnx", op_types=operators, card=card)
    assert quality(model, quantized.path, feed()) > 33
    stayed = {op_type for op_type, _ in quantized.stayed_float}
    assert stayed <= {"MatMul"}  # attention's, whose factors both move
