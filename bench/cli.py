"""The command line: what is asked for, checked before anything starts; heavy imports wait until something runs."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import plugins
from bench.grid import parse_grid, parse_settings
from bench.profiles import PROFILES
from bench.trials import ROOT_SEEDS, Pack, Trial, digest, duration, expected_time, make_packs, plan, plan_cells
from datasets import datasets
from methods import methods
from registry import Entry, UsageError, nearest

RUNS, TUNING = Path("results/runs"), Path("results/tuning")
REPORTS = Path("results/reports")
DEFAULT_METHODS = (
    "vae", "sparse-vae", "ivae", "flow-vae", "synergy-vae", "supervised", "identity", "pca", "fastica", "random",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 1 every trial asked for failed, 2 a mistake in the command, 130 interrupted."""
    try:
        arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
        arguments.plugins = plugins.load(arguments.plugins + arguments.more_plugins)
        return arguments.run(arguments)
    except UsageError as error:
        print(f"run_bench.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; finished packs are kept, and the same command goes on from there", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output is gone, as in `list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


class Parser(argparse.ArgumentParser):
    """Says a mistake in one sentence, as the rest of the program does, instead of printing its usage."""

    def error(self, message: str):
        raise UsageError(message)


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Raises UsageError for a mistake that shows without looking at methods and data sets."""
    parser = Parser(
        prog="run_bench.py",
        description="Trains every method on every cell of a grid of data sets, scores, ranks and plots them. "
        "The same command again trains only what is missing.",
        epilog="example: python run_bench.py --grid domains=2..10",
        allow_abbrev=False,
    )
    parser.set_defaults(run=command_run, more_plugins=[])
    add = parser.add_argument
    _add_data_options(parser, "any field of the data set or of a method", "by profile")
    add("--methods", default=",".join(DEFAULT_METHODS), metavar="A,B,C", help="methods to run (default: %(default)s)")
    _add_profile_option(
        parser,
        [
            f"{k}: {p.seeds} seeds, {p.steps} steps of {p.batch_size} points, restarts {p.restarts}"
            for k, p in PROFILES.items()
        ],
    )
    add("--name", help="folder of the run under results/runs (default: from data set, profile and grid)")
    add(
        "--executor",
        choices=("auto", "serial", "ray"),
        default="auto",
        help="where packs train: in this process, or on Ray (auto: Ray if there are several packs and cores)",
    )
    add(
        "--time-limit",
        type=_seconds,
        metavar="SECONDS",
        help="that a trial may train; one that takes longer is timed-out, and tried again only under a higher limit (default: none)",
    )
    _add_placement_options(parser)

    commands = parser.add_subparsers(title="other commands", metavar="COMMAND")
    command = commands.add_parser("list", help="methods and data sets, a line each", allow_abbrev=False)
    command.set_defaults(run=command_list)
    command = commands.add_parser("show", help="fields of a method or data set", allow_abbrev=False)
    command.add_argument("entry", metavar="NAME")
    command.set_defaults(run=command_show)
    command = commands.add_parser(
        "audit",
        help="what a grid of data sets holds, and what theory promises on it; trains nothing",
        allow_abbrev=False,
    )
    command.set_defaults(run=command_audit)
    _add_data_options(command, "any field of the data set", "5")
    command.add_argument(
        "--out", metavar="FILE.csv", help="write the table there; beside it what its columns mean, and the promise maps"
    )
    command = commands.add_parser(
        "tune",
        help="search hyper-parameters, on data that no leaderboard uses and with the same budget for every method",
        allow_abbrev=False,
    )
    command.set_defaults(run=command_tune)
    _add_data_options(command, "any field of the data set", "3")
    add = command.add_argument
    add("--methods", default="all", metavar="A,B,C", help="methods to tune (default: all that declare a search space)")
    add("--budget", type=_positive, required=True, metavar="N", help="model-steps for each method: steps times models")
    _add_profile_option(command, [f"{k}: {p.steps} steps of {p.batch_size} points" for k, p in PROFILES.items()])
    add("--rungs", type=_positive, default=2, metavar="N", help="times that configurations are compared, the end included; "
        "1 trains every one to the end (default: %(default)s)")  # fmt: skip
    add("--name", help="folder of the search under results/tuning (default: from data set, profile and grid)")
    _add_placement_options(command)
    command = commands.add_parser(
        "score", help="score latents that were estimated elsewhere, by the same definitions", allow_abbrev=False
    )
    command.add_argument(
        "file", metavar="FILE.npz", help="arrays z and z_hat, (n_samples, .), and domain, if there are several"
    )
    command.set_defaults(run=command_score)
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
        "--out",
        metavar="FOLDER",
        help="where to (default: the run's own folder; results/reports/NAMES for several runs, or with --where)",
    )
    command.set_defaults(run=command_report)
    command = commands.add_parser(
        "compare", help="what changed from one run to another, on the data that both have", allow_abbrev=False
    )
    command.add_argument("first", metavar="RUN_A", help=run_help)
    command.add_argument("second", metavar="RUN_B", help="the same")
    command.add_argument(
        "--out", metavar="FOLDER", help="also write compare.md, and compare.csv with every cell, there"
    )
    command.set_defaults(run=command_compare)
    _add_plugins(parser, "plugins")
    for name in ("list", "show", "audit", "tune", "report", "compare"):
        _add_plugins(commands.choices[name], "more_plugins")  # before the command's name or after it: both count

    parsers = [parser, *commands.choices.values()]
    options = {o for p in parsers for action in p._actions for o in action.option_strings if o.startswith("--")}
    for word in argv:
        option = word.split("=")[0]
        if option.startswith("--") and option not in options:
            raise UsageError(f"there is no option {option!r}; {nearest(option, sorted(options))}")
    return parser.parse_args(argv)


def _add_profile_option(parser: argparse.ArgumentParser, profiles: Sequence[str]) -> None:
    parser.add_argument("--profile", choices=PROFILES, default="default", help="; ".join(profiles))


def _add_placement_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--ray-address",
        metavar="ADDRESS",
        help="an existing Ray cluster, or auto; it must share this folder (implies Ray)",
    )
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="what a pack trains on (default: auto)")
    add("--gpus-per-pack", type=_fraction, metavar="F", help="GPUs that a pack holds (default: 1 on cuda, 0 on cpu)")
    add("--dry-run", action="store_true", help="say what would run and for about how long, and start nothing")


def _add_data_options(parser: argparse.ArgumentParser, fields: str, n_seeds: str) -> None:
    add = parser.add_argument
    add(
        "--grid",
        action="append",
        default=[],
        metavar="KEY=VALUES",
        help=f"axis of the grid, repeatable: {fields}; values as 2..10, 0..1:0.25 or a,b,c",
    )
    add("--dataset", default="sparse-mixing", help="data set to run on (default: %(default)s)")
    add("--seeds", type=_positive, metavar="N", help=f"data seeds per cell (default: {n_seeds})")
    add("--root-seed", type=_natural, default=0, metavar="N", help="seed from which all others follow (default: 0)")
    add(
        "--set",
        action="append",
        default=[],
        metavar="NAME.FIELD=VALUE",
        dest="settings",
        help=f"{fields} at one value, repeatable, as in sparse-mixing.n_latents=6",
    )


def _add_plugins(parser: argparse.ArgumentParser, dest: str) -> None:
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        dest=dest,
        metavar="FILE.py",
        help="a file of yours that registers methods or data sets, repeatable; see docs/add-a-method.md",
    )


@dataclass(frozen=True)
class Request:
    """A checked command: everything it asks for exists, has the right type and fits together."""

    name: str
    config: dict[str, Any]
    trials: list[Trial]
    device: str


def resolve(arguments: argparse.Namespace) -> Request:
    """Raises UsageError for the first mistake."""
    dataset = datasets[arguments.dataset]
    names = _method_names(arguments)
    entries = [methods[name] for name in names]
    profile = PROFILES[arguments.profile]
    axes = parse_grid(arguments.grid, dataset, entries)
    settings = parse_settings(arguments.settings, dataset, entries)
    _check_apart(axes, settings)
    budget = {"steps": profile.steps, "batch_size": profile.batch_size, "restarts": profile.restarts}
    for entry in entries:
        own = {field: value for field, value in budget.items() if field in entry.fields}
        settings[entry.name] = own | settings.get(entry.name, {})
    n_seeds = arguments.seeds or profile.seeds
    trials = plan(dataset.name, axes, settings, names, n_seeds, arguments.root_seed)
    values = {field: list(dict.fromkeys(trial.dataset_fields[field] for trial in trials)) for field in dataset.fields}
    asked = axes.get(dataset.name, {})
    axes[dataset.name] = {field: found for field, found in values.items() if len(found) > 1 or field in asked}
    name = _folder_name(arguments)
    _check_placement(arguments)
    config = {
        "dataset": dataset.name,
        "methods": names,
        "profile": arguments.profile,
        "seeds": n_seeds,
        "root_seed": arguments.root_seed,
        "grid": axes,
        "settings": settings,
        "plugins": arguments.plugins,
        "time_limit": arguments.time_limit,
    }
    return Request(name, config, trials, _device(arguments))


def _method_names(arguments: argparse.Namespace) -> list[str]:
    names = [name.strip() for name in arguments.methods.split(",") if name.strip()]
    for name in names:
        methods[name]  # raises UsageError
    if not names or len(set(names)) < len(names):
        raise UsageError("--methods must name at least one method, and none twice")
    return names


def _folder_name(arguments: argparse.Namespace) -> str:
    name = default_name(arguments) if arguments.name is None else arguments.name
    if not re.fullmatch(r"[\w.=,+-]{1,200}", name) or name.startswith("."):
        raise UsageError(f"--name {name!r}: use letters, digits and . _ - = + only, at most 200 of them")
    return name


def _check_apart(axes: dict[str, dict], settings: dict[str, dict]) -> None:
    for owner, fields in axes.items():
        for field in fields.keys() & settings.get(owner, {}).keys():
            raise UsageError(f"{owner}.{field} is both in --grid and in --set")


def default_name(arguments: argparse.Namespace) -> str:
    """The same for the same question, so that repeating a command goes on with its run."""
    parts = [arguments.dataset, arguments.profile, *arguments.grid, *arguments.settings]
    parts += [f"root-seed={arguments.root_seed}"] if arguments.root_seed else []
    return _short(*parts)


def _short(*parts: str | None) -> str:
    """The name of a folder that is another one for other `parts`."""
    name = re.sub(r"[^\w.=,+-]", "-", "-".join(filter(None, parts)))
    return name if len(name) <= 100 else f"{name[:100]}-{digest(parts)}"


def _check_placement(arguments: argparse.Namespace) -> None:
    if arguments.executor == "serial" and arguments.ray_address:
        raise UsageError("--ray-address has no meaning with --executor serial; leave one of them out")


def command_run(arguments: argparse.Namespace) -> int:
    request = resolve(arguments)
    from bench.store import Store

    store = Store(RUNS / request.name)
    if arguments.dry_run:
        missing = store.missing(request.trials, arguments.time_limit)
        print(describe(request, missing, make_packs(missing, request.device, arguments.plugins), _workers(arguments)))
        return 0

    from rich.console import Console

    from bench import report, runner

    if arguments.plugins or plugins.installed():
        from bench import worker

        worker.check_columns(request.trials)
    console = Console(highlight=False)
    with store.lock():
        missing = store.missing(request.trials, arguments.time_limit)
        packs = make_packs(missing, request.device, arguments.plugins)
        executor = arguments.executor
        if executor == "auto":
            several = len(packs) > 1 and (os.cpu_count() or 1) > 1
            executor = "ray" if arguments.ray_address or several else "serial"
        report.record(store, request.config, request.trials, _command(), report.definitions())
        skipped = len(request.trials) - len(missing)
        note = f", {skipped} of them finished before" if skipped else ""
        console.print(
            f"run {request.name}: {len(request.trials)} trials{note}; {len(packs)} packs on {executor}, {request.device}"
        )
        if packs:
            runner.run(
                packs, store, executor=executor, device=request.device, console=console,
                ray_address=arguments.ray_address, gpus_per_pack=_gpus(arguments, request.device),
                time_limit=arguments.time_limit,
            )  # fmt: skip
        results = report.gather([store])
        report.write(results, store.folder, console)
    asked = results.trials[results.trials.trial_id.isin([trial.trial_id for trial in request.trials])]
    return 0 if (asked.status == "ok").any() else 1


def describe(request: Request, missing: list[Trial], packs: list[Pack], workers: int) -> str:
    """What a dry run prints."""
    from tabulate import tabulate

    table = []
    for name in request.config["methods"]:
        own = [pack for pack in packs if pack.method == name]
        n_trials = sum(len(pack.trials) for pack in own)
        table.append([name, n_trials, len(own), duration(sum(pack.expected_s for pack in own))])
    finished = len(request.trials) - len(missing)
    return "\n".join(
        [
            f"run {request.name}: {len(request.trials)} trials, {finished} finished before, {len(packs)} packs on {request.device}",
            tabulate(
                table, headers=["method", "trials", "packs", "core time"], colalign=("left", "right", "right", "right")
            ),
            f"estimated time: about {duration(expected_time(packs, workers))} on {workers} cores",
            "nothing was started",
        ]
    )


def command_list(arguments: argparse.Namespace) -> int:
    for title, registry in (("methods", methods), ("data sets", datasets)):
        print(f"{title}:")
        entries = list(registry)
        width = max(len(entry.name) for entry in entries)
        for entry in entries:
            role = getattr(entry.cls, "role", "method")
            mark = "" if role == "method" else f"[{role}] "
            print(f"  {entry.name:{width}}  {mark}{entry.summary} ({entry.source})")
    return 0


def command_show(arguments: argparse.Namespace) -> int:
    entry = _find(arguments.entry)
    print(f"{entry.name} ({entry.source})\n")
    print("\n".join(line.removeprefix("    ") for line in (entry.cls.__doc__ or "").strip().split("\n")))
    print("\nfields:")
    kinds = entry.types()
    for name, field in entry.fields.items():
        kind = getattr(kinds[name], "__name__", None) or str(kinds[name])
        bounds = [f"at least {field.metadata['low']}"] if field.metadata["low"] is not None else []
        bounds += [f"at most {field.metadata['high']}"] if field.metadata["high"] is not None else []
        bounds += [f"search: {field.metadata['tune']}"] if field.metadata["tune"] else []
        note = f" ({', '.join(bounds)})" if bounds else ""
        default = "none" if field.default is None else field.default
        print(f"  {name} = {default}  [{kind}]\n      {field.metadata['help']}{note}")
    return 0


def _find(name: str) -> Entry:
    if name in methods.names():
        return methods[name]
    if name in datasets.names():
        return datasets[name]
    known = [*methods.names(), *datasets.names()]
    raise UsageError(f"there is no method or data set {name!r}; {nearest(name, known)}")


def command_audit(arguments: argparse.Namespace) -> int:
    dataset = datasets[arguments.dataset]
    axes = parse_grid(arguments.grid, dataset, [])
    settings = parse_settings(arguments.settings, dataset, [])
    _check_apart(axes, settings)
    cells = plan_cells(dataset.name, axes, settings)
    out = Path(arguments.out) if arguments.out else None
    if out and (out.suffix != ".csv" or not out.parent.is_dir()):
        raise UsageError(f"--out {arguments.out}: name a .csv file in a folder that exists")

    from bench import audit

    rows = audit.table(dataset.name, cells, arguments.seeds or 5, arguments.root_seed)
    varying = [field for field in dataset.fields if rows[field].nunique(dropna=False) > 1]
    print(audit.render(rows, varying))
    if out:
        rows.to_csv(out, index=False)
        columns = out.with_suffix(".txt")
        columns.write_text("".join(f"{name}: {text}\n" for name, text in audit.DEFINITIONS.items()))
        print("\n".join([f"\nwritten: {out}", *map(str, [columns, *audit.draw(rows, varying, out)])]))
    return 0


def command_tune(arguments: argparse.Namespace) -> int:
    from bench import selection, tuning

    dataset = datasets[arguments.dataset]
    names = tuning.tunable() if arguments.methods == "all" else _method_names(arguments)
    axes = parse_grid(arguments.grid, dataset, [])
    settings = parse_settings(arguments.settings, dataset, [methods[name] for name in names])
    _check_apart(axes, settings)
    named = {**axes.get(dataset.name, {}), **settings.get(dataset.name, {})}
    usual = {field: values for field, values in tuning.CELLS.get(dataset.name, {}).items() if field not in named}
    axes[dataset.name] = usual | axes.get(dataset.name, {})
    cells = plan_cells(dataset.name, axes, settings)
    profile = PROFILES[arguments.profile]
    for name in names:
        settings[name] = {"steps": profile.steps, "batch_size": profile.batch_size} | settings.get(name, {})
    searches = tuning.plan_searches(
        names,
        settings,
        dataset.name,
        cells,
        arguments.seeds or 3,
        arguments.root_seed,
        arguments.rungs,
        arguments.budget,
    )
    device = _device(arguments)
    from bench.store import Store

    store = Store(TUNING / _folder_name(arguments))
    if arguments.dry_run:
        print(tuning.describe(tuning.ledgers(searches, arguments.budget, store), _workers(arguments)))
        return 0

    from rich.console import Console

    from bench import report

    console = Console(highlight=False)
    config = {
        "dataset": dataset.name,
        "methods": names,
        "profile": arguments.profile,
        "seeds": arguments.seeds or 3,
        "root_seed": arguments.root_seed,
        "grid": axes,
        "settings": settings,
        "budget": arguments.budget,
        "plugins": arguments.plugins,
        "rungs": {search.method: search.rungs for search in searches},
    }
    with store.lock():
        ledgers = tuning.ledgers(searches, arguments.budget, store)
        first = [search.trials(search.fields(0))[0] for search in searches]
        report.record(store, config, first, _command(), selection.DEFINITIONS)
        console.print(tuning.describe(ledgers, _workers(arguments)), soft_wrap=True)
        tuning.run(
            ledgers, store, device=device, console=console, ray_address=arguments.ray_address,
            gpus_per_pack=_gpus(arguments, device), plugins=arguments.plugins,
        )  # fmt: skip
        rows = tuning.write(store, searches, console)
    return 0 if (rows.status == "ok").any() else 1


def command_score(arguments: argparse.Namespace) -> int:
    from bench import metrics

    validation, test = metrics.read(arguments.file)
    print(f"{len(test.z)} points scored, matchings and probes fitted on the other {len(validation.z)}\n")
    for name, value in metrics.score(validation, test).items():
        values = value if isinstance(value, list) else [value]
        if value is not None:
            print(f"{name:{max(map(len, metrics.DEFINITIONS))}}  {' '.join(f'{each:.4f}' for each in values)}")
    return 0


def command_report(arguments: argparse.Namespace) -> int:
    folders = list(dict.fromkeys(_run_folder(name) for name in arguments.names))
    if arguments.out:
        out = Path(arguments.out)
    elif len(folders) == 1 and arguments.where is None:
        out = folders[0]
    else:
        out = REPORTS / _short("+".join(folder.name for folder in folders), arguments.where)
        out = (
            out if arguments.where is None else Path(f"{out}-{digest(arguments.where)[:6]}")
        )  # "<" and ">" are both "-" in it

    from rich.console import Console

    from bench import figures, report

    with figures.setting(arguments.style):
        pass  # a style that there is not is an error before anything is written
    console = Console(highlight=False)
    stores = _open(folders, console)
    with contextlib.ExitStack() as stack:
        for store in stores:
            stack.enter_context(store.lock())
        results = report.gather(stores, arguments.where)
        # A run's own report needs no more than the run; any other, this command too.
        command = None if out in folders else _command()
        report.write(results, out, console, arguments.by, arguments.style, command)
    return 0


def command_compare(arguments: argparse.Namespace) -> int:
    folders = [_run_folder(name) for name in (arguments.first, arguments.second)]

    from rich.console import Console

    from bench import compare, report

    console = Console(highlight=False)
    sides = []
    for store in _open(folders, console):
        with store.lock():
            sides.append(report.gather([store]))
    a, b = sides
    report.merged({f"A = {folders[0].name}": a.manifest, f"B = {folders[1].name}": b.manifest})  # refuses other data
    console.print(compare.render(a, b)[0], soft_wrap=True, markup=False)
    if arguments.out:
        for path in compare.write(a, b, Path(arguments.out)):
            console.print(f"written: {path}", soft_wrap=True, markup=False)
    return 0


def _run_folder(name: str) -> Path:
    """Of a run, from its name or folder. Raises UsageError where there is none."""
    for folder in (Path(name), RUNS / name):
        if (folder / "manifest.json").exists():
            return folder
    known = sorted(path.parent.name for path in RUNS.glob("*/manifest.json"))
    raise UsageError(f"there is no run {name!r}; {nearest(name, known) if known else 'there are no runs yet'}")


def _open(folders: Sequence[Path], console: Any) -> list[Any]:
    """The stores of runs, with the plugins that they used loaded."""
    from bench.store import Store

    stores = [Store(folder) for folder in folders]
    commands = [command for store in stores for command in store.manifest()["commands"]]
    for file in dict.fromkeys(file for command in commands for file in command["config"].get("plugins", [])):
        try:
            plugins.load([file])
        except UsageError as error:  # its rows are there all the same
            console.print(f"without the fields of its methods: {error}", soft_wrap=True, markup=False)
    return stores


def _device(arguments: argparse.Namespace) -> str:
    """`cpu` or `cuda`. Torch is asked only if a card is in sight, or named: importing it takes seconds."""
    wanted, in_sight = arguments.device, Path("/dev/nvidia0").exists()
    if wanted == "cuda" and (arguments.ray_address or (arguments.dry_run and in_sight)):
        return "cuda"  # of a cluster, only its workers can say
    if wanted == "cuda" or (wanted == "auto" and in_sight):
        import torch

        if torch.cuda.is_available():
            return "cuda"
        if wanted == "cuda":
            raise UsageError("--device cuda: torch sees no CUDA device here; use --device cpu")
    if arguments.gpus_per_pack:
        raise UsageError("--gpus-per-pack: these packs train on the CPU; name --device cuda, or leave it out")
    return "cpu"


def _gpus(arguments: argparse.Namespace, device: str) -> float:
    if arguments.gpus_per_pack is not None:
        return arguments.gpus_per_pack
    return 1.0 if device == "cuda" else 0.0


def _command() -> str:
    return shlex.join(["run_bench.py", *sys.argv[1:]])


def _workers(arguments: argparse.Namespace) -> int:
    return 1 if arguments.executor == "serial" else os.cpu_count() or 1


def _positive(text: str) -> int:
    return _at_least(text, 1)


def _natural(text: str) -> int:
    return _at_least(text, 0)


def _at_least(text: str, low: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if value < low:
        raise argparse.ArgumentTypeError(f"{value} is less than {low}")
    if value >= ROOT_SEEDS:
        raise argparse.ArgumentTypeError(f"{value} is not below 2^63")
    return value


def _seconds(text: str) -> float:
    value = _fraction(text)
    if value == 0:
        raise argparse.ArgumentTypeError("0 seconds are not enough for anything")
    return value


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not 0 or more")
    return value
