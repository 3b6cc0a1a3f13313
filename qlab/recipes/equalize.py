"""Cross-layer equalization: channels that are small here and large there meet in the middle; no data needed."""

import numpy as np

from qlab.files import ModelPath
from qlab.graph.model import Model
from qlab.recipes.channels import Channels
from qlab.recipes.job import job
from qlab.recipes.rewrites import Rewritten, finished, writers
from qlab.runtime import bar
from qlab.text import figures, listed

SWEEPS, STILL = 100, 1e-3  # at most; a factor so near to 1 changes nothing any more


def equalize(model: ModelPath | Model, output: ModelPath) -> Rewritten:
    """Write `model` with the ranges of its weights' channels evened out between layers: the same function of floats.

    >>> recipes.equalize("model.onnx", "equalized.onnx")  # doctest: +SKIP

    What writes a channel i is divided, and what reads it multiplied, by s_i = sqrt(r1_i r2_i) / r2_i, with r1_i and
    r2_i the largest weights that write and read it: then both are sqrt(r1_i r2_i). Where several layers write or read
    the same channels, as around a residual, r1_i and r2_i are geometric means. It is repeated along the layers until
    nothing moves. With one scale per tensor a channel then has codes for itself where it had hardly any.
    1. BatchNorm is folded first, as `recipes.prepare` does.
    2. A factor passes biases, sums, Relu, LeakyRelu, PRelu, pooling, means and transpositions. It does not pass what
       cuts or bends at a fixed number (Clip, Sigmoid), and channels that are an output of the model stay.
    3. Channels without a weight on either side, and weights that several nodes share, stay as they are.
    Raises ValueError for a model that is quantized already or cannot be opened or written.
    Source: Nagel et al. 2019 (1906.04721), section 4.1.
    """
    with job("equalize", model, output) as work:
        proto = work.prepared.copy(weights=True)
        channels = Channels(proto)
        joints = [joint for joint in channels.joints if not joint.why]
        before = _spread(channels, joints)
        for joint, factors in zip(joints, balanced(channels, joints), strict=True):
            channels.rescale(joint, factors)
        after = _spread(channels, joints)
        facts = [
            f"between {listed(writers(joints))} and what reads them",
            f"largest over smallest channel of a weight, in the middle: {figures(before)} became {figures(after)}",
        ]
        return finished(work, proto, channels.joints, facts if joints else [])


def balanced(channels, joints):
    """The factors [channels] of each joint, which together even out their ranges."""
    arrays = {port.name: channels.array(port) for joint in joints for port in joint.writes + joint.reads}
    total = [np.ones(joint.size) for joint in joints]
    for _ in bar(range(SWEEPS), "equalizing", unit="sweep"):
        moved = 0.0
        for place, joint in enumerate(joints):
            factors = _factors(joint, arrays)
            for ports, way in ((joint.writes, 1 / factors), (joint.reads, factors)):
                for port in ports:
                    arrays[port.name] = port.times(arrays[port.name], way)
            total[place] *= factors
            moved = max(moved, float(np.abs(factors - 1).max(initial=0)))
        if moved < STILL:
            break
    return total


def _factors(joint, arrays):
    """What evens out one joint; 1 for channels without a weight on either side."""
    writes, reads = (_mean(ports, arrays) for ports in (joint.writes, joint.reads))
    alive = (writes > 0) & (reads > 0)
    return np.sqrt(np.where(alive, writes, 1) / np.where(alive, reads, 1))


def _mean(ports, arrays):
    """Geometric mean of the ports' ranges, without those of a channel that are 0; 0 where all are."""
    ranges = np.array([port.ranges(arrays[port.name]) for port in ports])
    counted = ranges > 0
    logs = np.log(np.where(counted, ranges, 1)).sum(axis=0)
    return np.where(counted.any(axis=0), np.exp(logs / np.maximum(counted.sum(axis=0), 1)), 0)


def _spread(channels, joints):
    """The median, over all ports, of the largest channel over the smallest that is not 0."""
    found = []
    for joint in joints:
        for port in joint.writes + joint.reads:
            ranges = port.ranges(channels.array(port))
            found += [ranges.max() / ranges[ranges > 0].min()] if np.any(ranges) else []
    return float(np.median(found)) if found else 1.0
