"""Joins the folders of several runs, shards of one or runs of other machines, into one run's folder.

Nothing that is finished in the run that is added to is replaced, but for a row of somebody else's archive by one's own. The runs that are
joined are only read, and joining them again changes nothing. What a folder holds is read as data, never executed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bench.plan.shards import Shard, parse_shard
from bench.plan.trials import SHAPE, Trial
from bench.registry import UsageError
from bench.run.store import ARCHIVE, Store, precedence, when
from bench.scores import HEADLINE, SCORES, load_all
from bench.statuses import STATUSES, TIMED_OUT
from bench.text import count
from datasets import datasets
from methods import methods

FINISHED = (2, 0.0)  # the standing of a row whose trial needs no more training
FACTS = ("methods", "datasets", "scores")  # tables of a manifest, of which every run has those of what took part in it


class Found(NamedTuple):
    """A row, and where it is: the run, and the name of the part in it."""

    row: dict[str, Any]
    store: Store
    pack: str


def manifests(sources: Sequence[Store], target: Store) -> dict[str, dict[str, Any]]:
    """The manifests of the runs that are joined, by their folders, and of the one that they are added to, if there is one already."""
    return {str(store.folder): store.manifest() for store in (*sources, *[target] * target.has_manifest())}


def check(sources: Sequence[Store], target: Store) -> None:
    """Raises UsageError, before anything is written, for a run that cannot be joined with others."""
    for store in (*sources, target):
        if store.is_kept_table():
            raise UsageError(
                f"of the run {store.folder.name!r} only the table was kept, which `merge` cannot take apart; `report` takes it beside other runs"
            )
        absent = [kind for kind in FACTS[:2] if store.has_manifest() and kind not in store.manifest()]
        if absent:
            raise UsageError(
                f"the manifest of the run {store.folder.name!r} is of an early version and says nothing of its {absent[0]}; give the run's "
                "command again, which adds it"
            )


def merge(sources: Sequence[Store], target: Store, manifest: Mapping[str, Any]) -> list[str]:
    """Adds what `sources` hold to `target`, which is locked; returns what there is to say about it, a sentence each.

    `manifest` has the commands and definitions of all. Of a trial that several runs hold, the row of `target` stays if it is finished; else
    the first finished one is taken, whatever its scores, and the others stay in their runs. A row of an archive makes way for one's own,
    wherever each is.
    """
    own = target.packs()
    found = [Found(row, target, pack) for pack, (rows, _) in own.items() for row in rows]
    found += [Found(row, s, pack) for s in sources for pack, (rows, _) in s.packs().items() for row in rows]
    chosen = choose(found, target)
    new = [each for each in chosen.values() if each.store is not target]
    _write_charts(sources, target)
    for each in new:
        target.copy_latents(each.row["trial_id"], each.store)
    _write_packs(new, own, chosen, target)
    runs = sorted([*[target] * target.has_manifest(), *sources], key=lambda store: _last_says(store, target))
    facts = [store.manifest() for store in runs]
    for planned in [store.planned() for store in runs]:
        target.plan(planned.itertuples())
    target.write_manifest(
        {
            **manifest,
            "name": target.folder.name,
            "commands": _each_once(manifest["commands"]),
            **{kind: {k: v for each in facts for k, v in each.get(kind, {}).items()} for kind in FACTS},
        }
    )
    n_missing = int((~target.planned().trial_id.isin(list(chosen))).sum())
    return [
        f"run {target.folder.name}: {count(len(chosen), 'trial')}, {len(new)} of them added, in {target.folder}",
        *[
            f"planned and without a row yet: {count(n_missing, 'trial')}; the main job's command, without --shard, trains what is missing"
        ]
        * bool(n_missing),
        *absent_shards(target.manifest()["commands"]),
        *repeated(found, target),
        *identities([each.row for each in chosen.values()]),
        *dict.fromkeys(damage for store in (target, *sources) for damage in store.damages),
    ]


# --- which row of a trial


def choose(found: Iterable[Found], target: Store) -> dict[str, Found]:
    """The row of each trial that the joined run has, by trial."""
    chosen: dict[str, Found] = {}
    for each in last(found).values():
        former = chosen.setdefault(each.row["trial_id"], each)
        chosen[each.row["trial_id"]] = max(former, each, key=lambda own: _worth(own, target))
    return chosen


def _worth(found: Found, target: Store) -> tuple[Any, ...]:
    """Orders rows of one trial, of which the last is chosen. That one of an archive was finished first, only its maker says."""
    is_own = not found.row.get(ARCHIVE)
    return standing(found.row), is_own, found.store is target, -found.row["finished_at"] if is_own else 0.0


def last(found: Iterable[Found]) -> dict[tuple[int, str], Found]:
    """The last row of each trial in each run, which is the one that counts there, by run and trial, in the order of the runs."""
    of_trial: dict[tuple[int, str], list[Found]] = {}
    for each in found:
        of_trial.setdefault((id(each.store), each.row["trial_id"]), []).append(each)
    return {key: max(reversed(own), key=lambda each: precedence(each.row)) for key, own in of_trial.items()}


def standing(row: Mapping[str, Any]) -> tuple[int, float]:
    """Orders rows of one trial by what is left to do: one that runs again, one whose time was up, by its limit, one that is finished.

    Finished ones are equal: to prefer an ok row to a failed one would be to take the best of several tries.
    """
    if STATUSES[row["status"]].runs_again:
        return 0, 0.0
    if row["status"] == TIMED_OUT:
        limit = row.get("time_limit")
        return 1, math.inf if limit is None else limit
    return FINISHED


def repeated(found: Iterable[Found], target: Store) -> list[str]:
    """Says how many trials were trained to the end in several runs, and how far their scores differ."""
    load_all()
    rows: dict[str, list[dict[str, Any]]] = {}
    for each in last(found).values():
        own = rows.setdefault(each.row["trial_id"], [])
        if standing(each.row) == FINISHED and each.row not in own:
            own.append(each.row)
    several = [own for own in rows.values() if len(own) > 1]
    if not several:
        return []
    differ = [own for own in several if len({repr([row.get(name) for name in ("status", *SCORES)]) for row in own}) > 1]
    text = f"trained in several runs: {count(len(several), 'trial')}, of which one's own counts before one of an archive, then what the run had, then what finished first"
    if not differ:
        return [f"{text}; their scores are the same"]
    heads = [[row[HEADLINE] for row in own if row.get(HEADLINE) is not None] for own in differ]
    apart = max((max(values) - min(values) for values in heads if values), default=0.0)
    return [
        f"{text}; scores of {len(differ)} of them differ, {HEADLINE} by at most {apart:.3g}, as in another pack or on another machine"
    ]


# --- writing


def _write_packs(
    new: Sequence[Found], own: Mapping[str, tuple[list, bool]], chosen: Mapping[str, Found], target: Store
) -> None:
    """Writes each pack that changes, those of the run first: a row that makes way for another one must be gone before that comes."""
    added: dict[str, list[Found]] = {}
    for each in new:
        added.setdefault(each.pack, []).append(each)
    for pack in dict.fromkeys([*own, *added]):
        before, is_whole = own.get(pack, ([], True))
        kept = [row for row in before if chosen[row["trial_id"]].store is target]
        more = added.get(pack, [])
        if is_whole and not more and len(kept) == len(before):
            continue
        path = target.parts / f"{pack}.jsonl"
        if not is_whole:
            target.set_aside(path, "its whole rows are kept")
        if kept or more:
            target.write_pack(pack, [*kept, *(each.row for each in more)], _latents(pack, kept, more, target))
        else:
            path.unlink(missing_ok=True)


def _latents(pack: str, kept: Sequence[Mapping], more: Sequence[Found], target: Store) -> dict[str, np.ndarray]:
    """The arrays of the trials of a pack: nothing, which leaves the file as it is, where none are added or those there cannot be read."""
    if not more:
        return {}
    latents: dict[str, np.ndarray] = {}
    for store in dict.fromkeys([target, *(each.store for each in more)]):
        rows = kept if store is target else [each.row for each in more if each.store is store]
        arrays = store.pack_latents(pack) if rows else {}
        if arrays is None and store is target:
            return {}
        trials = {row["trial_id"] for row in rows}
        latents |= {key: array for key, array in (arrays or {}).items() if key.partition(".")[0] in trials}
    return latents


def _write_charts(sources: Sequence[Store], target: Store) -> None:
    for store in sources:
        for path in sorted((store.folder / "charts").glob("*.npz")):
            if not (target.folder / "charts" / path.name).exists():
                arrays = store.chart(path.stem)
                if arrays is not None:
                    target.write_chart(path.stem, arrays)


def _last_says(store: Store, target: Store) -> tuple[bool, bool, str]:
    """Orders runs, of which the last says what a name means: the newest of one's own; of archives, those that are there already."""
    is_own, started = when(store.manifest()["commands"][-1])
    return is_own, not is_own and store is target, started


def _each_once(commands: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [command for place, command in enumerate(commands) if command not in commands[:place]]


def absent_shards(commands: Sequence[Mapping[str, Any]]) -> list[str]:
    """Says which shards of those that the commands are of are not among them; nothing where the last command was of no shard."""
    shards = [shard for command in commands if (shard := _shard(command["config"].get("shard")))]
    if not shards or not _shard(commands[-1]["config"].get("shard")):
        return []
    said = []
    for of in sorted({shard.of for shard in shards}):
        absent = sorted(set(range(1, of + 1)) - {shard.number for shard in shards if shard.of == of})
        names = ", ".join(map(str, absent[:10])) + (", ..." if len(absent) > 10 else "")
        said += [f"not here yet: {count(len(absent), 'shard')} of {of} ({names})"] * bool(absent)
    return said


def _shard(text: Any) -> Shard | None:
    try:
        return parse_shard(text) if isinstance(text, str) else None
    except UsageError:
        return None


# --- identities


def identities(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Says of how many rows the trial is not what their fields and the code that is here give.

    A row of other code is right: its trial is another one, which the main job would train. One of this code with another identity was
    edited, or written by a machine that computes otherwise; it is kept, since its run counts it too. Methods and data sets that are not
    registered here, and data from a user's file, which the identity depends on, cannot be checked.
    """
    old, odd = [], []
    for row in rows:
        trials = _trials_of(row)
        if trials and trials[0].code != row["code"]:
            old.append(row["trial_id"])
        elif trials and row["trial_id"] not in {trial.trial_id for trial in trials}:
            odd.append(row["trial_id"])
    said = []
    if old:
        said.append(
            f"of other code than this project's: {count(len(old), 'trial')}; the main job's command trains them anew"
        )
    if odd:
        said.append(
            f"the fields of {count(len(odd), 'trial')} do not give the identity that is stored, {odd[0]} is the first: was a row edited?"
        )
    return said


def _trials_of(row: Mapping[str, Any]) -> list[Trial]:
    """What trial a row may be of, by the fields that are registered here. Nothing, if none can be made."""
    if row["dataset"] not in datasets.names() or row["method"] not in methods.names():
        return []
    dataset, method = datasets[row["dataset"]], methods[row["method"]]
    if hasattr(dataset.cls, "fingerprint"):
        return []
    return trials_of(row, dataset.fields, method.fields)


def trials_of(row: Mapping[str, Any], of_data: Collection[str], of_method: Collection[str]) -> list[Trial]:
    """What trial a row may be of, by the names of the fields: one that is none has the data's own number in the columns `SHAPE`.

    Nothing, if the row lacks a field.
    """
    if not {*of_data, *of_method} <= row.keys():
        return []
    fields, own = ({name: row[name] for name in names} for names in (of_data, of_method))
    defaults = datasets[row["dataset"]].defaults if row["dataset"] in datasets.names() else {}
    unsure = [name for name in SHAPE if name in fields and defaults.get(name) is None]
    return [
        Trial(row["dataset"], fields | dict.fromkeys(none), row["method"], own, row["seed"], row["root_seed"])
        for n in range(len(unsure) + 1)
        for none in itertools.combinations(unsure, n)
    ]
