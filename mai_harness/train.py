"""Train a torch submission in float: L1 loss, Adam, one-cycle, LR patches with flips and rotations.

Loss, optimiser and patches follow ABPN (arXiv 2105.09750, section 4.1); the schedule is one cycle.
Checkpoints hold the random states too, so a killed run goes on where it was.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mai_harness.datasets import read_rgb
from mai_harness.records import SCALE, TrainRecipe
from mai_harness.resize import Image, downscale

if TYPE_CHECKING:
    from torch import nn

CHECKPOINT_EVERY = 500  # steps

Progress = Callable[[int, float], None]


def train(
    network: "nn.Module", images: Sequence[Path], recipe: TrainRecipe, checkpoint: Path, progress: Progress
) -> None:
    """Train ``network`` in place; it maps (N, 3, H, W) in [0, 255] to (N, 3, 3H, 3W) in [0, 255].

    Args:
        checkpoint: written every 500 steps, and gone on from if it is there.
        progress: called every 100 steps with the step and its loss in grey levels.
    """
    import torch

    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    adam = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        adam, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.1, cycle_momentum=False
    )
    start = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        adam.load_state_dict(state["adam"])
        cycle.load_state_dict(state["cycle"])
        start = state["step"]
    pairs = _load_pairs(images, recipe.patch)
    sizes = np.array([lr.shape[0] * lr.shape[1] for lr, _ in pairs], dtype=np.float64)
    for step in range(recipe.steps):
        indices = rng.choice(len(pairs), recipe.batch, p=sizes / sizes.sum())
        draws = rng.random((recipe.batch, 3))
        if step < start:
            continue  # replayed, so that the patches after a resume are those of an unbroken run
        lr, hr = _batch(pairs, indices, draws, recipe.patch)
        bfloat16 = step < recipe.steps * (1 - recipe.float32_share)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            output = network(lr)
        loss = (output.float() - hr).abs().mean()
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        cycle.step()
        if (step + 1) % 100 == 0:
            progress(step + 1, loss.item())
        if (step + 1) % CHECKPOINT_EVERY == 0:
            state = {"network": network.state_dict(), "adam": adam.state_dict()}
            _save({**state, "cycle": cycle.state_dict(), "step": step + 1}, checkpoint)


def _load_pairs(images: Sequence[Path], patch: int) -> list[tuple[Image, Image]]:
    pairs = []
    for path in images:
        hr = read_rgb(path)
        hr = hr[: hr.shape[0] // SCALE * SCALE, : hr.shape[1] // SCALE * SCALE]
        if min(hr.shape[:2]) >= patch * SCALE:
            pairs.append((downscale(hr, SCALE), hr))
    return pairs


def _batch(pairs: list[tuple[Image, Image]], indices: Any, draws: Any, patch: int) -> Any:
    import torch

    small, large = [], []
    for index, (u, v, turn) in zip(indices, draws, strict=True):
        lr, hr = pairs[index]
        y = int(u * (lr.shape[0] - patch + 1))
        x = int(v * (lr.shape[1] - patch + 1))
        which = int(turn * 8)
        for image, scale, out in ((lr, 1, small), (hr, SCALE, large)):
            crop = image[y * scale : (y + patch) * scale, x * scale : (x + patch) * scale]
            crop = np.rot90(crop, which % 4)
            out.append(crop[:, ::-1] if which >= 4 else crop)
    return tuple(
        torch.from_numpy(np.ascontiguousarray(np.stack(crops)))
        .permute(0, 3, 1, 2)
        .float()
        .contiguous(memory_format=torch.channels_last)
        for crops in (small, large)
    )


def _save(state: dict[str, Any], path: Path) -> None:
    import torch

    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)
