"""Pictures of results.

sheets   grids of images, and the same grid over time as a GIF
charts   curves of one training, curves and bars of several models, as PNG
svg      charts for the inside of pages
"""

from colourgan.plots.charts import bars, compare_curves, curves, range_test
from colourgan.plots.sheets import gif, grid

__all__ = ["bars", "compare_curves", "curves", "gif", "grid", "range_test"]
