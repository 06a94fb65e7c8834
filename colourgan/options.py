"""Options that several commands share, each with its one description."""

from pathlib import Path
from typing import Annotated

from typer import Option

DataDir = Annotated[
    Path | None, Option(help="Where named data sets live. [default: fastai's data folder]")
]
Device = Annotated[str, Option(help="cpu, cuda, mps, …; auto takes a CUDA GPU if there is one.")]
Precision = Annotated[str, Option(help="auto, fp32, bf16 or fp16; auto: bf16 where it is fast.")]
Seed = Annotated[int, Option(help="Of everything random.")]
Limit = Annotated[int | None, Option(help="How many images at most. [default: all]")]
Epochs = Annotated[int, Option(help="Epochs that train the whole network.")]
BatchSize = Annotated[int, Option(help="Images in a batch.")]
Augmentation = Annotated[str, Option(help="none, flip or flip+crop, drawn for each image.")]
Ema = Annotated[float, Option(help="Decay of the average of weights that is saved; 0: none.")]
Out = Annotated[Path | None, Option(help="Run folder to make. [default: a new one in runs/]")]
Resume = Annotated[bool, Option("--resume", help="Go on with the run in --out, as it was started.")]
TrustPickle = Annotated[
    bool, Option("--trust-pickle", help="Load a .pkl model, which can run any code on loading.")
]
Size = Annotated[
    int | None,
    Option(help="Side of the images in pixels. [default: the data set's own, 64 for a folder]"),
]
