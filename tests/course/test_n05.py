"""Notebook 05: what the harness of right and wrong answers does not reach."""

import numpy as np
import onnx
import pytest

from qlab import calibration, models, recipes
from qlab.calibration.clipping import divergences
from qlab.course.check import judge
from qlab.course.lessons import common, n05
from qlab.numerics.metrics import paired_bootstrap


def test_the_reference_of_the_divergence_agrees_with_the_observers_own_table():
    _, counts, _, _ = n05.magnitude_histograms()[0]
    stops = np.arange(n05.CODES, counts.size + 1, 16)
    ours = [n05.divergence(counts, stop) for stop in stops]
    theirs = divergences(counts, np.zeros_like(stops), stops, n05.CODES)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("how", n05.MISTAKES)
def test_every_mistake_of_05_5_gives_another_threshold_in_some_histogram(how):
    apart = 0
    for place in range(len(n05.magnitude_histograms())):
        right, wrong = (n05.divergences_of(place, each)[1] for each in ("right", how))
        apart += right[int(np.argmin(wrong))] > right.min() * (1 + 1e-6) + 1e-12
    assert apart


def test_a_percentile_from_the_sum_of_histograms_is_numpys_and_the_mean_of_batches_is_not():
    missed = 0
    for _, batches, edges, percent in n05.histogram_cases():
        histograms = [np.histogram(x, edges)[0] for x in batches]
        everything = np.concatenate(batches)
        told = n05.of_counts(np.sum(histograms, axis=0), edges, percent / 100)
        assert sum(map(np.sum, histograms)) == everything.size
        gap = np.diff(np.sort(everything)).max()
        if percent < 100:  # at 100, whatever lies from the highest number to the last edge
            assert abs(told - np.percentile(everything, percent)) <= (edges[1] - edges[0]) + gap
        each = [np.percentile(x, percent) for x in batches if x.size]
        missed += len(each) > 1 and abs(np.mean(each) - told) > edges[1] - edges[0]
    assert missed >= 3


def test_one_of_the_three_sets_alone_is_filled_up_with_zeros_and_none_holds_a_test_sentence():
    sets = n05.suspects()
    zeros = {letter: max((feed["speech"] == 0).mean() for feed in feeds) for letter, feeds in sets.items()}
    assert [letter for letter, share in zeros.items() if share > 0.01] == ["B"]
    lengths = {len({int(feed["speech_lengths"][0]) for feed in feeds}) == 1 for feeds in sets.values()}
    assert lengths == {True, False}
    tests = {models.feed(said.samples)["speech"].tobytes() for said in models.utterances("test")[::8]}
    assert not any(feed["speech"].tobytes() in tests for feeds in sets.values() for feed in feeds)


def test_the_twelve_layers_are_those_behind_an_activation_that_is_mostly_positive():
    layers = n05.feed_forward_inputs(onnx.load(models.path("conformer")))
    assert len(set(layers.values())) == 12


def test_the_reader_can_be_checked_alone_and_passes_nothing():
    verdict = judge("05.3", common.Feeds)
    assert verdict.status == "almost"


def test_feeds_end_with_none_again_and_again():
    feeds = common.Feeds([{"x": 1}])
    assert [feeds.get_next(), feeds.get_next(), feeds.get_next()] == [{"x": 1}, None, None]


def test_the_cuts_of_a_histogram_are_the_observers_ranges():
    x = np.random.default_rng(5).standard_t(3, size=20_000).astype(np.float32)
    observers = [
        calibration.MinMaxObserver(), calibration.PercentileObserver(percentile=99.9), calibration.MseObserver(),
        calibration.EntropyObserver(),
    ]  # fmt: skip
    for observer in observers:
        observer.observe(x)
    told = n05.cuts(observers[1].histogram, percent=99.9, bits=8)
    np.testing.assert_allclose(list(told.values()), [observer.range() for observer in observers], rtol=1e-6)


def test_an_interval_is_told_in_points():
    assert n05.points(paired_bootstrap([0] * 50, [1] * 50, counts=[100] * 50)) == "WER +1.00 points (+1.00 to +1.00)"


def test_one_second_of_a_film_is_of_one_person_who_speaks_on_without_a_gap():
    film = common.liveliest(common.people(models.face_frames("test"))[0])
    assert {frame.sentence.text for frame in film} == {film[0].sentence.text}
    assert np.diff([frame.number for frame in film]).tolist() == [1] * 24


def test_the_mouths_difference_is_that_of_all_frames_pooled():
    frames = models.face_frames("test")[::40]
    truth = np.concatenate([frame.truth for frame in frames])
    noise = np.random.default_rng(0).normal(size=truth.shape) * np.linspace(0.01, 0.2, len(truth))[:, None, None, None]
    before, after = (np.float32(truth + times * noise).clip(0, 1) for times in (1, 2))
    told = common.mouth_difference(frames, before, after)
    assert told.difference == pytest.approx(models.mouth_psnr(truth, after) - models.mouth_psnr(truth, before))
    assert told.low < told.difference < told.high < 0


def test_sentences_in_noise_are_every_third_of_those_that_models_gives():
    told, given = n05.spoken_tests(5), models.utterances("test", noise_db=5)
    assert {said.samples.tobytes() for said in told} <= {said.samples.tobytes() for said in given[::3]}


def test_what_clips_is_counted_and_told():
    histogram = calibration.Histogram()
    histogram.add(np.linspace(-1, 3, 10_000).astype(np.float32))
    told = {"whole: 40.0 dB": (histogram.low, histogram.high), "cut: 30.5 dB": (-1.0, 2.0)}
    assert n05.clipping(histogram, told) == "1 of 2 clip"


@pytest.fixture
def row():
    same, worse = paired_bootstrap([0, 0], [0, 0]), paired_bootstrap([0] * 9, [1] * 9, counts=[100] * 9)
    return {"digits": same, "digits dB": 30.0, "clean": (same, []), "5 dB": (worse, [("a", "b")]), "speech dB": 33.0,
            "mouth": same, "face dB": 38.0}  # fmt: skip


def test_the_table_of_methods_shows_each_difference_with_its_interval_in_page_and_print(row):
    table = n05.MethodTable({"moving_average": row}, people=7)
    for shown in (repr(table), table._repr_html_()):
        assert "moving average" in shown
        assert "+1.0 (+1.0 to +1.0)*" in shown  # 0 lies outside
        assert "+0.0 (+0.0 to +0.0)*" not in shown
        assert "7 people" in shown


def test_the_table_of_methods_says_where_some_were_left_out_for_haste(row):
    assert "QLAB_FAST=1: 1 of 5 methods" in repr(n05.MethodTable({"minmax": row}, people=7))
    assert "QLAB_FAST" not in repr(n05.MethodTable(dict.fromkeys(n05.METHODS, row), people=7))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [([0, 1], [1, 0], "not to be told apart"), ([0, 0], [1, 1], "worse"), ([1, 1], [0, 0], "better")],
)
def test_two_models_are_told_apart_where_0_lies_outside_their_interval(before, after, said):
    assert said in n05.told_apart(paired_bootstrap(before * 20, after * 20))


def test_the_way_into_the_conformer_is_speech_shifted_and_scaled(tmp_path):
    prepared = recipes.prepare(models.path("conformer"), tmp_path / "prepared.onnx")
    feed = models.feed(models.utterances("calibration")[0].samples)
    speech = feed["speech"][0, :, 7]
    names = n05.way_in(prepared)
    for x in common.watching(onnx.load(prepared), names).run(names, feed):
        seen = x.reshape(feed["speech"].shape)[0, :, 7]
        np.testing.assert_allclose(np.polyval(np.polyfit(speech, seen, 1), speech), seen, atol=1e-3)


def test_an_answer_that_spoils_what_it_was_given_is_seen():
    _, (left,) = n05.call_watched(lambda x: x.fill(1) or 5, np.zeros(3), name="spoil")
    assert left.tolist() == [1, 1, 1]


def test_the_pictures_near_the_mouth_hold_all_that_the_mouths_psnr_looks_at():
    frame = models.face_frames("test")[0]
    moved = frame.truth.copy()
    common.near_mouth(moved)[:] = 0  # a view
    assert models.mouth_psnr(frame.truth, moved) < 20
    moved = np.zeros_like(frame.truth)
    common.near_mouth(moved)[:] = common.near_mouth(frame.truth)
    assert models.mouth_psnr(frame.truth, moved) == np.inf


def test_the_schematic_says_in_words_what_it_shows():
    assert len(n05.flow().alt) > 100
