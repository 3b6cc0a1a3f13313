"""Who pays for a node's time: no two findings count the same milliseconds."""


class Bill:
    """The times of the quantized model's nodes, of which findings take their parts, root causes first."""

    def __init__(self, nodes):
        self._left = {id(node): node.ms for node in nodes}
        self._explained = set()
        self._used = False

    def charge(self, node, milliseconds=None):
        """Take so many milliseconds of the node's time, or what is left of it, and return them."""
        left = self._left[id(node)]
        taken = left if milliseconds is None else min(max(milliseconds, 0.0), left)
        self._left[id(node)] = left - taken
        self._used |= taken > 0
        return taken

    @property
    def is_used(self):
        """Whether any finding has taken its part yet."""
        return self._used

    def left(self, nodes):
        """Milliseconds of these nodes that nobody has paid for yet."""
        return sum(self._left[id(node)] for node in nodes)

    def explain(self, nodes):
        """Note that a finding says why these products are slow, so that no other gives another reason."""
        self._explained |= {id(node) for node in nodes}

    def is_explained(self, node):
        """Whether a finding says already why this product is slow."""
        return id(node) in self._explained
