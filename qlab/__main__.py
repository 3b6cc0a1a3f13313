"""The command line: `qlab doctor model.onnx`, or `python -m qlab doctor model.onnx`."""

import argparse
import sys

from qlab import __version__
from qlab.measure import doctor


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
    return arguments.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
