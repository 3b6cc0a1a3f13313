"""What holds for every test: nothing of the reader's is read or written, and figures need no screen.

Set here, before any test imports qlab, and inherited by every kernel, server and command that a test starts.
"""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from tests import parallel, patience, silence

# One home for a run; its cache serves all workers of xdist, what one worker writes else lies in a folder of its own.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
if not _WORKER:
    os.environ["QLAB_TESTS_HOME"] = tempfile.mkdtemp(prefix="qlab-tests-")
    atexit.register(shutil.rmtree, os.environ["QLAB_TESTS_HOME"], ignore_errors=True)
_SHARED = Path(os.environ["QLAB_TESTS_HOME"])
_HOME = _SHARED / _WORKER
_HOME.mkdir(exist_ok=True)

os.environ.update(
    QLAB_CACHE=str(_SHARED / "cache"),
    QLAB_PROGRESS=str(_HOME / "progress.json"),
    QLAB_FAST="1",  # notebooks: fewer rounds and clips
    QLAB_TEST="1",  # a false mathematical claim raises
    ORT_DISABLE_TELEMETRY="1",  # tests import onnxruntime in any order, and send nothing whatever the reader wants
    MPLBACKEND="Agg",
    OPENBLAS_NUM_THREADS="1",  # NumPy's and scikit-learn's threads wait by spinning: beside other workers, for minutes
    OMP_NUM_THREADS="1",
    IPYTHONDIR=str(_HOME / "ipython"),
    JUPYTER_CONFIG_DIR=str(_HOME / "jupyter" / "config"),
    JUPYTER_DATA_DIR=str(_HOME / "jupyter" / "data"),
    JUPYTER_RUNTIME_DIR=str(_HOME / "jupyter" / "runtime"),
    JUPYTER_PLATFORM_DIRS="1",
)

os.environ.pop("QLAB_CARD", None)  # a reader may explain another machine; the tests are about this one

# nbformat checks notebooks with jsonschema, which would take seconds in every worker to build a grammar of web
# addresses that no notebook is checked against. Where that package is missing it goes without.
sys.modules["rfc3987_syntax"] = None

collect_ignore_glob = ["bench/*"]  # programs to run, not modules to import


@pytest.fixture(scope="session")
def users_of_a_model(tmp_path_factory):
    """Two processes that use onnxruntime through qlab for half a minute: see tests/silence.py."""
    with silence.users_of_a_model(tmp_path_factory.mktemp("users")) as users:
        yield users


@pytest.fixture
def tell(record_property):
    """tell(line) puts a line under "Measured" in the report: how long something took is told, never asserted."""
    return lambda line: record_property("told", line)


patience.give_examples_time()  # here, since a test module makes settings from these when it is imported


@pytest.fixture
def no_bar_is_due(monkeypatch):
    """For tqdm no time passes, so that a bar which shows after seconds stays away, however slow the machine."""
    monkeypatch.setattr("tqdm.std.time", lambda: 0.0)


def pytest_configure():
    patience.end_what_hangs()


@pytest.hookimpl(trylast=True)
def pytest_exception_interact():
    patience.end_what_hangs()


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: parallel.in_order(item.nodeid))


@pytest.hookimpl(optionalhook=True)  # without xdist nobody asks
def pytest_xdist_auto_num_workers():
    return parallel.workers()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return parallel.Rooms(config, log)


def pytest_terminal_summary(terminalreporter):
    reports = [report for group in terminalreporter.stats.values() for report in group]
    calls = [report for report in reports if getattr(report, "when", "") == "call"]
    lines = [line for report in calls for name, line in report.user_properties if name == "told"]
    if lines:
        terminalreporter.section("Measured")
        for line in sorted(lines):
            terminalreporter.write_line(line)
