"""The optimiser of a phase: Adam, or SOAP, which is Adam in the eigenbases of Shampoo's preconditioners.

SOAP: Vyas et al., ICLR 2025, arXiv 2409.11321. On these small networks it came as far in 500 steps as Adam in 1500.
"""

from collections.abc import Sequence
from typing import Any

import torch
from pytorch_optimizer import SOAP
from torch import Tensor

from mai_harness.records import Phase

_LARGEST = 512  # dimension of a preconditioner; smaller ones are merged: 28 x 28 x 3 x 3 counts as 28 x 252


def make_optimisers(phase: Phase, groups: Sequence[dict[str, Any]]) -> list[torch.optim.Optimizer]:
    """The phase's optimiser; SOAP leaves what is no kernel (biases, slopes, norms) to Adam at the same rate.

    Args:
        groups: as ``torch.optim`` takes them; a group without ``lr`` has the phase's.
    """
    if phase.optimiser == "adam":
        return [torch.optim.Adam(groups, lr=phase.learning_rate)]
    kernels = [
        {**group, "params": parameters, "merge_dims": large}
        for group in groups
        for large, parameters in _kernels(group["params"])
    ]
    rest = [{**group, "params": [p for p in group["params"] if p.ndim <= 1]} for group in groups]
    made: list[torch.optim.Optimizer] = []
    if kernels:
        made.append(SOAP(kernels, lr=phase.learning_rate, weight_decay=0.0, max_precondition_dim=_LARGEST))
    if any(group["params"] for group in rest):
        made.append(torch.optim.Adam(rest, lr=phase.learning_rate))
    return made


def _kernels(parameters: Sequence[Tensor]) -> list[tuple[bool, list[Tensor]]]:
    """Those large enough that merging leaves two dimensions, and those that are not."""
    kernels = [p for p in parameters if p.ndim > 1]
    large, small = [p for p in kernels if p.numel() > _LARGEST], [p for p in kernels if p.numel() <= _LARGEST]
    return [(is_large, each) for is_large, each in ((True, large), (False, small)) if each]
