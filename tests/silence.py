"""Processes that are watched for half a minute: what they leave behind, and that they never speak to anybody.

A process that has called `forbid_sockets` is killed by the kernel, with SIGSYS, when any of its threads asks for a
socket of whatever kind: no name can be looked up and no host reached without one. That needs no privilege, no tool and
no patience for rare packets, sees through statically linked libraries, and lets nothing out while it looks.
"""

import ctypes
import os
import platform
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
# Of linux/prctl.h, linux/seccomp.h, linux/audit.h and the table of system calls of each architecture.
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
KILL_PROCESS, ALLOW = 0x80000000, 0x7FFF0000
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER_AT, ARCHITECTURE_AT = 0, 4
SOCKET_CALL = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}  # AUDIT_ARCH_..., __NR_socket
# Folders of the reader, settings of these tests, options of `make test`; and what tells onnxruntime that it runs in
# continuous integration, where it keeps silent by itself: what is watched is a reader's machine.
OTHERS = ("XDG_", "QLAB_", "MAKE", "MFLAGS", "CI", "GITHUB_", "GITLAB_", "JENKINS_", "TF_BUILD", "TRAVIS", "BUILD_")
SUPPORTED = sys.platform == "linux" and platform.machine() in SOCKET_CALL

USE = """\
from tests.silence import forbid_sockets

forbid_sockets()
import sys, time
import numpy as np
from qlab import machine, models
from qlab.runtime import open_session

session = open_session(models.path("digits"))
session.run(None, {session.get_inputs()[0].name: np.zeros((1, 1, 8, 8), np.float32)})
machine.card()
time.sleep(float(sys.argv[1]))
"""


class _Instruction(ctypes.Structure):
    """struct sock_filter: one instruction of a seccomp filter."""

    _fields_ = (("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


def forbid_sockets():
    """From now on socket(2) is deadly for this process, the threads that it starts, and its children."""
    architecture, socket_call = SOCKET_CALL[platform.machine()]
    instructions = (_Instruction * 6)(
        (LOAD, 0, 0, ARCHITECTURE_AT),
        (JUMP_IF_EQUAL, 0, 2, architecture),  # another architecture's call numbers would slip through
        (LOAD, 0, 0, NUMBER_AT),
        (JUMP_IF_EQUAL, 0, 1, socket_call),
        (RETURN, 0, 0, KILL_PROCESS),
        (RETURN, 0, 0, ALLOW),
    )
    program = _Program(len(instructions), instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    for option in ((PR_SET_NO_NEW_PRIVS, 1, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program))):
        if libc.prctl(*option, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl: the kernel takes no seccomp filter")


def environment_of_its_own(home, **changes):
    """os.environ, but with `home` for everything that a program may write, and no word about telemetry or from make.

    A change to None takes the variable away.
    """
    own = {"HOME": str(home), "TMPDIR": str(home), "PYTHONPATH": str(ROOT), "ORT_DISABLE_TELEMETRY": None}
    variables = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)}
    return {name: value for name, value in {**variables, **own, **changes}.items() if value is not None}


def files_in(home, *but):
    """Paths, relative to `home`, of the files that lie there outside the folders `but`."""
    paths = sorted(path.relative_to(home) for path in home.rglob("*") if not path.is_dir())
    return [str(path) for path in paths if not any(path.is_relative_to(folder) for folder in but)]


class Watched(NamedTuple):
    """A process, and the folder that it takes for its home, its temporary folder and its working directory."""

    process: subprocess.Popen
    home: Path

    def end(self):
        """Its exit status, when it has run out its time or was killed; its words go into the error if it failed."""
        words, _ = self.process.communicate()
        if self.process.returncode not in (0, -signal.SIGSYS):
            raise RuntimeError(f"exit status {self.process.returncode}: {words}")
        return self.process.returncode


def watch(home, code, *arguments, **changes):
    """Start Python on `code` in a home of its own. -> Watched"""
    home.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=home,
        env=environment_of_its_own(home, **changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return Watched(process, home)


@contextmanager
def users_of_a_model(folder):
    """{"off": ..., "on": ...}: two processes that use onnxruntime through qlab, the second with telemetry wanted back.

    The first sleeps for 30 s at its end, in which onnxruntime would send thrice over; the second until it does.
    """
    users = {
        "off": watch(folder / "off", USE, "30"),
        "on": watch(folder / "on", USE, "600", ORT_DISABLE_TELEMETRY="0"),
    }
    try:
        yield users
    finally:
        for user in users.values():
            with user.process:  # closes its pipe, and waits
                user.process.kill()
