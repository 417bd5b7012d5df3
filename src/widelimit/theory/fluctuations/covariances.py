"""Finite width at initialisation: how much the kernels of networks of width N scatter around their limits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from ... import checks
from ...checks import ArgumentError
from ...memory import require_memory
from ...networks import MLP
from ...problem import Task
from ...progress import progress_bar
from ...rules import Rule
from ..feedback import FeedbackKind, FeedbackLaw, feedback_of, hebbian_share
from ..labels import labelled, losses
from ..networks import fully_connected
from .equations import Backward, DeviationEquations
from .hebbian import local_covariance
from .moments import Moments, Pairs, gate_kernel, gate_points, moments, multiplicative_moments
from .responses import Dual, dual_with_responses, multiplicative


def fluctuations(
    net: MLP,
    task: Task,
    rule: Rule | None = None,
    *,
    width: int,
    points: int = 2**16,
    seed: int = 0,
    progress: bool | None = None,
) -> xr.Dataset:
    """Covariances of Φ^ℓ, G^ℓ and of the eNTK over random networks of width N at initialisation, to leading order 1/N.

    With δ the deviation of a network's kernel from its infinite-width limit,

        δΦ^ℓ = (∂Φ^ℓ/∂Φ^{ℓ-1}) δΦ^{ℓ-1} + ξ^ℓ,    N Cov(ξ_μν, ξ_αβ) = ⟨ϕ_μϕ_νϕ_αϕ_β⟩ − Φ_μνΦ_αβ over u ~ N(0, Φ^{ℓ-1})
        δG^ℓ = Φ̇^ℓ ⊙ δG^{ℓ+1} + G^{ℓ+1} ⊙ (∂Φ̇^ℓ/∂Φ^{ℓ-1}) δΦ^{ℓ-1} + χ^ℓ,    Φ̇ = ⟨ϕ'ϕ'⟩

    (the paper's App. H for general data, and with it the eNTK and cross covariances). χ is the sampling error of
    ⟨ϕ'_μϕ'_ν z_μz_ν⟩, z ~ N(0, G^{ℓ+1}); it is correlated with ξ, because the same neurons enter both. K follows from
    K = Σ_ℓ G̃^{ℓ+1}Φ^ℓ; under other rules than gradient descent G̃ = ⟨g g̃⟩ has equations like those of G.

    **Arguments:**

    - `net`, `task`: any depth, nonlinearity (gated ones too) and inputs. Richness plays no part at initialisation, and
      targets only in Hebbian learning, through Δ at f = 0.
    - `rule`: `GradientDescent` (the default), `FeedbackAlignment`, `DirectFeedbackAlignment` or `Hebbian`. It changes
      the eNTK alone.
    - `width`: N. Covariances are those of N → ∞ times 1/N; corrections are smaller by about L/N, several times that
      for rectifiers.
    - `points`, `seed`: Sobol points for the fourth moments, rounded up to a power of two, and their scrambling. They
      are used where more than two samples differ; linear networks and up to two samples are exact.
    - `progress`: show a progress bar (by default after a second, on a terminal).

    **Returns:** a labelled result at step 0, whose variables have neither `replicate` nor `step`:
    `feature_kernel_covariance`,
    `gradient_kernel_covariance`, `feature_gradient_covariance` (Φ first, G second) with dimensions (layer, layer2,
    sample, …, sample4), `ntk_covariance` (sample, …, sample4), and the infinite-width `feature_kernel`,
    `gradient_kernel`, `pseudo_gradient_kernel` and `ntk`. With several outputs, covariances are those of the block of
    any one output with itself, G_cc and K_cc. (Φ and G are symmetric in every network. K is not, unless the rule is
    gradient descent: the first of two samples is that of g, the second that of g̃.)

    **Raises:** `ArgumentError` for another rule, for Hebbian learning with several outputs or without an error, and
    where the covariances, L² P⁴ numbers each, do not fit into memory.
    """
    fully_connected(net, "theory.fluctuations")
    checks.instance("task", task, Task, "widelimit.Task(x, y)")
    feedback = feedback_of(rule, "theory.fluctuations")
    checks.integer("width", width, at_least=1)
    checks.integer("points", points, at_least=max(256, 8 * task.samples), at_most=2**30)
    checks.integer("seed", seed, at_least=0)
    amplitude = _local_amplitude(feedback, task)
    _check_memory(net.hidden_layers, task.samples, points, feedback)
    local = feedback.kind is FeedbackKind.LOCAL
    with progress_bar(
        progress,
        total=(2 if local else 1) * net.hidden_layers + 2,
        desc="theory.fluctuations",
        leave=False,
    ) as bar:
        features, duals, scatter = _layers(net, task, points, seed, bar.update)
        arriving = _arriving(duals)
        gradient = Backward(arriving, arriving, arriving, 1.0, Pairs.unordered(task.samples))
        equations = DeviationEquations(duals, scatter, gradient)
        variables = _gradient_covariances(equations, width)
        bar.update()
        if local:
            pseudo = [np.zeros_like(kernel) for kernel in arriving]
            odd = local_covariance(net.nonlinearity, features, arriving, amplitude, points, seed, bar.update)
            even = variables["feature_kernel_covariance"][-1, -1]
            variables["ntk_covariance"] = even + odd.reshape(even.shape) / width
        else:
            backward = _pseudo_backward(feedback, gradient)
            pseudo = backward.mean(duals)
            if backward is not gradient:
                equations = DeviationEquations(duals, scatter, backward)
            tangent = equations.covariance(equations.tangent_readout(features)) / width
            variables["ntk_covariance"] = _unfold(tangent, backward.pairs)
        bar.update()
    means = _means(task, features, gradient.mean(duals), pseudo)
    return labelled(
        variables | means,
        solver="theory.fluctuations",
        net=net,
        task=task,
        rule=rule,
        times=np.zeros(1),
        steps=np.zeros(1, int),
        settings={"width": width, "points": points, "seed": seed},
    )


def _layers(
    net: MLP, task: Task, points: int, seed: int, tick: Callable[[], object]
) -> tuple[list[np.ndarray], list[Dual], list[Moments]]:
    """Φ^0..Φ^L, and of layers 1..L how kernels respond and scatter."""
    phi, inputs = net.nonlinearity, task.x @ task.x.T / task.x.shape[1]
    features, duals, scatter = [inputs], [], []
    gates = gate_points(phi, inputs, points, seed)
    for _ in range(net.hidden_layers):
        below = features[-1]
        if gates is None:
            duals.append(dual_with_responses(phi, below))
            scatter.append(moments(phi, below, points, seed))
        else:
            duals.append(multiplicative(gate_kernel(phi, gates, inputs), below))
            scatter.append(multiplicative_moments(gates, below))
        features.append(duals[-1].feature)
        tick()
    return features, duals, scatter


def _arriving(duals: list[Dual]) -> list[np.ndarray]:
    """G^{ℓ+1} for ℓ = 1..L, with G^{L+1} = 1 and G^ℓ = Φ̇^ℓ ⊙ G^{ℓ+1}."""
    kernels = [np.ones_like(duals[-1].slope)]
    for dual in duals[:0:-1]:
        kernels.insert(0, dual.slope * kernels[0])
    return kernels


def _pseudo_backward(feedback: FeedbackLaw, gradient: Backward) -> Backward:
    """What the rule sends backward beside the gradient."""
    if feedback.kind is FeedbackKind.GRADIENT:
        return gradient
    arriving, rho = gradient.gradient, feedback.correlation
    pairs = Pairs.ordered(len(arriving[0]))
    if feedback.kind is FeedbackKind.DIRECT:
        return Backward(arriving, [np.zeros_like(a) for a in arriving], [np.ones_like(a) for a in arriving], 0.0, pairs)
    # z̃ of layer ℓ is ρ times correlated with z, on top of the ρ^{L−ℓ} of g̃^{ℓ+1} with g^{ℓ+1}.
    between = [rho ** (len(arriving) - layer) * kernel for layer, kernel in enumerate(arriving)]
    return Backward(arriving, between, arriving, rho, pairs)


def _local_amplitude(feedback: FeedbackLaw, task: Task) -> np.ndarray:
    """a_μ in g̃_μ = a_μ ϕ(h_μ) of Hebbian learning: Δ^{p−1} at f = 0."""
    if feedback.kind is not FeedbackKind.LOCAL:
        return np.ones(task.samples)
    if task.outputs > 1:
        raise ArgumentError(
            "rule: with Hebbian learning the eNTK of each output is different, and fluctuations covers one; task.y "
            f"has {task.outputs} columns. Pass a task with one of them at a time."
        )
    error = losses(task, {"output": np.zeros(task.y.shape)})["error"]
    if feedback.error_power == 0 and not np.all(error):
        raise ArgumentError(
            "rule: Hebbian(error_power=0) has no pseudo-gradient for a sample without error (g̃ = ϕ(h)/Δ), and "
            f"task.y of sample {int(np.argmin(np.abs(error)))} is already met by f = 0."
        )
    return hebbian_share(error, feedback.error_power)[:, 0]


def _gradient_covariances(equations: DeviationEquations, width: int) -> dict[str, np.ndarray]:
    """The covariances of Φ and G, in full."""
    covariance, layers = equations.covariance() / width, range(1, equations.layers + 1)
    index = {
        "feature": np.concatenate([equations.forward(layer) for layer in layers]),
        "gradient": np.concatenate([equations.behind(layer) for layer in layers]),
    }
    unfolded = {}
    for name, first, second in (
        ("feature_kernel_covariance", "feature", "feature"),
        ("gradient_kernel_covariance", "gradient", "gradient"),
        ("feature_gradient_covariance", "feature", "gradient"),
    ):
        size = equations.layers, len(equations.forward_pairs)
        block = covariance[np.ix_(index[first], index[second])].reshape(*size, *size)
        unfolded[name] = _unfold(block.transpose(0, 2, 1, 3), equations.forward_pairs)
    return unfolded


def _unfold(covariance: np.ndarray, pairs: Pairs) -> np.ndarray:
    """(…, pair, pair) as (…, sample, sample2, sample3, sample4)."""
    return covariance[..., pairs.which[:, :, None, None], pairs.which]


def _means(
    task: Task, features: list[np.ndarray], gradients: list[np.ndarray], pseudo: list[np.ndarray]
) -> dict[str, np.ndarray]:
    """The infinite-width kernels, with one block for each pair of outputs; f = 0."""
    outputs = np.eye(task.outputs)
    blocks = lambda kernel: np.asarray(kernel)[..., None, None] * outputs  # noqa: E731
    tangent = features[-1] + sum(between * below for between, below in zip(pseudo, features[:-1], strict=True))
    return {
        "output": np.zeros(task.y.shape),
        "feature_kernel": np.stack(features[1:]),
        "gradient_kernel": blocks(gradients),
        "pseudo_gradient_kernel": blocks(pseudo),
        "ntk": blocks(tangent),
    }


def _check_memory(layers: int, samples: int, points: int, feedback: FeedbackLaw) -> None:
    """Raise if the covariances and what leads to them take more memory than there is."""
    pairs = samples * (samples + 1) // 2
    covariance = layers**2 * samples**4
    result = 3 * covariance + samples**4
    stages = [
        8 * points * samples + 3 * (2 * pairs) ** 2,  # moments of one layer
        4 * (2 * layers * pairs) ** 2,  # the covariance of all pairs in all layers
        2 * (2 * layers * pairs) ** 2 + 4 * covariance,  # the same in full
    ]
    if feedback.kind is not FeedbackKind.GRADIENT:
        deviations = layers * (pairs + samples**2)
        stages.append(result + 4 * deviations * samples**2 + 6 * (pairs + samples**2) ** 2)
        stages.append(result + 16 * points * samples + 4 * samples**4)
    require_memory(
        8 * (3 * layers * pairs**2 + max(stages)) + 2**29,
        parts={"the result alone": 8 * result},
        remedy="They grow as L² P⁴: pass fewer samples.",
        what=f"Covariances of the kernels of {samples} samples in {layers} layers need",
    )
