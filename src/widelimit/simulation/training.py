"""`train`: one call for every rule and every width, and the only training loop."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
import warnings
from typing import Literal

import jax
import xarray as xr

from .. import checks
from ..checks import ArgumentError
from ..faults import (
    DivergenceWarning,
    PrecisionWarning,
    RecordWarning,
    RisingLossWarning,
    TrainingInterrupted,
    TruncationWarning,
)
from ..interrupts import Interrupted, watched
from ..networks import Architecture
from ..optimizers import SGD
from ..precision import at_precision
from ..problem import Batches, Task
from ..problem.scaling import warn_of_scale
from ..programs import make_room
from ..progress import announcing_bar
from ..results import Record, summary
from ..rules import Rule
from ..weights import Infinite, Width, scatters
from . import loop, planning
from .checkpoint import FileKeeper, Place, check_memory, left_open
from .identity import identity
from .recording import Recording
from .simulation import Simulation
from .step_size import suggested

_UNLEARNED = 0.003
"""Beyond this share of the power of updates, final losses were seen to be off by more than a per cent."""

_MOST = 0.5
"""Beyond this share a run is not that of the limit at all."""

_UNRECOGNISED, _UNRECOGNISED_LOST = 0.03, 0.01
"""Up to this, K was seen to be off by less than a per cent; the second where it may be answered by noise of its own or
not at all: where it is scattered (losses too), or of several outputs, whose errors fade."""

_SLOWER = 0.45
"""Beyond this product of the share of what is sent backward last and the logarithm of the fall of the loss, losses were
seen to be off by more than a tenth of themselves."""
_REST = 1e-10  # the share of a loss below which nobody asks by how much it is off


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
    checkpoint: str | os.PathLike[str] | None = None,
    devices: int | None = None,
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
    - `steps`: how many there are.
    - `batches`: [`Batches`], for minibatches; all samples at every step unless given.
    - `record`: [`Record`], which kernels and fields are recorded and when; all kernels at every step unless given.
    - `replicates`: independent repetitions; standard errors are over them. Replicate r with seed s is the same
      whatever the number of replicates, up to rounding.
    - `seed`: of the initial weights.
    - `centred`: subtract the initial output, which is zero at infinite width and O(1/(γ0√N)) in a finite network.
      At infinite width it is always subtracted.
    - `precision`: "float64" or "float32". Half the time, and errors of about 1e-3, which is below the sampling error
      of most runs; deep linear networks are exact in double precision only.
    - `checkpoint`: a file in which the run keeps itself, every few minutes, when it is interrupted and when it is done.
      The same call goes on from there and gives the same numbers, to the last bit on the same device; with more steps
      it goes on from the end of a run that was done. Nothing is kept unless given.
    - `devices`: over how many of jax's devices the run is spread, all of them unless given: replicates, and at infinite
      width the particles of each layer. The result is the same up to rounding; see "Several devices".
    - `progress`: show a progress bar; by default on a terminal only.

    **Returns:** an `xarray.Dataset` whose variables and dimensions are listed in "The result".

    **Raises:** `ArgumentError` before any work if an argument cannot serve, or if the checkpoint is of another run or
    of other versions, and is left as it is; `TrainingInterrupted` on Ctrl-C, holding what was recorded. A run that
    diverges stops, warns with `DivergenceWarning` and keeps the steps before. A basis that is too small for the run
    warns with `TruncationWarning`, a checkpoint that cannot be written with `CheckpointWarning`.
    """
    replicates = checks.integer("replicates", replicates, at_least=1)
    if progress is not None:
        checks.boolean("progress", progress)
    began = time.perf_counter()
    if isinstance(task, Task):
        warn_of_scale(task, stacklevel=3)
    make_room()
    place = None if checkpoint is None else Place.of(checkpoint)
    if place is not None and jax.process_count() > 1:
        raise ArgumentError("checkpoint: a run over several processes cannot keep itself yet; got one. Leave it out.")
    kept = None if place is None else place.read()
    simulation = initialize(
        net,
        task,
        rule,
        width=width,
        optimizer=optimizer if kept is None else kept.optimizer(optimizer),
        steps=steps,
        batches=batches,
        record=record if kept is None else kept.record(record),
        seed=seed,
        centred=centred,
        precision=precision,
        replicates=replicates,
        devices=devices,
        progress=progress,
    )
    recorded = range(0, steps + 1, simulation.record.every)
    simulation.check_memory(len(recorded), replicates)
    course, keeper = loop.Course.of(replicates, simulation.together(replicates)), None
    if place is not None:
        check_memory(simulation, len(recorded), replicates)
        called = identity(simulation, replicates, record, left_open(optimizer))
        if kept is not None:
            kept.check(called, steps)
            course = kept.course(simulation, replicates, recorded)
            simulation = dataclasses.replace(simulation, left_out=kept.left_out)
        keeper = FileKeeper(place, simulation, called, course, kept)
        del kept
    _warn_of_what_is_left_out(simulation)
    _warn_of_rounding(simulation)
    interruption: KeyboardInterrupt | None = None
    infinite = isinstance(simulation.width, Infinite)
    bar = announcing_bar(
        progress,
        simulation.record.every * len(course.groups[0]),
        initial=course.taken,
        total=replicates * recorded[-1],
        desc=f"{type(simulation.rule).__name__}, width {'∞' if infinite else simulation.width.size}",
        unit="step",
    )
    with at_precision(precision), watched() as watch:
        with bar:
            try:
                loop.run(simulation, course, recorded, bar, watch, keeper)
            except KeyboardInterrupt as caught:
                interruption = caught
        seconds = time.perf_counter() - began + (0 if keeper is None else keeper.before)
        configuration = {**simulation.configuration(replicates), "seconds": seconds}
        if interruption is not None:  # of a result alone it could not be told: steps that are left out look alike
            configuration["interrupted_at"] = [each.last for each in course.recordings]
        result = simulation.result(course.recordings, {"configuration": json.dumps(configuration)})
        # Still within: a signal that comes now must not take the result away.
        _warn_of_divergence(course.recordings, float(simulation.optimizer.step_size), type(simulation.rule).__name__)
        _warn_of_rise(result)
        _warn_of_truncation(result, simulation)
    if interruption is None and watch.number is not None:  # it came after the last look at signals
        interruption = Interrupted(watch.number)
    if interruption is not None:
        raise TrainingInterrupted(result, getattr(interruption, "code", 130))
    return result


def initialize(
    net: Architecture,
    task: Task,
    rule: Rule | None = None,
    *,
    width: Width | float = math.inf,
    optimizer: SGD | Literal["auto"],
    steps: int,
    batches: Batches | None = None,
    record: Record | None = None,
    seed: int = 0,
    centred: bool = True,
    precision: str = "float64",
    replicates: int = 1,
    devices: int | None = None,
    progress: bool | None = None,
) -> Simulation:
    """A simulation to be stepped by hand: see [`Simulation`], and "Stepping by hand" for what it is good for.

    **Arguments:** as for [`train`]. `steps` is the largest number of steps that will be taken: at infinite width it
    bounds what has to be kept. `replicates` is how many of it are recorded, which decides what fits in memory.
    `progress` shows how the choice of a step size goes.

    **Raises:** `ArgumentError` if an argument cannot serve.
    """
    if isinstance(optimizer, str):
        optimizer = SGD(optimizer)
    to_choose = isinstance(optimizer, SGD) and isinstance(optimizer.step_size, str)
    simulation = Simulation.of(
        net,
        task,
        rule,
        width=width,
        optimizer=SGD(1e-12, float(optimizer.momentum), float(optimizer.weight_decay)) if to_choose else optimizer,
        steps=steps,
        batches=batches,
        record=record,
        seed=seed,
        centred=centred,
        precision=precision,
        replicates=replicates,
        devices=devices,
    )
    if not to_choose:
        return simulation
    size = suggested(net, task, rule, float(optimizer.momentum), batches, seed=seed, progress=progress, stacklevel=4)
    return simulation.with_step_size(size)


def _warn_of_what_is_left_out(simulation: Simulation) -> None:
    if simulation.left_out:
        names = ", ".join(simulation.left_out)
        warnings.warn(
            f"Not recorded, because there is not memory enough for all kernels: {names}. Name those that you want in "
            "record=Record(kernels=...), of fewer samples (samples=...) or at fewer steps (every=...).",
            RecordWarning,
            stacklevel=3,
        )


def _warn_of_rounding(simulation: Simulation) -> None:
    net, precision = simulation.net, simulation.precision
    lost = planning.rounding_of_outputs(net, simulation.task, precision)
    if lost > 1e-3:
        warnings.warn(
            f"With γ0 = {float(net.richness):.3g}, rounding in {precision} makes outputs wrong by about {lost:.1g} of "
            "the targets: an output is a difference from its initial value, divided by γ0. "
            f"Take {planning.rounding_remedy(precision)}, or a larger γ0.",
            PrecisionWarning,
            stacklevel=3,
        )


def _warn_of_divergence(runs: list[Recording], step_size: float, rule: str) -> None:
    where = {index: run.diverged_at for index, run in enumerate(runs) if run.diverged_at >= 0}
    failed = [run.rule_failed_at for run in runs if run.rule_failed_at >= 0]
    if failed:
        warnings.warn(
            f"{rule}.pseudo_gradient gave what is no finite number, in {len(failed)} of {len(runs)} replicates, first "
            f"at step {min(failed)}, where fields and errors were finite; the recorded steps up to that are kept. No "
            "step size mends that: look for a division by zero, a root or a logarithm in the rule.",
            DivergenceWarning,
            stacklevel=3,
        )
    elif where:
        first = min(where.values())
        warnings.warn(
            f"{len(where)} of {len(runs)} replicates diverged, the first at step {first} (time {first * step_size:g}); "
            "the recorded steps before that are kept. A smaller step size helps unless the rule itself diverges, as "
            "Hebbian does in deep linear and ReLU networks: then train for fewer steps or with weight decay.",
            DivergenceWarning,
            stacklevel=3,
        )


def _warn_of_rise(result: xr.Dataset) -> None:
    for _, sentence in summary.rise(result):
        warnings.warn(
            f"The loss rose well above its start: {sentence}. A smaller step size helps unless the rule itself raises "
            "it, as Hebbian can.",
            RisingLossWarning,
            stacklevel=3,
        )


def _warn_of_truncation(result: xr.Dataset, simulation: Simulation) -> None:
    """Warn if the bases of a run at infinite width were too small for it."""
    if not simulation.net.nonlinearity.linear:
        scatter, several = scatters(False, simulation.settings.inputs.geometry.fields[:-1]), simulation.task.outputs > 1
        sentence, excess = _what_was_lost(result, _UNRECOGNISED_LOST if scatter or several else _UNRECOGNISED)
        slower = not sentence and several and not scatter
        if slower:
            sentence, excess = _how_much_slower(result)
        if sentence:
            remedy = _what_would_do(result, simulation, 4 if excess >= 3 and (scatter or slower) else 2)
            warnings.warn(f"{sentence} {remedy}", TruncationWarning, stacklevel=3)
        return
    names = [f"{way}_dropped_fraction" for way in ("forward", "backward") if f"{way}_dropped_fraction" in result]
    dropped = max((float(result[name].mean("step").max()) for name in names), default=0.0)
    if dropped > 1e-6:
        warnings.warn(
            f"On average over the run, {dropped:.2g} of what passes through a hidden matrix did not fit in its basis: "
            "second moments are right, but its memory is lost, and a linear network is not exact. Pass a larger "
            "capacity (or more particles, which raise the default) or a smaller tolerance.",
            TruncationWarning,
            stacklevel=3,
        )


def _what_was_lost(result: xr.Dataset, most_unrecognised: float) -> tuple[str, float]:
    """What was too much to lose, in a sentence, and how many times too much; none where nothing was."""
    unlearned, unrecognised = (
        float(result[name].max()) if name in result and result[name].size else 0.0
        for name in ("unlearned_fraction", "unrecognised_fraction")
    )
    if unlearned > _MOST:
        return (
            f"Of the updates of a hidden matrix, {unlearned:.2g} of their power was outside the directions that are "
            "kept: most of what was learned is forgotten, and neither losses nor kernels are those of the limit."
        ), unlearned / _UNLEARNED
    if unlearned > _UNLEARNED:
        per_cent = "a" if unlearned < 10 * _UNLEARNED else "ten"
        return (
            f"Of the updates of a hidden matrix, {unlearned:.2g} of their power was outside the directions that are "
            f"kept: what was learned there is forgotten. Kernels can be off by more than {per_cent} per cent, and a "
            "loss that has fallen far by several times as much."
        ), unlearned / _UNLEARNED
    if unrecognised > most_unrecognised:
        return (
            f"Of what was sent backward through a matrix while there was something to learn, {unrecognised:.2g} had no "
            "direction that is kept: what comes back is not what came back before, and kernels can be off by more than "
            "a per cent."
        ), unrecognised / most_unrecognised
    return "", 0.0


def _how_much_slower(result: xr.Dataset) -> tuple[str, float]:
    """What faded errors of several outputs left without an answer, as [`_what_was_lost`]: late losses are too large.

    Where a share s of what is sent backward is lost, a loss that should fall by a factor e^x falls by e^(x − a s x); a
    was a quarter where it was measured.
    """
    if "backward_dropped_fraction" not in result or not result["backward_dropped_fraction"].size:
        return "", 0.0
    losses = result["loss"].mean("replicate").values
    lost = float(result["backward_dropped_fraction"].isel(step=-1).mean("replicate").max())
    fell = float(losses[-1] / losses[0]) if losses[0] > 0 else 1.0
    excess = lost * math.log(1 / fell) / _SLOWER if _REST < fell < 1 else 0.0
    if excess < 1:
        return "", 0.0
    return (
        f"Of what is sent backward at the end, {lost:.2g} has no direction that is kept: the loss, which has fallen to "
        f"{fell:.1g} of its start, can be too large by more than a tenth; kernels are hardly touched."
    ), excess


def _what_would_do(result: xr.Dataset, simulation: Simulation, more: int) -> str:
    """The width that loses less, by so many times `more` directions where all are taken."""
    width, task = simulation.width, simulation.task
    assert isinstance(width, Infinite)
    sizes = [float(result[name].max()) for name in ("forward_basis_size", "backward_basis_size") if name in result]
    if max(sizes) < (width.capacity or 0):
        return f"Pass Infinite(..., tolerance={(width.tolerance or 0) / 4:g})."
    positions = simulation.settings.inputs.geometry.positions
    rows = f"samples of {positions} positions" if positions > 1 else "samples"
    capacity = max(more * (width.capacity or 0), 8 * task.samples if positions == 1 else 0)
    particles = max(simulation.room().particles(capacity), width.size)
    networks = planning.networks_instead(task.samples)
    if capacity < task.samples * positions:
        networks = (
            " That is still fewer than there are samples × positions: networks of two widths, as 200 and 400 neurons, "
            "extrapolated in 1/N, are the surer way to the same limit."
        )
    return (
        f"The basis was full: {width.capacity} directions for {task.samples} {rows}. Pass "
        f"Infinite({particles}, capacity={capacity}).{networks}"
    )
