"""Data sets: which files train, which choose and which test."""

import random

import pytest
from tiny_pictures import make, names, numbered

from colourgan import datasets
from colourgan.datasets import color_dataloaders, training_parts
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
    from colourgan.datasets import loaders

    def listed(count):
        files = [tmp_path / "train" / f"{i}.png" for i in range(count)]
        monkeypatch.setattr(loaders, "list_images", lambda folder: list(files))
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
