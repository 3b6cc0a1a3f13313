"""One run of a recipe, from a checked input to a published output."""

import shutil
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

from qlab import graph
from qlab.files import as_path
from qlab.machine.runtime import open_session, repeats, run
from qlab.numerics.metrics import sqnr_db
from qlab.recipes.fates import fates
from qlab.recipes.files import check_output, external_files, publish, stored_bytes, workshop, write, writing
from qlab.recipes.growing import grown
from qlab.recipes.preparing import check_source, prepared_in
from qlab.recipes.quantized import Quantized

NOTHING = "nothing was quantized: the file holds the model as it was"
_SHARED = ContextVar("folder and known values of the block of `sharing`, or None", default=None)
OF_NO_USE_DB = 10  # an error of a third of the signal


@dataclass
class Job:
    """What a recipe works with: the pre-processed model at `prepared`, room for files in `folder`, notes to report.

    feed  the first one that the ranges were collected on, None without: the result is run on it before it is published
    """

    recipe: str
    model: Path
    output: Path
    source: onnx.ModelProto
    folder: Path
    prepared: Path
    notes: list[str] = field(default_factory=list)
    feed: dict | None = None

    def finish(self, result, choice, *, op_types, per_channel, exclude=None):
        """Check the quantized ModelProto `result`, move it to the output, and say what was done: a Quantized."""
        with writing(self.output):
            path = self._written(result)
            size, original = (
                stored_bytes(path, onnx.load(path, load_external_data=False)),
                stored_bytes(self.model, self.source),
            )
        self.notes += grown(self.model, self.prepared, path)
        optimized = graph.optimized(path)  # also the proof that onnxruntime accepts it
        self.notes += _tried(self.prepared, path, self.feed)
        before = onnx.load(self.prepared, load_external_data=False)
        with writing(self.output):
            publish(path, self.output)
        return Quantized(
            path=self.output,
            recipe=self.recipe,
            choice=choice,
            per_channel=per_channel,
            size_mb=size / 1e6,
            original_mb=original / 1e6,
            products=tuple(fates(before, result, optimized, op_types, exclude or {})),
            census=graph.count(optimized),
            notes=tuple(self.notes),
        )

    def _written(self, result):
        """The path of the file to publish: `result`, or the model itself where nothing in it is quantized."""
        place = self.folder / "finished"
        place.mkdir()
        if graph.quantized_by(result) or not _opens(self.model):  # bfloat16 runs as float32 only
            properties = {entry.key: entry.value for entry in self.source.metadata_props}
            onnx.helper.set_model_props(result, properties | {"qlab.recipe": self.recipe})
            return write(result, place, self.output.name)
        self.notes.append(NOTHING)
        if external_files(self.source):
            return write(onnx.load(self.model), place, self.output.name)
        return Path(shutil.copyfile(self.model, place / self.output.name))


def _opens(model):
    try:
        open_session(model)
    except ValueError:
        return False
    return True


def _tried(fp32, quantized, feed):
    """Notes on how the file `quantized` answers a feed that the file `fp32` answers, an invented one if it is None.

    Raises ValueError if it does not run, or gives NaN or infinity where fp32 gives numbers: some errors show only then.
    """
    try:
        known = feed or graph.invented_feeds(fp32, count=1)[0]
        session = open_session(fp32)
        expected = run(session, known)
    except Exception:  # no feed could be invented, or fp32 fails on it or never ends: nothing to compare with
        return ["no feed could be invented that the model runs on: whether the result runs was not tried"]
    names = [value.name for value in session.get_outputs()]
    try:
        answers = run(open_session(quantized), known, names)
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise ValueError(
            f"the quantized model opens but does not run, so it was not written: {error}. Leave out what it names, "
            "with exclude or op_types"
        ) from error
    pairs = [pair for pair in zip(names, expected, answers, strict=True) if _are_alike(*pair[1:])]
    for name, reference, answer in pairs:
        if not np.isfinite(answer[np.isfinite(reference)]).all():
            raise ValueError(
                f"the quantized model gives NaN or infinity in {name!r} where fp32 gives numbers, so it was not "
                "written: leave out what overflows, with exclude or op_types"
            )
    lost = {name: _lost_db(reference, answer) for name, reference, answer in pairs}
    lost = {name: db for name, db in lost.items() if db < OF_NO_USE_DB} if feed else {}
    if lost and repeats(session, known):
        shown = ", ".join(f"{name} {db:.1f} dB" for name, db in lost.items())
        return [f"of little use on the first feed: {shown}; measure.layer_errors says where it is lost"]
    return []


def _are_alike(reference, answer):
    """Whether both are floats of one shape; the number of detections, for one, may differ."""
    arrays = isinstance(reference, np.ndarray) and isinstance(answer, np.ndarray)
    return arrays and reference.dtype.kind == "f" and reference.shape == answer.shape


def _lost_db(reference, answer):
    """SQNR of the numbers that are finite in fp32; infinity where there is no signal to lose."""
    counted = np.isfinite(reference)
    return sqnr_db(reference[counted], answer[counted]) if np.any(reference[counted]) else np.inf


@contextmanager
def job(recipe, model, output):
    """A Job whose folder is gone at the end of the block; input and output are checked before anything is made."""
    model, source = as_path(model), check_source(model)
    output = check_output(output, model, source)
    with workshop(output) as folder:
        with writing(output):
            prepared, notes = once(_identity(model), lambda shared: prepared_in(shared or folder, model, source))
        yield Job(recipe, model, output, source, folder, prepared, [*notes])


@contextmanager
def sharing(folder):
    """In this block recipes on one model prepare it once, in `folder`, and calibrate it once on the same feeds."""
    token = _SHARED.set((Path(folder), {}))
    try:
        yield
    finally:
        _SHARED.reset(token)


def once(key, make):
    """What `make(folder)` gives, the folder that recipes share; made once for each `key`, where they do share one."""
    if _SHARED.get() is None:
        return make(None)
    folder, known = _SHARED.get()
    if key not in known:
        place = folder / f"shared{len(known)}"
        place.mkdir()
        known[key] = make(place)
    return known[key]


def _identity(model):
    status = model.stat()
    return str(model.resolve()), status.st_size, status.st_mtime_ns
