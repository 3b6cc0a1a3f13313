"""The machine card as a value: what it says, how it prints, how it is kept."""

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import ClassVar, Self

SIGN_PAIRS = ("u8s8", "u8u8", "s8s8", "s8u8")  # activations x weights


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
        if set(self.speed) != set(SIGN_PAIRS):
            raise ValueError(f"a machine card has the sign pairs {list(self.speed)}; expected {list(SIGN_PAIRS)}")
        wrong = {pair: speed for pair, speed in self.speed.items() if speed is not None and not 0 < speed < math.inf}
        if wrong:
            raise ValueError(f"a machine card's speeds are positive, relative to float32; this one has {wrong}")

    @property
    def fastest(self) -> str:
        """The fastest sign pair whose products are exact here, such as "u8s8".

        Where u8 x s8 saturates it does not count, however fast: it needs 7-bit weights (reduce_range) to be right.
        """
        safe = [pair for pair in SIGN_PAIRS if self.speed[pair] and not (pair == "u8s8" and self.saturates)]
        return max(safe, key=lambda pair: self.speed[pair])

    def __repr__(self):
        versions = ", ".join(f"{what} {version}" for what, version in self.versions.items())
        lines = [
            f"Machine card: {self.name} ({self.platform}, {self.cores} core{'s' if self.cores != 1 else ''})",
            f"  {versions}",
            f"  float32 product {self.float32_gflops:.0f} GFLOP/s, copying {self.copy_gb_per_s:.1f} GB/s, one thread",
            "  integer product, activations x weights, against float32:",
            *(f"    {pair[:2]} x {pair[2:]}  {self._speed_text(pair)}" for pair in SIGN_PAIRS),
            f"  255*127 + 255*127 in u8 x s8: {'SATURATES to 32,767' if self.saturates else 'exact'}",
        ]
        return "\n".join([*lines, f"  {self.note}"] if self.note else lines)

    def _speed_text(self, pair):
        speed = "no kernel" if self.speed[pair] is None else f"{self.speed[pair]:5.2f}x"
        return f"{speed}  <- fastest exact" if pair == self.fastest else speed

    def to_json(self) -> str:
        """The card as text; `Card.from_json` gives it back."""
        return json.dumps({"format": self.FORMAT, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The card that `to_json` wrote. Raises ValueError for anything else, saying what it found."""
        try:
            entries = json.loads(text)
            found = entries.pop("format")
        except (json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"not a machine card: {text[:60]!r}") from error
        if found != cls.FORMAT:
            raise ValueError(f"a machine card of format {found}; this qlab reads format {cls.FORMAT}: measure it anew")
        expected = {field.name for field in fields(cls)}
        if set(entries) != expected:
            raise ValueError(f"a machine card with the entries {sorted(entries)}; expected {sorted(expected)}")
        return cls(**entries)
