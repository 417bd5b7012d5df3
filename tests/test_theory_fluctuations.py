"""Finite-width fluctuations at initialisation: closed forms, quadratures of their own, and random networks."""

from __future__ import annotations

import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import NONLINEARITIES, RULES, assert_agree_statistically

import widelimit as wl
from widelimit.networks.nonlinearity import Nonlinearity
from widelimit.theory import fluctuations, relu_variance

COVARIANCES = ("feature_kernel", "gradient_kernel", "feature_gradient", "ntk")


def inputs(samples, dimension=4, seed=3):
    """Points of different norms, none far from √D."""
    x = np.random.default_rng(seed).normal(size=(samples, dimension))
    norms = np.sqrt(dimension) * np.linspace(0.8, 1.2, samples) if samples > 1 else np.sqrt(dimension)
    return x * np.reshape(norms, (-1, 1)) / np.linalg.norm(x, axis=1, keepdims=True)


def solve(phi, x, layers=3, rule="gd", y=None, **options):
    task = wl.Task(x, np.linspace(-1, 1.5, len(x)) if y is None else y)
    phi = NONLINEARITIES[phi] if isinstance(phi, str) else phi
    return fluctuations(wl.MLP(layers, phi), task, RULES[rule], **{"width": 1, "progress": False, **options})


def matrix(result, name):
    """A covariance with one row and one column for each entry of the kernels, in the order (layer, sample, sample2)."""
    covariance = result[f"{name}_covariance"].values
    if name == "ntk":
        return covariance.reshape((len(covariance) ** 2,) * 2)
    rows = covariance.shape[0] * covariance.shape[2] ** 2
    return covariance.transpose(0, 2, 3, 1, 4, 5).reshape(rows, rows)


def assert_close(found, expected, tolerance):
    assert np.shape(found) == np.shape(expected)
    assert np.max(np.abs(np.asarray(found) - expected)) <= tolerance * max(1.0, np.max(np.abs(expected)))


# --- random networks, in NumPy

FUNCTIONS = {
    "linear": (lambda h: h, np.ones_like),
    "relu": (lambda h: math.sqrt(2) * np.maximum(h, 0), lambda h: math.sqrt(2) * (h > 0)),
    "tanh": (np.tanh, lambda h: 1 - np.tanh(h) ** 2),
}


def networks(phi, x, layers, width, count, rule="gd", correlation=0.0, error=None, seed=0):
    """Φ^ℓ and G^ℓ (network, layer, sample, sample2) and K (network, sample, sample2) of random networks."""
    random, batches = np.random.default_rng(seed), []
    size = max(1, int(2e6 / width**2))
    for start in range(0, count, size):
        batches.append(_batch(phi, x, layers, width, min(size, count - start), rule, correlation, error, random))
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


def _batch(phi, x, layers, width, count, rule, correlation, error, random):
    draw = lambda *shape: random.standard_normal((count, *shape))  # noqa: E731
    overlap = lambda a, b: a @ b.transpose(0, 2, 1) / width  # noqa: E731
    below, features, slopes, weights = np.broadcast_to(x, (count, *x.shape)), [], [], []
    for _ in range(layers):
        weights.append(draw(width, below.shape[2]) / np.sqrt(below.shape[2]))
        h = below @ weights[-1].transpose(0, 2, 1)
        if phi == "gated":
            slopes.append(math.sqrt(2) * (x @ draw(x.shape[1], width) > 0))
            below = slopes[-1] * h
        else:
            slopes.append(FUNCTIONS[phi][1](h))
            below = FUNCTIONS[phi][0](h)
        features.append(below)

    def backward(matrices, top):
        fields, arriving = [], top
        for layer in range(layers - 1, -1, -1):
            fields.insert(0, slopes[layer] * arriving)
            if layer:
                arriving = fields[0] @ matrices[layer]
        return fields

    readout = draw(1, width)
    gradients = backward(weights, readout)
    if rule == "gd":
        pseudo = gradients
    elif rule == "fa":
        fresh = math.sqrt(1 - correlation**2)
        mixed = [correlation * w + fresh * draw(*w.shape[1:]) / np.sqrt(w.shape[2]) for w in weights]
        pseudo = backward(mixed, correlation * readout + fresh * draw(1, width))
    elif rule == "dfa":
        pseudo = [dphi * draw(1, width) for dphi in slopes]
    else:
        pseudo = [error[:, None] * phi_of_h for phi_of_h in features]
    kernels = np.stack([overlap(a, a) for a in features], axis=1)
    tangent = kernels[:, -1].copy()
    lower = [np.broadcast_to(x @ x.T / x.shape[1], tangent.shape), *kernels.swapaxes(0, 1)[:-1]]
    for g, other, kernel in zip(gradients, pseudo, lower, strict=True):
        tangent += overlap(g, other) * kernel
    return kernels, np.stack([overlap(g, g) for g in gradients], axis=1), tangent


def assert_covariances_agree(kernels, predicted):
    """Covariances measured over networks, in units of the predicted standard deviations, in their standard errors."""
    flat = np.concatenate([kernel.reshape(len(kernel), -1) for kernel in kernels], axis=1)
    scaled = (flat - flat.mean(axis=0)) / np.sqrt(np.diag(predicted))
    products = scaled[:, :, None] * scaled[:, None, :] * len(flat) / (len(flat) - 1)  # their mean is unbiased
    assert_agree_statistically(products, predicted / np.sqrt(np.outer(*[np.diag(predicted)] * 2)), RESOLUTION)


def assert_networks_agree(result, features, gradients, tangents):
    forward, backward, cross, tangent = (matrix(result, name) for name in COVARIANCES)
    assert_covariances_agree([features, gradients], np.block([[forward, cross], [cross.T, backward]]))
    assert_covariances_agree([tangents], tangent)


RESOLUTION = 0.1  # the largest standard error of a variance, relative to it, that a comparison may have
WIDTH, COUNT = 128, 800


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("phi", ["relu", "tanh", "linear"])
def test_covariances_of_random_networks(phi, samples):
    x = inputs(samples)
    assert_networks_agree(solve(phi, x, width=WIDTH), *networks(phi, x, 3, WIDTH, COUNT, seed=samples))


RULE_CASES = [
    ("relu", "fa-half"),
    ("tanh", "fa-0"),
    ("relu", "dfa"),
    ("relu", "hebb"),
    ("tanh", "hebb"),
    ("gated", "gd"),
    ("gated", "hebb"),
]


def compare_rule(phi, rule, samples, width=WIDTH, count=COUNT):
    x = inputs(samples)
    result = solve(phi, x, rule=rule, width=width)
    _, _, tangents = networks(
        phi,
        x,
        3,
        width,
        count,
        rule=rule.split("-")[0],
        correlation=getattr(RULES[rule], "correlation", 0.0),
        error=np.linspace(-1, 1.5, samples),
        seed=samples + 10,
    )
    assert_covariances_agree([tangents], matrix(result, "ntk"))


@pytest.mark.parametrize(("phi", "rule"), RULE_CASES)
def test_tangent_kernel_of_other_rules(phi, rule):
    compare_rule(phi, rule, samples=2)


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("phi", ["linear", "relu", "tanh", "gated"])
@pytest.mark.parametrize("samples", [1, 4])
def test_full_grid(phi, rule, samples):
    compare_rule(phi, rule, samples, width=400)
    if rule == "gd":
        found = networks(phi, inputs(samples), 3, 400, COUNT, seed=samples + 20)
        assert_networks_agree(solve(phi, inputs(samples), width=400), *found)


@pytest.mark.slow
def test_networks_of_the_library():
    """Random networks made by `train`."""
    task = wl.Task(inputs(2), np.ones(2))
    net = wl.MLP(2, wl.Tanh())
    run = wl.train(net, task, width=60, steps=0, optimizer=wl.SGD(1.0), replicates=500, progress=False)
    result = fluctuations(net, task, width=60, progress=False)
    kernels = [run[name].values[:, 0] for name in ("feature_kernel", "gradient_kernel", "ntk")]
    assert_networks_agree(result, *kernels)
    for name, found in zip(("feature_kernel", "gradient_kernel", "ntk"), kernels, strict=True):
        assert_agree_statistically(found, result[name].values, resolution=0.03)


def test_variances_fall_as_one_over_width():
    """The slope of log variance against log N is −1, and N × variance extrapolates to the prediction."""
    widths, x = np.array([40, 80, 160]), inputs(2)
    result = solve("relu", x)
    expected = [np.trace(matrix(result, name)) for name in ("feature_kernel", "gradient_kernel", "ntk")]
    found = [networks("relu", x, 3, width, 1500, seed=width) for width in widths]
    for kind, prediction in enumerate(expected):
        squares = [width * _squares(kernels[kind]) / prediction for width, kernels in zip(widths, found, strict=True)]
        value = np.array([each.mean() for each in squares])
        error = np.array([each.std(ddof=1) / np.sqrt(len(each)) for each in squares])
        design = np.stack([np.ones(3), 1 / widths], axis=1)
        limit, limit_error = _intercept(design, value, error)
        assert limit_error < 0.06
        assert abs(limit - 1) < 3.5 * limit_error
        design[:, 1] = np.log(widths)
        slope, slope_error = _intercept(design[:, ::-1], np.log(value), error / value)
        assert slope_error < 0.04
        assert abs(slope) < 3.5 * slope_error


def _squares(kernel):
    kernel = kernel.reshape(len(kernel), -1)
    return np.sum((kernel - kernel.mean(axis=0)) ** 2, axis=1) * len(kernel) / (len(kernel) - 1)


def _intercept(design, value, error):
    """The first coefficient of a weighted least-squares fit and its standard error."""
    design, value = design / error[:, None], value / error
    inverse = np.linalg.inv(design.T @ design)
    return (inverse @ design.T @ value)[0], np.sqrt(inverse[0, 0])


# --- one sample, in closed form


@pytest.mark.parametrize(("phi", "variance"), [("relu", 5), ("gated", 5), ("linear", 2)])
def test_one_sample_of_unit_norm(phi, variance):
    """The paper's App. H.3, and Cov(Φ^ℓ, G^ℓ') = max(0, ℓ − ℓ' + 1)(⟨ϕ²ϕ'²⟩ − 1)/N."""
    width, layers = 50, 6
    result = solve(phi, np.full((1, 3), 1.0), layers, width=width)
    layer = np.arange(1, layers + 1)
    expected = variance / width * np.minimum.outer(layer, layer)
    assert_close(matrix(result, "feature_kernel"), expected, 1e-10)
    assert_close(matrix(result, "gradient_kernel"), expected[::-1, ::-1], 1e-10)
    shared = 0.0 if phi == "linear" else np.maximum(0, layer[:, None] - layer + 1) / width
    assert_close(matrix(result, "feature_gradient"), shared * np.ones((layers, layers)), 1e-10)
    assert_close(result["ntk"].values.ravel(), np.array([layers + 1.0]), 1e-10)


def test_one_sample_tangent_kernel_of_a_linear_network():
    """K = Σ_ℓ G^{ℓ+1} Φ^ℓ, with min(ℓ, ℓ') of both: Var K = (2/N) Σ_{ℓℓ'} [min(ℓ, ℓ') + min(L − ℓ, L − ℓ')]."""
    layers = 4
    layer = np.arange(layers + 1)
    expected = 2 * np.sum(np.minimum.outer(layer, layer) + np.minimum.outer(layers - layer, layers - layer))
    assert_close(matrix(solve("linear", np.ones((1, 1)), layers), "ntk"), np.array([[expected]]), 1e-12)


def average(function, variance):
    """⟨f(u)⟩ over u ~ N(0, variance), by the trapezoidal rule: exponentially accurate for analytic f."""
    normal = np.linspace(-12, 12, 2401)
    density = np.exp(-(normal**2) / 2)
    return function(np.sqrt(variance) * normal) @ density / density.sum()


def test_one_sample_of_a_smooth_network():
    """Two layers of tanh, with ϕ'' and ϕ''' written out: what the solver has by finite differences."""
    x = np.array([[1.3, -0.9]])
    base = float(x[0] @ x[0] / 2)
    slope = lambda u: 1 - np.tanh(u) ** 2  # noqa: E731
    second = lambda u: -2 * np.tanh(u) * slope(u)  # noqa: E731
    third = lambda u: slope(u) * (6 * np.tanh(u) ** 2 - 2)  # noqa: E731
    phi1 = average(lambda u: np.tanh(u) ** 2, base)
    phi2 = average(lambda u: np.tanh(u) ** 2, phi1)
    noise1 = average(lambda u: np.tanh(u) ** 4, base) - phi1**2
    noise2 = average(lambda u: np.tanh(u) ** 4, phi1) - phi2**2
    pass_on = average(lambda u: slope(u) ** 2 + np.tanh(u) * second(u), phi1)
    features = [[noise1, pass_on * noise1], [pass_on * noise1, noise2 + pass_on**2 * noise1]]
    result = solve("tanh", x, 2)
    assert_close(matrix(result, "feature_kernel"), np.array(features), 1e-11)
    slope1, slope2 = average(lambda u: slope(u) ** 2, base), average(lambda u: slope(u) ** 2, phi1)
    turn = average(lambda u: second(u) ** 2 + slope(u) * third(u), phi1)
    mixed1 = average(lambda u: (np.tanh(u) * slope(u)) ** 2, base) - phi1 * slope1
    mixed2 = average(lambda u: (np.tanh(u) * slope(u)) ** 2, phi1) - phi2 * slope2
    cross = [
        [slope2 * mixed1 + slope1 * turn * noise1, turn * noise1],
        [slope1 * (mixed2 + pass_on * turn * noise1) + pass_on * slope2 * mixed1, mixed2 + pass_on * turn * noise1],
    ]
    assert_close(matrix(result, "feature_gradient"), np.array(cross), 1e-10)
    top = 3 * average(lambda u: slope(u) ** 4, phi1) - slope2**2 + turn**2 * noise1
    assert_close(matrix(result, "gradient_kernel")[1, 1], np.array(top), 1e-10)


# --- several samples


def test_relu_fourth_moments_in_closed_form():
    """⟨ϕ_μ²ϕ_ν²⟩ = (2/π)[3 sin θ cos θ + (π − θ)(1 + 2 cos² θ)] at unit norms (Cho & Saul 2009)."""
    angle = 0.7
    x = np.sqrt(2) * np.array([[1, 0], [np.cos(angle), np.sin(angle)]])
    result = solve("relu", x, 1)
    covariance = result["feature_kernel_covariance"].values[0, 0]
    rest = (np.pi - angle) * (1 + 2 * np.cos(angle) ** 2)
    fourth = 2 / np.pi * (3 * np.sin(angle) * np.cos(angle) + rest)
    kernel = (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi
    assert_close(result["feature_kernel"].values[0], np.array([[1, kernel], [kernel, 1]]), 1e-14)
    assert_close(result["gradient_kernel"].values[0, 0, 1], np.array(1 - angle / np.pi), 1e-14)
    assert_close(covariance[0, 0, 1, 1], np.array(fourth - 1), 1e-11)
    assert_close(covariance[0, 1, 0, 1], np.array(fourth - kernel**2), 1e-11)


def test_linear_networks_follow_wick():
    """N Cov(Φ^ℓ_μν, Φ^ℓ'_αβ) = min(ℓ, ℓ')(K_μα K_νβ + K_μβ K_να) for ϕ = id, at any number of samples."""
    x = inputs(5, 3)
    kernel = x @ x.T / 3
    wick = np.einsum("ac,bd->abcd", kernel, kernel) + np.einsum("ad,bc->abcd", kernel, kernel)
    layer = np.arange(1, 5)
    forward = np.minimum.outer(layer, layer)
    result = solve("linear", x, 4)
    assert_close(result["feature_kernel_covariance"].values, np.multiply.outer(forward, wick), 1e-12)
    ones = 2 * np.ones_like(wick)
    assert_close(result["gradient_kernel_covariance"].values, np.multiply.outer(forward[::-1, ::-1], ones), 1e-12)


def product_gauss(covariance, points=48):
    """Gauss–Hermite points of N(0, covariance) in three dimensions."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    grid = np.stack(np.meshgrid(nodes, nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 3)
    weights = np.einsum("i,j,k->ijk", weights, weights, weights).ravel()
    return grid @ np.linalg.cholesky(covariance).T, weights / weights.sum()


def test_three_samples_of_a_smooth_network():
    """Fourth moments and responses of tanh over three samples, by product quadrature with ϕ'' written out."""
    x = inputs(3)
    base = x @ x.T / 4
    u, weights = product_gauss(base)
    phi1 = np.einsum("n,na,nb->ab", weights, np.tanh(u), np.tanh(u))
    fourth = np.einsum("n,na,nb,nc,nd->abcd", weights, *[np.tanh(u)] * 4, optimize=True)
    noise = fourth - np.multiply.outer(phi1, phi1)
    u, weights = product_gauss(phi1)
    slope = 1 - np.tanh(u) ** 2
    second = -2 * np.tanh(u) * slope
    cross = np.einsum("n,na,nb->ab", weights, slope, slope)
    own = np.einsum("n,na,nb->ab", weights, second, np.tanh(u)) / 2
    expected = np.einsum("ab,abcd->abcd", cross, noise)
    expected += np.einsum("ab,aacd->abcd", own, noise) + np.einsum("ba,bbcd->abcd", own, noise)
    found = solve("tanh", x, 2)["feature_kernel_covariance"].values
    scale = np.max(np.abs(noise))
    assert np.max(np.abs(found[0, 0] - noise)) < 1e-3 * scale
    assert np.max(np.abs(found[1, 0] - expected)) < 1e-3 * scale
    finer = solve("tanh", x, 2, points=2**18)["feature_kernel_covariance"].values
    assert np.max(np.abs(finer[0, 0] - noise)) < 2e-4 * scale


def test_two_samples_need_no_sampling():
    first, second = (solve("relu", inputs(2), points=count, seed=seed) for count, seed in ((256, 0), (4096, 1)))
    for name in COVARIANCES:
        assert_close(matrix(first, name), matrix(second, name), 1e-14)


@pytest.mark.parametrize("phi", ["relu", "tanh", "gated"])
@pytest.mark.parametrize("rule", ["gd", "fa-half", "hebb"])
def test_symmetric_and_positive(phi, rule):
    result = solve(phi, inputs(4), rule=rule, points=2**12)
    forward, backward, cross, tangent = (matrix(result, name) for name in COVARIANCES)
    joint = np.block([[forward, cross], [cross.T, backward]])
    for covariance in (joint, tangent):
        assert_close(covariance, covariance.T, 1e-12)
        assert np.linalg.eigvalsh(covariance)[0] > -1e-11 * np.trace(covariance)
    for name in COVARIANCES[:3]:
        array = result[f"{name}_covariance"].values
        assert_close(array, array.swapaxes(2, 3), 1e-13)
        assert_close(array, array.swapaxes(4, 5), 1e-13)
    array = result["ntk_covariance"].values
    symmetric = np.max(np.abs(array - array.swapaxes(0, 1))) < 1e-12
    assert symmetric == (rule == "gd")


@pytest.mark.parametrize("phi", ["relu", "tanh", "gated"])
def test_copies_of_a_sample_share_its_deviations(phi):
    x = inputs(2)
    plain, doubled = solve(phi, x), solve(phi, x[[0, 1, 0]], y=np.array([-1, 1.5, -1]))
    for name in COVARIANCES:
        key = f"{name}_covariance"
        for index in ([0, 1], [2, 1]):
            found = doubled[key].isel({dim: index for dim in ("sample", "sample2", "sample3", "sample4")})
            assert_close(found.values, plain[key].values, 1e-11)


def test_nearly_equal_and_zero_inputs():
    """A kinked ϕ has responses that diverge at θ → 0; covariances do not."""
    x = inputs(2)
    plain = solve("relu", x)
    near = solve("relu", np.concatenate([x, x[:1] + 1e-4 * x[1:] @ np.diag([1, -1, 1, -1])]))
    zero = solve("tanh", np.concatenate([inputs(2), np.zeros((1, 4))]))
    for name in COVARIANCES:
        key = f"{name}_covariance"
        keep = {dim: [2, 1] for dim in ("sample", "sample2", "sample3", "sample4")}
        scale = max(float(np.max(np.abs(plain[key]))), 1e-12)
        assert float(np.max(np.abs(near[key].isel(keep).values - plain[key].values))) < 3e-3 * scale
        assert bool(np.isfinite(zero[key]).all())
    assert float(np.max(np.abs(zero["feature_kernel_covariance"].isel(sample=2)))) == 0


def test_order_of_samples_does_not_matter():
    x, order = inputs(3), [2, 0, 1]
    plain, moved = solve("tanh", x, points=2**14), solve("tanh", x[order], y=np.linspace(-1, 1.5, 3)[order])
    keep = dict.fromkeys(("sample", "sample2", "sample3", "sample4"), order)
    for name in COVARIANCES:
        key = f"{name}_covariance"
        expected = plain[key].isel(keep).values
        assert np.max(np.abs(moved[key].values - expected)) < 3e-3 * np.max(np.abs(expected))


# --- rules and options


def test_full_correlation_is_gradient_descent():
    x = inputs(2)
    aligned, gradient = solve("tanh", x, rule="fa-1"), solve("tanh", x)
    for name in COVARIANCES:
        assert_close(matrix(aligned, name), matrix(gradient, name), 1e-12)


def test_rules_change_the_tangent_kernel_alone():
    x = inputs(2)
    results = {rule: solve("relu", x, rule=rule) for rule in RULES}
    for result in results.values():
        for name in COVARIANCES[:3]:
            assert_close(matrix(result, name), matrix(results["gd"], name), 1e-14)
    tangents = {rule: matrix(result, "ntk") for rule, result in results.items()}
    for first, second in itertools.combinations(RULES, 2):
        alike = np.max(np.abs(tangents[first] - tangents[second])) < 1e-9 * np.max(tangents["gd"])
        assert alike == ({first, second} == {"gd", "fa-1"})


@pytest.mark.parametrize("phi", ["relu", "gated", "linear"])
@pytest.mark.parametrize("rule", RULES)
def test_mean_tangent_kernel(phi, rule):
    """The paper's Table 2: Σ_ℓ ρ^{L−ℓ} G^{ℓ+1} Φ^ℓ."""
    x = inputs(2)
    result = solve(phi, x, 2, rule=rule)
    rho = {"gd": 1.0, "fa-0": 0.0, "fa-half": 0.5, "fa-1": 1.0, "dfa": 0.0, "hebb": 0.0}[rule]
    features = [x @ x.T / 4, *result["feature_kernel"].values]
    gradients = [*result["gradient_kernel"].values, np.ones((2, 2))]
    tangent = sum(rho ** (2 - m) * gradients[m] * features[m] for m in range(3))
    assert_close(result["ntk"].values, tangent, 1e-12)


def test_width_divides():
    x = inputs(2)
    for name in COVARIANCES:
        assert_close(matrix(solve("relu", x, width=20), name) * 20, matrix(solve("relu", x), name), 1e-13)


def test_several_outputs_give_one_block():
    x = inputs(2)
    several, one = solve("tanh", x, y=np.ones((2, 3))), solve("tanh", x)
    for name in COVARIANCES:
        assert_close(matrix(several, name), matrix(one, name), 1e-14)
    assert several["ntk"].dims == ("sample", "sample2", "output_unit", "output_unit2")
    assert_close(several["ntk"].values, one["ntk"].values[..., None, None] * np.eye(3), 1e-14)


def test_hebbian_error_powers():
    """K − Φ^L scales with Δ^{p−1}."""
    x, y = inputs(2), np.array([2.0, 2.0])
    feature = matrix(solve("relu", x, 2), "feature_kernel")[4:, 4:]
    task = wl.Task(x, y)
    excess = {}
    for power in (0, 1, 2):
        result = fluctuations(wl.MLP(2, wl.ReLU()), task, wl.Hebbian(power), width=1, progress=False)
        excess[power] = matrix(result, "ntk") - feature
    assert_close(excess[2], 4 * excess[1], 1e-12)
    assert_close(excess[0], excess[1] / 4, 1e-12)


class Cubic(Nonlinearity):
    """A nonlinearity from outside the library."""

    def value(self, h):
        return h + 0.1 * h**3

    def derivative(self, h):
        return 1 + 0.3 * h**2


def test_user_written_nonlinearity():
    """⟨ϕ⁴⟩ of a polynomial, from the moments 1, 3, 15, … of a Gaussian."""
    moment = lambda n: math.prod(range(n - 1, 0, -2))  # noqa: E731
    polynomial = np.polynomial.Polynomial([0, 1, 0, 0.1])
    mean = lambda p: sum(c * moment(n) for n, c in enumerate(p.coef) if n % 2 == 0)  # noqa: E731
    expected = mean(polynomial**4) - mean(polynomial**2) ** 2
    found = matrix(solve(Cubic(), np.ones((1, 1)), 1), "feature_kernel")
    assert_close(found, np.array([[expected]]), 1e-12)


class Frozen(Nonlinearity):
    """A gate from outside the library."""

    def value(self, h):
        raise NotImplementedError

    def derivative(self, h):
        raise NotImplementedError

    @property
    def gated(self):
        return True

    def gate(self, m):
        return jnp.where(m > 0, jnp.sqrt(2.0), 0.0)


def test_user_written_gate():
    x = inputs(2)
    own, known = solve(Frozen(), x), solve("gated", x)
    for name in COVARIANCES:
        assert_close(matrix(own, name), matrix(known, name), 1e-12)


# --- exact and scalar formulas


def test_exact_relu_law():
    """At small widths, where leading order is far off: second moments of Φ and G over random networks.

    A layer whose neurons are all inactive, with probability 2^{−N}, ends G below it; `relu_variance` leaves that out.
    """
    layers, width = 3, 6
    features, gradients, _ = networks("relu", np.ones((1, 1)), layers, width, 40000, seed=2)
    features, gradients = features.reshape(-1, layers), gradients.reshape(-1, layers)
    for layer in range(1, layers + 1):
        expected = relu_variance(layer, width)
        assert expected == pytest.approx((1 + 5 / width) ** layer - 1, rel=1e-14)
        assert_agree_statistically((features[:, layer - 1] - 1) ** 2, np.array(expected), 0.05)
        alive = (1 - 2.0**-width) ** (layer - 1)
        second = alive * (1 + relu_variance(layers + 1 - layer, width))
        assert_agree_statistically(gradients[:, layer - 1], np.array(alive), 0.02)
        assert_agree_statistically(gradients[:, layer - 1] ** 2, np.array(second), 0.05)
    leading = 5 * layers / width
    assert relu_variance(layers, width) > 1.5 * leading


def test_leading_order_of_the_exact_relu_law():
    layers = 5
    for width, tolerance in ((10**3, 0.02), (10**6, 2e-5)):
        result = matrix(solve("relu", np.ones((1, 1)), layers, width=width), "feature_kernel")
        exact = [relu_variance(layer, width) for layer in range(1, layers + 1)]
        assert np.max(np.abs(np.diag(result) / exact - 1)) < tolerance


# --- the result, and bad input


def test_result_follows_the_schema():
    result = solve("tanh", inputs(2), 2, width=30)
    layers = ("layer", "layer2")
    samples = ("sample", "sample2", "sample3", "sample4")
    for name in COVARIANCES:
        assert result[f"{name}_covariance"].dims == (samples if name == "ntk" else layers + samples)
    assert result["feature_kernel"].dims == ("layer", "sample", "sample2")
    assert result["ntk"].dims == ("sample", "sample2")
    assert result["layer2"].values.tolist() == [1, 2]
    assert np.all(result["output"] == 0)
    configuration = wl.results.configuration(result)
    assert (configuration["solver"], configuration["width"], configuration["points"]) == (
        "theory.fluctuations",
        30,
        2**16,
    )


def test_result_can_be_saved(tmp_path):
    task = wl.Task(inputs(2), np.ones((2, 2)), inputs(3), np.ones((3, 2)))
    result = fluctuations(wl.MLP(2, wl.ReLU()), task, wl.FeedbackAlignment(0.5), width=np.int64(10))
    loaded = wl.results.load(wl.results.save(result, tmp_path / "fluctuations.nc"))
    assert loaded.equals(result)


BAD = [
    ({"width": 0}, "width must be a whole number at least 1"),
    ({"width": math.inf}, "width must be a whole number"),
    ({"points": 10}, "points must be a whole number at least 256"),
    ({"seed": -1}, "seed must be"),
    ({"net": wl.MLP}, "net must be an instance"),
    ({"task": np.ones((2, 2))}, "task must be a Task"),
    ({"rule": wl.Hebbian}, "rule must be an instance"),
    ({"rule": wl.Hebbian(), "task": wl.Task(np.ones((2, 2)), np.ones((2, 2)))}, "one of them at a time"),
    ({"rule": wl.Hebbian(0), "task": wl.Task(np.ones((2, 2)), np.array([1.0, 0.0]))}, "sample 1 is already met"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_input(options, message):
    given = {"net": wl.MLP(2, wl.ReLU()), "task": wl.Task(inputs(2), np.ones(2)), "width": 10, **options}
    with pytest.raises(wl.ArgumentError, match=message):
        fluctuations(**given)


class OwnRule(wl.Rule):
    def pseudo_gradient(self, view, layer, above):
        return view.features[layer]


def test_a_rule_that_is_not_covered():
    with pytest.raises(wl.ArgumentError, match=r"fluctuations covers GradientDescent.*got OwnRule"):
        fluctuations(wl.MLP(2, wl.ReLU()), wl.Task(inputs(2), np.ones(2)), OwnRule(), width=10)


def test_covariances_that_do_not_fit_are_refused():
    task = wl.Task(np.random.default_rng(0).normal(size=(600, 3)), np.ones(600))
    with pytest.raises(wl.ArgumentError, match=r"600 samples in 4 layers need about .* GiB"):
        fluctuations(wl.MLP(4, wl.Linear()), task, width=10)


@pytest.mark.parametrize("arguments", [(0, 10), (1, 0), (1.5, 10)])
def test_bad_input_of_relu_variance(arguments):
    with pytest.raises(wl.ArgumentError):
        relu_variance(*arguments)


def test_batches_are_no_larger_than_the_task():
    task = wl.datasets.sphere(3, 4)
    with pytest.raises(wl.ArgumentError, match=r"batches\.size"):
        wl.theory.two_layer_fluctuations(
            wl.MLP(1, wl.Linear()), task, optimizer=wl.SGD(0.1), steps=2, batches=wl.Batches(7)
        )
