"""`import qlab`: the public face, and what it costs to open."""

import doctest
import inspect
import subprocess
import sys

import qlab

FUNCTIONS = ["choose_qparams", "quantize", "dequantize", "fake_quantize"]
HEAVY = ("sklearn", "onnx", "onnxruntime", "matplotlib", "IPython", "ipywidgets", "torch", "jiwer")


def test_the_front_door_shows_exactly_the_names_of_the_contract():
    assert sorted(qlab.__all__) == sorted(
        ["PerAxis", "PerBlock", "PerTensor", "PerToken", "QParams", "sqnr_db", *FUNCTIONS]
    )
    assert all(hasattr(qlab, name) and inspect.getdoc(getattr(qlab, name)) for name in qlab.__all__)


def test_the_front_doors_examples_are_true():
    result = doctest.testmod(qlab, raise_on_error=False)
    assert result.attempted > 5
    assert result.failed == 0


def test_importing_qlab_loads_nothing_heavy_and_takes_under_half_a_second():
    program = (
        "import sys, time; start = time.process_time(); import qlab; spent = time.process_time() - start; "
        f"print(spent, [name for name in {HEAVY} if name in sys.modules])"
    )
    runs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True) for _ in range(3)
    ]
    spent, loaded = zip(*(run.stdout.split(maxsplit=1) for run in runs), strict=True)
    assert {text.strip() for text in loaded} == {"[]"}
    assert min(map(float, spent)) < 0.5
