"""Which dtypes: what the machine card says is fastest and gives right answers."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from qlab import machine

CodeType = Literal["uint8", "int8"]

DTYPES = ("uint8", "int8")


SHORT = {"uint8": "u8", "int8": "s8"}


# Speeds of one machine differ by some percent from run to run; within this, two pairs are equally fast.
AS_GOOD = 0.95


@dataclass(frozen=True)
class Choice:
    """How a recipe represents numbers, and why.

    activation_dtype, weight_dtype  "uint8" or "int8"
    symmetric                       whether the activations' zero point is 0 (int8 activations)
    reduce_range                    7-bit weights, so that two products fit in 16 bits where u8 x s8 saturates
    why                             the reason, for the reader
    """

    activation_dtype: str
    weight_dtype: str
    symmetric: bool
    reduce_range: bool
    why: str

    @property
    def pair(self):
        """The sign pair, such as "u8s8"."""
        return SHORT[self.activation_dtype] + SHORT[self.weight_dtype]

    def __str__(self):
        bits = "7-bit " if self.reduce_range else ""
        return f"activations {self.activation_dtype} x {bits}weights {self.weight_dtype}"


def check_names(names, what):
    """Raise ValueError unless `names` are several texts, and not one text, which is several letters."""
    if isinstance(names, str) or not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names):
        alone = f", such as ({names!r},)" if isinstance(names, str) else ""
        raise ValueError(f"{what} is {names!r}; expected several names in a tuple{alone}")


def choose(card=None, activation_dtype=None, weight_dtype=None, reduce_range=None, *, activations=DTYPES):
    """The Choice for a machine; None leaves a part of it to the card (this machine's own if `card` is None).

    1. Where s8 x s8 is as fast as anything (ARM), that: symmetric, no zero points to correct for.
    2. Otherwise the fastest pair that a recipe can use: u8 x s8 or u8 x u8 on x86.
    3. Where u8 x s8 saturates, int8 weights get 7 bits (reduce_range), which keeps every sum within 16 bits.

    `activations` are the dtypes that the recipe can give activations. Raises ValueError for a pair that cannot run.
    """
    for what, dtype in {"activation_dtype": activation_dtype, "weight_dtype": weight_dtype}.items():
        if dtype not in (None, *DTYPES):
            raise ValueError(f"{what} is {dtype!r}; expected 'uint8', 'int8' or None for what the machine card says")
    if not (reduce_range is None or isinstance(reduce_range, bool)):
        raise ValueError(f"reduce_range is {reduce_range!r}; expected True, False or None for what the card says")
    if (activation_dtype, weight_dtype) == ("int8", "uint8"):
        raise ValueError("int8 activations with uint8 weights: onnxruntime has no such kernels; make both int8")
    card = machine.card(card)
    asked = (SHORT.get(activation_dtype, ""), SHORT.get(weight_dtype, ""))
    usable = tuple(SHORT[dtype] for dtype in activations)
    pairs = [
        pair
        for pair in ("s8s8", "u8s8", "u8u8")
        if pair[:2] in usable and pair.startswith(asked[0]) and pair.endswith(asked[1])
    ]
    speeds = {pair: card.speed[pair] for pair in pairs if card.speed[pair] is not None}
    if not speeds:
        raise ValueError(f"{card.name} has no integer product for {' or '.join(pairs) or asked}: leave the dtypes out")
    fastest = max(speeds.values())
    pair = next(pair for pair, speed in speeds.items() if speed >= AS_GOOD * fastest)
    # s8 x s8 as well: onnxruntime shifts its activations to unsigned where the CPU multiplies u8 x s8 only.
    saturating = pair.endswith("s8") and card.saturates
    reduced = saturating if reduce_range is None else reduce_range
    return Choice(
        activation_dtype="uint8" if pair[0] == "u" else "int8",
        weight_dtype="uint8" if pair[2] == "u" else "int8",
        symmetric=pair[0] == "s",
        reduce_range=reduced,
        why=_why(card, pair, asked, saturating, reduced),
    )


def _why(card, pair, asked, saturating, reduced):
    whose = "as asked" if all(asked) else "the fastest usable pair"
    text = f"{whose} on {card.name} ({card.speed[pair]:.2f}x float32)"
    if not saturating:
        return text
    if reduced:
        return f"{text}, with 7-bit weights because 8-bit ones saturate there"
    return f"{text}, but SATURATES there: large sums come out wrong (reduce_range=None mends it)"
