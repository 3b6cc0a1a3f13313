"""What a search mixes is what the recipe makes with exclude=; and each layer is one of the model's."""

import numpy as np
import pytest

from qlab import graph, recipes
from qlab.recipes.job import sharing
from qlab.recipes.mixing import Mixer, Shelf
from qlab.runtime import open_session
from tests.builders import blocks, faults

MODELS = {
    "conformer": (blocks.conformer_block, blocks.conformer_feed),
    "cnn": (blocks.residual_cnn, blocks.cnn_feed),
    "images": (faults.residual, faults.image_feed),
}


@pytest.mark.parametrize("recipe", list(recipes.RECIPES))
@pytest.mark.parametrize("name", list(MODELS))
def test_a_mix_answers_as_what_is_made_with_exclude(recipe, name, tmp_path, card):
    build, feed_of = MODELS[name]
    model, feed = graph.opened(build(tmp_path)), feed_of()
    row, rng = recipes.RECIPES[recipe], np.random.default_rng(3)
    with sharing(tmp_path):
        mixer = Mixer(row, model, tmp_path / "mixed.onnx", [feed], card=card)
        if not mixer.layers:
            assert recipe == "dynamic"
            return
        count = len(mixer.layers)
        mixes = [(), range(count), *(np.flatnonzero(rng.random(count) < 0.5) for _ in range(2))]
        mixes.append(sorted(set(range(count)) - {count // 2}))
        found = [mixer.mixed(mix).run(None, feed) for mix in mixes]
        names = [mixer.names(mix) for mix in mixes]
    for excluded, answers in zip(names, found, strict=True):
        made = row(model, tmp_path / "made.onnx", [feed], exclude=excluded, card=card)
        for one, other in zip(open_session(made.path).run(None, feed), answers, strict=True):
            np.testing.assert_array_equal(one, other)
        # A product of two activations whose neighbours give it codes and take them is one on integers all the same.
        floats = {fate.name for fate in made.products if fate.how == "float"}
        assert floats >= {layer.name for layer in mixer.layers if layer.weights and layer.name in excluded}
    assert len({name for layer in mixer.layers for name in layer.nodes}) == sum(len(one.nodes) for one in mixer.layers)


def test_weights_that_drafts_have_alike_are_there_once_and_a_session_reads_them_where_they_lie(tmp_path):
    def draft(factor, unread):
        arrays = {"w": factor * np.eye(64, dtype=np.float32), "unread": np.full(5_000, unread, np.float32)}
        ends = ([blocks.value(name, blocks.FLOAT, [1, 64])] for name in "xy")
        product = blocks.node("MatMul", ["x", "w"], ["y"], "product")
        return graph.load(blocks.save(tmp_path / "draft.onnx", [product], *ends, arrays))

    shelf, drafts = Shelf(), [draft(1, 1), draft(1, 2), draft(3, 1)]
    taken = [shelf.taken_from(one) for one in drafts]
    assert [set(one) for one in taken] == [{"w"}] * 3
    assert taken[0]["w"] is taken[1]["w"]
    sessions = [
        open_session(one.SerializeToString(), weights=weights) for one, weights in zip(drafts, taken, strict=True)
    ]
    del shelf, taken
    x = np.ones((1, 64), np.float32)
    assert [session.run(None, {"x": x})[0].max() for session in sessions] == [1, 1, 3]
