"""colourgan: transfer learning for image colorization."""

__version__ = "0.1.0"
