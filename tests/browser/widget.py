"""A widget of the course in the page: its controls, each moved as a learner does, and what its picture does then."""

from typing import NamedTuple

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

PANEL = ".jp-OutputArea .widget-vbox:has(> .widget-image)"
HANDLE, CHOICE, SWITCH = ".noUi-handle", "select", "input[type=checkbox]"
OTHER = "input:not([type=checkbox]), textarea, button"  # controls that `explore` does not offer
QUIET_TICKS = 10  # of the page itself, 50 ms or more each: after so many since the last answer no picture comes

# Keeps when a control was moved, when the picture that followed stood in the page, and which messages to the kernel
# are not yet done with: callbacks of widgets run beside the cells, so the kernel's own status does not tell.
WATCH = """
const [panel, image] = arguments;
const watch = panel.watch = {moved: null, drawn: null, ticks: 0, asked: new Set()};
setInterval(() => { watch.ticks += 1; }, 50);
for (const kind of ['keydown', 'change'])
    panel.addEventListener(kind, () => { watch.moved ??= performance.now(); }, true);
image.addEventListener('load', () => { watch.drawn = performance.now(); });
window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.anyMessage.connect((_, {msg, direction}) => {
    if (direction === 'send' && msg.header.msg_type === 'comm_msg') { watch.asked.add(msg.header.msg_id); }
    if (direction === 'recv' && msg.content.execution_state === 'idle' && watch.asked.delete(msg.parent_header.msg_id))
        { watch.ticks = 0; }
});
"""
FORGET = "Object.assign(arguments[0].watch, {moved: null, drawn: null, ticks: 0});"
STATE = """
const {moved, drawn, ticks, asked} = arguments[0].watch;
return {milliseconds: moved && drawn && drawn - moved, asked: asked.size, ticks};
"""
# The address of a picture changes with every message, its bytes only if it shows something else.
FINGERPRINT = """
const [image, done] = arguments;
image.decode().then(() => fetch(image.src)).then(got => got.arrayBuffer())
    .then(bytes => crypto.subtle.digest('SHA-256', bytes))
    .then(digest => done(Array.from(new Uint8Array(digest)).join('.')), () => done(null));  // just being replaced
"""


class Move(NamedTuple):
    """One move of one control: whether another picture came, and milliseconds until it stood in the page, if seen."""

    control: str
    to: str
    changed: bool
    milliseconds: float | None


class Control(NamedTuple):
    """Its label, and its positions as (name, function that moves it there); a choice or switch ends where it began."""

    label: str
    positions: list
    is_slider: bool


def widgets(page, index):
    """The widgets below cell `index`."""
    page.wait(lambda: page.element(index).find_elements(By.CSS_SELECTOR, PANEL), f"the widget of cell {index}")
    return [Widget(page, panel) for panel in page.element(index).find_elements(By.CSS_SELECTOR, PANEL)]


class Widget:
    """One picture with the controls that redraw it."""

    def __init__(self, page, panel):
        self.page, self.panel = page, panel
        self.image = panel.find_element(By.CSS_SELECTOR, ".widget-image")
        page.driver.execute_script(WATCH, panel, self.image)

    def fingerprint(self):
        """Of the picture's bytes, once it is drawn."""
        ask = lambda: self.page.driver.execute_async_script(FINGERPRINT, self.image)
        return self.page.wait(ask, "the widget's picture")

    def controls(self):
        """Every control, choices and switches first. ValueError if there is one of a kind that cannot be moved."""
        if strangers := self.panel.find_elements(By.CSS_SELECTOR, OTHER):
            kinds = [element.get_attribute("outerHTML")[:80] for element in strangers]
            raise ValueError(f"a widget has controls that only a hand can move: teach tests/browser/widget.py {kinds}")
        makers = {CHOICE: _choice, SWITCH: _switch, HANDLE: _slider}
        return [maker(element) for kind, maker in makers.items() for element in self._all(kind)]

    def _all(self, selector):
        return self.panel.find_elements(By.CSS_SELECTOR, selector)

    def move_everything(self):
        """Every control to each of its positions; one that does nothing is tried again under other choices. -> Moves"""
        made, controls = [], self.controls()
        for control in controls:
            moves = self._moves(control)
            if not _effective(moves):
                moves = self._moves_elsewhere(control, [other for other in controls if not other.is_slider])
            made += moves
        return made

    def _moves(self, control):
        return [self._move(control.label, *position) for position in control.positions]

    def _moves_elsewhere(self, control, choices):
        """A size of blocks matters only where blocks are chosen: go through the choices, those next to it first."""
        moves = [Move(control.label, "any position", False, None)]
        for choice in (other for other in reversed(choices) if other is not control):
            *elsewhere, start = choice.positions
            for position in elsewhere:
                self._move(choice.label, *position)
                moves = self._moves(control)
                if _effective(moves):
                    break
            self._move(choice.label, *start)
            if _effective(moves):
                break
        return moves

    def _move(self, label, to, act):
        """Move, and wait for a new picture or until all is quiet. RuntimeError if the widget shows an error then."""
        before = self.fingerprint()
        self.page.driver.execute_script(FORGET, self.panel)
        act()
        self.page.wait(self._done, f"an end of what moving {label!r} to {to} began")
        if errors := self.page.widget_errors():
            raise RuntimeError(f"moving {label!r} to {to}: {errors[0]}")
        changed = self.fingerprint() != before
        return Move(label, to, changed, self._state()["milliseconds"] or None)

    def _done(self):
        state = self._state()
        return not state["asked"] and (state["milliseconds"] or state["ticks"] > QUIET_TICKS)

    def _state(self):
        return self.page.driver.execute_script(STATE, self.panel)


def unmoved(moves):
    """The labels of the controls that never changed the picture."""
    return sorted({move.control for move in moves} - {move.control for move in moves if move.changed})


def _effective(moves):
    return any(move.changed for move in moves)


def _label(element):
    return element.find_element(By.XPATH, "ancestor::*[contains(@class, 'jupyter-widgets')][1]").text.split("\n")[0]


def _slider(handle):
    """To its farther end first, then to the other; of a range's two handles, each within what the other leaves."""
    low, now, high = (float(handle.get_attribute(f"aria-value{end}")) for end in ("min", "now", "max"))
    ends = [("its high end", Keys.END), ("its low end", Keys.HOME)]
    ordered = ends if high - now >= now - low else ends[::-1]
    base = handle.find_element(By.XPATH, "ancestor::*[contains(@class, 'noUi-base')]")
    handles = base.find_elements(By.CSS_SELECTOR, HANDLE)
    label = _label(handle) if len(handles) == 1 else f"{_label(handle)}, handle {handles.index(handle) + 1}"
    return Control(label, [(name, lambda key=key: handle.send_keys(key)) for name, key in ordered], True)


def _choice(element):
    options = element.find_elements(By.TAG_NAME, "option")
    start = next(number for number, option in enumerate(options) if option.is_selected())
    ordered = options[start + 1 :] + options[: start + 1]
    return Control(_label(element), [(option.text, option.click) for option in ordered], False)


def _switch(box):
    return Control(_label(box), [("its other side", box.click), ("its first side", box.click)], False)
