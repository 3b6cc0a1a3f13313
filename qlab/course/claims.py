"""`claim`: a sentence of the course beside the number just measured, with a tick or a cross."""

import os

import numpy as np

from qlab import machine
from qlab.course.show import BAD, GOOD, WAITING, Shown, box, brief, error_text, rich, strong


class FalseClaim(AssertionError):
    """A claim that must hold everywhere was false. Raised under test only (`QLAB_TEST`)."""


def claim(text, condition, value=None, *, depends_on=None, otherwise="", card=None):
    """Show a claim with the value that was measured, and whether it holds.

    >>> claim("uint8 gains 6 dB over int8 behind a ReLU", 5.5 < gain < 6.5, f"{gain:.2f} dB")
    ✓ uint8 gains 6 dB over int8 behind a ReLU: 6.04 dB

    A mathematical claim holds everywhere: under test (`QLAB_TEST`) a false one raises FalseClaim. One that
    `depends_on="machine"` never raises: it shows what the machine card says, and where it fails, `otherwise`: what that
    means on such a machine. `card` is a machine card to explain instead of this machine's.
    Raises ValueError for a condition that is neither true nor false, such as an array.
    """
    if depends_on not in (None, "machine"):
        raise ValueError(
            f'claim: depends_on={depends_on!r}; expected "machine", or nothing for one that holds anywhere'
        )
    if np.ndim(condition) != 0:
        raise ValueError(f"claim: the condition is {brief(condition)}; expected one truth value: use .all() or .any()")
    shown = Claim(text, bool(condition), value, depends_on=depends_on, otherwise=otherwise, card=card).show()
    if not shown.holds and depends_on is None and os.environ.get("QLAB_TEST"):
        raise FalseClaim(shown.text())
    return shown


class Claim(Shown):
    """A claim, whether it `.holds`, and the measured `.value`."""

    def __init__(self, claimed, holds, value, *, depends_on, otherwise, card):
        self.claimed, self.holds, self.depends_on = claimed, holds, depends_on
        self.value = value if isinstance(value, str) else "" if value is None else brief(value)
        self.notes = self._machine_notes(otherwise, card) if depends_on else []

    def _machine_notes(self, otherwise, card):
        notes = [_card_line(card)]
        if not self.holds:
            notes.append(otherwise or "Here it is otherwise: the text tells of machines on which it holds.")
        return notes

    def facts(self):
        return {"claim": self.claimed, "holds": self.holds, "depends_on": self.depends_on}

    def text(self):
        first = f"{'✓' if self.holds else '✗'} {self.claimed}" + (f": {self.value}" if self.value else "")
        return "\n  ".join([first, *self.notes])

    def html(self):
        # A false claim about machines is a finding about this one, not a fault: grey, not red.
        colour = GOOD if self.holds else WAITING if self.depends_on else BAD
        value = f": <b>{rich(self.value)}</b>" if self.value else ""
        body = f"{strong(colour, '✓' if self.holds else '✗')} {rich(self.claimed)}{value}"
        return box(colour, body + "".join(f"<br><small>{rich(note)}</small>" for note in self.notes))


def _card_line(card):
    """What the card says of integer products, in one line."""
    try:
        card = machine.card(card)
        speeds = [(f"{pair[:2]} x {pair[2:]}", speed) for pair, speed in card.speed.items()]
        said = ", ".join(f"{pair} {'no kernel' if speed is None else f'{speed:.2f}x'}" for pair, speed in speeds)
        return f"{card.name}, against float32: {said}; u8 x s8 {'saturates' if card.saturates else 'is exact'}"
    except Exception as error:  # a claim about machines never stops the reader
        return f"the machine card could not be made: {error_text(error)}"
