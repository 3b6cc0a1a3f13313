"""A notebook open in JupyterLab in a real browser: run it, type into it, move its sliders, read what it shows."""

from contextlib import contextmanager
from pathlib import Path

from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.patience import WAIT_LIMIT_S

ARTEFACTS = Path(__file__).resolve().parents[2] / ".artifacts"
WIDGET_STDERR = '.jupyter-widgets [data-mime-type="application/vnd.jupyter.stderr"]'

# The notebook in front, whether its page has finished opening, and what its kernel does.
OPENED = """
const panel = window.jupyterapp?.shell.currentWidget;
return Boolean(panel?.context?.isReady && panel.context.path === arguments[0]
               && panel.sessionContext.isReady && panel.sessionContext.session?.kernel?.status === 'idle');
"""
RUN_ALL = """
const done = arguments[arguments.length - 1];
window.jupyterapp.commands.execute('notebook:run-all-cells').then(() => done(null), error => done(String(error)));
"""
RUN_CELLS = """
const [indices, done] = arguments;
const run = async () => {
    for (const index of indices) {
        window.jupyterapp.shell.currentWidget.content.activeCellIndex = index;
        await window.jupyterapp.commands.execute('notebook:run-cell');
    }
};
run().then(() => done(null), error => done(String(error)));
"""
BUSY = """
const panel = window.jupyterapp.shell.currentWidget;
const cells = [...panel.content.model.cells].filter(cell => cell.type === 'code');
return panel.sessionContext.session.kernel.status !== 'idle'
    || cells.some(cell => cell.executionState === 'running' || cell.executionState === 'pending');
"""
# Another notebook in the JupyterLab that is open, as from its list of files: to load it anew takes seconds.
OPEN = """
const app = window.jupyterapp;
if (!app || app.shell.currentWidget?.context) { return false; }
app.commands.execute('docmanager:open', {path: arguments[0]});
return true;
"""
CLOSE = """
const done = arguments[arguments.length - 1];
const panel = window.jupyterapp?.shell.currentWidget;
if (!panel?.context) { done(); }
else {
    panel.context.model.dirty = false;  // so that nobody is asked; widgets that are saved lack a kernel when opened
    panel.sessionContext.shutdown().then(() => panel.close()).then(() => done(), () => done());
}
"""
CELLS = "return [...window.jupyterapp.shell.currentWidget.content.model.cells].map(cell => cell.toJSON());"
ACTIVATE = """
const notebook = window.jupyterapp.shell.currentWidget.content;
notebook.activeCellIndex = arguments[0];
notebook.mode = 'edit';
const editor = notebook.activeCell.editor;
editor.focus();
editor.setSelection({start: {line: 0, column: 0}, end: editor.getPositionAt(editor.model.sharedModel.source.length)});
"""


RUN_CODE = """
const [code, done] = arguments;
const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
kernel.requestExecute({code}).done.then(reply => done(reply.content.evalue ?? null), error => done(String(error)));
"""
# For the kernel: as before any result was shown. A notebook that ran as a whole has shown them all.
NO_RESULT_YET = (
    "from qlab.course.progress import update_progress\nupdate_progress(lambda kept: kept['predictions'].clear())"
)
# Is nothing of an element cut off, by itself or by the cell's outputs around it?
SHOWN_WHOLE = """
const [part] = arguments;
const [inner, outer] = [part, part.closest('.jp-OutputArea-output')].map(element => element.getBoundingClientRect());
return part.scrollWidth <= part.clientWidth + 1 && part.scrollHeight <= part.clientHeight + 1
    && inner.left >= outer.left - 1 && inner.right <= outer.right + 1;
"""


class Page:
    """One notebook in one tab. Cells are counted from 0, Markdown cells too."""

    def __init__(self, driver, server):
        self.driver, self.server = driver, server

    def wait(self, condition, what):
        """Until condition() is true; TimeoutException says what was waited for. Elements may be replaced meanwhile."""
        replaced = (StaleElementReferenceException,)
        return WebDriverWait(self.driver, WAIT_LIMIT_S, poll_frequency=0.05, ignored_exceptions=replaced).until(
            lambda _: condition(), f"{what}, not within {WAIT_LIMIT_S:.0f} s"
        )

    def open(self, name):
        """Open the copy called NAME, and wait until its kernel is idle."""
        path = f"{self.server.folder.name}/{name}"
        if not self.driver.execute_script(OPEN, path):
            self.driver.get(f"{self.server.url}lab/tree/{path}?token={self.server.token}&reset")
        self.wait(lambda: self.driver.execute_script(OPENED, path), f"{name} to open")
        return self

    def close(self):
        """End the kernel, close the tab, leave the copy as it was: nothing is left that could ask or compute."""
        self.driver.execute_async_script(CLOSE)

    def run_all(self):
        """Run every cell in order, and wait until the kernel is idle again."""
        return self._run(RUN_ALL)

    def run_cells(self, indices):
        """Run these cells one after the other, and wait until the kernel is idle again."""
        return self._run(RUN_CELLS, list(indices))

    def _run(self, script, *arguments):
        error = self.driver.execute_async_script(script, *arguments)
        if error:
            raise RuntimeError(f"JupyterLab could not run the cells: {error}")
        return self.wait_idle()

    def run_cell(self, index):
        """Run one cell, and wait until the kernel is idle again."""
        return self.run_cells([index])

    def run_code(self, code):
        """Run code that stands in no cell."""
        if error := self.driver.execute_async_script(RUN_CODE, code):
            raise RuntimeError(f"the kernel could not run it: {error}")
        return self

    def wait_idle(self):
        """Until nothing runs or waits to run."""
        self.wait(lambda: not self.driver.execute_script(BUSY), "the kernel to become idle")
        return self

    def cells(self):
        """The cells as JupyterLab holds them now: nbformat's dictionaries."""
        return self.driver.execute_script(CELLS)

    def cell_with(self, text):
        """The index of the first cell whose source holds `text`."""
        return next(index for index, cell in enumerate(self.cells()) if text in "".join(cell["source"]))

    def element(self, index):
        """The cell's element in the page, scrolled into view."""
        element = self.driver.find_elements(By.CSS_SELECTOR, ".jp-Notebook .jp-Cell")[index]
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        return element

    def output_text(self, index):
        """What a reader sees below cell `index`, as text."""
        return "\n".join(area.text for area in self.element(index).find_elements(By.CSS_SELECTOR, ".jp-OutputArea"))

    def wait_for_text(self, index, text):
        """Until `text` stands below cell `index`."""
        self.wait(lambda: text in self.output_text(index), f"{text!r} below cell {index}")
        return self

    def figures(self, index):
        """The addresses of the figures below cell `index`, those of a widget too, each loaded by the browser."""
        images = self.element(index).find_elements(By.CSS_SELECTOR, ".jp-OutputArea img")
        self.wait(lambda: all(map(self._is_drawn, images)), f"the figures below cell {index}")
        return [image.get_attribute("src") for image in images]

    def _is_drawn(self, image):
        return self.driver.execute_script("return arguments[0].complete && arguments[0].naturalWidth > 0", image)

    def type_into(self, index, code):
        """Replace the source of cell `index` by typing, through DevTools: no auto-indent, no closing of brackets."""
        self.element(index)
        self.driver.execute_script(ACTIVATE, index)
        self.driver.execute_cdp_cmd("Input.insertText", {"text": code})
        self.wait(lambda: "".join(self.cells()[index]["source"]) == code, f"cell {index} to hold what was typed")
        return self

    def move_slider(self, index, *, key=Keys.ARROW_RIGHT, presses=1, number=0):
        """Move slider `number` below cell `index` by its keyboard: an arrow is one step, HOME and END are its ends."""
        handle = self.element(index).find_elements(By.CSS_SELECTOR, ".noUi-handle")[number]
        for _ in range(presses):
            handle.send_keys(key)
        return self

    def click_button(self, index, label):
        """Click the button of a widget below cell `index` that bears `label`."""
        buttons = self.element(index).find_elements(By.CSS_SELECTOR, "button.jupyter-button")
        next(button for button in buttons if label in button.text).click()
        return self

    def errors(self):
        """Error outputs in cells, and tracebacks shown by widgets, as sentences."""
        found = [
            f"cell {index}: {output['ename']}: {output['evalue']}"
            for index, cell in enumerate(self.cells())
            for output in cell.get("outputs", ())
            if output["output_type"] == "error"
        ]
        return found + self.widget_errors()

    def widget_errors(self):
        """Tracebacks that widgets show at this moment."""
        shown = self.driver.find_elements(By.CSS_SELECTOR, WIDGET_STDERR)
        return [element.text for element in shown if "Traceback" in element.text]

    def stderr(self):
        """What stands on the page in the pink of errors, as sentences."""
        return [
            f"cell {index}: {''.join(output['text'])}"
            for index, cell in enumerate(self.cells())
            for output in cell.get("outputs", ())
            if output["output_type"] == "stream" and output["name"] == "stderr"
        ]

    def is_shown_whole(self, element):
        """Is nothing of the element cut off?"""
        return self.driver.execute_script(SHOWN_WHOLE, element)

    @contextmanager
    def as_wide_as(self, pixels):
        """Inside, the window is so wide."""
        size = self.driver.get_window_size()
        self.driver.set_window_size(pixels, size["height"])
        try:
            yield
        finally:
            self.driver.set_window_size(size["width"], size["height"])

    def console_errors(self):
        """Errors that the page wrote to the browser's console since this was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def screenshot(self, name):
        """Keep a picture of the window in .artifacts/NAME.png, which git ignores. -> its path"""
        ARTEFACTS.mkdir(exist_ok=True)
        path = ARTEFACTS / f"{name}.png"
        self.driver.save_screenshot(str(path))
        return path

    @contextmanager
    def pictured(self, name):
        """Keep a picture of what was reached inside, and name it in the message of whatever failed there."""
        try:
            yield
        except Exception as error:
            error.add_note(f"The page as it was: {self.screenshot(f'{name}-failed')}")
            raise
        self.screenshot(name)
