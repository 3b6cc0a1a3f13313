"""Notebook 13, the capstone: three models, each from a package if it is there or made from a seed, and the checks.

The models come first, then the pictures, the network that streams, and the checks.
"""

import argparse
import contextlib
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
from onnx import helper, numpy_helper, version_converter
from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static

from qlab import graph, machine, models, palette, sqnr_db
from qlab.course.expect import call, expect_array, expect_number
from qlab.course.lessons import exercise, folder, words
from qlab.course.lessons.common import Feeds, Table, ends_of, in_haste, linear, watching
from qlab.course.plots.schematic import Schematic
from qlab.course.show import Almost, NotYet, brief, error_text, kind
from qlab.doctor import add_command
from qlab.numerics.metrics import Interval, paired_bootstrap
from qlab.palette import INK, styled
from qlab.recipes.quantizers import captured_logs
from qlab.runtime import open_session

PACKAGES = {
    "kinds": ("magika", "model.onnx"),
    "reader": ("rapidocr-onnxruntime", "rec_infer.onnx"),
    "clean": ("speechmos", "/dnsmos_models/sig_bak_ovr.onnx"),
}
FRAMES, MELS = 160, 80
INT4_OPSET = 21


@dataclass(frozen=True)
class Case:
    """A model, and what it takes to judge it.

    path, source      the fp32 file, and where it comes from, in words
    calibration       feeds that recipes may see
    feeds, truths     feeds that they may not, and what is right for each
    errors            a function of (session, feeds, truths) -> (errors, counts), a number each for every feed
    """

    name: str
    path: Path
    source: str
    calibration: list
    feeds: list
    truths: list
    errors: Callable

    @property
    def is_stand_in(self):
        """Whether its package is missing, and a network from a seed stands here."""
        return self.source.startswith("stand-in")

    def judged(self, model):
        """(errors, counts) of a path or bytes on the feeds that no recipe saw."""
        return self.errors(open_session(model), self.feeds, self.truths)

    def against(self, model, reference=None):
        """Interval of the error rate of `model` minus that of fp32, or of `reference`: the same feeds for both."""
        (before, counts), (after, _) = self.judged(reference or self.path), self.judged(model)
        return paired_bootstrap(before, after, counts, resamples=2000)


def carried(name):
    """(path, package, version) of the model inside the package that carries it, or None: nothing of it is imported."""
    package, ending = PACKAGES[name]
    try:
        found = distribution(package)
    except PackageNotFoundError:
        return None
    paths = [Path(file.locate()) for file in found.files or () if f"/{file}".endswith(ending)]
    return next(((path, package, found.version) for path in paths if path.is_file()), None)


def _from(name):
    """(path or None, source in words) of a case's model."""
    if found := carried(name):
        path, package, version = found
        return path, f"{package} {version}"
    return None, f"stand-in, made from a seed ({PACKAGES[name][0]} is not installed)"


def parsed(text, held):
    """An ONNX model of its text and its tensors, {name: array}; each node bears the name of its first output."""
    model = onnx.parser.parse_model(text)
    tensors = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in held.items()]
    model.graph.initializer.extend(tensors)
    for node in model.graph.node:
        node.name = node.output[0]
    return model


def ridge(features, wanted, strength):
    """(weights, bias), float32, of the linear map from features to what is wanted; strength: of the pull to zero."""
    mean, middle = features.mean(axis=0), wanted.mean(axis=0)
    x = (features - mean).astype(np.float64)
    pull = strength * np.trace(x.T @ x) / x.shape[1] * np.eye(x.shape[1])
    weights = np.linalg.solve(x.T @ x + pull, x.T @ (wanted - middle))
    return weights.astype(np.float32), (middle - mean @ weights).astype(np.float32)


def _saved(model, name):
    path = folder("13") / f"{name}.onnx"
    onnx.save(model, path)
    return path


def _runs(model, feeds):
    session = open_session(model.SerializeToString())
    return [session.run(None, feed)[0] for feed in feeds]


# ---- what kind of file is it?

KINDS = {
    ".py": "python", ".js": "javascript", ".json": "json", ".h": "c", ".css": "css", ".html": "html", ".svg": "svg",
    ".png": "png", ".md": "markdown", ".woff2": "woff2", ".csv": "csv", ".f90": "fortran",
}  # fmt: skip
CARRIERS = (
    "jupyterlab", "matplotlib", "numpy", "onnx", "onnxruntime", "scikit-learn", "tornado", "nbconvert", "jupyter-server"
)  # fmt: skip
BYTES, PADDING, BLOCK = 1024, 256, 4096
_KINDS = """<ir_version: 10, opset_import: ["": 21]>
    kinds (int32[N, 2048] bytes) => (float[N, K] {result}) {{
    letters = Gather(table, bytes) turned = Transpose<perm = [0, 2, 1]>(letters)
    grams = Conv<strides = [2]>(turned, wide, wide_bias) seen = Relu(grams) felt = ReduceMean<keepdims = 0>(seen, axes)
    mixed = MatMul(felt, mix) shifted = Add(mixed, mix_bias) hidden = Relu(shifted) {more} }}"""


def files(most=40):
    """[(path, kind)] of files that came with the course's own packages, at most so many of each kind, in order."""
    found = {}
    for package in CARRIERS:
        with contextlib.suppress(PackageNotFoundError):
            for file in distribution(package).files or ():
                if file.suffix in KINDS:
                    found.setdefault(KINDS[file.suffix], set()).add(Path(file.locate()))
    chosen = []
    for what, paths in sorted(found.items()):
        there = sorted(path for path in paths if path.is_file() and path.stat().st_size > 200)
        chosen += [(path, what) for path in there[:: max(1, len(there) // most)][:most]]
    return chosen


def tokens(path):
    """What the network sees of a file: its first and its last 1024 bytes without blanks at the ends, int32 [1, 2048].

    256 fills up a short one. Source: magika's features.
    """
    content = path.read_bytes()
    first, last = content[:BLOCK].lstrip()[:BYTES], content[-BLOCK:].rstrip()[-BYTES:]
    x = np.full(2 * BYTES, PADDING, np.int32)
    x[: len(first)] = np.frombuffer(first, np.uint8)
    x[2 * BYTES - len(last) :] = np.frombuffer(last, np.uint8)
    return x[None]


def wrong_kinds(session, feeds, truths):
    """(1 where the kind is wrong, else 0; a count of 1 each) of a session that tells the kinds of files."""
    told = [int(session.run(None, feed)[0].argmax()) for feed in feeds]
    return (np.array(told) != np.array(truths)).astype(float), np.ones(len(told))


@cache
def kinds():
    """The Case of the network that tells what kind of file it is shown: half of the files teach, half judge."""
    path, source = _from("kinds")
    found = files(16 if in_haste() else 40)
    feeds, labels = [{"bytes": tokens(file)} for file, _ in found], sorted(set(KINDS.values()))
    truths = [labels.index(what) for _, what in found]
    if path is None:
        path = _saved(_learnt_kinds(feeds[::2], truths[::2], len(labels)), "kinds")
    else:
        known = _labels(path)
        truths = [known.index(what) if what in known else -1 for _, what in found]
    return Case("kinds", path, source, feeds[::2][:48], feeds[1::2], truths[1::2], wrong_kinds)


def _labels(path):
    return json.loads((path.parent / "config.min.json").read_text(encoding="utf-8"))["target_labels_space"]


def _learnt_kinds(feeds, truths, count):
    random = np.random.default_rng(131)
    normal = lambda *shape: random.normal(size=shape).astype(np.float32)
    held = {"table": normal(257, 24), "wide": normal(256, 24, 5) / np.float32(11), "wide_bias": normal(256) / 2 - 1,
            "mix": normal(256, 256) / 4, "mix_bias": normal(256) / 3, "axes": np.int64([2])}  # fmt: skip
    held["table"][PADDING] = 0
    features = np.concatenate(_runs(parsed(_KINDS.format(result="hidden", more=""), held), feeds))
    held["out"], held["out_bias"] = ridge(features, np.eye(count)[truths], 1e-2)
    more = "raw = MatMul(hidden, out) scores = Add(raw, out_bias)"
    return parsed(_KINDS.format(result="scores", more=more), held)


# ---- what does the line say?

SYMBOLS = "_0123456789 "  # _: nothing
BLANK, SPACE = SYMBOLS.index("_"), SYMBOLS.index(" ")
_LINE = """<ir_version: 10, opset_import: ["": 21]>
    line (float[N, 1, 8, W] images) => (float[N, K, 1, V] {result}) {{
    seen = Conv<pads = [0, 3, 0, 4]>(images, look, look_bias) felt = Relu(seen) {more} }}"""


def edits(text, other):
    """How many characters must be changed, put in or taken out to make one text of the other."""
    row = list(range(len(other) + 1))
    for i, x in enumerate(text, 1):
        above, row[0] = row[0], i
        for j, y in enumerate(other, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (x != y))
    return row[-1]


def reading(session, feed):
    """The text that a session reads in one line: the best symbol of each column, repetitions merged, blanks dropped."""
    scores = session.run(None, feed)[0]
    if scores.ndim == 4:
        best, symbols = scores[0, :, 0].argmax(axis=0), SYMBOLS
    else:
        known = session.get_modelmeta().custom_metadata_map["character"].splitlines()
        best, symbols = scores[0].argmax(axis=-1), ["_", *known, " "]
    said = "".join(symbols[a] for a, b in zip(best, [0, *best], strict=False) if a != b and a)
    return re.sub(" +", " ", said)


def with_spaces(session, feeds, truths):
    """(wrong characters, characters) of each line, spaces being characters like others."""
    return _character_errors(session, feeds, truths, lambda text: text)


def without_spaces(session, feeds, truths):
    """(wrong characters, characters) of each line, all spaces taken out of both texts."""
    return _character_errors(session, feeds, truths, lambda text: text.replace(" ", ""))


def _character_errors(session, feeds, truths, kept):
    said = [reading(session, feed) for feed in feeds]
    pairs = [(kept(truth), kept(text)) for truth, text in zip(truths, said, strict=True)]
    return np.array([edits(*pair) for pair in pairs], float), np.array([len(truth) for truth, _ in pairs], float)


def _written(images, labels, count, seed, spaced):
    """[(line float32 [1, 1, 8, W], symbol of each column, text)]: digits in a row, with gaps and grain.

    spaced: the share of wide gaps that whoever labelled the lines took for a space.
    """
    random, lines = np.random.default_rng(seed), []
    for _ in range(count):
        parts, marks, text = [np.zeros((8, 4))], [BLANK] * 4, ""
        for _ in range(random.integers(4, 9)):
            at = random.integers(len(images))
            is_wide = random.random() < 0.3
            width = 12 if is_wide else int(random.integers(1, 4))
            parts += [images[at, 0], np.zeros((8, width))]
            marks += [BLANK] * 3 + [SYMBOLS.index(str(labels[at]))] * 2 + [BLANK] * (3 + width)
            if is_wide and random.random() < spaced:
                marks[-9:-3] = [SPACE] * 6
            text += str(labels[at])
        pixels = np.concatenate([*parts, np.zeros((8, 4))], axis=1)
        grain = 0.006 * random.normal(size=pixels.shape)
        lines.append(
            (np.clip(pixels + grain, 0, 1).astype(np.float32)[None, None], np.array(marks + [BLANK] * 4), text)
        )
    return lines


@cache
def reader():
    """The Case of the network that reads a line."""
    path, source = _from("reader")
    return stand_in_reader() if path is None else _packaged_reader(path, source)


@cache
def stand_in_reader(seed=134, lead=-0.018):
    """The Case of the reader that is made from a seed, package or not. lead: see _learnt_reader."""
    source = f"stand-in, made from a seed ({PACKAGES['reader'][0]} is not installed)"
    train_x, train_y, test_x, test_y = models.digit_split()
    train = _written(train_x, train_y, 160, 1, 0.9)
    judged = _written(test_x, test_y, 60 if in_haste() else 100, 2, 0)
    path = _saved(_learnt_reader(train, seed, lead), f"reader.{seed}.{lead}")
    feeds = lambda lines: [{"images": pixels} for pixels, *_ in lines]
    return Case("reader", path, source, feeds(train[:32]), feeds(judged), [text for *_, text in judged], with_spaces)


def _learnt_reader(train, seed, lead):
    """lead: by how much, in the middle of an empty gap, a space's score lies above "nothing" in the median."""
    random = np.random.default_rng(seed)
    held = {"look": random.normal(size=(512, 1, 8, 8)).astype(np.float32) / 4,
            "look_bias": random.normal(size=512).astype(np.float32) / 2}  # fmt: skip
    runs = _runs(parsed(_LINE.format(result="felt", more=""), held), [{"images": pixels} for pixels, *_ in train])
    features = np.concatenate([each[0, :, 0].T for each in runs])
    marks = np.concatenate([marks for _, marks, _ in train])
    weights, bias = ridge(features, np.eye(len(SYMBOLS))[marks], 1e-4)
    empty = (features @ weights + bias)[marks == SPACE]
    bias[SPACE] += np.float32(np.median(empty[:, BLANK] - empty[:, SPACE]) + lead)
    held |= {"tell": weights.T[:, :, None, None], "tell_bias": bias}
    return parsed(_LINE.format(result="scores", more="scores = Conv(felt, tell, tell_bias)"), held)


def _packaged_reader(path, source):
    texts = [each.text for each in models.utterances("test")][:: 16 if in_haste() else 5]
    feeds = [{"x": _drawn(text)} for text in texts]
    seen = [{"x": _drawn(each.text)} for each in models.utterances("calibration")[::6]]
    return Case("reader", path, source, seen, feeds, texts, with_spaces)


def _drawn(text):
    """A line of text as the package's reader wants it: float32 [1, 3, 48, W], -1 to 1, black on white.

    In letters of one width: others are joined, "fi" or "tt" in one shape, and fp32 itself misreads them.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(0.19 * len(text) + 0.3, 0.48), dpi=100)
    figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=20, family="DejaVu Sans Mono")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].astype(np.float32)
    return (pixels / 127.5 - 1).transpose(2, 0, 1)[None]


def gaps(case, *models):
    """By how much a space's score lies above "nothing", for each model, float [n].

    In each column in which these two are the first model's best, so that number i is the same place in all.
    """
    sessions, found = [open_session(model) for model in models], []
    for feed in case.feeds:
        of_each = [session.run(None, feed)[0] for session in sessions]
        of_each = [scores[0, :, 0].T if scores.ndim == 4 else scores[0] for scores in of_each]
        space = SPACE if of_each[0].shape[1] == len(SYMBOLS) else of_each[0].shape[1] - 1
        order = np.argsort(of_each[0], axis=1)[:, -2:]
        either = ((order == BLANK) | (order == space)).all(axis=1)
        found.append([scores[either, space] - scores[either, BLANK] for scores in of_each])
    return [np.concatenate(each) for each in zip(*found, strict=True)]


# ---- how clean is the recording?


def off_by(session, feeds, truths):
    """(by how much each answer is off, in the truths' unit, what all are off by taken out; a count of 1 each).

    A constant that is added to every answer is mended by one subtraction, and tells nothing of which recording is best.
    """
    told = np.array([np.ravel(session.run(None, feed)[0])[-1] for feed in feeds], float)
    off = told - np.array(truths, float)
    return np.abs(off - off.mean()), np.ones(len(told))


@cache
def clean():
    """The Case of the network that tells how clean a recording is: the stand-in, in dB from speech down to noise."""
    path, source = _from("clean")
    if path is not None:
        seen, judged = _noisy("calibration", 4, 3, 144_160), _noisy("test", 4 if in_haste() else 10, 2, 144_160)
        feeds = [{"input_1": samples[None]} for samples, _ in judged]
        session = open_session(path)
        own = [float(session.run(None, feed)[0][0, -1]) for feed in feeds]  # no truth comes with it: fp32's answer
        return Case("clean", path, source, [{"input_1": samples[None]} for samples, _ in seen], feeds, own, off_by)
    train, judged = (
        [({"log_mel": _log_mel(samples)}, level) for samples, level in _noisy(split, count, seed, 25_840)]
        for split, count, seed in (("unseen", 110, 1), ("test", 40 if in_haste() else 80, 2))
    )
    path = _saved(_learnt_clean(*zip(*train, strict=True)), "clean")
    feeds, truths = zip(*judged, strict=True)
    return Case("clean", path, source, [feed for feed, _ in train[::6]], list(feeds), list(truths), off_by)


def _noisy(split, count, seed, length):
    """[(samples float32 [length], how many dB the speech lies above white noise)]."""
    random, said = np.random.default_rng(seed), models.utterances(split)
    found = []
    for each in said[:: max(1, len(said) // count)][:count]:
        level = random.uniform(-5, 20)
        speech = np.resize(each.samples, length).astype(np.float64)
        noise = random.normal(size=length) * np.sqrt(np.mean(speech**2)) * 10 ** (-level / 20)
        found.append((np.clip(speech + noise, -1, 1).astype(np.float32), level))
    return found


def _log_mel(samples):
    return ((models.features(samples)[:FRAMES] - 10) / 6).astype(np.float32)[None, None]


def _learnt_clean(feeds, levels, seed=142):
    """Five convolutions, eight residual blocks, from a seed; a linear readout, learnt."""
    random, width, name, held, body = np.random.default_rng(seed), 24, "log_mel", {"axes": np.int64([2, 3])}, ""

    def conv(reads, gives, size, strides, inputs):
        nonlocal body
        weight = random.normal(size=(width, inputs, 3, 3)) * size * np.sqrt(2 / (9 * inputs))
        held[f"{gives}_w"], held[f"{gives}_b"] = weight.astype(np.float32), random.normal(size=width, scale=0.1)
        held[f"{gives}_b"] = held[f"{gives}_b"].astype(np.float32)
        body += f" {gives} = Conv<pads = [1, 1, 1, 1], strides = {strides}>({reads}, {gives}_w, {gives}_b)"

    for at in range(5):
        conv(name, f"stem{at}", 1, [2, 2], 1 if at == 0 else width)
        body, name = body + f" s{at} = Relu(stem{at})", f"s{at}"
    for at in range(8):
        conv(name, f"first{at}", 1, [1, 1], width)
        body += f" f{at} = Relu(first{at})"
        conv(f"f{at}", f"second{at}", 0.5, [1, 1], width)
        body, name = body + f" sum{at} = Add({name}, second{at}) r{at} = Relu(sum{at})", f"r{at}"
    text = f"""<ir_version: 10, opset_import: ["": 21]> clean (float[N, 1, {FRAMES}, {MELS}] log_mel)
        => (float[N, K] RESULT) {{ {body} felt = ReduceMean<keepdims = 0>({name}, axes) MORE }}"""
    features = np.concatenate(_runs(parsed(text.replace("RESULT", "felt").replace("MORE", ""), held), feeds))
    held["readout"], held["readout_b"] = ridge(features, np.array(levels)[:, None], 1e-4 / len(features))
    more = "raw = MatMul(felt, readout) level = Add(raw, readout_b)"
    return parsed(text.replace("RESULT", "level").replace("MORE", more), held)


# ---- pictures


@styled
def near_ties(before, after, *, title):
    """Space against nothing where one of the two is best: how far apart they are in fp32 and in int8. -> Figure"""
    figure, axes = palette.figure(height=3.2)
    edge = max(0.03, float(np.quantile(np.abs(before), 0.5)))
    bins = np.linspace(-edge, edge, 62)  # 0 in the middle of one: equal codes are a tie, and a tie is no space
    for x, colour, name in ((before, palette.FP32, "fp32"), (after, palette.INTEGER, "int8")):
        axes.hist(np.clip(x, -edge, edge), bins, histtype="step", linewidth=1.8, color=colour, label=name)
    axes.axvline(0, color=palette.ERROR, linewidth=1.2)
    axes.annotate(" right of 0 a space is read", (0, 0.94), xycoords=("data", "axes fraction"), color=palette.ERROR)
    if ties := int(np.sum(after == 0)):
        axes.annotate(f" {ties} on the line in int8: a tie, no space", (0, 0.84), xycoords=("data", "axes fraction"))
    axes.set_xlim(-1.04 * edge, 1.04 * edge if max(before.max(), after.max()) > 0.6 * edge else 0.75 * edge)
    axes.set_xlabel("score of a space minus score of nothing (beyond the edges: at the edge)")
    axes.set_ylabel("columns (log)")
    axes.set_yscale("log")
    axes.legend(loc="center right")
    axes.set_title(title)
    figure.alt = (
        f"{title}. Two histograms of how far a space lies above nothing, with a line at 0. Right of it lie "
        f"{np.sum(before > 0)} columns in fp32 and {np.sum(after > 0)} in int8, on it {np.sum(after == 0)} in int8. "
        f"The median of all {before.size} is {np.median(before):+.4f} in fp32 and {np.median(after):+.4f} in int8."
    )
    return figure


@styled
def staircase(errors, fp32, *, unit, title):
    """The error with so many layers left in float, from none to all; fp32's as a line. -> Figure"""
    figure, axes = palette.figure(height=3.4)
    axes.axhline(fp32, color=palette.FP32, linewidth=1.6, label="fp32")
    axes.step(range(len(errors)), errors, where="mid", color=palette.INTEGER, linewidth=1.8)
    axes.plot(range(len(errors)), errors, "o", color=palette.INTEGER, markersize=5, label="the others in 4 bits")
    axes.set_xlabel("layers left in float, the most rewarding first")
    axes.set_ylabel(unit)
    axes.set_ylim(0, 1.1 * max(*errors, fp32))
    axes.legend()
    axes.set_title(title)
    figure.alt = f"{title}. The error falls from {errors[0]:.3g} to {errors[-1]:.3g}; fp32 has {fp32:.3g}."
    return figure


@styled
def expected(found, *, title, target):
    """{recipe: (speed-up, low, high)} as bars with their range, and the target as a line. -> Figure"""
    figure, axes = palette.figure(height=2.6)
    right = max(target, *(max(middle, high) for middle, _, high in found.values()))  # behind it stand the numbers
    for at, (name, (middle, low, high)) in enumerate(reversed(found.items())):
        axes.barh(at, middle, color=palette.INTEGER, height=0.55, alpha=0.85)
        axes.plot([low, high], [at, at], color=INK, linewidth=2)
        axes.annotate(f"  {middle:.2f} ({low:.2f} to {high:.2f})", (right, at), va="center", color=INK)
        axes.annotate(name, (0, at), (-6, 0), textcoords="offset points", ha="right", va="center", color=INK)
    axes.axvline(1, color=palette.FP32, linewidth=1.6)
    axes.axvline(target, color=palette.ERROR, linewidth=1.4, linestyle="--")
    axes.set_xlim(0, 1.5 * right)
    axes.set_yticks([])
    axes.set_ylabel("recipe", labelpad=48)
    axes.set_xlabel("times as fast as fp32 (grey: fp32; dashed: the target)")
    axes.set_title(title)
    each = ", ".join(f"{name} {middle:.2f} ({low:.2f} to {high:.2f})" for name, (middle, low, high) in found.items())
    figure.alt = f"{title}. Times as fast as fp32: {each}; the target is {target:.2f}."
    return figure


def streams():
    """A network that carries its past: what goes in and out of it for each chunk."""
    s = Schematic(
        20, 5.6, title="What one call gives back is what the next one gets",
        alt="Two calls of one network side by side. Each takes a chunk and two caches, the past's keys and values, and "
        "the last 14 tokens, and gives an output and the two caches of the next call; arrows lead from the first "
        "call's caches into the second.",
    )  # fmt: skip
    for at, number in ((5, 1), (14, 2)):
        network = s.box(at, 2.6, f"network\ncall {number}", width=3.2, height=2.6)
        s.arrow(s.box(at, 5.0, "chunk", kind="activations", width=2.4), network)
        s.arrow(network, s.box(at, 0.4, "output", kind="activations", width=2.4))
    for y, text in ((3.3, "att_cache"), (1.9, "cnn_cache")):
        first = s.box(1.4, y, text, kind="weights", width=2.4)
        s.arrow(first, (3.4, y))
        between = s.box(9.5, y, text, kind="weights", width=2.4)
        s.arrow((6.6, y), between)
        s.arrow(between, (12.4, y))
        s.arrow((15.6, y), s.box(18.2, y, text, kind="weights", width=2.4))
    return s.figure


# ---- a network that streams

KERNEL, WIDTH, HEADS = 15, 144, 4
_STREAM = """<ir_version: 10, opset_import: ["": 21]>
    stream (float[1, T, 144] chunk, float[1, P, 288] att_cache, float[1, 144, 14] cnn_cache)
        => (float[1, T, 144] output, float[1, A, 288] new_att_cache, float[1, 144, 14] new_cnn_cache) {
    calm = LayerNormalization<axis = -1>(chunk, norm_mha_w, norm_mha_b)
    q_raw = MatMul(calm, q_w) q = Add(q_raw, q_b) k_raw = MatMul(calm, k_w) k = Add(k_raw, k_b)
    v_raw = MatMul(calm, v_w) v = Add(v_raw, v_b) kv = Concat<axis = -1>(k, v)
    new_att_cache = Concat<axis = 1>(att_cache, kv)
    keys, values = Split<axis = -1, num_outputs = 2>(new_att_cache)
    q_cut = Reshape(q, heads) q_h = Transpose<perm = [0, 2, 1, 3]>(q_cut)
    k_cut = Reshape(keys, heads) k_h = Transpose<perm = [0, 2, 3, 1]>(k_cut)
    v_cut = Reshape(values, heads) v_h = Transpose<perm = [0, 2, 1, 3]>(v_cut)
    like = MatMul(q_h, k_h) scaled = Mul(like, sixth)
    rows = Shape<start = 1, end = 2>(chunk) columns = Shape<start = 1, end = 2>(new_att_cache)
    past = Sub(columns, rows) diagonal = Add(past, one) first = Squeeze(diagonal)
    square = Concat<axis = 0>(rows, columns) ones = Expand(far, square) later = Trilu<upper = 1>(ones, first)
    seen = Add(scaled, later) share = Softmax<axis = -1>(seen) mix = MatMul(share, v_h)
    mix_t = Transpose<perm = [0, 2, 1, 3]>(mix) joined = Reshape(mix_t, whole)
    out_raw = MatMul(joined, o_w) out = Add(out_raw, o_b) x1 = Add(chunk, out)
    calm2 = LayerNormalization<axis = -1>(x1, norm_conv_w, norm_conv_b) turned = Transpose<perm = [0, 2, 1]>(calm2)
    both = Conv(turned, pw1_w, pw1_b) left, right = Split<axis = 1, num_outputs = 2>(both)
    gate = Sigmoid(right) glu = Mul(left, gate) long = Concat<axis = 2>(cnn_cache, glu)
    new_cnn_cache = Slice(long, last, end, two)
    deep = Conv<group = 144>(long, dw_w, dw_b) s = Sigmoid(deep) silu = Mul(deep, s)
    narrow = Conv(silu, pw2_w, pw2_b) back = Transpose<perm = [0, 2, 1]>(narrow) x2 = Add(x1, back)
    calm3 = LayerNormalization<axis = -1>(x2, norm_ff_w, norm_ff_b)
    up_raw = MatMul(calm3, up_w) up = Add(up_raw, up_b) s3 = Sigmoid(up) silu3 = Mul(up, s3)
    down_raw = MatMul(silu3, down_w) down = Add(down_raw, down_b) half = Mul(down, a_half) output = Add(x2, half) }"""


@cache
def streaming():
    """(path of a streaming conformer block, [tokens float32 [1, T, 144] of a sentence each], the last one of the test).

    The trained weights of the course's first block, in a graph that sees the past alone and takes it as two caches.
    """
    model = onnx.load(models.path("conformer"))
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    own, block = {}, "encoder.encoders.0"
    parts = {"q": "self_attn.linear_q", "k": "self_attn.linear_k", "v": "self_attn.linear_v",
             "o": "self_attn.linear_out", "up": "feed_forward.w_1", "down": "feed_forward.w_2"}  # fmt: skip
    for short, name in parts.items():
        own |= {f"{short}_w": linear(model, f"{block}.{name}").weight, f"{short}_b": held[f"{block}.{name}.bias"]}
    for short, name in (("pw1", "pointwise_conv1"), ("dw", "depthwise_conv"), ("pw2", "pointwise_conv2")):
        own |= {f"{short}_{kind_[0]}": held[f"{block}.conv_module.{name}.{kind_}"] for kind_ in ("weight", "bias")}
    for name in ("norm_mha", "norm_conv", "norm_ff"):
        own |= {f"{name}_{kind_[0]}": held[f"{block}.{name}.{kind_}"] for kind_ in ("weight", "bias")}
    own |= {"heads": np.int64([1, -1, HEADS, WIDTH // HEADS]), "whole": np.int64([1, -1, WIDTH]), "one": np.int64([1]),
            "sixth": np.float32((WIDTH // HEADS) ** -0.5), "far": np.float32(-1e4), "a_half": np.float32(0.5),
            "last": np.int64([1 - KERNEL]), "end": np.int64([2**31]), "two": np.int64([2])}  # fmt: skip
    enters = "mul_72"  # what the subsampling gives the first block
    watch = watching(model, [enters])
    said = models.utterances("calibration")[::12] + models.utterances("test")[1:2]
    tokens = [watch.run([enters], models.feed(each.samples))[0] for each in said]
    return _saved(parsed(_STREAM, own), "streaming"), tokens


def no_past():
    """The caches of a stream that begins: no keys and values, and 14 tokens of zeros before the first."""
    return {"att_cache": np.zeros((1, 0, 2 * WIDTH), np.float32),
            "cnn_cache": np.zeros((1, WIDTH, KERNEL - 1), np.float32)}  # fmt: skip


def whole(session, tokens):
    """The output for all tokens in one call."""
    return session.run(None, {"chunk": tokens, **no_past()})[0]


def stream(session, tokens, size):
    """What stands in mine.stream until 13.4 is passed."""
    parts, caches = [], no_past()
    for start in range(0, tokens.shape[1], size):
        output, att, cnn = session.run(None, {"chunk": tokens[:, start : start + size], **caches})
        parts.append(output)
        caches = {"att_cache": att, "cnn_cache": cnn}
    return np.concatenate(parts, axis=1)


def chunks_seen(path, tokens, size):
    """Feeds as they come while tokens stream by, with the caches that the file at `path` gives."""
    session, caches, feeds = open_session(path), no_past(), []
    for start in range(0, tokens.shape[1], size):
        feeds.append({"chunk": tokens[:, start : start + size], **caches})
        _, att, cnn = session.run(None, feeds[-1])
        caches = {"att_cache": att, "cnn_cache": cnn}
    return feeds


# ---- exercise 13.1: a metric


class Said:
    """A session in which `reading` reads just these texts, as often as it is asked: feed i of `feeds` gives text i."""

    def __init__(self, texts):
        self._texts = list(texts)

    def feeds(self):
        """A feed for each text."""
        return [{"images": np.full((1, 1, 8, 8), at, np.float32)} for at in range(len(self._texts))]

    def run(self, output_names, input_feed, run_options=None):
        text = self._texts[int(input_feed["images"].flat[0])]
        symbols = [symbol for each in text for symbol in (SYMBOLS.index(each), BLANK)] or [BLANK]
        return [np.eye(len(SYMBOLS), dtype=np.float32)[symbols].T[None, :, None]]


def metric(session, feeds, truths):
    """What 13.1 asks for."""
    errors, counts = without_spaces(session, feeds, truths)
    return 1 - errors.sum() / counts.sum()


_TEXTS = {
    "nothing wrong": (["12", "345"], ["12", "345"]),
    "spaces on both sides": (["1 2 3", "456"], ["1 2 3", "4 56"]),
    "a digit wrong": (["12", "34567890"], ["12", "34567891"]),
    "stray spaces": (["12", "345"], ["1 2", "3 4 5"]),
    "a space at the end": (["12", "345"], ["12 ", " 345"]),
    "spaces in the truth": (["1 2", "34 5"], ["12", "3 45"]),
    "a digit missing": (["123", "45"], ["13", "45"]),
    "a digit too many": (["123", "45"], ["1233", "456"]),
    "a short line all wrong": (["7", "123456789"], ["8", "123456789"]),
    "nothing read": (["123", "4"], ["", "4"]),
    "spaces in the truth, and a digit wrong": (["1 2 3"], ["124"]),
    "more to change than there is": (["1", "4"], ["2345", "4"]),
}


@exercise("13.1", "a metric that does not lie", place="character_accuracy", otherwise=metric)
def _(answer):
    for said, (truths, texts) in _TEXTS.items():
        session = Said(texts)
        seen = expect_number(call(answer, session, session.feeds(), list(truths), name="character_accuracy"))
        right = metric(session, session.feeds(), truths)
        if not abs(seen - right) <= 1e-6:
            why = _metric_mistake(seen, truths, texts)
            raise Almost(f"{said}: {truths} read as {texts}: expected {right:.4f}, seen {seen:.4f}{why}")
    return f"{len(_TEXTS)} sets of lines"


def _metric_mistake(seen, truths, texts):
    bare = [(a.replace(" ", ""), b.replace(" ", "")) for a, b in zip(truths, texts, strict=True)]
    share = lambda pairs, length=0: sum(edits(*p) for p in pairs) / max(1, sum(len(p[length]) for p in pairs))
    every = [1 - edits(a, b) / len(a) for a, b in bare]
    known = {
        "this is the error rate; larger must be better": share(bare),
        "spaces still count": 1 - share(list(zip(truths, texts, strict=True))),
        "spaces still count, inside the texts: `.strip()` takes them from the ends only":
            1 - share([(a.strip(), b.strip()) for a, b in zip(truths, texts, strict=True)]),
        "spaces were taken from what was read, not from the truth":
            1 - share([(a, b) for a, (_, b) in zip(truths, bare, strict=True)]),
        "spaces were taken from the truth, not from what was read":
            1 - share([(a, b) for (a, _), b in zip(bare, texts, strict=True)]),
        "this is the mean of the lines' accuracies: a short line then weighs as much as a long one; "
        "add up errors and characters, then divide": np.mean(every),
        "this is the share of whole lines that are right; asked for characters": np.mean([a == b for a, b in bare]),
        "it is divided by the characters read; the truth's are the measure": 1 - share(bare, 1),
        "the spaces of the truths are still counted in what it is divided by":
            1 - sum(edits(*pair) for pair in bare) / sum(map(len, truths)),
        "below 0 is an answer too: a floor hides how much was put in": max(0, 1 - share(bare)),
        "this is in per cent; asked for a share": 100 * (1 - share(bare)),
    }  # fmt: skip
    fits = [why for why, value in known.items() if abs(seen - value) <= 1e-6]
    return f": {fits[0]}" if fits else ""


# ---- exercise 13.2: a regression test

PRODUCTS = ("Conv", "FusedConv", "MatMul", "Gemm", "FusedMatMul", "FusedGemm")


def regression_test(fp32, int8, feeds, least_db=30):
    """What stands in mine.regression_test until 13.2 is passed."""
    before, after = open_session(fp32), open_session(int8)
    shape = lambda values: [(value.name, value.type, value.shape) for value in values]
    for what in ("get_inputs", "get_outputs"):
        was, now = shape(getattr(before, what)()), shape(getattr(after, what)())
        assert was == now, f"{what} changed: {was} became {now}"
    ran = graph.census(int8)
    in_float = [op for _, op in ran.float if op in PRODUCTS]
    assert not in_float, f"in float: {in_float}"
    slow = ran.integer["", "ConvInteger"]
    assert not slow, f"{slow} ConvInteger"
    for feed in feeds:
        for reference, seen in zip(before.run(None, feed), after.run(None, feed), strict=True):
            found = sqnr_db(reference, seen)
            assert found >= least_db, f"SQNR {found:.1f} dB, at least {least_db} wanted"


@cache
def _small():
    """(folder, feeds) of a small network, two int8 files that are good, and what went wrong with others."""
    place, random = folder("13"), np.random.default_rng(135)
    held = {f"w{at}": (random.normal(size=(16, inputs, 3, 3)) / np.sqrt(4.5 * inputs)).astype(np.float32)
            for at, inputs in enumerate((3, 16, 4))}  # fmt: skip
    held |= {"head": random.normal(size=(16, 5)).astype(np.float32), "axes": np.int64([2, 3])}
    text = """<ir_version: 10, opset_import: ["": 21]> small (float[N, 3, 12, 12] pixels) => (float[N, 5] scores) {
        c0 = Conv<pads = [1, 1, 1, 1]>(pixels, w0) r0 = Relu(c0) c1 = Conv<pads = [1, 1, 1, 1]>(r0, w1) r1 = Relu(c1)
        c2 = Conv<pads = [1, 1, 1, 1], group = 4>(r1, w2) r2 = Relu(c2) felt = ReduceMean<keepdims = 0>(r2, axes)
        scores = MatMul(felt, head) }"""
    fp32 = _saved(parsed(text, held), "small")
    feeds = [{"pixels": random.normal(size=(1, 3, 12, 12)).astype(np.float32)} for _ in range(10)]
    types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QUInt8}
    with captured_logs():
        for name, some in (("good", feeds[2:]), ("fallen", [{"pixels": feed["pixels"] / 20} for feed in feeds[2:]])):
            quantize_static(fp32, place / f"small.{name}.onnx", Feeds(some), **types)
        for name, kept in (("floats", ["c1", "c2"]), ("fused", ["c2"]), ("head", ["scores"])):
            quantize_static(fp32, place / f"small.{name}.onnx", Feeds(feeds[2:]), **types, nodes_to_exclude=kept)
        quantize_dynamic(fp32, place / "small.slow.onnx", weight_type=QuantType.QUInt8)
    renamed = onnx.load(place / "small.good.onnx")
    renamed.graph.input[0].name = "images"
    for node in renamed.graph.node:
        for at, name in enumerate(node.input):
            if name == "pixels":
                node.input[at] = "images"
    onnx.save(renamed, place / "small.renamed.onnx")
    onnx.save(_with_second(onnx.load(place / "small.good.onnx"), "Neg"), place / "small.second.onnx")
    single = onnx.load(place / "small.good.onnx")
    for value in (*single.graph.input, *single.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(single, place / "small.single.onnx")
    unfit = onnx.load(place / "small.good.onnx")
    unfit.graph.initializer.append(numpy_helper.from_array(np.float32(np.nan), "nan"))
    for node in unfit.graph.node:
        node.output[:] = ["before" if name == "scores" else name for name in node.output]
    unfit.graph.node.append(helper.make_node("Mul", ["before", "nan"], ["scores"]))
    onnx.save(unfit, place / "small.nan.onnx")
    for name, source, operator in (("two", "small", "Neg"), ("two.good", "small.good", "Neg"),
                                   ("two.half", "small.good", "Identity")):  # fmt: skip
        onnx.save(_with_second(onnx.load(place / f"{source}.onnx"), operator), place / f"{name}.onnx")
    return place, feeds[:2]


def _with_second(model, operator):
    """The model with a second output, `minus`: an operator of its scores."""
    model.graph.node.append(helper.make_node(operator, ["scores"], ["minus"]))
    model.graph.output.append(helper.make_tensor_value_info("minus", onnx.TensorProto.FLOAT, ["N", 5]))
    return model


BROKEN = {
    "small.renamed.onnx": "its input is called `images`, no longer `pixels`: whoever feeds it fails",
    "small.second.onnx": "it has one output more than fp32",
    "small.single.onnx": "its batch is fixed to 1 where fp32's is N: compare the shapes as well as the names",
    "small.floats.onnx": "two convolutions compute in float: read graph.census(int8).float",
    "small.fused.onnx": "a convolution computes in float, under another name: `FusedConv` is one too",
    "small.head.onnx": "its MatMul computes in float: look for it too, not for convolutions alone",
    "small.slow.onnx": "its convolutions are ConvInteger, made anew on each call (dynamic): slow, and in float no more",
    "small.fallen.onnx": "its SQNR has fallen: calibrated on inputs a twentieth as large",
    "small.nan.onnx": "its output is NaN: no number, and so never below least_db; ask for `>= least_db`",
}


@exercise("13.2", "a regression test for a quantized model", place="regression_test", otherwise=regression_test)
def _(answer):
    place, feeds = _small()
    fp32 = str(place / "small.onnx")
    tried = lambda name, least: _tried(answer, fp32, str(place / name), feeds, least)
    two = lambda name: _tried(answer, str(place / "two.onnx"), str(place / name), feeds, 20)
    for said in (tried("small.good.onnx", 20), two("two.good.onnx")):
        if said is not None:
            raise Almost(f"a good file is refused: {said}")
    for name, why in BROKEN.items():
        if tried(name, 20) is None:
            raise Almost(f"{name.split('.')[1]!r} passes, but {why}{_keys_in_float(place / name)}")
    if two("two.half.onnx") is None:
        raise Almost("a file with two outputs passes though the second is wrong: look at every output")
    good = str(place / "small.good.onnx")
    feeds = sorted(feeds, key=lambda feed: -least_db_of(fp32, good, feed))  # the better first: the other must count
    most, least = (least_db_of(fp32, good, feed) for feed in feeds)
    if tried("small.good.onnx", most + 3) is None:
        raise Almost(f"the good file has {most:.1f} dB and passes with least_db={most + 3:.1f}: is least_db used?")
    if tried("small.good.onnx", (most + least) / 2) is None:
        raise Almost("one feed of two lies below least_db and the file passes: look at every feed")
    return f"two good files pass, {len(BROKEN) + 1} broken ones do not, and least_db counts on every feed"


def _keys_in_float(path):
    """The census's keys of products that compute in float, in words; nothing where there are none."""
    keys = [key for key in graph.census(path).float if key[1] in PRODUCTS]
    return f" (there: {', '.join(map(repr, keys))})" if keys else ""


def least_db_of(fp32, int8, feed):
    """The SQNR of the worst output for one feed, in dB; fp32, int8: paths."""
    return min(
        sqnr_db(a, b) for a, b in zip(*(open_session(each).run(None, feed) for each in (fp32, int8)), strict=True)
    )


def _tried(answer, fp32, int8, feeds, least):
    """None where the test passes, else what it says."""
    if not callable(answer):
        raise Almost(f"expected a function, seen {brief(answer)}, a `{kind(answer)}`")
    try:
        result = answer(fp32, int8, [dict(feed) for feed in feeds], least)
    except AssertionError as error:
        if str(error).strip() in ("", "None"):
            raise Almost(f"on {Path(int8).name} it fails without a message: `assert ..., what was found`") from None
        return error_text(error)
    except Exception as error:
        name = Path(int8).name
        if name.endswith("good.onnx"):
            raise Almost(f"on a good file it raised {error_text(error)}") from None
        if name == "small.nan.onnx":  # sqnr_db refuses it: noticed
            return error_text(error)
        raise Almost(
            f"on {name} it raised {error_text(error)}; a test says what it found, by AssertionError, "
            f"`assert ..., message`: {BROKEN.get(name, 'its second output is wrong')}"
        ) from None
    if result is ...:
        raise NotYet("regression_test still returns `...`")
    if result is not None:
        raise Almost(f"it returned {brief(result)}: a test raises AssertionError or returns nothing")
    return None


# ---- exercise 13.4: a stream


@exercise("13.4", "a stream, chunk by chunk", place="stream", otherwise=stream)
def _(answer):
    path, tokens = streaming()
    session, tokens = open_session(path), tokens[-1][:, :52]
    expected = whole(session, tokens)
    for size in (13, 16, 52, 60, 1):
        said = f"{tokens.shape[1]} tokens, {size} a chunk"
        watched = _Watched(session)
        seen = call(lambda x, n, w=watched: answer(w, x, n), tokens, size, name="stream")
        seen = expect_array(seen, said)
        _judge_stream(seen, expected, watched, size, said)
    return "chunks of 1 to 60 tokens, the last one short: each as the whole, to within float32"


class _Watched:
    """A session that remembers what it was fed, and refuses wrong feeds in the way onnxruntime does."""

    def __init__(self, session):
        self._session, self.feeds = session, []

    def __getattr__(self, name):
        return getattr(self._session, name)

    def run(self, output_names, input_feed, run_options=None):
        self.feeds.append(dict(input_feed))
        return self._session.run(output_names, input_feed, run_options)


def _judge_stream(seen, expected, watched, size, said):
    lengths = [feed["chunk"].shape[1] for feed in watched.feeds]
    if not lengths:
        raise Almost(f"{said}: the session was never run")
    if max(lengths) > size:
        raise Almost(f"{said}: a chunk of {max(lengths)} tokens was fed: a stream has not heard the rest yet")
    if sum(lengths) > expected.shape[1]:
        raise Almost(
            f"{said}: {sum(lengths)} tokens were fed in all: chunks "
            "overlap, or the last one is padded; the caches hold the past"
        )
    if sum(lengths) < expected.shape[1]:
        raise Almost(f"{said}: {sum(lengths)} tokens were fed in all: the last, short chunk is missing")
    if seen.shape != expected.shape:
        raise Almost(f"{said}: expected shape {expected.shape}, seen {seen.shape}: join outputs along the time axis, 1")
    if np.abs(seen - expected).max() > 1e-3:
        _say_cache(watched.feeds, said)
        first = int(np.argmax(np.abs(seen - expected).max(axis=(0, 2)) > 1e-3))
        raise Almost(f"{said}: from token {first} on the outputs are not those of the whole")


def _say_cache(feeds, said):
    pasts, seen = [feed["att_cache"].shape[1] for feed in feeds], 0
    for at, (feed, past) in enumerate(zip(feeds, pasts, strict=True)):
        if past != seen:
            fed = "no past" if not past else f"a past of {past} tokens"
            raise Almost(
                f"{said}: call {at} got {fed} in att_cache, {seen} tokens had gone by: feed back what came out"
            )
        seen += feed["chunk"].shape[1]
    if any(np.array_equal(feeds[0]["cnn_cache"], feed["cnn_cache"]) for feed in feeds[1:]):
        raise Almost(f"{said}: cnn_cache is the first one again in a later call: it must be fed back as att_cache is")


# ---- exercise 13.3: the page

POINTS = {name: about["what"] for name, about in words("13", "points").items()}


def facts_of(case, result, row, quality, **more):
    """What was measured of an int8 file, for its page.

    result: what the recipe gave; row: measure.compare's; quality: Interval on the case's feeds; more: what only the
    notebook knows.
    """
    card = machine.card()
    floats = {f"{len(names)} {op}": why for (op, why), names in result.stayed_float.items()}
    rest = {op: count for (_, op), count in graph.census(result.path).float.items() if op not in PRODUCTS}
    if rest:
        floats[", ".join(f"{count} {op}" for op, count in rest.items())] = "no products"
    versions = dict(card.versions) | {"qlab": version("quantization-lab")}
    return SimpleNamespace(
        model=f"{case.name} ({case.source})", machine=card.name, versions=versions, threads=1, fp32_ms=row.median_ms
        * row.speedup, int8_ms=row.median_ms, speedup=row.speedup, low=row.speedup_low, high=row.speedup_high,
        size_mb=(result.original_mb, result.size_mb), quality=quality, items=len(case.feeds), in_float=floats, **more,
    )  # fmt: skip


def page(facts):
    """What stands in mine.page until 13.3 is passed: {point: one sentence} of what was measured."""
    q, e = facts.quality, facts.elsewhere
    none = f"; no change in {facts.items}: up to {300 / facts.items:.1f} % of all may still change (3/n)"
    floats = "; ".join(f"{what}: {why}" for what, why in facts.in_float.items()) or "nothing"
    return {
        "model": facts.model,
        "machine": f"{facts.machine}, {facts.threads} thread",
        "versions": ", ".join(f"{name} {version}" for name, version in facts.versions.items()),
        "recipe": f"`{facts.call}`",
        "latency": f"{facts.fp32_ms:.3f} ms to {facts.int8_ms:.3f} ms, {facts.speedup:.2f} times as fast "
        f"(95 %: {facts.low:.2f} to {facts.high:.2f}), threads: {facts.threads}",
        "size": f"{facts.size_mb[0]:.3f} MB to {facts.size_mb[1]:.3f} MB",
        "quality": f"{facts.measure} {q.difference:+.4f} (95 %: {q.low:+.4f} to {q.high:+.4f}), {facts.items} items"
        + none * (q.low == q.high == 0),
        "elsewhere": f"predicted for {e.card}: {e.speedup:.2f} times ({e.low:.2f} to {e.high:.2f}: a range "
        "of the cost model, not a 95 % interval)",
        "in float": floats,
        "not tested": "; ".join(facts.untested),
        "reproduce": f"`{facts.reproduce}`",
    }


def markdown(written):
    """A page, {point: sentence}, as Markdown: a line for each point."""
    return "\n".join(f"- **{name}**: {text}" for name, text in written.items())


def _made_up(seed):
    """Facts of a file that never was: every number occurs once."""
    random = np.random.default_rng(seed)
    speedup, better = float(random.uniform(1.3, 3)), random.uniform(-0.02, 0.02)
    away = float(random.uniform(3.2, 4))
    interval = lambda middle, half: Interval(float(middle), float(middle - half), float(middle + 1.3 * half), 0.95)
    fp32_ms = float(random.uniform(2, 9))
    return SimpleNamespace(
        model=f"ear{seed} (a package 1.{seed})", call=f"recipes.static('ear{seed}.onnx', 'ear{seed}.int8.onnx', feeds)",
        machine=f"Chip {seed}00", threads=2 + seed, versions={"onnxruntime": f"1.3{seed}.0", "qlab": f"0.{seed}.7"},
        fp32_ms=fp32_ms, int8_ms=fp32_ms / speedup, speedup=speedup, low=0.93 * speedup, high=1.09 * speedup,
        size_mb=(float(random.uniform(6, 9)), float(random.uniform(2, 3))), measure="wrong answers",
        quality=interval(better, 0.011), calibration_quality=interval(better / 3 + 0.05, 0.007), items=310 + seed,
        elsewhere=SimpleNamespace(card="other-card", speedup=away, low=0.8 * away, high=1.2 * away),
        in_float={f"2 Conv{seed}": "no range was seen"} if seed % 2 else {}, untested=["noise", f"batches of {seed}0"],
        reproduce=f"python make.py --seed {seed}",
    )  # fmt: skip


def _numbers(text):
    """[(number, half a unit of its last digit)] of a text."""
    text = text.replace("−", "-").replace(",", "")
    found = re.findall(r"(?<![\d.a-wyzA-WYZ_])[-+]?\d+(?:\.\d+)?", text) + re.findall(r"(?<=-)\d+(?:\.\d+)?", text)
    return [(float(each), 0.5 * 10.0 ** -len(each.partition(".")[2])) for each in found]


def _has(text, wanted, *, points=False, but=()):
    """Whether the text holds this number, rounded to two digits or more; in per cent too, for points.

    but: numbers for which the same digits may stand as well.
    """
    return any(
        _tells(*number, wanted, points) and not any(_tells(*number, each, points) for each in but)
        for number in _numbers(text)
    )


def _tells(seen, half, wanted, points):
    for scale in (1, 100) if points else (1,):
        target = wanted * scale
        if seen == target == 0:  # exact, however it is written
            return True
        if abs(seen - target) <= half * 1.001 and half <= max(0.06 * abs(target), 0.0006 * scale):
            return True
    return False


_NOTHING = "'in float': nothing stayed in float here, and the page must say so: write \"nothing\""


def judge_page(written, facts):
    """Every point of a page, {point: text}, against the facts: Almost at the first that is missing or wrong."""
    if not isinstance(written, dict):
        raise Almost(f"expected a dict, {{point: text}}, seen a `{kind(written)}`")
    for point, what in POINTS.items():
        text = written.get(point)
        if point == "in float" and text == "" and not facts.in_float:
            raise Almost(_NOTHING)
        if not isinstance(text, str) or not text.strip():
            raise Almost(f"{point!r} is missing: {what}" if text is None else f"{point!r}: expected a text: {what}")
        _POINT.get(point, _judge_words)(point, text, facts)


def _judge_words(point, text, facts):
    needed = {
        "model": [facts.model], "machine": [facts.machine], "versions": facts.versions.values(), "recipe": [facts.call],
        "in float": [part for pair in facts.in_float.items() for part in pair], "not tested": facts.untested,
        "reproduce": [facts.reproduce],
    }[point]  # fmt: skip
    if lost := [each for each in needed if each not in text]:
        raise Almost(f"{point!r}: {lost[0]!r} is missing in {brief(text)}")
    if point == "in float" and not facts.in_float and not re.search(r"\b(no|none|nothing|all)\b", text.lower()):
        raise Almost(_NOTHING)
    if point == "machine" and facts.elsewhere.card in text:
        raise Almost(f"'machine': {facts.elsewhere.card!r} is the card of the prediction; nothing was measured there")


def _judge_latency(point, text, facts):
    e = facts.elsewhere
    if not _has(text, facts.speedup) and not (_has(text, facts.fp32_ms) and _has(text, facts.int8_ms)):
        if _has(text, e.speedup):
            raise Almost(f"'latency': {e.speedup:.2f} is what was predicted for {e.card}: it is not this machine's")
        raise Almost(f"'latency': neither the speed-up, {facts.speedup:.2f}, nor both times stand in {brief(text)}")
    if _has(text, e.speedup):
        raise Almost(f"'latency': {e.speedup:.2f} is {e.card}'s, predicted: it belongs under 'elsewhere'")
    if not (_has(text, facts.low) and _has(text, facts.high)):
        raise Almost(f"'latency': a number without its interval, {facts.low:.2f} to {facts.high:.2f}")
    if not re.search(rf"\bthreads?\b\D{{0,9}}{facts.threads}\b|\b{facts.threads}[ -]threads?\b", text.lower()):
        raise Almost(f"'latency': on how many threads? It was {facts.threads}: without that nobody can compare it")


def _judge_size(point, text, facts):
    for what, size in zip(("before", "after"), facts.size_mb, strict=True):
        if not _has(text, size):
            raise Almost(f"'size': {size:.3f} MB, the size {what}, is missing")


def _judge_quality(point, text, facts):
    q, c = facts.quality, facts.calibration_quality
    if not _has(text, q.difference, points=True):
        if _has(text, c.difference, points=True):
            raise Almost("'quality': that was measured on the calibration data, which the recipe has seen")
        raise Almost(f"'quality': the difference, {q.difference:+.4f}, is missing (as it is, or in points: times 100)")
    if not (_has(text, q.low, points=True) and _has(text, q.high, points=True)):
        raise Almost(f"'quality': a number without its paired interval, {q.low:+.4f} to {q.high:+.4f}")
    if not _has(text, facts.items):
        raise Almost(f"'quality': on how many items? It was {facts.items}")
    if facts.measure.lower() not in text.lower():
        raise Almost(f"'quality': a difference of what? facts.measure is {facts.measure!r}")
    if _has(text, c.difference, points=True, but=(q.difference, q.low, q.high, facts.items)):
        raise Almost(f"'quality': {c.difference:+.4f} is the calibration data's, seen by the recipe: leave it out")
    most = 3 / facts.items
    if q.low == q.high == 0 and not _has(text, most, points=True) and f"3/{facts.items}" not in text.replace(" ", ""):
        raise Almost(
            f"'quality': an interval around no change is surer than it should be: none of {facts.items} changed, so up "
            f"to {most:.1%} of all may still (3/n)"
        )


def _judge_elsewhere(point, text, facts):
    e = facts.elsewhere
    if e.card not in text:
        raise Almost(f"'elsewhere': for which machine? The card is {e.card!r}")
    if not re.search(r"predict|expect|estimat|model", text.lower()):
        raise Almost("'elsewhere': nothing was measured there: say that it is predicted")
    if _has(text, facts.speedup):
        raise Almost(f"'elsewhere': {facts.speedup:.2f} is this machine's own speed-up, given as {e.card}'s")
    if not all(_has(text, each) for each in (e.speedup, e.low, e.high)):
        raise Almost(f"'elsewhere': {e.speedup:.2f}, {e.low:.2f} to {e.high:.2f} is what was predicted")


_POINT = {
    "latency": _judge_latency, "size": _judge_size, "quality": _judge_quality, "elsewhere": _judge_elsewhere
}  # fmt: skip


@exercise("13.3", "one page for a colleague", place="page", otherwise=page)
def _(answer):
    for seed in (1, 2, 3, 4):
        facts = _made_up(seed)
        if seed == 4:
            facts.quality = Interval(0.0, 0.0, 0.0, 0.95)
        judge_page(call(lambda each: answer(each), facts, name="page"), facts)
    return f"{len(POINTS)} points, for four models of which each has other numbers, and one changes no answer"


def doctor(*arguments):
    """What `qlab doctor` prints with these arguments, and its exit code."""
    parser = argparse.ArgumentParser(prog="qlab")
    add_command(parser.add_subparsers())
    asked, said = parser.parse_args(["doctor", *map(str, arguments)]), io.StringIO()
    with contextlib.redirect_stdout(said):
        code = asked.run(asked)
    return said.getvalue(), code


def told(case):
    """What is right for the calibration feeds of `kinds`: they are files of the list, every other one."""
    every = kinds()
    found = files(16 if in_haste() else 40)[::2][: len(case.calibration)]
    labels = sorted(set(KINDS.values())) if every.is_stand_in else _labels(every.path)
    return [labels.index(what) if what in labels else -1 for _, what in found]


def stored_as(model, name, codes, scale, axis):
    """Put codes, of int4 or int8, in the place of the weight `name` of an ONNX model; a scale for each index of `axis`.

    A DequantizeLinear makes the weight of them when the model runs. Codes of 4 bits need opset 21: see `up_to_date`.
    """
    kept = [tensor for tensor in model.graph.initializer if tensor.name != name]
    del model.graph.initializer[:]
    held = {f"{name}_codes": codes, f"{name}_scale": scale.astype(np.float32)}
    more = [numpy_helper.from_array(array, key) for key, array in held.items()]
    model.graph.initializer.extend([*kept, *more])
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", [*held], [name], name=f"{name}_real", axis=axis))


def up_to_date(path):
    """The ModelProto of a file, in opset 21 at least: the first that takes codes of 4 bits.

    The number alone is not enough: between 12 and 21 axes, for one, became inputs of their operators.
    """
    model = onnx.load(path)
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    return model if opset >= INT4_OPSET else version_converter.convert_version(model, INT4_OPSET)


def introduced(*cases):
    """A table of cases: where each comes from, its size, how often fp32 is wrong."""
    rows = []
    for case in cases:
        errors, counts = case.judged(case.path)
        rows.append([case.name, case.source, f"{case.path.stat().st_size / 1e6:.2f}", str(len(case.feeds)),
                     f"{errors.sum() / counts.sum():.3f}"])  # fmt: skip
    return Table(("model", "from", "MB", "items to judge by", "fp32's error"), rows)


def judged_table(case, made, *, unit=100, what="points"):
    """A row for each file: size, error, the difference to fp32 with its paired interval."""
    errors, counts = case.judged(case.path)
    rows = [["fp32", f"{case.path.stat().st_size / 1e6:.2f}", f"{unit * errors.sum() / counts.sum():.2f}", ""]]
    for name, path in made.items():
        (after, _), found = case.judged(path), case.against(path)
        rows.append([name, f"{Path(path).stat().st_size / 1e6:.2f}", f"{unit * after.sum() / counts.sum():.2f}",
                     ends_of(found, unit)])  # fmt: skip
    return Table(("model", "MB", f"error, {what}", "against fp32 (95 %)"), rows)


def told_apart(interval):
    """What a paired interval of errors says of int8, in a word."""
    return "cannot be told from fp32" if not interval.excludes_zero else "worse" if interval.low > 0 else "better"


def checklist():
    """The ten points of the checklist as a table."""
    return Table(("ask", "by"), [[name, about["what"]] for name, about in words("13", "checklist").items()])


def checked(written, facts):
    """A page as Markdown, and below it whether every point agrees with the facts, or which does not."""
    try:
        judge_page(written, facts)
        said = f"{len(POINTS)} of {len(POINTS)} points agree with what was measured"
    except Almost as difference:
        said = f"not yet: {difference}"
    return f"{markdown(written)}\n\n*{said}*"
