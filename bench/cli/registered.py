"""`list` and `show`: what methods and data sets there are."""

from __future__ import annotations

import argparse
from typing import Any

from bench.cli import options
from bench.registry import Entry, UsageError, nearest
from bench.text import say
from datasets import datasets
from methods import methods


def add_commands(commands: Any) -> None:
    command = commands.add_parser("list", help="methods and data sets, a line each", allow_abbrev=False)
    command.set_defaults(run=list_all)
    options.add_plugin_option(command)
    command = commands.add_parser("show", help="fields of a method or data set", allow_abbrev=False)
    command.add_argument("entry", metavar="NAME")
    command.set_defaults(run=show)
    options.add_plugin_option(command)


def list_all(arguments: argparse.Namespace) -> int:
    for title, registry in (("methods", methods), ("data sets", datasets)):
        say(f"{title}:")
        entries = list(registry)
        width = max(len(entry.name) for entry in entries)
        for entry in entries:
            role = entry.facts.role
            mark = "" if role == "method" else f"[{role}] "
            say(f"  {entry.name:{width}}  {mark}{entry.summary} ({entry.source})")
    return 0


def show(arguments: argparse.Namespace) -> int:
    entry = _find(arguments.entry)
    say(f"{entry.name} ({entry.source})\n")
    say("\n".join(line.removeprefix("    ") for line in (entry.cls.__doc__ or "").strip().split("\n")))
    say("\nfields:")
    kinds = entry.types()
    for name, field in entry.fields.items():
        kind = getattr(kinds[name], "__name__", None) or str(kinds[name])
        bounds = [f"one of: {', '.join(field.metadata['choices'])}"] if field.metadata["choices"] else []
        bounds += [f"at least {field.metadata['low']}"] if field.metadata["low"] is not None else []
        bounds += [f"at most {field.metadata['high']}"] if field.metadata["high"] is not None else []
        bounds += [f"search: {field.metadata['tune']}"] if field.metadata["tune"] else []
        note = f" ({', '.join(bounds)})" if bounds else ""
        default = "none" if field.default is None else field.default
        say(f"  {name} = {default}  [{kind}]\n      {field.metadata['help']}{note}")
    return 0


def _find(name: str) -> Entry:
    for registry in (methods, datasets):
        if name in registry.names():
            return registry[name]
    known = [*methods.names(), *datasets.names()]
    raise UsageError(f"there is no method or data set {name!r}; {nearest(name, known)}")
