"""`qlab doctor`: why an int8 model is slow or inexact, or which recipe would make a good one.

A visit goes through these, in order:

    arguments     the command line
    request       what was asked, checked: everything cheap before anything slow
    feeding       feeds from a file, or invented
    trying        the recipes, tried
    recommending  the rule that picks one
    limiting      findings that need no mending after all
    visit         all that is measured, in its order
    sections      what is said about it; wording, the sentences
    text, page    the same in a terminal and as one HTML file

`add_command` puts it on a command line; `read_feeds` reads its file of feeds in Python.
"""

from qlab.doctor.command import add_command
from qlab.doctor.feeds import read_feeds

__all__ = ["add_command", "read_feeds"]
