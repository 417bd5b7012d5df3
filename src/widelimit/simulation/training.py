"""`train`: one call for every rule and every width, and the only training loop."""

from __future__ import annotations

import json
import math
import time
import warnings
from typing import Literal

import xarray as xr
from tqdm.auto import tqdm

from .. import checks
from ..faults import DivergenceWarning, RecordWarning, TrainingInterrupted, TruncationWarning
from ..networks import Architecture
from ..optimizers import SGD
from ..precision import at_precision
from ..problem import Batches, Task
from ..programs import make_room
from ..progress import progress_bar
from ..results import Record
from ..rules import Rule
from ..weights import Infinite, Width, scatters
from . import step
from .recording import Recording
from .simulation import Simulation
from .step_size import suggest_step_size

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
    - `steps`: how many there are.
    - `batches`: [`Batches`], for minibatches; all samples at every step unless given.
    - `record`: [`Record`], which kernels and fields are recorded and when; all kernels at every step unless given.
    - `replicates`: independent repetitions; standard errors are over them. Replicate r with seed s is the same
      whatever the number of replicates.
    - `seed`: of the initial weights.
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
    checks.integer("replicates", replicates, at_least=1)
    began = time.perf_counter()
    make_room()
    simulation = initialize(
        net,
        task,
        rule,
        width=width,
        optimizer=optimizer,
        steps=steps,
        batches=batches,
        record=record,
        seed=seed,
        centred=centred,
        precision=precision,
        replicates=replicates,
    )
    record, recorded = simulation.record, range(0, steps + 1, simulation.record.every)
    simulation.check_memory(len(recorded), replicates)
    _warn_of_what_is_left_out(simulation)
    recordings: list[Recording] = []
    interrupted = False
    infinite = isinstance(simulation.width, Infinite)
    bar = progress_bar(
        progress,
        total=replicates * recorded[-1],
        desc=f"{type(simulation.rule).__name__}, width {'∞' if infinite else simulation.width.size}",
        unit="step",
    )
    with at_precision(precision):
        with bar:
            for replicate in range(replicates):
                recordings.append(Recording(recorded, record))
                try:
                    _run(simulation, replicate, recordings[-1], bar)
                except KeyboardInterrupt:
                    interrupted = True
                    break
        configuration = {**simulation.configuration(replicates), "seconds": time.perf_counter() - began}
        result = simulation.result(recordings, {"configuration": json.dumps(configuration)})
    _warn_of_divergence(recordings, float(simulation.optimizer.step_size))
    _warn_of_truncation(result, simulation)
    if interrupted:
        raise TrainingInterrupted(result)
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
) -> Simulation:
    """A simulation to be stepped by hand: see [`Simulation`], and "Stepping by hand" for what it is good for.

    **Arguments:** as for [`train`]. `steps` is the largest number of steps that will be taken: at infinite width it
    bounds what has to be kept. `replicates` is how many of it are recorded, which decides what fits in memory.

    **Raises:** `ArgumentError` if an argument cannot serve.
    """
    if isinstance(optimizer, str):
        optimizer = SGD(optimizer)
    if isinstance(optimizer, SGD) and isinstance(optimizer.step_size, str):
        step_size = suggest_step_size(net, task, rule, momentum=float(optimizer.momentum), seed=seed)
        optimizer = SGD(step_size, float(optimizer.momentum), float(optimizer.weight_decay))
    return Simulation.of(
        net,
        task,
        rule,
        width=width,
        optimizer=optimizer,
        steps=steps,
        batches=batches,
        record=record,
        seed=seed,
        centred=centred,
        precision=precision,
        replicates=replicates,
    )


def _run(simulation: Simulation, replicate: int, recording: Recording, bar: tqdm) -> None:
    """One replicate, from initialisation to the last recorded step, or to where it diverges."""
    program, settings = simulation.program, simulation.settings
    state = simulation.start(replicate)
    for recorded in recording.steps:
        state, record = step.compiled_advance(program, settings, state)
        recording.add(record, int(state.diverged_at))
        if recording.diverged_at >= 0 or recorded == recording.steps[-1]:
            break
        bar.update(1)
        left = recording.steps.step - 1
        while left > 0:
            piece = min(left, _PIECE)
            state = step.compiled_proceed(program, settings, state, piece)
            state.step.block_until_ready()
            bar.update(piece)
            left -= piece


def _warn_of_what_is_left_out(simulation: Simulation) -> None:
    if simulation.left_out:
        names = ", ".join(simulation.left_out)
        warnings.warn(
            f"Not recorded, because there is not memory enough for all kernels: {names}. Name those that you want in "
            "record=Record(kernels=...), of fewer samples (samples=...) or at fewer steps (every=...).",
            RecordWarning,
            stacklevel=3,
        )


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


def _warn_of_truncation(result: xr.Dataset, simulation: Simulation) -> None:
    """Warn if the bases of a run at infinite width were too small for it."""
    names = [name for name in ("forward_dropped_fraction", "backward_dropped_fraction") if name in result]
    dropped = max((float(result[name].mean("step").max()) for name in names), default=0.0)
    linear = simulation.net.nonlinearity.linear
    scatter = scatters(linear, simulation.settings.inputs.geometry.fields[:-1])
    if dropped > (1e-6 if linear else 0.05 if scatter else 0.1):
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
