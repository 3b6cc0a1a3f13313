"""What the feed marks as padding counts for nothing."""

import numpy as np
import pytest

from qlab import measure, models
from qlab.measure.outputs import counted_places
from qlab.runtime import open_session
from tests.builders.blocks import FLOAT, INT64, node, noise, save, value

BATCH, TIME, WIDTH = 3, 20, 16
LENGTHS = np.array([20, 9, 13])
KEPT = np.arange(TIME) < LENGTHS[:, None]
IDS = np.random.default_rng(0).integers(2, 50, (BATCH, TIME))


def encoder(path, *, error=0.0, mask="attention_mask", polarity=1, pooled=False):
    """One attention over embedded tokens, and a class for each; `mask` says where its scores are lowered.

    error  is added to the embedding of token 0 and 1, which stand in the padding only, and a hundredth to the others
    """
    table = noise(50, WIDTH)
    table[:2] += np.float32(error) * noise(2, WIDTH, seed=9)
    table[2:] += np.float32(error / 100) * noise(48, WIDTH, seed=8)
    w = {"table": table, "types": noise(2, WIDTH, seed=4), "v": noise(WIDTH, 12, seed=1), "one": np.float32(1),
         "low": np.float32(-10_000), "axis": np.array([1]), "width": np.float32(WIDTH)}  # fmt: skip
    nodes = [
        node("Gather", ["table", "input_ids"], ["e"]), node("Gather", ["types", "token_type_ids"], ["t"]),
        node("Add", ["e", "t"], ["h"]), node("Transpose", ["h"], ["k"], perm=[0, 2, 1]),
        node("MatMul", ["h", "k"], ["product"]), node("Div", ["product", "width"], ["scores"]),
        node("Cast", [mask], ["shown"], to=FLOAT),
        node("Sub", ["one", "shown"], ["hides"]), node("Unsqueeze", ["hides" if polarity else "shown", "axis"], ["u"]),
        node("Mul", ["u", "low"], ["lowered"]), node("Add", ["scores", "lowered"], ["s"]),
        node("Softmax", ["s"], ["p"], axis=-1), node("MatMul", ["p", "h"], ["c"]),
        node("MatMul", ["c", "v"], ["logits"]),
    ]  # fmt: skip
    nodes += [node("ReduceMean", ["logits"], ["mean"], axes=[1], keepdims=0)] * pooled
    inputs = [value(name, INT64, ["n", "t"]) for name in ("input_ids", "token_type_ids", mask)]
    outputs = [value("logits", FLOAT, None)] + [value("mean", FLOAT, None)] * pooled
    return save(path, nodes, inputs, outputs, w)


def feed(mask="attention_mask", polarity=1):
    types = (np.arange(TIME) >= 5).astype(np.int64) * np.ones((BATCH, 1), np.int64)
    return {"input_ids": np.where(KEPT, IDS, 0), "token_type_ids": types, mask: np.where(KEPT, polarity, 1 - polarity)}


@pytest.mark.parametrize(("mask", "polarity"), [("attention_mask", 1), ("key_padding_mask", 0), ("keep", 1), ("x", 0)])
def test_positions_that_a_mask_hides_count_neither_for_sqnr_nor_for_answers(mask, polarity, tmp_path):
    paths = {name: encoder(tmp_path / f"{name}.onnx", error=off, mask=mask, polarity=polarity)
             for name, off in (("fp32", 0), ("int8", 1.0))}  # fmt: skip
    given = feed(mask, polarity)
    comparison = measure.compare(paths, given, rounds=1)
    expected, got = (open_session(path).run(None, given)[0] for path in paths.values())
    error = np.linalg.norm((expected - got)[KEPT])
    assert comparison.rows[1].sqnr_db == pytest.approx(20 * np.log10(np.linalg.norm(expected[KEPT]) / error), abs=0.01)
    assert comparison.rows[1].answers.total == LENGTHS.sum()
    assert comparison.worst_part["int8"].sqnr_db > 20
    everything = measure.compare(paths, given | {mask: np.full_like(given[mask], polarity)}, rounds=1)
    assert everything.rows[1].answers.total == BATCH * TIME
    assert everything.rows[1].sqnr_db < comparison.rows[1].sqnr_db - 10


def test_token_types_that_look_like_a_mask_hide_nothing(tmp_path):
    path = encoder(tmp_path / "m.onnx")
    whole = feed() | {"attention_mask": np.ones((BATCH, TIME), np.int64), "input_ids": IDS}
    row = measure.compare({"a": path, "b": path}, whole, rounds=1).rows[1]
    assert row.answers.total == BATCH * TIME


def test_a_pooled_output_has_no_padding(tmp_path):
    path = encoder(tmp_path / "m.onnx", pooled=True)
    session = open_session(path)
    run = lambda given: dict(zip(["logits", "mean"], session.run(None, given), strict=True))
    (places,) = counted_places(run, [feed()], [run(feed())])
    assert np.array_equal(places["logits"][..., 0], KEPT)
    assert "mean" not in places


def test_frames_behind_the_length_of_an_utterance_do_not_count():
    features = [models.features(one.samples) for one in models.utterances("calibration")[:2]]
    lengths = np.array([len(one) for one in features])
    speech = np.zeros((2, lengths.max() + 200, 80), np.float32)
    for row, one in zip(speech, features, strict=True):
        row[: len(one)] = one
    padded = {"speech": speech, "speech_lengths": lengths}
    session = open_session(models.path("conformer"))
    names = [output.name for output in session.get_outputs()]
    run = lambda given: dict(zip(names, session.run(None, given), strict=True))
    answers = run(padded)
    (places,) = counted_places(run, [padded], [answers])
    assert set(places) == {"encoder_out", "ctc_log_probs"}
    counted = places["ctc_log_probs"].sum(axis=(1, 2))
    assert np.abs(counted - answers["encoder_out_lens"]).max() <= 2
    assert counted_places(
        run, [alone := {"speech": features[0][None], "speech_lengths": lengths[:1]}], [run(alone)]
    ) == [{}]


def additive(path, error=0.0):
    """An attention that a mask of 0 and -10000, as floats, is added to."""
    w = {"v": noise(WIDTH, 12, seed=1) + np.float32(error) * noise(WIDTH, 12, seed=2), "axis": np.array([1])}
    nodes = [
        node("Transpose", ["x"], ["k"], perm=[0, 2, 1]), node("MatMul", ["x", "k"], ["product"]),
        node("Unsqueeze", ["added", "axis"], ["u"]), node("Add", ["product", "u"], ["s"]),
        node("Softmax", ["s"], ["p"], axis=-1), node("MatMul", ["p", "x"], ["c"]),
        node("MatMul", ["c", "v"], ["logits"]),
    ]  # fmt: skip
    inputs = [value("x", FLOAT, ["n", "t", WIDTH]), value("added", FLOAT, ["n", "t"])]
    return save(path, nodes, inputs, [value("logits", FLOAT, None)], w)


def test_a_mask_that_is_added_hides_as_well(tmp_path):
    paths = {"fp32": additive(tmp_path / "a.onnx"), "int8": additive(tmp_path / "b.onnx", 0.1)}
    given = {"x": noise(BATCH, TIME, WIDTH) / 4, "added": np.where(KEPT, 0, -10_000).astype(np.float32)}
    row = measure.compare(paths, given, rounds=1).rows[1]
    assert row.answers.total == LENGTHS.sum()
