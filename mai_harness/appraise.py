"""Compare trials with HR: what every change gained, what can be undone, and what shows. No model runs here."""

import math
import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from mai_harness.datasets import Dataset, YardstickReport, enlarge, lossless_webp, read_hr, read_rgb
from mai_harness.errors import StageFailed
from mai_harness.isolate import stored_reply, unpack
from mai_harness.metrics import DATA_RANGE, GAP_LIMIT_DB, psnr
from mai_harness.records import (
    HELD_OUT,
    MIRRORED,
    MOVED,
    SCALE,
    WHOLE,
    AppraiseReport,
    Border,
    ExamineReport,
    Exhibit,
    HeldOut,
    Place,
    Plateau,
    Recognition,
    Record,
    Sample,
    Seams,
    Trial,
    Undo,
)
from mai_harness.resize import Image, downscale
from mai_harness.samples import cut
from mai_harness.tflite_graph.grid import Grid
from mai_harness.undo import (
    EDGE,
    INPUTS,
    OUTPUTS,
    PICTURE_DB,
    ROUNDS,
    VALUE_RANGE_DB,
    Carrier,
    Feed,
    Values,
    as_pixels,
    best_values,
    grey_db,
    inside,
    mean_db,
    search,
)

SEAM_Z = 8.0  # robust deviations
SEAM_STRENGTH, GRID_STRENGTH = 1.3, 1.15  # least step over the usual one, of a line and of lines at equal distances
PLATEAU_LEVELS, PLATEAU_SHARE = (5.0, 250.0), 0.001
EXHIBIT_SIDE, ERROR_GAIN = 160, 4  # HR pixels; how many times the error is drawn
MENDED_DB = 0.3  # least gain over the samples that is worth a picture
_BEYOND = 2  # levels by which HR must go on
_CONTRAST = 32  # levels between the ends of an output that is a picture at all
_SIZED = 0.4  # slope of the raw bytes over the levels meant, from which on the INT8 range was made for these levels
_ROUNDED_DB = 3.0  # that INT8 may lose of what a change of values gains
_IDENTICAL_DB = 100.0  # in place of infinite PSNR
_BAND = 48  # HR pixels at the edge of whole images that do not count: errors there do not move along with the image
_MARGIN = 8  # LR pixels around a sample, so that its LR pixels are those of the whole image

Array = npt.NDArray[Any]


class AppraiseRequest(Record, frozen=True):
    """What to appraise, on which data set, and what is known of the whole images."""

    examined: Place  #: the folder of the examine stage
    dataset: Dataset
    yardstick: YardstickReport | None
    shave: int = 0  #: border pixels that do not count in PSNR
    fp32: tuple[float | None, ...] = ()  #: PSNR of the float network on every scored image; () if unknown


def appraise(request: AppraiseRequest, _folder: Path) -> AppraiseReport:
    """Measure all trials against HR.

    Raises:
        DataNotFound: an image cannot be read.
        StageFailed: nothing was examined.
    """
    reply = stored_reply(Path(request.examined))
    if reply is None:
        raise StageFailed(f"{request.examined} holds no examination")
    examined = unpack(reply, ExamineReport)
    trials = _Trials(examined)
    held_out = _held_out(request, examined)
    if not trials.ids:
        return AppraiseReport(psnr={}, held_out=held_out, recognition=_recognition(request, examined))
    truth = _truth(request.dataset, trials, request.shave)
    report = AppraiseReport(
        psnr={trial: _decibels(trials.pixels(trial), truth) for trial in trials.ids},
        held_out=held_out,
        recognition=_recognition(request, examined),
    )
    values, value_range = _values(trials, truth)
    carriers = _carriers(trials, truth, values)
    rounds = ROUNDS - (value_range is not None)
    scale = int(trials.factor) if trials.factor.is_integer() else None
    undone, mended = search(carriers, truth.hr, scale, truth.shave, rounds)
    if value_range is not None:
        undone.insert(0, value_range)
    shown = _shown(trials, truth, carriers)
    return msgspec.structs.replace(
        report,
        undone=tuple(undone),
        border=_border(trials, shown, truth),
        seams=_seams(shown.pixels, truth, scale or 1),
        plateaus=_plateaus(trials, truth, values),
        spread=float(np.std(np.concatenate([image.ravel() for image in trials.pixels("raw")])))
        if "raw" in trials.ids
        else 0.0,
        exhibit=_exhibit(trials, truth, _Mend(undone, mended, carriers)),
    )


class _Trials:
    """The trials' files; a trial whose outputs are no images of the first trial's shapes does not count."""

    def __init__(self, report: ExamineReport) -> None:
        self.samples = report.samples
        self.report = report
        others = (HELD_OUT, WHOLE, MIRRORED, MOVED)
        found = [trial for trial in report.trials if trial.id not in others and report.samples]
        shapes = {trial.id: self._shapes(trial) for trial in found}
        self.shapes = shapes[found[0].id] if found else []
        is_image = all(len(shape) == 3 and shape[2] == 3 and min(shape[:2]) > 0 for shape in self.shapes)
        self._trials = {trial.id: trial for trial in found if is_image and shapes[trial.id] == self.shapes}

    @property
    def ids(self) -> list[str]:
        return list(self._trials)

    @property
    def factor(self) -> float:
        return float(self.shapes[0][0] / self.samples[0].height)

    def outputs(self, trial: str) -> list[Array]:
        return [np.load(path) for path in self._paths(self._trials[trial])]

    def pixels(self, trial: str) -> list[Image]:
        outputs = self.outputs(trial)
        return outputs if self._trials[trial].reading == "pixels" else [as_pixels(values) for values in outputs]

    def what(self, trial: str) -> str:
        return self._trials[trial].what

    def dequantised(self, pixels: list[Image]) -> list[Array] | None:
        """The values of raw bytes; ``None`` where the bytes were clipped to become pixels."""
        output = self.report.graph.tensors[self.report.graph.outputs[0]]
        grid = Grid.of(output)
        return None if grid is None or output.dtype != "uint8" else [grid.values(image) for image in pixels]

    def _paths(self, trial: Trial) -> list[Path]:
        return [Path(trial.folder) / f"{index:04d}.npy" for index in range(len(self.samples))]

    def _shapes(self, trial: Trial) -> list[tuple[int, ...]]:
        return [np.load(path, mmap_mode="r").shape for path in self._paths(trial)]


class _Truth(NamedTuple):
    """HR and bicubic upscaling of every sample, in the size of the outputs, and the border that does not count."""

    hr: list[Image]
    bicubic: list[Image]
    sizes: list[tuple[int, ...]]  #: of the whole HR images
    shave: int


def _truth(dataset: Dataset, trials: _Trials, shave: int) -> _Truth:
    hr: list[Image] = []
    bicubic: list[Image] = []
    sizes: list[tuple[int, ...]] = []
    images: dict[str, Image] = {}
    for sample, shape in zip(trials.samples, trials.shapes, strict=True):
        pair = dataset.pairs[sample.image]
        if pair.hr not in images:
            images = {pair.hr: read_hr(pair.hr)}  # the last alone: samples come image by image
        whole = images[pair.hr]
        sizes.append(whole.shape[:2])
        size = shape[0], shape[1]
        lr = _lr_of(whole, sample) if pair.lr is None else cut(read_rgb(pair.lr), sample)
        hr.append(_resized(cut(whole, sample, SCALE), size))
        fits = size[0] % lr.shape[0] == 0 and size == tuple(size[0] // lr.shape[0] * side for side in lr.shape[:2])
        bicubic.append(enlarge(lr, size) if fits else _resized(lr, size))
    return _Truth(hr, bicubic, sizes, shave)


def _lr_of(hr: Image, sample: Sample) -> Image:
    """The sample's pixels of the LR image that is made of HR."""
    top, left = max(0, sample.top - _MARGIN), max(0, sample.left - _MARGIN)
    bottom, right = sample.top + sample.height, sample.left + sample.width
    if bottom * SCALE > hr.shape[0] or right * SCALE > hr.shape[1]:  # it goes on beyond the image, mirrored
        return cut(downscale(hr, SCALE), sample)
    around = np.s_[top * SCALE : (bottom + _MARGIN) * SCALE, left * SCALE : (right + _MARGIN) * SCALE]
    return cut(
        downscale(hr[around], SCALE), msgspec.structs.replace(sample, top=sample.top - top, left=sample.left - left)
    )


def _resized(image: Image, size: tuple[int, int]) -> Image:
    """Bicubic to the size of the output: a network of another factor is measured against HR of that size."""
    if image.shape[:2] == size:
        return image
    return np.asarray(PillowImage.fromarray(image).resize(size[::-1], PillowImage.Resampling.BICUBIC))


def _decibels(images: Sequence[Image], truth: _Truth) -> tuple[float | None, ...]:
    pairs = zip(images, truth.hr, strict=True)
    found = [psnr(inside(image, truth.shave), inside(hr, truth.shave)) for image, hr in pairs]
    return tuple(value if math.isfinite(value) else None for value in found)


# What can be undone


def _values(trials: _Trials, truth: _Truth) -> tuple[Values, Undo | None]:
    """How float values become pixels, and the fault if the network is fed or read in a wrong range of values.

    A healthy network in [0, 1] is quantised so that its bytes are the picture: nothing is wrong then. Where the range
    of INT8 is that of the network's values, and yet bytes lose, the undo's detail ``sized`` is 1: it is another fault.
    """
    if "float" not in trials.ids:
        return Values(), None
    outputs = {trial: trials.outputs(trial) for trial in INPUTS if trial in trials.ids}
    best = best_values(outputs, truth.hr, truth.shave)
    if best.source == best.target == 0:
        return best, None
    plain = [[as_pixels(values) for values in outputs["float"]]]
    plain += [trials.pixels(trial) for trial in ("raw", "dequantised") if trial in trials.ids]
    before, before_grey = (
        max(compare(images, truth.hr) for images in plain)
        for compare in (partial(mean_db, margin=truth.shave), grey_db)
    )
    meant = [OUTPUTS[best.target].apply(values) for values in outputs[list(INPUTS)[best.source]]]
    after = [as_pixels(values) for values in meant]
    after_db = mean_db(after, truth.hr, truth.shave)
    if grey_db(after, truth.hr) < max(before_grey + VALUE_RANGE_DB, PICTURE_DB) or after_db <= before:
        # The bytes are right, or as right as they will be: values are what is nearest to them.
        return best_values({"float": outputs["float"]}, plain[1] if "raw" in trials.ids else truth.hr), None
    better = [psnr(a, hr) > psnr(b, hr) for a, b, hr in zip(after, plain[0], truth.hr, strict=True)]
    sized = best.source == 0 and "raw" in trials.ids and _slope(trials.pixels("raw"), meant) > _SIZED
    carrier: Literal["int8", "float"] = "float"
    if best.source == 0 and not sized and "dequantised" in trials.ids:
        quantised = [as_pixels(OUTPUTS[best.target].apply(values)) for values in trials.outputs("dequantised")]
        reached = mean_db(quantised, truth.hr, truth.shave)
        if reached >= max(before + VALUE_RANGE_DB, after_db - _ROUNDED_DB):
            carrier, after_db = "int8", reached
    return best, Undo(
        id="value-range", what=best.what, carrier=carrier, before_db=before, after_db=after_db,
        share_better=sum(better) / len(better),
        details={"input": float(best.source), "output": float(best.target), "sized": float(sized)},
    )  # fmt: skip


def _slope(raw: list[Image], levels: list[Array]) -> float:
    x = np.concatenate([np.clip(each, 0, DATA_RANGE)[::2, ::2].ravel() for each in levels]).astype(np.float64)
    y = np.concatenate([each[::2, ::2].ravel() for each in raw]).astype(np.float64)
    spread = float(x.var())
    return float(((x - x.mean()) * (y - y.mean())).mean() / spread) if spread else 0.0


def _carriers(trials: _Trials, truth: _Truth, values: Values) -> list[Carrier]:
    """The float network, if it ran, and the INT8 one unless it was fed with a wrong range."""
    carriers = []
    read = OUTPUTS[values.target].apply
    if "float" in trials.ids:
        named: dict[Feed, str] = {"plain": list(INPUTS)[values.source]}
        if values.source == 0:
            named |= {"reversed": "float bgr", "transposed": "float transposed"}
        feeds = {
            feed: [as_pixels(read(each)) for each in trials.outputs(trial)]
            for feed, trial in named.items()
            if trial in trials.ids
        }
        carriers.append(Carrier("float", feeds))
    if values.source == 0:
        found = [Carrier("int8", {"plain": trials.pixels("raw")})] if "raw" in trials.ids else []
        if "dequantised" in trials.ids:
            sources: dict[Feed, str] = {"plain": "dequantised", "reversed": "dequantised bgr"}
            outputs = {feed: trials.outputs(trial) for feed, trial in sources.items() if trial in trials.ids}
            for change in {0: OUTPUTS[0].apply, values.target: read}.values():
                pixels = {feed: [as_pixels(change(each)) for each in images] for feed, images in outputs.items()}
                found.insert(0, Carrier("int8", pixels))
        if found:
            reached = [mean_db(each.feeds["plain"], truth.hr, truth.shave) for each in found]
            near = [each for each, db in zip(found, reached, strict=True) if db > max(reached) - GAP_LIMIT_DB]
            carriers.append(near[0])
    return carriers


# What shows in the picture


class _Shown(NamedTuple):
    """The INT8 picture in which borders and seams are looked for: raw, or dequantised where raw is far below that."""

    pixels: list[Image]
    is_raw: bool


def _shown(trials: _Trials, truth: _Truth, carriers: list[Carrier]) -> _Shown:
    int8 = next((carrier.feeds["plain"] for carrier in carriers if carrier.name == "int8"), None)
    if "raw" not in trials.ids:
        return _Shown(int8 or carriers[0].feeds["plain"] if carriers else trials.pixels(trials.ids[0]), False)
    raw = trials.pixels("raw")
    if int8 is None or mean_db(int8, truth.hr, truth.shave) <= mean_db(raw, truth.hr, truth.shave) + GAP_LIMIT_DB:
        return _Shown(raw, True)
    return _Shown(int8, False)


def _border(trials: _Trials, shown: _Shown, truth: _Truth) -> Border | None:
    """Every sample is fed alone, so all of its four edges are edges to the network."""
    width = round(EDGE * trials.factor / SCALE)
    if truth.shave >= width or any(min(shape[:2]) < 4 * width for shape in trials.shapes):
        return None
    whole = [inside(hr, truth.shave) for hr in truth.hr]

    def parts(images: list[Image]) -> tuple[float | None, float | None]:
        """Pooled over the samples: at the edge and inside."""
        sums = np.zeros(4)
        for image, hr in zip(images, whole, strict=True):
            squares = np.square(np.subtract(inside(image, truth.shave), hr, dtype=np.float32))
            core = inside(squares, width - truth.shave)
            total, middle = squares.sum(dtype=np.float64), core.sum(dtype=np.float64)
            sums += total - middle, squares.size - core.size, middle, core.size
        return _to_db(sums[0] / sums[1]), _to_db(sums[2] / sums[3])

    (edge, middle), (bicubic_edge, bicubic_middle) = parts(shown.pixels), parts(truth.bicubic)
    if edge is None or middle is None or bicubic_edge is None or bicubic_middle is None:
        return None
    mirrored = trials.pixels("mirrored") if "mirrored" in trials.ids else None
    if mirrored is not None and not shown.is_raw:
        values = trials.dequantised(mirrored)
        mirrored = None if values is None else [as_pixels(each) for each in values]
    return Border(
        width=width, border_db=edge, inside_db=middle, bicubic_border_db=bicubic_edge,
        bicubic_inside_db=bicubic_middle,
        mirrored_db=None if mirrored is None else mean_db(mirrored, truth.hr, truth.shave),
        whole_db=mean_db(shown.pixels, truth.hr, truth.shave),
    )  # fmt: skip


def _to_db(error: float) -> float | None:
    return 10 * math.log10(DATA_RANGE**2 / error) if error > 0 else None


def _seams(images: list[Image], truth: _Truth, scale: int) -> tuple[Seams, ...]:
    """Places where the error steps on every sample; bicubic's error tells what the picture itself does there."""
    found = []
    axes: tuple[tuple[Literal["rows", "columns"], int], ...] = (("rows", 0), ("columns", 1))
    for name, axis in axes:
        groups: dict[int, list[Array]] = {}
        for image, hr, bicubic in zip(images, truth.hr, truth.bicubic, strict=True):
            if image.shape[axis] >= 8 * EDGE:
                ratio = np.log(_steps(image, hr, axis) / _steps(bicubic, hr, axis))
                groups.setdefault(image.shape[axis], []).append(_above_neighbours(ratio, scale))
        for ratios in sorted(groups.values(), key=len, reverse=True):  # what most samples show
            stacked = np.array(ratios)
            places, strength = _grid(stacked.mean(axis=0), scale)
            if not places and len(ratios) > 1:
                places, strength = _lines(np.sort(stacked, axis=0)[len(ratios) // 5], scale)
                middle = (stacked.shape[1] + 1) // 2
                # Two samples may have a line of their own in common; two tiles meet in the middle.
                places = [place for place in places if len(ratios) > 2 or abs(place - middle) <= 1]
            if places:
                stake = _at_stake(images, truth.hr, axis, places, stacked.shape[1] + 1)
                found.append(Seams(axis=name, places=tuple(places), strength=strength, at_stake_db=stake))
                break
    return tuple(found)


def _at_stake(images: list[Image], hr: Sequence[Image], axis: int, places: list[int], size: int) -> float:
    """PSNR of the pixels that are not within EDGE of these rows or columns, less that of all."""
    away = np.all(np.abs(np.arange(size)[:, None] + 0.5 - np.array(places)) > EDGE, axis=1)
    errors = [
        np.square(np.subtract(a, b, dtype=np.float32)).mean(axis=(1 - axis, 2), dtype=np.float64)
        for a, b in zip(images, hr, strict=True)
        if a.shape[axis] == size
    ]
    error = np.mean(errors, axis=0)
    if not away.any() or not error[away].mean() > 0:
        return 0.0
    return max(0.0, float(10 * np.log10(error.mean() / error[away].mean())))


def _deviation(values: Array) -> float:
    return max(1.4826 * float(np.median(np.abs(values - np.median(values)))), 0.02)


def _grid(ratio: Array, scale: int) -> tuple[list[int], float]:
    """Tiles of one size from the first pixel on: the period at whose every multiple the ratio sticks out, if any."""
    size = len(ratio) + 1
    deviation = _deviation(ratio[EDGE:-EDGE])
    best, grid, strength = SEAM_Z, list[int](), 0.0
    for period in range(8 * EDGE // scale * scale, size // 2 + 1, scale):
        places = np.arange(period, size - EDGE, period)
        if len(places) < 2:
            continue
        heights = ratio[places - 1]
        z = float(heights.mean()) * math.sqrt(len(places)) / deviation
        if heights.min() > 3 * deviation and heights.mean() > math.log(GRID_STRENGTH) and z > best:
            best, grid, strength = z, places.tolist(), math.exp(float(heights.mean()))
    return grid, strength


def _lines(ratio: Array, scale: int) -> tuple[list[int], float]:
    """Places that stick out, if any; of those that are close together the highest."""
    inner = ratio[EDGE:-EDGE]
    high = (inner > SEAM_Z * _deviation(inner)) & (inner > math.log(SEAM_STRENGTH))
    kept: list[int] = []
    for place in sorted(np.flatnonzero(high).tolist(), key=lambda each: -float(inner[each])):
        if all(abs(place - other) > 2 * scale for other in kept):
            kept.append(place)
    if not kept:
        return [], 0.0
    strength = math.exp(statistics.median(float(inner[place]) for place in kept))
    return sorted(place + EDGE + 1 for place in kept), strength


def _steps(image: Image, hr: Image, axis: int) -> Array:
    """Mean absolute step of the error from every row or column to the next, in levels."""
    error = np.subtract(image, hr, dtype=np.float32)
    steps = np.abs(np.diff(error, axis=axis))
    mean: Array = steps.mean(axis=(1 - axis, 2), dtype=np.float64)
    return mean + 0.25  # as much as rounding makes; no division by nothing


def _above_neighbours(ratio: Array, scale: int) -> Array:
    """The ratio less the median of its neighbours of the same sub-pixel."""
    result = np.empty_like(ratio)
    for phase in range(scale):
        part = ratio[phase::scale]
        usual = np.median(np.lib.stride_tricks.sliding_window_view(np.pad(part, 7, mode="edge"), 15), axis=1)
        result[phase::scale] = part - usual
    return result


def _plateaus(trials: _Trials, truth: _Truth, values: Values) -> tuple[Plateau, ...]:
    """The ends of the values where they stop early, of the INT8 output, else of the float one, else of the bytes."""
    read = OUTPUTS[values.target].apply
    sources = {"dequantised": read, list(INPUTS)[values.source]: read}
    if "dequantised" not in trials.ids:
        sources["raw"] = OUTPUTS[0].apply
    ends: dict[Literal["top", "bottom"], Plateau] = {}
    for trial, change in sources.items():
        if trial not in trials.ids:
            continue
        levels = [np.asarray(change(each), np.float32) for each in trials.outputs(trial)]
        span = max(float(each.max()) for each in levels) - min(float(each.min()) for each in levels)
        sides: tuple[Literal["top", "bottom"], ...] = ("top", "bottom")
        for end in sides:
            if end not in ends and span >= _CONTRAST and (found := _plateau(end, levels, truth)):
                ends[end] = found
    return tuple(ends.values())


def _plateau(end: Literal["top", "bottom"], levels: list[Array], truth: _Truth) -> Plateau | None:
    top = end == "top"
    level = max(float(each.max()) for each in levels) if top else min(float(each.min()) for each in levels)
    least, most = PLATEAU_LEVELS
    if not least < level < most:
        return None
    beyond = [
        (np.abs(each - level) <= 0.5) & (hr > level + _BEYOND if top else hr < level - _BEYOND)
        for each, hr in zip(levels, truth.hr, strict=True)
    ]
    share = sum(int(each.sum()) for each in beyond) / sum(each.size for each in beyond)
    if share < PLATEAU_SHARE:
        return None
    pixels = [as_pixels(each) for each in levels]
    right = [np.where(where, hr, image) for where, hr, image in zip(beyond, truth.hr, pixels, strict=True)]
    gained = mean_db(right, truth.hr, truth.shave) - mean_db(pixels, truth.hr, truth.shave)
    return Plateau(end=end, level=level, share=share, at_stake_db=gained)


# What is shown


class _Mend(NamedTuple):
    """What was undone, the carriers after it and before it."""

    undone: list[Undo]
    after: list[Carrier]
    before: list[Carrier]


def _exhibit(trials: _Trials, truth: _Truth, mend: _Mend) -> Exhibit | None:
    """The patch where the INT8 pixels are worst."""
    if "raw" not in trials.ids:
        return None
    raw = trials.pixels("raw")
    index, top, left = _worst(raw, truth, trials)
    patch = np.s_[top : top + EXHIBIT_SIDE, left : left + EXHIBIT_SIDE]
    hr = truth.hr[index][patch]
    pictures = {"raw": raw[index][patch]}
    what, mended = _mended(trials, truth, mend)
    if mended is not None:
        pictures["mended"] = mended[index][patch]
    float_ = next((carrier.feeds["plain"] for carrier in mend.before if carrier.name == "float"), None)
    if float_ is not None:
        pictures["fp32"] = float_[index][patch]
    pictures |= {"hr": hr, "error": _error(raw[index][patch], hr)}
    sample = trials.samples[index]
    scale = round(trials.factor)
    return Exhibit(
        image=sample.name,
        top=sample.top * scale + top,
        left=sample.left * scale + left,
        pictures={name: lossless_webp(picture) for name, picture in pictures.items()},
        mended=what,
        histogram=_histogram(raw),
        histogram_hr=_histogram(truth.hr),
    )


def _worst(images: list[Image], truth: _Truth, trials: _Trials) -> tuple[int, int, int]:
    """Sample, top and left of the patch with the largest squared error; not of what is mirrored beyond the image."""
    best = (-1.0, 0, 0, 0)
    for index, (image, hr, size) in enumerate(zip(images, truth.hr, truth.sizes, strict=True)):
        squares = np.square(np.subtract(image, hr, dtype=np.float32)).sum(axis=2, dtype=np.float64)
        sample = trials.samples[index]
        starts = [max(0, round(-start * trials.factor)) for start in (sample.top, sample.left)]
        ends = [
            round((whole / SCALE - start) * trials.factor)
            for whole, start in zip(size, (sample.top, sample.left), strict=True)
        ]
        squares = squares[starts[0] : ends[0], starts[1] : ends[1]]
        sums = np.pad(squares, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
        height, width = (min(side, EXHIBIT_SIDE) for side in squares.shape)
        total = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
        top, left = divmod(int(total.argmax()), total.shape[1])
        best = max(best, (float(total[top, left]), index, top + starts[0], left + starts[1]))
    return best[1:]


def _mended(trials: _Trials, truth: _Truth, mend: _Mend) -> tuple[str, list[Image] | None]:
    """What helps most, in words and pixels; nothing unless it helps the samples a little."""
    least = mean_db(trials.pixels("raw"), truth.hr, truth.shave) + MENDED_DB
    found: list[tuple[float, str, list[Image]]] = []
    for trial in ("clip", "recalibrated"):
        if trial in trials.ids and (reached := mean_db(trials.pixels(trial), truth.hr, truth.shave)) >= least:
            found.append((reached, trials.what(trial), trials.pixels(trial)))
    if mend.undone:
        carrier = mend.undone[-1].carrier
        images = next((each.feeds["plain"] for each in mend.after if each.name == carrier), None)
        if images is not None and (reached := mean_db(images, truth.hr, truth.shave)) >= least:
            found.append((reached, "; ".join(undo.what for undo in mend.undone), images))
    if not found:
        return "", None
    _, what, images = max(found, key=lambda each: each[0])
    return what, images


def _error(image: Image, hr: Image) -> Image:
    """The absolute error as colours, from black to bright yellow."""
    import cv2

    error = np.abs(np.subtract(image, hr, dtype=np.float32)).mean(axis=2)
    coloured = cv2.applyColorMap(as_pixels(error * ERROR_GAIN), cv2.COLORMAP_INFERNO)
    return coloured[..., ::-1].astype(np.uint8)


def _histogram(images: list[Image]) -> tuple[int, ...]:
    counts = np.sum([np.bincount(image.ravel(), minlength=256) for image in images], axis=0)
    return tuple(int(count) for count in counts)


# What else the network does


def _held_out(request: AppraiseRequest, examined: ExamineReport) -> HeldOut | None:
    """Gains over the reference model on the scored images and on others; ``None`` if a figure is not known."""
    trial = next((trial for trial in examined.trials if trial.id == HELD_OUT), None)
    known = request.yardstick
    if trial is None or known is None or len(request.fp32) != len(known.scored) or not known.held_out:
        return None
    reached: list[float | None] = []
    for index, image in enumerate(known.held_out):
        values, hr = np.load(Path(trial.folder) / f"{index:04d}.npy"), np.load(image.hr)
        if values.shape != hr.shape:
            return None
        reached.append(psnr(as_pixels(values), hr))
    scored_gain = _gain(request.fp32, [image.reference_db for image in known.scored])
    gain = _gain(reached, [image.reference_db for image in known.held_out])
    bicubic_scored, bicubic = (
        _gain([image.bicubic_db for image in images], [image.reference_db for image in images])
        for images in (known.scored, known.held_out)
    )
    if scored_gain is None or gain is None or bicubic_scored is None or bicubic is None:
        return None
    return HeldOut(
        images=tuple(image.name for image in known.held_out),
        scored_gain_db=scored_gain,
        gain_db=gain,
        bicubic_scored_db=bicubic_scored,
        bicubic_db=bicubic,
    )


def _recognition(request: AppraiseRequest, examined: ExamineReport) -> tuple[Recognition, ...]:
    """Whole images as they are and changed, inside what all outputs show; none where an output has not HR's size."""
    folders = {trial.id: Path(trial.folder) for trial in examined.trials if trial.id in (WHOLE, MIRRORED, MOVED)}
    found = []
    for index, place in enumerate(examined.whole):
        pair = request.dataset.pairs[place]
        hr, outputs = read_hr(pair.hr), {id_: np.load(path / f"{index:04d}.npy") for id_, path in folders.items()}
        height, width = (min(image.shape[axis] for image in outputs.values()) for axis in (0, 1))
        if outputs[WHOLE].shape != hr.shape or min(height, width) <= 2 * request.shave:
            continue
        margin = max(request.shave, min(_BAND, min(height, width) // 4))
        shown = np.s_[margin : height - margin, margin : width - margin]
        reached = {id_: min(psnr(image[shown], hr[shown]), _IDENTICAL_DB) for id_, image in outputs.items()}
        found.append(
            Recognition(
                image=pair.name, plain_db=reached[WHOLE], mirrored_db=reached[MIRRORED], moved_db=reached[MOVED]
            )
        )
    return tuple(found)


def _gain(reached: Sequence[float | None], reference: Sequence[float | None]) -> float | None:
    pairs = [(a, b) for a, b in zip(reached, reference, strict=True) if a is not None and b is not None]
    finite = [a - b for a, b in pairs if math.isfinite(a)]
    return statistics.fmean(finite) if finite and len(finite) == len(reached) else None
