"""Activation functions: derivatives by automatic differentiation and finite differences, and known values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import NONLINEARITIES
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import PHI, SQRT2

import widelimit as wl

SMOOTH = {name: phi for name, phi in NONLINEARITIES.items() if name != "gated"}
numbers = st.floats(-30, 30, allow_nan=False).filter(lambda h: abs(h) > 1e-3)  # away from ReLU's kink


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", SMOOTH)
@settings(deadline=None, max_examples=60)
@given(h=numbers)
def test_derivative_is_that_of_the_value(name, h):
    phi = SMOOTH[name]
    with jax.enable_x64(True):
        h = jnp.asarray(h)
        exact = float(jax.grad(phi.value)(h))
        found = float(phi.derivative(h))
        difference = float((phi.value(h + 1e-5) - phi.value(h - 1e-5)) / 2e-5)
    assert abs(found - exact) < 1e-13 * max(1, abs(exact))
    assert abs(found - difference) < 1e-8


@pytest.mark.parametrize("name", SMOOTH)
def test_values_against_numpy(name):
    h = np.linspace(-6, 6, 101)
    phi = SMOOTH[name]
    value, derivative = PHI[type(phi).__name__]
    assert np.allclose(phi.value(jnp.asarray(h)), value(h), rtol=1e-12, atol=1e-13)
    assert np.allclose(phi.derivative(jnp.asarray(h)), derivative(h), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", SMOOTH)
def test_extreme_arguments_stay_finite(name):
    h = jnp.asarray([-1e4, 0.0, 1e4])
    for values in SMOOTH[name].respond(h, None):
        assert values.dtype == jnp.float64
        assert values.shape == (3,)
        assert np.all(np.isfinite(values))


@pytest.mark.parametrize("name", SMOOTH)
def test_single_precision_is_kept(name):
    for values in SMOOTH[name].respond(jnp.ones(3, jnp.float32), None):
        assert values.dtype == jnp.float32


def test_the_default_rectifier_preserves_norms():
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    square = np.sum(weights * np.asarray(wl.ReLU().value(jnp.asarray(nodes))) ** 2) / weights.sum()
    assert abs(square - 1) < 1e-12
    assert float(wl.ReLU(gain=3.0).value(jnp.asarray(2.0))) == 6.0
    assert float(wl.ReLU(gain=3.0).derivative(jnp.asarray(2.0))) == 3.0
    assert float(wl.ReLU().derivative(jnp.asarray(0.0))) == 0.0


def test_a_gate_is_the_derivative_of_its_shape():
    gated, m = wl.Gated(wl.ReLU()), jnp.asarray([-0.5, 0.2, 3.0])
    assert np.allclose(gated.gate(m), [0, SQRT2, SQRT2], rtol=1e-14)
    h = jnp.asarray([2.0, -1.0, 0.5])
    value, derivative = gated.respond(h, gated.gate(m))
    assert np.allclose(value, [0, -SQRT2, SQRT2 / 2], rtol=1e-14)
    assert np.allclose(derivative, gated.gate(m), rtol=1e-14)
    smooth = wl.Gated(wl.Tanh())
    assert np.allclose(smooth.gate(m), 1 / np.cosh(m) ** 2, rtol=1e-12)


def test_what_is_gated_and_what_is_linear():
    assert [name for name, phi in NONLINEARITIES.items() if phi.gated] == ["gated"]
    assert [name for name, phi in NONLINEARITIES.items() if phi.linear] == ["linear"]


def test_a_gated_unit_without_its_gate():
    for call in (wl.Gated(wl.ReLU()).value, wl.Gated(wl.ReLU()).derivative):
        with pytest.raises(NotImplementedError, match="needs its gate"):
            call(jnp.ones(2))
    with pytest.raises(NotImplementedError, match="Tanh has no gate"):
        wl.Tanh().gate(jnp.ones(2))


class Sine(wl.Nonlinearity):
    """A user's own, given by its value and derivative alone."""

    def value(self, h):
        return jnp.sin(h)

    def derivative(self, h):
        return jnp.cos(h)


@pytest.mark.parametrize("width", [20, wl.Infinite(particles=200)], ids=["finite", "infinite"])
def test_a_users_own_nonlinearity_trains(width, task):
    run = wl.train(
        wl.MLP(2, Sine()),
        task,
        wl.FeedbackAlignment(0.5),
        width=width,
        optimizer=wl.SGD(0.1),
        steps=5,
    )
    assert np.all(run["loss"].isel(step=-1) < run["loss"].isel(step=0))
