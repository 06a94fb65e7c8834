"""What may be asked of a model of color classes when it decodes them, in torch or without."""

from colourgan.errors import UsageError

TEMPERATURES = (0.01, 1.0)  # from nearly the mode of the classes to their mean
NO_CLASSES = (
    "--temperature and --vivid are of models trained with --reconstruction bins: this one predicts "
    "its colors directly"
)


def check_decoding(temperature: float | None, vivid: float | None) -> None:
    """Raises UsageError for a value that is out of range; None stands for the model's own."""
    low, high = TEMPERATURES
    if temperature is not None and not low <= temperature <= high:
        raise UsageError(f"temperature {temperature} is not between {low} and {high:g}")
    if vivid is not None and not 0 <= vivid <= 1:
        raise UsageError(f"vivid {vivid} is not between 0 and 1")
