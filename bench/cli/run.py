"""The main job: trains every method on every cell of a grid, scores, ranks and plots them."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli import config, options, places
from bench.files import given
from bench.plan.charts import charts_of, pack_charts
from bench.plan.grid import parse_grid, parse_settings
from bench.plan.identity import digest
from bench.plan.packs import Pack, duration, expected_time, make_packs
from bench.plan.profiles import PROFILES
from bench.plan.shards import Shard, parse_shard
from bench.plan.trials import Trial, plan
from bench.run.placement import Placement
from bench.statuses import CRASHED, OK
from bench.text import count, printable, say
from datasets import datasets
from methods import STARTS, methods

if TYPE_CHECKING:
    from rich.console import Console

    from bench.report.results import Results
    from bench.run.store import Store

RUNS = "runs"  # in the folder of results
GOES_ON = "what is finished is kept, and the same command goes on from there"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=run)
    add = parser.add_argument
    options.add_data_options(parser, "any field of the data set or of a method", "by profile")
    add("--methods", metavar="A,B,C", help=f"methods to run, or all (default: {', '.join(usual_methods())})")
    options.add_profile_option(
        parser,
        [
            f"{k}: {p.seeds} seeds, {p.steps} steps of {p.batch_size} points, restarts {p.restarts}"
            for k, p in PROFILES.items()
        ],
    )
    add(
        "--start",
        dest="grid",
        action="append",
        type="start={}".format,
        metavar="A,B",
        help=f"where methods with an encoder and a decoder start: {', '.join(STARTS)} (an oracle), or several, which gives each its own rows "
        "and, from chart and truth, a table of what is lost to what (default: chart)",
    )
    add("--name", help="folder of the run under results/runs (default: from data set, profile and grid)")
    add(
        "--shard",
        metavar="K/N",
        help="train only the Kth of N parts of the trials, in a folder of its own, NAME.KofN; each part is the same on every machine, "
        "and `merge` joins them (default: all trials)",
    )
    add(
        "--keep",
        metavar="A,B",
        help="what to keep of every trial beside its scores and the latents of its first test points: models, which `export` writes and Python "
        "loads, and latents, those of all points; a finished trial that lacks them is trained again (default: nothing)",
    )
    add(
        "--executor",
        choices=("auto", "serial", "ray"),
        default="auto",
        help="where packs train: in this process, or on Ray (auto: Ray if there are several packs and cores)",
    )
    add(
        "--time-limit",
        type=options.seconds,
        metavar="SECONDS",
        help="stop a trial that has trained for this long; its status is then timed-out, and it is tried again under a higher limit "
        "(default: none)",
    )
    add(
        "--time-budget",
        type=options.time_span,
        metavar="TIME",
        help="end within this time, as 3h, 90min or 600: start nothing late, keep what running packs have, say what is left (default: none)",
    )
    options.add_placement_options(parser)
    options.add_plugin_option(parser, "plugins")


def usual_methods() -> list[str]:
    """What a run that names no methods has."""
    return [entry.name for entry in methods if entry.in_main_job]


def chosen_methods(arguments: argparse.Namespace) -> list[str]:
    """The methods that a command names, each registered; else the usual ones."""
    return usual_methods() if arguments.methods is None else options.method_names(arguments.methods)


def shard_of(arguments: argparse.Namespace) -> Shard | None:
    return parse_shard(arguments.shard) if arguments.shard is not None else None


def folder(arguments: argparse.Namespace) -> Path:
    """Where a command's run lies, or will."""
    return places.results(RUNS) / options.folder_name(arguments, shard_of(arguments))


@dataclass(frozen=True)
class Request:
    """A checked command: everything it asks for exists, has the right type and fits together."""

    name: str
    config: dict[str, Any]
    trials: list[Trial]
    placement: Placement
    shard: Shard | None = None  # of which `trials` are the part; all of them, if none is named


def resolve(arguments: argparse.Namespace) -> Request:
    """Raises UsageError for the first mistake."""
    dataset = datasets[arguments.dataset]
    names = chosen_methods(arguments)
    entries = [methods[name] for name in names]
    profile = PROFILES[arguments.profile]
    axes = parse_grid(arguments.grid, dataset, entries)
    settings = parse_settings(arguments.settings, dataset, entries)
    options.check_apart(axes, settings)
    budget = {"steps": profile.steps, "batch_size": profile.batch_size, "restarts": profile.restarts}
    for entry in entries:
        own = {field: value for field, value in budget.items() if field in entry.fields}
        settings[entry.name] = own | settings.get(entry.name, {})
    n_seeds = arguments.seeds or profile.seeds
    trials, added = plan(dataset.name, axes, settings, names, n_seeds, arguments.root_seed)
    shard = shard_of(arguments)
    if shard:
        trials = shard.part(trials)
    question = {
        "dataset": dataset.name,
        "methods": names,
        "profile": arguments.profile,
        "seeds": n_seeds,
        "root_seed": arguments.root_seed,
        "grid": axes,
        "added": added,
        "settings": settings,
        "plugins": arguments.plugins,
        "time_limit": arguments.time_limit,
        "shard": str(shard) if shard else None,
        "keep": sorted(options.kinds_kept(arguments.keep)),
    }
    placement = options.placement_of(arguments, arguments.executor, arguments.time_limit)
    placement = dataclasses.replace(placement, keep=options.kinds_kept(arguments.keep))
    return Request(options.folder_name(arguments, shard), question, trials, placement, shard)


def run(arguments: argparse.Namespace) -> int:
    request = resolve(arguments)
    if arguments.dry_run:
        store, placement = store_of(request), request.placement
        finished, _ = standing(store, placement)
        say(describe(request, finished, make_packs(request.trials, placement.device, arguments.plugins, finished)))
        for note in notes(request):
            say(note)
        return 0

    from rich.console import Console

    return train(arguments, request, Console(highlight=False))


def store_of(request: Request) -> Store:
    """The run's store, whose folder need not exist yet."""
    from bench.run.store import Store

    return Store(places.results(RUNS) / request.name)


def train(arguments: argparse.Namespace, request: Request, console: Console) -> int:
    """Trains what is missing of a request, and writes its report, unless it is a shard; says so on `console`. Returns the exit code."""
    from bench.report import results, write
    from bench.run import executors, manifest, speed, stopping
    from bench.run.store import write_bytes, write_text
    from bench.train import rows

    rows.check_columns(request.trials)
    store, placement = store_of(request), request.placement
    with store.lock():
        finished, lacking = standing(store, placement)
        for damage in store.damages:
            _say(console, damage)
        store.damages.clear()
        packs = make_packs(request.trials, placement.device, arguments.plugins, finished)
        manifest.record(store, request.config, request.trials, options.command_line(arguments), manifest.definitions())
        write_text(store.folder / config.FILE, repeating(arguments, request))
        for path in arguments.plugins:
            if path in given:  # code of a notebook, of which there is no file yet
                write_bytes(Path(path), given[path])
        store.plan(request.trials)
        skipped = sum(trial.trial_id in finished for trial in request.trials)
        note = f", {skipped} of them finished before" if skipped else ""
        where = f"{executors.choose(placement, packs)}, {placement.device}"
        n_trials, n_packs = count(len(request.trials), "trial"), count(len(packs), "pack")
        console.print(f"run {request.name}: {n_trials}{note}; {n_packs} on {where}", soft_wrap=True)
        for note in notes(request):
            _say(console, note)
        n_again = sum(trial.trial_id in lacking for trial in request.trials)
        if n_again:
            _say(
                console,
                f"finished without what --keep asks for: {count(n_again, 'trial')}, trained again in the place of their rows",
            )
        is_ray = executors.choose(placement, packs) == "ray"
        expected_s, n_workers = sum(pack.expected_s for pack in packs), options.n_workers(placement) if is_ray else 1
        pace = speed.pace(expected_s, n_workers, request.trials[0]) if packs else 1.0
        with stopping.listening(arguments.time_budget) as stop:
            if packs:
                executors.run(packs, store, placement, console, request.trials, stop, pace)
        if stop.reason:
            done, _ = standing(store, placement)
            n_left = sum(trial.trial_id not in done for trial in request.trials)
            _say(console, f"{stop.reason}: left are {n_left} of {count(len(request.trials), 'trial')}; {GOES_ON}")
            return 1
        if request.shard and not request.trials:
            console.print(f"shard {request.shard} has none of the data sets of this grid: there is nothing to train")
            return 0
        lacking = store.lacking(placement.keep)
        n_lacking = sum(trial.trial_id in lacking for trial in request.trials)
        if n_lacking:
            _say(
                console,
                f"still without what --keep asks for: {count(n_lacking, 'finished trial')}; the same command tries again",
            )
        found = results.gather([store])
        if request.shard:
            _say(console, f"shard {request.shard} is in {store.folder}; join it with the others by `merge`")
        else:
            console.print("writing tables, figures and report.html", soft_wrap=True)
            write.write(found, store.folder, console)
    own = found.trials[found.trials.trial_id.isin([trial.trial_id for trial in request.trials])]
    n_crashed, n_absent = int((own.status == CRASHED).sum()), len(request.trials) - len(own)
    if n_crashed or n_absent:
        first = f" ({own[own.status == CRASHED].error.iloc[0]})" if n_crashed else ""
        _say(
            console,
            f"without a result: {n_crashed + n_absent} of {count(len(request.trials), 'trial')}{first}; {GOES_ON}",
        )
    is_done = not n_crashed and not n_absent and not n_lacking
    if is_done and not request.shard:
        _say(console, next_step(found, request))
    return 0 if (own.status == OK).any() and not n_crashed and not n_absent and not n_lacking else 1


def repeating(arguments: argparse.Namespace, request: Request) -> str:
    """The configuration that repeats a request, whatever folder it is named in and whatever the defaults will be then."""
    name = request.name.removesuffix(request.shard.suffix if request.shard else "")
    return config.text(add_options, arguments, request.config | {"name": name})


def next_step(found: Results, request: Request) -> str:
    """What to do with a run that is done, in one line."""
    by = next((field for field in ("domains", *found.cells) if field in found.cells), None)
    steps = ["open report.html"]
    steps += [f"a board for each value: python run_bench.py report {request.name} --by {by}"] if by else []
    data = request.trials[0].make_dataset()
    if not getattr(data, "resplits", False) and getattr(data, "replicates", 1) == 1:  # else more seeds are no more data
        steps += [f"narrower intervals: the same command with --seeds {2 * request.config['seeds']}"]
    return f"next: {'; '.join(steps)}"


def standing(store: Store, placement: Placement) -> tuple[set[str], set[str]]:
    """Trials of a run that need no more training, and those that are finished but lack what is to be kept of them."""
    finished, lacking = store.finished(placement.time_limit), store.lacking(placement.keep)
    return finished - lacking, lacking


def notes(request: Request) -> list[str]:
    """What nobody asked for by name, a sentence each: cells that the data set adds to the grid, and what was made of a user's file."""
    added = request.config["added"]
    names = " or ".join(dict.fromkeys(field for setting in added for field in setting))
    strata = ", then with ".join(_setting_text(setting) for setting in added)
    said = [f"every cell is run with {strata}, since no --grid or --set names {names}"] * (len(added) > 1)
    own = [trial for trial in request.trials if hasattr(datasets[trial.dataset].cls, "notes")]
    makers = {digest(trial.dataset_fields): trial for trial in own}
    return list(dict.fromkeys([*said, *(note for trial in makers.values() for note in trial.make_dataset().notes)]))


def _setting_text(setting: Mapping[str, float]) -> str:
    """Values of several fields as "violation=0.5 and twins=0.5"."""
    return " and ".join(f"{field}={value:g}" for field, value in setting.items())


def _say(console: Any, text: str) -> None:
    console.print(printable(text), soft_wrap=True, markup=False)


def describe(request: Request, finished: Collection[str], packs: Sequence[Pack]) -> str:
    """What a dry run prints."""
    from tabulate import tabulate

    from bench.run import speed

    workers = options.n_workers(request.placement)
    charts = pack_charts(charts_of(pack.trials[slot] for pack in packs for slot in pack.slots))
    expected_s = sum(pack.expected_s for pack in packs) + sum(own.expected_s for own in charts)
    pace = speed.pace(expected_s, workers, request.trials[0]) if packs else 1.0
    table = []
    for name in request.config["methods"]:
        own = [pack for pack in packs if pack.method == name]
        n_trials = sum(len(pack.slots) for pack in own)
        table.append([name, n_trials, len(own), duration(pace * sum(pack.expected_s for pack in own))])
    if charts:
        time = duration(pace * sum(pack.expected_s for pack in charts))
        table.append(["charts", sum(len(pack.specs) for pack in charts), len(charts), time])
    n_finished = sum(trial.trial_id in finished for trial in request.trials)
    expected = [*(pack.expected_s for pack in charts), *(pack.expected_s for pack in packs)]
    time = duration(pace * expected_time(expected, workers))
    headers = ["method", "trials", "packs", "core time"]
    return "\n".join(
        [
            f"run {request.name}: {count(len(request.trials), 'trial')}, {n_finished} finished before, {count(len(packs), 'pack')} on "
            f"{request.placement.device}",
            tabulate(table, headers=headers, colalign=("left", "right", "right", "right")),
            f"estimated time: about {time} on {count(workers, 'core')}",
            "nothing was started",
        ]
    )
