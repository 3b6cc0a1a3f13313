"""A module of qlab by its name: where a function in it is called alike, the package's attribute is the function."""

import importlib


def room(name):
    """The module qlab.<name>, such as "machine.card"."""
    return importlib.import_module(f"qlab.{name}")
