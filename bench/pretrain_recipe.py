"""Which pretraining recipe is best on validation: one run a variant, each against the base.

    python bench/pretrain_recipe.py --encoder resnet20 --data cifar10 --size 32 --limit 8000

Adds to bench/pretrain_recipe.csv after every run and skips the variants that are in it.
"""

import argparse
import csv
import tempfile
from pathlib import Path

from colourgan.learners import pretrain

BASE = {
    "frozen_epochs": 1,
    "batch_size": 32,
    "lr": 1e-3,
    "encoder_lr_ratio": 0.1,
    "weight_decay": 0.01,
    "augmentation": "flip+crop",
    "ema": 0.0,
    "self_attention": False,
    "blur": False,
    "decoder_width": 1.0,
}
VARIANTS = [
    {},
    {"lr": 2e-3},
    {"lr": 5e-4},
    {"lr": 3e-4},
    {"lr": 2e-3, "encoder_lr_ratio": 1.0},
    {"ema": 0.99},
    {"frozen_epochs": 0},
    {"augmentation": "flip"},
    {"self_attention": True},
    {"decoder_width": 2.0},
]
RESULTS = Path(__file__).with_suffix(".csv")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="resnet20@packaged")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--limit", type=int, default=8000)
    parser.add_argument("--epochs", type=int, default=4)
    asked = vars(parser.parse_args())
    rows = list(csv.DictReader(RESULTS.open())) if RESULTS.exists() else []
    for variant in VARIANTS:
        setting = {name: str(asked[name]) for name in ("data", "size", "limit", "epochs")}
        setting["encoder"] = asked["encoder"].partition("@")[0]
        setting["variant"] = ", ".join(f"{key} {value}" for key, value in variant.items()) or "base"
        if any(setting.items() <= row.items() for row in rows):
            continue
        with tempfile.TemporaryDirectory() as folder:
            run = pretrain(**asked, **(BASE | variant), out=Path(folder) / "run")
            last = list(csv.DictReader((run / "history.csv").open()))[-1]
        measured = {"valid_l1": f"{float(last['valid_loss']):.5f}"}
        rows.append(setting | measured)
        with RESULTS.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        print(rows[-1], flush=True)


if __name__ == "__main__":
    main()
