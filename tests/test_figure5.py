"""Estimators of Fig. 5 against computations that share no code with them."""

import math

import numpy as np
import pytest
import scipy.integrate
from helpers import reference_for

import widelimit as wl
from widelimit.paper import claims, estimates, figure5_runs

SMALL = figure5_runs.Parameters(width=30, replicates=1, records=5, steps=200, end_richness=(1.0,))


def flow(name, task, richness, time, width):
    """Gradient flow or Hebbian flow of the very network, in NumPy: features, loss, and errors at one time."""
    start = reference_for(wl.MLP(1, wl.Linear(), richness), task, figure5_runs.RULES[name], width).start
    first, readout = start.weights[0], start.weights[-1].ravel()
    size, x, y = first.size, task.x, task.y.ravel()

    def outputs(matrix, vector):
        h = x @ matrix.T / math.sqrt(x.shape[1])
        return h, h @ vector / (richness * width)

    offset = outputs(first, readout)[1]

    def rate(_, state):
        matrix, vector = state[:size].reshape(first.shape), state[size:]
        h, f = outputs(matrix, vector)
        error = y - (f - offset)
        sent = error[:, None] * h if name == figure5_runs.HEBB else np.tile(vector, (len(y), 1))
        change = richness / math.sqrt(x.shape[1]) * (error[:, None] * sent).T @ x
        return np.concatenate([change.ravel(), richness * error @ h])

    state = np.concatenate([first.ravel(), readout])
    if time:
        state = scipy.integrate.solve_ivp(rate, (0, time), state, rtol=1e-10, atol=1e-10).y[:, -1]
    h, f = outputs(state[:size].reshape(first.shape), state[size:])
    return h @ h.T / width, 0.5 * np.sum((y - f + offset) ** 2)


@pytest.mark.parametrize("name", [figure5_runs.GD, figure5_runs.HEBB])
def test_networks_in_flow(name):
    """Steps extrapolated to zero are the flow of the same network: an error of second order in η is left."""
    task, rule = figure5_runs._task(SMALL), figure5_runs.RULES[name]
    found = figure5_runs._networks(SMALL, task, rule).isel(replicate=0)
    kernel, loss = flow(name, task, SMALL.richness, SMALL.duration, SMALL.width)
    stepped = figure5_runs._train(SMALL, task, rule, SMALL.richness, SMALL.duration / 200, 200, 200).isel(replicate=0)

    def off(run):
        return np.max(np.abs(run["feature_kernel"].isel(layer=0, step=-1).values - kernel)) / np.max(kernel)

    assert off(stepped) > 1e-4
    assert off(found) < 0.03 * off(stepped)
    assert abs(float(found["loss"][-1]) - loss) < 0.1 * abs(float(stepped["loss"][-1]) - loss)
    assert np.allclose(found["time"], np.linspace(0.0, SMALL.duration, 6))


@pytest.mark.parametrize("name", [figure5_runs.GD, figure5_runs.HEBB])
def test_where_networks_end(name):
    task = figure5_runs._task(SMALL)
    found = figure5_runs._ends(SMALL, task, figure5_runs.RULES[name])
    y = task.y.ravel()
    before, after = (flow(name, task, 1.0, time, SMALL.width)[0] for time in (0.0, 40.0))
    assert float(found["change"].squeeze()) == pytest.approx(y @ (after - before) @ y / (y @ y), rel=2e-4)


def test_what_a_sequence_tends_to():
    def verdict(values, expected):
        return claims.tends_to("", values, expected).verdict

    shrinking = 2 + 0.5 * 0.4 ** np.arange(5)
    assert verdict(shrinking, 2.0) == claims.HOLDS
    assert verdict(shrinking, 2.05) == claims.FAILS
    assert verdict(shrinking, 1.97) == claims.FAILS
    assert verdict(2 + 0.5 * 0.6 ** np.arange(5), 2.0) == claims.FAILS  # it has not settled
    assert verdict([1.0, 2.0, math.nan], 2.0) == claims.FAILS
    assert verdict([2.0, 2.0, 2.0], 2.0) == claims.HOLDS
    claim = claims.tends_to("", shrinking, 2.0)
    assert claim.measured == pytest.approx(shrinking[-1])
    assert claim.note.startswith("2.5, 2.2")


def test_local_exponents():
    x = np.logspace(-2, 2, 9)
    assert np.allclose(estimates.local_exponents(x, 3 * x**0.7), 0.7)
    assert np.allclose(estimates.local_exponents(x[::-1], 3 * x[::-1] ** -2), -2)


def test_measures_of_unequal_targets():
    """Targets of unequal size have the length 1 too, and what is not on the diagonal is measured apart."""
    given = figure5_runs.Parameters()
    task = figure5_runs._task(given, unequal=True)
    assert np.linalg.norm(task.y) == pytest.approx(1.0)
    assert np.allclose(np.abs(task.y.ravel()) / np.abs(task.y.ravel()[0]), [1, 2, 3, 4])
    run = wl.theory.two_layer(targets=task.y.ravel(), richness=2.0, times=[0.0, math.inf])
    grown = np.sqrt(1 + 4.0)
    squares = task.y.ravel() ** 2
    assert float(figure5_runs.features(run)[-1]) == pytest.approx(grown)
    assert float(figure5_runs.share(run)[-1]) == pytest.approx(grown / (3 + grown))
    assert float(figure5_runs.apart(run)[-1]) == pytest.approx((grown - 1) * (1 - np.sum(squares**2)))
    assert float(figure5_runs.change(figure5_runs.features(run))) == pytest.approx(grown - 1)
