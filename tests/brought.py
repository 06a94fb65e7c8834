"""What the tests of data sets share that the user brings as an archive or a folder."""

from pathlib import Path

import pytest
from archives import files, write

from colourgan import datasets
from colourgan.errors import RunError


def names(root: Path) -> dict[str, set[str]]:
    """The parts of a data set and the names below them."""
    parts = {}
    for name in files(root):
        part, _, rest = name.partition("/")
        parts.setdefault(part, set()).add(rest)
    return parts


def refused(name: str, data_dir: Path, reason: str) -> None:
    """Preparing fails with one line, and leaves what was there, and only that."""
    before = files(data_dir)
    with pytest.raises(RunError, match=reason) as caught:
        datasets.dataset_root(name, data_dir)
    assert "\n" not in str(caught.value)
    assert files(data_dir) == before
    assert not [path.name for path in data_dir.iterdir() if ".part" in path.name]


def left_out_by_a_bare_folder(folder: Path, content: dict[str, bytes]) -> set[str]:
    """The names of the test images when --data is given the folder of images itself."""
    write(folder, content)
    return {path.relative_to(folder).as_posix() for path in datasets.test_files(folder)}
