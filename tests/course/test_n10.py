"""Notebook 10: what the harness of right and wrong answers does not reach."""

import numpy as np
import onnx
import pytest
from matplotlib.figure import Figure
from onnx import numpy_helper

from qlab import graph, models, recipes, sqnr_db
from qlab.course.check import judge
from qlab.course.lessons import common, n10
from qlab.runtime import open_session

WHICH = ("everywhere", "one joint")


def logits(path, images):
    return open_session(path).run(None, {"images": images})[0]


@pytest.mark.parametrize("which", WHICH)
def test_a_patient_computes_what_the_digits_network_computes_with_other_weights(which):
    images = models.digit_split()[2][:64]
    np.testing.assert_array_equal(logits(n10.patient(which), images), logits(models.path("digits"), images))
    kept = [onnx.load(path).graph.initializer for path in (models.path("digits"), n10.patient(which))]
    plain, scaled = ({one.name: numpy_helper.to_array(one) for one in tensors} for tensors in kept)
    changed = [name for name in plain if not np.array_equal(plain[name], scaled[name])]
    assert changed
    assert (len(changed) < len(plain) / 2) == (which == "one joint")


def test_layers_that_are_mixed_by_arithmetic_lose_what_a_file_with_them_loses(tmp_path):
    images = models.digit_split()[0][:64]
    feeds, mixed = [{"images": image[None]} for image in images[:32]], n10.simulated("one joint")
    path, exact = n10.patient("one joint"), logits(n10.patient("one joint"), images)
    for floats in ((), mixed.layers[5:8], mixed.layers[:5]):
        made = recipes.static(
            path, tmp_path / "m.onnx", feeds, exclude=floats, per_channel=False, card="x86-avx512-vnni"
        )
        assert sum(graph.census(made.path).integer.values()) >= len(mixed.layers) - len(floats)
        by_file, by_hand = sqnr_db(exact, logits(made.path, images)), sqnr_db(exact, mixed.answers(images, floats))
        assert abs(by_file - by_hand) < 2.5, floats


def test_answers_are_those_of_the_images_that_are_given_not_of_the_place_where_others_lay():
    images, mixed = models.digit_split()[0], n10.simulated("one joint")
    given = images[:8].copy()
    before = mixed.answers(given).copy()
    given[:] = images[8:16]
    assert not np.array_equal(before, mixed.answers(given))
    np.testing.assert_array_equal(mixed.answers(given), mixed.answers(images[8:16]))


@pytest.mark.parametrize("late", [("node_Conv_161", "node_Conv_171", "node_linear"), ()])
def test_layers_that_lose_the_same_alone_may_be_taken_in_any_order(late):
    def choose(layers, measure, k):
        right = {name: measure(n10.only(layers, name)) for name in layers}
        return sorted(layers, key=lambda name: (right[name], name not in late))[:k]

    assert judge("10.4", choose).status == "passed"


def test_with_every_layer_in_float_nothing_is_rounded_and_a_stranger_is_refused():
    images, mixed = models.digit_split()[0][:16], n10.simulated("everywhere")
    np.testing.assert_allclose(
        mixed.answers(images, mixed.layers), logits(n10.patient("everywhere"), images), rtol=1e-4
    )
    with pytest.raises(ValueError, match="no-such: no layer; the layers are node_Conv"):
        mixed.answers(images, ["no-such"])


def test_the_loud_channel_costs_the_products_behind_the_norm_nothing_in_float(tmp_path):
    frames = np.random.default_rng(0).normal(size=(20, 144)).astype(np.float32)
    made = {}
    for loud in (1.0, 60.0):
        onnx.save(n10.attention_entry(loud), tmp_path / "m.onnx")
        made[loud] = open_session(tmp_path / "m.onnx").run(["q"], {"x": frames})[0]
    assert sqnr_db(made[1.0], made[60.0]) > 100


def test_orders_that_agree_correlate_by_one_and_reversed_ones_by_minus_one():
    assert n10.rank_correlation([1, 5, 9], [-3, 0, 100]) == pytest.approx(1)
    assert n10.rank_correlation([1, 5, 9], [3, 2, 1]) == pytest.approx(-1)


def test_an_answer_that_fails_for_another_reason_is_told_nothing_of_axes():
    def fails(codes, scale, exact, rounded):
        return 1 / 0

    said = judge("10.3", fails).text()
    assert "division by zero" in said
    assert "axes" not in said


def test_of_each_layer_its_kernel_is_told():
    kinds = n10.kinds_of(models.path("digits"))
    assert list(kinds) == list(n10.layers_of(models.path("digits")))
    assert [list(kinds.values()).count(kind) for kind in ("3 x 3", "depthwise 3 x 3", "1 x 1", "Gemm")] == [
        1, 5, 5, 1,
    ]  # fmt: skip


def test_of_each_layer_the_products_are_counted():
    work = n10.products_of(models.path("digits"))
    assert list(work) == list(n10.layers_of(models.path("digits")))
    kinds = n10.kinds_of(models.path("digits"))
    assert work[next(name for name in work if kinds[name] == "3 x 3")] == 32 * 9 * 8 * 8
    assert work[next(name for name in work if kinds[name] == "1 x 1")] == 32 * 64 * 8 * 8
    assert work[next(name for name in work if kinds[name] == "Gemm")] == 128 * 10


def test_its_pictures_draw():
    found = {which: {"a": (30.0, 1.0), "b": (20.0, 2.0)} for which in WHICH}
    steps = {which: {"greedy": [10.0, 90.0, 99.0]} for which in WHICH}
    drawn = (
        n10.two_ways(),
        n10.sensitivity(found, title="two", kinds={"a": "3 x 3"}, whole=dict.fromkeys(WHICH, 0.5)),
        n10.staircase(steps, title="two", bound=98.0),
        n10.mixture(["a_1", "b_2"], ["a_1"], 90.0, whole=99.0),
    )
    assert all(isinstance(one, Figure) for one in drawn)
    assert "all on int8: everywhere 0.5 dB" in drawn[1].alt
    assert "the orders lie on each other" in drawn[2].alt
    assert "2 boxes in order, 1 float" in drawn[3].alt
    parted = {"one": {"greedy": [1.0, 3.0], "by weights": [1.0, 2.0]}}
    assert "they part at 1 in float" in n10.staircase(parted, title="two").alt
    assert common.in_haste()
