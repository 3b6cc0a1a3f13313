"""Files of this process's own, files that are made once and kept in the cache, and scikit-learn's digits, split."""

import filecmp
import hashlib
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from qlab.files import scratch_prefix, write_whole
from qlab.machine import cache_folder, cached
from qlab.numerics.dtypes import Array


def lent(path):
    """The file `path` under a path of this process's own, in a folder that is removed when it ends.

    onnxruntime's quantizers write MODEL-inferred.onnx beside MODEL: two kernels would take it from each other, and
    where the course's folder can only be read they would fail.
    """
    own = Path(_folder().name) / path.name
    there = own.readlink() == path if own.is_symlink() else own.is_file() and filecmp.cmp(own, path)
    if not there:
        own.unlink(missing_ok=True)
        try:
            own.symlink_to(path)
        except OSError:  # Windows grants links to few
            shutil.copy2(path, own)
    return own


@cache
def _folder():
    return tempfile.TemporaryDirectory(prefix=scratch_prefix(), ignore_cleanup_errors=True)


def kept(name, make):
    """Path of the cached file `name`; where it is not there whole, `make()` gives its bytes.

    Whatever the bytes depend on belongs into the name. The file's sha256 stands beside it, and is verified.
    """
    path = cached(name)
    if not _is_whole(path):
        path = cache_folder() / name
    if not _is_whole(path):
        write_whole(path, make())
        write_whole(_note(path), _digest(path))
    return path


def _is_whole(path):
    return path.is_file() and _note(path).is_file() and _digest(path) == _note(path).read_text()


def _note(path):
    return path.with_suffix(".sha256")


def _digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digit_split() -> tuple[Array, Array, Array, Array]:
    """(x_train, y_train, x_test, y_test): x float32 [n, 1, 8, 8] in 0..1, y int64 [n]; 1198 digits and 599.

    Every third picture is held out, always the same ones. People wrote the digits in blocks, so that both parts hold
    everybody's hand: the accuracy says nothing about a new writer.
    Source: UCI Optical Recognition of Handwritten Digits, as shipped with scikit-learn.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = (digits.images[:, None] / 16).astype(np.float32)
    y = digits.target.astype(np.int64)
    held_out = np.arange(len(x)) % 3 == 2
    return x[~held_out], y[~held_out], x[held_out], y[held_out]
