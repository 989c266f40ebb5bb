"""``appraise`` on outputs made of photographs: every planted fault is found, and healthy networks have none."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import evaluations
import msgspec
import numpy as np
import pytest
from PIL import Image as PillowImage
from scipy import ndimage

from mai_harness.appraise import AppraiseRequest, appraise
from mai_harness.backends.cpu import REFERENCE
from mai_harness.datasets import (
    Dataset,
    ImagePair,
    Yardstick,
    YardstickReport,
    embedded_images,
    enlarge,
    read_rgb,
)
from mai_harness.errors import StageFailed
from mai_harness.interpreter import TFLiteModel, as_raw_pixels
from mai_harness.isolate import Reply
from mai_harness.metrics import psnr
from mai_harness.prepare import prepare
from mai_harness.records import AppraiseReport, ExamineReport, Sample, Trial
from mai_harness.resize import Image, downscale
from mai_harness.yardstick import YardstickRequest, yardstick

SIDE = 72  # LR pixels of a sample
PLACES = [(name, *corner) for name in ("astronaut", "coffee", "chelsea") for corner in ((0, 0), (9, 51))]
Array = np.ndarray
Outputs = dict[str, list[Array]]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    paths = embedded_images(["astronaut.png", "coffee.png", "chelsea.png"])
    pairs = tuple(ImagePair(name=path.stem, hr=str(path)) for path in paths)
    return Dataset(name="three photographs", pairs=pairs, fingerprint="f")


@pytest.fixture(scope="module")
def samples() -> tuple[Sample, ...]:
    return tuple(
        Sample(image=place // 2, name=name, top=top // 3, left=left // 3, height=SIDE, width=SIDE)
        for place, (name, top, left) in enumerate(PLACES)
    )


@pytest.fixture(scope="module")
def hr(dataset, samples) -> list[Image]:
    whole = [read_rgb(pair.hr) for pair in dataset.pairs]
    return [
        whole[each.image][3 * each.top : 3 * (each.top + SIDE), 3 * each.left : 3 * (each.left + SIDE)]
        for each in samples
    ]


@pytest.fixture(scope="module")
def lr(hr) -> list[Image]:
    return [downscale(each, 3) for each in hr]


def upscaled(lr: list[Image]) -> list[Image]:
    """The healthy network: bicubic interpolation."""
    return [enlarge(each, (each.shape[0] * 3, each.shape[1] * 3)) for each in lr]


def changed(images: list[Image], change: Callable[[Array], Array]) -> list[Image]:
    return [np.clip(np.rint(change(each.astype(np.float32))), 0, 255).astype(np.uint8) for each in images]


def plain(images: list[Image]) -> Outputs:
    """A network without quantisation loss, whose colours do not mix."""
    values = [image.astype(np.float32) for image in images]
    backwards = [value[..., ::-1] for value in values]
    return {
        "raw": images, "dequantised": values, "dequantised bgr": backwards, "float": values, "float bgr": backwards,
        "mirrored": images,
    }  # fmt: skip


@pytest.fixture
def found(tmp_path, dataset, samples) -> Callable[..., AppraiseReport]:
    """Appraise trials, given as arrays."""

    def run(
        outputs: Outputs, *, some: tuple[Sample, ...] | None = None, whole: tuple[int, ...] = (), **request: object
    ) -> AppraiseReport:
        folder = tmp_path / "examined"
        trials = []
        for id_, images in outputs.items():
            trial = folder / id_.replace(" ", "-")
            trial.mkdir(parents=True, exist_ok=True)
            for index, image in enumerate(images):
                np.save(trial / f"{index:04d}.npy", image)
            reading = "pixels" if images[0].dtype == np.uint8 else "values"
            trials.append(Trial(id=id_, what=f"trial {id_}", folder=str(trial), reading=reading))
        folder.mkdir(exist_ok=True)
        report: ExamineReport = evaluations.examination(samples=some or samples, trials=tuple(trials), whole=whole)
        (folder / "reply.json").write_bytes(msgspec.json.encode(Reply(report=report)))
        to_appraise = {"examined": str(folder), "dataset": dataset, "yardstick": None, **request}
        return appraise(AppraiseRequest(**to_appraise), tmp_path)

    return run


# PSNR


def test_psnr_of_every_trial_and_sample(found, hr, lr):
    pixels = upscaled(lr)
    values = [each + np.float32(0.3) for each in pixels]
    report = found({"raw": pixels, "float": values, "restored-3": hr})
    assert report.psnr["raw"] == tuple(psnr(a, b) for a, b in zip(pixels, hr, strict=True))
    assert report.psnr["float"] == report.psnr["raw"]  # values are rounded
    assert report.psnr["restored-3"] == (None,) * len(hr)  # identical
    assert report.spread == pytest.approx(np.std(pixels))


def test_shaved_pixels_do_not_count(found, hr, lr):
    pixels = upscaled(lr)
    broken = [each.copy() for each in pixels]
    for image in broken:
        image[:3] = 0
    assert found({"raw": broken}, shave=3).psnr == found({"raw": pixels}, shave=3).psnr


def test_values_that_are_no_numbers_are_black(found, hr):
    values = [np.full(each.shape, np.nan, np.float32) for each in hr]
    assert found({"float": values}).mean("float") < 10


def test_a_network_for_another_factor_is_measured_at_its_own_size(found, lr):
    twice = [enlarge(each, (each.shape[0] * 2, each.shape[1] * 2)) for each in lr]
    report = found({"raw": twice, "float": [each.astype(np.float32) for each in twice]})
    assert report.mean("raw") > 26
    assert report.undone == ()


def test_nothing_ran(found):
    assert found({}) == AppraiseReport(psnr={})


def test_a_trial_of_another_shape_does_not_count(found, lr):
    assert list(found({"raw": upscaled(lr), "dynamic": lr}).psnr) == ["raw"]


def test_nothing_was_examined(tmp_path, dataset):
    with pytest.raises(StageFailed, match="holds no examination"):
        appraise(AppraiseRequest(examined=str(tmp_path), dataset=dataset, yardstick=None), tmp_path)


# Faults that can be undone


def in_crd(image: Image) -> Image:
    """Made for PixelShuffle, but put together by DEPTH_TO_SPACE."""
    h, w = (side // 3 for side in image.shape[:2])
    channels = image.reshape(h, 3, w, 3, 3).transpose(0, 2, 4, 1, 3).reshape(h, w, 27)
    return channels.reshape(h, w, 3, 3, 3).transpose(0, 2, 1, 3, 4).reshape(image.shape)


def in_dcr(image: Image) -> Image:
    """The other way round."""
    h, w = (side // 3 for side in image.shape[:2])
    channels = image.reshape(h, 3, w, 3, 3).transpose(0, 2, 1, 3, 4).reshape(h, w, 27)
    return channels.reshape(h, w, 3, 3, 3).transpose(0, 3, 1, 4, 2).reshape(image.shape)


def sub_pixels(image: Image, order: Callable[[Array], Array]) -> Image:
    h, w = (side // 3 for side in image.shape[:2])
    blocks = image.reshape(h, 3, w, 3, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(order(blocks).transpose(0, 2, 1, 3, 4).reshape(image.shape))


def moved(down: float, right: float) -> Callable[[Array], Array]:
    return lambda image: ndimage.shift(image, (down, right, 0), order=3, mode="nearest")


def corners_aligned(image: Image) -> Image:
    """Enlarged so that the outermost pixels of LR and HR lie on each other."""
    places = [np.linspace(0, side - 1, side * 3) for side in image.shape[:2]]
    grid = np.meshgrid(*places, indexing="ij")
    channels = [ndimage.map_coordinates(image[..., i].astype(float), grid, order=3, mode="nearest") for i in range(3)]
    return np.clip(np.rint(np.stack(channels, 2)), 0, 255).astype(np.uint8)


UNDONE: dict[str, tuple[str, str, Callable[[list[Image]], list[Image]]]] = {
    "CRD": ("pixel-order", "regrouped from DCR to CRD", lambda out: [in_crd(each) for each in out]),
    "DCR": ("pixel-order", "regrouped from CRD to DCR", lambda out: [in_dcr(each) for each in out]),
    "sub-pixels transposed": (
        "pixel-order", "transposed", lambda out: [sub_pixels(each, lambda b: b.swapaxes(2, 3)) for each in out],
    ),
    "CRD of BGR": (
        "pixel-order", "DCR to CRD, the output's channels reversed",
        lambda out: [in_crd(np.ascontiguousarray(each[..., ::-1])) for each in out],
    ),
    "sub-pixels rotated": (
        "pixel-order", "another order", lambda out: [sub_pixels(each, lambda b: np.roll(b, 1, 2)) for each in out],
    ),
    "BGR": ("colour-order", "the output's channels reversed", lambda out: [each[..., ::-1] for each in out]),
    "GBR": ("colour-order", "read as blue, red, green", lambda out: [each[..., [1, 2, 0]] for each in out]),
    "mirrored": ("orientation", "left to right", lambda out: [each[:, ::-1] for each in out]),
    "upside down": ("orientation", "top to bottom", lambda out: [each[::-1] for each in out]),
    "rows for columns": ("orientation", "rows and columns", lambda out: [each.swapaxes(0, 1) for each in out]),
    "shift by 1": ("shift", "1.00 HR pixels up", lambda out: changed(out, moved(1, 0))),
    "shift by a half": ("shift", "0.50 HR pixels to the right", lambda out: changed(out, moved(0, -0.5))),
    "shift by 3": ("shift", "3.00 HR pixels up and 3.00", lambda out: changed(out, moved(3, 3))),
}  # fmt: skip


@pytest.mark.parametrize("name", UNDONE)
def test_a_fault_is_found_and_undone(found, lr, name):
    id_, words, plant = UNDONE[name]
    healthy = upscaled(lr)
    report = found(plain([np.ascontiguousarray(each) for each in plant(healthy)]))
    assert [undo.id for undo in report.undone] == [id_]
    (undo,) = report.undone
    assert words in undo.what
    assert undo.carrier == "int8"
    assert undo.share_better == 1
    assert undo.after_db > undo.before_db + 0.1
    if id_ != "shift":  # which leaves out the edge
        assert undo.before_db == pytest.approx(report.mean("raw"))
        assert undo.after_db == pytest.approx(found(plain(healthy)).mean("raw"))


@pytest.mark.parametrize(("down", "right"), [(1, 0), (0, -0.5), (3, 3), (-1.3, 0.4)])
def test_the_shift_is_that_of_the_output(found, lr, down, right):
    (undo,) = found(plain(changed(upscaled(lr), moved(down, right)))).undone
    assert undo.details == pytest.approx({"rows": down, "columns": right}, abs=0.08)


def test_aligned_corners_are_a_stretch(found, lr):
    report = found(plain([corners_aligned(each) for each in lr]))
    assert [undo.id for undo in report.undone] == ["stretch"]
    assert report.undone[0].details == pytest.approx({"rows": 2, "columns": 2}, abs=0.15)


def test_two_faults_are_both_found_the_dearest_first(found, lr):
    images = [np.ascontiguousarray(each[..., ::-1]) for each in changed(upscaled(lr), moved(1, 1))]
    assert [undo.id for undo in found(plain(images)).undone] == ["colour-order", "shift"]


def noisy(images: list[Image], spread: float, seed: int) -> list[Image]:
    rng = np.random.default_rng(seed)
    return changed(images, lambda image: image + rng.normal(0, spread, image.shape))


def test_a_network_that_learned_bgr_loses_hundredths_and_is_found(found, lr):
    healthy = upscaled(lr)
    outputs = plain(noisy(healthy, 3.0, 0))
    better = [each[..., ::-1].astype(np.float32) for each in noisy(healthy, 2.8, 1)]
    outputs |= {"float bgr": better, "dequantised bgr": better}
    (undo,) = found(outputs).undone
    assert undo.id == "colour-order"
    assert undo.what == "the channels of input and output reversed"
    assert 0.02 < undo.after_db - undo.before_db < 0.2
    assert undo.details["input"] == 1


def test_input_in_bgr_is_found(found, lr):
    right = [each.astype(np.float32) for each in upscaled(lr)]
    wrong = [np.ascontiguousarray(each[..., ::-1]) for each in upscaled(lr)]
    grey = [np.repeat(each.mean(2, keepdims=True), 3, 2) * 0.5 + 0.5 * each for each in wrong]
    outputs = plain(changed(grey, lambda image: image)) | {"float bgr": right, "dequantised bgr": right}
    (undo,) = found(outputs).undone
    assert undo.what == "the input's channels reversed"


def test_rows_fed_for_columns_are_found(found, lr):
    rng = np.random.default_rng(0)
    broken = [each[rng.permutation(len(each))] for each in upscaled(lr)]
    right = [each.astype(np.float32) for each in upscaled(lr)]
    (undo,) = found(plain(broken) | {"float transposed": right}).undone
    assert undo.id == "orientation"
    assert undo.carrier == "float"


def of_range(images: list[Image], change: Callable[[Array], Array]) -> list[Array]:
    return [change(each.astype(np.float32)).astype(np.float32) for each in images]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda y: y / 255, "its output multiplied by 255", id="[0, 1]"),
        pytest.param(lambda y: y / 127.5 - 1, "1 added to its output", id="[-1, 1]"),
        pytest.param(lambda y: y - 127.5, "127.5 added", id="around 0"),
        pytest.param(lambda y: 255 - y, "subtracted from 255", id="negative"),
    ],
)
def test_another_range_of_values_is_found(found, lr, change, words):
    values = of_range(upscaled(lr), change)
    rounded = [np.rint(each) for each in values]  # scale 1, as of an output that is taken for levels
    pixels = [each.clip(0, 255).astype(np.uint8) for each in rounded]
    report = found({"raw": pixels, "dequantised": rounded, "float": values})
    assert report.undone[0].id == "value-range"
    assert words in report.undone[0].what
    assert report.undone[0].after_db == pytest.approx(found(plain(upscaled(lr))).mean("raw"), abs=0.05)
    assert len(report.undone) == 1


def test_another_range_of_inputs_is_found(found, hr, lr):
    broken = [np.full(each.shape, 255, np.uint8) for each in hr]
    values = of_range(upscaled(lr), lambda y: y / 255)
    outputs = plain(broken) | {"float unit": values, "float signed": of_range(broken, lambda y: y / 3)}
    (undo,) = found(outputs).undone
    assert undo.what == "fed with [0, 1], and its output multiplied by 255"
    assert undo.details == {"input": 2, "output": 1, "sized": 0}
    assert undo.carrier == "float"


@pytest.mark.parametrize("change", [lambda y: y / 255, lambda y: y / 127.5 - 1], ids=["[0, 1]", "[-1, 1]"])
def test_another_range_that_is_quantised_for_is_no_fault(found, lr, change):
    pixels = upscaled(lr)
    values = of_range(pixels, change)
    assert found({"raw": pixels, "dequantised": values, "float": values, "float unit": values}).undone == ()


def test_a_fault_behind_another_range_is_found(found, lr):
    pixels = [np.ascontiguousarray(each[..., ::-1]) for each in upscaled(lr)]
    values = of_range(pixels, lambda y: y / 255)
    (undo,) = found({"raw": pixels, "dequantised": values, "float": values}).undone
    assert undo.id == "colour-order"
    assert undo.carrier == "int8"


def test_another_range_and_another_order_of_colours_are_both_found(found, lr):
    values = of_range([each[..., ::-1] for each in upscaled(lr)], lambda y: y / 255)
    rounded = [np.rint(each) for each in values]
    report = found({"raw": [each.astype(np.uint8) for each in rounded], "dequantised": rounded, "float": values})
    assert [undo.id for undo in report.undone] == ["value-range", "colour-order"]


# Healthy networks

HEALTHY: dict[str, Callable[[list[Image]], list[Image]]] = {
    "bicubic": lambda out: out,
    "blurred": lambda out: changed(out, lambda y: ndimage.gaussian_filter(y, (1.5, 1.5, 0))),
    "blurred much": lambda out: changed(out, lambda y: ndimage.gaussian_filter(y, (3, 3, 0))),
    "blurred in one direction": lambda out: changed(out, lambda y: ndimage.uniform_filter1d(y, 5, axis=1)),
    "noisy": lambda out: noisy(out, 8, 0),
    "pale": lambda out: changed(out, lambda y: 0.9 * y + 12),
    "bluish": lambda out: changed(out, lambda y: y * np.float32([0.94, 0.97, 1.0])),
    "nearest": lambda out: [each[1::3, 1::3].repeat(3, 0).repeat(3, 1) for each in out],
}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_network_has_nothing_to_undo(found, lr, name):
    report = found(plain(HEALTHY[name](upscaled(lr))))
    assert report.undone == ()
    assert report.seams == ()
    assert report.plateaus == () or name == "pale"  # which leaves the ends out indeed


def test_abpn_has_nothing_to_undo(found, lr):
    model = TFLiteModel(REFERENCE)
    outputs = plain([as_raw_pixels(model.upscale(each)) for each in lr])
    backwards = [as_raw_pixels(model.upscale(np.ascontiguousarray(each[..., ::-1]))) for each in lr]
    outputs |= {trial: [each.astype(np.float32) for each in backwards] for trial in ("float bgr", "dequantised bgr")}
    pad = ((16, 16), (16, 16), (0, 0))
    outputs["mirrored"] = [
        as_raw_pixels(model.upscale(np.pad(each, pad, "symmetric")))[48:-48, 48:-48] for each in lr
    ]  # fmt: skip
    report = found(outputs)
    assert (report.undone, report.seams, report.plateaus) == ((), (), ())
    border = report.border
    assert border is not None
    assert border.mirrored_db - border.whole_db < 0.1
    own, usual = border.inside_db - border.border_db, border.bicubic_inside_db - border.bicubic_border_db
    assert own - usual < 3


def test_dark_images_have_nothing_to_undo(found, tmp_path, samples, lr):
    dark = []
    for name in ("astronaut", "coffee", "chelsea"):
        path = tmp_path / f"{name}.png"
        PillowImage.fromarray(read_rgb(embedded_images([f"{name}.png"])[0]) // 8).save(path)
        dark.append(ImagePair(name=name, hr=str(path)))
    small = Dataset(name="dark", pairs=tuple(dark), fingerprint="d")
    report = found(plain(upscaled([each // 8 for each in lr])), dataset=small)
    assert (report.undone, report.seams, report.plateaus) == ((), (), ())


def test_noise_is_no_picture(found, hr):
    rng = np.random.default_rng(0)
    report = found(plain([rng.integers(0, 256, each.shape, np.uint8) for each in hr]))
    assert report.undone == ()


def test_grey_images_have_no_colour_order(found, tmp_path, samples, lr):
    pairs = []
    for name in ("astronaut", "coffee", "chelsea"):
        grey = PillowImage.open(embedded_images([f"{name}.png"])[0]).convert("L")
        grey.save(tmp_path / f"{name}.png")
        pairs.append(ImagePair(name=name, hr=str(tmp_path / f"{name}.png")))
    report = found(
        plain(upscaled([np.repeat(each[..., 1:2], 3, 2) for each in lr])),
        dataset=Dataset(name="grey", pairs=tuple(pairs), fingerprint="g"),
    )
    assert report.undone == ()


# What shows


def test_the_border_is_beside_that_of_bicubic(found, hr, lr):
    healthy = upscaled(lr)
    broken = [each.copy() for each in healthy]
    for image in broken:
        image[[0, 1, -1, -2]] = 0
    border = found({**plain(broken), "mirrored": healthy}).border
    assert border.width == 6
    assert border.inside_db - border.border_db > 10
    assert border.mirrored_db == pytest.approx(np.mean([psnr(a, b) for a, b in zip(healthy, hr, strict=True)]))
    assert border.mirrored_db - border.whole_db > 1
    usual = found(plain(healthy)).border
    assert usual.border_db == pytest.approx(usual.bicubic_border_db, abs=0.05)  # LR of parts and of whole images
    assert usual.inside_db == pytest.approx(usual.bicubic_inside_db, abs=0.05)


@pytest.mark.parametrize("tile", [72, 96])
def test_seams_are_found_where_they_are(found, lr, tile):
    broken = [each.copy() for each in upscaled(lr)]
    rng = np.random.default_rng(0)
    for image in broken:
        for left in range(tile, image.shape[1], tile):
            image[:, left] = np.clip(image[:, left] + rng.normal(0, 12, image[:, left].shape), 0, 255)
    (seams,) = found(plain(broken)).seams
    assert seams.axis == "columns"
    assert seams.places == tuple(range(tile, 3 * SIDE, tile))
    assert seams.strength > 1.15


def test_a_single_seam_is_found(found, lr):
    broken = [each.copy() for each in upscaled(lr)]
    for image in broken:
        image[147:150] = np.clip(image[147:150].astype(int) + 25, 0, 255)
    (seams,) = found(plain(broken)).seams
    assert seams.axis == "rows"
    assert set(seams.places) <= {147, 150}


def test_one_sample_alone_has_no_single_seam(found, lr, samples):
    broken = upscaled(lr[:1])[0].copy()
    broken[147:150] = np.clip(broken[147:150].astype(int) + 25, 0, 255)
    assert found(plain([broken]), some=samples[:1]).seams == ()


def test_plateaus_are_where_the_output_stops(found, hr, lr):
    clipped = changed(upscaled(lr), lambda y: y.clip(30, 200))
    ends = {plateau.end: plateau for plateau in found(plain(clipped)).plateaus}
    assert {end: plateau.level for end, plateau in ends.items()} == {"top": 200, "bottom": 30}
    assert all(plateau.share > 0.001 and plateau.at_stake_db > 0 for plateau in ends.values())
    right = [np.where((out == 200) & (image > 202), image, out) for out, image in zip(clipped, hr, strict=True)]
    gained = np.mean([psnr(a, b) for a, b in zip(right, hr, strict=True)])
    before = np.mean([psnr(a, b) for a, b in zip(clipped, hr, strict=True)])
    assert ends["top"].at_stake_db == pytest.approx(gained - before)


def test_a_constant_output_has_no_plateau(found, hr):
    assert found(plain([np.full(each.shape, 100, np.uint8) for each in hr])).plateaus == ()


def test_the_exhibit_is_the_worst_patch(found, hr, lr):
    broken = upscaled(lr)
    broken[3] = broken[3].copy()
    broken[3][100:140, 60:100] = 255
    exhibit = found({**plain(broken), "clip": upscaled(lr)}).exhibit
    assert exhibit.image == "coffee"
    top, left = exhibit.top - PLACES[3][1], exhibit.left - PLACES[3][2]
    assert top <= 100
    assert top + 160 >= 140
    assert left <= 60
    assert left + 160 >= 100
    pictures = {name: np.asarray(PillowImage.open(BytesIO(data))) for name, data in exhibit.pictures.items()}
    assert set(pictures) == {"raw", "fp32", "hr", "error", "mended"}
    patch = np.s_[top : top + 160, left : left + 160]
    np.testing.assert_array_equal(pictures["hr"], hr[3][patch])  # lossless
    np.testing.assert_array_equal(pictures["raw"], broken[3][patch])
    np.testing.assert_array_equal(pictures["mended"], upscaled(lr)[3][patch])
    assert exhibit.mended == "trial clip"
    assert sum(exhibit.histogram) == sum(exhibit.histogram_hr) == sum(each.size for each in hr)
    assert exhibit.histogram_hr == tuple(sum(np.bincount(each.ravel(), minlength=256) for each in hr))


def test_what_was_undone_is_shown_as_mended(found, lr):
    exhibit = found(plain([np.ascontiguousarray(each[..., ::-1]) for each in upscaled(lr)])).exhibit
    assert exhibit.mended == "the output's channels reversed"
    assert "mended" in exhibit.pictures


def test_nothing_is_mended_for_little(found, lr):
    outputs = {"raw": upscaled(lr), "clip": upscaled(lr)}
    assert set(found(outputs).exhibit.pictures) == {"raw", "hr", "error"}


# Samples


def test_samples_beyond_the_image_are_mirrored(found, dataset, samples, lr):
    """A network of a fixed frame is fed with more than a small image."""
    whole = read_rgb(dataset.pairs[2].hr)  # 300 x 451
    small = downscale(whole[:300, :450], 3)
    pad = ((10, 10), (5, 5), (0, 0))
    sample = Sample(image=2, name="chelsea", top=-10, left=-5, height=120, width=160)
    outputs = plain(upscaled([np.pad(small, pad, "symmetric")]))
    report = found(outputs, some=(sample,))
    assert report.mean("raw") > 25
    assert report.border.border_db == pytest.approx(report.border.bicubic_border_db)
    assert report.exhibit.top >= 0
    assert report.exhibit.left >= 0


# Held out


def test_gains_on_held_out_photographs(found, tmp_path, hr, lr):
    np.save(tmp_path / "hr.npy", hr[0])
    known = YardstickReport(
        scored=tuple(Yardstick(name=name, reference_db=30.0, bicubic_db=28.0) for name in "abc"),
        held_out=(Yardstick(name="other", reference_db=27.0, bicubic_db=25.5, hr=str(tmp_path / "hr.npy")),),
    )
    values = [upscaled(lr)[0].astype(np.float32)]
    outputs = {"raw": upscaled(lr), "held-out": values}
    report = found(outputs, yardstick=known, fp32=(31.0, 32.0, 33.0))
    assert "held-out" not in report.psnr
    held_out = report.held_out
    assert held_out.images == ("other",)
    assert held_out.scored_gain_db == pytest.approx(2.0)
    assert held_out.gain_db == pytest.approx(psnr(upscaled(lr)[0], hr[0]) - 27)
    assert held_out.bicubic_scored_db == pytest.approx(-2)
    assert held_out.bicubic_db == pytest.approx(-1.5)
    for unknown in ({"fp32": ()}, {"fp32": (31.0, None, 33.0)}, {"yardstick": None}):
        assert found(outputs, **{"yardstick": known, "fp32": (31.0, 32.0, 33.0), **unknown}).held_out is None


def test_whole_images_are_compared_inside_what_all_show(found, dataset, lr):
    images = [read_rgb(dataset.pairs[place].hr) for place in (1, 2)]
    images = [image[: image.shape[0] // 3 * 3, : image.shape[1] // 3 * 3] for image in images]
    blurred = [ndimage.uniform_filter(image, (3, 3, 1)) for image in images]
    for image in blurred:
        image[:20], image[:, -20:] = 0, 255  # a border, which moves along
    moved = [image[:-6, :-3].copy() for image in blurred]  # as they come back, what was moved in cut off
    moved[0][-9:] = 0
    outputs = {"raw": upscaled(lr), "whole": [images[0], blurred[1]], "whole mirrored": blurred, "whole moved": moved}
    report = found(outputs, whole=(1, 2))
    assert list(report.psnr) == ["raw"]
    known, computed = report.recognition
    assert (known.image, computed.image) == ("coffee", "chelsea")
    assert known.plain_db == 100.0
    assert known.mirrored_db == pytest.approx(known.moved_db)
    assert known.moved_db < 40
    assert computed.plain_db == computed.mirrored_db == computed.moved_db
    smaller = {**outputs, "whole": [image[::2, ::2] for image in images]}
    assert found(smaller, whole=(1, 2)).recognition == ()


def test_the_yardstick_is_the_reference_model_and_bicubic(tmp_path, dataset):
    prepared = prepare(dataset, tmp_path)
    assert prepared.held_out
    request = YardstickRequest(dataset=dataset, images=prepared.images, held_out=prepared.held_out)
    report = yardstick(request, tmp_path)
    assert [each.name for each in report.scored] == [pair.name for pair in dataset.pairs]
    assert [each.name for each in report.held_out] == [each.name for each in prepared.held_out]
    assert all(each.reference_db > each.bicubic_db for each in (*report.scored, *report.held_out))
    lr, hr = np.load(prepared.held_out[0].path), np.load(report.held_out[0].hr)
    assert hr.shape == (lr.shape[0] * 3, lr.shape[1] * 3, 3)
    assert report.held_out[0].bicubic_db == psnr(enlarge(lr, hr.shape[:2]), hr)
    scored = read_rgb(dataset.pairs[0].hr)[:510, :510]
    assert report.scored[0].bicubic_db == psnr(enlarge(np.load(prepared.images[0].path), scored.shape[:2]), scored)
    assert Path(report.held_out[0].hr).parent == tmp_path
