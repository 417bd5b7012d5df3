"""A learning rule of one's own: direct random target projection (Frenkel, Lefebvre & Bol 2021)."""

import math

import widelimit as wl


class RandomTargetProjection(wl.Rule):
    """δ^ℓ_μ = ϕ'(h^ℓ_μ) ⊙ Σ_c y_{μc} z̃^ℓ_c: targets, not errors, are projected to each layer."""

    @property
    def linear_in_error(self):
        return False

    def feedback(self, random):
        return {layer: random.vectors(layer) for layer in random.layers}

    def pseudo_gradient(self, view, layer, above):
        return view.derivatives[layer] * (view.targets @ view.feedback[layer])


if __name__ == "__main__":
    task = wl.datasets.sphere(samples=8, dimension=20)
    net = wl.MLP(hidden_layers=2, nonlinearity=wl.Tanh(), richness=1.0)
    for width in (500, math.inf):
        run = wl.train(
            net,
            task,
            RandomTargetProjection(),
            width=width,
            optimizer=wl.SGD(0.1),
            steps=15,
        )
        loss = run["loss"].isel(step=-1)
        mean, error = float(wl.observables.mean(loss)), float(wl.observables.standard_error(loss))
        print(f"width {width}: loss {float(run['loss'][0, 0]):.2f} at the start, {mean:.3f} ± {error:.3f} at the end")
