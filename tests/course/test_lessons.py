"""The registry of exercises, and exercise 00.1 itself."""

import pytest

from qlab.course import check, lessons
from qlab.course.lessons import n00


def test_ids_are_found_by_importing_every_module_and_are_in_reading_order(register):
    for name in ("99.10", "99.2"):
        register(lambda answer: None, name)
    assert lessons.ids("99") == ("99.2", "99.10")
    assert lessons.ids()[0] == "00.1"
    assert lessons.ids("00") == ("00.1",)


@pytest.mark.parametrize("name", ["4.2", "04", "04.x", "04.2 "])
def test_an_id_of_another_form_is_refused(register, name):
    with pytest.raises(ValueError, match="expected two digits, a point and a number"):
        register(lambda answer: None, name)


def test_an_id_is_registered_once(register):
    register(lambda answer: None)
    with pytest.raises(ValueError, match="registered twice"):
        register(
            lambda answer: None,
        )


def test_an_exercise_belongs_in_the_module_of_its_notebook(register):
    def checker(answer):
        pass

    checker.__module__ = "qlab.course.lessons.n05"
    with pytest.raises(ValueError, match=r"belongs in n04\.py"):
        register(checker, "04.2")


def test_reloading_a_module_registers_its_exercises_again():
    import importlib

    importlib.reload(n00)
    assert lessons.find("00.1").checker.__module__ == "qlab.course.lessons.n00"


def test_the_facts_are_listed_in_an_order_that_tells_nothing():
    assert list(n00.FACTS) == sorted(n00.FACTS)


@pytest.mark.parametrize(
    ("place", "otherwise"),
    [
        ("a b", abs),
        ("", abs),
        ("_a", abs),
        ("../a", abs),
        ("class", abs),
        ("reset", abs),
        ("adopt", abs),
        (("a", "a"), (abs, abs)),
        (("a", 3), (abs, abs)),
        (("a", "b"), (abs,)),
        (("a", "b"), abs),
        ((), ()),
        ("a", None),
        ("a", 3),
    ],
)
def test_a_place_needs_a_name_of_its_own_and_what_stands_there_until_then(register, place, otherwise):
    with pytest.raises(ValueError, match=r"exercise 99\.1: "):
        register(lambda answer: None, place=place, otherwise=otherwise)


def test_a_place_belongs_to_one_exercise(register):
    register(lambda answer: None, "99.1", place=("a", "b"), otherwise=(abs, len))
    with pytest.raises(ValueError, match=r"exercises 99\.1 and 99\.2 have one place: b"):
        register(lambda answer: None, "99.2", place="b", otherwise=abs)
    assert lessons.with_place("b").id == "99.1"
    assert lessons.with_place("c") is None
    assert {"a", "b"} <= lessons.places().keys()


def test_an_answer_has_a_function_for_each_place_or_for_none(register):
    register(lambda answer: None, "99.1", place=("a", "b"), otherwise=(abs, len))
    exercise = lessons.find("99.1")
    assert exercise.parts((max, min)) == exercise.parts([max, min]) == {"a": max, "b": min}
    assert exercise.parts((max,)) == exercise.parts(max) == {}
    register(lambda answer: None, "99.2", place="c", otherwise=abs)
    assert lessons.find("99.2").parts(max) == {"c": max}


def test_what_stands_in_every_place_of_the_course_can_be_called():
    for name, exercise in lessons.places().items():
        assert callable(exercise.places[name])


SOLUTION = {"model", "input shape", "cpu", "threads", "versions", "dtypes", "op types", "spread"}


@pytest.mark.parametrize(
    "answer", [SOLUTION, frozenset(SOLUTION), list(SOLUTION), tuple(f" {x.upper()} " for x in SOLUTION)]
)
def test_00_1_takes_the_solution_in_any_container(answer):
    assert check("00.1", answer).status == "passed"


@pytest.mark.parametrize("answer", [..., {...}, {"cpu", ...}])
def test_00_1_blank_is_not_yet(answer):
    assert check("00.1", answer).status == "not yet"


@pytest.mark.parametrize("missing", sorted(SOLUTION))
def test_00_1_names_the_fact_that_is_missing_and_why_it_matters(missing):
    verdict = check("00.1", SOLUTION - {missing})
    assert verdict.status == "almost"
    assert verdict.message == f"{missing!r} is missing: {n00.FACTS[missing]['why']}"


@pytest.mark.parametrize("extra", [fact for fact, about in n00.FACTS.items() if not about["needed"]])
def test_00_1_names_the_fact_that_is_not_needed(extra):
    assert f"{extra!r} is not needed: " in check("00.1", SOLUTION | {extra}).message


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"cpu"}, "only the CPU is named"),
        (set(), "'cpu' is missing"),
        ({"model", "cpu"}, "(5 more missing)"),
        ("cpu", "expected a set of names"),
        ({"cpu": 1}, "expected a set of names"),
        (None, "expected a set of names"),
        ({"cpu", 1}, "expected names in quotes, seen 1"),
        ({"cpus"}, "'cpus' is not in the list: do you mean 'cpu'?"),
        ({"weather"}, "'weather' is not in the list: accuracy, author"),
        ({"<b>"}, "'<b>' is not in the list"),
        (lambda: SOLUTION, "expected a set of names"),
    ],
)
def test_00_1_refuses_with_the_reason(answer, says):
    verdict = check("00.1", answer)
    assert verdict.status == "almost"
    assert says in verdict.message
