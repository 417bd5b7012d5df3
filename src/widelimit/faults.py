"""What can go wrong with a run, as warnings and interruptions that every solver shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr

DIVERGED = 1e6
"""A run has diverged where its loss is not finite or exceeds its initial value by this factor."""


RISEN = 1.25
"""A loss has risen well above its start where it exceeds its initial value by this factor."""


class DivergenceWarning(UserWarning):
    """A run left the range of finite numbers; what was recorded before that is kept."""


class TruncationWarning(UserWarning):
    """More of what passes through the hidden matrices was dropped than the result can be trusted with."""


class TaskWarning(UserWarning):
    """Inputs or targets are not what the equations expect: their scale, or class labels in the place of targets."""


class RisingLossWarning(UserWarning):
    """The loss of a run rose well above its start, and did not diverge."""


class PrecisionWarning(UserWarning):
    """Rounding takes a part of what is computed that can be seen in the result."""


class RecordWarning(UserWarning):
    """Something that is recorded by default is not, because it would take too much memory."""


class CheckpointWarning(UserWarning):
    """A run could not be kept in the file that it was to keep itself in; it goes on."""


class LimitWarning(UserWarning):
    """The limit is not known as well as was asked for, or two ways to it do not agree."""


class ExpansionWarning(UserWarning):
    """At the narrowest of several widths, finite networks do not differ from the limit by a/N and C/N alone."""


class SweepWarning(UserWarning):
    """Points of a sweep failed; each is recorded with the reason, and the others are there."""


class TrainingInterrupted(KeyboardInterrupt):
    """Training was interrupted; `result` holds what had been recorded, and `code` is the exit code of what did it."""

    def __init__(self, result: xr.Dataset, code: int = 130):
        super().__init__("training was interrupted; what had been recorded is in .result")
        self.result = result
        self.code = code
