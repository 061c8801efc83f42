"""Options that several commands share, and what is read off them."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Sequence

from bench.machine import cores
from bench.plan.identity import ROOT_SEEDS, digest
from bench.plan.profiles import PROFILES
from bench.plan.shards import Shard
from bench.registry import UsageError, nearest
from bench.run.placement import Placement, place
from bench.train.kept import KINDS
from methods import methods

ALL = "all"  # in the place of names of methods


class Parser(argparse.ArgumentParser):
    """Says a mistake in one sentence, as the rest of the program does, instead of printing its usage."""

    def error(self, message: str):
        raise UsageError(message)


def add_data_options(parser: argparse.ArgumentParser, fields: str, n_seeds: str) -> None:
    """`fields` says which fields a grid may name; `n_seeds` is the default number of seeds, in words."""
    add = parser.add_argument
    add(
        "--grid",
        action="append",
        default=[],
        metavar="KEY=VALUES",
        help=f"axis of the grid, repeatable: {fields}; values as 2..10, 0..1:0.25 or a,b,c",
    )
    add("--seeds", type=positive, metavar="N", help=f"data seeds per cell (default: {n_seeds})")
    add_dataset_options(parser, fields)
    add(
        "--config",
        metavar="FILE.toml",
        help="options of this command from a file, as every run and every search leaves one in its folder (config.toml); what is typed counts first",
    )


def add_dataset_options(parser: argparse.ArgumentParser, fields: str) -> None:
    """A data set, its fields and its seed; `fields` says which fields can be set."""
    add = parser.add_argument
    add("--dataset", default="sparse-mixing", help="data set to run on (default: %(default)s)")
    add("--root-seed", type=natural, default=0, metavar="N", help="seed from which all others follow (default: 0)")
    add(
        "--set",
        action="append",
        default=[],
        metavar="NAME.FIELD=VALUE",
        dest="settings",
        help=f"{fields} at one value, repeatable, as in sparse-mixing.n_latents=6",
    )


def add_profile_option(parser: argparse.ArgumentParser, profiles: Sequence[str]) -> None:
    parser.add_argument("--profile", choices=PROFILES, default="default", help="; ".join(profiles))


def add_placement_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--ray-address", metavar="ADDRESS", help="an existing Ray cluster, or auto (implies Ray)")
    add(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="what a pack of torch models trains on (default: auto)",
    )
    add(
        "--gpus-per-pack",
        type=fraction,
        metavar="F",
        help="GPUs that a pack of torch models holds (default: 1 on cuda, 0 on cpu)",
    )
    add("--dry-run", action="store_true", help="say what would run and for about how long, and start nothing")


def add_plugin_option(parser: argparse.ArgumentParser, dest: str = "more_plugins") -> None:
    """`dest` differs between the parser of the main job and those of commands, so that both places on a line count."""
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        dest=dest,
        metavar="FILE.py",
        help="a file of yours that registers methods, data sets or scores, repeatable; see docs/add-a-method.md",
    )


def placement_of(arguments: argparse.Namespace, executor: str = "auto", time_limit: float | None = None) -> Placement:
    return place(
        arguments.device, arguments.gpus_per_pack, executor, arguments.ray_address, time_limit, arguments.dry_run
    )


def n_workers(placement: Placement) -> int:
    """How many packs run at a time on this machine, for an estimate."""
    return 1 if placement.executor == "serial" else cores()


def kinds_kept(text: str | None) -> frozenset[str]:
    """The kinds of `bench.train.kept` in a comma-separated list. Raises UsageError for another word."""
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    for name in names:
        if name not in KINDS:
            raise UsageError(f"--keep {text}: there is no {name!r} to keep; {nearest(name, KINDS)}")
    if text is not None and not names:
        raise UsageError(f"--keep names nothing; there is: {', '.join(KINDS)}")
    return frozenset(names)


def method_names(text: str) -> list[str]:
    """The methods of a comma-separated list, each registered; `all` is every one."""
    if text.strip() == ALL:
        return methods.names()
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        methods[name]  # raises UsageError
    if not names or len(set(names)) < len(names):
        raise UsageError("--methods must name at least one method, and none twice")
    return names


def folder_name(arguments: argparse.Namespace, shard: Shard | None = None) -> str:
    """The name of the run's folder: the one asked for, or the same for the same question, so that a repeated command goes on.

    Each shard has a folder of its own, so that several machines can share a disk.
    """
    name = arguments.name
    if name is None:
        parts = [arguments.dataset, arguments.profile, *arguments.grid, *arguments.settings]
        name = short_name(*parts, f"root-seed={arguments.root_seed}" if arguments.root_seed else None)
    return checked_name(name, "--name") + (shard.suffix if shard else "")


def checked_name(name: str, option: str) -> str:
    """The same, if a folder under results/ can be called so; else UsageError."""
    if not re.fullmatch(r"[\w.=,+-]{1,200}", name) or name.startswith("."):
        raise UsageError(f"{option} {name!r}: use letters, digits and . _ - = + only, at most 200 of them")
    return name


def short_name(*parts: str | None) -> str:
    """The name of a folder that is another one for other `parts`."""
    name = re.sub(r"[^\w.=,+-]", "-", "-".join(filter(None, parts)))
    return name if len(name) <= 100 else f"{name[:100]}-{digest([part for part in parts if part])}"


def check_apart(axes: dict[str, dict], settings: dict[str, dict]) -> None:
    """Raises UsageError for a field that is both an axis of the grid and fixed."""
    for owner, fields in axes.items():
        for field in fields.keys() & settings.get(owner, {}).keys():
            raise UsageError(f"{owner}.{field} is both in --grid and in --set")


def command_line(arguments: argparse.Namespace) -> str:
    """The command that `arguments` were read off, as one would type it."""
    return shlex.join(["run_bench.py", *arguments.words])


# --- types of values


def positive(text: str) -> int:
    return _at_least(text, 1)


def natural(text: str) -> int:
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


def seconds(text: str) -> float:
    value = fraction(text)
    if value == 0:
        raise argparse.ArgumentTypeError("0 seconds are not enough for anything")
    return value


def time_span(text: str) -> float:
    """Seconds of `3h`, `90min`, `45 s` or `600`."""
    found = re.fullmatch(r"\s*([0-9.]+)\s*(h|min|m|s|)\s*", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; write it as 3h, 90min or 600 (seconds)")
    return seconds(found[1]) * {"h": 3600, "min": 60, "m": 60, "s": 1, "": 1}[found[2]]


def fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not 0 or more")
    return value


def add_metrics_option(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--metrics",
        choices=("usual", "all"),
        default="usual",
        help=f"{what}; `metrics` says what each is (default: usual)",
    )
