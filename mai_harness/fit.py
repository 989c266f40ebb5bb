"""The training loop, on one device or several: Lightning Fabric, a phase, random patches.

Step ``s`` depends on the checkpoint before it and on nothing else, so a run that was killed ends, on CPU, with the
weights of an unbroken one to the bit.
"""

import hashlib
import logging
import math
import os
import pickle
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers.tensorboard import TensorBoardLogger
from safetensors.torch import save
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException
from torch.utils.data import DataLoader

from mai_harness.errors import HarnessError
from mai_harness.isolate import die_with_parent
from mai_harness.metrics import psnr
from mai_harness.optimiser import make_optimisers
from mai_harness.patches import Images, PatchDataset
from mai_harness.records import Phase, Record, TrainingOutcome
from mai_harness.resize import Image

CHECKPOINT = "checkpoint.pt"
CHECKPOINT_EVERY = 500  # steps
VALIDATE_EVERY = 5000  # steps
LOG_EVERY = 100  # steps
TELL_EVERY_S = 10.0
MAX_WORKERS = 8  # that load patches for one GPU
_SEEDS = 2**32

T = TypeVar("T")

logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # of processes and seeds; in every process


class Fitted(Record, frozen=True):
    """How a phase ended."""

    seconds: float  #: over all sessions, without what was lost when one was killed
    final_loss: float  #: mean absolute error in grey levels over the last 100 steps
    validation_psnr_db: float | None  #: mean over whole images, RGB; ``None`` without images to validate on


def launch(work: Callable[..., T], devices: int | None, *arguments: object) -> T:
    """What ``work(fabric, *arguments)`` returns in the first of as many processes as there are devices.

    Args:
        work: a function of a module, and its arguments: with several devices they are pickled.
        devices: GPUs, or processes where there is none; ``None`` takes all GPUs, or one process.

    Raises:
        HarnessError: there are fewer GPUs, or one process of several failed.
    """
    gpus = torch.cuda.device_count()
    if gpus and devices and devices > gpus:
        raise HarnessError(f"{devices} devices were asked for, but there are {gpus} GPUs")
    count = devices or gpus or 1
    # Not started from the command line again: then this process alone answers for the stage. CUDA takes no fork, and
    # on CPU spawned processes aborted in one run of four as they ended.
    fabric = Fabric(devices=count, strategy="auto" if count == 1 else "ddp_spawn" if gpus else "ddp_fork")
    try:
        result: T = fabric.launch(partial(_on_device, work, arguments))
    except ProcessExitedException as error:
        raise HarnessError(f"one of {count} training processes died: {str(error).splitlines()[-1]}") from error
    except ProcessRaisedException as error:
        last = str(error).strip().splitlines()[-1]
        raise HarnessError(last.partition(": ")[2] or last) from error
    return result


def _on_device(work: Callable[..., T], arguments: tuple[object, ...], fabric: Fabric) -> T:
    if fabric.world_size > 1:
        die_with_parent()
    return work(fabric, *arguments)


class Trainer:
    """A network and its optimisers in one phase, on the devices of ``fabric``.

    Args:
        network: (N, 3, H, W) to (N, 3, 3H, 3W), both in [0, 255]; trained in place.
        parameters: groups as ``torch.optim`` takes them; by default all that the network has to train. The phase's
            schedule holds for each, from the group's own ``lr``.
    """

    def __init__(
        self, fabric: Fabric, network: nn.Module, phase: Phase, parameters: Sequence[dict[str, Any]] | None = None
    ) -> None:
        network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        groups = parameters or [{"params": [p for p in network.parameters() if p.requires_grad]}]
        self.fabric, self.network, self.phase = fabric, network, phase
        self.optimisers = make_optimisers(phase, groups)
        self._peaks = [[group["lr"] for group in optimiser.param_groups] for optimiser in self.optimisers]
        self._model, *self._steppers = fabric.setup(network, *self.optimisers)
        self._float32_from = round(phase.steps * (1 - phase.float32_share)) if phase.bfloat16 else 0
        self._l2_from = round(phase.steps * (1 - phase.l2_share))

    def step(self, step: int, lr: Tensor, hr: Tensor) -> Tensor:
        """Update the network once.

        Args:
            step: from 0.
            lr: (N, 3, H, W) uint8 on the device.
            hr: (N, 3, 3H, 3W) uint8 on the device.

        Returns:
            The mean absolute error of this process's patches, in grey levels, whatever the loss is.
        """
        if step == self._l2_from:
            for optimiser in self.optimisers:
                optimiser.state.clear()  # squares' gradients are larger: L1's moments would make leaps of the steps
        for optimiser, peaks in zip(self.optimisers, self._peaks, strict=True):
            for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                group["lr"] = peak * self.phase.rate(step)
        with torch.autocast(self.fabric.device.type, torch.bfloat16, enabled=step < self._float32_from):
            output = self._model(lr.to(torch.float32, memory_format=torch.channels_last))
        error = output.float() - hr
        absolute = error.abs().mean()
        for stepper in self._steppers:
            stepper.zero_grad()
        self.fabric.backward(error.square().mean() if step >= self._l2_from else absolute)
        for stepper in self._steppers:
            stepper.step()
        return torch.as_tensor(absolute.detach())


def patch_loader(fabric: Fabric, images: Images, phase: Phase, start: int) -> "DataLoader[tuple[Tensor, Tensor]]":
    """This process's part of every batch from step ``start`` on: LR (n, 3, P, P) and HR (n, 3, 3P, 3P), uint8.

    Step ``s`` has the patches from ``s * batch`` on, and the processes share them out: the gradient is the batch's.

    Raises:
        HarnessError: the batch cannot be shared out evenly.
    """
    if phase.batch % fabric.world_size:
        raise HarnessError(f"a batch of {phase.batch} cannot be shared out evenly to {fabric.world_size} devices")
    own = phase.batch // fabric.world_size
    first = fabric.global_rank * own
    starts = (step * phase.batch + first for step in range(start, phase.steps))
    batches = (list(range(index, index + own)) for index in starts)
    # On CPU a worker would take the time of the threads that train.
    workers = 0 if fabric.device.type == "cpu" else min(MAX_WORKERS, (os.cpu_count() or 1) // fabric.world_size)
    patches: Any = PatchDataset(images, phase.patch, phase.seed)  # endless, and so no Dataset by torch's type
    loader = DataLoader(patches, batch_sampler=batches, num_workers=workers, pin_memory=workers > 0)
    on_device: Any = fabric.setup_dataloaders(loader, use_distributed_sampler=False)
    return cast("DataLoader[tuple[Tensor, Tensor]]", on_device)


def fit(
    fabric: Fabric,
    network: nn.Module,
    training: Images,
    validation: Images,
    phase: Phase,
    folder: Path,
    tell: Callable[[str], None],
    parameters: Sequence[dict[str, Any]] | None = None,
) -> Fitted:
    """Train ``network`` in place; it maps (N, 3, H, W) to (N, 3, 3H, 3W), both in [0, 255].

    Args:
        fabric: as :func:`launch` gives it.
        training: each of at least one patch.
        validation: may be empty.
        folder: takes ``checkpoint.pt``, which is gone on from if it is there, and ``tensorboard/``.
        tell: called with lines for a person, in the first process.
        parameters: see :class:`Trainer`.

    Raises:
        HarnessError: the loss is no longer finite, or the batch cannot be shared out evenly.
    """
    trainer = Trainer(fabric, network, phase, parameters)
    run = _Run(trainer, folder)
    loader = patch_loader(fabric, training, phase, run.step)
    progress = _Progress(fabric, phase.steps, run.step, folder, tell)
    for step, (lr, hr) in zip(range(run.step, phase.steps), loader, strict=True):
        if step % CHECKPOINT_EVERY == 0:  # for networks that draw numbers: after a resume they draw the same
            fabric.seed_everything((phase.seed + step + fabric.global_rank) % _SEEDS, verbose=False)
        run.losses[step % LOG_EVERY] = trainer.step(step, lr, hr)
        run.step = step + 1
        last = run.step == phase.steps
        if last or run.step % LOG_EVERY == 0:
            progress.report(run.step, run.mean_loss(), phase.learning_rate * phase.rate(step))
        if len(validation) and (last or run.step % VALIDATE_EVERY == 0):
            run.psnr_db = _validate(fabric, network, validation)
            progress.report_psnr(run.step, run.psnr_db)
        if last or run.step % CHECKPOINT_EVERY == 0:
            progress.flush()
            run.save()
    return Fitted(seconds=run.seconds, final_loss=run.mean_loss(), validation_psnr_db=run.psnr_db)


def fit_and_save(
    fabric: Fabric,
    network: nn.Module,
    images: Images,
    phase: Phase,
    path: Path,
    tell: Callable[[str], None],
    parameters: Sequence[dict[str, Any]] | None = None,
) -> tuple[TrainingOutcome, str]:
    """Train on ``images`` but for those held out, and write the network's state to ``path``, beside its checkpoint.

    Args:
        tell: called with lines for a person, in the first process.
        parameters: see :class:`Trainer`.

    Returns:
        The outcome, and the SHA-256 of the file.

    Raises:
        HarnessError: as :func:`fit`.
    """
    training, validation = images.split()
    fitted = fit(fabric, network, training, validation, phase, path.parent, tell, parameters)
    state = save({name: value.cpu().contiguous() for name, value in network.state_dict().items()})
    if fabric.is_global_zero:
        path.write_bytes(state)
    pixels = "".join(picture.sha256 for picture in training.pictures)
    outcome = TrainingOutcome(
        torch=str(torch.__version__),
        images=len(training),
        images_sha256=hashlib.sha256(pixels.encode()).hexdigest(),
        validation_images=len(validation),
        seconds=fitted.seconds,
        final_loss=fitted.final_loss,
        validation_psnr_db=fitted.validation_psnr_db,
    )
    return outcome, hashlib.sha256(state).hexdigest()


class _Run:
    """What a checkpoint holds beside network and optimisers, and the way there and back."""

    def __init__(self, trainer: Trainer, folder: Path) -> None:
        self._trainer, self._path = trainer, folder / CHECKPOINT
        self.step, self.seconds = 0, 0.0
        self.psnr_db: float | None = None
        self.losses = torch.zeros(LOG_EVERY, device=trainer.fabric.device)  #: of the last steps, this process's
        if self._path.exists():
            self._load()
        self._since = time.monotonic() - self.seconds

    def mean_loss(self) -> float:
        """Over the last 100 steps and all processes, each of which must ask."""
        mean = self.losses[: min(self.step, LOG_EVERY)].mean()
        return torch.as_tensor(self._trainer.fabric.all_reduce(mean, reduce_op="mean")).item()

    def save(self) -> None:
        """Replace the checkpoint, whole or not at all."""
        self.seconds = time.monotonic() - self._since
        part = self._path.with_suffix(".part")
        more = {"step": self.step, "seconds": self.seconds, "psnr_db": self.psnr_db, "losses": self.losses}
        self._trainer.fabric.save(part, {**self._parts(), **more})
        if self._trainer.fabric.is_global_zero:
            with part.open("rb") as file:
                os.fsync(file.fileno())  # a name must not be on disk before its bytes
            part.replace(self._path)

    def _load(self) -> None:
        try:
            rest = self._trainer.fabric.load(self._path, self._parts(), weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
            return  # damaged by a power cut: begin anew
        self.step, self.seconds, self.psnr_db = rest["step"], rest["seconds"], rest["psnr_db"]
        self.losses.copy_(rest["losses"])

    def _parts(self) -> dict[str, Any]:
        optimisers = {f"optimiser {i}": optimiser for i, optimiser in enumerate(self._trainer.optimisers)}
        return {"network": self._trainer.network, **optimisers}


class _Progress:
    """Lines for a person and curves for TensorBoard, both from the first process alone."""

    def __init__(self, fabric: Fabric, steps: int, start: int, folder: Path, tell: Callable[[str], None]) -> None:
        self._steps, self._tell = steps, tell if fabric.is_global_zero else lambda _: None
        # TensorBoard would import all of TensorFlow where it is installed; this is its own switch against that.
        sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
        # What a killed run logged after its last checkpoint is logged again: the curves are cut there.
        self._logger = TensorBoardLogger(folder, name="tensorboard", version="", purge_step=start + 1)
        self._tell(f"curves: tensorboard --logdir {folder / 'tensorboard'}")
        self._step, self._time = start, time.monotonic()
        self._told = -math.inf

    def report(self, step: int, loss: float, rate: float) -> None:
        """Log, and tell if the last line is old.

        Raises:
            HarnessError: the loss is no number.
        """
        if not math.isfinite(loss):
            raise HarnessError(f"the loss was no longer finite by step {step}; try a lower learning_rate")
        now = time.monotonic()
        speed = (step - self._step) / (now - self._time)
        self._step, self._time = step, now
        figures = {"loss in grey levels": loss, "learning rate": rate, "steps per second": speed}
        self._logger.log_metrics(figures, step)
        if now - self._told >= TELL_EVERY_S or step == self._steps:
            self._told = now
            left = _duration((self._steps - step) / speed)
            self._tell(f"step {step} of {self._steps}, loss {loss:.2f} grey levels, {speed:.1f} steps/s, {left} left")

    def report_psnr(self, step: int, psnr_db: float) -> None:
        """Log and tell; the time that it took does not count as training's."""
        self._logger.log_metrics({"validation PSNR in dB": psnr_db}, step)
        self._tell(f"step {step} of {self._steps}, validation {psnr_db:.3f} dB")
        self._time = time.monotonic()

    def flush(self) -> None:
        """Bring the curves to disk, up to the checkpoint that is about to be written."""
        self._logger.save()


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


@torch.no_grad()
def _validate(fabric: Fabric, network: nn.Module, images: Images) -> float:
    """Mean PSNR in dB of whole images in RGB, output clipped and rounded; the processes share the images out."""
    network.eval()
    own = range(fabric.global_rank, len(images), fabric.world_size)
    total = sum(_psnr(fabric, network, *images[index]) for index in own)
    network.train()
    summed = fabric.all_reduce(torch.tensor(total, device=fabric.device), reduce_op="sum")
    return torch.as_tensor(summed).item() / len(images)


def _psnr(fabric: Fabric, network: nn.Module, lr: Image, hr: Image) -> float:
    x = torch.from_numpy(lr.transpose(2, 0, 1)[None].astype(np.float32)).to(fabric.device)
    y: Tensor = network(x.contiguous(memory_format=torch.channels_last))[0]
    return psnr(y.clamp(0, 255).round().byte().permute(1, 2, 0).cpu().numpy(), hr)
