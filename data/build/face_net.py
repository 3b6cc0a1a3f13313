"""The talking face: speech vectors and a masked picture in, the whole picture out.

A small relative of face_unet.py: a U-Net of MobileNetV2 blocks with skips and residuals, and beside it an ear. At its
largest, 48 x 48, a block's first two convolutions are fused to an ordinary one, as in EfficientNetV2, since integers
speed those up most (data/README.md says where that was measured). Each of these 48 x 48 cells gives four pixels.
Source: Tan and Le 2021 (arXiv 2104.00298) for the block, Shi et al. 2016 (arXiv 1609.05158) for the pixels.
"""

import torch
from torch import nn
from torch.nn import functional

from data.build.face_unet import InvertedResidual, pair
from qlab.models import heads

# Channels: what was heard, at the bottom of the U; the ear's own; what it passes on, little more than a mouth has.
HEARD, FEATURES, TOLD = 24, 192, 16
BOTTOM = heads.SIZE // 16


class FusedResidual(nn.Module):
    """3x3 expand (to twice the outputs), 1x1 project; a residual where the shape stays."""

    def __init__(self, inputs, outputs):
        super().__init__()
        hidden = 2 * outputs
        self.residual = inputs == outputs
        self.body = nn.Sequential(
            nn.Conv2d(inputs, hidden, 3, padding=1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x):
        return x + self.body(x) if self.residual else self.body(x)


def _heard(inputs, outputs, kernel, stride=1, padding=0):
    return nn.Sequential(
        nn.Conv1d(inputs, outputs, kernel, stride, padding, bias=False), nn.BatchNorm1d(outputs), nn.ReLU()
    )


class TalkingFace(nn.Module):
    """audio [B, 144, 16], face [B, 6, 96, 96] -> picture [B, 3, 96, 96] in 0..1."""

    def __init__(self):
        super().__init__()
        self.ear = nn.Sequential(_heard(144, 128, 3, 2, 1), _heard(128, 128, 3, 2, 1), _heard(128, FEATURES, 4))
        self.spread = nn.Sequential(nn.Conv1d(FEATURES, TOLD, 1), nn.Conv1d(TOLD, HEARD * BOTTOM**2, 1))
        self.stem = nn.Sequential(
            nn.Conv2d(6, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), FusedResidual(32, 32)
        )
        self.down = nn.ModuleList([pair(32, 48, stride=2), pair(48, 96, stride=2), pair(96, 160, stride=2)])
        self.fuse = pair(160 + HEARD, 160)
        self.grow = nn.Upsample(scale_factor=2, mode="nearest")
        self.up = nn.ModuleList(
            [
                nn.Sequential(InvertedResidual(160 + 96, 96, hidden=384), InvertedResidual(96, 96)),
                nn.Sequential(InvertedResidual(96 + 48, 48), InvertedResidual(48, 24)),
                nn.Sequential(FusedResidual(24 + 32, 32), FusedResidual(32, 32)),
            ]
        )
        self.last = nn.Conv2d(32, 3 * 2**2, 3, padding=1)

    def forward(self, audio, face):
        x, skips = self.stem(face), []
        for stage in self.down:
            skips.append(x)
            x = stage(x)
        heard = self.spread(self.ear(audio)).reshape(-1, HEARD, BOTTOM, BOTTOM)
        x = self.fuse(torch.cat([x, heard], dim=1))
        for stage in self.up:
            x = stage(torch.cat([self.grow(x), skips.pop()], dim=1))
        return functional.pixel_shuffle(torch.sigmoid(self.last(x)), 2)
