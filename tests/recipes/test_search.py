"""A search finds the layer that is to blame, says where none is, goes on where it was, and asks the metric seldom."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from qlab import graph, recipes
from qlab.recipes.trials import Trials
from qlab.runtime import open_session
from tests.builders import blocks, suspects

OUTLIER = 2_000.0


class Metric:
    """Minus the error relative to fp32, on feeds; counts its calls, and may be interrupted at one of them."""

    def __init__(self, model, feeds, stop_at=None):
        self.feeds, self.calls, self.stop_at = feeds, 0, stop_at
        self.expected = self.answers(open_session(model))

    def answers(self, session):
        return np.stack([session.run(["y"], feed)[0] for feed in self.feeds])

    def __call__(self, session):
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        error = self.answers(session) - self.expected
        return -float(np.linalg.norm(error) / np.linalg.norm(self.expected))


def timer(sessions, feeds, rounds):
    """What a clock says on a machine where integers are twice as fast: none is asked in a test."""
    return {name: np.full(rounds, 2.0 if name == "fp32" else 1.0) for name in sessions}


@pytest.fixture(scope="session")
def searched(card):
    """recipes.search for a fixed machine, with this clock."""
    return partial(recipes.search, card=card, timer=timer)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return suspects.network(tmp_path_factory.mktemp("suspects"))


@pytest.fixture(scope="module")
def found(model, tmp_path_factory, searched):
    """The Search on a model one layer of which is to blame, its metric, and the feeds."""
    feeds = suspects.feeds(outlier=OUTLIER)
    metric = Metric(model, feeds)
    output = tmp_path_factory.mktemp("found") / "out.onnx"
    return searched(model, output, feeds, metric, at_most=0.05), metric, feeds


def test_only_the_layer_that_is_to_blame_stays_in_float(found):
    search, _, _ = found
    assert search.sensitivity[0].layer == suspects.VICTIM
    assert search.sensitivity[0].share > 0.9
    assert not search.diffuse
    assert search.steps[0].floats == ()
    assert not search.steps[0].holds
    assert search.floats == (suspects.VICTIM,)
    assert search.best.holds
    assert {fate.name for fate in search.quantized.products if fate.how == "float"} == {suspects.VICTIM}
    assert search.steps[1].floats == (suspects.VICTIM,)
    assert search.steps[1].holds


def test_the_output_is_what_the_step_says(found):
    search, metric, _ = found
    assert metric(open_session(search.path)) == search.best.value
    assert search.loss <= search.at_most
    assert search.fp32 == 0


def test_the_metric_is_asked_at_most_three_times_a_layer_to_find_the_order(found):
    search, _, _ = found
    assert search.layers == suspects.DEPTH + 1
    assert search.calls["one layer"] <= 3 * search.layers
    assert sum(search.calls.values()) <= 3 * search.layers + 3 * len(search.steps) + 10


def test_a_search_is_told_in_words_and_drawn(found):
    search, _, _ = found
    text = repr(search)
    assert "concentrated" in text
    assert "all quantized" in text
    assert suspects.VICTIM in text
    assert "<table" in search._repr_html_()
    figure = search.plot()
    (axes,) = figure.axes
    assert "loss" in axes.get_xlabel()
    assert {"published", "beyond the bound"} <= {one.get_text() for one in axes.get_legend().get_texts()}
    assert "x as fast as fp32" in figure.alt
    assert "fp32 itself" in replace(search, quantized=None).plot().alt


def test_interrupted_it_goes_on_where_it_was(model, tmp_path, searched, found):
    whole, _, feeds = found
    keep, output, at = tmp_path / "kept", tmp_path / "out.onnx", 6
    metric = Metric(model, feeds, stop_at=at)
    with pytest.raises(KeyboardInterrupt):
        searched(model, output, feeds, metric, at_most=0.05, keep=keep)
    assert not output.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    search = searched(model, output, feeds, metric, at_most=0.05, keep=keep)
    assert [one.layer for one in search.sensitivity] == [one.layer for one in whole.sensitivity]
    assert search.steps[1].value == whole.steps[1].value
    first = sum(count for what, count in whole.calls.items() if what in ("fp32", "all quantized", "one layer"))
    second = sum(count for what, count in search.calls.items() if what in ("fp32", "all quantized", "one layer"))
    # The call that was interrupted, and the one for all in float, came before the end of the first search.
    assert second == first - (at - 1) + search.calls.get("fp32", 0) + 1
    again = searched(model, output, feeds, metric, at_most=0.05, keep=keep)
    assert set(again.calls) <= {"the output", "joined", "needed ones"}
    (file,) = keep.iterdir()
    file.write_text('{"format": 2, "trials": {"x": [1]}}', encoding="utf-8")
    assert searched(model, output, feeds, metric, at_most=0.05, keep=keep).calls["fp32"] == 2


def test_floats_are_those_of_the_file_where_a_product_left_out_gets_codes_from_its_neighbours(tmp_path, searched):
    layers = ("q", "k", "v", "scores", "context", "out", "pointwise1", "depthwise", "pointwise2")
    # fp32 twice, all quantized, all in float; each layer alone on integers: by this metric one of them is to blame.
    told = iter([1, 1, 0, 1, *(name != "scores" for name in layers)])
    model, feed = blocks.conformer_block(tmp_path), blocks.conformer_feed()
    search = searched(model, tmp_path / "out.onnx", [feed], lambda session: float(next(told, 1)), at_most=0.5)
    assert search.best.floats == ("scores",)
    assert {fate.how for fate in search.quantized.products if fate.name == "scores"} == {"static"}
    assert search.floats == ()
    assert "0 of 9 layers in float" in repr(search)
    assert "meant for float, but between codes and so on integers: scores" in repr(search)


def test_where_no_few_layers_are_to_blame_it_says_so(model, tmp_path, searched):
    feeds = suspects.feeds()
    search = searched(model, tmp_path / "out.onnx", feeds, Metric(model, feeds), at_most=0.002)
    assert search.diffuse
    assert f"it took {len(search.best.floats)} in float. For fewer, try what makes all of them" in repr(search)
    small = repr(replace(search, share=-0.31, layers=4 * len(search.best.floats)))
    assert "diffuse" not in small
    assert f"grows by 31 %, and {len(search.best.floats)} in float together hold the bound" in small
    none = repr(replace(search, quantized=None, share=-0.31, layers=12))
    assert "the worst layer of 12 in float: the loss grows by 31 %; no mix was both within the bound and faster" in none
    assert search.share < 0.5
    assert search.loss <= search.at_most


def test_where_the_loss_is_diffuse_the_walk_begins_at_a_tenth_of_the_layers(tmp_path, searched, monkeypatch):
    monkeypatch.setattr(suspects, "DEPTH", 24)
    # A profile of so small layers is noise, which may happen to give both orders: here the later ones take longer.
    monkeypatch.setattr(Trials, "costs", lambda trials: {place: 1.0 + place for place in range(25)})
    model, feeds = suspects.network(tmp_path), suspects.feeds(1)
    metric = Metric(model, feeds)
    search = searched(model, tmp_path / "out.onnx", feeds, metric, at_most=0.008)
    by_loss, by_win = (
        [int(step.what.split()[0]) for step in search.steps if step.what.endswith(what)]
        for what in ("worst", "best a millisecond")
    )
    assert search.diffuse
    assert by_loss[:2] == [2, 4]  # of 25
    assert by_win
    assert by_win[0] in by_loss
    assert min(by_win) >= by_win[0] // 2
    assert search.loss <= search.at_most


def test_if_all_quantized_holds_there_is_no_search(model, tmp_path, searched):
    feeds = suspects.feeds()
    search = searched(model, tmp_path / "out.onnx", feeds, Metric(model, feeds), at_most=0.5)
    assert search.sensitivity == ()
    assert not search.diffuse
    assert search.steps[0].what == "all quantized"
    assert "one layer" not in search.calls


def test_a_loss_of_just_the_bound_is_within_it_however_fractions_round(model, tmp_path, searched):
    feeds = suspects.feeds()
    errs = Metric(model, feeds)

    def right(session):
        error = -errs(session)
        return 1.0 if error == 0 else 0.995 if error < 0.5 else 0.0

    assert not 1.0 - 0.995 <= 0.005
    search = searched(model, tmp_path / "out.onnx", feeds, right, at_most=0.005)
    assert (search.floats, search.best.holds) == ((), True)
    assert len(search.steps) == 1


def test_a_slow_model_is_timed_on_fewer_feeds_and_in_fewer_rounds(model, tmp_path, searched, monkeypatch):
    monkeypatch.delenv("QLAB_FAST", raising=False)  # which has fewer rounds anyway

    def asked(seconds):
        found = []

        def clock(sessions, feeds, rounds):
            found.append((len(sessions), len(feeds), rounds))
            return {name: np.full(rounds, seconds) for name in sessions}

        feeds = suspects.feeds(6)
        searched(model, tmp_path / "out.onnx", feeds, Metric(model, feeds), at_most=0.5, timer=clock)
        return found

    # fp32 by itself for each feed, all quantized beside fp32, and once more at the end.
    assert asked(1e-4) == [(1, 1, 1)] * 4 + [(2, 4, 10), (2, 4, 30)]
    assert asked(0.04) == [(1, 1, 1)] * 3 + [(2, 2, 6), (2, 2, 30)]
    assert asked(1.0) == [(1, 1, 1), (2, 1, 6), (2, 1, 6)]


def test_where_no_mix_holds_it_is_fp32_as_it_was(model, tmp_path, searched):
    def strict(session):
        return float(not session.get_modelmeta().custom_metadata_map)

    search = searched(model, tmp_path / "out.onnx", suspects.feeds(), strict, at_most=0.5)
    assert search.quantized is None
    assert "not even with all layers in float" in repr(search)
    assert graph.quantized_by(graph.load(search.path)) == []
    feed = suspects.feeds(1)[0]
    answers = [open_session(path).run(None, feed)[0] for path in (model, search.path)]
    np.testing.assert_array_equal(*answers)


def test_what_is_no_measure_is_refused_with_its_values(model, tmp_path, searched):
    feeds, counted = suspects.feeds(1), iter(range(100))
    for metric, message in (
        (lambda session: 0.75, "does not respond: 0.75 for fp32, 0.75 for all quantized, and 0.75"),
        (lambda session: None, "gives None for fp32"),
        (lambda session: float("nan"), "gives nan for fp32"),
        (lambda session: "0.9", "gives '0.9' for fp32"),
        (lambda session: True, "gives True for fp32"),
        (lambda session: float(next(counted)), r"gives 0.0, then 1.0 for the same fp32 session"),
    ):
        with pytest.raises(ValueError, match=message):
            searched(model, tmp_path / "out.onnx", feeds, metric, at_most=0.1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"at_most": -0.1}, "at_most is -0.1"),
        ({"at_most": float("nan")}, "at_most is nan"),
        ({"at_most": "0.1"}, "at_most is '0.1'"),
        ({"at_most": None}, "at_most is None"),
        ({"metric": 0.9}, "metric is a float"),
        ({"recipe": "sttic"}, "recipe is 'sttic'; expected one of 'dynamic'"),
        ({"recipe": None}, "recipe is None"),
        ({"reader": []}, "empty list"),
        ({"reader": None}, "NoneType"),
        ({"recipe": "dynamic", "ranges": {"x": (0, 1)}}, "takes none"),
        ({"keep": 3}, "keep is a int"),
    ],
)
def test_wrong_input_is_named(model, tmp_path, searched, change, message):
    given = {"reader": suspects.feeds(1), "metric": lambda session: 0.0, "at_most": 0.1} | change
    with pytest.raises(ValueError, match=message):
        searched(model, tmp_path / "out.onnx", given.pop("reader"), given.pop("metric"), **given)
    assert list(tmp_path.iterdir()) == []
