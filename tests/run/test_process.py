"""What methods may do to their process: the trial that did it has a row that says so, and all others the rows that they would have had."""

import json
import os
import time
from dataclasses import replace

import pytest
from rich.console import Console

from bench.plan import plugins
from bench.plan.packs import Pack
from bench.plan.trials import Trial
from bench.run import executors, process
from bench.run.placement import Placement
from bench.run.store import Store
from bench.train.data import standardised
from datasets import datasets
from tests.conftest import long
from tests.packs import pack, watched

pytestmark = pytest.mark.xdist_group("ray")  # one process, for one Ray session

DATA = datasets["sparse-mixing"].defaults | {"domains": 3, "n_samples": 500}
SABOTEURS = '''
from dataclasses import dataclass
import methods
from methods import EstimatorMethod, TorchMethod, field, register

def sabotage(how):
    import ctypes, os, shutil, signal, sys, tempfile, time
    import numpy, scipy.stats, torch
    if how == "sys.exit":
        sys.exit(3)
    if how == "BaseException":
        raise type("Strange", (BaseException,), {})("not even an Exception")
    if how == "KeyboardInterrupt":
        raise KeyboardInterrupt
    if how == "os._exit":
        os._exit(0)
    if how == "a crash in C":
        ctypes.string_at(0)
    if how == "abort":
        os.abort()
    if how == "chdir":
        os.chdir(tempfile.gettempdir())
    if how == "a deleted folder":
        folder = tempfile.mkdtemp()
        os.chdir(folder)
        shutil.rmtree(folder)
    if how == "closed descriptors":
        os.closerange(0, 1000)
    if how == "monkeypatching":
        numpy.corrcoef = scipy.stats.rankdata = lambda *a, **k: 0.0
        numpy.linalg.lstsq = numpy.linalg.svd = None
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(2)
        numpy.random.seed(0)
        sys.path.clear()
        os.environ.clear()
    if how == "much memory":
        kept = []
        while True:
            kept.append(numpy.ones(2**24))
    if how == "an endless loop":
        while True:
            try:
                time.sleep(60)
            except BaseException:
                pass

@register("saboteur-estimator", source="this test")
@dataclass(frozen=True)
class SaboteurEstimator(EstimatorMethod):
    """Does it on the data whose first value is `first`."""

    how: str = field("", help="what it does")
    first: float = field(0.0, help="on which data")

    def build(self, shape, seed):
        return Estimator(self, shape.n_latents)

class Estimator:
    def __init__(self, method, n):
        self.method, self.n = method, n

    def fit(self, x, domains):
        if abs(float(x[0, 0]) - self.method.first) < 1e-6:
            sabotage(self.method.how.partition(": ")[2] or self.method.how)

    def transform(self, x, domains):
        return x[:, : self.n]

@register("saboteur-torch", source="this test")
@dataclass(frozen=True)
class SaboteurTorch(TorchMethod):
    """Does it in every loss."""

    how: str = field("", help="what it does")

    def build(self, shape):
        import torch
        if self.how.startswith("building: "):
            sabotage(self.how.removeprefix("building: "))
        model = torch.nn.Module()
        model.linear = torch.nn.Linear(shape.n_observed, shape.n_latents)
        return model

    def loss(self, model, batch, rng):
        sabotage(self.how)
        return (model.linear(batch.x) ** 2).mean()

    def encode(self, model, x, u):
        sabotage(self.how.removeprefix("encoding: ") if self.how.startswith("encoding: ") else "")
        return model.linear(x)
'''
TIMING = {"train_s", "score_s", "chart_s", "finished_at", "time_limit"}
DIES = {  # what its row says
    "sys.exit": ("failed", "SystemExit: 3"),
    "BaseException": ("failed", "not even an Exception"),
    "KeyboardInterrupt": ("failed", "KeyboardInterrupt"),
    "os._exit": ("failed", "ended with code 0"),
    "a crash in C": ("failed", "SIGSEGV"),
    "abort": ("failed", "SIGABRT"),
    "closed descriptors": ("failed", "descriptors"),
    "much memory": ("crashed", "half of what was free"),
    "an endless loop": ("timed-out", ""),
    "building: an endless loop": ("timed-out", ""),
    "encoding: an endless loop": ("timed-out", ""),
}
OF_TORCH = {  # what ended those that train as a stack
    "an endless loop": "a step of training did not end",
    "building: an endless loop": "building its model did not end",
    "encoding: an endless loop": "reading its models out did not end",
}
OFTEN = {
    ("a crash in C", "serial"),
    ("an endless loop", "serial"),
    ("monkeypatching", "serial"),
    ("os._exit", "ray"),
}  # without LONG_TESTS
LIVES = ("chdir", "a deleted folder", "monkeypatching")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    path = tmp_path_factory.mktemp("plugin") / "saboteurs.py"
    path.write_text(SABOTEURS)
    yield plugins.load([path])
    plugins.unload([str(path)])


def saboteur(name, how, files, n_seeds=3):
    fields = {"how": how} | ({} if name == "saboteur-torch" else {"first": _first()})
    from methods import methods

    fields = methods[name].defaults | ({"steps": 32} if name == "saboteur-torch" else {}) | fields
    return Pack(tuple(Trial("sparse-mixing", DATA, name, fields, seed, 0) for seed in range(n_seeds)), tuple(files))


def _first():
    """The first value of the data of the second seed."""
    return float(standardised(Trial("sparse-mixing", DATA, "identity", {}, 1, 0)).train.x[0, 0])


def numbers(row):
    """A row without what differs from run to run, and from how to how."""
    return {k: v for k, v in row.items() if k not in TIMING | {"how", "trial_id", "pack_id"}}


def run_all(packs, folder, executor):
    """The rows of packs that run one after the other, by method and seed; nothing is written but to the run's folder."""
    store = Store(folder)
    start, where = time.monotonic(), os.getcwd()
    executors.run(packs, store, Placement(executor=executor, time_limit=4.0), Console(quiet=True))
    assert os.getcwd() == where and time.monotonic() - start < 100
    return {(row["method"], row["seed"]): row for row in store.rows()}


@pytest.fixture(scope="module")
def undisturbed(files, tmp_path_factory):
    """The rows where nobody does anything."""
    packs = [saboteur("saboteur-estimator", "", files), saboteur("saboteur-torch", "", files), *_later()]
    rows = run_all(packs, tmp_path_factory.mktemp("undisturbed"), "serial")
    assert {row["status"] for row in rows.values()} == {"ok"}
    return rows


def _later():
    return [pack("ivae", n_seeds=2, start="random"), pack("pca", n_seeds=2)]


@pytest.mark.parametrize(
    ("how", "executor"),
    [
        pytest.param(how, executor, marks=() if (how, executor) in OFTEN else long)
        for how in (*DIES, *LIVES)
        for executor in ("serial", "ray")
    ],
)
def test_who_sabotages_has_a_row_that_says_so_and_all_others_are_as_if_nothing_was(
    how, executor, files, undisturbed, tmp_path, monkeypatch, request
):
    if executor == "ray":
        request.getfixturevalue("ray_session")
    monkeypatch.setattr(process, "MEMORY_SHARE", 0.05)
    if how == "much memory" and executor == "ray":
        pytest.skip("the share of memory of a worker of Ray cannot be lowered here; 5 % would be too little for others")
    packs = [saboteur("saboteur-estimator", how, files), saboteur("saboteur-torch", how, files), *_later()]
    rows = run_all(packs, tmp_path / "run", executor)
    assert rows.keys() == undisturbed.keys()
    status, says = DIES.get(how, ("ok", ""))
    culprits = {("saboteur-estimator", 1), *(("saboteur-torch", seed) for seed in range(3))}
    for key, row in rows.items():
        if key in culprits and how in DIES:
            assert row["status"] == status and says in row["error"], (key, row["status"], row["error"])
            assert key[0] != "saboteur-torch" or OF_TORCH.get(how, "") in row["error"]
        elif key not in culprits:
            assert json.dumps(numbers(row)) == json.dumps(numbers(undisturbed[key])), key


def test_a_trial_whose_data_end_the_process_is_not_made_again(tmp_path, monkeypatch):
    generate = datasets["sparse-mixing"].cls.generate

    def deadly(self, seed):
        if seed.spawn_key == (0, 1):
            os._exit(5)
        return generate(self, seed)

    def fresh(name, **changes):
        """A pack on data that no other test has made, and kept."""
        own = pack(name, n_seeds=3, **changes)
        return Pack(tuple(replace(t, dataset_fields=t.dataset_fields | {"n_samples": 510}) for t in own.trials))

    monkeypatch.setattr(datasets["sparse-mixing"].cls, "generate", deadly)
    (finished,), _ = watched(fresh("pca"))
    assert [row["status"] for row in finished.rows] == ["ok", "failed", "ok"]
    assert "with code 5" in finished.rows[1]["error"] and finished.rows[1]["promised_both"] is None
    (finished,), _ = watched(fresh("ivae", start="random"))
    assert [row["status"] for row in finished.rows] == ["ok", "failed", "ok"]


def test_a_process_that_ran_only_this_projects_code_trains_the_next_pack_and_a_users_code_has_its_own(files):
    try:
        list(process.run(process.Task(pack("pca", n_seeds=1))))
        (first,) = process._idle
        list(process.run(process.Task(pack("identity", n_seeds=1))))
        assert process._idle == [first]
        list(process.run(process.Task(saboteur("saboteur-estimator", "chdir", files))))
        assert process._idle == [] and not first.is_alive()
    finally:
        process.end_idle()
