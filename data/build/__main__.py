"""Make everything in data/ again: `make data`. Each step leaves its result on disk, so that a stopped run resumes.

Speech takes minutes; training takes hours on two cores: the speech model one and a half, the talking face some eight.
"""

from data.build import corpus, digits, export, face_shipped, talking_face, train_conformer

STEPS = (
    ("speak the shipped sentences", corpus.ship),
    ("train the speech model", train_conformer.train),
    ("train the digits model", digits.main),
    ("write the speech and digits models", export.trained),
    ("say who speaks in the face frames", face_shipped.ship),
    ("train the talking face", talking_face.train),
    ("write the talking face", export.face),
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
