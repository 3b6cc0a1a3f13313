"""The report on a made-up visit, word for word: golden.md. `python -m tests.doctor.test_report` writes it anew."""

import shutil
from contextlib import chdir
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from qlab import machine, recipes
from qlab.doctor.advice import limited, recommend
from qlab.doctor.feeds import Feeds
from qlab.doctor.markdown import heading
from qlab.doctor.report import pictures_of, report_of
from qlab.doctor.request import Request
from qlab.doctor.trying import Attempt
from qlab.doctor.visit import Diagnosis, Visit
from qlab.graph import Model
from qlab.measure import Comparison, Examination, Finding, Findings, LayerError, LayerErrors, NodeTime, Profile
from qlab.measure.profile import ledger
from tests.builders import blocks
from tests.doctor.conftest import REFERENCE, row

GOLDEN = Path(__file__).with_name("golden.md")
HOSTILE = "a|b `c` *d* [x](javascript:alert(1)) <script>\n# e"


def node_time(op_type, kind, ms):
    return NodeTime("n", "", op_type, kind, ms, 0, 0, 0, "", (), False, onnx.NodeProto())


def diagnosis(name, own_ms, fp32, card, found=()):
    """A Diagnosis of a model whose one Conv takes `own_ms`; fp32's takes 9 ms."""
    profiles = [
        Profile(Path("m.onnx"), tuple(nodes), sum(node.ms for node in nodes) + 0.5, 0.0, 9, None)
        for nodes in (
            [node_time("Conv", "float", 9.0), node_time("Relu", "float", 0.5)],
            [node_time("ConvInteger", "integer", own_ms), node_time(HOSTILE, "boundary", 0.5)],
        )
    ]
    layers = LayerErrors([LayerError(HOSTILE, "Conv", "n", 30.0, 25.0)], {}, ("y",), 2)
    examination = SimpleNamespace(fp32=profiles[0], quantized=profiles[1], layers=layers, card=card, is_own_card=False)
    examination.original, examination.original_operators = fp32, {node.op_type for node in profiles[0].nodes}
    examination.call = partial(Examination.call, examination)
    return Diagnosis(name, examination, Findings(found), ledger(*profiles))


def made_up(folder):
    """A visit that has all that a report tells: a model with findings and limits, recipes of which one failed."""
    fp32 = Model(blocks.conformer_block(folder).relative_to(folder))
    card = machine.card("x86-avx512-vnni")
    made = recipes.dynamic(fp32, folder / "int8.onnx", card=card)
    feeds = Feeds([blocks.conformer_feed()] * 6, Path("feeds.npz"), {"speech": ["batch", HOSTILE, 32]})
    asked = SimpleNamespace(
        calibration=feeds.source,
        card=card.name,
        metric=None,
        threads=1,
        rounds=None,
        save=None,
        quick=False,
        no_recipes=False,
        is_alone=False,
    )
    request = Request(asked, fp32, Model(shutil.copy(fp32.path, "_int8_.onnx")), feeds, card, rounds=20)
    rows = [REFERENCE, row("int8", 1.9, note=HOSTILE), row("dynamic", 1.5, verdict="cannot tell"), row("hybrid", 3.0)]
    comparison = Comparison(rows, {}, {row.name: np.ones(20) for row in rows}, threads=1, feeds=1)
    attempts = (
        Attempt("dynamic", "dynamic", {}, quantized=made),
        Attempt("static", "static", {}, why_not=HOSTILE, failed=True),
        Attempt("hybrid", "hybrid", {"exclude": ("n`1",)}, quantized=made),
    )
    remedy = "recipes.hybrid('conformer.onnx', '_out_.onnx', reader): convolutions static, as QLinearConv"
    found = [
        Finding("conv-integer", "3 of them", "ConvInteger fuses with nothing", 1.5, remedy, (HOSTILE,), "hybrid"),
        Finding("float-no-kernel", HOSTILE, "no kernel", 0.5, "no recipe mends it"),
    ]
    tried = limited(diagnosis("hybrid", 3.0, fp32, card), comparison, attempts=attempts)
    given = limited(diagnosis("int8", 4.5, fp32, card, found), comparison, tried, attempts=attempts)
    return Visit(request, given, attempts, comparison, recommend(rows, "int8"), tried, HOSTILE, Path("best.onnx"))


def golden(folder):
    with chdir(folder):
        return report_of(made_up(folder), on="2026-11-28 12:00, onnxruntime 1.32.0")


def test_a_report_says_this(tmp_path):
    assert golden(tmp_path) == GOLDEN.read_text(encoding="utf-8")


def test_a_picture_belongs_to_a_heading_of_the_report(tmp_path, monkeypatch):
    monkeypatch.setattr("qlab.doctor.report._surroundings", lambda diagnosis: [])
    lines = GOLDEN.read_text(encoding="utf-8").splitlines()
    monkeypatch.chdir(tmp_path)
    shown = pictures_of(made_up(tmp_path))
    assert all(heading(2, title) in lines for title in shown)
    assert [what for pictures in shown.values() for what, _ in pictures] == [
        "Speed-ups over fp32",
        "Time by kind of work, fp32 and int8",
        "Time by operator, int8",
        "Time by operator, fp32",
        "SQNR of every layer, int8",
        "Time by kind of work, fp32 and hybrid",
        "Time by operator, hybrid",
        "SQNR of every layer, hybrid",
    ]


@pytest.mark.parametrize(("name", "said"), [("fp32", "Stay with fp32"), ("int8", "Keep int8, as it is")])
def test_what_is_there_already_needs_no_call(name, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    visit = made_up(tmp_path)
    rows = [
        one if one.is_reference or one.name == name else replace(one, verdict="slower") for one in visit.comparison.rows
    ]
    report = report_of(replace(visit, recommendation=recommend(rows, "int8")))
    assert said in report
    assert "read_feeds('feeds.npz', 'conformer.onnx')" not in report


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        GOLDEN.write_text(golden(Path(place)), encoding="utf-8")
