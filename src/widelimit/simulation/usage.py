"""What a rule sends through which matrix: asked of the rule itself, before a run."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp

from ..checks import ArgumentError
from ..rules import OutputSignal, Pathway, Rule, View, as_pathways, backward_pass, pathways
from ..weights import Finite, Usage, Weights
from .initialization import Initialization
from .measurement import gradients
from .state import Program, Settings, Snapshot


def with_usage(program: Program, settings: Settings, rule: Rule) -> Program:
    """The program with its usage filled in, by running the rule once on shapes alone.

    The rule is asked, not told: what it sends through which matrix, and whether it wants initial weights, is read off
    its own calls, so that a rule's author declares nothing and unused parts of a matrix are never kept.

    **Raises:** `ArgumentError` for a rule whose calls depend on a number.
    """
    usage: list[Usage] = []
    feedback_usage: list[Usage] = []

    def dry_run(settings: Settings) -> None:
        initialization = of_few_neurons(program, settings, 2, None)  # which makes the same calls
        network = initialization.network()
        feedback = initialization.feedback(rule)
        network, feedback = initialization.measurements(network, feedback)
        activity, network = network.forward(settings.net, settings.inputs.train)

        trained = layers, rule_matrices = as_pathways((network.layers, feedback))
        start = OutputSignal(jnp.ones_like(settings.y))
        view = View(layers, rule_matrices, activity.fields, settings.y, settings.y, start, settings.net.skips)
        signals = backward_pass(eqx.combine(settings.rule_numbers, program.rule), view)
        in_training, in_probes = pathways(trained), []
        # Probes are counted apart: they get rows that no training step may meet.
        if program.measurement.of_gradients:
            snapshot = Snapshot(
                network, network, feedback, activity, settings.y, settings.y, start, signals, feedback_updates=()
            )
            in_probes = gradients(program, settings, snapshot).used

        def through(weights: Weights, taught: int | None) -> Usage:
            """What passed through one matrix; `taught` rows of features, or what the rule let it learn from."""
            training, probes = (_of(weights, used) for used in (in_training, in_probes))
            return Usage(
                forward=sum(pathway.taught.used for pathway in training) if taught is None else taught,
                backward=sum(pathway.sent.used for pathway in training),
                tests=0 if taught is None else len(settings.inputs.test),
                test_probes=len(settings.inputs.test) if program.measurement.test_kernels and taught else 0,
                probes=sum(pathway.sent.used for pathway in probes),
                initial=any(pathway.initial for pathway in training + probes),
            )

        # W^0 meets inputs, which are all known beforehand: it is always explicit, and nothing of it has to be counted.
        usage.extend(through(weights, len(settings.inputs.train)) for weights in network.layers[1:])
        feedback_usage.extend(through(weights, None) for weights, _ in initialization.handed_out)

    try:
        jax.eval_shape(dry_run, settings)
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError) as error:
        raise ArgumentError(
            f"rule: {type(rule).__name__} turns a number or an array into a Python value. Compute with jax.numpy; a "
            "parameter that decides which calls the rule makes must be a field declared eqx.field(static=True)."
        ) from error
    return dataclasses.replace(program, usage=tuple(usage), feedback_usage=tuple(feedback_usage))


def of_few_neurons(program: Program, settings: Settings, neurons: int, seed: tuple[int, ...] | None) -> Initialization:
    """A small network, of which anything may be asked; without a seed shapes alone."""
    rows = len(settings.inputs.train)
    everything = Usage(forward=rows, backward=rows, initial=True)
    usages = (everything,) * settings.net.hidden_layers
    return Initialization(
        settings.net, Finite(neurons), settings.inputs, program.outputs, usages, lambda _: everything, seed
    )


def _of(weights: Weights, used: list[Pathway]) -> list[Pathway]:
    return [pathway for pathway in used if pathway.origin is weights]
