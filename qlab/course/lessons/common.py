"""What several notebooks use: sentences and faces to try, feeds, races, intervals in words, one operator's session."""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, groupby
from typing import NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader

from qlab import models, text
from qlab.course.show import error_text
from qlab.graph.model import write
from qlab.measure.compare import rounds_here, speedup_interval
from qlab.models.face import MOUTH
from qlab.models.speech import in_noise
from qlab.numerics.metrics import Interval
from qlab.recipes.channels import Channels
from qlab.recipes.job import job, publish
from qlab.runtime import interleave, open_session, usable_cores

ARTICLE_SIZES = {"conformer_full": {"frames": 250}, "face_unet_full": {}}


def in_haste():
    """QLAB_FAST=1, for tests: fewer rounds and clips."""
    return os.environ.get("QLAB_FAST") == "1"


def fewer(items):
    """All of them; under QLAB_FAST=1, for tests, every other one."""
    return items[::2] if in_haste() else items


def short_of_time(items, least):
    """All items; under QLAB_FAST=1, for tests, every so-manieth, about `least` of them."""
    return items[:: max(1, len(items) // least)] if in_haste() else items


def sentences(noise_db=None):
    """The test sentences, all 320. Under QLAB_FAST=1 a fourth, among which are some that int8 changes in the street."""
    if not in_haste():
        return models.utterances("test", noise_db=noise_db)
    quiet = models.utterances("test")
    chosen = range(3, len(quiet), 4)
    return [quiet[i] if noise_db is None else in_noise("test", i, noise_db) for i in chosen]


def article_models():
    """(Transformer, its feed, CNN, its feed), both of the article's size.

    Under QLAB_FAST=1 the small trained networks stand for them, and a line says so.
    """
    if not in_haste():
        large = [(models.path(name), models.example_feed(name, **size)) for name, size in ARTICLE_SIZES.items()]
        return tuple(chain(*large))
    print("QLAB_FAST=1: the small networks stand for the article's in all that follows")
    speech_feed = models.feed(models.utterances("test")[0].samples)
    return models.path("conformer"), speech_feed, models.path("face"), models.face_frames("test")[0].feed


def people(frames):
    """Frames, one list a person who speaks."""
    return [list(of_one) for _, of_one in groupby(frames, key=lambda frame: id(frame.sentence))]


def liveliest(frames, count=25):
    """The `count` frames in a row, of one person, in which the true mouth opens and closes most."""
    opening = models.mouth_opening(np.concatenate([frame.truth for frame in frames]))
    starts = range(max(1, len(frames) - count + 1))
    start = max(starts, key=lambda start: opening[start : start + count].std())
    return frames[start : start + count]


def mouths(model, frames):
    """The pictures [n, 3, 96, 96] that a face file paints for the frames."""
    session = open_session(model)
    return np.concatenate([session.run(None, frame.feed)[0] for frame in frames])


def near_mouth(pictures):
    """The part of pictures [n, 3, 96, 96] in which the mouths are."""
    return pictures[(..., *MOUTH)]


def mouth_difference(frames, before, after):
    """Interval of the difference in PSNR of the mouth, all frames pooled: people are drawn, since one's are alike."""
    truth = near_mouth(np.concatenate([frame.truth for frame in frames]))
    ends = np.cumsum([len(of_one) for of_one in people(frames)])[:-1]
    per_frame = [np.mean((near_mouth(each) - truth) ** 2, axis=(1, 2, 3), dtype=float) for each in (before, after)]
    errors = np.array([[part.sum() for part in np.split(each, ends)] for each in per_frame])  # (2, people)
    drawn = np.random.default_rng(0).integers(errors.shape[1], size=(2000, errors.shape[1]))
    differences = decibels_apart(*errors[:, drawn].sum(axis=-1))
    low, high = np.quantile(differences, (0.025, 0.975))
    return Interval(float(decibels_apart(*errors.sum(axis=-1))), float(low), float(high), 0.95)


def decibels_apart(before, after):
    """How many dB of PSNR it makes that squared errors became `after`: below 0 where they grew."""
    return 10 * np.log10(before / after)


def digits_right(model, images, labels):
    """(which images are read right, bool [n]; the digits read; the logits) by a digits file."""
    (logits,) = open_session(model).run(None, {"images": images})
    return logits.argmax(axis=1) == labels, logits.argmax(axis=1), logits


def rescaled(model, output, octaves=3, seed=0, only=None):
    """Write `model` with its channels scaled at random where that leaves its function as it was; returns the path.

    Each channel between two layers is multiplied by a power of two, from 2**-octaves to 2**octaves, and what reads it
    divided by that: floats lose nothing by a power of two, so that every answer stays the same, bit for bit. BatchNorm
    is folded first, as `recipes.prepare` does it. Channels that reach an output, or that something else than a sum, a
    Relu or a pooling reads, stay.
    """
    with job("rescaled", model, output) as work:
        changed = work.prepared.copy(weights=True)
        channels, drawn = Channels(changed), np.random.default_rng(seed)
        for place, joint in enumerate(joint for joint in channels.joints if not joint.why):
            if only is None or place in only:
                channels.rescale(joint, 2.0 ** drawn.integers(-octaves, octaves, joint.size, endpoint=True))
        return publish(write(changed, work.folder, work.output.name), work.output)


class Feeds(CalibrationDataReader):
    """A list of feeds as onnxruntime wants them: one a call, None at the end."""

    def __init__(self, feeds):
        self.left = iter(feeds)

    def get_next(self):
        return next(self.left, None)


class Linear(NamedTuple):
    """A linear layer of a model: the name of what enters it, the name of its weight, the weight [inputs, outputs]."""

    enters: str
    name: str
    weight: np.ndarray


def linear(model, name):
    """The linear layer of an ONNX model whose bias is called `name`.bias."""
    makers = {output: node for node in model.graph.node for output in node.output}
    add = next(node for node in model.graph.node if f"{name}.bias" in node.input)
    multiplies = next(makers[source] for source in add.input if source in makers)
    held = next(tensor for tensor in model.graph.initializer if tensor.name == multiplies.input[1])
    return Linear(multiplies.input[0], held.name, numpy_helper.to_array(held))


def watching(model, names):
    """A session of an onnx model whose outputs are the tensors `names` (notebook 04 does it line by line)."""
    watched = onnx.ModelProto.FromString(model.SerializeToString())
    have = {value.name for value in watched.graph.output}
    watched.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in have)
    return open_session(watched.SerializeToString())


def that_run(models, feed):
    """Of {name: path} the reference, the first, and all others that run here; what keeps the rest from it is printed.

    Not every runtime has a kernel for every pair of signs: onnxruntime has none for s8 x u8 on ARM64, which ConvInteger
    with int8 weights asks for.
    """
    (first, reference), *others = models.items()
    kept = {first: reference}
    for name, path in others:
        try:
            open_session(path).run(None, dict(feed))
        except Exception as error:  # onnxruntime's exceptions share no base class
            print(f"{name} does not run here, and is left out: {error_text(error)}")
        else:
            kept[name] = path
    return kept


def listen(path, feeds):
    """The log-probabilities of each feed, [T', tokens]: sentences alone, several at a time on the cores there are."""
    session = open_session(path)
    with ThreadPoolExecutor(max_workers=usable_cores()) as pool:
        return list(pool.map(lambda feed: session.run(["ctc_log_probs"], feed)[0][0], feeds))


def race(trials, rounds=30, times=8):
    """{name: (speed-up over the first, low, high)} of sessions in turn; None for one that does not open here.

    times: so often a session runs in a round; a product alone takes less than the clock and the call are worth.
    """
    runs = {name: entry for name, entry in trials.items() if entry is not None}
    actions = {name: _several(*entry, times) for name, entry in runs.items()}
    seconds = interleave(actions, rounds_here(rounds))
    reference = seconds[next(iter(trials))]
    return {name: speedup_interval(reference, seconds[name]) if name in runs else None for name in trials}


def _several(session, feed, times):
    def run():
        for _ in range(times):
            session.run(None, feed)

    return run


def in_points(interval):
    """A difference of word error rates in points, with its 95 % interval and whether that holds 0."""
    low, middle, high = (f"{100 * each:+.2f}" for each in (interval.low, interval.difference, interval.high))
    return f"{middle} points (95 %: {low} to {high}, {'without' if interval.excludes_zero else 'holds'} 0)"


def ends_of(interval, unit=1, digits=2):
    """A difference with its 95 % interval, in a few characters."""
    difference, low, high = (f"{unit * end:+.{digits}f}" for end in (interval.difference, interval.low, interval.high))
    return f"{difference} ({low} to {high})"


class Table(text.Table):
    """Rows of texts under a heading, in the page and in print, with lines of explanation below."""

    def __init__(self, heading, rows, *below):
        super().__init__([heading, *rows], below=below)


def operator_session(op_type, *inputs, fed=0, outputs=1, domain="", adjust=None, **attributes):
    """A session of one operator that computes "y" of "x".

    inputs: arrays in the operator's order, None for one that is left out. The one at the place `fed` says what x is
    like, with any number of rows; the others are constants of the model. Raises ValueError where there is no kernel.
    """
    names = ["" if array is None else f"held_{place}" for place, array in enumerate(inputs)]
    names[fed], x = "x", inputs[fed]
    others = [(name, array) for name, array in zip(names, inputs, strict=True) if name not in ("", "x")]
    held = [numpy_helper.from_array(np.asarray(array), name) for name, array in others]
    shape = ["rows", *x.shape[1:]] if x.ndim else []
    put = helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), shape)
    results = ["y", *(f"y_{place}" for place in range(1, outputs))]
    node = helper.make_node(op_type, names, results, domain=domain, **attributes)
    graph = helper.make_graph([node], op_type, [put], [onnx.ValueInfoProto(name="y")], held)
    opsets = [helper.make_opsetid(name, version) for name, version in {domain: 1, "": 21}.items()]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return open_session(model.SerializeToString(), adjust=adjust)
