"""`merge`: several runs, shards of one or runs of other machines, joined into one; archives of others' runs after a check."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli import options, places
from bench.cli.report import run_folder
from bench.cli.run import RUNS
from bench.registry import UsageError
from bench.text import count, say

if TYPE_CHECKING:
    from bench.run.store import Store

CHECKED = 3  # trials of each archive
TIME_LIMIT = 600.0  # seconds for each


def add_commands(commands: Any) -> None:
    command = commands.add_parser(
        "merge",
        help="join runs, as the shards of one, into one run; then `report` it",
        description="Joins runs, as the shards of one, into one run. Archives that others made with `submit` are checked first: the identities of "
        "all rows are computed again, and a sample of trials is trained again and compared. Nothing in an archive is executed.",
        epilog="examples: python run_bench.py merge RUN.1of2 RUN.2of2 --out RUN; python run_bench.py merge theirs.zip --out both --check 5",
        allow_abbrev=False,
    )
    command.add_argument(
        "names",
        nargs="+",
        metavar="RUN",
        help="name of a run under results/runs, its folder, or an archive as `submit` makes it",
    )
    command.add_argument(
        "--out",
        required=True,
        metavar="NAME",
        help="the run that they are added to: its name under results/runs, or its folder if there is a / in it; it may exist",
    )
    command.add_argument(
        "--check",
        type=options.natural,
        default=CHECKED,
        metavar="K",
        help="trials of each archive to train again here, drawn at random; 0 trains none, and the merged run says so (default: %(default)s)",
    )
    command.add_argument(
        "--time-limit",
        type=options.seconds,
        default=TIME_LIMIT,
        metavar="SECONDS",
        help="refuse an archive of which a trial has trained for this long again; an archive may ask for any number of steps (default: %(default)g)",
    )
    options.add_plugin_option(command)
    command.set_defaults(run=merge)


def merge(arguments: argparse.Namespace) -> int:
    from bench.run import archive

    runs = places.results(RUNS)
    out = Path(arguments.out) if "/" in arguments.out else runs / options.checked_name(arguments.out, "--out")
    names = list(dict.fromkeys(arguments.names))
    archives = [name for name in names if archive.is_archive(name)]
    folders = {folder.resolve(): folder for folder in (run_folder(name) for name in names if name not in archives)}
    folders.pop(out.resolve(), None)
    if not folders and not archives:
        raise UsageError(f"--out {arguments.out}: name another run to add to it")

    from bench.report import results
    from bench.run import merge as merging
    from bench.run.store import Store

    with contextlib.ExitStack() as stack:
        sources = [Store(folder) for folder in folders.values()]
        for number, name in enumerate(archives):
            place = Path(stack.enter_context(tempfile.TemporaryDirectory())) / f"archive-{number + 1}"
            sources.append(checked(name, place, arguments.check, arguments.time_limit, arguments.plugins))
        target = Store(out)
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


def checked(path: str, folder: Path, n: int, time_limit: float, plugins: Sequence[str]) -> Store:
    """The run that an archive holds, in `folder`, once it has passed every check; `n` of its trials are trained again.

    Each of them may take `time_limit` seconds.

    Raises UsageError for one that is refused, with the reason.
    """
    from rich.console import Console

    from bench.report import results
    from bench.run import archive, check

    own = archive.read(path, folder)
    for sentence in check.differences(own):
        say(sentence)
    for member in own.plugins:
        say(f"{own.words}: {member} is the source of a plug-in, to be read; it is not executed")
    try:
        rows = check.rows(own.store, known_only=n > 0)
        check.plan(own.store, rows)
        check.verdicts(rows, time_limit, plugins)
        pairs = check.sample(rows, n)
        n_never = len(rows) - len(check.drawn_from(rows))
        if n_never:
            say(
                f"{own.words}: {count(n_never, 'trial')} of {len(rows)} timed out or crashed, which nothing here can check"
            )
        if pairs:
            say(
                f"{own.words}: training {count(len(pairs), 'trial')} of {len(rows)} again: {', '.join(trial.trial_id for _, trial in pairs)}"
            )
        retrained = check.retrain(pairs, plugins, Console(highlight=False), time_limit) if pairs else {}
        check.accepted(own, rows, retrained)
        results.gather([own.store])  # else no report could be made of what it is merged into
    except UsageError as error:
        raise UsageError(f"{own.words} is refused, and nothing is merged: {error}") from None
    name, apart = max(retrained.values(), key=lambda each: each[1], default=("", 0.0))
    done = (
        f"{count(len(pairs), 'trial')} agreed when trained again, to {apart:.2g} in {name}"
        if pairs
        else "NOT trained again here, which the merged run says"
    )
    say(f"{own.words}: the identities of {count(len(rows), 'row')} are right; {done}")
    return own.store
