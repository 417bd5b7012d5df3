"""The bookkeeping of deferred weights, by the second moments that it promises."""

import numpy as np
import pytest

from widelimit.networks.receptive_field import Pointwise
from widelimit.precision import at_precision
from widelimit.weights.basis import Revealed, Truncation
from widelimit.weights.population import MatchedPopulation

SIZE, ROWS = 400, 4


@pytest.fixture(autouse=True)
def double_precision():
    with at_precision("float64"):
        yield


def revealed(load, capacity):
    source, sink = (MatchedPopulation(SIZE, "float64", np.random.default_rng(seed)) for seed in (0, 1))
    return Revealed.nothing(source, sink, load, Truncation(capacity, 0.1, ROWS), Pointwise())


def vectors(rows, seed):
    return np.random.default_rng(seed).normal(size=(rows, SIZE))


def inner(a, b):
    return np.asarray(a @ b.T) / SIZE


@pytest.mark.parametrize("capacity", [2, 4, 50])
def test_noise_has_the_covariance_of_what_is_sent(capacity):
    """Whatever the capacity, and for two sends in one step taken together."""
    first, second = vectors(ROWS, 2), vectors(ROWS, 3)
    state = revealed(2 * ROWS, capacity)
    code, state = state.extend(first)
    answer = state.noise_of(code)
    code, state = state.extend(second, ROWS)
    answers = np.concatenate([answer, state.noise_of(code)])
    sent = np.concatenate([first, second])
    assert np.allclose(inner(answers, answers), inner(sent, sent), atol=1e-12)
    assert np.allclose(np.asarray(state.compose(code)), second, atol=1e-12)


def test_a_basis_is_orthonormal_and_full_bases_stay():
    state = revealed(ROWS, 6)
    for seed in range(5):
        _, state = state.extend(vectors(ROWS, seed))
    basis = np.concatenate([state.basis, state.passing_basis])
    assert int(state.filled) == 6
    assert np.allclose(inner(basis, basis), np.eye(len(basis)), atol=1e-12)


def test_nothing_sent_drops_nothing():
    state = revealed(ROWS, 6)
    _, state = state.extend(np.zeros((ROWS, SIZE)))
    assert int(state.filled) == 0
    assert float(state.dropped) == 0


def test_rows_are_matched_as_long_as_they_fit():
    population = MatchedPopulation(SIZE, "float64", np.random.default_rng(0))
    features = np.maximum(np.asarray(population.draw(10)), 0)
    population.avoid(lambda: features)
    drawn = np.asarray(population.draw(150))
    assert np.allclose(inner(drawn, drawn), np.eye(150), atol=1e-12)
    assert np.allclose(inner(drawn, features), 0, atol=1e-12)
    spare = np.asarray(population.spare(60))
    assert np.allclose((spare**2).mean(axis=1), 1)
    assert np.allclose(inner(spare, drawn), 0, atol=1e-12)


def test_blank_populations_count_what_real_ones_take():
    rows = []
    for generator in (None, np.random.default_rng(0)):
        population = MatchedPopulation(SIZE, "float64", generator)
        features = np.maximum(np.asarray(population.draw(10)), 0) + vectors(10, 5)
        population.avoid(lambda features=features: features)
        population.draw(7)
        rows.append(population.rows)
    assert rows[0] == rows[1] == 27
