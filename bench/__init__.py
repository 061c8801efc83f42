"""The benchmark, room by room: `plan`, `train`, `run`, `scores`, `tune`, `report`, and the command line, `cli`."""

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
