"""What a search hands back: the best model found, every step to it, and why its layers stayed in float."""

from dataclasses import dataclass
from pathlib import Path

from qlab.recipes.quantized import Quantized
from qlab.recipes.trials import Timing
from qlab.text import Table, Tabular, decibels, figures, ms, plural, ratio

SHOWN, MOST_TOLD = 3, 8  # names in a cell; layers of which a line tells why they stayed in float
FEW = 10  # one layer of so many, at the least one
SOME = 4  # one layer of so many in float is a mixture worth having, however the loss is spread
INSTEAD = (
    "try what makes all of them more exact (recipes.hybrid or recipes.dynamic, other ranges with method=, 8-bit "
    "weights where they are 7; then equalization, smoothing, bias correction, rounding by calibration), weights only, "
    "or quantization-aware training"
)


@dataclass(frozen=True)
class Sensitivity:
    """What one layer costs by itself: all others in float.

    loss  of the metric;   sqnr_db, of the worst part of the outputs;   share, of the loss of all layers together
    of    how many neighbours were measured together: these are then even shares of what all of them lose
    """

    layer: str
    op_type: str
    loss: float
    sqnr_db: float
    share: float
    of: int = 1


@dataclass(frozen=True)
class Step:
    """One model that was tried whole.

    what    how it came about;   floats, names of the products that are left in float
    value   what the metric says, and how much less than of fp32: loss;   holds, whether that is within the bound
    timing  how fast it is beside fp32
    """

    what: str
    floats: tuple[str, ...]
    value: float
    loss: float
    holds: bool
    timing: Timing


@dataclass(frozen=True, repr=False)
class Search(Tabular):
    """The fastest model found that loses at most `at_most`. Printing it says what stayed in float and why.

    path, recipe   where it is; the name of the recipe that made it
    quantized      what that recipe says of it: a Quantized; None where fp32 itself is the fastest that holds
    at_most, fp32  the bound on the loss, and the metric of fp32
    best           the Step that was published
    floats         names of the layers that are in float in the file. A product of two activations that was left in
                   float may not be: it is on integers where what stands around it gives it codes and takes its own
    steps          all Steps, in order
    sensitivity    every layer by itself, the worst first; empty where all quantized holds
    by             what told the layers apart: "the metric", or "the worst part's SQNR" where the metric does not
    share          of the loss, that the few worst layers (a tenth of all) win back in float, by the metric
    diffuse        whether that is less than half: then no few layers are to blame
    calls          {what for: how often the metric was asked}
    notes          what did not go as usual
    """

    path: Path
    recipe: str
    quantized: Quantized | None
    at_most: float
    fp32: float
    best: Step
    floats: tuple[str, ...]
    steps: tuple[Step, ...]
    sensitivity: tuple[Sensitivity, ...]
    layers: int
    by: str
    share: float
    diffuse: bool
    calls: dict[str, int]
    notes: tuple[str, ...] = ()

    @property
    def loss(self) -> float:
        """Of the model that was published."""
        return self.best.loss

    def __fspath__(self):
        return str(self.path)

    def _table(self):
        head = ["step", "in float", "metric", "loss", "holds", "ms", "speed-up", "95 %", "verdict"]
        rows = [_cells(step) for step in self.steps]
        tones = {(at, 4): "good" if step.holds else "bad" for at, step in enumerate(self.steps, 1)}
        tones |= {(at, 0): "good" for at, step in enumerate(self.steps, 1) if step is self.best}
        above = [self._headline(), *self._why()]
        below = [
            f"loss against fp32 ({figures(self.fp32)}), bound {figures(self.at_most)}; times of runs interleaved "
            "with fp32, moved together by a busy machine: compare the speed-ups",
            *(f"note: {note}" for note in self.notes),
        ]
        return Table([head, *rows], (0, 4, 8), tones, above, below)

    def _headline(self):
        best = self.best
        what = (
            "all in float"
            if self.quantized is None
            else f"{len(self.floats)} of {plural(self.layers, 'layer')} in float"
        )
        text = f"{self.recipe}: {self.path}: {what}, loss {figures(best.loss)} (at most {figures(self.at_most)})"
        return f"{text}, {ratio(best.timing.speedup)}x fp32 ({best.timing.verdict})"

    def _why(self):
        """Lines on the layers that stayed in float, and on whether few were to blame."""
        told = [one for one in self.sensitivity if one.layer in self.floats and self.quantized is not None]
        for one in told[:MOST_TOLD]:
            alone = "alone" if one.of == 1 else f"as one of {one.of}"
            yield (
                f"  in float: {one.layer} ({one.op_type}): {alone} on integers it loses {figures(one.loss)} of the "
                f"metric, SQNR of the outputs' worst part {decibels(one.sqnr_db)} dB, {100 * one.share:.0f} % of the "
                f"{'loss' if self.by == 'the metric' else 'error energy'} of all layers, each alone"
            )
        if len(told) > MOST_TOLD:
            yield f"  in float: {len(told) - MOST_TOLD} more, each of less weight; .floats names all"
        if self.sensitivity:
            said = self._few_in_float()
            if not self.diffuse:
                yield f"  concentrated: {said} (told apart by {self.by})"
            elif self.quantized is None:
                yield f"  diffuse: {said}; no mix was both within the bound and faster than fp32: {INSTEAD}"
            elif (count := len(self.best.floats)) <= max(1, self.layers // SOME):
                held = f"{count} in float {'holds' if count == 1 else 'together hold'} the bound"
                yield f"  not one by one: {said}, and {held}"
            else:
                yield f"  diffuse: {said}; it took {count} in float. For fewer, {INSTEAD}"

    def _few_in_float(self):
        """What the few worst layers in float win back, in words."""
        few, percent = few_of(self.layers), f"{100 * abs(self.share):.0f} %"
        who = f"the worst layer of {self.layers}" if few == 1 else f"the {few} worst layers of {self.layers}"
        if self.share < 0:
            return f"{who} in float: the loss grows by {percent}"
        return f"{who} in float {'wins' if few == 1 else 'win'} back {percent} of the loss"

    def plot(self):
        """A figure of milliseconds against loss: every step, and the staircase of the fastest within each bound."""
        from qlab import palette  # loads matplotlib, which a recipe does not need

        with palette.style():
            return _drawn(self, palette)


def _drawn(search, palette):
    figure, axes = palette.figure(height=4.0)
    fp32 = (0.0, 1.0)  # beside itself as fast as itself, whatever a clock says
    points = [
        fp32 if step is search.best and search.quantized is None else (step.loss, 1 / step.timing.speedup)
        for step in search.steps
    ]
    axes.plot(*fp32, "s", color=palette.FP32)
    axes.annotate("fp32", fp32, xytext=(6, 4), textcoords="offset points")
    for step, point in zip(search.steps, points, strict=True):
        colour = palette.INTEGER if step.holds else palette.ERROR
        if step is search.best:
            axes.plot(*point, "*", color=colour, markersize=14, label="published")
        else:
            said = "within the bound" if step.holds else "beyond the bound"
            shown = axes.get_legend_handles_labels()[1]
            axes.plot(*point, "o", color=colour, markersize=6, label="" if said in shown else said)
        if point != fp32:
            axes.annotate(f"{len(step.floats)}", point, xytext=(6, 4), textcoords="offset points")
    axes.step(*zip(*staircase([*points, fp32]), strict=True), where="post", color=palette.INTEGER, linewidth=1)
    axes.axvline(search.at_most, color=palette.FP32, linestyle="--", linewidth=1)
    axes.set_xlabel("loss of the metric (dashed: the bound; numbers: layers in float)")
    axes.set_ylabel("time / that of fp32")
    axes.set_ylim(0, 1.12 * max(time for _, time in [*points, fp32]))
    axes.legend(loc="best", fontsize=9)
    told = f"{len(search.floats)} of {plural(search.layers, 'layer')} in float"
    speed = f"{ratio(search.best.timing.speedup)}x as fast as fp32" if search.quantized is not None else "fp32 itself"
    title = f"{told}: {speed}, loss {figures(search.loss)}"
    axes.set_title(title)
    figure.alt = f"{title}. Time against loss of {plural(len(points), 'model')}, the bound on the loss dashed"
    return figure


def few_of(layers):
    """How many layers are few of them: a tenth."""
    return max(1, layers // FEW)


def staircase(points):
    """Of (loss, time), those that nothing beats in both, the smallest loss first."""
    found = []
    for loss, time in sorted(points):
        if not found or time < found[-1][1]:
            found.append((loss, time))
    return found


def _cells(step):
    timing = step.timing
    shown = ", ".join(step.floats[:SHOWN]) + (", ..." if len(step.floats) > SHOWN else "")
    return [
        step.what,
        f"{len(step.floats)}" + (f": {shown}" if step.floats else ""),
        figures(step.value),
        figures(step.loss),
        "yes" if step.holds else "no",
        ms(timing.ms).removesuffix(" ms"),
        ratio(timing.speedup),
        f"{ratio(timing.low)} to {ratio(timing.high)}",
        timing.verdict,
    ]
