"""The machine card: two probes, a cache, reference cards."""

import hashlib
import runpy
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from data.build import machine_card
from qlab import calibration, files, graph, machine, measure
from qlab.machine import cache, probes
from qlab.machine.card import cpu_name
from qlab.recipes.choice import choose
from qlab.runtime import MINIMUM_ROUNDS, interleave, open_session, repeats_of, run

ROOT = Path(__file__).resolve().parents[1]
VNNI = machine.Card(
    name="a VNNI machine",
    platform="Linux x86_64",
    cores=2,
    versions={"onnxruntime": "1.32.0", "numpy": "2.4.6", "python": "3.11.7"},
    speed={"u8s8": 3.9, "u8u8": 1.6, "s8s8": 0.3, "s8u8": 0.3},
    saturates=False,
    float32_gflops=120.0,
    copy_gb_per_s=20.0,
)


@pytest.fixture(scope="module")
def measured():
    started = time.perf_counter()
    card = probes.measure()
    return card, time.perf_counter() - started


@pytest.fixture
def counted(monkeypatch, tmp_path):
    """An empty cache folder, and a probe that counts how often it is asked to measure."""
    monkeypatch.setenv("QLAB_CACHE", str(tmp_path))
    monkeypatch.setattr(probes, "measure", lambda: counted.append(1) or replace(VNNI, cores=len(counted)))
    counted = []
    forget()
    yield counted
    forget()


def forget():
    """What a new process would not know."""
    cache._measure.cache_clear()


def test_a_card_that_is_measured_has_every_field(measured, tell):
    card, seconds = measured
    tell(f"a machine card: {seconds:.1f} s (aim: under 5 s)")
    assert set(card.speed) == {"u8s8", "u8u8", "s8s8", "s8u8"}
    assert all(speed is None or 0 < speed < np.inf for speed in card.speed.values())
    assert isinstance(card.saturates, bool)
    assert card.cores >= 1
    assert card.versions["onnxruntime"] == onnxruntime.__version__
    assert card.name == cpu_name() != ""
    assert 0 < card.float32_gflops < np.inf
    assert 0 < card.copy_gb_per_s < np.inf


def test_a_card_survives_json(measured):
    assert machine.Card.from_json(measured[0].to_json()) == measured[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a machine card"),
        (VNNI.to_json()[:-20], "not a machine card"),
        ("[1, 2]", "not a machine card"),
        ('{"name": "x"}', "not a machine card"),
        (VNNI.to_json().replace('"format": 1', '"format": 0'), "format 0.*measure it anew"),
        (VNNI.to_json().replace('"cores"', '"kernels"'), "kernels.*expected.*cores"),
        (VNNI.to_json().replace('"s8u8"', '"s8f8"'), "s8f8.*expected.*s8u8"),
        (VNNI.to_json().replace("3.9", "-3.9"), "positive.*-3.9"),
        (VNNI.to_json().replace("3.9", "NaN"), "positive.*nan"),
        (VNNI.to_json().replace("3.9", '"fast"'), "positive.*fast"),
        (VNNI.to_json().replace("3.9", "true"), "positive.*True"),
        (VNNI.to_json().replace("false", '"no"'), "'saturates': 'no'.*another type"),
        (VNNI.to_json().replace("false", "0"), "'saturates': 0.*another type"),
        (VNNI.to_json().replace('"cores": 2', '"cores": "2"'), "'cores': '2'"),
        (VNNI.to_json().replace("120.0", "-1"), "'float32_gflops': -1"),
        (VNNI.to_json().replace('"1.32.0"', "null"), "'versions'"),
        (replace(VNNI, note="!").to_json().replace('"!"', "[]"), r"'note': \[\]"),
        (VNNI.to_json().replace("3.9", "null").replace("1.6", "null").replace("0.3", "null"), "one exact integer"),
        ("[" * 100_000, "not a machine card"),
    ],
)
def test_anything_but_a_card_is_refused_with_what_it_is(text, message):
    with pytest.raises(ValueError, match=message):
        machine.Card.from_json(text)


def test_the_second_card_comes_from_the_cache_in_the_same_process_and_in_a_new_one(counted):
    first = machine.card()
    assert machine.card() == first
    forget()
    assert machine.card() == first
    assert len(counted) == 1


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b"\xff\xfe",
        VNNI.to_json().replace("u8u8", "u9u9").encode(),
        VNNI.to_json().replace("false", '"no"').encode(),
        VNNI.to_json().replace("3.9", '"fast"').encode(),
    ],
)
def test_a_damaged_cached_card_is_measured_again_and_mended(counted, tmp_path, damage):
    machine.card()
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage)
    forget()
    assert machine.card().cores == 2
    assert machine.Card.from_json(file.read_text()).cores == 2
    assert len(counted) == 2


def test_another_runtime_or_cpu_gets_a_card_of_its_own(counted, monkeypatch):
    machine.card()
    forget()
    monkeypatch.setattr(onnxruntime, "__version__", "9.9.9")
    machine.card()
    forget()
    monkeypatch.setattr(cache, "cpu_fingerprint", lambda: "another CPU")
    machine.card()
    assert len(counted) == 3


def test_a_card_that_cannot_be_kept_is_still_measured_only_once_and_leaves_no_half_file(counted, tmp_path):
    (machine.cache_folder() / cache.cached_name()).mkdir()  # nothing can be renamed onto a folder
    assert machine.card() == machine.card()
    assert len(counted) == 1
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]


def test_the_cache_folder_is_where_qlab_cache_says(monkeypatch, tmp_path):
    monkeypatch.setenv("QLAB_CACHE", str(tmp_path / "made" / "here"))
    assert machine.cache_folder() == tmp_path / "made" / "here"
    assert machine.cache_folder().is_dir()


@pytest.mark.skipif(sys.platform != "linux", reason="where Linux keeps caches; platformdirs knows the other systems")
@pytest.mark.parametrize(("variable", "end"), [("XDG_CACHE_HOME", ""), ("HOME", ".cache")])
def test_without_qlab_cache_the_platforms_user_cache_is_used(monkeypatch, tmp_path, variable, end):
    for name in ("QLAB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    assert machine.cache_folder() == tmp_path / end / "quantization-lab"


def test_a_cache_folder_that_cannot_be_made_says_what_to_set(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QLAB_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(ValueError, match=r"file.below.*set QLAB_CACHE"):
        machine.cache_folder()


@pytest.fixture
def shelf(monkeypatch, tmp_path):
    """A data folder with one reference card, listed."""
    (tmp_path / "machines").mkdir()
    (tmp_path / "machines" / "x86-example.json").write_text(VNNI.to_json())
    digest = hashlib.sha256(VNNI.to_json().encode()).hexdigest()
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  machines/x86-example.json\n")
    monkeypatch.setattr(files, "DATA", tmp_path)
    monkeypatch.setattr(cache, "REFERENCE_FOLDER", tmp_path / "machines")
    files.checksums.cache_clear()
    yield tmp_path / "machines"
    files.checksums.cache_clear()


def test_a_reference_card_that_was_altered_or_is_not_listed_is_refused(shelf):
    (shelf / "x86-own.json").write_text(VNNI.to_json())
    with pytest.raises(ValueError, match=r"machines/x86-own\.json is not listed in data/SHA256SUMS"):
        machine.card("x86-own")
    (shelf / "x86-example.json").write_text(VNNI.to_json().replace("false", "true"))
    with pytest.raises(ValueError, match=r"x86-example\.json was altered: its sha256 is"):
        machine.card("x86-example")


def test_an_unknown_reference_card_names_those_that_exist(shelf):
    assert machine.card("x86-example") == VNNI
    with pytest.raises(FileNotFoundError, match="'arm-dream': there are: x86-example"):
        machine.card("arm-dream")
    with pytest.raises(FileNotFoundError, match="there are: x86-example"):
        machine.card("../machines/x86-example")


def test_qlab_card_stands_in_for_this_machines_card(monkeypatch):
    monkeypatch.setenv("QLAB_CARD", "x86-avx2")
    assert machine.card() == machine.card("x86-avx2")
    file = Path(__file__).parent / "cards" / "arm-like.json"
    monkeypatch.setenv("QLAB_CARD", str(file))
    assert machine.card().speed["s8u8"] is None
    assert machine.card("x86-avx2").name == "x86-avx2"


@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        ("x86-avx3", FileNotFoundError, "there are: x86-avx2"),
        ("missing.json", FileNotFoundError, "QLAB_CARD is missing.json: no such file"),
        (
            str(Path(__file__).parents[1] / ".jupyter" / "labconfig" / "page_config.json"),
            ValueError,
            "not a machine card",
        ),
    ],
)
def test_a_qlab_card_that_is_no_card_is_refused(monkeypatch, value, error, says):
    monkeypatch.setenv("QLAB_CARD", value)
    with pytest.raises(error, match=says):
        machine.card()


def test_a_wheel_without_data_says_how_to_restore_the_reference_cards(monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "REFERENCE_FOLDER", tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"holds none.*clone.*git checkout -- data/machines"):
        machine.card("x86-avx512-vnni")


def test_every_shipped_reference_card_opens_under_its_own_name():
    names = [path.stem for path in (ROOT / "data" / "machines").glob("*.json")]
    assert "x86-avx512-vnni" in names
    for name in names:
        card = machine.card(name)
        assert card.name == name
        assert card.fastest in machine.SIGN_PAIRS


def test_the_vnni_reference_card_shows_what_vnni_does():
    card = machine.card("x86-avx512-vnni")
    assert card.fastest == "u8s8"
    assert card.speed["u8s8"] > 3
    assert not card.saturates


def test_the_avx2_reference_card_saturates_and_says_how_it_was_made():
    card = machine.card("x86-avx2")
    assert card.saturates
    assert card.speed["u8s8"] > card.speed["u8u8"]
    assert card.fastest == "u8u8"
    assert "hidden" in card.note


@pytest.mark.parametrize(
    ("changes", "fastest"),
    [
        ({}, "u8s8"),
        ({"saturates": True}, "u8u8"),
        ({"speed": {"u8s8": 2.0, "u8u8": 1.0, "s8s8": 2.1, "s8u8": None}}, "s8s8"),
        ({"speed": {"u8s8": 2.0, "u8u8": None, "s8s8": 0.3, "s8u8": None}, "saturates": True}, "s8s8"),
    ],
)
def test_the_fastest_pair_is_one_that_does_not_saturate(changes, fastest):
    assert replace(VNNI, **changes).fastest == fastest


def test_printing_a_card_shows_the_four_ratios_and_the_verdict():
    text = repr(replace(VNNI, saturates=True, speed=VNNI.speed | {"s8u8": None}, note="with VNNI masked"))
    assert "u8 x s8   3.90x\n" in text
    assert "u8 x u8   1.60x  <- fastest exact" in text
    assert "s8 x u8  no kernel" in text
    assert "SATURATES to 32,767" in text
    assert "with VNNI masked" in text
    assert "u8 x s8: exact" in repr(VNNI)


def vpmaddubsw_product(x, weights):
    """u8 x s8 on x86 without VNNI: neighbouring products added into 16 bits with saturation, then into 32."""
    products = x.astype(np.int64)[:, :, None] * weights.astype(np.int64)
    pairs = products[:, 0::2] + products[:, 1::2]
    return np.clip(pairs, -32768, 32767).sum(axis=1).astype(np.int32)


def exact_product(x, weights):
    return (x.astype(np.int64) @ weights.astype(np.int64)).astype(np.int32)


def test_the_saturation_probe_sees_vpmaddubsw_and_trusts_an_exact_product():
    assert probes.saturates(vpmaddubsw_product)
    assert not probes.saturates(exact_product)


def test_the_saturation_probe_sees_a_kernel_that_saturates_for_one_row_or_for_many_only():
    assert probes.saturates(lambda x, w: (vpmaddubsw_product if len(x) == 1 else exact_product)(x, w))
    assert probes.saturates(lambda x, w: (vpmaddubsw_product if len(x) > 1 else exact_product)(x, w))


@pytest.mark.parametrize("pair", machine.SIGN_PAIRS)
def test_the_products_that_are_timed_are_products_of_all_codes(pair):
    rng = np.random.default_rng(0)
    x, weights = probes._random(rng, pair[:2], (3, 64)), probes._random(rng, pair[2:], (64, 32))
    both = np.concatenate([probes._random(rng, pair[:2], 4096), probes._random(rng, pair[2:], 4096)])
    assert np.unique(both).size >= 256
    x //= 2  # small enough for every kernel: saturation is the other probe's business
    np.testing.assert_array_equal(probes.product_of(x, weights)(), exact_product(x, weights))


def test_a_pair_without_a_kernel_is_said_so_and_the_rest_is_measured(monkeypatch):
    real = probes.product_of

    def product_of(x, weights):
        if x.dtype == np.int8 and weights.dtype == np.uint8:
            raise ValueError("no such kernel")
        return real(x, weights)

    monkeypatch.setattr(probes, "product_of", product_of)
    speed, float32_gflops = probes.time_products(rounds=2)
    assert speed["s8u8"] is None
    assert all(speed[pair] > 0 for pair in ("u8s8", "u8u8", "s8s8"))
    assert float32_gflops > 0


class Clock:
    """Time that passes only where an action spends it."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def action(self, seconds):
        def spend():
            self.now += seconds

        return spend


def test_interleaving_runs_every_action_once_a_round_in_changing_order():
    calls = []
    actions = {name: lambda name=name: calls.append(name) for name in "abc"}
    seconds = interleave(actions, 20)
    assert {name: len(values) for name, values in seconds.items()} == {"a": 20, "b": 20, "c": 20}
    warm_up, *rounds = [tuple(calls[start : start + 3]) for start in range(0, len(calls), 3)]
    assert warm_up == ("a", "b", "c")
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len(set(rounds)) == 6


def test_interleaving_gives_each_action_its_own_seconds():
    clock = Clock()
    seconds = interleave({"slow": clock.action(3.0), "quick": clock.action(1.0)}, 8, clock=clock)
    np.testing.assert_allclose(seconds["slow"], np.full(8, 3.0))
    np.testing.assert_allclose(seconds["quick"], np.full(8, 1.0))


def test_an_action_that_is_repeated_counts_with_the_middle_half_of_its_runs():
    clock, times = Clock(), iter([5.0, 1.0, 2.0, 3.0, 4.0, 100.0, 0.1, 2.5] * 8)
    action = lambda: clock.action(next(times))()
    seconds = interleave({"a": action}, 2, repeats={"a": 8}, clock=clock)["a"]  # the first of the times is untimed
    np.testing.assert_allclose(seconds, np.full(2, np.mean([2.0, 2.5, 3.0, 4.0])))


def test_an_action_is_repeated_as_often_as_fills_a_sample_whatever_its_first_run_took():
    clock = Clock()
    times = iter([0.9, *[0.01] * 200])
    assert repeats_of(lambda: clock.action(next(times))(), 0.1, clock=clock) == 10
    assert repeats_of(clock.action(3.0), 0.1, clock=clock) == 1
    assert repeats_of(clock.action(3.0), 0.0, clock=clock) == 1
    assert 1 <= repeats_of(lambda: None, 0.1, clock=clock) <= 10_000  # a clock that does not see it at all


def test_a_time_budget_ends_the_rounds_but_leaves_enough_for_an_interval():
    clock = Clock()
    assert len(interleave({"a": clock.action(1.0)}, 100, budget_s=20.0, clock=clock)["a"]) == 21
    assert len(interleave({"a": clock.action(1.0)}, 100, budget_s=0.1, clock=clock)["a"]) == MINIMUM_ROUNDS


def test_a_short_measurement_prints_nothing(capfd):
    interleave({"a": lambda: None}, 50, description="timing")
    assert capfd.readouterr() == ("", "")


def test_a_model_file_that_is_not_there_or_not_a_model_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.onnx: no such model file"):
        open_session(tmp_path / "gone.onnx")
    for content in (b"", b"not a model at all"):
        (tmp_path / "broken.onnx").write_bytes(content)
        with pytest.raises(ValueError, match=r"broken\.onnx: onnxruntime cannot open it; is it a complete ONNX file"):
            open_session(tmp_path / "broken.onnx")


@pytest.mark.parametrize("model", [None, 7, onnx.ModelProto()])
def test_what_is_neither_a_path_nor_bytes_is_refused(model):
    with pytest.raises(ValueError, match="expected a path"):
        open_session(model)


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2", 100_000, 2**31, 2**70])
def test_a_thread_count_that_is_none_is_refused(threads):
    with pytest.raises(ValueError, match="expected a whole number from 1 up"):
        open_session(b"", threads=threads)


def test_the_command_line_prints_the_card(monkeypatch, capsys):
    monkeypatch.setenv("QLAB_CARD", "x86-avx2")
    runpy.run_module("qlab.machine", run_name="__main__")
    assert capsys.readouterr().out == f"{machine.card('x86-avx2')}\n"


def test_a_reference_card_is_measured_kept_listed_and_then_believed(shelf, capsys):
    machine_card.main(["x86-new", "--note", "as is"], shelf, lambda name, note: replace(VNNI, name=name, note=note))
    assert capsys.readouterr().out.startswith("Machine card: x86-new")
    files.checksums.cache_clear()
    assert [card.note for card in map(machine.card, machine.reference_cards())] == ["", "as is"]


def test_a_card_may_be_given_itself_or_by_name():
    card = machine.card("x86-avx2")
    assert machine.card(card) is card
    assert machine.reference_cards() == sorted(machine.reference_cards())
    assert "x86-avx2" in machine.reference_cards()
    with pytest.raises(ValueError, match="card is 7; expected a machine card, the name of a reference card, or None"):
        machine.card(7)
    assert choose("x86-avx2").reduce_range


def endless(path):
    """A Loop whose condition is always true, and which is told no number of turns."""
    state = helper.make_tensor_value_info("state", TensorProto.FLOAT, [4])
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Neg", ["state"], ["next"])],
        "body",
        [helper.make_tensor_value_info(n, k, []) for n, k in (("turn", TensorProto.INT64), ("go", TensorProto.BOOL))]
        + [state],
        [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []), helper.make_empty_tensor_value_info("next")],
    )
    body.output[1].type.CopyFrom(state.type)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy"]
    true = numpy_helper.from_array(np.array(True), "true")
    loop = helper.make_node("Loop", ["", "true", "x"], ["y"], body=body)
    model = helper.make_model(helper.make_graph([loop], "endless", ends[:1], ends[1:], [true]), ir_version=8)
    model.opset_import[0].version = 17
    onnx.save(model, path)
    return path


def test_a_model_that_never_ends_is_stopped_and_it_is_said_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setenv("QLAB_TIME_LIMIT", "0.2")
    path, feed = endless(tmp_path / "endless.onnx"), {"x": np.ones(4, np.float32)}
    uses = (
        lambda: run(open_session(path), feed),
        lambda: calibration.collect(path, [feed]),
        lambda: graph.invented_feeds(path),
        lambda: measure.compare({"a": path, "b": path}, feed),
        lambda: measure.profile(path, feed),
    )
    for use in uses:
        with pytest.raises(ValueError, match=r"not answered after 0\.2 s, and may never.*set QLAB_TIME_LIMIT"):
            use()
    assert not any(thread.name.startswith("qlab run") for thread in threading.enumerate())  # in the background


@pytest.mark.parametrize("limit", ["", "soon", "0", "-1", "nan", "1e9"])
def test_a_time_limit_that_is_none_is_refused(limit, tmp_path, monkeypatch):
    monkeypatch.setenv("QLAB_TIME_LIMIT", limit)
    with pytest.raises(ValueError, match=f"QLAB_TIME_LIMIT is '{limit}'; expected seconds"):
        run(open_session(endless(tmp_path / "endless.onnx")), {"x": np.ones(4, np.float32)})


def test_an_interrupt_ends_a_run_at_once_and_the_model_stops(tmp_path):
    """In a process of its own: a runner of tests may have other plans for the signal."""
    path = endless(tmp_path / "endless.onnx")
    code = f"""import signal
import numpy as np
from qlab.runtime import open_session, run
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
session = open_session({str(path)!r})
print("running", flush=True)
run(session, {{"x": np.ones(4, np.float32)}})"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "running\n"
        time.sleep(0.5)
        child.send_signal(signal.SIGINT)
        _, complaint = child.communicate()
    assert complaint.strip().endswith("KeyboardInterrupt")
