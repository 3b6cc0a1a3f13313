"""Models of 16-bit floats are quantized as float32 ones."""

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from qlab import graph
from qlab.runtime import open_session
from tests.builders import blocks
from tests.builders.blocks import FLOAT
from tests.builders.making import RECIPES, fates, made


def narrowed(path, dtype):
    """The model file with its floats, stored and declared, in `dtype`."""
    model = onnx.load(path)
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    for tensor in list(graph.tensors(model)):
        if tensor.data_type == FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(dtype), tensor.name))
    for one in graph.graphs(model):
        for end in (*one.input, *one.output, *one.value_info):
            if end.type.tensor_type.elem_type == FLOAT:
                end.type.tensor_type.elem_type = kind
    narrow = path.with_name("narrow.onnx")
    onnx.save(model, narrow)
    return narrow


KINDS = {
    "residual CNN": (blocks.residual_cnn, blocks.cnn_feed),
    "conformer block": (blocks.conformer_block, blocks.conformer_feed),
    "If": (blocks.branches, blocks.branches_feed),
    "Loop": (blocks.loop, blocks.loop_feed),
    "weights in Constant nodes": (blocks.constants, blocks.narrow_feed),
    "functions": (blocks.functions, blocks.narrow_feed),
}


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_models_of_16_bit_floats_are_quantized_as_float32_ones_and_say_so(kind, dtype, tmp_path, card):
    build, feed = KINDS[kind]
    wide = build(tmp_path)
    narrow, given = narrowed(wide, dtype), np.float16 if dtype == np.float16 else np.float32
    feeds = [{name: x.astype(given) if x.dtype == np.float32 else x for name, x in feed(seed=seed).items()}
             for seed in range(10, 42)]  # fmt: skip
    expected = open_session(wide).run(None, feed(seed=10))[0]
    for recipe in RECIPES:
        same = made(recipe, wide, [feed(seed=seed) for seed in range(10, 42)], card)
        quantized = made(recipe, narrow, feeds, card)
        answer = open_session(quantized.path).run(None, feeds[0])[0]
        assert answer.dtype == given
        assert np.square(expected).mean() > 10**2.5 * np.square(answer.astype(np.float32) - expected).mean()
        assert list(fates(quantized).values()) == list(fates(same).values())
        assert np.dtype(dtype).name + " became float32 first: quantizers know no other floats" in quantized.notes
