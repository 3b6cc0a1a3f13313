"""What can be wrong with a quantized model: one module a cause, each of which gives Findings.

Causes of lost time take an Examination and a Bill: root causes come first and take their part of a node's time, what is
left is the next one's. Causes of lost accuracy take the Examination only.
"""

from qlab.measure.causes.at_load import quantized_at_load
from qlab.measure.causes.batches import ranges_that_move
from qlab.measure.causes.between import float_between
from qlab.measure.causes.boundary import boundary_overhead
from qlab.measure.causes.conv_integer import conv_integer
from qlab.measure.causes.floats import float_products
from qlab.measure.causes.losses import layer_losses
from qlab.measure.causes.norms import unfolded_norms
from qlab.measure.causes.outputs import output_losses
from qlab.measure.causes.ranges import calibration_ranges
from qlab.measure.causes.saturation import saturated_layers, saturation
from qlab.measure.causes.sign_pairs import slow_sign_pairs
from qlab.measure.causes.size import too_small
from qlab.measure.causes.weight_only import weight_only

__all__ = [
    "boundary_overhead", "calibration_ranges", "conv_integer", "float_between", "float_products", "layer_losses",
    "output_losses", "quantized_at_load", "ranges_that_move", "saturated_layers", "saturation", "slow_sign_pairs",
    "too_small", "unfolded_norms", "weight_only",
]  # fmt: skip
