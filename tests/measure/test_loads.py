"""A model is opened once, whatever is measured of it; and nobody changes the one that was opened."""

import sys
from collections import Counter
from pathlib import Path

import onnx
import pytest

from qlab import graph, measure, recipes
from tests.builders import blocks


@pytest.fixture
def loads(monkeypatch):
    """Counter {path: how often onnx has loaded it}, whoever asked."""
    counted, real = Counter(), onnx.load_model

    def load(file, *args, **kwargs):
        counted[str(file)] += 1
        return real(file, *args, **kwargs)

    for name in ("load", "load_model"):
        monkeypatch.setattr(onnx, name, load)
    return counted


@pytest.fixture(scope="module")
def conformer(tmp_path_factory):
    """fp32 and int8 paths, and a feed."""
    folder = tmp_path_factory.mktemp("conformer")
    model, feed = blocks.conformer_block(folder), blocks.conformer_feed()
    return model, recipes.hybrid(model, folder / "int8.onnx", [feed]).path, feed


def compared(fp32, int8, feed):
    return measure.compare({"fp32": fp32, "int8": int8}, feed, rounds=1)


def diagnosed(fp32, int8, feed):
    return measure.diagnose(fp32, int8, feed)


def test_a_diagnosis_loads_each_file_once(conformer, loads):
    fp32, int8, _ = conformer
    diagnosed(*conformer)
    assert {str(fp32), str(int8)} <= loads.keys()
    assert len(loads) == 4  # besides, the two graphs that ran
    assert max(loads.values()) == 1, loads


def test_a_comparison_loads_each_file_once(conformer, loads):
    fp32, int8, _ = conformer
    compared(*conformer)
    assert loads == {str(fp32): 1, str(int8): 1}


@pytest.mark.parametrize(("call", "floor", "most"), [(compared, "measure", 3), (diagnosed, "diagnosis", 8)])
def test_whoever_follows_a_call_visits_few_rooms(conformer, call, floor, most):
    rooms = set()

    def visit(frame, event, _):
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.parent.name == floor and "qlab" in path.parts:
            rooms.add(path.name)

    sys.setprofile(visit)
    try:
        call(*conformer)
    finally:
        sys.setprofile(None)
    assert 0 < len(rooms) <= most, rooms


def test_models_that_are_open_are_not_loaded_again_nor_changed(conformer, loads):
    fp32, int8 = map(graph.opened, conformer[:2])
    feed, before = conformer[2], bytes_of(fp32, int8)
    compared(fp32, int8, feed)
    measure.layer_errors(fp32, int8, feed)
    measure.predict(fp32, feed, rounds=1)
    diagnosed(fp32, int8, feed)
    assert (loads[str(fp32.path)], loads[str(int8.path)]) == (1, 1)
    assert bytes_of(fp32, int8) == before


def bytes_of(*models):
    return [model.proto.SerializeToString(deterministic=True) for model in models]


def test_a_model_whose_file_has_changed_is_refused(tmp_path):
    fp32 = graph.opened(blocks.linear(tmp_path))
    fp32.path.write_bytes(fp32.path.read_bytes() + b"\n\n")
    with pytest.raises(ValueError, match="has changed since it was opened"):
        measure.profile(fp32, blocks.linear_feed())
