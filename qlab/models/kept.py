"""Files that take a while to make: made once, kept in the cache, and checked against their own sha256 when opened."""

import hashlib

from qlab.files import write_whole
from qlab.machine import cache_folder, cached


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
