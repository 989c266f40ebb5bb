"""Reference networks: ABPN, the winning design, FSRCNN, the baseline, and bicubic interpolation, the floor.

All map (N, 3, H, W) RGB in [0, 255] to (N, 3, 3H, 3W) RGB in [0, 255], float32.
"""

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mai_harness.records import SCALE
from mai_harness.resize import cubic

FULL_SCALE = 255.0


class PixelConv2d(nn.Conv2d):
    """A 'same' convolution on images in [0, 255] whose bias is stored in units of full scale.

    The optimiser's step then moves biases and weights alike, as it would on images in [0, 1]. The
    product is a constant, and export folds it.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) to (N, out, H, W)."""
        bias = None if self.bias is None else self.bias * FULL_SCALE
        return F.conv2d(x, self.weight, bias, padding=self.padding)


class PixelBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation whose scale and shift are stored in units of full scale, as :class:`PixelConv2d`'s bias."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        nn.init.constant_(self.weight, 0.25)  # about what a convolution makes of an image

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        y: Tensor = super().forward(x) * FULL_SCALE
        return y


class ClippedNetwork(nn.Module):
    """A network whose ``upscale`` is clipped to [0, 255] when it is used, and not while it learns.

    A clip passes no gradient to a pixel outside the range, which is where one is most needed.
    """

    def __init__(self, *, clip: bool = True) -> None:
        super().__init__()
        self.clip = clip

    def upscale(self, x: Tensor) -> Tensor:
        """The network without its clip."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 3, 3H, 3W)."""
        y = self.upscale(x)
        return y.clamp(0.0, FULL_SCALE) if self.clip and not self.training else y


Residual = Literal["anchor", "none", "feature", "nearest", "bilinear"]


class ABPN(ClippedNetwork):
    """Anchor-Based Plain Net: Du et al., CVPR Workshops 2021, arXiv 2105.09750, section 3, and its rivals there.

    Args:
        features: channels of the body.
        layers: convolutions from features to features; one more comes before them.
        clip: to [0, 255] at the end.
        residual: what the body's output is added to. ``anchor`` is the input repeated nine times in the LR space,
            ``nearest`` and ``bilinear`` the input resized in the HR space, ``none`` nothing; ``feature`` adds the
            first convolution's features to the last's.
        kernel_size: of the convolutions from features to features.
        negative_slope: of a leaky ReLU; 0 is ReLU.
        batch_norm: behind every convolution that an activation follows.
        image_convolution: the extra convolution on the 27 channels that become pixels; without it there is one more
            from features to features.
    """

    def __init__(
        self,
        features: int = 28,
        layers: int = 4,
        *,
        clip: bool = True,
        residual: Residual = "anchor",
        kernel_size: int = 3,
        negative_slope: float = 0.0,
        batch_norm: bool = False,
        image_convolution: bool = True,
    ) -> None:
        super().__init__(clip=clip)
        self.residual = residual
        upscaled = 3 * SCALE**2

        def block(narrow: int, wide: int, size: int = 3) -> list[nn.Module]:
            activation = nn.LeakyReLU(negative_slope) if negative_slope else nn.ReLU()
            norm = [PixelBatchNorm2d(wide)] if batch_norm else []
            return [PixelConv2d(narrow, wide, size), *norm, activation]

        head = block(3, features)
        body = [module for _ in range(layers) for module in block(features, features, kernel_size)]
        if image_convolution:
            tail = [*block(features, upscaled), PixelConv2d(upscaled, upscaled)]
        else:
            tail = [*block(features, features), PixelConv2d(features, upscaled)]
        self.body = nn.Sequential(*head, *body, *tail)
        self.features = slice(len(head), len(head) + len(body))  #: of the body: what maps features to features
        self.shuffle = nn.PixelShuffle(SCALE)

    def upscale(self, x: Tensor) -> Tensor:
        """The network without its clip."""
        match self.residual:
            case "anchor":
                residual = self.body(x) + x.repeat_interleave(SCALE**2, dim=1)  # section 3.2
                y: Tensor = self.shuffle(residual)
            case "none":
                y = self.shuffle(self.body(x))
            case "feature":
                first = self.body[: self.features.start](x)
                last = self.body[self.features](first) + first
                y = self.shuffle(self.body[self.features.stop :](last))
            case mode:
                y = self.shuffle(self.body(x)) + _resized(x, mode)
        return y


def _resized(x: Tensor, mode: Literal["nearest", "bilinear"]) -> Tensor:
    corners = {"align_corners": False} if mode == "bilinear" else {}
    return F.interpolate(x, scale_factor=SCALE, mode=mode, **corners)


class FSRCNN(ClippedNetwork):
    """FSRCNN(d, s, m): Dong et al., ECCV 2016, arXiv 1608.00367, section 3, with RGB in and out."""

    def __init__(self, d: int = 56, s: int = 12, m: int = 4, *, clip: bool = True) -> None:
        super().__init__(clip=clip)
        mapping: list[nn.Module] = []
        for _ in range(m):
            mapping += [PixelConv2d(s, s), nn.PReLU(s)]
        self.body = nn.Sequential(
            *(PixelConv2d(3, d, 5), nn.PReLU(d)),  # feature extraction
            *(PixelConv2d(d, s, 1), nn.PReLU(s)),  # shrinking
            *mapping,
            *(PixelConv2d(s, d, 1), nn.PReLU(d)),  # expanding
        )
        # output_padding makes 3(H - 1) - 2*4 + 9 + 2 = 3H.
        self.deconvolution = nn.ConvTranspose2d(d, 3, 9, stride=SCALE, padding=4, output_padding=2, bias=False)
        for layer in self.body:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, a=0.25)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        nn.init.normal_(self.deconvolution.weight, std=0.001)

    def upscale(self, x: Tensor) -> Tensor:
        """The network without its clip."""
        y: Tensor = self.deconvolution(self.body(x))
        return y


class Bicubic(nn.Module):
    """Keys' bicubic interpolation (a = -0.5) with repeated edges: no weight is learned, so this is the floor.

    One 5x5 convolution with fixed weights and depth-to-space, which is how a mobile NPU would run it.
    """

    def __init__(self) -> None:
        super().__init__()
        # HR pixel 3i + p lies at LR position i + (p - 1) / 3; five taps from i - 2 to i + 2 hold all that it reads.
        taps = np.arange(-2, 3)
        rows = np.stack([cubic((phase - 1) / SCALE - taps.astype(np.float64)) for phase in range(SCALE)])
        kernels = np.einsum("cd,pi,qj->cpqdij", np.eye(3), rows, rows).reshape(3 * SCALE**2, 3, 5, 5)
        self.register_buffer("kernels", torch.tensor(kernels, dtype=torch.float32), persistent=False)
        self.shuffle = nn.PixelShuffle(SCALE)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 3, 3H, 3W)."""
        padded = F.pad(x, (2, 2, 2, 2), mode="replicate")
        y: Tensor = self.shuffle(F.conv2d(padded, self.get_buffer("kernels")))
        return y.clamp(0.0, FULL_SCALE)
