"""Which nodes write and which read the same channels: where a factor per channel can be moved from one to the other."""

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from onnx import NodeProto, TensorProto, numpy_helper

from qlab import graph
from qlab.graph.editing import Weights
from qlab.graph.network import Network
from qlab.graph.operators import attribute, of

POOLS = {"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"}
RESHAPES = {"Flatten", "Reshape", "Squeeze", "Unsqueeze"}
REDUCTIONS = {"ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"}
SUMS = {"Add", "Sub", "Sum"}
NORMS = {  # which multiply by a number per channel last of all, and add one: the axis of the channels
    "LayerNormalization": -1, "RMSNormalization": -1, "SimplifiedLayerNormalization": -1,
    "BatchNormalization": 1, "InstanceNormalization": 1,
}  # fmt: skip
WHY_NOT = {
    "Clip": "Clip cuts the channels at numbers that would have to move with each",
    "Concat": "Concat puts others beside the channels",
    "Split": "Split parts the channels",
    "LayerNormalization": "LayerNormalization mixes the channels",
}
READ = "{} reads the channels, and cannot take or pass a factor for each"
MADE = "{} makes the channels, and cannot take or pass a factor for each"


@dataclass(frozen=True)
class Port:
    """A constant that meets the channels: input `place` of `node`, which seen in `shape` has them along `axes`."""

    node: NodeProto
    place: int
    shape: tuple[int, ...]
    axes: tuple[int, ...]

    @property
    def name(self):
        return self.node.input[self.place]

    def ranges(self, array):
        """The largest absolute number of each channel, float64 [channels]."""
        seen = np.abs(array.reshape(self.shape))
        others = tuple(axis for axis in range(len(self.shape)) if axis not in self.axes)
        return seen.max(axis=others, initial=0).reshape(-1).astype(np.float64)

    def times(self, array, factors):
        """`array` times the factor of each channel; as large as it must be to hold a number per channel."""
        sizes = [self.shape[axis] if axis in self.axes else 1 for axis in range(len(self.shape))]
        if len(self.axes) == 1:
            sizes[self.axes[0]] = len(factors)
        product = array.reshape(self.shape) * factors.reshape(sizes)
        return product.reshape(array.shape) if product.size == array.size else product


@dataclass
class Joint:
    """Tensors with the same channels, what writes them and what reads them.

    writes     ports of weights that a factor divides: a product's, a norm's
    adds       ports of biases and other summands, which it divides as well
    reads      ports of weights that it multiplies
    tensors    {name: axis of the channels}
    obstacles  why no factor can be put in between; empty where one can
    """

    size: int
    writes: list[Port] = field(default_factory=list)
    adds: list[Port] = field(default_factory=list)
    reads: list[Port] = field(default_factory=list)
    tensors: dict[str, int] = field(default_factory=dict)
    obstacles: list[str] = field(default_factory=list)

    @property
    def name(self):
        """The names of its first writer and first reader."""
        return " -> ".join(ports[0].node.name for ports in (self.writes, self.reads) if ports)

    @property
    def why(self):
        """What is in the way; "" where nothing is."""
        return self.obstacles[0] if self.obstacles else ""


class Channels:
    """The joints of a ModelProto with its weights inside, and the way to move factors across them, in place.

    norms  whether a norm, or a Mul by a number per channel, may be what writes the channels; otherwise only products
    """

    def __init__(self, model, *, norms=False):
        self.network, self._norms = Network(model), norms
        self.weights = Weights(model, "")
        self._graph = model.graph
        self._stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self._uses = Counter(name for one in graph.graphs(model) for node in one.node for name in node.input)
        self._uses.update(value.name for one in graph.graphs(model) for value in one.output)
        self._inner = {
            name for node in model.graph.node for body in graph.bodies(node) for one in body.node
            for name in graph.reads(one)
        }  # fmt: skip
        self._dims = {
            value.name: [_size(one) for one in value.type.tensor_type.shape.dim]
            for value in (*model.graph.input, *model.graph.value_info, *model.graph.output)
            if value.type.tensor_type.HasField("shape")
        }

    @cached_property
    def joints(self) -> list[Joint]:
        """All of them, in graph order: a Joint for whatever writes channels, and for all that is tied to it once."""
        found, seen = [], set()
        for node in self.network.items:
            name = node.output[0] if node.output else ""
            if name and name not in seen and (written := self._written(node)):
                found.append(self._explored(name, *written))
                seen |= found[-1].tensors.keys()
        return found

    def array(self, port):
        """The numbers of a port's constant, float64."""
        return self.weights[port.name].astype(np.float64)

    def rescale(self, joint, factors):
        """Divide what `joint`'s writers give by the positive `factors` [channels], and make its readers expect it."""
        for ports, way in ((joint.writes + joint.adds, 1 / factors), (joint.reads, factors)):
            for port in ports:
                self._put(port, port.times(self.array(port), way).astype(np.float32))

    def _put(self, port, array):
        """Store `array` for a port; a constant that others read as well stays as it is, for them."""
        name = port.name
        if self._uses[name] > 1:
            self._uses[name] -= 1
            port.node.input[port.place] = fresh = self.weights.add(f"{name}/{port.node.name}", array)
            self._uses[fresh], self._stored[fresh] = 1, self._graph.initializer[-1]
        else:
            self._stored[name].CopyFrom(numpy_helper.from_array(array, name))

    def _explored(self, name, axis, size):
        joint, todo = Joint(size), [(name, axis)]
        while todo:
            name, axis = todo.pop()
            if name in joint.tensors:
                if joint.tensors[name] != axis:
                    joint.obstacles.append("the channels lie along two axes of one tensor")
                continue
            joint.tensors[name] = axis
            if self._size(name, axis) != size:
                joint.obstacles.append("shapes are not known, so that the channels cannot be followed")
            if name in self.network.ends:
                joint.obstacles.append("the channels are an output of the model")
            if name in self._inner:
                joint.obstacles.append("the body of an If, Loop or Scan reads the channels")
            todo += self._ahead(joint, name, axis)
            for node in self.network.readers.get(name, ()):
                todo += self._behind(joint, node, name, axis)
        if not joint.reads:
            joint.obstacles.append("no product reads the channels")
        return joint

    def _ahead(self, joint, name, axis):
        """What has the same channels and is read by what makes the tensor; what writes them goes to `joint`."""
        node = self.network.producers.get(name)
        if node is None:
            joint.obstacles.append("the channels come from an input of the model")
            return []
        if written := self._written(node):
            if written[0] == axis and name == node.output[0]:
                joint.writes.append(self._port(node, "outputs"))
                joint.adds += self._biases(node, joint.size)
                self._check_alone(joint, node)
                return []
        elif node.op_type in SUMS:
            return self._summed(joint, node, axis)
        elif (place := self._data(node)) is not None and name == node.output[0]:
            source = node.input[place]
            before = [one for one in range(len(self._dims.get(source, ()))) if self._through(node, source, one) == axis]
            if len(before) == 1:
                return [(source, before[0])]
        joint.obstacles.append(WHY_NOT.get(node.op_type, MADE.format(node.op_type)))
        return []

    def _behind(self, joint, node, name, axis):
        """What has the same channels and is computed by a reader of the tensor; a product goes to `joint`."""
        if self._is_product(node):
            rank = len(self._dims.get(name, ()))
            if node.input[0] == name and axis == (1 if of(node.op_type).family == "convolution" else rank - 1):
                joint.reads.append(self._port(node, "inputs"))
                self._check_alone(joint, node)
                return []
        elif node.op_type in SUMS:
            return [(node.output[0], axis), *self._summed(joint, node, axis)] if name in node.input else []
        elif not self._written(node) and (place := self._data(node)) is not None and node.input[place] == name:
            after = self._through(node, name, axis)
            if after is not None:
                return [(node.output[0], after)]
        joint.obstacles.append(WHY_NOT.get(node.op_type, READ.format(node.op_type)))
        return []

    def _summed(self, joint, node, axis):
        """The summands with the same channels; constants are scaled with them."""
        rank, tied = len(self._dims.get(node.output[0], ())), []
        for place, name in enumerate(node.input):
            if name not in self.weights:
                tied.append((name, axis))
                if len(self._dims.get(name, ())) != rank:
                    joint.obstacles.append("a sum of tensors of unlike shape")
            elif not any(port.node is node and port.place == place for port in joint.adds):
                shape = (1,) * (rank - len(self.weights.shape(name))) + self.weights.shape(name)
                if len(shape) == rank:
                    joint.adds.append(Port(node, place, shape, (axis,)))
                else:
                    joint.obstacles.append("a sum of tensors of unlike shape")
        return tied

    def _check_alone(self, joint, node):
        place = self._place(node)
        if self._uses[node.input[place]] > 1 and self._is_product(node):
            joint.obstacles.append("several nodes share the weights")

    def _written(self, node):
        """(axis, channels) of what a node that can take a factor writes; None for others."""
        rank = len(self._dims.get(node.output[0], ())) if node.output else 0
        if self._is_product(node):
            port = self._port(node, "outputs")
            axis = 1 if of(node.op_type).family == "convolution" else rank - 1
            return axis, int(np.prod([port.shape[one] for one in port.axes]))
        if self._norms and (node.op_type in NORMS or node.op_type == "Mul") and rank:
            place = self._place(node)
            if place is not None and self._is_float(node.input[place]):
                axis = NORMS.get(node.op_type, self._port(node, "outputs").axes[0]) % rank
                shape = self.weights.shape(node.input[place])
                if node.op_type in NORMS and len(shape) != 1:
                    return None
                size = int(np.prod(shape))
                return (axis, size) if size > 1 and size == max(shape) and size == self._size_of(node, axis) else None
        return None

    def _size_of(self, node, axis):
        return self._size(node.output[0], axis)

    def _size(self, name, axis):
        dims = self._dims.get(name, ())
        return dims[axis] if 0 <= axis < len(dims) else None

    def _is_float(self, name):
        return name in self.weights and self.weights.kind(name) == TensorProto.FLOAT

    def _is_product(self, node):
        """A Conv, ConvTranspose, Gemm or MatMul of weights on its right, without a bias that is computed."""
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or node.domain not in ("", "ai.onnx"):
            return False
        weight, *bias = node.input[1:]
        if not self._is_float(weight) or not all(self._is_float(name) for name in bias if name):
            return False
        if of(node.op_type).family == "convolution":
            return True
        plain = not attribute(node, "transA", 0) and attribute(node, "alpha", 1.0) == attribute(node, "beta", 1.0) == 1
        return plain and len(self.weights.shape(weight)) == 2

    def _place(self, node):
        """Of the weights among the inputs."""
        if node.op_type == "Mul":
            places = [place for place, name in enumerate(node.input) if name in self.weights]
            return places[0] if len(places) == 1 else None
        return 1

    def _port(self, node, side):
        """The Port of a node's weights, for the channels that it writes ("outputs") or reads ("inputs")."""
        place = self._place(node)
        shape, group = self.weights.shape(node.input[place]), attribute(node, "group", 1)
        match node.op_type:
            case "Conv":
                seen = (group, shape[0] // group, *shape[1:])
                axes = {"outputs": (0, 1), "inputs": (0, 2)}
            case "ConvTranspose":
                seen = (group, shape[0] // group, *shape[1:])
                axes = {"outputs": (0, 2), "inputs": (0, 1)}
            case "Gemm" | "MatMul":
                seen, turned = shape, attribute(node, "transB", 0)
                axes = {"outputs": (0 if turned else 1,), "inputs": (1 if turned else 0,)}
            case "Mul":
                rank = len(self._dims[node.output[0]])
                seen = (1,) * (rank - len(shape)) + shape
                axes = {"outputs": (int(np.argmax(seen)),)}
            case _:
                seen, axes = shape, {"outputs": (0,)}
        return Port(node, place, seen, axes[side])

    def _biases(self, node, size):
        """The ports of what a product or norm adds."""
        if node.op_type == "Mul" or len(node.input) < 3 or not node.input[2]:
            return []
        shape = self.weights.shape(node.input[2])
        return [Port(node, 2, shape, (len(shape) - 1,))] if shape else [Port(node, 2, (1,), (0,))]

    def _data(self, node):
        """The place of the one input that moves, of nodes with one; None for others."""
        places = [place for place, name in enumerate(node.input) if name and name not in self.weights]
        return places[0] if len(places) == 1 and (places[0] == 0 or node.op_type == "Mul") else None

    def _through(self, node, name, axis):
        """The axis along which the channels lie behind a node, given theirs in the input `name`.

        None where a factor per channel does not pass, or where the channels cannot be followed.
        """
        dims, behind = self._dims.get(name, []), self._dims.get(node.output[0], [])
        if any(node.output[1:]):
            return None
        match node.op_type:
            case "Relu" | "LeakyRelu" | "PRelu" | "Identity" | "Mul" | "Div":
                return axis if len(dims) == len(behind) else None
            case "Clip":
                return axis if self._is_relu(node) else None
            case "Transpose":
                order = attribute(node, "perm", list(range(len(dims)))[::-1])
                return list(order).index(axis)
            case one if one in POOLS:
                return axis if axis == 1 else None
            case one if one in RESHAPES:
                ahead = [size for size in dims[:axis] if size != 1]
                fits = (at for at, size in enumerate(behind) if size == dims[axis] and
                        [one for one in behind[:at] if one != 1] == ahead)  # fmt: skip
                return next(fits, None)
            case one if one in REDUCTIONS:
                return self._reduced(node, axis, len(dims))
            case "Pad" | "Resize" | "Upsample":
                return axis if self._leaves(node) and dims[axis] == self._size(node.output[0], axis) else None
        return None

    def _is_relu(self, node):
        """A Clip without an upper end, at 0."""
        bounds = [*node.input[1:], "", ""][:2]
        low = float(self.weights[bounds[0]]) if bounds[0] in self.weights else attribute(node, "min", -np.inf)
        high = attribute(node, "max", np.inf)
        return low == 0 and not bounds[1] and high >= float(np.finfo(np.float32).max)

    def _leaves(self, node):
        """Whether a Pad fills in zeros or what is there, and a Resize makes up nothing of its own."""
        if node.op_type == "Pad":
            filled = self.weights[node.input[2]] if len(node.input) > 2 and node.input[2] else np.float32(0)
            return attribute(node, "mode", b"constant") != b"constant" or not np.any(filled)
        return attribute(node, "coordinate_transformation_mode", b"") != b"tf_crop_and_resize"

    def _reduced(self, node, axis, rank):
        axes = attribute(node, "axes", None)
        if axes is None and len(node.input) > 1 and node.input[1] in self.weights:
            axes = self.weights[node.input[1]].tolist()
        gone = {one % rank for one in axes} if axes else set()
        if not axes or axis in gone:
            return None
        return axis if attribute(node, "keepdims", 1) else axis - sum(one < axis for one in gone)


def _size(dim):
    """A number, a name, or something that equals nothing else."""
    return dim.dim_value if dim.HasField("dim_value") else dim.dim_param or object()
