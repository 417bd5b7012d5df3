"""What Figs. 3 and 6 share: a tanh network of three hidden layers under direct feedback alignment, and its task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import xarray as xr

import widelimit as wl

from .base import chosen, stated


@dataclass(frozen=True)
class Setting:
    """The network, its task and its training."""

    hidden_layers: int = stated(3, "L")
    samples: int = chosen(10, "P")
    classes: tuple[int, int] = chosen((4, 9), "handwritten digits of two classes that look alike")
    step_size: float = chosen(0.01, "η, small enough that the steps resolve the fastest network")
    steps: int = chosen(100, "steps")
    particles: int = chosen(4000, "S, particles of the theory")
    capacity: int = chosen(
        80, "directions kept of what passes through a hidden matrix: 8 P, of which up to 65 are used"
    )
    replicates: int = chosen(16, "independent solutions of the theory")

    def training(self, richness: float) -> dict[str, Any]:
        """What `train` and the solvers of `theory` take alike."""
        return {
            "net": wl.MLP(self.hidden_layers, wl.Tanh(), richness),
            "task": wl.datasets.digits(self.samples, 0, classes=self.classes),
            "rule": wl.DirectFeedbackAlignment(),
            "optimizer": wl.SGD(self.step_size),
            "steps": self.steps,
            "progress": False,
        }

    def network(self, width: int, richness: float, replicates: int, record: wl.Record) -> xr.Dataset:
        """Networks of one width; the same initial weights at every γ0, others at every width.

        Single precision moves their kernels by 1e-7, and takes half the time.
        """
        return wl.train(
            **self.training(richness),
            width=width,
            record=record,
            replicates=replicates,
            seed=width,
            precision="float32",
        )

    def theory(self, richness: float, record: wl.Record) -> xr.Dataset:
        """The limit of infinite width."""
        return wl.train(
            **self.training(richness),
            width=wl.Infinite(particles=self.particles, capacity=self.capacity),
            record=record,
            replicates=self.replicates,
        )


SMALL: dict[str, Any] = {
    "step_size": 0.02,
    "steps": 50,
    "particles": 2000,
    "capacity": 50,
    "replicates": 8,
    "width": 600,
    "networks": 8,
}
"""The small version of what the two figures have in common."""
