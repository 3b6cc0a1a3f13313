"""How large the numbers are on the way to a logarithm, a root or a quotient, where the small ones count as well."""

import numpy as np
from onnx import numpy_helper
from onnx.external_data_helper import uses_external_data

CODES = 255
FEWEST = 16  # codes, for the median number: 16 steps are off by 2 % of themselves, one by 29 %; noise has about 20
SAMPLED = 4096  # numbers of one array that stand for all
EXPONENTS = np.arange(-160, 130)  # to base 2, of every float32
# What comes out of these has lost how small it was inside, or is as large whatever went in.
FORGETS = {
    "Elu", "Erf", "Exp", "Gelu", "GRU", "HardSigmoid", "InstanceNormalization", "LayerNormalization", "LogSoftmax",
    "LSTM", "RNN", "Selu", "Sigmoid", "Softmax", "Softplus", "Softsign", "Tanh",
}  # fmt: skip


class Magnitudes:
    """Watches the tensors of a ModelProto from which a Log, a root, or the divisor of a quotient is computed.

    To these a tenth of a number matters as much whether the number is large or small, but the steps of codes are as
    wide for both: of a spectrum of speech, 60 dB from its loudest to its faintest, codes keep the loudest only.
    """

    def __init__(self, model):
        self._producers = {name: node for node in model.graph.node for name in node.output}
        stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self._stored = {name: _scalar(tensor) for name, tensor in stored.items()}
        self._ends = [(node, name, power) for node in model.graph.node for name, power in self._started(node)]
        self._counts = dict.fromkeys(self._reached(lambda name: True), 0)

    def observe(self, name, x):
        """Take in the array `x` of one tensor; what leads to none of these operators is let pass."""
        if name in self._counts:
            some = x.reshape(-1)[:: max(1, x.size // SAMPLED) | 1]  # odd, so that it meets every row of a square array
            exponents = np.frexp(np.abs(some[some != 0]))[1]
            self._counts[name] = self._counts[name] + np.bincount(exponents - EXPONENTS[0], minlength=EXPONENTS.size)

    def merge(self, other):
        """Take in what `other`, of the same model, has seen."""
        for name, counts in other._counts.items():
            self._counts[name] = self._counts[name] + counts

    def lost(self, ranges):
        """{tensor: the operator that it leads to, in words} of those whose numbers get too few codes from `ranges`."""
        return self._reached(lambda name: name in ranges and 0 < self._codes(name, ranges[name]) < FEWEST)

    def _codes(self, name, ends):
        """How many codes lie between 0 and the median of the numbers that are not 0; 0 if there are none."""
        counts = np.cumsum(self._counts[name])
        width = max(float(ends[1]), 0.0) - min(float(ends[0]), 0.0)
        if not counts.size or not counts[-1] or not width:
            return 0.0
        return CODES * 0.75 * 2.0 ** EXPONENTS[np.searchsorted(counts, counts[-1] / 2)] / width

    def _reached(self, passes):
        """{tensor: the operator that it leads to, in words}, followed back as far as `passes(tensor)`.

        power  to which the operator raises the tensor: a Log and a quotient count as 0. A root's half becomes 1 where a
               square stands ahead of it: there small numbers count as little as anywhere.
        """
        found, powers = {}, {}
        todo = [(name, power, node) for node, name, power in self._ends]
        while todo:
            name, power, end = todo.pop()
            if power >= powers.get(name, 1.0) or name in self._stored or not passes(name):
                continue
            powers[name] = power
            found.setdefault(name, f"{end.name or end.output[0]!r} ({end.op_type})")
            node = self._producers.get(name)
            if node is not None and node.op_type not in FORGETS:
                todo += [(each, power * self._raised(node), end) for each in node.input if each]
        return found

    def _started(self, node):
        """(tensor, power) for each input of `node` of which small numbers count."""
        match node.op_type:
            case "Log":
                yield node.input[0], 0.0
            case "Reciprocal":
                yield node.input[0], 0.0
            case "Div":
                yield node.input[1], 0.0
            case "Sqrt" | "Pow":
                yield node.input[0], max(self._raised(node), 0.0)

    def _raised(self, node):
        """The power to which a node raises its input; 1 for most."""
        if node.op_type == "Sqrt":
            return 0.5
        if node.op_type == "Mul" and node.input[0] == node.input[1]:
            return 2.0
        return (self._stored.get(node.input[1]) or 1.0) if node.op_type == "Pow" else 1.0


def _scalar(tensor):
    known = np.prod(tensor.dims) == 1 and not uses_external_data(tensor)
    return float(numpy_helper.to_array(tensor).reshape(-1)[0]) if known else None
