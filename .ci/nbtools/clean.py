"""Make an executed notebook fit to be committed: nothing in it that differs between two equal runs, small pictures."""

import base64
import copy
import io
import re

from nbformat import NotebookNode
from PIL import Image

from nbtools.problems import WIDGET_VIEW, code_cells, fingerprint

KEPT_CELL_METADATA = {"qlab", "tags", "jupyter"}


def clean(notebook, used):
    """A cleaned copy.

    1. Notebook metadata: the python3 kernel, the language, the fingerprint of the executed code and of what it `used`;
       no widget state.
    2. Cell metadata: only what the course reads.
    3. Outputs: widget views dropped (blank without a kernel), of printed text what was overwritten (progress bars)
       dropped, metadata dropped but for the sizes and words of pictures and qlab's own facts.
    4. PNG: compressed again without loss, and without the drawing program's version.
    """
    cleaned = copy.deepcopy(notebook)
    cleaned.metadata = NotebookNode(
        kernelspec=NotebookNode(display_name="Python 3 (ipykernel)", language="python", name="python3"),
        language_info=NotebookNode(name="python"),
        qlab=NotebookNode(executed=fingerprint(notebook), used=NotebookNode(used)),
    )
    for cell in cleaned.cells:
        cell.metadata = NotebookNode({key: cell.metadata[key] for key in KEPT_CELL_METADATA & set(cell.metadata)})
    for _, cell in code_cells(cleaned):
        cell.outputs = [output for output in map(_clean_output, cell.outputs) if not _is_empty(output)]
    return cleaned


def _is_empty(output):
    return WIDGET_VIEW in output.get("data", {}) or (output.output_type == "stream" and not output.text)


_SECOND_BAR = re.compile(r"\n\r[^\n]*?\x1b\[A")  # a bar below another: a line down, written over, a line up again


def _as_it_stands(line):
    """A printed line after its carriage returns: what came later stands over what came before, and a bar is gone."""
    stands = ""
    for part in line.split("\r"):
        stands = part + stands[len(part) :]
    return stands.rstrip() if "\r" in line else line


def _clean_output(output):
    if "metadata" in output:
        kept = {key: value for key, value in output.metadata.items() if key == "qlab" or key.startswith("image/")}
        output.metadata = NotebookNode(kept)
    if output.output_type == "stream":
        text = _SECOND_BAR.sub("", output.text)
        output.text = "\n".join(map(_as_it_stands, text.split("\n")))
    if "image/png" in output.get("data", {}):
        output.data["image/png"] = _compressed(output.data["image/png"])
    return output


def _compressed(png_base64):
    """The same pixels in fewer bytes."""
    before = base64.b64decode(png_base64)
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(before)) as image:
        opaque = image.mode == "RGBA" and image.getextrema()[3] == (255, 255)
        pixels = image.convert("RGB") if opaque else image.copy()
        pixels.info.clear()
        pixels.save(buffer, "png", optimize=True)
    return base64.b64encode(min(before, buffer.getvalue(), key=len)).decode()
