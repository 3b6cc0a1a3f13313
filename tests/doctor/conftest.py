"""What tests of the doctor share: a machine card that is there already, small models, made-up measurements."""

import math
from dataclasses import replace

import numpy as np
import pytest

from qlab import machine, recipes
from qlab.__main__ import main
from qlab.machine import probes
from qlab.machine.cache import cached_name
from qlab.measure import Comparison, Findings, Row
from tests.builders import blocks


@pytest.fixture(scope="session")
def own_card():
    """The ratios of a known machine under this one's name; it saturates where this one does."""
    return replace(machine.card("x86-avx512-vnni"), name="test machine", saturates=probes.saturates())


@pytest.fixture(autouse=True)
def card(own_card, tmp_path, monkeypatch):
    """That card where the machine's own is kept, for this process and for those it starts: none is measured."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("QLAB_CACHE", str(folder))
    machine.cached(cached_name()).write_text(own_card.to_json(), encoding="utf-8")
    return own_card


@pytest.fixture
def doctor(capsys):
    """doctor(*arguments): (exit code, stdout, stderr) of the command."""

    def run(*arguments):
        try:
            code = main(["doctor", *map(str, arguments)])
        except SystemExit as ended:  # argparse
            code = ended.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def fp32(tmp_path):
    """A block of a conformer."""
    return blocks.conformer_block(tmp_path)


@pytest.fixture
def int8(fp32, tmp_path):
    """Its matrix products, dynamic."""
    return recipes.dynamic(fp32, tmp_path / "int8.onnx").path


@pytest.fixture
def feeds_file(tmp_path):
    """Writes feeds, numbered, and returns the path."""

    def write(feeds, name="feeds.npz"):
        numbered = {f"{key}.{at}": array for at, feed in enumerate(feeds) for key, array in feed.items()}
        np.savez(tmp_path / name, **numbered)
        return tmp_path / name

    return write


def words(report):
    """What a report says, in one line, without the marks of bold words and code."""
    return " ".join(report.replace("**", "").replace("`", "").split())


def row(name, speedup=2.0, db=40.0, verdict="faster", **more):
    """A Row of a comparison; its interval is 5 % to either side."""
    return Row(name, 4.0, 10 / speedup, speedup, 0.95 * speedup, 1.05 * speedup, db, verdict, **more)


REFERENCE = Row("fp32", 16.0, 10.0, 1, 1, 1, math.inf, "cannot tell", is_reference=True)


@pytest.fixture
def measured(monkeypatch):
    """Replaces what depends on the clock: `measured(findings, **rows)` says what is found and how fast each model is.

    rows      {name of the model: (speed-up, dB, verdict)}; findings  {name: [Finding]}, none where a name is missing
    Returns a list to which each comparison adds the names of its models.
    """

    sittings = []

    def arrange(findings=None, **rows):
        def compare(models, feed, *, threads, rounds):
            sittings.append(list(models))
            found = [row(name, *rows.get(name, (2.0, 40.0, "faster"))) for name in models if name != "fp32"]
            times = {name: np.ones(rounds) for name in models}
            return Comparison([REFERENCE, *found], {}, times, threads, len(feed))

        def findings_of(examination):
            made = examination.file.path.parent.name
            known = made in ("dynamic", "static", "hybrid") or made.startswith("mend")
            return Findings((findings or {}).get(made if known else "int8", []))

        monkeypatch.setattr("qlab.doctor.visit.compare", compare)
        monkeypatch.setattr("qlab.doctor.visit.findings_of", findings_of)
        return sittings

    return arrange
