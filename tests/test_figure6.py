"""Estimators of Fig. 6 against computations that share no code with them."""

import numpy as np
import pytest

import widelimit as wl
from widelimit.paper import claims, figure6
from widelimit.paper.figure6 import FEATURES, GRADIENTS
from widelimit.results import observables


def linear_networks(width, replicates):
    return wl.train(
        wl.MLP(2, wl.Linear(), 1.5),
        wl.datasets.sphere(3, 5),
        wl.DirectFeedbackAlignment(),
        width=width,
        optimizer=wl.SGD(0.05),
        steps=6,
        record=wl.Record(two_time=True),
        replicates=replicates,
        progress=False,
    )


def test_traces_at_equal_times_and_with_the_start():
    run = linear_networks(20, replicates=2)
    traces = figure6._traces(run)
    assert traces[FEATURES].dims == ("replicate", "layer", "step", "step2")
    for name, kernel in ((FEATURES, "feature_kernel"), (GRADIENTS, "pseudo_gradient_kernel")):
        equal = figure6._equal_times(traces[name]).transpose("replicate", "step", "layer")
        assert np.allclose(equal, np.trace(run[kernel].values, axis1=-2, axis2=-1))
        assert equal["time"].dims == ("step",)
        both = run[f"{kernel}_two_time"].values
        start = figure6._with_start(traces[name]).transpose("replicate", "layer", "step").values
        assert np.allclose(start, np.trace(both[:, :, :, 0], axis1=-2, axis2=-1))


def test_traces_of_a_linear_network_are_those_of_its_algebraic_equations():
    """Nothing of the two-time traces is lost in truncated bases where they hold all that is sent."""
    exact = wl.theory.linear(
        wl.MLP(2, wl.Linear(), 1.5),
        wl.datasets.sphere(3, 5),
        wl.DirectFeedbackAlignment(),
        optimizer=wl.SGD(0.05),
        steps=6,
        progress=False,
    )
    run = figure6._traces(linear_networks(wl.Infinite(particles=400), replicates=1))
    for name, kernel in ((FEATURES, "feature_kernel_two_time"), (GRADIENTS, "pseudo_gradient_kernel_two_time")):
        expected = np.trace(exact[kernel].transpose("layer", "step", "step2", ...).values, axis1=-2, axis2=-1)
        assert np.allclose(run[name].isel(replicate=0), expected, atol=1e-8)


def test_every_layer_counts():
    traces = figure6._traces(linear_networks(50, replicates=6))
    grown = (figure6._equal_times(traces[FEATURES])).isel(step=-1)
    assert figure6._in_all_layers("", grown).verdict == claims.HOLDS
    second = grown.where(grown["layer"] == 1, -grown)
    claim = figure6._in_all_layers("", second)
    assert claim.verdict == claims.FAILS
    assert claim.measured == pytest.approx(float(observables.mean(second).isel(layer=1)))
