"""How `make lab` starts JupyterLab. LAB_ARGS overrides it: make lab LAB_ARGS="--no-browser --ServerApp.ip=0.0.0.0"."""

import os
from pathlib import Path

c = get_config()  # noqa: F821 - Jupyter defines it

c.ServerApp.ip = "127.0.0.1"  # only this machine; the token stays on, as is the default
c.ServerApp.allow_root = hasattr(os, "geteuid") and os.geteuid() == 0  # containers often have no other user

# The reader's own copies, of which lab.py beside this file tells where they are, with the whole course around them.
own = Path(os.environ["QLAB_NOTEBOOKS"])
c.ServerApp.root_dir = str(own.parent)
c.LabApp.default_url = f"/lab/tree/{own.name}/00_the_puzzle.ipynb"

# Pictures of outputs get their alt texts, which JupyterLab itself shows nowhere.
c.LabApp.extra_labextensions_path = [str(Path(__file__).resolve().parent / "labextensions")]

# Nothing that asks the network or interrupts the first minute. The question about news comes from the page itself:
# labconfig/page_config.json beside this file turns that part of it off.
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.extension_manager = "readonly"

# It would ask npm, where there is one, for language servers, and npm keeps a log of its own in the reader's home.
c.LanguageServerManager.autodetect = False
