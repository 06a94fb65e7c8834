"""Which images of a data set's folder are for training, for choosing by, and for testing."""

import hashlib
import random
from pathlib import Path
from typing import NamedTuple

from colourgan.errors import UsageError
from colourgan.images import list_images

SPLIT_SEED = 0  # one split for all runs, or the images one run trained on would test another
TEST_SHARE = 0.1  # of a folder that has no train/ and test/ of its own
VALID_SHARE, VALID_MOST = 0.1, 1000


class Parts(NamedTuple):
    """Paths of the images to train on and to choose by, each in a fixed shuffled order."""

    train: list[Path]
    valid: list[Path]


def training_parts(root: Path) -> Parts:
    """Training and validation images of a data set's folder; its test images are never opened.

    Validation images are those in valid/, else a seeded tenth (1,000 at most) of the training ones.
    """
    if (root / "train").is_dir():
        files = list_images(root / "train")
    else:
        files = _not_apart(root)
        test = set() if (root / "test").is_dir() else set(_chosen_for_test(files, root))
        files = [file for file in files if file not in test]
    random.Random(SPLIT_SEED).shuffle(files)
    if (root / "valid").is_dir():
        random.Random(SPLIT_SEED).shuffle(valid := list_images(root / "valid"))
        return Parts(files, valid)
    share = min(VALID_MOST, max(1, int(len(files) * VALID_SHARE)))
    return Parts(files[share:], files[:share])


def test_files(root: Path) -> list[Path]:
    """Test images: those in test/, else of a folder without train/ a tenth chosen by name.

    Choosing by a hash of each file's name keeps the others in training when files come or go.
    """
    if (root / "test").is_dir():
        return list_images(root / "test")
    if (root / "train").is_dir():
        raise UsageError(f"{root} has a train/ but no test/ folder to evaluate on")
    if not (files := _not_apart(root)):
        raise UsageError(f"{root} has no images but those in valid/: none to evaluate on")
    return _chosen_for_test(files, root)


def _not_apart(root: Path) -> list[Path]:
    """The images of a folder without train/ that do not lie in its test/ or valid/."""
    return [f for f in list_images(root) if f.relative_to(root).parts[0] not in ("test", "valid")]


def _chosen_for_test(files: list[Path], root: Path) -> list[Path]:
    names = (file.relative_to(root).as_posix().encode() for file in files)
    digests = (hashlib.sha256(name).digest()[:4] for name in names)
    hashes = {f: int.from_bytes(each, "big") for f, each in zip(files, digests, strict=True)}
    chosen = [file for file in files if hashes[file] < TEST_SHARE * 2**32]
    return chosen or sorted(files, key=hashes.get)[:1]
