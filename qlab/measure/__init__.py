"""Measure models against each other."""

from qlab.measure.compare import compare
from qlab.measure.comparison import Comparison, Row

__all__ = ["Comparison", "Row", "compare"]
