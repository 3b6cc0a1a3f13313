"""`qlab doctor`: why an int8 model is slow or inexact, or which recipe would make a good one.

A visit goes through these, in order:

    command    the command line
    request    what was asked, checked: everything cheap before anything slow
    feeds      feeds from a file, or invented
    trying     the recipes, tried
    advice     the rule that picks one; findings that need no mending after all
    visit      all that is measured, in its order
    report     what is said about it, in Markdown
    markdown   how words become Markdown
    page       the same as one HTML file with pictures

`add_command` puts it on a command line; `read_feeds` reads its file of feeds in Python.
"""

from qlab.doctor.command import add_command

__all__ = ["add_command", "read_feeds"]


def __getattr__(name):
    if name == "read_feeds":  # loads onnxruntime, which `qlab --help` does not need
        from qlab.doctor.feeds import read_feeds

        return read_feeds
    raise AttributeError(f"module 'qlab.doctor' has no attribute {name!r}; it has: {', '.join(__all__)}")
