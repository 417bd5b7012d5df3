"""The bookkeeping of deferred weights, by the second moments that it promises."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import small_task

import widelimit as wl
from widelimit.networks import Filter, Pointwise
from widelimit.precision import at_precision
from widelimit.weights import PARTICLES, Infinite, Rows, Truncation, Usage, deferred
from widelimit.weights.basis import Basis
from widelimit.weights.population import OrthogonalisedPopulation, RotatedPopulation

SIZE, ROWS = 400, 4


@pytest.fixture(autouse=True)
def double_precision():
    with at_precision("float64"):
        yield


def empty_basis(load, capacity, field=None):
    many_rows = field is not None
    source, sink = (
        OrthogonalisedPopulation(SIZE, "float64", np.random.default_rng(seed), many_rows) for seed in (0, 1)
    )
    return Basis.empty(source, sink, load, Truncation(capacity, 0.1, ROWS), field or Pointwise())


def vectors(rows, seed):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(rows, SIZE)))


def inner(a, b):
    return np.asarray(a @ b.T) / SIZE


@pytest.mark.parametrize("capacity", [2, 4, 50])
def test_noise_has_the_covariance_of_what_is_sent(capacity):
    """Whatever the capacity, and for two sends in one step taken together."""
    first, second = vectors(ROWS, 2), vectors(ROWS, 3)
    basis = empty_basis(2 * ROWS, capacity)
    coordinates, basis = basis.extend(first, Rows.all())
    answer = basis.noise_of(coordinates)
    coordinates, basis = basis.extend(second, Rows(ROWS))
    answers = np.concatenate([answer, basis.noise_of(coordinates)])
    sent = np.concatenate([first, second])
    assert np.allclose(inner(answers, answers), inner(sent, sent), atol=1e-12)
    assert np.allclose(np.asarray(basis.compose(coordinates)), second, atol=1e-12)


def test_a_minibatch_takes_the_rows_that_it_would_take_among_all():
    """And leaves those of absent vectors empty; what passed earlier in the step is still recognised."""
    basis = empty_basis(2 * ROWS, 1)
    batch = jnp.asarray([3, 0, 2])
    sent = vectors(ROWS, 2)
    first, basis = basis.extend(sent[batch], Rows(places=batch))
    assert np.flatnonzero(np.any(basis.passing, axis=1)).tolist() == [0, 2, 3]
    again, basis = basis.extend(sent[batch], Rows(len(batch), ROWS + batch))
    assert np.flatnonzero(np.any(basis.passing, axis=1)).tolist() == [0, 2, 3]
    assert np.allclose(basis.noise_of(again), basis.noise_of(first), atol=1e-12)


def test_what_is_scattered_has_the_right_power_and_the_noise_of_its_row():
    field = Filter((ROWS,), (3,), scale=3**-0.5)
    basis, sent = empty_basis(2 * ROWS, 2, field), vectors(2 * ROWS, 2)
    coordinates, full = basis.extend(sent, Rows.all())
    assert int(full.filled) == 1  # half of the capacity is left to later steps
    missing = np.mean(np.square(sent - full.compose(coordinates)), axis=1)
    power = np.asarray(field.gather(missing[:, None])).sum(axis=1) * 3**-0.5
    assert np.allclose(np.mean(np.square(coordinates.scattered), axis=1), power)
    assert np.allclose(full.dropped, missing.mean() / np.mean(np.square(sent)))
    batch = jnp.arange(ROWS, 2 * ROWS)
    alone, _ = full.extend(sent[batch], Rows(places=batch))
    unit = [noise / np.linalg.norm(noise, axis=1, keepdims=True) for noise in (alone.scattered, coordinates.scattered)]
    assert np.allclose(unit[0], unit[1][batch])


@pytest.mark.parametrize(
    "field",
    [
        Pointwise(2),
        Filter((ROWS,), (3,), scale=3**-0.5),
        Filter((2, 2), (3, 3), circular=True),
        Filter((ROWS,), (3,), shared=False),
    ],
    ids=["pointwise", "filter", "two dimensions", "locally connected"],
)
def test_what_an_update_loses_is_its_power_outside_the_basis(field, monkeypatch):
    """Σ_b |Σ_a post_a r_{a+b}ᵀ|² from the Gram matrices of all rows, which the tangent kernel is made of as well."""
    monkeypatch.setattr(deferred, "_TRIED", 4000)
    many = field.matrices > 1
    below, above = (OrthogonalisedPopulation(SIZE, "float64", np.random.default_rng(seed), many) for seed in (0, 1))
    features, post = vectors(2 * ROWS, 2), vectors(2 * ROWS, 3) + vectors(1, 4)
    weights = Infinite(SIZE, capacity=5, tolerance=0.01, growth=5).weights(
        below, above, Usage(forward=len(features), backward=0), field
    )
    coordinates, weights = weights.encode(features, Rows.all())
    kept = coordinates @ weights.sent_up.lasting
    pairs = inner(post, post)
    lost, whole = (
        float(np.vdot(pairs, field.patch_kernel(jnp.asarray(inner(rows, rows)))) / field.scale**2)
        for rows in (features - kept, features)
    )
    found = np.asarray(weights.unlearned(post, features, coordinates)) / (field.scale**2 if many else 1)
    assert found == pytest.approx([lost, whole], rel=0.1 if many else 1e-10)
    assert 0.1 < lost / whole < 0.9


def test_a_basis_is_orthonormal_and_full_bases_stay():
    basis = empty_basis(ROWS, 6)
    for seed in range(5):
        _, basis = basis.extend(vectors(ROWS, seed), Rows.all())
    rows = np.concatenate([basis.lasting, basis.passing])
    assert int(basis.filled) == 6
    assert np.allclose(inner(rows, rows), np.eye(len(rows)), atol=1e-12)


def test_nothing_sent_drops_nothing():
    basis = empty_basis(ROWS, 6)
    _, basis = basis.extend(jnp.zeros((ROWS, SIZE)), Rows.all())
    assert int(basis.filled) == 0
    assert float(basis.dropped) == 0


@pytest.mark.parametrize(("precision", "rounding"), [("float64", 1e-12), ("float32", 2e-6)])
@pytest.mark.parametrize("kind", [OrthogonalisedPopulation, RotatedPopulation])
def test_rows_are_matched_as_long_as_they_fit(kind, precision, rounding):
    population = kind(SIZE, precision, np.random.default_rng(0))
    features = np.maximum(np.asarray(population.draw(10)), 0)
    population.avoid(len(features), lambda: features)
    drawn = np.asarray(population.draw(150))
    assert drawn.dtype == precision
    assert np.allclose(inner(drawn, drawn), np.eye(150), atol=rounding)
    assert np.allclose(inner(drawn, features), 0, atol=rounding)
    assert np.allclose(drawn.mean(axis=1), 0, atol=rounding)
    spare = np.asarray(population.spare(60))
    assert np.allclose((spare**2).mean(axis=1), 1)
    assert np.allclose(inner(spare, drawn), 0, atol=rounding)


@pytest.mark.parametrize("kind", [OrthogonalisedPopulation, RotatedPopulation])
def test_weak_directions_are_avoided_too(kind):
    """Mixtures of directions that fall from 1 to 1e-8, with equal rows and none: as singular values would have them."""
    population = kind(SIZE, "float64", np.random.default_rng(0))
    random = np.random.default_rng(1)
    strengths = np.logspace(0, -8, 9)
    directions = np.linalg.qr(random.normal(size=(SIZE, 9)))[0].T * np.sqrt(SIZE)
    mixed = np.linalg.qr(random.normal(size=(12, 9)))[0] @ (strengths[:, None] * directions)
    features = np.concatenate([mixed, mixed[:2], np.zeros((1, SIZE))])
    population.avoid(len(features), lambda: features)
    assert population.rows == 9
    parts = inner(np.asarray(population.draw(50)), features)
    assert np.abs(parts).max() < 1e-11
    lost = features - features.mean(axis=1, keepdims=True)
    assert np.linalg.matrix_rank(lost, tol=1e-9 * np.sqrt(SIZE)) == 9


def test_rotated_rows_have_the_moments_of_normal_ones():
    """Beyond the second, which are exact: even ones in standard errors of iid normal numbers."""
    size = 4096
    rows = np.asarray(RotatedPopulation(size, "float64", np.random.default_rng(1)).draw(300))
    of_rows = (
        ("fourth", rows**4, 3, 96),
        ("sixth", rows**6, 15, 10170),
        ("two rows", rows[1:] ** 2 * rows[:-1] ** 2, 1, 8),
    )
    for name, powers, expected, variance in of_rows:
        deviations = (powers.mean(axis=1) - expected) / np.sqrt(variance / size)
        assert abs(deviations.mean()) < 4 / np.sqrt(len(deviations)), name
        assert deviations.std() < 1.2, name
    four = rows[:-3] * rows[1:-2] * rows[2:-1] * rows[3:]
    assert 0.85 < (four.mean(axis=1) * np.sqrt(size)).std() < 1.15
    of_particles = (rows**2).mean(axis=0)
    assert of_particles.std() == pytest.approx(np.sqrt(2 / 300), rel=0.1)


def test_linear_networks_are_exact_with_either_noise():
    """Whose noise is orthogonalised and whose is rotated: only its second moments count, which are exact in both."""
    options = {"optimizer": wl.SGD(0.05), "steps": 4, "replicates": 1, "record": wl.Record(every=4, kernels=("ntk",))}
    few, many = (
        wl.train(wl.MLP(3, wl.Linear()), small_task(), wl.FeedbackAlignment(0.5), width=wl.Infinite(size), **options)
        for size in (500, PARTICLES + 2)
    )
    assert np.allclose(few["ntk"], many["ntk"], rtol=1e-9)


@pytest.mark.parametrize("kind", [OrthogonalisedPopulation, RotatedPopulation])
def test_blank_populations_count_what_real_ones_take(kind):
    rows = []
    for generator in (None, np.random.default_rng(0)):
        population = kind(SIZE, "float64", generator)
        features = np.maximum(np.asarray(population.draw(10)), 0) + vectors(10, 5)
        population.avoid(len(features), lambda features=features: features)
        population.draw(7)
        rows.append(population.rows)
    assert rows[0] == rows[1] == 27
