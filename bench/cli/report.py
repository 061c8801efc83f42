"""`report` and `compare`: tables and figures of runs, from what they left. Nothing is trained."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import Any

from bench.cli import options, places
from bench.cli.run import RUNS
from bench.plan.identity import digest
from bench.registry import UsageError, nearest
from bench.text import count, say

REPORTS = "reports"  # in the folder of results


def add_commands(commands: Any) -> None:
    command = commands.add_parser(
        "report", help="tables and figures of a run, or of several together, without training", allow_abbrev=False
    )
    run_help = "a folder, or a name under results/runs"
    add = command.add_argument
    add("names", nargs="+", metavar="RUN", help=f"{run_help}; several make one board")
    add("--by", action="append", default=[], metavar="FIELD", help="a leaderboard for each value of it, repeatable")
    add("--where", metavar="CONDITION", help="only those trials, as \"domains<=4 and method!='pca'\"")
    add("--style", metavar="STYLE", help="a matplotlib style for the figures, by name or file")
    add(
        "--width",
        default="neurips",
        metavar="WIDTH",
        help="of the figures: that of the text of a venue (iclr, neurips, tmlr, icml, icml-column ...), or inches (default: %(default)s)",
    )
    add(
        "--columns",
        default="",
        metavar="NAME,...",
        help="the columns of leaderboard.tex, in their order: scores of leaderboard.csv, and rank, iqm, pessimistic, seeds, ok, failed, train",
    )
    add(
        "--out",
        metavar="FOLDER",
        help="where to (default: the run's own folder; results/reports/NAMES for several runs, or with --where)",
    )
    add("--tensorboard", action="store_true", help="also write learning curves as event files for TensorBoard")
    add(
        "--wandb",
        action="store_true",
        help="also write each trial as an offline run of Weights & Biases, which `wandb sync` sends there; nothing is sent here",
    )
    options.add_metrics_option(
        command, "all: also write metrics.csv and metrics.md, scores on demand from the latents that the runs kept"
    )
    command.set_defaults(run=report)
    command = commands.add_parser(
        "compare", help="what changed from one run to another, on the data that both have", allow_abbrev=False
    )
    command.add_argument("first", metavar="RUN_A", help=run_help)
    command.add_argument("second", metavar="RUN_B", help="the same")
    command.add_argument(
        "--out", metavar="FOLDER", help="also write compare.md, and compare.csv with every cell, there"
    )
    command.set_defaults(run=compare)


def report(arguments: argparse.Namespace) -> int:
    folders = list(dict.fromkeys(run_folder(name) for name in arguments.names))
    if arguments.out:
        out = Path(arguments.out)
    elif len(folders) == 1 and arguments.where is None:
        out = folders[0]
    else:
        out = places.results(REPORTS) / options.short_name("+".join(folder.name for folder in folders), arguments.where)
        if arguments.where is not None:
            out = Path(f"{out}-{digest(arguments.where)[:6]}")  # "<" and ">" are both "-" in it

    from rich.console import Console

    from bench.report import events, on_demand, results, write
    from bench.report.figures import setting
    from bench.run.store import Store

    with setting(arguments.style, arguments.width):
        pass  # a style or a width that there is not is an error before anything is written
    if arguments.wandb:
        events.require_wandb()
    columns = [name.strip() for name in arguments.columns.split(",") if name.strip()]
    stores = {folder: Store(folder) for folder in folders}
    # A run's own report needs no more than the run; any other, this command too.
    command = None if out in stores else options.command_line(arguments)
    with stores[out].lock() if out in stores else contextlib.nullcontext():
        found = results.gather(list(stores.values()), arguments.where)
        console = Console(highlight=False)
        write.write(found, out, console, arguments.by, arguments.style, command, arguments.width, columns)
        if arguments.tensorboard:
            n_curves = events.write(found, out)
            say(f"learning curves of {count(n_curves, 'trial')}: tensorboard --logdir {out / events.FOLDER}")
        if arguments.wandb:
            n_curves = events.write_wandb(found, out)
            say(f"learning curves of {count(n_curves, 'trial')}: wandb sync {out / events.WANDB}/wandb/offline-run-*")
        if arguments.metrics == "all":
            said = set(found.damages)
            for path in on_demand.write(found, out):
                say(f"written: {path}")
            for damage in found.damages:
                if damage not in said:
                    say(damage)
    return 0


def compare(arguments: argparse.Namespace) -> int:
    folders = [run_folder(name) for name in (arguments.first, arguments.second)]

    from bench.report import compare as comparison
    from bench.report import results
    from bench.run.store import Store

    a, b = (results.gather([Store(folder)]) for folder in folders)
    sides = {"A": a, "B": b}
    results.merged({f"{side} = {found.manifest['name']}": dict(found.manifest) for side, found in sides.items()})
    say(comparison.render(a, b)[0])
    if arguments.out:
        for path in comparison.write(a, b, Path(arguments.out)):
            say(f"written: {path}")
    return 0


def run_folder(name: str) -> Path:
    """The folder of a run, from its name or itself. Raises UsageError where there is none."""
    places_of_runs = places.all_results(RUNS)
    for folder in (Path(name), *(place / name for place in places_of_runs)):
        if (folder / "manifest.json").exists():
            return folder
    known = sorted({path.parent.name for place in places_of_runs for path in place.glob("*/manifest.json")})
    raise UsageError(f"there is no run {name!r}; {nearest(name, known) if known else 'there are no runs yet'}")
