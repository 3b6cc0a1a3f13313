"""Print this machine's card; `--save NAME` measures it anew and keeps it as a reference card in data/machines/.

python -m qlab.machine --save x86-avx512-vnni
"""

import argparse
import hashlib
from pathlib import PurePosixPath

from qlab import files
from qlab.machine import probes
from qlab.machine.cache import REFERENCE_FOLDER, card


def main():
    parser = argparse.ArgumentParser(prog="python -m qlab.machine", description=__doc__.splitlines()[0])
    parser.add_argument("--save", metavar="NAME", help="name of the reference card: the instruction set, e.g. x86-avx2")
    parser.add_argument("--note", default="", help="a remark to keep in the card")
    arguments = parser.parse_args()
    if arguments.save is None:
        print(card())
        return
    measured = probes.measure(arguments.save, arguments.note)
    REFERENCE_FOLDER.mkdir(parents=True, exist_ok=True)
    files.write_whole(REFERENCE_FOLDER / f"{arguments.save}.json", measured.to_json())
    _enlist(f"machines/{arguments.save}.json", measured.to_json())
    print(measured)


def _enlist(name, text):
    """Put the card's sha256 into data/SHA256SUMS, without which no reference card is believed."""
    sums = files.checksums() | {name: hashlib.sha256(text.encode()).hexdigest()}
    lines = [f"{sums[name]}  {name}\n" for name in sorted(sums, key=PurePosixPath)]
    files.write_whole(REFERENCE_FOLDER.parent / "SHA256SUMS", "".join(lines))


if __name__ == "__main__":
    main()
