"""What an optimiser remembers of earlier changes, as matrices over steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import checks
from ..checks import ArgumentError
from ..optimizers import SGD


def with_step_size(optimizer: Any, solver: str) -> SGD:
    """The optimiser, whose step size must be a number: only `train` chooses one by itself."""
    if isinstance(optimizer, str) or (isinstance(optimizer, SGD) and isinstance(optimizer.step_size, str)):
        raise ArgumentError(
            f"optimizer: {solver} needs a step size that is a number; pass "
            'widelimit.SGD(widelimit.suggest_step_size(net, task, rule)), which is what "auto" stands for in train.'
        )
    checks.instance("optimizer", optimizer, SGD, "widelimit.SGD(step_size=0.1)")
    return optimizer


@dataclass(frozen=True)
class OptimizerMemory:
    """Weights at step k are W_k = initial_k W_0 + Σ_{j<k} learned_kj c_j, with c_j the change at step j per time.

    For plain steps initial_k = 1 and learned_kj = η for j < k. Weight decay λ makes initial_k = (1 − ηλ)^k; momentum β
    and decay together give learned_kj = η Σ_{i=j}^{k−1} (1 − ηλ)^{k−1−i} β^{i−j}, from V ← βV + ηc, W ← (1 − ηλ)W + V.
    """

    initial: np.ndarray
    learned: np.ndarray

    @classmethod
    def of(cls, optimizer: SGD, steps: int) -> OptimizerMemory:
        """The memory at steps 0..`steps`."""
        size, momentum = float(optimizer.step_size), float(optimizer.momentum)
        keep = 1 - size * float(optimizer.weight_decay)
        initial = keep ** np.arange(steps + 1)
        learned = np.zeros((steps + 1, steps + 1))
        velocity = np.zeros(steps + 1)  # of every earlier change, at the step being taken
        for step in range(steps):
            velocity *= momentum
            velocity[step] = size
            learned[step + 1] = keep * learned[step] + velocity
        return cls(initial, learned)
