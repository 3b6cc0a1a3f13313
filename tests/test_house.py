"""The house as a whole: rooms that can be read at once, no circles, names that exist, tables that are asked."""

import ast
import re
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import qlab

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "qlab"
MOST_LINES = 350  # that are not blank; a lesson is one file, however long
FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path):
    """qlab/graph/draw.py -> qlab.graph.draw; a package is its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def defined(tree):
    """Names that a module defines or imports at its top, each as often as it does."""
    for one in tree.body:
        if isinstance(one, ast.FunctionDef | ast.ClassDef):
            yield one.name
        elif isinstance(one, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in one.names)
        elif isinstance(one, ast.Assign | ast.AnnAssign):
            targets = one.targets if isinstance(one, ast.Assign) else [one.target]
            names = (part for target in targets for part in ast.walk(target) if isinstance(part, ast.Name))
            yield from (part.id for part in names if isinstance(part.ctx, ast.Store))


def imported(tree):
    """The modules of qlab that a module imports, inside functions too: `from qlab import graph` is qlab.graph."""
    for one in ast.walk(tree):
        if isinstance(one, ast.Import):
            yield from (alias.name for alias in one.names if alias.name in MODULES)
        elif isinstance(one, ast.ImportFrom) and one.module in MODULES:
            inner = {f"{one.module}.{alias.name}" for alias in one.names}
            yield from (inner & MODULES.keys() - {f"{one.module}.{one.module.rpartition('.')[2]}"}) or {one.module}


def test_a_room_can_be_read_at_once(tell):
    lines = {path: sum(bool(line.strip()) for line in path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    rooms = {path: count for path, count in lines.items() if "lessons" not in path.parts}
    doors = sum(path.name == "__init__.py" for path in rooms)
    tell(f"qlab beside the lessons: {len(rooms) - doors} rooms, {doors} front doors, {sum(rooms.values()):,} lines")
    assert [f"{path.relative_to(ROOT)}: {count}" for path, count in rooms.items() if count > MOST_LINES] == []


def test_no_module_defines_a_name_twice():
    twice = {
        module: [name for name, times in Counter(defined(parsed(path))).items() if times > 1 and name != "_"]
        for module, path in MODULES.items()
    }
    assert {module: names for module, names in twice.items() if names} == {}


def test_no_modules_import_each_other_in_a_circle():
    imports = {module: set(imported(parsed(path))) - {module, "qlab"} for module, path in MODULES.items()}
    # A package's front door imports its rooms: who asks at the door of the own package would wait for itself.
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def exists(name):
    """Whether a dotted name such as qlab.graph.draw leads to a module of qlab, or to what its last one defines."""
    parts = name.split(".")
    known = max((count for count in range(1, len(parts) + 1) if ".".join(parts[:count]) in MODULES), default=0)
    if known == len(parts):
        return True
    tree = parsed(MODULES[".".join(parts[:known])])
    exported = {each.value for each in ast.walk(tree) if isinstance(each, ast.Constant) and isinstance(each.value, str)}
    return parts[known] in {*defined(tree), *exported}  # "__all__" and lazy parts are texts


def texts():
    """The files in which a reader may meet a name of qlab."""
    yield from (ROOT / "README.md", ROOT / "data" / "README.md", *FILES, *sorted((ROOT / "notebooks").glob("*.ipynb")))
    yield from sorted((ROOT / "data" / "build").glob("*.py"))


METADATA = {"qlab.recipe", "qlab.weights", "qlab.note"}  # keys in model files


def test_every_name_of_qlab_in_a_text_exists():
    found = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in texts()
        for name in re.findall(r"\bqlab(?:\.[A-Za-z_]\w*)+", path.read_text(encoding="utf-8"))
    }
    assert {(path, name) for path, name in found if name not in METADATA and not exists(name)} == set()


QUESTIONS = ("startswith", "endswith", "removeprefix", "removesuffix", "get", "pop", "count", "index")


def asked(tree):
    """(line, text) of every text constant that code compares with, looks for, looks up, or begins with."""
    for one in ast.walk(tree):
        if isinstance(one, ast.Compare):
            sides = [one.left, *one.comparators]
        elif isinstance(one, ast.Call) and getattr(one.func, "attr", "") in QUESTIONS:
            sides = one.args
        elif isinstance(one, ast.Dict):
            sides = [key for key in one.keys if key is not None]  # None: what ** puts in
        elif isinstance(one, ast.Subscript):
            sides = [one.slice]
        elif isinstance(one, ast.MatchValue):
            sides = [one.value]
        else:
            continue
        for part in (inner for side in sides for inner in ast.walk(side)):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield one.lineno, part.value


def test_no_recipe_and_no_cause_is_asked_for_by_its_name():
    names = {*qlab.recipes.RECIPES, *qlab.measure.CODES}
    found = [
        f"{path.relative_to(ROOT)}:{line} asks for {text!r}"
        for path in FILES
        if "lessons" not in path.parts
        for line, text in asked(parsed(path))
        if text in names
    ]
    assert found == []


def test_a_cause_is_named_once():
    """In the row of its table: whatever else speaks of it has it from there."""
    named = Counter(
        one.value
        for path in FILES
        if "lessons" not in path.parts
        for one in ast.walk(parsed(path))
        if isinstance(one, ast.Constant) and isinstance(one.value, str)
    )
    assert {code: named[code] for code in qlab.measure.CODES if named[code] != 1} == {}


@pytest.mark.parametrize(
    "code",
    [
        'recipe == "static"', '"static" != recipe', 'recipe in ("static", other)', 'recipe.startswith("static")',
        '{"static": 1}[recipe]', 'RECIPES["static"]', 'recipes.get("static")',
        'match recipe:\n    case "static" | "hybrid":\n        pass',
    ],
)  # fmt: skip
def test_what_asks_by_name_is_seen(code):
    assert "static" in [text for _, text in asked(ast.parse(code))]


@pytest.mark.parametrize("code", ['name = "static"', 'job("static", model)', 'def predict(recipe="static"): pass'])
def test_to_give_a_name_is_no_question(code):
    assert "static" not in [text for _, text in asked(ast.parse(code))]
