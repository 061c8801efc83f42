"""The benchmark, room by room: `plan`, `train`, `run`, `scores`, `tune`, `report`, and the command line, `cli`.

From Python, `bench.run` is the main job, `bench.results` reads what runs found, and `bench.load` gives a model that a run kept.
"""

import importlib.util
from pathlib import Path

# A widely used public package is called `datasets` too. Everything here must come from the folder that holds this one.
_ROOT = Path(__file__).resolve().parent.parent
for _name in ("datasets", "methods"):
    _spec = importlib.util.find_spec(_name)
    if _spec is None or _spec.origin is None or _ROOT not in Path(_spec.origin).resolve().parents:
        raise ImportError(
            f"{_name!r} is not this project's: {_spec and _spec.origin} is in the way; "
            f"run from {_ROOT} with that folder first on the Python path"
        )

importlib.import_module("bench.run")  # which can be called


def results(*names, where=None):
    """Returns what runs found that are there already: see `bench.python.read`."""
    from bench import python

    return python.read(*names, where=where)


def load(run, trial, plugins=()):
    """Returns the model that a run kept of a trial (`--keep models`): `encode(x, domains)` and `decode(z)` for new points, in the data's own units.

    `run` is a folder, or a name under results/runs; `trial` its id, the first characters of it, or the name of its method, if the run has one
    trial of that. `plugins` are the files that register its method, if it is no method of this project: no other file is executed.
    Raises UsageError, a ValueError, with one sentence that says what is wrong. See `bench.train.models.Model`.
    """
    from bench.cli.report import run_folder
    from bench.run import load as loading

    return loading.load(run_folder(str(run)), str(trial), plugins)
