"""The exactly solvable model: two layers, linear, whitened inputs K^x = 1, gradient flow (paper, App. F).

Everything happens along the direction of the targets: with ŷ = y/|y| write y for |y|, Δ for ŷ·Δ and H for ŷᵀΦŷ.

    Gradient descent   H = G = √(1 + γ0² (y − Δ)²),    dΔ/dt = −2 H Δ
    ρ-aligned feedback H = 1 + a²,  G̃ = ρ + a²/2,  γ0 (y − Δ) = (1 + ρ) a + a³/2,    da/dt = γ0 Δ
    Hebbian (p = 2), for each sample alone    dΔ/dt = −[H + γ0 Δ (y − Δ)] Δ,    dH/dt = 2 γ0 Δ² H

Direct feedback equals ρ = 0 here, because there is one layer to send to. The equation for gradient descent has the
factor 2 that the paper's Eq. 7 lacks: f learns through both layers.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import xarray as xr
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from .. import checks
from ..checks import ArgumentError
from ..networks import MLP, Linear
from ..problem import Task
from ..rules import GradientDescent, Rule
from .feedback import FeedbackKind, feedback_of
from .labels import labelled

_PRECISION = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-13}


def two_layer(rule: Rule | None = None, *, targets: Any, richness: float, times: Sequence[float]) -> xr.Dataset:
    """The two-layer linear network on whitened inputs in continuous time, under gradient descent, ρ-FA, DFA or Hebb.

    It is what `train(widelimit.MLP(1, widelimit.Linear(), richness), widelimit.Task(√P·1, targets), rule, ...)` tends
    to as the step size goes to zero at fixed time = step × step size.

    **Arguments:** `rule`, gradient descent unless given; `targets` y, a number (one sample) or (P,); `richness` γ0 > 0;
    `times` ≥ 0 in increasing order, the last of which may be `math.inf` for the fixed point that training reaches.

    **Returns:** the labelled result (output, error, loss, Φ, G, G̃, K) with coordinate `time` and no replicates.

    **Raises:** `ArgumentError` if an argument cannot serve.
    """
    y = np.atleast_1d(checks.finite_array("targets", targets))
    if y.ndim != 1 or not len(y):
        raise ArgumentError(f"targets must be a number or have shape (P,); got shape {np.shape(targets)}.")
    net = MLP(1, Linear(), richness)
    moments = _times(times)
    model = _model(rule, y, float(richness))
    task = Task(np.sqrt(len(y)) * np.eye(len(y)), y)
    return labelled(
        _variables(model, moments),
        solver="theory.two_layer",
        net=net,
        task=task,
        rule=rule,
        times=moments,
    )


def two_layer_fixed_point(rule: Rule | None = None, *, target: float, richness: Any) -> xr.Dataset:
    """Where training ends in the two-layer model, as a function of γ0, with its laws at small and at large γ0.

    With ΔH = H(∞) − 1 for a target of length y: gradient descent has ΔH = √(1 + γ0²y²) − 1, which is ½γ0²y² and γ0 y
    at the two ends; ρ-FA has ΔH = a² with a³/2 + (1 + ρ) a = γ0 y, which is (γ0 y/(1 + ρ))² and (2γ0 y)^⅔; the Hebbian
    rule has ΔH = γ0 y² and 0.585 γ0 y².

    **Arguments:** `rule`; `target` y > 0; `richness` γ0 > 0, a number or several.

    **Returns:** a dataset over `richness`: `feature_kernel_change` ΔH, `pseudo_gradient_kernel` G̃(∞), `small_richness`
    and `large_richness`, the two laws. For the Hebbian rule also `repelling_error`, the other fixed points
    Δ = ½(y ± √(y² + 4H/γ0)) of the error at the H reached, along `branch`.

    **Raises:** `ArgumentError` if an argument cannot serve.
    """
    checks.number("target", target, above=0)
    gamma = np.atleast_1d(checks.finite_array("richness", richness))
    if gamma.ndim != 1 or not len(gamma) or not np.all(gamma > 0):
        raise ArgumentError(f"richness must be positive, one number or a list of them; got {richness!r}.")
    models = [_model(rule, np.array([float(target)]), float(strength)) for strength in gamma]
    states = [model.solve(np.array([np.inf])) for model in models]
    ends = [model.at(state) for model, state in zip(models, states, strict=True)]
    change = np.array([model.change(state)[0, 0] for model, state in zip(models, states, strict=True)])
    laws = np.array([model.laws() for model in models])
    variables: dict[str, Any] = {
        "feature_kernel_change": ("richness", change),
        "pseudo_gradient_kernel": ("richness", np.array([end["pseudo_gradient_kernel"][0, 0, 0] for end in ends])),
        "small_richness": ("richness", laws[:, 0]),
        "large_richness": ("richness", laws[:, 1]),
    }
    if isinstance(models[0], _Hebbian):
        root = np.sqrt(target**2 + 4 * (1 + change) / gamma)
        variables["repelling_error"] = (("branch", "richness"), 0.5 * np.stack([target - root, target + root]))
    return xr.Dataset(variables, coords={"richness": gamma})


def _times(times: Sequence[float]) -> np.ndarray:
    try:
        moments = np.atleast_1d(np.asarray(times, dtype=np.float64))
    except (TypeError, ValueError):
        raise ArgumentError(f"times must be numbers; got {times!r}.") from None
    if moments.ndim != 1 or not len(moments) or not np.all(moments >= 0) or not np.all(np.diff(moments) > 0):
        raise ArgumentError(f"times must be one or more increasing numbers, none below 0; got {times!r}.")
    return moments


def _model(rule: Rule | None, y: np.ndarray, richness: float) -> _Model:
    rule = GradientDescent() if rule is None else rule
    feedback = feedback_of(rule, "theory.two_layer")
    match feedback.kind:
        case FeedbackKind.GRADIENT:
            return _GradientDescent(y, richness)
        case FeedbackKind.CHAIN | FeedbackKind.DIRECT:
            return _FrozenFeedback(y, richness, feedback.correlation)
        case _ if feedback.error_power == 2:
            return _Hebbian(y, richness)
    raise ArgumentError(
        f"rule: theory.two_layer covers Hebbian(error_power=2); got error_power={feedback.error_power}."
    )


def _variables(model: _Model, times: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of the result; one layer, one output."""
    state = model.at(model.solve(times))
    samples = len(model.y)
    backward = state["pseudo_gradient_kernel"]
    ntk = state["feature_kernel"] + backward * np.eye(samples)
    unit = (..., None, None)
    return {
        "output": state["output"][..., None],
        "feature_kernel": state["feature_kernel"][:, None],
        "gradient_kernel": np.broadcast_to(
            state["gradient_kernel"][:, None, None, None], (len(times), 1, samples, samples)
        )[unit],
        "pseudo_gradient_kernel": backward[:, None][unit],
        "pseudo_gradient_norm": state["pseudo_gradient_norm"][:, None, :, None],
        "ntk": ntk[unit],
    }


class _Model(abc.ABC):
    """One rule's equations: a state per time, and what follows from it."""

    def __init__(self, y: np.ndarray, richness: float):
        self.y, self.richness = y, richness
        self.length = float(np.linalg.norm(y))
        self.direction = y / self.length if self.length else np.zeros_like(y)

    @abc.abstractmethod
    def solve(self, times: np.ndarray) -> np.ndarray:
        """The state at each time: (time, variable)."""

    @abc.abstractmethod
    def at(self, state: np.ndarray) -> dict[str, np.ndarray]:
        """Output (time, P), Φ and G̃ (time, P, P), the number G (time,) and ⟨g̃ g̃⟩ (time, P)."""

    @abc.abstractmethod
    def change(self, state: np.ndarray) -> np.ndarray:
        """ΔH (time, 1), or that of each sample; without a subtraction, which at small γ0 would leave no digit."""

    @abc.abstractmethod
    def laws(self) -> tuple[float, float]:
        """ΔH at small and at large γ0."""

    def _along(self, state: np.ndarray) -> np.ndarray:
        """H, which differs from 1 along the targets' direction only."""
        return np.eye(len(self.y)) + self.change(state)[:, :, None] * np.outer(self.direction, self.direction)

    def _everywhere(self, value: np.ndarray) -> np.ndarray:
        return np.broadcast_to(value[:, None, None], (len(value), len(self.y), len(self.y)))


@final
class _GradientDescent(_Model):
    """The state is γ0 f along the targets."""

    def solve(self, times):
        end = self.richness * self.length

        def rate(_, learned):
            return 2 * np.sqrt(1 + learned**2) * (end - learned)

        return _flow(rate, np.zeros(1), times, lambda: np.array([end]))

    def at(self, state):
        learned = state[:, 0]
        kernel = np.sqrt(1 + learned**2)
        samples = np.ones(len(self.y))
        return {
            "output": np.outer(learned / self.richness, self.direction),
            "feature_kernel": self._along(state),
            "gradient_kernel": kernel,
            "pseudo_gradient_kernel": self._everywhere(kernel),
            "pseudo_gradient_norm": np.outer(kernel, samples),
        }

    def change(self, state):
        return state**2 / (1 + np.sqrt(1 + state**2))

    def laws(self):
        strength = self.richness * self.length
        return 0.5 * strength**2, strength


@final
class _FrozenFeedback(_Model):
    """The state is a = γ0 ∫ Δ dt along the targets: h = u + a g̃ there, with frozen g̃."""

    def __init__(self, y: np.ndarray, richness: float, correlation: float):
        super().__init__(y, richness)
        self.correlation = correlation

    def _learned(self, a: Any) -> Any:
        """γ0 f."""
        return (1 + self.correlation) * a + a**3 / 2

    def solve(self, times):
        strength = self.richness * self.length

        def end():
            exact = {"xtol": 1e-15 * (min(1, strength) or 1), "rtol": np.float64(1e-15)}
            bound = np.cbrt(2 * strength) + 1
            return np.array([brentq(lambda a: self._learned(a) - strength, 0, bound, **exact)])

        return _flow(lambda _, a: strength - self._learned(a), np.zeros(1), times, end)

    def at(self, state):
        a = state[:, 0]
        pseudo = self.correlation + a**2 / 2
        return {
            "output": np.outer(self._learned(a) / self.richness, self.direction),
            "feature_kernel": self._along(state),
            # z = r + a u + (a²/2) g̃ along the targets' direction
            "gradient_kernel": 1 + (1 + self.correlation) * a**2 + a**4 / 4,
            "pseudo_gradient_kernel": self._everywhere(pseudo),
            "pseudo_gradient_norm": np.ones((len(a), len(self.y))),
        }

    def change(self, state):
        return state**2

    def laws(self):
        strength = self.richness * self.length
        large = np.cbrt(2 * strength) ** 2
        return (large if self.correlation == -1 else (strength / (1 + self.correlation)) ** 2), large


@final
class _Hebbian(_Model):
    """The state is Δ and H − 1 of each sample, and last the number G: samples do not see each other."""

    def solve(self, times):
        samples, gamma = len(self.y), self.richness
        start = np.concatenate([self.y, np.zeros(samples), [1.0]])

        def rate(_, state):
            error, kernel = state[:samples], 1 + state[samples:-1]
            learned = self.y - error
            return np.concatenate(
                [
                    -(kernel + gamma * error * learned) * error,
                    2 * gamma * error**2 * kernel,
                    [2 * gamma**2 * np.sum(error * learned)],
                ]
            )

        return _flow(rate, start, times, self._end)

    def _end(self) -> np.ndarray:
        """At t = ∞ every Δ is 0; Δ falls all the way, so H and G are integrated along f/y instead of time."""
        gamma = self.richness
        changes, gradient = np.zeros(len(self.y)), 1.0
        for index, y in enumerate(self.y):
            size = min(1.0, gamma * y**2) or 1.0  # of the change, relative to which it is integrated

            def along(learned, state, y=y, size=size):
                error = y * (1 - learned)
                kernel = 1 + state[0] * size
                speed = kernel + gamma * error * y * learned
                return [2 * gamma * y * error * kernel / speed / size, 2 * gamma**2 * y**2 * learned / speed]

            state = solve_ivp(along, (0.0, 1.0), [0.0, 0.0], **_PRECISION).y[:, -1]
            changes[index], gradient = state[0] * size, gradient + state[1]
        return np.concatenate([np.zeros(len(self.y)), changes, [gradient]])

    def at(self, state):
        samples = len(self.y)
        error, kernel = state[:, :samples], 1 + self.change(state)
        output = self.y - error
        across = np.broadcast_to((self.richness * output * error)[:, None, :], (len(state), samples, samples))
        return {
            "output": output,
            "feature_kernel": kernel[:, :, None] * np.eye(samples),
            "gradient_kernel": state[:, -1],
            "pseudo_gradient_kernel": across,
            "pseudo_gradient_norm": error**2 * kernel,
        }

    def change(self, state):
        return state[:, len(self.y) : -1]

    def laws(self):
        # With H = γ0 y² w and Δ = y (1 − s): dw/ds = 2 (1 − s) w/(w + s (1 − s)) from w = 1/(γ0 y²), whose solutions
        # all meet the one that leaves the origin as w = s.
        begin = 1e-9
        scaled = solve_ivp(
            lambda s, w: 2 * (1 - s) * w / (w + s * (1 - s)),
            (begin, 1.0),
            [begin],
            method="DOP853",
            rtol=1e-11,
            atol=1e-12,
        )
        strength = self.richness * self.length**2
        return strength, strength * float(scaled.y[0, -1])


def _flow(rate: Any, start: np.ndarray, times: np.ndarray, end: Any) -> np.ndarray:
    """The solution of dx/dt = rate(t, x) at each time; `end()` once that is reached, which all flows here do."""
    settled = end()
    states = np.tile(settled, (len(times), 1))

    def distance(_, state):
        return np.max(np.abs(state - settled)) - 1e-11 * (1 + np.max(np.abs(settled)))

    distance.terminal = True
    finite = times[np.isfinite(times)]
    if len(finite):
        span = (0.0, max(float(finite[-1]), np.finfo(float).tiny))
        with np.errstate(over="ignore", invalid="ignore"):  # of trial steps that turn out too long
            flow = solve_ivp(rate, span, start, t_eval=finite, events=distance, **_PRECISION)
        if len(flow.t):
            states[: len(flow.t)] = flow.y.T
    return states
