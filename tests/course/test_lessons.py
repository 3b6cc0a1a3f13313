"""The registry of exercises."""

import subprocess
import sys

import pytest

from qlab.course import lessons
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


def test_neither_the_board_nor_a_place_loads_the_lessons_that_it_does_not_need():
    code = """if True:
        import sys
        from qlab.course import lessons, mine
        lessons.ids()
        mine.quantize
        print(sorted(name for name in sys.modules if name.startswith("qlab.course.lessons.n")))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['qlab.course.lessons.n01']"
