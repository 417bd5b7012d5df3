"""One sweep of Algorithm 1: every layer's fields from the current order parameters, and new estimates of these."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from ...networks import MLP
from ...problem import Task
from ..feedback import Feedback, Source
from ..momentum import Memory
from .fields import (
    Solution,
    System,
    Units,
    causal_product,
    causal_root,
    check_finite,
    drawn,
    matched_noise,
    over_units,
    overlap,
    solve,
)
from .orders import Orders, damped
from .output import ErrorSignal, extrapolate, follow, tangent
from .responses import Regressor, along_paths


@dataclass
class Layer:
    """The fields of one layer in one sweep. Rows are (step, input[, output_unit]).

    The true gradient is g = ϕ'(h) z. Under gradient descent z is part of the system; otherwise nothing depends on g,
    and what r has that h does not depend on is integrated out: `z` is its mean, `rest` the covariance of the remainder
    of s r.
    """

    system: System
    solution: Solution
    u: np.ndarray
    untouched: tuple[np.ndarray, np.ndarray] | None  # ϕ(u) and ϕ'(u), where something sent back makes h differ
    sent_back: np.ndarray | None  # r under gradient descent, v under aligned feedback
    sent_back_covariance: np.ndarray | None
    r: np.ndarray | None  # s r, or what of it is not integrated out
    rest: np.ndarray | None
    into_z: np.ndarray
    z: np.ndarray


class Sweeper:
    """The fixed-point map of one replicate: its noise stays the same, so that the map is deterministic."""

    def __init__(
        self,
        net: MLP,
        task: Task,
        feedback: Feedback,
        memory: Memory,
        particles: int,
        pathwise: bool,
        generator: np.random.Generator,
    ):
        self.feedback, self.memory, self.pathwise = feedback, memory, pathwise
        self.depth, self.richness = net.hidden_layers, float(net.richness)
        self.inputs, self.outputs = task.samples, task.outputs
        self.units, self.error = Units(net.nonlinearity), ErrorSignal(task, feedback)
        self.input_kernel = task.x @ task.x.T / task.x.shape[1]
        self._coordinates = _coordinates(task.x)
        self._noise = [
            matched_noise(generator, self._noise_sizes(layer, len(memory.initial)), particles)
            for layer in range(1, self.depth + 1)
        ]
        self._gates = [
            self.units.gates(self._coordinates @ noise["gate"]) if "gate" in noise else None for noise in self._noise
        ]

    @property
    def carried_units(self) -> int:
        """Rows of p for each input."""
        return 1 if self.feedback.source is Source.LOCAL else self.outputs

    @property
    def _gradient_descent(self) -> bool:
        return self.feedback.source is Source.GRADIENT

    @property
    def _aligned(self) -> bool:
        """Whether v matters, and with it C and D."""
        return self.feedback.source is Source.CHAIN and self.feedback.correlation != 0

    @property
    def _own_feedback(self) -> bool:
        """Whether the rule has random feedback of its own: ζ̃, or z̃."""
        chain = self.feedback.source is Source.CHAIN and abs(self.feedback.correlation) < 1
        return chain or self.feedback.source is Source.DIRECT

    def _noise_sizes(self, layer: int, steps: int) -> dict[str, tuple[int, int]]:
        """Rows of noise as (steps, rows per step): what does not change in time has one step."""
        rank = self._coordinates.shape[1]
        above = (1, self.outputs) if layer == self.depth else (steps, self.inputs * self.outputs)
        sizes = {"below": (1, rank) if layer == 1 else (steps, self.inputs)}
        if self.units.nonlinearity.gated:
            sizes["gate"] = (1, rank)
        if self._gradient_descent or self._aligned:
            sizes["above"] = above
        if self._own_feedback:
            sizes["own"] = (1, self.outputs) if self.feedback.source is Source.DIRECT else above
        return sizes

    # --- the map

    def start(self) -> Orders:
        """The order parameters at initialisation, which as many sweeps as there are layers determine."""
        p, m, q = self.inputs, self.inputs * self.outputs, self.inputs * self.carried_units
        hidden = self.depth - 1
        orders = Orders(
            1,
            np.zeros((1, p, self.outputs)),
            feature=[self.input_kernel] * self.depth,
            gradient=[np.ones((m, m))] * self.depth,
            mixed=[np.ones((m, q))] * self.depth,
            carrier=[np.ones((q, q))] * self.depth,
            forward=[np.zeros((p, q))] * hidden,
            backward=[np.zeros((m, p))] * hidden,
            feedback=[np.zeros((q, p))] * hidden,
        )
        for _ in range(self.depth + 1):
            orders, _ = self.sweep(orders, 1.0)
        return orders

    def extend(self, orders: Orders, steps: int) -> Orders:
        """The same order parameters for more steps: kernels held, the outputs that follow from them."""
        longer = orders.resized(steps)
        longer.output = extrapolate(self.error, tangent(self, longer), longer.output, orders.steps)
        return longer

    def sweep(self, orders: Orders, speed: float) -> tuple[Orders, float]:
        """Every layer once, bottom up, each from what the layers before it have become; and the largest change.

        Raises `Overflow` where the fields or the outputs do not stay finite.
        """
        new = orders.copied()
        changes = []
        for index in range(self.depth):
            layer = self._layer(index, new)
            features = overlap(layer.solution.phi, layer.solution.phi)
            for name, at, estimate in self._estimates(index, layer, features, new):
                values = getattr(new, name)
                values[at], change = damped(values[at], estimate, speed)
                changes.append(change)
            if self._gradient_descent:
                new.mixed = new.carrier = new.gradient
            if index == self.depth - 1:
                new.output, change = damped(new.output, self._output(layer, features, new), speed)
                changes.append(change)
        return new, max(changes)

    # --- the fields of one layer

    def _layer(self, index: int, orders: Orders) -> Layer:
        steps, top = orders.steps, index == self.depth - 1
        error = self.error.signal(orders.output)
        carried = self.error.carried(error)
        keep = np.repeat(self.memory.initial[:steps], self.inputs)[:, None]
        keep_units = over_units(keep, self.outputs)

        below = np.tile(self.input_kernel, (steps, steps)) if index == 0 else orders.feature[index - 1]
        u = self._from_below(index, below, steps)
        into_h = self._learned_into_h(below, carried)
        if index > 0:
            into_h += keep * orders.forward[index - 1]
        if top:
            into_z = self._learned_readout(error)
        else:
            into_z = self._learned_into_z(orders.mixed[index + 1], carried) + keep_units * orders.backward[index]

        sent_back, covariance, r, rest = self._from_above(index, orders)
        r = None if r is None else keep_units * r
        rest = None if rest is None else keep_units * rest * keep_units.T
        arriving, into_y = None, None
        if self._gradient_descent:
            arriving, into_y = r, into_z
        elif self.feedback.source is not Source.LOCAL:
            arriving = self._feedback_signal(index, orders, sent_back)
            if self._aligned and not top:
                into_y = self.feedback.correlation * orders.feedback[index]
        system = System(self.units, self._gates[index], steps, keep * u, into_h, arriving, into_y)
        solution = solve(system)
        z = solution.y
        if not self._gradient_descent:
            z = causal_product(into_z, solution.phi, steps)
            z += 0 if r is None else r
        assert z is not None
        untouched = None if sent_back is None else self._untouched(index, u, steps)
        return Layer(system, solution, u, untouched, sent_back, covariance, r, rest, into_z, z)

    def _from_below(self, index: int, covariance: np.ndarray, steps: int) -> np.ndarray:
        """u: the same at all steps in the first layer, where it is W^0 x/√D."""
        noise = self._noise[index]["below"]
        return np.tile(self._coordinates @ noise, (steps, 1)) if index == 0 else drawn(causal_root(covariance), noise)

    def _untouched(self, index: int, u: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """ϕ(u) and ϕ'(u); in the first layer the same at all steps."""
        if index > 0:
            return self.units.respond(u, self._gates[index])
        value, slope = self.units.respond(u[: self.inputs], self._gates[index])
        return np.tile(value, (steps, 1)), np.tile(slope, (steps, 1))

    def _from_above(
        self, index: int, orders: Orders
    ) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None, np.ndarray | None]:
        """What the initial matrix above sends back (r or v), its covariance, the mean of r given it, and what is left.

        Given v, r is Gaussian with mean ⟨r v⟩⟨v v⟩^{-1} v: nothing but g depends on the remainder.
        """
        steps, top = orders.steps, index == self.depth - 1
        if not (self._gradient_descent or self._aligned):
            return None, None, None, self._readout_covariance(steps) if top else orders.gradient[index + 1]
        noise = self._noise[index]["above"]
        if top:
            w = self._held(noise, steps)
            return w, None, w, None
        covariance = orders.carrier[index + 1]
        root = causal_root(covariance)
        field = drawn(root, noise)
        if self._gradient_descent:
            return field, covariance, field, None
        mean = scipy.linalg.solve_triangular(root, orders.mixed[index + 1].T, lower=True).T
        return field, covariance, mean @ noise[: len(root)], orders.gradient[index + 1] - mean @ mean.T

    def _feedback_signal(self, index: int, orders: Orders, v: np.ndarray | None) -> np.ndarray:
        """z̃ but for its response: frozen under direct feedback, else ρ v + √(1−ρ²) ζ̃."""
        rho, signal = self.feedback.correlation, 0.0
        if v is not None:
            signal = rho * v
        if self._own_feedback:
            noise = self._noise[index]["own"]
            if index == self.depth - 1 or self.feedback.source is Source.DIRECT:
                own = self._held(noise, orders.steps)
            else:
                own = drawn(causal_root(orders.carrier[index + 1]), noise)
            signal = signal + math.sqrt(1 - rho**2) * own
        return np.asarray(signal)

    def _held(self, rows: np.ndarray, steps: int) -> np.ndarray:
        """Frozen rows, one for each output, at every (step, input, output)."""
        return np.tile(rows, (steps * self.inputs, 1))

    def _readout_covariance(self, steps: int) -> np.ndarray:
        return np.tile(np.eye(self.outputs), (steps * self.inputs, steps * self.inputs))

    # --- what has been learned: γ0 learned_kj times a kernel and the errors at step j

    def _learned(self, steps: int) -> np.ndarray:
        return self.richness * self.memory.learned[:steps, :steps]

    def _learned_into_h(self, kernel: np.ndarray, carried: np.ndarray) -> np.ndarray:
        """From p to h: γ0 learned_kj Φ_kj E_j."""
        steps = len(carried)
        blocks = kernel.reshape(steps, self.inputs, steps, self.inputs, 1)
        learned = self._learned(steps)[:, None, :, None, None]
        return (learned * blocks * carried).reshape(steps * self.inputs, -1)

    def _learned_into_z(self, mixed: np.ndarray, carried: np.ndarray) -> np.ndarray:
        """From ϕ to z in the layer below: γ0 learned_kj Σ_c ⟨g_k p_jc⟩ E_jc."""
        steps = len(carried)
        blocks = mixed.reshape(steps, -1, steps, self.inputs, self.carried_units)
        summed = (blocks * carried).sum(axis=-1)
        return (self._learned(steps)[:, None, :, None] * summed).reshape(len(mixed), -1)

    def _learned_readout(self, error: np.ndarray) -> np.ndarray:
        """From ϕ to z in the last layer: γ0 learned_kj Δ_j, the same for all inputs."""
        steps = len(error)
        blocks = self._learned(steps)[:, None, None, :, None] * np.moveaxis(error, -1, 0)[None, None]
        shape = (steps, self.inputs, self.outputs, steps, self.inputs)
        return np.broadcast_to(blocks, shape).reshape(steps * self.inputs * self.outputs, -1)

    # --- the estimates

    def _estimates(
        self, index: int, layer: Layer, features: np.ndarray, orders: Orders
    ) -> Iterator[tuple[str, int, np.ndarray]]:
        """New order parameters from this layer's fields, as (name, position, value)."""
        solution = layer.solution
        gradient = solution.p
        yield "feature", index, features
        if self._gradient_descent:
            yield "gradient", index, overlap(gradient, gradient)
        else:
            slope = over_units(solution.slope, self.outputs)
            gradient = slope * layer.z
            check_finite(gradient, orders.steps)
            kernel = overlap(gradient, gradient)
            if layer.rest is not None:
                kernel += layer.rest * overlap(slope, slope)
            yield "gradient", index, kernel
            yield "mixed", index, overlap(gradient, solution.p)
            if self.feedback.source is not Source.LOCAL:
                yield "carrier", index, overlap(solution.p, solution.p)
        wanted = set()
        if index < self.depth - 1 and (self._gradient_descent or self._aligned):
            wanted.add("forward")
        if index > 0:
            wanted |= {"backward", "feedback"} if self._aligned else {"backward"}
        if wanted:
            found = self._pathwise(layer, wanted) if self.pathwise else self._by_parts(index, layer, gradient, orders)
            for name, value in found.items():
                yield name, index - (name != "forward"), value

    def _pathwise(self, layer: Layer, wanted: set[str]) -> dict[str, np.ndarray]:
        keep = np.repeat(self.memory.initial[: layer.system.steps], self.inputs)
        found = along_paths(layer.system, layer.solution, layer.into_z, layer.z, keep, wanted)
        if "forward" in wanted:  # y holds s r, or ρ v
            found["forward"] *= np.repeat(keep, self.outputs) if self._gradient_descent else self.feedback.correlation
        return found

    def _by_parts(self, index: int, layer: Layer, gradient: np.ndarray, orders: Orders) -> dict[str, np.ndarray]:
        """Responses by regression, after averages that vanish because u is independent of r and v are taken off.

        ⟨ϕ(u) r⟩ = 0 and ⟨ϕ'(u) r u⟩ = 0: what remains is of order γ0, and so is the sampling error.
        """
        found, steps = {}, orders.steps
        value, slope = (0, np.zeros(())) if layer.untouched is None else layer.untouched
        if layer.sent_back is not None and layer.sent_back_covariance is not None:
            regressor = Regressor(layer.sent_back_covariance, layer.sent_back, steps)
            found["forward"] = regressor.response(layer.solution.phi - value, strict=True)
        if index > 0:
            regressor = Regressor(orders.feature[index - 1], layer.u, steps)
            if slope.ndim:
                slope = over_units(slope, self.outputs)
            expected = 0 if layer.r is None else slope * layer.r
            found["backward"] = regressor.response(gradient - expected, strict=False)
            if self._aligned and layer.system.arriving is not None:
                found["feedback"] = regressor.response(layer.solution.p - slope * layer.system.arriving, strict=False)
        return found

    def _output(self, layer: Layer, features: np.ndarray, orders: Orders) -> np.ndarray:
        """f = ⟨z^L ϕ⟩/γ0 with the errors of this sweep, then moved to where outputs and errors agree.

        ⟨w ϕ(u)⟩ = 0 is taken off, so that f is resolved however small γ0 is.
        """
        steps = orders.steps
        kernel = features.reshape(steps, self.inputs, steps, self.inputs)
        error = self.error.signal(orders.output)
        found = np.einsum("kj,kpjn,jnc->kpc", self.memory.learned[:steps, :steps], kernel, error, optimize=True)
        if layer.sent_back is not None and layer.untouched is not None:
            initial = overlap(layer.solution.phi - layer.untouched[0], layer.sent_back[: self.outputs]).reshape(
                found.shape
            )
            found = found + self.memory.initial[:steps, None, None] * initial / self.richness
        return follow(self.error, tangent(self, orders), found, orders.output)


def _coordinates(x: np.ndarray) -> np.ndarray:
    """Rows X (input, rank) with X Xᵀ = K^x, so that u^1 = X ξ."""
    left, values, _ = np.linalg.svd(x / math.sqrt(x.shape[1]), full_matrices=False)
    kept = values > 1e-12 * max(float(values.max()), 1e-300)
    return left[:, kept] * values[kept]
