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
Augmentation = Annotated[str, Option(help="none, or flip, crop, zoom, aging with + between.")]
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
Objective = Annotated[str, Option(help="See `colourgan list objectives`.")]
Patience = Annotated[
    int | None,
    Option(
        help="Stop after so many epochs without a better one on validation images, keep the best. "
        "[default: train all, keep the last]"
    ),
]
Reconstruction = Annotated[str, Option(help="See `colourgan list reconstructions`.")]
RealLabel = Annotated[float, Option(help="Target for true colors; 0.9: label smoothing.")]
PenaltyWeight = Annotated[float, Option(help="Of the gradient penalty of wgan_gp.")]
AdversarialWeight = Annotated[float, Option(help="Weight of the adversarial loss.")]
DLr = Annotated[float, Option(help="Learning rate of the discriminator.")]
Beta1 = Annotated[float, Option(help="Adam's, of both.")]
Beta2 = Annotated[float, Option(help="Adam's, of both.")]
DEpochs = Annotated[int, Option(help="Epochs before these that train the discriminator alone.")]
DSteps = Annotated[int, Option(help="Discriminator steps for each generator step.")]
GSteps = Annotated[int, Option(help="Generator steps for each discriminator step.")]
Schedule = Annotated[str, Option(help="one-cycle, or see `colourgan list schedules`.")]
DecaySteps = Annotated[int, Option(help="Batches after which step and exponential give a tenth.")]
LrFloor = Annotated[float, Option(help="The lowest learning rate of a schedule.")]
Data = Annotated[str, Option(help="A data set's name or a folder of images.")]
TrainEpochs = Annotated[int, Option(help="Epochs of training.")]
Generator = Annotated[str, Option(help="One of `colourgan list generators` that needs no encoder.")]
Width = Annotated[int, Option(help="Channels of the generator's first layer.")]
Dropout = Annotated[float, Option(help="The noise of the generator; 0: none.")]
Init = Annotated[str, Option(help="See `colourgan list initializations`.")]
DNorm = Annotated[
    str, Option(help="The discriminator's norm: batch, instance, layer, spectral or none.")
]
DWidth = Annotated[int, Option(help="Channels of the discriminator's first layer.")]
