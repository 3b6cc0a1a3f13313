"""What a search has measured already, kept in a folder: it goes on where it was interrupted."""

import hashlib
import json
import math
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from qlab.files import as_path, write_whole, writing

FORMAT = 2
MOST_BYTES = 64_000_000  # of a file of trials


class Remembered:
    """{key: [numbers]} of finished trials; with a `folder`, in a small JSON file of a name of its own there.

    parts   what the numbers depend on, as text, bytes or arrays: another part, another file
    A file that is damaged, or of other content than it should have, is begun anew. Infinities and NaN are kept.
    """

    def __init__(self, folder, parts):
        self.path, self._known = None, {}
        if folder is None:
            return
        folder = as_path(folder, "keep")
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"search-{digest(parts)[:24]}.json"
        with suppress(OSError, ValueError, RecursionError):  # none yet, or damaged: measured again
            if self.path.stat().st_size <= MOST_BYTES:
                self._known = _checked(json.loads(self.path.read_text(encoding="utf-8")))

    def __len__(self):
        return len(self._known)

    def __call__(self, key, measure):
        """The numbers of `key`; `measure()` gives them where they are not known yet."""
        key = hashlib.sha256(repr(key).encode()).hexdigest()
        if key not in self._known:
            self._known[key] = [float(number) for number in measure()]
            if self.path is not None:
                with writing(self.path):
                    write_whole(self.path, json.dumps({"format": FORMAT, "trials": self._known}))
        return self._known[key]


def _checked(read):
    """The trials of a file. Raises ValueError unless it is what is written here."""
    trials = read.get("trials") if isinstance(read, dict) and read.get("format") == FORMAT else None
    if not isinstance(trials, dict):
        raise ValueError("no file of trials")
    for key, numbers in trials.items():
        is_list = isinstance(numbers, list) and 1 <= len(numbers) <= 16
        if len(key) != 64 or not is_list or not all(type(number) is float for number in numbers):
            raise ValueError("no trial")
    return trials


def digest(parts):
    """A sha256 of texts, bytes, paths of files, arrays, and of lists and dictionaries of such."""
    found = hashlib.sha256()
    _add(found, [parts, np.__version__, onnx.__version__, onnxruntime.__version__])
    return found.hexdigest()


def _add(found, part):
    found.update(type(part).__name__.encode())
    if isinstance(part, np.ndarray):
        found.update(f"{part.dtype.str}{part.shape}".encode())
        found.update(np.ascontiguousarray(part).tobytes() if part.dtype.kind != "O" else repr(part.tolist()).encode())
    elif isinstance(part, Path):
        with part.open("rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    elif isinstance(part, dict):
        for key in sorted(part, key=str):
            _add(found, str(key))
            _add(found, part[key])
    elif isinstance(part, list | tuple):
        found.update(str(len(part)).encode())
        for one in part:
            _add(found, one)
    else:
        text = part if isinstance(part, bytes) else repr(part).encode()
        found.update(str(len(text)).encode() + text)


def finite(number):
    """Whether it is a number that can be compared."""
    return isinstance(number, int | float | np.number) and not isinstance(number, bool) and math.isfinite(number)
