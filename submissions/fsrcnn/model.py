"""FSRCNN(d=56, s=12, m=4): Dong et al., ECCV 2016, arXiv 1608.00367, with RGB in and out."""

import torch
from torch import nn

SCALE = 3


class FSRCNN(nn.Module):
    """(N, 3, H, W) RGB in [0, 255] to (N, 3, 3H, 3W) RGB in [0, 255]."""

    def __init__(self, d: int = 56, s: int = 12, m: int = 4) -> None:
        super().__init__()
        mapping: list[nn.Module] = []
        for _ in range(m):
            mapping += [nn.Conv2d(s, s, 3, padding=1), nn.PReLU(s)]
        self.body = nn.Sequential(
            *(nn.Conv2d(3, d, 5, padding=2), nn.PReLU(d)),  # feature extraction
            *(nn.Conv2d(d, s, 1), nn.PReLU(s)),  # shrinking
            *mapping,
            *(nn.Conv2d(s, d, 1), nn.PReLU(d)),  # expanding
        )
        # output_padding makes 3(H - 1) - 2*4 + 9 + 2 = 3H.
        self.upscale = nn.ConvTranspose2d(d, 3, 9, stride=SCALE, padding=4, output_padding=2)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, a=0.25)
                nn.init.zeros_(layer.bias)
        nn.init.normal_(self.upscale.weight, std=0.001)
        nn.init.zeros_(self.upscale.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.upscale(self.body(x)).clamp(0.0, 255.0)
