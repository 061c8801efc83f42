"""Hyper-parameter search: the same number of model-steps for every method, on data that no leaderboard uses.

A configuration trains on every cell and data seed of the search, `REPLICATES` models on each that differ in their own seeds alone,
all stacked. Ray Tune places configurations; ASHA (Li et al. 2020) compares them at rungs, by consistency, and stops most early,
on the learning-rate schedule of the full length. The defaults are trained to the end: models that recover little can agree early.
What is chosen in the end is the business of `bench.selection`.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from bench import runner, selection
from bench.metrics import Encoded, mcc_spearman
from bench.store import Store
from bench.trials import (
    MODEL_STEPS_PER_SECOND,
    RACE,
    Trial,
    digest,
    duration,
    fingerprint,
    model_shape,
    tuning_quantile,
    tuning_root,
)
from datasets import Instance
from methods import TorchMethod, methods
from registry import UsageError, nearest

CELLS = {"sparse-mixing": {"domains": [2, 9]}}  # axes of a search that does not name them
REPLICATES = 2  # models per data set: the fewest that can agree
REDUCTION = RACE  # of the configurations at a rung, about one in so many goes on; each rung has so many times the steps
RUNGS = 2  # as restarts race: an earlier look sees the warm-up, one at a third a penalty that is boosted for a while
STEP = 32  # bench.engine.CHUNK, which is not imported here since it takes torch with it


@dataclass(frozen=True)
class Search:
    """What is searched for one method: `settings` are the fields that are fixed, the rest of its spaces is open."""

    method: str
    settings: dict[str, Any]
    dataset: str
    cells: list[dict[str, Any]]
    n_seeds: int
    root_seed: int
    rungs: tuple[int, ...]

    def fields(self, number: int) -> dict[str, Any]:
        """Configuration `number`: 0 is the defaults, the others are drawn.

        A draw depends on the root seed, the number and the name of the field, so that methods share the values of shared fields.
        """
        entry = methods[self.method]
        drawn = {
            name: space.quantile(tuning_quantile(self.root_seed, number, name))
            for name, space in entry.spaces.items()
            if number and name not in self.settings
        }
        return {name: entry.check(name, value) for name, value in (entry.defaults | drawn | self.settings).items()}

    def trials(self, fields: dict[str, Any]) -> list[Trial]:
        """One for each data set that a configuration trains on."""
        root = tuning_root(self.root_seed)
        seeds = range(self.n_seeds)
        return [Trial(self.dataset, cell, self.method, fields, seed, root) for cell in self.cells for seed in seeds]

    @functools.cached_property
    def question(self) -> str:
        """Hash of all that determines the results of a search, but its budget."""
        first = self.trials(self.fields(0))[0]
        return digest([dataclasses.asdict(self), REPLICATES, REDUCTION, first.code, fingerprint(first)])

    def trial_id(self, number: int) -> str:
        return digest([self.question, number, self.fields(number)])

    @property
    def n_models(self) -> int:
        return len(self.cells) * self.n_seeds * REPLICATES

    def cost(self, stage: int) -> int:
        """Model-steps from the rung before to rung `stage`: a multiple of those to the first."""
        return self.n_models * (self.rungs[stage] - (self.rungs[stage - 1] if stage else 0))

    @property
    def full_cost(self) -> int:
        """Model-steps of a configuration that is trained to the end."""
        return self.n_models * self.rungs[-1]


def plan_rungs(steps: int, n_rungs: int = RUNGS) -> tuple[int, ...]:
    """The steps at which configurations are compared, the last the length of training: at most `steps`, all whole chunks."""
    if steps < STEP:
        raise UsageError(f"a search compares models after multiples of {STEP} steps, and these train for {steps}")
    n_rungs = min(n_rungs, 1 + int(np.log(steps // STEP) / np.log(REDUCTION) + 1e-9))
    first = steps // (STEP * REDUCTION ** (n_rungs - 1)) * STEP
    return tuple(first * REDUCTION**k for k in range(n_rungs))


def plan_searches(
    names: Sequence[str],
    settings: dict[str, dict[str, Any]],
    dataset: str,
    cells: list[dict[str, Any]],
    n_seeds: int,
    root_seed: int,
    n_rungs: int = RUNGS,
    budget: int | None = None,
) -> list[Search]:
    """One for each method. Raises UsageError for one that cannot be searched, or not with this budget."""
    searches = []
    for name in names:
        entry, fixed = methods[name], settings.get(name, {})
        if name not in tunable():
            raise UsageError(f"{name} has nothing to tune; {nearest(name, tunable())}")
        if not entry.spaces.keys() - fixed.keys():
            raise UsageError(f"{name} has nothing left to tune: {', '.join(entry.spaces)} are all fixed by --set")
        if fixed.get("restarts", 1) != 1:
            raise UsageError(f"{name}.restarts={fixed['restarts']}: a search compares single starts; leave it out")
        rungs = plan_rungs(fixed["steps"], n_rungs)
        search = Search(name, fixed | {"steps": rungs[-1], "restarts": 1}, dataset, cells, n_seeds, root_seed, rungs)
        for trial in search.trials(search.fields(0)):
            n_domains, least = trial.make_dataset().shape[2], entry.cls.min_domains  # type: ignore[attr-defined]
            if n_domains < least:
                raise UsageError(f"{name} needs at least {least} domains, and a cell has {n_domains}; leave one out")
        if budget is not None and budget < search.full_cost:
            raise UsageError(
                f"--budget {budget} is too small: one configuration of {name} takes {search.full_cost} model-steps "
                f"({search.n_models} models of {search.rungs[-1]} steps)"
            )
        searches.append(search)
    return searches


def tunable() -> list[str]:
    """Methods that the engine trains and that declare a search space; no floors, no ceiling."""
    return [e.name for e in methods if issubclass(e.cls, TorchMethod) and e.cls.role == "method" and e.spaces]


# --- one configuration


def train(search: Search, fields: dict[str, Any], device: str) -> Iterator[dict[str, Any]]:
    """Trains a configuration; at every rung, what it has come to: `reached`, and the measurements of `selection.DEFINITIONS`."""
    from bench import worker
    from bench.engine import Job, Stack

    groups: dict[Any, list[tuple[Trial, int]]] = {}
    for trial in search.trials(fields):
        shape = model_shape(trial.make_dataset().shape)
        groups.setdefault(shape, []).extend((trial, replicate) for replicate in range(REPLICATES))
    stacks = []
    for shape, models in groups.items():
        jobs = [
            Job(worker.standardised(trial).train, trial.init_seed(replicate), trial.noise_seed(replicate))
            for trial, replicate in models
        ]
        stacks.append((Stack(models[0][0].make_method(), shape, jobs, device), models))
    for rung in search.rungs:
        measured = []
        for stack, models in stacks:
            stack.train(until=rung)
            measured += _measure(stack, models)
        yield {"reached": rung, **_summary(measured)}


def _measure(stack: Any, models: Sequence[tuple[Trial, int]]) -> list[dict[str, Any]]:
    """Of each data set in a stack: measurements, lists over its models where they are of a model."""
    from bench import worker

    entry = methods[models[0][0].method]
    plain = entry.make(models[0][0].method_fields | entry.neutral)
    alive = [(job, *models[job], worker.standardised(models[job][0])) for job in stack.alive]
    found: dict[int, dict[str, Any]] = {}
    if alive:
        validation, test = (stack.encode([getattr(i, s) for *_, i in alive]) for s in ("validation", "test"))
        train = stack.encode([i.train for *_, i in alive]) if worker.has_readout(stack.method) else None
        fit = stack.objective([i.validation for *_, i in alive], plain)
        strength = stack.jacobian_strength(validation)
        for slot, (job, trial, replicate, instance) in enumerate(alive):
            if not (np.isfinite(validation[slot]).all() and np.isfinite(test[slot]).all() and np.isfinite(fit[slot])):
                continue
            own = None if train is None else train[slot][: len(instance.train.x)]
            encoded = worker.read_out(stack.method, trial.init_seed(replicate), own, validation[slot], test[slot])
            found[job] = {
                "encoded": encoded[0],
                "fit": fit[slot],
                "sparsity": np.nan if strength is None else strength[slot].sum(),
                "mcc_spearman": _recovery(instance, *encoded),
            }
    data_sets = []
    lost = 0.0 if worker.has_truth(models[0][0].make_dataset()) else np.nan
    for first in range(0, len(models), REPLICATES):
        kept = [found[job] for job in range(first, first + REPLICATES) if job in found]
        n_lost = REPLICATES - len(kept)
        data_sets.append(
            {
                "consistency": 0.0 if n_lost else selection.agreement([model["encoded"] for model in kept]),
                "fit": [model["fit"] for model in kept] + [np.nan] * n_lost,
                "sparsity": [model["sparsity"] for model in kept] + [np.nan] * n_lost,
                "mcc_spearman": [model["mcc_spearman"] for model in kept] + [lost] * n_lost,
                "n_lost": n_lost,
            }
        )
    return data_sets


def _recovery(instance: Instance, validation: np.ndarray, test: np.ndarray) -> float:
    """mcc_spearman of the encodings of validation and test; NaN where the truth is not known."""
    if not instance.test.z.shape[1]:
        return np.nan
    splits = (instance.validation, validation), (instance.test, test)
    return mcc_spearman(*(Encoded(split.z, encoded, split.domains) for split, encoded in splits))


def _summary(data_sets: Sequence[dict[str, Any]]) -> dict[str, Any]:
    means = {
        name: float(np.mean([data_set[name] for data_set in data_sets]))
        for name in ("consistency", "fit", "sparsity", "mcc_spearman")
    }
    return means | {"n_lost": sum(data_set["n_lost"] for data_set in data_sets)}


# --- the search


@dataclass
class Ledger:
    """The model-steps of one method: which are spent, in slices as large as the first stage of a configuration."""

    search: Search
    budget: int  # a multiple of the first stage
    finished: list[dict[str, Any]]  # rows of former runs
    spent: int = field(init=False)
    numbers: Iterator[int] = field(init=False)

    def __post_init__(self):
        self.spent = sum(row["model_steps"] for row in self.finished)
        known = {row["trial_id"] for row in self.finished}
        self.numbers = (number for number in itertools.count() if self.search.trial_id(number) not in known)

    def slices(self, stage: int) -> int:
        return self.search.cost(stage) // self.search.cost(0)

    def charge(self, stage: int) -> bool:
        """Spends what a stage costs, if it is left."""
        granted = self.spent + self.search.cost(stage) <= self.budget
        self.spent += self.search.cost(stage) if granted else 0
        return granted

    def left_slices(self) -> int:
        return (self.budget - self.spent) // self.search.cost(0)


@dataclass(eq=False)
class Slice:
    """The unit of progress. `expected_s` is its time on one core."""

    expected_s: float


def ledgers(searches: Sequence[Search], budget: int, store: Store) -> list[Ledger]:
    """What is spent and left of each method."""
    rows = [row for row in store.rows() if row["status"] != "crashed"]
    found = []
    for search in searches:
        own = [row for row in rows if row["question"] == search.question]
        found.append(Ledger(search, budget // search.cost(0) * search.cost(0), own))
    return found


def slices(ledger: Ledger) -> list[Slice]:
    """Those that are left."""
    method = methods[ledger.search.method].make(ledger.search.fields(0))
    rate = MODEL_STEPS_PER_SECOND / (method.cost * method.width * method.batch_size / (64 * 128))
    return [Slice(ledger.search.cost(0) / rate) for _ in range(ledger.left_slices())]


def describe(searches: Sequence[Ledger], workers: int) -> str:
    """What is about to run: for each method its budget, what is left of it, and how long that takes."""
    from tabulate import tabulate

    times = [sum(each.expected_s for each in slices(ledger)) for ledger in searches]
    table = [
        [ledger.search.method, f"{ledger.budget:,}", f"{ledger.budget - ledger.spent:,}",
         f"{ledger.budget / ledger.search.full_cost:.1f}", duration(time)]
        for ledger, time in zip(searches, times, strict=True)
    ]  # fmt: skip
    headers = ["method", "model-steps", "left", "as whole configurations", "core time"]
    first = searches[0].search
    return "\n".join(
        [
            f"configurations train {first.n_models} models: {len(first.cells)} cells, {first.n_seeds} data seeds, "
            f"{REPLICATES} models on each; compared after {', '.join(map(str, first.rungs))} steps",
            tabulate(table, headers, colalign=("left", *["right"] * 4), disable_numparse=True),
            f"estimated time: about {duration(sum(times) / workers)} on {workers} cores",
        ]
    )


def run(
    searches: Sequence[Ledger],
    store: Store,
    *,
    device: str,
    console: Console,
    ray_address: str | None = None,
    gpus_per_pack: float = 0.0,
    plugins: Sequence[str] = (),
) -> None:
    """Spends what is left of every method's budget on Ray, one method after the other."""
    open_ledgers = [(ledger, slices(ledger)) for ledger in searches if ledger.left_slices()]
    if not open_ledgers:
        return
    everything = [each for _, own in open_ledgers for each in own]
    with (
        runner.ray_session(ray_address, gpus_per_pack) as workers,
        runner.Monitor(everything, console, workers, unit="slices") as monitor,
    ):
        for ledger, own in open_ledgers:
            _run_one(ledger, own, store, monitor, device, workers, gpus_per_pack, tuple(plugins))


def _run_one(
    ledger: Ledger,
    left: list[Slice],
    store: Store,
    monitor: runner.Monitor,
    device: str,
    workers: int,
    gpus: float,
    files: tuple[str, ...],
) -> None:
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler, TrialScheduler
    from ray.tune.search import Searcher

    search, rungs = ledger.search, ledger.search.rungs

    class Sampler(Searcher):
        """The next configuration, as long as there is budget for its first stage."""

        def __reduce__(self):
            # Tune saves what it is given to restore an experiment; ours resumes by the store.
            return Searcher, ()

        def suggest(self, trial_id):
            if not ledger.charge(0):
                return Searcher.FINISHED
            monitor.started()
            return {"number": next(ledger.numbers)}

        def on_trial_complete(self, trial_id, result=None, error=False):
            pass

    class Scheduler(ASHAScheduler):
        """ASHA that spares the defaults, stops what there is no budget for, and writes down every configuration that ends."""

        def __reduce__(self):
            return ASHAScheduler, ()

        def on_trial_result(self, controller, trial, result):
            stage, status = result["stage"], result["status"]
            finish(stage, status)
            if status == "ok" and result["reached"] < rungs[-1]:
                decision = super().on_trial_result(controller, trial, result)
                if decision == TrialScheduler.STOP and trial.config["number"] > 0:
                    status = "stopped"
                elif ledger.charge(stage + 1):
                    for _ in range(ledger.slices(stage + 1)):
                        monitor.started()
                    return TrialScheduler.CONTINUE
                else:
                    status = "cut"
            write(trial.config["number"], status, result["error"], result["history"], stage)
            return TrialScheduler.STOP

        def on_trial_error(self, controller, trial):
            stage = len(trial.last_result.get("history", []))
            finish(stage, "crashed")
            write(trial.config["number"], "crashed", "the worker process died (out of memory, or killed)", [], stage)

    def finish(stage: int, status: str) -> None:
        for _ in range(ledger.slices(stage)):
            monitor.finished(left.pop(), [status])

    def write(number: int, status: str, error: str | None, history: list[dict[str, Any]], stage: int) -> None:
        row = make_row(search, number, status, error, history, search.n_models * rungs[stage])
        store.write_pack(row["trial_id"], [row], {})

    def objective(config: dict) -> None:
        from bench import engine, plugins, tuning

        engine.use_one_thread()
        plugins.load(files)
        for report in tuning.reports(search, config["number"], device):
            tune.report(report)

    scheduler = Scheduler(
        "reached", "consistency", "max", max_t=rungs[-1], grace_period=rungs[0], reduction_factor=REDUCTION
    )
    nobody: Any = None
    for row in ledger.finished:  # what ASHA has seen before a run was stopped; of a trial it reads the name alone
        former: Any = SimpleNamespace(trial_id=row["trial_id"])
        scheduler.on_trial_add(nobody, former)
        for result in row["history"]:
            ASHAScheduler.on_trial_result(scheduler, nobody, former, result)
    with runner.scratch_folder() as scratch:
        tune.Tuner(
            tune.with_resources(objective, {"cpu": 1, "gpu": gpus}),
            tune_config=tune.TuneConfig(
                search_alg=Sampler(), scheduler=scheduler, num_samples=-1, reuse_actors=True,
                max_concurrent_trials=max(1, min(workers, ledger.budget // search.full_cost)),
            ),
            run_config=tune.RunConfig(storage_path=scratch, verbose=0),
        ).fit()  # fmt: skip
    if ledger.left_slices() or left:
        raise KeyboardInterrupt


def reports(search: Search, number: int, device: str) -> Iterator[dict[str, Any]]:
    """What a worker tells of a configuration at each rung: the history so far, the last of it, and whether it failed."""
    history: list[dict[str, Any]] = []
    try:
        for result in train(search, search.fields(number), device):
            history.append(result)
            yield {**result, "stage": len(history) - 1, "history": list(history), "status": "ok", "error": None}
    except Exception as error:  # a configuration that fails is a row
        yield {
            "stage": len(history),
            "history": history,
            "status": "failed",
            "error": f"{type(error).__name__}: {error}",
            **{"reached": search.rungs[len(history)], "consistency": 0.0},
        }


def make_row(
    search: Search, number: int, status: str, error: str | None, history: list[dict[str, Any]], model_steps: int
) -> dict[str, Any]:
    """One flat row: where a configuration ended and what it measured there, with all its fields."""
    fields = search.fields(number)
    measured = ("reached", "consistency", "fit", "sparsity", "mcc_spearman", "n_lost")
    last = history[-1] if history and status != "failed" else {}
    return {
        "trial_id": search.trial_id(number),
        "method": search.method,
        "number": number,
        "status": status,
        "error": error,
        "model_steps": model_steps,
        **{name: last.get(name) for name in measured},
        "history": history,
        "question": search.question,
        "root_seed": search.root_seed,
        "finished_at": time.time(),
        **fields,
    }


# --- what a search leaves


def write(store: Store, searches: Sequence[Search], console: Console) -> pd.DataFrame:
    """Writes trials.parquet and .csv, chosen.json and summary.md, prints the summary; returns the rows of these searches."""
    rows = store.compact()
    rows = rows[rows.question.isin([search.question for search in searches])].reset_index(drop=True)
    choices = {search.method: chosen(rows[rows.method == search.method]) for search in searches}
    store.write_text(
        "chosen.json",
        json.dumps(
            {
                search.method: {
                    rule: None if row is None else searched_fields(row) for rule, row in choices[search.method].items()
                }
                for search in searches
            },
            indent=2,
        )
        + "\n",
    )
    text = summary(rows, searches, choices)
    store.write_text("summary.md", text)
    console.print(text, soft_wrap=True, markup=False)
    console.print(f"written: {store.folder}", soft_wrap=True)
    return rows


def searched_fields(row: pd.Series) -> dict[str, Any]:
    """The values of the fields that have a search space."""
    entry = methods[row.method]
    return {name: entry.check(name, row[name]) for name in entry.spaces}


def chosen(rows: pd.DataFrame) -> dict[str, pd.Series | None]:
    """Each rule's choice among the configurations of one method that got furthest."""
    numbers = rows[["reached", "consistency", "fit", "sparsity", "mcc_spearman"]].astype(float)
    furthest = rows[(numbers.reached == numbers.reached.max()).to_numpy()].sort_values("number")
    table = numbers.loc[furthest.index]
    found = {name: rule(table) if len(table) else None for name, rule in selection.RULES.items()}
    return {name: None if position is None else furthest.iloc[position] for name, position in found.items()}


def summary(rows: pd.DataFrame, searches: Sequence[Search], choices: dict[str, dict[str, pd.Series | None]]) -> str:
    """The choices of all rules, method by method, as Markdown."""
    from tabulate import tabulate

    lines = []
    for search in searches:
        spaces = [name for name in methods[search.method].spaces if name not in search.settings]
        best = choices[search.method]["oracle"]
        own = rows[rows.method == search.method]
        defaults = own[(own.number == 0) & (own.status == "ok")]
        picks = dict(choices[search.method]) | {"(defaults)": None if defaults.empty else defaults.iloc[0]}
        for rule, row in picks.items():
            if row is None:
                lines.append([search.method, rule])
                continue
            cost = None if best is None else best.mcc_spearman - row.mcc_spearman
            values = ", ".join(f"{name} {row[name]:.3g}" for name in spaces)
            lines.append(
                [search.method, rule, values]
                + [_number(row[name]) for name in ("consistency", "fit", "sparsity", "mcc_spearman")]
                + [_number(cost)]
            )
    headers = ["method", "rule", "choice", "consistency", "fit", "sparsity", "MCC", "cost of not knowing the truth"]
    spent = [
        f"- {search.method}: {len(own)} configurations, {int((own.status == 'ok').sum())} of them trained to the end, "
        f"{int((own.status.isin(['failed', 'crashed'])).sum())} failed; {int(own.model_steps.sum())} model-steps"
        for search in searches
        for own in [rows[rows.method == search.method]]
    ]
    notes = [f"- {name}: {text}" for name, text in selection.DEFINITIONS.items()]
    parts = [
        "# Hyper-parameter search",
        tabulate(lines, headers, tablefmt="pipe", disable_numparse=True),
        "\n".join(spent),
        "\n".join(notes),
    ]
    return "\n\n".join(parts) + "\n"


def _number(value: Any) -> str:
    return "" if value is None or pd.isna(value) else f"{value:.3f}"
