"""Measure the reference card "x86-avx2" on an x86 CPU that has more than AVX2.

    python -m data.build.avx2_card

Onnxruntime has no switch that keeps it from the newest instructions. So this runs a copy of it in which the two tests
for them, in the constructor that chooses the kernels (MLAS_PLATFORM in core/mlas/lib/platform.cpp), never succeed. What
is then measured is real: the kernels that an AVX2 CPU runs, saturation included, at this CPU's clock and caches. Where
a true AVX2 CPU is narrower than this one, the card cannot know; its note says how it was made.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import onnxruntime

ROOT = Path(__file__).resolve().parents[2]
NOTE = "onnxruntime's AVX2 kernels: this CPU's AVX-512 and VNNI were hidden from it (data/build/avx2_card.py)"
# Instructions of the 1.32.0 wheel for Linux on x86-64, each found once in it: (what it asks, its bytes, never true).
TESTS = (
    ("AVX-VNNI: cpuid; test $0x10, %al", "0fa2 a810", "0fa2 a800"),
    ("AVX512F: test $0x10000, %r10d", "41f7c2 00000100", "41f7c2 00000000"),
)


def hide_newer_instructions(library):
    """Rewrite the shared library so that MLAS takes an AVX2 CPU for granted."""
    code = library.read_bytes()
    for what, asked, never in TESTS:
        found = code.count(bytes.fromhex(asked))
        if found != 1:
            raise ValueError(
                f"{library.name} has the test for {what} {found} times, expected once: this script knows the wheel of "
                f"onnxruntime 1.32.0 for Linux x86_64; this is {onnxruntime.__version__} for {platform.system()} "
                f"{platform.machine()}"
            )
        code = code.replace(bytes.fromhex(asked), bytes.fromhex(never))
    library.write_bytes(code)


def main():
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "onnxruntime"
        shutil.copytree(Path(onnxruntime.__file__).parent, copy)
        (library,) = (copy / "capi").glob("onnxruntime_pybind11_state*.so")
        hide_newer_instructions(library)
        command = [sys.executable, "-m", "data.build.machine_card", "x86-avx2", "--note", NOTE]
        paths = os.pathsep.join([folder, str(ROOT)])  # before the installed onnxruntime
        subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": paths})


if __name__ == "__main__":
    main()
