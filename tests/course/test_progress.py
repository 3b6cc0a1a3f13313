"""Progress survives bad files, other kernels and full disks, and tests never touch a learner's."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qlab.course.progress import SECTIONS, progress_file, read_progress, record_check, update_progress
from tests.patience import WAIT_LIMIT_S
from tests.rooms import room

ROOT = Path(__file__).resolve().parents[2]
store = room("course.progress")


def test_under_test_without_a_named_file_nothing_is_written(monkeypatch):
    monkeypatch.delenv("QLAB_PROGRESS")
    monkeypatch.setattr(store, "_memory", {})
    assert progress_file() is None
    assert record_check("04.2", "passed") == ""
    assert read_progress()[0]["exercises"]["04.2"]["status"] == "passed"


def test_a_learners_file_stands_beside_the_notebooks_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("QLAB_PROGRESS")
    monkeypatch.delenv("QLAB_TEST")
    monkeypatch.setattr(store, "__file__", str(tmp_path / "qlab" / "course" / "progress.py"))
    (tmp_path / "notebooks").mkdir()
    assert progress_file() == tmp_path / ".qlab-progress.json"


def test_where_there_are_no_notebooks_it_stands_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("QLAB_PROGRESS")
    monkeypatch.delenv("QLAB_TEST")
    monkeypatch.setattr(store, "__file__", str(tmp_path / "site-packages" / "qlab" / "course" / "progress.py"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert progress_file() == tmp_path / "quantization-lab" / ".qlab-progress.json"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"[]",
        b"3",
        b'{"exercises": []}',
        b'{"exercises": {"04.2": 3}}',
        b'{"exercises": {"04.2": {"status": "passed"}}}',
        b'{"predictions": {"04.2": "x"}}',
    ],
)
def test_an_unreadable_file_is_set_aside_and_said(progress_file, content):
    progress_file.write_bytes(content)
    trouble = record_check("04.2", "almost")
    assert "the progress file was unreadable: it is kept as progress.unreadable-" in trouble
    (kept,) = progress_file.parent.glob("progress.unreadable-*.json")
    assert kept.read_bytes() == content
    assert json.loads(progress_file.read_text())["exercises"]["04.2"]["status"] == "almost"
    assert record_check("04.2", "passed") == ""


def test_reading_moves_no_file_so_that_the_answer_which_sets_it_aside_can_say_so(progress_file):
    progress_file.write_text("{")
    progress, trouble = read_progress()
    assert progress == {name: {} for name in SECTIONS}
    assert "the progress file was unreadable" in trouble
    assert progress_file.read_text() == "{"
    assert "it is kept as progress.unreadable-" in record_check("04.2", "passed")


@pytest.mark.parametrize("method", ["read_text", "replace"])
def test_a_file_that_cannot_be_read_or_set_aside_is_not_written_over(progress_file, monkeypatch, method):
    content = "{" if method == "replace" else '{"exercises": {}}'
    progress_file.write_text(content)
    with monkeypatch.context() as patched:
        patched.setattr(Path, method, lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "in use")))
        assert record_check("04.2", "passed").endswith(": in use")
        assert read_progress()[1]
    assert progress_file.read_text() == content


def test_sections_of_a_newer_course_are_kept(progress_file):
    progress_file.write_text('{"badges": {"a": 1}}')
    record_check("04.2", "passed")
    assert json.loads(progress_file.read_text())["badges"] == {"a": 1}


def test_an_interrupted_write_leaves_the_old_file(progress_file, monkeypatch):
    record_check("04.2", "passed")
    before = progress_file.read_text()
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert "could not be saved" in record_check("04.3", "passed")
    assert progress_file.read_text() == before
    assert [file.name for file in progress_file.parent.iterdir()] == [progress_file.name]


@pytest.mark.slow
def test_several_kernels_at_once_lose_nothing(progress_file):
    code = f"""
import sys
from qlab.course.progress import record_check
from tests.rooms import room
progress = room("course.progress")  # a learner goes on after a second without the lock
progress._LOCK_WAIT_S = progress._LOCK_STALE_S = {WAIT_LIMIT_S}
for k in range(40):
    record_check(sys.argv[1] + "." + str(k), "passed")
"""
    kernels = [subprocess.Popen([sys.executable, "-c", code, name], cwd=ROOT) for name in ("01", "02")]
    assert [kernel.wait() for kernel in kernels] == [0, 0]
    assert len(read_progress()[0]["exercises"]) == 80


def test_a_lock_left_by_a_killed_kernel_does_not_stop_the_next(progress_file):
    lock = progress_file.with_name(f".{progress_file.name}.qlab-lock")
    lock.touch()
    os.utime(lock, (time.time() - 60,) * 2)
    assert record_check("04.2", "passed") == ""
    assert not lock.exists()


def test_a_lock_that_is_held_too_long_is_passed_by(progress_file, monkeypatch):
    monkeypatch.setattr(store, "_LOCK_WAIT_S", 0.05)
    progress_file.with_name(f".{progress_file.name}.qlab-lock").touch()
    record_check("04.2", "passed")
    assert read_progress()[0]["exercises"]["04.2"]["tries"] == 1


def lock_of(progress_file):
    return progress_file.with_name(f".{progress_file.name}.qlab-lock")


@pytest.mark.parametrize("content", ["somebody's lock", ""])
def test_another_programs_files_beside_the_progress_stay(progress_file, content):
    others = [progress_file.with_suffix(suffix) for suffix in (".lock", ".json.lock", ".part", ".tmp")]
    for other in others:
        other.write_text(content)
        os.utime(other, (1, 1))
    assert record_check("04.2", "passed") == ""
    assert [other.read_text() for other in others] == [content] * len(others)


@pytest.mark.parametrize("make", ["file", "folder", "pipe"])
def test_what_is_no_lock_of_ours_is_not_removed_from_its_place(progress_file, monkeypatch, make):
    monkeypatch.setattr(store, "_LOCK_WAIT_S", 0.05)
    lock = lock_of(progress_file)
    {"file": lambda: lock.write_text("not ours"), "folder": lock.mkdir, "pipe": lambda: os.mkfifo(lock)}[make]()
    os.utime(lock, (1, 1))
    assert record_check("04.2", "passed") == ""
    assert lock.exists()


def test_a_lock_that_another_kernel_took_over_is_left_to_it(progress_file):
    def change(progress):
        lock_of(progress_file).unlink()
        lock_of(progress_file).write_text("qlab progress of another")

    assert update_progress(change) == ""
    assert lock_of(progress_file).read_text() == "qlab progress of another"


def test_where_no_progress_file_can_be_nothing_is_touched_and_it_is_said(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    for place, why in {
        tmp_path / "pipe": "no regular file",
        tmp_path: "no regular file",
        "~nosuchuser/x": "there is no user ~nosuchuser",
    }.items():
        monkeypatch.setenv("QLAB_PROGRESS", str(place))
        assert why in record_check("04.2", "passed")
        assert why in read_progress()[1]
    assert (tmp_path / "pipe").is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
