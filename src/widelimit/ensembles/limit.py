"""`limit`: the infinite-width result to a stated accuracy, by whichever way to it is cheapest on this machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import xarray as xr

from .. import checks
from ..faults import TrainingInterrupted
from ..networks import Architecture
from ..optimizers import SGD
from ..problem import Batches, Task
from ..results import Record
from ..rules import Rule
from . import limit_result
from .limit_search import Search
from .quantities import Quantities, Quantity


def limit(
    net: Architecture,
    task: Task,
    rule: Rule | None = None,
    *,
    optimizer: SGD | Literal["auto"],
    steps: int,
    accuracy: float = 0.01,
    of: Quantity | Sequence[str] = "ntk",
    time_budget: float | None = None,
    batches: Batches | None = None,
    record: Record | None = None,
    seed: int = 0,
    precision: str = "float64",
    progress: bool | None = None,
) -> xr.Dataset:
    """The infinite-width result to a stated accuracy of a stated quantity.

    There are two ways to the limit: deferred weights, which are the limit but for their sampling, and networks of two
    widths N and 2N, extrapolated as 2 q_2N − q_N, which leaves a bias of order 1/N². Both are tried on a few
    replicates, unless a trial of one would be more than it can save or finds no memory; their spread and seconds say
    which one is cheaper here. That one goes on, in batches, until the error

        √(⟨|q − q_∞|²⟩ / ⟨|q_∞|²⟩),    the averages over recorded steps and all entries of q,

    is below `accuracy` with a probability of 95 %. Counted are the statistical error and the bias, where it is more
    than chance: that of deferred weights is seen beside half as many particles, that of networks beside a third width.
    See "The limit to a stated accuracy" for what this was measured to do.

    **Arguments:** `net`, `task`, `rule`, `optimizer`, `steps`, `batches`, `precision` and `progress` as for [`train`].

    - `accuracy`: the relative error that is asked for, above 0.
    - `of`: whose error it is: the name of a variable of the result, several names (each is then within the accuracy),
      or a function of a result which keeps the dimension `replicate`.
    - `time_budget`: seconds after which no further batch is begun. The first batches are always run.
    - `record`: [`Record`]; unless given, every step, with the kernels that `of` names and no others (all, where it is a
      function). Fields of neurons are not kept.
    - `seed`: how many replicates are run depends on what time they take, so that two calls with one seed agree within
      their errors, and not to the last digit.

    **Returns:** a result with the names of [`train`], whose `replicate`s are up to 16 independent estimates of equal
    weight: their mean is the estimate, and standard errors over them are its own. A function's values are called
    `quantity`. The configuration has, under "limit", what was asked for, the route and why, the error achieved, the
    standard error, the bias and its error of each quantity, the levels that were run, and the seconds.

    **Raises:** `ArgumentError` before any work if an argument cannot serve; `TrainingInterrupted` on Ctrl-C, with what
    there is. `LimitWarning` says that the accuracy was not reached in time, or that the two ways do not agree;
    `DivergenceWarning` that all runs diverged, and then the steps before that are there.
    """
    checks.number("accuracy", accuracy, above=0, at_most=1)
    if time_budget is not None:
        checks.number("time_budget", time_budget, above=0)
    if progress is not None:
        checks.boolean("progress", progress)
    quantities = Quantities.of(of)
    checks.instance("task", task, Task, "widelimit.Task(x, y)")
    search = Search.of(
        {
            "net": net,
            "task": task,
            "rule": rule,
            "optimizer": optimizer,
            "steps": steps,
            "batches": batches,
            "record": quantities.record(task, record),
            "precision": precision,
        },
        quantities,
        float(accuracy),
        math.inf if time_budget is None else float(time_budget),
        checks.integer("seed", seed, at_least=0),
        progress,
    )
    try:
        with search.bar:
            search.pilot()
            search.go_on()
    except KeyboardInterrupt as interruption:
        if search.route is None:
            raise
        raise TrainingInterrupted(
            limit_result.labelled(search, "interrupted"), getattr(interruption, "code", 130)
        ) from None
    result = limit_result.labelled(search)
    limit_result.warn(search)
    return result
