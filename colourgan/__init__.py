"""colourgan: transfer learning for image colorization.

The layers; a module imports only from lower ones:

    0  registry, errors, files, download   names, one-line errors, whole files
       hub             where models are: here, or on the Hugging Face Hub
       devices         the processor that networks run on, the cores for the rest
       cluster         many machines as one, by Ray
       processes       several processes that train one model together
       options         dataclasses of options: checks, command line, JSON
       trainings       Pretrain, GanFinetune, …: what a run is asked for, each option once
       plans           the same for a study and a recipe
       lab, color      RGB ↔ Lab and its scaling: on arrays, on tensors
       images, pictures  any picture in; a photograph as colorizing needs it
       upsampling      color of low resolution at full resolution, along the edges of lightness
       hints           colors that a person sets, and how they spread
       sheets          pictures in rows and columns, titled
       decoding, bins  color as classes
       initializations  the weights a network starts from
       convolutions    those that a CPU computes slowly, computed in another way
       optimizers      Adam in one kernel for all parameters
    1  encoders        ARCH[@WEIGHTS] → stages of a pretrained body that read lightness
       discriminators  PatchGAN fitted to the resolution
       objectives      what discriminator and generator each minimise
       schedules       how a learning rate falls from step to step
       metrics         L1, PSNR, SSIM, ΔE, colorfulness, saturation matching
       datasets        a name or folder → decoded once, or a stream → DataLoaders of (L, ab)
       plots           grids, curves, bars, GIFs
    2  generators      fastai's DynamicUnet around an encoder, U-Nets without one: L → ab
       callbacks       Precision, Adversarial, CycleConsistency, FeatureLoss, EMA, Distributed
       distances       two sets of pictures → how far apart networks see them
    3  models          one generator, one safe file
       exports         a generator as TorchScript, ONNX or an exported program, for other runtimes
       reconstructions  L1, L2, classes of color, features
    4  runtimes        a generator run by ONNX Runtime or torch
       learners        color_learner; one function a training command; the run folder
    5  colorize        any picture in, the same picture in color out; needs no torch
       evaluate        models on test images → a table and a picture
    6  experiments     trainings that need each other: run, measured, judged, reported
       film            a film in, the same film in color out
       page            photographs colored in a browser
       sharing         a model and its card sent to the Hub
    7  recipes         published experiments by name
       study           encoders × data × method × seeds → one report
    8  cli             commands derived from trainings and plans

Importing colourgan loads no torch: its public names are found when they are first used.
"""

from importlib import import_module

__version__ = "0.2.0"

_PUBLIC = {
    "Adversarial": "callbacks",
    "Colorizer": "colorize",
    "CycleConsistency": "callbacks",
    "EMA": "callbacks",
    "Precision": "callbacks",
    "color_dataloaders": "datasets",
    "color_learner": "learners",
    "gan_finetune": "learners",
    "load_model": "models",
    "pretrain": "learners",
    "reproduce": "recipes",
    "save_model": "models",
    "train_cyclegan": "learners",
    "train_encoder": "learners",
    "train_generator": "learners",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'colourgan' has no attribute '{name}'")
    return getattr(import_module(f"colourgan.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
