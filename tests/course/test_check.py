"""`check` never raises, whatever the answer, and says what is wrong."""

import math
import sys
import warnings

import numpy as np
import pytest

from qlab.course import check, lessons
from qlab.course.check import PRINTED_LIMIT
from qlab.course.expect import call, expect_equal
from qlab.course.progress import read_progress
from qlab.course.show import Almost


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Unreadable:
    """Raises wherever one looks at it."""

    def __repr__(self):
        raise RuntimeError("no repr")

    def __eq__(self, other):
        raise RuntimeError("no equality")

    __hash__ = None

    def __array__(self, *_, **__):
        raise RuntimeError("no array")

    def __call__(self, *_):
        raise RuntimeError("no call")


class OwnBaseException(BaseException):
    pass


def raising(exception):
    def answer(x):
        raise exception

    return answer


def recursing(x):
    return recursing(x) + 1


def yielding(x):
    yield x


async def asynchronous(x):
    return x


def closing_stdout(x):
    sys.stdout.close()
    print("x")
    return x


def strict_numpy(x):
    np.seterr(all="raise")
    return np.float32(1) / np.float32(0)


def warning(x):
    warnings.warn("careful", stacklevel=1)
    return np.float32([1]) / 0


SELF_CONTAINING = []
SELF_CONTAINING.append(SELF_CONTAINING)

HOSTILE_FUNCTIONS = {
    **{
        f"raises {error!r:.40}": raising(error)
        for error in (
            ValueError("no"),
            SystemExit(3),
            GeneratorExit(),
            StopIteration(),
            MemoryError(),
            OwnBaseException("own"),
            ValueError("x" * 10**6),
        )
    },
    "raises what has no text": raising(Unprintable()),
    "recurses for ever": recursing,
    "yields": yielding,
    "is asynchronous": asynchronous,
    "returns nothing": print,
    "returns what cannot be read": lambda x: Unreadable(),
    "returns a ragged list": lambda x: [[1], [1, 2]],
    "returns text": lambda x: "12",
    "returns complex numbers": lambda x: x + 1j,
    "returns another shape": lambda x: x[:1],
    "returns itself": lambda x: recursing,
    "takes no argument": lambda: 1,
    "closes standard output": closing_stdout,
    "makes NumPy raise": strict_numpy,
    "warns": warning,
}
HOSTILE_VALUES = {
    "None": None,
    "text": "answer",
    "not a number": float("nan"),
    "an array of objects": np.array([Unprintable(), None], dtype=object),
    "a list that contains itself": SELF_CONTAINING,
    "a module": sys,
    "a class": dict,
    "unreadable": Unreadable(),
    "a generator": (x for x in ()),
}


def judge_increment(answer):
    for x in (np.arange(3), np.arange(4)):
        expect_equal(call(answer, x), x + 1, "the codes")


@pytest.mark.parametrize(
    "answer", [*HOSTILE_FUNCTIONS.values(), *HOSTILE_VALUES.values()], ids=[*HOSTILE_FUNCTIONS, *HOSTILE_VALUES]
)
def test_a_hostile_answer_gets_almost_and_a_short_reason(register, answer):
    verdict = check(register(judge_increment), answer)
    assert verdict.status == "almost"
    assert 0 < len(verdict.message) < 600
    assert verdict.html()
    assert verdict.text().startswith("[99.1] almost: ")


@pytest.mark.parametrize("answer", HOSTILE_VALUES.values(), ids=HOSTILE_VALUES)
def test_a_check_that_chokes_on_an_answer_says_of_which_type_it_is(register, answer):
    verdict = check(register(math.isqrt), answer)
    assert verdict.status == "almost"
    assert f"of type `{type(answer).__name__}`" in verdict.message


def test_a_right_answer_passes_with_what_the_check_has_to_say(register, capsys):
    verdict = check(register(lambda answer: "2 tensors"), lambda x: x + 1)
    assert (verdict.status, verdict.message) == ("passed", "2 tensors")
    assert capsys.readouterr().out == "[99.1] passed: 2 tensors\n"


def test_interrupting_the_kernel_stops_a_check(register):
    with pytest.raises(KeyboardInterrupt):
        check(register(judge_increment), raising(KeyboardInterrupt()))


def test_an_exception_is_told_with_its_line_and_the_input(register):
    def divide(x):
        return x / (x[0] - x[0]) if x.size == 3 else 1 // 0

    message = check(register(lambda answer: call(answer, np.zeros(2))), divide).message
    assert "raised ZeroDivisionError: integer division or modulo by zero, in line " in message
    assert "`return x / (x[0] - x[0]) if x.size == 3 else 1 // 0`" in message
    assert "called with float64 of shape (2,) [0, 0]" in message


def test_an_answer_cannot_change_the_inputs_of_the_check(register):
    def in_place(x):
        x += 1
        return x

    assert check(register(judge_increment), in_place).status == "passed"


def test_what_an_answer_prints_is_shown_once_and_not_without_end(register, capsys):
    def chatty(x):
        for _ in range(10_000):
            print("<b>here</b>")
        return x + 1

    verdict = check(register(judge_increment), chatty)
    assert verdict.status == "passed"
    assert len(verdict.printed) < PRINTED_LIMIT + 10
    assert "<b>here" not in verdict.html()
    assert "&lt;b&gt;here" in verdict.html()
    assert len(capsys.readouterr().out) < 2 * PRINTED_LIMIT


def test_the_learners_text_is_escaped(register):
    def evil(x):
        raise ValueError("<script>alert(1)</script> `<img src=x>`")

    verdict = check(register(judge_increment), evil)
    assert "<script>" in verdict.text()
    assert "<script>" not in verdict.html()
    assert "<img" not in verdict.html()
    named = type("<i>Type</i>", (), {})()
    assert "<i>" not in check(register(math.isqrt, "99.2"), named).html()


def test_numpys_error_state_and_warnings_are_as_before(register):
    before, filters = np.geterr(), list(warnings.filters)
    check(register(judge_increment), strict_numpy)
    assert (np.geterr(), list(warnings.filters)) == (before, filters)


@pytest.mark.parametrize("exercise_id", ["00.99", "4.2", "", None, 4.2, "<b>", ["00.1"], "77.1"])
def test_an_unknown_id_gets_a_list_of_those_that_exist(exercise_id):
    verdict = check(exercise_id, 1)
    assert verdict.status == "not yet"
    assert "there is no exercise" in verdict.message
    assert "00.1" in verdict.message
    assert "<b>" not in verdict.html().replace("<b style", "")
    assert read_progress()[0]["exercises"] == {}


def test_a_check_without_an_answer_is_not_yet():
    assert check("00.1").status == "not yet"


def test_a_module_of_exercises_that_cannot_be_imported_does_not_raise(monkeypatch):
    monkeypatch.setattr(lessons, "find", raising(ImportError("no module")))
    assert "could not be loaded: ImportError: no module" in check("00.1", 1).message


def test_a_verdict_is_remembered_and_passed_stays_passed(register):
    name = register(judge_increment)
    check(name, ...)
    assert read_progress()[0]["exercises"] == {}
    for answer, status, tries in (
        (lambda x: x, "almost", 1),
        (lambda x: x + 1, "passed", 2),
        (lambda x: x, "passed", 3),
    ):
        check(name, answer)
        entry = read_progress()[0]["exercises"][name]
        assert (entry["status"], entry["tries"]) == (status, tries)


def test_progress_that_cannot_be_saved_is_told_and_does_not_raise(register, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("QLAB_PROGRESS", str(tmp_path / "file" / "progress.json"))
    verdict = check(register(judge_increment), lambda x: x + 1)
    assert verdict.status == "passed"
    assert "could not be saved" in verdict.message


def test_almost_raised_by_a_check_is_its_message(register):
    def checker(answer):
        raise Almost("expected 3, seen 4")

    assert check(register(checker), 4).message == "expected 3, seen 4"
