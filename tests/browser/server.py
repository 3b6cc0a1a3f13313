"""The JupyterLab that `make lab` starts, on copies that it makes, at an address of this machine only."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from tests.patience import WAIT_LIMIT_S

ROOT = Path(__file__).resolve().parents[2]
MADE_BY_MAKE = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")  # of a `make test` around this one
# Every cell is in the page, not only those in view; nothing is asked when a notebook is closed.
SETTINGS = {"@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"}}


class Server(NamedTuple):
    """A running server: its address (http://127.0.0.1:PORT/), its token, the folder of the copies, its log file."""

    url: str
    token: str
    folder: Path
    log: Path


def _write_settings(config):
    for plugin, values in SETTINGS.items():
        path = config / "lab" / "user-settings" / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(values), encoding="utf-8")


def start(folder, home, around=os.environ):
    """Run `make lab` in the environment `around`: copies in `folder`, its own files in `home`. -> process, Server"""
    home.mkdir(parents=True, exist_ok=True)
    _write_settings(home / "config")
    environment = {name: value for name, value in around.items() if name not in (*MADE_BY_MAKE, "MPLBACKEND")}
    environment |= {f"JUPYTER_{kind.upper()}_DIR": str(home / kind) for kind in ("config", "data", "runtime")}
    environment |= {"QLAB_PROGRESS": str(home / "progress.json"), "QLAB_NOTEBOOKS": str(folder)}
    options = "--no-browser --port=0 --expose-app-in-browser"
    log = home / "server.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            ["make", "lab", f"LAB_ARGS={options}"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return process, _wait(process, home / "runtime", folder, log)


def _wait(process, runtime, folder, log):
    """Until the server has written down where it listens, which it does when it is ready."""
    end = time.monotonic() + WAIT_LIMIT_S
    while time.monotonic() < end and process.poll() is None:
        for path in runtime.glob("jpserver-*.json"):
            try:
                info = json.loads(path.read_text(encoding="utf-8"))
            except json.JSONDecodeError:  # half written
                continue
            return Server(info["url"], info["token"], folder, log)
        time.sleep(0.1)
    stop(process)
    raise RuntimeError(f"`make lab` did not start:\n{log.read_text()}")


def stop(process):
    """End the server and its kernels, politely first."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=WAIT_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
