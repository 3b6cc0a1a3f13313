"""Where a recipe works and how its result reaches its place: written beside, checked, then renamed.

Pre-processing: what onnxruntime's quantizer wants done to a model before it quantizes.

Where the ranges of a static recipe come from: given, or collected on the pre-processed model.

Names of nodes to leave alone, followed through the fusing that pre-processing does.

One run of a recipe, from a checked input to a published output."""

import difflib
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
from onnxruntime.quantization.shape_inference import quant_pre_process

from qlab import calibration, graph
from qlab.files import ModelPath, as_path, check_target, scratch, writing
from qlab.graph.editing import delist_weights, listed_weights, narrow_types, part_names, show, widen
from qlab.graph.model import LARGE, OLDEST_OPSET, Model, data_file, external_files, opset_of, write
from qlab.graph.operators import CLIPS, FLOAT_PRODUCTS, PASSED_AT_LOAD
from qlab.numerics.metrics import sqnr_db
from qlab.recipes.choice import MADE_BY, check_names
from qlab.recipes.quantized import Quantized, fates, grown
from qlab.recipes.quantizers import captured_logs, rewrite
from qlab.runtime import iterate_feeds, open_session, open_unoptimized, repeats, run


def check_output(output, model, source):
    """`output` as a Path, if a recipe may write there without harm to `model`, whose ModelProto is `source`."""
    output, model = check_target(output), Path(model)
    if not output.parent.is_dir():
        raise FileNotFoundError(f"{output}: there is no folder {output.parent}; make it first")
    check_target(data_file(output))
    kept = [model, *(model.parent / location for location in external_files(source))]
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


TYPES = {  # onnxruntime's names of those that operators of its own give
    "tensor(float)": onnx.TensorProto.FLOAT, "tensor(int32)": onnx.TensorProto.INT32,
    "tensor(int64)": onnx.TensorProto.INT64, "tensor(bool)": onnx.TensorProto.BOOL,
}  # fmt: skip


DONE = ("onnx.quant.pre_process", "onnxruntime.quant")  # without this mark onnxruntime's quantizers complain


def prepare(model: ModelPath, output: ModelPath) -> Path:
    """Write the model that the recipes really quantize: `model` fused and folded, with its shapes. Returns the path.

    Collect ranges on this one if several recipes are to share them: fusing drops and renames tensors.
    Raises ValueError for a model that is quantized already or cannot be opened, FileNotFoundError where one is missing.
    """
    model, source = as_path(model), check_source(model)
    output = check_output(output, model, source)
    with workshop(output) as folder, writing(output):
        prepared, _ = prepared_in(folder, model, source)
        return publish(write(onnx.load(prepared), folder, output.name), output)


def check_source(model):
    """The ModelProto of the file `model`, its external weights left where they are, if a recipe can start from it.

    Raises ValueError naming what shows that it is quantized already, and what `graph.load` raises.
    """
    source = graph.load(model)
    if found := graph.quantized_by(source):
        raise ValueError(
            f"{model} is already quantized: it has {', '.join(found)} nodes. Quantizing twice only adds error; start "
            "from the fp32 model that it was made from"
        )
    return source


def prepared_in(folder, model, source):
    """The path of the pre-processed model in `folder`, and notes on what was done or failed on the way.

    1. Floats of 16 bits become float32, weights that are listed as inputs constants.
    2. onnxruntime's own pre-processing folds constants, fuses BatchNorm and biases, and infers shapes.
    3. If it fails, as it may where declared shapes contradict each other: the model as it is, functions inlined,
       constants turned into weights, declared shapes dropped.
    4. A model of an opset before 13 is converted to that.
    5. What the quantizers take wrongly is rewritten: see `rewrite`.
    Every node then has a name of its own, by which the quantizer tells nodes apart.
    """
    model, notes = _plain(folder, model, source)
    open_session(model)  # a model that does not run at all fails here, with a better message
    target, large = folder / "prepared.onnx", Model(model, onnx.load(model, load_external_data=False)).bytes > LARGE
    why = _pre_process(model, target, large)
    if why is not None and not target.exists():
        write(_as_it_is(model), folder, target.name)
    notes += [] if why is None else [f"pre-processing failed, so less was fused ahead: {why}"]
    if not large:
        notes += _modernize(target)
    _tidy(target)
    return target, notes


def _plain(folder, model, source):
    """The path of `model` with float32 numbers and constant weights, a copy in `folder` where need be, and notes."""
    if not narrow_types(source) and not listed_weights(source):
        return model, []
    plain = onnx.load(model)
    notes = [widen(plain), delist_weights(plain)]
    with writing(folder):
        return write(plain, folder, "plain.onnx"), [note for note in notes if note]


def _modernize(path):
    """Convert the model to OLDEST_OPSET if its opset is an older one, in place; or else say in a note why it is not."""
    model = onnx.load(path)
    opset = opset_of(model)
    if opset >= OLDEST_OPSET:
        return []
    try:
        converted = version_converter.convert_version(model, OLDEST_OPSET).SerializeToString()
        open_session(converted)
    except Exception as error:  # its C++ has no exceptions of its own, and knows no operators but the standard ones
        return [f"opset {opset} is too old for a scale per channel, and cannot be converted: {_in_a_line(error)}"]
    path.write_bytes(converted)
    return [f"opset {opset} was converted to {OLDEST_OPSET}: the first with a scale per channel"]


def _pre_process(model, target, large):
    """What went wrong in onnxruntime's pre-processing, in one line, or None."""
    placed = {"all_tensors_to_one_file": True, "external_data_location": "prepared.onnx.data"} if large else {}
    with captured_logs() as records:
        try:
            # Symbolic shape inference would need sympy; onnxruntime's optimizer infers shapes as well.
            quant_pre_process(str(model), str(target), skip_symbolic_shape=True, save_as_external_data=large, **placed)
        except Exception as error:  # whatever a model of foreign make provokes in onnx and onnxruntime
            target.unlink(missing_ok=True)
            return _in_a_line(error)
    return next((record.getMessage().strip().splitlines()[-1] for record in reversed(records)), None)


def _in_a_line(error):
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _as_it_is(path):
    model = inliner.inline_local_functions(onnx.load(path))
    for one in graph.graphs(model):
        del one.value_info[:]
        for node in [node for node in one.node if node.op_type == "Constant" and node.attribute[0].name == "value"]:
            weight = one.initializer.add()
            weight.CopyFrom(node.attribute[0].t)
            weight.name = node.output[0]
            one.node.remove(node)
    return model


def _tidy(path):
    """Rewrite the model, name every node, drop unused operator sets, and mark it as pre-processed, in place."""
    model = onnx.load(path, load_external_data=False)
    part_names(model)
    _fill_in_types(model, path)
    rewrite(model, path.parent)
    taken, domains = set(), {""}
    for index, node in enumerate(graph.nodes(model)):
        if not node.name or node.name in taken:
            node.name = next(name for name in _names(node, index) if name not in taken)
        taken.add(node.name)
        domains.add("" if node.domain == "ai.onnx" else node.domain)
    used = [opset for opset in model.opset_import if opset.domain in domains | {"ai.onnx"}]
    del model.opset_import[:]
    model.opset_import.extend(used)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, properties | dict([DONE]))
    path.write_bytes(model.SerializeToString())


def _fill_in_types(model, path):
    """Declare, in place, the types of tensors that ONNX cannot infer, behind onnxruntime's own operators for one."""
    known = {value.name for value in (*model.graph.value_info, *model.graph.output)}
    lacking = {name for node in model.graph.node for name in node.output if name} - known
    if not lacking:
        return
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    show(shown, sorted(lacking))
    try:
        session = open_unoptimized(shown, path)
    except ValueError:  # a tensor that cannot be an output, such as one that is only there with optimizations
        return
    for value in session.get_outputs():
        if value.name in lacking and value.type in TYPES:
            sizes = value.shape or None  # onnxruntime shows a scalar and an open rank alike
            model.graph.value_info.append(onnx.helper.make_tensor_value_info(value.name, TYPES[value.type], sizes))


def _names(node, index):
    yield f"{node.op_type}_{index}"
    while True:
        index = f"{index}_"
        yield f"{node.op_type}_{index}"


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
    key = (work.prepared, *options.values(), *map(id, feeds))
    return once(key, lambda _: (calibration.collect(work.prepared, reader, **options), feeds))[0]


def _each(work, reader):
    for feed in iterate_feeds(reader):
        work.feed = work.feed or feed
        yield feed


NEEDED = "a Log, root or quotient behind needs smaller numbers than codes tell apart"


SHOWN = 5  # names in a note


def excluded(work, names):
    """{name in the pre-processed model: why} of the nodes that `names` names in the original.

    A node that was fused into another is found by what it computes: from its output forward, along single consumers, to
    the first tensor that is still there. Raises ValueError for a name that the original does not have.
    """
    check_names(names, "exclude")
    nodes = {node.name: node for node in graph.nodes(work.source) if node.name}
    prepared = onnx.load(work.prepared, load_external_data=False)
    still = {node.name for node in graph.nodes(prepared)}
    producers = {name: node for node in graph.nodes(prepared) for name in node.output}
    found = set()
    for name in names:
        if name not in nodes and name not in still:
            close = difflib.get_close_matches(name, nodes, n=3)
            hint = (
                f"did you mean {', '.join(map(repr, close))}?" if close else f"the model has {len(nodes)} named nodes"
            )
            raise ValueError(f"exclude names {name!r}, which {work.model} does not have; {hint}")
        fused = {name} & still or {f"{name}/MatMulAddFusion"} & still
        found.update(fused or [_fused_into(nodes[name], work.source, producers)])
    # A Relu or Clip computes nothing on codes: it is where they end. Alone in float it would be given coarser ones.
    clips = (node for node in graph.nodes(prepared) if node.op_type in CLIPS and node.input[0] in producers)
    ahead = {clip.name: producers[clip.input[0]] for clip in clips}
    of_codes = {name for name, node in ahead.items() if node.op_type in FLOAT_PRODUCTS and node.name not in found}
    return dict.fromkeys(found - {None} - of_codes, "excluded by name")


def in_float(why, names):
    """[a note on the nodes `names`, which stay in float for a reason found in the numbers]; [] if there are none."""
    shown = [*sorted(names)[:SHOWN], *["..."] * (len(names) > SHOWN)]
    return [f"left in float, since {why}: {', '.join(shown)}"] if names else []


def without_range(work, ranges, op_types):
    """{name: why} of the nodes that cannot be quantized, since a tensor that they read or write got no range.

    A mask of minus infinities is such a tensor; onnxruntime's quantizer would stop there.
    """
    prepared = onnx.load(work.prepared, load_external_data=False)
    reasons, left_out = {}, ranges.left_out
    for node in prepared.graph.node:
        lacking = next((name for name in (*node.input, *node.output) if name in left_out), None)
        if node.op_type in op_types and lacking is not None:
            reasons[node.name] = f"{lacking!r} has no range: {left_out[lacking]}"
    return reasons


def of_small_numbers(work, ranges, static, dynamic=()):
    """{name: why} of the nodes whose codes would lose the small numbers that a Log, root or quotient behind them needs.

    static, dynamic  operators that get codes to read and to write, and to read only. See `Magnitudes`.
    """
    lost = ranges.joins.magnitudes.lost(ranges)
    reasons = {}
    for node in onnx.load(work.prepared, load_external_data=False).graph.node:
        read, written = ([lost[name] for name in names if name in lost] for names in (node.input, node.output))
        needed = read + written if node.op_type in static else read and written if node.op_type in dynamic else ()
        if needed:
            reasons[node.name] = f"too few codes for the small numbers that {needed[0]} needs"
    return reasons


def _fused_into(node, source, producers):
    consumers = {}
    for other in graph.nodes(source):
        for name in other.input:
            consumers.setdefault(name, []).append(other)
    moves = node.op_type in PASSED_AT_LOAD
    while node is not None:
        if node.output[0] in producers:
            found = producers[node.output[0]]
            while found.op_type in PASSED_AT_LOAD and not moves:  # products of stacks are fused between two Reshapes
                found = producers[found.input[0]]
            return found.name
        following = consumers.get(node.output[0], [])
        node = following[0] if len(following) == 1 else None
    return None  # folded into a constant: nothing is left to quantize


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
                Model(path, onnx.load(path, load_external_data=False)).bytes,
                Model(self.model, self.source).bytes,
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
            onnx.helper.set_model_props(result, properties | {MADE_BY: self.recipe})
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
