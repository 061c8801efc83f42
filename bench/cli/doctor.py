"""`doctor`: whether a run would work here, and on a Ray cluster, and what it would use. Nothing is trained."""

from __future__ import annotations

import argparse
from typing import Any

from bench.cli import options, places
from bench.cli.run import RUNS
from bench.text import count, say

WIDTH = 18


def add_commands(commands: Any) -> None:
    command = commands.add_parser(
        "doctor", help="whether a run would work here and on a Ray cluster, and on what", allow_abbrev=False
    )
    command.add_argument(
        "--ray-address",
        metavar="ADDRESS",
        help="look at this Ray cluster, or auto (default: start Ray on this machine)",
    )
    command.set_defaults(run=doctor)
    options.add_plugin_option(command)


def doctor(arguments: argparse.Namespace) -> int:
    """Exit code 1 if there is a trouble."""
    from bench.run import doctor as examination

    n_troubles = 0
    for what, text, is_trouble in examination.examine(places.results(RUNS), arguments.ray_address):
        n_troubles += is_trouble
        say(f"{'!' if is_trouble else ' '} {what:{WIDTH}} {text}", flush=True)
    say(f"{count(n_troubles, 'trouble')}, marked by !" if n_troubles else "no trouble was found")
    return 1 if n_troubles else 0
