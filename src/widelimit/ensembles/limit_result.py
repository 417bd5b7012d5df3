"""What comes of a search for the limit: the estimate as a labelled result, and what the user has to know of it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from ..faults import DivergenceWarning, LimitWarning
from ..results import SCHEMA, describe, described, versions
from .limit_search import Search
from .quantities import OF_A_FUNCTION
from .routes import Accuracy, disagreement


def labelled(search: Search, stopped: str = "") -> xr.Dataset:
    """The estimate as a labelled result."""
    assert search.route is not None
    route, stopped = search.route, stopped or search.stopped
    estimates, template = route.estimates(), route.levels[-1].template
    data = {name: (("replicate", *template[name].dims), values) for name, values in estimates.items()}
    whole = template.drop_vars(list(estimates)).assign(data)
    for name in estimates:
        whole[name].attrs.update(template[name].attrs)
    whole = _finite_steps(whole, list(estimates)).assign_coords(replicate=np.arange(route.groups()))
    accuracies = {name: route.accuracy(name) for name in search.names}
    configuration = {
        "solver": f"limit by {route.described()}",
        **described(search.arguments["net"], search.arguments["task"], search.simulation.rule),
        "width": "inf",
        **{
            key: value
            for key, value in search.simulation.configuration(route.groups()).items()
            if key not in ("particles", "capacity", "tolerance", "growth", "width", "net", "rule", "loss")
        },
        "seconds": search.elapsed,
        "limit": _described(search, accuracies, stopped),
    }
    return whole.assign_attrs(
        schema=SCHEMA, versions=json.dumps(versions()), configuration=json.dumps(describe(configuration))
    )


def _described(search: Search, accuracies: dict[str, Accuracy], stopped: str) -> dict[str, Any]:
    assert search.route is not None
    return {
        "accuracy": search.accuracy,
        "of": list(accuracies),
        "quantities": {name: accuracy.as_numbers() for name, accuracy in accuracies.items()},
        "route": search.route.described(),
        "why": " ".join([search.why, *_badly_seen(search, accuracies)]).strip(),
        "stopped": stopped or _failure(search),
        "levels": [
            {
                "width": "inf" if level.width.resamples else level.size,
                **({"particles": level.size} if level.width.resamples else {}),
                "replicates": level.count,
                "seconds": level.seconds,
            }
            for level in search.levels
        ],
    }


def _failure(search: Search) -> str:
    """How the runs of the route failed, in a word or two; empty where they did not."""
    assert search.route is not None
    if any(level.diverged for level in search.route.levels):
        return "runs diverged"
    return "runs forget too much of what is learned" if search.route.failed else ""


def _badly_seen(search: Search, accuracies: dict[str, Accuracy]) -> Iterator[str]:
    """A sentence for each quantity whose bias could hide at the size of what was asked for."""
    for name, known in accuracies.items():
        if known.bias_error > search.accuracy and not known.counted_bias:
            yield f"The bias of {name} was seen to {known.bias_error:.2g} of its size only, and none is counted."


def warn(search: Search) -> None:
    """Say what the user has to know, once."""
    assert search.route is not None
    route = search.route
    for category in {note.category for level in search.levels for note in level.notes}:
        note = next(note for level in search.levels for note in level.notes if note.category is category)
        warnings.warn(str(note.message), category, stacklevel=3)
    if any(level.diverged for level in route.levels):
        warnings.warn(
            f"The limit was not reached: {route.failed} What there is, is of {route.described()}.",
            DivergenceWarning,
            stacklevel=3,
        )
    elif route.failed:
        warnings.warn(f"The result is not to be trusted. {route.failed}", LimitWarning, stacklevel=3)
    elif search.stopped:
        reached = ", ".join(f"{name} {route.accuracy(name).error:.2g}" for name in search.names)
        warnings.warn(
            f"The accuracy of {search.accuracy:g} was not reached, because {search.stopped}; reached are, with 95 % "
            f"probability: {reached}.",
            LimitWarning,
            stacklevel=3,
        )
    if search.other is None or search.other.failed or route.failed:
        return
    for name in search.names:
        distance, allowed = disagreement(route, search.other, name)
        if distance > allowed:
            warnings.warn(
                f"{name} by {route.described()} and by {search.other.described()} lie {distance:.2g} of its size "
                f"apart, where their errors allow {allowed:.2g}: one of the two is biased by more than was seen. "
                "Pass more particles to train, or compare wider networks.",
                LimitWarning,
                stacklevel=3,
            )


def _finite_steps(whole: xr.Dataset, names: Sequence[str]) -> xr.Dataset:
    """The steps up to the first at which a replicate had diverged."""
    good = np.ones(whole.sizes["step"], bool)
    for name in names:
        if name != OF_A_FUNCTION and "step" in whole[name].dims and "step2" not in whole[name].dims:
            over = [dim for dim in whole[name].dims if dim != "step"]
            good &= xr.DataArray(np.isfinite(whole[name])).all(over).values
    steps = len(good) if good.all() else int(np.argmin(good))
    return whole.isel({dim: slice(steps) for dim in ("step", "step2") if dim in whole.dims})
