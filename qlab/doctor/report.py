"""What is said about a visit, in Markdown: the verdict first, then what it rests on, then what to do.

Sentences are plain text; `qlab.doctor.markdown` makes them Markdown, and shows a stranger's names in them as they are.
"""

import shlex
from collections import Counter
from datetime import datetime

import onnxruntime

from qlab import graph
from qlab.doctor.advice import by_answers, by_metric, rule
from qlab.doctor.markdown import code, facts, heading, items, paragraph, table
from qlab.doctor.trying import in_order_of_promise
from qlab.doctor.verdict import advice, disagreements, together, verdict
from qlab.doctor.visit import FP32, INT8
from qlab.measure.answers import DIVERSE, ENOUGH
from qlab.measure.compare import stream_of
from qlab.measure.diagnosis.diagnose import CAUSES
from qlab.recipes import RECIPES
from qlab.runtime import usable_cores
from qlab.text import decibels, figures, listed, plural

SHOWN = 8  # rows of a table of many

# Headings; {} is a model's name.
SPEED, TIME = "Speed and accuracy", "{}: where the time goes"
FINDINGS, ACCURACY = "{}: findings", "{}: where the accuracy goes"

ALONE = (
    "No fp32 model was given, so one was made from the quantized one, and stands for it in calls as well: its weights "
    "are what the codes stand for, its activations are not rounded. Times compare much as they would with the real "
    "one. SQNR and layers tell what rounding the activations loses; what rounding the weights lost cannot be told."
)

INVENTED = (
    "No feeds were given, so they were invented from the model's signature. Times are real. Ranges, SQNR and whatever "
    "rests on them are those of noise: give real inputs with --calibration."
)

NO_LAYERS = "--quick: one feed measures, the layers' errors were not looked for, and no recipe was tried"

ONE_RECIPE = (
    "--quick: one feed measures, of the recipes the first that gives a model of {} was tried, and that model was not "
    "diagnosed"
)

NOTHING_ELSE = "no recipe made anything else of it"

DECIBELS = "dB: 20 log10 of signal over error. 20 dB: an error of 10 % of the signal's size; 40 dB: 1 %."

SQNR_TELLS = (
    "Judged by SQNR: it tells how near the numbers stay to fp32's, not how often what is read from them changes. A "
    "metric of your own tells that: --metric module:function."
)

READER = "; reader stands for feeds to calibrate on, such as qlab.doctor.read_feeds('feeds.npz', 'model.onnx')"


def report_of(visit, on=None):
    """The report on a Visit, in Markdown. `on` is when and with what, now and this onnxruntime if None."""
    on = on or f"{datetime.now():%Y-%m-%d %H:%M}, onnxruntime {onnxruntime.__version__}"
    parts = [heading(1, f"qlab doctor: {(visit.request.int8 or visit.request.fp32).name}")]
    parts += [paragraph(verdict(visit)), paragraph(advice(visit))]
    parts += [] if visit.comparison is None else [paragraph(DECIBELS)]
    parts += _examined(visit)
    if visit.comparison is not None:
        parts += _comparison(visit)
    if visit.given is not None:
        parts += _diagnosis(visit, visit.given)
    if visit.attempts:
        parts += _recommendation(visit)
    if visit.tried is not None:
        parts += _diagnosis(visit, visit.tried)
    return "\n\n".join([*parts, "---", code(_command(visit.request)), paragraph(f"on {on}")]) + "\n"


def pictures_of(visit):
    """{heading of a section: [(what it shows, callable that draws it), ...]}, for the page."""
    shown = {} if visit.comparison is None else {SPEED: [("Speed-ups over fp32", visit.comparison.plot)]}
    for diagnosis in filter(None, (visit.given, visit.tried)):
        name, examination = diagnosis.name, diagnosis.examination
        shown[TIME.format(name)] = [
            (f"Time by kind of work, fp32 and {name}", diagnosis.ledger.plot),
            (f"Time by operator, {name}", examination.quantized.plot),
            *([("Time by operator, fp32", examination.fp32.plot)] if _is_first(visit, diagnosis) else []),
        ]
        shown[FINDINGS.format(name)] = _surroundings(diagnosis)
        if examination.layers.feeds:
            shown[ACCURACY.format(name)] = [(f"SQNR of every layer, {name}", examination.layers.plot)]
    return shown


def _is_first(visit, diagnosis):
    """Whether this is the first model that is diagnosed; of a second one the report says the short of it."""
    return visit.given is None or visit.given is diagnosis


def _surroundings(diagnosis):
    """The picture of the graph that ran around the costliest finding that points into it; none if none does."""
    model = diagnosis.examination.quantized.model
    names = diagnosis.examination.names
    ran = {name: name for node in graph.nodes(model) for name in (node.name, *node.output) if name}
    ran |= {names.in_files(node): node.name for node in graph.nodes(model) if node.name}
    pointing = ((finding, name) for finding in diagnosis.findings for name in finding.nodes if name in ran)
    finding, name = next(pointing, (None, None))
    if finding is None:
        return []
    what = f"The graph that ran, around {ran[name]}, where {finding.code} was found"
    return [(what, lambda: graph.draw(model, around=ran[name]))]


def _examined(visit):
    """What was looked at: the models, the machine, the feeds."""
    request = visit.request
    entries = [(FP32, [request.fp32.name if request.asked.is_alone else str(request.fp32), _fp32(request.model)])]
    if visit.given is not None:
        entries.append((INT8, [str(request.int8), _int8(request.quantized, visit.given.examination.quantized)]))
    entries += [
        ("machine", _machine(request)),
        ("feeds", _feeds(request.feeds, request.model)),
        ("timing", [_timing(request)]),
    ]
    if request.asked.quick:
        order = _and(recipe.name for recipe in in_order_of_promise())
        entries.append(("left out", [NO_LAYERS if visit.given is not None else ONE_RECIPE.format(order)]))
    notes = [ALONE] * request.asked.is_alone + [INVENTED] * (request.feeds.source is None)
    return [heading(2, "What was examined"), facts(entries), *map(paragraph, notes)]


def _and(names):
    """ "hybrid, dynamic and static"."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _operators(nodes):
    return listed(Counter(node.op_type for node in nodes))


def _fp32(model):
    return f"{figures(model.size_mb)} MB, {plural(len(model.nodes), 'node')}: {listed(model.operators)}"


def _int8(model, profile):
    counts = {kind: [node for node in profile.nodes if node.kind == kind] for kind in ("integer", "float", "boundary")}
    integer = f" ({_operators(counts['integer'])})" if counts["integer"] else ""
    size = figures(model.size_mb)
    return (
        f"{size} MB; as onnxruntime runs it, {plural(len(counts['integer']), 'node')} on integers"
        f"{integer}, {len(counts['float'])} on floats, {len(counts['boundary'])} between"
    )


def _machine(request):
    card = request.card
    speeds = ", ".join(
        f"{pair[:2]} x {pair[2:]} {'no kernel' if speed is None else f'{speed:.2f}'}"
        for pair, speed in card.speed.items()
    )
    exact = "u8 x s8 saturates: its sums can come out wrong" if card.saturates else "u8 x s8 is exact"
    cores = f", {plural(card.cores, 'core')}" if request.asked.card is None else ""
    lines = [
        f"{card.name} ({card.platform}{cores})",
        f"integer products against float32: {speeds}; {exact}",
    ]
    if request.asked.card is not None:
        lines.append(
            "This is a reference card: dtypes and judgement follow it; times and SQNR are those of the machine at hand."
        )
    return lines


def _feeds(feeds, model):
    state = stream_of(model.proto, feeds.feeds).state
    flatters = f"the SQNR of {_and(name for name, recipe in RECIPES.items() if recipe.needs_reader)} flatters"
    source = "invented" if feeds.source is None else str(feeds.source)
    measured, calibration = len(feeds.measured), len(feeds.calibration)
    if feeds.held_out:
        use = f"{plural(measured, 'feed')} to measure on, {calibration} others to calibrate"
    elif calibration == 1:
        use = f"one feed, to calibrate and to measure on: {flatters}"
    else:
        use = f"{calibration} feeds to calibrate, the first to measure on as well: {flatters}"
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
    available = usable_cores()
    crowded = f" on {plural(available, 'core')}: they wait for each other" if request.asked.threads > available else ""
    return f"{plural(request.rounds, 'round')}, {plural(request.asked.threads, 'thread')}{crowded}"


def _comparison(visit):
    """All models, the recommended one standing out; remarks are put below, where they have room."""
    comparison, notes = visit.comparison, {}
    for row in comparison.rows:
        if row.note:
            notes.setdefault(row.note, []).append(row.name)
    remarks = [
        f"{note[:1].upper()}{note[1:]} ({'all models' if len(names) == len(comparison.rows) else ', '.join(names)})."
        for note, names in notes.items()
    ]
    method = f"{comparison.method[:1].upper()}{comparison.method[1:]}."
    places = {row.name: place for place, row in enumerate(comparison.rows, 1)}
    marked = None if visit.recommendation is None else places.get(visit.recommendation.name)
    rows = table(comparison.table, left=comparison.text_columns, marked=marked)
    return [heading(2, SPEED), rows, paragraph(" ".join([method, *remarks])), paragraph(_judged_by(visit))]


def _judged_by(visit):
    """What accuracy is judged by, and what that cannot tell."""
    row = max(visit.comparison.rows[1:], key=lambda row: (by_metric(row), by_answers(row)))  # of a broken one, neither
    if by_metric(row):
        feeds = plural(visit.comparison.feeds, "feed")
        return f"Judged by {visit.request.asked.metric}: agreement, the mean of {feeds}; 1 is full agreement."
    if by_answers(row):
        return (
            f"Judged by answers, {row.answers.total:,} of them: whether they stay. The numbers behind them, which a "
            "threshold or a ranking would read, stay as near as SQNR says."
        )
    few = ""
    if row.answers is not None:
        total, others = row.answers.total, row.answers.others
        are = "is" if total == 1 else "are"
        came = f"{plural(total, 'answer')} {are}"
        if total >= ENOUGH:
            came = f"{total:,} answers, {others:,} of them other than the commonest, are"
        few = f" {came} too few to judge by: it takes {ENOUGH}, and {DIVERSE} of them other than the commonest."
    return f"{SQNR_TELLS}{few}"


def _diagnosis(visit, diagnosis):
    """Time, findings and accuracy of one quantized model."""
    name, lines = diagnosis.name, diagnosis.ledger.table(diagnosis.name)
    time = [*map(paragraph, disagreements(visit, diagnosis)), table(lines, marked=len(lines) - 1)]
    if _is_first(visit, diagnosis):
        time.append(table(diagnosis.examination.quantized.table(SHOWN), left=(0, 1)))
    return [
        heading(2, TIME.format(name)),
        *time,
        heading(2, FINDINGS.format(name)),
        *_findings(visit, diagnosis),
        heading(2, ACCURACY.format(name)),
        *_layers(visit, diagnosis),
    ]


def _layers(visit, diagnosis):
    """The layers that lose most by themselves."""
    layers = diagnosis.examination.layers
    if not layers.feeds:
        return [paragraph("Not looked for with --quick.")]
    worst = layers.worst(SHOWN)
    if not _is_first(visit, diagnosis):
        weakest = [f"{row.name} ({row.op_type}), {decibels(row.local_db)} dB" for row in worst[:1]]
        return [paragraph(f"The layer that loses most by itself: {weakest[0] if weakest else 'none'}.")]
    rows = [["tensor", "layer", "local dB", "accumulated dB"]]
    rows += [[row.name, row.op_type, decibels(row.local_db), decibels(row.accumulated_db)] for row in worst]
    of = f"{len(worst)} of {plural(len(layers.rows), 'layer')}, the worst first, on {plural(layers.feeds, 'feed')}"
    said = [f"{of}. Local: the layer's own loss."]
    if visit.request.feeds.source is None:
        said.append("These are losses on noise, which ranges calibrated on real inputs do not fit.")
    return [table(rows, left=(0, 1)), *map(paragraph, said)]


def _findings(visit, diagnosis):
    """The findings, costliest first; what is true besides and needs no mending."""
    limits = [f"{one.finding.title}: {one.finding.evidence}. But {one.why_not}." for one in diagnosis.limits]
    rest = [paragraph("True as well, but not worth mending here:"), items(limits)] if limits else []
    if visit.request.feeds.source is None:
        on_values = (code for code, kind in CAUSES.kinds.items() if kind.needs_values)
        rest.append(paragraph(f"Not judged on invented feeds: {', '.join(on_values)}."))
    if not diagnosis.findings:
        why = "" if diagnosis.limits else ": none of the causes that the doctor looks for"
        return [paragraph(f"Nothing to mend{why}."), *rest]
    cases = [part for number, finding in enumerate(diagnosis.findings, 1) for part in _case(number, finding)]
    sums = [paragraph(together(visit, diagnosis))] if diagnosis.findings.cost_ms else []
    return [*cases, *sums, *_how_to_call(diagnosis.findings), *rest]


def _case(number, finding):
    """One finding, under its number."""
    entries = [("what", CAUSES.kind(finding.code).means), ("seen", finding.evidence), ("why", finding.why)]
    entries.append((finding.advice, finding.remedy))
    if finding.nodes:
        more = f", and {len(finding.nodes) - 3} more" if len(finding.nodes) > 3 else ""
        entries.append(("where", ", ".join(finding.nodes[:3]) + more))
    return [heading(3, f"{number}. {finding.title}"), facts([(term, [text]) for term, text in entries])]


def _how_to_call(findings):
    """What the calls in the remedies need."""
    calls = " ".join(finding.remedy for finding in findings)
    if "recipes." not in calls:
        return []
    names = "machine, recipes" if "machine." in calls else "recipes"
    return [paragraph(f"The calls need from qlab import {names}{READER if ', reader' in calls else ''}.")]


def _recommendation(visit):
    """What was tried, what came of it, and how to make it."""
    chosen = visit.recommendation
    parts = [heading(2, "Recommendation"), items(_attempt(visit, attempt) for attempt in visit.attempts)]
    if chosen is None:
        why = "no recipe made a model of it" if any(one.failed for one in visit.attempts) else NOTHING_ELSE
        return [*parts, paragraph(f"Stay with fp32: {why}.")]
    is_given = chosen.is_reference or chosen.is_present
    what = f"Use {chosen.name}" if not is_given else "Stay with fp32" if chosen.is_reference else "Keep int8, as it is"
    said = [f"{what}: {chosen.why}.", rule(visit.comparison.rows)]
    if INT8 in chosen.rejected:
        said.append(f"Not int8, as it is: {chosen.rejected[INT8]}.")
    parts += map(paragraph, said)
    return parts if is_given else [*parts, code(_call(visit)), *map(paragraph, _of_the_made(visit))]


def _of_the_made(visit):
    """What is to be said of the recommended recipe's model."""
    said = []
    if visit.request.feeds.source is None and RECIPES[_attempt_of(visit).recipe].needs_reader:
        said.append("It was calibrated on noise: make it again from real feeds before you use it.")
    if visit.saved is not None:
        said.append(f"Kept as {visit.saved}.")
    if visit.problem:
        said.append(f"It could not be diagnosed: {visit.problem}")
    return said


def _attempt(visit, attempt):
    if attempt.quantized is None:
        return f"{attempt.name}: {'failed: ' * attempt.failed}{attempt.why_not}."
    made, rejected = attempt.quantized, visit.recommendation.rejected.get(attempt.name)
    notes = "".join(f" Note: {note}." for note in made.notes)
    done = ", ".join(made.done) or "no products"
    return f"{attempt.name}: {done}, {made.choice}; {rejected or 'recommended'}.{notes}"


def _attempt_of(visit):
    """The Attempt that made the recommended model."""
    return next(one for one in visit.attempts if one.name == visit.recommendation.name)


def _call(visit):
    """The Python that makes the recommended model."""
    request, attempt = visit.request, _attempt_of(visit)
    recipe, card = RECIPES[attempt.recipe], request.asked.card or ""
    output = request.asked.save or request.fp32.with_name(f"{request.fp32.stem}.int8.onnx")
    lines = [f"from qlab import {'machine, ' if card else ''}recipes"]
    if recipe.needs_reader:
        lines += ["from qlab.doctor import read_feeds", "", *_feeds_of_the_call(request.feeds, str(request.fp32))]
    return "\n".join([*lines, recipe.call(request.fp32, output, reader="feeds", card=card, **attempt.options)])


def _feeds_of_the_call(feeds, source):
    """The line that reads the feeds which calibrated the model."""
    if feeds.source is None:
        return ["# Make this file from real inputs, as `doctor --help` says: the doctor had only noise.",
                f"feeds = read_feeds('feeds.npz', {source!r})"]  # fmt: skip
    read = f"feeds = read_feeds({str(feeds.source)!r}, {source!r})"
    count = len(feeds.measured)
    kept = "first was" if count == 1 else f"first {count} were"
    return [f"{read}[{count}:]  # the {kept} kept for measuring"] if feeds.held_out else [read]


def _command(request):
    """The command that repeats the visit."""
    asked, paths = request.asked, (request.fp32, request.int8)
    words = [str(path) for path in paths[asked.is_alone :] if path is not None]
    for name, usual in {"calibration": None, "metric": None, "card": None, "threads": 1, "rounds": None}.items():
        value = getattr(asked, name)
        words += [] if value == usual else [f"--{name}", str(value)]
    words += ["--quick"] * asked.quick + ["--no-recipes"] * (asked.no_recipes and not asked.is_alone)
    return shlex.join(["python", "-m", "qlab", "doctor", *words])
