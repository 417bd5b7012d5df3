"""Which networks a solver covers."""

from __future__ import annotations

from typing import Any

from .. import checks
from ..checks import ArgumentError
from ..networks import MLP, Architecture


def fully_connected(net: Any, solver: str, nonlinearity: str = "Tanh") -> None:
    """Raise unless `net` is a fully connected network without residual connections."""
    checks.instance(
        "net", net, Architecture, f"widelimit.MLP(hidden_layers=3, nonlinearity=widelimit.{nonlinearity}())"
    )
    if not isinstance(net, MLP) or net.residual:
        kind = "MLP with residual connections" if isinstance(net, MLP) else type(net).__name__
        raise ArgumentError(
            f"net: {solver} covers fully connected networks without residual connections; got {kind}. "
            "train(..., width=math.inf) runs any network, and theory.lazy has its kernels at initialisation."
        )
