"""Whether the diagnosis of the article's settings adds up, and how near the cost model comes.

python -m tests.bench.bench_diagnosis        a quiet machine, please: nothing else should run

Writes .artifacts/bench/diagnosis.md and prints it. Exits with an error where times that should add up differ by more
than a fifth from what compare measured.
"""

import logging
import sys
import tempfile
from pathlib import Path

from onnxruntime.quantization import quantize_dynamic

from qlab import machine, measure, models, recipes
from tests.bench.bench_recipes import ARTIFACTS, TYPES, by_hand_static, face_reader, speech_reader

MOST = 0.2  # how far a sum may be from the measurement
READERS = {"conformer_full": speech_reader, "face_unet_full": face_reader}
RECIPES = {"conformer_full": ("dynamic", "static", "hybrid"), "face_unet_full": ("static",)}


def article(folder):
    """(model, what was done to it, path) of the article's settings, and of the API's default beside them."""
    for name in READERS:
        for label, dtype in TYPES.items():
            path = folder / f"{name}-{label}.onnx"
            quantize_dynamic(models.path(name), path, weight_type=dtype)
            yield name, f"dynamic, {label}", path
    path = by_hand_static(models.path("face_unet_full"), folder, face_reader(), "QInt8", "QInt8")
    yield "face_unet_full", "static, S8S8", path


def made(folder):
    """{model: {recipe: path}} of what the recipes make."""
    paths = {}
    for name, wanted in RECIPES.items():
        for recipe in wanted:
            path = folder / f"{name}-{recipe}.onnx"
            reader = () if recipe == "dynamic" else (READERS[name](),)
            paths.setdefault(name, {})[recipe] = getattr(recipes, recipe)(models.path(name), path, *reader).path
    return paths


def diagnosed(name, path, recommended):
    """What was found, and two times that should agree with what compare measured.

    The profile's milliseconds are those at the comparison's pace: the machine's speed drifts between the two, and fp32,
    which ran in turns with the others both times, says by how much.
    """
    fp32, feed = models.path(name), models.example_feed(name)
    examined = measure.examine(fp32, path, feed)
    findings = measure.findings_of(examined)
    compared = measure.compare({"fp32": fp32, "int8": path, "recommended": recommended}, feed)
    times = {row.name: row.median_ms for row in compared.rows}
    lines = measure.ledger(examined.fp32, examined.quantized)
    pace = times["fp32"] / lines.total.fp32_ms
    return findings, {
        "int8, all lines of the ledger": (pace * lines.total.quantized_ms, times["int8"]),
        "int8 without what the findings cost": (
            pace * (lines.total.quantized_ms - findings.cost_ms),
            times["recommended"],
        ),
    }


def predicted(paths):
    """Lines of the second table: what the cost model said, and what compare measured."""
    for name, recipes_made in paths.items():
        feed = models.example_feed(name)
        compared = measure.compare({"fp32": models.path(name)} | recipes_made, feed)
        for row in compared.rows[1:]:
            prediction = measure.predict(models.path(name), feed, row.name)
            yield f"| {name} | {row.name} | {prediction.speedup:.2f} | {row.speedup:.2f} ({row.interval}) |"


def main():
    logging.disable(logging.WARNING)  # the calls by hand would advise what is done already
    missed, text = [], ["```", repr(machine.card()), "```", ""]
    with tempfile.TemporaryDirectory(dir=machine.cache_folder(), prefix="bench-") as temporary:
        paths = made(Path(temporary))
        best = {"conformer_full": "hybrid", "face_unet_full": "static"}
        text += [
            "| model | setting | findings (ms) | what | adds up to ms | measured ms |",
            "|---|---|---|---|---:|---:|",
        ]
        for name, setting, path in article(Path(temporary)):
            findings, sums = diagnosed(name, path, paths[name][best[name]])
            found = ", ".join(f"{one.code} ({one.cost_ms:.3g})" if one.cost_ms else one.code for one in findings)
            for what, (total, measured) in sums.items():
                text.append(f"| {name} | {setting} | {found} | {what} | {total:.1f} | {measured:.1f} |")
                if abs(total / measured - 1) > MOST:
                    missed.append(f"{name}, {setting}: {what}, {total:.1f} of {measured:.1f} ms")
        text += [
            "",
            "| model | recipe | predicted speed-up | measured (95 %) |",
            "|---|---|---:|---:|",
            *predicted(paths),
            "",
        ]
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    (ARTIFACTS / "diagnosis.md").write_text("\n".join(text), encoding="utf-8")
    print("\n".join(text))
    if missed:
        sys.exit(f"more than {100 * MOST:.0f} % off: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
