"""The training clips' features, made in parallel and kept in parts on disk, so that an interrupted run resumes."""

from multiprocessing import Pool

import numpy as np
from tqdm import tqdm

from data.build import CACHE, corpus
from qlab.models.speech import features

DISTINCT, DRAWN = 16_000, 14_000
PART = 500


def _features_of(job):
    return features(corpus.training_clip(job).samples / np.float32(32768)).astype(np.float16)


def build():
    """Two lists, the distinct and the drawn sentences, of (features float16 [T, 80], text); some 10 minutes, once."""
    CACHE.mkdir(exist_ok=True)
    distinct, drawn = corpus.training_texts(DISTINCT, DRAWN)
    texts = distinct + drawn
    clips = []
    with Pool() as pool:
        for start in tqdm(range(0, len(texts), PART), "training clips"):
            path = CACHE / f"features-{start:05d}.npz"
            if not path.exists():
                jobs = list(enumerate(texts))[start : start + PART]
                parts = pool.map(_features_of, jobs, chunksize=10)
                np.savez(path.with_suffix(".tmp.npz"), np.concatenate(parts), [len(part) for part in parts])
                path.with_suffix(".tmp.npz").rename(path)
            with np.load(path) as saved:
                frames, lengths = saved.values()
            clips += np.split(frames, np.cumsum(lengths)[:-1])
    pairs = list(zip(clips, texts, strict=True))
    return pairs[:DISTINCT], pairs[DISTINCT:]


if __name__ == "__main__":
    build()
