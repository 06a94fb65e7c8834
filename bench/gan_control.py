"""GANs against a control that trained as long without one: bench/gan_control.py LOSSES CONTROL

LOSSES: the folder of a study with GANs after l1, CONTROL: that of the same study with `--methods
l1,gan --gan-adversarial-weight 0`. For each objective and seed the control's a and b are multiplied
until they are as colorful as the GAN's. Writes nbs/results/gan-control.csv and prints L1 and ΔE of
the GAN less those of the control, with the 95 % interval over the seeds.
"""

import argparse
from pathlib import Path

import pandas as pd

from colourgan.evaluate import evaluate
from colourgan.experiments.judge import interval
from colourgan.learners import read_config
from colourgan.models import load_model

RESULTS = Path(__file__).parents[1] / "nbs" / "results" / "gan-control.csv"
DATA, SIZE, IMAGES = "cifar10", 32, 1000


def gans(study: Path, weight: float) -> dict[tuple[str, int], Path]:
    """Objective and seed → run, of a study's GANs of that adversarial weight after `l1`.

    Spectral norm is left out: it is another discriminator than the objectives are compared with.
    """
    found = {}
    for run in sorted((study / "runs").glob("gan-finetune-*")):
        asked = read_config(run)["arguments"]
        start = read_config(Path(asked["model"]))["arguments"]
        kind = asked["discriminator"], asked["adversarial_weight"], start["reconstruction"]
        if kind == ("patchgan", weight, "l1") and asked["d_norm"] != "spectral":
            found[asked["objective"], asked["seed"]] = run
    return found


def main(losses: Path, control: Path) -> None:
    models = gans(losses, 1.0)
    rows = []
    for (_, seed), run in gans(control, 0.0).items():
        shown = {"control": run} | {o: path for (o, s), path in models.items() if s == seed}
        networks = {name: load_model(path) for name, path in shown.items()}
        out = control / f"evaluation-{seed}"
        found = evaluate(networks, DATA, SIZE, IMAGES, out=out, distances=(), progress=False)
        measured = {row["name"]: row for row in found.rows}
        for name in networks.keys() - {"control"}:
            (rival,) = (
                row
                for title, row in measured.items()
                if title.startswith("control ×") and title.endswith(f"(as colorful as {name})")
            )
            own = measured[name]
            both = {"l1": own["l1"], "control_l1": rival["l1"]}
            both |= {"delta_e": own["delta_e"], "control_delta_e": rival["delta_e"]}
            rows.append({"objective": name, "seed": seed, **both})
    table = pd.DataFrame(rows).sort_values(["objective", "seed"]).round(6)
    table.to_csv(RESULTS, index=False, lineterminator="\n")
    for name, group in table.groupby("objective"):
        for metric in ("l1", "delta_e"):
            differences = (group[metric] - group[f"control_{metric}"]).tolist()
            low, high = interval(differences)
            mean = sum(differences) / len(differences)
            print(f"{name} {metric}: {mean:+.4f} ({low:+.4f} to {high:+.4f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("losses", type=Path)
    parser.add_argument("control", type=Path)
    given = parser.parse_args()
    main(given.losses, given.control)
