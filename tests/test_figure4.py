"""Estimators of Fig. 4 against computations that share no code with them."""

import math

import numpy as np
import pytest
import xarray as xr

import widelimit as wl
from widelimit.paper import claims, figure4, measures
from widelimit.paper.figure4 import Parameters


def kernels(seed=0, layers=2, samples=5):
    values = np.random.default_rng(seed).normal(size=(layers, samples, samples))
    return xr.DataArray(values, dims=("layer", "sample", "sample2"))


def test_overlaps_of_kernels():
    found = kernels()
    y = np.array([1.0, -2.0, 0.5, 3.0, -1.0])
    expected = np.einsum("lij,i,j->l", found.values, y, y) / np.dot(y, y)
    assert np.allclose(measures.along_targets(found, xr.DataArray(y, dims="sample")), expected)
    assert np.allclose(measures.trace(found), np.trace(found.values, axis1=1, axis2=2))


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_the_initial_rate_is_that_of_the_kernel(rho):
    net, task = wl.MLP(3, wl.Linear(), 1.5), wl.datasets.sphere(4, 6)
    run = wl.train(
        net, task, wl.FeedbackAlignment(rho), width=40, optimizer=wl.SGD(1e-7), steps=1, replicates=2, progress=False
    )
    y = task.y.ravel()
    expected = [y @ kernel @ y / (y @ y) for kernel in run["ntk"].isel(step=0).values]
    assert np.allclose(measures.initial_rate(run), expected, rtol=1e-5)


def falling(rate, shift, steps=41):
    """A loss that falls as exp(−rate t), and a kernel that is t + shift times one that y has the overlap 1 with."""
    time = np.linspace(0.0, 2.0, steps)
    kernel = (time + shift)[:, None, None] * np.diag([1.0, 1.0])
    return xr.Dataset(
        {
            "loss": ("step", 5 * np.exp(-rate * time)),
            "feature_kernel": (("step", "sample", "sample2"), kernel),
            "target": ("sample", [1.0, -1.0]),
        },
        coords={"time": ("step", time), "step": np.arange(steps)},
    )


def test_what_is_measured_at_the_same_loss():
    given = Parameters(fractions=(0.5, 0.2))
    runs = {0.0: falling(1.0, 0.0), 1.0: falling(2.0, 0.3)}
    assert figure4._when(runs[0.0], 0.5) == pytest.approx(math.log(2))
    assert math.isnan(figure4._when(runs[0.0], 0.1))
    found = figure4._at_equal_loss(given, runs, figure4._projection)
    expected = [[math.log(2), math.log(5)], [math.log(2) / 2 + 0.3, math.log(5) / 2 + 0.3]]
    assert found.dims == ("rho", "fraction")
    assert np.allclose(found, expected)
    never = figure4._at_equal_loss(Parameters(fractions=(0.5, 0.1)), runs, figure4._projection)
    assert math.isnan(figure4._largest_step(never).value)  # and no claim of it holds


def test_the_order_at_every_time_says_until_when_it_is_another():
    time = xr.DataArray(np.arange(5) / 10, dims="step")
    values = xr.DataArray(
        [[0.0, 1.0, 3.0, 5.0, 6.0], [0.0, 2.0, 3.5, 4.0, 5.0]], dims=("rho", "step"), coords={"rho": [0.0, 1.0]}
    ).assign_coords(time=time)
    claim = figure4._at_every_time("A", values)
    assert claim.verdict == claims.FAILS
    assert claim.measured == pytest.approx(1.0)
    assert "up to t = 0.2" in claim.note
    assert figure4._at_every_time("A", values.isel(step=[0, 3, 4])).verdict == claims.HOLDS
