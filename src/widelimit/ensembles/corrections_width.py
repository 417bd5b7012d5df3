"""`width_for`: how wide a network has to be for what it does to be what the limit does."""

from __future__ import annotations

import math
import warnings

import numpy as np
import xarray as xr

from .. import checks
from ..checks import ArgumentError
from ..faults import ExpansionWarning
from ..results import VARIABLES, configuration


def width_for(accuracy: float, *, corrections: xr.Dataset, of: str = "ntk", networks: float = 1) -> int:
    """How many neurons a layer needs for networks to be as near to the limit as `accuracy`.

    The mean of n networks of width N is off by a/N, and scatters by C/(n N). N is the least for which

        √(⟨|a|²⟩/N² + ⟨tr C⟩/(n N)) ≤ accuracy · √⟨|q_∞|²⟩,

    the averages over all recorded steps, as in [`limit`]. |a|, less what its error adds to it, and tr C are each taken
    with their standard error added, so that too few replicates make N too large, and only seldom too small: an entry
    is above its estimate and its error together about one time in six or less.

    **Arguments:** `accuracy`, the relative root mean square error, above 0; `corrections`, what [`corrections`] or
    `theory.two_layer_fluctuations` returns; `of`, a quantity in it; `networks`, of how many networks the mean is taken:
    1 for a single one, `math.inf` for the mean of a large ensemble.

    **Returns:** N.

    **Raises:** `ArgumentError` if an argument cannot serve; `ExpansionWarning` where N is below the narrowest width
    that was measured, so that the leading order need not hold there.
    """
    checks.number("accuracy", accuracy, above=0)
    checks.instance("corrections", corrections, xr.Dataset, "what widelimit.corrections returns")
    if "measure" not in corrections.dims:
        raise ArgumentError("corrections must be what widelimit.corrections returns, with the dimension measure.")
    quantities = [str(name) for name, values in corrections.data_vars.items() if "measure" in values.dims]
    checks.known("of", of, quantities, VARIABLES)
    if networks != math.inf:
        checks.number("networks", networks, at_least=1)
    values = corrections[of]
    held = set(values["measure"].values.tolist()) if "measure" in values.coords else set()
    if not {"limit", "shift", "variance"} <= held:
        raise ArgumentError(f"corrections must hold limit, shift and variance of {of}; it holds {sorted(held)}.")
    squares = {measure: float((values.sel(measure=measure) ** 2).sum()) for measure in held}
    size, noise = squares["limit"], squares.get("shift_error", 0.0)
    if not size > values.sel(measure="limit").size * _rounding(of, corrections) ** 2:
        raise ArgumentError(f"of: {of} is zero at infinite width, so that there is no relative error of it.")
    if not size > 4 * squares.get("limit_error", 0.0):
        raise ArgumentError(
            f"of: {of} is not told from zero at infinite width, where it is no more than two of its standard errors. "
            "Pass corrections a more accurate limit, if it is not zero."
        )
    shift = (math.sqrt(max(squares["shift"] - noise, 0.0)) + math.sqrt(noise)) ** 2
    scatter = sum(float(values.sel(measure=measure).sum()) for measure in {"variance", "variance_error"} & held)
    spread = max(scatter, 0.0) / networks
    allowed = accuracy**2 * size
    # The positive root of shift x² + spread x = allowed, x = 1/N, in a form that serves without a shift too.
    root = spread + math.sqrt(spread**2 + 4 * shift * allowed)
    width = max(int(np.ceil(root / (2 * allowed) - 1e-9)), 1)
    narrowest = min(configuration(corrections).get("widths", [1]))
    if width < narrowest:
        warnings.warn(
            f"{width} neurons are fewer than the {narrowest} of the narrowest networks that were measured: the leading "
            "order in 1/N need not hold there. Measure narrower ones, or take those.",
            ExpansionWarning,
            stacklevel=2,
        )
    return width


def _rounding(of: str, corrections: xr.Dataset) -> float:
    """What is left of a quantity of these networks by rounding alone, where it is zero: far below any that is not.

    Outputs are differences of numbers of the order √K^x/γ0, and errors of those; losses are squares of errors. Kernels
    are sums of numbers of the order K^x. Of what else there is, nothing is known.
    """
    about = configuration(corrections)
    precision = float(np.finfo(about.get("precision", "float64")).eps)
    if "input_kernel" not in corrections:
        return 0.0
    inputs = float(np.diagonal(corrections["input_kernel"].values).mean())
    outputs = precision * math.sqrt(inputs) / float(about.get("net", {}).get("richness", 1.0))
    if of.removesuffix("_projection") in ("output", "test_output", "error"):
        return outputs
    if of.removesuffix("_projection") == "loss":
        return outputs**2
    return precision * inputs if "kernel" in of or of.startswith("ntk") else 0.0
