"""Train a torch submission in float: L1 loss, Adam, one-cycle, LR patches with flips and rotations.

Loss, optimiser and patches follow ABPN (arXiv 2105.09750, section 4.1); the schedule is one cycle.
A run that goes on from a checkpoint replays the draws before it, so its weights are those of an unbroken run.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mai_harness.datasets import crop_to_scale, read_rgb
from mai_harness.errors import DataNotFound
from mai_harness.load import build_network
from mai_harness.records import SCALE, Record, Submission, TrainRecipe
from mai_harness.resize import Image, downscale

if TYPE_CHECKING:
    from torch import nn

CHECKPOINT_EVERY = 500  # steps
WEIGHTS_FILE, CARD_FILE = "weights.safetensors", "weights.json"

Progress = Callable[[int, float], None]


class TrainRequest(Record, frozen=True):
    """A torch submission with a recipe, and the HR images to learn from."""

    submission: Submission
    recipe: TrainRecipe
    images: tuple[str, ...]


class TrainReport(Record, frozen=True):
    """How ``weights.safetensors`` came about."""

    torch: str  #: version
    recipe: TrainRecipe
    images: int  #: large enough for a patch
    images_sha256: str  #: over the decoded pixels of all images, in order
    seconds: float  #: of the last session, if training was resumed
    #: mean absolute error in grey levels over the last batch; ``None`` if nothing was left to do
    final_loss: float | None
    weights_sha256: str


class WeightsCard(Record, frozen=True):
    """``weights.json``: how the weights beside it were made."""

    command: str
    machine: str
    training: TrainReport


def train(request: TrainRequest, folder: Path) -> TrainReport:
    """Train a torch submission and write ``weights.safetensors``; goes on from ``checkpoint.pt`` if it is there.

    Raises:
        InvalidSubmission: the network cannot be built.
        DataNotFound: no image is as large as a patch.
    """
    import torch
    from safetensors.torch import save_file

    network = build_network(request.submission, None)
    losses: list[float] = []
    start = time.monotonic()

    def progress(step: int, loss: float) -> None:
        losses.append(loss)
        print(f"step {step} of {request.recipe.steps}, loss {loss:.3f}", flush=True)

    pairs = load_pairs([Path(path) for path in request.images], request.recipe.patch)
    fit(network, pairs, request.recipe, folder / "checkpoint.pt", progress)
    weights = folder / WEIGHTS_FILE
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, weights)
    return TrainReport(
        torch=str(torch.__version__),
        recipe=request.recipe,
        images=len(pairs),
        images_sha256=_digest(pairs),
        seconds=time.monotonic() - start,
        final_loss=losses[-1] if losses else None,
        weights_sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
    )


def _digest(pairs: "Sequence[Pair]") -> str:
    digest = hashlib.sha256()
    for _, hr in pairs:
        digest.update(repr(hr.shape).encode() + hr.tobytes())
    return digest.hexdigest()


Pair = tuple[Image, Image]  #: LR (H, W, 3) and HR (3H, 3W, 3), uint8


def fit(network: "nn.Module", pairs: Sequence[Pair], recipe: TrainRecipe, checkpoint: Path, progress: Progress) -> None:
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
        loss.backward()
        adam.step()
        cycle.step()
        if (step + 1) % 100 == 0:
            progress(step + 1, loss.item())
        if (step + 1) % CHECKPOINT_EVERY == 0:
            state = {"network": network.state_dict(), "adam": adam.state_dict()}
            _save({**state, "cycle": cycle.state_dict(), "step": step + 1}, checkpoint)


def load_pairs(images: Sequence[Path], patch: int) -> list[Pair]:
    """Every image of at least one patch, with its LR image by MATLAB bicubic.

    Raises:
        DataNotFound: there is none.
    """
    pairs = []
    for path in images:
        hr = crop_to_scale(read_rgb(path))
        if min(hr.shape[:2]) >= patch * SCALE:
            pairs.append((downscale(hr, SCALE), hr))
    if not pairs:
        raise DataNotFound(
            f"none of {len(images)} training images has {patch * SCALE} pixels to a side, which a patch takes"
        )
    return pairs


def _batch(pairs: Sequence[Pair], indices: Any, draws: Any, patch: int) -> Any:
    import torch

    small: list[Image] = []
    large: list[Image] = []
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
    part.replace(path)
