"""Run a visit from parsed arguments, and answer with the exit code."""

import sys

from qlab.measure.doctor.page import write_page
from qlab.measure.doctor.request import checked, completed
from qlab.measure.doctor.sections import report_of
from qlab.measure.doctor.stages import stage, waiting
from qlab.measure.doctor.text import as_text
from qlab.measure.doctor.visit import visit
from qlab.text import printable

HEALTHY, FINDINGS, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def run(arguments):
    """The exit code of a visit: 0 healthy, 1 findings, 2 bad input, 130 interrupted. The report goes to stdout."""
    try:
        with completed(arguments) as arguments:
            with waiting():
                request = checked(arguments)
                report = report_of(visit(request))
            _say(as_text(report), sys.stdout)
            if request.html is not None:
                with stage("drawing"):
                    write_page(report, request.html)
                _say(f"\n{request.html}: the same with pictures\n", sys.stdout)
    except BrokenPipeError:
        raise
    except (ValueError, OSError) as error:
        _say(f"doctor: {' '.join(str(error).split())}\n", sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED
    return HEALTHY if report.is_healthy else FINDINGS


def _say(text, stream):
    """Write, also where the terminal lacks the letters of a name."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(printable(text).encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
