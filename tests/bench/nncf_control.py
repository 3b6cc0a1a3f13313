"""NNCF's accuracy control on one model, for bench_search: run by a Python that has nncf, and nothing of qlab.

python nncf_control.py MODEL FOLDER AT_MOST    reads calibration.npz, test.npz and expected.npy, writes nncf.onnx there
"""

import sys
from pathlib import Path

import numpy as np


def feeds(path):
    """[{input: array}] of an .npz whose names are "0/input"."""
    found = {}
    with np.load(path) as arrays:
        for name in arrays:
            place, _, key = name.partition("/")
            found.setdefault(int(place), {})[key] = arrays[name]
    return [found[place] for place in sorted(found)]


def main():
    import nncf
    import onnx
    import onnxruntime

    model, folder, at_most = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    expected = np.load(folder / "expected.npy")

    def agreement(model, data):
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        best = [session.run(None, feed)[0].argmax(-1).ravel() for feed in data]
        return float((np.concatenate(best) == expected).mean()), None

    made = nncf.quantize_with_accuracy_control(
        onnx.load(model),
        nncf.Dataset(feeds(folder / "calibration.npz")),
        nncf.Dataset(feeds(folder / "test.npz")),
        agreement,
        max_drop=at_most,
    )
    onnx.save(made, folder / "nncf.onnx")


if __name__ == "__main__":
    main()
