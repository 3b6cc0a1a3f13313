"""A file is opened once: what a recipe loads, by itself and through onnxruntime's tools."""

import sys
from collections import Counter
from pathlib import Path

import onnx
import pytest

from qlab import graph
from qlab.recipes import RECIPES
from tests.builders import blocks

# The source; what onnxruntime's optimizer makes of it, before and after; and the dynamic quantizer reloads its own.
MOST = {"dynamic": 4, "static": 3, "hybrid": 4}


@pytest.fixture
def loads(monkeypatch):
    """A Counter {name of a file: how often onnx loaded it}."""
    counted, real = Counter(), onnx.load_model

    def load(file, *args, **kwargs):
        counted[Path(str(file)).name] += 1
        return real(file, *args, **kwargs)

    for name in ("load", "load_model"):
        monkeypatch.setattr(onnx, name, load)  # the tools call onnx.load
    return counted


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_a_recipe_loads_few_files(recipe, tmp_path, card, loads):
    model = blocks.conformer_block(tmp_path)
    RECIPES[recipe](model, tmp_path / "out.onnx", [blocks.conformer_feed()], card=card)
    assert loads.total() <= MOST[recipe], loads
    assert loads[model.name] == 1


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_a_model_that_is_open_already_is_not_loaded_again_nor_changed(recipe, tmp_path, card, loads):
    path = blocks.conformer_block(tmp_path)
    model = graph.opened(path)
    before = model.proto.SerializeToString(deterministic=True)
    RECIPES[recipe](model, tmp_path / "out.onnx", [blocks.conformer_feed()], card=card)
    assert loads[path.name] == 1
    assert model.proto.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_a_recipe_visits_at_most_five_rooms_of_its_floor(recipe, tmp_path, card):
    model, rooms = blocks.conformer_block(tmp_path), set()

    def visit(frame, event, _):
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.parent.name == "recipes" and path.parent.parent.name == "qlab":
            rooms.add(path.name)

    sys.setprofile(visit)
    try:
        RECIPES[recipe](model, tmp_path / "out.onnx", [blocks.conformer_feed()], card=card)
    finally:
        sys.setprofile(None)
    assert f"{recipe}.py" in rooms
    assert len(rooms) <= 5, rooms
