"""A wenet-style conformer encoder with CTC in PyTorch; its module names are those of WeNet's state_dict.

Three things differ from WeNet, each so that a padded batch gives every sentence the result that it has alone, or so
that any length works: the convolution module masks the padding *after* the gated linear unit, whose bias would
otherwise leak into the depthwise convolution; relative positions use the full Transformer-XL shift; and the
sinusoids are computed in the graph instead of being looked up in a table.
Sources: Gulati et al. 2020 (arXiv 2005.08100); Dai et al. 2019 (arXiv 1901.02860), appendix B; the WeNet toolkit.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional


@dataclass(frozen=True)
class Size:
    """Width, heads, feed-forward width, blocks, depthwise kernel and number of output tokens, the blank included."""

    width: int
    heads: int
    feed_forward: int
    blocks: int
    kernel: int
    tokens: int
    dropout: float = 0.1


class GlobalCMVN(nn.Module):
    """Cepstral mean and variance normalization with the training set's statistics, [80] each."""

    def __init__(self, mean, istd):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("istd", istd)

    def forward(self, x):
        return (x - self.mean) * self.istd


class Conv2dSubsampling4(nn.Module):
    """[B, T, 80] -> [B, T', width]: two 3x3 convolutions of stride 2, then a linear layer. Also the position table."""

    def __init__(self, size):
        super().__init__()
        self.width = size.width
        self.conv = nn.Sequential(
            nn.Conv2d(1, size.width, 3, 2), nn.ReLU(), nn.Conv2d(size.width, size.width, 3, 2), nn.ReLU()
        )
        self.out = nn.Sequential(nn.Linear(size.width * 19, size.width))
        frequencies = torch.exp(torch.arange(0, size.width, 2) * (-math.log(10_000) / size.width))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.dropout = nn.Dropout(size.dropout)

    def positions(self, x):
        """Sinusoids of the distances T'-1 ... -(T'-1), [1, 2 T' - 1, width]."""
        frames = x.shape[1]
        angles = torch.arange(frames - 1, -frames, -1, dtype=torch.float32)[:, None] * self.frequencies
        return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[None]

    def forward(self, x):
        x = self.conv(x[:, None]).transpose(1, 2).flatten(2)
        x = self.out(x) * math.sqrt(self.width)
        return self.dropout(x), self.dropout(self.positions(x))


class RelPositionMultiHeadedAttention(nn.Module):
    """Self-attention whose scores see content and distance: (q + u) k + (q + v) p."""

    def __init__(self, size):
        super().__init__()
        self.heads, self.depth = size.heads, size.width // size.heads
        self.linear_q = nn.Linear(size.width, size.width)
        self.linear_k = nn.Linear(size.width, size.width)
        self.linear_v = nn.Linear(size.width, size.width)
        self.linear_out = nn.Linear(size.width, size.width)
        self.linear_pos = nn.Linear(size.width, size.width, bias=False)
        self.pos_bias_u = nn.Parameter(torch.empty(self.heads, self.depth))
        self.pos_bias_v = nn.Parameter(torch.empty(self.heads, self.depth))
        nn.init.xavier_uniform_(self.pos_bias_u)
        nn.init.xavier_uniform_(self.pos_bias_v)
        self.dropout = nn.Dropout(size.dropout)

    def forward(self, x, positions, mask):
        batch, frames, width = x.shape
        q, k, v = (
            linear(x).reshape(batch, frames, self.heads, self.depth)
            for linear in (self.linear_q, self.linear_k, self.linear_v)
        )
        p = self.linear_pos(positions).reshape(1, 2 * frames - 1, self.heads, self.depth)
        content = (q + self.pos_bias_u).transpose(1, 2) @ k.permute(0, 2, 3, 1)
        distance = (q + self.pos_bias_v).transpose(1, 2) @ p.permute(0, 2, 3, 1)
        # Row i holds distances i-(T-1)...: a pad and two reshapes shift it so that column j is the distance i - j.
        distance = functional.pad(distance, (1, 0)).reshape(batch, self.heads, 2 * frames, frames)
        distance = distance[:, :, 1:].reshape(batch, self.heads, frames, 2 * frames - 1)[..., :frames]
        scores = (content + distance) / math.sqrt(self.depth)
        attention = self.dropout(torch.where(mask, scores, -1e4).softmax(dim=-1))
        return self.linear_out((attention @ v.transpose(1, 2)).transpose(1, 2).reshape(batch, frames, width))


class PositionwiseFeedForward(nn.Module):
    """Linear, SiLU, linear."""

    def __init__(self, size):
        super().__init__()
        self.w_1 = nn.Linear(size.width, size.feed_forward)
        self.w_2 = nn.Linear(size.feed_forward, size.width)
        self.dropout = nn.Dropout(size.dropout)

    def forward(self, x):
        return self.w_2(self.dropout(functional.silu(self.w_1(x))))


class ConvolutionModule(nn.Module):
    """Pointwise, gated linear unit, depthwise, BatchNorm, SiLU, pointwise; over time, [B, T', width]."""

    def __init__(self, size):
        super().__init__()
        width = size.width
        self.pointwise_conv1 = nn.Conv1d(width, 2 * width, 1)
        self.depthwise_conv = nn.Conv1d(width, width, size.kernel, padding=size.kernel // 2, groups=width)
        self.norm = nn.BatchNorm1d(width)
        self.pointwise_conv2 = nn.Conv1d(width, width, 1)

    def forward(self, x, mask):
        x = functional.glu(self.pointwise_conv1(x.transpose(1, 2)), dim=1)
        x = functional.silu(self.norm(self.depthwise_conv(x * mask)))
        return self.pointwise_conv2(x).transpose(1, 2)


class ConformerEncoderLayer(nn.Module):
    """Half a feed-forward, attention, convolution, half a feed-forward; a residual around each."""

    def __init__(self, size):
        super().__init__()
        self.self_attn = RelPositionMultiHeadedAttention(size)
        self.feed_forward = PositionwiseFeedForward(size)
        self.feed_forward_macaron = PositionwiseFeedForward(size)
        self.conv_module = ConvolutionModule(size)
        self.norm_ff_macaron, self.norm_mha, self.norm_conv, self.norm_ff, self.norm_final = (
            nn.LayerNorm(size.width) for _ in range(5)
        )
        self.dropout = nn.Dropout(size.dropout)

    def forward(self, x, positions, mask):
        x = x + 0.5 * self.dropout(self.feed_forward_macaron(self.norm_ff_macaron(x)))
        x = x + self.dropout(self.self_attn(self.norm_mha(x), positions, mask[:, None, None]))
        x = x + self.dropout(self.conv_module(self.norm_conv(x), mask[:, None]))
        x = x + 0.5 * self.dropout(self.feed_forward(self.norm_ff(x)))
        return self.norm_final(x)


class ConformerEncoder(nn.Module):
    """speech [B, T, 80], speech_lengths [B] -> (encoder_out [B, T', width], encoder_out_lens [B])."""

    def __init__(self, size, cmvn):
        super().__init__()
        self.global_cmvn = cmvn
        self.embed = Conv2dSubsampling4(size)
        self.encoders = nn.ModuleList(ConformerEncoderLayer(size) for _ in range(size.blocks))
        self.after_norm = nn.LayerNorm(size.width)

    def forward(self, speech, speech_lengths):
        x, positions = self.embed(self.global_cmvn(speech))
        lengths = (speech_lengths - 3) // 4
        mask = torch.arange(x.shape[1]) < lengths[:, None]
        self.halfway = None
        for index, layer in enumerate(self.encoders):
            x = layer(x, positions, mask)
            if self.training and index == len(self.encoders) // 2 - 1:
                self.halfway = x
        return self.after_norm(x), lengths


class CTC(nn.Module):
    """Log-probabilities of the tokens for each frame."""

    def __init__(self, size):
        super().__init__()
        self.ctc_lo = nn.Linear(size.width, size.tokens)

    def forward(self, x):
        return self.ctc_lo(x).log_softmax(dim=-1)


class Conformer(nn.Module):
    """What is exported: encoder_out, encoder_out_lens, ctc_log_probs."""

    def __init__(self, size, mean=None, istd=None):
        super().__init__()
        self.encoder = ConformerEncoder(
            size, GlobalCMVN(torch.zeros(80) if mean is None else mean, torch.ones(80) if istd is None else istd)
        )
        self.ctc = CTC(size)

    def forward(self, speech, speech_lengths):
        encoder_out, encoder_out_lens = self.encoder(speech, speech_lengths)
        return encoder_out, encoder_out_lens, self.ctc(encoder_out)
