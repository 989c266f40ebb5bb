"""``datasets`` on small made-up folders, and the photographs of scikit-image."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from mai_harness import datasets
from mai_harness.datasets import (
    CALIBRATION,
    EMBEDDED_SCORED,
    HELD_OUT_SIDE,
    Dataset,
    ImagePair,
    calibration_frames,
    embedded_images,
    enlarge,
    fill_frame,
    find_dataset,
    held_out_pairs,
    load_pair,
    probe_frame,
    read_rgb,
    sets_below,
    training_images,
)
from mai_harness.errors import DataNotFound
from mai_harness.resize import Image, downscale


def picture(height: int = 12, width: int = 15, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def save(path: Path, image: Image | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(picture() if image is None else image).save(path)
    return path


def save_pair(root: Path, hr: str, lr: str, stem: str = "0801", seed: int = 0, suffix: str = "x3") -> None:
    image = picture(seed=seed)
    save(root / hr / f"{stem}.png", image)
    save(root / lr / f"{stem}{suffix}.png", downscale(image, 3))


def scored_on(*paths: Path) -> Dataset:
    return Dataset(name="made up", pairs=tuple(ImagePair(name=p.stem, hr=str(p)) for p in paths), fingerprint="")


# Reading


@pytest.mark.parametrize(
    ("mode", "channels"),
    [("RGB", 3), ("L", 1), ("1", 1), ("P", 3), ("RGBA", 3), ("LA", 1)],
)
def test_every_8_bit_mode_is_read_as_rgb(tmp_path, mode, channels):
    image = PillowImage.fromarray(picture()).convert(mode)
    image.save(tmp_path / "image.png")
    pixels = read_rgb(tmp_path / "image.png")
    assert pixels.shape == (12, 15, 3)
    assert pixels.dtype == np.uint8
    assert (pixels[:, :, :1] == pixels).all() == (channels == 1)


def test_grey_is_repeated_over_the_channels(tmp_path):
    grey = picture()[:, :, 0]
    PillowImage.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "grey.png"), np.stack([grey] * 3, axis=2))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(None, "No such file", id="missing"),
        pytest.param(b"", "cannot identify", id="empty"),
        pytest.param(b"no image at all", "cannot identify", id="text"),
    ],
)
def test_what_is_no_image_is_told_by_its_path(tmp_path, content, words):
    path = tmp_path / "broken.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataNotFound, match=rf"broken\.png cannot be read as an image: .*{words}"):
        read_rgb(path)


def test_16_bit_grey_is_refused_not_clipped(tmp_path):
    PillowImage.fromarray(np.arange(300 * 9, dtype=np.uint16).reshape(30, 90)).save(tmp_path / "deep.png")
    with pytest.raises(DataNotFound, match="not 8 bits a channel"):
        read_rgb(tmp_path / "deep.png")


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    suffix=st.sampled_from([".png", ".jpg", ".webp", ".bmp"]),
    share=st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=4),
)
def test_a_damaged_image_is_read_or_named_and_nothing_else(tmp_path, suffix, share, flips):
    content = bytearray(save(tmp_path / f"whole{suffix}").read_bytes())
    for place, mask in flips:
        content[int(place * len(content))] ^= mask
    damaged = tmp_path / f"damaged{suffix}"
    damaged.write_bytes(content[: round(share * len(content))])
    try:
        assert read_rgb(damaged).shape[2] == 3
    except DataNotFound as error:
        assert "damaged" in str(error)  # noqa: PT017


# Pairs


def test_a_pair_without_lr_is_reduced_from_the_cropped_hr(tmp_path):
    image = picture(14, 16)
    pair = ImagePair(name="a", hr=str(save(tmp_path / "a.png", image)))
    lr, hr = load_pair(pair)
    np.testing.assert_array_equal(hr, image[:12, :15])
    np.testing.assert_array_equal(lr, downscale(image[:12, :15], 3))


def test_a_published_lr_image_is_taken_as_it_is(tmp_path):
    small = picture(4, 5, seed=1)
    pair = ImagePair(name="a", hr=str(save(tmp_path / "a.png")), lr=str(save(tmp_path / "ax3.png", small)))
    np.testing.assert_array_equal(load_pair(pair)[0], small)


@pytest.mark.parametrize("size", [(4, 4), (5, 4), (6, 7), (12, 15)])
def test_an_lr_image_of_another_size_is_told_with_both_sizes(tmp_path, size):
    small = save(tmp_path / "ax3.png", picture(*size))
    pair = ImagePair(name="a", hr=str(save(tmp_path / "a.png")), lr=str(small))
    with pytest.raises(DataNotFound, match=rf"ax3\.png is {size[0]}x{size[1]}, but .*a\.png needs 4x5"):
        load_pair(pair)


def test_an_image_too_small_to_reduce_is_told(tmp_path):
    pair = ImagePair(name="a", hr=str(save(tmp_path / "a.png", picture(2, 20))))
    with pytest.raises(DataNotFound, match=r"a\.png has less than 3 pixels"):
        load_pair(pair)


@pytest.mark.parametrize("broken", ["a.png", "ax3.png"])
def test_a_broken_image_of_a_pair_is_told_by_its_path(tmp_path, broken):
    save(tmp_path / "a.png")
    save(tmp_path / "ax3.png", picture(4, 5))
    path = tmp_path / broken
    path.write_bytes(path.read_bytes()[:60])
    pair = ImagePair(name="a", hr=str(tmp_path / "a.png"), lr=str(tmp_path / "ax3.png"))
    with pytest.raises(DataNotFound, match=rf"/{broken} cannot be read"):
        load_pair(pair)


# Layouts


@pytest.mark.parametrize("below", ["", "DIV2K"])
def test_div2k_validation_is_found(tmp_path, below):
    root = tmp_path / below
    for stem, seed in (("0802", 2), ("0801", 1)):
        save_pair(root, "DIV2K_valid_HR", "DIV2K_valid_LR_bicubic/X3", stem, seed)
    save(root / "DIV2K_train_HR" / "0001.png")
    found = find_dataset(tmp_path)
    assert found.name == "DIV2K validation"
    assert [pair.name for pair in found.pairs] == ["0801", "0802"]
    for pair in found.pairs:
        assert Path(pair.lr or "").name == f"{pair.name}x3.png"
        lr, hr = load_pair(pair)
        np.testing.assert_array_equal(lr, downscale(hr, 3))


def test_div2k_without_its_lr_images_is_reduced_here(tmp_path):
    save(tmp_path / "DIV2K_valid_HR" / "0801.png")
    assert [pair.lr for pair in find_dataset(tmp_path).pairs] == [None]


@pytest.mark.parametrize("lr", ["LR_bicubic_X3", "LR_bicubic/X3"])
def test_folders_of_pairs_are_found_and_named_for_their_root(tmp_path, lr):
    save_pair(tmp_path / "Set5", "HR", lr, "baby")
    found = find_dataset(tmp_path / "Set5")
    assert found.name == "Set5"
    assert Path(found.pairs[0].lr or "").parent == tmp_path / "Set5" / lr


def test_a_relative_root_is_named_too(tmp_path, monkeypatch):
    save(tmp_path / "holiday" / "a.png")
    monkeypatch.chdir(tmp_path / "holiday")
    assert find_dataset(Path()).name == "holiday"


@pytest.mark.parametrize(
    ("hr", "lr"),
    [
        pytest.param("img_001", "img_001x3", id="suffix"),
        pytest.param("img_001", "img_001", id="same name"),
        pytest.param("img_001", "IMG_001X3", id="upper case"),
        pytest.param("box3", "box3", id="HR name ends like the suffix"),
        pytest.param("box3", "box3x3", id="and has it as well"),
    ],
)
def test_lr_images_are_matched_by_name(tmp_path, hr, lr):
    save(tmp_path / "HR" / f"{hr}.png")
    for name in (lr, "unrelated", "bo"):
        save(tmp_path / "LR_bicubic_X3" / f"{name}.png", picture(4, 5))
    assert [Path(pair.lr or "").stem for pair in find_dataset(tmp_path).pairs] == [lr]


def test_lr_and_hr_may_be_of_different_formats(tmp_path):
    save(tmp_path / "HR" / "a.png")
    save(tmp_path / "LR_bicubic_X3" / "ax3.bmp", picture(4, 5))
    assert Path(find_dataset(tmp_path).pairs[0].lr or "").name == "ax3.bmp"


def test_an_hr_image_without_its_lr_image_is_told(tmp_path):
    save_pair(tmp_path, "HR", "LR_bicubic_X3", "a")
    save(tmp_path / "HR" / "b.png")
    with pytest.raises(DataNotFound, match=r"b\.png has no LR image bx3 or b in .*LR_bicubic_X3"):
        find_dataset(tmp_path)


def test_a_plain_folder_of_images_is_scored(tmp_path):
    for name in ("b.PNG", "a.jpg", "c.webp", "d.bmp", "e.jpeg"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "._a.jpg").write_bytes(b"\0\5\26\7")
    (tmp_path / "folder.png").mkdir()
    found = find_dataset(tmp_path)
    assert [pair.name for pair in found.pairs] == ["a", "b", "c", "d", "e"]
    assert {pair.lr for pair in found.pairs} == {None}
    assert found.name == tmp_path.name


def test_without_a_root_the_embedded_photographs_are_scored():
    found = find_dataset(None)
    assert found.name == "embedded photographs"
    assert [Path(pair.hr).name for pair in found.pairs] == list(EMBEDDED_SCORED)
    assert all(min(load_pair(pair)[0].shape[:2]) >= 100 for pair in found.pairs)


@pytest.mark.parametrize(
    ("name", "words"), [("nowhere", "nowhere is no folder"), ("empty", "holds no images"), ("file.txt", "is no folder")]
)
def test_a_root_without_images_is_told_with_what_was_expected(tmp_path, name, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("text")
    with pytest.raises(DataNotFound, match=f"{words}; expected DIV2K_valid_HR/, HR/ or image files") as caught:
        find_dataset(tmp_path / name)
    assert "did you mean" not in str(caught.value)


def test_a_root_above_a_folder_of_images_is_told_where_they_are(tmp_path):
    save(tmp_path / "holiday" / "a.png")
    with pytest.raises(DataNotFound, match=r"did you mean .*/holiday\?"):
        find_dataset(tmp_path)


def test_of_several_sets_none_is_chosen_and_all_are_named(tmp_path):
    for name in ("Set5", "Set14"):
        save_pair(tmp_path / name, "HR", "LR_bicubic_X3", "a")
    save(tmp_path / "train" / "a.png")
    save(tmp_path / "train" / "more" / "a.png")
    save(tmp_path / "DIV2K" / "DIV2K_train_HR" / "0004.png")
    save(tmp_path / "photographs" / "a.png")
    (tmp_path / "empty").mkdir()
    assert find_dataset(tmp_path) == find_dataset(None)
    assert sets_below(tmp_path) == ["Set14", "Set5", "photographs"]
    for name in sets_below(tmp_path):
        assert find_dataset(tmp_path / name).name == name


@pytest.mark.parametrize("below", ["DIV2K/DIV2K_train_HR", "DIV2K_train_HR", "train"])
def test_a_root_of_training_images_alone_is_not_scored_on(tmp_path, below):
    save(tmp_path / below / "0001.png")
    assert find_dataset(tmp_path) == find_dataset(None)
    assert sets_below(tmp_path) == []


def test_a_folder_that_holds_div2k_validation_is_a_set(tmp_path):
    save_pair(tmp_path / "mine", "DIV2K_valid_HR", "DIV2K_valid_LR_bicubic/X3")
    assert sets_below(tmp_path) == ["mine"]


def test_no_sets_below_what_is_no_folder(tmp_path):
    assert sets_below(tmp_path / "nowhere") == []


# Fingerprints


def test_the_fingerprint_follows_bytes_and_names_and_nothing_else(tmp_path):
    save_pair(tmp_path / "first", "HR", "LR_bicubic_X3", "a")
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    first = find_dataset(tmp_path / "first").fingerprint
    assert find_dataset(tmp_path / "second").fingerprint == first
    found = {first}
    for path in ("HR/a.png", "LR_bicubic_X3/ax3.png"):
        content = bytearray((tmp_path / "second" / path).read_bytes())
        content[-1] ^= 1
        (tmp_path / "second" / path).write_bytes(content)
        found.add(find_dataset(tmp_path / "second").fingerprint)
    (tmp_path / "first" / "HR" / "a.png").rename(tmp_path / "first" / "HR" / "b.png")
    (tmp_path / "first" / "LR_bicubic_X3" / "ax3.png").rename(tmp_path / "first" / "LR_bicubic_X3" / "bx3.png")
    found.add(find_dataset(tmp_path / "first").fingerprint)
    shutil.rmtree(tmp_path / "first" / "LR_bicubic_X3")
    found.add(find_dataset(tmp_path / "first").fingerprint)
    assert len(found) == 5


# Calibration


@pytest.fixture(scope="module")
def frames() -> dict[str, Image]:
    return dict(calibration_frames(find_dataset(None)))


def test_calibration_frames_are_lr_frames_of_several_photographs(frames):
    assert 8 <= len(frames) <= 16
    assert len(frames) == len(CALIBRATION)
    for name, frame in frames.items():
        assert frame.shape == (360, 640, 3), name
        assert frame.dtype == np.uint8
        assert frame.std() > 10, f"{name} is nearly one colour"


def test_calibration_spans_the_colours(frames):
    """Every corner of the RGB cube is met within a few grey levels, so no scored colour lies far outside."""
    colours = np.concatenate([frame.reshape(-1, 3) for frame in frames.values()]).astype(int)
    for corner in np.ndindex(2, 2, 2):
        distance = np.abs(colours - np.array(corner) * 255).max(axis=1).min()
        assert distance <= (0 if len(set(corner)) == 1 else 8), corner


def test_the_probe_is_the_first_calibration_frame(frames):
    np.testing.assert_array_equal(probe_frame(), next(iter(frames.values())))


def test_no_calibration_photograph_is_scored_or_its_stereo_twin():
    names = {name for name, _ in CALIBRATION}
    assert names.isdisjoint({*EMBEDDED_SCORED, "motorcycle_right.png"})
    scored = {read_rgb(path).tobytes() for path in embedded_images(EMBEDDED_SCORED)}
    assert all(read_rgb(path).tobytes() not in scored for path in embedded_images(sorted(names)))


@pytest.mark.parametrize(
    ("photograph", "copy"),
    [
        pytest.param("camera.png", "camera.png", id="same file"),
        pytest.param("camera.png", "holiday.png", id="renamed"),
        pytest.param("coins.png", "coins.bmp", id="another format"),
        pytest.param("ihc.png", "ihc.webp", id="lossless WebP"),
        pytest.param("hubble_deep_field.jpg", "hubble.png", id="JPEG as PNG"),
        pytest.param("grass.png", "grass.png", id="grey as RGB"),
    ],
)
def test_a_scored_copy_of_a_calibration_photograph_does_not_calibrate(tmp_path, frames, photograph, copy):
    PillowImage.fromarray(read_rgb(embedded_images([photograph])[0])).save(tmp_path / copy, lossless=True)
    left = dict(calibration_frames(scored_on(*embedded_images(EMBEDDED_SCORED), tmp_path / copy)))
    assert set(frames) - set(left) == {name for name in frames if name.startswith(photograph)}
    assert set(left) < set(frames)


def test_another_image_of_the_same_size_leaves_calibration_alone(tmp_path, frames):
    changed = read_rgb(embedded_images(["camera.png"])[0]).copy()
    changed[100, 100, 1] ^= 1
    assert dict(calibration_frames(scored_on(save(tmp_path / "camera.png", changed)))).keys() == frames.keys()


def test_only_scored_images_of_a_calibration_size_are_decoded(tmp_path, monkeypatch):
    decoded = []
    monkeypatch.setattr(datasets, "read_rgb", lambda path: decoded.append(Path(path).name) or read_rgb(path))
    scored = scored_on(save(tmp_path / "small.png"), save(tmp_path / "large.png", picture(512, 512)))
    list(calibration_frames(scored))
    assert decoded.count("large.png") == 1
    assert "small.png" not in decoded


def test_scoring_on_every_calibration_photograph_is_told():
    names = sorted({name for name, _ in CALIBRATION})
    with pytest.raises(DataNotFound, match="made up holds every photograph that could calibrate"):
        next(calibration_frames(scored_on(*embedded_images(names))))


def test_a_broken_scored_image_is_told_before_calibration(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"none")
    with pytest.raises(DataNotFound, match=r"broken\.png cannot be read"):
        next(calibration_frames(scored_on(tmp_path / "broken.png")))


def test_fill_frame_takes_the_middle_of_a_large_image():
    image = picture(400, 700)
    np.testing.assert_array_equal(fill_frame(image), image[20:380, 30:670])


def test_fill_frame_mirrors_a_small_image_at_its_edges():
    image = picture(100, 90)
    frame = fill_frame(image)
    assert frame.shape == (360, 640, 3)
    np.testing.assert_array_equal(frame[:100, :90], image)
    np.testing.assert_array_equal(frame[100:200, :90], image[::-1])
    np.testing.assert_array_equal(frame[:100, 90:180], image[:, ::-1])
    np.testing.assert_array_equal(frame[200:300, 180:270], image)


# Held out


def test_held_out_pairs_are_photographs_that_are_not_scored():
    pairs = list(held_out_pairs(find_dataset(None)))
    assert [name for name, _, _ in pairs] == [
        "ihc.png", "camera.png", "hubble_deep_field.jpg", "grass.png", "gravel.png", "brick.png", "coins.png",
    ]  # fmt: skip
    for name, lr, hr in pairs:
        assert max(lr.shape) <= HELD_OUT_SIDE, name
        assert hr.shape == (lr.shape[0] * 3, lr.shape[1] * 3, 3)
        assert lr.dtype == hr.dtype == np.uint8
        np.testing.assert_array_equal(lr, downscale(hr, 3))


def test_held_out_photographs_are_cut_from_the_middle():
    _, _, hr = next(held_out_pairs(find_dataset(None)))
    whole = read_rgb(embedded_images(["hubble_deep_field.jpg"])[0])
    pairs = {name: hr for name, _, hr in held_out_pairs(find_dataset(None))}
    top, left = (whole.shape[0] - 600) // 2, (whole.shape[1] - 600) // 2
    np.testing.assert_array_equal(pairs["hubble_deep_field.jpg"], whole[top : top + 600, left : left + 600])
    assert hr.shape[0] % 3 == 0


def test_a_scored_photograph_is_not_held_out(tmp_path):
    PillowImage.fromarray(read_rgb(embedded_images(["coins.png"])[0])).save(tmp_path / "copy.png")
    names = [name for name, _, _ in held_out_pairs(scored_on(tmp_path / "copy.png"))]
    assert "coins.png" not in names
    assert "camera.png" in names


def test_enlarging_is_keys_interpolation_with_repeated_edges():
    from mai_harness.resize import cubic

    image = picture(9, 7)
    places = (np.arange(27) + 0.5) / 3 - 0.5
    whole = np.floor(places).astype(int)
    padded = np.pad(image[:, 3, 0].astype(float), 3, mode="edge")
    column = sum(cubic(places - (whole + tap)) * padded[whole + tap + 3] for tap in range(-1, 3))
    flat = np.repeat(image[:, 3:4], 7, axis=1)
    found = enlarge(flat, (27, 21))
    np.testing.assert_allclose(found[:, 10, 0], np.clip(column, 0, 255), atol=0.51)


def test_enlarging_takes_whole_multiples_only():
    with pytest.raises(ValueError, match="no multiple"):
        enlarge(picture(10, 10), (30, 31))


# Training


def test_training_images_are_found_in_all_three_places(tmp_path):
    expected = [
        save(tmp_path / place)
        for place in ("DIV2K/DIV2K_train_HR/0001.png", "DIV2K_train_HR/0002.png", "train/a/b/c.webp", "train/d.jpg")
    ]
    save(tmp_path / "DIV2K" / "DIV2K_valid_HR" / "0801.png")
    save(tmp_path / "HR" / "0.png")
    (tmp_path / "train" / "._d.jpg").write_bytes(b"")
    (tmp_path / "train" / "notes.txt").write_text("none")
    assert training_images(tmp_path) == sorted(expected)


def test_no_training_images_are_told_with_every_place(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(DataNotFound, match=r"DIV2K/DIV2K_train_HR, .*/DIV2K_train_HR, .*/train; .*--data"):
        training_images(tmp_path)
