"""Small packs of any method, for tests of what is made of one."""

from bench.plan.packs import Pack
from bench.plan.trials import Trial
from bench.run import process
from bench.train.pack import run_pack
from bench.train.reporter import Rows
from datasets import datasets
from methods import methods

SMALL_DATA = {"domains": 3, "n_samples": 500}
SMALL_BUDGET = {"steps": 40, "restarts": 2, "width": 16, "couplings": 2}


def fields(entry, small):
    return entry.defaults | {name: value for name, value in small.items() if name in entry.fields}


def pack(name, n_seeds=2, **changes):
    """Trials of a method on small data, with a tiny budget."""
    dataset = fields(datasets["sparse-mixing"], SMALL_DATA)
    method = fields(methods[name], SMALL_BUDGET) | changes
    return Pack(tuple(Trial("sparse-mixing", dataset, name, method, seed, 0) for seed in range(n_seeds)))


def rows_of(pack):
    return run_pack(pack).rows


def watched(pack, **task):
    """What a process of its own says at last of a pack, with all the rows that it said on the way, and the events before that."""
    try:
        *events, end = process.run(process.Task(pack, **task))
    finally:
        process.end_idle()
    rows = {row["trial_id"]: row for event in events if isinstance(event, Rows) for row in event.rows}
    latents = {name: array for event in events if isinstance(event, Rows) for name, array in event.latents.items()}
    if isinstance(end, process.Done):
        rows |= {row["trial_id"]: row for row in end.result.rows}
        end = process.Done(end.result._replace(rows=list(rows.values()), latents=latents | end.result.latents))
    return end, events
