"""A representative part of the agreement grid: infinite width against finite networks extrapolated in 1/N."""

import importlib.util
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("agreement", Path(__file__).parents[1] / "benchmarks" / "agreement.py")
agreement = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(agreement)

CELLS = [
    ("gradient descent", "relu", 2, 2.0),  # where the responses' delta function is 3 % of K
    pytest.param("feedback alignment, ρ = 0", "gated", 3, 2.0, marks=pytest.mark.slow),
    pytest.param("feedback alignment, ρ = ½", "tanh", 3, 2.0, marks=pytest.mark.slow),
    pytest.param("direct feedback alignment", "erf", 2, 2.0, marks=pytest.mark.slow),
    pytest.param("Hebbian", "tanh", 2, 0.3, marks=pytest.mark.slow),
    pytest.param("gradient descent", "gated", 2, 0.3, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("rule", "nonlinearity", "depth", "richness"), CELLS, ids=str)
def test_infinite_width_is_what_finite_networks_extrapolate_to(rule, nonlinearity, depth, richness):
    """Every quantity's amplitude within 3 standard errors of both, which are small enough to tell a few per cent."""
    found = agreement.cell(agreement.RULES[rule], agreement.NONLINEARITIES[nonlinearity], depth, richness)
    hold(found)


@pytest.mark.parametrize(
    ("rule", "nonlinearity", "depth", "architecture"),
    [
        pytest.param("feedback alignment, ρ = ½", "tanh", 3, "1-D", marks=pytest.mark.slow),
        pytest.param("gradient descent", "gated", 2, "1-D", marks=pytest.mark.slow),
        pytest.param("direct feedback alignment", "tanh", 3, "residual", marks=pytest.mark.slow),
        *(pytest.param(*cell, marks=pytest.mark.slow) for cell in agreement.architecture_cells() if cell[3] == "2-D"),
    ],
    ids=str,
)
def test_other_architectures_agree_as_well(rule, nonlinearity, depth, architecture):
    hold(
        agreement.architecture_cell(agreement.RULES[rule], agreement.NONLINEARITIES[nonlinearity], depth, architecture)
    )


def hold(found):
    """Every quantity is right within its errors, and they are small enough to tell.

    The entries of one quantity fluctuate together, so that an amplitude which is z off by chance makes their rms up to
    |z|: beyond 2 they may be off by no more than that.
    """
    assert found["K"]["error"] < 0.03
    assert found["f"]["error"] < 0.03
    for name, quantity in found.items():
        assert abs(quantity["z"]) < 3, (name, quantity)
        assert quantity["rms_z"] < max(2, abs(quantity["z"])), (name, quantity)
