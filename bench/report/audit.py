"""What a grid of data sets holds before any method is trained: the dials as achieved, conditioning, floor, and the oracle's promises."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.plan.identity import data_seed
from bench.registry import UsageError
from bench.report.texts import value_text
from bench.scores import metrics
from datasets import Instance, datasets, oracle
from datasets import support as supports
from datasets.oracle import PROMISES, YES

N_POINTS = 200  # test points at which the Jacobian's conditioning is taken

DEFINITIONS = {
    "instances": "Data seeds of the cell.",
    "achieved_violation": "Fraction of latents with a nonempty shadow, on the support.",
    "achieved_twins": "Fraction of latents with identical children, on the support.",
    "achieved_shadow_size": "Mean size of the nonempty shadows; empty where there are none.",
    "change_rank": "Rank of the changes over all latents (datasets.oracle), at most 2 n_latents: median over instances.",
    "change_margin": "Smallest normalised singular value of the changes: median over instances.",
    "least_singular": "Smallest singular value of the mixing's Jacobian, latents in units of their spread: the least over instances.",
    "condition": "Largest over smallest singular value of the Jacobian: median over points and instances.",
    "floor": "mcc_spearman of the raw observations: mean over instances.",
    **{name: f"Fraction of latents that are promised: {oracle.DEFINITIONS[name]}" for name in PROMISES},
}
HEADINGS = {
    "instances": "seeds",
    "achieved_violation": "violation",
    "achieved_twins": "twins",
    "achieved_shadow_size": "shadow\nsize",
    "change_rank": "change\nrank",
    "change_margin": "change\nmargin",
    "least_singular": "least\nsingular",
    "condition": "condition\nof mixing",
    "floor": "floor\nMCC",
    "promised_sparsity": "promised:\nsparsity",
    "promised_independence": "\n+ indep.",
    "promised_changes": "\nchanges",
    "promised_both": "\nboth",
}


def table(dataset: str, cells: Sequence[dict[str, Any]], n_seeds: int, root_seed: int) -> pd.DataFrame:
    """One row per cell (fields of the data set): its fields, then the columns of `DEFINITIONS`, over `n_seeds` instances.

    Raises UsageError where a cell has no instance: a dial that cannot be met is an error.
    """
    rows = []
    for cell in cells:
        maker = datasets[dataset].make(cell)
        if "n_samples" in cell and cell.get("samples_per_domain") is None:
            # The training set plays no part in an audit, and the other splits do not depend on its size.
            maker = dataclasses.replace(maker, n_samples=max(100, maker.shape[2]))
        found = [instance_row(maker.generate(data_seed(root_seed, seed))) for seed in range(n_seeds)]
        rows.append({**cell, "instances": n_seeds, **_over_instances(pd.DataFrame(found))})
    return pd.DataFrame(rows)


def instance_row(instance: Instance) -> dict[str, Any]:
    """One instance's part in a row of `table`."""
    if instance.support is None or instance.mixing is None or instance.sources is None:
        raise UsageError("these data come without the sources and the mixing that made them; there is nothing to audit")
    verdicts = oracle.columns(instance)
    jacobian = instance.mixing.jacobian(instance.test.z[:N_POINTS].astype(float)) * instance.sources.spread
    gram = np.linalg.eigvalsh(np.matmul(jacobian.transpose(0, 2, 1), jacobian)).clip(min=0)
    sizes = np.array(verdicts["shadow_sizes"])
    splits = (metrics.Encoded(split.z, split.x, split.domains) for split in (instance.validation, instance.test))
    return {
        "achieved_violation": supports.violation(instance.support),
        "achieved_twins": supports.twins(instance.support),
        "achieved_shadow_size": sizes[sizes > 0].mean() if sizes.any() else np.nan,
        "change_rank": verdicts["change_rank"],
        "change_margin": verdicts["change_margin"],
        "least_singular": float(np.sqrt(gram[:, 0].min())),
        "condition": float(np.median(np.sqrt(gram[:, -1] / gram[:, 0].clip(min=1e-300)))),
        "floor": metrics.matched_spearman(*splits),
        **{name: np.mean([verdict == YES for verdict in verdicts[name]]) for name in PROMISES},
    }


def _over_instances(rows: pd.DataFrame) -> dict[str, Any]:
    least, medians = ("least_singular",), ("change_rank", "change_margin", "condition")
    return {
        name: rows[name].min() if name in least else rows[name].median() if name in medians else rows[name].mean()
        for name in map(str, rows)
    }


def render(rows: pd.DataFrame, varying: Sequence[str]) -> str:
    """The table for a terminal, a row per cell, named by its `varying` fields."""
    from tabulate import tabulate

    achieved = ("violation", "twins", "shadow_size")  # what was achieved stands beside, and is the same
    named = [(field.replace("_", "\n"), rows[field].map(value_text)) for field in varying if field not in achieved]
    shown = [
        (heading, rows[name].map(lambda value: "–" if pd.isna(value) else f"{value:.3g}"))
        for name, heading in HEADINGS.items()
    ]
    headings, columns = zip(*named, *shown, strict=True)
    body = [list(row) for row in zip(*columns, strict=True)]
    return tabulate(body, headers=headings, disable_numparse=True, stralign="right")


def draw(rows: pd.DataFrame, varying: Sequence[str], out: Path) -> list[Path]:
    """Promise maps beside `out`: by domains and violation, and by domains and twins, where both vary. Returns their files."""
    from bench.report import figures

    paths = []
    for x, y in (("domains", "violation"), ("domains", "twins")):
        if x in varying and y in varying:
            paths += figures.promise_map(rows, x, y, out.parent, f"{out.stem}_{x}_{y}")
    return paths
