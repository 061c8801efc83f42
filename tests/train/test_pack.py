"""What becomes of the trials of a pack, whatever happens to one of them."""

import dataclasses

import numpy as np

from bench.plan.packs import Pack
from bench.plan.trials import model_shape
from bench.run.store import Store
from bench.scores.training import agreement
from bench.train.data import standardised
from bench.train.engine import Job, Stack
from bench.train.pack import run_pack
from datasets import datasets
from methods import methods
from tests.packs import SMALL_BUDGET, SMALL_DATA, fields, pack, rows_of


def test_a_method_that_fails_is_a_row_with_its_reason(monkeypatch):
    def broken(self, shape, seed):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(methods["pca"].cls, "build", broken)
    (row,) = rows_of(pack("pca", n_seeds=1))
    assert row["status"] == "failed" and "no such luck" in row["error"] and row["mcc_spearman"] is None


def test_a_torch_method_that_fails_is_rows_with_its_reason(monkeypatch):
    def broken(self, model, batch, rng):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(methods["ivae"].cls, "loss", broken)
    rows = rows_of(pack("ivae"))
    assert [row["status"] for row in rows] == ["failed"] * 2 and "no such luck" in rows[0]["error"]


def test_a_diverged_trial_is_a_row_and_its_neighbours_are_ok(monkeypatch):
    generate = standardised

    def poisoned(trial):
        instance = generate(trial)
        if trial.seed != 1:
            return instance
        return dataclasses.replace(instance, train=dataclasses.replace(instance.train, x=instance.train.x * np.nan))

    monkeypatch.setattr("bench.train.stacked.standardised", poisoned)
    rows = rows_of(pack("synergy-vae", n_seeds=3))
    assert [row["status"] for row in rows] == ["ok", "diverged", "ok"]
    assert rows[1]["mcc_spearman"] is None and rows[1]["error"]


def test_the_restarts_with_the_best_validation_objectives_go_on_and_the_best_of_them_is_kept(monkeypatch):
    calls = []
    objectives = Stack.objectives

    def noted(self, points, method=None):
        blocks = objectives(self, points, method)
        calls.append((list(self.alive), blocks.mean(axis=1)))
        return blocks

    compared = []

    monkeypatch.setattr(Stack, "objectives", noted)
    monkeypatch.setattr("bench.train.stacked.ties", lambda blocks: np.ones(len(blocks), bool))
    monkeypatch.setattr(
        "bench.train.stacked.agreement", lambda z: compared.append((z, agreement(z))) or compared[-1][1]
    )
    rows = rows_of(pack("ivae", n_seeds=2, restarts=8, steps=200, start="random"))
    (started, early), (went_on, late) = calls
    assert started == list(range(16))
    kept = []
    for trial in range(2):
        own = range(8 * trial, 8 * trial + 8)
        assert {job for job in went_on if job in own} == set(sorted(own, key=lambda job: early[job])[:2])
        kept.append(min((j for j in went_on if j in own), key=lambda j: late[went_on.index(j)]))
    assert [row["objective"] for row in rows] == [float(late[went_on.index(job)]) for job in kept]
    assert kept != [0, 8]  # else the first restart would do as well
    assert [row["agreement"] for row in rows] == [value for _, value in compared]
    assert [row["n_ties"] for row in rows] == [2, 2]
    assert all(len(z) == 2 and not np.array_equal(*z) and 0 < value < 1 for z, value in compared)
    (row,) = rows_of(pack("ivae", n_seeds=1, restarts=1))
    assert row["agreement"] is row["n_ties"] is None  # nothing to agree with


def test_a_restart_that_goes_on_trains_as_if_the_others_had_never_been():
    instance = datasets["sparse-mixing"].make(SMALL_DATA).generate(np.random.SeedSequence(5))
    method = methods["ivae"].make(fields(methods["ivae"], SMALL_BUDGET) | {"steps": 96})
    jobs = [Job(instance.train, seed, seed) for seed in range(3)]
    raced, alone = (
        Stack(method, model_shape(pack("ivae").trials[0].make_dataset()), some) for some in (jobs, jobs[1:2])
    )
    raced.train(until=32)
    raced.keep([1])
    raced.train()
    alone.train()
    np.testing.assert_allclose(raced.encode([instance.test]), alone.encode([instance.test]), atol=0.02)


def test_a_trial_without_data_fails_alone(monkeypatch):
    generate = standardised

    def broken(trial):
        if trial.seed == 1:
            raise RuntimeError("no mixing here")
        return generate(trial)

    monkeypatch.setattr("bench.train.stacked.standardised", broken)
    rows = rows_of(pack("ivae", n_seeds=3))
    assert [row["status"] for row in rows] == ["ok", "failed", "ok"] and "no mixing here" in rows[1]["error"]


def test_what_was_edited_since_the_plan_is_not_filed_under_the_old_code(monkeypatch):
    planned = pack("pca", n_seeds=1)
    assert planned.trials[0].trial_id
    monkeypatch.setattr("bench.plan.trials.source_hash", lambda cls: "edited")
    (row,) = rows_of(planned)
    assert row["status"] == "crashed" and "edited" in row["error"] and row["mcc_spearman"] is None


def test_a_trial_that_ran_out_of_memory_is_tried_again(tmp_path, monkeypatch):
    def full(self, shape, seed):
        raise MemoryError("no room")

    monkeypatch.setattr(methods["pca"].cls, "build", full)
    planned = pack("pca", n_seeds=1)
    finished = run_pack(planned)
    Store(tmp_path).write_pack(planned.pack_id, *finished[:2])
    assert Store(tmp_path).missing(planned.trials) == list(planned.trials)


def test_a_method_that_needs_more_domains_than_there_are_is_not_applicable_and_its_neighbours_train():
    (one,), (two, *_) = (
        [dataclasses.replace(t, dataset_fields=t.dataset_fields | {"domains": n}) for t in pack("flow-vae", 1).trials]
        for n in (1, 2)
    )
    rows = rows_of(Pack((one, two)))
    assert [row["status"] for row in rows] == ["not-applicable", "ok"]
    assert rows[0]["mcc_spearman"] is None and "at least 2 domains" in rows[0]["error"]


def test_the_oracles_verdicts_are_in_the_row_of_a_trial_that_failed_too(monkeypatch):
    def broken(self, shape, seed):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(methods["pca"].cls, "build", broken)
    (row,) = rows_of(pack("pca", n_seeds=1))
    assert row["status"] == "failed" and row["promised_independence"] == ["yes"] * 4 and row["change_rank"] == 2
