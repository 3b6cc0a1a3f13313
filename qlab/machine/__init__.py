"""What this machine is good at, found by experiment: the machine card.

>>> from qlab import machine
>>> card = machine.card("x86-avx512-vnni")  # a reference card; machine.card() measures and remembers this machine's own
>>> card.fastest
'u8s8'

CPU flags and names mislead: their readers miss some chips, and a virtual machine shortens the name. Two probes do not:
time the four sign pairs of an integer matrix product against float32, and multiply 255 by 127 to see whether u8 x s8
saturates.
"""

from qlab.machine.cache import cache_folder, cached, card, reference_cards
from qlab.machine.card import SIGN_PAIRS, Card

__all__ = ["SIGN_PAIRS", "Card", "cache_folder", "cached", "card", "reference_cards"]
