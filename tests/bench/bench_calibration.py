"""qlab.calibration beside onnxruntime's calibrators: run with `python -m tests.bench.bench_calibration`.

The same models, unoptimized, on the same feeds. Times are interleaved in one process, and their ratio is taken round by
round; peak memory is that of a new process each. onnxruntime's calibrators keep every activation until the last feed.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", VECLIB_MAXIMUM_THREADS="1")
os.environ["TQDM_DISABLE"] = "1"

import contextlib
import io
import multiprocessing
import resource
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from time import perf_counter

import numpy as np
from onnxruntime.quantization import CalibrationDataReader
from onnxruntime.quantization.calibrate import CalibrationMethod, HistogramCollector, create_calibrator

from qlab import calibration, models
from qlab.calibration.collect import WatchedModel

ROUNDS = 7
BINS = 2048
MEGABYTE = 2**20


class Reader(CalibrationDataReader):
    def __init__(self, feeds):
        self.feeds = iter(feeds)

    def get_next(self):
        return next(self.feeds, None)


def conformer_feeds(count, lengths):
    """Noise as loud as speech features, of these numbers of frames in turn; made as it is asked for."""
    for seed in range(count):
        frames = lengths[seed % len(lengths)]
        x = np.random.default_rng(seed).normal(9, 3, (1, frames, 80)).astype(np.float32)
        yield {"speech": x, "speech_lengths": np.array([frames])}


def face_unet_feeds(count):
    inputs = [(value.name, value.shape) for value in WatchedModel(models.path("face_unet_full")).session.get_inputs()]
    for seed in range(count):
        rng = np.random.default_rng(seed)
        yield {name: rng.random([n if isinstance(n, int) else 1 for n in shape], np.float32) for name, shape in inputs}


def silent():
    return contextlib.redirect_stdout(io.StringIO())


def onnxruntimes(model, method, folder):
    """onnxruntime's calibrator, its session open, with as many bins as ours."""
    with silent():
        return create_calibrator(
            Path(model),
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=method,
            extra_options={"num_bins": BINS} if method is CalibrationMethod.Entropy else {},
        )


def peak_of_ours(count, lengths, method):
    calibration.collect(models.path("conformer"), conformer_feeds(count, lengths), method=method, bins=BINS)
    return peak()


def peak_of_theirs(count, lengths, method):
    with tempfile.TemporaryDirectory() as folder, silent():
        onnxruntimes(models.path("conformer"), method, folder).collect_data(Reader(conformer_feeds(count, lengths)))
    return peak()


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / MEGABYTE


def in_new_process(function, *arguments):
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def memory():
    print(f"{'peak memory, MB: trained conformer':<46} {'10 feeds':>9} {'100':>9} {'1000':>9}")
    for name, function, lengths, method, counts in (
        ("collect, entropy, 64 frames", peak_of_ours, [64], "entropy", (10, 100, 1000)),
        ("collect, entropy, 40 to 90 frames", peak_of_ours, range(40, 91), "entropy", (10, 100, 1000)),
        ("collect, minmax, 40 to 90 frames", peak_of_ours, range(40, 91), "minmax", (10, 100, 1000)),
        ("onnxruntime's Entropy, 64 frames", peak_of_theirs, [64], CalibrationMethod.Entropy, (10, 100)),
        ("onnxruntime's MinMax, 64 frames", peak_of_theirs, [64], CalibrationMethod.MinMax, (10, 100)),
    ):
        peaks = [in_new_process(function, count, lengths, method) for count in counts]
        expected = "   expected flat" if function is peak_of_ours else ""
        print(f"{name:<46} " + " ".join(f"{value:9.0f}" for value in peaks) + expected, flush=True)


def interleaved(first, second):
    """(seconds of first, of second): two arrays, one entry a round, after a warm-up that is thrown away."""
    times = []
    for _ in range(ROUNDS + 1):
        row = []
        for function in (first, second):
            start = perf_counter()
            function()
            row.append(perf_counter() - start)
        times.append(row)
    return np.array(times[1:]).T


def row(name, first, second, expected):
    a, b = interleaved(first, second)
    low, ratio, high = np.quantile(a / b, [0.05, 0.5, 0.95])
    print(
        f"{name:<46} {1000 * np.median(a):8.0f} {1000 * np.median(b):8.0f} {ratio:7.2f} {low:6.2f} to {high:5.2f}"
        f"   {expected}",
        flush=True,
    )


def times(name, model, feeds):
    """Entropy's histograms over these feeds: counting alone, then together with the model's runs."""
    watched = WatchedModel(model)
    seen = {}
    for feed in feeds:
        for tensor, x in watched.run(feed):
            seen.setdefault(tensor, []).append(x.copy())

    def observers():
        return {tensor: calibration.EntropyObserver(bins=BINS) for tensor in seen}

    def count_ours():
        for tensor, observer in observers().items():
            for x in seen[tensor]:
                observer.observe(x)

    def count_theirs():
        with contextlib.redirect_stdout(io.StringIO()):
            HistogramCollector("entropy", False, BINS, 128, 99.99, "same").collect(seen)

    elements = sum(x.size for arrays in seen.values() for x in arrays) / 1e6
    row(f"{name}: counting {elements:.0f} M numbers", count_ours, count_theirs, "expected at most 1.5")
    watching = observers()
    with tempfile.TemporaryDirectory() as folder:
        calibrator = onnxruntimes(model, CalibrationMethod.Entropy, folder)

        def run_ours():
            for feed in feeds:
                for tensor, x in watched.run(feed):
                    watching[tensor].observe(x)

        def run_theirs():
            with silent():
                calibrator.collect_data(Reader(feeds))

        row(f"{name}: running and counting {len(feeds)} feeds", run_ours, run_theirs, "expected at most 1.5")


def main():
    memory()  # first: a new process inherits the peak of the one that starts it
    title = f"entropy's histograms, {BINS} bins, {ROUNDS} rounds"
    print(f"\n{title:<46} {'ours ms':>8} {'ort ms':>8} {'ratio':>7} {'5 to 95 %':>15}")
    times("conformer, 250 frames", models.path("conformer"), list(conformer_feeds(4, [250])))
    times("face U-Net", models.path("face_unet_full"), list(face_unet_feeds(2)))


if __name__ == "__main__":
    main()
