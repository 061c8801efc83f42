"""The files that tasks on another machine need, by path, with their contents: plug-ins, and users' data.

They travel once per run, as they are when it starts. Where a task runs, nothing is written: what reads such a file asks here first.
"""

from __future__ import annotations

from collections.abc import Iterable

from bench.files import given, named_by, read_bytes
from bench.plan.charts import ChartPack
from bench.plan.packs import Pack
from bench.plan.trials import Trial
from datasets import datasets
from methods import methods


def contents(parts: Iterable[Pack | ChartPack]) -> dict[str, bytes]:
    """The contents of all files that `parts` name."""
    paths: set[str] = set()
    for part in parts:
        paths |= set(part.plugins)
        for each in part.specs if isinstance(part, ChartPack) else part.trials:
            entries = [(datasets[each.dataset], each.dataset_fields)]
            if isinstance(each, Trial):
                entries.append((methods[each.method], each.method_fields))
            for entry, fields in entries:
                for name, field in entry.fields.items():
                    if field.metadata["is_path"] and fields[name]:
                        pattern = field.metadata["holds"]
                        paths |= set(named_by(f"{fields[name]}/{pattern}" if pattern else fields[name]))
    return {path: read_bytes(path) for path in paths}


def take(files: dict[str, bytes]) -> None:
    """From here on, in this process and those that it forks, these files have these contents."""
    given.update(files)
