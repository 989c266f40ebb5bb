"""One network, ABPN, with its residual, its clip and its pixel shuffle in every form that is compared by latency.

Forms of one group compute the same or the like; what differs is what the runtime has to do. Weights are random, for
latency does not depend on them.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mai_harness import networks
from mai_harness.records import SCALE, Form


class NearestAnchorABPN(networks.ABPN):
    """ABPN whose anchor is made by nearest interpolation: the same function.

    A frozen convolution of stride 3 brings the interpolated image back to the LR space. torch's pixel_unshuffle would
    do that by a transposition in six dimensions, which would be timed in its place.
    """

    def __init__(self) -> None:
        super().__init__()
        block = SCALE**2
        self.register_buffer("blocks", torch.eye(3 * block).view(3 * block, 3, SCALE, SCALE), persistent=False)

    def upscale(self, x: Tensor) -> Tensor:
        """The network without its clip."""
        interpolated = F.interpolate(x, scale_factor=SCALE, mode="nearest")
        anchor = F.conv2d(interpolated, self.get_buffer("blocks"), stride=SCALE)
        y: Tensor = self.shuffle(self.body(x) + anchor)
        return y


def _form(group: str, id_: str, title: str, what: str, *, without: tuple[str, ...] = (), **more: Any) -> Form:
    factory, paper = more.pop("factory", "ABPN"), more.pop("paper", "")
    return Form(
        id=id_, group=group, title=title, what=what, factory=factory, arguments=more, without=without, paper=paper
    )


_RESIDUAL, _CLIP, _SHUFFLE = "Residual", "Clip", "Pixel shuffle"
FORMS: tuple[Form, ...] = (
    _form(_RESIDUAL, "none", "No residual", "the body alone", residual="none"),
    _form(
        _RESIDUAL, "fsrl", "FSRL", "the first features added to the last: one ADD of 28 channels", residual="feature",
        paper="5.2 ms on Dolphin, for the residual alone",
    ),
    _form(
        _RESIDUAL, "abrl-convolution", "ABRL, frozen convolution", "the anchor by a 1x1 convolution, and one ADD of 27",
    ),
    _form(
        _RESIDUAL, "abrl-concat", "ABRL, concatenation", "the anchor by a concatenation of nine inputs, and one ADD",
        without=("anchor-convolution",), paper="15.6 ms on Dolphin, for the residual alone",
    ),
    _form(
        _RESIDUAL, "abrl-nearest", "ABRL, nearest interpolation",
        "nearest interpolation, brought back by a frozen convolution of stride 3, and one ADD",
        factory="NearestAnchorABPN",
    ),
    _form(
        _RESIDUAL, "isrl-nearest", "ISRL, nearest", "nearest interpolation added in the HR space", residual="nearest",
        paper="the anchor takes about a quarter of nearest interpolation",
    ),
    _form(_RESIDUAL, "isrl-bilinear", "ISRL, bilinear", "the same with bilinear", residual="bilinear"),
    _form(_CLIP, "clip-saturation", "By saturation", "the ADD's own range is [0, 255]: no operator"),
    _form(_CLIP, "clip-operator", "By operators", "MINIMUM and RELU of 1080x1920", without=("saturating-tail",)),
    _form(_CLIP, "clip-none", "None", "no clip; its bytes are no pixels", clip=False),
    _form(_SHUFFLE, "shuffle-dcr", "DCR", "channels in depth-column-row order: one DEPTH_TO_SPACE"),
    _form(
        _SHUFFLE, "shuffle-crd", "CRD", "torch's order: a transposition in six dimensions; the anchor is a GATHER",
        without=("depth-to-space", "permutations"),
    ),
)  # fmt: skip


def reference_of(form: Form) -> Form:
    """The form that others of its group are held against: ABPN as it ships."""
    shipped = {_RESIDUAL: "abrl-convolution", _CLIP: "clip-saturation", _SHUFFLE: "shuffle-dcr"}
    return next(each for each in FORMS if each.id == shipped[form.group])


def as_factory(form: Form) -> dict[str, Any]:
    """Where the network of a form is built: fields of a torch submission."""
    path = networks.__file__ if form.factory == "ABPN" else __file__
    return {"path": path, "factory": form.factory, "arguments": form.arguments}
