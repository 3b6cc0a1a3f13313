"""Which node of the file is this one? onnxruntime and the quantizers rename what they fuse."""

from qlab import graph
from qlab.graph.operators import QUANTIZERS, is_product, originals

STEPS = 4  # from a fused node's last operator back to its product


class Names:
    """What the nodes that ran are called in the fp32 file `fp32`, and otherwise in the quantized one; ModelProtos.

    >>> names.in_files(node)  # of the QLinearConv "stem_token_1"  # doctest: +SKIP
    'stem'

    1. The node's own name, or what is left of it without what fusing added, is that of a node of the fp32 file.
    2. It, or that of a tensor the node computes, is that of a tensor: the node that computes it there, and of what was
       fused the product.
    3. The same in the quantized file, for Q/DQ and whatever else quantizing added; otherwise the name as it ran.
    """

    def __init__(self, fp32, quantized):
        self._fp32, self._added = ({node.name for node in graph.nodes(one) if node.name} for one in (fp32, quantized))
        self._producers = {name: node for node in graph.nodes(fp32) for name in node.output if name}

    def in_files(self, node):
        """The name of the NodeProto `node`, of the graph that ran, in the files."""
        own = list(originals(node.name))
        if found := next((name for name in own if name in self._fp32), ""):
            return found
        if node.op_type not in QUANTIZERS:
            for name in [*own, *node.output]:
                if name in self._producers:
                    made = self._producers[name]
                    return (self._product(made) if is_product(node) else made).name
        return next((name for name in own if name in self._added), node.name)

    def _product(self, node):
        """The product that what `node` computes begins with; `node`, if it is one itself or none is near."""
        before = node
        for _ in range(STEPS):
            if before is None or is_product(before):
                return before or node
            before = self._producers.get(before.input[0]) if before.input else None
        return node
