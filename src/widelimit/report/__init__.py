"""One self-contained page about a run, or about several: curves, kernels in time, distances, configuration.

It is one HTML file that needs nothing from anywhere else: no network, no fonts, no scripts but its own.
"""

from .inferred import inference_page
from .page import page

__all__ = ["inference_page", "page"]
