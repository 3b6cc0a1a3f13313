"""One run of a recipe: the input checked and prepared once, ranges for it; the result tried, then published."""

import math
import shutil
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import inliner, version_converter
from onnxruntime import GraphOptimizationLevel
from onnxruntime.quantization.fusions import ReplaceUpsampleWithResize
from onnxruntime.quantization.onnx_model import ONNXModel

from qlab import calibration, graph
from qlab.files import ModelPath, check_target, scratch, writing
from qlab.graph.editing import delist_weights, listed_weights, narrow_types, part_names, widen
from qlab.graph.model import LARGE, OLDEST_OPSET, Model, data_file, opset_of, write
from qlab.numerics.metrics import sqnr_db
from qlab.recipes.choice import MADE_BY
from qlab.recipes.quantized import Quantized, fates, grown
from qlab.recipes.quantizers import captured_logs, infer, rewrite
from qlab.runtime import iterate_feeds, open_session, open_unoptimized, repeats, run

DONE = {"onnx.quant.pre_process": "onnxruntime.quant"}  # without this mark onnxruntime's quantizers complain
TYPES = {  # onnxruntime's names of those that operators of its own give
    "tensor(float)": onnx.TensorProto.FLOAT, "tensor(int32)": onnx.TensorProto.INT32,
    "tensor(int64)": onnx.TensorProto.INT64, "tensor(bool)": onnx.TensorProto.BOOL,
}  # fmt: skip
LAST_WITH_UPSAMPLE = 10  # opset
NOTHING = "nothing was quantized: the file holds the model as it was"
SAMPLED = 64  # feeds that are kept for a second look
OF_NO_USE_DB = 10  # an error of a third of the signal
_DRAFTS = ContextVar("codes of weights that the drafts of the block of `drafting` share, or None", default=None)
_SHARED = ContextVar("folder and known values of the block of `sharing`, or None", default=None)


@dataclass
class Job:
    """What a recipe works with: the pre-processed model, room for files in `folder`, notes to report.

    feed   the first one that the ranges were collected on, None without: the result is run on it before it is published
    feeds  a sample of them, for what looks at activations once more
    codes  what the quantizer keeps of weights from draft to draft; None where the result is no draft
    """

    recipe: str
    model: Model
    output: Path
    folder: Path
    prepared: Model
    notes: list[str] = field(default_factory=list)
    feed: dict | None = None
    feeds: list[dict] = field(default_factory=list)
    codes: dict | None = None

    def finish(self, result, choice, *, op_types, per_channel, exclude=None):
        """Check the quantized ModelProto `result`, move it to the output, and say what was done: a Quantized.

        In a block of `drafting` the draft is handed back instead: `result` as it is, and no file is written.
        """
        if self.codes is not None:
            return result
        with writing(self.output):
            made = self._written(result)
        self.notes += grown(self.model, self.prepared, made)
        optimized = made.optimized  # also the proof that onnxruntime accepts it
        self.notes += _tried(self.prepared, made, self.feed)
        with writing(self.output):
            publish(made.path, self.output)
        return Quantized(
            path=self.output,
            recipe=self.recipe,
            choice=choice,
            per_channel=per_channel,
            size_mb=made.size_mb,
            original_mb=self.model.size_mb,
            products=tuple(fates(self.prepared.proto, result, optimized, op_types, exclude or {})),
            census=graph.count(optimized),
            notes=tuple(self.notes),
        )

    def _written(self, result):
        """The Model to publish, in a new file: `result`, or the model itself where nothing in it is quantized."""
        place = self.folder / "finished"
        place.mkdir()
        if graph.quantized_by(result) or not _opens(self.model):  # bfloat16 runs as float32 only
            onnx.helper.set_model_props(result, self.model.metadata | {MADE_BY: self.recipe})
        else:
            self.notes.append(NOTHING)
            if not self.model.external:
                return Model(shutil.copyfile(self.model.path, place / self.output.name), self.model.proto)
            result = self.model.copy(weights=True)
        return Model(write(result, place, self.output.name), result)


@contextmanager
def job(recipe, model, output):
    """A Job whose folder is gone at the end of the block; input and output are checked before anything is made."""
    model = check_source(model)
    output = check_output(output, model)
    with workshop(output) as folder:
        with writing(output):
            prepared, notes = once(_identity(model.path), lambda shared: prepared_in(shared or folder, model))
        yield Job(recipe, model, output, folder, prepared, [*notes], codes=_DRAFTS.get())


@contextmanager
def sharing(folder):
    """In this block recipes on one model prepare it once, in `folder`, and calibrate it once on the same feeds."""
    token = _SHARED.set((Path(folder), {}))
    try:
        yield
    finally:
        _SHARED.reset(token)


@contextmanager
def drafting(codes):
    """In this block a recipe gives the ModelProto that it makes, untried; `codes` fills with weights it need not round
    again."""
    token = _DRAFTS.set(codes)
    try:
        yield
    finally:
        _DRAFTS.reset(token)


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


def _identity(path):
    status = path.stat()
    return str(path.resolve()), status.st_size, status.st_mtime_ns


def check_source(model):
    """The Model of a path or Model, if a recipe can start from it.

    Raises ValueError naming what shows that it is quantized already, and what `graph.load` raises.
    """
    model = graph.opened(model)
    if found := graph.quantized_by(model.proto):
        raise ValueError(
            f"{model.path} is already quantized: it has {', '.join(found)} nodes. Quantizing twice only adds error; "
            "start from the fp32 model that it was made from"
        )
    return model


def check_output(output, model):
    """`output` as a Path, if a recipe may write there without harm to the Model `model`."""
    output = check_target(output)
    if not output.parent.is_dir():
        raise FileNotFoundError(f"{output}: there is no folder {output.parent}; make it first")
    check_target(data_file(output))
    kept = [model.path, *(model.path.parent / location for location in model.external)]
    for target in (output, data_file(output)):
        if target.exists() and any(target.samefile(file) for file in kept):
            raise ValueError(f"writing {output} would overwrite the model that is read, {target}: choose another name")
    return output


@contextmanager
def workshop(output):
    """A folder beside `output`, on the same disk, that is gone afterwards, whatever happens."""
    with ExitStack() as stack:
        with writing(output):
            folder = stack.enter_context(scratch(output.parent))
        yield folder


def publish(path, output):
    """Move a finished model, and the file with its weights if it has one, to `output`: each by one renaming."""
    if data_file(path).exists():
        data_file(path).replace(data_file(output))
    path.replace(output)
    return output


def prepare(model: ModelPath | Model, output: ModelPath) -> Path:
    """Write the model that the recipes really quantize: `model` fused and folded, with its shapes. Returns the path.

    Collect ranges on this one if several recipes are to share them: fusing drops and renames tensors.
    Raises ValueError for a model that is quantized already or cannot be opened, FileNotFoundError where one is missing.
    """
    model = check_source(model)
    output = check_output(output, model)
    with workshop(output) as folder, writing(output):
        prepared, _ = prepared_in(folder, model)
        return publish(write(prepared.copy(weights=True), folder, output.name), output)


def prepared_in(folder, model):
    """The pre-processed Model, its file in `folder`, and notes on what was done or failed on the way.

    1. Floats of 16 bits become float32, weights that are listed as inputs constants.
    2. onnxruntime folds constants, fuses BatchNorm and biases; shapes are inferred.
    3. If it fails, as it may where declared shapes contradict each other: the model as it is, functions inlined,
       constants turned into weights, declared shapes dropped.
    4. A model of an opset before 13 is converted to that.
    5. What the quantizers take wrongly is rewritten: see `rewrite`.
    Every node then has a name of its own, by which the quantizer tells nodes apart.
    """
    plain, notes = _plain(folder, model)
    open_session(plain.path)  # a model that does not run at all fails here, with a better message
    target, is_large = folder / "prepared.onnx", plain.bytes > LARGE
    try:
        with captured_logs():
            prepared = _fused(plain, target, is_large)
    except Exception as error:  # whatever a model of foreign make provokes in onnx and onnxruntime
        notes.append(f"pre-processing failed, so less was fused ahead: {_in_a_line(error.__cause__ or error)}")
        prepared = _as_it_is(plain)
        write(prepared, folder, target.name)  # its weights go outside if they are large
    if not is_large and (opset := opset_of(prepared)) < OLDEST_OPSET:
        prepared, note = _modernized(prepared, opset)
        notes.append(note)
    _tidy(prepared, target)
    target.write_bytes(prepared.SerializeToString())
    return Model(target, prepared), notes


def _plain(folder, model):
    """The Model with float32 numbers and constant weights, a copy in `folder` where need be, and notes."""
    if not narrow_types(model.proto) and not listed_weights(model.proto):
        return model, []
    plain = model.copy(weights=True)
    notes = [widen(plain), delist_weights(plain)]
    with writing(folder):
        return Model(write(plain, folder, "plain.onnx"), plain), [note for note in notes if note]


def _fused(plain, target, is_large):
    """The ModelProto that onnxruntime's own pre-processing (quant_pre_process) makes, by way of the file `target`."""
    path, opset = plain.path, opset_of(plain.proto)
    if opset <= LAST_WITH_UPSAMPLE:  # which no later one has
        older = plain.copy(weights=True)
        ReplaceUpsampleWithResize(ONNXModel(older), opset).apply()
        converted = version_converter.convert_version(older, LAST_WITH_UPSAMPLE + 1)
        path = write(converted, target.parent, "later.onnx")

    def keep(options):
        options.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(target)
        if is_large:
            outside = "session.optimized_model_external_initializers_file_name"
            options.add_session_config_entry(outside, data_file(target).name)

    open_session(path, adjust=keep)
    fused = onnx.load(target, load_external_data=not is_large)
    infer(fused)
    return fused


def _modernized(model, opset):
    """The ModelProto in OLDEST_OPSET, or as it is where it cannot be converted, and a note that says so."""
    try:
        converted = version_converter.convert_version(model, OLDEST_OPSET)
        open_session(converted.SerializeToString())
    except Exception as error:  # its C++ has no exceptions of its own, and knows no operators but the standard ones
        return model, f"opset {opset} is too old for a scale per channel, and cannot be converted: {_in_a_line(error)}"
    return converted, f"opset {opset} was converted to {OLDEST_OPSET}: the first with a scale per channel"


def _in_a_line(error):
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _as_it_is(plain):
    model = inliner.inline_local_functions(plain.copy(weights=True))
    for one in graph.graphs(model):
        del one.value_info[:]
        for node in [node for node in one.node if node.op_type == "Constant" and node.attribute[0].name == "value"]:
            weight = one.initializer.add()
            weight.CopyFrom(node.attribute[0].t)
            weight.name = node.output[0]
            one.node.remove(node)
    return model


def _tidy(model, path):
    """Rewrite the ModelProto, name every node, drop unused operator sets, and mark it as pre-processed, in place."""
    part_names(model)
    _fill_in_types(model, path)
    rewrite(model, path.parent)
    taken, domains = set(), {"", "ai.onnx"}
    for index, node in enumerate(graph.nodes(model)):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{index}"
            while node.name in taken:
                node.name += "_"
        taken.add(node.name)
        domains.add(node.domain)
    used = [opset for opset in model.opset_import if opset.domain in domains]
    del model.opset_import[:]
    model.opset_import.extend(used)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, properties | DONE)


def _fill_in_types(model, path):
    """Declare, in place, the types of tensors that ONNX cannot infer, behind onnxruntime's own operators for one."""
    known = {value.name for value in (*model.graph.value_info, *model.graph.output)}
    lacking = {name for node in model.graph.node for name in node.output if name} - known
    if not lacking:
        return
    try:
        session = open_unoptimized(model, path, sorted(lacking))
    except ValueError:  # a tensor that cannot be an output, such as one that is only there with optimizations
        return
    for value in session.get_outputs():
        if value.name in lacking and value.type in TYPES:
            sizes = value.shape or None  # onnxruntime shows a scalar and an open rank alike
            model.graph.value_info.append(onnx.helper.make_tensor_value_info(value.name, TYPES[value.type], sizes))


def check_request(reader, ranges):
    """Raise ValueError unless exactly one of the two sources of ranges is given."""
    if (reader is None) == (ranges is None):
        got = "neither" if reader is None else "both"
        raise ValueError(
            f"got {got} of reader and ranges; expected a reader, an iterable of feeds {{input name: array}}, to "
            "collect ranges from, or else ranges from calibration.collect"
        )
    if ranges is not None and not isinstance(ranges, calibration.Ranges):
        raise ValueError(f"ranges is a {type(ranges).__name__}; expected what calibration.collect gives")


def ranges_for(work, choice, reader, ranges, method):
    """The Ranges of `work`'s tensors; `reader` is consumed once."""
    if ranges is None:
        options = {"method": method, "dtype": choice.activation_dtype, "symmetric": choice.symmetric}
        ranges = _collected(work, reader, options)
    wrong = {name: pair for name, pair in ranges.items() if not all(math.isfinite(end) for end in pair)}
    if wrong:
        raise ValueError(f"ranges hold NaN or infinity: {wrong}; look for it in the calibration feeds")
    return ranges


def _collected(work, reader, options):
    """The Ranges on `reader`, the first feed of which `work` keeps, to try the result on.

    A list stays one, whose length is known, and whose feeds are known again.
    """
    if not isinstance(reader, Sequence):
        return calibration.collect(work.prepared, _each(work, reader), **options)
    work.feed, feeds = next(iter(reader), None), list(reader)  # kept with the ranges, so that no id is given again
    work.feeds = feeds[:: -(-len(feeds) // SAMPLED)] if feeds else []
    key = (work.prepared.path, *options.values(), *map(id, feeds))
    return once(key, lambda _: (calibration.collect(work.prepared, reader, **options), feeds))[0]


def _each(work, reader):
    draw = np.random.default_rng(0)
    for count, feed in enumerate(iterate_feeds(reader)):
        work.feed = work.feed or feed
        place = count if count < SAMPLED else draw.integers(count + 1)  # each feed is as likely as any to be kept
        if place < SAMPLED:
            work.feeds[place : place + 1] = [feed]
        yield feed


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
