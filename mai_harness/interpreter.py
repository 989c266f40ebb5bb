"""Run TFLite files on LR images of any size: whole where the graph allows it, else by overlapping tiles."""

import os
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mai_harness.errors import ModelContractError
from mai_harness.records import SCALE
from mai_harness.resize import Image
from mai_harness.tflite_graph import Graph, read_graph, receptive_radius

ASSUMED_RADIUS = 32  # LR pixels; where the graph does not tell its receptive field
Pixels = npt.NDArray[Any]  #: (H, W, 3) or (3H, 3W, 3), in the model's own dtype
ALIGNMENT = 8  # of tiles, in LR pixels: networks that reduce by 2, 4 or 8 inside keep their grid
TRIAL_MARGIN = 40  # LR pixels; small enough to be quick


class Quantisation(NamedTuple):
    """Of a tensor: value = (q - zero_point) * scale; (1.0, 0) also where it is not quantised."""

    scale: float
    zero_point: int

    @property
    def is_identity(self) -> bool:
        """Whether the stored numbers are the values."""
        return self.scale == 1.0 and self.zero_point == 0


class TFLiteModel:
    """A TFLite file with one input and one output, open in the LiteRT interpreter.

    Args:
        path: the file.
        threads: of the interpreter; all cores by default.

    Raises:
        ModelContractError: the file is damaged, holds an operator LiteRT has not, or maps no (1, H, W, 3) image.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self.graph = read_graph(path)
        self.frame = _frame(self.graph, path)
        self.radius = receptive_radius(self.graph)
        self.threads = threads or os.cpu_count() or 1
        self._path = path
        self._interpreter = self._open()
        self.output = _quantisation(self._interpreter.get_output_details()[0])
        self._trial: str | None = None

    def _open(self) -> Any:
        return open_interpreter(self._path, self.threads)

    @property
    def is_float(self) -> bool:
        """Whether the output is float."""
        return self.graph.tensors[self.graph.outputs[0]].dtype.startswith("float")

    def run(self, lr: Pixels) -> Pixels:
        """Upscale one image in one piece.

        Args:
            lr: (H, W, 3), uint8 but for probes; numbers are cast to the input's dtype, as by the challenge's script.

        Returns:
            The output tensor without its batch axis, in its own dtype.

        Raises:
            ModelContractError: the graph does not run at this size, or gives no image of three times the size.
        """
        source = self._interpreter.get_input_details()[0]
        shape = (1, *lr.shape)
        try:
            if tuple(source["shape"]) != shape:
                self._interpreter.resize_tensor_input(source["index"], shape)
                self._interpreter.allocate_tensors()
            self._interpreter.set_tensor(source["index"], lr[None].astype(source["dtype"]))
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            self._interpreter = self._open()  # a failed resize leaves the interpreter unusable
            raise ModelContractError(f"does not run at {lr.shape[0]}x{lr.shape[1]}: {_reason(error)}") from None
        result: Pixels = self._interpreter.get_tensor(self._interpreter.get_output_details()[0]["index"])
        expected = (1, lr.shape[0] * SCALE, lr.shape[1] * SCALE, 3)
        if result.shape != expected:
            raise ModelContractError(f"maps {shape} to {result.shape}, not to {expected}", output_shape=result.shape)
        image: Pixels = result[0]
        return image

    def invoke(self) -> None:
        """Run once more on the last input; for timing."""
        self._interpreter.invoke()

    @property
    def obstacle(self) -> str:
        """Why the model does not run whole at any size; empty if it does.

        Tried on two small frames; the pixels of one must be those that the static frame gives.
        """
        if self._trial is None:
            self._trial = self._try_sizes()
        return self._trial

    def _try_sizes(self) -> str:
        side = TRIAL_MARGIN + 2 * (self.radius or 0)  # tiles are exact from twice the radius
        for height, width in ((side, side + 16), (side + 16, side)):
            lr = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
            try:
                whole = self.run(lr)
            except ModelContractError as error:
                return str(error)
        # Of the second alone, for a run of the frame costs more than all else here.
        if self.frame and self.radius is not None and not _agree(whole, self._tiled(lr)):
            return f"gives other pixels at {height}x{width} than within its own frame"
        return ""

    def upscale(self, lr: Image) -> Pixels:
        """Upscale an image of any size; see :meth:`method` for how.

        Raises:
            ModelContractError: the model gives no image of three times the size.
        """
        return self.run(lr) if lr.shape[:2] == self.frame or not self.obstacle else self._tiled(lr)

    @property
    def method(self) -> str:
        """How :meth:`upscale` treats images that are not of the model's own frame."""
        if not self.obstacle:
            return "whole images"
        overlap = ASSUMED_RADIUS if self.radius is None else self.radius
        exact = "an assumed receptive field, so seams may show" if self.radius is None else "exact inside"
        margin = f"{overlap} LR pixels of margin, {exact}"
        return f"overlapping tiles of {self.frame} ({margin}): the model {self.obstacle}"

    @property
    def is_exact(self) -> bool:
        """Whether :meth:`upscale` gives the pixels of a run on the whole image, whatever its size."""
        return not self.obstacle or self.radius is not None

    def _tiled(self, lr: Image) -> Pixels:
        frame = self.frame
        if frame is None:
            raise ModelContractError(self.obstacle)
        radius = ASSUMED_RADIUS if self.radius is None else self.radius
        return tiled(self.run, lr, frame, radius)


def open_interpreter(path: Path, threads: int | None = None, *, keep_all: bool = False) -> Any:
    """LiteRT's interpreter of a file, ready to be given its inputs.

    Args:
        threads: all cores by default.
        keep_all: every tensor can be read after a run; by built-in kernels, which are slower.

    Raises:
        ModelContractError: LiteRT does not open the file.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    def opened(kernels: Any) -> Any:
        interpreter = Interpreter(
            model_path=str(path), num_threads=threads or os.cpu_count() or 1, experimental_op_resolver_type=kernels,
            experimental_preserve_all_tensors=keep_all,
        )  # fmt: skip
        interpreter.allocate_tensors()
        return interpreter

    try:
        return opened(OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if keep_all else OpResolverType.AUTO)
    except (RuntimeError, ValueError) as error:
        # XNNPACK keeps every activation of a network at once, which may be more than there is memory for.
        with suppress(RuntimeError, ValueError):
            return opened(OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
        raise ModelContractError(f"{path.name} does not open in LiteRT: {_reason(error)}") from None


class _Keep(NamedTuple):
    """Pixels of the image that are taken from a tile, along one axis, in LR pixels."""

    start: int
    stop: int
    origin: int  # image coordinate of the tile's first pixel

    @property
    def in_image(self) -> slice:
        return slice(self.start * SCALE, self.stop * SCALE)

    @property
    def in_tile(self) -> slice:
        return slice((self.start - self.origin) * SCALE, (self.stop - self.origin) * SCALE)


class _Strip(NamedTuple):
    """One tile along one axis: the image's row or column that each of its rows or columns shows."""

    shown: npt.NDArray[np.intp]
    keeps: tuple[_Keep, ...]


def tiled(run: Callable[[Image], Pixels], lr: Image, frame: tuple[int, int], radius: int) -> Pixels:
    """Upscale by tiles of ``frame``; each pixel comes from a tile that shows all of its receptive field.

    Tiles meet the image's border where the image does, so border pixels are those of a whole run too. Of an image
    smaller than the frame, the first half is shown from the frame's start and the second up to its end. Exact for
    images of at least twice the radius.

    Args:
        run: maps (h, w, 3) uint8 of the frame's size to (3h, 3w, 3).
        lr: (H, W, 3) uint8.
        frame: h and w.
        radius: of the receptive field, in LR pixels.

    Raises:
        ModelContractError: the frame is no larger than the receptive field.
    """
    rows, columns = (_strips(n, t, radius) for n, t in zip(lr.shape[:2], frame, strict=True))
    result: Pixels | None = None
    for row, column in product(rows, columns):
        tile = run(np.ascontiguousarray(lr[row.shown][:, column.shown]))
        if result is None:
            result = np.empty((lr.shape[0] * SCALE, lr.shape[1] * SCALE, 3), tile.dtype)
        for down, across in product(row.keeps, column.keeps):
            result[down.in_image, across.in_image] = tile[down.in_tile, across.in_tile]
    if result is None:
        raise ModelContractError("the image is empty")
    return result


def _strips(extent: int, tile: int, radius: int) -> list[_Strip]:
    if extent <= tile:
        return _within_a_tile(extent, tile, radius)
    step = tile - 2 * radius
    if step > ALIGNMENT:
        step -= step % ALIGNMENT
    if step < 1:
        raise ModelContractError(f"a frame of {tile} pixels is too small for tiles with {radius} pixels of margin")
    starts = [*range(0, extent - tile, step), extent - tile]
    cuts = [0, *((a + tile + b) // 2 for a, b in pairwise(starts)), extent]  # in the middle of what two tiles share
    return [
        _Strip(np.arange(start, start + tile), (_Keep(*keep, start),))
        for start, keep in zip(starts, pairwise(cuts), strict=True)
    ]


def _within_a_tile(extent: int, tile: int, radius: int) -> list[_Strip]:
    at_start, at_end = (np.clip(np.arange(tile) - shift, 0, extent - 1) for shift in (0, tile - extent))
    half = extent // 2
    first, second = _Keep(0, half, 0), _Keep(half, extent, extent - tile)
    if extent == tile:
        return [_Strip(at_start, (_Keep(0, extent, 0),))]
    if extent + 2 * radius > tile:
        return [_Strip(at_start, (first,)), _Strip(at_end, (second,))]
    both = np.where(np.arange(tile) < half + radius, at_start, at_end)  # each half with its margin, in one tile
    return [_Strip(both, (first, second))]


def as_raw_pixels(output: Pixels) -> Image:
    """Stored numbers taken as pixels: clipped to [0, 255] and cast to uint8, the challenge's own reading."""
    pixels: Image = output if output.dtype == np.uint8 else np.clip(output, 0, 255).astype(np.uint8)
    return pixels


def as_dequantised_pixels(output: Pixels, quantisation: Quantisation) -> Image:
    """The values that the output stands for, rounded and clipped to uint8."""
    values = output.astype(np.float32)
    if not quantisation.is_identity:
        values = (values - quantisation.zero_point) * np.float32(quantisation.scale)
    return as_raw_pixels(np.rint(values, out=values))


def _agree(a: Pixels, b: Pixels) -> bool:
    # Kernels may sum in another order at another size: one code, or float rounding.
    tolerance = 0.05 if np.issubdtype(a.dtype, np.floating) else 1
    return bool(np.abs(a.astype(np.float64) - b.astype(np.float64)).max() <= tolerance)


def _frame(graph: Graph, path: Path) -> tuple[int, int] | None:
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        found = f"{len(graph.inputs)} inputs and {len(graph.outputs)} outputs"
        raise ModelContractError(f"{path.name} has {found}; expected one of each")
    shape = graph.tensors[graph.inputs[0]].shape_signature
    if len(shape) != 4 or shape[3] != 3:
        raise ModelContractError(f"{path.name} takes {shape}; expected (1, H, W, 3)")
    return None if -1 in shape[1:3] else (shape[1], shape[2])


def _quantisation(details: Any) -> Quantisation:
    scale, zero_point = details["quantization"]
    return Quantisation(float(scale), int(zero_point)) if scale else Quantisation(1.0, 0)


def _reason(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else type(error).__name__
