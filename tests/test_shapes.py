"""Shapes in signatures are enforced while these tests run."""

import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError

from widelimit.networks import Filter
from widelimit.simulation import kernels
from widelimit.weights import overlap


def test_arrays_of_the_wrong_shape_are_refused():
    with pytest.raises(TypeCheckError):
        overlap(jnp.zeros((3, 5)), jnp.zeros((2, 4)))  # other neurons on either side
    with pytest.raises(TypeCheckError):
        kernels.blocks(jnp.zeros((3, 5)), jnp.zeros((3, 5)))  # no dimension for outputs
    assert overlap(jnp.zeros((3, 5)), jnp.zeros((2, 5))).shape == (3, 2)


def test_a_convolution_has_other_rows_above_than_below():
    patches = Filter((4,), (3,)).gather(jnp.ones((8, 2)))
    assert patches.shape == (8, 6)
