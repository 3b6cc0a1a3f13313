"""Read what onnxruntime's profiler writes: which node ran when, for how long, and what shapes came out."""

import json
from dataclasses import dataclass
from pathlib import Path

SUFFIX = "_kernel_time"


@dataclass(frozen=True)
class Event:
    """One execution of one node, in one run of the model.

    self_us     microseconds in the node itself, without the nodes in the branch or body that it ran
    details     what onnxruntime says of it
    """

    name: str
    op_type: str
    index: int
    self_us: int
    details: dict

    @property
    def inputs(self):
        """[(type, shape)] as onnxruntime names them ("float", "uint8"), without weights that were packed at load."""
        return _tensors(self.details["input_type_shape"])

    @property
    def outputs(self):
        """The same of the outputs."""
        return _tensors(self.details["output_type_shape"])


def read_runs(path):
    """The runs in the profile file `path`: for each, a list of Events in the order in which they ended.

    A run that the profiler's limit of a million events cut off is left out.
    """
    runs, done = [], []
    for entry in json.loads(Path(path).read_text(encoding="utf-8")):
        if entry["name"] == "model_run":
            runs.append([event for _, _, event in done])
            done = []
        elif entry.get("cat") == "Node" and entry["name"].endswith(SUFFIX):
            start, end = entry["ts"], entry["ts"] + entry["dur"]
            done.append((start, end, _event(entry, _inside(done, start))))
    return runs


def _inside(done, start):
    """Microseconds of the events, at the end of `done`, that ran inside one that began at `start` and ends now.

    onnxruntime writes an event when it ends, so what an If or a Loop ran stands before it. Events inside those are
    part of their time already.
    """
    total, covered_from = 0, None
    for first, last, _ in reversed(done):
        if first < start:
            break
        if covered_from is None or last <= covered_from:
            total += last - first
            covered_from = first
    return total


def _event(entry, inside_us):
    details = entry["args"]
    return Event(
        name=entry["name"].removesuffix(SUFFIX),
        op_type=details["op_name"],
        index=int(details["node_index"]),
        self_us=max(0, entry["dur"] - inside_us),
        details=details,
    )


def _tensors(entries):
    return [next(iter(entry.items()), ("", [])) for entry in entries]
