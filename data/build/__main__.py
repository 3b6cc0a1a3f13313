"""Make everything in data/ again: `make data`. Each step leaves its result on disk, so that a stopped run resumes.

Speech takes minutes, training the speech model about an hour and a half on two cores, the rest minutes.
"""

from data.build import corpus, digits, export, train_conformer

STEPS = (
    ("speak the shipped sentences", corpus.ship),
    ("train the speech model", train_conformer.train),
    ("train the digits model", digits.main),
    ("write the trained models", export.trained),
    ("write the full-size skeletons", export.skeletons),
    ("write data/SHA256SUMS", export.write_checksums),
)


def main():
    """Run every step, saying which."""
    for number, (what, step) in enumerate(STEPS, 1):
        print(f"[{number}/{len(STEPS)}] {what}", flush=True)
        step()
    print("done; now `python -m data.build.evaluate` prints the figures for data/README.md")


if __name__ == "__main__":
    main()
