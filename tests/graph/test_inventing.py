"""A feed is invented from a signature alone, and the model runs on it."""

from functools import partial

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from qlab import models
from qlab.graph.inventing import invented_feeds
from qlab.runtime import check_feed, open_session
from tests.builders import blocks
from tests.builders.blocks import BOOL, FLOAT, INT64, node, save, value

KINDS = {
    "Gemm": blocks.linear,
    "residual CNN": blocks.residual_cnn,
    "conformer block": blocks.conformer_block,
    "transposed convolution": blocks.transposed_conv,
    "LSTM": partial(blocks.recurrent, op_type="LSTM"),
    "GRU": partial(blocks.recurrent, op_type="GRU"),
    "If": blocks.branches,
    "Loop": blocks.loop,
    "shared weights": blocks.shared_weights,
    "weights in Constant nodes": blocks.constants,
    "functions": blocks.functions,
    "several readers": blocks.crossroads,
    "trained conformer": lambda folder: models.path("conformer"),
    "digits": lambda folder: models.path("digits"),
    "conformer_full": lambda folder: models.path("conformer_full"),
    "face_unet_full": lambda folder: models.path("face_unet_full"),
}


def model(folder, nodes, inputs, outputs=("y",), weights=None, **options):
    """A small model; outputs are floats of any shape."""
    return save(
        folder / "m.onnx", nodes, inputs, [value(one, FLOAT, None) for one in outputs], weights or {}, **options
    )


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow if kind.endswith("full") else ()) for kind in KINDS]
)
def test_every_kind_of_model_runs_on_what_is_invented_for_it(kind, tmp_path):
    path = KINDS[kind](tmp_path)
    session = open_session(path)
    feeds = invented_feeds(path, count=2)
    assert len(feeds) == 2
    for feed in feeds:
        check_feed(session, feed, kind)
        assert all(np.isfinite(y).all() for y in session.run(None, feed) if y.dtype.kind == "f")


def test_the_first_axis_is_a_batch_of_one_where_only_one_height_runs(tmp_path):
    """As exporters write it, every size is a symbol without a meaning: 64 pictures of 64 x 64 would run as well."""
    nodes = [node("Reshape", ["x", "shape"], ["y"])]
    weights = {"shape": np.int64([0, 3, 64 * 64])}
    path = model(tmp_path, nodes, [value("x", FLOAT, ["d.0", 3, "d.1", "d.2"])], weights=weights)
    assert [feed["x"].shape for feed in invented_feeds(path, count=2)] == 2 * [(1, 3, 64, 64)]


def test_frames_are_many_a_batch_is_one_and_a_length_is_the_length():
    feeds = invented_feeds(models.path("conformer"), count=5)
    lengths = [feed["speech"].shape[1] for feed in feeds]
    assert lengths == [128, 64, 192, 96, 160]
    for feed in feeds:
        assert feed["speech"].shape == (1, feed["speech_lengths"][0], 80)
    assert not np.array_equal(feeds[0]["speech"][:, :64], feeds[1]["speech"])


def test_the_same_seed_gives_the_same_feeds_and_another_seed_others(tmp_path):
    path = blocks.linear(tmp_path)
    one, again, other = (invented_feeds(path, count=1, seed=seed)[0]["x"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_pictures_are_between_0_and_1_and_declared_sizes_are_kept(tmp_path):
    x = invented_feeds(blocks.residual_cnn(tmp_path), count=1)[0]["x"]
    assert x.shape == (1, 3, 12, 12)
    assert 0 <= x.min() < 0.1
    assert 0.9 < x.max() <= 1


@pytest.mark.parametrize("between", [(), ("Cast", "Unsqueeze")])
def test_indices_stay_within_their_table(tmp_path, between):
    nodes, name = [], "tokens"
    for operator in between:
        inputs = [name] + ["axes"] * (operator == "Unsqueeze")
        options = {"to": INT64} if operator == "Cast" else {}
        nodes.append(node(operator, inputs, [f"{name}_"], **options))
        name += "_"
    nodes.append(node("Gather", ["table", name], ["y"]))
    weights = {"table": blocks.noise(5, 8), "axes": np.array([0])}
    path = model(tmp_path, nodes, [value("tokens", TensorProto.INT32, ["batch", "seq_len"])], weights=weights)
    tokens = np.concatenate([feed["tokens"].ravel() for feed in invented_feeds(path, count=4)])
    assert set(tokens) == set(range(5))


def test_integers_go_by_their_names(tmp_path):
    kinds = {"attention_mask": 1, "token_type_ids": 0, "audio_lengths": 128, "offset": 0, "required_cache_size": 0}
    inputs = [value("audio", FLOAT, ["batch", "time", 4]), value("flag", BOOL, []), value("depth", INT64, [])]
    inputs += [value(name, INT64, ["batch"]) for name in kinds]
    nodes = [node("Identity", ["audio"], ["y"])]
    feed = invented_feeds(model(tmp_path, nodes, inputs), count=1)[0]
    assert {name: int(feed[name][0]) for name in kinds} == kinds
    assert (feed["flag"].item(), feed["depth"].item()) == (True, 1)


def test_a_length_speaks_of_the_input_that_shares_its_name(tmp_path):
    inputs = [value("text", FLOAT, [1, 7, 4]), value("speech", FLOAT, [1, "frames", 4])]
    inputs += [value("textLengths", INT64, [1]), value("speechLengths", INT64, [1])]
    feed = invented_feeds(model(tmp_path, [node("Identity", ["text"], ["y"])], inputs), count=1)[0]
    assert (feed["textLengths"].item(), feed["speechLengths"].item()) == (7, 128)


def test_a_streaming_model_starts_with_empty_caches(tmp_path):
    inputs = [
        value("chunk", FLOAT, [1, "chunk_frames", 8]),
        value("att_cache", FLOAT, [1, "cache_t", 8]),
        value("cnn_cache", FLOAT, [1, 0, 8]),
        value("offset", INT64, []),
        value("mask", BOOL, [1, "cache_t + chunk_frames"]),
    ]
    nodes = [
        node("Concat", ["att_cache", "cnn_cache", "chunk"], ["all"], axis=1),
        node("Cast", ["mask"], ["kept"], to=FLOAT),
        node("Unsqueeze", ["kept", "axes"], ["column"]),
        node("Mul", ["all", "column"], ["y"]),
    ]
    feed = invented_feeds(model(tmp_path, nodes, inputs, weights={"axes": np.array([2])}), count=1)[0]
    shapes = {name: array.shape for name, array in feed.items()}
    assert shapes == {
        "chunk": (1, 128, 8), "att_cache": (1, 0, 8), "cnn_cache": (1, 0, 8), "offset": (), "mask": (1, 128),
    }  # fmt: skip


def test_half_precision_text_and_an_open_rank_are_fed_as_declared(tmp_path):
    inputs = [value("half", TensorProto.FLOAT16, None), value("words", TensorProto.STRING, ["n"])]
    nodes = [node("Cast", ["half"], ["y"], to=FLOAT)]
    feed = invented_feeds(model(tmp_path, nodes, inputs), count=1)[0]
    assert feed["half"].dtype == np.float16
    assert feed["words"].dtype == object


def test_sizes_are_tried_until_one_runs(tmp_path):
    nodes = [node("Reshape", ["x", "shape"], ["y"])]
    inputs = [value("x", FLOAT, ["batch", "columns"])]
    path = model(tmp_path, nodes, inputs, weights={"shape": np.array([4, 2])})
    assert invented_feeds(path, count=2)[1]["x"].shape == (1, 8)


def test_other_integers_are_tried_where_the_guess_gives_nan(tmp_path):
    nodes = [
        node("Cast", ["step"], ["n"], to=FLOAT),
        node("Sub", ["n", "n"], ["zero"]),
        node("Div", ["zero", "n"], ["y"]),
    ]
    feed = invented_feeds(model(tmp_path, nodes, [value("step", INT64, [])]), count=1)[0]
    assert feed["step"] == 1


def test_a_model_that_answers_nan_whatever_comes_is_fed_all_the_same(tmp_path):
    nodes = [node("Abs", ["x"], ["a"]), node("Neg", ["a"], ["b"]), node("Log", ["b"], ["y"])]
    assert invented_feeds(model(tmp_path, nodes, [value("x", FLOAT, [4])]), count=1)[0]["x"].shape == (4,)


def test_a_length_that_the_model_refuses_is_not_varied(tmp_path):
    nodes = [node("Reshape", ["x", "shape"], ["y"])]
    path = model(tmp_path, nodes, [value("x", FLOAT, [1, "frames"])], weights={"shape": np.array([8, 16])})
    assert {feed["x"].shape for feed in invented_feeds(path, count=3)} == {(1, 128)}


def test_inputs_with_a_default_are_left_alone(tmp_path):
    inputs = [value("x", FLOAT, ["n", 16]), value("w", FLOAT, [16, 16])]
    path = model(tmp_path, [node("MatMul", ["x", "w"], ["y"])], inputs, weights={"w": blocks.noise(16, 16)})
    assert set(invented_feeds(path, count=1)[0]) == {"x"}


def test_if_nothing_runs_the_message_shows_the_signature(tmp_path):
    nodes = [node("Reshape", ["x", "shape"], ["y"])]
    path = model(tmp_path, nodes, [value("x", FLOAT, ["a", "b"])], weights={"shape": np.array([12345])})
    with pytest.raises(ValueError, match=r"no invented feed; give real ones .*It takes x: float32 \[a, b\]; the last"):
        invented_feeds(path)


def test_inputs_that_are_no_tensors_are_refused_by_name(tmp_path):
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, None))
    inputs = [helper.make_value_info("items", kind), value("i", INT64, [])]
    path = model(tmp_path, [node("SequenceAt", ["items", "i"], ["y"])], inputs)
    with pytest.raises(ValueError, match=r"no tensors, \{'items': 'sequence_type'\}: no feed can be invented"):
        invented_feeds(path)


@pytest.mark.parametrize("count", [0, -1, 1.5, True])
def test_a_count_that_is_none_is_refused(count, tmp_path):
    with pytest.raises(ValueError, match=f"count is {count}"):
        invented_feeds(blocks.linear(tmp_path), count=count)


def test_the_model_file_is_left_as_it_was(tmp_path):
    path = blocks.linear(tmp_path)
    before = onnx.load(path).SerializeToString()
    invented_feeds(path)
    assert onnx.load(path).SerializeToString() == before


@pytest.mark.parametrize("mask", ["att_mask", "keep"])
def test_a_streaming_encoders_mask_with_a_size_of_its_own_is_one_that_broadcasts(mask, tmp_path):
    kind = BOOL if mask == "keep" else FLOAT
    nodes = [
        node("Conv", ["chunk", "w"], ["c"], strides=[4]),
        node("Transpose", ["c"], ["x"], perm=[0, 2, 1]),
        node("Concat", ["cache", "x"], ["k"], axis=1),
        node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        node("MatMul", ["x", "kt"], ["s"]),
        node("Cast", [mask], ["m"], to=BOOL),
        node("Where", ["m", "s", "low"], ["masked"]),
        node("Softmax", ["masked"], ["p"], axis=-1),
        node("MatMul", ["p", "k"], ["y"]),
    ]
    inputs = [
        value("chunk", FLOAT, [1, 8, "T"]),
        value("cache", FLOAT, [1, "T_CACHE", 8]),
        value(mask, kind, [1, 1, "T_ADD_T_CACHE"]),
    ]
    w = {"w": blocks.weights(8, 8, 7), "low": np.float32(-1e9)}
    feed = invented_feeds(model(tmp_path, nodes, inputs, weights=w), count=1)[0]
    assert feed["chunk"].shape == (1, 8, 128)
    assert feed[mask].shape == (1, 1, 1)


def test_a_mask_that_must_be_as_long_as_past_and_new_together_is(tmp_path):
    nodes = [
        node("Concat", ["cache", "x"], ["k"], axis=1),
        node("MatMul", ["att_mask", "k"], ["y"]),
    ]
    inputs = [
        value("x", FLOAT, [1, "T", 8]),
        value("cache", FLOAT, [1, "T_CACHE", 8]),
        value("att_mask", FLOAT, [1, 1, "TOTAL_CACHE"]),
    ]
    feed = invented_feeds(model(tmp_path, nodes, inputs), count=1)[0]
    assert feed["x"].shape[1] + feed["cache"].shape[1] == feed["att_mask"].shape[2]
