"""What every registered method and data set must keep: a new one is tested by being registered."""

import dataclasses
import importlib
from pathlib import Path

import numpy as np
import pytest

from bench import metrics, worker
from bench.store import Store
from bench.trials import Pack, Trial
from datasets import datasets
from methods import TorchMethod, methods

SMALL_DATA = {"domains": 3, "n_samples": 500}
SMALL_BUDGET = {"steps": 40, "restarts": 2, "width": 16}


def fields(entry, small):
    return entry.defaults | {name: value for name, value in small.items() if name in entry.fields}


def pack(name, n_seeds=2, **changes):
    dataset = fields(datasets["sparse-mixing"], SMALL_DATA)
    method = fields(methods[name], SMALL_BUDGET) | changes
    return Pack(tuple(Trial("sparse-mixing", dataset, name, method, seed, 0) for seed in range(n_seeds)))


@pytest.fixture(params=methods.names())
def name(request):
    return request.param


def test_a_method_gives_a_finite_scored_row_per_trial(name, tmp_path):
    rows = worker.run_pack(pack(name), Store(tmp_path))
    for slot, row in enumerate(rows):
        assert row["status"] == "ok", row["error"]
        assert row["pack_slot"] == slot and row["method"] == name and row["domains"] == 3
        assert set(metrics.DEFINITIONS) <= set(row) and set(methods[name].fields) <= set(row)
        assert all(np.isfinite(row[score]) for score in SCORES)
        has_decoder = getattr(methods[name].cls, "decode", TorchMethod.decode) is not TorchMethod.decode
        assert all((row[score] is not None) == has_decoder for score in ("support_ap", "support_f1"))
        assert len(row["mcc_per_latent"]) == len(row["promised_both"]) == 4
        kept = Store(tmp_path).latents(type("Row", (), row))
        assert kept["z_hat"].shape[0] == kept["z"].shape[0] == worker.KEPT_POINTS
    if isinstance(methods[name].make({}), TorchMethod):
        assert all(np.isfinite(row["objective"]) for row in rows)


def test_a_method_gives_the_same_row_again(name, tmp_path):
    first, second = (worker.run_pack(pack(name), Store(tmp_path)) for _ in range(2))
    timing = {"finished_at", "train_s", "score_s"}
    for a, b in zip(first, second, strict=True):
        assert {k: v for k, v in a.items() if k not in timing} == {k: v for k, v in b.items() if k not in timing}


def test_a_methods_seeds_differ(name, tmp_path):
    first, second = worker.run_pack(pack(name), Store(tmp_path))
    assert first["mcc_per_latent"] != second["mcc_per_latent"]


def test_a_method_leaves_its_data_alone_and_sees_no_truth_it_does_not_declare(name, monkeypatch):
    """Its latents come out the same when every true latent, the test set and the support are hidden from it."""

    def estimated(hide):
        instance = datasets["sparse-mixing"].make(SMALL_DATA).generate(np.random.SeedSequence(5))
        if hide:
            splits = {
                name: dataclasses.replace(split, z=np.full_like(split.z, np.nan))
                for name, split in vars(instance).items()
                if name in ("train", "validation", "test")
            }
            instance = dataclasses.replace(instance, **splits, support=np.zeros_like(instance.support))
        before = [split.x.copy() for split in (instance.train, instance.validation, instance.test)]
        seen = []
        monkeypatch.setattr(worker, "standardised", lambda trial: instance)
        monkeypatch.setattr(
            worker, "_outcome", lambda i, validation, test, *_: seen.append(test) or worker.Outcome("ok", None, {}, {})
        )
        run = worker._run_torch if isinstance(methods[name].make({}), TorchMethod) else worker._run_estimators
        run(pack(name, n_seeds=1), "cpu")
        after = [split.x for split in (instance.train, instance.validation, instance.test)]
        assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
        return seen

    shown, hidden = estimated(False), estimated(True)
    if getattr(methods[name].cls, "sees_latents", False):
        assert methods[name].cls.role == "ceiling"
        assert not hidden
    else:
        assert np.array_equal(shown[0], hidden[0])


def test_training_lowers_a_torch_methods_objective(name, tmp_path):
    if not isinstance(methods[name].make({}), TorchMethod):
        return
    untrained, short = (worker.run_pack(pack(name, steps=steps), Store(tmp_path)) for steps in (0, 150))
    for before, after in zip(untrained, short, strict=True):
        assert after["objective"] < before["objective"]


SCORES = set(metrics.DEFINITIONS) - {"mcc_per_latent", "r2_content", "mcc_style", "support_ap", "support_f1"}


@pytest.mark.parametrize("entry", [*methods, *datasets], ids=lambda entry: entry.name)
def test_an_entry_says_what_it_is_and_what_each_field_means(entry):
    assert entry.summary and entry.source
    for field in entry.fields.values():
        assert field.metadata["help"]
    assert entry.make(entry.defaults) == entry.cls()
    if hasattr(entry.cls, "role"):
        assert entry.cls.role in ("method", "floor", "ceiling")


def test_no_two_columns_of_the_results_share_a_name():
    own = set(worker.row(pack("pca").trials[0], 0, worker.Outcome("ok", None, {}, {}), {}))
    scores = own - set(fields(datasets["sparse-mixing"], {})) - set(methods["pca"].fields)
    for dataset in datasets:
        assert not scores & set(dataset.fields)
        for method in methods:
            assert not (scores | set(dataset.fields)) & set(method.fields), method.name


@pytest.mark.parametrize("entry", list(datasets), ids=lambda entry: entry.name)
class TestDatasets:
    @pytest.fixture(autouse=True)
    def small(self, entry, data_file):
        self.fields = fields(entry, SMALL_DATA | {"path": str(data_file)})

    def instance(self, entry, seed=0):
        return entry.make(self.fields).generate(np.random.SeedSequence(seed))

    def test_a_cheap_method_gives_scored_rows(self, entry, tmp_path):
        trials = [Trial(entry.name, self.fields, "identity", {}, seed, 0) for seed in range(2)]
        for row in worker.run_pack(Pack(tuple(trials)), Store(tmp_path)):
            assert row["status"] == "ok", row["error"]
            assert 0 < row["mcc_spearman"] <= 1 and row["dataset"] == entry.name
            assert (row["n_observed"], row["n_latents"], row["domains"]) == entry.make(self.fields).shape
            assert row["promised_both"] is None or len(row["promised_both"]) == row["n_latents"]

    def test_splits_have_the_declared_shapes_and_are_finite(self, entry):
        instance = self.instance(entry)
        n_observed, n_latents, n_domains = entry.make(self.fields).shape
        assert instance.support.shape == (n_observed, n_latents) and instance.n_domains == n_domains
        for split in (instance.train, instance.validation, instance.test):
            n = len(split.x)
            assert split.x.shape == (n, n_observed) and split.z.shape == (n, n_latents) and split.domains.shape == (n,)
            assert np.isfinite(split.x).all() and np.isfinite(split.z).all()
            assert set(np.unique(split.domains)) == set(range(n_domains))

    def test_a_seed_gives_the_same_data_and_another_gives_others(self, entry):
        first, again, other = self.instance(entry), self.instance(entry), self.instance(entry, seed=1)
        assert np.array_equal(first.train.x, again.train.x) and np.array_equal(first.test.z, again.test.z)
        assert not np.array_equal(first.train.x, other.train.x)

    def test_the_support_is_that_of_the_jacobian(self, entry):
        instance = self.instance(entry)
        if instance.mixing is None:
            return
        jacobian = instance.mixing.jacobian(instance.test.z[:50].astype(float))
        assert np.array_equal((jacobian != 0).any(0), instance.support)

    def test_the_jacobian_is_the_derivative_of_the_mixing(self, entry):
        instance = self.instance(entry)
        if instance.mixing is None:
            return
        z, h = instance.test.z[:20].astype(float), 1e-6
        for latent, step in enumerate(h * np.eye(z.shape[1])):
            slope = (instance.mixing(z + step) - instance.mixing(z - step)) / (2 * h)
            np.testing.assert_allclose(slope, instance.mixing.jacobian(z)[:, :, latent], atol=1e-6)

    def test_splits_share_no_point(self, entry):
        instance = self.instance(entry)
        rows = [{row.tobytes() for row in s.z} for s in (instance.train, instance.validation, instance.test)]
        assert not rows[0] & rows[1] and not rows[0] & rows[2] and not rows[1] & rows[2]


def test_all_methods_see_the_same_data():
    trials = [pack(name, n_seeds=1).trials[0] for name in methods.names()]
    first, *others = (worker.standardised(trial) for trial in trials)
    assert all(np.array_equal(first.train.x, other.train.x) for other in others)


def test_a_method_that_fails_is_a_row_with_its_reason(tmp_path, monkeypatch):
    def broken(self, shape, seed):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(methods["pca"].cls, "build", broken)
    (row,) = worker.run_pack(pack("pca", n_seeds=1), Store(tmp_path))
    assert row["status"] == "failed" and "no such luck" in row["error"] and row["mcc_spearman"] is None


def test_a_torch_method_that_fails_is_rows_with_its_reason(tmp_path, monkeypatch):
    def broken(self, model, batch, rng):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(methods["ivae"].cls, "loss", broken)
    rows = worker.run_pack(pack("ivae"), Store(tmp_path))
    assert [row["status"] for row in rows] == ["failed"] * 2 and "no such luck" in rows[0]["error"]


def test_a_diverged_trial_is_a_row_and_its_neighbours_are_ok(tmp_path, monkeypatch):
    generate = worker.standardised

    def poisoned(trial):
        instance = generate(trial)
        if trial.seed != 1:
            return instance
        return dataclasses.replace(instance, train=dataclasses.replace(instance.train, x=instance.train.x * np.nan))

    monkeypatch.setattr(worker, "standardised", poisoned)
    rows = worker.run_pack(pack("synergy-vae", n_seeds=3), Store(tmp_path))
    assert [row["status"] for row in rows] == ["ok", "diverged", "ok"]
    assert rows[1]["mcc_spearman"] is None and rows[1]["error"]


def test_the_restarts_with_the_best_validation_objectives_go_on_and_the_best_of_them_is_kept(tmp_path, monkeypatch):
    calls = []
    objective = worker.Stack.objective

    def noted(self, points):
        calls.append((list(self.alive), objective(self, points)))
        return calls[-1][1]

    compared = []
    agreement = worker.selection.agreement
    monkeypatch.setattr(worker.Stack, "objective", noted)
    monkeypatch.setattr(worker.selection, "agreement", lambda z: compared.append((z, agreement(z))) or compared[-1][1])
    rows = worker.run_pack(pack("ivae", n_seeds=2, restarts=8, steps=200), Store(tmp_path))
    (started, early), (went_on, late) = calls
    assert started == list(range(16))
    kept = []
    for trial in range(2):
        own = range(8 * trial, 8 * trial + 8)
        assert {job for job in went_on if job in own} == set(sorted(own, key=lambda job: early[job])[:2])
        kept.append(min((j for j in went_on if j in own), key=lambda j: late[went_on.index(j)]))
    assert [row["objective"] for row in rows] == [float(late[went_on.index(job)]) for job in kept]
    assert kept != [0, 8]  # else the first restart would do as well
    assert [row["consistency"] for row in rows] == [value for _, value in compared]
    assert all(len(z) == 2 and not np.array_equal(*z) and 0 < value < 1 for z, value in compared)
    (row,) = worker.run_pack(pack("ivae", n_seeds=1, restarts=4), Store(tmp_path))
    assert row["consistency"] is None  # one restart was trained to the end


def test_a_restart_that_goes_on_trains_as_if_the_others_had_never_been():
    instance = datasets["sparse-mixing"].make(SMALL_DATA).generate(np.random.SeedSequence(5))
    method = methods["ivae"].make(SMALL_BUDGET | {"steps": 96})
    jobs = [worker.Job(instance.train, seed, seed) for seed in range(3)]
    raced, alone = (worker.Stack(method, worker._shape(pack("ivae").trials[0]), some) for some in (jobs, jobs[1:2]))
    raced.train(until=32)
    raced.keep([1])
    raced.train()
    alone.train()
    np.testing.assert_allclose(raced.encode([instance.test]), alone.encode([instance.test]), atol=0.02)


def test_a_trial_without_data_fails_alone(tmp_path, monkeypatch):
    generate = worker.standardised

    def broken(trial):
        if trial.seed == 1:
            raise RuntimeError("no mixing here")
        return generate(trial)

    monkeypatch.setattr(worker, "standardised", broken)
    rows = worker.run_pack(pack("ivae", n_seeds=3), Store(tmp_path))
    assert [row["status"] for row in rows] == ["ok", "failed", "ok"] and "no mixing here" in rows[1]["error"]


def test_what_was_edited_since_the_plan_is_not_filed_under_the_old_code(tmp_path, monkeypatch):
    planned = pack("pca", n_seeds=1)
    assert planned.trials[0].trial_id
    monkeypatch.setattr("bench.trials.source_hash", lambda cls: "edited")
    (row,) = worker.run_pack(planned, Store(tmp_path))
    assert row["status"] == "crashed" and "edited" in row["error"] and row["mcc_spearman"] is None


def test_a_trial_that_ran_out_of_memory_is_tried_again(tmp_path, monkeypatch):
    def full(self, shape, seed):
        raise MemoryError("no room")

    monkeypatch.setattr(methods["pca"].cls, "build", full)
    planned = pack("pca", n_seeds=1)
    worker.run_pack(planned, Store(tmp_path))
    assert Store(tmp_path).missing(planned.trials) == list(planned.trials)


def test_a_method_that_needs_more_domains_than_there_are_is_not_applicable_and_its_neighbours_train(tmp_path):
    (one,), (two, *_) = (
        [dataclasses.replace(t, dataset_fields=t.dataset_fields | {"domains": n}) for t in pack("flow-vae", 1).trials]
        for n in (1, 2)
    )
    rows = worker.run_pack(Pack((one, two)), Store(tmp_path))
    assert [row["status"] for row in rows] == ["not-applicable", "ok"]
    assert rows[0]["mcc_spearman"] is None and "at least 2 domains" in rows[0]["error"]


def test_the_readmes_example_method_works_as_pasted(tmp_path, monkeypatch):
    """The code block under "Add a method", registered, trained and scored."""
    text = (Path(__file__).parent.parent / "README.md").read_text().split("## Add a method")[1]
    code = "\n".join(line[4:] for line in text.splitlines() if line.startswith("    ") or not line)
    before = dict(methods._entries)
    file = tmp_path / "example_of_the_readme.py"
    file.write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        importlib.import_module(file.stem)
        (new,) = set(methods._entries) - set(before)
        (row,) = worker.run_pack(pack(new, n_seeds=1), Store(tmp_path / "run"))
        assert row["status"] == "ok" and np.isfinite(row["mcc_spearman"])
    finally:
        methods._entries.clear()
        methods._entries.update(before)


def test_the_oracles_verdicts_are_in_the_row_of_a_trial_that_failed_too(tmp_path, monkeypatch):
    def broken(self, shape, seed):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(methods["pca"].cls, "build", broken)
    (row,) = worker.run_pack(pack("pca", n_seeds=1), Store(tmp_path))
    assert row["status"] == "failed" and row["promised_independence"] == ["yes"] * 4 and row["change_rank"] == 2
