"""What was examined: the models, the machine, the feeds."""

from qlab import graph
from qlab.machine import identity
from qlab.measure.doctor.blocks import operators
from qlab.measure.doctor.document import Facts, Paragraph
from qlab.measure.doctor.visit import FP32, INT8
from qlab.measure.files import size_mb
from qlab.measure.streaming import stream_of
from qlab.text import figures, listed, plural

ALONE = (
    "No fp32 model was given, so one was made from the quantized one, and stands for it in calls as well: its weights "
    "are what the codes stand for, its activations are not rounded. Times compare much as they would with the real "
    "one. SQNR and layers tell what rounding the activations loses; what rounding the weights lost cannot be told."
)
INVENTED = (
    "No feeds were given, so they were invented from the model's signature. Times are real. Ranges, SQNR and whatever "
    "rests on them are those of noise: give real inputs with --calibration."
)

LEFT_OUT = {
    "int8": "--quick: one feed measures, the layers' errors were not looked for, and no recipe was tried",
    "fp32": "--quick: one feed measures, of the recipes the first that gives a model of hybrid, dynamic and static was "
    "tried, and that model was not diagnosed",
}


def examined(visit):
    """The blocks of the first section."""
    request = visit.request
    entries = [(FP32, [request.fp32.name if request.is_alone else str(request.fp32), _fp32(request.fp32)])]
    if visit.given is not None:
        entries.append((INT8, [str(request.int8), _int8(request.int8, visit.given.examination.quantized)]))
    entries += [
        ("machine", _machine(request)),
        ("feeds", _feeds(request.feeds, request.fp32)),
        ("timing", [_timing(request)]),
    ]
    if request.quick:
        entries.append(("left out", [LEFT_OUT["fp32" if visit.given is None else "int8"]]))
    alone = [Paragraph(ALONE)] if request.is_alone else []
    return [Facts(entries), *alone, *([Paragraph(INVENTED)] if request.feeds.source is None else [])]


def _fp32(path):
    nodes = list(graph.nodes(graph.load(path)))
    return f"{figures(size_mb(path))} MB, {plural(len(nodes), 'node')}: {listed(operators(nodes))}"


def _int8(path, profile):
    counts = {kind: [node for node in profile.nodes if node.kind == kind] for kind in ("integer", "float", "boundary")}
    integer = f" ({listed(operators(counts['integer']))})" if counts["integer"] else ""
    return (
        f"{figures(size_mb(path))} MB; as onnxruntime runs it, {plural(len(counts['integer']), 'node')} on integers"
        f"{integer}, {len(counts['float'])} on floats, {len(counts['boundary'])} between"
    )


def _machine(request):
    card = request.card
    speeds = ", ".join(
        f"{pair[:2]} x {pair[2:]} {'no kernel' if speed is None else f'{speed:.2f}'}"
        for pair, speed in card.speed.items()
    )
    exact = "u8 x s8 saturates: its sums can come out wrong" if card.saturates else "u8 x s8 is exact"
    cores = f", {plural(card.cores, 'core')}" if request.card_name is None else ""
    lines = [
        f"{card.name} ({card.platform}{cores})",
        f"integer products against float32: {speeds}; {exact}",
    ]
    if request.card_name is not None:
        lines.append(
            "This is a reference card: dtypes and judgement follow it; times and SQNR are those of the machine at hand."
        )
    return lines


def _feeds(feeds, fp32):
    state = stream_of(graph.load(fp32), feeds.feeds).state
    source = "invented" if feeds.source is None else str(feeds.source)
    measured, calibration = len(feeds.measured), len(feeds.calibration)
    if feeds.held_out:
        use = f"{plural(measured, 'feed')} to measure on, {calibration} others to calibrate"
    elif calibration == 1:
        use = "one feed, to calibrate and to measure on: the SQNR of static and hybrid flatters"
    else:
        use = (
            f"{calibration} feeds to calibrate, the first to measure on as well: the SQNR of static and hybrid flatters"
        )
    return [
        f"{source}: {use}",
        *(_input(name, feeds, name in state) for name in feeds.declared if name in feeds.feeds[0]),
    ]


def _input(name, feeds, is_state):
    shapes = [str(list(shape)) for shape in dict.fromkeys(feed[name].shape for feed in feeds.measured)]
    declared = ", ".join("any" if size is None else str(size) for size in feeds.declared[name])
    taken = "" if shapes == [f"[{declared}]"] else f", declared [{declared}]"
    return f"{name}: {feeds.feeds[0][name].dtype} {' and '.join(shapes[:3])}{taken}{_emptiness(name, feeds, is_state)}"


def _emptiness(name, feeds, is_state):
    """A warning, where a float input holds one and the same number throughout."""
    arrays = [feed[name] for feed in feeds.feeds]
    if arrays[0].dtype.kind != "f" or not all(array.size > 1 for array in arrays):
        return ""
    first = arrays[0].flat[0]
    if any((array != first).any() for array in arrays):
        return ""
    if is_state:
        return f"; it is {first:g} throughout, the beginning of a state: ranges are those of the beginning"
    return f"; it is {first:g} throughout: times are real, ranges and SQNR are those of nothing"


def _timing(request):
    available = identity.usable_cores()
    crowded = f" on {plural(available, 'core')}: they wait for each other" if request.threads > available else ""
    return f"{plural(request.rounds, 'round')}, {plural(request.threads, 'thread')}{crowded}"
