"""The benchmark, room by room: `plan`, `train`, `run`, `scores`, `tune`, `report`, and the command line, `cli`.

From Python, `bench.run` is the main job, `bench.results` reads what runs found, `bench.load` gives a model that a run kept, and `bench.score`
scores latents.
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


def score(z, z_hat, domains=None):
    """Returns every score by name of estimated latents `z_hat` (n_samples, n_estimated) of the true ones `z` (n_samples, n_latents).

    `domains` (n_samples,) are labels of any kind, none if all points are of one. Matches and probes are fitted on one half of the points,
    dealt at random, and scored on the other. `bench.scores.SCORES` has the definitions. Raises UsageError for arrays of which nothing can be scored.
    """
    import numpy as np

    from bench.scores import files, metrics

    arrays = {"z": np.asarray(z), "z_hat": np.asarray(z_hat)}
    arrays |= {} if domains is None else {"domain": np.asarray(domains)}
    return metrics.evaluate(*files.halves(arrays, "these latents"))


def load(run, trial, plugins=()):
    """Returns the model that a run kept of a trial (`--keep models`): `encode(x, domains)` and `decode(z)` for new points, in the data's own units.

    `run` is a folder, or a name under results/runs; `trial` its id, the first characters of it, or the name of its method, if the run has one
    trial of that. `plugins` are the files that register its method, if it is no method of this project: no other file is executed.
    Raises UsageError, a ValueError, with one sentence that says what is wrong. See `bench.train.models.Model`.
    """
    from bench.cli.report import run_folder
    from bench.run import load as loading

    return loading.load(run_folder(str(run)), str(trial), plugins)
