"""Where each experiment was published, and the settings that its own code and texts give.

Lines are those of the named commit. A value is in this project's units (ab / 110, L / 50 - 1);
`text` says how it stands there if that differs. A test compares every value with what the recipe
trains with: it has to be the same, or be listed under `differs`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from colourgan.lab import AB_SCALE


class Said(NamedTuple):
    """One published setting. where: file and line, definition or section; text: as it stands."""

    value: Any
    where: str
    text: str = ""


@dataclass(frozen=True)
class Source:
    """A published experiment.

    text: what it is and where, with links. images: training images. settings: option, or
    "MODEL: option" of the models whose name ends with MODEL, → what was published. differs: option
    (as in settings), or a subject that is no option, → what is different here, and why. unjudged:
    claim of the source → why it is not judged. added: models that are this project's own. steps:
    generator steps of each model, where the source says them.
    """

    text: str
    images: int
    settings: Mapping[str, Said] = field(default_factory=dict)
    differs: Mapping[str, str] = field(default_factory=dict)
    unjudged: Mapping[str, str] = field(default_factory=dict)
    added: tuple[str, ...] = ()
    steps: int | None = None

    def setting(self, model: str, option: str) -> Said | None:
        """What was published of one model's option; None if nothing was."""
        return _of(self.settings, model, option)

    def differs_in(self, model: str, option: str) -> bool:
        """Whether a difference in that option is listed."""
        return _of(self.differs, model, option) is not None


def _of(table: Mapping[str, Any], model: str, option: str) -> Any:
    """What is said of that model, else of all."""
    for key, value in table.items():
        kind, colon, name = key.rpartition(": ")
        if colon and name == option and (model == kind or model.endswith(f" {kind}")):
            return value
    return table.get(option)


_BOUNDED = "ab is bounded to the range of sRGB, by a tanh for each of its four ends"
_HELD_OUT = "a tenth of the folder of training images, 1,000 at most, is kept for validation"
_ORDER = "the discriminator steps before the generator, in the source after it"

# ---------------------------------------------------------------- encoders and domains

_COLOURGAN = (
    "keviny1031/ColourGAN (https://github.com/keviny1031/ColourGAN, README.md at 1b18290), which "
    "follows “Image Colorization with U-Net and GAN Tutorial” by Moein Shariatnia "
    "(https://github.com/moein-shariatnia/Deep-Learning, “Image Colorization Tutorial/README.md” "
    "at 0c4d0df)"
)
_TUTORIAL = {
    "epochs": Said(20, "tutorial, 2.2 and 2.3"),
    "batch_size": Said(16, "tutorial, 1.2"),
    "augmentation": Said("flip", "tutorial, 1.2"),
    "U-Net: reconstruction": Said("l1", "README.md:10"),
    "U-Net: lr": Said(1e-4, "tutorial, 2.2"),
    "U-Net: schedule": Said("constant", "tutorial, 2.2"),
    "U-Net: weight_decay": Said(0.0, "tutorial, 2.2"),
    "U-Net: beta2": Said(0.999, "tutorial, 2.2"),
    "U-Net: eps": Said(1e-8, "tutorial, 2.2"),
    "U-Net: frozen_epochs": Said(0, "tutorial, 2.2"),
    "U-Net: encoder_lr_ratio": Said(1.0, "tutorial, 2.2"),
    "U-Net: lightness": Said("summed", "tutorial, 2.1", "create_body(…, n_in=1)"),
    "GAN: objective": Said("bce", "README.md:10"),
    "GAN: reconstruction": Said("l1", "README.md:10"),
    "GAN: discriminator": Said("patchgan", "README.md:10"),
    "GAN: d_norm": Said("batch", "tutorial, 1.4"),
    "GAN: d_width": Said(64, "tutorial, 1.6"),
    "GAN: reconstruction_weight": Said(100.0, "tutorial, 1.6"),
    "GAN: adversarial_weight": Said(1.0, "tutorial, 1.6"),
    "GAN: lr": Said(2e-4, "tutorial, 1.6"),
    "GAN: d_lr": Said(2e-4, "tutorial, 1.6"),
    "GAN: beta1": Said(0.5, "tutorial, 1.6"),
    "GAN: beta2": Said(0.999, "tutorial, 1.6"),
    "GAN: schedule": Said("constant", "tutorial, 2.3"),
    "GAN: real_label": Said(1.0, "tutorial, 1.5"),
}
_TUTORIAL_DIFFERS = {
    "discriminator's layers": "“slight changes” to the tutorial's 70×70 PatchGAN are not "
    "described: here it is the one that fits the size (receptive field 16 at 32×32, 34 at 96×96)",
    "output": f"the tutorial's U-Net has a linear one; {_BOUNDED}",
    "settings": "the source's own are not published beside its README: those of its tutorial are "
    "taken",
    "validation": _HELD_OUT,
}
SAME_DOMAIN = Source(
    _COLOURGAN + ", case 1", 8000,
    _TUTORIAL | {
        "data": Said("cifar10", "README.md:16"),
        "size": Said(32, "README.md:16"),
        "limit": Said(8000, "README.md:16"),
        "encoders": Said(("resnet20",), "README.md:10"),
        "U-Net: encoder": Said("resnet20", "README.md:10"),
    },
    _TUTORIAL_DIFFERS,
)  # fmt: skip
CROSS_DOMAIN = Source(
    _COLOURGAN + ", case 2", 5000,
    _TUTORIAL | {
        "data": Said("stl10", "README.md:38"),
        "size": Said(96, "README.md:38"),
        "limit": Said(5000, "README.md:38"),
        "encoders": Said(("resnet20", "resnet18"), "README.md:10"),
        "CIFAR U-Net: encoder": Said("resnet20", "README.md:10"),
        "ImageNet U-Net: encoder": Said("resnet18", "README.md:10"),
    },
    _TUTORIAL_DIFFERS | {
        "the two networks": "as published, they bring decoders of different size with them; "
        "`study --decoders` makes them equal",
        "domain": "STL-10's pictures come from ImageNet: its encoder may have seen them",
    },
)  # fmt: skip
ADAPT_ENCODER = Source(
    "the question that follows from keviny1031/ColourGAN "
    "(https://github.com/keviny1031/ColourGAN), case 2; nothing of it is published",
    5000, CROSS_DOMAIN.settings, CROSS_DOMAIN.differs,
)  # fmt: skip

# ---------------------------------------------------------------- from random weights

UNET_PIX2PIX_CYCLEGAN = Source(
    "a student project that compares the three on about 4,300 landscape photographs; its "
    "repository was not found, only its description is known, so that settings are those of the "
    "papers: Isola et al., “Image-to-Image Translation with Conditional Adversarial Networks”, "
    "CVPR 2017 (https://arxiv.org/abs/1611.07004), and Zhu et al., “Unpaired Image-to-Image "
    "Translation using Cycle-Consistent Adversarial Networks”, ICCV 2017 "
    "(https://arxiv.org/abs/1703.10593)",
    3500,
    {
        "data": Said("landscape-pictures", "its description"),
        "size": Said(256, "its description"),
        "epochs": Said(200, "Zhu et al., section 7.1"),
        "CycleGAN: epochs": Said(200, "Zhu et al., section 7.1"),
        "batch_size": Said(1, "Isola et al., section 3.3; Zhu et al., section 7.1"),
        "width": Said(64, "Isola et al., section 6.1; Zhu et al., section 7.2"),
        "d_width": Said(64, "Isola et al., section 6.1; Zhu et al., section 7.2"),
        "lr": Said(2e-4, "Isola et al., section 3.3; Zhu et al., section 7.1"),
        "beta1": Said(0.5, "Isola et al., section 3.3"),
        "beta2": Said(0.999, "Isola et al., section 3.3"),
        "schedule": Said("linear", "Zhu et al., section 7.1"),
        "pix2pix: objective": Said("least_squares", "its description"),
        "CycleGAN: objective": Said("least_squares", "Zhu et al., section 4"),
        "pix2pix: reconstruction_weight": Said(100.0, "Isola et al., section 6.2"),
        "CycleGAN: cycle_weight": Said(10.0, "Zhu et al., section 4"),
        "CycleGAN: pool_size": Said(50, "Zhu et al., section 4"),
        "CycleGAN: norm": Said("instance", "Zhu et al., section 7.2"),
        "CycleGAN: d_norm": Said("instance", "Zhu et al., section 4"),
        "pix2pix: d_lr": Said(2e-4, "Isola et al., section 3.3"),
        "pix2pix: dropout": Said(0.5, "Isola et al., section 3.3"),
        "init": Said("normal", "Isola et al., section 6.2"),
    },
    {
        "CycleGAN: epochs": "half as many as the others': its epoch has half as many batches that "
        "take about 4 times as long, so that all train for about the same time, as in the source, "
        "where it got fewer because it is slower",
        "pix2pix: dropout": "none of the three has any, so that methods and not noise are compared",
        "generators": "CycleGAN's are the same U-Nets, not residual networks",
        "output": _BOUNDED,
        "pairs": "grey and color images are disjoint halves for CycleGAN; its discriminator of "
        "color judges L and ab together",
        "photographs": "of about 4,300 a tenth is kept for testing and a tenth for validation",
    },
    {
        "Places365 is harder than landscapes.": "it compares two data sets: reproduce it on each "
        "(--data places365) and compare the models' L1 with grey's",
    },
)  # fmt: skip
_ARCHANA = "Complete_model.ipynb"
CONDITIONAL_GAN = Source(
    "linkarchana/Image_colorization (https://github.com/linkarchana/Image_colorization, "
    "Complete_model.ipynb at 64bab90, README.md), which follows “Image Colorization with U-Net and "
    "GAN Tutorial” by Moein Shariatnia (https://github.com/moein-shariatnia/Deep-Learning) and "
    "Isola et al., CVPR 2017 (https://arxiv.org/abs/1611.07004)",
    8000,
    {
        "data": Said("coco-sample", f"{_ARCHANA}, COCO_SAMPLE"),
        "size": Said(256, f"{_ARCHANA}, SIZE"),
        "limit": Said(8000, f"{_ARCHANA}, train_idxs"),
        "epochs": Said(100, f"{_ARCHANA}, train_model(model, train_dl, 100)"),
        "batch_size": Said(16, f"{_ARCHANA}, make_dataloaders"),
        "width": Said(64, f"{_ARCHANA}, MainModel"),
        "augmentation": Said("flip", f"{_ARCHANA}, ColorizationDataset"),
        "generator": Said("pix2pix_unet", f"{_ARCHANA}, Unet"),
        "norm": Said("batch", f"{_ARCHANA}, UnetBlock"),
        "dropout": Said(0.5, f"{_ARCHANA}, UnetBlock"),
        "innermost_dropout": Said(False, f"{_ARCHANA}, UnetBlock"),
        "init": Said("normal", f"{_ARCHANA}, init_weights"),
        "lr": Said(2e-4, f"{_ARCHANA}, MainModel"),
        "beta1": Said(0.5, f"{_ARCHANA}, MainModel"),
        "beta2": Said(0.999, f"{_ARCHANA}, MainModel"),
        "cGAN: d_lr": Said(2e-4, f"{_ARCHANA}, MainModel"),
        "cGAN: objective": Said("bce", f"{_ARCHANA}, GANLoss"),
        "cGAN: reconstruction": Said("l1", f"{_ARCHANA}, MainModel"),
        "cGAN: reconstruction_weight": Said(100.0, f"{_ARCHANA}, MainModel"),
        "cGAN: discriminator": Said("patchgan", f"{_ARCHANA}, PatchDiscriminator"),
        "cGAN: d_norm": Said("batch", f"{_ARCHANA}, PatchDiscriminator"),
        "cGAN: d_width": Said(64, f"{_ARCHANA}, MainModel"),
    },
    {
        "L1, L2": "regressions alone are not trained by the source: they are its text's, and have "
        "the settings of the GAN but for the discriminator",
        "output": _BOUNDED,
        "discriminator": "below 256 pixels the PatchGAN that fits the size, not the 70×70 one",
        "batches": "shuffled; the source's loader does not shuffle",
        "dropout in tests": "README.md has it on at test time, the code draws its pictures in "
        "evaluation mode, where it is off: the table has a row for each",
        "validation": f"{_HELD_OUT}; the source keeps 2,000 other images",
    },
    added=("L2", "L1"),
)  # fmt: skip

# ---------------------------------------------------------------- steadiness

_L1_OF_127 = AB_SCALE / 127
BATCH_VS_SPECTRAL = Source(
    "karoly-hars/GAN_image_colorizing (https://github.com/karoly-hars/GAN_image_colorizing, "
    "README.md at 0783df1, train.py at 1400d6a, networks.py and datasets.py at 149ce1c), after "
    "Nazeri et al., “Image Colorization with Generative Adversarial Networks”, 2018 "
    "(https://arxiv.org/abs/1803.05400)",
    50_000,
    {
        "data": Said("cifar10", "README.md:9"),
        "size": Said(32, "README.md:9"),
        "batch: epochs": Said(200, "README.md:19"),
        "spectral: epochs": Said(100, "README.md:24"),
        "batch_size": Said(32, "train.py:190"),
        "width": Said(64, "networks.py:80"),
        "generator": Said("nazeri_unet", "networks.py:73-108"),
        "norm": Said("batch", "train.py, --gen_norm"),
        "dropout": Said(0.5, "networks.py:86-87"),
        "discriminator": Said("imagegan", "networks.py:111-134"),
        "d_width": Said(64, "networks.py:118"),
        "batch: d_norm": Said("batch", "README.md:20"),
        "spectral: d_norm": Said("spectral", "README.md:25"),
        "batch: init": Said("normal", "README.md:20, networks.py:7-14"),
        "spectral: init": Said("default", "README.md:25"),
        "batch: real_label": Said(0.9, "README.md:19"),
        "spectral: real_label": Said(1.0, "README.md:24"),
        "batch: reconstruction_weight": Said(0.99 * _L1_OF_127, "README.md:19", ".99, of ab / 127"),
        "spectral: reconstruction_weight": Said(
            0.985 * _L1_OF_127, "README.md:24", ".985, of ab / 127"
        ),
        "batch: adversarial_weight": Said(0.01, "train.py:123", "1 - .99"),
        "spectral: adversarial_weight": Said(0.015, "train.py:123", "1 - .985"),
        "batch: lr": Said(3e-4, "README.md:19"),
        "spectral: lr": Said(2e-4, "README.md:24"),
        "batch: d_lr": Said(6e-5, "README.md:20"),
        "spectral: d_lr": Said(2e-4, "README.md:25"),
        "schedule": Said("exponential", "helpers.py, adjust_learning_rate"),
        "batch: decay_steps": Said(60_000, "README.md:20"),
        "spectral: decay_steps": Said(40_000, "README.md:25"),
        "lr_floor": Said(1e-6, "helpers.py, adjust_learning_rate"),
        "beta1": Said(0.5, "train.py:39-40"),
        "beta2": Said(0.999, "train.py:39-40"),
        "objective": Said("bce", "train.py:46"),
        "augmentation": Said("flip", "datasets.py, mirror"),
    },
    {
        "output": f"{_BOUNDED}; the source has one tanh of ab / 127",
        "inputs": "networks see ab / 110; the weight of L1 is converted, so that the loss is that "
        "of ab / 127",
        "order": _ORDER,
        "D loss": "the mean of its two terms, in the source their sum: the same to Adam",
        "validation": f"{_HELD_OUT}: 49,000 are left; the source validates on test images",
        "control": "a third model, not published: the settings of batch norm, with spectral norm "
        "in its place, for as long",
    },
    {
        "Spectral norm's colors are better, by a classifier.": "CIFAR-10's folders are not named "
        "by ImageNet's classes; the Fréchet distance stands for “more believable”",
    },
    added=("control",),
)  # fmt: skip
_L1_OF_127_5 = AB_SCALE / 127.5
WASSERSTEIN = Source(
    "nabraun03/image-colorization-wgan (https://github.com/nabraun03/image-colorization-wgan, "
    "README.md, main.py, Trainer.py and models/ at b2b1a77), with the gradient penalty of "
    "Gulrajani et al., “Improved Training of Wasserstein GANs”, 2017 (https://arxiv.org/abs/1704.00028)",
    50_000,
    {
        "data": Said("cifar10", "README.md, Introduction"),
        "size": Said(32, "main.py:6"),
        "epochs": Said(100, "README.md, Loss Curves"),
        "batch_size": Said(16, "main.py:9"),
        "width": Said(256, "models/generator.py, Generator.build"),
        "WGAN-GP: generator": Said("residual_unet", "models/generator.py, Generator.build"),
        "WGAN-GP: norm": Said("batch", "models/generator.py, downsample"),
        "WGAN-GP: dropout": Said(0.2, "models/generator.py, upsample_res"),
        "WGAN-GP: init": Said("normal", "models/generator.py, downsample"),
        "WGAN-GP: discriminator": Said("patchgan94", "models/discriminator.py, build"),
        "WGAN-GP: d_width": Said(64, "models/discriminator.py, build"),
        "WGAN-GP: d_norm": Said("layer", "models/discriminator.py, downsample"),
        "WGAN-GP: objective": Said("wgan_gp", "Trainer.py, train_step"),
        "WGAN-GP: penalty_weight": Said(25.0, "main.py:8"),
        "WGAN-GP: reconstruction_weight": Said(
            100 * _L1_OF_127_5, "main.py:7", "100, of ab / 127.5"
        ),
        "WGAN-GP: adversarial_weight": Said(1.0, "Trainer.py, train_step"),
        "WGAN-GP: d_steps": Said(5, "main.py:10"),
        "WGAN-GP: same_batch": Said(True, "Trainer.py, train_step"),
        "WGAN-GP: d_noise_l": Said(0.1, "Trainer.py, train_step", ".05, of L in [0, 1]"),
        "WGAN-GP: d_noise_ab": Said(
            0.1 / _L1_OF_127_5, "Trainer.py, train_step", ".1, of ab / 127.5"
        ),
        "WGAN-GP: lr": Said(2e-4, "main.py:11"),
        "WGAN-GP: d_lr": Said(2e-4, "main.py:11"),
        "WGAN-GP: beta1": Said(0.5, "main.py:12"),
        "WGAN-GP: beta2": Said(0.99, "main.py:13"),
        "WGAN-GP: schedule": Said("constant", "main.py:11"),
        "WGAN-GP: augmentation": Said("none", "utils/data_loader.py"),
    },
    {
        "penalty": "the paper's: the mixture is uniform for each image, the norm over all of its "
        "values; in the source the mixture is normally distributed and the norm over one axis",
        "discriminator's steps": "each has a gradient of its own; the source applies that of one "
        "forward pass five times",
        "order": _ORDER,
        "layer norm": "over all values of an image; the source's is over the channels of a pixel",
        "noise": "that of Trainer.py at 7b6618a; in the layer that replaced it there at b2b1a77 it "
        "may be off",
        "output": f"{_BOUNDED}; the source has one tanh of ab / 127.5",
        "initialization": "N(0, .02) throughout; the source's transposed and residual convolutions "
        "have Keras' default",
        "cross-entropy": "the source trains none: BCE is this project's, the same networks with "
        "batch norm in the discriminator, one step each and no penalty",
        "validation": f"{_HELD_OUT}: 49,000 are left, 3,063 steps an epoch instead of 3,125",
        "length": "README.md and its curves go to 100 epochs; main.py:31 has 20",
    },
    added=("BCE",),
)  # fmt: skip

# ---------------------------------------------------------------- believable colors

NOGAN = Source(
    "the project DeOldify by Jason Antic (https://github.com/jantic/DeOldify), “What is NoGAN?” in "
    "its README and its notebook ColorizeTrainingStable.ipynb",
    1_281_167,
    {
        "feature: epochs": Said(4, "ColorizeTrainingStable.ipynb"),
        "feature: batch_size": Said(88, "ColorizeTrainingStable.ipynb, 64px"),
        "feature: reconstruction": Said("feature", "ColorizeTrainingStable.ipynb, FeatureLoss"),
        "feature: lr": Said(1e-3, "ColorizeTrainingStable.ipynb, 64px"),
        "feature: encoder_lr_ratio": Said(1e-3, "ColorizeTrainingStable.ipynb, 64px"),
        "feature: weight_decay": Said(1e-3, "ColorizeTrainingStable.ipynb"),
        "feature: frozen_epochs": Said(1, "ColorizeTrainingStable.ipynb, 64px"),
        "feature: self_attention": Said(True, "ColorizeTrainingStable.ipynb"),
        "feature: blur": Said(True, "ColorizeTrainingStable.ipynb"),
        "NoGAN: d_norm": Said("spectral", "ColorizeTrainingStable.ipynb"),
        "NoGAN: d_epochs": Said(10, "ColorizeTrainingStable.ipynb"),
        "NoGAN: lr": Said(2e-5, "ColorizeTrainingStable.ipynb, GAN"),
        "NoGAN: d_lr": Said(1e-4, "ColorizeTrainingStable.ipynb, GAN"),
        "NoGAN: beta1": Said(0.0, "ColorizeTrainingStable.ipynb, GAN"),
        "NoGAN: beta2": Said(0.9, "ColorizeTrainingStable.ipynb, GAN"),
    },
    {
        "data": "Tiny ImageNet, 200 classes of ImageNet at 64×64, at that one size; published are "
        "four passes over ImageNet at growing sizes, two of them over half of the images",
        "encoder": "EfficientNet-Lite0 stands in for resnet101, its features for VGG's in the "
        "feature loss",
        "rates": "up to 1e-3 throughout; published up to 3e-4 after the frozen epoch",
        "colors": "the generator predicts ab, not RGB",
        "discriminator": "a PatchGAN that sees L and ab, one step for each of the generator's; "
        "cross-entropy stands beside 100 × the feature loss",
        "the end": "measured: once L1 on validation images, against the generator before the GAN "
        "made as colorful, has not fallen for 2 epochs; published: found by looking at checkpoints",
        "GAN": "the conventional one, this project's: it differs from NoGAN in nothing but a "
        "discriminator that begins with random weights, and in training to the end",
        "length": "a pass over Tiny ImageNet is 4 to 8 % of one over ImageNet: without a folder of "
        "ImageNet (--data) no claim about where training ends is decided",
    },
    added=("L1", "GAN"),
)  # fmt: skip
COLORFUL_CLASSES = Source(
    "Zhang, Isola and Efros, “Colorful Image Colorization”, ECCV 2016 "
    "(https://arxiv.org/abs/1603.08511)",
    1_281_167,
    {
        "epochs": Said(14, "section 3", "450,000 batches"),
        "batch_size": Said(40, "section 3"),
        "L2: reconstruction": Said("l2", "section 2.1"),
        "classes: reconstruction": Said("bins", "section 2.1"),
        "classes: rebalancing": Said(0.0, "section 3.1"),
        "rebalanced: reconstruction": Said("bins", "section 2.1"),
        "rebalanced: rebalancing": Said(0.5, "section 2.2", "λ = 1/2"),
        "weight_decay": Said(1e-3, "section 3"),
        "lr": Said(3e-5, "section 3"),
    },
    {
        "lr": "up to 1e-3 in one cycle: the rates of transfer learning here",
        "data": "Tiny ImageNet, 200 classes of ImageNet at 64×64, not all of ImageNet at 176",
        "network": "a U-Net around EfficientNet-Lite0, which is pretrained on ImageNet, instead of "
        "a network like VGG from random weights",
        "weights of colors": "not smoothed, and grey pictures count too",
        "accuracy": "the share of pixels within 5 units of the truth, not the area under the curve "
        "of errors",
        "L1": "a regression by L1 was not published; made as colorful as the classes, it shows "
        "whether these know more than how to saturate",
        "length": "14 epochs of Tiny ImageNet are 8 % of the published steps: without a folder of "
        "ImageNet (--data) no claim about where training ends is decided",
    },
    added=("L1",),
    steps=450_000,
)  # fmt: skip
