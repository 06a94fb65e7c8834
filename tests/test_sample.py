import numpy as np
import pytest
from archives import files
from PIL import Image

from colourgan.datasets import sample
from colourgan.datasets.sources import DATASETS, dataset_root
from colourgan.errors import RunError


@pytest.fixture(scope="module")
def sample_root(tmp_path_factory):
    return DATASETS["sample"](tmp_path_factory.mktemp("data"))


def test_sample_is_split_by_photo(sample_root):
    photos = {part.name: {p.name for p in part.iterdir()} for part in sample_root.iterdir()}
    assert len(photos["train"]) >= 4 and len(photos["valid"]) >= 1 and len(photos["test"]) >= 2
    assert sum(map(len, photos.values())) == len(set().union(*photos.values())) == 8


def test_sample_has_hundreds_of_color_crops(sample_root):
    crops = [np.asarray(Image.open(path)) for path in sorted(sample_root.rglob("*.png"))]
    assert len(crops) == 486
    assert {crop.shape for crop in crops} == {(96, 96, 3)}
    spread = [np.ptp(crop.astype(int), axis=2).mean() for crop in crops]
    assert np.mean(spread) > 40 and np.mean(np.array(spread) > 5) > 0.95


def test_sample_is_the_same_every_time(sample_root, tmp_path):
    sample.build_sample(tmp_path)
    again = files(sample_root)
    assert [name for name, body in files(tmp_path).items() if body != again.pop(name)] == []
    assert not again
    # A profile made by the conversion to sRGB would hold the time, to the second.
    assert "icc_profile" not in Image.open(sample_root / "test/chelsea/000.png").info


def test_a_crop_shows_its_piece_of_the_photo(tmp_path):
    photo = np.random.default_rng(0).integers(0, 256, (96, 192, 3), np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    sample._write_crops(tmp_path / "photo.png", tmp_path / "crops")
    boxes = sample.crop_boxes(192, 96)
    left, upper, right, lower = boxes[3]
    assert (left, upper, right, lower) == (72, 0, 168, 96)
    assert (np.asarray(Image.open(tmp_path / "crops/003.png")) == photo[:, 72:168]).all()


@pytest.mark.parametrize("size", [(640, 427), (512, 512), (300, 451), (96, 97)])
def test_crops_cover_the_photo_and_stay_inside(size):
    seen = np.zeros(size[::-1], int)
    sides = set()
    for left, upper, right, lower in sample.crop_boxes(*size):
        assert min(left, upper) >= 0 and right <= size[0] and lower <= size[1]
        assert right - left == lower - upper
        sides.add(right - left)
        seen[upper:lower, left:right] += 1
    assert seen.min() >= 3 and len(sides) == 3


def test_sample_without_one_photo_warns(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sample.PHOTOS, "skimage/data/gone.png", "test")
    monkeypatch.setattr(sample, "_write_crops", lambda photo, folder: folder.mkdir(parents=True))
    sample.build_sample(tmp_path)
    assert caplog.messages == ["the data set 'sample' is made without skimage/data/gone.png"]
    assert len(list(tmp_path.glob("*/*"))) == 8


def test_sample_with_too_few_photos(tmp_path, monkeypatch):
    for photo, part in list(sample.PHOTOS.items()):
        if part == "valid":
            monkeypatch.delitem(sample.PHOTOS, photo)
    monkeypatch.setitem(sample.PHOTOS, "no_such_package/photo.png", "valid")
    with pytest.raises(RunError, match=r"missing: no_such_package/photo\.png; install"):
        dataset_root("sample", tmp_path)
    assert not list(tmp_path.iterdir())
