"""What is excluded is computed in float, on networks drawn at random; and what is said of a product is true."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlab import sqnr_db
from qlab.runtime import open_session
from tests.builders import random_graphs
from tests.builders.making import RECIPES, fates, made

INTEGER = {"QLinearConv", "ConvInteger", "QGemm", "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat",
           "DynamicQuantizeMatMul"}  # fmt: skip
FLOAT = {*random_graphs.FLOAT_PRODUCTS, "FusedConv", "FusedGemm", "FusedMatMul"}
EXACT_DB, LUCK_DB = 100.0, 1.5


def settings_of(recipe):
    """What a recipe may be asked for besides, each as likely."""
    signed = {"activation_dtype": "int8", "weight_dtype": "int8"}
    return {"static": [{}, signed], "dynamic": [{}, {"op_types": ("MatMul", "Conv")}], "hybrid": [{}]}[recipe]


def losses(model, quantized, feeds):
    """SQNR of each output, over all feeds; that of fp32 itself, whose sums have another order, is EXACT_DB."""
    sessions = [open_session(path) for path in (model, quantized)]
    expected, found = (list(zip(*(session.run(None, feed) for feed in feeds), strict=True)) for session in sessions)
    pairs = zip(map(np.stack, expected), map(np.stack, found), strict=True)
    return [min(float(sqnr_db(*pair)), EXACT_DB) for pair in pairs]


def counted(census, kernels):
    return sum(count for (_, op_type), count in census.items() if op_type in kernels)


@pytest.mark.parametrize("recipe", RECIPES)
@settings(max_examples=12)
@given(plan=random_graphs.drawn(), data=st.data())
def test_what_is_excluded_computes_what_fp32_computes_and_excluding_more_loses_no_more(
    recipe, card, tmp_path_factory, plan, data
):
    model, feeds, products = random_graphs.built(tmp_path_factory.mktemp("drawn"), plan)
    some = tuple(data.draw(st.lists(st.sampled_from(products), unique=True)))
    options = data.draw(st.sampled_from(settings_of(recipe)))
    before = None
    for excluded in dict.fromkeys(((), some, tuple(products))):
        quantized = made(recipe, model, feeds, card, exclude=excluded, **options)
        assert random_graphs.not_as_fp32(model, quantized.path, excluded, feeds[0]) == {}
        how = list(fates(quantized).values())
        assert len(how) == len(products)
        assert counted(quantized.census.integer, INTEGER) == len(how) - how.count("float")
        # onnxruntime makes convolutions of other operators too, of a BatchNormalization for one.
        assert counted(quantized.census.float, FLOAT) >= how.count("float")
        lost = losses(model, quantized.path, feeds[:4])
        assert before is None or all(one > other - LUCK_DB for one, other in zip(lost, before, strict=True))
        before = lost


@pytest.mark.parametrize("recipe", ["static", "hybrid"])
@pytest.mark.parametrize("kind", ["Relu", "narrow Clip"])
def test_a_clip_excluded_without_its_product_costs_nothing(kind, recipe, tmp_path, card):
    plan = (2, 17, "", [("Conv", True, [kind], "no"), ("grouped", True, [kind], "no")])
    model, feeds, products = random_graphs.built(tmp_path, plan)
    clips = [one.name for one in onnx.load(model).graph.node if one.op_type in ("Relu", "Clip")]
    plain, clipped = (losses(model, made(recipe, model, feeds, card, exclude=names).path, feeds)
                      for names in ((), clips))  # fmt: skip
    assert clipped == plain
    both = made(recipe, model, feeds, card, exclude=(*products, *clips))
    assert random_graphs.not_as_fp32(model, both.path, products, feeds[0]) == {}


@pytest.mark.parametrize("opset", [17, 21])
@pytest.mark.parametrize("mover", ["Reshape", "Transpose", "MaxPool"])
@pytest.mark.parametrize("head", ["MatMul", ""])
def test_int8_codes_open_where_something_moves_them_to_floats(head, mover, opset, tmp_path, card):
    """What a ConvTranspose gives is codes for the sake of a second reader only, and moved on as floats."""
    plan = (2, opset, head, [("ConvTranspose", True, [mover], "product")])
    model, feeds, products = random_graphs.built(tmp_path, plan)
    signed = {"activation_dtype": "int8", "weight_dtype": "int8"}
    quantized = made("static", model, feeds, card, **signed)
    assert min(losses(model, quantized.path, feeds)) > 29
    assert random_graphs.not_as_fp32(model, quantized.path, products[:1], feeds[0]) == {}
