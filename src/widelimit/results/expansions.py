"""Corrections in 1/N, in numbers that tell how wide is wide enough, and in words."""

from __future__ import annotations

import numpy as np
import xarray as xr

from .configuration import configuration
from .summary import table

WIDTH = 1000
"""The width for which corrections are said in per cent."""


def is_expansion(result: xr.Dataset) -> bool:
    """Whether a dataset holds corrections in 1/N, as `corrections` and the fluctuations of `theory` return."""
    held = set(result["measure"].values.tolist()) if "measure" in result.coords else set()
    return {"limit", "variance"} <= held


def expanded_quantities(result: xr.Dataset) -> list[str]:
    """The quantities of which there are corrections."""
    return [str(name) for name, values in result.data_vars.items() if "measure" in values.dims]


def sizes(result: xr.Dataset, name: str) -> xr.Dataset:
    """|a|, its standard error and √(tr C) of a quantity, relative to √⟨|q_∞|²⟩ with the average over recorded steps.

    Each is over entries, at every step; of |a|² what its error adds on average is taken away. NaN where a is not known,
    as in `theory.lazy_fluctuations`.
    """
    values = result[name]
    over = [dim for dim in values.dims if dim not in ("measure", "step")]
    squares = (values**2).sum(over)
    size = float(squares.sel(measure="limit").mean()) ** 0.5
    unknown = "shift" not in values["measure"]
    shift = np.nan * squares.isel(measure=0, drop=True) if unknown else squares.sel(measure="shift", drop=True)
    exact = "shift_error" not in values["measure"]
    noise = 0 * shift if exact else squares.sel(measure="shift_error", drop=True)
    variance = values.sel(measure="variance", drop=True).sum(over)
    return xr.Dataset(
        {
            "shift": (shift - noise).clip(min=0) ** 0.5 / size,
            "shift_error": noise**0.5 / size,
            "scatter": variance.clip(min=0) ** 0.5 / size,
        }
    )


def lines(result: xr.Dataset) -> list[str]:
    """What networks of a width do, in per cent of the limit: how far their mean is off, and how far one scatters."""
    about = configuration(result)
    rows = []
    for name in expanded_quantities(result):
        squares = (sizes(result, name) ** 2).mean()  # over the recorded steps
        shift, error, scatter = (100 * float(np.sqrt(squares[key])) for key in ("shift", "shift_error", "scatter"))
        rows.append(
            (name, _off(shift / WIDTH, error / WIDTH), f"{scatter / np.sqrt(WIDTH):.2g} %"),
        )
    widths = ", ".join(map(str, about.get("widths", ())))
    measured = f", from {about.get('networks', '')} networks of each of N = {widths}" if widths else ""
    return [
        f"Corrections in 1/N to leading order{measured}.",
        f"What a layer of {WIDTH} neurons makes of the limit, root mean square over entries and recorded steps:",
        "",
        *table(("quantity", "the mean is off by", "one network scatters by"), rows),
    ]


def _off(percent: float, error: float) -> str:
    return "–" if np.isnan(percent) else f"{percent:.2g} % ± {error:.1g}"
