"""qlab as a wheel, installed outside the checkout: what works there, and what says where the course's data are."""

import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

import qlab

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built without the network from a copy, so that nothing is left in the checkout."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    shutil.copytree(ROOT / "qlab", source / "qlab", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--quiet", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, "-w", built, source], check=True)
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder with the wheel's contents: what pip would put into site-packages."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(installed, *arguments):
    """A Python that finds the wheel's qlab first, in a folder that has nothing to do with the course."""
    environment = {"PYTHONPATH": str(installed), "HOME": str(installed), "QLAB_CACHE": str(installed / "cache")}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=installed.parent, env=environment
    )


def test_the_wheel_holds_qlab_its_texts_and_the_mark_that_it_is_typed_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names} == {"qlab", f"quantization_lab-{qlab.__version__}.dist-info"}
    shipped = {path.relative_to(ROOT).as_posix() for path in (ROOT / "qlab").rglob("*") if path.is_file()}
    assert {name for name in names if name.startswith("qlab/")} == {
        name for name in shipped if "__pycache__" not in name
    }


def test_it_quantizes_and_has_its_command_outside_the_checkout(installed):
    code = "import qlab; print(qlab.__file__); print(qlab.quantize([1.0], qlab.QParams(0.5, 0)), qlab.recipes.__name__)"
    done = run(installed, "-c", code)
    assert done.stdout.split() == [str(installed / "qlab/__init__.py"), "[2]", "qlab.recipes"], done.stderr
    done = run(installed, "-m", "qlab", "--version")
    assert done.stdout == f"qlab {qlab.__version__}\n", done.stderr
    assert "fp32.onnx" in run(installed, "-m", "qlab", "doctor", "--help").stdout


def test_what_lies_in_the_repository_is_asked_for_in_a_clear_sentence(installed):
    for call, said in {
        "qlab.models.path('digits')": "FileNotFoundError: data/models/digits.onnx is not here: the course's models",
        "qlab.models.utterances('test')": "FileNotFoundError: data/speech/test.tsv is not here: the course's models",
        "qlab.machine.card('x86-avx2')": "FileNotFoundError: no reference machine card 'x86-avx2'",
    }.items():
        done = run(installed, "-c", f"import qlab; {call}")
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith(said)
        assert "repository" in last


def test_quizzes_and_lessons_come_with_it(installed):
    code = "from qlab.course import check; check('01.1', ...)"
    done = run(installed, "-c", code)
    assert "not yet" in done.stdout, done.stderr


def test_the_installed_command_and_version_are_the_packages_own():
    (command,) = entry_points(group="console_scripts", name="qlab")
    assert command.value == "qlab.__main__:main"
    assert version("quantization-lab") == qlab.__version__
