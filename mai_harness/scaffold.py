"""The files of a new submission: a small network that runs as it is, to be replaced."""

import json
from pathlib import Path

from mai_harness.errors import InvalidSubmission
from mai_harness.storage import write_bytes

_MANIFEST = """\
name = {title}
authors = []
description = ""

# Remove both sections if you bring weights.safetensors along.
[train]
preset = "desk"  # or "paper"
steps = 20000
seed = 0

[train.qat]
steps = 2000
"""

_MODEL = '''\
"""A submission: the last nn.Module of this file is the network, unless submission.toml names a factory."""

import torch
from torch import nn


class Network(nn.Module):
    """(N, 3, H, W) RGB in [0, 255] to (N, 3, 3H, 3W) RGB in [0, 255]."""

    def __init__(self, features: int = 28) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, features, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(features, features, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(features, 27, 3, padding=1),
        )
        self.shuffle = nn.PixelShuffle(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        anchor = x.repeat_interleave(9, dim=1)
        # Without the clip, INT8 output bytes are no pixels.
        return self.shuffle(self.body(x) + anchor).clamp(0.0, 255.0)
'''


def scaffold(submissions: Path, name: str) -> Path:
    """Write ``submissions/name`` and return the folder.

    Raises:
        InvalidSubmission: the name cannot be a folder's, or is taken.
    """
    folder = submissions / name
    if not name or name.startswith((".", "_")) or Path(name).name != name or not name.isprintable():
        raise InvalidSubmission(f"{name!r} cannot name a submission; use letters, digits, '-' and '_'")
    if folder.exists():
        raise InvalidSubmission(f"{folder} is there already; choose another name")
    write_bytes(folder / "submission.toml", _MANIFEST.format(title=json.dumps(name)).encode())
    write_bytes(folder / "model.py", _MODEL.encode())
    return folder
