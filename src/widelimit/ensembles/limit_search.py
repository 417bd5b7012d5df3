"""The search behind `limit`: both ways to it are tried, and the cheaper one goes on until it is accurate enough."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

import xarray as xr

from .. import formatting
from ..checks import ArgumentError
from ..networks import Architecture
from ..problem import Task
from ..progress import progress_bar
from ..simulation import Simulation, initialize, train
from ..weights import Finite, Infinite, Width
from .levels import Level
from .multiplications import multiplications, networks_over_deferred
from .quantities import Quantities
from .routes import Route, extrapolated, single

_NARROW = 100
"""The narrower of the two widths that are tried first, if there are no more samples than that."""

_PARTICLES, _FEWEST = 20.0, 1000
"""The particles that are tried first, times the accuracy: biases of kernels were measured to be a/S with a below 10."""

_FIRST = 4  # runs of deferred weights that are tried first, unless they are long and fewer are accurate enough
_SHORT = 5.0  # seconds of a first run, which compiles

_TOGETHER = 16  # networks in a call
_ROUND = 20.0  # seconds, about, between two looks at what is reached
_BESIDE = (0.5, 0.75, 1.5)
"""The particles beside which the bias of deferred weights is looked for, as shares of theirs, the cheapest first: fewer
may have no room for the basis."""

_FAR_DEARER = 3.0
"""What networks have to take beside deferred weights, by their multiplications, to be tried last, or not at all."""


@dataclasses.dataclass
class Search:
    """The two ways, as far as they have come, and which one is taken."""

    arguments: dict[str, Any]
    quantities: Quantities
    accuracy: float
    budget: float
    seed: int
    bar: Any
    began: float
    simulation: Simulation
    """Of the limit, with what was left open chosen: its particles and capacity, the step size."""
    levels: list[Level] = dataclasses.field(default_factory=list)
    route: Route | None = None
    other: Route | None = None
    why: str = ""
    unseen: bool = False
    """Whether neither fewer nor more particles could be run, so that the bias of deferred weights cannot be seen."""
    stopped: str = ""

    @classmethod
    def of(
        cls,
        arguments: dict[str, Any],
        quantities: Quantities,
        accuracy: float,
        budget: float,
        seed: int,
        progress: bool | None,
    ) -> Search:
        """A search that has not begun; arguments are checked, and what is open in them is chosen."""
        began = time.perf_counter()
        simulation = initialize(**arguments, width=math.inf, seed=seed, progress=progress)
        arguments = arguments | {"optimizer": simulation.optimizer}
        width, fewer = simulation.width, _particles(simulation, accuracy)
        if isinstance(width, Infinite) and fewer < width.size:
            width = dataclasses.replace(width, particles=fewer)
            simulation = initialize(**arguments, width=width, seed=seed, progress=progress)
        bar = progress_bar(progress, total=1.0, desc="limit", bar_format=_BAR)
        return cls(arguments, quantities, accuracy, budget, seed, bar, began, simulation)

    @property
    def names(self) -> list[str]:
        """The quantities."""
        return list(self.quantities.each)

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self.began

    def level(self, width: Width) -> Level:
        """The level of a width, with the runs that it has had."""
        for level in self.levels:
            if level.width == width:
                return level
        many = _TOGETHER if not width.resamples else 4
        together = initialize(**self.arguments, width=width, seed=self.seed).together(many)
        level = Level(width, self._run, self.quantities, together=together, seed=self.seed)
        self.levels.append(level)
        return level

    def _run_at(self, width: Width) -> Level | None:
        """The level of a width with a few more runs; none where there is no room or memory for it."""
        try:
            level = self.level(width)
            level.add(2 if width.resamples else _few(level))
        except ArgumentError:
            self.levels = [each for each in self.levels if each.count]
            return None
        return level

    def _run(self, width: Width, replicates: int, seed: int) -> xr.Dataset:
        return train(**self.arguments, width=width, replicates=replicates, seed=seed, progress=False)

    # --- the pilot

    def pilot(self) -> None:
        """Try both ways on a few replicates, and take the cheaper one; what is far dearer may not be worth a trial."""
        refused = self._no_room()
        ratio = networks_over_deferred(*self._problem, self._first_widths(), self.simulation.width)
        deferred = self._deferred() if ratio > _FAR_DEARER and refused is None else None
        if deferred is not None and not deferred.failed:
            self.route, self.why = deferred, self._networks_are_too_dear(deferred, ratio)
            if self.why:
                return
        networks = self._networks()
        if networks is not None:
            self.route = networks
        if refused is not None:
            if self.route is None:
                raise refused
            self.why = f"Deferred weights, of {self.simulation.width.size} particles, are ruled out. {refused}"
            return
        if deferred is None:
            self.why = self._deferred_is_too_dear(networks)
            if self.why:
                return
            deferred = self._deferred()
        self._choose(networks, deferred)

    def _networks(self) -> Route | None:
        levels = []
        for width in self._first_widths():
            level = self.level(width)
            self._tell(f"networks of {width.size} neurons")
            level.add(_few(level))
            self._fallback(level)
            if level.failed:
                return None
            if level.first_seconds < 0.1 * self.budget:
                level.add(1)  # without what the first call compiled: the pace
            levels.append(level)
        return extrapolated(*levels)

    def _no_room(self) -> ArgumentError | None:
        """The refusal of a run of deferred weights for want of memory; none where there is enough."""
        try:
            self.simulation.check_memory(self.arguments["steps"] // self.simulation.record.every + 1, 2)
        except ArgumentError as refusal:
            return refusal
        return None

    def _first_widths(self) -> tuple[Finite, Finite]:
        narrow = max(_NARROW, self.arguments["task"].samples)
        return Finite(narrow), Finite(2 * narrow)

    def _fallback(self, level: Level) -> None:
        """What there is, should nothing else come of it."""
        if self.route is None and level.count:
            self.route = single(level)

    def _deferred_is_too_dear(self, networks: Route | None) -> str:
        """Why deferred weights are not even tried; empty where they are."""
        if networks is None:
            return ""
        left = networks.seconds_for(self.accuracy, self.names)
        level, width = networks.levels[-1], self.simulation.width
        pilot = 2 * self._predicted_pace(level) + 1.5 * level.compiling
        if pilot > self.budget - self.elapsed:
            return (
                f"A first run of deferred weights, of {width.size} particles, was expected to take about "
                f"{formatting.duration(pilot)}, which is more than the time budget leaves."
            )
        if pilot > max(left, 1.0):
            return (
                f"Two runs of deferred weights, of {width.size} particles, would take about "
                f"{formatting.duration(pilot)}; all networks that are needed, about {formatting.duration(left)}."
            )
        return ""

    def _predicted_pace(self, level: Level) -> float:
        """Seconds of a run of deferred weights by its multiplications, beside those of networks."""
        own, networks = (multiplications(*self._problem, width) for width in (self.simulation.width, level.width))
        return level.pace * own / networks

    @property
    def _problem(self) -> tuple[Architecture, Task]:
        return self.arguments["net"], self.arguments["task"]

    def _networks_are_too_dear(self, deferred: Route, ratio: float) -> str:
        """Why networks are not even tried; empty where they are."""
        left, level = deferred.seconds_for(self.accuracy, self.names), deferred.levels[0]
        runs = sum(2 * _TOGETHER * multiplications(*self._problem, width) for width in self._first_widths())
        pilot = 2 * level.compiling + level.pace * runs / multiplications(*self._problem, level.width)
        if pilot < 0.2 * left:
            return ""
        return (
            f"Networks would take about {ratio:.0f} times as long for the same scatter, by their multiplications, and "
            f"a trial of them about {formatting.duration(pilot)}, where deferred weights are done in "
            f"{formatting.duration(left)}."
        )

    def _deferred(self) -> Route:
        width = self.simulation.width
        level = self.level(width)
        self._tell(f"deferred weights, {width.size} particles")
        level.add(1)
        self._fallback(level)
        if not level.failed and (self.elapsed + level.first_seconds < self.budget or level.count < 2):
            # Short runs are had in one call, which takes some time itself.
            level.add(_FIRST - 1 if level.first_seconds < min(_SHORT, 0.1 * (self.budget - self.elapsed)) else 1)
        while not level.failed and level.count < _FIRST and 2 * level.pace < 0.1 * (self.budget - self.elapsed):
            if level.count > 2 and single(level).error(self.names) <= self.accuracy:
                break  # of two, it cannot be told in how many directions they scatter
            level.add(1)
        return single(level)

    def _choose(self, networks: Route | None, deferred: Route) -> None:
        """Which way is taken, and why."""
        if deferred.failed:
            reason = "diverged" if deferred.levels[0].diverged else "forget too much of what is learned"
            self.why = f"Deferred weights are ruled out: they {reason} ({deferred.failed})"
            if networks is None and deferred.levels[0].count:  # of two that fail, that which is the limit
                self.route = deferred
            return
        if networks is None:
            self.route, self.why = deferred, "Networks diverged."
            return
        if deferred.error(self.names) <= self.accuracy < networks.error(self.names):
            self.route, self.other = deferred, networks
            self.why = "The first runs of deferred weights are as accurate as was asked for."
            return
        seconds = {
            "networks": 1.15 * networks.seconds_for(self.accuracy, self.names) + networks.levels[0].compiling,
            "deferred": 1.15 * deferred.seconds_for(self.accuracy, self.names) + deferred.levels[0].compiling,
        }
        ways = {"networks": networks, "deferred": deferred}
        chosen = min(seconds, key=seconds.__getitem__)
        rest = "deferred" if chosen == "networks" else "networks"
        self.route, self.other = ways[chosen], ways[rest]
        self.why = (
            f"Expected to take {formatting.duration(seconds[chosen])} more; {ways[rest].described()}, "
            f"{formatting.duration(seconds[rest])}."
        )

    # --- as many runs as it takes

    def go_on(self) -> None:
        """Run batches of the route that was taken until the accuracy is reached or the time is up."""
        assert self.route is not None
        while not self.route.failed:
            if self.route.bias is None:
                self._look_for_bias()
            error = self.route.error(self.names)
            self._tell(f"{self.route.described()}: {error:.2%} of {self.accuracy:.2%}", error)
            if error <= self.accuracy:
                return
            nothing = [name for name in self.names if self.route.is_nothing(name)]
            if nothing:
                self.stopped = f"{nothing[0]} cannot be told from zero, of which there is no relative error"
                return
            if not (self._widened() if self._is_biased() else self._round()):
                self.stopped = self.stopped or f"the time budget of {formatting.duration(self.budget)} is used up"
                return

    def _is_biased(self) -> bool:
        assert self.route is not None
        return any(self.route.accuracy(name).counted_bias > 0.7 * self.accuracy for name in self.names)

    def _look_for_bias(self) -> None:
        """Add the level beside which the bias of the route is seen."""
        route = self.route
        assert route is not None
        if self.unseen:
            return
        last = route.levels[0] if len(route.levels) > 1 else route.levels[-1]
        if self.elapsed + last.compiling + 2 * last.pace > self.budget:
            return
        if len(route.levels) > 1:
            narrow, wide = route.levels
            beside = self.level(Finite(max(narrow.size // 2, 2)))
            beside.add(max(narrow.count // 4, 1) - beside.count)
            if not beside.failed and beside.count > 1:
                self.route = extrapolated(narrow, wide, beside)
        elif route.kind == "deferred" and not self.arguments["net"].nonlinearity.linear:
            width = self.simulation.width
            assert isinstance(width, Infinite)
            for share in _BESIDE:
                beside = self._run_at(dataclasses.replace(width, particles=int(share * last.size)))
                if beside is not None and not beside.failed:
                    self.route = single(last, beside)
                    return
            self.unseen = True
            self.why = f"{self.why} Its bias was not looked for: neither fewer nor more particles could be run.".strip()

    def _widened(self) -> bool:
        """Take the route at twice its width, with the runs that there are; whether there was room and time for it."""
        route = self.route
        assert route is not None
        first, last = route.levels[0], route.levels[-1]
        if self.elapsed + last.compiling + 4 * last.pace > self.budget:
            return False
        if isinstance(last.width, Infinite):
            width: Width = dataclasses.replace(last.width, particles=2 * last.size)
        else:
            width = Finite(2 * last.size)
        wider = self._run_at(width)
        if wider is None:
            self.stopped = "the bias is larger than the accuracy, and wider runs do not fit"
            return False
        self.route = single(wider, last) if first is last else extrapolated(last, wider, first)
        return True

    def _round(self) -> bool:
        """One more batch of each level that needs one; whether there was time for any."""
        route = self.route
        assert route is not None
        needed = route.needed(self.accuracy, self.names)
        missing = {place: needed[place] - level.count for place, level in enumerate(route.levels)}
        seconds = sum(max(count, 0) * route.levels[place].pace for place, count in missing.items())
        self._total(seconds)
        # What is needed is itself estimated: no round more than doubles what there is by much, or is long.
        share = min(1.0, _ROUND / seconds if seconds > 0 else 1.0)
        ran = False
        for place, level in enumerate(route.levels):
            wanted = min(math.ceil(share * missing[place]), max(2 * level.count, 2))
            if missing[place] <= 0:
                wanted = 0 if ran or any(other > 0 for other in missing.values()) else 1
            if wanted <= 0:
                continue
            left = (self.budget - self.elapsed) / max(level.pace, 1e-9)  # replicates that there is time for
            if left < level.together:
                return ran
            level.add(int(min(wanted, left)))
            ran = True
        for level, _ in route.bias.terms if route.bias is not None else ():
            if level not in route.levels:
                most = max(other.count for other in route.levels) // 4
                if most > level.count and self.elapsed + level.pace * (most - level.count) < self.budget:
                    level.add(most - level.count)
        return ran

    # --- what is said

    def _tell(self, words: str, error: float | None = None) -> None:
        self.bar.set_description(words, refresh=False)
        if self.route is not None and error is not None and not self.route.failed:
            self._total(self.route.seconds_for(self.accuracy, self.names))

    def _total(self, left: float) -> None:
        self.bar.total = max(round(self.elapsed + left, 1), 0.1)
        self.bar.set_postfix_str(f"about {formatting.duration(left)} left", refresh=False)
        self.bar.n = min(round(self.elapsed, 1), self.bar.total)
        self.bar.update(0)
        self.bar.refresh()


def _particles(simulation: Simulation, accuracy: float) -> int:
    """The particles of deferred weights that are tried first: as a rule fewer than a single run takes.

    What a scatter costs does not depend on how many there are in a run, and the bias falls as one over their number. So
    few are taken that it is expected to be a small part of the accuracy, unless the basis needs more room.
    """
    width = simulation.width
    assert isinstance(width, Infinite)
    assert width.capacity is not None
    needed = max(_PARTICLES / accuracy, simulation.room().fewest(width.capacity), _FEWEST)
    return min(width.size, 100 * math.ceil(needed / 100))


def _few(level: Level) -> int:
    """How many networks are tried first: where they are trained together, as many as a call takes."""
    return 8 if level.together == 1 else 1


_BAR = "{desc} |{bar}| {elapsed}{postfix}"
