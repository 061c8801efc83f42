"""What a run knows of the archives that were merged into it: who submitted each, and which of its trials were trained again here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.run.store import flaw
from bench.text import count

SUBMISSIONS = "submissions"  # in a manifest, by the digest of the archive
TYPES = {"by": str, "file": str, "n_trials": int, "retrained": dict}


@dataclass(frozen=True)
class Submission:
    """`retrained` has, by trial, the score that differed most when it was trained again, and by how much."""

    by: str
    file: str
    n_trials: int
    retrained: Mapping[str, Any]

    @property
    def who(self) -> str:
        return self.by or "somebody without a name"

    @property
    def standing(self) -> str:
        """What was done to check it."""
        n = len(self.retrained)
        if not n:
            return "not trained again here"
        done = f"{n} of {count(self.n_trials, 'trial')} trained again here"
        return f"{done}, with differences up to {self.largest[1]:.2g} in {self.largest[0]}" if self.largest else done

    @property
    def largest(self) -> tuple[str, float] | None:
        """The score that differed most in any trial that was trained again, and by how much; None where that was not kept."""
        found = [
            each for each in self.retrained.values() if isinstance(each, list) and list(map(type, each)) == [str, float]
        ]
        return max(map(tuple, found), key=lambda each: each[1], default=None)


def of(manifest: Mapping[str, Any]) -> dict[str, Submission]:
    """The submissions that a manifest names, by digest; those that are none are left out."""
    table = manifest.get(SUBMISSIONS)
    known = table if isinstance(table, dict) else {}
    return {
        digest: Submission(**{k: each[k] for k in TYPES}) for digest, each in known.items() if not flaw(each, TYPES)
    }


def together(manifests: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The part of a manifest that has the submissions of several, of each what was checked most; nothing if there are none."""
    found: dict[str, Submission] = {}
    for manifest in manifests:
        for digest, each in of(manifest).items():
            found[digest] = max(found.get(digest, each), each, key=lambda one: len(one.retrained))
    return (
        {SUBMISSIONS: {digest: {name: getattr(each, name) for name in TYPES} for digest, each in found.items()}}
        if found
        else {}
    )
