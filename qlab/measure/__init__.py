"""Measure models against each other, and find out where the time and the accuracy went.

compare       latency, size and closeness of several models, interleaved
profile       time of every operator of the graph that ran
layer_errors  what each layer loses, alone and with all before it
predict       what a recipe would gain, before making it
diagnose      why a quantized model is slow or inexact, and what mends it

>>> from qlab import measure
>>> measure.diagnose("model.onnx", "model.int8.onnx", feed)  # doctest: +SKIP
"""

from qlab.measure.compare import compare
from qlab.measure.comparison import Comparison, Row
from qlab.measure.diagnosing import CODES, diagnose, findings_of
from qlab.measure.examining import Examination, examine
from qlab.measure.finding import Finding, Findings
from qlab.measure.layer_rows import LayerError, LayerErrors
from qlab.measure.layers import layer_errors
from qlab.measure.ledger import Ledger, ledger
from qlab.measure.predicting import Prediction, predict
from qlab.measure.profiles import NodeTime, Profile
from qlab.measure.profiling import profile

__all__ = [
    "CODES", "Comparison", "Examination", "Finding", "Findings", "LayerError", "LayerErrors", "Ledger", "NodeTime",
    "Prediction", "Profile", "Row", "compare", "diagnose", "examine", "findings_of", "layer_errors", "ledger",
    "predict", "profile",
]  # fmt: skip
