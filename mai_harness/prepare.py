"""Lay out what a run feeds to models: LR images and calibration frames, never an HR image."""

from pathlib import Path

import numpy as np

from mai_harness.datasets import Dataset, calibration_frames, held_out_pairs, load_pair
from mai_harness.records import CalibrationFrame, LrImage, Record


class Prepared(Record, frozen=True):
    """Files that models may see, in the order of the data set's pairs."""

    images: tuple[LrImage, ...]
    calibration: tuple[CalibrationFrame, ...]
    held_out: tuple[LrImage, ...] = ()  #: photographs that are not scored, in the order of ``held_out_pairs``


def prepare(dataset: Dataset, folder: Path) -> Prepared:
    """Write every LR image, made by MATLAB bicubic where none is published, and the rest, as uint8 .npy.

    Raises:
        DataNotFound: an image cannot be read, or LR and HR do not fit.
    """
    images = []
    for index, pair in enumerate(dataset.pairs):
        path = folder / f"lr-{index:04d}.npy"
        np.save(path, load_pair(pair)[0])
        images.append(LrImage(name=pair.name, path=str(path)))
    frames = []
    for index, (name, frame) in enumerate(calibration_frames(dataset)):
        path = folder / f"calibration-{index:02d}.npy"
        np.save(path, frame)
        frames.append(CalibrationFrame(name=name, path=str(path)))
    held_out = []
    for index, (name, lr, _) in enumerate(held_out_pairs(dataset)):
        path = folder / f"held-out-{index:02d}.npy"
        np.save(path, lr)
        held_out.append(LrImage(name=name, path=str(path)))
    return Prepared(images=tuple(images), calibration=tuple(frames), held_out=tuple(held_out))
