"""Weights of 2 to 8 bits in blocks: their speed by rows, GPTQ beside rounding on every layer, and words gone wrong.

python -m tests.bench.bench_weight_only [--rounds 30] [--sentences 1000]

The speed wants a quiet machine; the rest takes minutes, whatever runs beside it. Writes
.artifacts/bench/weight_only.md and prints it. Exits with an error where GPTQ, at 4 bits in blocks of 128, keeps less of
a layer's output than rounding on sentences that it was not calibrated on.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from qlab import graph, machine, measure, models, recipes
from qlab.calibration.hessians import hessians
from qlab.graph.editing import Weights, as_products
from qlab.measure.compare import speedup_interval
from qlab.numerics import blockwise
from qlab.numerics.metrics import paired_bootstrap
from qlab.runtime import bar, open_session

ARTIFACTS = Path(__file__).resolve().parents[2] / ".artifacts" / "bench"
ROWS = (1, 8, 64, 250)
FRAMES_A_ROW = 4  # the conformer's first two convolutions halve the frames, and lose 3 at the ends
LEVELS = {"clean": None, "10 dB": 10, "5 dB": 5, "0 dB": 0}
METHODS, WIDTHS = ("rtn", "hqq", "gptq"), (4, 3, 2)
BLOCKS = {"block_size": 32, "symmetric": False}  # of the quality table


def feeds_of(split, most):
    return [models.feed(utterance.samples) for utterance in models.utterances(split)[:most]]


def speed(folder, rounds):
    """The lines of a table: milliseconds of the full-size conformer for each number of rows, and int4 beside int8."""
    model = models.path("conformer_full")
    paths = {"fp32": model, "int8": recipes.dynamic(model, folder / "int8.onnx").path}
    for level in (4, 0):
        made = recipes.weight_only(model, folder / f"int4-{level}.onnx", accuracy_level=level)
        paths[f"int4, level {level}"] = made.path
    paths["8 bits in blocks"] = recipes.weight_only(model, folder / "8.onnx", bits=8).path
    yield f"| rows | {' | '.join(f'{name}: ms' for name in paths)} | int4 over fp32 | int4 over int8 |"
    yield f"|---:|{'---:|' * (len(paths) + 2)}"
    for rows in ROWS:
        feed = models.example_feed("conformer_full", frames=FRAMES_A_ROW * rows + 3)
        comparison = measure.compare(paths, feed, rounds=rounds)
        times = comparison.times_ms
        against = [
            "{:.2f} ({:.2f} to {:.2f})".format(*speedup_interval(times[name], times["int4, level 4"]))
            for name in ("fp32", "int8")
        ]
        yield f"| {rows} | {' | '.join(f'{row.median_ms:.1f}' for row in comparison.rows)} | {' | '.join(against)} |"


def layers(folder, sentences):
    """{name of a product: dB that GPTQ keeps more than rounding of its output on test sentences}, for every matrix."""
    prepared = graph.opened(recipes.prepare(models.path("conformer"), folder / "prepared.onnx"))
    model = prepared.copy(weights=True)
    as_products(model)
    weights = Weights(model, folder)
    nodes = [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in weights]
    names = sorted({node.input[0] for node in nodes})
    session = prepared.unoptimized(model, names)
    seen, unseen = (
        hessians(session, names, feeds_of(split, sentences), "conformer") for split in ("calibration", "test")
    )
    gains = {}
    for node in bar(nodes, "layers"):
        w, h = weights[node.input[1]].T, unseen[node.input[0]]
        by_gptq = blockwise.gptq(w, seen[node.input[0]], block_size=128)
        errors = [
            _power(w - codes.dequantize(), h) for codes in (blockwise.round_to_nearest(w, block_size=128), by_gptq)
        ]
        gains[node.name] = 10 * np.log10(errors[0] / errors[1])
    return gains


def _power(weights, h):
    """The sum of squares of x weights^T over the rows x whose Hessian X^T X is h."""
    return float(np.sum((weights.astype(np.float64) @ h) * weights))


def quality(folder, sentences):
    """The lines of a table: words wrong in noise for each method and width, beside fp32 with paired intervals."""
    fp32, reader = models.path("conformer"), feeds_of("calibration", sentences)
    sessions = {"fp32": open_session(fp32)}
    for bits in WIDTHS:
        for method in METHODS:
            made = recipes.weight_only(fp32, folder / "q.onnx", reader, bits=bits, method=method, **BLOCKS)
            sessions[f"{bits} bits, {method}"] = open_session(made.path.read_bytes())
    yield f"| words wrong | {' | '.join(LEVELS)} |"
    yield f"|---|{'---:|' * len(LEVELS)}"
    cells = {name: [] for name in sessions}
    for noise_db in bar(LEVELS.values(), "listening"):
        spoken = models.utterances("test", noise_db=noise_db)[:sentences]
        texts = [utterance.text for utterance in spoken]
        counted = {
            name: models.word_errors(texts, models.transcribe(session, spoken)) for name, session in sessions.items()
        }
        reference, words = counted["fp32"]
        for name, (wrong, _) in counted.items():
            lost = paired_bootstrap(reference, wrong, words)
            cells[name].append(
                f"{100 * np.sum(wrong) / np.sum(words):.2f} %"
                if name == "fp32"
                else f"{100 * lost.difference:+.2f} ({100 * lost.low:+.2f} to {100 * lost.high:+.2f})"
            )
    for name, found in cells.items():
        yield f"| {name} | {' | '.join(found)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--sentences", type=int, default=1000, help="of each split, at most")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=machine.cache_folder(), prefix="bench-") as name:
        folder = Path(name)
        timed = list(speed(folder, asked.rounds))
        gains = layers(folder, asked.sentences)
        heard = list(quality(folder, asked.sentences))
    low, middle, high = np.quantile(list(gains.values()), [0, 0.5, 1])
    worst = min(gains, key=gains.get)
    spoken = len(models.utterances("test")[: asked.sentences])
    text = "\n".join(
        [
            "```", repr(machine.card()), "```", "",
            f"Full-size conformer, one thread, random weights, {asked.rounds} rounds (95 % intervals):", "",
            *timed, "",
            "4 bits in blocks of 128: dB that GPTQ keeps more than rounding of a layer's output, on sentences that it",
            f"was not calibrated on, least / median / most of the trained conformer's {len(gains)} matrices: "
            f"{low:+.1f} / {middle:+.1f} / {high:+.1f}; least in {worst}.", "",
            f"Words of {spoken} test sentences, blocks of 32 with zero points, accuracy level 4; points more than fp32",
            "(95 %, paired bootstrap):", "",
            *heard, "",
        ]
    )  # fmt: skip
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    (ARTIFACTS / "weight_only.md").write_text(text, encoding="utf-8")
    print(text)
    if low <= 0:
        sys.exit(f"missed: GPTQ keeps less than rounding of {worst}")


if __name__ == "__main__":
    main()
