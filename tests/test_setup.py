"""What is installed: pyproject.toml, requirements.lock, environment.yml and this environment agree; and ruff passes."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import qlab

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
RUN_TIME = [Requirement(text) for text in PROJECT["dependencies"]]
DEVELOPMENT = [Requirement(text) for text in PROJECT["optional-dependencies"]["dev"]]


def locked():
    """{name: version} of every package in the lock file."""
    return {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", LOCK, re.M)}


@pytest.mark.parametrize("requirement", RUN_TIME + DEVELOPMENT, ids=str)
def test_the_lock_has_every_dependency_within_its_bounds(requirement):
    assert requirement.specifier.contains(locked()[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("requirement", RUN_TIME + DEVELOPMENT, ids=str)
def test_a_dependency_has_a_lower_and_an_upper_bound(requirement):
    operators = {specifier.operator for specifier in requirement.specifier}
    assert operators == ({">="} if requirement.name == "setuptools" else {">=", "<"})


def test_every_locked_package_has_hashes():
    entries = re.split(r"^(?=\S)", LOCK, flags=re.M)[1:]
    assert [entry for entry in entries if "==" in entry and "--hash=sha256:" not in entry] == []


def test_the_lock_names_no_host():
    assert re.findall(r"://|--\S*(?:index|find-links|trusted-host)|file:|^-", LOCK, re.M) == []


def test_conda_has_the_same_bounds_as_pyproject():
    (by_pip,) = [entry["pip"] for entry in CONDA if isinstance(entry, dict)]
    assert by_pip == [*map(str.strip, PROJECT["dependencies"]), "-e ."]
    (python,) = [entry.removeprefix("python=") for entry in CONDA if isinstance(entry, str) and "python" in entry]
    assert SpecifierSet(PROJECT["requires-python"]).contains(python)  # Binder takes one version, not a range


@pytest.mark.skipif(Path(sys.prefix) != ROOT / ".venv", reason="conda's and other environments keep to the bounds")
def test_this_environment_is_the_locked_one():
    installed = {canonicalize_name(found.name): found.version for found in distributions()}
    wanted = locked()
    assert {name: installed[name] for name in wanted if name in installed} == {
        name: version for name, version in wanted.items() if name in installed
    }
    assert {canonicalize_name(requirement.name) for requirement in RUN_TIME + DEVELOPMENT} <= set(installed)


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_ruff_passes_on_code_and_notebooks(command):
    done = subprocess.run([sys.executable, "-m", "ruff", *command, "."], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_links_of_the_readme_lead_somewhere():
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_readme_states_the_minutes_that_each_notebook_states():
    rows = re.findall(r"\]\((notebooks/\S+\.ipynb)\) \| (\d+) \|", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert [path for path, _ in rows] == sorted(
        f"notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb")
    )
    stated = {path: re.search(r"\*(\d+) minutes", (ROOT / path).read_text(encoding="utf-8"))[1] for path, _ in rows}
    assert dict(rows) == stated


def test_the_readme_states_the_hours_of_all_notebooks_and_of_their_cores():
    minutes = [
        re.search(r"\*(\d+) minutes(?:: a core of (\d+))?", path.read_text(encoding="utf-8")).groups()
        for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
    ]
    hours = [sum(int(core if cores and core else whole) for whole, core in minutes) / 60 for cores in (False, True)]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    stated = re.search(r"about (\d+) hours with all exercises, (\d+) of them for the cores", readme)
    assert [int(number) for number in stated.groups()] == [round(each) for each in hours]


def test_who_cites_the_course_cites_this_version():
    cited = yaml.safe_load((ROOT / ".github" / "CITATION.cff").read_text(encoding="utf-8"))
    assert (cited["version"], cited["license"]) == (qlab.__version__, PROJECT["license"])


@pytest.mark.parametrize(
    "form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda form: form.stem
)
def test_an_issue_form_asks_for_something(form):
    fields = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert fields["name"]
    assert fields["description"]
    assert any(field.get("validations", {}).get("required") for field in fields["body"])
