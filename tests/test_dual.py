"""Dual activations ⟨ϕ(u)ϕ(v)⟩ and ⟨ϕ'(u)ϕ'(v)⟩ against closed forms and quadratures that share no code with them."""

from __future__ import annotations

import math
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import NONLINEARITIES
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import PHI
from scipy.integrate import quad
from scipy.special import ndtr

import widelimit as wl
from widelimit.networks.nonlinearity import quadrature
from widelimit.networks.nonlinearity.hermite import CAP, Series
from widelimit.networks.nonlinearity.jumps import Jumps, both_above

UNGATED = {name: phi for name, phi in NONLINEARITIES.items() if name != "gated"}
CORRELATIONS = np.array([-1, -0.999, -0.95, -0.4, 0, 0.1, 0.7, 0.97, 0.9999, 1])


# --- nonlinearities as a user would write them


class HardTanh(wl.Nonlinearity):
    """Kinks at ±1, where the derivative jumps."""

    def value(self, h):
        return jnp.clip(h, -1, 1)

    def derivative(self, h):
        return (jnp.abs(h) < 1).astype(h.dtype)


class PlainReLU(wl.Nonlinearity):
    """A rectifier without a closed form of its own."""

    def value(self, h):
        return math.sqrt(2) * jnp.maximum(h, 0)

    def derivative(self, h):
        return jnp.where(h > 0, math.sqrt(2), 0.0)


class PlainErf(wl.Nonlinearity):
    value = wl.Erf.value
    derivative = wl.Erf.derivative


class Sign(wl.Nonlinearity):
    """A step trained by a surrogate derivative, which jumps elsewhere."""

    def value(self, h):
        return jnp.sign(h)

    def derivative(self, h):
        return jnp.where(jnp.abs(h) < 0.5, 1.0, 0.0)


class Cubic(wl.Nonlinearity):
    def value(self, h):
        return h**3

    def derivative(self, h):
        return 3 * h**2


def dual_at(phi, variance, variance2, correlation):
    """The pair for one variance each and many correlations."""
    correlation = np.atleast_1d(correlation)
    covariance = correlation * np.sqrt(variance * variance2)
    value, slope = phi.dual(np.array([variance]), np.full(len(correlation), variance2), covariance[None])
    return value[0], slope[0]


def plane(functions, variance, variance2, correlation, points=301):
    """⟨f(u)f(v)⟩ by the trapezoidal rule in the plane, in coordinates along u + v and u − v."""
    z = np.linspace(-10, 10, points)
    weight = np.exp(-(z**2) / 2)
    weight /= weight.sum()
    along, across = math.sqrt((1 + correlation) / 2), math.sqrt((1 - correlation) / 2)
    u = math.sqrt(variance) * (along * z[:, None] + across * z)
    v = math.sqrt(variance2) * (along * z[:, None] - across * z)
    return [weight @ (function(u) * function(v)) @ weight for function in functions]


def functions_of(phi):
    return PHI[type(phi).__name__]


def sizes(phi, variance, variance2):
    """√(⟨ϕ(u)²⟩⟨ϕ(v)²⟩) and the same of ϕ': what errors are relative to."""
    own, other = (plane(functions_of(phi), v, v, 1.0) for v in (variance, variance2))
    return np.sqrt(np.array(own) * np.array(other))


# --- smooth nonlinearities


@pytest.mark.parametrize("name", ["tanh", "gelu", "softplus", "erf", "linear"])
@pytest.mark.parametrize(("variance", "variance2"), [(0.09, 0.04), (1, 1), (1.7, 0.3), (9, 9), (9, 4)])
def test_smooth_nonlinearities_against_a_quadrature_in_the_plane(name, variance, variance2):
    phi = UNGATED[name]
    found = np.array(dual_at(phi, variance, variance2, CORRELATIONS))
    expected = np.array([plane(functions_of(phi), variance, variance2, r) for r in CORRELATIONS]).T
    assert np.max(np.abs(found - expected) / sizes(phi, variance, variance2)[:, None]) < 1e-12


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(["tanh", "gelu", "softplus"]), st.floats(1e-3, 9), st.floats(1e-3, 9), st.floats(-1, 1), st.data()
)
def test_any_pair(name, variance, variance2, correlation, data):
    phi = UNGATED[name]
    found = np.array(dual_at(phi, variance, variance2, correlation))[:, 0]
    expected = np.array(plane(functions_of(phi), variance, variance2, correlation))
    assert np.max(np.abs(found - expected) / sizes(phi, variance, variance2)) < 1e-12


def test_wide_fields():
    """σ = 5, where tanh would need 3000 terms and the cap leaves 1e-11."""
    found = np.array(dual_at(wl.Tanh(), 25.0, 25.0, CORRELATIONS))
    expected = np.array([plane(PHI["Tanh"], 25.0, 25.0, r, points=1001) for r in CORRELATIONS]).T
    assert np.max(np.abs(found - expected) / sizes(wl.Tanh(), 25.0, 25.0)[:, None]) < 1e-10


def test_blocks_of_samples_with_norms_of_their_own():
    """Rows and columns, repeated norms, and every class of correlations at once."""
    random = np.random.default_rng(0)
    x = random.normal(size=(60, 3)) * random.choice([0.5, 1.0, 1.7], size=(60, 1))
    x[40:50] = 1.001 * x[:10] + 1e-3 * random.normal(size=(10, 3))
    rows, columns = x[:25], x[20:]
    variance, variance2 = np.sum(rows**2, axis=1), np.sum(columns**2, axis=1)
    for phi in (wl.Tanh(), wl.GELU()):
        value, slope = phi.dual(variance, variance2, rows @ columns.T)
        for i, j in zip(random.integers(25, size=30), random.integers(40, size=30), strict=True):
            r = np.clip(rows[i] @ columns[j] / np.sqrt(variance[i] * variance2[j]), -1, 1)
            expected = plane(functions_of(phi), variance[i], variance2[j], r, points=601)
            assert np.allclose([value[i, j], slope[i, j]], expected, rtol=0, atol=1e-12 * variance[i])


@pytest.mark.parametrize("name", [*UNGATED, "plain relu", "hard tanh"])
def test_the_derivative_in_the_covariance_is_the_dual_of_the_derivative(name):
    """∂⟨ϕ(u)ϕ(v)⟩/∂⟨uv⟩ = ⟨ϕ'(u)ϕ'(v)⟩ (Price 1958)."""
    phi = {**UNGATED, "plain relu": PlainReLU(), "hard tanh": HardTanh()}[name]
    r, step = np.array([-0.8, -0.3, 0.0, 0.4, 0.85]), 1e-4
    up, down = (dual_at(phi, 1.4, 0.6, r + sign * step)[0] for sign in (1, -1))
    difference = (up - down) / (2 * step * math.sqrt(1.4 * 0.6))
    assert np.allclose(difference, dual_at(phi, 1.4, 0.6, r)[1], rtol=0, atol=3e-8)


@pytest.mark.parametrize("name", UNGATED)
def test_weakly_correlated_fields(name):
    """⟨ϕ(u)ϕ(v)⟩ = ⟨ϕ⟩⟨ϕ⟩ + c ⟨ϕ'⟩⟨ϕ'⟩ + O(c²)."""
    phi, small = UNGATED[name], 1e-5
    value, slope = functions_of(phi)

    def average(function, variance):
        integrand = lambda z: function(math.sqrt(variance) * z) * math.exp(-(z**2) / 2)  # noqa: E731
        return sum(quad(integrand, *ends, epsabs=1e-14)[0] for ends in ((-12, 0), (0, 12))) / math.sqrt(2 * math.pi)

    expected = average(value, 1.3) * average(value, 0.7)
    expected += small * math.sqrt(1.3 * 0.7) * average(slope, 1.3) * average(slope, 0.7)
    assert abs(dual_at(phi, 1.3, 0.7, small)[0][0] - expected) < 3e-10


def test_polynomials_are_exact():
    """⟨u³v³⟩ = 9 v w c + 6 c³ and 9⟨u²v²⟩ = 9 (v w + 2 c²)."""
    variance, variance2 = 1.3, 2.1
    c = CORRELATIONS * math.sqrt(variance * variance2)
    value, slope = dual_at(Cubic(), variance, variance2, CORRELATIONS)
    assert np.allclose(value, 9 * variance * variance2 * c + 6 * c**3, rtol=0, atol=1e-12 * 41)
    assert np.allclose(slope, 9 * (variance * variance2 + 2 * c**2), rtol=1e-13)


# --- closed forms


@pytest.mark.parametrize("gain", [math.sqrt(2), 0.7])
def test_rectifier_against_the_arc_cosine_formulas(gain):
    theta = np.linspace(0.2, 2.9, 28)
    variance, variance2 = 1.3, 0.4
    size = math.sqrt(variance * variance2)
    value, slope = dual_at(wl.ReLU(gain), variance, variance2, np.cos(theta))
    scale = gain**2 / (2 * np.pi)
    assert np.allclose(value, scale * size * (np.sin(theta) + (np.pi - theta) * np.cos(theta)), rtol=0, atol=2e-15)
    assert np.allclose(slope, scale * (np.pi - theta), rtol=0, atol=2e-15)


@pytest.mark.parametrize("power", range(4, 53, 4))
def test_rectifier_near_parallel_and_opposite_fields(power):
    """At c = ±(1 − ε) with ε a power of two, by the expansion of arccos(1 − ε) in √ε.

    θ = √(2ε) (1 + ε/12 + 3ε²/160 + 5ε³/896 + …),   sin θ − θ cos θ = θ³/3 − θ⁵/30 + θ⁷/840 − …
    """
    epsilon = 2.0**-power
    series = (1 / 12, 3 / 160, 5 / 896, 35 / 18432, 63 / 90112, 231 / 851968, 143 / 1310720, 6435 / 142606336)
    theta = math.sqrt(2 * epsilon) * (1 + sum(a * epsilon ** (k + 1) for k, a in enumerate(series)))
    odd = sum((-1) ** (k + 1) * 2 * k * theta ** (2 * k + 1) / math.factorial(2 * k + 1) for k in range(1, 9))
    value, slope = dual_at(wl.ReLU(), 1.0, 1.0, np.array([1 - epsilon, epsilon - 1]))
    assert abs(slope[0] - (1 - theta / math.pi)) < 5e-16  # two units in the last place
    assert abs(slope[1] - theta / math.pi) < 4e-16 * theta
    assert abs(value[0] - (1 - epsilon + odd / math.pi)) < 5e-16
    assert abs(value[1] - odd / math.pi) < 1e-16


@settings(deadline=None, max_examples=100)
@given(st.floats(1e-100, 1e100), st.floats(1e-100, 1e100))
def test_rectifier_is_exact_for_parallel_and_opposite_fields(variance, variance2):
    size = np.sqrt(variance * variance2)
    covariance = np.array([[size], [-size]])
    value, slope = wl.ReLU().dual(np.full(2, variance), np.array([variance2]), covariance)
    assert abs(value[0, 0] / size - 1) < 1e-15
    assert abs(slope[0, 0] - 1) < 1e-15
    assert value[1, 0] == 0
    assert slope[1, 0] == 0


@pytest.mark.parametrize("name", ["relu", "erf", "linear", "tanh", "gelu", "softplus"])
def test_the_diagonal(name):
    """Each field with itself, for samples of all norms, is a one-dimensional average."""
    phi = UNGATED[name]
    variance = np.array([1e-4, 0.3, 1.0, 2.0, 7.0])
    found = phi.dual(variance, variance, np.sqrt(np.outer(variance, variance)))
    for kernel, function in zip(found, functions_of(phi), strict=True):
        for own, v in zip(np.diag(kernel), variance, strict=True):
            integrand = lambda z, f=function, v=v: f(math.sqrt(v) * z) ** 2 * math.exp(-(z**2) / 2)  # noqa: E731
            halves = [quad(integrand, *ends, epsrel=6e-14, epsabs=0, limit=200)[0] for ends in ((-13, 0), (0, 13))]
            assert abs(own / (sum(halves) / math.sqrt(2 * math.pi)) - 1) < 3e-14


def test_error_function_against_the_arcsine_formula():
    variance, variance2, r = 2.0, 0.6, np.linspace(-0.95, 0.95, 21)
    c, spread = r * math.sqrt(variance * variance2), (1 + 2 * variance) * (1 + 2 * variance2)
    value, slope = dual_at(wl.Erf(), variance, variance2, r)
    assert np.allclose(value, 2 / np.pi * np.arcsin(2 * c / np.sqrt(spread)), rtol=0, atol=1e-15)
    assert np.allclose(slope, 4 / np.pi / np.sqrt(spread - 4 * c**2), rtol=1e-14)


def test_error_function_of_very_wide_fields():
    """Where fields are wide and parallel the textbook formula cancels: ⟨erf²⟩ = 1 − (2/π) arctan(1/√(4v))…"""
    for variance in (1e4, 1e8, 1e12):
        value, slope = dual_at(wl.Erf(), variance, variance, 1.0)
        assert abs(value[0] - (1 - 2 / np.pi * math.atan(math.sqrt(1 + 4 * variance) / (2 * variance)))) < 1e-15
        assert abs(slope[0] * math.sqrt(1 + 4 * variance) * np.pi / 4 - 1) < 1e-15


@pytest.mark.parametrize(("variance", "variance2"), [(0.1, 0.1), (1.0, 1.5), (9.0, 4.0), (25.0, 25.0)])
def test_the_series_against_closed_forms(variance, variance2):
    for plain, phi, tolerance in ((PlainErf(), wl.Erf(), (4e-15, 4e-15)), (PlainReLU(), wl.ReLU(), (5e-10, 1e-12))):
        r = np.cos(np.concatenate([[0, np.pi], np.geomspace(1e-4, 3, 40)]))
        found, expected = (dual_at(one, variance, variance2, r) for one in (plain, phi))
        own = np.sqrt(np.prod([np.ravel(dual_at(phi, v, v, 1.0)) for v in (variance, variance2)], axis=0))
        for index, (a, b) in enumerate(zip(found, expected, strict=True)):
            assert np.max(np.abs(a - b)) < tolerance[index] * own[index]


# --- nonlinearities with kinks and jumps


def hard_tanh_moments(spread, spread2, theta):
    """⟨ϕϕ⟩ and ⟨ϕ'ϕ'⟩ of the hard tanh, with v averaged at fixed u in closed form and u by adaptive quadrature."""
    r, rest = math.cos(theta), math.sin(theta) * spread2

    def density(x):
        return math.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)

    def given_u(z):
        mean = r * spread2 * z
        low, high = (-1 - mean) / rest, (1 - mean) / rest
        inside = ndtr(high) - ndtr(low)
        return mean * inside + rest * (density(low) - density(high)) + ndtr(-high) - ndtr(low), inside

    marks = [place / spread for place in (-1, 1)]
    marks += [
        place / (r * spread2) + width * math.sin(theta) for place in (-1, 1) for width in (-8, -4, -1, 0, 1, 4, 8)
    ]
    value = lambda z: np.clip(spread * z, -1, 1) * given_u(z)[0] * density(z)  # noqa: E731
    slope = lambda z: given_u(z)[1] * density(z)  # noqa: E731
    options = {"epsabs": 1e-13, "epsrel": 1e-13, "limit": 500}
    inner = sorted(mark for mark in marks if abs(mark) < 1 / spread - 1e-9)
    return (
        quad(value, -12, 12, points=sorted(mark for mark in marks if abs(mark) < 12), **options)[0],
        quad(slope, -1 / spread, 1 / spread, points=inner or None, **options)[0],
    )


@pytest.mark.parametrize(
    ("spread", "spread2", "tolerance"),
    [
        (0.3, 0.3, 1e-12),
        (1.0, 1.0, 1e-8),
        (1.0, 1.1, 1e-6),
        (1.0, 1.5, 1e-6),
        (3.0, 3.3, 1e-5),
        (10.0, 11.0, 1e-5),
        (10.0, 15.0, 1e-4),
    ],
)
@pytest.mark.filterwarnings("ignore::widelimit.AccuracyWarning")
def test_hard_tanh(spread, spread2, tolerance):
    """Kinks away from zero cost accuracy where fields are all but parallel and of different norms; jumps cost none."""
    theta = np.array([1e-3, 0.02, 0.1, 0.4, 1.2, 2.5, 3.1])
    expected = np.array([hard_tanh_moments(spread, spread2, one) for one in theta]).T
    value, slope = dual_at(HardTanh(), spread**2, spread2**2, np.cos(theta))
    assert np.max(np.abs(value - expected[0])) < tolerance
    assert np.max(np.abs(slope - expected[1])) < 3e-12
    far = (theta > 0.3) & (theta < 2.8)
    assert np.max(np.abs(value - expected[0])[far]) < 1e-14


def test_hard_tanh_in_monte_carlo():
    random = np.random.default_rng(0)
    z = random.normal(size=(2, 10**6))
    u, v = 1.2 * z[0], 0.8 * (0.6 * z[0] + 0.8 * z[1])
    samples = np.clip(u, -1, 1) * np.clip(v, -1, 1), (np.abs(u) < 1) * (np.abs(v) < 1.0)
    for found, drawn in zip(dual_at(HardTanh(), 1.44, 0.64, 0.6), samples, strict=True):
        assert abs(found[0] - drawn.mean()) < 4 * drawn.std() / 1000


def test_steps():
    """⟨sign u sign v⟩ = (2/π) arcsin ρ."""
    value, slope = dual_at(Sign(), 1.0, 2.0, CORRELATIONS)
    assert np.allclose(value, 2 / np.pi * np.arcsin(CORRELATIONS), rtol=0, atol=1e-12)
    assert slope[4] == pytest.approx((2 * ndtr(0.5) - 1) * (2 * ndtr(0.5 / math.sqrt(2)) - 1), abs=1e-13)


def test_jumps_are_found_where_they_are():
    found = Jumps.of(lambda h: np.where(h > 1 / 3, 2.0, 0.0) - np.where(h > -0.7, 0.5, 0.0) + np.tanh(5 * h), 1.0)
    assert np.allclose(found.places, [-0.7, 1 / 3], rtol=1e-14)
    assert np.allclose(found.sizes, [-0.5, 2.0], rtol=1e-12)
    assert Jumps.of(np.sign, 1.0).places.tolist() == [0.0]
    assert Jumps.of(np.sign, 1.0).sizes.tolist() == [2.0]
    assert len(Jumps.of(lambda h: np.tanh(1e4 * h), 1.0).places) == 0


@pytest.mark.parametrize("correlation", [-1, -0.9, -0.2, 0, 0.5, 0.99, 1])
@pytest.mark.parametrize(("a", "b"), [(0, 0), (0, 0.7), (-1.2, 0), (0.4, 0.4), (0.3, -0.3), (-1, 2), (1.5, 0.2)])
def test_probability_of_a_quadrant(a, b, correlation):
    if abs(correlation) == 1:
        expected = ndtr(-max(a, b)) if correlation > 0 else max(ndtr(-a) - ndtr(b), 0.0)
    else:
        rest = math.sqrt(1 - correlation**2)
        integrand = lambda z: math.exp(-(z**2) / 2) * ndtr((correlation * z - b) / rest)  # noqa: E731
        expected = quad(integrand, a, 13, epsabs=1e-14, epsrel=1e-13, limit=200)[0] / math.sqrt(2 * math.pi)
    found = both_above(np.array([float(a)]), np.array([float(b)]), np.array([float(correlation)]))[0]
    assert abs(found - expected) < 1e-14


def test_coefficients_of_a_cut_panel():
    """Panels with several jumps in one, and jumps on a border."""
    spread, places = np.array([1.0, 3.0]), np.array([0.31, 0.33, 0.75, 0.9])
    function = lambda h: np.where(h > 0.31, 1.0, 0.0) - np.where(h > 0.33, 3.0, 0.0) + np.cos(h) * (h > 0.9)  # noqa: E731
    series = Series.of(function, spread, places, 4)
    for index, s in enumerate(spread):
        for n, p in enumerate((lambda z: 1, lambda z: z, lambda z: (z**2 - 1) / 2**0.5)):
            integrand = lambda z, s=s, p=p: function(s * z) * p(z) * math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)  # noqa: E731
            exact = quad(integrand, -12, 12, points=[c / s for c in (0.31, 0.33, 0.9)], epsabs=1e-14, limit=400)[0]
            assert abs(series.coefficients[n, index] - exact) < 1e-13


# --- edges


def test_fields_that_are_always_zero():
    for phi in (*UNGATED.values(), HardTanh()):
        value, slope = phi.dual(np.array([0.0, 1.0]), np.array([0.0, 1.0]), np.array([[0.0, 0.0], [0.0, 0.5]]))
        at_zero = [np.asarray(f(jnp.zeros(()))) for f in (phi.value, phi.derivative)]
        assert np.allclose([value[0, 0], slope[0, 0]], np.square(at_zero), rtol=1e-6, atol=1e-15)
        assert np.all(np.isfinite(value))
        assert np.all(np.isfinite(slope))
        assert np.allclose(value[0], value[:, 0], atol=1e-15)


def test_empty_blocks():
    value, slope = wl.Tanh().dual(np.zeros(0), np.ones(3), np.zeros((0, 3)))
    assert value.shape == slope.shape == (0, 3)


def test_too_wide_fields_warn_with_an_error_that_holds():
    angle = 0.02
    variances = np.full(2, 400.0)
    covariance = 400 * np.array([[1, math.cos(angle)], [math.cos(angle), 1]])
    with pytest.warns(
        quadrature.AccuracyWarning, match="Tanh is too steep for fields of standard deviation 20"
    ) as caught:
        value, slope = wl.Tanh().dual(variances, variances, covariance)
    stated = float(str(caught[0].message).split("off by ")[1].split()[0])
    expected = np.array(plane(PHI["Tanh"], 400.0, 400.0, math.cos(angle), points=3001))
    z = np.linspace(-10, 10, 20001)
    weight = np.exp(-(z**2) / 2) / np.sum(np.exp(-(z**2) / 2))
    size = np.array([np.tanh(20 * z) ** 2 @ weight, np.cosh(20 * z) ** -4.0 @ weight])
    errors = np.abs(np.array([value[0, 1], slope[0, 1]]) - expected) / size
    assert 1e-6 < errors.max() < stated < 0.1
    assert np.allclose([value[0, 0], slope[0, 0]], size, rtol=1e-12)


@pytest.mark.parametrize("phi", [wl.Tanh(), wl.GELU(), PlainReLU(), HardTanh(), Sign()])
def test_usual_fields_do_not_warn(phi):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dual_at(phi, 9.0, 4.0, CORRELATIONS)


def test_terms_are_as_many_as_needed():
    """Few for smooth functions of narrow fields, all for those with kinks."""
    tanh = quadrature._in_numpy(wl.Tanh().value)
    few = [quadrature._terms_needed(tanh, np.array([spread]), np.zeros(0)) for spread in (0.3, 1.0, 3.0)]
    assert 5 < few[0] < 60 < few[1] < 200 < few[2] < CAP
    assert quadrature._terms_needed(quadrature._in_numpy(PlainReLU().value), np.ones(1), np.zeros(0)) == CAP
