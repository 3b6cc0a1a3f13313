"""Open the course: bring the reader's own copies of the notebooks up to date, then start JupyterLab on them.

python .jupyter/lab.py [JupyterLab's options]
"""

import os
import sys
from pathlib import Path

import copies

HERE = Path(__file__).resolve().parent

if __name__ == "__main__":
    if status := copies.main([]):
        sys.exit(status)
    os.environ["QLAB_NOTEBOOKS"] = str(copies.folder())  # for the configuration, and for kernels
    os.environ["JUPYTER_CONFIG_PATH"] = str(HERE)
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # for kernels that import onnxruntime before qlab
    from jupyterlab.labapp import main

    sys.exit(main(sys.argv[1:]))
