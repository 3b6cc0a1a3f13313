"""Execute a copy of a notebook in one fresh kernel, and keep all that came out, in cells and in widgets."""

import copy
import json
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_output

from nbtools.exercises import exercises
from nbtools.problems import verdict

_HERE = Path(__file__).parent
_WAIT_S = 600  # for a kernel to start, and for an output that is late: only a hang is as long

# A cell of the harness that keeps the reader's names, and one that restores them after an answer was tried.
_KEEP = "_harness_kept = {name: value for name, value in globals().items() if name != '_harness_kept'}"
_RESTORE = """
for _name in set(globals()) - set(_harness_kept) - {"_harness_kept", "_name"}:
    del globals()[_name]
globals().update(_harness_kept)
"""
# After an answer that passed, since it would serve the cells that follow.
_TAKE_BACK = """
if _mine := __import__("sys").modules.get("qlab.course.mine"):
    _mine.reset()
del _mine
"""


class Run(NamedTuple):
    """What one kernel did with one notebook.

    notebook: the executed copy. controls: outputs of moving every control. widget_state: {model id: state}.
    answers: {exercise id: {answer's name: outputs of the check cell}}. seconds: the notebook's own cells only.
    used: see used.py. asks_for_a_card: whether any of it read a machine's card, or wrote one.
    """

    notebook: NotebookNode
    controls: list
    widget_state: dict
    answers: dict
    seconds: float
    used: dict
    asks_for_a_card: bool = True


def _record_error(cell, cell_index, execute_reply):
    """Some errors reach stderr only, an ExceptionGroup's among them: the reply tells of every one."""
    reply = execute_reply["content"]
    if reply["status"] == "error" and not any(output.output_type == "error" for output in cell.outputs):
        cell.outputs.append(new_output("error", ename=reply["ename"], evalue=reply["evalue"], traceback=[]))


class Kernel:
    """One fresh python3 kernel on a copy of a notebook."""

    def __init__(self, notebook, folder):
        self.notebook = copy.deepcopy(notebook)
        for cell in self.notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        self.client = NotebookClient(
            self.notebook,
            kernel_name="python3",
            timeout=None,  # the run of all tests has a limit: see tests/patience.py
            startup_timeout=_WAIT_S,
            iopub_timeout=_WAIT_S,  # an output that is late is not lost
            allow_errors=True,  # they are read from the outputs, all of them
            on_cell_executed=_record_error,
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(folder)}},
        )

    @contextmanager
    def started(self, **environment):
        """The kernel runs inside. A variable that is None is taken away; so is MPLBACKEND, which would hide figures."""
        variables = {**os.environ, "MPLBACKEND": None, **environment}
        with self.client.setup_kernel(env={name: value for name, value in variables.items() if value is not None}):
            yield self

    def execute(self, index, *, counted=True):
        """Execute cell `index` of the copy in place."""
        self.client.execute_cell(self.notebook.cells[index], index, store_history=counted)

    def outputs_of(self, source):
        """Execute code that stands in no cell of the notebook; its outputs."""
        self.notebook.cells.append(new_code_cell(source))
        try:
            self.execute(len(self.notebook.cells) - 1, counted=False)
            return self.notebook.cells[-1].outputs
        finally:
            self.notebook.cells.pop()

    def call(self, file, function):
        """Call a function of a file beside this one inside the kernel; the outputs."""
        return self.outputs_of(f"__import__('runpy').run_path({str(_HERE / file)!r})[{function!r}]()")

    def used(self):
        """What the notebook loaded and read since `call("used.py", "watch")`."""
        (printed,) = self.call("used.py", "report")
        return json.loads(printed.text)

    def answer(self, exercise, code):
        """Put `code` in the stub's place and check it: the outputs of both. The names of before are back afterwards."""
        self.outputs_of(_KEEP)
        outputs = self.outputs_of(code) + self.outputs_of(self.notebook.cells[exercise.check].source)
        self.outputs_of(_RESTORE + (_TAKE_BACK if verdict(outputs, exercise.id)[0] == "passed" else ""))
        return outputs


def run(notebook, folder, tried=None, **environment):
    """Execute the notebook; try every answer where its exercise stands; move every control at the end. -> Run

    tried: {exercise id: [Right or Wrong, ...]}. The stub runs blank, as for a reader who skips the exercise, and no
    name of a tried answer is left to the cells that follow.
    """
    by_check = {exercise.check: exercise for exercise in exercises(notebook)}
    answers, seconds = {}, 0.0
    kernel = Kernel(notebook, folder)
    with kernel.started(**environment):
        kernel.call("used.py", "watch")
        for index in range(len(kernel.notebook.cells)):
            start = time.perf_counter()
            kernel.execute(index)
            seconds += time.perf_counter() - start
            if exercise := by_check.get(index):
                answers[exercise.id] = {"blank": kernel.notebook.cells[index].outputs}
                for listed in (tried or {}).get(exercise.id, []):
                    answers[exercise.id][listed.name] = kernel.answer(exercise, listed.code)
                answers[exercise.id]["solution"] = kernel.answer(exercise, exercise.solution)
        controls = kernel.call("controls.py", "press_every_control")
        (card,) = kernel.call("used.py", "asked_for_a_card")
        asks = json.loads(card.text)
        return Run(kernel.notebook, controls, kernel.client.widget_state, answers, seconds, {}, asks)
