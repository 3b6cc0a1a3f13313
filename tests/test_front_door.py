"""`import qlab`: its version, its parts when first used, and types on all that is public."""

import inspect
import subprocess
import sys
import typing

import pytest

import qlab
from qlab.__main__ import main

PARTS = ("calibration", "graph", "machine", "measure", "models", "numerics", "recipes")


def public_functions():
    """(dotted name, function) of what `qlab` and its parts name in `__all__`."""
    for owner in (qlab, *(getattr(qlab, part) for part in PARTS)):
        for name in owner.__all__:
            found = getattr(owner, name)
            if inspect.isfunction(found):
                yield f"{owner.__name__}.{name}", found


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_loaded_when_it_is_first_used(part):
    code = f"import sys, qlab; assert 'qlab.measure' not in sys.modules; print(qlab.{part}.__name__)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == f"qlab.{part}\n"


def test_a_name_that_is_not_there_is_answered_with_those_that_are():
    with pytest.raises(AttributeError, match=r"no attribute 'recipe'; it has: .*choose_qparams.* recipes"):
        qlab.recipe  # noqa: B018
    assert {*PARTS, "quantize", "__version__"} <= set(dir(qlab))


def test_the_command_line_tells_its_version(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"qlab {qlab.__version__}\n"


@pytest.mark.parametrize(("name", "function"), [*public_functions()])
def test_every_public_function_has_types_for_what_it_takes_and_gives(name, function):
    hints = typing.get_type_hints(function)
    assert {*inspect.signature(function).parameters, "return"} == set(hints), name
