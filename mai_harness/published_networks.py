"""Published x3 networks whose latency the ABPN paper reasons about: EDSR-baseline, CARN, IDN, IMDN, LatticeNet, VDSR.

For latency only: nobody has trained them here, so their pixels mean nothing until someone does. Structure and number
of parameters are the published ones, after the code of their authors; :data:`PUBLISHED` tells for each the figure that
is printed and where. All map (N, 3, H, W) RGB in [0, 255] to (N, 3, 3H, 3W) RGB in [0, 255], float32.

Three things are not as published, and cost nothing or next to nothing. The clip to [0, 255] at the end is ours: the
challenge needs it, and in INT8 it is no operator. IDN and VDSR read and write luminance alone; here they have RGB in
and out, with only their first and last layer wider. Both add bicubic interpolation, which TFLite has no operator for:
here it is bilinear.
"""

import importlib
import itertools
from typing import Any

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mai_harness.networks import FULL_SCALE, ClippedNetwork
from mai_harness.records import SCALE, Record

_DIV2K_MEAN = (0.4488, 0.4371, 0.4040)  # of R, G and B in [0, 1]: EDSR-PyTorch src/model/common.py
_SLOPE = 0.05  # of every leaky ReLU of IDN, IMDN and LatticeNet
_TINY = 1e-6  # of a variance; on features of images in [0, 255] it changes no deviation that matters


def _conv(narrow: int, wide: int, size: int = 3, *, groups: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(narrow, wide, size, padding=size // 2, groups=groups, bias=bias)


class MeanShift(nn.Conv2d):
    """A frozen 1x1 convolution of RGB that takes DIV2K's mean colour off; of EDSR-PyTorch, src/model/common.py.

    Its 12 numbers are in the published counts, and so are those of its twin at the end of a network, which puts the
    mean back. That one is added as a constant, which conversion folds into the bias of the convolution before it.
    """

    def __init__(self, sign: int) -> None:
        super().__init__(3, 3, 1)
        self.weight.data = torch.eye(3)[:, :, None, None]
        self.bias: nn.Parameter  # of a convolution that has one
        self.bias.data = sign * FULL_SCALE * torch.tensor(_DIV2K_MEAN)
        self.requires_grad_(False)

    def added(self, x: Tensor) -> Tensor:
        """What the convolution gives, by an addition: (N, 3k, H, W), k channels a colour, to the same."""
        return x + self.bias.repeat_interleave(x.shape[1] // 3)[None, :, None, None]


class EDSR(ClippedNetwork):
    """EDSR: Lim et al., CVPR Workshops 2017, arXiv 1707.02921, section 3; by default the baseline.

    Code of the authors: sanghyun-son/EDSR-PyTorch, src/model/edsr.py. Residual blocks of two convolutions without batch
    norm, a skip over all of them, and a pixel shuffle of ``features`` channels before the last convolution, which
    hence works on HR features.

    Args:
        features: channels of the body.
        blocks: residual blocks.
        clip: to [0, 255] at the end.
    """

    def __init__(self, features: int = 64, blocks: int = 16, *, clip: bool = True) -> None:
        super().__init__(clip=clip)
        self.sub_mean, self.add_mean = MeanShift(-1), MeanShift(1)
        self.head = _conv(3, features)
        self.body = nn.Sequential(*(_EDSRBlock(features) for _ in range(blocks)), _conv(features, features))
        self.up = nn.Sequential(_conv(features, features * SCALE**2), nn.PixelShuffle(SCALE))
        self.tail = _conv(features, 3)

    def upscale(self, x: Tensor) -> Tensor:
        """The network without its clip."""
        head = self.head(self.sub_mean(x))
        return self.add_mean.added(self.tail(self.up(self.body(head) + head)))


class _EDSRBlock(nn.Module):
    """No activation behind the addition; the baseline scales no residual."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(features, features), nn.ReLU(), _conv(features, features))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.body(x)
        return y


class CARN(ClippedNetwork):
    """CARN: Ahn et al., ECCV 2018, arXiv 1803.08664, section 3.

    Code of the authors: nmhkahn/CARN-pytorch, carn/model/carn.py. Three cascading blocks of three residual blocks,
    where every block reads a 1x1 convolution of all that came before it, within blocks and across them.

    Args:
        features: channels of the body.
        multi_scale: with the upsamplers for x2 and x4, which the published 1,592K hold and x3 never runs.
        clip: to [0, 255] at the end.
    """

    def __init__(self, features: int = 64, *, multi_scale: bool = False, clip: bool = True) -> None:
        super().__init__(clip=clip)
        self.sub_mean, self.add_mean = MeanShift(-1), MeanShift(1)
        self.entry = _conv(3, features)
        blocks = (_Cascade(features, *(_CARNBlock(features) for _ in range(3))) for _ in range(3))
        self.body = _Cascade(features, *blocks)
        factors = {2: (2,), SCALE: (SCALE,), 4: (2, 2)} if multi_scale else {SCALE: (SCALE,)}
        self.up = nn.ModuleDict({f"x{scale}": _carn_upsampler(features, steps) for scale, steps in factors.items()})
        self.exit = _conv(features, 3)

    def upscale(self, x: Tensor) -> Tensor:
        """The network without its clip."""
        features = self.body(self.entry(self.sub_mean(x)))
        return self.add_mean.added(self.exit(self.up[f"x{SCALE}"](features)))


class _Cascade(nn.Module):
    """Stages, each followed by a 1x1 convolution of the input and of all stages so far."""

    def __init__(self, features: int, *stages: nn.Module) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.fusions = nn.ModuleList(
            nn.Sequential(_conv(features * (2 + index), features, 1), nn.ReLU()) for index in range(len(stages))
        )

    def forward(self, x: Tensor) -> Tensor:
        collected = fused = x
        for stage, fusion in zip(self.stages, self.fusions, strict=True):
            collected = torch.cat((collected, stage(fused)), dim=1)
            fused = fusion(collected)
        return fused


class _CARNBlock(nn.Module):
    """Unlike EDSR's, with an activation behind the addition."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(features, features), nn.ReLU(), _conv(features, features))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + x)


def _carn_upsampler(features: int, steps: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for step in steps:
        layers += [_conv(features, features * step**2), nn.ReLU(), nn.PixelShuffle(step)]
    return nn.Sequential(*layers)


class IDN(ClippedNetwork):
    """IDN: Hui et al., CVPR 2018, arXiv 1803.09454, section 3, with D3 = 64, d = 16, s = 4.

    Code of the authors: Zheng222/IDN-Caffe, test/IDN_x3_deploy.prototxt. Four blocks, each an enhancement unit, which
    splits its features, concatenates a part to the input and adds the rest, and a 1x1 compression; then one
    deconvolution, added to the interpolated input.

    The deconvolution pads by 7, where the authors pad by 8 and get 3H - 2 rows: this way it makes the 3H wanted.

    Args:
        channels: of the image; 1, luminance, in the paper.
        clip: to [0, 255] at the end.
    """

    def __init__(self, channels: int = 3, *, clip: bool = True) -> None:
        super().__init__(clip=clip)
        self.features = nn.Sequential(*_leaky(_conv(channels, 64)), *_leaky(_conv(64, 64)))
        self.blocks = nn.Sequential(*(_DistillationBlock() for _ in range(4)))
        # 3(H - 1) - 2*7 + 17 = 3H
        self.deconvolution = nn.ConvTranspose2d(64, channels, 17, stride=SCALE, padding=7)

    def upscale(self, x: Tensor) -> Tensor:
        """The network without its clip."""
        y: Tensor = self.deconvolution(self.blocks(self.features(x))) + _interpolated(x)
        return y


class _DistillationBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.above = nn.Sequential(*_leaky(_conv(64, 48)), *_leaky(_conv(48, 32, groups=4)), *_leaky(_conv(32, 64)))
        self.below = nn.Sequential(*_leaky(_conv(48, 64)), *_leaky(_conv(64, 48, groups=4)), *_leaky(_conv(48, 80)))
        self.compression = nn.Sequential(*_leaky(_conv(80, 64, 1)))

    def forward(self, x: Tensor) -> Tensor:
        # What passes comes before what is kept: TensorFlow 2.19 leaves a convolution float that reads a slice made
        # after another slice of the same tensor has gone into a concatenation.
        features = self.above(x)
        passed = self.below(features[:, 16:])
        y: Tensor = self.compression(torch.cat((x, features[:, :16]), dim=1) + passed)
        return y


class IMDN(ClippedNetwork):
    """IMDN: Hui et al., ACM Multimedia 2019, arXiv 1909.11856, section 3.

    Code of the authors: Zheng222/IMDN, model/architecture.py and model/block.py. Six blocks that split features three
    times and concatenate what was kept, with contrast-aware channel attention; all blocks are concatenated again.

    Args:
        features: channels of the body; a quarter of them is kept at each split.
        blocks: information multi-distillation blocks.
        clip: to [0, 255] at the end.
    """

    def __init__(self, features: int = 64, blocks: int = 6, *, clip: bool = True) -> None:
        super().__init__(clip=clip)
        self.head = _conv(3, features)
        self.blocks = nn.ModuleList(_MultiDistillationBlock(features) for _ in range(blocks))
        self.fusion = nn.Sequential(*_leaky(_conv(features * blocks, features, 1)), _conv(features, features))
        self.up = nn.Sequential(_conv(features, 3 * SCALE**2), nn.PixelShuffle(SCALE))

    def upscale(self, x: Tensor) -> Tensor:
        """The network without its clip."""
        head = y = self.head(x)
        collected = []
        for block in self.blocks:
            y = block(y)
            collected.append(y)
        hr: Tensor = self.up(self.fusion(torch.cat(collected, dim=1)) + head)
        return hr


class _MultiDistillationBlock(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        kept, passed = features // 4, features - features // 4
        self.sizes = [kept, passed]
        self.splits = nn.ModuleList(
            nn.Sequential(*_leaky(_conv(narrow, features))) for narrow in (features, passed, passed)
        )
        self.last = _conv(passed, kept)
        self.attention = ContrastAttention(features)
        self.fusion = _conv(features, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        distilled, rest = [], x
        for layer in self.splits:
            kept, rest = torch.split(layer(rest), self.sizes, dim=1)
            distilled.append(kept)
        y: Tensor = self.fusion(self.attention(torch.cat((*distilled, self.last(rest)), dim=1))) + x
        return y


class ContrastAttention(nn.Module):
    """IMDN's contrast-aware channel attention: arXiv 1909.11856, section 3; a gate of mean plus deviation."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.gate = _gate(features)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        mean, deviation = _statistics(x)
        y: Tensor = x * self.gate(deviation + mean)
        return y


class LatticeNet(ClippedNetwork):
    """LatticeNet: Luo et al., ECCV 2020, doi 10.1007/978-3-030-58542-6_17, section 3.

    Code of the authors: ymff0592/super-resolution, model/latticenet.py. Four lattice blocks, fused from the last back
    to the first. Their 16 combination coefficients are the channel attention modules that the ABPN paper counts.

    Args:
        features: channels of the body.
        narrowed: channels that the residual branches of a lattice block save.
        clip: to [0, 255] at the end.
    """

    def __init__(self, features: int = 64, narrowed: int = 16, *, clip: bool = True) -> None:
        super().__init__(clip=clip)
        self.sub_mean, self.add_mean = MeanShift(-1), MeanShift(1)
        self.head = nn.Sequential(_conv(3, features), _conv(features, features))
        self.blocks = nn.ModuleList(_LatticeBlock(features, narrowed) for _ in range(4))
        self.fusions = nn.ModuleList(_BackwardFusion(features) for _ in range(3))
        self.tail = nn.Sequential(_conv(features, features), _conv(features, 3 * SCALE**2))
        self.shuffle = nn.PixelShuffle(SCALE)

    def upscale(self, x: Tensor) -> Tensor:
        """The network without its clip."""
        head = y = self.head(self.sub_mean(x))
        outputs = []
        for block in self.blocks:
            y = block(y)
            outputs.append(y)
        for fusion, earlier in zip(self.fusions, reversed(outputs[:-1]), strict=True):
            y = fusion(y, earlier)
        # The mean goes in ahead of the shuffle, where a convolution can take it in; the sum is the same.
        hr: Tensor = self.shuffle(self.add_mean.added(self.tail(y + head)))
        return hr


class _LatticeBlock(nn.Module):
    """Two butterflies: each adds a branch to its input and its input to the branch, both weighted by channel."""

    def __init__(self, features: int, narrowed: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(_lattice_branch(features, features - narrowed) for _ in range(2))
        self.coefficients = nn.ModuleList(CombinationCoefficient(features) for _ in range(4))
        self.compression = _conv(2 * features, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        of_branch, of_input, of_sum, of_second = self.coefficients
        branch = self.branches[0](x)
        upper = x + of_branch(branch) * branch
        lower = branch + of_input(x) * x
        second = self.branches[1](upper)
        outputs = second + of_sum(lower) * lower, lower + of_second(second) * second
        y: Tensor = self.compression(torch.cat(outputs, dim=1))
        return y


def _lattice_branch(features: int, narrow: int) -> nn.Sequential:
    return nn.Sequential(
        *_leaky(_conv(features, narrow)), *_leaky(_conv(narrow, narrow)), *_leaky(_conv(narrow, features))
    )


class CombinationCoefficient(nn.Module):
    """LatticeNet's attention, section 3 there: the mean of two gates, one of channels' means, one of deviations.

    The deviation divides by HW and not by HW - 1, which is 2e-6 of it at 360x640.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.of_mean, self.of_deviation = _gate(features), _gate(features)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, 1, 1) in [0, 1]."""
        mean, deviation = _statistics(x)
        y: Tensor = (self.of_mean(mean) + self.of_deviation(deviation)) / 2
        return y


class _BackwardFusion(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.later = nn.Sequential(_conv(features, features // 2, 1), nn.ReLU())
        self.earlier = nn.Sequential(_conv(features, features // 2, 1), nn.ReLU())

    def forward(self, later: Tensor, earlier: Tensor) -> Tensor:
        return torch.cat((self.later(later), self.earlier(earlier)), dim=1)


class VDSR(ClippedNetwork):
    """VDSR: Kim et al., CVPR 2016, arXiv 1511.04587, section 3.1: twenty convolutions on the interpolated image.

    After huangzehao/caffe-vdsr, Train/VDSR_net_deploy.prototxt, which takes the authors' weights. Every layer works at
    1080x1920: conversion takes long, and LiteRT's float kernels want 13 GB for the float twin.

    Args:
        channels: of the image; 1, luminance, in the paper.
        features: channels of the body.
        layers: convolutions.
        bias: of the convolutions, as in the authors' release; 665K counts none.
        clip: to [0, 255] at the end.
    """

    def __init__(
        self, channels: int = 3, features: int = 64, layers: int = 20, *, bias: bool = True, clip: bool = True
    ) -> None:
        super().__init__(clip=clip)
        widths = [channels, *[features] * (layers - 1), channels]
        body: list[nn.Module] = []
        for narrow, wide in itertools.pairwise(widths):
            body += [_conv(narrow, wide, bias=bias), nn.ReLU()]
        self.body = nn.Sequential(*body[:-1])

    def upscale(self, x: Tensor) -> Tensor:
        """The network without its clip."""
        interpolated = _interpolated(x)
        y: Tensor = interpolated + self.body(interpolated)
        return y


def _leaky(convolution: nn.Conv2d) -> tuple[nn.Conv2d, nn.LeakyReLU]:
    return convolution, nn.LeakyReLU(_SLOPE)


def _gate(features: int) -> nn.Sequential:
    """Squeeze and excitation, reduced by 16: (N, C, 1, 1) to the same in [0, 1]."""
    narrow = features // 16
    return nn.Sequential(_conv(features, narrow, 1), nn.ReLU(), _conv(narrow, features, 1), nn.Sigmoid())


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every channel of (N, C, H, W), both (N, C, 1, 1)."""
    mean = x.mean((2, 3), keepdim=True)
    difference = x - mean
    variance = (difference * difference).mean((2, 3), keepdim=True)
    # INT8 has MUL and RSQRT, which this becomes, but neither POW nor SQRT: those would be islands of floats.
    return mean, variance / (variance + _TINY).sqrt()


def _interpolated(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=SCALE, mode="bilinear", align_corners=False)


class Published(Record, frozen=True, kw_only=True):
    """A network as it was published, and how to build it."""

    name: str
    title: str
    factory: str  #: class in ``module``
    module: str = "mai_harness.published_networks"
    #: of the factory, for the RGB x3 form whose latency is measured
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)
    paper: str  #: arXiv id, or doi
    year: int
    published_parameters_k: float  #: thousands, rounded as printed
    source: str  #: where the figure is printed, and what confirms it
    counted: dict[str, Any] | None  #: arguments that give what the figure counts; ``None`` if the factory cannot
    parameters: int  #: of the RGB x3 form, all of them
    note: str  #: why the two differ


PUBLISHED: tuple[Published, ...] = (
    Published(
        name="abpn",
        title="ABPN",
        module="mai_harness.networks",
        factory="ABPN",
        paper="arXiv 2105.09750",
        year=2021,
        published_parameters_k=42.54,
        source="the paper",
        counted={},
        parameters=42_539,
        note="the figure is that of this network",
    ),
    Published(
        name="fsrcnn",
        title="FSRCNN",
        module="mai_harness.networks",
        factory="FSRCNN",
        paper="arXiv 1608.00367",
        year=2016,
        published_parameters_k=12,
        source="the tables of CARN (arXiv 1803.08664); 12,464 in the FSRCNN paper",
        counted=None,
        parameters=24_680,
        note="12,464 are the weights on luminance, without 172 biases and 172 slopes; RGB has 2 x (1,400 + 4,536) more",
    ),
    Published(
        name="vdsr",
        title="VDSR",
        factory="VDSR",
        paper="arXiv 1511.04587",
        year=2016,
        published_parameters_k=665,
        source="the tables of CARN (arXiv 1803.08664)",
        counted={"channels": 1, "bias": False},
        parameters=668_227,
        note="665K are the weights on luminance; 1,217 biases make it 665,921, elsewhere 666K; RGB has 2,306 more",
    ),
    Published(
        name="edsr_baseline",
        title="EDSR-baseline",
        factory="EDSR",
        paper="arXiv 1707.02921",
        year=2017,
        published_parameters_k=1555,
        source="the tables of IMDN (arXiv 1909.11856); 1.5M in the EDSR paper; dandingbudanding/BAM counts 1,554,523",
        counted={},
        parameters=1_554_523,
        note="1,555K hold the 24 numbers of the two mean shifts",
    ),
    Published(
        name="idn",
        title="IDN",
        factory="IDN",
        paper="arXiv 1803.09454",
        year=2018,
        published_parameters_k=553,
        source="the tables of IMDN (arXiv 1909.11856)",
        counted={"channels": 1},
        parameters=590_915,
        note="553K are on luminance: 552,769; RGB has 38,146 more, 36,994 of them in the deconvolution of 17x17",
    ),
    Published(
        name="carn",
        title="CARN",
        factory="CARN",
        paper="arXiv 1803.08664",
        year=2018,
        published_parameters_k=1592,
        source="the paper's tables; SwinIR (arXiv 2108.10257), table 3",
        counted={"multi_scale": True},
        parameters=1_148_827,
        note="1,592K are printed for x2, x3 and x4 alike: one network with all upsamplers, of which x3 runs its own",
    ),
    Published(
        name="imdn",
        title="IMDN",
        factory="IMDN",
        paper="arXiv 1909.11856",
        year=2019,
        published_parameters_k=703,
        source="the paper's tables; SwinIR (arXiv 2108.10257), table 3",
        counted={},
        parameters=703_059,
        note="the figure is that of this network",
    ),
    Published(
        name="latticenet",
        title="LatticeNet",
        factory="LatticeNet",
        paper="doi 10.1007/978-3-030-58542-6_17",
        year=2020,
        published_parameters_k=765,
        source="the paper's tables; SwinIR (arXiv 2108.10257), table 3",
        counted={},
        parameters=764_851,
        note="with the 24 numbers of the two mean shifts, which do not change what is printed",
    ),
)


def build(row: Published, *, as_counted: bool = False) -> nn.Module:
    """The network of a row, with random weights: RGB, x3, or the form whose parameters the published figure counts.

    Raises:
        ValueError: the factory cannot make that form.
    """
    arguments = row.counted if as_counted else row.arguments
    if arguments is None:
        raise ValueError(f"{row.factory} cannot be built as its paper counts it; read the row's note")
    network: nn.Module = getattr(importlib.import_module(row.module), row.factory)(**arguments)
    return network
