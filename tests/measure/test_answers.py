"""Answers are counted beside SQNR where an output is one, and a metric of the reader's own is taken."""

from dataclasses import replace

import numpy as np
import pytest

from qlab import graph, measure, models
from qlab.doctor.advice import too_inexact
from qlab.measure.answers import Answers, heads_of
from tests.builders.blocks import BOOL, FLOAT, INT64, node, noise, save, value

ROWS, WIDTH, CLASSES = 200, 24, 10
X = {"x": noise(ROWS, WIDTH, seed=7)}


def model(path, tail, *, output="y", kind=FLOAT, error=0.0, classes=CLASSES, bias=None, shape=None):
    """A product with `classes` columns, its weights off by `error`, and the nodes of `tail` from h to the output."""
    w = noise(WIDTH, classes) + np.float32(error) * noise(WIDTH, classes, seed=1)
    b = noise(classes, seed=2) if bias is None else np.full(classes, bias, np.float32)
    head = [node("MatMul", ["x", "w"], ["m"]), node("Add", ["m", "b"], [output if not tail else "h"])]
    outputs = [value(output, kind, shape or [None] * 2)]
    return save(path, [*head, *tail], [value("x", FLOAT, ["rows", WIDTH])], outputs, {"w": w, "b": b})


def compared(folder, tail, *, error=0.5, feed=X, agree=None, **options):
    """The Row of a model whose weights are off, and both models' outputs."""
    paths = {name: model(folder / f"{name}.onnx", tail, error=off, **options) for name, off in (("a", 0), ("b", error))}
    seen = []

    def look(reference, outputs):
        seen.append((reference, outputs))
        return 1.0

    row = measure.compare(paths, feed, rounds=1, agree=agree or look).rows[1]
    return (row, *(next(iter(one.values())) for one in seen[-1])) if seen else row


HEADS = {
    "a Softmax": ([node("Softmax", ["h"], ["y"], axis=-1)], {}),
    "a Softmax that is turned": (
        [node("Softmax", ["h"], ["s"], axis=-1), node("Transpose", ["s"], ["t"], perm=[1, 0]),
         node("Transpose", ["t"], ["y"], perm=[1, 0])], {},
    ),
    "a LogSoftmax": ([node("LogSoftmax", ["h"], ["y"], axis=-1)], {}),
    "a Softmax of several nodes": (
        [node("Exp", ["h"], ["e"]), node("ReduceSum", ["e", "axes"], ["s"]), node("Div", ["e", "s"], ["y"])], {},
    ),
    "logits by their width": ([], {}),
    "logits by their name": ([], {"classes": 64, "output": "logits"}),
}  # fmt: skip


@pytest.mark.parametrize("case", HEADS)
def test_classes_are_counted_where_the_output_is(case, tmp_path):
    tail, options = HEADS[case]
    if "several" in case:
        tail = [node("Constant", [], ["axes"], value_ints=[1]), *tail]
    row, expected, got = compared(tmp_path, tail, **options)
    changed = int((expected.argmax(-1) != got.argmax(-1)).sum())
    assert 0 < changed < ROWS
    assert (row.answers.changed, row.answers.total) == (changed, ROWS)
    assert f"{changed} of {ROWS} differ" in repr(measure.Comparison([row, row], {}, {"a": X["x"]}, 1, 1))


def test_above_one_half_of_a_sigmoid_is_a_yes(tmp_path):
    row, expected, got = compared(tmp_path, [node("Sigmoid", ["h"], ["y"])])
    assert row.answers.changed == int(((expected > 0.5) != (got > 0.5)).sum()) > 0
    assert row.answers.total == ROWS * CLASSES


def test_labels_are_counted_instead_of_called_wrong(tmp_path):
    tail = [node("ArgMax", ["h"], ["y"], axis=-1, keepdims=0)]
    row, expected, got = compared(tmp_path, tail, kind=INT64, shape=[None], error=0.02)
    row = replace(row, agreement=np.nan)
    assert row.note == ""
    assert row.answers == Answers(int((expected != got).sum()), ROWS, row.answers.others)
    assert 0 < row.answers.changed < ROWS * 0.05
    assert too_inexact(row) == ""
    yes = compared(tmp_path, [node("Greater", ["h", "b"], ["y"])], kind=BOOL)[0]
    assert yes.answers.total == ROWS * CLASSES


NO_ANSWERS = {
    "boxes": ([node("Sigmoid", ["h"], ["y"])], {"classes": 4}),
    "four numbers of a regression": ([], {"classes": 4}),
    "a picture": (
        [node("Sigmoid", ["h"], ["s"]), node("Constant", [], ["shape"], value_ints=[-1, 3, 4, 4]),
         node("Reshape", ["s", "shape"], ["y"])], {"classes": 48, "shape": [None] * 4},
    ),
    "hidden states": ([node("Relu", ["h"], ["y"])], {"classes": 64}),
    "a product that has no name": ([], {"classes": 64}),
    "shares that no Softmax makes": ([node("Softplus", ["h"], ["p"]), node("ReduceSum", ["p"], ["s"], keepdims=1),
         node("Div", ["p", "s"], ["y"])], {}),
}  # fmt: skip


@pytest.mark.parametrize("case", NO_ANSWERS)
def test_what_only_looks_like_an_answer_is_not_counted(case, tmp_path):
    tail, options = NO_ANSWERS[case]
    row = compared(tmp_path, tail, **options)[0]
    assert row.answers is None
    assert row.cosine is None


def test_the_weights_of_an_attention_are_no_answers(tmp_path):
    def attention(path, error):
        nodes = [node("Softmax", ["x"], ["weights"], axis=-1), node("MatMul", ["weights", "v"], ["y"])]
        outputs = [value("weights", FLOAT, [None, WIDTH]), value("y", FLOAT, [None, 64])]
        return save(path, nodes, [value("x", FLOAT, ["rows", WIDTH])], outputs, {"v": noise(WIDTH, 64) + error})

    paths = {"a": attention(tmp_path / "a.onnx", 0), "b": attention(tmp_path / "b.onnx", np.float32(0.1))}
    assert measure.compare(paths, X, rounds=1).rows[1].answers is None


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_an_offset_that_all_classes_share_flatters_sqnr_and_not_what_judges(offset, tmp_path):
    row, expected, got = compared(tmp_path, [], bias=offset)
    centred = [x.astype(np.float64) - x.mean(-1, keepdims=True, dtype=np.float64) for x in (expected, got)]
    error = np.linalg.norm(centred[0] - centred[1])
    assert row.kept["y"].judged_db == pytest.approx(20 * np.log10(np.linalg.norm(centred[0]) / error), abs=0.01)
    assert (row.sqnr_db > row.kept["y"].judged_db + 20) == (offset > 0)


def test_log_probabilities_are_judged_without_their_offset(tmp_path):
    row = compared(tmp_path, [node("LogSoftmax", ["h"], ["y"], axis=-1)], error=0.1)[0]
    plain = compared(tmp_path, [], error=0.1)[0]
    assert row.kept["y"].judged_db == pytest.approx(plain.kept["y"].judged_db, abs=0.05)
    assert row.sqnr_db > row.kept["y"].judged_db + 1


def unit_vectors(path, scale, error):
    """Vectors of length 1; and the same, before they are normalized, as a second output."""
    nodes = [node("MatMul", ["x", "w"], ["long_embedding"]),
             node("ReduceL2", ["long_embedding"], ["length"], axes=[-1], keepdims=1),
             node("Div", ["long_embedding", "length"], ["embedding"])]  # fmt: skip
    w = np.float32(scale) * (noise(WIDTH, 96) + np.float32(error) * noise(WIDTH, 96, seed=3))
    outputs = [value(name, FLOAT, [None, 96]) for name in ("embedding", "long_embedding")]
    return save(path, nodes, [value("x", FLOAT, ["rows", WIDTH])], outputs, {"w": w})


def test_of_embeddings_the_direction_judges_where_sqnr_gives_the_reverse_order(tmp_path):
    paths = {name: unit_vectors(tmp_path / f"{name}.onnx", *of)
             for name, of in (("fp32", (1, 0)), ("longer", (1.3, 0.01)), ("turned", (1, 0.1)))}  # fmt: skip
    _, longer, turned = measure.compare(paths, X, rounds=1).rows
    assert longer.sqnr_db < turned.sqnr_db
    assert longer.cosine.worst > turned.cosine.worst
    assert longer.cosine.mean > turned.cosine.mean >= turned.cosine.worst
    assert longer.kept["long_embedding"].judged_db > turned.kept["long_embedding"].judged_db + 15
    assert longer.kept["embedding"].judged_db == pytest.approx(longer.kept["long_embedding"].judged_db, abs=0.1)


def test_the_answers_of_the_digits_are_those_of_their_argmax(tmp_path):
    images = models.digit_split()[2][:120]
    paths = {"fp32": models.path("digits"), "again": models.path("digits")}
    comparison = measure.compare(paths, {"images": images}, rounds=1)
    assert comparison.rows[1].answers.changed == 0
    assert comparison.rows[1].answers.tell
    assert "all 120 the same" in repr(comparison)


@pytest.mark.parametrize(("answers", "tell"), [((0, 60, 10), True), ((0, 59, 30), False), ((0, 500, 9), False)])
def test_few_answers_or_always_the_same_one_tell_nothing(answers, tell):
    assert Answers(*answers).tell == tell


def share(reference, outputs):
    return np.mean(reference["y"].argmax(-1) == outputs["y"].argmax(-1))


def test_a_metric_of_ones_own_is_a_column_with_the_mean_over_feeds(tmp_path):
    feeds = [{"x": noise(rows, WIDTH, seed=rows)} for rows in (50, 10)]
    paths = {name: model(tmp_path / f"{name}.onnx", [], error=off) for name, off in (("a", 0), ("b", 0.5))}
    seen = []
    comparison = measure.compare(paths, feeds, rounds=1, agree=lambda *two: seen.append(share(*two)) or seen[-1])
    assert comparison.rows[0].agreement == 1
    assert comparison.rows[1].agreement == pytest.approx(np.mean(seen[2:]))
    assert "agreement" in comparison.table[0]
    assert f"{comparison.rows[1].agreement:.4f}" in repr(comparison)


def raises(reference, outputs):
    return reference["logits"]


def leaves(reference, outputs):
    raise SystemExit(0)


BAD = {
    "no function": ("argmax", "agree is 'argmax'; expected a function"),
    "one parameter": (lambda outputs: 1.0, r"agree takes \(outputs\); expected a function agree\(reference, outputs\)"),
    "three parameters": (lambda a, b, c: 1.0, r"agree takes \(a, b, c\)"),
    "raising": (raises, "agree raised KeyError on feed 0 of 'a': 'logits'"),
    "leaving": (leaves, "agree raised SystemExit on feed 0 of 'a'"),
    "None": (lambda a, b: None, "agree returned None on feed 0 of 'a'; expected a finite number"),
    "NaN": (lambda a, b: np.float32("nan"), "expected a finite number"),
    "text": (lambda a, b: "1.0", "agree returned a str"),
    "an array": (lambda a, b: a["y"][0], "agree returned a ndarray"),
    "complex": (lambda a, b: 1j, "agree returned a complex"),
    "more than full": (lambda a, b: 40.0, "agree returned 40.0"),
    "an endless number": (lambda a, b: 10**400, "agree returned 1000"),
    "less is better": (lambda a, b: np.abs(a["y"] - b["y"]).mean(), "agree gives 0 for the reference against itself"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_metric_that_is_none_is_refused(case, tmp_path):
    agree, message = BAD[case]
    paths = {name: model(tmp_path / f"{name}.onnx", [], error=off) for name, off in (("a", 0), ("b", 0.5))}
    with pytest.raises(ValueError, match=message):
        measure.compare(paths, X, rounds=1, agree=agree)


def test_a_metric_that_writes_into_its_arguments_changes_nothing_else(tmp_path):
    def spoil(reference, outputs):
        for one in (reference, outputs):
            one["y"][:] = 0
        return 1.0

    row = compared(tmp_path, [], agree=spoil)
    assert row.sqnr_db < 20
    assert row.answers.changed > 0


def test_a_model_whose_numbers_are_not_finite_does_not_agree(tmp_path):
    row = compared(tmp_path, [], agree=lambda a, b: 1 - np.abs(a["y"] - b["y"]).mean(), error=np.nan)
    assert row.agreement == -np.inf
    assert too_inexact(row).startswith("agreement -inf")


def test_a_class_that_is_never_likely_is_not_remarked_on_where_answers_tell(tmp_path):
    """Its probability is next to nothing, and off by a lot."""
    turned = [node("Constant", [], ["rare"], value_floats=[0.0] * 9 + [-30.0]), node("Add", ["h", "rare"], ["r"])]
    row, expected, got = compared(tmp_path, [*turned, node("Softmax", ["r"], ["y"], axis=-1)], error=0.01)
    rare = [x[:, -1].astype(np.float64) for x in (expected, got)]
    assert rare[0].max() < 1e-6
    assert row.answers.tell
    assert row.note == ""


def test_logits_that_are_turned_or_flattened_are_not_read_along_the_wrong_axis(tmp_path):
    turned = compared(tmp_path, [node("Transpose", ["h"], ["y"], perm=[1, 0])])[0]
    assert turned.answers is None
    flat = [node("Constant", [], ["shape"], value_ints=[4, -1]), node("Reshape", ["h", "shape"], ["logits"])]
    assert compared(tmp_path, flat, output="logits")[0].answers is None


def test_parts_that_are_joined_over_and_over_are_looked_at_once(tmp_path):
    nodes = [node("Sigmoid", ["x"], ["part0"])]
    nodes += [node("Concat", [f"part{at}"] * 2, [f"part{at + 1}"], axis=0) for at in range(60)]
    outputs = [value("part60", FLOAT, None)]
    path = save(tmp_path / "m.onnx", nodes, [value("x", FLOAT, [1])], outputs, {})
    assert set(heads_of(graph.load(path))) == {"part60"}
