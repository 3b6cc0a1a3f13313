"""What a model's files say about it: size on disk, and whether its weights mean anything."""

from pathlib import Path

import onnx
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

RANDOM_WEIGHTS = "random weights: latency only"


def size_mb(path):
    """Size in MB (10^6 bytes) of an ONNX model with the external data files that its tensors name."""
    path = Path(path)
    model = onnx.load(path, load_external_data=False)
    locations = {ExternalDataInfo(tensor).location for tensor in _tensors(model) if uses_external_data(tensor)}
    return sum(file.stat().st_size for file in [path, *(path.parent / location for location in locations)]) / 1e6


def has_random_weights(session):
    """Whether the model of `session` is marked as filled with noise: fit for timing, its answers without meaning."""
    return session.get_modelmeta().custom_metadata_map.get("qlab.weights") == "random"


def _tensors(model):
    """Every tensor that is stored in the model: initializers and attributes, of subgraphs and functions too."""
    graphs = [model.graph]
    nodes = [node for function in model.functions for node in function.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
            nodes += graph.node
            continue
        for attribute in nodes.pop().attribute:
            yield from ([attribute.t] if attribute.HasField("t") else []) + list(attribute.tensors)
            graphs += ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs)
