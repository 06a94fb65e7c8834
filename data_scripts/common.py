"""What the scripts beside this file share: prepare one data set, then say where and how much."""

import argparse
import sys
from pathlib import Path

from colourgan.datasets.sources import DATASETS, dataset_root
from colourgan.errors import RunError
from colourgan.images import list_images


def main(name: str) -> None:
    """Prepares the data set `name` in --data-dir and prints its folder and its images by part."""
    parser = argparse.ArgumentParser(description=DATASETS[name].__doc__)
    parser.add_argument("--data-dir", type=Path, help="default: fastai's data folder")
    try:
        root = dataset_root(name, parser.parse_args().data_dir)
    except RunError as error:
        sys.exit(f"error: {error}")
    parts = [part for part in ("train", "valid", "test") if (root / part).is_dir()]
    counts = [f"{part} {len(list_images(root / part))}" for part in parts]
    print(f"{root}: {', '.join(counts)} images")
