"""Models that draw random numbers: two runs of one file differ, and no error of codes can be told from that."""

from qlab import graph
from qlab.machine.runtime import open_session, repeats

DRAWS = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}


def random_draws(model, path, feed):
    """What to say of a ModelProto, in the file `path`, that draws numbers, so that two runs on `feed` differ; or "".

    With a seed a node draws the same in each new session, whatever else the file holds. Without one, onnxruntime seeds
    it by its place among the nodes, which a quantizer changes. A draw whose result counts for nothing does no harm.
    """
    nodes = [node for node in graph.nodes(model) if _draws(node)]
    if not nodes or repeats(open_session(path), feed):
        return ""
    names = ", ".join(f"{node.name or node.output[0]} ({node.op_type})" for node in nodes)
    draw, them = ("draws", "it a seed") if len(nodes) == 1 else ("draw", "them seeds")
    return f"{names} {draw} other numbers in each run: SQNR means nothing here; set the scale to 0 or give {them}"


def _draws(node):
    attributes = {one.name for one in node.attribute}
    if node.op_type == "Dropout":
        return len(node.input) > 2 and bool(node.input[2]) and "seed" not in attributes
    return node.op_type in DRAWS and "seed" not in attributes
