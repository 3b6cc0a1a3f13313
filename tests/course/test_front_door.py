"""What `from qlab.course import ...` gives, and what it costs."""

import subprocess
import sys
from pathlib import Path

import qlab.course

ROOT = Path(__file__).resolve().parents[2]


def test_the_front_door_names_what_a_learner_meets():
    assert qlab.course.__all__ == sorted(qlab.course.__all__, key=lambda name: (name[0].islower(), name))
    assert all(hasattr(qlab.course, name) for name in qlab.course.__all__)
    assert {"check", "claim", "predict", "settle", "quiz", "progress", "explore", "lessons"} <= set(qlab.course.__all__)


def test_importing_it_loads_no_runtime():
    code = "import qlab.course, sys; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert not {"onnxruntime", "onnx", "sklearn", "matplotlib.pyplot"} & set(modules.split())
