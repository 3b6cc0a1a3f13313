"""Links between notebooks, and within them, lead somewhere: on GitHub, and in JupyterLab, where the copies lie."""

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


def text_of(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def links_of(path):
    """Where the links of a notebook lead that stay in the course."""
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text_of(path)) if "://" not in link]


def anchors_of(path):
    """The anchors of its headings: GitHub and JupyterLab put hyphens for spaces, and keep capitals."""
    return {re.sub(r"\s+", "-", heading.strip()) for heading in re.findall(r"^#+ (.+)$", text_of(path), re.M)}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name[:2])
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(path):
    assert links_of(path)
    for link in links_of(path):
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.is_file(), link
        assert not anchor or anchor in anchors_of(target), link


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name[:2])
def test_a_link_to_another_notebook_works_from_the_readers_copies_too(path):
    assert [link for link in links_of(path) if "/" in link.partition("#")[0]] == []


@pytest.mark.parametrize(("earlier", "later"), [*pairwise(NOTEBOOKS)], ids=lambda path: path.name[:2])
def test_neighbours_link_to_each_other(earlier, later):
    assert later.name in links_of(earlier)
    assert earlier.name in links_of(later)
