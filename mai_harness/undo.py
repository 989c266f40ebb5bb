"""Find faults of whole outputs by undoing them: what brings a network's pixels nearer to HR was wrong before.

Nothing runs here. A family proposes the change that fits best; it is believed only if it helps on nearly every sample,
by more than chance, and ends with a picture. Then the search goes on from there, so that two faults are both found.
"""

import math
from collections.abc import Callable, Sequence
from itertools import permutations, product
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from mai_harness.metrics import luma, psnr
from mai_harness.records import Undo
from mai_harness.resize import Image

ROUNDS = 3
PICTURE_DB = 20.0  # what an undone output reaches at least: below, any change may help by luck
ALIKE_DB = 99.0  # stands for identical images
VALUE_RANGE_DB = 1.0  # least gain of a change of values
SHIFT_PIXELS, STRETCH_PIXELS = 0.15, 0.4  # least that is looked at: of HR, over the whole side
EDGE = 6  # HR pixels that do not count when images are moved
_MOVED_AT_ONCE_DB = 0.3  # from this mean gain on, all samples better is proof enough
_FLAT = 3.0  # grey levels of spread below which a part has nothing to be registered by
_ANY_ORDER_DB = 0.5  # by which an order of sub-pixels without a name must beat those with one
_SIMPLER_DB = 0.2  # by which a change of values must beat a simpler one

Array = npt.NDArray[Any]
Feed = Literal["plain", "reversed", "transposed"]


class Carrier(NamedTuple):
    """A network's outputs on every sample as pixels, by the input: as it is, channels reversed, rows for columns."""

    name: Literal["int8", "float"]
    feeds: dict[Feed, list[Image]]


class Change(NamedTuple):
    """A change that would undo a fault; ``margin`` HR pixels at the edge do not count."""

    id: str
    what: str
    apply: Callable[[Image], Image]
    least_db: float
    feed: Feed = "plain"
    details: dict[str, float] = {}  # noqa: RUF012
    margin: int = 0


class Verdict(NamedTuple):
    """What a change made of one carrier."""

    before_db: float
    after_db: float
    share_better: float
    holds: bool

    @property
    def gain_db(self) -> float:
        """By the mean over the samples."""
        return self.after_db - self.before_db


def as_pixels(values: Array) -> Image:
    """Levels of any range, rounded and clipped to uint8."""
    pixels: Image = np.clip(np.rint(np.nan_to_num(values)), 0, 255).astype(np.uint8)
    return pixels


def mean_db(images: Sequence[Image], hr: Sequence[Image], margin: int = 0) -> float:
    """Mean PSNR over the samples; identical images count as ``ALIKE_DB``."""
    return float(np.mean(_decibels(images, hr, margin)))


def search(
    carriers: Sequence[Carrier], hr: Sequence[Image], scale: int | None, shave: int = 0, rounds: int = ROUNDS
) -> tuple[list[Undo], list[Carrier]]:
    """Undo one fault after another, the dearest first.

    Args:
        carriers: the first is searched; figures are those of the last on which a change can be tried and helps.
        hr: uint8 of the outputs' shapes.
        scale: of the network, if it is a whole number.
        shave: border pixels that do not count.
        rounds: how many faults at most.

    Returns:
        What was undone, and the carriers after it; a carrier that an undo did not fit stays as it was before it.
    """
    families = dict(FAMILIES)
    undone: list[Undo] = []
    current = list(carriers)
    while current and families and len(undone) < rounds:
        proposals = {name: propose(current[0], hr, scale) for name, propose in families.items()}
        judged = {name: (change, _judge(current[0], change, hr, shave)) for name, change in proposals.items() if change}
        proven = {name: each for name, each in judged.items() if each[1].holds}
        if not proven:
            break
        name = max(proven, key=lambda each: proven[each][1].gain_db)
        change, verdict = proven[name]
        shown = current[0].name
        for other in current[1:]:
            if change.feed in other.feeds and (found := _judge(other, change, hr, shave)).gain_db > 0:
                verdict, shown = found, other.name
        undone.append(
            Undo(
                id=change.id, what=change.what, carrier=shown, before_db=verdict.before_db, after_db=verdict.after_db,
                share_better=verdict.share_better, details=change.details,
            )
        )  # fmt: skip
        current = [_applied(carrier, change) if change.feed in carrier.feeds else carrier for carrier in current]
        del families[name]
    return undone, current


def _applied(carrier: Carrier, change: Change) -> Carrier:
    feeds: dict[Feed, list[Image]] = {"plain": [change.apply(image) for image in carrier.feeds[change.feed]]}
    if change.feed == "plain":
        feeds |= {
            feed: [change.apply(image) for image in images] for feed, images in carrier.feeds.items() if feed != "plain"
        }
    return Carrier(carrier.name, feeds)


def _judge(carrier: Carrier, change: Change, hr: Sequence[Image], shave: int) -> Verdict:
    margin = max(shave, change.margin)
    before = _decibels(carrier.feeds["plain"], hr, margin)
    after = _decibels([change.apply(image) for image in carrier.feeds[change.feed]], hr, margin)
    gains = after - before
    counted = gains[gains != 0]  # a grey image has no colour order
    if counted.size == 0:
        return Verdict(float(before.mean()), float(after.mean()), 0.0, False)
    better = float((counted > 0).mean())
    mean = float(gains.mean())
    error = float(counted.std(ddof=1)) / math.sqrt(counted.size) if counted.size > 1 else math.inf
    certain = counted.size >= 4 and float(counted.mean()) > 3 * error
    united = better == 1 and (counted.size < 4 or mean >= _MOVED_AT_ONCE_DB)
    holds = mean >= change.least_db and after.mean() >= PICTURE_DB and better >= 0.8 and (certain or united)
    return Verdict(float(before.mean()), float(after.mean()), better, bool(holds))


def _decibels(images: Sequence[Image], hr: Sequence[Image], margin: int) -> npt.NDArray[np.float64]:
    pairs = zip(images, hr, strict=True)
    return np.array([min(psnr(inside(image, margin), inside(each, margin)), ALIKE_DB) for image, each in pairs])


def inside(image: Array, margin: int) -> Array:
    """The image without ``margin`` pixels at its edges, or as it is where nothing would be left."""
    height, width = image.shape[:2]
    return image[margin : height - margin, margin : width - margin] if min(height, width) > 2 * margin else image


# Values


class Map(NamedTuple):
    """A way to read a network's output as levels."""

    what: str
    apply: Callable[[Array], Array]


INPUTS = {
    "float": "",
    "float levels": "fed with [0, 255]",
    "float unit": "fed with [0, 1]",
    "float signed": "fed with [-1, 1]",
}
OUTPUTS = (
    Map("", lambda y: y),
    Map("its output multiplied by 255", lambda y: y * 255),
    Map("1 added to its output and the sum multiplied by 127.5", lambda y: (y + 1) * 127.5),
    Map("127.5 added to its output", lambda y: y + 127.5),
    Map("a tanh put behind its output, 1 added and the sum multiplied by 127.5", lambda y: (np.tanh(y) + 1) * 127.5),
    Map("a sigmoid put behind its output, and that multiplied by 255", lambda y: 255 / (1 + np.exp(-y.clip(-60, 60)))),
    Map("its output subtracted from 255", lambda y: 255 - y),
)  # fmt: skip


class Values(NamedTuple):
    """How a float network's values become pixels best: by places in ``INPUTS`` and ``OUTPUTS``."""

    source: int = 0
    target: int = 0
    grey_db: float = 0.0  #: PSNR of the channels' mean, whatever their order

    @property
    def what(self) -> str:
        """In words; empty if all is as it is."""
        return ", and ".join(filter(None, (list(INPUTS.values())[self.source], OUTPUTS[self.target].what)))


def best_values(trials: dict[str, list[Array]], reference: Sequence[Image], shave: int = 0) -> Values:
    """The reading of the float trials, by their ids in ``INPUTS``, that is nearest to a reference.

    The values as they are come first, then a change at one end, then at both: the next must be clearly better.

    Args:
        trials: (H, W, 3) float32 of every sample; ``float`` is there.
        reference: HR, or other pixels.
    """
    found = []
    for source, trial in enumerate(INPUTS):
        thin = [inside(values, shave)[::3, ::2] for values in trials.get(trial, ())]
        for target, output in enumerate(OUTPUTS if thin else ()):
            images = [as_pixels(output.apply(values)) for values in thin]
            found.append(Values(source, target, grey_db(images, [inside(each, shave)[::3, ::2] for each in reference])))
    top = max(each.grey_db for each in found)
    near = [each for each in found if each.grey_db >= top - _SIMPLER_DB]
    chosen = min(near, key=lambda each: ((each.source > 0) + (each.target > 0), -each.grey_db))
    return chosen if chosen.grey_db >= found[0].grey_db + VALUE_RANGE_DB else found[0]


def grey_db(images: Sequence[Image], reference: Sequence[Image]) -> float:
    """Mean PSNR of the channels' mean."""
    pairs = zip(images, reference, strict=True)
    return float(np.mean([min(psnr(image.mean(axis=2), each.mean(axis=2)), ALIKE_DB) for image, each in pairs]))


# Colours

_COLOURS = "red", "green", "blue"


def _colours(carrier: Carrier, hr: Sequence[Image], _scale: int | None) -> Change | None:
    """Input or output with its channels in another order."""
    tables = {
        feed: [_channels(image, reference) for image, reference in zip(images, hr, strict=True)]
        for feed, images in carrier.feeds.items()
        if feed in ("plain", "reversed")
    }
    candidates = [(feed, order) for feed, order in product(tables, permutations(range(3)))]
    scored = {each: _fit(tables[each[0]], each[1]) for each in candidates}
    unchanged = scored.pop(("plain", (0, 1, 2)))
    if not scored:
        return None
    feed, order = max(scored, key=lambda each: scored[each][0])
    if scored[feed, order][1] < unchanged[1]:  # brighter or darker channels are no other order
        return None
    names = ", ".join(_COLOURS[place] for place in order)
    known: dict[tuple[int, ...], str] = {(0, 1, 2): "", (2, 1, 0): "the output's channels reversed"}
    output = known.get(tuple(order), f"the output read as {names}")
    source = "the input's channels reversed" if feed == "reversed" else ""
    both = "the channels of input and output reversed" if source and order == (2, 1, 0) else ""
    return Change(
        "colour-order",
        both or " and ".join(filter(None, (source, output))),
        lambda image: np.ascontiguousarray(image[..., order]),
        0.02,
        feed,
        {"input": float(feed == "reversed"), **{f"output {place}": float(from_) for place, from_ in enumerate(order)}},
    )


def _channels(image: Image, hr: Image) -> tuple[Array, Array]:
    """(3, 3) mean squared error and correlation of every channel of the output with every one of HR."""
    x, y = (each.reshape(-1, 3).astype(np.float64) for each in (image, hr))
    mean_x, mean_y = x.mean(0), y.mean(0)
    x -= mean_x
    y -= mean_y
    cross = x.T @ y / len(x)
    variance_x, variance_y = (x * x).mean(0), (y * y).mean(0)
    errors = variance_x[:, None] + variance_y - 2 * cross + np.square(mean_x[:, None] - mean_y)
    return errors, cross / np.sqrt(np.maximum(variance_x[:, None] * variance_y, 1e-9))


def _fit(tables: list[tuple[Array, Array]], order: tuple[int, ...]) -> tuple[float, float]:
    places = list(order), [0, 1, 2]
    return (
        float(np.mean([_to_db(errors[places].mean()) for errors, _ in tables])),
        float(np.mean([likeness[places].mean() for _, likeness in tables])),
    )


def _to_db(error: float) -> float:
    return min(10 * math.log10(255**2 / error), ALIKE_DB) if error > 0 else ALIKE_DB


# Sub-pixels


def _sub_pixels(carrier: Carrier, hr: Sequence[Image], scale: int | None) -> Change | None:
    """Depth-to-space that took its channels in another order than the network was made for."""
    images = carrier.feeds["plain"]
    if scale is None or scale < 2 or any(side % scale for image in images for side in image.shape[:2]):
        return None
    tables = [_plane_errors(image, reference, scale) for image, reference in zip(images, hr, strict=True)]
    places = np.arange(len(tables[0]))

    def fit(order: Array) -> float:
        return float(np.mean([_to_db(table[order, places].mean()) for table in tables]))

    named = _orders(scale)
    what = max(named, key=lambda each: fit(named[each]))
    order = named[what]
    from scipy.optimize import linear_sum_assignment

    weighted = sum(table / table.diagonal().mean() for table in tables if table.diagonal().mean() > 0)
    if isinstance(weighted, np.ndarray):
        sources, targets = linear_sum_assignment(weighted)
        other = sources[np.argsort(targets)]
        colours = [places.reshape(-1, 3)[:, each].ravel() for each in permutations(range(3))]
        if fit(other) >= max(map(fit, (order, *colours))) + _ANY_ORDER_DB:
            what, order = "sub-pixels regrouped to another order", other
    return Change(
        "pixel-order",
        what,
        lambda image: _regrouped(image, order, scale),
        0.3,
        details={"DCR to CRD": float("DCR to CRD" in what), "CRD to DCR": float("CRD to DCR" in what)},
    )


def _planes(image: Image, scale: int) -> Array:
    """(scale * scale * 3, H / scale, W / scale): rows of sub-pixels, columns of sub-pixels, colours."""
    height, width = (side // scale for side in image.shape[:2])
    planes = image.reshape(height, scale, width, scale, 3).transpose(1, 3, 4, 0, 2)
    return planes.reshape(-1, height, width)


def _regrouped(image: Image, order: Array, scale: int) -> Image:
    planes = _planes(image, scale)[order]
    height, width = planes.shape[1:]
    pixels = planes.reshape(scale, scale, 3, height, width).transpose(3, 0, 4, 1, 2)
    return np.ascontiguousarray(pixels.reshape(height * scale, width * scale, 3))


def _plane_errors(image: Image, hr: Image, scale: int) -> Array:
    x, y = (_planes(each, scale).reshape(scale * scale * 3, -1).astype(np.float64) - 128 for each in (image, hr))
    errors: Array = (x * x).mean(1)[:, None] + (y * y).mean(1) - 2 * (x @ y.T) / x.shape[1]
    return errors


def _orders(scale: int) -> dict[str, Array]:
    """For every plane of the picture the plane of the output that belongs there, by what was done to find it."""
    count = scale * scale
    dcr = np.arange(count * 3).reshape(scale, scale, 3)  # sub-pixel's row, column, colour
    crd = dcr.reshape(3, scale, scale).transpose(1, 2, 0)
    back = np.argsort(crd.ravel()).reshape(scale, scale, 3)
    found = {}
    for grouping, sides, colours in product(
        {"": dcr, "from DCR to CRD": crd, "from CRD to DCR": back}.items(),
        ("", "transposed", "mirrored left to right", "mirrored top to bottom", "turned by 180 degrees"),
        ("", "the output's channels reversed"),
    ):
        regrouped, order = grouping
        if not regrouped and not sides:
            continue  # nothing, or another order of the colours alone
        order = {
            "": order,
            "transposed": order.transpose(1, 0, 2),
            "mirrored left to right": order[:, ::-1],
            "mirrored top to bottom": order[::-1],
            "turned by 180 degrees": order[::-1, ::-1],
        }[sides]
        order = order[..., ::-1] if colours else order
        parts = [f"regrouped {regrouped}" if regrouped else "", sides]
        words = "sub-pixels " + " and ".join(filter(None, parts))
        found[f"{words}, {colours}" if colours else words] = order.ravel()
    return found


# Orientation

_TURNS: dict[str, Callable[[Image], Image]] = {
    "the output mirrored left to right": lambda image: image[:, ::-1],
    "the output mirrored top to bottom": lambda image: image[::-1],
    "the output turned by 180 degrees": lambda image: image[::-1, ::-1],
    "the output's rows and columns exchanged": lambda image: image.transpose(1, 0, 2),
    "the output turned by 90 degrees clockwise": lambda image: np.rot90(image, -1),
    "the output turned by 90 degrees anticlockwise": np.rot90,
    "the output mirrored at its other diagonal": lambda image: image[::-1, ::-1].transpose(1, 0, 2),
}


def _orientation(carrier: Carrier, hr: Sequence[Image], _scale: int | None) -> Change | None:
    """A picture that stands on its head, or rows for columns."""

    def turned(turn: Callable[[Image], Image]) -> Callable[[Image], Image]:
        return lambda image: np.ascontiguousarray(turn(image))

    changes = [Change("orientation", what, turned(turn), 0.5) for what, turn in _TURNS.items()]
    if "transposed" in carrier.feeds:
        exchanged = "the input's rows and columns exchanged, and the output's back"
        changes.append(Change("orientation", exchanged, lambda image: image, 0.5, "transposed"))
    best, best_db = None, -math.inf
    for change in changes:
        images = [change.apply(image) for image in carrier.feeds[change.feed]]
        if any(image.shape != reference.shape for image, reference in zip(images, hr, strict=True)):
            continue
        # every other row does to choose
        reached = mean_db([image[::2] for image in images], [reference[::2] for reference in hr])
        if reached > best_db:
            best, best_db = change, reached
    return best


# Places


def _shift(carrier: Carrier, hr: Sequence[Image], _scale: int | None) -> Change | None:
    """An output that lies beside where it should."""
    images = carrier.feeds["plain"]
    pairs = zip(images, hr, strict=True)
    found = np.array([each for image, reference in pairs if (each := _registered(luma(image), luma(reference)))])
    if len(found) == 0:
        return None
    middle = np.median(found, axis=0)
    deviation = np.median(np.abs(found - middle), axis=0)
    length = float(np.abs(middle).max())
    smallest = min(min(image.shape[:2]) for image in images)
    margin = EDGE + math.ceil(length)
    if length < SHIFT_PIXELS or (deviation > 0.1 + 0.05 * np.abs(middle)).any() or smallest < 4 * margin:
        return None
    best = max(_roundings(middle), key=lambda each: mean_db([_moved(image, each) for image in images], hr, margin))
    down, right = -best[0], -best[1]
    words = [
        f"{abs(by):.2f} HR pixels {back if by > 0 else forth}"
        for by, back, forth in ((down, "up", "down"), (right, "to the left", "to the right"))
        if abs(by) >= 0.05
    ]
    details = {"rows": float(down), "columns": float(right)}
    return Change("shift", f"the output moved {' and '.join(words)}", lambda image: _moved(image, best), 0.1,
                  details=details, margin=margin)  # fmt: skip


def _roundings(offset: Array) -> list[tuple[float, float]]:
    """The offset as it was registered, and the whole and the half pixels next to it."""
    exact = (float(offset[0]), float(offset[1]))
    near = [tuple(np.rint(offset * parts) / parts) for parts in (1, 2)]
    return [exact, *((float(y), float(x)) for y, x in near if max(abs(y - exact[0]), abs(x - exact[1])) <= 0.2)]


def _registered(image: Array, reference: Array) -> tuple[float, float] | None:
    """By how many pixels, down and right, the image must be moved to lie on the reference; ``None`` if both are flat.

    Both fade to the edges: what lies beyond them is not repeated from the other side.
    """
    from skimage.registration import phase_cross_correlation

    fade = np.hanning(image.shape[0] + 2)[1:-1, None] * np.hanning(image.shape[1] + 2)[1:-1]
    image, reference = ((each - each.mean()) * fade for each in (image, reference))
    if min(image.std(), reference.std()) < _FLAT:
        return None
    # by amplitude too, for what no network restores has a phase of its own
    rows, columns = phase_cross_correlation(reference, image, upsample_factor=20, normalization=None)[0]
    return float(rows), float(columns)


def _moved(image: Image, offset: tuple[float, float]) -> Image:
    from scipy import ndimage

    order = 0 if all(float(each).is_integer() for each in offset) else 3  # a spline gives whole pixels the same
    channels = [
        ndimage.shift(image[..., channel].astype(np.float32), offset, order=order, mode="nearest")
        for channel in range(3)
    ]
    return as_pixels(np.stack(channels, axis=2))


def _stretch(carrier: Carrier, hr: Sequence[Image], _scale: int | None) -> Change | None:
    """An output that is larger or smaller than its frame, as with corners aligned."""
    images = carrier.feeds["plain"]
    lines = [_line(images, hr, axis) for axis in (0, 1)]
    if all(line is None or abs(line[1]) < STRETCH_PIXELS for line in lines):
        return None
    rows, columns = (line or (0.0, 0.0) for line in lines)
    again = [_stretched(image, rows, columns) for image in images]  # strips average over what they stretch by
    rest = (_line(again, hr, axis) or (0.0, 0.0) for axis in (0, 1))
    rows, columns = ((a + c, b + d) for (a, b), (c, d) in zip((rows, columns), rest, strict=True))
    reach = max(abs(offset) + abs(slope) / 2 for offset, slope in (rows, columns))
    margin = EDGE + math.ceil(reach)
    if min(min(image.shape[:2]) for image in images) < 4 * margin:
        return None
    what = (
        f"the output stretched by {rows[1]:+.2f} HR pixels from top to bottom "
        f"and by {columns[1]:+.2f} from left to right"
    )
    details = {"rows": -rows[1], "columns": -columns[1]}
    return Change("stretch", what, lambda image: _stretched(image, rows, columns), 0.1, details=details, margin=margin)


def _line(images: Sequence[Image], hr: Sequence[Image], axis: int, strips: int = 4) -> tuple[float, float] | None:
    """Offset in the middle and change of the offset from end to end, along one axis; ``None`` if there is no line."""
    found: list[list[float]] = [[] for _ in range(strips)]
    for image, reference in zip(images, hr, strict=True):
        size = image.shape[axis] // strips
        if size < 4 * EDGE:
            continue
        grey, grey_hr = luma(image), luma(reference)
        for strip in range(strips):
            part = np.s_[strip * size : (strip + 1) * size]
            cut = (part, slice(None)) if axis == 0 else (slice(None), part)
            if offset := _registered(grey[cut], grey_hr[cut]):
                found[strip].append(offset[axis])
    if any(not offsets for offsets in found):
        return None
    middles = np.array([np.median(offsets) for offsets in found])
    places = (np.arange(strips) + 0.5) / strips - 0.5
    slope, offset = np.polyfit(places, middles, 1)
    if np.abs(offset + slope * places - middles).max() > 0.1 + 0.1 * abs(slope):
        return None
    return float(offset), float(slope)


def _stretched(image: Image, rows: tuple[float, float], columns: tuple[float, float]) -> Image:
    from scipy import ndimage

    y, x = (
        np.arange(side) - (offset + slope * ((np.arange(side) + 0.5) / side - 0.5))
        for side, (offset, slope) in zip(image.shape[:2], (rows, columns), strict=True)
    )
    places = np.meshgrid(y, x, indexing="ij")
    channels = [
        ndimage.map_coordinates(image[..., channel].astype(np.float32), places, order=3, mode="nearest")
        for channel in range(3)
    ]
    return as_pixels(np.stack(channels, axis=2))


FAMILIES: dict[str, Callable[[Carrier, Sequence[Image], int | None], Change | None]] = {
    "pixel-order": _sub_pixels,
    "orientation": _orientation,
    "colour-order": _colours,
    "shift": _shift,
    "stretch": _stretch,
}
