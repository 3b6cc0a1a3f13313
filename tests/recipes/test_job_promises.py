"""The input is never touched; the output appears whole or not at all; nothing else is left behind."""

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer

from qlab import graph, recipes
from qlab.runtime import open_session
from tests.builders import blocks

ROOT = Path(__file__).resolve().parents[2]


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(recipe, model, output, card):
    reader = () if recipe == "dynamic" else ([blocks.linear_feed(seed=seed) for seed in (1, 2)],)
    return getattr(recipes, recipe)(model, output, *reader, card=card)


RECIPES = pytest.mark.parametrize("recipe", ["dynamic", "static", "hybrid"])


@RECIPES
def test_the_input_stays_as_it_is_and_only_the_output_comes(recipe, tmp_path, card):
    model = blocks.linear(tmp_path)
    before = contents(tmp_path)
    output = tmp_path / "int8.onnx"
    assert run(recipe, model, output, card).path == output
    after = contents(tmp_path)
    assert after.pop("int8.onnx")
    assert after == before


@RECIPES
def test_what_the_input_says_of_itself_the_output_says_too(recipe, tmp_path, card):
    model = blocks.linear(tmp_path, metadata={"qlab.weights": "random", "author": "somebody"})
    path = run(recipe, model, tmp_path / "int8.onnx", card).path
    said = open_session(path).get_modelmeta().custom_metadata_map
    assert said == {"qlab.weights": "random", "author": "somebody", "qlab.recipe": recipe}


@RECIPES
def test_a_quantized_model_is_refused_by_name(recipe, tmp_path, card):
    once = run(recipe, blocks.linear(tmp_path), tmp_path / "once.onnx", card).path
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"once\.onnx is already quantized: it has .*(QuantizeLinear|MatMulInteger)"):
        run(recipe, once, tmp_path / "twice.onnx", card)
    assert contents(tmp_path) == before


@RECIPES
def test_external_data_are_read_and_left_alone(recipe, tmp_path, card, quality):
    storage = {"save_as_external_data": True, "location": "weights.data", "size_threshold": 0}
    (tmp_path / "in").mkdir()
    model = blocks.linear(tmp_path / "in", **storage)
    before = contents(tmp_path)
    path = run(recipe, model, tmp_path / "int8.onnx", card).path
    assert quality(model, path, blocks.linear_feed()) > 29
    after = contents(tmp_path)
    assert after.pop("int8.onnx")
    assert after == before


def test_external_data_outside_the_models_folder_are_refused(tmp_path, card):
    (tmp_path / "in").mkdir()
    model = blocks.linear(tmp_path / "in", save_as_external_data=True, location="weights.data", size_threshold=0)
    (tmp_path / "in" / "weights.data").rename(tmp_path / "weights.data")
    proto = onnx.load(model, load_external_data=False)
    for tensor in proto.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = "../weights.data"
    model.write_bytes(proto.SerializeToString())
    with pytest.raises(ValueError, match="outside the model's folder"):
        recipes.dynamic(model, tmp_path / "int8.onnx", card=card)


def test_neither_the_model_nor_its_weights_are_overwritten(tmp_path, card):
    model = blocks.linear(tmp_path, save_as_external_data=True, location="other.onnx.data", size_threshold=0)
    (tmp_path / "link.onnx").symlink_to(model)
    for output in (model, tmp_path / "link.onnx", tmp_path / "other.onnx.data", tmp_path / "other.onnx"):
        with pytest.raises(ValueError, match="would overwrite the model that is read"):
            recipes.dynamic(model, output, card=card)


def test_an_output_that_was_there_is_replaced_as_a_whole(tmp_path, card, quality):
    model, output = blocks.linear(tmp_path), tmp_path / "int8.onnx"
    output.write_text("something older")
    recipes.dynamic(model, output, card=card)
    assert quality(model, output, blocks.linear_feed()) > 29


def test_an_output_folder_that_is_not_there_or_an_output_that_is_one_is_refused(tmp_path, card):
    model = blocks.linear(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        recipes.dynamic(model, tmp_path / "nowhere" / "int8.onnx", card=card)
    with pytest.raises(ValueError, match="is a folder; expected the path of a file"):
        recipes.dynamic(model, tmp_path, card=card)


def test_a_missing_and_a_truncated_model_are_refused(tmp_path, card):
    with pytest.raises(FileNotFoundError, match="no such model file"):
        recipes.dynamic(tmp_path / "nothing.onnx", tmp_path / "int8.onnx", card=card)
    model = blocks.linear(tmp_path)
    model.write_bytes(model.read_bytes()[:-100])
    with pytest.raises(ValueError, match="truncated, or not an ONNX file"):
        recipes.dynamic(model, tmp_path / "int8.onnx", card=card)


def interrupted(*_, **__):
    raise KeyboardInterrupt


PLACES = {
    "preparing": (onnx.shape_inference, "infer_shapes", interrupted),
    "quantizing": (ONNXQuantizer, "quantize_model", interrupted),
    "looking at the result": (graph.Model, "optimized", property(interrupted)),
}


@pytest.mark.parametrize("place", PLACES)
def test_an_interrupt_leaves_nothing_behind_and_an_older_output_as_it_was(place, tmp_path, card, monkeypatch):
    model, output = blocks.linear(tmp_path), tmp_path / "int8.onnx"
    output.write_text("something older")
    before = contents(tmp_path)
    monkeypatch.setattr(*PLACES[place])
    with pytest.raises(KeyboardInterrupt):
        recipes.dynamic(model, output, card=card)
    assert contents(tmp_path) == before


def test_a_reader_that_fails_is_not_blamed_on_the_disk_and_leaves_nothing_behind(tmp_path, card):
    def reader():
        yield blocks.linear_feed()
        raise FileNotFoundError("clip 17 is missing")

    model = blocks.linear(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(FileNotFoundError, match="clip 17 is missing"):
        recipes.static(model, tmp_path / "int8.onnx", reader(), card=card)
    assert contents(tmp_path) == before


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["dynamic", "hybrid"])
@pytest.mark.parametrize("kilobytes", [1, *(pytest.param(some, marks=pytest.mark.slow) for some in (40, 120, 260))])
@pytest.mark.skipif(sys.platform == "win32", reason="no file-size limits there")
def test_a_full_disk_gives_a_clear_error_and_leaves_nothing_behind(recipe, kilobytes, tmp_path):
    w = {"w": blocks.weights(256, 256), "v": blocks.weights(256, 256, seed=1)}
    nodes = [blocks.node("MatMul", ["x", "w"], ["h"], "a"), blocks.node("MatMul", ["h", "v"], ["y"], "b")]
    ends = [blocks.value(name, blocks.FLOAT, ["n", 256]) for name in "xy"]
    model = blocks.save(tmp_path / "model.onnx", nodes, ends[:1], ends[1:], w)  # 524 kB; quantized 133 kB
    before = contents(tmp_path)
    program = f"""
        import resource, sys
        import numpy as np
        from qlab import machine, recipes
        reader = [] if {recipe!r} == "dynamic" else [[{{"x": np.ones((2, 256), np.float32)}}]]
        resource.setrlimit(resource.RLIMIT_FSIZE, ({kilobytes} * 1000,) * 2)
        card = machine.card("x86-avx512-vnni")
        try:
            recipes.{recipe}({str(model)!r}, {str(tmp_path / "int8.onnx")!r}, *reader, card=card)
        except ValueError as error:
            print("ValueError:", error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.stdout.startswith("ValueError: "), done.stderr
    assert "int8.onnx" in done.stdout or "model.onnx" in done.stdout
    assert contents(tmp_path) == before


def test_pre_processing_that_fails_falls_back_with_a_note(tmp_path, card, quality, monkeypatch):
    pending, real = [], onnx.shape_inference.infer_shapes

    def fails_first(*arguments, **options):
        if pending:
            raise RuntimeError(pending.pop())
        return real(*arguments, **options)

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", fails_first)
    for build, feed in (
        (blocks.constants, blocks.narrow_feed),
        (blocks.functions, blocks.narrow_feed),
        (blocks.linear, blocks.linear_feed),
    ):
        model = build(tmp_path)
        for recipe, reader in (("dynamic", ()), ("static", ([feed(seed=seed) for seed in range(32)],))):
            pending.append("Incomplete symbolic shape inference")
            quantized = getattr(recipes, recipe)(model, tmp_path / "int8.onnx", *reader, card=card)
            assert quality(model, quantized.path, feed()) > 29
            assert "Incomplete symbolic shape inference" in quantized.notes[0]
            assert "note: pre-processing failed" in repr(quantized)
            if build is not blocks.constants:  # there an Identity stands before the weights, and nobody folded it
                assert not quantized.stayed_float


def test_shapes_that_contradict_each_other_do_no_harm(tmp_path, card, quality):
    w = {"w": blocks.weights(16, 12)}
    nodes = [blocks.node("MatMul", ["x", "w"], ["h"], "a"), blocks.node("Relu", ["h"], ["y"], "b")]
    inputs, outputs = [[blocks.value(name, blocks.FLOAT, ["n", 16])] for name in "xy"]  # y has 12 columns in truth
    model = blocks.save(tmp_path / "m.onnx", nodes, inputs, outputs, w)
    quantized = recipes.dynamic(model, tmp_path / "int8.onnx", card=card)
    assert quality(model, quantized.path, blocks.narrow_feed()) > 33


def test_a_recipe_says_nothing_on_the_screen(tmp_path, card, capfd, no_bar_is_due):
    model = blocks.residual_cnn(tmp_path)
    recipes.hybrid(model, tmp_path / "int8.onnx", [blocks.cnn_feed()], card=card)
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")


def test_nan_in_a_feed_is_refused_and_leaves_nothing_behind(tmp_path, card):
    model = blocks.linear(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="NaN"):
        recipes.static(model, tmp_path / "int8.onnx", [{"x": np.full((2, 24), np.nan, np.float32)}], card=card)
    assert contents(tmp_path) == before
