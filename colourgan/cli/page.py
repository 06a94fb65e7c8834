"""The command that serves the page."""

from pathlib import Path
from typing import Annotated

from typer import Option

from colourgan.errors import UsageError


def serve(
    port: Annotated[int, Option(help="Port of the page; 0: any that is free.")] = 7860,
    host: Annotated[
        str, Option(help="Address to serve at; 0.0.0.0: for other computers, too.")
    ] = "127.0.0.1",
    model: Annotated[
        list[Path] | None,
        Option(
            metavar="path",
            help="Run folder, model file or hf:USER/NAME to choose beside the packaged one; "
            "repeatable.",
        ),
    ] = None,
    auth: Annotated[
        str | None,
        Option(
            help="USER:PASSWORD that the page asks for. In the environment it is not seen by other "
            "users of this computer.",
            envvar="COLOURGAN_AUTH",
        ),
    ] = None,
    max_mb: Annotated[float, Option(help="Largest file that can be sent, in MB.")] = 50,
    max_megapixels: Annotated[float, Option(help="Largest picture, in megapixels.")] = 50,
    queue: Annotated[int, Option(help="Requests that may wait; more are told to come later.")] = 20,
    jobs: Annotated[int, Option(help="Pictures colored at a time.")] = 1,
    show: Annotated[bool, Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Serve a page that colors photographs in the browser, on this computer."""
    from colourgan.page import Limits, serve

    limits = Limits(max_mb, max_megapixels, queue, jobs)
    serve(_named(model or []), host=host, port=port, auth=_user(auth), limits=limits, show=show)


def _user(auth: str | None) -> tuple[str, str] | None:
    """User and password; UsageError if one of them is missing."""
    if auth is None:
        return None
    user, _, password = auth.partition(":")
    if not user.strip() or not password:
        raise UsageError("--auth is USER:PASSWORD, or COLOURGAN_AUTH in the environment")
    return user.strip(), password


def _named(models: list[Path]) -> dict[str, Path | str]:
    """Names to choose from → models: the packaged one and others by their files' names."""

    from colourgan.runtimes import PACKAGED

    found: dict[str, Path | str] = {PACKAGED: PACKAGED}
    for path in models:
        name = path.resolve().name if path.is_dir() else path.stem
        found[str(path) if name in found else name] = path
    return found
