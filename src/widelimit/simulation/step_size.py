"""A step size that is safe: from the initial tangent kernel, and from a small network that tries it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import scipy
import xarray as xr
from tqdm.auto import tqdm

from .. import checks
from ..checks import ArgumentError
from ..faults import RisingLossWarning
from ..interrupts import watched
from ..networks import Architecture
from ..optimizers import SGD
from ..precision import at_precision
from ..problem import Batches, Task
from ..problem.scaling import warn_of_scale
from ..progress import progress_bar
from ..results import Record
from ..rules import GradientDescent, Rule
from .simulation import Simulation
from .state import State

_WIDTH, _NETWORKS = 500, 4
"""Of the networks whose K(0) stands for the limit's: a few per cent from it, with a margin of 75."""

_PILOT_WIDTH, _PILOT_SAMPLES = 128, 200
"""Of the network that tries a step size: what is asked of it is whether K grows by a factor, not its last per cent."""

_PIECES = (4, 8, 16, 32, 64, 128)
"""Steps between two looks at its kernel."""

_LOOKS = 8
"""How often it is looked at in a piece within which its loss rises."""

_MOST_STEPS, _MOST_TRIALS = 2000, 16
_NETWORKS_AGREE = 12
"""Networks that have to agree where the loss of one rose at larger steps, or its kernel grew by a factor."""
_GROWS = 4
"""This factor, along a gradient: training is so rich that networks differ."""
_JUMP = 4
"""A kernel that grew because steps were too large says little of smaller ones: a step size is lowered by no more."""
_RISE = 1.05
"""A loss that exceeds its start by this factor has risen."""


def suggest_step_size(
    net: Architecture,
    task: Task,
    rule: Rule | None = None,
    *,
    momentum: float = 0.0,
    batches: Batches | None = None,
    safety: float = 0.25,
    pilot: bool = True,
    seed: int = 0,
    progress: bool | None = None,
) -> float:
    """A step size that is stable at initialisation with a margin, and along the run of a small network that tries it.

    Near initialisation a step multiplies the error of a mode of the eNTK with eigenvalue λ by 1 − η c λ, with c the
    curvature of the loss; with momentum β it is stable up to η c λ = 2(1 + β). The suggestion is at most `safety` times
    that bound for the largest |λ| of K(0) at infinite width, under the rule or under gradient descent, whichever is
    larger: a rule with feedback of its own starts from a small kernel, which grows towards that of gradient descent as
    the forward weights align.

    K grows as features are learned, many times over where training is rich. A network of 128 neurons a layer therefore
    tries the step size, for 252 steps or until its loss is a hundredth, and the step size is lowered until its loss
    never exceeds its start by 5 %, and η λ stays below half of 2(1 + β) (below `safety` times it, if that is more) for
    the largest |λ| of its K(t) ∂²ℓ/∂f² all along. Where its loss rose at larger steps, which without a gradient has no
    bound, or K grows fourfold along a gradient, eleven other networks try the result, because they differ in it. Of a
    task with more than 200 samples the network learns as many, by larger steps in proportion. It takes seconds, most of
    them to compile its step.

    **Arguments:** as for `train`; `safety` in (0, 1]; `pilot`: whether to try the step size; `seed` of the small
    networks; `progress` shows bars, by default on a terminal only.

    **Returns:** η. Where smaller steps do not keep the loss from rising, as under [`Hebbian`] in deep linear and ReLU
    networks, the rise is the rule's own: it warns with `RisingLossWarning`, and returns the step size that is safe
    otherwise.

    **Raises:** `ArgumentError` if an argument cannot serve.
    """
    if isinstance(task, Task):
        warn_of_scale(task, stacklevel=3)
    return suggested(net, task, rule, momentum, batches, safety, pilot, seed, progress, stacklevel=3)


def suggested(
    net: Architecture,
    task: Task,
    rule: Rule | None,
    momentum: float = 0.0,
    batches: Batches | None = None,
    safety: float = 0.25,
    pilot: bool = True,
    seed: int = 0,
    progress: bool | None = None,
    stacklevel: int = 2,
) -> float:
    """[`suggest_step_size`], without a word on the scale of the task."""
    safety = checks.number("safety", safety, above=0, at_most=1)
    momentum = checks.number("momentum", momentum, at_least=0, below=1)
    rule = GradientDescent() if rule is None else rule
    checks.instance("net", net, Architecture, "widelimit.MLP(hidden_layers=3, nonlinearity=widelimit.Tanh())")
    checks.instance("task", task, Task, "widelimit.Task(x, y)")
    checks.instance("rule", rule, Rule, "widelimit.GradientDescent()")
    task = Task(task.inputs, task.y[:, 0] if task.scalar else task.y, loss=task.loss)
    rules = [GradientDescent()] if rule.is_gradient else [GradientDescent(), rule]
    largest = max(_largest_eigenvalue(_initial_kernel(net, task, each, seed, progress)) for each in rules)
    bound = 2 * (1 + momentum) / (task.loss.curvature * largest)
    if not checks.boolean("pilot", pilot):
        return safety * bound
    trials = _Trials.of(net, task, rule, momentum, batches, seed, largest)
    with watched() as watch, progress_bar(progress, desc="trying step sizes", unit="run") as bar:
        size, rose_at = trials.lowered(safety * bound, max(safety, 0.5) * bound, _announced(bar, watch))
    if rose_at is not None:
        cause = (
            f"down to {size:.2g}, which steps along a gradient do not do. Look at the scale of the inputs and targets."
            if rule.is_gradient
            else "however small its steps: the rule itself raises it. Train for less time or with weight decay."
        )
        warnings.warn(
            f"Under {type(rule).__name__} the loss of a small network rises from time {rose_at:.3g} on, {cause}",
            RisingLossWarning,
            stacklevel=stacklevel + 1,
        )
    return size


def _announced(bar: tqdm, watch) -> Iterator[None]:
    while True:
        watch.check()
        yield
        bar.update(1)


@dataclass(frozen=True)
class _Trial:
    """What a run at one step size showed."""

    growth: float
    """The largest |λ| of K(t) ∂²ℓ/∂f² before any rise, relative to c times that of K(0) at infinite width."""
    rose_at: float | None
    """The time by which the loss had risen, None if it had not."""
    reached: float
    """The time up to which the run went."""


@dataclass(frozen=True)
class _Trials:
    """Runs of a small network at one step size after another."""

    simulation: Simulation
    sharpest: float
    """c times the largest |λ| of K(0), on the samples that the network learns."""
    share: float
    """The share of all samples that these are."""

    @classmethod
    def of(
        cls,
        net: Architecture,
        task: Task,
        rule: Rule,
        momentum: float,
        batches: Batches | None,
        seed: int,
        largest: float,
    ) -> _Trials:
        share = min(_PILOT_SAMPLES / task.samples, 1.0)
        if share < 1:
            chosen = np.random.default_rng(seed).permutation(task.samples)[:_PILOT_SAMPLES]
            y = task.y[chosen]
            task = Task(task.inputs[chosen], y[:, 0] if task.scalar else y, loss=task.loss)
        if batches is not None:  # as noisy as those of the task: of the same size, and of the same share of few samples
            batches = Batches(min(batches.size, task.samples), batches.seed)
        simulation = Simulation.of(
            net,
            task,
            rule,
            width=_PILOT_WIDTH,
            optimizer=SGD(1.0, momentum),
            steps=_MOST_STEPS,
            batches=batches,
            record=Record(kernels=("ntk",)),
            seed=seed,
            centred=True,
            precision="float64",
            devices=1,
        )
        return cls(simulation, task.loss.curvature * largest * share, share)

    def lowered(self, size: float, limit: float, turns: Iterator[None]) -> tuple[float, float | None]:
        """The largest step size of those tried, from `size` down, at which the loss does not rise, and at which growth
        keeps it below `limit`; and, where the rule itself raises the loss, when it does.

        Where features are learned fast, K grows within a time that is nearly the same for all step sizes, and the loss
        rises then at every one that is too large for it. It is the rule itself that raises the loss if a rise comes at
        a time that no longer changes with the step size, from a K for which the steps are small. A gradient raises
        none: where it seems to, something else is wrong, and the smallest size is returned with the time.
        """
        first, gradient = size, bool(self.simulation.rule.is_gradient)
        rises: list[float] = []
        stable = False  # whether a step size was found at which the loss does not rise
        for _, _ in zip(range(_MOST_TRIALS), turns, strict=False):
            until = 1.5 * rises[-1] if rises else 0.0
            trial = self.run(size, until)
            if trial.rose_at is not None:
                rises.append(trial.rose_at)
                if not gradient and _converged(rises) and size * trial.growth <= limit:
                    return first, trial.rose_at
                size /= 2
                continue
            stable = stable or trial.reached >= until
            if not (gradient or stable):  # so small that the time of the rise is out of reach
                break
            if size * trial.growth <= 1.001 * limit:
                alone = not rises and (trial.growth < _GROWS or not gradient)
                if alone or self.others_agree(size, until, turns):
                    return size, None
                size /= 2
                continue
            size = max(limit / trial.growth, size / _JUMP)
        if stable or not rises:
            return size, None
        return size if gradient else first, rises[-1]

    def others_agree(self, size: float, until: float, turns: Iterator[None]) -> bool:
        """Whether the loss rises in no other network either, in runs of one size up to the time `until`.

        Networks differ in when a loss begins to rise, which without a gradient has no bound.
        """
        others = zip(range(1, _NETWORKS_AGREE), turns, strict=False)
        return all(self.run(size, until, replicate).rose_at is None for replicate, _ in others)

    def run(self, size: float, until: float, replicate: int = 0) -> _Trial:
        """A run with steps of one size, at least up to the time `until` if that takes no more than `_MOST_STEPS`."""
        simulation = self.simulation.with_step_size(size / self.share)
        state, growth, done, piece = simulation.start(replicate), 1.0, 0, 0
        before, start = state, np.inf
        while True:
            loss, highest, sharpness = self.look(simulation, state)
            start = loss if done == 0 else start
            if not highest <= _RISE * start:
                return self._rise(simulation, before, done, size, growth, _RISE * start)
            growth = max(growth, sharpness)
            enough = piece >= len(_PIECES) or loss < 0.01 * start
            if done >= _MOST_STEPS or (enough and size * done >= until):
                return _Trial(growth, None, size * done)
            steps = min(_PIECES[min(piece, len(_PIECES) - 1)], _MOST_STEPS - done)
            before, state, done, piece = state, simulation.step(state, steps), done + steps, piece + 1

    def _rise(
        self, simulation: Simulation, state: State, until: int, size: float, growth: float, bound: float
    ) -> _Trial:
        """A run that rose above `bound` between a state and the step `until`, in smaller pieces up to there."""
        done = int(state.step)
        piece = max((until - done) // _LOOKS, 1)
        while done < until:
            state = simulation.step(state, min(piece, until - done))
            done = int(state.step)
            _, highest, sharpness = self.look(simulation, state)
            if not highest <= bound:
                break
            growth = max(growth, sharpness)
        return _Trial(growth, size * max(done, 1), size * done)

    def look(self, simulation: Simulation, state: State) -> tuple[float, float, float]:
        """The loss, the highest loss so far, and the largest |λ| relative to `sharpest`.

        The highest loss is infinite where a loss or a kernel is no finite number: of a batch that has just diverged the
        loss of all samples may not know yet.
        """
        measured = simulation.measure(state)
        loss, sharpness = float(measured["loss"]), self.sharpness(measured) / self.sharpest
        finite = np.isfinite(loss) and np.isfinite(sharpness)
        return loss, max(float(state.highest_loss), loss) if finite else np.inf, sharpness

    def sharpness(self, measured: xr.Dataset) -> float:
        """The largest |λ| of K ∂²ℓ/∂f² at the outputs as they are, over samples and outputs together.

        Where a loss flattens as it is learned, as cross-entropy does, K grows and steps remain stable.
        """
        loss, y = self.simulation.program.loss, self.simulation.settings.y
        with at_precision("float64"):
            output = jnp.asarray(measured["output"].values.reshape(y.shape))
            error = lambda output, target: loss.error(output[None], target[None])[0]  # noqa: E731
            curvature = -np.asarray(jax.vmap(jax.jacfwd(error))(output, y))
        kernel = measured["ntk"].values
        if kernel.ndim == 2:
            kernel = kernel[:, :, None, None]
        return _largest_eigenvalue(np.einsum("mncd,nde->mnce", kernel, curvature))


def _converged(times: list[float]) -> bool:
    """Whether the last three are about the same."""
    return len(times) >= 3 and max(times[-3:]) < 1.2 * min(times[-3:])


def _largest_eigenvalue(kernel: np.ndarray) -> float:
    """The largest |λ| of an eNTK, over samples and outputs together; that of a multiple of K ⊗ I where it is of one."""
    if kernel.ndim == 4:
        size = kernel.shape[0] * kernel.shape[2]
        kernel = kernel.transpose(0, 2, 1, 3).reshape(size, size)
    if not np.all(np.isfinite(kernel)):
        return np.inf
    if len(kernel) < 50:
        return float(np.max(np.abs(np.linalg.eigvals(kernel))))
    if not kernel.any():  # as that of a cross-entropy that is learned to rounding
        return 0.0
    start = np.random.default_rng(0).normal(size=len(kernel))
    try:
        found = scipy.sparse.linalg.eigs(kernel, k=1, v0=start, tol=1e-6, return_eigenvectors=False)
    except scipy.sparse.linalg.ArpackError:  # as of one whose largest eigenvalues are all alike
        found = np.linalg.eigvals(kernel)
    return float(np.max(np.abs(found)))


def _initial_kernel(net: Architecture, task: Task, rule: Rule, seed: int, progress: bool | None) -> np.ndarray:
    """K(0): in closed form for the rules that the theory knows, and from networks for any other."""
    from ..theory import lazy  # with scipy's integrators, which training need not wait for
    from ..theory.feedback import feedback_of

    try:
        feedback_of(rule, "suggest_step_size")
    except ArgumentError:
        simulation = Simulation.of(
            net,
            task,
            rule,
            width=_WIDTH,
            optimizer=SGD(1.0),
            steps=0,
            batches=None,
            record=Record(kernels=("ntk",)),
            seed=seed,
            centred=True,
            precision="float64",
            devices=1,
        )
        kernels = [simulation.measure(simulation.start(replicate))["ntk"].values for replicate in range(_NETWORKS)]
        return np.mean(kernels, axis=0)
    # With several outputs the same block stands for each, and nothing between them.
    alone = Task(task.inputs, task.y[:, 0])
    return lazy(net, alone, rule, times=[0.0], kernels=("ntk",), progress=progress)["ntk"].values
