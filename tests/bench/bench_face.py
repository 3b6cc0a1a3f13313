"""The talking face, fp32 beside int8: size, speed, and what the picture loses. The README's table, and its strip.

python -m tests.bench.bench_face        a quiet machine, please: nothing else should run

Writes .artifacts/bench/face.md, face.png (one sentence, moment by moment) and face.gif (the same, moving), and prints
the first. Exits with an error where a bar is missed; how fast it must be depends on the machine card.
"""

import logging
import sys
import tempfile
from pathlib import Path

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from qlab import graph, machine, measure, models, recipes
from qlab.course import plots
from qlab.models.face import MOUTH
from qlab.runtime import open_session

ARTIFACTS = Path(__file__).resolve().parents[2] / ".artifacts" / "bench"
ARTICLE = "article: static S8S8"
# Calibrated on the very first frame alone, at which nobody speaks yet.
FIRST, ARTICLE_FIRST = "recipes.static, first frame", "article, first frame"
SHOWN = ("fp32", "recipes.static", ARTICLE_FIRST)


class Reader(CalibrationDataReader):
    """The article's reader: two inputs, a feed at a time."""

    def __init__(self, feeds):
        self.feeds = iter(feeds)

    def get_next(self):
        return next(self.feeds, None)


def variants(folder):
    """{name: path} of fp32 and of the ways to quantize it."""
    fp32, feeds = models.path("face"), [frame.feed for frame in models.face_frames("calibration")]
    quint8, qint8 = QuantType.QUInt8, QuantType.QInt8

    def by_hand(name, feeds=feeds, activations=qint8, **options):
        path = folder / f"{name}.onnx"
        types = {"activation_type": activations, "weight_type": qint8}
        quantize_static(fp32, path, Reader(feeds), quant_format=QuantFormat.QDQ, **types, **options)
        return path

    return {
        "fp32": fp32,
        "recipes.static": recipes.static(fp32, folder / "static.onnx", feeds).path,
        ARTICLE: by_hand("article"),
        "static S8S8, per channel": by_hand("s8s8", per_channel=True),
        "static U8S8, per tensor": by_hand("u8s8", activations=quint8),
        FIRST: recipes.static(fp32, folder / "first.onnx", feeds[:1]).path,
        ARTICLE_FIRST: by_hand("article-first", feeds[:1]),
    }


def painted(path, frames):
    """float32 [n, 3, 96, 96]: what the network paints for each frame."""
    session = open_session(path)
    return np.concatenate([session.run(None, frame.feed)[0] for frame in frames])


def people(frames):
    """int [n]: whose frame it is. Frames of one person resemble each other: a bootstrap draws people."""
    names = [id(frame.sentence) for frame in frames]
    return np.unique(names, return_inverse=True)[1]


def rows(paths, pictures, frames, comparison):
    """A row of the table for each variant."""
    truth, whose = np.concatenate([frame.truth for frame in frames]), people(frames)
    opening = models.mouth_opening(truth)
    errors = {
        name: np.bincount(whose, ((painted - truth)[(..., *MOUTH)] ** 2).mean(axis=(1, 2, 3)))
        for name, painted in pictures.items()
    }
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(errors["fp32"]), size=(5000, len(errors["fp32"])))
    for row in comparison.rows:
        lost = 10 * np.log10(errors[row.name] / errors["fp32"])
        pooled = 10 * np.log10(errors[row.name].sum() / errors["fp32"].sum())
        of_draws = 10 * np.log10(errors[row.name][drawn].sum(axis=1) / errors["fp32"][drawn].sum(axis=1))
        low, high = np.quantile(of_draws, (0.025, 0.975))
        yield {
            "name": row.name, "mb": row.size_mb, "ms": row.median_ms, "speedup": row.speedup,
            "interval": "" if row.is_reference else row.interval, "psnr": models.mouth_psnr(truth, pictures[row.name]),
            "lost": pooled, "low": low, "high": high, "worst": lost.max(),
            "opening": np.corrcoef(opening, models.mouth_opening(pictures[row.name]))[0, 1],
            "fused": fused(paths[row.name]),
        }  # fmt: skip


def fused(path):
    """How many convolutions compute on integers in the graph that ran, of how many."""
    census = graph.census(path)
    integer = sum(count for (_, name), count in census.integer.items() if "Conv" in name)
    return integer, integer + sum(count for (_, name), count in census.float.items() if "Conv" in name)


def table(found):
    yield "| model | MB | ms | speed-up (95 %) | convolutions on integers | mouth PSNR dB | lost dB (95 %) | opening |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for row in found:
        speed = f"{row['speedup']:.2f} ({row['interval']})" if row["interval"] else "1"
        lost = f"{row['lost']:.2f} ({row['low']:.2f} to {row['high']:.2f})" if row["interval"] else ""
        yield (
            f"| {row['name']} | {row['mb']:.1f} | {row['ms']:.1f} | {speed} | {row['fused'][0]} of {row['fused'][1]} "
            f"| {row['psnr']:.2f} | {lost} | {row['opening']:.3f} |"
        )


def bars(found, card):
    """(what, value, least) that a quiet machine must reach; the speed by the pair that the card knows to be fast."""
    static = next(row for row in found if row["name"] == "recipes.static")
    pair = card.speed["u8s8"] or 0
    yield "share of convolutions on integers, recipes.static", static["fused"][0] / static["fused"][1], 1.0
    yield "dB of the mouth that recipes.static may lose, less what it loses", 0.3 - static["lost"], 0.0
    if pair > 1.8:
        yield "recipes.static over fp32", static["speedup"], 2.0 if pair > 3 else 1.5
    first = next(row for row in found if row["name"] == FIRST)
    yield "dB that calibration on the first frame alone costs", first["lost"], 1.0


def one_frame(folder, frames):
    """dB of the mouth that calibration on one frame costs, for eight frames: it depends on which."""
    fp32, truth = models.path("face"), np.concatenate([frame.truth for frame in frames])
    whole = models.mouth_psnr(truth, painted(fp32, frames))
    for frame in models.face_frames("calibration")[::28]:
        path = recipes.static(fp32, folder / "one.onnx", [frame.feed]).path
        yield whole - models.mouth_psnr(truth, painted(path, frames))


def show(frames, pictures):
    """The sentence that suffers most, as a strip of mouths and as a film."""
    truth, whose = np.concatenate([frame.truth for frame in frames]), people(frames)
    fp32, worst = (pictures[name] for name in (SHOWN[0], SHOWN[-1]))
    lost = [models.mouth_psnr(fp32[whose == one], worst[whose == one]) for one in range(whose.max() + 1)]
    one = whose == np.argmin(lost)
    films = {"truth": truth[one], **{name: pictures[name][one] for name in SHOWN}}
    mouths = {name: film[..., 44:92, 22:74] for name, film in films.items()}
    opening = models.mouth_opening(truth)
    follows = [np.corrcoef(opening, models.mouth_opening(picture))[0, 1] for picture in (fp32, worst)]
    title = "Calibrated on the first frame alone: its opening follows the truth at {1:.2f}, not {0:.2f}"
    plots.film_strip(mouths, title=title.format(*follows)).savefig(ARTIFACTS / "face.png")
    plots.Film(films, frames[int(np.argmax(one))].sentence).save(ARTIFACTS / "face.gif")


def main():
    logging.disable(logging.WARNING)  # the calls by hand would advise to prepare the model, which the article does not
    card, frames = machine.card(), models.face_frames("test")
    with tempfile.TemporaryDirectory(dir=machine.cache_folder(), prefix="bench-") as name:
        paths = variants(Path(name))
        comparison = measure.compare(paths, frames[20].feed, rounds=40)
        pictures = {variant: painted(path, frames) for variant, path in paths.items()}
        found = list(rows(paths, pictures, frames, comparison))
        lost = [f"{decibels:.2f}" for decibels in sorted(one_frame(Path(name), frames[::3]))]
    wanted = list(bars(found, card))
    alone = f"Calibrated on one frame, eight tried, recipes.static loses {', '.join(lost)} dB."
    lines = ["```", repr(card), "```", "", *table(found), "", alone, ""]
    text = "\n".join([*lines, *(f"- {what}: {value:.2f}, wanted {least} or more" for what, value, least in wanted), ""])
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    (ARTIFACTS / "face.md").write_text(text, encoding="utf-8")
    print(text)
    show(frames, pictures)
    if missed := [what for what, value, least in wanted if value < least]:
        sys.exit(f"missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
