"""Tiny notebooks for the tests of the harness itself."""

import base64
import io
import random

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image

from nbtools.clean import clean

# Stands for qlab.course.check: it answers in the same form.
CHECK = """\
from IPython.display import display


def check(name, answer):
    status = "not yet" if answer is ... else "passed" if answer == 42 else "almost"
    data = {"text/plain": f"[{name}] {status}: {answer} is not six times seven"}
    display(data, raw=True, metadata={"qlab": {"check": name, "status": status}})
"""
FOLDED = """\
<details><summary>Hint 1</summary>

Multiply.
</details>
<details><summary>Hint 2</summary>

Six by seven.
</details>
<details><summary>Solution</summary>

```python
helper = 6
answer = helper * 7
```
</details>
"""


def notebook_of(*cells):
    """A notebook of code cells from strings; cells given as such stand as they are."""
    cells = [new_code_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernelspec})


def with_exercise(stub="answer = ...", *after):
    """A notebook with one exercise."""
    cell = new_code_cell(stub, metadata={"qlab": {"exercise": "99.1"}})
    return notebook_of(CHECK, cell, 'check("99.1", answer)', new_markdown_cell(FOLDED), *after)


def noise_png(size):
    """A square picture that does not compress, as base64."""
    buffer = io.BytesIO()
    Image.frombytes("RGB", (size, size), random.Random(0).randbytes(3 * size * size)).save(buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode()


def executed(notebook, used=()):
    """As `make notebooks` would leave it, without running a kernel: counted in order, cleaned."""
    for count, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), 1):
        cell.execution_count = count
    return clean(notebook, dict(used))
