"""The labelled result that every way of computing a run returns: its schema, its file, its configuration."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .checks import ArgumentError

SCHEMA = 1

_BLOCKS_BY_POSITION = (
    "replicate",
    "step",
    "layer",
    "sample",
    "position",
    "sample2",
    "position2",
    "unit",
    "unit2",
)

# A unit is one of the C outputs. A task with targets (P,) has no unit dimensions at all, and a fully connected network
# none for positions.
DIMENSIONS: dict[str, tuple[str, ...]] = {
    "output": ("replicate", "step", "sample", "unit"),
    "error": ("replicate", "step", "sample", "unit"),
    "loss": ("replicate", "step"),
    "test_output": ("replicate", "step", "test_sample", "unit"),
    "test_loss": ("replicate", "step"),
    "feature_kernel": ("replicate", "step", "layer", "sample", "sample2"),
    "gradient_kernel": ("replicate", "step", "layer", "sample", "sample2", "unit", "unit2"),
    "pseudo_gradient_kernel": ("replicate", "step", "layer", "sample", "sample2", "unit", "unit2"),
    "pseudo_gradient_norm": ("replicate", "step", "layer", "sample", "unit"),
    "ntk": ("replicate", "step", "sample", "sample2", "unit", "unit2"),
    "feature_kernel_two_time": ("replicate", "layer", "step", "step2", "sample", "sample2"),
    "pseudo_gradient_kernel_two_time": (
        "replicate",
        "layer",
        "step",
        "step2",
        "sample",
        "sample2",
        "unit",
        "unit2",
    ),
    "feature_kernel_positions": ("replicate", "step", "layer", "sample", "position", "sample2", "position2"),
    "gradient_kernel_positions": _BLOCKS_BY_POSITION,
    "pseudo_gradient_kernel_positions": _BLOCKS_BY_POSITION,
    "final_preactivation": ("replicate", "layer", "sample", "position", "neuron"),
    "final_pre_gradient": ("replicate", "layer", "sample", "unit", "position", "neuron"),
    "forward_basis_size": ("replicate", "step", "matrix"),
    "backward_basis_size": ("replicate", "step", "matrix"),
    "forward_dropped_fraction": ("replicate", "step", "matrix"),
    "backward_dropped_fraction": ("replicate", "step", "matrix"),
    "diverged_step": ("replicate",),
    "ntk_term": ("replicate", "step", "weight", "sample", "sample2", "unit", "unit2"),
    "test_ntk": ("replicate", "step", "test_sample", "sample2", "unit", "unit2"),
    "regression_coefficient": ("replicate", "step", "sample", "unit"),
    "gradient_kernel_two_time": ("replicate", "layer", "step", "step2", "sample", "sample2", "unit", "unit2"),
    "pseudo_gradient_covariance_two_time": (
        "replicate",
        "layer",
        "step",
        "step2",
        "sample",
        "sample2",
        "unit",
        "unit2",
    ),
    "response_a": ("replicate", "matrix", "step", "step2", "sample", "sample2", "unit2"),
    "response_b": ("replicate", "matrix", "step", "step2", "sample", "sample2", "unit"),
    "response_c": ("replicate", "matrix", "step", "step2", "sample", "sample2", "unit2"),
    "response_d": ("replicate", "matrix", "step", "step2", "sample", "sample2", "unit"),
    "residual": ("replicate", "sweep"),
    "feature_kernel_covariance": ("layer", "layer2", "sample", "sample2", "sample3", "sample4"),
    "gradient_kernel_covariance": ("layer", "layer2", "sample", "sample2", "sample3", "sample4"),
    "feature_gradient_covariance": ("layer", "layer2", "sample", "sample2", "sample3", "sample4"),
    "ntk_covariance": ("sample", "sample2", "sample3", "sample4"),
    "input_kernel": ("sample", "sample2"),
    "target": ("sample", "unit"),
    "test_target": ("test_sample", "unit"),
}
"""The variables of a result and their dimensions."""

MEANING: dict[str, str] = {
    "output": "f_μ, after subtracting its initial value where the run is centred",
    "error": "error signal Δ = −∂ℓ/∂f",
    "loss": "training loss, summed over samples",
    "test_output": "f at the test points",
    "test_loss": "loss at the test points, summed over them",
    "feature_kernel": "Φ^ℓ = ⟨ϕ(h) ϕ(h)⟩",
    "gradient_kernel": "G^ℓ = ⟨g g⟩",
    "pseudo_gradient_kernel": "G̃^ℓ = ⟨g g̃⟩, not symmetric",
    "pseudo_gradient_norm": "⟨g̃ g̃⟩ of each sample",
    "ntk": "eNTK K = Σ_ℓ G̃^{ℓ+1} Φ^ℓ",
    "feature_kernel_two_time": "Φ^ℓ(t, s)",
    "pseudo_gradient_kernel_two_time": "G̃^ℓ(t, s) = ⟨g(t) g̃(s)⟩",
    "feature_kernel_positions": "Φ^ℓ between positions of a convolutional network",
    "gradient_kernel_positions": "G^ℓ between positions",
    "pseudo_gradient_kernel_positions": "G̃^ℓ between positions",
    "final_preactivation": "h^ℓ of each neuron or particle at the last recorded step",
    "final_pre_gradient": "z^ℓ of each neuron or particle at the last recorded step",
    "forward_basis_size": "directions kept of the features sent through each hidden matrix",
    "backward_basis_size": "directions kept of the gradients sent back through each hidden matrix",
    "forward_dropped_fraction": "share of the features' power outside the kept directions",
    "backward_dropped_fraction": "share of the gradients' power outside the kept directions",
    "diverged_step": "step at which the replicate diverged, -1 if it did not",
    "ntk_term": "G̃^{ℓ+1} Φ^ℓ, what training the weight matrix ℓ = 0..L contributes to K",
    "test_ntk": "K between test points and training samples",
    "regression_coefficient": "α in f = K α, the kernel-regression coefficients of a lazy network",
    "gradient_kernel_two_time": "G^ℓ(t, s) = ⟨g(t) g(s)⟩",
    "pseudo_gradient_covariance_two_time": "G̃̃^ℓ(t, s) = ⟨g̃(t) g̃(s)⟩",
    "response_a": "A^ℓ(t, s) = ⟨∂ϕ(h^ℓ(t))/∂r^ℓ(s)⟩, of one step (no γ0, no dt divided out)",
    "response_b": "B^ℓ(t, s) = ⟨∂g^{ℓ+1}(t)/∂u^{ℓ+1}(s)⟩",
    "response_c": "C^ℓ(t, s) = ⟨∂ϕ(h^ℓ(t))/∂v^ℓ(s)⟩",
    "response_d": "D^ℓ(t, s) = ⟨∂g̃^{ℓ+1}(t)/∂u^{ℓ+1}(s)⟩",
    "residual": "largest relative change of an order parameter in each sweep",
    "feature_kernel_covariance": "Cov(Φ^ℓ_{μν}, Φ^ℓ'_{αβ}) over networks of the given width",
    "gradient_kernel_covariance": "Cov(G^ℓ_{μν}, G^ℓ'_{αβ})",
    "feature_gradient_covariance": "Cov(Φ^ℓ_{μν}, G^ℓ'_{αβ})",
    "ntk_covariance": "Cov(K_{μν}, K_{αβ}), of one output's block",
    "input_kernel": "Φ^0 = x·x'/D",
    "target": "y",
    "test_target": "y at the test points",
}


def assemble(
    variables: Mapping[str, np.ndarray],
    *,
    times: np.ndarray,
    steps: np.ndarray | None = None,
    scalar: bool,
    attributes: dict[str, Any],
) -> xr.Dataset:
    """A result from plain arrays whose axes are those of `DIMENSIONS`; unit axes are dropped for scalar tasks.

    An array may lack the axis `replicate` (it is the same for all: deterministic theory), or `replicate` and `step` (it
    is the same at all times too): subtraction of two results then broadcasts. `steps` is None in continuous time.
    """
    data = {}
    for name, array in variables.items():
        dims = DIMENSIONS[name]
        for shared in ("replicate", "step"):
            if array.ndim < len(dims):
                dims = tuple(dim for dim in dims if dim != shared)
        single = {"unit", "unit2"} if scalar else set()
        single |= {dim for dim, size in zip(dims, array.shape, strict=True) if dim in _POSITIONS and size == 1}
        array = array[tuple(0 if dim in single else slice(None) for dim in dims)]
        dims = tuple(dim for dim in dims if dim not in single)
        data[name] = (dims, array, {"long_name": MEANING[name]})
    dataset = xr.Dataset(data)
    coordinates: dict[str, Any] = {"time": ("step", times, {"long_name": "step × step size"})}
    if steps is not None:
        coordinates["step"] = ("step", steps)
        if "step2" in dataset.sizes:
            coordinates["step2"] = ("step2", steps)
    if "replicate" in dataset.sizes:
        coordinates["replicate"] = ("replicate", np.arange(dataset.sizes["replicate"]))
    for dim, first in _COUNTED_FROM.items():
        if dim in dataset.sizes:
            coordinates[dim] = (dim, np.arange(first, first + dataset.sizes[dim]))
    return dataset.assign_coords(coordinates).assign_attrs(
        {"schema": SCHEMA, "versions": json.dumps(versions()), **attributes}
    )


_POSITIONS = ("position", "position2")
_COUNTED_FROM = {"layer": 1, "layer2": 1, "matrix": 1, "weight": 0}


def expanded(result: xr.Dataset) -> xr.Dataset:
    """The same result with the dimensions `replicate` and `step` wherever the schema has them, as views.

    Deterministic theory has no replicates, and static kernels no steps; whatever wants one shape for all calls this.
    """
    found = {}
    for name, values in result.data_vars.items():
        missing = [
            dim for dim in ("replicate", "step") if dim in DIMENSIONS.get(str(name), ()) and dim not in values.dims
        ]
        values = values.expand_dims({dim: result.sizes.get(dim, 1) for dim in missing})
        order = [dim for dim in DIMENSIONS.get(str(name), ()) if dim in values.dims]
        found[name] = values.transpose(*order, ...).drop_vars([dim for dim in missing if dim in values.coords])
    wide = xr.Dataset(found, attrs=result.attrs).assign_coords(result.coords)
    return (
        wide if "replicate" in wide.coords else wide.assign_coords(replicate=np.arange(wide.sizes.get("replicate", 1)))
    )


def describe(value: Any) -> Any:
    """A description of a run (network, rule, optimiser, ...) as plain JSON data: {"type": name, field: value, ...}."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: describe(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, (bool, str)) or value is None:
        return value
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else str(value)
    if isinstance(value, (list, tuple)):
        return [describe(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    return repr(value)


def versions() -> dict[str, str]:
    """The versions that a result was computed with."""
    found = {}
    for name in ("widelimit", "jax", "numpy", "scipy", "xarray"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found


def save(result: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a result to one NetCDF file, whole or not at all: what was at `path` stays until the new file is complete.

    **Raises:** `FileExistsError` if the file exists and `overwrite` is false; `OSError` if it cannot be written.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another name or pass overwrite=True (--overwrite).")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder {path.parent} does not exist; create it first.")
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    try:
        result.to_netcdf(name, engine="h5netcdf")
        mode = 0o666 & ~_umask()
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path


def load(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read a result written by [`save`].

    **Raises:** `FileNotFoundError`; `ArgumentError` if the file is not a result of this library.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        dataset = xr.load_dataset(path, engine="h5netcdf", phony_dims="sort")
    except (OSError, ValueError) as error:
        raise ArgumentError(f"{path} is not a readable NetCDF file ({error}).") from None
    if "schema" not in dataset.attrs:
        raise ArgumentError(f"{path} is a NetCDF file, but not a run that widelimit wrote: it has no schema attribute.")
    if dataset.attrs["schema"] > SCHEMA:
        raise ArgumentError(f"{path} has schema {dataset.attrs['schema']}, newer than {SCHEMA}; update widelimit.")
    return dataset


def configuration(result: xr.Dataset) -> dict[str, Any]:
    """The configuration that a result was computed from."""
    return json.loads(result.attrs["configuration"])


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
