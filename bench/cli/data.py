"""`audit`, `export-data` and `score`: what data hold before any method is trained, the data themselves, and scores of latents from elsewhere."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bench.cli import options
from bench.plan.grid import parse_grid, parse_settings
from bench.plan.identity import data_seed
from bench.plan.trials import check_size, plan_cells
from bench.registry import UsageError
from bench.text import csv_text, say
from datasets import datasets

AUDIT_SEEDS = 5


def add_commands(commands: Any) -> None:
    command = commands.add_parser(
        "audit",
        help="what a grid of data sets holds, and what theory promises on it; trains nothing",
        allow_abbrev=False,
    )
    command.set_defaults(run=audit)
    options.add_data_options(command, "any field of the data set", str(AUDIT_SEEDS))
    command.add_argument(
        "--out", metavar="FILE.csv", help="write the table there; beside it what its columns mean, and the promise maps"
    )
    options.add_plugin_option(command)
    command = commands.add_parser(
        "export-data",
        help="write the data set of one data seed as arrays, which other programs read and the data set `file` too",
        allow_abbrev=False,
    )
    command.set_defaults(run=export_data)
    options.add_dataset_options(command, "any field of the data set")
    command.add_argument("--data-seed", type=options.natural, default=0, metavar="N", help="the data seed (default: 0)")
    command.add_argument(
        "--out",
        required=True,
        metavar="FILE.npz",
        help="where to: arrays x, domain, split, and z, u, support where they are known",
    )
    options.add_plugin_option(command)
    command = commands.add_parser(
        "score", help="score latents that were estimated elsewhere, by the same definitions", allow_abbrev=False
    )
    command.add_argument(
        "file", metavar="FILE.npz", help="arrays z and z_hat, (n_samples, .), and domain, if there are several"
    )
    options.add_metrics_option(command, "all: those on demand too, as T-MEX, DCI-ES and MCC against chance")
    command.add_argument("--out", metavar="FILE.csv", help="also write the scores there, with their definitions")
    command.set_defaults(run=score)
    options.add_plugin_option(command)


def audit(arguments: argparse.Namespace) -> int:
    dataset = datasets[arguments.dataset]
    axes = parse_grid(arguments.grid, dataset, [])
    settings = parse_settings(arguments.settings, dataset, [])
    options.check_apart(axes, settings)
    cells, _ = plan_cells(dataset.name, axes, settings)
    n_seeds = arguments.seeds or AUDIT_SEEDS
    check_size(len(cells) * n_seeds, "instances")
    out = _csv_file(arguments.out)

    from bench.report import audit as audits
    from bench.run.store import write_text

    rows = audits.table(dataset.name, cells, n_seeds, arguments.root_seed)
    varying = [field for field in dataset.fields if rows[field].nunique(dropna=False) > 1]
    say(audits.render(rows, varying))
    if out:
        write_text(out, csv_text(rows))
        columns = out.with_suffix(".txt")
        write_text(columns, "".join(f"{name}: {text}\n" for name, text in audits.DEFINITIONS.items()))
        say("\n".join([f"\nwritten: {out}", *map(str, [columns, *audits.draw(rows, varying, out)])]))
    return 0


def export_data(arguments: argparse.Namespace) -> int:
    out = Path(arguments.out)
    if out.suffix != ".npz" or not out.parent.is_dir():
        raise UsageError(f"--out {arguments.out}: name an .npz file in a folder that exists")
    entry = datasets[arguments.dataset]
    maker = entry.make(parse_settings(arguments.settings, entry, []).get(entry.name, {}))

    import numpy as np

    from bench.run.store import write_atomically

    arrays: dict[str, Any] = maker.generate(data_seed(arguments.root_seed, arguments.data_seed)).arrays()
    write_atomically(out, lambda file: np.savez_compressed(file, **arrays))
    for name, values in arrays.items():
        say(f"{name:10} {values.dtype!s:8} {' x '.join(map(str, values.shape))}")
    say(f"written: {out}")
    return 0


def score(arguments: argparse.Namespace) -> int:
    out = _csv_file(arguments.out)

    from bench.scores import ON_DEMAND, SCORES, files, load_all, metrics

    load_all()
    records = SCORES | ON_DEMAND if arguments.metrics == "all" else SCORES
    validation, test = files.read(arguments.file)
    say(f"{len(test.z)} points scored, matchings and probes fitted on the other {len(validation.z)}\n")
    found, wrong = metrics.Evaluation(validation, test).scores(records)
    found = {name: value for name, value in found.items() if value is not None}
    for name, value in found.items():
        values = value if isinstance(value, list) else [value]
        say(f"{name:{max(map(len, found))}}  {' '.join(f'{each:.4f}' for each in values)}")
    for sentence in wrong:
        say(sentence)
    if out:
        import pandas as pd

        from bench.run.store import write_text

        rows = [
            (name, value, f"{records[name].definition} Source: {records[name].source}.")
            for name, value in found.items()
        ]
        write_text(out, csv_text(pd.DataFrame(rows, columns=["score", "value", "definition"])))
        say(f"\nwritten: {out}")
    return 0


def _csv_file(name: str | None) -> Path | None:
    """The file that --out names. Raises UsageError where it is no .csv file in a folder that exists."""
    out = Path(name) if name else None
    if out and (out.suffix != ".csv" or not out.parent.is_dir()):
        raise UsageError(f"--out {name}: name a .csv file in a folder that exists")
    return out
