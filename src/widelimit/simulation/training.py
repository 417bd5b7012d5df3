"""`train`: one call for every rule and every width, and the only training loop."""

from __future__ import annotations

import json
import math
import time
import warnings
from typing import Literal

import jax
import xarray as xr
from tqdm.auto import tqdm

from .. import checks
from ..faults import DivergenceWarning, TrainingInterrupted, TruncationWarning
from ..networks import Architecture
from ..optimizers import SGD
from ..precision import at_precision
from ..problem import Batches, Task
from ..programs import make_room
from ..progress import progress_bar
from ..results import Record, described
from ..rules import GradientDescent, Rule
from ..weights import Infinite, Width, scatters
from .dynamics import Dynamics, Given
from .planning import check_memory, planned_width, prepare
from .recording import Recording, collect

_PIECE = 50  # steps between two looks at the keyboard and the progress bar


def train(
    net: Architecture,
    task: Task,
    rule: Rule | None = None,
    *,
    width: Width | float = math.inf,
    optimizer: SGD | Literal["auto"],
    steps: int,
    batches: Batches | None = None,
    record: Record | None = None,
    replicates: int = 4,
    seed: int = 0,
    centred: bool = True,
    precision: str = "float64",
    progress: bool | None = None,
) -> xr.Dataset:
    """Train a network under a learning rule, at finite or infinite width.

    **Arguments:**

    - `net`, `task`, `rule`: what is trained, on what, how; the rule is gradient descent unless given.
    - `width`: [`Infinite`] for the mean-field limit, [`Finite`] for a network; `math.inf` and a number of neurons stand
      for them.
    - `optimizer`: [`SGD`], with the step size η; time is step × η. Steps are exact at every width; there is no limit
      η → 0. The loss is a sum over samples, so stable step sizes shrink as samples are added: "auto" stands for
      `SGD("auto")`, which takes what [`suggest_step_size`] says.
    - `steps`: how many.
    - `batches`: [`Batches`], for minibatches; all samples at every step unless given.
    - `record`: [`Record`], which kernels and fields are recorded and when; all kernels at every step unless given.
    - `replicates`: independent repetitions; standard errors are over them. Replicate r with seed s is the same
      whatever the number of replicates.
    - `centred`: subtract the initial output, which is zero at infinite width and O(1/(γ0√N)) in a finite network.
      At infinite width it is always subtracted.
    - `precision`: "float64" or "float32". Half the time, and errors of about 1e-3, which is below the sampling error
      of most runs; deep linear networks are exact in double precision only.
    - `progress`: show a progress bar; by default on a terminal only.

    **Returns:** an `xarray.Dataset` whose variables and dimensions are listed in "The result".

    **Raises:** `ArgumentError` before any work if an argument cannot serve; `TrainingInterrupted` on Ctrl-C, holding
    what was recorded. A run that diverges stops, warns with `DivergenceWarning` and keeps the steps before. A basis
    that is too small for the run warns with `TruncationWarning`.
    """
    rule = GradientDescent() if rule is None else rule
    checks.instance("net", net, Architecture, "widelimit.MLP(hidden_layers=3, nonlinearity=widelimit.Tanh())")
    checks.instance("task", task, Task, "widelimit.Task(x, y)")
    checks.instance("rule", rule, Rule, "widelimit.GradientDescent()")
    _check_hashable(rule)
    sgd = SGD(optimizer) if isinstance(optimizer, str) else optimizer
    checks.instance("optimizer", sgd, SGD, "widelimit.SGD(step_size=0.1)")
    checks.integer("steps", steps, at_least=0)
    checks.integer("replicates", replicates, at_least=1)
    checks.integer("seed", seed, at_least=0)
    checks.known("precision", precision, ("float64", "float32"))
    record = Record() if record is None else record
    checks.instance("record", record, Record, "widelimit.Record(every=10)")
    record = record.of(task.samples, len(task.x_test))
    two_time, fields = record.two_time, record.fields
    order = None
    if batches is not None:
        checks.instance("batches", batches, Batches, "widelimit.Batches(size=32)")
        order = batches.order(task.samples, steps + 1)
        if batches.size == task.samples:  # in any order, all of them
            order = None
    planned = planned_width(width, net, task, steps)
    infinite = isinstance(planned, Infinite)
    configuration = {
        **described(net, task, rule),
        **planned.describe(),
        "step_size": float(sgd.step_size),
        "steps": int(steps),
        "momentum": float(sgd.momentum),
        "weight_decay": float(sgd.weight_decay),
        "batch_size": None if batches is None else int(batches.size),
        "batch_seed": 0 if batches is None else int(batches.seed),
        "record_every": int(record.every),
        "replicates": int(replicates),
        "seed": int(seed),
        "centred": bool(centred) or infinite,
        "precision": precision,
    }
    began = time.perf_counter()
    make_room()
    with at_precision(precision):
        dynamics, given = prepare(
            net,
            task,
            rule,
            sgd,
            planned,
            precision,
            centred or infinite,
            two_time or fields,
            order,
            record.positions,
        )
        recorded = range(0, steps + 1, record.every)
        check_memory(dynamics, given, len(recorded), replicates, two_time)
        runs: list[Recording] = []
        interrupted = False
        bar = progress_bar(
            progress,
            total=replicates * recorded[-1],
            desc=f"{type(rule).__name__}, width {'∞' if infinite else planned.size}",
            unit="step",
        )
        with bar:
            for index in range(replicates):
                runs.append(Recording(recorded, two_time, fields))
                try:
                    _run(dynamics, given, (seed, index), runs[-1], bar)
                except KeyboardInterrupt:
                    interrupted = True
                    break
        configuration["seconds"] = time.perf_counter() - began
        result = collect(task, runs, float(sgd.step_size), {"configuration": json.dumps(configuration)})
    _warn_of_divergence(runs, float(sgd.step_size))
    _warn_of_truncation(result, net, any(scatters(field) for field in net.geometry(task.shape).fields[:-1]))
    if interrupted:
        raise TrainingInterrupted(result)
    return result


def _check_hashable(rule: Rule) -> None:
    """Raise unless the compiled step can be kept for the rule."""
    try:
        hash(rule)
    except TypeError:
        raise checks.ArgumentError(
            f"rule: the fields of {type(rule).__name__} must be numbers, strings or tuples of them, so that "
            "rules can be compared; return arrays from its feedback() instead."
        ) from None


_advance = jax.jit(Dynamics.advance, static_argnums=0, donate_argnums=2)
_proceed = jax.jit(Dynamics.proceed, static_argnums=0, donate_argnums=2)


def _run(dynamics: Dynamics, given: Given, seed: tuple[int, int], recording: Recording, bar: tqdm) -> None:
    """One replicate, from initialisation to the last recorded step, or to where it diverges."""
    state = dynamics.start(given, seed)
    for step in recording.steps:
        state, record = _advance(dynamics, given, state)
        recording.add(record, int(state.diverged_at))
        if recording.diverged_at >= 0 or step == recording.steps[-1]:
            break
        bar.update(1)
        left = recording.steps.step - 1
        while left > 0:
            piece = min(left, _PIECE)
            state = _proceed(dynamics, given, state, piece)
            state.step.block_until_ready()
            bar.update(piece)
            left -= piece


def _warn_of_divergence(runs: list[Recording], step_size: float) -> None:
    where = {index: run.diverged_at for index, run in enumerate(runs) if run.diverged_at >= 0}
    if where:
        first = min(where.values())
        warnings.warn(
            f"{len(where)} of {len(runs)} replicates diverged, the first at step {first} (time {first * step_size:g}); "
            "the recorded steps before that are kept. A smaller step size helps unless the rule itself diverges, as "
            "Hebbian does in deep linear and ReLU networks: then train for fewer steps or with weight decay.",
            DivergenceWarning,
            stacklevel=3,
        )


def _warn_of_truncation(result: xr.Dataset, net: Architecture, scatter: bool) -> None:
    """Warn if the bases of a run at infinite width were too small for it."""
    names = [name for name in ("forward_dropped_fraction", "backward_dropped_fraction") if name in result]
    dropped = max((float(result[name].mean("step").max()) for name in names), default=0.0)
    if dropped > (1e-6 if net.nonlinearity.linear else 0.05 if scatter else 0.1):
        lost = "memory is lost"
        if scatter:
            lost = "correlations between rows and memory are lost, so that K can be off by as much"
        warnings.warn(
            f"On average over the run, {dropped:.2g} of what passes through a hidden matrix did not fit in its basis: "
            f"second moments are right, but its {lost}. Pass a larger capacity (or more particles, which raise the "
            "default) or a smaller tolerance.",
            TruncationWarning,
            stacklevel=3,
        )
