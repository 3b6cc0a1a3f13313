"""The house keeps its shape: rooms of a size to read in one sitting, few of them, and no circle among them."""

import ast

import pytest

from tests.test_floors import ROOT, imports_of

PACKAGE = ROOT / "qlab"
LARGEST = 350  # lines that are not blank, of a room


def is_lesson(path):
    """One file a notebook, and its pictures: a lesson is as long as it is."""
    return "lessons" in path.parts or path.name.startswith("lesson")


ROOMS = sorted(path for path in PACKAGE.rglob("*.py") if not is_lesson(path.relative_to(PACKAGE)))


def size(path):
    return sum(bool(line.strip()) for line in path.read_text(encoding="utf-8").splitlines())


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("room", ROOMS, ids=name_of)
def test_a_room_is_read_in_one_sitting(room):
    assert size(room) <= LARGEST


def test_the_size_of_the_house_is_told(capsys):
    doors = [path for path in ROOMS if path.name == "__init__.py"]
    lessons = sum(map(size, set(PACKAGE.rglob("*.py")) - set(ROOMS)))
    with capsys.disabled():
        print(f"\nqlab: {len(ROOMS) - len(doors)} rooms and {len(doors)} front doors, {sum(map(size, ROOMS)):,} lines")
        print(f"      beside {lessons:,} of lessons")


def imported(modules):
    """{module: the modules of qlab that it imports, now or later}; what a front door hands on is imported from it."""
    graph = {}
    for name, path in modules.items():
        found = (_module(one.target, modules) for one in imports_of(path, PACKAGE))
        graph[name] = {other for other in found if other not in (None, name)}
    return graph


def _module(target, modules):
    """ "qlab.graph.diff.Diff" -> "qlab.graph.diff"."""
    while target and target not in modules:
        target = target.rpartition(".")[0]
    return target or None


def circles(graph):
    """Lists of modules that import each other, each once."""
    found, done = [], set()

    def walk(name, way):
        if name in way:
            found.append([*way[way.index(name) :], name])
        elif name not in done:
            for other in sorted(graph[name]):
                walk(other, [*way, name])
            done.add(name)

    for name in sorted(graph):
        walk(name, [])
    return found


def test_no_rooms_import_each_other_in_a_circle_not_even_late():
    """A front door imports its rooms, so that a room that asks its own door would be in a circle with it."""
    modules = {name_of(path): path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}
    graph = imported(modules)
    assert circles({name: found & set(modules) for name, found in graph.items()}) == []


def test_a_circle_is_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c", "b"]]
    assert circles({"a": {"b"}, "b": set()}) == []


@pytest.mark.parametrize("room", ROOMS, ids=name_of)
def test_a_room_says_at_its_door_what_one_finds_there(room):
    assert ast.get_docstring(ast.parse(room.read_text(encoding="utf-8")))
