"""Scores of upscaled images that lie on disk, against the metrics themselves."""

import msgspec
import numpy as np
import pytest
from PIL import Image

from mai_harness.datasets import find_dataset
from mai_harness.errors import ModelContractError, StageFailed
from mai_harness.isolate import Reply
from mai_harness.metrics import Figure, Metric, psnr, psnr_y, ssim
from mai_harness.records import UpscaleReport
from mai_harness.score import ScoreRequest, score

SIZES = ((60, 90), (61, 47))  # the second is no multiple of three


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in SIZES]


@pytest.fixture
def request_(images, tmp_path):
    (tmp_path / "photos").mkdir()
    upscaled = tmp_path / "upscaled"
    rng = np.random.default_rng(1)
    for index, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "photos" / f"{index}.png")
        cropped = image[: image.shape[0] // 3 * 3, : image.shape[1] // 3 * 3]
        for name, spread in (("raw", 20), ("fp32", 5)):
            (upscaled / name).mkdir(parents=True, exist_ok=True)
            noisy = np.clip(cropped + rng.normal(0, spread, cropped.shape), 0, 255).astype(np.uint8)
            np.save(upscaled / name / f"{index:04d}.npy", noisy)
    folders = {"raw": str(upscaled / "raw"), "dequantised": str(upscaled / "raw"), "fp32": str(upscaled / "fp32")}
    report = UpscaleReport(method="whole images", exact=True, folders=folders)
    (upscaled / "reply.json").write_bytes(msgspec.json.encode(Reply(report=report)))
    return ScoreRequest(upscaled=str(upscaled), dataset=find_dataset(tmp_path / "photos"))


def test_every_figure_is_that_of_its_metric(request_, images, tmp_path):
    report = score(request_, tmp_path)
    for index, (found, image) in enumerate(zip(report.images, images, strict=True)):
        reference = image[: image.shape[0] // 3 * 3, : image.shape[1] // 3 * 3]
        raw, fp32 = (np.load(tmp_path / "upscaled" / name / f"{index:04d}.npy") for name in ("raw", "fp32"))
        assert found.figures == {
            "psnr_raw_db": psnr(raw, reference),
            "psnr_dequantised_db": psnr(raw, reference),
            "psnr_mended_db": None,
            "psnr_fp32_db": psnr(fp32, reference),
            "psnr_y_raw_db": psnr_y(raw, reference),
            "ssim_raw": ssim(raw, reference),
            "ssim_fp32": ssim(fp32, reference),
        }
    assert report.mean("psnr_raw_db") == np.mean([image.figures["psnr_raw_db"] for image in report.images])


def test_the_hash_is_that_of_the_raw_pixels_of_all_images(request_, tmp_path):
    before = score(request_, tmp_path).output_sha256
    assert score(msgspec.structs.replace(request_, processes=1, shave=4), tmp_path).output_sha256 == before
    np.save(tmp_path / "upscaled" / "fp32" / "0001.npy", np.load(tmp_path / "upscaled" / "raw" / "0001.npy"))
    assert score(request_, tmp_path).output_sha256 == before
    last = tmp_path / "upscaled" / "raw" / "0001.npy"
    pixels = np.load(last)
    pixels[-1, -1, -1] ^= 1
    np.save(last, pixels)
    assert score(request_, tmp_path).output_sha256 != before


@pytest.mark.parametrize(("library", "value"), [("opencv", 1.0), ("scikit-image", 2.0)])
def test_the_library_asked_for_computes(request_, tmp_path, monkeypatch, library, value):
    metric = Metric("Name", lambda *_: 1.0, "", "z.1f", ("raw",), lambda *_: 2.0)
    monkeypatch.setattr("mai_harness.score.FIGURES", (Figure("name_raw", metric, "raw"),))
    report = score(msgspec.structs.replace(request_, metrics=library), tmp_path)
    assert [image.figures for image in report.images] == [{"name_raw": value}] * len(SIZES)


def test_opencv_computes_the_metrics_unless_asked_otherwise(request_):
    assert request_.metrics == "opencv"


def test_a_border_is_left_out(request_, images, tmp_path):
    report = score(msgspec.structs.replace(request_, shave=4), tmp_path)
    raw = np.load(tmp_path / "upscaled" / "raw" / "0000.npy")
    assert report.images[0].figures["psnr_raw_db"] == psnr(raw[4:-4, 4:-4], images[0][4:-4, 4:-4])
    assert report.shave == 4


def test_a_border_that_leaves_nothing_is_told(request_, tmp_path):
    with pytest.raises(ModelContractError, match="too small for SSIM with 20 pixels left out"):
        score(msgspec.structs.replace(request_, shave=20), tmp_path)


def test_a_reading_that_there_is_none_of_has_no_figure_and_no_mean(request_, tmp_path):
    (tmp_path / "upscaled" / "reply.json").write_bytes(
        msgspec.json.encode(
            Reply(report=UpscaleReport(method="m", exact=True, folders={"raw": str(tmp_path / "upscaled" / "raw")}))
        )
    )
    report = score(request_, tmp_path)
    assert report.images[0].figures["psnr_fp32_db"] is None
    assert report.mean("psnr_fp32_db") is None
    assert report.mean("psnr_raw_db") is not None


def test_images_that_were_not_upscaled_are_told(request_, tmp_path):
    with pytest.raises(StageFailed, match="holds no upscaled images"):
        score(msgspec.structs.replace(request_, upscaled=str(tmp_path / "nowhere")), tmp_path)
