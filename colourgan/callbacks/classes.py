"""ClassifyColors: training on classes of color with a generator that gives colors otherwise."""

from colourgan.callbacks.base import TrainingCallback


class ClassifyColors(TrainingCallback):
    """Lets the generator return the logits of its classes in the batches of a training.

    In validation and prediction, and wherever the generator is called by itself, it returns ab.
    """

    order = 9  # within Precision's autocast or without makes no difference

    def before_batch(self) -> None:
        """Classes in training, colors otherwise."""
        self.learn.model.classifying = self.training and self.fitting

    def after_pred(self) -> None:
        """Colors for everybody else."""
        self.learn.model.classifying = False

    def state_dict(self) -> dict:
        """Nothing: what is learned is the generator's."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Nothing to take over."""
