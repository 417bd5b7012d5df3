"""What the equations of one replicate are made of, the same in all sweeps: network, task, rule, and noise."""

from __future__ import annotations

import math

import numpy as np

from ...networks import MLP
from ...problem import Task
from ..feedback import FeedbackKind, FeedbackLaw
from ..momentum import OptimizerMemory
from .fields import ArrayNonlinearity, matched_noise
from .output import ErrorSignal


class Replicate:
    """One replicate. Its noise is drawn once, so that a sweep is a deterministic map with a fixed point of its own."""

    def __init__(
        self,
        net: MLP,
        task: Task,
        feedback: FeedbackLaw,
        memory: OptimizerMemory,
        particles: int,
        generator: np.random.Generator,
    ):
        self.feedback, self.memory = feedback, memory
        self.depth, self.richness = net.hidden_layers, float(net.richness)
        self.inputs, self.outputs = task.samples, task.outputs
        self.nonlinearity, self.error = ArrayNonlinearity(net.nonlinearity), ErrorSignal(task, feedback)
        self.input_kernel = task.x @ task.x.T / task.x.shape[1]
        # u^1 = X ξ lies in as many dimensions as the inputs do, and takes no more noise than that.
        self.coordinates = _coordinates(task.x)
        self.noise = [matched_noise(generator, self._noise_rows(index), particles) for index in range(self.depth)]
        self.gates = [
            self.nonlinearity.gates(self.coordinates @ noise["gate"]) if "gate" in noise else None
            for noise in self.noise
        ]

    @property
    def descent(self) -> bool:
        """Whether the rule is gradient descent, where p = g, and r with its response A is what h feels from above."""
        return self.feedback.kind is FeedbackKind.GRADIENT

    @property
    def aligned(self) -> bool:
        """Whether v matters, and with it C and D: feedback that is correlated with the initial weights."""
        return self.feedback.kind is FeedbackKind.CHAIN and self.feedback.correlation != 0

    @property
    def carried_outputs(self) -> int:
        """Rows of p for each input: under Hebb one p = ϕ serves all outputs."""
        return 1 if self.feedback.kind is FeedbackKind.LOCAL else self.outputs

    def is_top(self, index: int) -> bool:
        """Whether the readout stands above this layer, and not another hidden one."""
        return index == self.depth - 1

    def kept(self, steps: int) -> np.ndarray:
        """s_k, what is left of the initial weights at step k, for every (step, input): a column."""
        return np.repeat(self.memory.initial[:steps], self.inputs)[:, None]

    def learned(self, steps: int) -> np.ndarray:
        """γ0 m_kj, what a change at step j amounts to at step k (step, step2)."""
        return self.richness * self.memory.learned[:steps, :steps]

    def at_every_step(self, rows: np.ndarray, steps: int) -> np.ndarray:
        """Frozen rows, one for each output, as rows (step, input, output)."""
        return np.tile(rows, (steps * self.inputs, 1))

    def _noise_rows(self, index: int) -> dict[str, tuple[int, int]]:
        """How much noise a layer takes, as (steps, rows per step): what does not change in time has one step."""
        steps, rank = len(self.memory.initial), self.coordinates.shape[1]
        # The readout sends one frozen vector back for each output; a hidden layer sends a field.
        above = (1, self.outputs) if self.is_top(index) else (steps, self.inputs * self.outputs)
        rows = {"below": (1, rank) if index == 0 else (steps, self.inputs)}
        if self.nonlinearity.gated:
            rows["gate"] = (1, rank)
        if self.descent or self.aligned:
            rows["above"] = above
        if self.feedback.kind is FeedbackKind.DIRECT:
            rows["own"] = (1, self.outputs)
        elif self.feedback.kind is FeedbackKind.CHAIN and abs(self.feedback.correlation) < 1:
            rows["own"] = above
        return rows


def _coordinates(x: np.ndarray) -> np.ndarray:
    """Rows X (input, rank) with X Xᵀ = K^x."""
    left, values, _ = np.linalg.svd(x / math.sqrt(x.shape[1]), full_matrices=False)
    kept = values > 1e-12 * max(float(values.max()), 1e-300)
    return left[:, kept] * values[kept]
