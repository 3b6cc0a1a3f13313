"""The sentences of a report."""

import math

from qlab.measure.doctor.recommending import AS_ACCURATE_DB, AS_FAST, accuracy, too_inexact
from qlab.measure.doctor.visit import FP32, INT8, disagreement
from qlab.text import decibels, ms, plural, ratio

FAR = 0.2  # times that should agree


def verdict(visit):
    """What was found, in one sentence."""
    fp32 = visit.request.fp32.name
    if visit.given is not None:
        return f"{visit.request.int8.name} {_speed(visit.row, visit)}; {_state(visit)}."
    if visit.recommendation is None:
        return f"The recipes find nothing to quantize in {fp32}."
    if visit.recommendation.name == FP32:
        return f"Stay with {fp32}: {visit.recommendation.why}."
    row = visit.row_of(visit.recommendation.name)
    if visit.tried is None:
        return f"recipes.{row.name} makes a model that {_speed(row, visit)}; {visit.problem or 'it was not diagnosed'}."
    remains = _number(visit.tried.findings, "remains", "remain")
    return f"recipes.{row.name} makes a model that {_speed(row, visit)}; {remains}."


def advice(visit):
    """What to do about it."""
    chosen = visit.recommendation
    if visit.given is None:
        if chosen is None or chosen.name == FP32:
            return "The reasons are below."
        return "The call that makes it is below." if visit.saved is None else f"It is kept as {visit.saved}."
    if chosen is None and visit.is_healthy:
        return "There is nothing to mend."
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
    apart = disagreement(diagnosis, visit.comparison)
    if apart <= FAR:
        return f"{text}."
    return f"{text}. The two measurements are {100 * apart:.0f} % apart: repeat this on a machine that is less busy."


def _better(row, given):
    """In what the Row of a recipe is better than that of the given model."""
    words = ["faster"] if AS_FAST * row.speedup > given.speedup else []
    words += ["more accurate"] if accuracy(row) > accuracy(given) + AS_ACCURATE_DB else []
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
    return f"SQNR {decibels(row.sqnr_db)}{unit}{on}"


def _state(visit):
    found = _number(visit.given.findings, "", "")
    return f"{too_inexact(visit.row)}; {found}" if visit.is_inexact else found


def _number(findings, one, many):
    if not findings:
        return "the diagnosis finds nothing"
    cost = f", together about {ms(findings.cost_ms)} a run" if findings.cost_ms else ""
    return f"{plural(len(findings), 'finding')} {one if len(findings) == 1 else many}".rstrip() + cost
