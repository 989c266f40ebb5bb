"""Published networks have the published parameters and parts; what they make of images nobody has trained."""

import math
from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from mai_harness.networks import FSRCNN
from mai_harness.published_networks import (
    CARN,
    EDSR,
    IDN,
    IMDN,
    PUBLISHED,
    VDSR,
    CombinationCoefficient,
    ContrastAttention,
    LatticeNet,
    MeanShift,
    Published,
    build,
)

ROWS = pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: row.name)
COUNTED = pytest.mark.parametrize(
    "row", [row for row in PUBLISHED if row.counted is not None], ids=lambda row: row.name
)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(7)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def images(height: int = 12, width: int = 16, channels: int = 3) -> Tensor:
    return torch.rand(1, channels, height, width) * 255


def convolutions(network: nn.Module) -> Counter[tuple[int, int, int, int]]:
    """(channels in, channels out, kernel size, groups) of all convolutions but mean shifts."""
    return Counter(
        (layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.groups)
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d) and not isinstance(layer, MeanShift)
    )


def how_many(network: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(module, kind) for module in network.modules())


# The table


def test_names_are_unique():
    assert len({row.name for row in PUBLISHED}) == len(PUBLISHED)


@COUNTED
def test_count_is_what_is_printed(row: Published):
    digits = 0 if float(row.published_parameters_k).is_integer() else 2
    assert round(parameters(build(row, as_counted=True)) / 1e3, digits) == row.published_parameters_k


@ROWS
def test_count_of_the_form_that_is_measured(row: Published):
    assert parameters(build(row)) == row.parameters


@ROWS
def test_maps_an_image_to_three_times_its_size(row: Published):
    with torch.no_grad():
        hr = build(row).eval()(images(12, 16))
    assert hr.shape == (1, 3, 36, 48)
    assert hr.min() >= 0
    assert hr.max() <= 255


def test_fsrcnn_counts_weights_on_luminance():
    row = next(row for row in PUBLISHED if row.name == "fsrcnn")
    layers = [layer for layer in FSRCNN().modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    colours = [3 if 3 in (layer.in_channels, layer.out_channels) else 1 for layer in layers]
    on_luminance = [layer.weight.numel() // each for layer, each in zip(layers, colours, strict=True)]
    assert sum(on_luminance) == 12_464
    assert round(sum(on_luminance) / 1e3) == row.published_parameters_k
    assert row.parameters == 12_464 + 2 * (on_luminance[0] + on_luminance[-1]) + 172 + 172
    with pytest.raises(ValueError, match="note"):
        build(row, as_counted=True)


@pytest.mark.parametrize(
    ("published", "measured", "difference"),
    [
        # as the authors of VDSR released it, with biases
        (VDSR(channels=1), VDSR(), 2 * 64 * 9 * 2 + 2),
        (IDN(channels=1), IDN(), 2 * 64 * 9 + 2 * 64 * 17**2 + 2),
        # upsamplers for x2, and for x4, which is two of them
        (CARN(), CARN(multi_scale=True), 3 * (64 * 256 * 9 + 256)),
    ],
    ids=["vdsr", "idn", "carn"],
)
def test_difference_between_two_forms(published: nn.Module, measured: nn.Module, difference: int):
    assert parameters(measured) - parameters(published) == difference


@pytest.mark.parametrize("network", [VDSR(channels=1), IDN(channels=1)], ids=["vdsr", "idn"])
def test_luminance_forms_run(network: nn.Module):
    with torch.no_grad():
        assert network.eval()(images(channels=1)).shape == (1, 1, 36, 48)


# Their parts


def test_edsr_has_sixteen_blocks_of_two_convolutions_and_works_on_hr_features():
    found = convolutions(EDSR())
    assert found[64, 64, 3, 1] == 2 * 16 + 1
    assert found[64, 576, 3, 1] == 1
    assert found[64, 3, 3, 1] == 1  # behind the pixel shuffle


def test_carn_cascades_within_blocks_and_across_them():
    found = convolutions(CARN())
    assert found[64, 64, 3, 1] == 3 * 3 * 2
    assert [found[64 * wide, 64, 1, 1] for wide in (2, 3, 4)] == [4, 4, 4]


def test_idn_has_four_blocks_with_two_grouped_convolutions_each():
    found = convolutions(IDN())
    for shape in ((64, 48, 3, 1), (48, 32, 3, 4), (32, 64, 3, 1), (48, 64, 3, 1), (64, 48, 3, 4), (48, 80, 3, 1)):
        assert found[shape] == 4
    assert found[80, 64, 1, 1] == 4


def test_imdn_has_six_blocks_with_attention_each():
    network = IMDN()
    found = convolutions(network)
    assert how_many(network, ContrastAttention) == 6
    assert found[48, 64, 3, 1] == 6 * 2
    assert found[48, 16, 3, 1] == 6
    assert found[6 * 64, 64, 1, 1] == 1


def test_latticenet_has_the_sixteen_attention_modules_that_abpn_counts():
    network = LatticeNet()
    attention = [module for module in network.modules() if isinstance(module, CombinationCoefficient)]
    assert len(attention) == 16
    assert all(sum(convolutions(module).values()) == 4 for module in attention)


def test_vdsr_has_twenty_convolutions():
    assert sum(convolutions(VDSR()).values()) == 20


# What they compute


def test_mean_shift_by_addition_is_the_convolution():
    shift = MeanShift(1)
    x = images()
    torch.testing.assert_close(shift.added(x), shift(x))
    assert not any(parameter.requires_grad for parameter in shift.parameters())


def test_mean_may_be_added_ahead_of_the_pixel_shuffle():
    shift, shuffle = MeanShift(1), nn.PixelShuffle(3)
    x = images(channels=27)
    torch.testing.assert_close(shuffle(shift.added(x)), shift(shuffle(x)))


def test_attention_gates_by_mean_plus_deviation():
    attention = ContrastAttention(64)
    x = images(channels=64)
    flat = x.flatten(2)
    expected = x * attention.gate((flat.mean(2) + flat.std(2, correction=0))[..., None, None])
    torch.testing.assert_close(attention(x), expected, rtol=1e-5, atol=1e-3)


def test_deviation_of_a_flat_channel_is_zero():
    coefficient = CombinationCoefficient(16)
    flat = torch.full((1, 16, 4, 4), 9.0)
    expected = (coefficient.of_mean(flat[..., :1, :1]) + coefficient.of_deviation(torch.zeros(1, 16, 1, 1))) / 2
    torch.testing.assert_close(coefficient(flat), expected)


@pytest.mark.parametrize("network", [IDN(), VDSR()], ids=["idn", "vdsr"])
def test_body_is_added_to_the_interpolated_image(network: nn.Module):
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    x = torch.full((1, 3, 6, 7), 40.0)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(x), torch.full((1, 3, 18, 21), 40.0))


def test_idn_centres_its_kernel_on_the_lr_pixel():
    """LR pixel i is the middle of HR pixels 3i to 3i + 2."""
    deconvolution = IDN(channels=1).deconvolution
    nn.init.zeros_(deconvolution.weight)
    nn.init.zeros_(deconvolution.bias)
    deconvolution.weight.data[..., 8, 8] = 1.0
    lit = torch.zeros(1, 64, 5, 6)
    lit[..., 2, 3] = 1 / 64
    with torch.no_grad():
        hr = deconvolution(lit)[0, 0]
    assert math.isclose(float(hr[7, 10]), 1.0, rel_tol=1e-6)
    assert int(hr.count_nonzero()) == 1
