"""Every notebook as it is committed, and one kernel run of each: cells, controls, exercises."""

import os
from pathlib import Path

import nbformat
import pytest

from nbtools import kernel
from nbtools.exercises import FOLDER, exercises, paths
from nbtools.problems import FOLDER_LIMIT_BYTES, file_problems, run_problems, verdict
from qlab.course import lessons
from tests.notebooks.answers import choices, right_answers, wrong_answers

pytestmark = pytest.mark.notebook

# Machines that this one is not. One made-up card for every run of the tests; all of them with QLAB_ALL_CARDS=1.
MADE_UP = Path(__file__).parents[1] / "cards"
CARDS = [str(MADE_UP / "arm-like.json")]
if os.environ.get("QLAB_ALL_CARDS"):
    CARDS += [str(MADE_UP / "vnni-int8.json"), "x86-avx2", "x86-avx512-vnni"]


def read(path):
    """The notebook as committed."""
    return nbformat.read(path, as_version=4)


@pytest.fixture(scope="module", params=paths(), ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture(scope="module")
def run(path, tmp_path_factory):
    """The one kernel run that all tests of a notebook share."""
    progress = tmp_path_factory.mktemp(path.stem) / "progress.json"
    tried = right_answers(path)
    for name, listed in wrong_answers(path).items():
        tried.setdefault(name, []).extend(listed)
    return kernel.run(read(path), FOLDER, tried, QLAB_PROGRESS=str(progress))


def test_the_course_has_its_first_notebook():
    assert "00_the_puzzle" in [path.stem for path in paths()]


def test_the_folder_of_notebooks_stays_small():
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) <= FOLDER_LIMIT_BYTES


def test_notebooks_checks_and_wrong_answers_have_the_same_exercises():
    in_notebooks = [exercise.id for path in paths() for exercise in exercises(read(path))]
    assert in_notebooks == list(lessons.ids())
    assert set(in_notebooks) == {name for path in paths() for name in wrong_answers(path)}


def test_the_committed_file_is_executed_and_clean(path):
    assert file_problems(read(path)) == []


def test_it_runs_and_no_control_raises(path, run, tell):
    tell(f"{path.stem}: {run.seconds:.0f} s in a kernel, answers and controls not counted (aim: under 90 s)")
    assert run_problems(run) == []


def test_a_blank_answer_is_not_yet(run):
    assert {name: verdict(said["blank"], name)[0] for name, said in run.answers.items()} == dict.fromkeys(
        run.answers, "not yet"
    )


def test_the_folded_solution_passes(run):
    said = {name: verdict(answers["solution"], name) for name, answers in run.answers.items()}
    assert {name: text for name, (status, text) in said.items() if status != "passed"} == {}


@pytest.mark.parametrize("card", CARDS, ids=lambda card: Path(card).stem)
def test_it_runs_and_its_solutions_pass_where_the_card_is_another_machines(path, run, card, tmp_path):
    if not run.asks_for_a_card:
        pytest.skip("it asks for no card: under any other it would be the same run once more")
    elsewhere = kernel.run(read(path), FOLDER, QLAB_CARD=card, QLAB_PROGRESS=str(tmp_path / "progress.json"))
    assert run_problems(elsewhere) == []
    said = {name: verdict(answers["solution"], name) for name, answers in elsewhere.answers.items()}
    assert {name: text for name, (status, text) in said.items() if status != "passed"} == {}


def test_an_exercise_of_code_has_at_least_five_right_answers_in_other_styles(path):
    counted = {name: len({right.code for right in listed}) for name, listed in right_answers(path).items()}
    of_code = {exercise.id for exercise in exercises(read(path))} - choices(path)
    assert {name: count for name in of_code if (count := counted.get(name, 0)) < 5} == {}


def test_a_right_answer_in_another_style_passes(path, run):
    for name, listed in right_answers(path).items():
        for right in listed:
            status, text = verdict(run.answers[name][right.name], name)
            assert status == "passed", f"{name}, {right.name}: {text}"


def test_an_exercise_has_at_least_three_wrong_answers_or_every_option(path):
    listed = wrong_answers(path)
    for exercise in exercises(read(path)):
        names = {wrong.name for wrong in listed[exercise.id]}
        assert len(names) == len(listed[exercise.id])
        assert not names & {"blank", "solution", *(right.name for right in right_answers(path).get(exercise.id, []))}
        assert len(names) >= (1 if exercise.id in choices(path) else 3), exercise.id


def test_a_wrong_answer_is_refused_with_the_message_that_names_its_mistake(path, run):
    for name, listed in wrong_answers(path).items():
        for wrong in listed:
            status, text = verdict(run.answers[name][wrong.name], name)
            assert (status, wrong.says in text) == ("almost", True), f"{name}, {wrong.name}: {text}"
