"""What GAN finetuning brings on validation images, beyond saturation: one run a variant.

    python bench/gan_recipe.py runs/l1 --epochs 3

Writes bench/gan_recipe.csv after every run and skips the variants that are in it. "advantage" is
how far L1 lies below that of the pretrained model with ab multiplied until it is as colorful.
"""

import argparse
import csv
from pathlib import Path

import torch

from colourgan.color import decode
from colourgan.datasets import color_dataloaders
from colourgan.learners import gan_finetune, read_training
from colourgan.metrics import colorfulness, saturation_match
from colourgan.models import load_model

VARIANTS = [
    {"reconstruction_weight": 40.0},
    {"reconstruction_weight": 100.0},
    {"reconstruction_weight": 200.0},
    {"reconstruction_weight": 400.0},
    {"reconstruction_weight": 200.0, "lr": 5e-5},
]
RESULTS = Path(__file__).with_suffix(".csv")


def predictions(run: Path, dls) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """L, predicted ab and true ab of all validation images."""
    model = load_model(run)
    with torch.inference_mode():
        parts = [(L, model(L), ab) for L, ab in dls.valid]
    return tuple(torch.cat(part) for part in zip(*parts, strict=True))


def measured(run: Path, base: Path, dls) -> dict[str, str]:
    """A row: L1, colorfulness as a share of the truth's, advantage over mere saturation."""
    L, pred, true = predictions(run, dls)
    paler = predictions(base, dls)[1]
    colors, truth = (float(colorfulness(decode(L, ab)).mean()) for ab in (pred, true))
    l1 = float((pred - true).abs().mean())
    matched = float((paler * saturation_match(paler, L, colors) - true).abs().mean())
    return {
        "valid_l1": f"{l1:.5f}",
        "colorfulness_share": f"{colors / truth:.3f}",
        "matched_l1": f"{matched:.5f}",
        "advantage": f"{1 - l1 / matched:.2%}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/gan_recipe"))
    asked = parser.parse_args()
    before = read_training(asked.run)
    dls = color_dataloaders(before.data, before.size, 64, before.limit, data_dir=before.data_dir)
    rows = list(csv.DictReader(RESULTS.open())) if RESULTS.exists() else []
    known = {row["variant"] for row in rows}
    for variant in VARIANTS:
        name = ", ".join(f"{key} {value}" for key, value in variant.items())
        if name in known:
            continue
        out = asked.out / name.replace(", ", "-").replace(" ", "")
        run = gan_finetune(model=asked.run, epochs=asked.epochs, **variant, out=out)
        rows.append({"variant": name, **measured(run, asked.run, dls)})
        with RESULTS.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        print(rows[-1], flush=True)


if __name__ == "__main__":
    main()
