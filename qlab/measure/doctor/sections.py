"""From a visit to the report on it: what is said, and in which order."""

import shlex
from datetime import datetime

import onnxruntime

from qlab.measure.answers import DIVERSE, ENOUGH
from qlab.measure.doctor import blocks
from qlab.measure.doctor.document import Code, Items, Paragraph, Picture, Report, Section
from qlab.measure.doctor.examined import examined
from qlab.measure.doctor.limiting import ON_VALUES
from qlab.measure.doctor.recommending import by_answers, by_metric, rule
from qlab.measure.doctor.visit import FP32, INT8
from qlab.measure.doctor.wording import advice, disagreements, together, verdict
from qlab.recipes.fates import summary
from qlab.text import plural

NOTHING_ELSE = "no recipe made anything else of it"
DECIBELS = "dB: 20 log10 of signal over error. 20 dB: an error of 10 % of the signal's size; 40 dB: 1 %."
SQNR_TELLS = (
    "Judged by SQNR: it tells how near the numbers stay to fp32's, not how often what is read from them changes. A "
    "metric of your own tells that: --metric module:function."
)
READER = "; reader stands for feeds to calibrate on, such as qlab.measure.doctor.read_feeds('feeds.npz', 'model.onnx')"


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
    table = blocks.comparison_table(visit.comparison, chosen)
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
    by_operator = blocks.profile_table(profile) if is_first else None
    time = [
        blocks.ledger_table(diagnosis.ledger, name),
        *map(Paragraph, disagreements(visit, diagnosis)),
        Picture(diagnosis.ledger.plot, f"Time by kind of work, fp32 and {name}"),
        Picture(profile.plot, f"Time by operator, {name}", by_operator),
    ]
    if is_first:
        time.append(Picture(examination.fp32.plot, "Time by operator, fp32"))
    accuracy = [Picture(layers.plot, f"SQNR of every layer, {name}", blocks.layers_table(layers) if is_first else None)]
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
        limits.append(Items([blocks.limit_line(limit) for limit in diagnosis.limits]))
    if visit.request.feeds.source is None:
        limits.append(Paragraph(f"Not judged on invented feeds: {', '.join(ON_VALUES)}."))
    if not diagnosis.findings:
        rest = "" if diagnosis.limits else ": none of the causes that the doctor looks for"
        return [Paragraph(f"Nothing to mend{rest}."), *limits]
    cases = [blocks.finding_case(number, finding) for number, finding in enumerate(diagnosis.findings, 1)]
    sums = [Paragraph(together(visit, diagnosis))] if diagnosis.findings.cost_ms else []
    return [*cases, *sums, *_how_to_call(diagnosis.findings), *limits, *filter(None, [blocks.surroundings(diagnosis)])]


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
        lines += ["from qlab.measure.doctor import read_feeds", ""]
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
