"""A simulation that can be stepped by hand: what [`initialize`] returns, and what `train` goes through."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from .. import checks
from ..checks import ArgumentError
from ..networks import Architecture
from ..optimizers import SGD
from ..precision import at_precision
from ..problem import Batches, Task
from ..results import Record, described
from ..results.record import KERNELS
from ..rules import GradientDescent, Rule, numbers_of
from ..threads import lapack_in_one_thread
from ..weights import Infinite, Width
from . import grouping, planning, step
from .devices import Devices
from .inputs import Inputs
from .linearity import check_linear
from .recording import Recording, labelled
from .state import Measurement, Program, Settings, State
from .usage import with_usage


@dataclasses.dataclass(frozen=True)
class Simulation:
    """A network, a task and a rule at one width, ready to be stepped: what [`initialize`] returns.

        simulation = widelimit.initialize(net, task, rule, optimizer=widelimit.SGD(0.1), steps=100)
        state = simulation.start()
        for _ in range(100):
            state = simulation.step(state)
        simulation.measure(state)["loss"]

    States are trees of arrays. No method changes a state that it is given, and nothing in a step is random: equal
    states have equal successors.
    """

    net: Architecture
    task: Task
    rule: Rule
    width: Width
    optimizer: SGD
    steps: int
    batches: Batches | None
    record: Record
    seed: int
    precision: str
    left_out: tuple[str, ...]
    """The kernels that are not recorded because they would take too much memory."""
    program: Program
    settings: Settings
    devices: Devices

    @classmethod
    def of(
        cls,
        net: Architecture,
        task: Task,
        rule: Rule | None,
        *,
        width: Width | float,
        optimizer: SGD,
        steps: int,
        batches: Batches | None,
        record: Record | None,
        seed: int,
        centred: bool,
        precision: str,
        replicates: int = 1,
        devices: int | None = None,
    ) -> Simulation:
        """The simulation of checked arguments; for `replicates` of it, what is recorded is chosen to fit in memory."""
        rule = GradientDescent() if rule is None else rule
        checks.instance("net", net, Architecture, "widelimit.MLP(hidden_layers=3, nonlinearity=widelimit.Tanh())")
        checks.instance("task", task, Task, "widelimit.Task(x, y)")
        checks.instance("rule", rule, Rule, "widelimit.GradientDescent()")
        checks.instance("optimizer", optimizer, SGD, "widelimit.SGD(step_size=0.1)")
        steps = checks.integer("steps", steps, at_least=0)
        seed = checks.integer("seed", seed, at_least=0)
        replicates = checks.integer("replicates", replicates, at_least=1)
        centred = checks.boolean("centred", centred)
        checks.known("precision", precision, ("float64", "float32"), ("bfloat16", *map(str, np.sctypeDict)))
        spread_over = Devices.of(devices)
        record = Record() if record is None else record
        checks.instance("record", record, Record, "widelimit.Record(every=10)")
        record.check(task.samples, len(task.x_test))
        order = None
        if batches is not None:
            checks.instance("batches", batches, Batches, "widelimit.Batches(size=32)")
            order = batches.order(task.samples, steps + 1)  # a recorded step is taken too, the last one for nothing
            if batches.size == task.samples:  # in any order, all of them
                order = None
        planning.rounding_of_outputs(net, task, precision)
        width = planning.as_width(width)
        measurement = Measurement(
            KERNELS if record.kernels is None else record.kernels,
            record.samples,
            record.test_kernels,
            record.positions,
            record.two_time or record.fields,
        )
        numbers, structure = numbers_of(rule)
        program = Program(
            rule=structure,
            is_gradient=bool(rule.is_gradient),
            linear_in_error=bool(rule.linear_in_error),
            width=width,
            loss=task.loss,
            outputs=task.outputs,
            centred=centred or width.resamples,
            measurement=measurement,
        )
        with at_precision(precision):
            as_arrays = functools.partial(jax.tree.map, lambda leaf: jnp.asarray(leaf, precision))
            settings = Settings(
                net=as_arrays(net),
                optimizer=as_arrays(optimizer),
                rule_numbers=as_arrays(numbers),
                inputs=Inputs.of(net, task, precision),
                y=jnp.asarray(task.y, precision),
                batches=None if order is None else jnp.asarray(order),
            )
            program = with_usage(program, settings, rule)
            check_linear(program, settings, rule)
            # What a rule sends through its matrices decides how wide; how wide, what there is memory to record.
            if isinstance(width, Infinite):
                room = planning.Room.of(program, settings, rule)
                width = planning.planned_width(width, room, net, task, steps, batches if order is not None else None)
            item = np.dtype(precision).itemsize
            kept, left_out = planning.recorded_kernels(record, net, task, width, steps, replicates, item)
            program = dataclasses.replace(
                program, width=width, measurement=dataclasses.replace(measurement, kernels=kept)
            )
            if left_out:
                program = with_usage(program, settings, rule)
        return cls(
            net,
            task,
            rule,
            width,
            optimizer,
            steps,
            batches,
            record,
            seed,
            precision,
            left_out,
            program,
            settings,
            spread_over,
        )

    def with_step_size(self, step_size: float) -> Simulation:
        """The same simulation with another step size, which compiles nothing again."""
        optimizer = SGD(step_size, float(self.optimizer.momentum), float(self.optimizer.weight_decay))
        with at_precision(self.precision):
            size = jnp.asarray(step_size, self.precision)
            settings = eqx.tree_at(lambda s: s.optimizer.step_size, self.settings, size)
        return dataclasses.replace(self, optimizer=optimizer, settings=settings)

    def start(self, replicate: int = 0) -> State:
        """The state at initialisation of one replicate: that of `train` with the same seed."""
        checks.integer("replicate", replicate, at_least=0)
        with at_precision(self.precision):
            return step.start(self.program, self.settings, self.rule, (self.seed, replicate))

    def spread(self, state: State, replicates: int = 1) -> tuple[Settings, State]:
        """The settings and the state of so many replicates together, laid out over the devices."""
        particles = self.width.size if isinstance(self.width, Infinite) else None
        return self.devices.spread(self.settings, state, replicates, particles)

    def step(self, state: State, steps: int = 1) -> State:
        """The state after so many further steps.

        **Raises:** `ArgumentError` where that is beyond the `steps` that the simulation was initialised for.
        """
        checks.integer("steps", steps, at_least=0)
        done = int(state.step)
        if done + steps > self.steps:
            raise ArgumentError(
                f"steps: the simulation was initialised for {self.steps}; got {steps} after {done} that were taken."
            )
        if steps == 0:
            return state
        with at_precision(self.precision), lapack_in_one_thread():
            settings, state = self.spread(
                jax.tree.map(jnp.copy, state)
            )  # the compiled steps use up what they are given
            if done == 0:  # the first step looks at everything: what is centred on is known from then on
                state, _ = step.compiled_advance(self.program, settings, state)
                steps -= 1
            return step.compiled_proceed(self.program, settings, state, steps) if steps else state

    def measure(self, state: State) -> xr.Dataset:
        """What `train` would record of a state, by the same names, without the dimensions `replicate` and `step`.

        A state that has diverged is measured as it is; `diverged_step` says so.
        """
        done = int(state.step)
        recording = Recording(range(done, done + 1), self.record)
        with at_precision(self.precision), lapack_in_one_thread():
            settings, state = self.spread(state)
            recording.add(step.compiled_measure(self.program, settings, state), state, diverged_too=True)
            result = self.result([recording], {"configuration": json.dumps(self.configuration(1))})
        return result.isel(replicate=0, step=0).drop_vars("replicate")

    def result(self, recordings: Sequence[Recording], attributes: dict[str, Any]) -> xr.Dataset:
        """The labelled result of what was recorded of some replicates."""
        step_size, samples = float(self.optimizer.step_size), self.record.samples
        return labelled(self.task, recordings, step_size, attributes, recorded_samples=samples)

    def room(self) -> planning.Room:
        """What matched noise the hidden layers hold, at infinite width."""
        with at_precision(self.precision):
            return planning.Room.of(self.program, self.settings, self.rule)

    def check_memory(self, recorded: int, replicates: int) -> None:
        """Raise if so many recorded steps of so many replicates need more memory than there is."""
        with at_precision(self.precision):
            planning.check_memory(self.program, self.settings, self.rule, recorded, replicates, self.record.two_time)

    def together(self, replicates: int) -> int:
        """How many of so many replicates `train` steps together."""
        with at_precision(self.precision):
            return grouping.replicates_together(self.program, self.settings, self.rule, replicates, self.devices.each)

    def configuration(self, replicates: int) -> dict[str, Any]:
        """What a result of so many replicates was computed from, as plain data."""
        return {
            **described(self.net, self.task, self.rule),
            **self.width.describe(),
            "step_size": float(self.optimizer.step_size),
            "steps": self.steps,
            "momentum": float(self.optimizer.momentum),
            "weight_decay": float(self.optimizer.weight_decay),
            "batch_size": None if self.batches is None else int(self.batches.size),
            "batch_seed": 0 if self.batches is None else int(self.batches.seed),
            "record_every": int(self.record.every),
            "kernels": list(self.program.measurement.kernels),
            "replicates": int(replicates),
            "seed": int(self.seed),
            "centred": self.program.centred,
            "precision": self.precision,
        }
