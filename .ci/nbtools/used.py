"""What a notebook's outputs depend on beside its own code: the files of qlab that it loaded, the data that it read.

`watch` and `report` run inside the kernel, before the first cell and after the last; nothing here needs a package.
"""

import ast
import hashlib
import io
import json
import sys
import tokenize
from collections import Counter
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUMS = "data/SHA256SUMS"
MANY = 8  # files of one folder: from there on the folder stands for them, as data/SHA256SUMS lists it
_LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def watch():
    """Write down, from now on, the path of every file that Python opens."""
    opened = sys._opened_for_the_notebook = set()

    def see(event, arguments):
        if event == "open" and isinstance(arguments[0], str):
            opened.add(arguments[0])

    sys.addaudithook(see)


def report():
    """Print {path below the repository's root: digest} of what was loaded and read, as JSON."""
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == "qlab"]
    loaded = {below(module.__file__) for module in modules if getattr(module, "__file__", None)}
    read = {below(path) for path in sys._opened_for_the_notebook} - {None, SUMS}
    read = {path for path in read if path.startswith(("qlab/", "data/")) and not path.endswith((".py", ".pyc"))}
    read = {path for path in read if (ROOT / path).exists()}  # onnxruntime's quantizers write one there and remove it
    print(json.dumps({path: digest(path) for path in sorted(loaded | gathered(read))}))


def asked_for_a_card():
    """Print whether the file of a machine's card was opened since `watch`, as JSON: `machine.card` reads one."""
    print(json.dumps(any(Path(path).name.startswith("machine-") for path in sys._opened_for_the_notebook)))


def below(path):
    """The path from the repository's root, with slashes; None for one that lies elsewhere."""
    path = Path(path).absolute()
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else None


def gathered(paths):
    """The paths, but a folder for MANY of its files."""
    folders = {path: path.rpartition("/")[0] for path in paths}
    counted = Counter(folders.values())
    return {folder if counted[folder] >= MANY else path for path, folder in folders.items()}


@cache
def digest(path, root=ROOT):
    """Of one file or folder below the root, as it is now: of Python its code alone. "gone" where there is none."""
    file = root / path
    if file.is_dir():
        lines = (root / SUMS).read_text(encoding="utf-8").splitlines()
        content = "\n".join(line for line in lines if f" {path.removeprefix('data/')}/" in line).encode()
    elif not file.is_file():
        return "gone"
    elif file.suffix == ".py":
        content = code_of(file.read_text(encoding="utf-8")).encode()
    else:
        content = file.read_bytes()
    return hashlib.sha256(content).hexdigest()[:12]


def code_of(source):
    """Python source without its comments, docstrings and empty lines, which change no output."""
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    kept = {line for token in tokens if token.type not in _LAYOUT for line in range(token.start[0], token.end[0] + 1)}
    comment_at = {token.start[0]: token.start[1] for token in tokens if token.type == tokenize.COMMENT}
    kept.difference_update(_docstring_lines(ast.parse(source)))
    lines = enumerate(source.splitlines(), 1)
    return "\n".join(line[: comment_at.get(number)].rstrip() for number, line in lines if number in kept)


def _docstring_lines(tree):
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            yield from range(node.body[0].lineno, node.body[0].end_lineno + 1)
