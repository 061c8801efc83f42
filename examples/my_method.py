"""What does my method recover? A scikit-learn transformer beside methods that are there, latent by latent.

    python examples/my_method.py

Change `Mine`, and run it again: only what it changed is trained again.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the folder that holds bench/

import numpy as np
from sklearn.decomposition import FastICA

import bench
from methods import EstimatorMethod, field, register


class Centred:
    """FastICA of what is left of the data without the means of the domains."""

    def __init__(self, n_latents, seed, contrast):
        self.ica = FastICA(n_latents, fun=contrast, whiten="unit-variance", random_state=seed, max_iter=500)

    def fit(self, x, domains):
        means = {domain: x[domains == domain].mean(axis=0) for domain in np.unique(domains)}
        self.ica.fit(x - np.stack([means[domain] for domain in domains]))
        return self

    def transform(self, x, domains):
        return self.ica.transform(x)


@register("mine", source="me")
@dataclass(frozen=True)
class Mine(EstimatorMethod):
    """FastICA within domains."""

    contrast: str = field("logcosh", help="by which FastICA tells latents apart", choices=("logcosh", "exp", "cube"))

    def build(self, shape, seed):
        return Centred(shape.n_latents, seed, self.contrast)


results = bench.run(
    grid={"domains": [3], "violation": [0, 1]},
    methods=["mine", "joint-diagonalisation", "pca", "identity"],
    seeds=3,
    name="my-method",
)
columns = ["better", "worse", "difference", "difference_low", "difference_high", "p_holm"]
print(results.comparisons[columns].round(3).to_string())

print(
    "\nmean correlation of each true latent with its estimate, where none violates sparsity (0) and where all do (1):"
)
per_latent = results.frame.groupby(["label", "violation"]).mcc_per_latent
print(per_latent.apply(lambda own: np.mean(own.tolist(), axis=0).round(2)).to_string())
