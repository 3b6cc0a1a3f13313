"""The one way into onnxruntime: open a model, check feeds, run it, time several against each other."""

import math
import os
import random
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

LIMIT_S, LONGEST_S, GRACE_S = 120.0, 1_000_000, 10.0  # seconds: for one run of a model, to end one that is stopped
MOST_THREADS = 64  # or as many as there are cores
MINIMUM_ROUNDS = 6  # below this no distribution-free 95 % interval of a paired median exists: 2 * 0.5**5 > 0.05
TRIES, MOST_REPEATS = 3, 10_000  # of an action, to see how long it takes; in one sample
_PATIENCE_S = 3
_TOLD = ContextVar("whether a bar tells of the whole already", default=False)
_NUMPY_NAMES = {"float": "float32", "double": "float64", "string": "object"}  # ONNX's own names otherwise
_NARROW = {
    TensorProto.INT4: TensorProto.INT8, TensorProto.UINT4: TensorProto.UINT8,
    TensorProto.INT2: TensorProto.INT8, TensorProto.UINT2: TensorProto.UINT8,
}  # fmt: skip

Feed = Mapping[str, npt.ArrayLike]  # {name of an input: array}
Names = Sequence[str]


class CalibrationReader(Protocol):
    """What onnxruntime calls a CalibrationDataReader: it gives a feed a call, then None."""

    def get_next(self) -> Feed | None:
        """The next feed, or None behind the last."""
        ...


class Session(Protocol):
    """An onnxruntime.InferenceSession, or what runs feeds as it does."""

    def run(self, output_names: Names | None, input_feed: Feed) -> Sequence[Any]:
        """The outputs asked for, or all of them."""
        ...


Reader = Iterable[Feed] | CalibrationReader
Feeds = Feed | Reader  # one, or several


def open_session(model, *, threads=1, adjust=None, weights=None):
    """An onnxruntime session on the CPU for `model`, a path or a serialized model's bytes.

    `threads` run inside one operator, and operators run one after another. `adjust(options)` may change the
    SessionOptions first. `weights`, {name: array}: the numbers of constants that are stored outside of the bytes; they
    are read where they lie, and must not change. Raises FileNotFoundError if the file is not there, ValueError if
    onnxruntime cannot read or run it.
    """
    check_threads(threads)
    if not isinstance(model, bytes | str | PathLike):
        raise ValueError(f"model is a {type(model).__name__}; expected a path, or a serialized model's bytes")
    source = model if isinstance(model, bytes) else os.fspath(model)
    shown = f"a model of {len(model)} bytes" if isinstance(model, bytes) else source
    if not isinstance(model, bytes) and not Path(source).is_file():
        raise FileNotFoundError(f"{shown}: no such model file; check the path, or make the model first")

    def configure(options):
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        if weights:
            values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
            options.add_external_initializers(list(weights), values)
        if adjust is not None:
            adjust(options)

    try:
        return _session(source, configure)
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise ValueError(
            f"{shown}: onnxruntime cannot open it; is it a complete ONNX file, its external data beside it? ({error})"
        ) from error


def open_unoptimized(model, path, shown=()):
    """An onnxruntime session for the ModelProto `model`, made from the file `path`, with graph optimizations off.

    They fuse nodes and rename tensors. Weights stored outside `path` are read where they lie.
    shown  tensors that are to be outputs as well, for this session only
    Raises ValueError if onnxruntime cannot run the model.
    """

    def configure(options):
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.enable_mem_pattern = False  # one plan would be kept for each new length of input
        folder = str(path.parent.resolve())
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)

    try:
        return _session(_with_outputs(model, shown), configure)
    except Exception as error:
        raise ValueError(
            f"{path}: onnxruntime cannot open it ({error}); does it run in an ordinary session?"
        ) from error


def _with_outputs(model, names):
    """The bytes of the ModelProto with further outputs. What stands behind a message is merged into it: no copy."""
    there = {value.name for value in model.graph.output}
    # A name is enough: onnxruntime knows the types, also where ONNX's own inference does not (other domains).
    more = [onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names) if name not in there]
    return model.SerializeToString() + onnx.ModelProto(graph=onnx.GraphProto(output=more)).SerializeToString()


def _session(source, configure):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # warnings would litter notebooks; failures arrive as exceptions
    # Idle workers of one session would otherwise spin on the cores that the next session is timed on.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    configure(options)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def check_threads(threads):
    """Raise ValueError unless `threads` is a number of threads that a machine can serve."""
    most = max(MOST_THREADS, usable_cores())
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= most:
        raise ValueError(f"threads is {threads!r}; expected a whole number from 1 up, {most} at most")


def usable_cores():
    """Cores that this process may use: containers and affinity masks often grant fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run(session, feed, names=None, *, limit_s=None):
    """What the onnxruntime session `session` answers to `feed`: its outputs, or those in `names`, as a list.

    A model that has not answered after `limit_s` seconds (None: QLAB_TIME_LIMIT, or else LIMIT_S) is stopped, with a
    ValueError. The caller's thread only waits, so that an interrupt stops it as well. Not for timing: starting a thread
    takes a while. Raises what onnxruntime raises.
    """
    limit_s = _limit_s() if limit_s is None else limit_s
    options, outcome = onnxruntime.RunOptions(), Future()

    def work():
        try:
            outcome.set_result(session.run(names, dict(feed), options))
        except BaseException as error:
            outcome.set_exception(error)

    thread = threading.Thread(target=work, name="qlab run", daemon=True)
    thread.start()
    try:
        return outcome.result(limit_s)
    except TimeoutError:
        raise NeverEnds(
            f"the model has not answered after {limit_s:g} s, and may never: is there a Loop without an end in it? If "
            "it only is that slow, set QLAB_TIME_LIMIT to more seconds"
        ) from None
    finally:
        options.terminate = True  # without effect on what has ended
        thread.join(GRACE_S)  # the end of the process would meet it in the midst of onnxruntime


def answers(session, feed, names=None):
    """{name: array} of what `run` gives for the outputs `names`; None: for all of them."""
    names = [output.name for output in session.get_outputs()] if names is None else list(names)
    return dict(zip(names, run(session, feed, names), strict=True))


def repeats(session, feed):
    """Whether the model answers `feed` alike twice: one that draws random numbers does not."""
    return all(_alike(*pair) for pair in zip(run(session, feed), run(session, feed), strict=True))


def _alike(one, other):
    if not isinstance(one, np.ndarray):
        return one == other
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


class NeverEnds(ValueError):
    """A model did not answer in time. To try it again, with another feed, would take as long."""


def _limit_s():
    text = os.environ.get("QLAB_TIME_LIMIT", str(LIMIT_S))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= LONGEST_S:
        raise ValueError(f"QLAB_TIME_LIMIT is {text!r}; expected seconds, more than 0 and at most {LONGEST_S:,}")
    return seconds


def run_operator(op_type, *inputs, **how):
    """The first output of one operator, by onnxruntime.

    >>> run_operator("QuantizeLinear", np.float32([-1, 0.5]), np.float32(0.1), np.uint8(10))
    array([ 0, 15], dtype=uint8)

    inputs: arrays in the operator's order, ml_dtypes' 4-bit ones too; None for one that is left out. `how`: as
    `operator_session`. Integers of fewer than 8 bits come back as int8 or uint8, since onnxruntime hands none to NumPy.
    Raises ValueError as `open_session`.
    """
    return operator_session(op_type, *inputs, **how).run(None, {})[0]


def operator_session(op_type, *inputs, fed=0, opset=21, domain="", **attributes):
    """A session of one operator, with its inputs stored in it; the first `fed` of them are fed, as "input_0", ..."""
    names = ["" if array is None else f"input_{index}" for index, array in enumerate(inputs)]
    tensors = [numpy_helper.from_array(np.asarray(x), name) for x, name in zip(inputs, names, strict=True) if name]
    takes = [helper.make_tensor_value_info(one.name, one.data_type, one.dims) for one in tensors[:fed]]
    node = helper.make_node(op_type, names, ["output"], domain=domain, **attributes)
    graph = helper.make_graph([node], op_type, takes, [onnx.ValueInfoProto(name="output")], tensors[fed:])
    opsets = [helper.make_opsetid(name, version) for name, version in {domain: 1, "": opset}.items()]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    try:
        inferred = onnx.shape_inference.infer_shapes(model).graph.output[0].type.tensor_type.elem_type
    except onnx.shape_inference.InferenceError as error:
        raise ValueError(f"{op_type} does not take these inputs: {error}") from error
    if inferred in _NARROW:
        model.graph.node.append(helper.make_node("Cast", ["output"], ["widened"], to=_NARROW[inferred]))
        model.graph.output[0].name = "widened"
    return open_session(model.SerializeToString())


def interleave(actions, rounds, *, repeats=None, seed=0, budget_s=math.inf, description=None, clock=time.perf_counter):
    """Seconds that every action took in every round: {name: float64 [rounds]}.

    `actions` maps names to callables; each runs once untimed, then once a round, in an order drawn anew for every
    round. A machine that slows down meanwhile then slows all of them, and round i of one action pairs with round i of
    another. After `budget_s` seconds it stops early, but not before MINIMUM_ROUNDS.
    `repeats`, {name: times}, has an action run several times in a round, which counts with the mean of their middle
    half: a pause of the machine, which stretches few runs a hundredfold, stays outside; and where runs have two speeds,
    it lies between them, where a median would be now the one, now the other.
    A bar named by `description` shows after 3 s.
    """
    order, repeats = random.Random(seed), repeats or {}
    names = list(actions)
    for action in actions.values():
        action()
    seconds = {name: [] for name in actions}
    started = clock()
    with bar(range(rounds), description) as counted:
        for done, _ in enumerate(counted):
            if done >= MINIMUM_ROUNDS and clock() - started > budget_s:
                break
            order.shuffle(names)
            for name in names:
                runs = [_timed(actions[name], clock) for _ in range(repeats.get(name, 1))]
                seconds[name].append(_middle(runs))
    return {name: np.array(values) for name, values in seconds.items()}


def repeats_of(action, sample_s, *, clock=time.perf_counter):
    """How often `action` runs in `sample_s` seconds, once at the least; it is run a few times to find out."""
    seconds = [_timed(action, clock)]
    while len(seconds) < MOST_REPEATS and sum(seconds) < (10 if len(seconds) < TRIES else 1) * sample_s:
        seconds.append(_timed(action, clock))
    typical = max(float(np.median(seconds)), sample_s / MOST_REPEATS)
    return max(1, math.ceil(sample_s / typical)) if sample_s else 1


def _timed(action, clock):
    before = clock()
    action()
    return clock() - before


def _middle(seconds):
    """The mean of the middle half."""
    outside = (len(seconds) + 1) // 4
    return float(np.mean(sorted(seconds)[outside : len(seconds) - outside]))


@contextmanager
def only_bar(description, *, total=None, unit="it"):
    """A bar that tells of the whole: what shows one of its own in this block does not. -> tqdm"""
    with bar(description=description, total=total, unit=unit) as shown:
        token = _TOLD.set(True)
        try:
            yield shown
        finally:
            _TOLD.reset(token)


def bar(iterable=None, description=None, *, total=None, unit="it"):
    """A tqdm bar that shows after 3 s and vanishes at the end; TQDM_DISABLE=1 keeps it away. -> tqdm

    It is written on stderr, but in a notebook on stdout: JupyterLab paints stderr as it does errors. Where a notebook
    catches what is printed, as `check` does around a learner's function, there is no bar.
    """
    from tqdm import tqdm  # not before it is needed: importing qlab stays quick

    in_notebook = _is_jupyters(sys.stderr) or _is_jupyters(sys.stdout)
    options = {"unit": unit, "delay": _PATIENCE_S, "leave": False}
    if _TOLD.get() or (in_notebook and not _is_jupyters(sys.stdout)):
        options["disable"] = True  # left out otherwise: tqdm asks the environment for what is not given
    return tqdm(iterable, description, total, file=sys.stdout if in_notebook else sys.stderr, **options)


def _is_jupyters(stream):
    """Does what is written there go to a page?"""
    return type(stream).__module__.partition(".")[0] == "ipykernel"


def iterate_feeds(reader):
    """Yield the feeds of `reader` one by one, each of them once; none is kept.

    A reader is one feed ({input name: array}), an iterable of feeds, or an onnxruntime CalibrationDataReader.
    Raises ValueError when it meets anything that is no feed.
    """
    if isinstance(reader, Mapping):
        yield reader
        return
    if hasattr(reader, "get_next"):  # what makes a CalibrationDataReader for onnxruntime; None ends it
        items = iter(reader.get_next, None)
    else:
        try:
            items = iter(reader)
        except TypeError:
            items = [reader]
    for item in items:
        if not isinstance(item, Mapping):
            raise ValueError(
                f"feed holds {type(item).__name__}; expected {{input name: array}}, or a list of such dictionaries"
            )
        yield item


def as_feeds(feed):
    """A list of feeds from one feed ({input name: array}) or an iterable of feeds, such as a CalibrationDataReader."""
    feeds = list(iterate_feeds(feed))
    if not feeds:
        raise ValueError("feed is an empty list; expected at least one {input name: array}")
    return feeds


def check_feed(session, feed, model_name, *, values=True):
    """Raise ValueError unless `feed` is finite and has the names, dtypes and shapes that the model declares.

    values  False: only names, dtypes and shapes, so that the arrays may be stand-ins
    """
    if not all(isinstance(name, str) for name in feed):
        raise ValueError(f"feed has the keys {list(feed)}; expected names of inputs, all of them text")
    inputs = {value.name: value for value in session.get_inputs()}
    optional = {value.name: value for value in session.get_overridable_initializers()}
    missing = sorted(set(inputs) - set(feed))
    unknown = sorted(set(feed) - set(inputs) - set(optional))
    if missing or unknown:
        raise ValueError(
            f"feed has {sorted(feed)}; model {model_name!r} takes {sorted(inputs)}"
            + (f"; missing: {missing}" if missing else "")
            + (f"; not an input: {unknown}" if unknown else "")
        )
    for name, value in feed.items():
        what, who = f"feed[{name!r}]", f"model {model_name!r}"
        if _check_array(value, inputs.get(name) or optional[name], what, who) and values:
            _check_values(value, what)


def _check_array(value, declared, what, who):
    """Whether it is an array at all; raises if it is not the one that is declared."""
    if not declared.type.startswith("tensor("):
        return False  # a sequence, map or optional input: onnxruntime checks it
    if not isinstance(value, np.ndarray):
        raise ValueError(f"{what} is a {type(value).__name__}; {who} takes a NumPy array: wrap it in np.array")
    wanted = declared.type.removeprefix("tensor(").removesuffix(")")
    wanted = _NUMPY_NAMES.get(wanted, wanted)
    is_text = wanted == "object" and value.dtype.kind in "OUST"
    if value.dtype.name != wanted and not is_text:
        raise ValueError(f"{what} is {value.dtype.name}; {who} takes {wanted}: convert it with .astype")
    if not value.dtype.isnative:
        raise ValueError(
            f"{what} is {value.dtype.name} in the other byte order ({value.dtype.str}), whose bytes onnxruntime would "
            f"read unswapped: convert it with .astype('{value.dtype.name}')"
        )
    if not _shape_fits(value.shape, declared.shape):
        raise ValueError(f"{what} has shape {value.shape}; {who} takes {_shape_text(declared.shape)}")
    return True


def _check_values(value, what):
    if np.ma.is_masked(value):
        raise ValueError(
            f"{what} is a masked array, and onnxruntime would read what its mask hides: put a number there with "
            ".filled(0)"
        )
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        count = int(value.size - np.isfinite(value).sum())
        raise ValueError(f"{what} holds {count} NaN or infinite values of {value.size}; a feed must be finite")


def _shape_fits(shape, declared):
    if not declared:  # onnxruntime shows a scalar and an open rank alike
        return True
    fixed = [(size, wanted) for size, wanted in zip(shape, declared, strict=False) if isinstance(wanted, int)]
    return len(shape) == len(declared) and all(size == wanted for size, wanted in fixed)


def _shape_text(declared):
    return "[" + ", ".join("any" if size is None else str(size) for size in declared) + "]"
