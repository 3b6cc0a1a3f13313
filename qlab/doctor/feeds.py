"""The feeds of a visit: from a file of arrays, or invented."""

import math
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qlab.graph.inventing import invented_feeds
from qlab.runtime import check_feed, open_session, run

HELD_OUT = 1 / 5  # of the feeds, from five on: measured on, not calibrated on
MEASURED_AT_MOST = 4
INVENTED, FEW = 8, 4
MOST_BYTES = 4e9  # of all feeds in a file
MAGIC = np.lib.format.MAGIC_PREFIX
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True)
class Feeds:
    """What a visit runs the models on.

    source    the file, or None where the feeds are invented
    declared  {input: shape} as the model has it, symbols included
    """

    feeds: list
    source: Path | None
    declared: dict

    @property
    def measured(self):
        """Those for times, errors and profiles: the first fifth, at least one and at most MEASURED_AT_MOST."""
        return self.feeds[: min(MEASURED_AT_MOST, max(1, int(len(self.feeds) * HELD_OUT)))]

    @property
    def held_out(self):
        """Whether those that measure do not calibrate: a range that has seen the very inputs flatters the SQNR."""
        return len(self.feeds) * HELD_OUT >= 1

    def few(self):
        """The first to measure on, and some to calibrate on; all of them where they are as few already."""
        return [self.measured[0], *self.calibration[:FEW]] if self.held_out else self.feeds

    @property
    def calibration(self):
        """Those for ranges."""
        return self.feeds[len(self.measured) :] if self.held_out else self.feeds


def feeds_for(model, session, source=None):
    """The Feeds for the model file `model`, open in `session`: from the file `source`, or else invented."""
    declared = {value.name: value.shape for value in session.get_inputs()}
    if source is None:
        return Feeds(invented_feeds(model, count=INVENTED), None, declared)
    feeds = Feeds(_feeds_in(Path(source), session, Path(model).name), Path(source), declared)
    for at, feed in enumerate(feeds.measured):
        try:
            answers = run(session, feed)
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise ValueError(f"{model} does not run on feed {at} of {source}: {error}") from None
        if all(np.size(answer) == 0 for answer in answers):
            empty = {name: array.shape for name, array in feed.items() if array.size == 0}
            raise ValueError(f"{model} gives nothing for feed {at} of {source}: it holds no numbers in {empty}")
    return feeds


def read_feeds(path, model):
    """The feeds in the .npz file `path` for the model file `model`: a list of {input name: array}.

    >>> np.savez("feeds.npz", **{"x.0": first, "x.1": second})  # doctest: +SKIP
    >>> recipes.static("model.onnx", "model.int8.onnx", read_feeds("feeds.npz", "model.onnx"))  # doctest: +SKIP

    A key is the name of an input, for a single feed, or the name with a dot and a number; the numbers give the order.
    An input whose own name ends so keeps it. Raises ValueError for any other file, and for a feed that does not fit the
    model; nothing is unpickled.
    """
    return _feeds_in(Path(path), open_session(model), Path(model).name)


def _feeds_in(path, session, model_name):
    promised = _promised(path)
    keys = _keys(promised, session, path, model_name)
    _checked(path, keys, promised, session, model_name, values=False)  # what does not fit is never read
    return _checked(path, keys, _arrays(path), session, model_name)


def _checked(path, keys, arrays, session, model_name, *, values=True):
    feeds = [{name: arrays[key] for name, key in named.items()} for named in keys.values()]
    for number, feed in zip(keys, feeds, strict=True):
        try:
            check_feed(session, feed, model_name, values=values)
        except ValueError as error:
            raise ValueError(f"{path}{'' if number is None else f', feed {number}'}: {error}") from None
    return feeds


def _keys(promised, session, path, model_name):
    """{number of a feed, in order: {input: key}}; the number is None for the only one."""
    names = {value.name for value in (*session.get_inputs(), *session.get_overridable_initializers())}
    keys = {}
    for key in promised:
        number, name = _place(key, names)
        if name is None:
            takes = sorted(value.name for value in session.get_inputs())
            raise ValueError(
                f"{path} has an array {key!r}, which is no input of {model_name}; it takes {takes}, with a number for "
                f"each of several feeds ({takes[0] if takes else 'x'}.0, ...)"
            )
        keys.setdefault(number, {})[name] = key
    if None in keys and len(keys) > 1:
        plain, numbered = sorted(keys.pop(None)), sorted(keys)
        raise ValueError(f"{path} has {plain} without a number, and feeds {numbered} with one; number all, or none")
    return dict(sorted(keys.items(), key=lambda item: item[0] or 0))


def _promised(path):
    """{key: stand-in} of an .npz file: arrays of the shapes and dtypes that its headers promise, in no memory at all.

    A header is a stranger's word for how much to allocate, and a zip file of some kilobytes holds gigabytes of zeros.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of feeds; {_made(path)}")
    promised, other, total = {}, [], 0
    with _whole(path), zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            with archive.open(info) as file:
                if file.read(len(MAGIC)) != MAGIC:
                    other.append(info.filename)
                    continue
                file.seek(0)
                shape, _, dtype = HEADERS[np.lib.format.read_magic(file)](file)
                size, stored = math.prod(shape) * dtype.itemsize, info.file_size - file.tell()
            if dtype.hasobject:
                raise ValueError("Object arrays are code to be unpickled")
            if size != stored:
                raise ValueError(f"{info.filename}: its header promises {size:,} bytes, the file holds {stored:,}")
            promised[info.filename.removesuffix(".npy")] = np.broadcast_to(np.zeros((), dtype.newbyteorder("=")), shape)
            total += size
    if other or not promised:
        raise ValueError(f"{path} holds {f'{other}, no arrays' if other else 'no array'}; write it with np.savez")
    if total > MOST_BYTES:
        raise ValueError(
            f"{path} holds {total / 1e9:.1f} GB of arrays; a dozen feeds do, {MOST_BYTES / 1e9:.0f} GB most"
        )
    return promised


def _arrays(path):
    """{key: array} of an .npz file, in this machine's byte order."""
    with _whole(path), np.load(path, allow_pickle=False) as stored:
        return {
            key: array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
            for key, array in stored.items()
        }


@contextmanager
def _whole(path):
    """Turn what any damage to an .npz file provokes into a ValueError that says what the file should be."""
    try:
        yield
    except Exception as error:  # of zipfile, zlib, tokenize, struct: each part of a file has its own
        what = error
        if isinstance(error, zipfile.BadZipFile) and path.read_bytes()[: len(MAGIC)] == MAGIC:
            what = "it is one array without a name, as np.save writes"
        raise ValueError(f"{path} is no .npz file of plain arrays ({what}); {_made(path)}") from None


def _made(path):
    return f"make it with np.savez({path.with_suffix('.npz').name!r}, **feed)"


def _place(key, names):
    """(number of the feed or None, input) that `key` means; (None, None) for neither."""
    if key in names:
        return None, key
    name, _, number = key.rpartition(".")
    if name in names and number.isascii() and number.isdecimal() and str(int(number)) == number:
        return int(number), name
    return None, None
