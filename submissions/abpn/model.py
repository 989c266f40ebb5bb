"""Anchor-Based Plain Net (ABPN): Du et al., CVPR Workshops 2021, arXiv 2105.09750, section 3."""

import torch
import torch.nn.functional as F
from torch import nn

SCALE = 3


class PixelConv2d(nn.Conv2d):
    """A 3x3 'same' convolution on images in [0, 255] whose bias is stored in units of full scale.

    The optimiser's step then moves biases and weights alike, as it would on images in [0, 1]. The
    product is a constant, and export folds it.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight, self.bias * 255.0, padding=1)


class ABPN(nn.Module):
    """(N, 3, H, W) RGB in [0, 255] to (N, 3, 3H, 3W) RGB in [0, 255]."""

    def __init__(self, features: int = 28, layers: int = 4) -> None:
        super().__init__()
        upscaled = 3 * SCALE**2
        widths = [3, *[features] * (layers + 1), upscaled]
        body = []
        for narrow, wide in zip(widths, widths[1:], strict=False):
            body += [PixelConv2d(narrow, wide), nn.ReLU()]
        self.body = nn.Sequential(*body, PixelConv2d(upscaled, upscaled))
        self.upscale = nn.PixelShuffle(SCALE)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        anchor = x.repeat_interleave(SCALE**2, dim=1)
        return self.upscale(self.body(x) + anchor).clamp(0.0, 255.0)
