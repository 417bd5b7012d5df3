"""A posterior in words."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from .summary import table

_SURE = 0.95


def verdict(
    posterior: xr.Dataset, p_value: float, networks: int, diverged: Mapping[str, bool] | None = None, constant: int = 0
) -> str:
    """What a posterior says, in a few sentences.

    **Arguments:** `networks`, those that `p_value` is from; `diverged`, the rules of which candidates diverge, and
    whether all do; `constant`, how many neurons never varied.
    """
    rules = marginal(posterior, "rule")
    first, share = next(iter(rules.items()))
    names = {"untrained": "a network before learning", "inputs": "the inputs alone"}
    words = names.get(first, first)
    if share >= _SURE:
        said = f"Of the candidates, {words} made these representations (probability {percent(share)})"
    else:
        others = ", ".join(f"{names.get(name, name)} {percent(p)}" for name, p in list(rules.items())[:3] if p >= 0.01)
        said = f"No rule is certain: {others}"
    best = posterior["name"].values[np.argmax(posterior["log_evidence"].values)]
    said += f"; the best candidate is {best}.{_limited(posterior)}{_left_out(diverged or {}, constant)}"
    if networks and np.isnan(p_value):
        return f"{said} Whether it fits could not be checked: most of its networks of finite width diverge."
    if not networks:
        return f"{said} Whether it fits was not checked."
    if p_value <= 0.05:
        return (
            f"None of the candidates fits (p = {p_value:.2g}, from {networks} networks of the best one), so that what "
            f"follows is of little worth. {said}"
        )
    return f"{said} It fits (p = {p_value:.2g}, from {networks} networks)."


def _left_out(diverged: Mapping[str, bool], constant: int) -> str:
    """Sentences on what the posterior is without."""
    said = ""
    if diverged:
        whole = ", ".join(f"{rule} altogether" if every else f"{rule} in part" for rule, every in diverged.items())
        said = f" Left out are candidates that diverge before the last session: {whole}."
    if constant:
        said += f" Neurons that never vary were left out: {constant}."
    return said


def _limited(posterior: xr.Dataset) -> str:
    """A sentence where the candidates' own sampling error is what keeps two rules from being told apart."""
    rules, totals = posterior["rule"].values, posterior["log_evidence"].values
    best = int(np.argmax(totals))
    others = np.flatnonzero(rules != rules[best])
    if not others.size:
        return ""
    second = int(others[np.argmax(totals[others])])
    error = float(posterior["log_evidence_error"].values[second])
    behind = float(totals[best] - totals[second])
    by_neurons = float(posterior["log_evidence_scatter"].values[second])
    if not (error > 1 and behind < 3 * error and error > by_neurons / 2):  # other neurons would change more
        return ""
    return (
        f" The best of {rules[second]} is {behind:.1f} nats behind, of which the candidates' own sampling error is "
        f"± {error:.1f}: more particles or replicates would tell more."
    )


def is_inference(result: xr.Dataset) -> bool:
    """Whether a dataset is a posterior of `infer`, or what `identifiability` has found."""
    return ("probability" in result and "candidate" in result.dims) or "confusion" in result


def power_lines(result: xr.Dataset) -> list[str]:
    """What can be told apart, as lines of text."""
    rows = []
    for cell in result["accuracy"].stack(cell=("sessions", "noise", "neurons")).transpose("cell"):
        error = result["standard_error"].sel({name: cell[name].item() for name in ("sessions", "noise", "neurons")})
        rows.append(
            (
                f"{int(cell['neurons'])} neurons, noise {float(cell['noise']):g}, {int(cell['sessions'])} sessions",
                f"{float(cell):.2f} ± {float(error):.2f}",
            )
        )
    return table(("recorded", "rule right"), rows)


def marginal(posterior: xr.Dataset, *names: str) -> dict:
    """Probabilities summed over all that is not named, the largest first."""
    sums: dict = {}
    columns = [posterior[name].values.tolist() for name in names]
    for *key, probability in zip(*columns, posterior["probability"].values.tolist(), strict=True):
        label = key[0] if len(key) == 1 else tuple(key)
        sums[label] = sums.get(label, 0.0) + probability
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def lines(posterior: xr.Dataset, most: int = 12) -> list[str]:
    """A posterior as lines of text: the verdict, rules, and the best candidates."""
    rules = [(str(name), percent(share)) for name, share in marginal(posterior, "rule").items()]
    order = np.argsort(-posterior["probability"].values, kind="stable")[:most]
    behind = below_the_best(posterior)
    rows = [
        (
            str(posterior["name"].values[index]),
            percent(float(posterior["probability"][index])),
            behind[index],
        )
        for index in order
    ]
    return [
        posterior.attrs.get("verdict", ""),
        "",
        *table(("rule", "probability"), rules),
        "",
        *table(("candidate", "probability", "log evidence below the best"), rows),
        "",
        *held_out(posterior),
    ]


def held_out(posterior: xr.Dataset) -> list[str]:
    """What neurons that were held out say, as a line; none where there were no single neurons."""
    best, ceiling, static = (
        float(posterior[name]) for name in ("best_held_out", "ceiling_log_evidence", "static_log_evidence")
    )
    if not np.isfinite(best):
        return []
    return [
        "Log evidence of neurons that were held out, less that by the best candidate: by the best static kernel "
        f"{static - best:+.1f} nats, with what all other neurons say {ceiling - best:+.1f}."
    ]


def below_the_best(posterior: xr.Dataset) -> list[str]:
    """The log evidence of each candidate less that of the best, in words, with its error where that is known."""
    totals, errors = posterior["log_evidence"].values, posterior["log_evidence_error"].values
    return [
        f"{total - totals.max():.1f}" + (f" ± {error:.1f}" if error > 0 else "")
        for total, error in zip(totals, errors, strict=True)
    ]


def percent(share: float) -> str:
    """A probability in words, which is never said to be all."""
    return f"{100 * share:.1f} %" if share < 0.9995 else "> 99.9 %"
