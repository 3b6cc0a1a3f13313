"""Train the speech model: `python -m data.build.train_conformer`, about 75 minutes on two cores; resumes by epoch.

The targets are the grammar's words. A second CTC head on half the blocks spells letters, in training only: it teaches
the lower blocks sounds, which is what carries over to a voice never heard (intermediate CTC, arXiv 2102.03216).
"""

import json
import math
import time

import numpy as np
import torch
from torch.nn import functional

from data.build import CACHE, grammar, training_set
from data.build.conformer import Conformer, Size

WORDS = ("<blank>", *grammar.vocabulary())
LETTERS = ("<blank>", " ", "'", *"abcdefghijklmnopqrstuvwxyz")
SIZE = Size(width=144, heads=4, feed_forward=576, blocks=6, kernel=15, tokens=len(WORDS))
# First different sentences, for variety; then sentences as often as the grammar says them, addressed in many ways.
DISTINCT_EPOCHS, DRAWN_EPOCHS = 7, 4
BATCH, PEAK_RATE, WARM_UP, DECAY = 24, 1.2e-3, 800, 0.999
CHECKPOINT = CACHE / "conformer.pt"


def statistics(clips):
    """Mean and inverse standard deviation of each mel bin, two float32 [80]."""
    frames = np.concatenate([clip[::7] for clip, _ in clips]).astype(np.float32)
    return torch.from_numpy(frames.mean(0)), torch.from_numpy(1 / frames.std(0))


def batches(clips, rng):
    """Indices in batches of clips of like length, in random order."""
    noisy_length = np.array([len(clip) for clip, _ in clips]) * rng.uniform(0.9, 1.1, len(clips))
    order = np.argsort(noisy_length)
    parts = np.array_split(order, math.ceil(len(order) / BATCH))
    return [parts[i] for i in rng.permutation(len(parts))]


def augment(x, mean, rng):
    """Warp the mel axis as another vocal tract would; cover bands of mel bins and stretches of time with the mean."""
    bins = x.shape[1]
    x = x + rng.normal(0, 0.5)
    position = np.clip(np.arange(bins) * rng.uniform(0.88, 1.12), 0, bins - 1.001)
    low = position.astype(int)
    part = (position - low).astype(np.float32)
    x = x[:, low] * (1 - part) + x[:, low + 1] * part
    for _ in range(2):
        width, start = rng.integers(0, 12), rng.integers(0, bins - 12)
        x[:, start : start + width] = mean[start : start + width]
        width = rng.integers(0, max(len(x) // 12, 1))
        start = rng.integers(0, len(x) - width)
        x[start : start + width] = mean
    return x


def collate(clips, indices, mean, rng):
    """(speech [B, T, 80], lengths [B], [word targets], [letter targets])."""
    arrays = [augment(clips[i][0].astype(np.float32), mean, rng) for i in indices]
    lengths = torch.tensor([len(array) for array in arrays])
    speech = torch.zeros(len(arrays), int(lengths.max()), 80)
    for row, array in zip(speech, arrays, strict=True):
        row[: len(array)] = torch.from_numpy(array)
    words = [torch.tensor([WORDS.index(word) for word in clips[i][1].split()]) for i in indices]
    letters = [torch.tensor([LETTERS.index(letter) for letter in clips[i][1]]) for i in indices]
    return speech, lengths, words, letters


def ctc_loss(log_probs, lengths, targets):
    """Mean CTC loss per target token; a clip too fast for its letters counts nothing."""
    return functional.ctc_loss(
        log_probs.transpose(0, 1),
        torch.cat(targets),
        lengths,
        torch.tensor([len(target) for target in targets]),
        zero_infinity=True,
    )


def rate(step, steps):
    """Learning rate: linear warm-up, then half a cosine down to zero."""
    return PEAK_RATE * min(step / WARM_UP, 0.5 * (1 + math.cos(math.pi * min(step / steps, 1))))


def train():
    """Train, or go on from the last finished epoch; leaves the averaged weights in CACHE/conformer.pt."""
    distinct, drawn = training_set.build()
    epochs = [distinct] * DISTINCT_EPOCHS + [drawn] * DRAWN_EPOCHS
    before = np.cumsum([0] + [math.ceil(len(clips) / BATCH) for clips in epochs])  # steps before each epoch
    torch.manual_seed(0)
    mean, istd = statistics(distinct)
    model, speller = Conformer(SIZE, mean, istd), torch.nn.Linear(SIZE.width, len(LETTERS))
    # Twice the speed: oneDNN's bfloat16 convolutions otherwise reorder their input at each call.
    model.encoder.embed.conv.to(memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(DECAY), use_buffers=True
    )
    optimizer = torch.optim.AdamW([*model.parameters(), *speller.parameters()], betas=(0.9, 0.98), weight_decay=1e-2)
    parts = {"model": model, "speller": speller, "average": average, "optimizer": optimizer}
    done = 0
    if CHECKPOINT.exists():
        saved = torch.load(CHECKPOINT)
        done = saved.pop("epochs")
        for name, part in parts.items():
            part.load_state_dict(saved[name])
    for epoch, clips in list(enumerate(epochs))[done:]:
        rng, started, losses = np.random.default_rng([17, epoch]), time.perf_counter(), []
        for number, indices in enumerate(batches(clips, rng)):
            step = int(before[epoch]) + number + 1
            for group in optimizer.param_groups:
                group["lr"] = rate(step, int(before[-1]))
            speech, lengths, words, letters = collate(clips, indices, mean.numpy(), rng)
            with torch.autocast("cpu", torch.bfloat16):
                _, frames, log_probs = model(speech, lengths)
                spelled = speller(model.encoder.halfway)
            loss = ctc_loss(log_probs.float(), frames, words)
            loss_letters = ctc_loss(spelled.float().log_softmax(-1), frames, letters)
            optimizer.zero_grad()
            (0.7 * loss + 0.3 * loss_letters).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            # Early weights are noise: start the running average late in the first epoch.
            if step > WARM_UP // 2:
                average.update_parameters(model)
            losses.append((loss.item(), loss_letters.item()))
            if number % 50 == 49:
                mean_loss = np.mean(losses[-50:], axis=0).round(3).tolist()
                spent = time.perf_counter() - started
                print(
                    json.dumps({"epoch": epoch, "batch": number + 1, "loss": mean_loss, "s": round(spent)}), flush=True
                )
        state = {name: part.state_dict() for name, part in parts.items()}
        torch.save({**state, "epochs": epoch + 1}, CHECKPOINT.with_suffix(".tmp"))
        CHECKPOINT.with_suffix(".tmp").rename(CHECKPOINT)


if __name__ == "__main__":
    train()
