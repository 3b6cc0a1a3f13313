"""Who computes and who reads each tensor of a graph."""

import ml_dtypes
import numpy as np
from onnx import TensorProto, numpy_helper

from qlab.graph.walking import graphs, reads


class Network:
    """The main graph of a ModelProto as a network of named tensors.

    constants  {name: TensorProto} of the weights; sparse ones by their values
    inputs, outputs  names, in order; inputs that are weights with another value to choose are no inputs here
    producers  {name: node}; readers, {name: nodes}, those that read it in a body of theirs included
    inside     names of what is computed in the bodies of If, Loop and Scan
    """

    def __init__(self, model):
        graph, *inner = graphs(model)
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.constants |= {sparse.values.name: sparse.values for sparse in graph.sparse_initializer}
        self.inputs = [value.name for value in graph.input if value.name not in self.constants]
        self.outputs = [value.name for value in graph.output]
        self.producers = {name: node for node in graph.node for name in node.output if name}
        self._order = {name: index for index, node in enumerate(graph.node) for name in node.output}
        self.inside = {name for body in inner for node in body.node for name in node.output}
        self.readers = {}
        for node in graph.node:
            for name in reads(node):
                self.readers.setdefault(name, []).append(node)

    def moving(self):
        """Names of all that depends on an input. The rest is constant: weights, whatever node hands them on."""
        found, todo = set(self.inputs), list(self.inputs)
        while todo:
            new = {name for node in self.readers.get(todo.pop(), ()) for name in node.output if name} - found
            found |= new
            todo += new
        return found

    def has(self, name):
        """Whether `name` is computed here, or fed."""
        return name in self.producers or name in self.inputs

    def layer(self, name, through):
        """The nodes that compute `name`, in graph order, back to whatever is not in `through`."""
        found, todo = {}, [name]
        while todo:
            value = todo.pop()
            if value in self.producers and self._order[value] not in found:
                found[self._order[value]] = self.producers[value]
                todo += [read for read in reads(self.producers[value]) if read in through]
        return [found[index] for index in sorted(found)]

    def takers(self, name, op_type):
        """The nodes of that type whose first input is `name`."""
        return [node for node in self.readers.get(name, ()) if node.op_type == op_type and node.input[0] == name]

    def starts_at_zero(self, zero_point):
        """Whether codes with the zero point of that name stand for no negative number; "" is the default, uint8's 0."""
        value = self._value(zero_point) if zero_point else np.uint8(0)
        return value is not None and bool((value == ml_dtypes.iinfo(value.dtype).min).all())

    def are_equal(self, first, second):
        """Whether two names stand for the same constant, or for constants of the same value."""
        if first == second:
            return True
        values = [self._value(name) for name in (first, second)]
        return all(value is not None for value in values) and np.array_equal(*values)

    def is_on_grid(self, name, scale, zero_point):
        """Whether the constant `name` is exactly what one of the codes with that scale and zero point stands for."""
        value, step, zero = (self._value(one) if one else np.uint8(0) for one in (name, scale, zero_point))
        if value is None or not np.any(value):
            return value is not None
        if step is None or zero is None:
            return False
        limits, codes = ml_dtypes.iinfo(zero.dtype), np.rint(np.float32(value) / np.float32(step))
        within = np.clip(codes + np.float32(zero), limits.min, limits.max) - np.float32(zero)
        return bool(np.array_equal(within * np.float32(step), np.float32(value)))

    def _value(self, name):
        """The constant of that name, or None: it is computed, or stored outside the file, as only large ones are."""
        tensor = self.constants.get(name)
        if tensor is None or tensor.data_location == TensorProto.EXTERNAL:
            return None
        return numpy_helper.to_array(tensor)
