"""Any picture in, the same picture in color out. Nothing here needs torch.

colorizer  a function from pictures to colored pictures
formats    the format of the source, and what is kept of its file
listings   files that list pictures
inputs     files, folders, patterns and listings → what they become
album      many files, side by side, with a report
cluster    the same on many machines
"""

from colourgan.colorize.album import (
    Outcome,
    colorize_bytes,
    colorize_files,
    colorize_sheet,
    failures,
)
from colourgan.colorize.cluster import colorize_on_ray
from colourgan.colorize.colorizer import QUALITIES, Colorizer, Samples, spread, working_size
from colourgan.colorize.formats import FORMATS, QUALITY, format_named
from colourgan.colorize.inputs import expanded

__all__ = [
    "FORMATS", "QUALITIES", "QUALITY", "Colorizer", "Outcome", "Samples", "colorize_bytes",
    "colorize_files", "colorize_on_ray", "colorize_sheet", "expanded", "failures", "format_named",
    "spread", "working_size",
]  # fmt: skip
