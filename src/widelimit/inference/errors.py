"""How well the evidence of candidates is known: their kernels are means over replicates, with an error of their own.

A kernel of S particles is that of the limit up to a sampling error, whose effect on the log evidence grows with the
number of neurons. Leaving out one replicate after the other says how large it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .evidence import log_likelihood_at
from .laws import law_of

if TYPE_CHECKING:
    from .posterior import Judge, Judged

_NEAR = 10.0
"""How far behind the best, in nats, a candidate still counts."""


def sampling_errors(judge: Judge, judged: list[Judged]) -> np.ndarray:
    """Standard errors (candidate,) of the log evidence less that of the best candidate, by the jackknife.

    Of those that are near the best, and of the best of each rule; NaN for others, and where there is one replicate.
    Replicates are independent of each other, those of two candidates with one seed are not, so that it is the
    difference whose scatter counts.
    """
    replicates = judge.candidates.runs.training.replicates
    totals = np.array([each.evidence.total for each in judged])
    errors = np.full(len(judged), np.nan)
    if replicates < 2:
        return errors
    best = int(np.argmax(totals))
    families = np.array([each.candidate.family for each in judged])
    wanted = {int(index) for index in np.flatnonzero(totals > totals[best] - _NEAR)}
    for family in set(families.tolist()):
        members = np.flatnonzero(families == family)
        wanted.add(int(members[np.argmax(totals[members])]))
    reference, errors[best] = _left_out(judge, judged[best], replicates), 0.0
    for index in wanted - {best}:
        difference = _left_out(judge, judged[index], replicates) - reference
        errors[index] = np.sqrt((replicates - 1) / replicates * ((difference - difference.mean()) ** 2).sum())
    return errors


def _left_out(judge: Judge, each: Judged, replicates: int) -> np.ndarray:
    """The log evidence of a candidate without each of its replicates."""
    totals = np.empty(replicates)
    for replicate in range(replicates):
        law = law_of(each.candidate, judge.candidates, judge.stimuli, each.times, without=replicate)
        assert law is not None  # it was there with all of them
        totals[replicate] = log_likelihood_at(judge.units, law, each.evidence).sum()
    return totals
