"""NNCF's accuracy control on one model, for bench_search: run by a Python that has nncf, and nothing of qlab.

python nncf_control.py MODEL FOLDER AT_MOST    reads calibration.npz, test.npz, expected.npz, writes nncf.onnx there
"""

import sys
from pathlib import Path

import numpy as np

RANKED_ON, MOST_PUT_BACK = 4, 6  # feeds; groups of quantizers


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
    expected = [one["best"] for one in feeds(folder / "expected.npz")]
    test = list(zip(feeds(folder / "test.npz"), expected, strict=True))

    def agreement(model, pairs):
        """Of these (feed, answers): the share that is as expected, and that of each feed."""
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        right = [session.run(None, feed)[0].argmax(-1).ravel() == best for feed, best in pairs]
        return float(np.concatenate(right).mean()), [float(one.mean()) for one in right]

    made = nncf.quantize_with_accuracy_control(
        onnx.load(model),
        nncf.Dataset(feeds(folder / "calibration.npz")),
        nncf.Dataset(test, lambda pair: pair[0]),
        agreement,
        max_drop=at_most,
        advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
            max_num_iterations=MOST_PUT_BACK, ranking_subset_size=RANKED_ON
        ),
    )
    onnx.save(made, folder / "nncf.onnx")


if __name__ == "__main__":
    main()
