"""The command that shares a model."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from colourgan.cli.output import done


def push(
    model: Annotated[
        Path, Argument(help="Run folder or .safetensors file; packaged: the one in the package.")
    ],
    destination: Annotated[str, Argument(help="Repository on the Hugging Face Hub: hf:USER/NAME.")],
    private: Annotated[
        bool, Option("--private", help="Make a new repository that only you can see.")
    ] = False,
    license: Annotated[
        str | None,
        Option(help="The model's license, such as apache-2.0 or cc-by-4.0. [default: none named]"),
    ] = None,
    message: Annotated[str | None, Option(help="Message of the commit.")] = None,
    evaluation: Annotated[
        Path | None, Option(help="Folder that `evaluate` wrote for this model, for its card.")
    ] = None,
    pictures: Annotated[
        bool,
        Option("--pictures", help="Show photographs of a folder of your own, too, in samples."),
    ] = False,
    overwrite_card: Annotated[
        bool, Option("--overwrite-card", help="Replace a README.md that was edited there.")
    ] = False,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Print the files and the model card; send nothing.")
    ] = False,
) -> None:
    """Share a model on the Hugging Face Hub; colorize takes it as --model hf:USER/NAME.

    The token is the one of `hf auth login`, or of the variable HF_TOKEN.
    """
    from colourgan.sharing import prepared, push

    if dry_run:
        shared = prepared(model, destination, license, evaluation, pictures)
        for name, size in shared.sizes().items():
            print(f"{size:>12,}  {name}")
        print(f"\n{shared.card}", end="")
        return
    address = push(
        model, destination, private, license, message, evaluation, pictures, overwrite_card
    )
    done("pushed", address)
