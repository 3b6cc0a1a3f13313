"""What the recipes that quantize nothing hand back, and how their result is tried: the float function stays."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from qlab import graph
from qlab.files import writing
from qlab.graph.model import Model, write
from qlab.recipes.job import publish
from qlab.runtime import open_session, repeats, run
from qlab.text import plural

MOST_APART = 1e-3  # of the largest number that an output holds: what float32 may round, and wide factors stretch


@dataclass(frozen=True, repr=False)
class Rewritten:
    """A rewritten model on disk. Printing it says what was done to how many places, what was left, and why.

    path, recipe  where it is, and what made it
    unit          what is counted: "joint" (what writes channels, and what reads them), "layer"
    done          their names, in graph order
    left          {why: [names]} of those that stay as they were
    facts         what was measured, in words
    notes         what did not go as usual
    """

    path: Path
    recipe: str
    unit: str
    done: tuple[str, ...]
    left: Mapping[str, list[str]] = field(default_factory=dict)
    facts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __fspath__(self):
        return str(self.path)

    def __repr__(self):
        total = len(self.done) + sum(map(len, self.left.values()))
        lines = [
            f"{self.recipe}: {self.path}, {len(self.done)} of {plural(total, self.unit)}",
            *(f"  {fact}" for fact in self.facts),
            *(f"  left: {len(names)} of {total}: {why}" for why, names in self.left.items()),
            *(f"  note: {note}" for note in self.notes),
        ]
        return "\n".join(lines)


def left_out(joints):
    """{why: [names]} of the Joints across which no factor can be moved."""
    found = {}
    for joint in joints:
        if joint.why:
            found.setdefault(joint.why, []).append(joint.name)
    return found


def finished(work, proto, joints, facts, feed=None):
    """Try the ModelProto `proto` against what `work` prepared, publish it, and say what was done: a Rewritten."""
    place = work.folder / "finished"
    place.mkdir()
    with writing(work.output):
        made = Model(write(proto, place, work.output.name), proto)
    facts = [*facts, *_apart(work.prepared, made, feed)]
    with writing(work.output):
        publish(made.path, work.output)
    done = tuple(joint.name for joint in joints if not joint.why)
    return Rewritten(work.output, work.recipe, "joint", done, left_out(joints), tuple(facts), tuple(work.notes))


def writers(joints):
    """ "8 Conv, 1 Gemm": what writes the channels of the joints across which a factor can be moved."""
    return Counter(port.node.op_type for joint in joints if not joint.why for port in joint.writes)


def _apart(before, after, feed):
    """How far the answers of both lie apart on a feed, in words, one that is invented where none is given.

    Raises ValueError if the rewritten model does not run, or computes something else.
    """
    session, again = open_session(before), open_session(after)
    try:
        feed = feed or graph.invented_feeds(before, count=1)[0]
        expected = run(session, feed)
    except Exception:  # no feed could be invented, or the model fails on it: nothing to compare with
        return ["no feed could be invented that the model runs on: whether its function is the same was not tried"]
    if not repeats(session, feed):
        return ["the model draws random numbers: whether its function is the same was not tried"]
    found = run(again, feed)
    worst = max((_relative(*pair) for pair in zip(expected, found, strict=True)), default=0.0)
    if not worst <= MOST_APART:
        raise ValueError(
            f"the rewritten model answers otherwise on a feed, {worst:.1e} of the largest number apart, so it was not "
            "written: are its numbers near the ends of float32, or the shapes that it declares wrong?"
        )
    return [f"the float function is the same: on a feed, answers lie {worst:.1e} of the largest number apart"]


def _relative(reference, answer):
    """The largest difference over the largest number; of what is no float, 0 or infinity."""
    if not isinstance(reference, np.ndarray) or reference.dtype.kind != "f" or reference.shape != answer.shape:
        return 0.0
    counted = np.isfinite(reference)
    if not counted.any():
        return 0.0
    apart = np.abs(reference[counted].astype(np.float64) - answer[counted]).max()
    return float(apart / max(np.abs(reference[counted]).max(), np.finfo(np.float32).tiny))
