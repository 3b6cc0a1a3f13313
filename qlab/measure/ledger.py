"""Where the milliseconds went: two profiles side by side, in lines that add up to the two run times."""

from dataclasses import dataclass

import numpy as np

from qlab import palette
from qlab.measure.profiles import Profile
from qlab.text import aligned, ms

NOTHING = 1e-4  # of a run
FAMILIES = {
    "convolution": "convolutions",
    "matrix product": "matrix products",
    "other product": "recurrent layers and attention",
    "boundary": "quantize, dequantize, cast",
    "the rest": "all other operators",
    "between": "between the operators",
    "whole": "a whole run",
}


@dataclass(frozen=True)
class Line:
    """One kind of work: milliseconds of one run in the fp32 model and in the quantized one.

    family   as in NodeTime, or "between" (the operators) or "whole" (the run)
    """

    family: str
    fp32_ms: float
    quantized_ms: float

    @property
    def what(self):
        """The family in words."""
        return FAMILIES[self.family]

    @property
    def difference_ms(self):
        """Positive where the quantized model takes longer."""
        return self.quantized_ms - self.fp32_ms


@dataclass(frozen=True, repr=False)
class Ledger:
    """The lines, and their sum: both run times as they are without a profiler. Printing it gives the table."""

    lines: tuple[Line, ...]

    @property
    def total(self):
        """The sum of all lines, a Line."""
        return Line("whole", *(sum(getattr(line, n) for line in self.lines) for n in ("fp32_ms", "quantized_ms")))

    def __repr__(self):
        return "\n".join(aligned(self.table()))

    def table(self, name="quantized"):
        """The lines as text, below their heads and above their sum; `name` is what the quantized model is called."""
        rows = [["where", "fp32 ms", f"{name} ms", "difference"]]
        for line in (*self.lines, self.total):
            times = f"{line.fp32_ms:.2f}", f"{line.quantized_ms:.2f}", f"{line.difference_ms:+.2f}"
            rows.append([line.what, *times])
        return rows

    @palette.style()
    def plot(self):
        """A figure of both models' time by kind of work."""
        lines = self.lines[::-1]
        figure, axes = palette.figure(height=1.6 + 0.5 * len(lines))
        places = np.arange(len(lines))
        axes.barh(places + 0.2, [line.fp32_ms for line in lines], 0.38, color=palette.FP32, label="fp32")
        quantized = [line.quantized_ms for line in lines]
        marked = {"color": palette.INTEGER, "hatch": "//", "edgecolor": "white", "label": "quantized"}
        axes.barh(places - 0.2, quantized, 0.38, **marked)
        for place, line in zip(places, lines, strict=True):
            axes.annotate(
                f"{ms(line.difference_ms, '+')}", (max(line.fp32_ms, line.quantized_ms), place),
                xytext=(6, 0), textcoords="offset points", va="center",
            )  # fmt: skip
        axes.set_yticks(places, [line.what for line in lines])
        axes.set_xlim(0, 1.2 * max(*quantized, *(line.fp32_ms for line in lines)))
        axes.set_xlabel("time in one run (ms)")
        figure.legend(loc="outside lower right", ncols=2)  # inside it would hide what the lowest bars are labelled with
        axes.grid(axis="y", visible=False)
        most = max(self.lines, key=lambda line: abs(line.difference_ms))
        axes.set_title(f"{ms(self.total.difference_ms, '+')} in all, {ms(most.difference_ms, '+')} in {most.what}")
        return figure


def ledger(fp32: Profile, quantized: Profile) -> Ledger:
    """The Ledger of two Profiles, taken in turns: of what the quantized model gains and loses, and where."""
    return ledger_of(by_family(fp32, quantized))


def ledger_of(entries):
    """The Ledger of (family, (fp32's ms, the quantized model's ms)), without lines that are nothing but rounding."""
    lines = [Line(family, *times) for family, times in entries]
    whole = max(sum(line.fp32_ms for line in lines), sum(line.quantized_ms for line in lines))
    return Ledger(tuple(line for line in lines if max(line.fp32_ms, line.quantized_ms) > NOTHING * whole))


def by_family(*profiles):
    """(family, [milliseconds in each of the Profiles]) for every kind of work; they add up to the profiles' runs."""
    for family in FAMILIES:
        if family == "between":
            yield family, [max(0.0, profile.total_ms - profile.kernel_ms) for profile in profiles]
        elif family != "whole":
            yield family, [profile.ms_of(family=family) for profile in profiles]
