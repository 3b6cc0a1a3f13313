"""Bias correction: what quantizing adds to the mean of a layer's channel is taken off its bias."""

from collections import Counter

import numpy as np
import onnx
from onnx import helper

from qlab import graph
from qlab.files import ModelPath, writing
from qlab.graph.match import match
from qlab.graph.model import Model, write
from qlab.graph.network import Links, reads
from qlab.graph.operators import core
from qlab.graph.wiring import wire
from qlab.numerics.metrics import sqnr_db
from qlab.recipes.biases import Biases
from qlab.recipes.job import check_output, job, publish
from qlab.recipes.rewrites import Rewritten
from qlab.runtime import Reader, bar, check_feed, iterate_feeds, open_session, open_unoptimized, run
from qlab.text import decibels


def correct_bias(fp32: ModelPath | Model, quantized: ModelPath | Model, output: ModelPath, reader: Reader) -> Rewritten:
    """Write the Q/DQ model `quantized` with biases that give each layer the channels' means of `fp32` on the feeds.

    >>> recipes.correct_bias("model.onnx", "int8.onnx", "corrected.onnx", feeds)  # doctest: +SKIP

    fp32, quantized  a float model, and what recipes.static, or quantize_static in Q/DQ format, made of it
    reader           representative feeds, {input name: array}, or a CalibrationDataReader; read once, all kept in
                     memory, with what lies between two layers of each
    1. In graph order, layer after layer: each sees the corrected ones ahead of it.
    2. An int32 bias takes the difference of means rounded to its scale; where there is none, one is added that stays
       fused. The constant added behind a MatMul, which has 8 bits, gets codes and a scale of its own.
    3. Products in float, or quantized while they run, are left, and a MatMul without a bias.
    The means agree afterwards; whether answers are better is another question: the result says both SQNR.
    Raises ValueError if the second model is not quantized with Q and DQ, or is made of another one than the first, for
    a reader without feeds or with some that do not fit, and as the other recipes.
    Source: Nagel et al. 2019 (1906.04721), section 4.2, empirically.
    """
    quantized = graph.opened(quantized)
    biases = Biases(quantized.copy(weights=True))
    if not biases.layers:
        raise ValueError(
            f"{quantized.path} has no product between Q and DQ nodes, with a bias to correct; "
            "expected what recipes.static made"
        )
    with job("correct_bias", fp32, output) as work:
        check_output(output, quantized)
        source, pairs = _paired(work, quantized, biases)
        feeds = _feeds(reader, source, quantized)
        layers = [layer for layer in biases.layers if layer.output in pairs]
        means = _means(source, {pairs[layer.output]: layer.axis for layer in layers}, feeds)
        steps, done, left = Steps(biases.model, quantized.path, feeds), [], {k: list(v) for k, v in biases.left.items()}
        for layer in bar(layers, "correcting biases", unit="layer"):
            found = _mean(steps.to(layer.output), layer.axis)
            added = biases.add(layer, means[pairs[layer.output]] - found)
            if added is None:
                left.setdefault("the correction does not fit the codes of its bias", []).append(layer.name)
                continue
            steps.shift(layer.output, added, layer.axis)
            done.append(layer.name)
        for layer in biases.layers:
            if layer.output not in pairs:
                left.setdefault("the fp32 model has no layer like it, with these weights", []).append(layer.name)
        return _published(work, source, quantized, biases.finish(), feeds, (done, left))


def _published(work, source, quantized, proto, feeds, fates):
    place = work.folder / "finished"
    place.mkdir()
    with writing(work.output):
        made = Model(write(proto, place, work.output.name), proto)
    if graph.count(made.optimized) != graph.count(quantized.optimized):
        work.notes.append("onnxruntime fuses the result otherwise than before: compare graph.census of both")
    before, after = _sqnr(source, (quantized, made), feeds)
    fact = f"SQNR on the feeds: {decibels(before)} dB became {decibels(after)} dB (the worst float output)"
    with writing(work.output):
        publish(made.path, work.output)
    done, left = fates
    return Rewritten(work.output, work.recipe, "layer", tuple(done), left, (fact,), tuple(work.notes))


def _paired(work, quantized, biases):
    """(the Model of floats that was quantized, {output of a layer: the tensor of fp32 that it stands for}).

    The file may be made of the model as it is, or as it was prepared: whichever has more of its weights.
    """
    found = [(one, _alike(one, biases)) for one in (work.prepared, work.model)]
    source, pairs = max(found, key=lambda each: len(each[1]))
    for what in ("inputs", "outputs"):
        ours, theirs = (getattr(one.network, what) for one in (source, quantized))
        if set(ours) != set(theirs):
            raise ValueError(
                f"{quantized.path} has the {what} {theirs}, {source.path} {ours}: it was made of another model"
            )
    if not pairs:
        raise ValueError(
            f"no layer of {quantized.path} has the weights of one in {work.model.path}: it was made of another model, "
            "or of this one before it was changed; give the fp32 model that it was made from"
        )
    return source, pairs


def _alike(fp32, biases):
    """{output of a layer: tensor of fp32} of layers that have a product at their place, with nearly their weights."""
    one, two = wire(fp32.proto), wire(biases.model)
    partners = {two.ops[index].node.output[0]: one.ops[other].node for other, index in match(one, two).items()
                if two.ops[index].node.output}  # fmt: skip
    stored = {tensor.name: tensor for tensor in fp32.proto.graph.initializer}
    pairs = {}
    for layer in biases.layers:
        product, adder = (partners.get(node.output[0]) for node in (layer.product, layer.adder))
        if product is None or adder is None or core(product.op_type) != core(layer.product.op_type):
            continue
        with_bias = [len([name for name in node.input if name]) for node in (product, layer.product)]
        if product.input[1] in stored and with_bias[0] == with_bias[1] and adder.op_type == layer.adder.op_type:
            weights = fp32.array(stored[product.input[1]])
            theirs = biases.weight(layer)
            if weights.shape == theirs.shape and (not weights.any() or sqnr_db(weights, theirs) > 0):
                pairs[layer.output] = adder.output[0]
    return pairs


def _feeds(reader, source, quantized):
    """All feeds of the reader, which fit both models."""
    sessions = [(open_session(one), one.path.name) for one in (source, quantized)]
    feeds = []
    for count, feed in enumerate(iterate_feeds(reader)):
        try:
            for session, name in sessions:
                check_feed(session, feed, name)
        except ValueError as error:
            raise ValueError(f"feed {count} of the reader: {error}") from error
        feeds.append(dict(feed))
    if not feeds:
        raise ValueError(
            "the reader gave no feed; expected at least one {input name: array}. Was it read before? "
            "A generator or a CalibrationDataReader gives its feeds once: make a new one"
        )
    return feeds


def _sums(array, axis):
    """(float64 [channels] sums, numbers in each)."""
    channels = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
    return channels.sum(axis=1, dtype=np.float64), channels.shape[1]


def _mean(arrays, axis):
    sums, counts = zip(*(_sums(array, axis) for array in arrays), strict=True)
    return np.sum(sums, axis=0) / max(sum(counts), 1)


def _means(model, axes, feeds):
    """{tensor: float64 [channels], its mean over all feeds}."""
    names = list(axes)
    session = model.unoptimized(shown=names)
    total, numbers = dict.fromkeys(names, 0.0), Counter()
    for feed in bar(feeds, "means of fp32", unit="feed"):
        for name, array in zip(names, run(session, feed, names), strict=True):
            sums, count = _sums(array, axes[name])
            total[name] = total[name] + sums
            numbers[name] += count
    return {name: total[name] / max(numbers[name], 1) for name in names}


def _sqnr(source, models, feeds):
    """For each of `models` the SQNR in dB, over all feeds, of the worst of its float outputs."""
    sessions = [open_session(one) for one in (source, *models)]
    signal, noise = Counter(), [Counter() for _ in models]
    for feed in feeds:
        expected, *others = (run(session, feed) for session in sessions)
        for place, array in enumerate(expected):
            if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
                continue
            counted, reference = np.isfinite(array), array.astype(np.float64)
            signal[place] += float(np.square(reference[counted]).sum())
            for which, answers in zip(noise, others, strict=True):
                if answers[place].shape == array.shape:
                    which[place] += float(np.square(reference - answers[place])[counted].sum())
    return [min((_decibels(signal[place], which[place]) for place in signal), default=np.inf) for which in noise]


def _decibels(signal, noise):
    if noise == 0:
        return np.inf
    return 10 * np.log10(signal / noise) if signal else -np.inf


class Steps:
    """A ModelProto run on all feeds from one tensor to the next, each node once, while what is ahead may still change.

    known  for each feed {tensor: array} of what later nodes read
    """

    def __init__(self, model, path, feeds):
        self._model, self._path = model, path
        self.known = [dict(feed) for feed in feeds]
        links = Links(model.graph.node)
        self._moving = links.moving(feeds[0])
        self._done = set()

    def to(self, name):
        """The arrays of tensor `name`, one for each feed."""
        if name not in self.known[0]:
            self._step(name)
        return [known[name] for known in self.known]

    def shift(self, name, difference, axis):
        """Add `difference` [channels] to the tensor in every feed."""
        for known in self.known:
            sizes = [1] * known[name].ndim
            sizes[axis] = len(difference)
            known[name] = known[name] + difference.reshape(sizes).astype(known[name].dtype)

    def _step(self, name):
        main = self._model.graph
        links = Links(main.node)
        nodes = links.layer(name, links.producers.keys() - self.known[0].keys())
        self._done |= {output for node in nodes for output in node.output if output}
        waiting = [node for node in main.node if not self._done.intersection(node.output)]
        wanted = {one for node in waiting for one in reads(node)}
        made = [one for node in nodes for one in node.output if one == name or one in self._moving & wanted]
        session = open_unoptimized(self._part(nodes, made), self._path)
        inputs = [value.name for value in session.get_inputs()]
        for known in self.known:
            found = run(session, {one: known[one] for one in inputs}, made)
            if strange := [one for one, array in zip(made, found, strict=True) if not isinstance(array, np.ndarray)]:
                raise ValueError(f"{self._path}: {strange[0]!r} is no tensor, so that no layer can be run by itself")
            for gone in known.keys() - wanted - {name}:
                del known[gone]
            known |= dict(zip(made, found, strict=True))

    def _part(self, nodes, made):
        """The ModelProto of these nodes alone, which is fed what is known."""
        read, known = {name for node in nodes for name in reads(node)}, self.known[0]
        fed = [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(known[name].dtype), None)
               for name in sorted(read & known.keys())]  # fmt: skip
        weights = [tensor for tensor in self._model.graph.initializer if tensor.name in read]
        outputs = [onnx.ValueInfoProto(name=name) for name in made]
        part = helper.make_graph(nodes, "part", fed, outputs, weights)
        return helper.make_model(part, opset_imports=self._model.opset_import, ir_version=self._model.ir_version,
                                 functions=self._model.functions)  # fmt: skip
