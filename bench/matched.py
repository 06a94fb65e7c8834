"""How much better classes of color are than a paler model with its saturation turned up.

    python bench/matched.py runs/bins runs/l1 --data tiny-imagenet --shares 0.65,0.9

For each share of the true colorfulness, decoding is chosen for it on validation images; on the test
images the other model's ab are then multiplied until it is as colorful.
"""

import argparse

from colourgan.datasets import color_dataloaders
from colourgan.evaluate import as_colorful_as, load_images, measure_grey, measure_model
from colourgan.learners.classes import choose_decoding
from colourgan.metrics import bootstrap_interval
from colourgan.models import load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("classes", help="a run of --reconstruction bins")
    parser.add_argument("paler", help="a run or model to compare it with")
    parser.add_argument("--data", required=True)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--shares", default="0.65,0.9")
    asked = parser.parse_args()
    generator = load_model(asked.classes)
    dls = color_dataloaders(asked.data, asked.size)
    images = load_images(asked.data, asked.size, asked.limit, progress=False)
    grey = measure_grey(images).row()
    paler = measure_model("paler", load_model(asked.paler), images, "cpu")
    true = grey["colorfulness_true"]
    print(f"{len(images.L)} test images, grey L1 {grey['l1']:.4f}, true colorfulness {true:.1f}")
    own = paler.row()
    print(f"paler model: L1 {own['l1']:.4f} at {own['colorfulness'] / true:.0%}")
    for share in map(float, asked.shares.split(",")):
        chosen = choose_decoding(generator, dls, share)
        measured = measure_model("classes", generator, images, "cpu")
        rival, factor = as_colorful_as(measured, paler, images)
        row, other = measured.row(), rival.row()
        under = {}
        for metric in ("l1", "delta_e"):
            apart = rival.values[metric].double() - measured.values[metric].double()
            low, high = (end / other[metric] for end in bootstrap_interval(apart))
            mean = apart.mean().item() / other[metric]
            under[metric] = f"{mean:.1%} under ({low:.1%} to {high:.1%})"
        print(
            f"asked for {share:.0%}, reached {row['colorfulness'] / true:.0%} (temperature "
            f"{chosen['temperature']:g}, vivid {chosen['vivid']:g}, saturation "
            f"{chosen['saturation']:.2f}): L1 {row['l1']:.4f}, paler × {factor:.2f} "
            f"{other['l1']:.4f}, {under['l1']}; ΔE {row['delta_e']:.2f}, {other['delta_e']:.2f}, "
            f"{under['delta_e']}"
        )


if __name__ == "__main__":
    main()
