"""What can be said of my own table? From a CSV to estimated latents of every row, and how far restarts agree on them.

    python examples/my_csv.py people.csv site 3

names the file, the column that tells domains apart, and how many latents to estimate. Without a file, one is made up.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the folder that holds bench/

import numpy as np
import pandas as pd

import bench
from bench.run.store import Store


def made_up(path):
    """Writes a table of 600 people at three sites, whose six measurements come from two latents."""
    rng = np.random.default_rng(0)
    site = np.repeat(["Bern", "Oslo", "Turin"], 200)
    latents = rng.normal(size=(600, 2)) * np.repeat([[0.5, 2], [1, 1], [2, 0.5]], 200, axis=0)
    measured = np.tanh(latents @ rng.normal(size=(2, 6))) + 0.05 * rng.normal(size=(600, 6))
    pd.DataFrame(measured, columns=["height", "pulse", "dose", "age", "weight", "score"]).assign(site=site).to_csv(
        path, index=False
    )
    return path, "site", 2


path, domain, n_latents = sys.argv[1:4] if len(sys.argv) == 4 else made_up("people.csv")
results = bench.run(
    dataset="file",
    settings={"file.path": path, "file.domain": domain, "file.n_latents": n_latents},
    methods=["synergy-vae", "flow-vae", "pca"],
    seeds=1,
    keep=["models", "latents"],
    name="my-csv",
)
# Nobody knows the true latents here: `objective` compares settings of one method, `recon_nmse` is what is lost of x.
print(results.leaderboard[["label", "objective", "recon_nmse", "train_s"]].round(3))

store = Store(results.folder)
latents = store.every_latent(store.trial("synergy-vae"))
print(latents.head())

people = pd.read_csv(path)
model = bench.load(results.folder, "synergy-vae")
again = model.encode(people, people[domain])
print("the kept model gives the same latents:", np.allclose(again, latents.filter(like="z_hat"), atol=1e-4))
