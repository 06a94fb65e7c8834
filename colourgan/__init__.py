"""colourgan: transfer learning for image colorization.

The house; a module imports only from lower floors:

    0  registry, errors, files, download   names, one-line errors, whole files
       images, color                       any picture in; RGB ↔ Lab and its scaling, only here
    1  encoders        ARCH[@WEIGHTS] → stages of a pretrained body that read lightness
       discriminators  PatchGAN fitted to the resolution
       objectives      what discriminator and generator each minimise
       metrics         L1, PSNR, SSIM, ΔE, colorfulness, saturation matching
       datasets        a name or folder → decoded once → DataLoaders of (L, ab)
       plots           grids and curves
    2  generators      fastai's DynamicUnet around an encoder: L → ab
       callbacks       Precision, Adversarial, EMA
    3  models          one generator, one safe file
    4  learners        color_learner; pretrain, gan_finetune, train_encoder; the run folder
    5  colorize        any picture in, the same picture in color out
       evaluate        models on test images → a table and a picture
       options         command-line options that several commands share
    6  cli             one short function a command

Importing colourgan loads no torch: its public names are found when they are first used.
"""

from importlib import import_module

__version__ = "0.1.0"

_PUBLIC = {
    "Adversarial": "callbacks",
    "Colorizer": "colorize",
    "EMA": "callbacks",
    "Precision": "callbacks",
    "color_dataloaders": "datasets",
    "color_learner": "learners",
    "gan_finetune": "learners",
    "load_model": "models",
    "pretrain": "learners",
    "save_model": "models",
    "train_encoder": "learners",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'colourgan' has no attribute '{name}'")
    return getattr(import_module(f"colourgan.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
