"""Kernels of a ReLU network on one sample, whose variance is known at every width."""

from __future__ import annotations

import numpy as np

from ... import checks


def relu_variance(layer: int, width: int) -> float:
    """Var Φ^ℓ = (1 + 5/N)^ℓ − 1 of a ReLU network on one sample with |x|² = D, exact at every width.

    Φ^ℓ/Φ^{ℓ-1} is the average over N neurons of 2 max(e, 0)² with independent standard normals e, whose second moment
    is 1 + 5/N; the ratios of different layers are independent and have mean 1. The leading order is 5ℓ/N (paper,
    App. H.3).

    The gradient kernel has the same law counted from the top, Var G^ℓ = (1 + 5/N)^{L+1−ℓ} − 1: call with the layer
    L + 1 − ℓ. The active neurons of a ReLU network at one input are distributed like fair coins independent of the
    weights (Hanin & Nica 2020), as long as none of the layers below ℓ is inactive as a whole; that has the probability
    2^{−N} for each, and makes G^ℓ zero.

    **Arguments:** `layer` ℓ ≥ 1; `width` N. For ϕ = √2 max(h, 0), the default gain of [`widelimit.ReLU`].

    **Returns:** the variance over networks at initialisation.
    """
    checks.integer("layer", layer, at_least=1)
    checks.integer("width", width, at_least=1)
    return float(np.expm1(layer * np.log1p(5 / width)))
