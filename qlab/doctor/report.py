"""A report as a document: what stands in it, without a thought of how it looks.

The sentences of a report.

Parts of a report, from what was measured.

What was examined: the models, the machine, the feeds.

From a visit to the report on it: what is said, and in which order."""

import math
import shlex
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import onnxruntime
from matplotlib.figure import Figure

from qlab import graph
from qlab import runtime as identity
from qlab.doctor.advice import (
    AS_ACCURATE_DB,
    AS_FAST,
    AS_SAME,
    GOOD_DB,
    NEAR_DB,
    ON_VALUES,
    accuracy,
    by_answers,
    by_metric,
    rule,
    same,
    too_inexact,
)
from qlab.doctor.visit import FP32, INT8, NEAR, disagreement
from qlab.graph.model import opened
from qlab.measure.answers import DIVERSE, ENOUGH
from qlab.measure.diagnosis.diagnose import CODES
from qlab.measure.compare import stream_of
from qlab.recipes.quantized import summary
from qlab.text import decibels, figures, listed, ms, plural, ratio


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list of short texts."""

    texts: list[str]


@dataclass(frozen=True)
class Facts:
    """Terms, each with one or more lines about it: [(term, [line, ...])]."""

    entries: list[tuple[str, list[str]]]


@dataclass(frozen=True)
class Table:
    """Rows of text, the first of them the head; columns numbered in `left` are text, the others numbers.

    marked  the place of a row that stands out, counted with the head, or None
    note    what must be known to read it
    """

    rows: list[list[str]]
    left: tuple[int, ...] = (0,)
    marked: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Code:
    """Lines to copy."""

    text: str


@dataclass(frozen=True)
class Case:
    """One finding: a title, and texts under a word each, [("seen", "..."), ...]."""

    title: str
    entries: list[tuple[str, str]]


@dataclass(frozen=True)
class Picture:
    """A figure, drawn only where it can be seen.

    what     what it shows, in a few words; with the figure's own title it becomes the text for those who do not see it
    instead  a block to show where there are no pictures, or None
    """

    draw: Callable[[], Figure]
    what: str
    instead: Table | None = None


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: list


@dataclass(frozen=True)
class Report:
    """A whole report. `verdict` is its first sentence, `advice` what to do about it, `units` how to read them."""

    title: str
    verdict: str
    advice: str
    is_healthy: bool
    sections: list[Section] = field(default_factory=list)
    colophon: str = ""
    units: str = ""


def verdict(visit):
    """What was found, in one sentence."""
    fp32 = visit.request.fp32.name
    if visit.given is not None:
        return f"{visit.request.int8.name} {_speed(visit.row, visit)}; {_state(visit)}."
    if visit.recommendation is None:
        return _nothing_made(visit)
    if visit.recommendation.name == FP32:
        return f"Stay with {fp32}: {visit.recommendation.why}."
    row = visit.row_of(visit.recommendation.name)
    if visit.tried is None:
        return f"recipes.{row.name} makes a model that {_speed(row, visit)}; {visit.problem or 'it was not diagnosed'}."
    remains = _number(visit.tried.findings, "remains", "remain")
    return f"recipes.{row.name} makes a model that {_speed(row, visit)}; {remains}."


def _nothing_made(visit):
    """Why there is no model: recipes failed, or found nothing that they could quantize, or some did the one."""
    fp32, failed = visit.request.fp32.name, [attempt for attempt in visit.attempts if attempt.failed]
    if not failed:
        return f"The recipes find nothing to quantize in {fp32}."
    names = " and ".join(f"recipes.{attempt.name}" for attempt in failed)
    rest = "" if len(failed) == len(visit.attempts) else ", and the others find nothing to quantize"
    return f"No recipe makes a model of {fp32}: {names} failed{rest}."


def advice(visit):
    """What to do about it."""
    chosen = visit.recommendation
    if visit.given is None:
        if chosen is None or chosen.name == FP32:
            return "The reasons are below."
        return "The call that makes it is below." if visit.saved is None else f"It is kept as {visit.saved}."
    if chosen is None and visit.is_healthy:
        return "There is nothing to mend" + " among the causes that --quick looks for" * visit.request.quick + "."
    if chosen is None:
        return "What mends it stands with each finding." if visit.given.findings else "No cause was found."
    if chosen.name == INT8:
        rest = ", knowing what the findings say" if visit.given.findings else ""
        return f"None of the recipes does better on these feeds: keep it{rest}."
    if chosen.name == FP32:
        return f"Stay with {visit.request.fp32.name}: {chosen.why}."
    row = visit.row_of(chosen.name)
    speed = f"{ratio(row.speedup)} times as fast as {visit.request.fp32.name}"
    return f"recipes.{chosen.name} makes a {_better(row, visit.row)} one: {speed}, {_quality(row, visit)}."


def together(visit, diagnosis):
    """The sum of the findings' costs, beside what was measured."""
    profiled, row = diagnosis.examination.quantized.total_ms, visit.row_of(diagnosis.name)
    cost = diagnosis.findings.cost_ms
    text = (
        f"Together about {ms(cost)} of the {ms(profiled)} of a run: {ms(profiled - cost)} would be left. "
        f"Compared side by side, {row.name} takes {ms(row.median_ms)} and fp32 {ms(visit.row_of(FP32).median_ms)}"
    )
    chosen = visit.recommendation
    if chosen is not None and chosen.name not in (FP32, diagnosis.name):
        text += f"; {chosen.name} takes {ms(visit.row_of(chosen.name).median_ms)}"
    return f"{text}."


def disagreements(visit, diagnosis):
    """What is to be said where two measurements of one model are further apart than luck makes them; [] elsewhere."""
    row, fp32 = visit.row_of(diagnosis.name), visit.row_of(FP32)
    profiled = {FP32: diagnosis.examination.fp32.total_ms, row.name: diagnosis.examination.quantized.total_ms}
    compared = {FP32: fp32.median_ms, row.name: row.median_ms}
    is_other_way = {"faster": profiled[FP32] < profiled[row.name], "slower": profiled[FP32] > profiled[row.name]}
    found, apart = [], disagreement(diagnosis, visit.comparison)
    if apart > NEAR or is_other_way.get(row.verdict):
        times = " and ".join(f"{name} {ms(profiled[name])} here, {ms(time)} there" for name, time in compared.items())
        found.append(
            f"Two measurements, the profile's here and the comparison's side by side, are {100 * apart:.0f} % apart: "
            f"{times}. Repeat this on a machine that is less busy."
        )
    return found + _accuracy_apart(visit.comparison, diagnosis, row)


def _accuracy_apart(comparison, diagnosis, row):
    """Of the output whose SQNR as the model runs is furthest from that of its nodes one by one, if far; a stream has
    another one by right."""
    if "stream" in row.note:
        return []
    by_node = {one.name: one.accumulated_db for one in diagnosis.examination.layers.rows}
    as_run = comparison.sqnr_by_output.get(row.name, {})
    pairs = [(as_run[name], by_node[name], name) for name in as_run if name in by_node]
    far = [one for one in pairs if min(one[:2]) < GOOD_DB and abs(one[0] - one[1]) > NEAR_DB]
    if not far:
        return []
    runs, nodes, name = max(far, key=lambda one: abs(one[0] - one[1]))
    return [
        f"Two measurements of output {name!r} disagree: it keeps {decibels(runs)} dB as onnxruntime runs the model, "
        f"and {decibels(nodes)} where it runs node by node, without optimizations, as the layers of this report do: "
        "what lies between is in none of the layers."
    ]


def _better(row, given):
    """In what the Row of a recipe is better than that of the given model."""
    words = ["faster"] if AS_FAST * row.speedup > given.speedup else []
    is_closer = accuracy(row) > accuracy(given) + AS_ACCURATE_DB and same(row) >= same(given)
    words += ["more accurate"] if is_closer or same(row) > same(given) + AS_SAME else []
    return " and ".join(words) or "better"


def _speed(row, visit):
    fp32, quality = visit.request.fp32.name, _quality(row, visit)
    interval = f"(95 %: {row.interval})"
    if row.verdict == "faster":
        return f"is {ratio(row.speedup)} times as fast as {fp32} {interval}, {quality}"
    if row.verdict == "slower":
        return f"is slower than {fp32}: {ratio(row.speedup)} times its speed {interval}, {quality}"
    return (
        f"is neither clearly faster nor slower than {fp32}: {ratio(row.speedup)} times its speed {interval}, {quality}"
    )


def _quality(row, visit):
    unit = " dB" if abs(row.sqnr_db) < math.inf else ""
    on = " on noise" if visit.request.feeds.source is None else ""
    counted = f", of the answers {row.answers}" if row.answers is not None else ""
    agreement = f"agreement {row.agreement:.3f}{on}, " if by_metric(row) else ""
    return f"{agreement}SQNR {decibels(row.sqnr_db)}{unit}{on}{counted}"


def _state(visit):
    found = _number(visit.given.findings, "", "")
    return f"{too_inexact(visit.row)}; {found}" if visit.is_inexact else found


def _number(findings, one, many):
    if not findings:
        return "the diagnosis finds nothing"
    cost = f", together about {ms(findings.cost_ms)} a run" if findings.cost_ms else ""
    return f"{plural(len(findings), 'finding')} {one if len(findings) == 1 else many}".rstrip() + cost


SHOWN = 8  # rows of a table of many


def comparison_table(comparison, marked):
    """All models, the row called `marked` standing out; remarks are put below, where they have room."""
    notes = {}
    for row in comparison.rows:
        if row.note:
            notes.setdefault(row.note, []).append(row.name)
    remarks = [
        f"{note[:1].upper()}{note[1:]} ({'all models' if len(names) == len(comparison.rows) else ', '.join(names)})."
        for note, names in notes.items()
    ]
    method = f"{comparison.method[:1].upper()}{comparison.method[1:]}."
    places = {row.name: place for place, row in enumerate(comparison.rows, 1)}
    return Table(
        comparison.table, left=comparison.text_columns, marked=places.get(marked), note=" ".join([method, *remarks])
    )


def ledger_table(ledger, name):
    """Where the milliseconds of the quantized model `name` and of fp32 go; the last row is their sum."""
    rows = ledger.table(name)
    return Table(rows, marked=len(rows) - 1)


def profile_table(profile):
    """The costliest operators of a Profile."""
    return Table(profile.table(SHOWN), left=(0, 1))


def layers_table(layers):
    """The layers that lose most by themselves."""
    worst = layers.worst(SHOWN)
    rows = [["tensor", "layer", "local dB", "accumulated dB"]]
    for row in worst:
        rows.append([row.name, row.op_type, decibels(row.local_db), decibels(row.accumulated_db)])
    of = f"{len(worst)} of {plural(len(layers.rows), 'layer')}, the worst first, on {plural(layers.feeds, 'feed')}"
    note = f"{of}. Local: the layer's own loss."
    return Table(rows, left=(0, 1), note=note)


def finding_case(number, finding):
    """One finding, under its number."""
    entries = [("seen", finding.evidence), ("why", finding.why), (finding.advice, finding.remedy)]
    if finding.nodes:
        more = f", and {len(finding.nodes) - 3} more" if len(finding.nodes) > 3 else ""
        entries.append(("where", ", ".join(finding.nodes[:3]) + more))
    return Case(f"{number}. {finding.title}: {CODES.get(finding.code, 'see measure.CODES')}", entries)


def limit_line(limit):
    """A Limit in a line."""
    return f"{limit.finding.title}: {limit.finding.evidence}. But {limit.why_not}."


def surroundings(diagnosis):
    """A Picture of the graph that ran around the costliest finding that points into it; None if none does."""
    model = diagnosis.examination.quantized.model
    names = diagnosis.examination.names
    ran = {name: name for node in graph.nodes(model) for name in (node.name, *node.output) if name}
    ran |= {names.in_files(node): node.name for node in graph.nodes(model) if node.name}
    pointing = ((finding, name) for finding in diagnosis.findings for name in finding.nodes if name in ran)
    finding, name = next(pointing, (None, None))
    if finding is None:
        return None
    place = ran[name]
    what = f"The graph that ran, around {place}, where {finding.code} was found"
    return Picture(lambda: graph.draw(model, around=place), what)


def operators(nodes):
    """A Counter of the operators of nodes or NodeTimes."""
    return Counter(node.op_type for node in nodes)


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
    model = opened(path)
    return f"{figures(model.size_mb)} MB, {plural(len(model.nodes), 'node')}: {listed(model.operators)}"


def _int8(path, profile):
    counts = {kind: [node for node in profile.nodes if node.kind == kind] for kind in ("integer", "float", "boundary")}
    integer = f" ({listed(operators(counts['integer']))})" if counts["integer"] else ""
    size = figures(opened(path).size_mb)
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


NOTHING_ELSE = "no recipe made anything else of it"


DECIBELS = "dB: 20 log10 of signal over error. 20 dB: an error of 10 % of the signal's size; 40 dB: 1 %."


SQNR_TELLS = (
    "Judged by SQNR: it tells how near the numbers stay to fp32's, not how often what is read from them changes. A "
    "metric of your own tells that: --metric module:function."
)


READER = "; reader stands for feeds to calibrate on, such as qlab.doctor.read_feeds('feeds.npz', 'model.onnx')"


def report_of(visit):
    """The Report on a Visit: the verdict first, then what it rests on, then what to do."""
    request = visit.request
    sections = [Section("What was examined", examined(visit))]
    if visit.comparison is not None:
        sections.append(_comparison(visit))
    if visit.given is not None:
        sections += _diagnosis(visit, visit.given)
    if visit.attempts:
        sections.append(_recommendation(visit))
    if visit.tried is not None:
        sections += _diagnosis(visit, visit.tried)
    return Report(
        title=f"qlab doctor: {(request.int8 or request.fp32).name}",
        verdict=verdict(visit),
        advice=advice(visit),
        is_healthy=visit.is_healthy,
        sections=sections,
        units=DECIBELS if visit.comparison is not None else "",
        colophon=f"{_command(request)}\non {datetime.now():%Y-%m-%d %H:%M}, onnxruntime {onnxruntime.__version__}",
    )


def _comparison(visit):
    chosen = None if visit.recommendation is None else visit.recommendation.name
    table = comparison_table(visit.comparison, chosen)
    judged = Paragraph(_judged_by(visit))
    return Section("Speed and accuracy", [table, judged, Picture(visit.comparison.plot, "Speed-ups over fp32")])


def _judged_by(visit):
    """What accuracy is judged by, and what that cannot tell."""
    row = max(visit.comparison.rows[1:], key=lambda row: (by_metric(row), by_answers(row)))  # of a broken one, neither
    if by_metric(row):
        feeds = plural(visit.comparison.feeds, "feed")
        return f"Judged by {visit.request.metric_name}: agreement, the mean of {feeds}; 1 is full agreement."
    if by_answers(row):
        return (
            f"Judged by answers, {row.answers.total:,} of them: whether they stay. The numbers behind them, which a "
            "threshold or a ranking would read, stay as near as SQNR says."
        )
    few = ""
    if row.answers is not None:
        few = (
            f" {plural(row.answers.total, 'answer')}, {row.answers.others:,} other than the commonest, are too few to "
            f"judge by: {ENOUGH} are enough, and {DIVERSE} others."
        )
    return f"{SQNR_TELLS}{few}"


def _diagnosis(visit, diagnosis):
    """Time, findings and accuracy of one quantized model. Of a second one, a terminal gets the short of it."""
    name, examination = diagnosis.name, diagnosis.examination
    is_first = visit.given is None or visit.given is diagnosis
    profile, layers = examination.quantized, examination.layers
    by_operator = profile_table(profile) if is_first else None
    time = [
        ledger_table(diagnosis.ledger, name),
        *map(Paragraph, disagreements(visit, diagnosis)),
        Picture(diagnosis.ledger.plot, f"Time by kind of work, fp32 and {name}"),
        Picture(profile.plot, f"Time by operator, {name}", by_operator),
    ]
    if is_first:
        time.append(Picture(examination.fp32.plot, "Time by operator, fp32"))
    accuracy = [Picture(layers.plot, f"SQNR of every layer, {name}", layers_table(layers) if is_first else None)]
    if not layers.feeds:
        accuracy = [Paragraph("Not looked for with --quick.")]
    elif is_first and visit.request.feeds.source is None:
        accuracy.append(Paragraph("These are losses on noise, which ranges calibrated on real inputs do not fit."))
    return [
        Section(f"{name}: where the time goes", time),
        Section(f"{name}: findings", _findings(visit, diagnosis)),
        Section(f"{name}: where the accuracy goes", accuracy),
    ]


def _findings(visit, diagnosis):
    limits = []
    if diagnosis.limits:
        limits.append(Paragraph("True as well, but not worth mending here:"))
        limits.append(Items([limit_line(limit) for limit in diagnosis.limits]))
    if visit.request.feeds.source is None:
        limits.append(Paragraph(f"Not judged on invented feeds: {', '.join(ON_VALUES)}."))
    if not diagnosis.findings:
        rest = "" if diagnosis.limits else ": none of the causes that the doctor looks for"
        return [Paragraph(f"Nothing to mend{rest}."), *limits]
    cases = [finding_case(number, finding) for number, finding in enumerate(diagnosis.findings, 1)]
    sums = [Paragraph(together(visit, diagnosis))] if diagnosis.findings.cost_ms else []
    return [*cases, *sums, *_how_to_call(diagnosis.findings), *limits, *filter(None, [surroundings(diagnosis)])]


def _how_to_call(findings):
    """A Paragraph on what the calls in the remedies need."""
    calls = " ".join(finding.remedy for finding in findings)
    if "recipes." not in calls:
        return []
    names = "machine, recipes" if "machine." in calls else "recipes"
    return [Paragraph(f"The calls need `from qlab import {names}`{READER if ', reader' in calls else ''}.")]


def _recommendation(visit):
    """What was tried, what came of it, and how to make it."""
    chosen, parts = visit.recommendation, [Items([_attempt(visit, attempt) for attempt in visit.attempts])]
    if chosen is None:
        why = "no recipe made a model of it" if any(one.failed for one in visit.attempts) else NOTHING_ELSE
        return Section("Recommendation", [*parts, Paragraph(f"Stay with fp32: {why}.")])
    what = {FP32: "Stay with fp32", INT8: "Keep int8, as it is"}.get(chosen.name, f"Use {chosen.name}")
    parts += [Paragraph(f"{what}: {chosen.why}."), Paragraph(rule(visit.comparison.rows))]
    if INT8 in chosen.rejected:
        parts.append(Paragraph(f"Not int8, as it is: {chosen.rejected[INT8]}."))
    if chosen.name in (FP32, INT8):
        return Section("Recommendation", parts)
    parts.append(Code(_call(visit)))
    if visit.request.feeds.source is None and not chosen.name.startswith("dynamic"):
        parts.append(Paragraph("It was calibrated on noise: make it again from real feeds before you use it."))
    if visit.saved is not None:
        parts.append(Paragraph(f"Kept as {visit.saved}."))
    if visit.problem:
        parts.append(Paragraph(f"It could not be diagnosed: {visit.problem}"))
    return Section("Recommendation", parts)


def _attempt(visit, attempt):
    if attempt.quantized is None:
        return f"{attempt.name}: {'failed: ' * attempt.failed}{attempt.why_not}."
    products, choice = attempt.quantized.products, attempt.quantized.choice
    done = [f"{text} ({how})" for how in ("static", "dynamic") for text in summary(products, how)]
    rejected = visit.recommendation.rejected.get(attempt.name)
    notes = "".join(f" Note: {note}." for note in attempt.quantized.notes)
    return f"{attempt.name}: {', '.join(done) or 'no products'}, {choice}; {rejected or 'recommended'}.{notes}"


def _call(visit):
    """The Python that makes the recommended model."""
    request, name = visit.request, visit.recommendation.name
    attempt = next(one for one in visit.attempts if one.name == name)
    source, card = str(request.fp32), request.card_name
    output = str(request.save or request.fp32.with_name(f"{request.fp32.stem}.int8.onnx"))
    arguments = [repr(source), repr(output)] + ["feeds"] * (attempt.recipe != "dynamic")
    options = {key: repr(value) for key, value in attempt.options.items()}
    options |= {} if card is None else {"card": f"machine.card({card!r})"}
    arguments += [f"{key}={value}" for key, value in options.items()]
    lines = [f"from qlab import {'machine, ' if card else ''}recipes"]
    if attempt.recipe != "dynamic":
        lines += ["from qlab.doctor import read_feeds", ""]
        lines += _feeds_of_the_call(request.feeds, source)
    return "\n".join([*lines, f"recipes.{attempt.recipe}({', '.join(arguments)})"])


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
    words = ["python", "-m", "qlab", "doctor"]
    words += [str(path) for path in (None if request.is_alone else request.fp32, request.int8) if path is not None]
    for option, value, usual in (
        ("--calibration", request.feeds.source, None),
        ("--metric", request.metric_name, None),
        ("--card", request.card_name, None),
        ("--threads", request.threads, 1),
        ("--rounds", request.asked_rounds, None),
    ):
        words += [] if value == usual else [option, str(value)]
    words += ["--quick"] * request.quick
    alone = request.quick or request.is_alone
    return shlex.join(words + ["--no-recipes"] * (not request.tries_recipes and not alone))
