"""Files: verified before they are trusted, whole or not there, and nothing left behind, however a run ends."""

import hashlib
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qlab import calibration, files, models, recipes
from qlab.doctor.page import write_page
from tests.patience import WAIT_LIMIT_S

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A data folder with one good file, one altered and one missing."""
    (tmp_path / "models").mkdir()
    lines = []
    for name in ("good", "altered", "missing"):
        lines.append(f"{hashlib.sha256(name.encode()).hexdigest()}  models/{name}.onnx\n")
        (tmp_path / f"models/{name}.onnx").write_text(name)
    (tmp_path / "models/altered.onnx").write_text("something else")
    (tmp_path / "models/missing.onnx").unlink()
    (tmp_path / "models/stranger.onnx").write_text("not listed")
    (tmp_path / "SHA256SUMS").write_text("".join(lines))
    monkeypatch.setattr(files, "DATA", tmp_path)
    files.checksums.cache_clear()
    yield tmp_path
    files.checksums.cache_clear()


def test_a_file_with_the_right_hash_opens(shelf):
    assert files.checked("models/good.onnx") == shelf / "models/good.onnx"


def test_an_altered_file_is_named_with_both_hashes_and_how_to_restore_it(shelf):
    with pytest.raises(
        ValueError, match=r"altered\.onnx was altered: its sha256 .* `git checkout -- data/models/altered"
    ):
        files.checked("models/altered.onnx")


def test_a_missing_file_is_named_with_how_to_restore_it(shelf):
    with pytest.raises(FileNotFoundError, match=r"missing\.onnx is missing: restore it with `git checkout"):
        files.checked("models/missing.onnx")


def test_a_file_that_the_listing_does_not_know_is_refused(shelf):
    with pytest.raises(ValueError, match="not listed"):
        files.checked("models/stranger.onnx")


def test_a_missing_listing_is_named(shelf):
    (shelf / "SHA256SUMS").unlink()
    with pytest.raises(FileNotFoundError, match="SHA256SUMS is missing"):
        files.checked("models/good.onnx")


def special(folder):
    """A pipe, a device where one may be made, and links to them."""
    made = [folder / "pipe"]
    os.mkfifo(made[0])
    try:
        os.mknod(folder / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        made.append(folder / "null")
    except PermissionError:
        pass
    for path in list(made):
        made.append(path.with_name(f"to-{path.name}"))
        made[-1].symlink_to(path)
    return made


WRITERS = {
    "a recipe": lambda path: recipes.dynamic(models.path("digits"), path, op_types=("Conv",)),
    "prepare": lambda path: recipes.prepare(models.path("digits"), path),
    "ranges": lambda path: calibration.collect(models.path("digits"), DIGITS).save(path),
    "the doctor's page": lambda path: write_page(path, "# title\n\n---\n", {}, is_healthy=True),
    "whatever else": lambda path: files.write_whole(path, "text"),
}
DIGITS = [{"images": np.ones((1, 1, 8, 8), np.float32)}]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes and devices among its files")
@pytest.mark.parametrize("writer", WRITERS)
def test_what_is_no_regular_file_is_refused_and_stays(writer, tmp_path):
    for path in special(tmp_path):
        kind = path.stat().st_mode
        with pytest.raises(ValueError, match="is a device, a pipe or a socket, and would be replaced"):
            WRITERS[writer](path)
        assert path.stat().st_mode == kind
    with pytest.raises(ValueError, match=r"is a folder; expected the path of a file"):
        WRITERS[writer](tmp_path)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes and devices among its files")
def test_a_pipe_in_the_place_of_a_large_models_weights_is_refused(tmp_path):
    os.mkfifo(tmp_path / "int8.onnx.data")
    with pytest.raises(ValueError, match=r"int8\.onnx\.data is a device, a pipe"):
        recipes.dynamic(models.path("digits"), tmp_path / "int8.onnx", op_types=("Conv",))


def test_a_file_is_written_whole_with_the_rights_that_its_folder_gives(tmp_path):
    files.write_whole(tmp_path / "a", "größer\n")
    (tmp_path / "b").touch()
    assert (tmp_path / "a").read_bytes() == "größer\n".encode()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode
    if os.name == "posix":
        assert files.write_whole(tmp_path / "a", b"", private=True).stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("name", ["x" * 300, "x\0y"])
def test_a_name_that_no_file_can_have_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"too long|null"):
        files.write_whole(tmp_path / name, "")


STOPPED = """
import os, sys, time
from pathlib import Path
from qlab import files, recipes
from qlab.recipes import job
from qlab.models import path

def stop(*_, **__):
    print("here", flush=True)
    time.sleep({wait})

job.prepared_in = stop  # in the midst of it, a folder with files stands beside the output
recipes.dynamic(path("digits"), {output!r}, card="x86-avx512-vnni")
"""


@pytest.fixture
def stopped(tmp_path):
    """A process that stands in the midst of a recipe which writes into tmp_path."""
    program = STOPPED.format(wait=WAIT_LIMIT_S, output=str(tmp_path / "int8.onnx"))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-c", program]
    environment = os.environ | {"TMPDIR": str(temporary)}
    ignored = signal.signal(signal.SIGHUP, signal.SIG_DFL) if hasattr(signal, "SIGHUP") else None  # under nohup
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment) as process:
        if ignored is not None:
            signal.signal(signal.SIGHUP, ignored)
        assert process.stdout.readline() == "here\n"
        yield process
        process.kill()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_that_ends_the_process_leaves_nothing(stopped, tmp_path, name):
    assert list(tmp_path.glob(".qlab-*"))
    stopped.send_signal(getattr(signal, name))
    assert stopped.wait() == 128 + getattr(signal, name)
    assert [path for path in tmp_path.rglob("*") if path.name != "temporary"] == []


def test_what_a_killed_process_left_the_next_run_sweeps_and_nothing_else(stopped, tmp_path):
    (left,) = tmp_path.glob(".qlab-*")
    alive = [tmp_path / files.scratch_prefix(tmp_path) / "x", tmp_path / ".qlab-mine", tmp_path / ".qlab-00000000-1-a"]
    for path in alive:
        path.mkdir(parents=True)
    link = tmp_path / f"{left.name.rpartition('-')[0]}-link"
    link.symlink_to(tmp_path / ".qlab-mine")
    files.write_whole(tmp_path / "a", "")
    assert left.exists()  # its process still runs
    stopped.kill()
    stopped.wait()
    files.write_whole(tmp_path / "a", "")
    assert not left.exists()
    assert link.is_symlink()
    assert all(path.is_dir() for path in alive)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_handler_of_somebody_elses_stays_in_charge():
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
    try:
        with files.endings():
            os.kill(os.getpid(), signal.SIGTERM)
        assert seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
    with files.scratch():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) == before
