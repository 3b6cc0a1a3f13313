"""The feeds of a visit: from a file of arrays, or invented."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qlab.graph.feeds import check_feed
from qlab.graph.inventing import invented_feeds
from qlab.machine.runtime import open_session

HELD_OUT = 1 / 5  # of the feeds, from five on: measured on, not calibrated on
MEASURED_AT_MOST = 4
INVENTED = 8


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
            answers = session.run(None, feed)
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
    arrays = _arrays(path)
    names = {value.name for value in (*session.get_inputs(), *session.get_overridable_initializers())}
    feeds = {}
    for key, array in arrays.items():
        number, name = _place(key, names)
        if name is None:
            takes = sorted(value.name for value in session.get_inputs())
            raise ValueError(
                f"{path} has an array {key!r}, which is no input of {model_name}; it takes {takes}, with a number for "
                f"each of several feeds ({takes[0] if takes else 'x'}.0, ...)"
            )
        feeds.setdefault(number, {})[name] = array
    if None in feeds and len(feeds) > 1:
        plain, numbered = sorted(feeds.pop(None)), sorted(feeds)
        raise ValueError(f"{path} has {plain} without a number, and feeds {numbered} with one; number all, or none")
    for number, feed in sorted(feeds.items(), key=lambda item: item[0] or 0):
        try:
            check_feed(session, feed, model_name)
        except ValueError as error:
            raise ValueError(f"{path}{'' if number is None else f', feed {number}'}: {error}") from None
    return [feeds[number] for number in sorted(feeds, key=lambda number: number or 0)]


def _arrays(path):
    """{key: array} of an .npz file, without ever unpickling."""
    name = path.with_suffix(".npz").name
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of feeds; make it with np.savez({name!r}, **feed)")
    try:
        with path.open("rb") as file:
            stored = np.load(file, allow_pickle=False)
            if isinstance(stored, np.ndarray):
                raise ValueError("it is one array without a name, as np.save writes")
            arrays = dict(stored.items())
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise ValueError(
            f"{path} is no .npz file of plain arrays ({error}); make it with np.savez({name!r}, **feed)"
        ) from None
    other = [key for key, value in arrays.items() if not isinstance(value, np.ndarray)]
    if other or not arrays:
        raise ValueError(f"{path} holds {f'{other}, no arrays' if other else 'no array'}; write it with np.savez")
    return arrays


def _place(key, names):
    """(number of the feed or None, input) that `key` means; (None, None) for neither."""
    if key in names:
        return None, key
    name, _, number = key.rpartition(".")
    if name in names and number.isascii() and number.isdecimal() and str(int(number)) == number:
        return int(number), name
    return None, None
