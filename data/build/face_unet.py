"""The audio-and-face network whose latency the course measures: a U-Net of MobileNetV2 blocks, never trained here.

26 inverted residuals (three convolutions each, the middle one depthwise) and three plain convolutions, after the small
talking-face networks that paint a mouth into a masked face crop from a speech encoder's features.
Source of the block: Sandler et al. 2018 (arXiv 1801.04381).
"""

from itertools import pairwise

import torch
from torch import nn

WIDTHS = (32, 64, 128, 256, 512)


class InvertedResidual(nn.Module):
    """1x1 expand (to twice the inputs, or `hidden`), 3x3 depthwise, 1x1 project; a residual where the shape stays."""

    def __init__(self, inputs, outputs, stride=1, hidden=None):
        super().__init__()
        hidden = hidden or 2 * inputs
        self.residual = stride == 1 and inputs == outputs
        self.body = nn.Sequential(
            nn.Conv2d(inputs, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x):
        return x + self.body(x) if self.residual else self.body(x)


def _plain(inputs, outputs, stride, padding):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, padding, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def pair(inputs, outputs, stride=1):
    """Two blocks, the first of which changes the shape."""
    return nn.Sequential(InvertedResidual(inputs, outputs, stride), InvertedResidual(outputs, outputs))


class FaceUNet(nn.Module):
    """audio [1, 128, 16, 32], face [1, 6, 160, 160] -> picture [1, 3, 160, 160] in 0..1."""

    def __init__(self):
        super().__init__()
        self.stem = InvertedResidual(6, WIDTHS[0])
        self.down = nn.ModuleList(pair(a, b, stride=2) for a, b in pairwise(WIDTHS))
        self.audio = nn.Sequential(
            pair(128, 256),
            _plain(256, 256, (1, 2), 1),
            pair(256, 256),
            InvertedResidual(256, 256),
            _plain(256, 512, 2, 3),
        )
        self.fuse = nn.Sequential(pair(1024, 512), pair(512, 512))
        self.up = nn.ModuleList(pair(a + b, b) for a, b in zip(WIDTHS[:0:-1], WIDTHS[-2::-1], strict=True))
        self.grow = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.last = nn.Conv2d(WIDTHS[0], 3, 1)

    def forward(self, audio, face):
        x, skips = self.stem(face), []
        for stage in self.down:
            skips.append(x)
            x = stage(x)
        x = self.fuse(torch.cat([x, self.audio(audio)], dim=1))
        for stage in self.up:
            x = stage(torch.cat([self.grow(x), skips.pop()], dim=1))
        return torch.sigmoid(self.last(x))
