"""What stands on a page only while its widgets are alive: their style, and words for those who do not see a picture.

What a reader without a kernel needs instead, marked by `without_widget`, goes while the widget of that name is there.
"""

import html
import re

import ipywidgets

# A button bears a whole sentence: it breaks into lines, where Jupyter's own would cut it off.
_STYLE = """
.qlab-options .jupyter-button { white-space: normal; height: auto; min-height: 30px; line-height: 1.35; width: auto;
    padding: 4px 10px; text-align: left; overflow-wrap: anywhere; }
.qlab-options .jupyter-button:disabled { opacity: 0.6; }
.qlab-options .jupyter-button.mod-active:disabled { opacity: 1; }
.qlab-column .jupyter-button { display: block; width: 100%; max-width: 44em; margin: 2px 0; }
.qlab-said .widget-html-content { line-height: 1.45; }
.qlab-explorer .widget-readout { width: auto; min-width: max-content; margin-left: 10px; }
.qlab-idle { opacity: 0.4; }
.qlab-unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
"""


def without_widget(name, body):
    """HTML that is shown where the widget `name` is not alive: on GitHub, in a file just opened, in print."""
    return f'<div class="{_class_of(name)}">{body}</div>'


def style(name, more=""):
    """A widget without size: the course's style, `more` of it, and no more of what stands for the widget `name`."""
    away = _class_of(name)
    gone = f".{away}, .jp-OutputArea-child:has(.{away}:only-child) {{ display: none; }}"
    return ipywidgets.HTML(f"<style>{_STYLE}{gone}\n{more}</style>", layout={"display": "none"})


class Words(ipywidgets.HTML):
    """Text that only a screen reader speaks, again whenever it changes."""

    def __init__(self):
        super().__init__()
        self.add_class("qlab-unseen")

    def say(self, text):
        self.value = f'<span role="status">{html.escape(text)}</span>'


def _class_of(name):
    return "qlab-without-" + re.sub(r"\W+", "-", name)
