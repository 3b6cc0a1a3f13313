"""SmoothQuant: what makes one channel of the activations loud is moved into the weights that read it."""

import numpy as np

from qlab.files import ModelPath
from qlab.graph.model import Model
from qlab.recipes.channels import Channels
from qlab.recipes.job import job
from qlab.recipes.rewrites import Rewritten, finished, writers
from qlab.runtime import Reader, bar, check_feed, iterate_feeds, run
from qlab.text import figures, listed

LEAST = 1e-5  # of a factor, as in the source: a channel that hardly ever speaks must not blow up its weights


def smooth(model: ModelPath | Model, output: ModelPath, reader: Reader, *, alpha: float = 0.5) -> Rewritten:
    """Write `model` with the loud channels of its activations made as loud as others: the same function of floats.

    >>> recipes.smooth("model.onnx", "smoothed.onnx", feeds)  # doctest: +SKIP

    reader  representative feeds, {input name: array}, or a CalibrationDataReader; read once, a feed at a time
    alpha   how much of the difficulty goes into the weights: 0 nothing that activations gain by, 1 all of it

    A channel j that products read is divided by s_j = a_j^alpha / w_j^(1 - alpha), and the weights that read it are
    multiplied by s_j; a_j is the largest absolute activation on the feeds, w_j the largest weight of all products that
    read it: q, k and v, which share one norm, share one s.
    1. What writes the channels takes the division: the scale and the bias of a LayerNormalization or of one that is
       written out, or the weights and the bias of a product.
    2. If one of those that read the channels cannot take the factor, as a residual cannot, they stay as they are.
    3. Channels that are 0 on all feeds, or that no weight reads, keep the factor 1.
    Raises ValueError for an alpha outside 0..1, a reader without feeds or one that does not fit, for a model that is
    quantized already or cannot be opened or written.
    Source: Xiao et al. 2022 (2211.10438), equation 4.
    """
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha!r}; expected a number from 0 (all stays) to 1 (all goes into the weights)")
    with job("smooth", model, output) as work:
        proto = work.prepared.copy(weights=True)
        channels = Channels(proto, norms=True)
        joints = [joint for joint in channels.joints if not joint.why]
        loudest, feed = _loudest(work.prepared, joints, reader)
        facts, before, after = [], [], []
        for joint, activations in zip(joints, loudest, strict=True):
            factors = _factors(channels, joint, activations, alpha)
            channels.rescale(joint, factors)
            before.append(_stands_out(activations))
            after.append(_stands_out(activations / factors))
        if joints:
            facts = [
                f"behind {listed(writers(joints))}, alpha {alpha:g}",
                f"the loudest channel against the median one, at worst: {figures(max(before))} times became "
                f"{figures(max(after))}",
            ]
        return finished(work, proto, channels.joints, facts, feed)


def _loudest(prepared, joints, reader):
    """(float64 [channels] of each joint: the largest absolute activation that products read of it; the first feed)."""
    read = [{port.node.input[0]: joint.tensors[port.node.input[0]] for port in joint.reads} for joint in joints]
    names = list(dict.fromkeys(name for tensors in read for name in tensors))
    session = prepared.unoptimized(shown=names)
    largest, first = [np.zeros(joint.size) for joint in joints], None
    with bar(iterate_feeds(reader), "smoothing", unit="feed") as feeds:
        for count, feed in enumerate(feeds):
            try:
                check_feed(session, feed, prepared.path.name)
            except ValueError as error:
                raise ValueError(f"feed {count} of the reader: {error}") from error
            first = feed if first is None else first
            found = dict(zip(names, run(session, feed, names) if names else [], strict=True))
            for place, tensors in enumerate(read):
                for name, axis in tensors.items():
                    seen = _of_channels(found[name], axis)
                    if not np.isfinite(seen).all():
                        raise ValueError(f"feed {count} of the reader: tensor {name!r} holds NaN or infinity")
                    largest[place] = np.maximum(largest[place], seen)
    if first is None:
        raise ValueError(
            "the reader gave no feed; expected at least one {input name: array}. Was it read before? "
            "A generator or a CalibrationDataReader gives its feeds once: make a new one"
        )
    return largest, first


def _of_channels(array, axis):
    others = tuple(one for one in range(array.ndim) if one != axis)
    return np.abs(array).max(axis=others, initial=0)


def _factors(channels, joint, activations, alpha):
    weights = np.max([port.ranges(channels.array(port)) for port in joint.reads], axis=0)
    alive = (activations > 0) & (weights > 0)
    factors = np.where(alive, activations, 1) ** alpha / np.where(alive, weights, 1) ** (1 - alpha)
    return np.where(alive, np.maximum(factors, LEAST), 1)


def _stands_out(activations):
    """The loudest channel against the median of those that speak."""
    speaking = activations[activations > 0]
    return float(speaking.max() / np.median(speaking)) if speaking.size else 1.0
