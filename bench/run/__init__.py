"""Where packs run, and what is kept of them. Called, as `bench.run(grid={"domains": [2, 3]})`, it is the main job: see `bench.python.run`."""

import sys
import types
from typing import Any


class _MainJob(types.ModuleType):
    """This package, which can be called: the main job and the rooms that it runs in share a name."""

    def __call__(self, grid: Any = None, methods: Any = None, **options: Any) -> Any:
        """Trains every method on every cell of a grid, scores, ranks and plots them: see `bench.python.run`, which it calls."""
        from bench import python

        return python.run(grid, methods, **options)


sys.modules[__name__].__class__ = _MainJob
