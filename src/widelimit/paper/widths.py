"""Networks at initialisation over a range of widths, and how what they show scales with the width.

A network's kernels at initialisation are those of its infinitely wide limit up to fluctuations of variance ∝ 1/N, to
leading order. The exact variance of Φ^ℓ of a ReLU network on one sample, (1 + 5/N)^ℓ − 1 ([`theory.relu_variance`]),
tells where that order is enough: the next one is smaller by 5(ℓ − 1)/2N.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import FormatStrFormatter, LogLocator

import widelimit as wl
from widelimit import observables

from . import estimates
from .base import Results
from .estimates import Estimate

KERNELS = ["feature_kernel", "gradient_kernel", "ntk"]

_NEXT_ORDER = 0.1


def runs(
    name: str, net: wl.MLP, task: wl.Task, rule: wl.Rule | None, widths: Sequence[int], replicates: int
) -> Mapping[str, Callable[[], xr.Dataset]]:
    """The kernels of random networks before training, as runs of a figure: one for each width."""
    return {
        _name(name, width): lambda width=width: random_networks(net, task, rule, width, replicates) for width in widths
    }


def random_networks(net: wl.MLP, task: wl.Task, rule: wl.Rule | None, width: int, replicates: int) -> xr.Dataset:
    """Φ^ℓ, G^ℓ and K of networks before training.

    Networks of different depths and widths have different seeds: from the same one they would share random numbers,
    and their errors would not be independent. Networks that differ by the rule alone do share their forward weights.
    """
    seed = 10_000 * net.hidden_layers + width
    run = wl.train(
        net, task, rule, width=width, optimizer=wl.SGD(1.0), steps=0, replicates=replicates, seed=seed, progress=False
    )
    return run[KERNELS].isel(step=0)


def collected(results: Results, name: str, widths: Sequence[int]) -> xr.Dataset:
    """The runs of one network, as one result with the dimension `width`."""
    return xr.concat(
        [results[_name(name, width)] for width in widths],
        xr.Variable("width", list(widths)),
        combine_attrs="drop",
    )


def _name(name: str, width: int) -> str:
    return f"{name}-N{width}"


def leading_order(theory: xr.Dataset, kernel: str) -> xr.DataArray:
    """The mean squared error |Φ_N − Φ|²/|Φ|² of a kernel to leading order: the trace of its covariance over |Φ|².

    From a result of `theory.fluctuations`, at its width; with the dimension `layer` where the kernel has it.
    """
    covariance, pair = theory[f"{kernel}_covariance"], ("sample", "sample2")
    first, second = (xr.DataArray(np.arange(covariance.sizes["sample"]), dims=dim) for dim in pair)
    own = {"sample": first, "sample2": second, "sample3": first, "sample4": second}
    if "layer2" in covariance.dims:
        layers = xr.DataArray(np.arange(covariance.sizes["layer"]), dims="layer")
        own |= {"layer": layers, "layer2": layers}
    return covariance.isel(own).sum(pair) / (theory[kernel] ** 2).sum(pair)


def where_leading(layers: int, widths: Sequence[int]) -> list[int]:
    """The widths at which the next order in 1/N is below a tenth of the leading one: N ≥ 25(L − 1)."""
    return [width for width in widths if 2.5 * (layers - 1) <= _NEXT_ORDER * width]


def exponent(values: xr.DataArray) -> Estimate:
    """The exponent a of ⟨values⟩ ∝ N^a, from the means over networks at the widths that `values` has.

    Widths are independent, so the errors of the means are all that the straight line needs. For mean squares they are
    estimates themselves, good to 1/√(networks) times a few; where distributions have heavy tails (small N, large ℓ)
    they are too small.
    """
    mean, error = observables.mean(values), observables.standard_error(values)
    return estimates.power_law(values["width"].values, mean.values, error.values)


def bend(layers: int, widths: Sequence[int]) -> float:
    """How far the exponent of the exact variance of Φ^ℓ, ℓ = `layers`, over these widths is from −1."""
    exact = np.array([wl.theory.relu_variance(layers, width) for width in widths])
    return abs(estimates.power_law(np.array(widths), exact).value + 1)


def error_of_mean_square(layers: int, width: int, count: int) -> float:
    """The relative standard error of the mean of (Φ^ℓ − 1)², ℓ = `layers`, over so many networks of one width.

    From the fourth moment of a log-normal variable with the exact variance, which is about what the product of many
    independent factors is; where it is large, the error that the networks themselves show is too small.
    """
    w = 1 + wl.theory.relu_variance(layers, width)
    kurtosis = w**4 + 2 * w**3 + 3 * w**2 - 3
    return math.sqrt((kurtosis - 1) / count)


def draw(
    axes: Axes, values: xr.DataArray, colour: str, label: str | None = None, *, layers: int = 0, size: float = 3.5
) -> None:
    """Means over networks against the width as points with standard errors.

    Points are hollow where [`error_of_mean_square`] is above a quarter, for squares of what `layers` layers add up to:
    there the tails are so heavy that neither the points nor their errors can be trusted.
    """
    mean, error = observables.mean(values).values, observables.standard_error(values).values
    place, count = values["width"].values, values.sizes["replicate"]
    vague = np.array([layers > 0 and error_of_mean_square(layers, width, count) > 0.25 for width in place])
    for part, face in ((~vague, colour), (vague, "white")):
        axes.errorbar(
            place[part],
            mean[part],
            error[part],
            color=colour,
            marker="o",
            markersize=size,
            markerfacecolor=face,
            markeredgecolor="white" if face == colour else colour,
            markeredgewidth=size / 8 if face == colour else size / 5,
            linestyle="",
            elinewidth=1.0,
            zorder=3,
            label=label if face == colour else None,
        )


def finish(axes: Axes, widths: Sequence[int]) -> None:
    """Logarithmic axes with ticks at the widths, once everything is drawn."""
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(list(widths), [str(width) for width in widths])
    axes.minorticks_off()
    bottom, top = axes.get_ylim()
    if top < 30 * bottom:  # powers of ten alone would leave a tick or two
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
