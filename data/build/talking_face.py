"""Training of the talking face (face_net.py).

    python -m data.build.talking_face        resumes by checkpoint; data/README.md says how long it takes

First its ear learns, from sound alone, which mouth was made; then the rest learns to paint that mouth. Its pictures
are drawn while it trains, of the people and sentences of face_set.py. Writes CACHE/ear.pt and CACHE/face.pt.
"""

import json
import math
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from data.build import CACHE, face_set
from data.build.face_net import FEATURES, TalkingFace
from qlab.models import heads
from qlab.models.face import MOUTH, VECTORS, masked

EAR_STEPS, EAR_BATCH, EAR_RATE = 6_000, 256, 3e-3
STEPS, BATCH, PEAK_RATE, WARM_UP, DECAY = 16_000, 32, 2e-3, 500, 0.999
SAVED_EVERY = 100
EAR, CHECKPOINT = CACHE / "ear.pt", CACHE / "face.pt"


class Moments:
    """Every moment of every sentence: the vectors around it, and the mouth that was made."""

    def __init__(self, clips):
        # Sentences stand behind one another, each with its first and last vector repeated at its ends.
        before, behind = VECTORS // 2, VECTORS - VECTORS // 2 - 1
        padded = [np.pad(vectors, ((before, behind), (0, 0)), mode="edge") for vectors, _ in clips]
        starts = np.cumsum([0] + [len(vectors) for vectors in padded[:-1]])
        self.first = np.concatenate([s + np.arange(len(m)) for s, (_, m) in zip(starts, clips, strict=True)])
        self.vectors = torch.from_numpy(np.concatenate(padded))
        self.mouths = np.concatenate([mouth for _, mouth in clips])

    def __len__(self):
        return len(self.first)

    def audio(self, chosen):
        """float32 [n, 144, 16] of the moments with these numbers."""
        return self.vectors[self.first[chosen, None] + np.arange(VECTORS)].float().transpose(1, 2)


def train_ear(moments):
    """The ear's weights, trained once: a linear layer behind it tells the mouth [B, 5]; it is thrown away."""
    if EAR.exists():
        return torch.load(EAR)
    torch.manual_seed(0)
    ear, tell = TalkingFace().ear, nn.Conv1d(FEATURES, len(heads.MOUTH), 1)
    parameters = [*ear.parameters(), *tell.parameters()]
    optimizer = torch.optim.AdamW(parameters, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, EAR_RATE, EAR_STEPS)
    rng, losses = np.random.default_rng(29), []
    for step in range(EAR_STEPS):
        chosen = rng.integers(len(moments), size=EAR_BATCH)
        told = tell(ear(moments.audio(chosen)))[..., 0]
        loss = functional.mse_loss(told, torch.from_numpy(moments.mouths[chosen]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 500 == 499:
            print(json.dumps({"ear": step + 1, "loss": round(np.mean(losses[-500:]), 5)}), flush=True)
    torch.save(ear.state_dict(), EAR)
    return ear.state_dict()


class Lessons:
    """Batches of (audio, face, truth): a random moment of a random sentence on a random head."""

    def __init__(self, moments):
        self.moments, self.people = moments, heads.stacked(face_set.people())

    def batch(self, rng):
        chosen = rng.integers(len(self.moments), size=BATCH)
        person = heads.taken(self.people, rng.integers(face_set.HEADS, size=BATCH))
        pose = heads.Pose(
            rng.normal(0, (0.02, 0.013), (BATCH, 2)), rng.normal(0, 0.03, BATCH), rng.uniform(-0.9, 0.9, BATCH),
            1 + rng.normal(0, 0.011, BATCH), rng.random(BATCH) ** 8, self.moments.mouths[chosen],
        )  # fmt: skip
        reference, truth = (heads.draw(person, way, np.float32) for way in (heads.at_rest(BATCH), pose))
        return self.moments.audio(chosen), torch.from_numpy(masked(reference, truth)), torch.from_numpy(truth)


def loss_of(picture, truth):
    """Absolute error everywhere, more of it around the mouth, where squares count too: they are what PSNR sums."""
    error = picture - truth
    mouth = error[(..., *MOUTH)]
    return error.abs().mean() + 2 * mouth.abs().mean() + 30 * mouth.square().mean()


def rate(step):
    """Learning rate: linear warm-up, then half a cosine down to zero."""
    return PEAK_RATE * min(step / WARM_UP, 0.5 * (1 + math.cos(math.pi * min(step / STEPS, 1))))


def train():
    """Train, or go on from the last checkpoint; leaves the averaged weights in CACHE/face.pt."""
    moments = Moments(face_set.build())
    torch.manual_seed(0)
    model = TalkingFace()
    model.ear.load_state_dict(train_ear(moments))
    model.ear.requires_grad_(False)
    model.to(memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(DECAY), use_buffers=True
    )
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], weight_decay=1e-3)
    parts, done = {"model": model, "average": average, "optimizer": optimizer}, 0
    if CHECKPOINT.exists():
        saved = torch.load(CHECKPOINT)
        done = saved.pop("steps")
        for name, part in parts.items():
            part.load_state_dict(saved[name])
    if done >= STEPS:
        return
    lessons, started, losses = Lessons(moments), time.perf_counter(), []
    for step in range(done, STEPS):
        audio, face, truth = lessons.batch(np.random.default_rng([23, step]))
        for group in optimizer.param_groups:
            group["lr"] = rate(step + 1)
        model.train()
        model.ear.eval()
        picture = model(audio, face)
        loss = loss_of(picture, truth)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step > 2 * WARM_UP:
            average.update_parameters(model)
        losses.append(loss.detach())
        if (step + 1) % SAVED_EVERY == 0:
            mean = torch.stack(losses[-SAVED_EVERY:]).mean().item()
            spent = round(time.perf_counter() - started)
            print(json.dumps({"step": step + 1, "loss": round(mean, 5), "s": spent}), flush=True)
            state = {name: part.state_dict() for name, part in parts.items()}
            torch.save({**state, "steps": step + 1}, CHECKPOINT.with_suffix(".tmp"))
            CHECKPOINT.with_suffix(".tmp").rename(CHECKPOINT)


if __name__ == "__main__":
    train()
