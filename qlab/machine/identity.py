"""Which CPU this is, as far as the system tells: a name to print and a fingerprint to tell two machines apart."""

import os
import platform
import subprocess
import sys
from pathlib import Path

# Constant over time on one CPU, unlike its clock. Several of them, because virtual machines often shorten the model
# name until unlike CPUs share it, and a home folder may be shared by unlike machines.
_TELLING = ("vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU implementer", "CPU part")


def cpu_name():
    """The CPU's marketing name where the system knows it, otherwise its architecture."""
    told = _linux_entries().get("model name") or _macos_name() or _windows_name()
    return told or platform.processor() or platform.machine()


def cpu_fingerprint():
    """Text that changes when the CPU does."""
    entries = _linux_entries()
    return "; ".join([platform.machine(), cpu_name(), *(entries[key] for key in _TELLING if key in entries)])


def usable_cores():
    """Cores that this process may use: containers and affinity masks often grant fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _linux_entries():
    try:
        first_cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first_cpu.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _macos_name():
    if sys.platform != "darwin":
        return ""
    command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _windows_name():
    if sys.platform != "win32":
        return ""
    import winreg

    with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0") as key:
        return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
