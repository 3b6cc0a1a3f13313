"""Train the digits network: `python -m data.build.digits`, a few minutes on two cores.

Width and epochs are chosen by five-fold cross-validation on the training two thirds; the held-out third is looked at
once, with the choice made. Writes CACHE/digits.pt and CACHE/digits.json (every figure of the card).
"""

import json

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from data.build import CACHE
from qlab.models.catalog import digit_split

CHOICES = ((16, 40), (32, 40))  # (width, epochs)
BATCH, FOLDS = 64, 5


class SeparableBlock(nn.Module):
    """3x3 depthwise and 1x1 pointwise convolution, each with BatchNorm and ReLU; a residual where the shape stays."""

    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.residual = stride == 1 and inputs == outputs
        self.body = nn.Sequential(
            nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x):
        y = self.body(x)
        return functional.relu(x + y if self.residual else y)


class DigitsNet(nn.Module):
    """images [n, 1, 8, 8] in 0..1 -> logits [n, 10]."""

    def __init__(self, width):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.blocks = nn.Sequential(
            SeparableBlock(width, 2 * width),
            SeparableBlock(2 * width, 2 * width),
            SeparableBlock(2 * width, 4 * width, stride=2),
            SeparableBlock(4 * width, 4 * width),
            SeparableBlock(4 * width, 4 * width),
        )
        self.classifier = nn.Linear(4 * width, 10)

    def forward(self, images):
        return self.classifier(self.blocks(self.stem(images)).mean(dim=(2, 3)))


def augment(images, generator):
    """Small rotations, stretches and shifts, as another hand would write the digit; a little noise."""
    n = len(images)
    angle = (torch.rand(n, generator=generator) - 0.5) * 0.4
    stretch = 1 + (torch.rand(n, 2, generator=generator) - 0.5) * 0.3
    shift = (torch.rand(n, 2, generator=generator) - 0.5) * 0.35
    rows = (torch.stack([angle.cos(), -angle.sin()], 1), torch.stack([angle.sin(), angle.cos()], 1))
    theta = torch.cat([torch.stack(rows, 1) * stretch[:, :, None], shift[:, :, None]], dim=2)
    grid = functional.affine_grid(theta, images.shape, align_corners=False)
    moved = functional.grid_sample(images, grid, align_corners=False)
    return (moved + 0.03 * torch.randn(moved.shape, generator=generator)).clamp(0, 1)


def fit(x, y, width, epochs, seed=0):
    """Train a network on float32 [n, 1, 8, 8] and int64 [n]."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = DigitsNet(width)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.02)
    steps = epochs * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, steps)
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        for part in order[: len(x) // BATCH * BATCH].split(BATCH):
            loss = functional.cross_entropy(model(augment(x[part], generator)), y[part], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def accuracy(model, x, y):
    """Fraction of digits recognized."""
    with torch.no_grad():
        return float((model(x).argmax(1) == y).float().mean())


def cross_validate(x, y, width, epochs):
    """Mean accuracy over the folds, each fold held out once."""
    fold = np.random.default_rng(0).permutation(len(x)) % FOLDS
    scores = []
    for k in range(FOLDS):
        model = fit(x[fold != k], y[fold != k], width, epochs, seed=k)
        scores.append(accuracy(model, x[fold == k], y[fold == k]))
    return float(np.mean(scores))


def main():
    """Choose, train, save; nothing where that is done already."""
    if (CACHE / "digits.json").exists():
        return
    CACHE.mkdir(exist_ok=True)
    x_train, y_train, x_test, y_test = (torch.from_numpy(array) for array in digit_split())
    scores = {}
    for choice in CHOICES:
        scores[choice] = cross_validate(x_train, y_train, *choice)
        print(f"width {choice[0]}, {choice[1]} epochs: {scores[choice]:.4f} cross-validated", flush=True)
    width, epochs = max(scores, key=scores.get)
    model = fit(x_train, y_train, width, epochs)
    result = {"width": width, "epochs": epochs, "cross_validated": scores[width, epochs]}
    result["held_out"] = accuracy(model, x_test, y_test)
    torch.save(model.state_dict(), CACHE / "digits.pt")
    (CACHE / "digits.json").write_text(json.dumps(result))
    print(result)


if __name__ == "__main__":
    main()
