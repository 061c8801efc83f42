"""Small packs of any method, for tests of what is made of one."""

from bench.plan.packs import Pack
from bench.plan.trials import Trial
from bench.run import process
from bench.train.pack import run_pack
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
    """What a process of its own says at last of a pack, and the events before that."""
    try:
        *events, end = process.run(process.Task(pack, **task))
    finally:
        process.end_idle()
    return end, events
