"""The command line: what it reports, and its exit codes."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from qlab import models
from qlab import runtime as identity
from qlab.__main__ import main
from qlab.doctor import command
from qlab.measure import Finding
from qlab.recipes import RECIPES
from tests.builders import blocks
from tests.builders.blocks import FLOAT, node, save, value
from tests.doctor.conftest import words
from tests.doctor.html import Page

FAULT = Finding("conv-integer", "3 of them", "since", 1.5, "recipes.hybrid()", ("elsewhere",))


@pytest.mark.parametrize("arguments", [[], ["--help"], ["doctor", "--help"]])
def test_help_says_what_there_is(arguments, capsys):
    try:
        code = main(arguments)
    except SystemExit as ended:
        code = ended.code
    out = capsys.readouterr().out
    assert code == 0
    assert "doctor" in out
    if len(arguments) == 2:
        assert 'np.savez("feeds.npz", **{"speech": x' in out
        assert "qlab doctor model.onnx" in out
        assert max(map(len, out.splitlines())) <= 100


def test_help_loads_no_onnxruntime():
    code = "import sys; from qlab.__main__ import main\ntry: main(['doctor', '--help'])\nfinally: print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "qlab.doctor.command" in out
    assert not {"onnxruntime", "onnx", "matplotlib", "mistune"} & set(out.split())


def test_a_healthy_model_gives_0_and_no_recipe_is_tried(doctor, fp32, int8, measured, monkeypatch):
    measured()
    monkeypatch.setattr("qlab.doctor.visit._is_reason", lambda given: bool(given.findings))
    code, out, err = doctor(fp32, int8)
    assert (code, err) == (0, "")
    sentence = "int8.onnx is 2.00 times as fast as conformer.onnx (95 %: 1.90 to 2.10), SQNR 40.0 dB on noise; the"
    assert sentence in words(out)
    assert "There is nothing to mend." in out
    assert "Recommendation" not in out


def test_what_a_decibel_is_in_per_cent_stands_by_the_first_of_them(doctor, fp32, int8, measured, tmp_path):
    measured()
    _, out, _ = doctor(fp32, int8, "--no-recipes", "--html", tmp_path / "r.html")
    line = "dB: 20 log10 of signal over error. 20 dB: an error of 10 % of the signal's size; 40 dB: 1 %."
    assert [one for one in out.splitlines() if " dB" in one or one.startswith("dB")][1] == line
    banner = Page((tmp_path / "r.html").read_text(encoding="utf-8")).text.partition("What was examined")[0]
    assert "SQNR 40.0 dB" in banner
    assert line in banner


@pytest.mark.parametrize(
    ("findings", "rows", "sentence"),
    [
        ({"int8": [FAULT]}, {}, "1 finding, together about 1.5 ms a run"),
        ({}, {"int8": (0.5, 40, "slower")}, "is slower than conformer.onnx: 0.50 times its speed"),
    ],
)
def test_a_model_that_is_ill_gives_1(findings, rows, sentence, doctor, fp32, int8, measured):
    measured(findings, **rows)
    code, out, _ = doctor(fp32, int8, "--no-recipes")
    assert code == 1
    assert sentence in words(out)


def test_a_model_that_loses_too_much_gives_1_except_on_noise(doctor, fp32, int8, measured, feeds_file):
    measured(int8=(2, 9, "faster"))
    code, out, _ = doctor(fp32, int8, "--no-recipes", "--calibration", feeds_file([blocks.conformer_feed()]))
    assert code == 1
    assert "9.0 dB are too little to use; the diagnosis finds nothing." in words(out)
    assert doctor(fp32, int8, "--no-recipes")[0] == 0


def test_a_model_that_is_ill_is_shown_a_better_one(doctor, fp32, int8, measured):
    measured({"int8": [FAULT]}, static=(3, 40, "faster"), hybrid=(1, 50, "cannot tell"))
    code, out, _ = doctor(fp32, int8)
    text = words(out)
    assert code == 1
    assert "recipes.static makes a faster one: 3.00 times as fast as conformer.onnx, SQNR 40.0 dB on noise." in text
    assert "1. conv-integer, about 1.5 ms a run - what: convolutions that dynamic quantization made ConvInteger" in text
    assert "seen: 3 of them - why: since - mend: recipes.hybrid() - where: elsewhere" in text
    assert "Together about 1.5 ms of the" in text
    assert "Compared side by side, int8 takes 5 ms and fp32 10 ms; static takes 3.33 ms." in text
    assert "static: findings" in text


def test_without_a_quantized_model_a_good_recipe_gives_0_and_is_kept(doctor, fp32, tmp_path, measured, feeds_file):
    measured(hybrid=(3, 40, "faster"))
    feeds = feeds_file([blocks.conformer_feed(seed=seed) for seed in range(6)])
    best = tmp_path / "best.onnx"
    code, out, err = doctor(fp32, "--calibration", feeds, "--save", best, "--threads", 2, "--rounds", 9)
    assert (code, err) == (0, "")
    assert "recipes.hybrid makes a model that is 3.00 times as fast as conformer.onnx" in out
    assert f"It is kept as {best}." in words(out)
    assert "1 feed to measure on, 5 others to calibrate" in words(out)
    assert "--threads 2 --rounds 9" in words(out)
    assert {entry.key: entry.value for entry in onnx.load(best).metadata_props}["qlab.recipe"] == "hybrid"
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith(".")]


def test_the_call_in_the_report_makes_the_recommended_model(doctor, fp32, tmp_path, measured, feeds_file):
    measured(static=(3, 40, "faster"))
    _, out, _ = doctor(fp32, "--calibration", feeds_file([blocks.conformer_feed()]), "--card", "x86-avx2")
    lines = [line.strip() for line in out.splitlines() if line.startswith("    ")]
    code = "\n".join(lines[lines.index("from qlab import machine, recipes") : -1])  # the last is the command
    exec(compile(code, "report", "exec"), {})
    assert (tmp_path / "conformer.int8.onnx").is_file()
    assert "This is a reference card" in out


def test_where_nothing_is_faster_fp32_is_recommended_and_the_exit_code_is_1(doctor, fp32, tmp_path, measured):
    slow = (0.9, 40, "slower")
    measured(dynamic=slow, static=slow, hybrid=slow)
    code, out, _ = doctor(fp32, "--save", tmp_path / "best.onnx")
    assert code == 1
    assert "Stay with conformer.onnx: no quantized version is faster on this machine." in out
    assert not (tmp_path / "best.onnx").exists()


def test_findings_in_the_recommended_model_give_1(doctor, fp32, measured):
    measured({"static": [FAULT]}, static=(3, 40, "faster"))
    code, out, _ = doctor(fp32)
    assert code == 1
    assert "1 finding remains, together about 1.5 ms a run." in words(out)


def test_a_model_without_anything_to_quantize_is_told_so(doctor, tmp_path):
    nodes = [node("Relu", ["x"], ["y"])]
    path = save(tmp_path / "relu.onnx", nodes, [value("x", FLOAT, [4])], [value("y", FLOAT, [4])], {})
    code, out, _ = doctor(path)
    assert code == 1
    assert "The recipes find nothing to quantize in relu.onnx." in out
    assert "- dynamic: changes nothing that computes." in out
    assert "- hybrid: the model has no convolutions, so it would be dynamic." in out


def test_a_recipe_that_fails_is_listed_with_its_reason(doctor, fp32, measured, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("onnx\nsays no")

    measured()
    monkeypatch.setitem(RECIPES, "static", replace(RECIPES["static"], make=fail))
    _, out, _ = doctor(fp32)
    assert "- static: failed: onnx says no." in out


def test_a_recommended_model_that_cannot_be_diagnosed_costs_that_part_only(doctor, fp32, measured, monkeypatch):
    def fail(*arguments, **options):
        raise ValueError("no tensor in common")

    measured()
    monkeypatch.setattr("qlab.doctor.visit.examine", fail)
    code, out, _ = doctor(fp32)
    assert code == 1
    assert "It could not be diagnosed: no tensor in common" in out


def test_findings_about_values_are_not_made_on_noise(doctor, fp32, int8, measured, feeds_file):
    clips = Finding("range-clips", "too narrow", "since", None, "calibrate")
    measured({"int8": [clips]})
    code, out, _ = doctor(fp32, int8, "--no-recipes")
    assert code == 0
    assert "Not judged on invented feeds: range-clips, range-wastes, unlike-parts, layer-loss, output-loss." in out
    code, out, _ = doctor(fp32, int8, "--no-recipes", "--calibration", feeds_file([blocks.conformer_feed()]))
    assert code == 1
    assert "what: calibrated ranges too narrow for the activations" in words(out)


def test_an_interrupted_visit_ends_quietly(doctor, fp32, tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("qlab.doctor.visit.compare", interrupted)
    assert doctor(fp32, "--html", tmp_path / "r.html", "--save", tmp_path / "b.onnx") == (130, "", "")
    assert {entry.name for entry in tmp_path.iterdir()} == {"cache", "conformer.onnx"}


def test_a_terminal_without_the_letters_of_a_name_gets_escapes(tmp_path):
    class Stream:
        encoding = "ascii"
        text = ""

        def write(self, text):
            text.encode("ascii")
            self.text += text

        def flush(self):
            pass

    stream = Stream()
    command._say("音.onnx\n", stream)
    assert stream.text == "\\u97f3.onnx\n"


@pytest.mark.slow
def test_the_command_runs_as_a_module_with_everything_real(tmp_path):
    fp32, html = models.path("digits"), tmp_path / "digits.html"
    np.savez(tmp_path / "feeds.npz", images=np.random.default_rng(0).random((8, 1, 8, 8), np.float32))
    command = [sys.executable, "-m", "qlab", "doctor", fp32, "--calibration", tmp_path / "feeds.npz", "--html", html]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env=os.environ | {"TQDM_DISABLE": "1"})
    assert done.returncode in (0, 1), done.stderr
    assert "digits.onnx" in done.stdout.splitlines()[0]
    assert [line for line in done.stderr.splitlines() if not line.endswith(" ...")] == []
    page = Page(html.read_text(encoding="utf-8"))
    assert page.tags.count("img") >= 4
    assert "could not be drawn" not in page.text
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["cache", "digits.html", "feeds.npz"]


def test_feeds_of_one_number_throughout_are_remarked_on(doctor, tmp_path, measured):
    model = blocks.linear(tmp_path)
    feed = {name: np.zeros_like(array) for name, array in blocks.linear_feed().items()}
    np.savez(tmp_path / "zeros.npz", **feed)
    measured()
    _, out, _ = doctor(model, "--calibration", tmp_path / "zeros.npz")
    assert "it is 0 throughout: times are real, ranges and SQNR are those of nothing" in words(out)


def test_a_state_that_begins_with_zeros_is_remarked_on_as_such(doctor, tmp_path, measured):
    nodes = [blocks.node("MatMul", ["x", "w"], ["u"], "in"), blocks.node("Add", ["h", "u"], ["hn"], "sum")]
    nodes.append(blocks.node("Tanh", ["hn"], ["y"], "answer"))
    ends = ([blocks.value(name, blocks.FLOAT, [1, 8]) for name in names] for names in (("x", "h"), ("y", "hn")))
    model = blocks.save(tmp_path / "state.onnx", nodes, *ends, {"w": blocks.weights(8, 8)})
    np.savez(tmp_path / "feeds.npz", x=blocks.noise(1, 8), h=np.zeros((1, 8), np.float32))
    measured()
    _, out, _ = doctor(model, "--calibration", tmp_path / "feeds.npz")
    assert "it is 0 throughout, the beginning of a state: ranges are those of the beginning" in words(out)


def test_the_call_leaves_out_the_feeds_that_measured(doctor, fp32, measured, feeds_file):
    measured(static=(4, 40, "faster"))
    _, out, _ = doctor(fp32, "--calibration", feeds_file([blocks.conformer_feed(seed=at) for at in range(5)]))
    assert "[1:]  # the first was kept for measuring" in out


def test_more_threads_than_cores_are_remarked_on(doctor, fp32, measured):
    measured()
    _, out, _ = doctor(fp32, "--threads", identity.usable_cores() + 1)
    assert "they wait for each other" in words(out)
