"""Nothing leaves the machine: onnxruntime's telemetry is off wherever the course starts it, until a reader wants it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from jupyter_client import BlockingKernelClient

from tests import silence
from tests.browser import server
from tests.patience import WAIT_LIMIT_S

ROOT = Path(__file__).resolve().parents[1]
OWN_CACHE = ".cache/quantization-lab"
SAID = "import os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
linux = pytest.mark.skipif(not silence.SUPPORTED, reason="processes are watched by a filter of Linux's")
with_make = pytest.mark.skipif(os.name == "nt", reason="make and sh are for Linux and macOS")


@pytest.fixture(scope="module", autouse=True)
def _slow_starters(request):
    """They start with the first test here, so that the half minute is nearly over when their own tests come, last."""
    asked = any("users_of_a_model" in getattr(item, "fixturenames", ()) for item in request.session.items)
    if asked and silence.SUPPORTED:
        request.getfixturevalue("users_of_a_model")


@linux
@pytest.mark.parametrize(
    "code",
    ["import socket; socket.getaddrinfo('example.invalid', 80)", "import socket; socket.socket(socket.AF_INET6)"],
)
def test_a_process_that_looks_up_a_name_or_opens_a_socket_is_caught(code, tmp_path):
    watched = silence.watch(tmp_path / "home", f"from tests.silence import *; forbid_sockets(); {code}")
    assert watched.end() == -signal.SIGSYS


def said(code, home, **changes):
    """What Python prints that runs `code` from the repository's root."""
    environment = silence.environment_of_its_own(home, **changes)
    return subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, env=environment, text=True).strip()


@pytest.mark.parametrize("module", ["qlab", "qlab.runtime", "data.build", "tests.bench"])
def test_each_way_into_the_code_switches_it_off(module, tmp_path):
    assert said(f"import {module}; {SAID}", tmp_path) == "1"


@pytest.mark.parametrize(("wanted", "so"), [("", "1"), ("1", "1"), ("2", "1"), ("0", "0")])
def test_only_an_explicit_0_has_it_back(wanted, so, tmp_path):
    assert said(f"import qlab; {SAID}", tmp_path, ORT_DISABLE_TELEMETRY=wanted) == so


@with_make
@pytest.mark.parametrize(("wanted", "so"), [(None, "1"), ("", "1"), ("2", "1"), ("0", "0")])
@pytest.mark.parametrize("target", ["lab", "notebooks", "bench", "test-fast"])
def test_what_make_starts_inherits_it(target, wanted, so, tmp_path):
    environment = silence.environment_of_its_own(tmp_path, ORT_DISABLE_TELEMETRY=wanted)
    tell = "PYTHON_IN_VENV=sh -c 'echo told $$ORT_DISABLE_TELEMETRY'"
    make = [shutil.which("make"), target, "SETUP=true", tell]
    printed = subprocess.check_output(make, cwd=ROOT, env=environment, text=True, stderr=subprocess.STDOUT)
    assert {line for line in printed.splitlines() if line.startswith("told")} == {f"told {so}"}


@pytest.fixture
def kernel(tmp_path):
    """A client of a kernel that the server of `make lab` started, in a home of its own: tmp_path / "home"."""
    (tmp_path / "home").mkdir()
    around = silence.environment_of_its_own(tmp_path / "home")
    process, lab = server.start(tmp_path / "served", tmp_path / "jupyter", around)
    asked = urllib.request.Request(
        f"{lab.url}api/kernels", b'{"name": "python3"}', {"Authorization": f"token {lab.token}"}
    )
    with urllib.request.urlopen(asked) as answer:
        name = json.load(answer)["id"]
    client = BlockingKernelClient(connection_file=str(tmp_path / "jupyter" / "runtime" / f"kernel-{name}.json"))
    client.load_connection_file()
    client.start_channels()
    client.wait_for_ready(timeout=WAIT_LIMIT_S)  # what a kernel says before its ear is there, a client misses
    yield client
    client.stop_channels()
    server.stop(process)


@pytest.mark.slow
@with_make
def test_a_notebook_of_make_lab_may_import_onnxruntime_first(kernel, tmp_path):
    printed = []
    kernel.execute_interactive(
        f"import onnxruntime\n{SAID}", output_hook=lambda message: printed.append(message["content"].get("text"))
    )
    assert "1\n" in printed
    assert silence.files_in(tmp_path / "home") == []


@pytest.mark.slow
@linux
def test_a_process_that_uses_a_model_writes_to_qlabs_folder_only_and_opens_no_socket_in_half_a_minute(users_of_a_model):
    user = users_of_a_model["off"]
    assert user.end() == 0
    assert silence.files_in(user.home, OWN_CACHE) == []
    assert silence.files_in(user.home) != []  # the machine card: it did write where the test looks


@pytest.mark.slow
@linux
def test_the_same_process_with_telemetry_wanted_back_is_caught_at_both(users_of_a_model):
    user = users_of_a_model["on"]
    assert user.end() == -signal.SIGSYS
    assert silence.files_in(user.home, OWN_CACHE) != []
