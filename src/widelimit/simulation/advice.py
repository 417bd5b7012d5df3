"""What would make a run fit in memory: changes of single arguments, each checked by the estimate that refused it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from .. import formatting
from ..checks import ArgumentError
from ..precision import at_precision
from ..results import Record
from ..weights import Finite, Infinite
from . import planning
from .simulation import Simulation

Change = tuple[str, dict[str, Any]]
"""A change in words, `record.every=20`, and the arguments that it changes."""

_TRIALS = 5  # of each kind of change: an estimate traces a step, which takes some tenths of a second


def memory_of(simulation: Simulation, recorded: int, replicates: int) -> dict[str, float]:
    """The bytes that so many recorded steps of so many replicates need, by what they are for."""
    with at_precision(simulation.precision):
        return planning.memory_parts(
            simulation.program,
            simulation.settings,
            simulation.rule,
            recorded,
            replicates,
            simulation.record.two_time,
        )


def remedies(arguments: Mapping[str, Any], available: float) -> tuple[str, ...]:
    """Changes that make a run of these arguments of `Simulation.of` fit, in words with the memory that each then needs.

    Where no single change does, those that do together.
    """
    parts = _memory(arguments)
    sentences = [_first_that_fits(arguments, changes, available) for changes in _changes(arguments, parts, available)]
    sentences = [sentence for sentence in sentences if sentence]
    if sentences:
        return tuple(sentences)
    bare = {"record": Record(every=max(arguments["steps"], 1), kernels=()), "replicates": 1}
    words = f"record=Record(every={bare['record'].every}, kernels=()) and replicates=1"
    smaller = {**arguments, **bare}
    with_width = (
        (f"{words} and {name}", bare | change) for name, change in _widths(smaller, _memory(smaller), available)
    )
    together = _first_that_fits(arguments, with_width, available)
    if together:
        return (together,)
    networks = _first_that_fits(arguments, _networks(arguments), available)
    return (f"{networks[:-1]}; of two widths, extrapolate in 1/N to the same limit.",) if networks else ()


def _memory(arguments: Mapping[str, Any]) -> dict[str, float]:
    simulation, replicates = Simulation.of(**arguments), arguments["replicates"]
    return memory_of(simulation, simulation.steps // simulation.record.every + 1, replicates)


def _first_that_fits(arguments: Mapping[str, Any], changes: Iterator[Change], available: float) -> str | None:
    for words, change in (pair for pair, _ in zip(changes, range(_TRIALS), strict=False)):
        try:
            needed = sum(_memory({**arguments, **change}).values())
        except ArgumentError:  # too few particles for the task, say
            continue
        if needed <= available:
            return f"{words} needs {formatting.memory(needed)}."
    return None


def _changes(arguments: Mapping[str, Any], parts: Mapping[str, float], available: float) -> Iterator[Iterator[Change]]:
    """Changes of each kind, the mildest that could do first."""
    network, *others = parts.values()
    room, taken = available - network, sum(others)
    if room > 0 and taken > 0:
        share = room / taken
        yield _every(arguments, share)
        yield _kernels(arguments)
        yield _samples(arguments, share)
        yield _replicates(arguments, share)
    yield _widths(arguments, parts, available)
    if arguments["precision"] == "float64":
        yield iter([('precision="float32"', {"precision": "float32"})])


def _every(arguments: Mapping[str, Any], share: float) -> Iterator[Change]:
    record, steps = arguments["record"] or Record(), arguments["steps"]
    # Two-time kernels grow with the square of the recorded steps, so that this may be more than is needed.
    least = max(record.every / share, record.every + 1)
    for exponent in range(len(str(steps)) + 1):
        for leading in (1, 2, 5):
            every = leading * 10**exponent
            if least <= every <= steps:
                yield f"record.every={every}", {"record": dataclasses.replace(record, every=every)}


def _kernels(arguments: Mapping[str, Any]) -> Iterator[Change]:
    record = arguments["record"] or Record()
    for kernels in (("feature_kernel", "ntk"), ("ntk",), ()):
        if record.kernels is None or set(kernels) < set(record.kernels):
            yield f"record.kernels={kernels}", {"record": dataclasses.replace(record, kernels=kernels)}


def _samples(arguments: Mapping[str, Any], share: float) -> Iterator[Change]:
    record = arguments["record"] or Record()
    samples = range(arguments["task"].samples) if record.samples is None else record.samples
    count = _rounded(len(samples) * math.sqrt(share))
    while 1 <= count < len(samples):
        chosen = tuple(samples[:count])
        words = f"range({count})" if chosen == tuple(range(count)) else str(chosen)
        yield f"record.samples={words}", {"record": dataclasses.replace(record, samples=chosen)}
        count = _rounded(count * 0.7)


def _replicates(arguments: Mapping[str, Any], share: float) -> Iterator[Change]:
    count = min(int(arguments["replicates"] * share), arguments["replicates"] - 1)
    while count >= 1:
        yield f"replicates={count}", {"replicates": count}
        count = _rounded(count * 0.7)


def _widths(arguments: Mapping[str, Any], parts: Mapping[str, float], available: float) -> Iterator[Change]:
    kept = parts["what is recorded"]
    width, room = planning.as_width(arguments["width"]), available - kept
    if room <= 0:
        return
    needed, largest = sum(parts.values()) - kept, Simulation.of(**arguments).width.size
    power = 1 if isinstance(width, Infinite) else 0.5
    size = _rounded(largest * min((room / needed) ** power, 0.99))
    while size >= 1:
        if isinstance(width, Infinite):
            yield f"width.particles={size}", {"width": dataclasses.replace(width, particles=size)}
        else:
            yield f"width.neurons={size}", {"width": Finite(size)}
        size = _rounded(size * 0.7)


def _networks(arguments: Mapping[str, Any]) -> Iterator[Change]:
    """Finite widths in the place of the infinite one."""
    if isinstance(planning.as_width(arguments["width"]), Infinite):
        yield from ((f"width={neurons}", {"width": Finite(neurons)}) for neurons in (1000, 500, 200, 100))


def _rounded(number: float) -> int:
    """The next smaller number of two digits."""
    whole = int(number)
    unit = 10 ** max(len(str(whole)) - 2, 0)
    return whole // unit * unit
