"""What the talking face learns from: people and sentences of its own, these as speech vectors and as mouths."""

from multiprocessing import Pool

import numpy as np
from tqdm import tqdm

from data.build import CACHE, corpus, grammar, mouths
from qlab import models
from qlab.models import heads
from qlab.runtime import open_session

SENTENCES = 6000
HEADS = 20_000
PART = 200
CONFORMER = corpus.SPEECH.parent / "models" / "conformer.onnx"  # as it is: its checksum is written last


def texts():
    """The training sentences: none is shipped, and the speech model was trained on none of these recordings."""
    shipped = frozenset(text for part in corpus.shipped_texts().values() for text in part)
    return grammar.sentences(SENTENCES, seed=31, exclude=shipped)


def people():
    """The training heads, a list; those of qlab.models.face come from other seeds."""
    rng = np.random.default_rng(41)
    return [heads.random_head(rng) for _ in range(HEADS)]


def _spoken(job):
    index, text = job
    clip = corpus.training_clip((1_000_000 + index, text))  # behind the numbers of the speech model's own clips
    return models.feed(clip.samples / np.float32(32768)), mouths.track(clip)


def build():
    """List of (encoder_out float16 [T', 144], mouth float32 [T', 5]), one a sentence; some 10 minutes, once."""
    CACHE.mkdir(exist_ok=True)
    jobs, clips = list(enumerate(texts())), []
    session = open_session(CONFORMER)
    with Pool() as pool:
        for start in tqdm(range(0, len(jobs), PART), "sentences for the face"):
            path = CACHE / f"face-{start:05d}.npz"
            if not path.exists():
                made = pool.map(_spoken, jobs[start : start + PART], chunksize=10)
                vectors = [session.run(["encoder_out"], feed)[0][0].astype(np.float16) for feed, _ in made]
                np.savez(path.with_suffix(".tmp.npz"), np.concatenate(vectors), np.concatenate([m for _, m in made]),
                         [len(one) for one in vectors])  # fmt: skip
                path.with_suffix(".tmp.npz").rename(path)
            with np.load(path) as saved:
                vectors, mouth, lengths = saved.values()
            ends = np.cumsum(lengths)[:-1]
            clips += zip(np.split(vectors, ends), np.split(mouth, ends), strict=True)
    return clips


if __name__ == "__main__":
    build()
