"""The machine card: what it says, how it prints, where it is kept, and which CPU it belongs to."""

import hashlib
import json
import math
import os
import platform
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import ClassVar, Self

from qlab.files import DATA, checked, write_whole
from qlab.text import Table, plural

REFERENCE_FOLDER = DATA / "machines"
SIGN_PAIRS = ("u8s8", "u8u8", "s8s8", "s8u8")  # activations x weights


def _is_rate(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _is_text(value):
    return isinstance(value, str)


FITS = {  # what an entry must be to be believed: a card may come from a file, and a damaged one chooses wrong dtypes
    "name": _is_text,
    "platform": _is_text,
    "cores": lambda cores: isinstance(cores, int) and not isinstance(cores, bool) and cores > 0,
    "versions": lambda versions: isinstance(versions, dict) and all(map(_is_text, (*versions, *versions.values()))),
    "speed": lambda speed: isinstance(speed, dict),
    "saturates": lambda saturates: isinstance(saturates, bool),
    "float32_gflops": _is_rate,
    "copy_gb_per_s": _is_rate,
    "note": _is_text,
}


@dataclass(frozen=True)
class Card:
    """Which integer products are fast on one machine, and whether the fastest one is exact.

    speed           sign pair ("u8s8": activations uint8, weights int8) -> how many times as fast as the same float32
                    product, one thread; None where onnxruntime has no kernel for the pair
    saturates       whether u8 x s8 loses the sum of two large products in 16 bits (x86 without VNNI): 255*127 + 255*127
                    becomes 32,767
    cores           CPU cores that this process may use
    versions        of onnxruntime, numpy and python
    float32_gflops  float32 matrix product, 10^9 operations a second, one thread; a multiply-add counts as two
    copy_gb_per_s   10^9 bytes read and written a second by copying an array larger than the caches, one thread
    """

    name: str
    platform: str
    cores: int
    versions: dict[str, str]
    speed: dict[str, float | None]
    saturates: bool
    float32_gflops: float
    copy_gb_per_s: float
    note: str = ""

    FORMAT: ClassVar[int] = 1  # raise when a probe or a field changes: older cached cards are then measured anew

    def __post_init__(self):
        wrong = {name: getattr(self, name) for name, fits in FITS.items() if not fits(getattr(self, name))}
        if wrong:
            raise ValueError(f"a machine card has the entries {wrong!r:.200}: of another type, or no such quantity")
        if set(self.speed) != set(SIGN_PAIRS):
            raise ValueError(f"a machine card has the sign pairs {list(self.speed)}; expected {list(SIGN_PAIRS)}")
        wrong = {pair: speed for pair, speed in self.speed.items() if speed is not None and not _is_rate(speed)}
        if wrong:
            raise ValueError(f"a machine card's speeds are positive, relative to float32; this one has {wrong!r:.200}")
        if not self._exact:
            raise ValueError(
                f"a machine card without one exact integer product, speeds {self.speed}: nothing could be chosen"
            )

    @property
    def _exact(self):
        """The sign pairs whose products are exact here."""
        return [pair for pair in SIGN_PAIRS if self.speed[pair] and not (pair == "u8s8" and self.saturates)]

    @property
    def fastest(self) -> str:
        """The fastest sign pair whose products are exact here, such as "u8s8".

        Where u8 x s8 saturates it does not count, however fast: it needs 7-bit weights (reduce_range) to be right.
        """
        return max(self._exact, key=lambda pair: self.speed[pair])

    def __repr__(self):
        arrows = ((pair, speed, f"  <- {remark}" if remark else "") for pair, speed, remark in self._speeds())
        speeds = [f"  {pair}  {speed:>6}{arrow}" for pair, speed, arrow in arrows]
        lines = [*self._machine(), "integer product, activations x weights, against float32:", *speeds, *self._sums()]
        return "\n  ".join(lines)

    def _repr_html_(self) -> str:
        tones = {(1 + SIGN_PAIRS.index(self.fastest), 1): "good"}
        rows = [["integer product, activations x weights", "against float32", ""], *self._speeds()]
        if self.saturates:
            tones[1, 1], rows[1][2] = "bad", "saturates"
        return Table(rows, (0, 2), tones, self._machine(), self._sums())._repr_html_()

    def _machine(self):
        return [
            f"Machine card: {self.name} ({self.platform}, {plural(self.cores, 'core')})",
            ", ".join(f"{what} {version}" for what, version in self.versions.items()),
            f"float32 product {self.float32_gflops:.0f} GFLOP/s, copying {self.copy_gb_per_s:.1f} GB/s, one thread",
        ]

    def _speeds(self):
        for pair in SIGN_PAIRS:
            speed = "no kernel" if self.speed[pair] is None else f"{self.speed[pair]:.2f}x"
            yield [f"{pair[:2]} x {pair[2:]}", speed, "fastest exact" if pair == self.fastest else ""]

    def _sums(self):
        """What the sum of two large products comes to, and the note if there is one."""
        sums = f"255*127 + 255*127 in u8 x s8: {'SATURATES to 32,767' if self.saturates else 'exact'}"
        return [sums, self.note] if self.note else [sums]

    def to_json(self) -> str:
        """The card as text; `Card.from_json` gives it back."""
        return json.dumps({"format": self.FORMAT, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The card that `to_json` wrote. Raises ValueError for anything else, saying what it found."""
        try:
            entries = json.loads(text)
            found = entries.pop("format")
        except (json.JSONDecodeError, RecursionError, AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"not a machine card: {text[:60]!r}") from error
        if found is True or found != cls.FORMAT:
            raise ValueError(f"a machine card of format {found}; this qlab reads format {cls.FORMAT}: measure it anew")
        expected = {field.name for field in fields(cls)}
        if set(entries) != expected:
            raise ValueError(f"a machine card with the entries {sorted(entries)}; expected {sorted(expected)}")
        return cls(**entries)


def card(name: str | Card | None = None) -> Card:
    """The machine card of this machine, or the reference card called `name`; a Card is returned as it is.

    Without a name: measured in under 5 s the first time, then read from `cache_folder()`. A cached card belongs to one
    CPU and one version of the runtime; on another CPU, with another onnxruntime or from a damaged file it is measured.
    With a name: read from data/machines/, to explain another machine's figures beside one's own. `QLAB_CARD`, the name
    of a reference card or a card's file, stands in for this machine's card: notebooks then speak of that machine.
    Raises FileNotFoundError if no such card is there, ValueError for what is no name, or a file that holds no card.
    """
    if isinstance(name, Card):
        return name
    if name is not None:
        return _reference(name)
    if configured := os.environ.get("QLAB_CARD"):
        return _configured(configured)
    paths = [folder / _cached_name() for folder in _cache_folders()]
    for path in paths:
        with suppress(OSError, ValueError):  # none yet, unreadable, or damaged: all three are mended by measuring
            return Card.from_json(path.read_text(encoding="utf-8"))
    fresh = _measure()
    _remember(fresh, paths[-1])
    return fresh


def reference_cards() -> list[str]:
    """Names of the reference cards, which `card` takes."""
    return sorted(file.stem for file in REFERENCE_FOLDER.glob("*.json"))


def cache_folder() -> Path:
    """The one folder, created if need be, where qlab keeps what is costly to make: cards, filled models, int8 models.

    `QLAB_CACHE` names it; otherwise it is "quantization-lab" in the platform's own cache folder for this user. One that
    belongs to somebody else serves what it holds, see `cached`; what is made here goes to the platform's own.
    """
    return _cache_folders()[-1]


def cached(name: str) -> Path:
    """Path of the cached file `name`: in a cache that another user shares, if it is there, else in one's own."""
    paths = [folder / name for folder in _cache_folders()]
    return next((path for path in paths if path.exists()), paths[-1])


def _cache_folders():
    """Where to look, the folder to write into last."""
    configured = os.environ.get("QLAB_CACHE")
    try:
        folder = Path(configured).expanduser() if configured else _platforms_own()
        folder.mkdir(parents=True, exist_ok=True)
        if not _is_ones_own(folder):
            _platforms_own().mkdir(parents=True, exist_ok=True)
            return [folder, _platforms_own()]
    except (OSError, RuntimeError) as error:  # RuntimeError: no such user behind ~
        raise ValueError(f"cannot make the cache folder ({error}); set QLAB_CACHE to one you may write") from error
    return [folder]


def _platforms_own():
    from platformdirs import user_cache_path

    return user_cache_path("quantization-lab", appauthor=False)


def _is_ones_own(folder):
    """Whether this user owns it: what is written into another's folder could be changed by them."""
    return not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()


def measured(name=None, note=""):
    """A fresh card of this machine, in under 5 s. `name` replaces the CPU's own."""
    from qlab.machine import probes  # loads onnx and onnxruntime, which reading a card does not need

    return Card(name=name or cpu_name(), note=note, **probes.measure(SIGN_PAIRS))


@cache  # also where the cache folder cannot be written: a card that changed between two calls would confuse
def _measure():
    return measured()


def _cached_name():
    import numpy
    import onnxruntime

    from qlab.runtime import usable_cores

    parts = {
        "format": Card.FORMAT,
        "cpu": cpu_fingerprint(),
        "cores": usable_cores(),
        "onnxruntime": onnxruntime.__version__,
        "numpy": numpy.__version__,
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return f"machine-{digest[:16]}.json"


def _remember(fresh, path):
    """Keep the card for other processes. Where that fails, it lasts for this one."""
    with suppress(OSError, ValueError):
        write_whole(path, fresh.to_json())


def _configured(value):
    """The card that QLAB_CARD names: a file, or a reference card."""
    if not value.endswith(".json"):
        return _reference(value)
    try:
        return Card.from_json(Path(value).expanduser().read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"QLAB_CARD is {value}: no such file; unset it to measure this machine") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"QLAB_CARD is {value}: {error}; unset it to measure this machine") from error


def _reference(name):
    if not isinstance(name, str):
        raise ValueError(f"card is {name!r}; expected a machine card, the name of a reference card, or None")
    known = reference_cards()
    if name not in known:
        what = f"there are: {', '.join(known)}" if known else f"{REFERENCE_FOLDER} holds none"
        raise FileNotFoundError(
            f"no reference machine card {name!r}: {what}. The cards come with the course's repository, not with the "
            "wheel: work from a clone, or restore them there with `git checkout -- data/machines`"
        )
    return Card.from_json(checked(f"machines/{name}.json").read_text(encoding="utf-8"))


# Constant over time on one CPU, unlike its clock. Several of them, because virtual machines often shorten the model
# name until unlike CPUs share it, and a home folder may be shared by unlike machines.
_TELLING = ("vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU implementer", "CPU part")


def cpu_name():
    """The CPU's marketing name where the system knows it, otherwise its architecture."""
    told = _linux_entries().get("model name") or _macos_name() or _windows_name()
    return told or platform.processor() or platform.machine()


def cpu_fingerprint():
    """Text that changes when the CPU does."""
    entries = _linux_entries()
    return "; ".join([platform.machine(), cpu_name(), *(entries[key] for key in _TELLING if key in entries)])


def _linux_entries():
    try:
        first_cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first_cpu.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _macos_name():
    if sys.platform != "darwin":
        return ""
    command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _windows_name():
    if sys.platform != "win32":
        return ""
    import winreg

    with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0") as key:
        return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
