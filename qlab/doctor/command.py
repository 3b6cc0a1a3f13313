"""The doctor's command line: what it takes, and its exit codes."""

import argparse
import sys
from pathlib import Path

from qlab import machine
from qlab.text import printable

HEALTHY, FINDINGS, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

DESCRIPTION = """\
Find out why a quantized ONNX model is slow or inexact, on this machine, and what mends it.
With a quantized model: compares it to the fp32 model that it was made from, and names each fault
with its evidence and its cost; if it finds any, it tries the recipes too.
Without one: tries the recipes, dynamic, static and hybrid quantization, and recommends one."""

EPILOG = """\
feeds
  The file for --calibration holds an array for each input of the model, named as the input:
      np.savez("feeds.npz", **{"speech": x, "speech_lengths": n})
  Several feeds: number them. Real inputs, a dozen or more, are what calibration needs:
      np.savez("feeds.npz", **{f"{name}.{i}": array for i, feed in enumerate(feeds)
                               for name, array in feed.items()})
  From five feeds on, a fifth (at most 4, the first ones) is kept for measuring and the others
  calibrate; of fewer, the first measures and all calibrate.
  Without the option feeds are invented: times are then real, ranges and SQNR those of noise.

metric
  A function of two {output name: array}, fp32's and the other model's, for one feed. It gives a
  number: 1 for full agreement, less for less. The module may lie in the working folder:
      def agree(fp32, other):    # in mine.py, for --metric mine:agree
          return (fp32["logits"].argmax(-1) == other["logits"].argmax(-1)).mean()
  Without it answers are counted, where an output is a Softmax, a Sigmoid, logits or labels and
  the feeds give enough of them; else SQNR judges.

examples
  qlab doctor model.onnx                                          which recipe is worth it here?
  qlab doctor model.onnx --quick                                  is it worth while at all?
  qlab doctor model.onnx --calibration feeds.npz --save model.int8.onnx
  qlab doctor model.onnx model.int8.onnx --html report.html   why is this one slow?

exit code
  0 healthy: no findings that something mends, and not slower than fp32; or a recipe to recommend
  1 findings, or an int8 model that is slower or too inexact, or no recipe worth its while
  2 bad input    130 interrupted"""


def add_command(commands):
    """Add "doctor" to the subparsers `commands`; the arguments that it gives hold a callable `run`."""
    parser = commands.add_parser(
        "doctor",
        help="why a quantized model is slow or inexact, or which recipe to use",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("fp32", type=Path, metavar="fp32.onnx", help="the model before it was quantized")
    parser.add_argument("int8", type=Path, metavar="int8.onnx", nargs="?", help="the model that was made from it")
    parser.add_argument("--calibration", type=Path, metavar="feeds.npz", help="real inputs; without it, noise")
    parser.add_argument("--metric", metavar="module:function", help="judge by this function of your own; see below")
    parser.add_argument("--html", type=Path, metavar="report.html", help="write the report as one HTML file, too")
    parser.add_argument("--save", type=Path, metavar="best.onnx", help="keep the recommended model")
    parser.add_argument("--quick", action="store_true", help="a third of the time; the report says what it left out")
    parser.add_argument("--no-recipes", action="store_true", help="only diagnose int8.onnx, try no recipe")
    cards = ", ".join(machine.reference_cards()) or "none here"
    parser.add_argument("--card", metavar="NAME", help=f"a reference machine card to judge by: {cards}")
    parser.add_argument("--threads", type=_positive, default=1, metavar="N", help="threads in an operator (default 1)")
    rounds = "rounds of timing (default 20, fewer of long runs)"
    parser.add_argument("--rounds", type=_positive, metavar="N", help=rounds)
    parser.set_defaults(run=run, is_alone=False)


def _positive(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a whole number from 1 up")
    return int(text)


def run(arguments):
    """The exit code of a visit: 0 healthy, 1 findings, 2 bad input, 130 interrupted. The report goes to stdout."""
    from qlab.doctor import page, report, request  # load onnxruntime, which --help does not need
    from qlab.doctor.visit import visit

    try:
        with request.completed(arguments) as arguments:
            with request.waiting():
                seen = visit(request.checked(arguments))
                said = report.report_of(seen)
            _say(said, sys.stdout)
            if arguments.html is not None:
                with request.stage("drawing"):
                    page.write_page(arguments.html, said, report.pictures_of(seen), seen.is_healthy)
                _say(f"\n{arguments.html}: the same with pictures\n", sys.stdout)
    except BrokenPipeError:
        raise
    except (ValueError, OSError) as error:
        _say(f"doctor: {' '.join(str(error).split())}\n", sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED
    return HEALTHY if seen.is_healthy else FINDINGS


def _say(text, stream):
    """Write, also where the terminal lacks the letters of a name."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(printable(text).encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
