"""recipes.search on three models, beside what onnxruntime's debugging tools and NNCF's accuracy control reach.

python -m tests.bench.bench_search [digits] [noise] [full]      a quiet machine, please: nothing else should run

digits  the accuracy of handwritten digits may fall by half a point
noise   the trained conformer in street noise of 5 dB: 6 % of the frames may change their best unit
full    a conformer of 140 MB, random weights: half of what int8 loses; wanted under 3 minutes and 2 GB

Beside the search, on digits and noise: by hand, quantize_static with the k nodes left out whose results
onnxruntime.quantization.qdq_loss_debug finds the furthest from fp32's, k doubled until the bound holds; and
nncf.quantize_with_accuracy_control, where QLAB_NNCF names a Python that has it, in an environment of its own. It would
rank its quantizers on 300 feeds and put back one after the other; here it ranks them on the 4 feeds that lose most, and
puts back 6 at most, so that it ends in minutes: it may miss a bound that it would reach given hours.

    python -m venv nncf && nncf/bin/pip install nncf onnxruntime onnx && export QLAB_NNCF=nncf/bin/python
"""

import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, qdq_loss_debug, quantize_static

from qlab import graph, measure, models, recipes
from qlab.graph.operators import FLOAT_PRODUCTS
from qlab.runtime import as_feeds, open_session

CONTROL = Path(__file__).with_name("nncf_control.py")
TIMED = 3  # feeds
TOLD = ("Metric of", "ccuracy drop", "reverted")  # in NNCF's log


class Feeds(CalibrationDataReader):
    """Feeds as onnxruntime's tools read them."""

    def __init__(self, feeds):
        self._left = iter(feeds)

    def get_next(self):
        return next(self._left, None)


class Agreement:
    """The share of vectors whose largest number stands where `expected` has it: the metric, on some feeds."""

    def __init__(self, feeds, expected):
        self.feeds, self.expected = feeds, expected

    @staticmethod
    def best(session, feeds):
        return [session.run(None, feed)[0].argmax(-1).ravel() for feed in feeds]

    def __call__(self, session):
        return float((np.concatenate(self.best(session, self.feeds)) == np.concatenate(self.expected)).mean())


def digits():
    """The model, feeds to calibrate on, the metric, the bound."""
    model = models.path("digits")
    (name,) = (one.name for one in open_session(model).get_inputs())
    train, _, test, labels = models.digit_split()
    metric = Agreement([{name: test}], [labels])
    return model, [{name: train[at : at + 64]} for at in range(0, 512, 64)], metric, 0.005


def noise():
    """The same of the conformer in noise; fp32 in noise is what the metric expects."""
    model = models.path("conformer")
    feeds, test = (
        [models.feed(one.samples) for one in models.utterances(split, noise_db=5)[:count]]
        for split, count in (("calibration", 8), ("test", 12))
    )
    return model, feeds, Agreement(test, Agreement.best(open_session(model), test)), 0.06


def full():
    """The same of the large conformer: minus the relative error, and half of what int8 loses."""
    model, feed = models.path("conformer_full"), models.example_feed("conformer_full")
    rng, feeds = np.random.default_rng(7), []
    for frames in (200, 240):
        speech = rng.standard_normal((1, frames, 80)).astype(np.float32)
        feeds.append({"speech": speech, "speech_lengths": np.array([frames], np.int64)})
    (expected, *_) = open_session(model).run(None, feed)

    def closeness(session):
        return -float(np.linalg.norm(session.run(None, feed)[0] - expected) / np.linalg.norm(expected))

    with tempfile.TemporaryDirectory() as name:
        made = recipes.static(model, Path(name) / "all.onnx", feeds)
        return model, feeds, closeness, -closeness(open_session(made.path)) / 2


def by_hand(model, folder, feeds, metric, lowest):
    """The first file that holds, with the k worst products left out, and k; the last one if none does."""
    prepared, plain = recipes.prepare(model, folder / "prepared.onnx"), folder / "by-hand.onnx"
    settings = {"quant_format": QuantFormat.QDQ, "per_channel": True, "activation_type": QuantType.QUInt8,
                "weight_type": QuantType.QInt8}  # fmt: skip
    quantize_static(prepared, plain, Feeds(feeds), **settings)
    seen = []
    for path in (prepared, plain):
        shown = folder / f"{path.stem}-shown.onnx"
        qdq_loss_debug.modify_model_output_intermediate_tensors(path, shown)
        seen.append(qdq_loss_debug.collect_activations(str(shown), Feeds(feeds[:1])))
    errors = qdq_loss_debug.compute_activation_error(
        qdq_loss_debug.create_activation_matching(seen[1], seen[0]),
    )
    of = {node.output[0]: node.name for node in graph.load(prepared).graph.node if node.op_type in FLOAT_PRODUCTS}
    order = [of[name] for name in sorted(errors, key=lambda name: errors[name].get("xmodel_err", 0)) if name in of]
    count, path = 0, plain
    while metric(open_session(path)) < lowest and count < len(order):
        count = min(max(1, 2 * count), len(order))
        path = folder / f"by-hand-{count}.onnx"
        quantize_static(prepared, path, Feeds(feeds), nodes_to_exclude=order[:count], **settings)
    return path, count


def by_nncf(model, folder, feeds, metric, at_most):
    """The file that NNCF's accuracy control makes, or None without a Python that has it."""
    python = os.environ.get("QLAB_NNCF")
    if not python:
        print("NNCF: set QLAB_NNCF, see the head of this file")
        return None
    for name, some in (("calibration", feeds), ("test", metric.feeds)):
        np.savez(folder / f"{name}.npz", **{f"{at}/{key}": x for at, one in enumerate(some) for key, x in one.items()})
    np.savez(folder / "expected.npz", **{f"{at}/best": best for at, best in enumerate(metric.expected)})
    started, quiet = time.perf_counter(), os.environ | {"NNCF_CI": "1"}  # it counts its users otherwise
    with (folder / "nncf.log").open("w+") as log:
        done = subprocess.run([python, CONTROL, model, folder, str(at_most)], stdout=log, stderr=log, env=quiet)
        log.seek(0)
        told = log.read()
    if done.returncode:
        sys.exit(f"NNCF failed:\n{told}")
    print(f"NNCF: {time.perf_counter() - started:.0f} s")
    print("\n".join(line for line in told.splitlines() if any(word in line for word in TOLD)))
    return folder / "nncf.onnx"


def report(name, case, folder):
    """Print the search, what else was tried, and all of them timed in one run."""
    model, feeds, metric, at_most = case()
    started, busy = time.perf_counter(), time.process_time()
    found = recipes.search(model, folder / "search.onnx", feeds, metric, at_most=at_most)
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    print(f"\n## {name}\n\n{found}\n")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"search: {seconds:.0f} s, of the processor {busy:.0f} s; {sum(found.calls.values())} calls of the metric, "
        f"at most {memory:.2f} GB of memory"
    )
    paths = {"fp32": model, f"search, {len(found.floats)} in float": found.path}
    if case is not full:
        path, count = by_hand(model, folder, feeds, metric, found.fp32 - at_most)
        paths[f"by hand, {count} in float"] = path
        if (path := by_nncf(model, folder, feeds, metric, at_most)) is not None:
            paths["NNCF"] = path
    print(measure.compare(paths, as_feeds(feeds)[:TIMED]))
    for called, path in paths.items():
        loss = found.fp32 - metric(open_session(path))
        print(f"{called}: loss {loss:.4f}, bound {at_most:.4f}: {'holds' if loss <= at_most else 'MISSED'}")


def main():
    logging.disable(logging.WARNING)
    cases = {"digits": digits, "noise": noise, "full": full}
    asked = sys.argv[1:] or list(cases)
    if unknown := set(asked) - cases.keys():
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(cases)}")
    for name in asked:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            report(name, cases[name], Path(folder))


if __name__ == "__main__":
    main()
