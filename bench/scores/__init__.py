"""Scores, each declared once: what it is, what it is called, where it is shown. Tables, figures and definitions follow from these records.

`metrics`, `training` and `factors` declare this project's, `more` those that are computed on demand alone; a plug-in declares its own with `score`. `statistics` is about scores of many trials.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from bench.registry import UsageError

OWN = (
    "bench.scores.metrics",
    "bench.scores.training",
    "bench.scores.factors",
    "bench.scores.more",
)  # the modules that declare this project's scores
HEADLINE = "mcc_spearman"  # methods are ranked by it
CURVE = "curve"  # the learning curve of a trial's model, among the arrays that are kept of it
TERM = f"{CURVE}."  # before the name of a term of the loss, whose values are kept beside the curve
LOOK = (
    "step",
    "loss",
    "objective",
)  # a point of one: the mean training loss since the last, the objective on validation
TABLES = ("terminal", "paper", "trials")  # the narrow ones: terminal and Markdown, LaTeX, single trials in report.html


@dataclass(frozen=True)
class Score:
    """`heading` is that of a column in two parts, a group and a name in it; without one the score is in no table but the CSV.

    `axis` names an axis of a figure. `tables` are those of `TABLES` that show the score; report.html and the CSV show every one.
    `compute` gives the score of a `bench.scores.metrics.Evaluation`, None where it has no meaning; what training itself measures has none.
    """

    name: str
    definition: str
    source: str
    heading: tuple[str, str] | None = None
    axis: str = ""
    tables: Collection[str] = ()
    lower_is_better: bool = False
    bounded: bool = False  # by 1
    non_negative: bool = False
    per_latent: bool = False  # a list with a number for each latent, which is in no table and has no mean
    compute: Callable[[Any], Any] | None = None

    @property
    def range(self) -> tuple[float, float]:
        """The least and the greatest value of the score."""
        return 0.0 if self.non_negative else -math.inf, 1.0 if self.bounded else math.inf

    @property
    def facts(self) -> dict[str, Any]:
        """All but `compute`, as plain values that a file can hold."""
        facts = {name: value for name, value in vars(self).items() if name != "compute"}
        return facts | {"heading": list(self.heading or ()), "tables": sorted(self.tables)}


SCORES: dict[str, Score] = {}  # of every trial
ON_DEMAND: dict[
    str, Score
] = {}  # computed where they are asked for (`--metrics all`): no row and no usual table has them


def declare(score: Score, records: dict[str, Score] = SCORES) -> Score:
    """Adds `score` to `records`: `SCORES` or `ON_DEMAND`. Raises UsageError where its name is taken."""
    known = SCORES.get(score.name) or ON_DEMAND.get(score.name)
    if known and _place(known) != _place(score):
        raise UsageError(f"two scores are called {score.name!r}; choose another name")
    texts, truths = (
        (score.name, score.definition, score.source, score.axis),
        (score.lower_is_better, score.bounded, score.non_negative),
    )
    heading = score.heading
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(truth, bool) for truth in truths):
        raise UsageError(
            f"{score.name}: source and axis are texts, lower_is_better, bounded and non_negative are True or False"
        )
    if heading is not None and (isinstance(heading, str) or len(heading) != 2 or score.per_latent):
        raise UsageError(f"{score.name}: a heading is two texts, and a score per latent has none")
    for table in score.tables:
        if table not in TABLES:
            raise UsageError(f"{score.name}: there is no table {table!r}; there is: {', '.join(TABLES)}")
    records[score.name] = score
    return score


def score(
    name: str,
    *,
    source: str,
    heading: tuple[str, str] | None = None,
    axis: str = "",
    tables: Collection[str] = (),
    lower_is_better: bool = False,
    bounded: bool = False,
    non_negative: bool = False,
    per_latent: bool = False,
    on_demand: bool = False,
) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Declares the score that the decorated function computes; the function's docstring is its definition.

    A score `on_demand` is computed where it is asked for, and is in no row. The decorator raises UsageError where there is no docstring, or where the name is taken. A plug-in's scores come after this
    project's, which are imported first.
    """

    def decorate(compute: Callable[[Any], Any]) -> Callable[[Any], Any]:
        if compute.__module__ not in OWN:
            load_all()
        definition = " ".join((compute.__doc__ or "").split())
        if not definition:
            raise UsageError(f"{name}: say in the function's docstring what the score is")
        declare(
            Score(
                name,
                definition,
                source,
                heading,
                axis or name,
                frozenset(tables),
                lower_is_better,
                bounded,
                non_negative,
                per_latent,
                compute,
            ),
            ON_DEMAND if on_demand else SCORES,
        )
        return compute

    return decorate


def declared_by(module: str) -> list[str]:
    """Returns the names of the scores that `module` declared."""
    everything = SCORES | ON_DEMAND
    return [name for name, score in everything.items() if score.compute and score.compute.__module__ == module]


def is_own(name: str) -> bool:
    """Whether this project declared the score, and not a plug-in, here or where a run was made."""
    score = SCORES.get(name)
    return score is not None and (score.compute is None or score.compute.__module__ in OWN)


def load_all() -> None:
    """Imports the modules that declare this project's scores."""
    for module in OWN:
        importlib.import_module(module)


Dropped = list[tuple[dict[str, Score], str, Score]]  # where each was declared, its name, and itself


def drop(module: str) -> Dropped:
    """Forgets the scores that `module` declared, and returns what `put_back` takes."""
    tables = {name: SCORES if name in SCORES else ON_DEMAND for name in declared_by(module)}
    return [(table, name, table.pop(name)) for name, table in tables.items()]


def put_back(dropped: Dropped) -> None:
    """Declares again what `drop` returned."""
    for table, name, score in dropped:
        table[name] = score


def _place(score: Score) -> Any:
    return (score.compute.__module__, score.compute.__qualname__) if score.compute else score
