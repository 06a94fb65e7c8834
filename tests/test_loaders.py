"""Which files train, choose and test; batches of their encoded pixels, augmented for training."""

import random

import numpy as np
import pytest
import torch
from fastai.torch_core import TensorImage
from PIL import Image
from tiny_pictures import SIDE, expected, make, make_parts, names, numbered
from torch import Tensor

from colourgan import datasets
from colourgan.datasets import (
    cache,
    cached_images,
    color_dataloaders,
    loaders,
    parts,
    training_parts,
)
from colourgan.datasets.augmentation import Aging, Augment
from colourgan.datasets.loaders import OpenRGB, labelled_dataloaders
from colourgan.errors import UsageError


def test_train_and_test_folders_are_taken_as_they_are(tmp_path):
    make(tmp_path, numbered("train/a/", 15) + numbered("train/b/", 15) + numbered("test/a/", 4))
    train, valid = training_parts(tmp_path)
    test = datasets.test_files(tmp_path)
    assert len(train) == 27 and len(valid) == 3
    assert set(names(train + valid, tmp_path)) == set(
        numbered("train/a/", 15) + numbered("train/b/", 15)
    )
    assert names(test, tmp_path) == numbered("test/a/", 4)


def test_parts_are_shuffled_the_same_way_every_time_and_everywhere(tmp_path):
    pictures = numbered("train/a/", 20) + numbered("train/b/", 20)
    one, other = make(tmp_path / "one", pictures), make(tmp_path / "other", pictures)
    for mine, theirs in zip(training_parts(one), training_parts(other), strict=True):
        assert names(mine, one) == names(theirs, other)
    random.seed(5)
    assert training_parts(one) == training_parts(one)
    folders = [file.parent.name for file in training_parts(one).train[:12]]
    assert set(folders) == {"a", "b"}  # a limit takes some of every class


@pytest.mark.parametrize("train", ["train/", ""])
def test_a_valid_folder_is_respected(tmp_path, train):
    make(tmp_path, numbered(train, 20) + numbered("valid/a/", 9) + numbered("valid/b/", 9))
    train_files, valid = training_parts(tmp_path)
    wanted = numbered("valid/a/", 9) + numbered("valid/b/", 9)
    assert sorted(names(valid, tmp_path)) == wanted != names(valid, tmp_path)
    assert not set(train_files) & set(valid)
    assert not any(file.parent.parent.name == "valid" for file in train_files)


def test_the_validation_part_is_a_tenth_but_1000_at_most(tmp_path, monkeypatch):
    def listed(count):
        files = [tmp_path / "train" / f"{i}.png" for i in range(count)]
        monkeypatch.setattr(parts, "list_images", lambda folder: list(files))
        return [len(part) for part in training_parts(tmp_path)]

    (tmp_path / "train").mkdir()
    assert listed(5) == [4, 1]
    assert listed(9_999) == [9_000, 999]
    assert listed(50_000) == [49_000, 1000]


def test_a_folder_without_parts_is_split_by_the_names_of_its_files(tmp_path):
    make(tmp_path, numbered("", 30) + numbered("more/", 30), side=1)
    train, valid = training_parts(tmp_path)
    test = datasets.test_files(tmp_path)
    assert sorted(train + valid + test) == sorted(tmp_path.rglob("*.png"))
    assert len(train) + len(valid) + len(test) == 60 and 2 <= len(test) <= 12
    assert datasets.test_files(tmp_path) == test


def test_no_file_changes_between_training_and_test_when_others_come_or_go(tmp_path):
    make(tmp_path, numbered("", 60), side=1)
    test = set(datasets.test_files(tmp_path))
    make(tmp_path, numbered("new", 30), side=1)
    assert test <= set(datasets.test_files(tmp_path))
    for path in sorted(set(tmp_path.glob("*.png")) - test)[::2]:
        path.unlink()
    left = set(datasets.test_files(tmp_path))
    train, valid = training_parts(tmp_path)
    assert test <= left and not left & {*train, *valid}


def test_the_only_images_beside_a_test_folder_train(tmp_path):
    make(tmp_path, numbered("", 20) + numbered("test/", 5))
    train, valid = training_parts(tmp_path)
    assert sorted(names(train + valid, tmp_path)) == numbered("", 20)
    assert names(datasets.test_files(tmp_path), tmp_path) == numbered("test/", 5)


@pytest.mark.parametrize("train", ["train/", "", "deep/in/"])
def test_training_never_needs_the_test_images(tmp_path, train):
    make(tmp_path, numbered(train, 20) + numbered("test/", 5))
    before = training_parts(tmp_path)
    for file in datasets.test_files(tmp_path):
        file.unlink()
    assert training_parts(tmp_path) == before
    dls = color_dataloaders(tmp_path, 16, 4)
    assert dls.train.n == 18 and dls.valid.n == 2


def test_training_of_a_split_folder_never_opens_the_test_images(tmp_path):
    make(tmp_path, numbered("", 30))
    test = datasets.test_files(tmp_path)
    for file in test:
        file.write_bytes(b"broken")
    dls = color_dataloaders(tmp_path, 16, 4)
    assert dls.train.n + dls.valid.n == 30 - len(test)


def test_nothing_to_evaluate_on(tmp_path):
    make(tmp_path, numbered("train/", 3))
    with pytest.raises(UsageError, match=r"a train/ but no test/ folder to evaluate on"):
        datasets.test_files(tmp_path)
    make(tmp_path / "b", numbered("valid/", 3))
    with pytest.raises(UsageError, match=r"no images but those in valid/"):
        datasets.test_files(tmp_path / "b")


# Batches


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_parts(tmp_path_factory.mktemp("pictures"))


def test_validation_batches_are_the_encoded_pixels_of_the_files_in_order(root):
    dls = color_dataloaders(root, SIDE, 3, augmentation="flip+crop")
    batches = list(dls.valid)
    assert [len(L) for L, _ in batches] == [3, 1]
    L, ab = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert L.shape == (4, 1, SIDE, SIDE) and ab.shape == (4, 2, SIDE, SIDE)
    assert L.dtype == ab.dtype == torch.float32 and type(L) is type(ab) is Tensor
    for i, file in enumerate(training_parts(root).valid):
        assert torch.equal(L[i], expected(file)[0]) and torch.equal(ab[i], expected(file)[1])


def test_training_batches_hold_every_file_once_in_another_order_each_time(root):
    dls = color_dataloaders(root, SIDE, 6, augmentation="none")
    wanted = {file: expected(file) for file in training_parts(root).train}
    orders = []
    for _ in range(2):
        L, ab = (torch.cat(parts) for parts in zip(*dls.train, strict=True))
        orders.append([which(wanted, *pair) for pair in zip(L, ab, strict=True)])
        assert sorted(orders[-1]) == sorted(wanted)
    assert orders[0] != orders[1]


def which(wanted, L, ab):
    found = [f for f, (l, c) in wanted.items() if torch.equal(l, L) and torch.equal(c, ab)]  # noqa: E741
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(
    ("batch_size", "sizes"), [(10, [10, 10]), (5, [5, 5, 5, 5]), (9, [9, 9, 3]), (64, [21])]
)
def test_a_last_training_batch_of_one_is_dropped(root, batch_size, sizes):
    dls = color_dataloaders(root, 16, batch_size)
    assert [len(L) for L, _ in dls.train] == sizes and len(dls.train) == len(sizes)
    assert sum(len(L) for L, _ in dls.valid) == 4


def test_a_limit_bounds_training_and_validation(root):
    dls = color_dataloaders(root, 16, 8, limit=3)
    assert dls.train.n == 3 and dls.valid.n == 3 and dls.size == 16
    first = color_dataloaders(root, 16, 8, limit=2).train.dataset.items
    assert list(first) == list(dls.train.dataset.items)[:2]


@pytest.mark.parametrize(
    ("options", "expected_words"),
    [
        ({"limit": 1}, "a limit of 1 training images is too few"),
        ({"batch_size": 0}, "batch size 0 is too small"),
        ({"size": 0}, "size 0 is too small"),
        (
            {"augmentation": "turn"},
            "unknown augmentation 'turn': choices: none, or .* flip, crop, ",
        ),
        ({"data": "ciphar10"}, "did you mean 'cifar10'"),
    ],
)
def test_wrong_use_is_said_before_anything_is_decoded(root, monkeypatch, options, expected_words):
    monkeypatch.setattr(cache, "_decode", None)
    with pytest.raises(UsageError, match=expected_words):
        color_dataloaders(**{"data": root, "size": 24, **options})


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_images(tmp_path, count):
    make(tmp_path, numbered("", count))
    with pytest.raises(UsageError, match=r"no picture in|too few images: at least 3"):
        color_dataloaders(tmp_path, 16)


def test_one_usable_image_is_not_enough(tmp_path):
    make(tmp_path, ["train/0.png", "valid/0.png", "valid/1.png"])
    with pytest.raises(UsageError, match="one usable training image: at least 2"):
        color_dataloaders(tmp_path, 16)


def test_loaders_that_fastai_makes_open_the_files_to_the_same_pixels(root):
    dls = color_dataloaders(root, SIDE, 4)
    files = training_parts(root).valid
    for loader in (dls.test_dl(files), dls.valid.new(), dls.test_dl([str(f) for f in files])):
        batch = loader.one_batch()
        assert torch.equal(batch[0], dls.valid.one_batch()[0])


def test_pictures_of_every_kind_are_opened(root):
    file = training_parts(root).valid[0]
    image = Image.open(file)
    wanted = OpenRGB(SIDE)(file)
    assert wanted.shape == (3, SIDE, SIDE) and wanted.dtype == torch.uint8
    for source in (str(file), image, np.array(image), image.convert("RGBA")):
        assert torch.equal(OpenRGB(SIDE)(source), wanted)
    deep = Image.fromarray(np.full((40, 40), 32768, np.uint16))
    assert OpenRGB(SIDE)(deep).unique().tolist() == [128]


def test_labels_are_the_folders_of_both_parts(tmp_path):
    make(tmp_path, [*numbered("train/b/", 6), *numbered("train/a/", 6), *numbered("valid/c/", 3)])
    dls, classes = labelled_dataloaders(tmp_path, 16, 5, None, [], "cpu")
    assert classes == ["a", "b", "c"]
    rgb, labels = dls.valid.one_batch()
    assert rgb.shape == (3, 3, 16, 16) and labels.tolist() == [2, 2, 2]
    pairs = {(int(y), x.sum().item()) for batch in dls.train for x, y in zip(*batch, strict=True)}
    cached = cached_images(training_parts(tmp_path).train, 16)
    wanted = {
        (classes.index(file.parent.name), int(row.sum(dtype=int)))
        for file, row in zip(cached.files, cached.images, strict=True)
    }
    assert pairs == wanted


# Augmentation


def marked(count=64, side=16):
    """One random picture, many times: (count, 3, side, side) uint8."""
    pixels = torch.randint(0, 256, (1, 3, side, side), generator=torch.Generator().manual_seed(1))
    return pixels.byte().expand(count, -1, -1, -1)


def augmented(mode, batch, seed=0):
    torch.manual_seed(seed)
    return Augment(mode)(TensorImage(batch), split_idx=0).as_subclass(Tensor)


@pytest.mark.parametrize(
    ("mode", "kinds"),
    [("none", 1), ("flip", 2), ("flip+crop", 30), ("crop+flip", 30), ("zoom", 60), ("aging", 1)],
)
def test_every_image_is_augmented_in_its_own_way(mode, kinds):
    out = augmented(mode, marked())
    assert out.shape == (64, 3, 16, 16) and out.dtype == torch.uint8
    different = len({image.numpy().tobytes() for image in out})
    assert different == kinds if kinds < 3 else different >= kinds


def test_a_flip_mirrors_left_and_right():
    out = augmented("flip", marked())
    mirrored = torch.tensor([torch.equal(image, marked(1)[0].flip(-1)) for image in out])
    same = torch.tensor([torch.equal(image, marked(1)[0]) for image in out])
    assert (mirrored ^ same).all() and 16 < mirrored.sum() < 48


def test_a_crop_shifts_by_an_eighth_at_most_and_mirrors_the_rest():
    padded = torch.nn.functional.pad(marked(1).float(), (2, 2, 2, 2), mode="reflect").byte()[0]
    windows = {
        padded[:, y : y + 16, x : x + 16].contiguous().numpy().tobytes(): (y, x)
        for y in range(5)
        for x in range(5)
    }
    found = set()
    for image in augmented("flip+crop", marked(300)):
        for candidate in (image, image.flip(-1)):
            found.add(windows.get(candidate.contiguous().numpy().tobytes()))
    assert found - {None} == set(windows.values())


def test_validation_images_are_not_augmented():
    assert torch.equal(Augment("flip+crop")(TensorImage(marked()), split_idx=1), marked())


def test_augmented_batches_stay_consistent_and_follow_the_seed(root):
    def batches(seed):
        random.seed(seed)
        dls = color_dataloaders(root, SIDE, 7)
        torch.manual_seed(seed)
        return [batch for _ in range(2) for batch in dls.train]

    one, again, other = batches(3), batches(3), batches(4)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(one, again, strict=True))
    assert not all(torch.equal(a[0], b[0]) for a, b in zip(one, other, strict=True))
    wanted = {
        tuple(np.round(pixel, 3))
        for file in training_parts(root).train
        for pixel in torch.cat(expected(file)).flatten(1).T.numpy()
    }
    L, ab = one[0]  # every L still stands beside the ab of its own pixel
    pixels = torch.cat((L, ab), dim=1)[0].flatten(1).T.numpy()
    assert {tuple(np.round(pixel, 3)) for pixel in pixels} <= wanted


def test_flip_alone_is_what_it_was():
    flipped = augmented("flip", marked())
    torch.manual_seed(0)
    mirror = torch.rand(64) < 0.5
    for image, mirrored in zip(flipped, mirror, strict=True):
        assert torch.equal(image, marked(1)[0].flip(-1) if mirrored else marked(1)[0])


@pytest.mark.parametrize("mode", ["zoom", "flip+zoom", "zoom+crop+flip"])
def test_a_zoom_keeps_pictures_of_one_color_and_the_range_of_others(mode):
    plain = torch.tensor([[0, 0, 0], [255, 255, 255], [3, 200, 77]], dtype=torch.uint8)
    plain = plain[:, :, None, None].expand(-1, -1, 16, 16)
    assert torch.equal(augmented(mode, plain), plain)
    checkers = (torch.arange(16)[:, None] + torch.arange(16)).remainder(2).mul(255).byte()
    out = augmented(mode, checkers.expand(8, 3, 16, 16))
    assert out.dtype == torch.uint8 and out.shape == (8, 3, 16, 16)
    assert torch.equal(out[:, 0], out[:, 2])  # the channels of a pixel stay together


def test_a_zoom_shows_a_part_of_at_least_two_fifths():
    ramps = torch.arange(0, 256, 4).byte()
    x, y = ramps.expand(64, 64), ramps[:, None].expand(64, 64)
    out = augmented("zoom", torch.stack([x, y, x]).expand(200, -1, -1, -1)).float()
    width, height = out[:, 0].amax((1, 2)), out[:, 1].amax((1, 2))
    width, height = width - out[:, 0].amin((1, 2)), height - out[:, 1].amin((1, 2))
    areas, ratios = width * height / 252**2, width / height
    assert 0.36 < areas.min() < 0.5 and 0.9 < areas.max() <= 1.01
    assert 0.7 < ratios.min() < 0.85 and 1.15 < ratios.max() < 1.4
    corners = out[:, 0].amin((1, 2))
    assert corners.min() < 4 and corners.max() > 40  # parts from everywhere


def test_aging_changes_lightness_alone_in_its_range_and_not_every_time():
    torch.manual_seed(0)
    L, ab = torch.rand(200, 1, 16, 16) * 2 - 1, torch.rand(200, 2, 16, 16)
    aged, colors = Aging()((L, ab), split_idx=0)
    assert colors is ab and aged.shape == L.shape and aged.dtype == L.dtype
    assert aged.min() >= -1 and aged.max() <= 1
    changed = (aged != L).flatten(1).any(1).float().mean()
    assert 0.85 < changed < 0.99  # all but a sixteenth
    assert 0.02 < (aged - L).abs().mean() < 0.2
    still, _ = Aging()((L, ab), split_idx=1)
    assert torch.equal(still, L)


def test_aging_makes_grain_blur_and_another_contrast():
    torch.manual_seed(0)
    flat = torch.full((400, 1, 16, 16), 0.2)
    aged, _ = Aging()((flat, flat), split_idx=0)
    grain = aged.std((1, 2, 3))
    assert 0.3 < (grain > 1e-3).float().mean() < 0.7 and 0.03 < grain.max() < 0.08
    brightness = aged[grain < 1e-3].mean((1, 2, 3)) - 0.2
    assert 0.1 < brightness.abs().max() < 0.25 and (brightness > 0.01).any()
    assert (brightness < -0.01).any()


def test_aged_batches_keep_the_true_colors_and_validation_as_it_is(root):
    def batches(mode):
        random.seed(1)
        dls = color_dataloaders(root, SIDE, 7, augmentation=mode)
        torch.manual_seed(1)
        return list(dls.train), list(dls.valid)

    (plain, valid), (aged, as_valid), (again, _) = map(batches, ("none", "aging", "aging"))
    for one, other, same in zip(plain, aged, again, strict=True):
        assert torch.equal(one[1], other[1]) and not torch.equal(one[0], other[0])
        assert torch.equal(other[0], same[0])
    for one, other in zip(valid, as_valid, strict=True):
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def test_zoomed_batches_follow_the_seed_and_leave_validation_as_it_is(root):
    def batches(seed, mode="flip+zoom+aging"):
        random.seed(1)
        dls = color_dataloaders(root, SIDE, 7, augmentation=mode)
        torch.manual_seed(seed)
        return dls.train.one_batch(), dls.valid.one_batch()

    (one, valid), (same, _), (other, _) = batches(1), batches(1), batches(2)
    assert all(map(torch.equal, one, same)) and not torch.equal(one[1], other[1])
    assert all(map(torch.equal, valid, batches(1, "none")[1]))


@pytest.mark.parametrize("mode", ["", "flip+", "turn", "flip+none", "Flip", "flip,zoom"])
def test_an_unknown_augmentation_lists_the_words(mode):
    with pytest.raises(UsageError, match=r"none, or with . between: flip, crop, zoom, aging"):
        Augment(mode)


def test_images_that_stay_on_the_device_make_the_same_batches(root):
    dls = color_dataloaders(root, SIDE, 4)
    held = dls.train.new(dls.train.dataset, images=torch.from_numpy(np.array(dls.train.images)))
    for loader in (dls.train, held):
        loader.rng.seed(0)
    seen = []
    for loader in (dls.train, held):
        torch.manual_seed(0)
        seen.append([torch.cat(batch, dim=1) for batch in loader])
    assert len(seen[0]) > 1
    for mine, theirs in zip(*seen, strict=True):
        assert torch.equal(mine, theirs)


def test_images_stay_on_a_gpu_that_has_room_for_much_more():
    assert loaders.fits(2**30, 2**32) and not loaders.fits(2**30 + 1, 2**32)
