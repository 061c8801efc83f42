"""Spends the budget of a search: Ray Tune places configurations, ASHA (Li et al. 2020) compares them at rungs and stops most early.

Configurations are compared by consistency, on the learning-rate schedule of the full length. The defaults are trained to the end: models
that recover little can agree early. What is chosen in the end is the business of `bench.tune.rules`.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from bench.plan.packs import duration, step_s
from bench.registry import UsageError
from bench.run.executors import ray_session
from bench.run.placement import Placement
from bench.run.progress import Monitor
from bench.run.store import Store
from bench.statuses import CRASHED, CUT, FAILED, FAILURES, OK, STOPPED
from bench.text import count
from bench.tune.search import DEFAULTS, MEASURED, REDUCTION, REPLICATES, Search
from methods import methods


@dataclass
class Ledger:
    """The model-steps of one method: which are spent, in slices as large as the first stage of a configuration.

    What the defaults still need is set aside for them until they end: whoever is faster, they are trained to the end.
    """

    search: Search
    budget: int  # a multiple of the first stage
    finished: list[dict[str, Any]]  # rows of former runs
    spent: int = field(init=False)
    aside: int = field(init=False)  # for the defaults
    upcoming: Iterator[int] = field(init=False)  # numbers of configurations that were not begun

    def __post_init__(self):
        self.spent = sum(row["model_steps"] for row in self.finished)
        known = {row["trial_id"] for row in self.finished}
        self.aside = 0 if self.search.trial_id(DEFAULTS) in known else self.search.full_cost
        self.upcoming = (number for number in itertools.count() if self.search.trial_id(number) not in known)

    def slices(self, stage: int) -> int:
        return self.search.cost(stage) // self.search.cost(0)

    def charge(self, stage: int, number: int) -> bool:
        """Spends what a stage of a configuration costs, if it is left: for the defaults, of what is set aside for them too."""
        cost, own = self.search.cost(stage), self.aside if number == DEFAULTS else 0
        granted = self.spent + cost <= self.budget - self.aside + own
        if granted:
            self.spent += cost
            self.aside -= min(own, cost)
        return granted

    def begin(self) -> int | None:
        """The next configuration, its first stage charged; None if nothing is left for it. The defaults come first."""
        first = next(self.upcoming)
        if self.charge(0, first):
            return first
        self.upcoming = itertools.chain([first], self.upcoming)
        return None

    def ended(self, number: int) -> None:
        """Frees what was set aside for a configuration that trains no further."""
        if number == DEFAULTS:
            self.aside = 0

    def left_slices(self) -> int:
        return (self.budget - self.spent) // self.search.cost(0)

    def slice_s(self) -> float:
        """A rough guess of the seconds of a slice on one core."""
        return self.search.cost(0) * step_s(methods[self.search.method].make(self.search.fields(0)))


def ledgers(searches: Sequence[Search], budget: int, store: Store) -> list[Ledger]:
    """What is spent and left of each method."""
    rows = [row for row in store.rows() if row["status"] != CRASHED]
    found = []
    for search in searches:
        own = [row for row in rows if row["question"] == search.question]
        found.append(Ledger(search, budget // search.cost(0) * search.cost(0), own))
    return found


def describe(searches: Sequence[Ledger], workers: int) -> str:
    """What is about to run: for each method its budget, what is left of it, and how long that takes."""
    from tabulate import tabulate

    times = [ledger.left_slices() * ledger.slice_s() for ledger in searches]
    table = [
        [ledger.search.method, f"{ledger.budget:,}", f"{ledger.budget - ledger.spent:,}",
         f"{ledger.budget / ledger.search.full_cost:.1f}", duration(time)]
        for ledger, time in zip(searches, times, strict=True)
    ]  # fmt: skip
    headers = ["method", "model-steps", "left", "as whole configurations", "core time"]
    first = searches[0].search
    return "\n".join(
        [
            f"configurations train {count(first.n_models, 'model')}: {count(len(first.cells), 'cell')}, {count(first.n_seeds, 'data seed')}, "
            f"{REPLICATES} models on each; compared after {', '.join(map(str, first.rungs))} steps",
            tabulate(table, headers, colalign=("left", *["right"] * 4), disable_numparse=True),
            f"estimated time: about {duration(sum(times) / workers)} on {count(workers, 'core')}",
        ]
    )


def run(
    searches: Sequence[Ledger], store: Store, placement: Placement, console: Console, plugins: Sequence[str] = ()
) -> None:
    """Spends what is left of every method's budget on Ray, one method after the other."""
    open_ledgers = [ledger for ledger in searches if ledger.left_slices()]
    if not open_ledgers:
        return
    with ray_session(placement) as workers, Monitor(console, workers, "slices") as monitor:
        for ledger in open_ledgers:
            for number in range(ledger.left_slices()):
                monitor.add((ledger.search.method, number), ledger.search.method, ledger.slice_s())
        for ledger in open_ledgers:
            _run_one(ledger, store, monitor, placement, workers, tuple(plugins))


def _run_one(
    ledger: Ledger, store: Store, monitor: Monitor, placement: Placement, workers: int, files: tuple[str, ...]
) -> None:
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler, TrialScheduler
    from ray.tune.search import Searcher

    search, rungs = ledger.search, ledger.search.rungs
    n_left = ledger.left_slices()
    waiting, running = deque((search.method, number) for number in range(n_left)), deque[tuple[str, int]]()

    class Sampler(Searcher):
        """The next configuration, as long as there is budget for its first stage."""

        def __reduce__(self):
            # Tune saves what it is given to restore an experiment; ours resumes by the store.
            return Searcher, ()

        def suggest(self, trial_id):
            number = ledger.begin()
            if number is None:
                # None: nothing now, since defaults that fail leave what was set aside for them.
                return None if ledger.left_slices() and ledger.aside else Searcher.FINISHED
            start(0)
            return {"number": number}

        def on_trial_complete(self, trial_id, result=None, error=False):
            pass

    class Scheduler(ASHAScheduler):
        """ASHA that spares the defaults, stops what there is no budget for, and writes down every configuration that ends."""

        def __reduce__(self):
            return ASHAScheduler, ()

        def on_trial_result(self, controller, trial, result):
            stage, status = result["stage"], result["status"]
            finish(stage, status)
            if status == OK and result["reached"] < rungs[-1]:
                decision = super().on_trial_result(controller, trial, result)
                if decision == TrialScheduler.STOP and trial.config["number"] != DEFAULTS:
                    status = STOPPED
                elif ledger.charge(stage + 1, trial.config["number"]):
                    start(stage + 1)
                    return TrialScheduler.CONTINUE
                else:
                    status = CUT
            write(trial.config["number"], status, result["error"], result["history"], stage)
            return TrialScheduler.STOP

        def on_trial_error(self, controller, trial):
            stage = len(trial.last_result.get("history", []))
            finish(stage, CRASHED)
            write(trial.config["number"], CRASHED, "the worker process died (out of memory, or killed)", [], stage)

    def start(stage: int) -> None:
        for _ in range(ledger.slices(stage)):
            running.append(waiting.popleft())
            monitor.start(running[-1])
        monitor.update()

    def finish(stage: int, status: str) -> None:
        nonlocal n_left
        n_left -= ledger.slices(stage)
        for _ in range(ledger.slices(stage)):
            monitor.finish(running.popleft(), status in FAILURES)
        monitor.update()

    def write(number: int, status: str, error: str | None, history: list[dict[str, Any]], stage: int) -> None:
        ledger.ended(number)
        row = make_row(search, number, status, error, history, search.n_models * rungs[stage])
        store.write_pack(row["trial_id"], [row], {})

    def objective(config: dict) -> None:
        from bench.plan import plugins
        from bench.train import engine
        from bench.tune import configuration

        engine.use_one_thread()
        plugins.load(files)
        for report in configuration.reports(search, config["number"], placement.device):
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
    # Tune writes there what nobody reads: rows go to the store.
    with tempfile.TemporaryDirectory(prefix="ray-tune-", ignore_cleanup_errors=True) as scratch:
        tune.Tuner(
            tune.with_resources(objective, {"cpu": 1, "gpu": placement.gpus}),
            tune_config=tune.TuneConfig(
                search_alg=Sampler(), scheduler=scheduler, num_samples=-1, reuse_actors=True,
                max_concurrent_trials=max(1, min(workers, ledger.budget // search.full_cost)),
            ),
            run_config=tune.RunConfig(storage_path=scratch, verbose=0),
        ).fit()  # fmt: skip
    if ledger.left_slices() or n_left:
        raise KeyboardInterrupt


def make_row(
    search: Search, number: int, status: str, error: str | None, history: list[dict[str, Any]], model_steps: int
) -> dict[str, Any]:
    """One flat row: where a configuration ended and what it measured there, with all its fields."""
    fields = search.fields(number)
    taken = fields.keys() & {
        "number",
        "model_steps",
        "history",
        "question",
        "status",
        "error",
        "reached",
        "n_lost",
        *MEASURED,
    }
    if taken:
        raise UsageError(f"{search.method}: {min(taken)!r} names a column of a search's results; rename the field")
    measured = ("reached", *MEASURED, "n_lost")
    last = history[-1] if history and status != FAILED else {}
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
