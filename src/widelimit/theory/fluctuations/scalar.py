"""Finite-width formulas for one number: a ReLU network on one sample, and an order parameter with a known action."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ... import checks
from ...checks import ArgumentError


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


def pade_mean(observable: Sequence[float], action: Sequence[float], width: float) -> float:
    """The mean of O(q) under the density ∝ e^{−N S(q)}, to order 1/N, as a Padé approximant around the minimum q* of S.

        ⟨O⟩ = [O + (a + O d)/N] / [1 + d/N] = O + a/(N + d),
        a = O''/(2 S₂) − O' S₃/(2 S₂²),    d = 5 S₃²/(24 S₂³) − S₄/(8 S₂²)

    with derivatives O, O', O'' and S₂ = S'', S₃ = S''', S₄ = S'''' at q*; the error is O(1/N²). a/N is the first order
    of the plain expansion and 1 + d/N that of the normalisation √(N S₂/2π) ∫dq e^{−N(S(q) − S(q*))}. (Paper, App. H.1,
    where S⁽ᵏ⁾ for k ≥ 3 has to be read as the Taylor coefficient, the derivative over k!.)

    **Arguments:** `observable` (O, O', O'') and `action` (S'', S''', S'''') at q*, S'' > 0; `width` N.

    **Returns:** the approximate mean of O.

    **Raises:** `ArgumentError` where N + d ≤ 0: at so small a width the expansion says nothing.
    """
    value, slope, curvature = _derivatives("observable", observable, "O, O', O''")
    second, third, fourth = _derivatives("action", action, "S'', S''', S''''")
    checks.number("width", width, above=0)
    if second <= 0:
        raise ArgumentError(f"action: S'' must be above 0 at a minimum of the action; got {second:g}.")
    normalisation = width + 5 * third**2 / (24 * second**3) - fourth / (8 * second**2)
    if normalisation <= 0:
        raise ArgumentError(
            f"width must be above {width - normalisation:g} for an expansion in 1/N with these derivatives of the "
            f"action; got {width:g}."
        )
    return float(value + (curvature / (2 * second) - slope * third / (2 * second**2)) / normalisation)


def _derivatives(name: str, given: Sequence[float], wanted: str) -> np.ndarray:
    found = checks.finite_array(name, given)
    if found.shape != (3,):
        raise ArgumentError(f"{name} must be the three numbers ({wanted}); got shape {found.shape}.")
    return found
