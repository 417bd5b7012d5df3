"""One self-contained page about a run, about several, or about a sweep: curves, kernels, distances, configuration.

It is one HTML file that needs nothing from anywhere else: no network, no fonts, no scripts but its own.
"""

from .explorer import explorer
from .inferred import inference_page
from .page import page

__all__ = ["explorer", "inference_page", "page"]
