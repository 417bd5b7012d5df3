"""The progress bar of anything that can take more than a few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tqdm.auto import tqdm

from . import formatting

_LONG = 60.0  # seconds: a run that takes longer says so at its beginning
_OBSERVED = 1.0  # seconds of steps, beyond those that compile, from which the rest is told
_PATIENCE = 20.0  # seconds after which it is told from a part of the steps between two records


def progress_bar(progress: bool | None, **options: Any) -> tqdm:
    """A bar that appears after a second; shown if `progress`, hidden if not, and on a terminal only if None."""
    return tqdm(delay=1.0, disable=_hidden(progress), **options)


def announcing_bar(progress: bool | None, every: int, **options: Any) -> tqdm:
    """[`progress_bar`] of a run that is recorded at each `every` of its steps, which says early how long it will take.

    If that is more than a minute, a line says it above the bar, from the run's own first steps: those after the first
    two updates, which compile what is recorded and what is not. Nothing is computed for it. Recorded steps cost more
    than others, so that it waits for all from one record to the next, but for 20 s at the most.
    """
    return _AnnouncingBar(every, delay=1.0, disable=_hidden(progress), **options)


def _hidden(progress: bool | None) -> bool | None:
    """Whether a bar is not drawn; None where that is so unless there is a terminal."""
    if sys.stderr is None:  # as of a process that was started with its standard error closed
        return True
    return None if progress is None else not progress


class _AnnouncingBar(tqdm):
    def __init__(self, every: int, **options: Any):
        self._every = every
        self._updates = 0
        self._since: tuple[float, float] | None = None
        self._announced = False
        self._began = time.perf_counter()
        super().__init__(**options)

    def update(self, n: float | None = 1) -> bool | None:
        shown = super().update(n)
        if not (self.disable or self._announced or self.total is None):
            self._look(time.perf_counter())
        return shown

    def _look(self, now: float) -> None:
        self._updates += 1
        if self._since is None:
            if self._updates == (1 if self._every == 1 else 2):
                self._since = now, self.n
            return
        since, done = self._since
        seconds, steps = now - since, self.n - done
        if seconds < _OBSERVED or (steps < self._every and seconds < _PATIENCE):
            return
        self._announced = True
        left = (self.total - self.n) * seconds / steps
        if now - self._began + left > _LONG:
            self.write(
                f"About {formatting.duration(now - self._began + left)} in all, {formatting.duration(left)} from now. "
                "Ctrl-C keeps what is recorded; widelimit.plan (widelimit train --plan) says what takes the time.",
                file=sys.stderr,
            )


def announced(names: Sequence[str], unit: str, say: Callable[[str], None]) -> Iterator[str]:
    """Go through named pieces of work under one bar; where no bar can be drawn, each is said before it begins."""
    with tqdm(total=len(names), unit=unit, disable=_hidden(None)) as bar:
        for place, name in enumerate(names):
            bar.set_description(name)
            if bar.disable:
                say(f"{unit} {place + 1} of {len(names)}: {name}")
            yield name
            bar.update(1)
