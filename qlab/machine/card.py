"""The machine card as a value: what it says, how it prints; and which CPU it belongs to."""

import json
import math
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import ClassVar, Self

from qlab.text import Table, plural

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

        Where u8 x s8 saturates it does not count, however fast: its weights need 7 bits or fitted scales to be right.
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
