"""The progress bar of anything that can take more than a few seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tqdm.auto import tqdm


def progress_bar(progress: bool | None, **options: Any) -> tqdm:
    """A bar that appears after a second; shown if `progress`, hidden if not, and on a terminal only if None."""
    return tqdm(delay=1.0, disable=None if progress is None else not progress, **options)


def announced(names: Sequence[str], unit: str, say: Callable[[str], None]) -> Iterator[str]:
    """Go through named pieces of work under one bar; where no bar can be drawn, each is said before it begins."""
    with tqdm(total=len(names), unit=unit, disable=None) as bar:
        for place, name in enumerate(names):
            bar.set_description(name)
            if bar.disable:
                say(f"{unit} {place + 1} of {len(names)}: {name}")
            yield name
            bar.update(1)
