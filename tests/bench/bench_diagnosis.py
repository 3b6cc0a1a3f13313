"""Whether the diagnosis of the article's settings adds up, and how near the cost model comes.

python -m tests.bench.bench_diagnosis        a quiet machine, please: nothing else should run

Writes .artifacts/bench/diagnosis.md and prints it. Exits with an error where the findings cost more or less than the
recommended model saves, by more than a fifth.
"""

import logging
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from onnxruntime.quantization import quantize_dynamic
from tqdm import tqdm

from qlab import machine, measure, models, recipes
from qlab.measure.profile import profile_models
from tests.bench.bench_recipes import ARTIFACTS, TYPES, by_hand_static, face_reader, speech_reader

MOST = 0.2  # how far the costs may be from the saving, in the median of the sittings
SITTINGS, ROUNDS = 5, 8
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


@dataclass(frozen=True)
class Sums:
    """Milliseconds [sittings, 2]: what the findings cost, and what the recommended model saved in the same rounds."""

    pairs: np.ndarray

    @property
    def off(self):
        """Median, least and most of how far the sums are from what was measured, as a share of it."""
        shares = self.pairs[:, 0] / self.pairs[:, 1] - 1
        return float(np.median(shares)), float(shares.min()), float(shares.max())

    def __str__(self):
        (total, measured), off = np.median(self.pairs, axis=0), [f"{100 * share:+.0f}" for share in self.off]
        return f"{total:.1f} | {measured:.1f} | {off[0]} % ({off[1]} to {off[2]})"


def diagnosed(name, path, recommended):
    """({code: ms that the finding costs, None where it costs accuracy}, Sums) of a model of the article.

    The three models are profiled and timed in turns, in the same rounds: minutes apart, this is another machine.
    """
    fp32, feed = models.path(name), models.example_feed(name)
    examined = measure.examine(fp32, path, feed, rounds=1)
    costs, pairs = {}, []
    for _ in range(SITTINGS):
        profiles = profile_models({"fp32": fp32, "int8": path, "recommended": recommended}, feed, rounds=ROUNDS)
        findings = measure.findings_of(replace(examined, fp32=profiles["fp32"], quantized=profiles["int8"]))
        pairs.append((findings.cost_ms, profiles["int8"].total_ms - profiles["recommended"].total_ms))
        for finding in findings:
            costs.setdefault(finding.code, []).append(finding.cost_ms)
    found = {code: None if None in each else float(np.median(each)) for code, each in costs.items()}
    return found, Sums(np.array(pairs))


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
            f"Medians of {SITTINGS} sittings.",
            "",
            "| model | setting | findings (ms) | add up to ms | int8 - recommended ms | off by (least to most) |",
            "|---|---|---|---:|---:|---:|",
        ]
        for name, setting, path in tqdm(list(article(Path(temporary))), desc="settings"):
            costs, sums = diagnosed(name, path, paths[name][best[name]])
            found = ", ".join(f"{code} ({cost:.3g})" if cost else code for code, cost in costs.items())
            text.append(f"| {name} | {setting} | {found} | {sums} |")
            if abs(sums.off[0]) > MOST:
                missed.append(f"{name}, {setting}: {100 * sums.off[0]:+.0f} %")
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
