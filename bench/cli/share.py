"""`submit` and `site`: a finished run as one small file for others, and runs as pages that any host can serve. Nothing is trained."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bench.cli import options, places
from bench.cli.report import run_folder
from bench.registry import UsageError
from bench.text import count, say

REFERENCE = "reference"  # in the folder of results
SITE = "site"  # the same


def add_commands(commands: Any) -> None:
    command = commands.add_parser(
        "submit",
        help="pack the rows and the manifest of a finished run into one small archive, which others can `merge`",
        description="Packs the rows, the manifest and the plan of a finished run into one small archive. It has no figures, no models, no "
        "latents, and no paths or names of this machine. Whoever merges it computes all identities again, and trains a sample of the trials.",
        epilog="examples: python run_bench.py submit first; python run_bench.py submit first --by 'A. Name' --out first.zip; "
        "python run_bench.py submit mine --plugin mine.py",
        allow_abbrev=False,
    )
    add = command.add_argument
    add("name", metavar="RUN", help="name of a run under results/runs, or its folder")
    add(
        "--out",
        metavar="FILE.zip",
        help="where to (default: RUN.zip here); an archive that is there already is replaced",
    )
    add(
        "--by",
        default="",
        metavar="NAME",
        help="who submits it, as others will read it: one line (default: nobody is named)",
    )
    add(
        "--unfinished",
        action="store_true",
        help="pack a run of which trials have no row, or crashed; who merges it is told so",
    )
    options.add_plugin_option(command)
    command.set_defaults(run=submit)
    command = commands.add_parser(
        "site",
        help="write static pages of the reference results and of runs, which any host can serve",
        description="Writes static pages: an index with a leaderboard for each data set and grid, and the report of each run. They need no "
        "network and no server: open index.html, or copy the folder to any host.",
        epilog="examples: python run_bench.py site; python run_bench.py site first both --out pages",
        allow_abbrev=False,
    )
    add = command.add_argument
    add(
        "names",
        nargs="*",
        metavar="RUN",
        help="name of a run under results/runs, or its folder, beside the reference results",
    )
    add(
        "--out",
        metavar="FOLDER",
        help="where to: a new or empty folder, or one that `site` wrote (default: results/site)",
    )
    command.set_defaults(run=site)


def submit(arguments: argparse.Namespace) -> int:
    folder = run_folder(arguments.name)
    out = Path(arguments.out or f"{folder.resolve().name}.zip")
    if out.suffix != ".zip" or not out.parent.is_dir() or (out.exists() and not out.is_file()):
        raise UsageError(f"--out {out}: name a .zip file in a folder that exists")

    import tempfile

    from bench.run import archive, check
    from bench.run.store import Store, write_bytes

    store = Store(folder)
    content = archive.pack(store, arguments.by, arguments.plugins, arguments.unfinished)
    with tempfile.TemporaryDirectory() as place:  # as those who merge it will check it
        trial = Path(place) / out.name
        write_bytes(trial, content)
        own = archive.read(str(trial), Path(place) / "run")
        rows = check.rows(own.store)
        check.plan(own.store, rows)
        n_missing = len(own.store.planned()) - len(rows)
    if out.exists() and not archive.is_ours(out):
        raise UsageError(f"--out {out}: another file is there; name a new one")
    write_bytes(out, content)
    missing = f", {n_missing} of those that were planned are missing" if n_missing else ""
    say(f"written: {out}, {len(content) / 1000:.3g} kB, {count(len(rows), 'trial')}{missing}")
    say(
        f"send it to whoever collects results: `python run_bench.py merge {out.name} --out NAME` computes the identity of every row again, trains "
        "a few trials again and compares, and adds the rows to the run NAME, which `report` and `site` show"
    )
    return 0


def site(arguments: argparse.Namespace) -> int:
    reference = places.ROOT / "results" / REFERENCE
    folders = [reference] * (reference / "manifest.json").exists() + [run_folder(name) for name in arguments.names]
    folders = list({folder.resolve(): folder for folder in folders}.values())
    if not folders:
        raise UsageError("there are no reference results here: name a run")
    out = Path(arguments.out) if arguments.out else places.results(SITE)

    from bench.report import pages

    for sentence in pages.write(folders, out):
        say(sentence)
    return 0
