"""Files: verified before they are trusted, whole or not there at all, and nothing left behind.

What is being written stands in a folder of a name of our own, `.qlab-HOST-PID-...`, beside its place, and is renamed.
The folder goes with the block, whatever ends it; what a killed process left, the next one sweeps.
"""

import hashlib
import os
import platform
import re
import shutil
import signal
import tempfile
import threading
import zlib
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

ModelPath = str | os.PathLike[str]

DATA = Path(__file__).resolve().parents[1] / "data"
ENDINGS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


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
    expected = checksums().get(name)
    if expected is None:
        raise ValueError(f"data/{name} is not listed in data/SHA256SUMS: {restore} together with data/SHA256SUMS")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise ValueError(f"{path} was altered: its sha256 is {found[:16]}..., expected {expected[:16]}...; {restore}")
    return path


@cache
def checksums():
    """{name: sha256} of every file in data/ that qlab opens."""
    listing = DATA / "SHA256SUMS"
    if not listing.is_file():
        raise FileNotFoundError(f"{listing} is missing: restore it with `git checkout -- data/SHA256SUMS`")
    lines = (line.split(maxsplit=1) for line in listing.read_text(encoding="utf-8").splitlines())
    return {name: digest for digest, name in lines}


def as_path(path, what="model"):
    """`path` as a Path; ValueError for what is none."""
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"{what} is a {type(path).__name__}; expected the path of a file")
    return Path(path)


def check_target(path):
    """`path` as a Path, if a file may be put there: where a regular file is, or nothing.

    Renaming replaces whatever has the name, as root /dev/null too.
    """
    path = as_path(path, "output")
    try:
        if path.is_dir():
            raise ValueError(f"{path} is a folder; expected the path of a file, such as {path / 'model.int8.onnx'}")
        if path.exists() and not path.is_file():
            raise ValueError(
                f"{path} is a device, a pipe or a socket, and would be replaced; expected the name of a regular file, "
                "or of none yet"
            )
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise ValueError(f"{path} cannot be written: {error.strerror or error}; choose another name") from error
    return path


def write_whole(path, content, *, private=False):
    """Put `content`, bytes or text, in the file `path`, at once; `private`: nobody else can read it.

    Raises OSError if it cannot be written, and as `check_target`.
    """
    path = check_target(path)
    with scratch(path.parent) as folder:
        beside = folder / "new"
        beside.write_bytes(content if isinstance(content, bytes) else content.encode())
        if private:
            beside.chmod(0o600)
        beside.replace(path)
    return path


@contextmanager
def scratch(parent=None):
    """A folder in `parent` (None: the system's for temporary files) that is gone after the block, whatever ends it."""
    with ExitStack() as stack:
        stack.enter_context(endings())
        folder = Path(tempfile.mkdtemp(prefix=scratch_prefix(parent), dir=parent))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder


@contextmanager
def endings():
    """SIGTERM and SIGHUP unwind the block, as `sys.exit` does, so that what it made is cleared away.

    Only where nobody else has a handler for them; of several blocks inside each other, the outermost acts.
    """

    def end(number, frame):
        for one in ours:
            signal.signal(one, signal.SIG_IGN)  # a second one must not stop the clearing away
        raise SystemExit(128 + number)

    in_charge = threading.current_thread() is threading.main_thread()
    ours = [one for one in ENDINGS if in_charge and signal.getsignal(one) == signal.SIG_DFL]
    for one in ours:
        signal.signal(one, end)
    try:
        yield
    finally:
        for one in ours:
            signal.signal(one, signal.SIG_DFL)


def scratch_prefix(parent=None):
    """How the name of a folder of this process begins in `parent`, after a sweep: those of dead processes are removed.

    A process is dead only as seen from where it ran: another machine, or container, may share the folder.
    """
    import psutil  # here, since `import qlab` loads no package but NumPy

    parent = Path(parent or tempfile.gettempdir())
    ours = re.compile(rf"\.qlab-{_host()}-(\d{{1,9}})-\w+")
    with os.scandir(parent) as entries:
        for entry in entries:
            found = ours.fullmatch(entry.name)
            if found and entry.is_dir(follow_symlinks=False) and not psutil.pid_exists(int(found[1])):
                shutil.rmtree(entry, ignore_errors=True)
    return f".qlab-{_host()}-{os.getpid()}-"


@cache
def _host():
    try:
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        namespace = 0
    return f"{zlib.crc32(f'{platform.node()} {namespace}'.encode()):08x}"


@contextmanager
def writing(output):
    """Turn what a full disk or a forbidden folder does to the block into a ValueError that says so."""
    try:
        yield
    except FileNotFoundError:  # of what is read, and says so itself
        raise
    except OSError as error:
        raise ValueError(
            f"cannot write {output}: {error}. Is the disk full, or the folder write-protected? Nothing was left behind"
        ) from error
