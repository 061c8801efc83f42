"""From a run's folder back to a model: what `bench.load` and the commands on what was kept share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.plan import plugins
from bench.registry import UsageError
from bench.run.store import Store
from methods import methods

if TYPE_CHECKING:
    from bench.train.models import Model


def load(folder: Path, trial: str, files: Iterable[str] = ()) -> Model:
    """The model that the run in `folder` kept of a trial, by its id, the first characters of it, or its method's name.

    `files` are the plug-ins that register its method or its data set. None is executed that is not named here, whatever the run says.
    Raises UsageError where there is no such trial or no model of it, or where the method is not what it was.
    """
    plugins.load(files)
    store = Store(folder)
    row = store.trial(trial)
    return of_row(store, row)


def of_row(store: Store, row: Mapping[str, Any]) -> Model:
    """The model of a trial, by its row. Plug-ins that it needs are loaded."""
    from bench.train import models

    name = row["method"]

    def make_method() -> Any:
        if name not in methods.names():
            raise UsageError(f"the method {name!r} is not registered here; name the plug-in file that registers it")
        entry = methods[name]
        missing = [field for field in entry.fields if field not in row]
        if missing:
            raise UsageError(f"{name} has a field {missing[0]!r} that it had not when the trial was trained")
        return entry.make({field: row[field] for field in entry.fields})

    return models.of_arrays(name, store.model(row), make_method)
