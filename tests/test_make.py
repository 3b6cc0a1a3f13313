"""The Makefile and its set-up: a step that cannot be done says why in one line, and nothing is done twice."""

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="make and sh are for Linux and macOS")


def program(folder, name, text):
    """An executable shell script on a PATH of our own."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def clone(tmp_path):
    """A folder with a space in its name and what the set-up reads, in which nothing is installed yet."""
    folder = tmp_path / "a clone"
    shutil.copytree(ROOT / ".ci", folder / ".ci")
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    return folder


def set_up(clone, *arguments, path=None, **environment):
    """Run .ci/setup there, on a PATH of only `path` and the system's small tools."""
    environment = {"PATH": f"{path}:{clone.parent / 'tools'}", "HOME": str(clone.parent), **environment}
    tools = clone.parent / "tools"
    if not tools.exists():
        tools.mkdir()
        for name in ("sh", "cat", "cksum", "rm", "grep", "tail", "uname", "ls"):
            (tools / name).symlink_to(shutil.which(name))
    command = [shutil.which("sh"), ".ci/setup", *(arguments or [".venv"])]
    return subprocess.run(command, capture_output=True, text=True, cwd=clone, env=environment)


def stand_in_python(folder, version=(3, 12), *, venv=True, pip="exit 0"):
    """A python3 that answers the set-up's questions, and whose environments hold a python whose pip is `pip`."""
    inner = f'case "$*" in *" pip "*) echo "pip $*" >> "$(dirname "$0")/../calls"; {pip};; esac'
    return program(
        folder,
        "python3",
        f"""case "$*" in
*version_info*) [ {version[0] * 100 + version[1]} -ge 311 ] ;;
*ensurepip*) {"true" if venv else "false"} ;;
--version) echo Python {version[0]}.{version[1]} ;;
"-m venv "*)
    PATH={os.defpath}
    mkdir -p "$3/bin"
    printf '%s\\n' '#!/bin/sh' 'PATH={os.defpath}' '{inner}' > "$3/bin/python"
    chmod +x "$3/bin/python" ;;
esac""",
    )


def test_without_python_the_set_up_says_so_in_one_line(clone, tmp_path):
    done = set_up(clone, path=tmp_path / "bin")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("setup: Python 3.11 or newer was not found")


def test_an_old_python_is_refused_in_one_line(clone, tmp_path):
    old = stand_in_python(tmp_path / "bin", version=(3, 9))
    done = set_up(clone, path=tmp_path / "bin", PYTHON=str(old))
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert line == f"setup: PYTHON={old} is not a Python 3.11 or newer"


def test_a_newer_python_under_another_name_is_found(clone, tmp_path):
    stand_in_python(tmp_path / "bin", version=(3, 13)).rename(tmp_path / "bin" / "python3.13")
    stand_in_python(tmp_path / "bin", version=(3, 9))
    done = set_up(clone, path=tmp_path / "bin")
    assert done.returncode == 0, done.stderr
    assert "making .venv with Python 3.13" in done.stderr


def test_a_missing_venv_module_is_named_in_one_line(clone, tmp_path):
    stand_in_python(tmp_path / "bin", venv=False)
    done = set_up(clone, path=tmp_path / "bin")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert "no venv module" in line
    assert "apt install python3-venv" in line


def test_a_failed_installation_shows_its_last_words_and_is_made_anew(clone, tmp_path):
    stand_in_python(tmp_path / "bin", pip="echo no matching distribution; exit 1")
    done = set_up(clone, path=tmp_path / "bin")
    assert done.returncode == 1
    *_, words, line = done.stderr.splitlines()
    assert words == "no matching distribution"
    assert line.startswith("setup: pip could not install into .venv")
    assert not (clone / ".venv" / ".ready").exists()
    (clone / ".venv" / "left over").touch()
    stand_in_python(tmp_path / "bin")
    assert set_up(clone, path=tmp_path / "bin").returncode == 0
    assert not (clone / ".venv" / "left over").exists()


def test_a_second_set_up_does_nothing_and_a_changed_lock_updates(clone, tmp_path):
    stand_in_python(tmp_path / "bin")
    assert set_up(clone, path=tmp_path / "bin").returncode == 0
    calls = clone / ".venv" / "calls"
    first = calls.read_text().splitlines()
    assert any("--require-hashes -r requirements.lock" in call for call in first)
    assert any("--no-index" in call and call.endswith("-e .") for call in first)
    again = set_up(clone, path=tmp_path / "bin")
    assert (again.returncode, again.stderr, calls.read_text().splitlines()) == (0, "", first)
    with (clone / "requirements.lock").open("a") as lock:
        lock.write("# changed\n")
    assert set_up(clone, path=tmp_path / "bin").returncode == 0
    assert calls.read_text().splitlines() == first + first  # the same environment, brought up to date


def test_a_folder_that_moved_gets_a_new_environment(clone, tmp_path):
    stand_in_python(tmp_path / "bin")
    set_up(clone, path=tmp_path / "bin")
    (clone / ".venv" / "left over").touch()
    moved = clone.rename(tmp_path / "moved")
    assert set_up(moved, path=tmp_path / "bin").returncode == 0
    assert not (moved / ".venv" / "left over").exists()


@pytest.mark.parametrize(("ci", "status"), [("true", 1), ("", 0)])
def test_a_missing_browser_fails_ci_and_costs_a_learner_one_line(clone, tmp_path, ci, status):
    program(tmp_path / "bin", "id", "echo 1000")  # not root, and no sudo: nothing can be installed
    set_up(clone, path=tmp_path / "bin")  # for its folder of tools
    done = subprocess.run(
        [shutil.which("sh"), ".ci/browser"],
        capture_output=True,
        text=True,
        cwd=clone,
        env={"PATH": f"{tmp_path / 'bin'}:{tmp_path / 'tools'}", "CI": ci},
    )
    (line,) = done.stderr.splitlines()
    assert done.returncode == status
    assert "apt install chromium chromium-driver" in line.replace("apt-get", "apt")


def test_make_alone_lists_the_targets_and_each_one_exists(clone):
    listed = subprocess.run(["make"], capture_output=True, text=True, cwd=clone, check=True).stdout
    targets = re.findall(r"^make ([\w-]+)", listed, re.M)
    assert {"lab", "test", "test-fast", "notebooks", "data", "bench", "clean"} <= set(targets)
    for target in targets:
        subprocess.run(["make", "--dry-run", target], capture_output=True, cwd=clone, check=True)


def test_ci_runs_exactly_make_test():
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert lines[-1] == "exec make test"
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
