"""Speed and size of the recipes beside the calls that one would write by hand: the README's tables, and its picture.

python -m tests.bench.bench_recipes        a quiet machine, please: nothing else should run

Writes .artifacts/bench/recipes.md and .png, and .github/story.png; prints the first. Exits with an error where a bar is
missed on a machine whose card shows u8 x s8 above 3 times float32; elsewhere the bars are printed only.
"""

import logging
import sys
import tempfile
from pathlib import Path

import numpy as np
from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static

from qlab import calibration, graph, machine, measure, models, recipes
from qlab.course.lessons import n00
from qlab.measure.compare import speedup_interval
from qlab.measure.profile import ledger, profile_models

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS, STORY = ROOT / ".artifacts" / "bench", ROOT / ".github" / "story.png"
PRODUCTS = ("convolution", "matrix product", "other product")  # families of a Ledger
TYPES = {"QUInt8": QuantType.QUInt8, "QInt8": QuantType.QInt8}
# What the article measured, by its own table: fp32 milliseconds over int8 milliseconds, CPU and threads unknown.
ARTICLE = {
    "Transformer, dynamic QUInt8": 630.59 / 878.31,
    "CNN, dynamic QUInt8": 59.11 / 37.03,
    "CNN, static S8S8": 59.11 / 38.64,
}


def speech_reader():
    """Noise of four lengths, none of them the one that is timed."""
    rng = np.random.default_rng(7)
    for frames in (200, 240, 280, 320):
        speech = rng.standard_normal((1, frames, 80)).astype(np.float32)
        yield {"speech": speech, "speech_lengths": np.array([frames], np.int64)}


def face_reader():
    rng = np.random.default_rng(7)
    for _ in range(4):
        shapes = {name: array.shape for name, array in models.example_feed("face_unet_full").items()}
        yield {name: rng.random(shape, np.float32) for name, shape in shapes.items()}


def by_hand_static(model, folder, reader, activations="QUInt8", weights="QInt8", per_channel=True):
    """One quantize_static call on the pre-processed model, as onnxruntime's documentation advises."""
    prepared, cache = recipes.prepare(model, folder / "prepared.onnx"), folder / "ranges.json"
    calibration.collect(prepared, reader).save(cache)
    path = folder / f"static-{activations}-{weights}-{per_channel}.onnx"
    types = {"activation_type": TYPES[activations], "weight_type": TYPES[weights]}
    quantize_static(
        prepared,
        path,
        None,
        calibration_cache_path=cache,
        quant_format=QuantFormat.QDQ,
        per_channel=per_channel,
        **types,
    )
    return path


def limit(fp32, recipe, feed):
    """Where both files' time goes, as Markdown, and how fast the recipe's would be if only its products took any."""
    profiles = profile_models({"fp32": fp32, "recipe": recipe}, feed)
    spent = ledger(*profiles.values())
    head, *rows = spent.table("int8")
    yield f"| {' | '.join(head)} |"
    yield f"|---|{'---:|' * (len(head) - 1)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    products = [line for line in spent.lines if line.family in PRODUCTS]
    before, after = (sum(getattr(line, name) for line in products) for name in ("fp32_ms", "quantized_ms"))
    yield ""
    yield (
        f"The products became {before / after:.2f} times as fast. If nothing else took time, the whole would be "
        f"{spent.total.fp32_ms / after:.2f} times as fast as fp32: the limit of anything done beside them."
    )


def conformer(folder):
    """The Comparison of all conformers, {bar: (ratio or difference, what is wanted)}, and the limit of the recipe."""
    model, paths = models.path("conformer_full"), {}
    paths["fp32"] = model
    for operators in (None, ["MatMul"]):
        for name, dtype in TYPES.items():
            label = f"dynamic, {'default operators' if operators is None else 'MatMul only'}, {name}"
            paths[label] = folder / f"dynamic-{len(paths)}.onnx"
            quantize_dynamic(model, paths[label], op_types_to_quantize=operators, weight_type=dtype)
    paths["static, U8S8 per channel"] = by_hand_static(model, folder, speech_reader())
    paths["recipes.dynamic"] = recipes.dynamic(model, folder / "dynamic.onnx").path
    paths["recipes.hybrid"] = recipes.hybrid(model, folder / "hybrid.onnx", speech_reader()).path
    feed = models.example_feed("conformer_full", frames=250)
    comparison = measure.compare(paths, feed, rounds=30)
    rows = {row.name: row for row in comparison.rows}
    times, hybrid = comparison.times_ms, rows["recipes.hybrid"]
    best = min((label for label in rows if label.startswith("dynamic,")), key=lambda label: rows[label].median_ms)
    static = rows["static, U8S8 per channel"]
    against_best = speedup_interval(times[best], times[hybrid.name])
    against_static = speedup_interval(times[static.name], times[hybrid.name])
    bars = [
        ("hybrid over fp32", hybrid.speedup, 2.7),
        (f"hybrid over the best dynamic call ({best})", against_best[0], 1.2),
        ("hybrid over static, upper end of the interval", against_static[2], 1.0),
        ("dB of hybrid above static", hybrid.sqnr_db - static.sqnr_db, 6.0),
    ]
    return comparison, bars, list(limit(model, paths["recipes.hybrid"], feed))


def face(folder):
    """The Comparison of the audio+face U-Nets, the bars (speed, all convolutions fused), the limit of the recipe."""
    model = models.path("face_unet_full")
    static = recipes.static(model, folder / "face.onnx", face_reader())
    quantize_dynamic(model, folder / "face-dynamic.onnx", weight_type=QuantType.QUInt8)
    paths = {
        "fp32": model,
        "dynamic, default operators, QUInt8": folder / "face-dynamic.onnx",
        "static, S8S8 per tensor": by_hand_static(model, folder, face_reader(), "QInt8", per_channel=False),
        "static, S8S8 per channel": by_hand_static(model, folder, face_reader(), "QInt8"),
        "static, U8U8 per channel": recipes.static(
            model, folder / "u8u8.onnx", face_reader(), activation_dtype="uint8", weight_dtype="uint8"
        ).path,
        "recipes.static": static.path,
    }
    feed = models.example_feed("face_unet_full")
    comparison = measure.compare(paths, feed, rounds=30)
    convolutions = [fate for fate in static.products if fate.op_type == "Conv"]
    fused = sum(count for (_, name), count in graph.census(static.path).integer.items() if name == "QLinearConv")
    bars = [
        ("static over fp32", comparison.rows[-1].speedup, 2.3),
        (f"share of {len(convolutions)} convolutions fused", fused / len(convolutions), 1.0),
    ]
    return comparison, bars, list(limit(model, static.path, feed))


def story(speech, picture):
    """The README's picture: the article's speed-ups, those of its settings on this machine, and the recipes'."""
    speech, picture = (
        {row.name: (row.speedup, row.speedup_low, row.speedup_high) for row in comparison.rows}
        for comparison in (speech, picture)
    )
    here = [
        speech["dynamic, default operators, QUInt8"],
        picture["dynamic, default operators, QUInt8"],
        picture["static, S8S8 per tensor"],
    ]
    right = dict(zip(ARTICLE, here, strict=True)) | {
        "Transformer, recipes.hybrid": speech["recipes.hybrid"],
        "CNN, recipes.static": picture["recipes.static"],
    }
    title = "int8 against fp32: the article's settings, and recipes made for speed"
    return n00.slope_chart(ARTICLE, right, title=title, right_label=machine.card().name)


def speed_table(comparison):
    yield "| model | MB | ms | speed-up (95 %) | SQNR dB | verdict |"
    yield "|---|---:|---:|---:|---:|---|"
    for row in comparison.rows:
        quality = "" if row.is_reference else f"{row.sqnr_db:.1f}"
        speed = "1" if row.is_reference else f"{row.speedup:.2f} ({row.interval})"
        verdict = "reference" if row.is_reference else row.verdict
        yield f"| {row.name} | {row.size_mb:.1f} | {row.median_ms:.1f} | {speed} | {quality} | {verdict} |"


def main():
    logging.disable(logging.WARNING)  # the calls by hand would advise what is done already
    card = machine.card()
    with tempfile.TemporaryDirectory(dir=machine.cache_folder(), prefix="bench-") as name:
        folder = Path(name)
        speech, speech_bars, speech_limit = conformer(folder)
        picture, picture_bars, picture_limit = face(folder)
    bars = [*speech_bars, *picture_bars]
    text = "\n".join(
        [
            "```", repr(card), "```", "",
            "Conformer, 250 frames, one thread, random weights:", "", *speed_table(speech), "",
            "Where recipes.hybrid spends its time:", "", *speech_limit, "",
            "Audio+face U-Net, one thread, random weights:", "", *speed_table(picture), "",
            "Where recipes.static spends its time:", "", *picture_limit, "",
            *(f"- {what}: {value:.2f}, wanted {least} or more" for what, value, least in bars), "",
        ]
    )  # fmt: skip
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    (ARTIFACTS / "recipes.md").write_text(text, encoding="utf-8")
    speech.plot().savefig(ARTIFACTS / "recipes.png")
    STORY.parent.mkdir(exist_ok=True)
    story(speech, picture).savefig(STORY)
    print(text)
    missed = [what for what, value, least in bars if value < least]
    if missed and (card.speed["u8s8"] or 0) > 3:
        sys.exit(f"missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
