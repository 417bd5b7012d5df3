"""The fields of one layer, particle by particle: drawing the Gaussian ones, and solving for the others forward in time.

Arrays of fields are (row, particle) with a row for each (step, input[, output_unit]), the step slowest.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from ...networks import Nonlinearity

JITTER = 1e-10
"""Added to the diagonal of a covariance, relative to its mean, before its root is taken."""

_TRMM = scipy.linalg.get_blas_funcs(("trmm",), dtype=np.float64)[0]
_BLOCK = 48  # rows whose dependence on the past is taken in one matrix product


class ArrayNonlinearity:
    """A nonlinearity on NumPy arrays, to be used within `at_precision("float64")`."""

    def __init__(self, nonlinearity: Nonlinearity):
        self.nonlinearity = nonlinearity

    def respond(self, h: np.ndarray, gate: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """ϕ(h) and ϕ'(h); with a gate, φ̇ h and φ̇. `h` is (row, particle) for one step or several."""
        if gate is None:
            value, slope = _respond(self.nonlinearity, h)
            return np.asarray(value), np.asarray(slope)
        slope = np.tile(gate, (len(h) // len(gate), 1))
        return slope * h, slope

    @property
    def gated(self) -> bool:
        """Whether a gate of the inputs stands for ϕ'."""
        return self.nonlinearity.gated

    @property
    def linear(self) -> bool:
        """Whether ϕ(h) = h."""
        return self.nonlinearity.linear

    def gates(self, m: np.ndarray) -> np.ndarray:
        """φ̇(m)."""
        return np.asarray(self.nonlinearity.gate(jnp.asarray(m)))

    def curvature(self, h: np.ndarray) -> np.ndarray:
        """ϕ''(h) as automatic differentiation has it; zero in a gated network."""
        return np.zeros_like(h) if self.gated else np.asarray(_curvature(self.nonlinearity, h))

    @property
    def smooth(self) -> bool:
        """Whether automatic differentiation sees all of ϕ'': not so for ReLU, whose ϕ'' is a delta function."""
        if self.gated:
            return True
        edges = np.linspace(-6.01, 5.99, 13)
        h = np.linspace(edges[:-1], edges[1:], 401)
        change = np.trapezoid(self.curvature(h), h, axis=0)
        slope = self.respond(edges, None)[1]
        return bool(np.max(np.abs(change - np.diff(slope))) < 1e-3 * max(np.max(np.abs(slope)), 1e-300))


@functools.partial(jax.jit, static_argnums=0)
def _respond(nonlinearity: Nonlinearity, h: jax.Array) -> tuple[jax.Array, jax.Array]:
    return nonlinearity.respond(h, None)


@functools.partial(jax.jit, static_argnums=0)
def _curvature(nonlinearity: Nonlinearity, h: jax.Array) -> jax.Array:
    return jax.jvp(nonlinearity.derivative, (h,), (jnp.ones_like(h),))[1]


# --- Gaussian fields


def matched_noise(
    generator: np.random.Generator, sizes: dict[str, tuple[int, int]], particles: int
) -> dict[str, np.ndarray]:
    """Standard normal rows of a layer, by name, with exact second moments where the particles suffice.

    Rows have zero mean over the particles and are orthonormal to one another, so that sampled covariances are exact and
    only higher moments carry a sampling error. At most half as many rows as particles can be matched; those of the
    first steps come first, and the others are orthogonal to them only.

    **Arguments:** `sizes` gives for each name the number of steps and of rows per step.
    """
    drawn = {name: generator.standard_normal((steps, rows, particles)) for name, (steps, rows) in sizes.items()}
    order = sorted((step, name) for name, (steps, _) in sizes.items() for step in range(steps))
    rows = np.concatenate([drawn[name][step] for step, name in order])
    rows -= rows.mean(axis=1, keepdims=True)
    matched, rest = np.split(rows, [min(len(rows), particles // 2)])
    for _ in range(2):  # twice is enough: the second pass removes what rounding left of the first
        root = np.linalg.cholesky(overlap(matched, matched))
        matched = scipy.linalg.solve_triangular(root, matched, lower=True)
    rest = rest - overlap(rest, matched) @ matched
    rest /= np.sqrt(np.mean(rest**2, axis=1, keepdims=True))
    parts = iter(np.split(np.concatenate([matched, rest]), np.cumsum([sizes[name][1] for _, name in order])[:-1]))
    by_step: dict[str, list[np.ndarray]] = {name: [] for name in sizes}
    for _, name in order:
        by_step[name].append(next(parts))
    return {name: np.concatenate(steps) for name, steps in by_step.items()}


def causal_root(covariance: np.ndarray, jitter: float = JITTER) -> np.ndarray:
    """A lower triangular root L of a covariance, L Lᵀ = covariance + jitter.

    Steps up to k of L ξ are made of the noise and the covariance of those steps alone, which keeps what is found up to
    a step free of how many follow. The covariances of smooth trajectories are singular to rounding: the jitter, far
    above rounding and far below any sampling error, does the work of a clipped root, and changes smoothly with the
    covariance.
    """
    scale = max(float(np.mean(np.diag(covariance))), 1e-300)
    while True:
        shifted = covariance.copy()
        shifted[np.diag_indices_from(shifted)] += jitter * scale
        try:
            return np.linalg.cholesky(shifted)
        except np.linalg.LinAlgError:
            jitter *= 10  # rounding in a badly scaled covariance


def drawn(root: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """The Gaussian field L ξ, for a triangular root and at least as many rows of noise."""
    return _TRMM(1.0, root.T, noise[: len(root)].T, side=1, lower=0).T


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """⟨a_i b_j⟩ over particles."""
    return a @ b.T / a.shape[1]


def causal_overlap(a: np.ndarray, b: np.ndarray, steps: int) -> np.ndarray:
    """⟨a_k b_j⟩ for steps j ≤ k; what belongs to later j is zero, or left over from a block of steps."""
    rows, columns = len(a) // steps, len(b) // steps
    kernel = np.zeros((len(a), len(b)))
    stride = max(1, 4 * _BLOCK // columns)
    for start in range(0, steps, stride):
        block = slice(start * columns, (start + stride) * columns)
        kernel[start * rows :, block] = overlap(a[start * rows :], b[block])
    return kernel


def over_outputs(rows: np.ndarray, outputs: int) -> np.ndarray:
    """Rows (…, input) repeated for every output, as rows (…, input, output)."""
    return rows if outputs == 1 else np.repeat(rows, outputs, axis=0)


# --- the other fields


class Overflow(ArithmeticError):
    """The fields or the outputs left the range of numbers at `step`; all is finite before."""

    def __init__(self, step: int):
        super().__init__(f"overflow at step {step}")
        self.step = step


@dataclass
class LayerEquations:
    """The equations of one layer, h = source + into_h p and y = arriving + into_y ϕ(h), with p made of ϕ, ϕ' and y.

    p = ϕ'(h) y where there is something `arriving` from above, p = ϕ(h) where there is nothing (Hebb). `into_h` is
    strictly causal, `into_y` causal with an equal-time part, or None.
    """

    nonlinearity: ArrayNonlinearity
    gate: np.ndarray | None
    steps: int
    source: np.ndarray
    into_h: np.ndarray
    arriving: np.ndarray | None
    into_y: np.ndarray | None


@dataclass
class LayerFields:
    """The fields that solve a layer's equations, each (row, particle)."""

    h: np.ndarray
    phi: np.ndarray
    slope: np.ndarray
    y: np.ndarray | None
    p: np.ndarray


def solve(equations: LayerEquations) -> LayerFields:
    """Forward substitution in time, all particles at once; raises [`Overflow`] where the fields do not stay finite.

    The past of several steps enters in one matrix product, which is most of the work; within such a block it is step
    by step.
    """
    steps, h = equations.steps, np.array(equations.source)
    rows = len(h) // steps
    phi, slope = np.empty_like(h), np.empty_like(h)
    y = None if equations.arriving is None else np.array(equations.arriving)
    p = phi if y is None else np.empty_like(y)
    carried = len(p) // steps
    stride = max(1, _BLOCK // rows)
    for start in range(0, steps, stride):
        stop = min(start + stride, steps)
        past_h, past_p = start * rows, start * carried
        if start:
            h[past_h : stop * rows] += equations.into_h[past_h : stop * rows, :past_p] @ p[:past_p]
            if y is not None and equations.into_y is not None:
                y[past_p : stop * carried] += equations.into_y[past_p : stop * carried, :past_h] @ phi[:past_h]
        for step in range(start, stop):
            now, here = slice(step * rows, (step + 1) * rows), slice(step * carried, (step + 1) * carried)
            if step > start:
                h[now] += equations.into_h[now, past_p : step * carried] @ p[past_p : step * carried]
            phi[now], slope[now] = equations.nonlinearity.respond(h[now], equations.gate)
            if y is None:
                continue
            if equations.into_y is not None:
                y[here] += equations.into_y[here, past_h : (step + 1) * rows] @ phi[past_h : (step + 1) * rows]
            p[here] = over_outputs(slope[now], carried // rows) * y[here]
    for field in (phi, p) if y is None else (phi, y, p):
        check_finite(field, steps)
    return LayerFields(h, phi, slope, y, p)


def causal_product(matrix: np.ndarray, field: np.ndarray, steps: int) -> np.ndarray:
    """`matrix` @ `field` for a matrix that is zero above its (step, step) diagonal blocks."""
    rows, columns = len(matrix) // steps, len(field) // steps
    product = np.empty((len(matrix), field.shape[1]))
    stride = max(1, 4 * _BLOCK // rows)
    for start in range(0, steps, stride):
        stop = min(start + stride, steps)
        block, past = slice(start * rows, stop * rows), stop * columns
        np.matmul(matrix[block, :past], field[:past], out=product[block])
    return product


def check_finite(field: np.ndarray, steps: int) -> None:
    """Raise [`Overflow`] at the first step where a field (row, particle) has no finite second moment."""
    power = np.einsum("ks,ks->k", field, field).reshape(steps, -1).sum(axis=1)
    if not np.all(np.isfinite(power)):
        raise Overflow(int(np.argmin(np.isfinite(power))))
