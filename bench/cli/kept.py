"""`latents` and `export`: what a run kept of a trial, for use elsewhere. Nothing is trained."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bench.cli import options
from bench.cli.report import run_folder
from bench.registry import UsageError
from bench.text import csv_pieces, say

TRIAL = "id of a trial, the first characters of it, or a method of which the run has one trial"


def add_commands(commands: Any) -> None:
    command = commands.add_parser(
        "latents",
        help="write the estimated latents of all points of a trial (see --keep) as a table",
        allow_abbrev=False,
    )
    _add_trial(command)
    command.add_argument(
        "--out", required=True, metavar="FILE", help="a .csv or .parquet file, in a folder that exists"
    )
    command.set_defaults(run=latents)
    command = commands.add_parser(
        "export",
        help="write the encoder and the decoder of a trial (see --keep) as torch.export archives, which run without this project",
        allow_abbrev=False,
    )
    _add_trial(command)
    command.add_argument("--out", required=True, metavar="FOLDER", help="where to")
    options.add_plugin_option(command)
    command.set_defaults(run=export)


def _add_trial(command: argparse.ArgumentParser) -> None:
    command.add_argument("run_name", metavar="RUN", help="a folder, or a name under results/runs")
    command.add_argument("trial", metavar="TRIAL", help=TRIAL)


def latents(arguments: argparse.Namespace) -> int:
    out = Path(arguments.out)
    if out.suffix not in (".csv", ".parquet") or not out.parent.is_dir():
        raise UsageError(f"--out {arguments.out}: name a .csv or .parquet file in a folder that exists")

    from bench.run.store import Store, write_atomically

    store = Store(run_folder(arguments.run_name))
    table = store.every_latent(store.trial(arguments.trial))
    if out.suffix == ".csv":
        pieces = (piece.encode("utf-8", "replace") for piece in csv_pieces(table))
        write_atomically(out, lambda file: file.writelines(pieces))
    else:
        write_atomically(out, lambda file: table.to_parquet(file))
    say(f"written: {out}, {len(table)} points")
    return 0


def export(arguments: argparse.Namespace) -> int:
    out = Path(arguments.out)
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {arguments.out}: it is a file; name a folder")

    from bench.run import load
    from bench.run.store import Store, write_bytes

    store = Store(run_folder(arguments.run_name))
    row = store.trial(arguments.trial)
    model = load.of_row(store, row)

    from bench.train import exported

    for name, content in exported.files(model, row).items():
        write_bytes(out / name, content)
        say(f"written: {out / name}")
    return 0
