"""How `make test` deals the tests out to the cores: what shares a set-up stays together, the longest goes first."""

import re

from xdist.scheduler import LoadScopeScheduling

_ONE_NOTEBOOK = re.compile(r"(tests/notebooks/test_notebooks\.py)::\w+\[(\w+)")
# Each of these takes as long as a hundred others: begun last, it would keep one core busy while the rest are idle.
_LONGEST = ("tests/browser", "tests/notebooks", "tests/test_telemetry.py", "tests/models", "tests/measure")


def workers():
    """One more than there are cores: who drives a browser or a kernel mostly waits for it."""
    from qlab.runtime import usable_cores  # here, since tests/conftest.py sets what qlab reads when it is imported

    return usable_cores() + 1


def room(nodeid):
    """Tests of one room run on one worker: one browser, one kernel of a notebook, one file with its fixtures."""
    if nodeid.startswith("tests/browser/"):
        return "tests/browser"
    if one := _ONE_NOTEBOOK.match(nodeid):
        return "::".join(one.groups())
    return nodeid.partition("::")[0]


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
