"""Trains the model in the package from nothing, first on small images, then on larger ones.

    python bench/packaged_model.py tiny-imagenet PHOTOS --out runs/packaged

PHOTOS: a folder of color photographs of scenes and people. Each stage goes on from the one before
it; broken off, the same command goes on where it was. The last model is written in half precision
to OUT/photographs.safetensors. --device and --precision are pretrain's; on a CPU without fast
bfloat16 convolutions fp32 is the faster one.
"""

import argparse
from pathlib import Path

from colourgan.learners import is_unused, pretrain
from colourgan.models import load_model, save_model

SHARED = {
    "reconstruction": "bins",
    "frozen_epochs": 0,
    "encoder_lr_ratio": 1.0,
    "ema": 0.999,
    "seed": 0,
}
FIRST = {"encoder": "efficientnet_lite0", "decoder_channels": 64}
STAGES = {  # name → which of the two data sets, and settings
    "small": (0, {"size": 64, "epochs": 3, "augmentation": "flip"}),
    "photographs": (1, {"size": 96, "epochs": 5, "augmentation": "flip+zoom"}),
    "larger": (
        1,
        {
            "size": 128,
            "epochs": 3,
            "augmentation": "flip+zoom+aging",
            "lr": 5e-4,
            "colorfulness": 0.92,
        },
    ),
}


def train(data: list[str], out: Path, **where) -> Path:
    """The run folder of the last stage; those of all stages are in `out`."""
    run = None
    for name, (part, settings) in STAGES.items():
        before, run = run, out / name
        start = {"start": before} if before else FIRST
        begun = (run / "config.json").exists() and not is_unused(run)
        pretrain(data=data[part], out=run, resume=begun, **SHARED, **settings, **start, **where)
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("small", help="a data set or folder of small images")
    parser.add_argument("photographs", help="a folder of photographs")
    parser.add_argument("--out", type=Path, default=Path("runs/packaged"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    asked = parser.parse_args()
    data = [asked.small, asked.photographs]
    run = train(data, asked.out, device=asked.device, precision=asked.precision)
    file = asked.out / "photographs.safetensors"
    save_model(load_model(run), file, half=True)
    print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
