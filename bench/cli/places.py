"""Where results lie: in the repository, for a command that is given anywhere in it; elsewhere, in the current folder."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def results(kind: str) -> Path:
    """The folder that results of a kind, as `runs`, are written to, relative to the current one."""
    here = Path.cwd()
    base = Path(os.path.relpath(ROOT, here)) if here.is_relative_to(ROOT) else Path()
    return base / "results" / kind


def all_results(kind: str) -> list[Path]:
    """Where results of a kind are looked for: where they would be written, and then in the repository."""
    return list(dict.fromkeys([results(kind), ROOT / "results" / kind]))
