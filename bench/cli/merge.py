"""`merge`: several runs, shards of one or runs of other machines, joined into one. Nothing is trained."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bench.cli import options, places
from bench.cli.report import run_folder
from bench.cli.run import RUNS
from bench.registry import UsageError
from bench.text import say


def add_commands(commands: Any) -> None:
    command = commands.add_parser(
        "merge", help="join runs, as the shards of one, into one run; then `report` it", allow_abbrev=False
    )
    command.add_argument("names", nargs="+", metavar="RUN", help="name of a run under results/runs, or its folder")
    command.add_argument(
        "--out",
        required=True,
        metavar="NAME",
        help="the run that they are added to: its name under results/runs, or its folder if there is a / in it; it may exist",
    )
    options.add_plugin_option(command)
    command.set_defaults(run=merge)


def merge(arguments: argparse.Namespace) -> int:
    runs = places.results(RUNS)
    out = Path(arguments.out) if "/" in arguments.out else runs / options.checked_name(arguments.out, "--out")
    folders = {folder.resolve(): folder for folder in map(run_folder, arguments.names)}
    folders.pop(out.resolve(), None)
    if not folders:
        raise UsageError(f"--out {arguments.out}: name another run to add to it")

    from bench.report import results
    from bench.run import merge as merging
    from bench.run.store import Store

    sources, target = [Store(folder) for folder in folders.values()], Store(out)
    merging.check(sources, target)
    results.merged(
        merging.manifests(sources, target)
    )  # a run that does not go with the others is refused before anything is written
    with target.lock():
        manifest = results.merged(merging.manifests(sources, target))
        for sentence in merging.merge(sources, target, manifest):
            say(sentence)
    name = arguments.out if out.parent == runs else out
    say(f"its tables and figures: run_bench.py report {name}")
    return 0
