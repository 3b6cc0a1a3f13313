"""The text of a reader's function stands alone, or is refused with the reason."""

import __future__

import ast
import functools
import itertools
import linecache
import math
import tomllib
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qlab.course.standalone import NotKept, standalone

_numbers = itertools.count()


def run_cell(source, names=None, *, whole=False):
    """Execute source as a kernel does: statement by statement in the names of `__main__`, with its lines where
    tracebacks look for them. whole: as Python executes a file."""
    file = f"/tmp/kernel/cell-{next(_numbers)}.py"
    linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
    names = {"__name__": "__main__"} if names is None else names
    tree, flags = ast.parse(source), 0
    for piece in [tree] if whole else [ast.Module([statement], []) for statement in tree.body]:
        code = compile(piece, file, "exec", flags=flags, dont_inherit=True)
        flags |= code.co_flags & __future__.annotations.compiler_flag
        exec(code, names)
    return names


def alone(text, name="place"):
    """What `name` is when the text is all there is."""
    names = {"__name__": "alone"}
    exec(compile(text, "alone.py", "exec", dont_inherit=True), names)
    return names[name]


CELLS = tomllib.loads((Path(__file__).parent / "cells.toml").read_text(encoding="utf-8"))
KEPT = {name: entry["cell"] for name, entry in CELLS["kept"].items()}
REFUSED = {name: (entry["cell"], entry["says"]) for name, entry in CELLS["refused"].items()}


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("cell", KEPT.values(), ids=KEPT)
def test_what_is_kept_does_alone_what_it_did_in_its_cell(cell, whole):
    answer = run_cell(cell, whole=whole)["answer"]
    text = standalone(answer, "place")
    assert repr(alone(text)(3)) == repr(answer(3)).replace("alone.", "")


@pytest.mark.parametrize("cell", KEPT.values(), ids=KEPT)
def test_the_text_of_what_was_kept_is_the_same_text(cell):
    text = standalone(run_cell(cell)["answer"], "place")
    assert standalone(run_cell(text)["place"], "place") == text


def test_the_text_reads_as_one_would_write_it():
    imports, definitions = (
        "import numpy as np\nfrom numpy import rint\n\nK = 3\n\n\n",
        ("def half(x):\n    return x / 2\n\n\ndef f(x):\n    return rint(half(np.abs(x))) * K\n"),
    )
    cell = f"unused = object()\nK = 3\n{imports}{definitions}"
    assert standalone(run_cell(cell)["f"], "quantize") == f"{imports}{definitions}\n\nquantize = f\n"


def test_each_of_two_functions_from_one_name_has_its_own_source():
    names = run_cell("def f(x):\n    return x + 1")
    first = names["f"]
    second = run_cell("def f(x):\n    return x + 2", names)["f"]
    assert [alone(standalone(f, "f"), "f")(0) for f in (first, second)] == [1, 2]


def wraps_later(f):
    return functools.wraps(f)(lambda x: f(x))


@pytest.mark.parametrize(("cell", "says"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_stand_alone_is_refused_with_the_reason(cell, says):
    with pytest.raises(NotKept) as refused:
        standalone(run_cell(cell)["answer"], "place")
    assert says in str(refused.value)


def test_a_function_without_source_is_refused():
    names = {"__name__": "__main__"}
    exec("def f(x):\n    return x + 1", names)
    with pytest.raises(NotKept, match="the source of `f` is not to be had"):
        standalone(names["f"], "place")


@pytest.mark.parametrize(
    "now", ["def f(x):\n    return x + 2", "def f(x, y=1):\n    return x + 1", "def f(x:", "", "\0"]
)
def test_a_source_that_is_not_the_functions_own_is_refused(now):
    f = run_cell("def f(x):\n    return x + 1")["f"]
    file = f.__code__.co_filename
    linecache.cache[file] = len(now), None, now.splitlines(keepends=True), file
    with pytest.raises(NotKept, match="the source of `f` is not to be had"):
        standalone(f, "place")


def test_a_string_that_moving_the_function_would_change_is_refused():
    cell = 'if True:\n    def answer(x):\n        return """a\n        b"""'
    with pytest.raises(NotKept, match="not to be had"):
        standalone(run_cell(cell)["answer"], "place")


NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.text(max_size=20),
    st.binary(max_size=9),
    st.complex_numbers(),
)
KEYS = st.one_of(st.integers(), st.text(max_size=9), st.tuples(st.integers(), st.text(max_size=3)))
CONSTANTS = st.recursive(
    NUMBERS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=3),
        st.frozensets(KEYS, max_size=3),
        st.sets(KEYS, max_size=3),
    ),
    max_leaves=5,
)


def same(value, other):
    if type(value) is not type(other):
        return False
    if isinstance(value, dict):
        return list(value) == list(other) and all(map(same, value.values(), other.values()))
    if isinstance(value, list | tuple):
        return len(value) == len(other) and all(map(same, value, other))
    return value == other if isinstance(value, set | frozenset) else repr(value) == repr(other)


@example(complex(0.0, -0.0))
@example(complex(-0.0, 0.0))
@given(CONSTANTS)
def test_a_constant_comes_along_exactly(value):
    names = run_cell("def answer(x):\n    return constant", {"__name__": "__main__", "constant": value})
    assert same(alone(standalone(names["answer"], "place"))(0), value)


@given(st.sampled_from("bBhHiIqQefd?"), st.integers(0, 2**64 - 1))
def test_a_numpy_number_comes_along_exactly(code, bits):
    dtype = np.dtype(code)
    bits = bits % 2 if code == "?" else bits
    value = np.frombuffer(bits.to_bytes(8, "little"), dtype)[0]
    names = run_cell("def answer(x):\n    return constant", {"__name__": "__main__", "constant": value})
    kept = alone(standalone(names["answer"], "place"))(0)
    assert type(kept) is type(value)
    assert kept.tobytes() == value.tobytes() or (math.isnan(kept) and math.isnan(value))


def test_what_a_module_gives_is_imported_from_it():
    assert standalone(np.rint, "place") == "from numpy import rint\n\n\nplace = rint\n"
    assert isinstance(alone(standalone(wraps_later, "place")), types.FunctionType)
