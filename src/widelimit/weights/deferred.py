"""A weight matrix that is revealed where it is touched: the infinite-width limit, with S particles a layer."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import checks
from ..checks import ArgumentError
from ..networks import ReceptiveField
from .base import Usage, Weights, Width
from .basis import Basis, Coordinates, Truncation, scattered
from .population import OrthogonalisedPopulation, Population, RotatedPopulation
from .products import correlate, overlap


@final
class DeferredWeights(Weights):
    """W/√N represented as [(s ε_u + q) Qᵀ + s Q_g ε_rᵀ]/S between two populations of S particles.

    `sent_up` is the basis Q of the features that went forward, with their noise ε_u in the population above;
    `sent_down` is the basis Q_g of what went backward, with its noise ε_r below; q is what was learned, and s the
    factor by which weight decay has shrunk the initial matrix. A forward product is a Gaussian with covariance Φ
    (through ε_u), the response of the mean-field theory (through Q_g ε_rᵀ) and the memory of the updates (through q).
    A filter has one Q and one Q_g for all its offsets, and an ε_u, an ε_r and a q for each.
    """

    sent_up: Basis
    sent_down: Basis
    current: Float[Array, "stack above"]
    shrink: Float[Array, ""]
    spare_up: Float[Array, "test above"]
    spare_joint: Float[Array, "joint_stack above"]
    spare_down: Float[Array, "spare_stack below"]
    field: ReceptiveField = eqx.field(static=True)

    @property
    def forgets(self):
        return True

    def forward(self, features, rows):
        coordinates, sent_up = self.sent_up.extend(features, rows)
        revealed = eqx.tree_at(lambda w: w.sent_up, self, sent_up)
        response = self.sent_down.compose(self.sent_down.answers(features))
        return revealed._up(coordinates) + self.shrink * response, coordinates.lasting, revealed

    def backward(self, gradients, rows, initial=False):
        coordinates, sent_down = self.sent_down.extend(gradients, rows)
        revealed = eqx.tree_at(lambda w: w.sent_down, self, sent_down)
        return revealed._down(gradients, coordinates, initial), revealed

    def test_forward(self, features):
        coordinates = self.sent_up.coordinates(features)
        fresh = scattered(self.field, self.sent_up.missing(features, coordinates), self.spare_up)
        response = self.sent_down.compose(self.sent_down.answers(features))
        return self._up(coordinates) + self.shrink * (response + fresh)

    def probe_forward(self, features):
        coordinates, sent_up = self.sent_up.append(features, self.spare_joint)
        response = self.sent_down.compose(self.sent_down.answers(features))
        return dataclasses.replace(self, sent_up=sent_up)._up(coordinates) + self.shrink * response

    def probe_backward(self, gradients, rows, initial=False):
        spare = self.spare_down.reshape(self.field.matrices, -1, self.spare_down.shape[-1])
        spare = spare[:, rows.offset : rows.offset + len(gradients)].reshape(-1, spare.shape[-1])
        coordinates, sent_down = self.sent_down.append(gradients, spare)
        probed = dataclasses.replace(self, sent_down=sent_down)
        return probed._down(gradients, coordinates, initial), probed

    def signs(self, initial=False):
        # A random matrix with the law of sign(W): its correlation with normal entries, and the rest as one of its own.
        # Decay makes W = s W(0) + ΔW smaller, and not its signs.
        shrink = 1.0 if initial else self.shrink
        return self, math.sqrt(2 / math.pi) / jnp.abs(shrink), math.sqrt(1 - 2 / math.pi) * jnp.sign(shrink)

    def encode(self, features, rows):
        coordinates, sent_up = self.sent_up.extend(features, rows)
        return coordinates.lasting, eqx.tree_at(lambda w: w.sent_up, self, sent_up)

    def outer(self, post, coordinates):
        return correlate(self.field, self.field.gather(coordinates), post)

    def unlearned(self, post, features, coordinates):
        if self.field.matrices == 1:
            pairs, gram = overlap(post, post), overlap(features, features)
            missing = gram - coordinates @ coordinates.T
            return jnp.stack([jnp.maximum(jnp.vdot(pairs, missing), 0), jnp.vdot(pairs, gram)])
        # The rows of a convolution are too many for their Gram matrix. The update itself is too large to be formed,
        # but |M|² is the mean of |M v|² over random vectors v.
        directions = jax.random.normal(jax.random.key(0), (_TRIED, features.shape[1]), features.dtype)
        whole = overlap(features, directions)
        missing = whole - coordinates @ overlap(self.sent_up.lasting, directions)
        both = self.field.gather(jnp.concatenate([missing, whole], axis=1))
        changes = correlate(self.field, both, post).reshape(-1, 2, _TRIED, post.shape[1])
        return jnp.sum(changes**2, axis=(0, 2, 3)) / _TRIED

    def no_change(self):
        return jnp.zeros_like(self.current)

    def move(self, change, keep):
        return eqx.tree_at(lambda w: (w.current, w.shrink), self, (keep * self.current + change, keep * self.shrink))

    def initially(self):
        return dataclasses.replace(self, current=self.sent_up.lasting_noise, shrink=jnp.ones_like(self.shrink))

    def diagnostics(self):
        return {
            "forward_basis_size": self.sent_up.filled,
            "backward_basis_size": self.sent_down.filled,
            "forward_dropped_fraction": self.sent_up.dropped,
            "backward_dropped_fraction": self.sent_down.dropped,
        }

    def _up(self, coordinates: Coordinates) -> Float[Array, "row_above above"]:
        lasting = self.sent_up.send(coordinates.lasting, self.current)
        return lasting + self.shrink * self.sent_up.remaining_noise_of(coordinates)

    def _down(
        self, gradients: Float[Array, "row_above above"], coordinates: Coordinates, initial: bool
    ) -> Float[Array, "row_below below"]:
        shrink = 1.0 if initial else self.shrink
        answers = self.sent_up.answers(gradients)
        learned = answers.lasting if initial else self.sent_up.back(gradients, self.current)
        answers = Coordinates(learned, shrink * answers.passing)
        return self.sent_up.compose(answers) + shrink * self.sent_down.noise_of(coordinates)


@final
@dataclass(frozen=True)
class Infinite(Width):
    """The limit of infinite width, by S particles a layer with matched noise and weights revealed where they are used.

    **Arguments:** `particles` S, the Monte Carlo samples of each layer; errors fall as 1/√S; `capacity`, the directions
    that a basis has room for; `tolerance`, the rms relative to the vectors sent above which a residual direction is
    worth keeping; `growth`, the directions that a basis may gain in one step. All are chosen from the task unless given
    (see "How infinite width works here"): 4000 particles, or as many as have room for what the task needs.

    **Raises:** `ArgumentError` for numbers that cannot serve.
    """

    particles: int | None = None
    capacity: int | None = None
    tolerance: float | None = None
    growth: int | None = None

    def __post_init__(self):
        plain: dict[str, float] = {}
        if self.particles is not None:
            plain["particles"] = checks.integer("width.particles", self.particles, at_least=2)
        if self.capacity is not None:
            plain["capacity"] = checks.integer("width.capacity", self.capacity, at_least=1)
        if self.tolerance is not None:
            plain["tolerance"] = checks.number("width.tolerance", self.tolerance, at_least=0, below=1)
        if self.growth is not None:
            plain["growth"] = checks.integer("width.growth", self.growth, at_least=1)
        for name, value in plain.items():
            object.__setattr__(self, name, value)

    @property
    def size(self):
        if self.particles is None:
            raise ValueError("the number of particles must be chosen before it is asked for: see `planned_width`")
        return self.particles

    @property
    def resamples(self):
        return True

    def population(self, generator, dtype, many_rows):
        # So many particles hold hundreds of matched rows or more: orthogonalising those takes longer than many steps.
        if self.size >= PARTICLES and not many_rows:
            return RotatedPopulation(self.size, dtype, generator)
        return OrthogonalisedPopulation(self.size, dtype, generator, many_rows)

    def weights(self, below: Population, above: Population, usage: Usage, field: ReceptiveField):
        sent_up = self._empty(below, above, usage.forward, field)
        nothing = jnp.zeros((0, self.size), below.dtype)
        return DeferredWeights(
            sent_up=sent_up,
            sent_down=self._empty(above, below, 0, field.reversed),
            current=jnp.array(sent_up.lasting_noise, copy=True),
            shrink=jnp.ones((), below.dtype),
            spare_up=nothing,
            spare_joint=nothing,
            spare_down=nothing,
            field=field,
        )

    def with_backward(self, weights, below, above, usage):
        sent_down = self._empty(above, below, usage.backward, weights.field.reversed, fading=True)
        return dataclasses.replace(weights, sent_down=sent_down)

    def with_measurements(self, weights, below, above, usage):
        up, down = above.spare(usage.tests), below.spare(weights.field.reversed.matrices * usage.probes)
        joint = above.spare(weights.field.matrices * usage.test_probes)
        return dataclasses.replace(weights, spare_up=up, spare_down=down, spare_joint=joint)

    def _empty(
        self, source: Population, sink: Population, load: int, field: ReceptiveField, fading: bool = False
    ) -> Basis:
        """Nothing known yet of a matrix from `source` to `sink` that meets `load` vectors in a step."""
        if self.capacity is None or self.tolerance is None or self.growth is None:
            raise ValueError(
                "capacity, tolerance and growth must be chosen before weights are made: see `planned_width`"
            )
        truncation = Truncation(self.capacity if load else 0, self.tolerance, self.growth)
        return Basis.empty(source, sink, load, truncation, field, fading)

    def check(self, population: Population):
        rows = population.rows
        if rows > self.size // 2:
            raise ArgumentError(
                f"width.particles: {self.size} particles hold at most {self.size // 2} rows of matched noise, and this "
                f"run needs {rows} in one layer (basis capacity {self.capacity}, beside samples, inputs and outputs). "
                f"Pass Infinite(particles={2 * rows}) or more, or a smaller capacity."
            )

    def describe(self):
        kept = {"capacity": self.capacity, "tolerance": self.tolerance, "growth": self.growth}
        return {"width": "inf", "particles": self.size, **kept}


_TRIED = 16  # random vectors, by which the power of an update is known to a third or better

PARTICLES = 4000
"""What a run has where nothing is said and the task does not need more."""


def default_truncation(
    linear: bool, rows: int, most: int, outputs: int = 1, scatter: bool = False, capacity: int | None = None
) -> Truncation:
    """What is kept unless a user says otherwise, where so many `rows` are sent at a step, and `most` can be kept.

    Deep linear networks are solved exactly: each step opens a few new directions at the most, and while they fit, all
    are kept. A `capacity` that the user gives is taken as it is.
    """

    def room(wanted: int) -> int:
        return min(most, wanted) if capacity is None else capacity

    if linear:
        return Truncation(room(rows + 200), tolerance=1e-10, growth=rows)
    if scatter:
        # What is scattered loses its correlations with other rows, so that more is kept, at every step.
        kept = room(max(10 * rows, 48))
        return Truncation(kept, tolerance=0.03, growth=max(4, kept // 5))
    # For vectors that pass, 5 rows a sample are too few under direct feedback, and 7 are enough. Errors of several
    # outputs turn while they fade, and each direction teaches features of its own: where that is cheap, more.
    enough = max(8 * rows, 48)
    kept = room(max(enough, min(8 * min(outputs, 3) * rows, 480)))
    # What is new while errors are large is kept whole: a direction with a per cent of the power carries the update of
    # what is left to learn, where that is in the small modes of the kernel. Where there is more room than that takes,
    # weaker ones use it.
    return Truncation(kept, tolerance=max(0.02 * min(1, enough / max(kept, 1)), 0.005), growth=rows)
