"""A table of trials with known scores, for tests of what is made from one."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd

from bench.registry import CORNERS
from bench.report.results import Results
from bench.run.store import Store
from datasets import datasets
from methods import methods

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
ROLES = dict.fromkeys(("random", "identity", "pca", "fastica"), "floor") | {"supervised": "ceiling"}


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


LADDERS = {  # the methods that assume neither, changes, sparsity, and both: the order of `CORNERS`
    "VAE": ("vae", "flow-vae", "sparse-vae", "synergy-vae"),
    "GAN": ("gan", "domain-gan", "sparse-gan", "synergy-gan"),
    "flow": ("flow", "domain-flow", "sparse-flow", "synergy-flow"),
}


def facts():
    """What is known of methods and data sets: what is registered, and the ladders above."""
    known, data = ({entry.name: entry.facts for entry in registry} for registry in (methods, datasets))
    for ladder, names in LADDERS.items():
        for corner, name in zip(CORNERS, names, strict=True):
            known[name] = dataclasses.replace(known[name], ladder=ladder, corner=corner)
    return known, data


def results(trials, **others):
    """The trials as `Results`, with the `facts` of their methods and data sets. `others` are further fields of `Results`."""
    known, data = facts()
    return Results(trials, **{"methods": known, "datasets": data, "manifest": MANIFEST} | others)


def fail(trials, **where):
    """The same trials with those where each column has the given value diverged."""
    trials = trials.copy()
    hit = np.logical_and.reduce([trials[column] == value for column, value in where.items()])
    trials.loc[hit, list(SCORES)] = np.nan
    trials.loc[hit, ["status", "error"]] = ["diverged", "every restart became NaN"]
    return trials


def ladder_trials(
    both=0.0, changes=0.0, sparsity=0.0, neither=-0.1, cells=6, seeds=10, noise=0.03, seed=0, names=LADDERS["VAE"]
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


STRATA = {"no violation": (0.0, np.nan), "strict shadows 0.5": (0.5, np.nan), "twins 0.5": (0.5, 0.5)}


def strata_trials(trials):
    """The same trials once more in each stratum of the default grid: what varies is `domains`, `violation` and `twins` together."""
    parts = [
        trials.assign(violation=violation, twins=twins, trial_id=f"{words}: " + trials.trial_id)
        for words, (violation, twins) in STRATA.items()
    ]
    return pd.concat(parts, ignore_index=True)


def simulated_run(folder, trials, data_version=1, code="code", started_at="2026-01-01T00:00:00+00:00", planned=None):
    """A store that holds `trials`, a pack per method, as if one command had trained them of those `planned`, with its manifest."""
    store = Store(folder)
    rng = np.random.default_rng(0)
    for method, rows in trials.groupby("method"):
        rows = rows.assign(
            root_seed=rows.get("root_seed", 0),
            has_truth=True,
            code=code,
            pack_id=f"{folder.name}-{method}",
            finished_at=float(started_at[:4]),
        )
        rows = rows.astype(object).where(rows.map(np.ndim).gt(0) | rows.notna(), None)
        kept = {}
        for trial in rows.trial_id[rows.status == "ok"]:
            z = rng.normal(size=(50, 3)).astype(np.float32)
            kept |= {f"{trial}.z": z, f"{trial}.z_hat": z + rng.normal(size=z.shape), f"{trial}.domains": z[:, 0] > 0}
        store.write_pack(f"{folder.name}-{method}", rows.to_dict("records"), kept)
    planned = trials if planned is None else planned
    pairs = {f"{each.method} on {each.dataset}": code for each in planned.itertuples()}
    command = MANIFEST["commands"][0] | {"code": pairs, "data_version": data_version, "started_at": started_at}
    store.write_manifest(MANIFEST | {"name": folder.name, "commands": [command]})
    asked = planned[["trial_id", "method", "dataset"]].to_dict("records")
    store.plan([SimpleNamespace(**trial, code=code) for trial in asked])
    return store


MANIFEST = {
    "name": "a run",
    "commands": [
        {
            "command": "run_bench.py --grid domains=2..4 --grid 'violation=0,0.5'",
            "started_at": "2026-01-01T00:00:00+00:00",
            "config": {"profile": "quick", "seeds": 3},
            "code": {},
            "versions": {"python": "3.11"},
            "machine": {"cores": 2},
            "git": {"commit": "abc", "modified": False},
            "engine_version": 3,
            "data_version": 1,
        }
    ],
    "definitions": {"mcc_spearman": "Rank correlations <matched> on validation."},
    "splits": "train, validation and test",
}
