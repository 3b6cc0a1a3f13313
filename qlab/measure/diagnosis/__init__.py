"""Why a quantized model is slow or inexact: what was examined, what can be wrong with it, and what mends it.

Causes of lost time take an Examination and a Bill: root causes come first and take their part of a node's time, what is
left is the next one's. Causes of lost accuracy take the Examination only.
"""
