"""Numbers as text, written alike wherever they are printed: values, values with their errors, memory, durations."""

from __future__ import annotations

import math


def number(value: float, digits: int = 4) -> str:
    """A number with so many significant digits; "–" where it is unknown (NaN)."""
    if math.isnan(value):
        return "–"
    return f"{value:.{digits}g}" if math.isfinite(value) else "∞" if value > 0 else "−∞"


def with_error(value: float, error: float) -> str:
    """A number ± its standard error, with the digits that the error leaves meaningful."""
    if not math.isfinite(value):
        return "none finite"
    if not math.isfinite(error):
        return number(value)
    if error == 0:
        return f"{number(value)} ± 0"
    if error < 1e-5 * abs(value):
        return f"{number(value, 6)} ± {error:.0e}"
    if max(abs(value), error) < 1e-4:
        return f"{value:.2e} ± {error:.0e}"
    # Two digits of the error, and never more than six of the value.
    decimals = min(1 - math.floor(math.log10(error)), 5 - math.floor(math.log10(max(abs(value), error))))
    decimals = max(decimals, 0)
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"


def memory(count: float) -> str:
    """A number of bytes: "3.2 GiB"."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"


def duration(seconds: float) -> str:
    """A time: "1.5 s", "12 min", "3.1 h", "94 days"."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}" if seconds >= 10 * size else f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
