"""Why a quantized model is slow or inexact: what was examined, what can be wrong with it, and what mends it."""
