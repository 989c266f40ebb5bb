"""Images are decoded once, and a patch follows from seed and index alone."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from mai_harness.decode import DecodeRequest, ImageFile, decode
from mai_harness.errors import DataNotFound
from mai_harness.patches import Images, PatchDataset, Picture
from mai_harness.resize import downscale

PATCH = 8


@pytest.fixture
def images(tmp_path):
    """One wide image, one high one, and one that is smaller than a patch."""
    rng = np.random.default_rng(0)
    files = []
    for name, shape in {"a": (60, 91, 3), "b": (200, 40, 3), "small": (60, 20, 3)}.items():
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(tmp_path / f"{name}.png")
        files.append(ImageFile.at(tmp_path / f"{name}.png"))
    return Images(tmp_path, decode(DecodeRequest(images=tuple(files)), tmp_path).pictures)


def undone(patch: torch.Tensor, way: int) -> np.ndarray:
    image = patch.permute(1, 2, 0).numpy()
    image = image[:, ::-1] if way & 4 else image
    image = image[::-1] if way & 2 else image
    return image.swapaxes(0, 1) if way & 1 else image


def test_files_hold_the_images_cropped_and_their_downscaled_ones(images):
    for picture, (lr, hr) in zip(images.pictures, images, strict=True):
        pixels = np.asarray(Image.open(picture.path))
        np.testing.assert_array_equal(hr, pixels[: hr.shape[0], : hr.shape[1]])
        np.testing.assert_array_equal(lr, downscale(np.asarray(hr), 3))
        assert hr.shape[:2] == (pixels.shape[0] // 3 * 3, pixels.shape[1] // 3 * 3)
    assert len({picture.sha256 for picture in images.pictures}) == 3


def test_a_damaged_image_is_told(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(DataNotFound, match=r"a\.png cannot be read"):
        decode(DecodeRequest(images=(ImageFile.at(tmp_path / "a.png"),)), tmp_path)


def test_images_smaller_than_a_patch_are_left_out(images):
    assert [len(images), len(images.holding(PATCH)), len(images.holding(20))] == [3, 2, 1]
    with pytest.raises(DataNotFound, match="none of 3 training images has 192 pixels to a side"):
        images.holding(64)


def test_images_are_sent_to_other_processes_by_name(images):
    sent = pickle.dumps(images)
    assert len(sent) < 2000
    np.testing.assert_array_equal(pickle.loads(sent)[1][1], images[1][1])


@pytest.mark.parametrize(("count", "held"), [(63, []), (64, [4, 12, 20, 28, 36, 44, 52, 60])])
def test_eight_of_many_images_are_held_out(images, count, held):
    many = images.of([Picture(path=str(i), height=1, width=1, offset=0) for i in range(count)])
    training, validation = many.split()
    assert [int(p.path) for p in validation.pictures] == held
    assert [int(p.path) for p in training.pictures] == [i for i in range(count) if i not in held]


def test_a_patch_follows_from_seed_and_index(images):
    first, again, other = (PatchDataset(images.holding(PATCH), PATCH, seed) for seed in (1, 1, 2))
    backwards = {i: again[i] for i in reversed(range(20))}
    for i in range(20):
        assert all(torch.equal(a, b) for a, b in zip(first[i], backwards[i], strict=True))
    assert not any(torch.equal(first[i][1], other[i][1]) for i in range(20))
    assert not torch.equal(first[0][1], first[1][1])


def test_lr_and_hr_patches_show_the_same_place(images):
    dataset = PatchDataset(images.holding(PATCH), PATCH, 0)
    for i in range(16):
        lr, hr = dataset[i]
        assert (lr.shape, hr.shape) == ((3, PATCH, PATCH), (3, 3 * PATCH, 3 * PATCH))
        assert lr.dtype == hr.dtype == torch.uint8
        inside = slice(2, -2)  # nearer the border bicubic sees pixels that the patch lacks
        way = next(w for w in range(8) if same(undone(lr, w), undone(hr, w), inside))
        assert way is not None


def same(lr: np.ndarray, hr: np.ndarray, inside: slice) -> bool:
    return np.array_equal(downscale(np.ascontiguousarray(hr), 3)[inside, inside], lr[inside, inside])


def test_patches_come_in_all_eight_ways_from_everywhere(tmp_path):
    # Pixels that tell where they are: one LR image of 9x10 has patches of 8 at 2x3 places.
    place = np.arange(27 * 30, dtype=np.uint16).reshape(27, 30)
    coded = np.stack([place >> 8, place & 255, np.zeros_like(place)], axis=-1).astype(np.uint8)
    Image.fromarray(coded).save(tmp_path / "a.png")
    request = DecodeRequest(images=(ImageFile.at(tmp_path / "a.png"),))
    dataset = PatchDataset(Images(tmp_path, decode(request, tmp_path).pictures), PATCH, 0)
    seen = set()
    for i in range(600):
        high, low = (int(v) for v in dataset[i][1][:2, 0, 0])
        second = dataset[i][1][:2, 0, 1]
        seen.add((high * 256 + low, int(second[0]) * 256 + int(second[1])))
    assert len(seen) == 2 * 3 * 8


def test_images_are_drawn_by_area(images):
    dataset = PatchDataset(images.holding(PATCH), PATCH, 0)
    hr = [np.asarray(pair[1]) for pair in dataset.images]
    values = [{pixels.tobytes() for pixels in image.reshape(-1, 3)} for image in hr]
    first = sum(dataset[i][1][:, 0, 0].numpy().tobytes() in values[0] for i in range(400))
    areas = [image.shape[0] * image.shape[1] for image in hr]
    assert first / 400 == pytest.approx(areas[0] / sum(areas), abs=0.08)


def test_half_size_copies_come_behind_and_never_of_held_out_images(tmp_path):
    files = []
    for index in range(64):
        pixels = np.random.default_rng(index).integers(0, 256, (50, 62, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index:02d}.png")
        files.append(ImageFile.at(tmp_path / f"{index:02d}.png"))
    images = Images(tmp_path, decode(DecodeRequest(images=tuple(files), halves=True), tmp_path).pictures)
    assert [picture.factor for picture in images.pictures] == [1] * 64 + [2] * 64
    pixels = np.asarray(Image.open(images.pictures[64].path))
    lr, hr = images[64]
    np.testing.assert_array_equal(hr, downscale(pixels[:48, :60], 2))
    np.testing.assert_array_equal(lr, downscale(np.asarray(hr), 3))
    training, validation = images.split()
    assert [picture.factor for picture in validation.pictures] == [1] * 8
    assert len(training) == 2 * 56
    assert not {p.path for p in training.pictures} & {p.path for p in validation.pictures}
