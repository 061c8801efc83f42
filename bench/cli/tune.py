"""`tune`: a search for hyper-parameters, on data that no leaderboard uses and with the same budget for every method."""

from __future__ import annotations

import argparse
from typing import Any

from bench.cli import config as configuration
from bench.cli import options, places
from bench.plan.grid import parse_grid, parse_settings
from bench.plan.profiles import PROFILES
from bench.plan.trials import check_size, plan_cells
from bench.registry import UsageError
from bench.statuses import OK
from bench.text import say
from datasets import datasets
from methods import methods

TUNING = "tuning"  # in the folder of results
TUNING_SEEDS = 3


def add_commands(commands: Any) -> None:
    command = commands.add_parser(
        "tune",
        help="search hyper-parameters, on data that no leaderboard uses and with the same budget for every method",
        allow_abbrev=False,
    )
    command.set_defaults(run=run)
    add_options(command)


def add_options(command: argparse.ArgumentParser) -> None:
    options.add_data_options(command, "any field of the data set", str(TUNING_SEEDS))
    add = command.add_argument
    add(
        "--methods",
        default=options.ALL,
        metavar="A,B,C",
        help="methods to tune (default: all that declare a search space)",
    )
    add(
        "--budget",
        type=options.positive,
        metavar="N",
        help="model-steps for each method: steps times models (needed, here or by --config)",
    )
    options.add_profile_option(command, [f"{k}: {p.steps} steps of {p.batch_size} points" for k, p in PROFILES.items()])
    add(
        "--rungs",
        type=options.positive,
        default=2,
        metavar="N",
        help="times that configurations are compared, the end included; 1 trains every one to the end (default: %(default)s)",
    )
    add("--name", help="folder of the search under results/tuning (default: from data set, profile and grid)")
    options.add_placement_options(command)
    options.add_plugin_option(command)


def run(arguments: argparse.Namespace) -> int:
    if arguments.budget is None:
        raise UsageError("tune needs --budget N, the model-steps for each method: steps times models")
    from bench.tune import execution, rules, search, summary

    dataset = datasets[arguments.dataset]
    names = search.tunable() if arguments.methods == options.ALL else options.method_names(arguments.methods)
    axes = parse_grid(arguments.grid, dataset, [])
    settings = parse_settings(arguments.settings, dataset, [methods[name] for name in names])
    options.check_apart(axes, settings)
    named = {**axes.get(dataset.name, {}), **settings.get(dataset.name, {})}
    usual = {field: values for field, values in search.CELLS.get(dataset.name, {}).items() if field not in named}
    axes[dataset.name] = usual | axes.get(dataset.name, {})
    cells, added = plan_cells(dataset.name, axes, settings)
    profile = PROFILES[arguments.profile]
    for name in names:
        settings[name] = {"steps": profile.steps, "batch_size": profile.batch_size} | settings.get(name, {})
    n_seeds = arguments.seeds or TUNING_SEEDS
    check_size(len(cells) * n_seeds, "data sets")
    searches = search.plan_searches(
        names, settings, dataset.name, cells, n_seeds, arguments.root_seed, arguments.rungs, arguments.budget
    )
    placement = options.placement_of(arguments)
    from bench.run.store import SEARCH, Store, write_text

    store = Store(places.results(TUNING) / options.folder_name(arguments), needed=SEARCH)
    workers = options.n_workers(placement)
    if arguments.dry_run:
        say(execution.describe(execution.ledgers(searches, arguments.budget, store), workers))
        return 0

    from rich.console import Console

    from bench.run import manifest

    console = Console(highlight=False)
    config = {
        "dataset": dataset.name,
        "methods": names,
        "profile": arguments.profile,
        "seeds": n_seeds,
        "root_seed": arguments.root_seed,
        "grid": axes,
        "added": added,
        "settings": settings,
        "budget": arguments.budget,
        "plugins": arguments.plugins,
        "rungs": {each.method: each.rungs for each in searches},
    }
    with store.lock():
        ledgers = execution.ledgers(searches, arguments.budget, store)
        for damage in store.damages:
            console.print(damage, soft_wrap=True, markup=False)
        first = [each.trials(each.fields(0))[0] for each in searches]
        manifest.record(store, config, first, options.command_line(arguments), rules.DEFINITIONS)
        console.print(execution.describe(ledgers, workers), soft_wrap=True)
        write_text(
            store.folder / configuration.FILE,
            configuration.text(add_options, arguments, config | {"name": store.folder.name}),
        )
        execution.run(ledgers, store, placement, console, arguments.plugins)
        rows = summary.write(store, searches, console)
    return 0 if (rows.status == OK).any() else 1
