"""Batches: the encoded pixels of the files, augmented for training."""

import random

import numpy as np
import pytest
import torch
from fastai.torch_core import TensorImage
from PIL import Image
from tiny_pictures import SIDE, expected, make, make_parts, numbered
from torch import Tensor

from colourgan.datasets import cache, cached_images, color_dataloaders, training_parts
from colourgan.datasets.loaders import Augment, OpenRGB, labelled_dataloaders
from colourgan.errors import UsageError


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
        ({"batch_size": 0}, "a batch of 0 images is none"),
        ({"size": 0}, "size 0 is too small"),
        ({"augmentation": "turn"}, "unknown augmentation 'turn': choices: none, flip, flip.crop"),
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


@pytest.mark.parametrize(("mode", "kinds"), [("none", 1), ("flip", 2), ("flip+crop", 30)])
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
