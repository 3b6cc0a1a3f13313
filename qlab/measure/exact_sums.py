"""What a quantized model would answer if no sum of u8 x s8 products saturated, against what it answers here."""

import math
from dataclasses import dataclass

from qlab import graph
from qlab.graph.operators import Q_AND_DQ
from qlab.graph.unoptimized import open_unoptimized
from qlab.machine.runtime import open_session, run
from qlab.measure.outputs import output_quality

OPTION = "session.x64quantprecision"  # onnxruntime then makes int8 weights uint8, whose products do not saturate
LUCK_DB = 1.5  # of an output of few numbers: rounding may fall either way


@dataclass(frozen=True)
class ExactSums:
    """The float output that exact sums mend most: its SQNR in dB as the model runs, and with exact sums.

    has_option  whether onnxruntime opens the model with OPTION, so that its user can have exact sums as well
    """

    output: str
    running_db: float
    exact_db: float
    has_option: bool


def with_exact_sums(fp32, quantized, model, feeds):
    """The ExactSums of the file `quantized`, made from the file `fp32`; None where nothing can be told.

    model   the quantized model as a ModelProto, its external weights left outside
    1. Opened with OPTION. onnxruntime 1.32 cannot do that with every model.
    2. Otherwise, a model in Q/DQ format with nothing fused: its products are then those of floats.
    """
    session, has_option = _exact_session(quantized, model)
    if session is None:
        return None
    reference = _answers(open_session(fp32), feeds)
    running, exact = (output_quality(reference, _answers(one, feeds))[0] for one in (open_session(quantized), session))
    gains = {name: exact[name] - running[name] for name in running if math.isfinite(exact[name] - running[name])}
    if not gains or min(gains.values()) < -LUCK_DB:  # exact sums are not worse: these were none
        return None
    name = max(gains, key=gains.get)
    return ExactSums(name, running[name], exact[name], has_option)


def _exact_session(path, model):
    """(session or None, whether OPTION opened it)."""
    try:
        return open_session(path, adjust=lambda options: options.add_session_config_entry(OPTION, "1")), True
    except ValueError:
        pass
    if all(node.op_type in Q_AND_DQ for node in graph.nodes(model) if graph.is_quantized(node)):
        return open_unoptimized(model, path), False
    return None, False


def _answers(session, feeds):
    names = [output.name for output in session.get_outputs()]
    return [dict(zip(names, run(session, feed, names), strict=True)) for feed in feeds]
