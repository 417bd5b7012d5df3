"""How much finite networks scatter, through training, against richness: two-layer linear networks, exact in 1/N.

N times the variance of the outputs, and of K relative to its square, at leading order in 1/N by
`theory.two_layer_fluctuations`: whitened inputs, one panel a rule, one line a richness γ0. Time is scaled by that at
which the loss of each network has halved, because rich networks learn faster.

    python examples/fluctuations_and_richness.py --out docs/images/fluctuations.png    # a few seconds
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

import widelimit as wl

RULES = {
    "gradient descent": wl.GradientDescent(),
    "feedback alignment, ρ = ½": wl.FeedbackAlignment(0.5),
    "direct feedback alignment": wl.DirectFeedbackAlignment(),
    "Hebbian": wl.Hebbian(),
}
RICHNESS = (0.1, 0.5, 1.0, 2.0, 3.0)
SAMPLES, STEP_SIZE, STEPS = 4, 0.02, 300


def course(rule: wl.Rule, richness: float) -> dict[str, np.ndarray]:
    """Time in halvings of the loss, N Var f over |y|², and N Var K over |K|², along training."""
    task = wl.Task(np.sqrt(SAMPLES) * np.eye(SAMPLES), np.array([1.0, -1.0, 1.0, 1.0]))
    net = wl.MLP(1, wl.Linear(), richness)
    solved = wl.theory.two_layer_fluctuations(net, task, rule, optimizer=wl.SGD(STEP_SIZE), steps=STEPS, progress=False)
    loss = solved["loss"].sel(measure="limit").values
    half = np.interp(-0.5 * loss[0], -loss, solved["time"].values)
    kernel = solved["ntk"].sel(measure=["limit", "variance"])
    size = (kernel.sel(measure="limit") ** 2).sum(("sample", "sample2"))
    return {
        "time": solved["time"].values / half,
        "output": solved["output"].sel(measure="variance").sum("sample").values / SAMPLES,
        "kernel": (kernel.sel(measure="variance").sum(("sample", "sample2")) / size).values,
    }


def picture() -> Figure:
    """Outputs above, K below; one column a rule."""
    figure, axes = plt.subplots(2, len(RULES), figsize=(11, 4.6), sharex=True, sharey="row", layout="constrained")
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(RICHNESS)))
    for column, (name, rule) in enumerate(RULES.items()):
        for richness, colour in zip(RICHNESS, colours, strict=True):
            run = course(rule, richness)
            for row, what in enumerate(("output", "kernel")):
                axes[row, column].plot(run["time"], run[what], color=colour, label=f"$\\gamma_0 = {richness:g}$")
        axes[0, column].set_title(name, fontsize="medium")
        axes[1, column].set(xlim=(0, 6), yscale="log", xlabel="time / time to half the loss")
    axes[0, 0].set_ylabel(r"$N\,\mathrm{Var}\,f\,/\,|y|^2$")
    axes[1, 0].set_ylabel(r"$N\,\mathrm{Var}\,K\,/\,|K|^2$")
    axes[1, -1].legend(fontsize="small", frameon=False, loc="lower left")  # where no curve is
    return figure


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("fluctuations.png"))
    out = parser.parse_args().out
    picture().savefig(out, dpi=110)
    print(f"Drawn in {out}.")


if __name__ == "__main__":
    main()
