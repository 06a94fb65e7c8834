"""The command line. Nothing heavy is imported before it is needed.

derive       dataclasses of options → commands
training     the commands that train
experiments  reproduce and study
page         serve
sharing      push
commands     all others
output       what they say when they are done, and log
errors       an error → exit code and one line
"""

import signal
import sys
import traceback
import warnings
from typing import Annotated

import typer

import colourgan
from colourgan.cli.commands import colorize, evaluate, export, list_names
from colourgan.cli.errors import INTERRUPTED, explain, told
from colourgan.cli.experiments import reproduce, study
from colourgan.cli.output import flush, show_log
from colourgan.cli.page import serve
from colourgan.cli.sharing import push
from colourgan.cli.training import check_alone, commands
from colourgan.trainings import TRAININGS

__all__ = ["app", "main"]

app = typer.Typer(
    name="colourgan",
    help="Color black-and-white photographs (colorize, serve), and train models that do: pretrain, "
    "gan-finetune, evaluate. `colourgan study` compares encoders, data and methods, `colourgan "
    "reproduce` repeats published experiments, `colourgan list` names the encoders, data sets and "
    "other parts to choose from. --debug, anywhere, shows the traceback of an error.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # brackets in the help are meant as they are
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

for command in (
    colorize, serve, *commands(), evaluate, export, push, study, reproduce,
):  # fmt: skip
    app.command()(command)
app.command("list")(list_names)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"colourgan {colourgan.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    if context.invoked_subcommand not in TRAININGS:
        check_alone(context.invoked_subcommand)


def main() -> None:
    """Runs the command line; every error a user can cause is one line on stderr."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    arguments = arguments or ["--help"]
    signal.signal(signal.SIGTERM, _interrupt)
    if not debug:  # other libraries' notes to their developers
        warnings.simplefilter("ignore")
    show_log()
    try:
        code = app(arguments, standalone_mode=False, prog_name="colourgan")
        if code == INTERRUPTED:  # newer Typers turn Ctrl-C into this code
            raise KeyboardInterrupt
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        code, line = explain(error)
        if not told(error):
            print(f"colourgan: {line}", file=sys.stderr)
    flush()
    sys.exit(code or 0)


def _interrupt(number, frame) -> None:
    raise KeyboardInterrupt
