"""Values and exceptions in a few words, whatever they are: nothing here raises on a hostile object."""

import linecache
import sysconfig
from pathlib import Path

import numpy as np

LIMIT = 160  # characters of a value or of an exception's text
_LIBRARY = (
    *(path for name, path in sysconfig.get_paths().items() if name in {"stdlib", "platstdlib", "purelib", "platlib"}),
    str(Path(__file__).resolve().parents[1]),
)


def shortened(text, limit=LIMIT):
    """The text, or its beginning and how much is left out."""
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text):,} characters)"


def kind(value):
    """The name of a value's type."""
    return type(value).__name__


def brief(value):
    """A value as a learner knows it: dtype, shape and first entries of an array, otherwise a shortened repr."""
    try:
        if isinstance(value, np.ndarray | np.generic):
            return _array(np.asarray(value))
        return shortened(repr(value))
    except Exception:  # a __repr__ of the learner's own may do anything
        return f"a {kind(value)}"


def _array(array):
    numbers = ", ".join(number(entry) for entry in array.ravel()[:6])
    if array.ndim == 0:
        return f"{numbers} ({array.dtype})"
    more = ", ..." if array.size > 6 else ""
    return f"{array.dtype} of shape {array.shape} [{numbers}{more}]"


def number(value):
    """One entry of an array in at most six digits."""
    try:
        return f"{float(value):.6g}"
    except (TypeError, ValueError):
        return shortened(str(value), 20)


def error_text(error):
    """What was raised: the exception's type and its shortened text."""
    try:
        text = shortened(str(error))
    except Exception:  # a __str__ of the learner's own may do anything
        text = ""
    return f"{kind(error)}: {text}" if text else kind(error)


def learner_line(error):
    """Where in the learner's own code it was raised: ", in line 2, `return 1 / 0`", or "" if nowhere there."""
    found, step = None, error.__traceback__
    while step is not None:
        filename = step.tb_frame.f_code.co_filename
        if not filename.startswith((*_LIBRARY, "<frozen", "<__array_function__")):
            found = filename, step.tb_lineno, step.tb_frame.f_globals
        step = step.tb_next
    if found is None:
        return ""
    source = linecache.getline(*found).strip()
    return f", in line {found[1]}" + (f", `{shortened(source, 80)}`" if source else "")
