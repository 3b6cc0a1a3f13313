"""Bad input: refused by name, in one line, before anything slow. What is slow says so; what is quick says nothing."""

import os

import numpy as np
import onnx
import pytest

from qlab import recipes
from qlab.doctor.request import stage, waiting
from tests.builders import blocks
from tests.builders.blocks import FLOAT, node, save, value
from tests.doctor.html import Page
from tests.test_machine import endless


def refused(answer, *parts):
    """One line on stderr that says all this, nothing on stdout, exit code 2."""
    code, out, err = answer
    assert (code, out) == (2, "")
    assert err.startswith("doctor: ")
    assert err.count("\n") == 1
    for part in parts:
        assert part in err, err


@pytest.mark.parametrize(
    "arguments", [[], ["a", "b", "c"], ["a", "--rounds", "0"], ["a", "--threads", "two"], ["a", "-x"]]
)
def test_arguments_that_make_no_sense_are_refused(arguments, doctor):
    code, out, err = doctor(*arguments)
    assert (code, out) == (2, "")
    assert "error" in err


def test_a_missing_a_cut_and_a_foreign_file_are_refused(doctor, fp32, int8, tmp_path):
    refused(doctor(tmp_path / "gone.onnx"), "gone.onnx: no such model file")
    refused(doctor(fp32, tmp_path / "gone.onnx"), "gone.onnx: no such model file")
    (tmp_path / "text.onnx").write_text("hello")
    refused(doctor(tmp_path / "text.onnx"), "text.onnx: truncated, or not an ONNX file")
    (tmp_path / "cut.onnx").write_bytes(int8.read_bytes()[:-300])
    refused(doctor(fp32, tmp_path / "cut.onnx"), "cut.onnx")
    refused(doctor(tmp_path), "is a folder; expected a model file in it")


def test_an_int8_model_that_does_not_open_is_refused_with_the_way_out(doctor, fp32, int8, tmp_path):
    model = onnx.load(int8)
    model.graph.initializer.remove(next(one for one in model.graph.initializer if one.name.endswith("_scale")))
    onnx.save(model, tmp_path / "broken.onnx")
    refused(doctor(fp32, tmp_path / "broken.onnx"), "since '", "in the file. recipes.dynamic makes one of", str(fp32))


def test_models_in_the_wrong_places_are_refused(doctor, fp32, int8):
    refused(doctor(int8, fp32), f"{int8} is quantized and {fp32} is not: give the fp32 model first")
    refused(doctor(int8, "--save", int8), f"{int8} is already quantized, and --save keeps what a recipe makes of an")
    refused(doctor(int8, int8), "is already quantized")
    refused(doctor(fp32, fp32), f"nothing in {fp32} is quantized; leave it out")


def test_a_quantized_version_of_another_model_is_refused(doctor, fp32, tmp_path):
    other = recipes.dynamic(blocks.linear(tmp_path), tmp_path / "other.onnx").path
    refused(doctor(fp32, other), f"{other} has the inputs x float, {fp32} has speech float, speech_lengths int64")


def test_a_file_that_would_be_overwritten_or_cannot_be_written_is_refused(doctor, fp32, int8, tmp_path, feeds_file):
    feeds = feeds_file([blocks.conformer_feed()])
    for option in ("--html", "--save"):
        for path in (fp32, int8, feeds):
            refused(doctor(fp32, int8, "--calibration", feeds, option, path), "would overwrite")
        refused(doctor(fp32, option, tmp_path), "is a folder")
        refused(doctor(fp32, option, tmp_path / "nowhere" / "x"), "nowhere")
    refused(doctor(fp32, "--html", tmp_path / "x", "--save", tmp_path / "x"), "choose two names")
    assert not (tmp_path / "x").exists()


def test_options_without_a_purpose_are_refused(doctor, fp32, int8, tmp_path):
    refused(doctor(fp32, "--no-recipes"), "there is no int8.onnx to diagnose")
    refused(doctor(fp32, int8, "--no-recipes", "--save", tmp_path / "x.onnx"), "whose model --save could keep")
    refused(doctor(fp32, "--card", "abacus"), "no reference machine card 'abacus': there are: ")


def test_feeds_that_do_not_fit_are_refused(doctor, fp32, feeds_file, tmp_path):
    refused(doctor(fp32, "--calibration", tmp_path / "gone.npz"), "gone.npz: no such file of feeds")
    refused(doctor(fp32, "--calibration", feeds_file([{"speech": np.zeros(3, np.float32)}])), "feed 0", "missing")


def test_a_feed_that_looks_right_and_does_not_run_is_refused_before_anything_is_tried(doctor, tmp_path, feeds_file):
    nodes = [node("Reshape", ["x", "shape"], ["h"]), node("MatMul", ["h", "w"], ["y"])]
    weights = {"shape": np.array([2, 16]), "w": blocks.weights(16, 16)}
    path = save(tmp_path / "m.onnx", nodes, [value("x", FLOAT, ["n"])], [value("y", FLOAT, [2, 16])], weights)
    feeds = feeds_file([{"x": np.zeros(31, np.float32)}])
    refused(doctor(path, "--calibration", feeds), f"{path} does not run on feed 0 of {feeds}: ")


def test_external_data_outside_the_folder_are_refused(doctor, tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    path = blocks.linear(inner)
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, size_threshold=0, location="weights.bin")
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = "../weights.bin"
    onnx.save(model, path)
    (inner / "weights.bin").rename(tmp_path / "weights.bin")
    refused(doctor(path), "is stored in '../weights.bin', outside the model's folder")


def test_a_custom_operator_is_called_by_name_and_its_library_never_loaded(doctor, tmp_path):
    nodes = [node("Whiten", ["x"], ["y"], domain="my.ops")]
    path = save(tmp_path / "custom.onnx", nodes, [value("x", FLOAT, [4])], [value("y", FLOAT, [4])], {})
    model = onnx.load(path)
    model.opset_import.add(domain="my.ops", version=1)
    onnx.save(model, path)
    refused(doctor(path), "custom.onnx needs the operator my.ops:Whiten", "the doctor loads none")


def test_a_model_for_which_no_feed_can_be_invented_asks_for_some(doctor, tmp_path):
    nodes = [node("Reshape", ["x", "shape"], ["y"])]
    inputs, outputs = [value("x", FLOAT, ["a", "b"])], [value("y", FLOAT, [12345])]
    path = save(tmp_path / "m.onnx", nodes, inputs, outputs, {"shape": np.array([12345])})
    refused(doctor(path), "--calibration feeds.npz", "x: float32 [a, b]")


def test_a_model_that_never_ends_is_refused_after_the_time_limit(doctor, tmp_path, monkeypatch):
    monkeypatch.setenv("QLAB_TIME_LIMIT", "0.2")
    path = endless(tmp_path / "endless.onnx")
    refused(doctor(path), f"{path}: the model has not answered after 0.2 s, and may never")


def test_numbers_beyond_all_use_are_refused(doctor, fp32):
    refused(doctor(fp32, "--threads", 2**31), "threads is 2147483648; expected a whole number from 1 up, ")
    refused(doctor(fp32, "--rounds", 10**9), "rounds is 1000000000; expected a whole number from 1 up, ")


@pytest.mark.parametrize(
    "error", [RuntimeError("one\ntwo"), RecursionError("deep"), MemoryError(), KeyError("\x1b[2J")]
)
def test_the_last_resort_is_one_line_and_2(error, doctor, fp32, monkeypatch):
    def trip(_):
        raise error

    monkeypatch.setattr("qlab.doctor.request.checked", trip)
    code, out, err = doctor(fp32)
    assert (code, out) == (2, "")
    assert err.startswith(f"qlab: not foreseen, so a fault of qlab's too: {type(error).__name__}: ")
    assert err.count("\n") == 1
    assert "\x1b" not in err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes among its files")
def test_what_is_no_regular_file_is_neither_read_nor_replaced(doctor, fp32, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    refused(doctor(pipe), "no such model file")
    refused(doctor(fp32, "--calibration", pipe), "no such file of feeds")
    for option in ("--html", "--save"):
        refused(doctor(fp32, option, pipe), "is a device, a pipe or a socket")
    assert pipe.is_fifo()


def hostile_model(folder):
    """A model whose every name is an attack, and its path."""
    evil = "<script>alert('{}')</script>\"><img src=x onerror=alert(1)>$\\frac{{\x1b[31m"
    x, h, y = (evil.format(name) for name in "xhy")
    nodes = [node("MatMul", [x, "w"], [h], evil.format("first")), node("MatMul", [h, "v"], [y], evil.format("second"))]
    weights = {"w": blocks.weights(16, 16), "v": blocks.weights(16, 16, seed=1)}
    path = folder / "a&b <i>model.onnx"
    return save(path, nodes, [value(x, FLOAT, ["<b>", 16])], [value(y, FLOAT, ["<b>", 16])], weights)


@pytest.mark.slow
def test_a_hostile_model_is_harmless(doctor, tmp_path):
    path = hostile_model(tmp_path)
    int8 = recipes.dynamic(path, tmp_path / "<u>int8.onnx").path
    html = tmp_path / "report.html"
    code, out, _ = doctor(path, int8, "--html", html)
    assert code in (0, 1)
    assert "\x1b" not in out
    text = html.read_text(encoding="utf-8")
    shown = Page(text)
    assert {"script", "i", "u", "b"} & set(shown.tags) == set()
    assert set(shown.attributes) <= {
        "charset", "class", "http-equiv", "content", "name", "lang", "src", "alt", "style",
    }  # fmt: skip
    assert all(link.startswith("data:image/png;base64,") for link in shown.links)
    assert "could not be drawn" not in shown.text
    assert "<script>alert('x')</script>" in shown.text
    assert "a&b <i>model.onnx" in shown.text


class Timers:
    """Time that passes only where a test lets it, and the timers of that time, in place of the real ones."""

    def __init__(self):
        self.now, self.running = 0.0, []

    def monotonic(self):
        return self.now

    def Timer(self, seconds, function):
        return _Timer(self, seconds, function)

    def let_pass(self, seconds):
        self.now += seconds
        for timer in [timer for timer in self.running if timer.due <= self.now]:
            timer.cancel()
            timer.function()


class _Timer:
    def __init__(self, timers, seconds, function):
        self.timers, self.function, self.due = timers, function, timers.now + seconds

    def start(self):
        self.timers.running.append(self)

    def cancel(self):
        if self in self.timers.running:
            self.timers.running.remove(self)


@pytest.fixture
def timers():
    return Timers()


def staged(timers, name, patience_s=3):
    return stage(name, patience_s=patience_s, clock=timers.monotonic, timer=timers.Timer)


def test_a_slow_stage_is_named_once_on_stderr(capsys, timers):
    with staged(timers, "calibrating"):
        timers.let_pass(2)
        assert capsys.readouterr() == ("", "")
        timers.let_pass(20)
    assert capsys.readouterr() == ("", "calibrating ...\n")


def test_a_real_timer_says_it_too(capsys):
    with stage("calibrating", patience_s=0):
        said = ""
        while not said.endswith("\n"):
            said += capsys.readouterr().err
    assert said == "calibrating ...\n"


def test_a_quick_stage_and_one_that_fails_say_nothing(capsys, timers):
    with staged(timers, "calibrating"):
        pass
    with pytest.raises(ValueError, match="no"), staged(timers, "calibrating"):
        raise ValueError("no")
    timers.let_pass(100)
    assert capsys.readouterr() == ("", "")


def test_quick_stages_in_a_row_are_one_silence(capsys, timers):
    with waiting(clock=timers.monotonic):
        for name in ("one", "two", "three", "four"):
            with staged(timers, name, 5):
                timers.let_pass(2)
    assert capsys.readouterr().err == "three ...\n"
    with staged(timers, "afterwards", 5):
        timers.let_pass(2)
    assert capsys.readouterr() == ("", "")
