"""The command line: `qlab doctor model.onnx`, or `python -m qlab doctor model.onnx`."""

import argparse
import os
import sys

from qlab import __version__
from qlab.doctor import command as doctor
from qlab.files import endings
from qlab.text import printable

BAD_INPUT, NOBODY_READS = 2, 141
LONGEST = 500  # letters of a message: one line


def main(argv=None):
    """Run the command in `argv` (the process's own arguments if None) and return its exit code."""
    parser = argparse.ArgumentParser(prog="qlab", description="Quantize neural networks, and measure it.")
    parser.add_argument("--version", action="version", version=f"qlab {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="command", dest="command")
    doctor.add_command(commands)
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 0
    try:
        with endings():
            return arguments.run(arguments)
    except BrokenPipeError:  # whoever read has gone, and closing must not fail once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOBODY_READS
    except Exception as error:  # the last resort: whatever a file of foreign make provoked where nobody foresaw it
        what = " ".join(printable(str(error)).split())
        sys.stderr.write(f"qlab: not foreseen, so a fault of qlab's too: {type(error).__name__}: {what[:LONGEST]}\n")
        return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
