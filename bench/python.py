"""The main job from Python: in a notebook or a script it is what the command line is in a terminal, and goes the same way.

`bench.run` is `run`, and `bench.results` is `read`.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console

from bench import cli
from bench.cli import config as configuration
from bench.cli import run as main_job
from bench.cli.report import run_folder
from bench.plan import cells
from bench.plan.plugins import load
from bench.registry import UsageError
from bench.report import figures, leaderboard, pairs, synergy
from bench.report import results as reading
from bench.run.store import Store

if TYPE_CHECKING:
    from bench.report.figures import Album

PLUGINS = "plugins"  # in the folder of a run: the code of methods that were defined in a notebook or a script


class RunResults:
    """What runs found. Everything is computed when it is first asked for, and nothing is written.

    `folders` are those of the runs, in which are also the files: report.html, leaderboard.md, figures and the rest. `results` is what the
    functions of `bench.report` take.
    """

    def __init__(self, folders: Sequence[Path], where: str | None = None):
        self.folders = list(folders)
        self.results = reading.gather([Store(folder) for folder in self.folders], where)

    @property
    def folder(self) -> Path:
        """The folder of the run, of several the first."""
        return self.folders[0]

    @property
    def frame(self) -> pd.DataFrame:
        """One row per trial: its method and data set with all their fields, its seed, status and time, and every score."""
        return self.results.trials

    @functools.cached_property
    def leaderboard(self) -> pd.DataFrame:
        """One row per method, the best first: means over data seeds with their intervals. See `bench.report.leaderboard.table`."""
        return leaderboard.table(self.results).copy()  # a user may change it

    @functools.cached_property
    def comparisons(self) -> pd.DataFrame:
        """One row per pair of methods, compared on the same data. See `bench.report.pairs.table`."""
        return pairs.table(self.results).copy()

    @functools.cached_property
    def synergy(self) -> pd.DataFrame:
        """What both assumptions add to the better one alone, by ladder and cell. See `bench.report.synergy.table`."""
        return synergy.table(self.results).copy()

    @functools.cached_property
    def verdicts(self) -> list[str]:
        """The same in sentences."""
        return synergy.verdicts(self.results, self.synergy)

    @functools.cached_property
    def figures(self) -> Album:
        """Every figure of the report by its name, as matplotlib figures, whose `axes` can be changed; `figures.captions` has their captions."""
        return figures.album(self.results)

    def __repr__(self) -> str:
        return "\n".join([leaderboard.render(self.leaderboard, self.results), "", *self.verdicts])


def run(
    grid: Mapping[str, Any] | None = None,
    methods: str | Iterable[str] | None = None,
    *,
    dataset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    profile: str | None = None,
    seeds: int | None = None,
    name: str | None = None,
    plugins: Iterable[str | Path] = (),
    config: str | Path | None = None,
    **options: Any,
) -> RunResults:
    """Trains every method on every cell of a grid of data sets, scores, ranks and plots them; returns what was found.

    It is the command line's main job, with the same options, defaults and files; what is finished is not trained again. `grid` has the
    values of each axis, as {"domains": range(2, 11)}, {"violation": "0..1:0.25"} or {"synergy-vae.alpha": [0.1, 1]}. `methods` are names, or
    "all". `settings` has single values, as {"sparse-mixing.n_latents": 6}. `options` are any others of the command line, with _ for -: `root_seed`,
    `keep`, `executor`, `time_limit` and so on; what is None is as if it was not named. `config` is a file as every run leaves one, beside which the rest counts first.

    Methods, data sets and scores that are registered in a notebook or in the script that runs take part like any others. Their code, with what
    it needs of the rest, is written to plugins/ in the run's folder.

    Raises UsageError, a ValueError, with one sentence that says what is wrong.
    """
    if options.get("dry_run"):
        raise UsageError(
            "dry_run starts nothing, and so has no results: leave it out, or use the command line's --dry-run"
        )
    named = {
        "dataset": dataset,
        "profile": profile,
        "seeds": seeds,
        "name": name,
        "plugin": plugins,
        "methods": methods,
    }
    tables = {"grid": grid or {}, "set": settings or {}}
    words = ["--config", str(config)] if config is not None else []
    words += configuration.words_of({**named, **options, **tables})
    arguments = cli.parse_arguments(words)
    chosen = main_job.chosen_methods(arguments)
    folder = main_job.folder(arguments)
    with cells.as_plugins([arguments.dataset, *chosen], folder / PLUGINS) as own:
        # As a command would name it: the same one can be given in a terminal.
        arguments.words += [word for path in own for word in ("--plugin", path)]
        arguments.plugins = load([*arguments.plugins, *own])
        request = main_job.resolve(arguments)
        main_job.train(arguments, request, _console())
        return RunResults([folder])


def _console() -> Console:
    """Where a run says how far it is. A notebook, whose output claims to be a terminal, gets a line now and then."""
    is_own = sys.stdout is sys.__stdout__
    return Console(highlight=False, force_jupyter=False, force_terminal=None if is_own else False)


def read(*names: str | Path, where: str | None = None) -> RunResults:
    """Returns what runs found that are there already, each named by its folder, or by its name under results/runs; trains nothing.

    `where` is a condition that trials must meet, as "domains <= 4 and method != 'pca'". Raises UsageError where there is no such run.
    """
    if not names:
        raise UsageError("name a run, as bench.results('first')")
    return RunResults([run_folder(str(name)) for name in names], where)
