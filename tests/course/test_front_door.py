"""What `from qlab.course import ...` gives, and what it costs."""

import subprocess
import sys
from pathlib import Path

import qlab.course

ROOT = Path(__file__).resolve().parents[2]


def test_the_front_door_names_what_a_learner_meets():
    assert qlab.course.__all__ == sorted(qlab.course.__all__, key=lambda name: (name[0].islower(), name))
    assert all(hasattr(qlab.course, name) for name in qlab.course.__all__)
    assert {"check", "claim", "predict", "settle", "quiz", "progress", "explore", "exercises"} <= set(
        qlab.course.__all__
    )


def test_importing_it_is_quick_and_loads_no_runtime():
    code = (
        "import time; start = time.perf_counter(); import qlab.course, sys; "
        "print(time.perf_counter() - start, *sys.modules)"
    )
    seconds = []
    while len(seconds) < 5 and (not seconds or min(seconds) >= 1.5):  # the best of several: the machine may be busy
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
        took, *modules = run.stdout.split()
        seconds.append(float(took))
    assert min(seconds) < 1.5
    assert not {"onnxruntime", "onnx", "sklearn", "matplotlib.pyplot"} & set(modules)
