"""A reader's own copies of the notebooks, in a folder that git ignores: what they write there meets no update.

    python .jupyter/copies.py            bring the copies up to date
    python .jupyter/copies.py update     git pull before that, whatever was changed in notebooks/ itself

A copy that is as it was given is renewed when the course's file changes. One that was changed, or only run, stays, and
the new version is laid beside it. A copy that was deleted is made again. `QLAB_NOTEBOOKS` names another folder.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COURSE = ROOT / "notebooks"
RECORD = ".as-given.json"  # in the reader's folder: {file: sha256 of the course's version that was last given for it}


def folder():
    """Where the reader's copies lie: in the course's folder, or in the reader's home where they cannot write it."""
    beside = ROOT if os.access(ROOT, os.W_OK) else Path.home() / "quantization-lab"
    return Path(os.environ.get("QLAB_NOTEBOOKS") or beside / "my-notebooks").expanduser().absolute()


def bring(course, own):
    """Bring the copies in `own` up to date with the files of `course`. -> what was done, in sentences"""
    own.mkdir(parents=True, exist_ok=True)
    given = _read_record(own)
    made, renewed, said = [], [], []
    for source in sorted(course.glob("*.ipynb")):
        new, copy = source.read_bytes(), own / source.name
        if not copy.exists():
            made.append(copy.name)
            _write(copy, new)
        elif _is_as_given(copy, given) and copy.read_bytes() != new:
            renewed.append(copy.name)
            _write(copy, new)
        elif copy.read_bytes() != new and given.get(copy.name) != _digest(new):
            beside = _free(copy, "new", given)
            _write(beside, new)
            given[beside.name] = _digest(new)
            said.append(f"{copy.name} is yours and stays as it is; the course's new version: {beside.name}")
        given[copy.name] = _digest(new)
    _write(own / RECORD, json.dumps(given, indent=1).encode())
    if renewed:
        said.insert(0, f"renewed, as you had not touched them: {', '.join(renewed)}")
    if made:
        said.insert(0, f"your own copies, to write into: {', '.join(made)}")
    return [f"{own.name}: {sentence}" for sentence in said]


def rescue(root, own):
    """Move what was changed in notebooks/ itself into `own`, and put the course's files back. -> sentences"""
    own.mkdir(parents=True, exist_ok=True)
    given, said = _read_record(own), []
    # Not what was added, nor the new name of what was renamed: the course has no file to put back there.
    which = ("--no-renames", "--diff-filter=a", "--name-only", "--relative", "-z")
    listed = _git(root, "diff", *which, "HEAD", "--", "notebooks/*.ipynb")
    for name in filter(None, listed.split("\0")):
        changed = root / name
        if changed.exists():  # deleted ones only come back
            copy = own / changed.name
            kept = copy if not copy.exists() or _is_as_given(copy, given) else _free(copy, "from-notebooks", given)
            _write(kept, changed.read_bytes())
            said.append(f"{own.name}: what you changed in {name} is now {own.name}/{kept.name}")
        _git(root, "checkout", "HEAD", "--", name)
    return said


def update(root, own):
    """Pull the course's new version, then bring the copies up to date with it. -> exit status"""
    if not os.access(root, os.W_OK):
        print(f"copies: {root} belongs to somebody else, who updates it; make lab renews your copies", file=sys.stderr)
        return 1
    if not shutil.which("git") or not (root / ".git").exists():  # or it would pull a repository around this folder
        advice = f"without them, unpack the course anew and move {own.name}/, .qlab-progress.json and .qlab-mine/ there"
        print(f"copies: an update needs git, and a clone that it made; {advice}", file=sys.stderr)
        return 1
    _tell(rescue(root, own))
    status = subprocess.run(["git", "pull", "--ff-only"], cwd=root).returncode
    # In a process of its own: this very file may just have been replaced.
    return status or subprocess.run([sys.executable, __file__]).returncode


def _is_as_given(copy, given):
    return _digest(copy.read_bytes()) == given.get(copy.name)


def _free(copy, what, given):
    """A name beside the copy under which nothing of the reader's lies: NAME.new.ipynb, NAME.new-2.ipynb, ..."""
    number = 1
    while True:
        beside = copy.with_suffix(f".{what}{f'-{number}' if number > 1 else ''}.ipynb")
        if not beside.exists() or _is_as_given(beside, given):
            return beside
        number += 1


def _read_record(own):
    """Without it, or where it is unreadable, every copy counts as changed: then none is written over."""
    try:
        given = json.loads((own / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return {name: kept for name, kept in given.items() if isinstance(kept, str)} if isinstance(given, dict) else {}


def _write(path, content):
    """Beside, and renamed: an interruption leaves the old file."""
    beside = path.with_name(f".{path.name}.part")
    beside.write_bytes(content)
    beside.replace(path)


def _digest(content):
    return hashlib.sha256(content).hexdigest()


def _git(root, *arguments):
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


def _tell(sentences):
    for sentence in sentences:
        print(sentence, flush=True)


def main(arguments):
    """The command line. -> exit status"""
    try:
        if arguments == ["update"]:
            return update(ROOT, folder())
        if arguments:
            sys.exit(__doc__)
        _tell(bring(COURSE, folder()))
        return 0
    except subprocess.CalledProcessError as error:
        print(f"copies: {' '.join(error.cmd)} failed: {error.stderr.strip()}", file=sys.stderr)
    except OSError as error:
        print(f"copies: {error}. QLAB_NOTEBOOKS names another folder for your copies", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
