"""Numbers as they are printed everywhere."""

import math

import pytest

from widelimit import formatting


@pytest.mark.parametrize(
    ("value", "text"), [(0.123456, "0.1235"), (3.0, "3"), (math.nan, "–"), (math.inf, "∞"), (-math.inf, "−∞")]
)
def test_a_number(value, text):
    assert formatting.number(value) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (1.5, 0.5, "1.50 ± 0.50"),
        (123456.0, 0.5, "123456 ± 5e-01"),
        (2e-5, 1e-6, "2.00e-05 ± 1e-06"),
        (1.0, math.nan, "1"),
        (math.nan, 1.0, "none finite"),
    ],
)
def test_a_number_with_its_error(value, error, text):
    assert formatting.with_error(value, error) == text


@pytest.mark.parametrize(
    ("count", "text"), [(12, "12 B"), (2048, "2.0 KiB"), (3 * 2**20, "3.0 MiB"), (1.5e15, "1396983.9 GiB")]
)
def test_memory(count, text):
    assert formatting.memory(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (119.0, "119.0 s"),
        (150.0, "2.5 min"),
        (1800.0, "30 min"),
        (9000.0, "2.5 h"),
        (8.1e6, "94 days"),
    ],
)
def test_durations(seconds, text):
    assert formatting.duration(seconds) == text
