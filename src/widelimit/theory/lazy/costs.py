"""What a run of the lazy limit takes, before it starts: bytes, and seconds."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ... import checks, formatting
from ...checks import ArgumentError
from ...memory import require_memory
from ...networks import Architecture, Gated, Nonlinearity
from ...problem import Task
from .connections import Connections, connections_of
from .dynamics import Schedule
from .kernels import TILE

WARN_FROM = 180.0
"""Seconds from which a run says how long it will take."""

# Seconds on one core of an AMD EPYC server, the largest that was measured over several nonlinearities.
_CLOSED_FORM = 1e-7  # averages over the fields of a pair of rows in a layer, where they have a closed form
_SERIES = 2e-6  # the same as a series, each row having coefficients of its own
_SERIES_OF_ONE_NORM = 2e-7  # the same where all rows have one norm, and so the same coefficients
_PASS = 6e-9  # a pair of rows, once through one tap of a filter
_EIGENMODES = 1.3e-10  # times P³
_PRODUCT = 1e-10  # an entry of K times an output


class LongRunWarning(UserWarning):
    """A run will take minutes, or more."""


@dataclass(frozen=True)
class Costs:
    """What kernels between all samples, and outputs by the schedule, take. `names` are the kernels that are kept."""

    net: Architecture
    task: Task
    schedule: Schedule
    names: Sequence[str]
    exact: bool

    @property
    def connections(self) -> Connections:
        """How kernels pass between layers."""
        return connections_of(self.net, self.task)

    @property
    def row_pairs(self) -> float:
        """How many pairs of rows kernels are computed between, a row being a sample at a position."""
        samples, tests = self.task.samples, len(self.task.x_test)
        return (samples * (samples + 1) / 2 + tests * samples) * self.connections.position_count**2

    def memory(self) -> dict[str, float]:
        """Bytes, by what they are for."""
        samples, tests, layers = self.task.samples, len(self.task.x_test), self.net.hidden_layers
        leading = {"ntk": 1, "test_ntk": 1, "ntk_term": layers + 1}
        kept = sum(leading.get(name, layers) * (tests if name == "test_ntk" else samples) for name in self.names)
        kernels = (2 * samples + tests) * samples  # K, K_* and the input kernel
        workspace = 2 * samples**2 if self.exact else 0  # of the eigendecomposition
        positions = self.connections.position_count
        tiles = (4 * layers + 10) * (min(max(TILE // positions, 1), max(samples, tests)) * positions) ** 2
        numbers = self.net.geometry(self.task.shape).coordinates + 3 * layers + 1  # inputs and variances of a row
        rows = (samples + tests) * positions * numbers
        over_time = 6 * len(self.schedule.times) * (samples + tests) * self.task.outputs
        return {
            "the kernels in the result": 8.0 * kept * samples,
            "computing them": 8.0 * (kernels + workspace + tiles + rows),
            "outputs in time": 8.0 * over_time,
        }

    def seconds(self) -> float:
        """About how long the run takes; of gradient flow under other losses than the squared one, kernels alone."""
        samples, tests, names = self.task.samples, len(self.task.x_test), self.names
        # Fields go up, and K with them; what is kept of gradients goes down, and what is kept of terms both ways.
        passes = 2 + ("gradient_kernel" in names) + ("pseudo_gradient_kernel" in names) + 2 * ("ntk_term" in names)
        layer = self._averages() + passes * self.connections.taps * _PASS
        modes = samples**3 if self.exact else 0
        steps = None if self.exact else self.schedule.steps
        products = len(self.schedule.times) if steps is None else int(steps[-1])
        outputs = products * self.task.outputs * samples * (2 * samples + tests)
        return self.row_pairs * self.net.hidden_layers * layer + _EIGENMODES * modes + _PRODUCT * outputs

    def _averages(self) -> float:
        """Seconds for the averages over the fields of one pair of rows in one layer."""
        phi = self.net.nonlinearity
        shape = phi.shape if isinstance(phi, Gated) else phi
        if type(shape).dual is not Nonlinearity.dual:
            return _CLOSED_FORM
        norms = np.linalg.norm(np.concatenate([self.task.x, self.task.x_test]), axis=1)
        of_one_norm = self.connections.position_count == 1 and np.ptp(norms) <= 1e-14 * norms.max()
        return _SERIES_OF_ONE_NORM if of_one_norm else _SERIES

    def check(self, time_limit: float) -> None:
        """Raise if the run needs more memory than there is, or more time than the limit; warn if it takes minutes."""
        parts = self.memory()
        require_memory(
            sum(parts.values()),
            parts=parts,
            remedy="Keep fewer kernels (kernels=() keeps none), ask for fewer times, or take fewer samples.",
        )
        if time_limit != math.inf:
            checks.number("time_limit", time_limit, above=0)
        seconds, positions = self.seconds(), self.connections.position_count
        if seconds < min(WARN_FROM, time_limit):
            return
        estimate = (
            f"theory.lazy takes about {formatting.duration(seconds)} for {self.task.samples} samples"
            f"{f' at {positions} positions each' * (positions > 1)}, {self.row_pairs:.1e} pairs of them in each of "
            f"{self.net.hidden_layers} layers."
        )
        if seconds > time_limit:
            raise ArgumentError(
                f"time_limit: {estimate} The limit is {formatting.duration(time_limit)}. Take fewer samples"
                f"{' or smaller images' * (positions > 1)}, or pass a larger time_limit, in seconds, or math.inf."
            )
        warnings.warn(estimate, LongRunWarning, stacklevel=3)
