"""Run a TFLite file on LR samples as it is and changed in many ways, and look into its tensors. It sees no HR image.

What comes out is compared with HR by ``appraise``; what follows is said by ``diagnose``.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mai_harness.errors import ModelContractError
from mai_harness.interpreter import TFLiteModel, as_raw_pixels, open_interpreter
from mai_harness.metrics import psnr
from mai_harness.records import (
    HELD_OUT,
    MIRRORED,
    MOVED,
    SCALE,
    WHOLE,
    CalibrationFrame,
    ExamineReport,
    Graph,
    LrImage,
    Model,
    Record,
    Sample,
    Tensor,
    TensorAnalysis,
    Trial,
)
from mai_harness.resize import Image
from mai_harness.samples import cut
from mai_harness.simulate import Rounding, Run, Simulation, Unit, matched, refuse_custom_operators
from mai_harness.tflite_graph import read_graph
from mai_harness.tflite_graph.float_form import FloatForm
from mai_harness.tflite_graph.grid import Grid
from mai_harness.tflite_graph.residual import residual_of
from mai_harness.tflite_graph.view import CONVOLUTIONS
from mai_harness.undo import as_pixels

Array = npt.NDArray[Any]
SIDE = 160  # LR pixels of a sample of a model that runs at any size
MARGIN = 16  # LR pixels that are mirrored around a sample, to see what borders cost
_FIXED_SAMPLES, _FIXED_FRAMES = 2, 4  # whole frames, where no other size runs
_MOST_BYTES = 2 << 30  # of values that are kept for runs that differ in one place
_NEAR_UNIT = 0.02
_HUGE = 1e30
MOST_MOVED = 4  # LR pixels by which whole images are moved, each way
_WHOLE_SECONDS = 10.0  # in which another whole image is begun
_SIGNED = ("int8", "int16")  # inputs that bytes have to be quantised for
SATURATED = 0.01  # share of a layer's values from which on other calibration images are looked for


class Chosen(Record, frozen=True):
    """An image of the data set to take a sample from: its place there, and its LR image."""

    place: int
    image: LrImage


class ExamineRequest(Record, frozen=True):
    """A model, and what it may be run on."""

    model: Model
    images: tuple[Chosen, ...]
    frames: tuple[CalibrationFrame, ...]  #: photographs that are never scored, for ranges
    held_out: tuple[LrImage, ...] = ()  #: such photographs to upscale
    whole: tuple[Chosen, ...] = ()  #: scored images to upscale whole, as they are and changed
    seconds: float = 25.0  #: in which layers are restored, one after the other
    threads: int | None = None  #: of the interpreter; all cores by default


def examine(request: ExamineRequest, folder: Path) -> ExamineReport:
    """Write every trial's outputs.

    Raises:
        ModelContractError: the file is damaged or no TFLite file.
    """
    return _Examination(request, folder).report()


class Port:
    """Input and output of a file as images, whatever its layout, types and quantisation.

    Raises:
        ModelContractError: it does not open in LiteRT, or takes or gives no image.
    """

    def __init__(self, path: Path, threads: int | None, *, keep_all: bool = False) -> None:
        self.graph = read_graph(path)
        self.layout, self.frame = layout_of(self.graph)
        if self.layout == "unknown":
            shape = self.graph.tensors[self.graph.inputs[0]].shape_signature if self.graph.inputs else ()
            raise ModelContractError(f"it takes {shape}, which is no image")
        self._interpreter = open_interpreter(path, threads, keep_all=keep_all)
        self.source, self.result = (self.graph.tensors[i[0]] for i in (self.graph.inputs, self.graph.outputs))

    def run(self, given: Array) -> Array:
        """The stored numbers of the output, (h, w, 3), for those of the input, (h, w, 3), in any type."""
        detail = self._interpreter.get_input_details()[0]
        values = self.laid_out(given).astype(detail["dtype"])
        try:
            if tuple(detail["shape"]) != values.shape:
                self._interpreter.resize_tensor_input(detail["index"], values.shape)
                self._interpreter.allocate_tensors()
            self._interpreter.set_tensor(detail["index"], values)
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise ModelContractError(f"it does not run: {str(error).strip().splitlines()[-1][:200]}") from None
        return self.image(self._interpreter.get_tensor(self._interpreter.get_output_details()[0]["index"]))

    def tensor(self, index: int) -> Array:
        """A tensor's stored numbers in the last run, if all were kept."""
        values: Array = self._interpreter.get_tensor(index)
        return values

    def laid_out(self, image: Array) -> Array:
        """(h, w, 3) as the input's shape; a batch is filled with copies."""
        turned = {"NCHW": (2, 0, 1), "swapped": (1, 0, 2)}.get(self.layout)
        batch = max(1, self.graph.tensors[self.graph.inputs[0]].shape_signature[0])
        return np.repeat((image if turned is None else image.transpose(turned))[None], batch, 0)

    def image(self, output: Array) -> Array:
        """An output tensor as (h, w, 3).

        Raises:
            ModelContractError: it is no image.
        """
        if output.ndim == 4:
            first: Array = output[0]
            if first.shape[2] != 3 and first.shape[0] == 3:
                first = first.transpose(1, 2, 0)
            elif self.layout == "swapped":
                first = first.transpose(1, 0, 2)
            if first.shape[2] == 3:
                return first
        raise ModelContractError(f"it gives {output.shape}, which is no image")

    def fed(self, lr: Image) -> Array:
        """The stored numbers of an LR image if they are quantised as the file says."""
        grid = Grid.of(self.source)
        return (
            lr.astype(np.float32)
            if grid is None
            else np.clip(np.rint(lr / grid.scale) + grid.zero_point, grid.least, grid.most)
        )

    def values(self, output: Array) -> Array:
        """What stored numbers of the output stand for, float32."""
        grid = Grid.of(self.result)
        return output.astype(np.float32) if grid is None else grid.values(output)


def layout_of(graph: Graph) -> tuple[Any, tuple[int, int] | None]:
    """Layout of the input, and its frame, height and width, unless these are free."""
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        return "unknown", None
    shape = graph.tensors[graph.inputs[0]].shape_signature
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        return "unknown", None
    if shape[3] != 3:
        return "NCHW", None if -1 in shape[2:] else (shape[2], shape[3])
    height, width = shape[1:3]
    if -1 in (height, width):
        return "NHWC", None
    return ("swapped", (width, height)) if (width, height) == _FRAME_SWAPPED else ("NHWC", (height, width))


_FRAME_SWAPPED = (360, 640)


class _Input(NamedTuple):
    """One way to feed the float network."""

    id: str
    what: str
    of: Callable[[Array], Array]  #: of levels, float32


_INPUTS = (
    _Input("float levels", "the float network, fed with levels 0 to 255", lambda x: x),
    _Input("float unit", "the float network, fed with [0, 1]", lambda x: x / np.float32(255)),
    _Input("float signed", "the float network, fed with [-1, 1]", lambda x: x / np.float32(127.5) - 1),
)


class _Way(NamedTuple):
    """One way to change a whole image, and what brings the output back."""

    id: str
    what: str
    change: Callable[[Array], Array]
    back: Callable[[Array], Array]


def ways(file: bytes) -> tuple[_Way, ...]:
    """How whole images are changed for this file, beginning with not at all.

    By how far they are moved follows from the file's own bytes, so that no file holds what comes of it.
    """
    down, right = (1 + byte % MOST_MOVED for byte in hashlib.sha256(file).digest()[:2])
    return (
        _Way(WHOLE, "whole images", lambda x: x, lambda y: y),
        _Way(MIRRORED, "whole images, mirrored left to right and back", lambda x: x[:, ::-1], lambda y: y[:, ::-1]),
        _Way(
            MOVED,
            f"whole images, moved down by {down} and right by {right} LR pixels and back",
            lambda x: np.pad(x, ((down, 0), (right, 0), (0, 0)), "edge")[:-down, :-right],
            lambda y: y[down * SCALE :, right * SCALE :],
        ),
    )


class _Examination:
    def __init__(self, request: ExamineRequest, folder: Path) -> None:
        self.request = request
        self.folder = folder
        self.path = Path(request.model.static)
        self.graph = read_graph(self.path)
        self.layout, self.frame = layout_of(self.graph)
        self.trials: list[Trial] = []
        self.found: dict[str, Any] = {}
        self._twin_is_finite = False

    def report(self) -> ExamineReport:
        try:
            refuse_custom_operators(self.graph)
            self.port = Port(self.path, self.request.threads)
            self._as_it_is()
        except ModelContractError as error:
            self.found["obstacle"] = str(error)
        if "obstacle" not in self.found:
            try:
                self._in_float()
                self._simulated()
            except (ModelContractError, MemoryError) as error:
                self.found["unsimulated"] = str(error) or "there is not enough memory"
            with suppress(ModelContractError):
                self._held_out()
            with suppress(ModelContractError):
                self._whole()
        return ExamineReport(
            graph=self.graph,
            layout=self.layout,
            samples=tuple(self.samples) if "obstacle" not in self.found else (),
            twin="derived" if self.twin is None and not self.weights else "given",
            trials=tuple(self.trials),
            **{"factor": None} | self.found,
        )

    # What it is run on

    @cached_property
    def free(self) -> bool:
        """Whether the model runs at any size."""
        if self.layout != "NHWC":
            return False
        with suppress(ModelContractError):
            return not self._model.obstacle
        return False

    @cached_property
    def _model(self) -> TFLiteModel:
        """The file, if it is as the challenge wants it."""
        return TFLiteModel(self.path, self.request.threads)

    @cached_property
    def samples(self) -> list[Sample]:
        if self.free:
            return [self._box(each, (SIDE, SIDE), within=True) for each in self.request.images]
        frame = self.frame or (SIDE, SIDE)
        return [self._box(each, frame, within=False) for each in self.request.images[:_FIXED_SAMPLES]]

    def _box(self, chosen: Chosen, size: tuple[int, int], *, within: bool) -> Sample:
        shape = np.load(chosen.image.path, mmap_mode="r").shape[:2]
        extents = [min(a, b) if within else a for a, b in zip(size, shape, strict=True)]
        starts = [(a - b) // 2 for a, b in zip(shape, extents, strict=True)]
        return Sample(
            image=chosen.place, name=chosen.image.name, top=starts[0], left=starts[1], height=extents[0],
            width=extents[1],
        )  # fmt: skip

    @cached_property
    def lr(self) -> list[Image]:
        """The samples."""
        images = {each.place: each.image.path for each in self.request.images}
        return [cut(np.load(images[sample.image]), sample) for sample in self.samples]

    # What comes out

    def _try(self, id_: str, what: str, outputs: Sequence[Array], tensor: int | None = None) -> None:
        """Write a trial: uint8 are pixels, anything else values."""
        name = id_.replace(" ", "-")
        (self.folder / name).mkdir(exist_ok=True)
        for index, output in enumerate(outputs):
            np.save(self.folder / name / f"{index:04d}.npy", output)
        reading: Any = "pixels" if outputs[0].dtype == np.uint8 else "values"
        self.trials.append(
            Trial(id=id_, what=what, folder=str(self.folder / name), reading=reading, tensor=tensor)
        )  # fmt: skip

    def _as_it_is(self) -> None:
        port = self.port
        codes = [port.run(lr) for lr in self.lr]
        self.codes = codes
        self.found["factor"] = codes[0].shape[0] / self.samples[0].height
        # As the challenge's script does: bytes are cast on the way in, and taken as pixels on the way out.
        self._try("raw", "the file as it is, output bytes taken as pixels", [_bytes(each) for each in codes])
        signed = port.source.dtype in _SIGNED
        proper = [port.run(port.fed(lr)) for lr in self.lr] if signed else codes
        what = "output with scale and zero point applied" + (", input quantised as the file says" if signed else "")
        self._try("dequantised", what, [port.values(each) for each in proper])
        backwards = [port.run(port.fed(lr[..., ::-1]) if signed else lr[..., ::-1]) for lr in self.lr]
        self._try("dequantised bgr", "the same, fed with BGR", [port.values(each) for each in backwards])
        if self.free:
            pad = ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0))
            inner = np.s_[MARGIN * SCALE : -MARGIN * SCALE, MARGIN * SCALE : -MARGIN * SCALE]
            bordered = [port.run(np.pad(lr, pad, mode="symmetric"))[inner] for lr in self.lr]
            self._try("mirrored", "as raw, the sample mirrored at its edges", [_bytes(each) for each in bordered])
        if self.request.model.dynamic:
            self._dynamic(Path(self.request.model.dynamic))

    def _dynamic(self, path: Path) -> None:
        with suppress(ModelContractError):
            port = Port(path, self.request.threads)
            codes = [port.run(lr) for lr in self.lr]
            self._try("dynamic", "model_none.tflite, output bytes taken as pixels", [_bytes(each) for each in codes])
            if all(a.shape == b.shape for a, b in zip(codes, self.codes, strict=True)):
                gaps = (np.abs(a.astype(np.float64) - b).max() for a, b in zip(codes, self.codes, strict=True))
                self.found["dynamic_difference"] = float(max(gaps))

    # The float network

    @cached_property
    def simulation(self) -> Simulation:
        return Simulation(self.path, self.request.threads)

    @cached_property
    def _float_file(self) -> TFLiteModel | None:
        """The float twin as it was given; ``None`` if there is none, or it does not open."""
        with suppress(ModelContractError):
            if self.request.model.float32 is not None and self.layout == "NHWC":
                return TFLiteModel(Path(self.request.model.float32), self.request.threads)
        return None

    @cached_property
    def twin(self) -> TFLiteModel | None:
        """The float twin, if it runs on the samples."""
        with suppress(ModelContractError):
            if self._float_file is not None:
                self._float_file.run(self.lr[0])
                return self._float_file
        return None

    @cached_property
    def weights(self) -> dict[int, Array]:
        """Float weights of the twin, by tensor of this file."""
        files = (self.request.model.unrounded, self.request.model.float32)
        with suppress(ModelContractError):
            path = next((path for path in files if path), None)
            if path is not None:
                return matched(self.simulation.form, FloatForm(Path(path)).constants.values())
        return {}

    def _natural(self, lr: Image) -> Array:
        """Real values of the bytes as they are fed."""
        grid = Grid.of(self.port.source)
        if grid is None or self.port.source.dtype in _SIGNED:
            return lr.astype(np.float32)
        return grid.values(lr)

    def _float(self, values: Array) -> Array:
        if self.twin is not None:
            output: Array = self.twin.run(values)
            return output
        source = self.port.laid_out(values)
        *_, (_, result) = self.simulation.walk(source, Rounding(constants=self.weights))
        return self.port.image(result)

    def _in_float(self) -> None:
        levels = [lr.astype(np.float32) for lr in self.lr]
        natural = levels if self.twin is not None else [self._natural(lr) for lr in self.lr]
        outputs = [self._float(each) for each in natural]
        self._twin_is_finite = self.twin is not None and all(np.isfinite(each).all() for each in outputs)
        self._try("float", "the float network", outputs)
        for way in _INPUTS:
            fed = [way.of(each) for each in levels]
            if not np.array_equal(fed[0], natural[0]):
                self._try(way.id, way.what, [self._float(each) for each in fed])
        self._try("float bgr", "the float network, fed with BGR", [self._float(_reversed(each)) for each in natural])
        if self.free:
            turned = [self._float(each.transpose(1, 0, 2)).transpose(1, 0, 2) for each in natural]
            self._try("float transposed", "the float network, fed with the image turned on its side", turned)
        if self.request.model.float32 is not None and self.layout == "NHWC":
            self._held_against_twin(natural)

    def _held_against_twin(self, natural: Sequence[Array]) -> None:
        """Whether the float file is the network that this one was made of: by pixels, and by weights that match."""
        with suppress(ModelContractError):
            if (twin := self._float_file) is not None:
                pairs = zip(self._unrounded(natural), self.lr, strict=False)
                gaps = [psnr(as_pixels(own), as_pixels(_dequantised(twin, lr))) for own, lr in pairs]
                self.found["twin_psnr_db"] = float(min([*gaps, 100.0]))
        kernels = {i for unit in self.simulation.units for i in unit.weights}
        if kernels:
            self.found["matched"] = len(kernels.intersection(self.weights)) / len(kernels)

    def _unrounded(self, natural: Sequence[Array]) -> list[Array]:
        """What the INT8 file's own graph gives with the weights that it holds and nothing else rounded."""
        with suppress(ModelContractError):
            results = []
            for values in natural:
                *_, (_, result) = self.simulation.walk(self.port.laid_out(values), Rounding())
                results.append(self.port.image(result))
            return results
        return []

    def _held_out(self) -> None:
        if self.request.held_out and self.layout == "NHWC":
            chosen = self.twin or self._model
            lrs = [np.load(image.path) for image in self.request.held_out]
            outputs = [_dequantised(chosen, lr) for lr in lrs]
            self._try(HELD_OUT, "photographs that are not scored", outputs)

    def _whole(self) -> None:
        """Images upscaled as for the score, as they are and changed: a network that computes does not mind."""
        model = TFLiteModel(Path(self.request.model.dynamic or self.path), self.request.threads)
        outputs: dict[str, list[Array]] = {}
        changes = ways(self.path.read_bytes())
        until, done = time.monotonic() + _WHOLE_SECONDS, list[int]()
        for chosen in self.request.whole:
            if done and time.monotonic() > until:
                break
            lr = np.load(chosen.image.path)
            for way in changes:
                output = as_raw_pixels(model.upscale(np.ascontiguousarray(way.change(lr))))
                outputs.setdefault(way.id, []).append(way.back(output))
            done.append(chosen.place)
        self.found["whole"] = tuple(done)
        for way in changes[: len(outputs)]:
            self._try(way.id, way.what, outputs[way.id])

    # INT8 arithmetic, simulated

    def _simulated(self) -> None:
        simulation = self.simulation
        self.found["residual"] = residual_of(self.graph, simulation.form.constants)
        natural = [self.port.laid_out(self._natural(lr)) for lr in self.lr]
        floats = [simulation.run(each, Rounding(constants=self.weights)) for each in natural]
        self._first_odd(floats)
        if not simulation.rounding.grids:
            raise ModelContractError("the file is not quantised")
        self._try("unrounded", "its graph in float", [self._read(run) for run in floats])
        bases = [simulation.run(each, simulation.rounding) for each in natural]
        self._try("simulated", "INT8 arithmetic, simulated", [self._read(run) for run in bases])
        self.found["agreement"] = float(np.mean([self._agrees(*pair) for pair in zip(bases, self.codes, strict=True)]))
        self.found["tensors"] = self._analysed(floats)
        self._ranges_anew(natural)
        self._weights_anew(natural)
        self._equalised(natural, floats)
        self._restored(natural, bases)

    @cached_property
    def _unit_output(self) -> bool:
        """Whether the output is in [0, 1], so that its bytes are levels."""
        grid = Grid.of(self.port.result)
        return grid is not None and grid.zero_point == grid.least and abs(grid.scale * 255 - 1) < _NEAR_UNIT

    def _read(self, run: Run) -> Image:
        values = self.port.image(run.result)
        return as_pixels(values * np.float32(255) if self._unit_output else values)

    def _agrees(self, run: Run, codes: Array) -> float:
        grid = Grid.of(self.port.result)
        if grid is None:
            return 1.0
        own = self.port.image(run.result) / grid.scale + grid.zero_point
        return float(np.mean(np.abs(own - codes) < 1.5))

    def _first_odd(self, floats: Sequence[Run]) -> None:
        """The first layer that is not finite, and the first that is constant."""
        for op in self.graph.ops:
            values = [run.values[op.outputs[0]] for run in floats]
            if not self.simulation.form.is_real(op.outputs[0]):
                continue
            finite = self._twin_is_finite or all(np.isfinite(each).all() for each in values)
            if "not_finite" not in self.found and not finite:
                self.found["not_finite"] = op.label
            if (
                "constant" not in self.found
                and len({(float(v.min()), float(v.max())) for v in values}) == 1
                and (float(values[0].min()) == float(values[0].max()))
            ):
                self.found["constant"] = op.label

    def _analysed(self, floats: Sequence[Run]) -> tuple[TensorAnalysis, ...]:
        """Every unit, its real INT8 numbers against the float values."""
        kept = Port(self.path, self.request.threads, keep_all=True)
        stored: dict[int, list[Array]] = {unit.tensor: [] for unit in self.simulation.units}
        for lr in self.lr[: len(floats)]:
            kept.run(lr)
            for index, values in stored.items():
                grid = self.simulation.rounding.grids[index]
                values.append(grid.values(kept.tensor(index)))
        return tuple(self._analysis(unit, floats, stored[unit.tensor]) for unit in self.simulation.units)

    def _analysis(self, unit: Unit, floats: Sequence[Run], stored: Sequence[Array]) -> TensorAnalysis:
        simulation, tensor = self.simulation, self.graph.tensors[unit.tensor]
        grid = simulation.rounding.grids[unit.tensor]
        exact = [run.values[unit.tensor] for run in floats]
        alone = [simulation.alone(unit.op, run.values, simulation.rounding) for run in floats]
        # Of a clip on the same grid as what it cuts, the values behind it are what has to be held.
        held = [run.values[unit.tensors[-1]] for run in floats]
        low, high = (_finite(f([f(e) for e in held])) for f in (np.min, np.max))
        least, most = grid.limits
        beyond = [np.mean((e < least - grid.scale / 2) | (e > most + grid.scale / 2)) for e in held]
        lows, highs = (f([f(e, tuple(range(e.ndim - 1))) for e in exact], 0) for f in (np.min, np.max))
        spans = np.nan_to_num(np.atleast_1d(highs - lows), posinf=_HUGE)
        filled = max((min(high, most) - max(low, least)) / grid.scale, 1.0)
        return TensorAnalysis(
            tensor=unit.tensor,
            layer=unit.op.label,
            name=tensor.name,
            scale=grid.scale,
            zero_point=grid.zero_point,
            covered=grid.limits,
            used=(low, high),
            saturated=float(np.mean(beyond)),
            effective_bits=_finite(np.log2(filled + 1)),
            sqnr_db=_sqnr(exact, stored),
            injected_sqnr_db=_sqnr(exact, alone),
            channels=len(spans),
            dead_channels=int(np.sum(spans == 0)),
            widest_channel=int(np.argmax(spans)),
            channel_ratio=float(spans.max() / np.median(spans[spans > 0])) if spans.max() > 0 else 1.0,
            weight_scales=max((len(self.graph.tensors[i].scales) for i in unit.weights), default=0),
            weight_ratio=self._weight_ratio(unit),
        )

    def _weight_ratio(self, unit: Unit) -> float | None:
        if not unit.weights:
            return None
        spans = _channel_peaks(self._float_weight(unit.weights[0]), unit.op.name)
        spans = spans[spans > 0]
        return float(spans.max() / spans.min()) if len(spans) else None

    def _float_weight(self, index: int) -> Array:
        return self.weights.get(index, self.simulation.form.constants[index])

    # Mends

    def _ranges_anew(self, natural: Sequence[Array]) -> None:
        simulation, result = self.simulation, self.simulation.rounding.grids.get(self.simulation.output)
        if result is None:
            return
        unit = next((unit for unit in simulation.units if simulation.output in unit.tensors), None)
        ends = dict.fromkeys(unit.tensors if unit else (simulation.output,))
        pixels = {i: simulation.rounding.grids[i].over((0.0, 1.0 if self._unit_output else 255.0)) for i in ends}
        if not self._unit_output and not result.same_values(pixels[simulation.output]):
            self._mend("clip", "output range set to [0, 255]", natural, simulation.rounding.regridded(pixels))
        words = "ranges set on photographs that are not scored, output [0, 255]"
        self.found["recalibrated"] = ranges = self._calibrated(self._natural)
        if any(each.saturated > SATURATED for each in self.found["tensors"]):
            self.found["recalibrated_unit"] = self._calibrated(lambda lr: lr.astype(np.float32) / 255)
        self._mend("recalibrated", words, natural, self._over(ranges, pixels))
        levels = [lr.astype(np.float32) for lr in self.lr]
        if not np.array_equal(self._natural(self.lr[0]), levels[0]):
            ranges = self._calibrated(lambda lr: lr.astype(np.float32))
            rounding = self._over(ranges, self._levels() | pixels)
            fed = [self.port.laid_out(each) for each in levels]
            self._mend("recalibrated levels", f"{words}, input [0, 255]", fed, rounding)

    def _over(self, ranges: dict[int, tuple[float, float]], known: dict[int, Grid]) -> Rounding:
        """The file's rounding with these ranges by unit, and with grids that are known by tensor."""
        rounding = self.simulation.rounding
        grids = {
            i: rounding.grids[i].over(ranges[unit.tensor])
            for unit in self.simulation.units
            if unit.tensor in ranges
            for i in unit.tensors
        }
        return rounding.regridded(grids | known)

    def _levels(self) -> dict[int, Grid]:
        """Grids of levels for the tensors that hold the input's own values."""
        held = {i for unit in self.simulation.units for i in unit.tensors}
        grids = self.simulation.rounding.grids
        return {i: Grid(1.0, g.least, g.least, g.most) for i, g in grids.items() if i not in held}

    def _calibrated(self, way: Callable[[Image], Array]) -> dict[int, tuple[float, float]]:
        """Least and greatest float value of every unit on the calibration frames."""
        firsts = {unit.tensor for unit in self.simulation.units}
        ranges: dict[int, tuple[float, float]] = {}
        for frame in self._calibration():
            for op, value in self.simulation.walk(self.port.laid_out(way(frame)), Rounding(constants=self.weights)):
                index = op.outputs[0]
                if index in firsts:
                    low, high = ranges.get(index, (np.inf, -np.inf))
                    ranges[index] = min(low, _finite(value.min())), max(high, _finite(value.max()))
        return ranges

    def _calibration(self) -> Iterator[Image]:
        frames = self.request.frames if self.free else self.request.frames[:_FIXED_FRAMES]
        for frame in frames:
            image: Image = np.load(frame.path)
            size = (2 * SIDE, 2 * SIDE) if self.free else self.frame or (SIDE, SIDE)
            box = self._box(Chosen(place=0, image=LrImage(name=frame.name, path=frame.path)), size, within=self.free)
            yield cut(image, box)

    def _weights_anew(self, natural: Sequence[Array]) -> None:
        """Weights quantised by channel where the file has one scale for all, if their float values are known."""
        changed = {}
        for op in self.graph.ops:
            for index in op.inputs:
                tensor = self.graph.tensors[index] if index >= 0 else None
                known = index in self.weights and op.name in CONVOLUTIONS
                if tensor is None or not known or len(tensor.scales) != 1:
                    continue
                changed[index] = _per_channel(self.weights[index], op.name, tensor)
        if changed:
            rounding = Rounding(self.simulation.rounding.grids, changed)
            self._mend("per-channel", "weights quantised by channel", natural, rounding)

    def _equalised(self, natural: Sequence[Array], floats: Sequence[Run]) -> None:
        """Channels of a layer brought to one range, which the next layer takes back: Nagel et al. 2019, section 4.1.

        Of all layers with a channel far wider than the rest that stand between two convolutions.
        """
        constants: dict[int, Array] = {}
        grids: dict[int, Grid] = {}
        for unit, analysis in zip(self.simulation.units, self.found["tensors"], strict=True):
            readers = [op for op in self.graph.ops if unit.tensor in op.inputs]
            kinds = {op.name for op in (unit.op, *readers)}
            if not analysis.has_wide_channel or kinds != {"CONV_2D"} or len(unit.tensors) > 1 or not unit.weights:
                continue
            spans = np.max([np.ptp(run.values[unit.tensor], (0, 1, 2)) for run in floats], 0)
            factors = np.maximum(spans / np.median(spans[spans > 0]), 1).astype(np.float32)
            own, bias = unit.op.inputs[1], unit.op.inputs[2]
            constants[own] = constants.get(own, self._float_weight(own)) / factors[:, None, None, None]
            if bias >= 0:
                constants[bias] = constants.get(bias, self.simulation.form.constants[bias]) / factors
            for reader in readers:
                behind = reader.inputs[1]
                constants[behind] = constants.get(behind, self._float_weight(behind)) * factors
            low, high = (f([f(run.values[unit.tensor] / factors) for run in floats]) for f in (np.min, np.max))
            grids[unit.tensor] = self.simulation.rounding.grids[unit.tensor].over((float(low), float(high)))
        if grids:
            for index, values in constants.items():
                if values.ndim == 4:
                    constants[index] = _per_channel(values, "CONV_2D", self.graph.tensors[index])
            rounding = Rounding({**self.simulation.rounding.grids, **grids}, constants)
            self._mend("equalised", "channels of one layer brought to one range", natural, rounding)

    def _restored(self, natural: Sequence[Array], bases: Sequence[Run]) -> None:
        """One unit at a time in float, the noisiest first, as long as there is time."""
        noise = {each.tensor: each.injected_sqnr_db or np.inf for each in self.found["tensors"]}
        like = list(bases) if sum(v.nbytes for run in bases for v in run.values.values()) < _MOST_BYTES else []
        until = time.monotonic() + self.request.seconds
        for unit in sorted(self.simulation.units, key=lambda unit: noise[unit.tensor]):
            if time.monotonic() > until:
                break
            constants = {i: self.weights[i] for i in unit.weights if i in self.weights}
            rounding = self.simulation.rounding.without(unit.tensors, constants)
            words = f"{unit.op.label} left in float"
            self._mend(f"restored-{unit.tensor}", words, natural, rounding, like, unit.tensor)

    def _mend(
        self, id_: str, what: str, sources: Sequence[Array], rounding: Rounding, like: Sequence[Run] = (),
        tensor: int | None = None,
    ) -> None:  # fmt: skip
        runs = []
        for index, source in enumerate(sources):
            runs.append(self._read(self.simulation.run(source, rounding, like[index] if like else None)))
        self._try(id_, what, runs, tensor)


def _bytes(codes: Array) -> Image:
    return as_raw_pixels(np.nan_to_num(codes))


def _reversed(image: Array) -> Array:
    return np.ascontiguousarray(image[..., ::-1])


def _dequantised(model: TFLiteModel, lr: Image) -> Array:
    output = model.upscale(lr).astype(np.float32)
    return (output - model.output.zero_point) * np.float32(model.output.scale)


def _finite(value: Any) -> float:
    """A number that JSON has."""
    return float(np.nan_to_num(value, nan=0.0, posinf=_HUGE, neginf=-_HUGE))


def _sqnr(exact: Sequence[Array], rounded: Sequence[Array]) -> float | None:
    """Signal to quantisation noise in dB; ``None`` if there is no noise, or no signal."""
    signal = sum(float(np.square(e, dtype=np.float64).sum()) for e in exact)
    noise = sum(float(np.square(e - r, dtype=np.float64).sum()) for e, r in zip(exact, rounded, strict=True))
    if not (noise > 0 and signal > 0 and np.isfinite(noise) and np.isfinite(signal)):
        return None
    return float(10 * np.log10(signal / noise))


def _output_axis(kind: str, ndim: int) -> int:
    return ndim - 1 if kind == "DEPTHWISE_CONV_2D" else 0


def _channel_peaks(weights: Array, kind: str) -> Array:
    axis = _output_axis(kind, weights.ndim)
    peaks: Array = np.abs(weights).max(tuple(i for i in range(weights.ndim) if i != axis))
    return np.atleast_1d(peaks)


def _per_channel(weights: Array, kind: str, tensor: Tensor) -> Array:
    most = 127 if tensor.dtype == "int8" else 255
    axis = _output_axis(kind, weights.ndim)
    shape = [1] * weights.ndim
    shape[axis] = -1
    scale = np.maximum(_channel_peaks(weights, kind), 1e-12).reshape(shape) / most
    rounded: Array = (np.rint(weights / scale) * scale).astype(np.float32)
    return rounded
