"""The sentences of a report that weigh: how a model does beside fp32, what to do about it, what does not fit."""

import math

from qlab.doctor.advice import (
    AS_ACCURATE_DB,
    AS_FAST,
    AS_SAME,
    GOOD_DB,
    NEAR_DB,
    accuracy,
    by_metric,
    same,
    too_inexact,
)
from qlab.doctor.visit import FP32, NEAR, disagreement
from qlab.text import decibels, ms, plural, ratio


def verdict(visit):
    """What was found, in one sentence."""
    fp32 = visit.request.fp32.name
    if visit.given is not None:
        return f"{visit.request.int8.name} {_speed(visit.row, visit)}; {_state(visit)}."
    if visit.recommendation is None:
        return _nothing_made(visit)
    if visit.recommendation.is_reference:
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
        if chosen is None or chosen.is_reference:
            return "The reasons are below."
        return "The call that makes it is below." if visit.saved is None else f"It is kept as {visit.saved}."
    if chosen is None and visit.is_healthy:
        return "There is nothing to mend" + " among the causes that --quick looks for" * visit.request.asked.quick + "."
    if chosen is None:
        return "What mends it stands with each finding." if visit.given.findings else "No cause was found."
    if chosen.is_present:
        rest = ", knowing what the findings say" if visit.given.findings else ""
        return f"None of the recipes does better on these feeds: keep it{rest}."
    if chosen.is_reference:
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
    if chosen is not None and not chosen.is_reference and chosen.name != diagnosis.name:
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
