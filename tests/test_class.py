"""A class: one checkout and one cache that belong to somebody else; what a reader makes lies in their own home."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qlab import machine
from qlab.machine.cache import cached_name

ROOT = Path(__file__).resolve().parents[1]
OWNER = 65534  # "nobody", or whoever else: not the reader
AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
# Root may write everywhere. Without these rights it is a user like any other, for whom the owner's files are closed.
WITHOUT_ROOTS_RIGHTS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="owners and their rights, as Linux has them"),
    pytest.mark.skipif(AS_ROOT and not shutil.which("setpriv"), reason="as root it takes setpriv, of util-linux"),
]

EXERCISE = """
from qlab.course import kept
from qlab.course.progress import progress_file, record_check
from qlab.course.lessons import n01
passed = "import numpy as np\\n\\ndef quantize(x, scale, zero_point, quant_min, quant_max):\\n    return None\\n"
print(record_check("01.2", "passed"), kept.keep("quantize", passed))
print(progress_file(), kept.file_of("quantize"))
"""


@pytest.fixture
def lent(tmp_path):
    """(checkout, cache) of another owner, which this reader can read only."""
    checkout, cache = tmp_path / "lent", tmp_path / "shared-cache"
    for name in ("qlab", "notebooks", ".jupyter"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    (checkout / "data").symlink_to(ROOT / "data")
    cache.mkdir()
    (cache / cached_name()).write_text(machine.card("x86-avx2").to_json(), encoding="utf-8")
    for path in (checkout, cache):
        for inner in (path, *path.rglob("*")):
            if AS_ROOT:
                os.chown(inner, OWNER, OWNER, follow_symlinks=False)
            elif not inner.is_symlink():
                inner.chmod(0o555 if inner.is_dir() else 0o444)
    yield checkout, cache
    if not AS_ROOT:
        for path in (checkout, cache, *checkout.rglob("*/"), *cache.rglob("*/")):
            path.chmod(0o755)


def run(lent, home, *arguments):
    """What a reader with this home prints."""
    checkout, cache = lent
    home.mkdir(exist_ok=True)
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(checkout), "QLAB_CACHE": str(cache)}
    command = [*(WITHOUT_ROOTS_RIGHTS if AS_ROOT else []), sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=checkout / "notebooks", env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def contents(folder):
    return {path.relative_to(folder): path.lstat().st_mtime_ns for path in folder.rglob("*")}


def test_each_readers_progress_functions_and_copies_lie_in_their_own_home(lent, tmp_path):
    checkout, cache = lent
    before = contents(checkout), contents(cache)
    for reader in ("ann", "bo"):
        own = tmp_path / reader / "quantization-lab"
        troubles, files = run(lent, tmp_path / reader, "-c", EXERCISE)
        assert troubles.strip() == ""
        assert files == f"{own / '.qlab-progress.json'} {own / '.qlab-mine' / 'quantize.py'}"
        assert json.loads((own / ".qlab-progress.json").read_text())["exercises"]["01.2"]["status"] == "passed"
        (said,) = run(lent, tmp_path / reader, checkout / ".jupyter" / "copies.py")
        assert said.startswith("my-notebooks: your own copies, to write into: 00_the_puzzle.ipynb, ")
        assert (own / "my-notebooks" / "00_the_puzzle.ipynb").is_file()
        assert (tmp_path / reader / ".cache" / "quantization-lab" / "mine.key").is_file()
    assert (contents(checkout), contents(cache)) == before


def test_what_the_shared_cache_holds_is_used_and_what_it_lacks_is_made_in_ones_own(lent, tmp_path):
    code = (
        "from qlab import machine; from qlab.models.catalog import kept; "
        "print(machine.card().name); print(kept('made.bin', lambda: b'made')); print(machine.cache_folder())"
    )
    own = tmp_path / "ann" / ".cache" / "quantization-lab"
    assert run(lent, tmp_path / "ann", "-c", code) == ["x86-avx2", str(own / "made.bin"), str(own)]


def test_onnxruntimes_quantizers_read_a_lent_model(lent, tmp_path):
    code = """
from pathlib import Path
from onnxruntime.quantization import quantize_dynamic
from qlab import models
quantize_dynamic(models.path("digits"), Path.home() / "int8.onnx")
print((Path.home() / "int8.onnx").stat().st_size)"""
    assert int(run(lent, tmp_path / "ann", "-c", code)[-1]) > 10_000


def test_an_update_is_the_owners(lent, tmp_path):
    checkout, _ = lent
    with pytest.raises(AssertionError, match="belongs to somebody else, who updates it"):
        run(lent, tmp_path / "ann", checkout / ".jupyter" / "copies.py", "update")
