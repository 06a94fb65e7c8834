"""A page in the browser that colors photographs. Needs gradio, but no torch.

limits    how much is taken at once, and for how long it is kept
coloring  a picture that was sent → previews, its colored file, a zip of many
examples  the photographs that the page opens with
turns     who is served when
layout    what the page shows, and what happens on a click
server    the page and a plain HTTP endpoint, at an address

The last three import gradio, which `serve` checks for.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from colourgan.errors import UsageError
from colourgan.page.limits import Limits

__all__ = ["Limits", "serve"]


def serve(
    models: Mapping[str, Path | str],
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    auth: tuple[str, str] | None = None,
    limits: Limits | None = None,
    show: bool = False,
) -> None:
    """Serves the page until Ctrl-C; its files are removed then.

    models: names to choose from → run folders or model files, the first by default. port: 0 is any
    that is free. auth: user and password. show: opens a browser. Raises UsageError without gradio,
    for a wrong model, and for an address that cannot be had.
    """
    # Before it is imported: Gradio tells its makers of its use by default.
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
    with TemporaryDirectory(prefix="colourgan-page-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder).resolve())
        try:
            import gradio  # noqa: F401
        except ImportError:
            raise UsageError("the page needs gradio: pip install 'colourgan[page]'") from None
        from colourgan.page.server import run

        run(models, host, port, auth, limits or Limits(), show, Path(folder).resolve())
    print("the page is closed, and its files are removed", file=sys.stderr)
