"""Parts of a report, from what was measured."""

from collections import Counter

from qlab import graph
from qlab.measure.diagnosing import CODES
from qlab.measure.doctor.document import Case, Picture, Table
from qlab.text import decibels, plural

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
