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
from qlab.measure.diagnosis.diagnose import CODES, diagnose, findings_of
from qlab.measure.diagnosis.examination import Examination, examine
from qlab.measure.diagnosis.finding import Finding, Findings
from qlab.measure.layer_errors import LayerError, LayerErrors, layer_errors
from qlab.measure.predict import Prediction, predict
from qlab.measure.profile import Ledger, Profile, ledger, profile
from qlab.measure.results import Comparison, Row
from qlab.measure.trace import NodeTime

__all__ = [
    "CODES", "Comparison", "Examination", "Finding", "Findings", "LayerError", "LayerErrors", "Ledger", "NodeTime",
    "Prediction", "Profile", "Row", "compare", "diagnose", "examine", "findings_of", "layer_errors", "ledger",
    "predict", "profile",
]  # fmt: skip
