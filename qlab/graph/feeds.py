"""Read feeds from any kind of reader, and check them before onnxruntime answers less clearly."""

from collections.abc import Mapping

import numpy as np

_NUMPY_NAMES = {"float": "float32", "double": "float64", "string": "object"}  # ONNX's own names otherwise


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
