"""Distributed: one training in several processes, each with its part of every batch."""

from collections.abc import Iterable, Iterator

from fastai.learner import Learner
from timm.layers import BatchNormAct2d, SyncBatchNormAct
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from colourgan import processes
from colourgan.callbacks.base import TrainingCallback


class Distributed(TrainingCallback):
    """Trains the generator on the mean gradient of all processes; measures on all of their images.

    Each process computes its part of every batch of the learner's loaders (see `CachedDL.part`). On
    GPUs batch norm takes its statistics from the whole batch (torch's SyncBatchNorm, as fastai's
    `distrib_ctx` does); on the CPU, where torch has none, from a process's part of it, and the
    running statistics are averaged. Discriminators average their own gradients: see
    `GANCallback`. Metrics and losses of validation are means over all images.

    fastai's own DistributedTrainer is not used: during `fit` it puts a wrapper in the place of
    `learn.model`, which `processes` says the trouble of, wraps anew at every `fit`, and its loader
    needs a GPU. All processes have to take the same steps: whatever ends a batch or a training
    early has to be agreed on.
    """

    order = 8  # before Precision looks at the gradients

    def start_fit(self) -> None:
        part = processes.rank(), processes.world()
        for loader in self.learn.dls.loaders:
            loader.part = part

    def after_fit(self) -> None:
        super().after_fit()
        for loader in self.learn.dls.loaders:
            loader.part = 0, 1

    def before_step(self) -> None:
        """In one message: the averaged weights of EMA need equal statistics at once."""
        gradients = [p.grad for p in self.learn.model.parameters() if p.grad is not None]
        processes.average([*gradients, *running_statistics([self.learn.model])])

    def after_train(self) -> None:
        processes.average(running_statistics(networks(self.learn)))

    def after_validate(self) -> None:
        """Before the recorder reads them, makes its means those over all processes' images."""
        if not self.fitting:
            return
        for metric in (self.learn.recorder.loss, *self.learn.metrics):
            if hasattr(metric, "total"):
                metric.total, metric.count = processes.total([float(metric.total), metric.count])


def networks(learn: Learner) -> list[nn.Module]:
    """The generator and the networks of the learner's callbacks."""
    parts = (getattr(cb, name) for cb in learn.cbs for name in getattr(cb, "saved", ()))
    return [learn.model, *(part for part in parts if isinstance(part, nn.Module))]


def running_statistics(modules: Iterable[nn.Module]) -> Iterator[Tensor]:
    """The running means and variances of their normalizations."""
    for module in (part for network in modules for part in network.modules()):
        if isinstance(module, _NormBase) and module.running_mean is not None:
            yield from (module.running_mean, module.running_var)


def synchronize_batch_norm(network: nn.Module) -> None:
    """Lets batch norms take their statistics from the images of all processes, on GPUs.

    In place, as hooks (those of a U-Net's skip connections) are on the modules that are there; a
    layer of timm that is batch norm and activation in one stays both.
    """
    kinds = dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d), nn.SyncBatchNorm)
    kinds[BatchNormAct2d] = SyncBatchNormAct
    for module in network.modules():
        if kind := kinds.get(type(module)):
            module.__class__, module.process_group = kind, None  # None: all processes


def begin_alike(learn: Learner) -> None:
    """Gives all processes the first one's weights and order of images, and Distributed."""
    if processes.world() == 1:
        return
    for network in networks(learn):
        if learn.dls.device.type == "cuda":
            synchronize_batch_norm(network)
        processes.copy_from_first(network.state_dict().values())
    for loader in learn.dls.loaders:
        loader.rng.setstate(processes.share(loader.rng.getstate()))
    learn.add_cb(Distributed())
