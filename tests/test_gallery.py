"""Windows of upscaled images that lie on disk, and how the pipeline hangs their pictures."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from mai_harness import gallery as module
from mai_harness import pipeline
from mai_harness.datasets import enlarge, find_dataset, load_pair
from mai_harness.errors import StageFailed
from mai_harness.gallery import GalleryRequest, gallery
from mai_harness.isolate import REPLY, Reply
from mai_harness.metrics import psnr
from mai_harness.pipeline import Converted, EvaluationRun, Settings, Workshop
from mai_harness.prepare import Prepared
from mai_harness.records import (
    AppraiseReport,
    GalleryReport,
    LrImage,
    Model,
    ScoreReport,
    Submission,
    UpscaleReport,
    Window,
)

SIZES = ((240, 300), (180, 211), (151, 160))  # not all of them multiples of three


class Place:
    """A data set of noisy photographs, and an upscaled form of them that is HR but for faults that are planted."""

    def __init__(self, root: Path, sizes: tuple[tuple[int, int], ...] = SIZES, *, float_twin: bool = True) -> None:
        self.root, self.readings = root, ["raw", "fp32"] if float_twin else ["raw"]
        (root / "photos").mkdir(parents=True)
        rng = np.random.default_rng(0)
        for index, size in enumerate(sizes):
            Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(root / "photos" / f"{index}.png")
        self.dataset = find_dataset(root / "photos")
        pairs = [load_pair(pair) for pair in self.dataset.pairs]
        self.lr, self.hr = [lr for lr, _ in pairs], [hr for _, hr in pairs]
        for index, lr in enumerate(self.lr):
            np.save(root / f"{index}.npy", lr)
        self.forms = {reading: [hr.copy() for hr in self.hr] for reading in self.readings}

    def plant(self, reading: str, image: int, top: int, left: int, by: int = 60) -> None:
        """A square of 30 pixels that is off by so much."""
        part = self.forms[reading][image][top : top + 30, left : left + 30]
        part[...] = np.where(part < 128, part + by, part - by)

    def request(self, **folders: str) -> GalleryRequest:
        """What the stage is asked, with the upscaled images on disk."""
        for reading, images in self.forms.items():
            (self.root / reading).mkdir(exist_ok=True)
            for index, image in enumerate(images):
                np.save(self.root / reading / f"{index:04d}.npy", image)
        known = {reading: str(self.root / reading) for reading in self.forms}
        report = UpscaleReport(method="m", exact=True, folders={"dequantised": known["raw"], **known, **folders})
        (self.root / REPLY).write_bytes(msgspec.json.encode(Reply(report=report)))
        images = tuple(LrImage(name=str(i), path=str(self.root / f"{i}.npy")) for i in range(len(self.lr)))
        return GalleryRequest(upscaled=str(self.root), dataset=self.dataset, images=images, processes=1)

    def report(self) -> GalleryReport:
        """Of the stage, which leaves its files in ``root``/pictures."""
        (self.root / "pictures").mkdir(exist_ok=True)
        return gallery(self.request(), self.root / "pictures")

    def picture(self, window: Window, key: str) -> Any:
        """Decoded pixels."""
        return np.asarray(Image.open(self.root / "pictures" / window.pictures[key]))


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


def of_kind(report: GalleryReport, found: str) -> list[Window]:
    return [window for window in report.windows if window.found == found]


def holds(window: Window, image: int, top: int, left: int) -> bool:
    """Whether a planted square is in the window."""
    rows, columns = top - window.top, left - window.left
    return window.image == str(image) and 0 <= rows <= window.height - 30 and 0 <= columns <= window.width - 30


def test_every_image_has_a_part_after_the_worst_places(place):
    place.plant("raw", 0, 60, 90)
    report = place.report()
    assert [window.found for window in report.windows] == ["gap", "error", "image", "image", "image"]
    assert [window.image for window in of_kind(report, "image")] == ["0", "1", "2"]
    assert {(window.height, window.width) for window in of_kind(report, "image")} == {(138, 138)}


@pytest.mark.parametrize(("count", "side"), [(1, 240), (2, 168), (6, 96), (11, 96), (100, 96)])
def test_parts_have_about_as_many_pixels_together_whatever_the_set(count, side):
    assert module._side(count) == side


@pytest.mark.parametrize("sizes", [SIZES, ((33, 40),), ((75, 6), (12, 200)), ((3, 3), (90, 90), (4, 5))])
def test_windows_lie_inside_the_images_at_whole_lr_pixels(tmp_path, sizes):
    place = Place(tmp_path, sizes)
    for index in range(len(sizes)):
        place.plant("raw", index, 0, 0)
    report = place.report()
    assert {window.found for window in report.windows} == {"gap", "error", "image"}
    for window in report.windows:
        height, width = place.hr[int(window.image)].shape[:2]
        assert 0 <= window.top <= height - window.height
        assert 0 <= window.left <= width - window.width
        assert all(extent % 3 == 0 for extent in (window.top, window.left, window.height, window.width))
        assert place.picture(window, "raw").shape == (window.height, window.width, 3)


def test_a_planted_gap_is_found(place):
    for reading in ("raw", "fp32"):  # both are far from HR here
        place.plant(reading, 0, 150, 210, by=100)
    place.plant("fp32", 1, 60, 90, by=20)
    (gap,), (error, *_) = (of_kind(place.report(), found) for found in ("gap", "error"))
    assert holds(gap, 1, 60, 90)
    assert holds(error, 0, 150, 210)


def test_a_planted_error_is_found_and_no_gap_where_both_have_it(place):
    for reading in ("raw", "fp32"):
        place.plant(reading, 2, 90, 90)
    report = place.report()
    assert of_kind(report, "gap") == []
    assert len(of_kind(report, "error")) == 1
    assert holds(of_kind(report, "error")[0], 2, 90, 90)


def test_the_worst_comes_first_and_no_image_twice(place):
    for image, top, by in ((0, 0, 40), (0, 120, 100), (1, 0, 60), (2, 0, 80)):
        place.plant("raw", image, top, 0, by)
    for found in ("gap", "error"):
        assert [window.image for window in of_kind(place.report(), found)] == ["0", "2", "1"]


def test_a_single_image_has_several_worst_places_that_do_not_overlap(tmp_path):
    place = Place(tmp_path, ((240, 300),))
    places = ((0, 0, 100), (33, 33, 70), (200, 200, 80), (120, 120, 70), (0, 250, 60))
    for top, left, by in places:
        place.plant("raw", 0, top, left, by)
    for found in ("gap", "error"):
        windows = of_kind(place.report(), found)
        assert len(windows) == 3
        assert holds(windows[1], 0, 200, 200)
        for a, b in ((0, 1), (0, 2), (1, 2)):
            rows, columns = abs(windows[a].top - windows[b].top), abs(windows[a].left - windows[b].left)
            assert max(rows, columns) >= 48


def test_without_a_float_twin_there_is_no_gap(tmp_path):
    place = Place(tmp_path, float_twin=False)
    place.plant("raw", 0, 0, 0)
    report = place.report()
    assert of_kind(report, "gap") == []
    assert {key for window in report.windows for key in window.pictures} == {"hr", "lr", "raw"}


def test_the_parts_of_images_are_the_same_for_every_submission(tmp_path):
    parts = []
    for index, name in enumerate(("a", "b")):
        place = Place(tmp_path / name)
        place.plant("raw", index, 30 * index, 60)
        windows = of_kind(place.report(), "image")
        same = [(w.image, w.top, w.left, w.height, w.width, w.pictures["hr"], w.pictures["lr"]) for w in windows]
        parts.append(same)
    assert parts[0] == parts[1]


def test_a_part_is_where_bicubic_upscaling_is_furthest_from_hr(tmp_path):
    grey = np.full((400, 400, 3), 128, np.uint8)
    grey[211:250, 301:340] = np.random.default_rng(0).integers(0, 256, (39, 39, 3))
    (tmp_path / "photos").mkdir()
    Image.fromarray(grey).save(tmp_path / "photos" / "0.png")
    dataset = find_dataset(tmp_path / "photos")
    lr, hr = load_pair(dataset.pairs[0])
    (peak, *_) = module._peaks(enlarge(lr, (399, 399)), hr, 96)
    assert peak.top <= 211 <= 250 <= peak.top + 96
    assert peak.left <= 301 <= 340 <= peak.left + 96


def test_pictures_are_lossless_and_their_names_tell_their_bytes(place):
    place.plant("raw", 0, 60, 90)
    report = place.report()
    for window in report.windows:
        index, rows, columns = int(window.image), window.top, window.left
        part = np.s_[rows : rows + window.height, columns : columns + window.width]
        height, width = place.hr[index].shape[:2]
        whole = {
            "hr": place.hr[index], "lr": enlarge(place.lr[index], (height, width)), "raw": place.forms["raw"][index],
            "fp32": place.forms["fp32"][index],
        }  # fmt: skip
        assert list(window.pictures) == list(whole)
        for key, name in window.pictures.items():
            np.testing.assert_array_equal(place.picture(window, key), whole[key][part])
            digest = hashlib.sha256((place.root / "pictures" / name).read_bytes()).hexdigest()
            assert name == f"{digest[:20]}.webp"
    named = {name for window in report.windows for name in window.pictures.values()}
    assert {path.name for path in (place.root / "pictures").iterdir()} == named


def test_equal_pictures_are_one_file(place):
    window = of_kind(place.report(), "image")[0]
    assert window.pictures["raw"] == window.pictures["fp32"] == window.pictures["hr"] != window.pictures["lr"]


def test_psnr_is_that_of_the_windows_pixels(place):
    place.plant("raw", 0, 60, 90)
    for window in place.report().windows:
        hr = place.picture(window, "hr")
        assert list(window.psnr) == ["lr", "raw", "fp32"]
        for key, value in window.psnr.items():
            same = window.pictures[key] == window.pictures["hr"]
            assert value == (None if same else psnr(place.picture(window, key), hr))


def test_readings_of_their_own_are_shown(place):
    place.forms |= {"dequantised": place.forms["fp32"], "mended": place.forms["fp32"]}
    window = place.report().windows[-1]
    assert list(window.pictures) == ["hr", "lr", "raw", "fp32", "dequantised", "mended"]


def test_two_processes_find_the_same(place):
    place.plant("raw", 0, 60, 90)
    found = place.report()
    assert gallery(msgspec.structs.replace(place.request(), processes=2), place.root / "pictures") == found


def test_images_that_were_not_upscaled_are_told(place, tmp_path):
    with pytest.raises(StageFailed, match="holds no upscaled images"):
        gallery(msgspec.structs.replace(place.request(), upscaled=str(tmp_path / "nowhere")), tmp_path)


# In the pipeline

NET = Submission(name="net", title="Net", kind="tflite", path="model.tflite", fingerprint="f")
PREPARED = Prepared(images=(), calibration=())
SCORED = ScoreReport(dataset="d", dataset_fingerprint="f", shave=0, method="m", exact=True, images=())
SHOWN = GalleryReport(
    windows=(
        Window(image="0", top=0, left=0, height=3, width=3, found="image", pictures={"hr": "a.webp"}, psnr={}),
        Window(image="0", top=0, left=0, height=3, width=3, found="error", pictures={"hr": "a.webp"}, psnr={}),
    )
)
REPORTS: dict[str, Any] = {
    "upscale": UpscaleReport(method="m", exact=True, folders={}),
    "score": SCORED,
    "gallery": SHOWN,
}


class Stages:
    """In place of the stages' children: each leaves its report, or fails."""

    def __init__(self, root: Path) -> None:
        self.out, self.ran, self.told = root / "out", list[str](), list[str]()
        self.failing: str | None = None
        (root / "model.tflite").write_bytes(b"int8")
        (root / "network.onnx").write_bytes(b"float")
        self.files = Converted(model=Model(static=str(root / "model.tflite")), onnx=str(root / "network.onnx"))

    def run(self, call: str, _request: Any, folder: Path, *_: Any) -> Any:
        """As ``run_isolated`` does."""
        stage = call.partition(":")[2]
        self.ran.append(stage)
        folder.mkdir(parents=True, exist_ok=True)
        if stage == "gallery":
            (folder / "a.webp").write_bytes(b"picture")
        if stage == self.failing:
            (folder / REPLY).write_bytes(msgspec.json.encode(Reply(error="broken")))
            raise StageFailed("broken")
        (folder / REPLY).write_bytes(msgspec.json.encode(Reply(report=REPORTS[stage])))
        return REPORTS[stage]

    @property
    def workshop(self) -> Workshop:
        """A new one, as in a new run."""
        return Workshop(Settings(out=self.out, scoring_threads=1), self.told.append)

    def judge(self, place: Place) -> tuple[dict[str, Any], list[str]]:
        """What was found, and the stages that ran."""
        self.ran = []
        run = EvaluationRun(self.workshop, NET, PREPARED)
        run.judge(place.dataset)
        return run.found, self.ran

    def forget(self, stage: str) -> None:
        """As if the stage had not run."""
        self.workshop.discard(pipeline.owner_of(NET), stage)

    def left(self, pattern: str) -> list[Path]:
        return sorted(self.out.rglob(pattern))


@pytest.fixture
def stages(tmp_path, monkeypatch) -> Stages:
    made = Stages(tmp_path)
    monkeypatch.setattr(pipeline, "run_isolated", made.run)
    monkeypatch.setattr(pipeline, "convert", lambda *args: vars(args[-1]).update(vars(made.files)))
    monkeypatch.setattr(pipeline, "check", lambda *_: None)
    monkeypatch.setattr(pipeline, "examine", lambda *_: (None, AppraiseReport(psnr={})))
    return made


def test_images_are_upscaled_once_for_scores_and_pictures_and_do_not_stay(place, stages):
    found, ran = stages.judge(place)
    assert ran == ["upscale", "score", "gallery"]
    assert (found["score"], found["gallery"]) == (SCORED, SHOWN)
    assert stages.left("upscale-*") == []
    assert [path.read_bytes() for path in stages.left("pictures/*")] == [b"picture"]


@pytest.mark.parametrize(
    ("missing", "again"),
    [([], []), (["score"], ["upscale", "score"]), (["gallery"], ["upscale", "gallery"])],
)
def test_images_are_upscaled_again_if_scores_or_pictures_are_missing(place, stages, missing, again):
    first, _ = stages.judge(place)
    for stage in missing:
        stages.forget(stage)
    found, ran = stages.judge(place)
    assert ran == again
    assert (found["score"], found["gallery"]) == (first["score"], first["gallery"])
    assert stages.left("upscale-*") == []


@pytest.mark.parametrize("failing", ["gallery", "score"])
def test_pictures_that_fail_are_told_and_cost_no_more(place, stages, failing):
    stages.failing = failing
    for ran in (["upscale", "score", "gallery"][: 3 if failing == "gallery" else 2], []):  # it would fail again
        found, started = stages.judge(place)
        assert "gallery" not in found
        assert ("failure" in found) == (failing == "score")
        assert ("net: no pictures, gallery: broken" in stages.told) == (failing == "gallery")
        assert started == ran
    if failing == "gallery":
        assert stages.left("upscale-*") == []


def test_scores_alone_make_no_pictures(place, stages):
    report = pipeline.score(stages.workshop, NET, stages.files, place.dataset, PREPARED)
    assert (report, stages.ran) == (SCORED, ["upscale", "score"])
    assert stages.left("upscale-*") == []


def test_a_picture_that_hangs_is_left_alone_and_one_that_is_gone_is_hung_again(place, stages):
    stages.judge(place)
    (picture,) = stages.left("pictures/*")
    picture.write_bytes(b"the same by its name")
    stages.judge(place)
    assert picture.read_bytes() == b"the same by its name"
    picture.unlink()
    stages.judge(place)
    assert picture.read_bytes() == b"picture"


def test_a_package_has_the_onnx_form_and_no_stale_one(place, stages):
    package = stages.out / "packages" / "net"
    stages.judge(place)
    assert {path.name: path.read_bytes() for path in package.iterdir()} == {
        "model.tflite": b"int8",
        "model.onnx": b"float",
    }
    stages.files.onnx = None
    stages.judge(place)
    assert [path.name for path in package.iterdir()] == ["model.tflite"]
