"""What do more domains bring? Four VAEs that differ only in what they assume, on data with 2 to 9 domains.

    python examples/more_domains.py

It takes a few minutes, and the next time it trains nothing again. The figure is more_domains.png.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the folder that holds bench/

import bench

results = bench.run(
    grid={"domains": [2, 3, 5, 9]},
    methods=["vae", "sparse-vae", "flow-vae", "synergy-vae", "identity"],
    settings={"sparse-mixing.violation": 0},
    profile="quick",
    seeds=3,
    name="more-domains",
)
print(results.frame.groupby(["method", "domains"]).mcc_spearman.mean().unstack().round(3))
print(*results.verdicts, sep="\n")

figure = results.figures["score_lines"]
figure.axes[0].set_title("What more domains bring")  # it is a figure of matplotlib
figure.savefig("more_domains.png", dpi=150)
