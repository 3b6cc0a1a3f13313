"""Measure this machine and keep its card as a reference card in data/machines/.

python -m data.build.machine_card x86-avx512-vnni
"""

import argparse
import hashlib
from pathlib import PurePosixPath

from qlab import files
from qlab.machine import probes


def main(arguments=None, folder=files.DATA / "machines", measure=probes.measure):
    parser = argparse.ArgumentParser(prog="python -m data.build.machine_card", description=__doc__.splitlines()[0])
    parser.add_argument("name", help="name of the reference card: the instruction set, e.g. x86-avx2")
    parser.add_argument("--note", default="", help="a remark to keep in the card")
    asked = parser.parse_args(arguments)
    measured = measure(asked.name, asked.note)
    folder.mkdir(parents=True, exist_ok=True)
    files.write_whole(folder / f"{asked.name}.json", measured.to_json())
    enlist(f"machines/{asked.name}.json", measured.to_json(), folder.parent / "SHA256SUMS")
    print(measured)


def enlist(name, text, listing):
    """Put the card's sha256 into the listing, without which no reference card is believed."""
    sums = files.checksums() | {name: hashlib.sha256(text.encode()).hexdigest()}
    lines = [f"{sums[one]}  {one}\n" for one in sorted(sums, key=PurePosixPath)]
    files.write_whole(listing, "".join(lines))


if __name__ == "__main__":
    main()
