"""How `make test` deals the tests out to the cores: what shares a set-up stays together, the longest goes first."""

import re
from functools import cache
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
_ONE_NOTEBOOK = re.compile(r"(tests/notebooks/test_notebooks\.py)::\w+\[(\w+)")
# Each of these takes as long as a hundred others: begun last, it would keep one core busy while the rest are idle.
_LONGEST = ("tests/browser", "tests/notebooks", "tests/test_telemetry.py", "tests/models", "tests/measure")


def room(nodeid):
    """Tests of one room run on one worker: one browser, one kernel of a notebook, one file with its fixtures."""
    if nodeid.startswith("tests/browser/"):
        return "tests/browser"
    if one := _ONE_NOTEBOOK.match(nodeid):
        file, name = one.groups()
        return f"{file}::{'quantizing' if quantizes_in_place(name) else name}"
    return nodeid.partition("::")[0]


@cache
def quantizes_in_place(name):
    """Does the notebook call onnxruntime's quantizers? They write MODEL-inferred.onnx beside MODEL, and remove it.

    Two at a time would take it from each other where they quantize the same shipped model.
    """
    code = (NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8")
    return any(f"{quantizer}(" in code for quantizer in ("quantize_dynamic", "quantize_static"))


def in_order(nodeid):
    """Sort key: the longest rooms first, all else as collected."""
    return next((rank for rank, start in enumerate(_LONGEST) if nodeid.startswith(start)), len(_LONGEST))


class Rooms(LoadScopeScheduling):
    """xdist's scheduler by scope, with rooms for scopes, in the order of collection."""

    def __init__(self, config, log=None):
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid):
        return room(nodeid)
