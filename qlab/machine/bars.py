"""Progress bars: plain text, and only for what takes long enough to wonder."""

import sys

_PATIENCE_S = 3


def bar(iterable=None, description=None, *, total=None, unit="it"):
    """A tqdm bar that shows after 3 s and vanishes at the end; TQDM_DISABLE=1 keeps it away. -> tqdm

    It is written on stderr, but in a notebook on stdout: JupyterLab paints stderr as it does errors. Where a notebook
    catches what is printed, as `check` does around a learner's function, there is no bar.
    """
    from tqdm import tqdm  # not before it is needed: importing qlab stays quick

    in_notebook = _is_jupyters(sys.stderr) or _is_jupyters(sys.stdout)
    options = {"unit": unit, "delay": _PATIENCE_S, "leave": False}
    if in_notebook and not _is_jupyters(sys.stdout):
        options["disable"] = True  # left out otherwise: tqdm asks the environment for what is not given
    return tqdm(iterable, description, total, file=sys.stdout if in_notebook else sys.stderr, **options)


def _is_jupyters(stream):
    """Does what is written there go to a page?"""
    return type(stream).__module__.partition(".")[0] == "ipykernel"
