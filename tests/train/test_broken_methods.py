"""Methods that break the contract on purpose: each is a row that says what it did, and its neighbours are none the worse."""

import pickle
import time
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch

from bench.plan import plugins
from bench.plan.packs import Pack
from bench.plan.trials import Trial
from bench.report import leaderboard, results
from bench.run.store import Store
from bench.train.data import standardised
from bench.train.errors import check_source
from bench.train.pack import run_pack
from datasets import datasets
from methods import EstimatorMethod, TorchMethod, field, methods, register
from tests.packs import watched
from tests.plan.test_plugins import METHOD, alone, run  # noqa: F401 - the latter two are fixtures

DATA = datasets["sparse-mixing"].defaults | {"domains": 3, "n_samples": 500}
SLOW = (
    METHOD
    + '''
@register("sleeper", source="this test")
@dataclass(frozen=True)
class Sleeper(EstimatorMethod):
    """The domains' means, but in the second seed, after a long sleep, from which only its process's end wakes it."""

    how: str = field("sleep", help="sleep, segfault or none")

    def build(self, shape, seed):
        return SleepingTransformer(self.how, shape.n_latents)

class SleepingTransformer:
    def __init__(self, how, n):
        self.how, self.n = how, n

    def fit(self, x, domains):
        import ctypes, os, time
        if self.how == "sleep" and abs(x[0, 0] - FIRST) > 1e-6:
            while True:  # a loop that catches what is thrown at it
                try:
                    time.sleep(60)
                except BaseException:
                    pass
        if self.how == "segfault" and abs(x[0, 0] - FIRST) > 1e-6:
            ctypes.string_at(0)

    def transform(self, x, domains):
        return x[:, : self.n]
'''
)


class Wrong:
    """An estimator that is right but for what `how` names."""

    def __init__(self, how):
        self.how = how

    def fit(self, x, domains=None):
        if self.how == "fit writes x":
            x[0, 0] += 1
        if self.how == "fit writes domains":
            domains[:] = 0

    def transform(self, x, domains=None):
        if self.how == "transform writes x":
            x *= 2
        if self.how == "transform writes domains":
            domains += 1
        encoding = x[:, :4].copy()
        return {
            "one row fewer": encoding[1:],
            "one dimension": encoding[:, 0],
            "three dimensions": encoding[None],
            "no columns": encoding[:, :0],
            "complex": encoding + 1j,
            "words": encoding.astype(str),
            "None": None,
            "NaN": np.where(np.arange(4) == 2, np.nan, encoding),
            "infinite": np.where(np.arange(len(x))[:, None] == 5, np.inf, encoding),
        }.get(self.how, encoding)


@pytest.fixture(autouse=True)
def wrong_methods(alone):  # noqa: F811
    @register("wrong-estimator", source="this test")
    @dataclass(frozen=True)
    class WrongEstimator(EstimatorMethod):
        """Breaks the contract in the way of the field."""

        how: str = field("", help="way in which it breaks the contract")

        def build(self, shape, seed):
            return Wrong(self.how)

    @register("wrong-torch", source="this test")
    @dataclass(frozen=True)
    class WrongTorch(TorchMethod):
        """Breaks the contract in the way of the field."""

        how: str = field("", help="way in which it breaks the contract")

        def build(self, shape):
            model = torch.nn.Module()
            model.linear = torch.nn.Linear(shape.n_observed, shape.n_latents)
            return model

        def prepare(self, model, x):
            if self.how == "prepare writes x":
                x -= x.mean(0)

        def loss(self, model, batch, rng):
            if self.how == "loss writes x":
                batch.x.mul_(2)
            if self.how == "loss writes u":
                batch.u[:, 0] = 0
            if self.how == "slow":
                time.sleep(0.02)
            loss = (model.linear(batch.x) ** 2).sum(-1)
            if self.how == "loss takes an item":
                return loss.mean() * loss[0].item()
            if self.how == "loss branches":
                return loss.mean() if loss[0] > 0 else loss.sum()
            return loss if self.how == "loss per sample" else loss.mean()

        def objective(self, model, batch, rng):
            if self.how == "objective writes x":
                batch.x.add_(1)
            return self.loss(model, batch, rng)

        def encode(self, model, x, u):
            if self.how == "encode writes x":
                x += 1
            if self.how == "encode writes u":
                u.zero_()
            z = model.linear(x)
            return {
                "one row fewer": z[1:],
                "one dimension": z[:, 0],
                "three dimensions": z[None],
                "no columns": z[:, :0],
                "NaN": z * torch.nan,
            }.get(self.how, z)

        def decode(self, model, z):
            return z.zero_() if self.how == "decode writes z" else z @ model.linear.weight

        def readout(self, seed):
            if self.how == f"raises at {seed}":
                raise RuntimeError("nothing to read")
            return Wrong(self.how.removeprefix("readout: ")) if self.how.startswith("readout") else None

    yield
    methods.drop(__name__)


def rows(name, how, **fields):
    method = methods[name].defaults | {"how": how} | fields
    trials = tuple(Trial("sparse-mixing", DATA, name, method, seed, 0) for seed in range(2))
    return run_pack(Pack(trials)).rows


WRITES = ["fit writes x", "fit writes domains", "transform writes x", "transform writes domains"]
SHAPES = ["one row fewer", "one dimension", "three dimensions", "no columns", "complex", "words", "None"]


@pytest.mark.parametrize("how", [*SHAPES, *WRITES])
def test_an_estimator_that_breaks_the_contract_has_failed_and_says_how(how):
    for row in rows("wrong-estimator", how):
        assert row["status"] == "failed" and row["error"].startswith("BrokenContract") and row["mcc_spearman"] is None
        expected = f"{how.split()[0]} writes to the data" if how in WRITES else "(n_points, n_estimated)"
        assert expected in row["error"]


@pytest.mark.parametrize("name", ["wrong-estimator", "wrong-torch"])
def test_an_encoding_that_is_not_finite_has_diverged(name):
    for how in ("NaN", "infinite") if name == "wrong-estimator" else ("NaN",):
        for row in rows(name, how, **({"steps": 5} if name == "wrong-torch" else {})):
            assert row["status"] == "diverged" and "NaN or infinite" in row["error"] and row["mcc_spearman"] is None


@pytest.mark.parametrize("name", ["wrong-estimator", "wrong-torch"])
def test_the_same_methods_are_ok_without_their_mistake(name):
    budget = {"steps": 5} if name == "wrong-torch" else {}
    assert [row["status"] for row in rows(name, "", **budget)] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        *((how, "encode gives shape") for how in SHAPES[:4]),
        *((f"readout: {how}", "(n_points, n_estimated)") for how in SHAPES[:3]),
        ("loss per sample", "the loss must be a scalar"),
        *((f"{hook} writes x", f"{hook} writes to the data") for hook in ("prepare", "loss", "objective", "encode")),
        ("loss writes u", "loss writes to the data"),
        ("encode writes u", "encode writes to the data"),
        ("decode writes z", "decode writes to the data"),
        ("loss takes an item", ".item() has no single value to give (test_broken_methods.py, line"),
        ("loss branches", "no branch can depend on a tensor's value; torch.where"),
    ],
)
def test_a_torch_method_that_breaks_the_contract_has_failed_and_says_how(how, message):
    for row in rows("wrong-torch", how, steps=5):
        assert row["status"] == "failed" and row["error"].startswith("BrokenContract") and message in row["error"]
        assert row["traceback"].startswith("Traceback (most recent call last)")


@pytest.mark.parametrize("restarts", [1, 8])
def test_a_trial_that_cannot_be_read_out_fails_alone(restarts):
    seed = Trial("sparse-mixing", DATA, "wrong-torch", methods["wrong-torch"].defaults, 1, 0).init_seed() % 2**32
    good, bad = rows("wrong-torch", f"raises at {seed}", steps=5, restarts=restarts)
    assert good["status"] == "ok" and bad["status"] == "failed" and "nothing to read" in bad["error"]


def test_what_a_method_does_to_its_data_reaches_no_other():
    """The instance is shared by all methods of a process."""
    (trial,) = (Trial("sparse-mixing", DATA, "wrong-torch", methods["wrong-torch"].defaults, 0, 0),)
    before = pickle.dumps(standardised(trial))
    for name, how in (
        ("wrong-torch", "prepare writes x"),
        ("wrong-torch", "loss writes x"),
        ("wrong-estimator", WRITES[0]),
    ):
        rows(name, how)
    assert pickle.dumps(standardised(trial)) == before


class TestTimeLimit:
    @pytest.fixture
    def sleepers(self, tmp_path):
        """Seeds 0, 1 and 2 of a method that never ends but on the first."""
        trials = tuple(Trial("sparse-mixing", DATA, "sleeper", {"how": "sleep"}, seed, 0) for seed in range(3))
        (tmp_path / "slow.py").write_text(SLOW + "FIRST = 0.0")
        files = plugins.load([tmp_path / "slow.py"])
        first = standardised(trials[0]).train.x[0, 0]
        (tmp_path / "slow.py").write_text(SLOW + f"FIRST = {float(first)!r}")
        return Pack(tuple(map(replace, trials)), tuple(plugins.load(files)))

    def test_an_estimator_is_ended_whatever_it_does_and_its_neighbours_are_ok(self, sleepers, tmp_path):
        store = Store(tmp_path / "run")
        (finished,), _ = watched(sleepers, time_limit=1.5)
        store.write_pack(sleepers.pack_id, *finished[:2])
        first, second, third = finished.rows
        assert [first["status"], second["status"], third["status"]] == ["ok", "timed-out", "timed-out"]
        assert "not done after 1.5 s" in second["error"] and second["time_limit"] == 1.5
        assert second["mcc_spearman"] is None and len(second["promised_both"]) == 4
        assert store.missing(sleepers.trials, 1.5) == store.missing(sleepers.trials, 1) == []
        assert store.missing(sleepers.trials, 2) == store.missing(sleepers.trials) == list(sleepers.trials[1:])

    def test_an_estimator_that_ends_its_process_has_failed(self, sleepers, tmp_path):
        trials = tuple(replace(trial, method_fields={"how": "segfault"}) for trial in sleepers.trials[:2])
        (finished,), _ = watched(replace(sleepers, trials=trials))
        assert [row["status"] for row in finished.rows] == ["ok", "failed"]
        assert "by the signal SIGSEGV" in finished.rows[1]["error"]

    def test_a_limit_that_is_kept_changes_no_number(self):
        trials = tuple(Trial("sparse-mixing", DATA, "fastica", methods["fastica"].defaults, s, 0) for s in range(2))
        free, limited = (watched(Pack(trials), time_limit=t)[0].result.rows for t in (None, 60))
        timing = {"finished_at", "train_s", "score_s", "time_limit"}
        assert [row["status"] for row in limited] == ["ok", "ok"]
        for a, b in zip(free, limited, strict=True):
            assert {k: v for k, v in a.items() if k not in timing} == {k: v for k, v in b.items() if k not in timing}

    def test_what_was_edited_since_the_plan_is_not_run_in_a_process_of_its_own_either(self, sleepers, tmp_path):
        (trial, *_) = sleepers.trials
        assert trial.trial_id
        check_source(replace(sleepers, trials=(trial,)))
        (tmp_path / "slow.py").open("a").write("\nx = 1")  # after this process's own look
        (finished,), _ = watched(replace(sleepers, trials=(trial,)))
        (row,) = finished.rows
        assert row["status"] == "crashed" and "edited" in row["error"]

    def test_a_stack_stops_between_chunks_when_the_time_of_all_its_trials_is_up(self):
        fields = methods["wrong-torch"].defaults | {"how": "slow", "steps": 100_000}
        trials = tuple(Trial("sparse-mixing", DATA, "wrong-torch", fields, seed, 0) for seed in range(2))
        start = time.monotonic()
        done = run_pack(Pack(trials), time_limit=0.5).rows
        assert time.monotonic() - start < 60
        assert [row["status"] for row in done] == ["timed-out"] * 2
        assert "of 100000 after the 1 s of its pack of 2" in done[0]["error"]

    def test_a_run_goes_on_only_with_a_higher_limit_and_the_leaderboard_counts_what_timed_out(self, sleepers, run):  # noqa: F811
        def go(*words):
            code, out, _ = run(
                "--plugin", "slow.py", "--methods", "sleeper", "--seeds", "2", "--executor", "serial",
                "--name", "own", "--grid", "domains=3", "--grid", "violation=0", "--set", "sparse-mixing.n_samples=500",
                *words,
            )  # fmt: skip
            return code, out

        code, out = go("--time-limit", "1")
        assert code == 0 and "1 of them with failed trials" in out
        table = pd.read_parquet("results/runs/own/trials.parquet")
        assert table.status.tolist() == ["ok", "timed-out"]
        found = results.gather([Store("results/runs/own")])
        board = leaderboard.table(found)
        assert board.n_failed.tolist() == [1] and "not done after 1 s" in leaderboard.render(board, found)
        assert "2 of them finished before; 0 packs" in go("--time-limit", "1")[1]
        assert "1 of them finished before; 1 pack on" in go("--time-limit", "1.5")[1]

    @pytest.mark.parametrize("value", ["0", "-1", "soon", "nan"])
    def test_a_limit_must_be_seconds(self, value, run):  # noqa: F811
        code, _, err = run("--time-limit", value)
        assert code == 2 and "--time-limit" in err
