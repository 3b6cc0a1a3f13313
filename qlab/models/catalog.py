"""The course's data by name: every file is checked against data/SHA256SUMS when it is opened."""

import filecmp
import hashlib
import shutil
import tempfile
from functools import cache
from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "data"


def checked(name):
    """Path of the file `name` in data/, such as "models/digits.onnx", its sha256 verified.

    Raises FileNotFoundError if the file is missing and ValueError if it was altered; both say how to restore it.
    """
    if not DATA.is_dir():
        raise FileNotFoundError(
            f"data/{name} is not here: the course's models and recordings lie in its repository, not in an installed "
            "wheel. Clone the repository and `pip install -e .` there; qlab on your own models needs none of them"
        )
    path = DATA / name
    restore = f"restore it with `git checkout -- data/{name}`, or clone the course again"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {restore}")
    expected = _checksums().get(name)
    if expected is None:
        raise ValueError(f"data/{name} is not listed in data/SHA256SUMS: {restore} together with data/SHA256SUMS")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise ValueError(f"{path} was altered: its sha256 is {found[:16]}..., expected {expected[:16]}...; {restore}")
    return path


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
    return tempfile.TemporaryDirectory(prefix="quantization-lab-", ignore_cleanup_errors=True)


@cache
def _checksums():
    listing = DATA / "SHA256SUMS"
    if not listing.is_file():
        raise FileNotFoundError(f"{listing} is missing: restore it with `git checkout -- data/SHA256SUMS`")
    lines = (line.split(maxsplit=1) for line in listing.read_text(encoding="utf-8").splitlines())
    return {name: digest for digest, name in lines}
