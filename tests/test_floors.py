"""The house stands on its floors: read from the imports of every file in qlab."""

import ast
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import NamedTuple

import pytest

import qlab

ROOT = Path(__file__).resolve().parents[1]
FLOORS = (
    {"text", "files"},
    {"numerics", "palette"},
    {"runtime"},
    {"machine"},
    {"graph"},
    {"models", "calibration"},
    {"recipes"},
    {"measure"},
    {"doctor"},
    {"course"},
    {"__init__"},
    {"__main__"},
)
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}
IMPORTED_AS = {"scikit-learn": "sklearn", "kaldi-native-fbank": "kaldi_native_fbank"}


class Import(NamedTuple):
    """One imported name: the part of qlab that imports it, the dotted target, where it is written, and whether at once.

    at_once is False for an import inside a function, which is done when the function is called.
    """

    part: str
    target: str
    place: str
    at_once: bool


def part_of(path, package):
    """The first name below the package: qlab/numerics/affine.py -> numerics, qlab/machine.py -> machine."""
    return Path(path.relative_to(package).parts[0]).stem


def imports_of(path, package):
    """Every import written in one file, anywhere in it, as absolute dotted names."""
    here = (package.name, *path.relative_to(package).with_suffix("").parts)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    late = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = here[: len(here) - node.level] if node.level else ()
            names = [".".join((*above, *filter(None, [node.module]), alias.name)) for alias in node.names]
        else:
            continue
        place = f"{path.relative_to(package.parent)}:{node.lineno}"
        yield from (Import(part_of(path, package), name, place, id(node) not in late) for name in names)


def all_imports(package):
    """Every import written in the package."""
    return [found for path in sorted(package.rglob("*.py")) for found in imports_of(path, package)]


def upward(imports):
    """The imports of qlab by qlab that do not go down. The front door's names are numerics'."""
    for found in imports:
        name, _, rest = found.target.partition(".")
        other = rest.split(".")[0]
        other = "numerics" if other in qlab.__all__ else "__init__" if other in ("", "__version__") else other
        if name == "qlab" and other != found.part and FLOOR_OF.get(other, len(FLOORS)) >= FLOOR_OF[found.part]:
            yield found


def third_party(imports):
    """The imports of packages that are neither Python's own nor qlab, by top-level name."""
    for found in imports:
        name = found.target.split(".")[0]
        if name != "qlab" and name not in sys.stdlib_module_names:
            yield found._replace(target=name)


def declared_packages():
    """Import names of the run-time dependencies, of ml_dtypes and protobuf (google), which onnx brings, and of PIL,
    which matplotlib brings."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {text.split(">")[0].strip() for text in project["dependencies"]}
    return {IMPORTED_AS.get(name, name) for name in names} | {"ml_dtypes", "google", "PIL", "IPython"}


@pytest.fixture(scope="module")
def imports():
    return all_imports(ROOT / "qlab")


def test_every_part_of_qlab_has_a_floor():
    parts = {part_of(path, ROOT / "qlab") for path in (ROOT / "qlab").rglob("*.py")}
    assert parts <= set(FLOOR_OF)


def test_an_import_only_goes_down(imports):
    assert list(upward(imports)) == []


def test_numerics_needs_numpy_only_and_scikit_learn_for_its_k_means(imports):
    targets = {found.target for found in third_party(imports) if found.part == "numerics"}
    assert targets <= {"numpy", "ml_dtypes", "sklearn"}


def test_what_is_slow_to_import_is_imported_where_it_is_used(imports):
    assert [found for found in third_party(imports) if found.target in {"sklearn", "jiwer"} and found.at_once] == []


def test_only_course_imports_ipywidgets_or_ipython(imports):
    assert {found.part for found in third_party(imports) if found.target in {"ipywidgets", "IPython"}} <= {"course"}


def test_nothing_imports_a_package_that_is_not_a_run_time_dependency(imports):
    assert [found for found in third_party(imports) if found.target not in declared_packages()] == []


def test_the_reading_of_imports_sees_what_it_must_refuse(tmp_path):
    package = tmp_path / "qlab"
    for name, text in {
        "numerics/affine.py": "def f():\n    import torch\n    from ..measure import compare\n",
        "palette.py": "from qlab import quantize\n",
        "graph/__init__.py": "from qlab import models\nfrom qlab import quantize\nimport qlab\nfrom . import draw\n",
        "measure.py": "from qlab.numerics import affine\nfrom .graph import census\n",
    }.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text, encoding="utf-8")
    imports = all_imports(package)
    assert [(found.target, found.at_once) for found in third_party(imports)] == [("torch", False)]
    assert [found.target for found in upward(imports)] == [
        "qlab.models",
        "qlab",
        "qlab.measure.compare",
        "qlab.quantize",
    ]


def in_a_fresh_interpreter(code):
    """What `code` prints in a new Python process."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout


def test_importing_qlab_loads_numpy_and_no_other_package(tell):
    code = (
        "import sys, time; start = time.perf_counter(); import qlab; print(time.perf_counter() - start); "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    seconds, loaded = in_a_fresh_interpreter(code).splitlines()
    tell(f"import qlab: {float(seconds):.2f} s (aim: under half a second)")
    assert set(loaded.split()) & set(packages_distributions()) - {"_distutils_hack"} == {"qlab", "numpy", "ml_dtypes"}
