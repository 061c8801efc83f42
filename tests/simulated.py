"""A table of trials with known scores, for tests of what is made from one."""

import numpy as np
import pandas as pd

DATASET_FIELDS = ["domains", "n_latents", "twins", "violation"]
METHOD_FIELDS = ["alpha", "steps"]
SCORES = (
    "mcc_spearman",
    "mcc_pearson",
    "mcc_within",
    "r2_component",
    "r2_block",
    "r2_linear",
    "recon_nmse",
    "objective",
)
ROLES = {"random": "floor", "identity": "floor", "supervised": "ceiling"}


def simulated_trials(level=None, domains=(2, 3, 4), violations=(0.0, 0.5), seeds=3):
    """One ok row per method, cell and seed; the score is the method's level plus noise, the same in every score column."""
    level = level or {"ivae": 0.8, "synergy-vae": 0.9, "supervised": 0.99, "random": 0.4, "identity": 0.7}
    rng = np.random.default_rng(0)
    rows = []
    for method, mean in level.items():
        for u in domains:
            for violation in violations:
                for seed in range(seeds):
                    rows.append(
                        {
                            "trial_id": f"{method}-{u}-{violation}-{seed}",
                            "method": method,
                            "role": ROLES.get(method, "method"),
                            "dataset": "sparse-mixing",
                            "domains": u,
                            "violation": violation,
                            "twins": None,
                            "n_latents": 4,
                            "seed": seed,
                            "status": "ok",
                            "error": None,
                            "train_s": 2.0,
                            "steps": 100,
                            "alpha": 0.1 if method == "synergy-vae" else np.nan,
                            **dict.fromkeys(SCORES, mean + 0.01 * rng.normal()),
                        }
                    )
    return pd.DataFrame(rows)


def fail(trials, **where):
    """The same trials with those where each column has the given value diverged."""
    trials = trials.copy()
    hit = np.logical_and.reduce([trials[column] == value for column, value in where.items()])
    trials.loc[hit, list(SCORES)] = np.nan
    trials.loc[hit, ["status", "error"]] = ["diverged", "every restart became NaN"]
    return trials


def ladder_trials(
    both=0.0, changes=0.0, sparsity=0.0, neither=-0.1, cells=6, seeds=10, noise=0.03, seed=0, names=("vae", "flow-vae", "sparse-vae", "synergy-vae")
):  # fmt: skip
    """Trials of a ladder whose four corners score 0.7 plus so much in every cell (a number, or one per cell), and noise.

    Half of the variance is the data seed's, shared by the methods: as in reality, comparisons must be paired.
    """
    rng = np.random.default_rng(seed)
    rows = []
    shared = noise * rng.normal(size=(seeds, cells))
    for name, level in zip(names, (neither, changes, sparsity, both), strict=True):
        scores = 0.7 + np.broadcast_to(level, cells) + shared + noise * rng.normal(size=(seeds, cells))
        for (own_seed, cell), score in np.ndenumerate(scores):
            rows.append(
                {
                    "trial_id": f"{name}-{cell}-{own_seed}", "method": name, "role": "method", "dataset": "sparse-mixing",
                    "domains": 2 + cell, "seed": own_seed, "status": "ok", "error": None, "train_s": 1.0,
                    "alpha": 0.1 if name == "synergy-vae" else np.nan, "steps": 100, **dict.fromkeys(SCORES, score),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)
