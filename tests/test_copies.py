"""The reader's own copies: nothing of theirs is ever lost, and git sees none of it."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NAME = "00_first.ipynb"


def load(file):
    spec = importlib.util.spec_from_file_location("copies", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


copies = load(ROOT / ".jupyter" / "copies.py")


@pytest.fixture
def course(tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (folder / NAME).write_text("one")
    (folder / "01_second.ipynb").write_text("two")
    return folder


@pytest.fixture
def own(course, tmp_path):
    """The folder of copies, made once."""
    folder = tmp_path / "my-notebooks"
    (said,) = copies.bring(course, folder)
    assert said == f"my-notebooks: your own copies, to write into: {NAME}, 01_second.ipynb"
    return folder


def contents(folder):
    return {path.name: path.read_text() for path in folder.glob("*.ipynb")}


def test_a_second_start_changes_nothing_and_says_nothing(course, own):
    before = contents(own)
    assert copies.bring(course, own) == []
    assert contents(own) == before == contents(course)


def test_a_copy_that_was_not_touched_is_renewed(course, own):
    (course / NAME).write_text("one, mended")
    (said,) = copies.bring(course, own)
    assert said == f"my-notebooks: renewed, as you had not touched them: {NAME}"
    assert contents(own) == contents(course)


def test_a_copy_that_was_changed_stays_and_the_new_version_lies_beside_it(course, own):
    (own / NAME).write_text("my answer")
    (course / NAME).write_text("one, mended")
    (said,) = copies.bring(course, own)
    assert said.endswith(f"{NAME} is yours and stays as it is; the course's new version: 00_first.new.ipynb")
    assert contents(own) == {NAME: "my answer", "00_first.new.ipynb": "one, mended", "01_second.ipynb": "two"}
    assert copies.bring(course, own) == []  # it is offered once
    (own / "00_first.new.ipynb").unlink()
    assert copies.bring(course, own) == []


def test_a_new_version_takes_the_place_of_one_laid_beside_unless_that_was_changed_too(course, own):
    (own / NAME).write_text("my answer")
    for version in ("second", "third"):
        (course / NAME).write_text(version)
        copies.bring(course, own)
        assert contents(own)["00_first.new.ipynb"] == version
    (own / "00_first.new.ipynb").write_text("my other answer")
    (course / NAME).write_text("fourth")
    copies.bring(course, own)
    assert contents(own) == {
        NAME: "my answer",
        "00_first.new.ipynb": "my other answer",
        "00_first.new-2.ipynb": "fourth",
        "01_second.ipynb": "two",
    }


def test_who_takes_the_new_version_gets_it_renewed_from_then_on(course, own):
    (own / NAME).write_text("my answer")
    (course / NAME).write_text("second")
    copies.bring(course, own)
    (own / "00_first.new.ipynb").replace(own / NAME)
    (course / NAME).write_text("third")
    copies.bring(course, own)
    assert contents(own) == contents(course)


def test_a_copy_that_was_deleted_is_made_again(course, own):
    (own / NAME).unlink()
    (said,) = copies.bring(course, own)
    assert said.endswith(f"to write into: {NAME}")
    assert contents(own) == contents(course)


@pytest.mark.parametrize("record", [None, "{", "[]", '{"00_first.ipynb": 1}'])
def test_without_a_readable_record_no_copy_is_written_over(course, own, record):
    (own / copies.RECORD).unlink()
    if record is not None:
        (own / copies.RECORD).write_text(record)
    (course / NAME).write_text("second")
    copies.bring(course, own)
    assert contents(own)[NAME] == "one"
    assert contents(own)["00_first.new.ipynb"] == "second"


def test_notebooks_of_the_readers_own_are_left_alone(course, own):
    (own / "mine.ipynb").write_text("mine")
    (course / "01_second.ipynb").unlink()  # the course may drop one
    assert copies.bring(course, own) == []
    assert contents(own) == {NAME: "one", "01_second.ipynb": "two", "mine.ipynb": "mine"}


def git(folder, *arguments):
    names = ("-c", "user.name=A", "-c", "user.email=a@localhost", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *names, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def clone(course, tmp_path):
    """A clone of a course in git, in a folder with a space; `course` is the upstream's notebooks folder."""
    upstream = tmp_path
    (upstream / ".jupyter").mkdir()
    shutil.copy(ROOT / ".jupyter" / "copies.py", upstream / ".jupyter")
    shutil.copy(ROOT / ".gitignore", upstream)
    git(upstream, "init", "--quiet", "--initial-branch=main")
    publish(course, "first")
    git(upstream, "clone", "--quiet", ".", "a clone")
    return upstream / "a clone"


def publish(course, message):
    git(course.parent, "add", "notebooks", ".jupyter", ".gitignore")
    git(course.parent, "commit", "--quiet", "-m", message)


def run(clone, *arguments):
    environment = {name: value for name, value in os.environ.items() if name != "QLAB_NOTEBOOKS"}
    command = [sys.executable, ".jupyter/copies.py", *arguments]
    return subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True)


def test_what_is_written_into_the_copies_does_not_stand_in_the_way_of_a_pull(course, clone):
    assert run(clone).returncode == 0
    (clone / "my-notebooks" / NAME).write_text("my answer")
    assert git(clone, "status", "--porcelain") == ""
    (course / NAME).write_text("second")
    publish(course, "second")
    git(clone, "pull", "--quiet", "--ff-only")
    assert "00_first.new.ipynb" in run(clone).stdout


def test_an_update_moves_what_was_changed_in_the_courses_own_folder_and_pulls(course, clone):
    (clone / "notebooks" / NAME).write_text("my answer, in the wrong folder")
    (clone / "notebooks" / "01_second.ipynb").unlink()
    for name in (NAME, "01_second.ipynb"):
        (course / name).write_text("second")
    publish(course, "second")
    done = run(clone, "update")
    assert done.returncode == 0, done.stderr
    assert f"what you changed in notebooks/{NAME} is now my-notebooks/{NAME}" in done.stdout
    assert contents(clone / "notebooks") == {NAME: "second", "01_second.ipynb": "second"}
    assert contents(clone / "my-notebooks") == {
        NAME: "my answer, in the wrong folder",
        "00_first.new.ipynb": "second",
        "01_second.ipynb": "second",
    }


def test_an_update_keeps_both_where_the_copy_was_changed_too(course, clone):
    run(clone)
    (clone / "my-notebooks" / NAME).write_text("my answer")
    (clone / "notebooks" / NAME).write_text("my answer in the wrong folder")
    assert run(clone, "update").returncode == 0
    kept = contents(clone / "my-notebooks")
    assert kept[NAME] == "my answer"
    assert kept["00_first.from-notebooks.ipynb"] == "my answer in the wrong folder"
    assert git(clone, "status", "--porcelain") == ""


def test_an_update_leaves_what_was_added_to_the_courses_own_folder_and_gives_back_what_was_renamed(course, clone):
    (clone / "notebooks" / "notes.ipynb").write_text("my notes")
    git(clone, "mv", f"notebooks/{NAME}", "notebooks/renamed.ipynb")
    git(clone, "add", "notebooks")
    done = run(clone, "update")
    assert done.returncode == 0, done.stderr
    kept = {"notes.ipynb": "my notes", "renamed.ipynb": "one"}
    assert contents(clone / "notebooks") == {**contents(course), **kept}


def test_an_update_that_git_refuses_loses_nothing_and_says_so(clone):
    (clone / "notebooks" / NAME).write_text("my answer")
    git(clone, "remote", "remove", "origin")
    done = run(clone, "update")
    assert done.returncode != 0
    assert done.stderr
    assert contents(clone / "my-notebooks") == {NAME: "my answer"}


def test_a_folder_that_is_no_clone_is_refused_in_one_line_even_inside_a_repository(clone):
    shutil.rmtree(clone / ".git")
    (clone / "notebooks" / NAME).write_text("my answer")
    done = run(clone, "update")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "unpack the course anew and move my-notebooks/" in line
    assert contents(clone / "notebooks")[NAME] == "my answer"


def test_copies_that_cannot_be_made_are_refused_in_one_line(clone):
    (clone / "my-notebooks").write_text("in the way")
    done = run(clone)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "QLAB_NOTEBOOKS names another folder" in line
