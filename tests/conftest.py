"""What holds for every test: nothing of the reader's is read or written, and figures need no screen.

Set here, before any test imports qlab, and inherited by every kernel, server and command that a test starts.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests import silence

_HOME = Path(tempfile.mkdtemp(prefix="qlab-tests-"))
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)

os.environ.update(
    QLAB_CACHE=str(_HOME / "cache"),
    QLAB_PROGRESS=str(_HOME / "progress.json"),
    QLAB_FAST="1",  # notebooks: fewer rounds and clips
    QLAB_TEST="1",  # a false mathematical claim raises
    ORT_DISABLE_TELEMETRY="1",  # tests import onnxruntime in any order, and send nothing whatever the reader wants
    MPLBACKEND="Agg",
    IPYTHONDIR=str(_HOME / "ipython"),
    JUPYTER_CONFIG_DIR=str(_HOME / "jupyter" / "config"),
    JUPYTER_DATA_DIR=str(_HOME / "jupyter" / "data"),
    JUPYTER_RUNTIME_DIR=str(_HOME / "jupyter" / "runtime"),
    JUPYTER_PLATFORM_DIRS="1",
)

collect_ignore_glob = ["bench/*"]  # programs to run, not modules to import


@pytest.fixture(scope="session")
def users_of_a_model(tmp_path_factory):
    """Two processes that use onnxruntime through qlab for half a minute: see tests/silence.py."""
    with silence.users_of_a_model(tmp_path_factory.mktemp("users")) as users:
        yield users


@pytest.fixture(scope="session", autouse=True)
def _slow_starters(request):
    """They start with the first test of all, so that the half minute is over when their own tests come."""
    asked = any("users_of_a_model" in getattr(item, "fixturenames", ()) for item in request.session.items)
    if asked and silence.SUPPORTED:
        request.getfixturevalue("users_of_a_model")
