"""What an archive must pass before its rows are merged: identities, ranges, the code, and a sample of its trials trained again here.

Nothing in an archive is trusted, and nothing in it is executed: what trains a trial again is the code that is here, a plug-in's only where
the user names its file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import multiprocessing
import random
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from rich.console import Console

from bench.machine import free_memory
from bench.plan.identity import digest
from bench.plan.packs import make_packs
from bench.plan.plugins import load as load_plugins
from bench.plan.trials import SHAPE, Trial
from bench.registry import Registry, UsageError
from bench.run import executors
from bench.run import manifest as manifests
from bench.run.archive import Archive, shared_error
from bench.run.merge import trials_of
from bench.run.placement import place
from bench.run.process import MEMORY_SHARE
from bench.run.stopping import PATIENCE_S, listening
from bench.run.store import ARCHIVE, COMMAND, Store, flaw
from bench.run.submissions import SUBMISSIONS
from bench.scores import SCORES, Score, load_all
from bench.statuses import OK, STATUSES, TIMED_OUT
from bench.text import one_line
from bench.train import data
from bench.train import rows as full_rows
from bench.train.outcomes import Outcome
from datasets import datasets, oracle
from methods import methods


class Limit(NamedTuple):
    """By how much a score may be another one when a trial is trained again: of nearly all trials, and of the few others at most."""

    close: float
    most: float


# To the last bit a score is the same only in the same pack on the same machine: elsewhere rounding differs, and now and then decides in which of
# several equally good solutions training ends. Of 108 trials of nine methods, trained alone instead of in their packs, two of `vae` ended elsewhere,
# with an MCC that differs by .03 and .09; of all others it differs by .002 at most. In shards one of 32, of `vae` too, differed by .11. What steps
# from edge to edge, as F1 does, differs by more. docs/sharing.md has the table. Scores that have no bound are compared by their size, if that is above 1.
USUAL = Limit(0.01, 0.2)
SOLUTION = Limit(0.01, 0.15)
LIMITS = {
    "mcc_spearman": SOLUTION,
    "mcc_pearson": SOLUTION,
    "mcc_within": SOLUTION,
    "mcc_per_latent": Limit(0.01, 0.4),
    "mcc_style": Limit(0.01, 0.3),
    "r2_block": Limit(0.01, 0.02),  # does not depend on the solution
    "r2_linear": Limit(0.01, 0.02),
    "support_f1": Limit(0.03, 0.2),
    "support_f1_chance": Limit(0.02, 0.2),
    "support_ap_gain": Limit(0.02, 0.5),
    "support_f1_gain": Limit(0.1, 0.5),
    "objective": Limit(0.02, 0.1),
    "recon_nmse": Limit(0.001, 0.01),
    "content_from_content": SOLUTION,
    "n_ties": Limit(0.0, math.inf),  # numbers that a small difference can change, or make to be none
    "n_changing": Limit(0.0, math.inf),
    "agreement": Limit(0.01, math.inf),
}
ONE_IN, ONE_IN_METHOD = (
    20,
    5,
)  # of how many trials, of one method and of all, one may have ended in another solution; one in any case
EXACT = 1e-4  # by which a number of the oracle may differ, in which nothing is trained
SETTLED = ("role", "has_truth", "resplits", "replicates", *SHAPE)  # columns that follow from the settings
PROGRAM = "run_bench.py"  # the first word of every command
ROUNDING = 1e-6  # by which a score may leave its range
DRAW = random.SystemRandom()
REGISTRIES: dict[str, Registry] = {"dataset": datasets, "method": methods}


def rows(store: Store, known_only: bool = True) -> dict[str, tuple[dict[str, Any], Trial]]:
    """The rows of a run by trial, each with its trial, whose identity and other settings were computed again from its fields.

    Where `known_only`, each must be of the code that is here. Raises UsageError, naming the trial and what was found, for the first row that
    is not as this project would have written it.
    """
    load_all()
    for command in store.manifest()["commands"]:
        command_text(command["command"])
    fields = _fields(store.manifest())
    scores = _scores(store.manifest())
    found = {}
    for row in store.rows():
        trial = _trial(row, fields, known_only)
        extra = sorted(
            row.keys() - full_rows.COLUMNS - scores.keys() - trial.dataset_fields.keys() - trial.method_fields.keys()
        )
        if extra:
            raise UsageError(f"{_name(row)}: no row has a column {extra[0]!r}")
        _check_scores(row, scores)
        found[row["trial_id"]] = row, trial
    return found


def command_text(command: str) -> str:
    """A command as it may be shown to be given again: this project's own, every word of it quoted. Raises UsageError for anything else.

    Reports tell their readers to run it, and a shell would run what stands behind a `;` too.
    """
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if words[:1] != [PROGRAM] or one_line(command) != command:
        raise UsageError(f"a command of the run is {_text(command)}, and no command of {PROGRAM}")
    return shlex.join(words)


def plan(store: Store, checked: Mapping[str, tuple[Mapping[str, Any], Trial]]) -> None:
    """Raises UsageError where the plan of a run has trials of other code than its rows, which would hide those of the run that it is added to."""
    codes = {(row["method"], row["dataset"]): row["code"] for row, _ in checked.values()}
    for method, dataset, code in (
        store.planned()[["method", "dataset", "code"]].drop_duplicates().itertuples(index=False)
    ):
        here = _code(dataset, method) if dataset in datasets.names() and method in methods.names() else None
        if code != codes.get((method, dataset), here):
            raise UsageError(
                f"the plan has trials of {method} on {dataset} with the code {code}, of which there are no rows"
            )


def _fields(manifest: Mapping[str, Any]) -> dict[str, dict[str, list[str]]]:
    """The names of the fields of data sets and methods: what is registered here, else as the manifest has them."""
    found: dict[str, dict[str, list[str]]] = {}
    for kind, registry in REGISTRIES.items():
        known = manifest.get(f"{kind}s") or {}
        wrong = flaw(manifest, {f"{kind}s": dict}) or next(
            filter(None, (flaw(f, {"fields": list}) for f in known.values())), ""
        )
        if wrong:
            raise UsageError(f"the manifest cannot be read: {wrong}")
        found[kind] = {name: list(map(str, facts["fields"])) for name, facts in known.items()}
        found[kind] |= {name: list(registry[name].fields) for name in registry.names()}
    return found


def _scores(manifest: Mapping[str, Any]) -> dict[str, Score]:
    """The scores that rows may have: those that are declared here, and as the manifest says others, of plug-ins."""
    types = {"name": str, "bounded": bool, "non_negative": bool, "per_latent": bool}
    known = manifest.get("scores", {})
    if not isinstance(known, dict):
        raise UsageError("the manifest cannot be read: 'scores' is not a table of names and values")
    others = {name: facts for name, facts in known.items() if name not in SCORES}
    for name, facts in others.items():
        if wrong := flaw(facts, types):
            raise UsageError(f"the manifest cannot be read: of the score {name!r}, {wrong}")
    return SCORES | {
        name: Score(definition="", source="", **{k: facts[k] for k in types}) for name, facts in others.items()
    }


def _trial(row: Mapping[str, Any], fields: Mapping[str, Mapping[str, Sequence[str]]], known_only: bool) -> Trial:
    for kind, registry in REGISTRIES.items():
        if row[kind] not in fields[kind]:
            raise UsageError(f"{_name(row)}: nothing says what fields the {kind} {row[kind]!r} has")
        if row[kind] not in registry.names() and known_only:
            raise UsageError(
                f"the {kind} {row[kind]!r} is not registered here: --plugin names the file of the plug-in that has it (its source is in the "
                "archive, to be read first)"
            )
        # Before anything is made of the row: to make it would read the file that it names.
        if row[kind] in registry.names() and (paths := registry[row[kind]].paths(row)):
            raise UsageError(f"{_name(row)} is on a file ({row[kind]}.{paths[0]}), which nobody else has")
    is_known = all(row[kind] in registry.names() for kind, registry in REGISTRIES.items())
    here = _code(row["dataset"], row["method"]) if is_known else row["code"]
    if row["code"] != here:
        raise UsageError(
            f"{_name(row)} was trained by other code ({row['code']}) than is here ({here}): check out the commit of the run"
        )
    trials = trials_of(row, fields["dataset"][row["dataset"]], fields["method"][row["method"]])
    trial = next((trial for trial in trials if trial.identity(row["code"]) == row["trial_id"]), None)
    if trial is None:
        computed = trials[0].identity(row["code"]) if trials else "none, since it lacks a field"
        raise UsageError(
            f"{_name(row)}: the identity of its settings is {computed}, not {row['trial_id']}: a setting was changed"
        )
    if is_known:
        for registry, name, own in (
            (datasets, trial.dataset, trial.dataset_fields),
            (methods, trial.method, trial.method_fields),
        ):
            for (
                field,
                value,
            ) in own.items():  # a text of a number has another identity than the number, and trains the same
                if repr(registry[name].check(field, value)) != repr(value):
                    raise UsageError(f"{_name(row)}: {field} is {value!r}, which is not how {name} has it")
        expected = _settled(trial)
        wrong = next((name for name in SETTLED if row.get(name) != expected[name]), None)
        if wrong:
            raise UsageError(f"{_name(row)}: {wrong} is {row.get(wrong)!r}, and by its settings {expected[wrong]!r}")
    return trial


def _code(dataset: str, method: str) -> str:
    return Trial(dataset, {}, method, {}, 0, 0).code


def _settled(trial: Trial) -> dict[str, Any]:
    row = full_rows.row(trial, 0, Outcome(OK), {})
    return {name: row[name] for name in SETTLED}


def _check_scores(row: Mapping[str, Any], scores: Mapping[str, Score]) -> None:
    for name, score in scores.items():
        value = row.get(name)
        if value is None:
            continue
        if row["status"] != OK:
            raise UsageError(
                f"{_name(row)}: its status is {row['status']}, and it has a score, {name} = {_text(value)}"
            )
        values = value if score.per_latent and isinstance(value, list) else [value]
        low, high = score.range
        for each in values:
            is_number = isinstance(each, (int, float)) and not isinstance(each, bool) and math.isfinite(each)
            if each is not None and not (is_number and low - ROUNDING <= each <= high + ROUNDING):
                raise UsageError(f"{_name(row)}: {name} is {_text(each)}, which is no score in [{low:g}, {high:g}]")


# --- what follows from the data alone


def verdicts(checked: Mapping[str, tuple[Mapping[str, Any], Trial]], time_limit: float, plugins: Sequence[str]) -> None:
    """Asks the oracle again of all data, each made once, and raises UsageError for the first row that has another verdict.

    Nothing is trained. The data are made in a process of their own, which may take half of the memory that is free, and `time_limit` seconds
    for each: how large they are, the archive says. A trial that has neither scores nor verdicts may have had no data, and a data set that is
    not registered here is not asked.
    """
    asked: dict[str, list[tuple[Mapping[str, Any], Trial]]] = {}
    for row, trial in checked.values():
        has_any = row["status"] == OK or any(row.get(name) is not None for name in oracle.DEFINITIONS)
        if has_any and trial.dataset in datasets.names():
            key = digest([trial.dataset, trial.dataset_fields, trial.root_seed, trial.seed])
            asked.setdefault(key, []).append((row, trial))
    if not asked:
        return
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with context.Pool(1, _begin, (tuple(plugins), MEMORY_SHARE * free_memory())) as pool:
        for group in asked.values():
            row, trial = group[0]
            try:
                found = pool.apply_async(data.verdicts, (trial,)).get(time_limit)
            except multiprocessing.TimeoutError:
                found = {}
            if not found:
                raise UsageError(
                    f"{_name(row)}: its data cannot be made here within {time_limit:g} s and half of the memory that is free"
                )
            for row, _ in group:
                _check_verdicts(row, found)


def _begin(plugins: tuple[str, ...], memory: float) -> None:
    """Prepares the process that makes data: no more than so many bytes beside what it has."""
    load_plugins(plugins)
    with contextlib.suppress(ImportError, ValueError, OSError):  # where there is no such limit
        import resource

        most = psutil.Process().memory_info().vms + int(memory)
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


# --- the sample


def sample(checked: Mapping[str, tuple[dict[str, Any], Trial]], n: int) -> list[tuple[dict[str, Any], Trial]]:
    """`n` of the rows whose outcome is the method's alone, or all if there are fewer.

    They are drawn here and now. A rule that follows from the archive could be followed by whoever makes it, who could change digits of some
    score until the rule leaves out what was tampered with.
    """
    able = drawn_from(checked)
    return DRAW.sample(able, min(n, len(able)))


def drawn_from(checked: Mapping[str, tuple[dict[str, Any], Trial]]) -> list[tuple[dict[str, Any], Trial]]:
    """The rows of which training again can say something: not of those that timed out or crashed, which another machine need not do."""
    return [
        pair
        for pair in checked.values()
        if pair[0]["status"] != TIMED_OUT and not STATUSES[pair[0]["status"]].runs_again
    ]


def retrain(
    pairs: Sequence[tuple[Mapping[str, Any], Trial]], plugins: Sequence[str], console: Console, time_limit: float
) -> dict[str, Any]:
    """Trains trials again, and returns by trial the score that differs most from what the archive has, among bounded ones, and by how much.

    A trial may train for `time_limit` seconds; all of them, with their data and charts, take no more than twice as long. Raises UsageError
    for the first whose status, score or verdict is another one, by more than `LIMITS` allow, and where too many differ by more than rounding.
    """
    placement = place(executor="serial", time_limit=time_limit)
    packs = make_packs([trial for _, trial in pairs], placement.device, plugins)
    with tempfile.TemporaryDirectory() as folder, listening(2 * time_limit * len(pairs) + PATIENCE_S) as stop:
        store = Store(folder)
        executors.run(packs, store, placement, console, stop=stop)
        again = {row["trial_id"]: row for row in store.rows()}
    for row, _ in pairs:
        if row["trial_id"] not in again:
            raise UsageError(f"{_name(row)} could not be trained again here: {stop.reason}; --time-limit allows more")
    together = [(row, again[row["trial_id"]]) for row, _ in pairs]
    for row, own in together:
        _check_outcome(row, own)
        _check_verdicts(row, own)
    compare(together)
    return {row["trial_id"]: list(_largest(row, own)) for row, own in together}


def _check_outcome(row: Mapping[str, Any], again: Mapping[str, Any]) -> None:
    if STATUSES[again["status"]].runs_again:
        raise UsageError(f"{_name(row)} could not be trained again here: {again['error']}")
    if again["status"] == TIMED_OUT:
        raise UsageError(f"{_name(row)} could not be trained again here: {again['error']}; --time-limit allows more")
    if row["status"] != again["status"]:
        raise UsageError(
            f"{_name(row)}: its status is {row['status']} in the archive, and {again['status']} when it is trained again here"
        )


def _check_verdicts(row: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Compares what the oracle says, which follows from the data alone."""
    for name in oracle.DEFINITIONS:
        if not _alike(row.get(name), found.get(name)):
            raise UsageError(
                f"{_name(row)}: {name} is {_text(row.get(name))} in the archive, and by its data {_text(found.get(name))}"
            )


def _alike(value: Any, other: Any) -> bool:
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(_alike, value, other))
    if isinstance(value, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(value, other, rel_tol=EXACT, abs_tol=EXACT)
    return value == other


def compare(together: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
    """Compares every score of rows with that of the same trials as they were trained again. Raises UsageError where they do not agree."""
    apart: dict[str, tuple[str, Mapping[str, Any], Mapping[str, Any]]] = {}
    for name in SCORES:
        limit = LIMITS.get(name, USUAL)
        for row, again in together:
            found = difference(name, row, again)
            if found > limit.most:
                raise UsageError(f"{_apart(name, row, again)}: more than {limit.most:g} apart")
            if found > limit.close:
                apart.setdefault(row["trial_id"], (name, row, again))
    groups = {"": [row for row, _ in together]}
    for row, _ in together:
        groups.setdefault(row["method"], []).append(row)
    for method, rows in groups.items():
        allowed = math.ceil(len(rows) / (ONE_IN_METHOD if method else ONE_IN))
        wrong = [apart[row["trial_id"]] for row in rows if row["trial_id"] in apart]
        if len(wrong) > allowed:
            of = f"{len(rows)} trials{' of ' * bool(method)}{method} that were trained again here"
            raise UsageError(
                f"of {of}, {len(wrong)} differ by more than rounding does, and {allowed} may; {_apart(*wrong[0])}"
            )
    close = [(row, again) for row, again in together if row["trial_id"] not in apart]
    for name in SCORES:
        _check_mean(name, [(row, again) for row, again in close if isinstance(row.get(name), (int, float))])


def difference(name: str, row: Mapping[str, Any], again: Mapping[str, Any]) -> float:
    """By how much a score of two rows differs, the largest of those of single latents; infinity where one of them has none, or more of them."""
    own, other = _values(row.get(name)), _values(again.get(name))
    if len(own) != len(other) or any((a is None) != (b is None) for a, b in zip(own, other, strict=True)):
        return math.inf
    bounded = SCORES[name].bounded
    numbers = [(a, b) for a, b in zip(own, other, strict=True) if a is not None]
    return max((abs(a - b) / (1 if bounded else max(1, abs(a), abs(b))) for a, b in numbers), default=0.0)


def _values(score: Any) -> list[Any]:
    return score if isinstance(score, list) else [score]


def _check_mean(name: str, pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
    """Differences by chance have no common sign: the more trials, the smaller is their mean."""
    if not pairs:
        return
    size = [1 if SCORES[name].bounded else max(1, abs(row[name]), abs(again[name])) for row, again in pairs]
    mean = sum((row[name] - again[name]) / n for (row, again), n in zip(pairs, size, strict=True)) / len(pairs)
    most = LIMITS.get(name, USUAL).close / math.sqrt(len(pairs))
    if abs(mean) > most:
        raise UsageError(
            f"over {len(pairs)} trials that were trained again here, {name} of the archive is {mean:+.3g} from that on average, and may be {most:.3g}"
        )


def _largest(row: Mapping[str, Any], again: Mapping[str, Any]) -> tuple[str, float]:
    """The bounded score that differs most, and by how much."""
    found = {name: difference(name, row, again) for name, score in SCORES.items() if score.bounded}
    name = max(found, key=lambda each: found[each] if math.isfinite(found[each]) else 0.0)
    return name, found[name] if math.isfinite(found[name]) else 0.0


def _apart(name: str, row: Mapping[str, Any], again: Mapping[str, Any]) -> str:
    here = f"{_text(again.get(name))} when it is trained again here"
    return f"{_name(row)}: {name} is {_text(row.get(name))} in the archive, and {here}"


# --- what is merged


def accepted(
    archive: Archive, checked: Mapping[str, tuple[dict[str, Any], Trial]], retrained: Mapping[str, Any]
) -> None:
    """Makes a run of an archive that can be merged: rows that say where they came from, and no more about names than is needed to read them.

    What a name means that is known here, is known here; of other names the archive's word is kept, if its rows have them.
    """
    store, said = archive.store, archive.store.manifest()
    rows = [row for row, _ in checked.values()]
    codes = {f"{row['method']} on {row['dataset']}": row["code"] for row in rows}
    commands = [
        {name: command[name] for name in COMMAND}
        | {
            "command": command_text(command["command"]),
            "code": {name: code for name, code in codes.items() if name in command["code"]},
            ARCHIVE: archive.digest,
        }
        for command in said["commands"]
    ]
    others = {name for row in rows for name in row if row[name] is not None and name not in SCORES}
    scores = {name: record for name, record in said.get("scores", {}).items() if name in others}
    facts = {
        f"{kind}s": {
            name: dataclasses.asdict(registry[name].facts) if name in registry.names() else said[f"{kind}s"][name]
            for name in sorted({row[kind] for row in rows})
        }
        for kind, registry in REGISTRIES.items()
    }
    about = {"by": archive.by, "file": Path(archive.path).name, "n_trials": len(checked), "retrained": dict(retrained)}
    store.write_manifest(
        {
            "name": said["name"],
            "commands": commands,
            "definitions": {name: str(text) for name, text in said["definitions"].items() if name in scores}
            | manifests.definitions(),
            "splits": manifests.SPLITS,
            **facts,
            "scores": scores | {name: score.facts for name, score in SCORES.items()},
            SUBMISSIONS: {archive.digest: about},
        }
    )
    now = time.time()  # no trial can have been finished later
    own = [
        row | shared_error(row) | {ARCHIVE: archive.digest, "finished_at": min(row["finished_at"], now)} for row in rows
    ]
    store.write_pack(archive.digest, own, {})


def differences(archive: Archive) -> list[str]:
    """Says of what commit an archive is, and which versions are others than here."""
    said, git = archive.store.manifest()["commands"][-1], manifests.git_state()
    here = manifests.versions()
    others = [
        f"{name} {found} (here {here.get(name)})"
        for name, found in sorted(said["versions"].items())
        if found != here.get(name)
    ]
    processor, own = said["machine"].get("processor"), manifests.machine()["processor"]
    others += [f"processor {processor} (here {own})"] * (processor != own)
    commit = said["git"].get("commit") or "unknown"
    changed = ", with changes" * bool(said["git"].get("modified"))
    return [
        f"{archive.words}: commit {commit}{changed} (here {git['commit'] or 'unknown'}{', with changes' * bool(git['modified'])})",
        *[f"{archive.words}: made with {', '.join(others)}"] * bool(others),
    ]


def _name(row: Mapping[str, Any]) -> str:
    return f"the trial {row['trial_id']} ({row['method']} on {row['dataset']}, seed {row['seed']})"


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else repr(value)[:100]
