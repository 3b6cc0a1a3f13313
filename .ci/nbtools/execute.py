"""`make notebooks`: execute notebooks in fresh kernels, clean them, and put them in the place of the old files.

    python .ci/notebooks.py [NOTEBOOK...]    all of notebooks/ if none is named

A notebook is replaced only if nothing at all is wrong with it; else the old file stays, and the exit status is 1.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
from tqdm import tqdm

from nbtools.clean import clean
from nbtools.exercises import ROOT, exercises, paths
from nbtools.kernel import Kernel, Run
from nbtools.problems import file_problems, filled_stubs, run_problems


def source_problems(path, notebook):
    """What must be mended before executing makes sense: filled stubs, malformed exercises, ruff's findings."""
    problems = list(filled_stubs(notebook))
    try:
        exercises(notebook)
    except ValueError as error:
        problems.append(str(error))
    for command in (["check", "--quiet", "--output-format=concise"], ["format", "--check", "--quiet"]):
        ruff = subprocess.run([sys.executable, "-m", "ruff", *command, path], capture_output=True, text=True, cwd=ROOT)
        if ruff.returncode:
            problems.append(f"ruff {command[0]} fails: {(ruff.stdout + ruff.stderr).strip()}")
    return problems


def execute(path, notebook):
    """One fresh kernel in the notebook's folder, with measurements in full; a bar shows the cells. -> Run"""
    kernel = Kernel(notebook, path.parent)
    with tempfile.TemporaryDirectory() as folder, tqdm(notebook.cells, desc=path.stem, unit="cell") as bar:
        progress = str(Path(folder) / "progress.json")
        with kernel.started(QLAB_PROGRESS=progress, QLAB_TEST="1", QLAB_FAST=None, IPYTHONDIR=folder):
            kernel.call("used.py", "watch")
            for index, _ in enumerate(bar):
                kernel.execute(index)
            used = kernel.used()
        return Run(kernel.notebook, [], kernel.client.widget_state, {}, bar.format_dict["elapsed"], used)


def replace(path, notebook):
    """Write the file beside, and rename: an interrupted run leaves the old one."""
    beside = path.with_suffix(".ipynb.new")
    beside.write_text(nbformat.writes(notebook), encoding="utf-8", newline="\n")
    beside.replace(path)


def refresh(path):
    """Execute, clean and replace one notebook. -> what is wrong with it; if anything is, the file stays as it was."""
    notebook = nbformat.read(path, as_version=4)
    if problems := source_problems(path, notebook):
        return problems
    run = execute(path, notebook)
    cleaned = clean(run.notebook, run.used)
    problems = list(dict.fromkeys(run_problems(run) + file_problems(cleaned)))
    if not problems:
        replace(path, cleaned)
    return problems


def main(arguments=None):
    """The command line. -> exit status"""
    parser = argparse.ArgumentParser(description="Execute notebooks in fresh kernels, clean them, replace the files.")
    parser.add_argument("notebooks", nargs="*", type=Path, help="all of notebooks/ if none is named")
    status = 0
    for path in parser.parse_args(arguments).notebooks or paths():
        for problem in refresh(path.resolve()):
            print(f"{path}: {problem}", file=sys.stderr)
            status = 1
    return status
