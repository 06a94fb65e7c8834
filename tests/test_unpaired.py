"""Grey pictures from one half of a folder, color pictures from the other."""

import pytest
import torch
from tiny_pictures import SIDE, expected, make, make_parts, numbered

from colourgan.datasets import training_parts, unpaired_dataloaders
from colourgan.errors import UsageError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_parts(tmp_path_factory.mktemp("pictures"))


def pictures_of(loader, wanted):
    found = []
    for L, ab in loader:
        for l, c in zip(L, ab, strict=True):  # noqa: E741
            found += [f for f, (x, y) in wanted.items() if torch.equal(x, l) and torch.equal(y, c)]
    return found


def test_halves_share_no_file_and_deliver_their_own_pictures(root):
    dls, colors = unpaired_dataloaders(root, SIDE, 4, augmentation="none")
    wanted = {file: expected(file) for file in training_parts(root).train}
    grey_files, color_files = (list(part.dataset.items) for part in (dls.train, colors))
    assert len(grey_files) == len(color_files) == 10 and not set(grey_files) & set(color_files)
    assert set(grey_files) | set(color_files) < set(wanted)
    for loader, files in ((dls.train, grey_files), (colors, color_files)):
        orders = [pictures_of(loader, wanted) for _ in range(2)]
        assert sorted(orders[0]) == sorted(orders[1]) == sorted(files) and orders[0] != orders[1]
    assert dls.size == SIDE and dls.valid.n == 4
    assert torch.equal(dls.valid.one_batch()[0][0], expected(training_parts(root).valid[0])[0])


def test_the_seed_chooses_the_halves_and_the_limit_counts_both(root):
    def files(seed, **options):
        dls, colors = unpaired_dataloaders(root, SIDE, 4, seed=seed, **options)
        return [set(part.dataset.items) for part in (dls.train, colors)]

    assert files(0) == files(0) != files(1)
    assert set.union(*files(0, limit=6)) == set(training_parts(root).train[:6])


def test_both_halves_are_augmented(root):
    dls, colors = unpaired_dataloaders(root, SIDE, 10)
    wanted = {file: expected(file) for file in training_parts(root).train}
    assert all(len(pictures_of(loader, wanted)) < 10 for loader in (dls.train, colors))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 3}, "a limit of 3 training images is too few: at least 4 are needed"),
        ({"limit": 1}, "a limit of 1 training images is too few"),
        ({"batch_size": 0}, "batch size 0 is too small"),
    ],
)
def test_wrong_use_of_halves(root, options, message):
    with pytest.raises(UsageError, match=message):
        unpaired_dataloaders(root, SIDE, **options)


def test_three_pictures_are_too_few_for_two_halves_and_four_are_enough(tmp_path):
    make(tmp_path, [*numbered("train/", 3), "valid/0.png"])
    with pytest.raises(UsageError, match="has 3 usable training images: at least 4 are needed"):
        unpaired_dataloaders(tmp_path, 16)
    make(tmp_path, ["train/more.png"])
    dls, colors = unpaired_dataloaders(tmp_path, 16)
    assert dls.train.n == colors.n == 2
    assert [len(loader.one_batch()[0]) for loader in (dls.train, colors)] == [2, 2]
