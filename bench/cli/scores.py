"""`metrics`: what every score says of encoders whose quality is known."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bench.registry import UsageError
from bench.text import say


def add_commands(commands: Any) -> None:
    command = commands.add_parser(
        "metrics",
        help="what every score says of encoders whose quality is known, so that one sees what it can be trusted for",
        allow_abbrev=False,
    )
    command.add_argument("--out", metavar="FILE.md", help="also write the tables there, with the scores' definitions")
    command.set_defaults(run=metrics)


def metrics(arguments: argparse.Namespace) -> int:
    out = Path(arguments.out) if arguments.out else None
    if out and (out.suffix != ".md" or not out.parent.is_dir()):
        raise UsageError(f"--out {arguments.out}: name a .md file in a folder that exists")

    from bench.run.store import write_text
    from bench.scores import ON_DEMAND, SCORES, known, load_all

    load_all()
    records = SCORES | ON_DEMAND
    found = known.table(records)
    say(known.render(found, records))
    if out:
        write_text(out, known.markdown(found, records))
        say(f"\nwritten: {out}")
    return 0
