"""How many test images an encoder's whole classifier names right.

python bench/encoder_accuracy.py resnet20@packaged --data cifar10
"""

import argparse

import numpy as np
import torch

from colourgan.datasets import cached_images, dataset_root, native_size, test_files
from colourgan.encoders import ENCODERS, load_classifier
from colourgan.encoders.build import weights_file


def accuracy(spec: str, data: str) -> tuple[float, int]:
    """Share of right answers and number of test images; the classes are the images' folders."""
    arch, _, weights = spec.partition("@")
    kind = ENCODERS[arch]()
    model, _ = load_classifier(arch, kind, weights_file(arch, kind, weights or "published"))
    root = dataset_root(data)
    names = sorted(folder.name for folder in (root / "train").iterdir() if folder.is_dir())
    cached = cached_images(test_files(root), native_size(data), skip_colorless=False)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (kind.mean, kind.std))
    right = 0
    with torch.inference_mode():
        for rows in np.array_split(np.arange(len(cached.files)), max(1, len(cached.files) // 100)):
            rgb = torch.from_numpy(cached.images[rows]).permute(0, 3, 1, 2) / 255
            answers = model.eval()((rgb - mean) / std).argmax(1).tolist()
            right += sum(
                names[a] == cached.files[i].parent.name for a, i in zip(answers, rows, strict=True)
            )
    return right / len(cached.files), len(cached.files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoder")
    parser.add_argument("--data", default="cifar10")
    asked = parser.parse_args()
    share, count = accuracy(asked.encoder, asked.data)
    print(f"{asked.encoder}: {share:.1%} of {count} test images of {asked.data}")


if __name__ == "__main__":
    main()
