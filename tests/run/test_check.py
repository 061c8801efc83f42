"""Rows that nobody trained, and differences that chance does not give: what is let through, and what is not."""

import dataclasses
import time

import pytest

from bench.plan.trials import Trial
from bench.registry import UsageError
from bench.run import check
from bench.run.store import Store
from bench.train import data
from bench.train.outcomes import Outcome
from bench.train.rows import COLUMNS, row
from datasets import datasets
from methods import methods
from tests.simulated import MANIFEST

SHARED = {"pack_id": "p", "pack_size": 1, "train_s": 1.0, "score_s": 1.0, "device": "cpu", "time_limit": None}


def trial_of(dataset="dictionary", method="pca", seed=0, **fields):
    return Trial(dataset, datasets[dataset].defaults | fields, method, methods[method].defaults, seed, 0)


def row_of(trial, status="ok", **scores):
    return row(trial, 0, Outcome(status, scores=scores), SHARED)


def store_of(folder, rows):
    store = Store(folder)
    kinds = {"datasets": datasets, "methods": methods}
    facts = {kind: {name: dataclasses.asdict(own[name].facts) for name in own.names()} for kind, own in kinds.items()}
    store.write_manifest(MANIFEST | facts | {"scores": {}})
    store.write_pack("p", rows, {})
    return store


@pytest.mark.parametrize("dataset", sorted(set(datasets.names()) - {"file", "questionnaire"}))
@pytest.mark.parametrize("method", ["pca", "synergy-vae", "random"])
def test_a_row_of_every_data_set_has_the_trial_that_it_was_made_of(tmp_path, dataset, method):
    trial = trial_of(dataset, method)
    own = row_of(trial, mcc_spearman=0.5)
    ((checked, found),) = check.rows(store_of(tmp_path, [own])).values()
    assert checked["trial_id"] == trial.trial_id and (found, found.trial_id) == (trial, trial.trial_id)
    fields = trial.dataset_fields.keys() | trial.method_fields.keys()
    assert own.keys() - fields - check.SCORES.keys() == COLUMNS - fields - check.SCORES.keys()


def test_a_number_that_the_data_have_where_a_field_is_none_cannot_be_another_one(tmp_path):
    own = row_of(trial_of(n_observed=None))
    assert own["n_observed"] == 2 * own["n_latents"] and len(check.rows(store_of(tmp_path / "a", [own]))) == 1
    for name in check.SETTLED:
        changed = own | {name: "method" if name == "role" else not own[name] if isinstance(own[name], bool) else 77}
        with pytest.raises(UsageError, match=f"{own['trial_id']}.*(the identity of its settings is|{name} is)"):
            check.rows(store_of(tmp_path / name, [changed]))


def test_the_trials_that_may_be_drawn_are_those_whose_end_is_the_methods_own_doing():
    states = ["ok", "timed-out", "crashed", "diverged", "failed", "not-applicable"]
    rows = {status: ({"status": status}, None) for status in states}
    drawn = {pair[0]["status"] for pair in check.sample(rows, 10)}
    assert drawn == {"ok", "diverged", "failed", "not-applicable"}
    assert len(check.sample(rows, 2)) == 2 and check.sample(rows, 0) == []


def test_whoever_makes_an_archive_cannot_know_which_trials_are_drawn():
    rows = {str(number): ({"status": "ok", "number": number}, None) for number in range(1000)}
    assert len({check.sample(rows, 3)[0][0]["number"] for _ in range(20)}) > 10


def pairs(score, *differences, methods=("vae",), here=0.5):
    """Rows and rows of the same trials as trained again, which differ so in a score; of these methods by turns."""
    check.load_all()
    named = [
        {"trial_id": str(n), "method": methods[n % len(methods)], "dataset": "d", "seed": n, "status": "ok"}
        for n in range(len(differences))
    ]
    of_latents = check.SCORES[score].per_latent
    values = [([here, here + each] if of_latents else here + each) for each in differences]
    again = [here, here] if of_latents else here
    return [(row | {score: value}, row | {score: again}) for row, value in zip(named, values, strict=True)]


NINE = ("a", "b", "c", "d", "e", "f", "g", "h", "i")


@pytest.mark.parametrize(
    "differences",
    [(), (0.1,), (0.1, 0.0, 0.0), (0.002, -0.002, 0.001), (0.0,) * 50, (0.1, -0.1) + (0.0,) * 38, (0.005,)],
)
def test_differences_of_single_trials_are_let_through_as_long_as_they_are_chance(differences):
    check.compare(pairs("mcc_spearman", *differences, methods=NINE))


@pytest.mark.parametrize(
    "differences",
    [
        (0.16,),
        (0.0, 0.0, -0.16),
        (0.08, 0.08, 0.08),  # more than one in twenty
        (0.1, -0.1, 0.0),
        (0.011, -0.011) + (0.0,) * 18,
        (0.009, 0.009, 0.009),  # as rounding does, and all of one sign
        (-0.003,) * 30,
    ],
)
def test_a_great_difference_and_several_that_are_more_than_rounding_are_not(differences):
    with pytest.raises(UsageError, match=r"mcc_spearman (is|of the archive is)"):
        check.compare(pairs("mcc_spearman", *differences, methods=NINE))


def test_trials_of_one_method_may_not_all_differ_however_many_others_agree():
    differences = [0.05 * (-1) ** n if n < 2 else 0.0 for n in range(60)]
    check.compare(pairs("mcc_spearman", *differences, methods=("vae",)))
    methods = ["mine" if n < 3 else "vae" for n in range(60)]
    with pytest.raises(
        UsageError, match="of 3 trials of mine that were trained again here, 2 differ by more than rounding"
    ):
        check.compare(pairs("mcc_spearman", *differences, methods=methods))


def test_every_score_is_compared():
    check.load_all()
    for name, score in check.SCORES.items():
        limit = check.LIMITS.get(name, check.USUAL)
        scale = 1 if score.bounded else 2
        with pytest.raises(UsageError, match=f" {name} (is|of the archive is)"):
            check.compare(pairs(name, *[scale * (limit.close + 0.02)] * 2, here=0.1))
        if limit.most < float("inf"):
            with pytest.raises(UsageError, match=f": {name} is .* apart"):
                check.compare(pairs(name, scale * (limit.most + 0.01), here=0.1))


def test_scores_without_bounds_are_compared_by_their_size():
    check.compare(pairs("objective", 0.5, here=100.0))
    with pytest.raises(UsageError, match="objective is 120 in the archive"):
        check.compare(pairs("objective", 20.0, here=100.0))


VERDICTS = {
    "promised_both": ["yes", "tie"],
    "change_rank": 3,
    "class_change_margin": [0.5, 0.25],
    "shadow_sizes": [1, 0],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("promised_both", ["yes", "yes"]),
        ("promised_both", None),
        ("change_rank", 4),
        ("class_change_margin", [0.5, 0.26]),
        ("class_change_margin", [0.5]),
        ("shadow_sizes", [0, 0]),
        ("promised_changes", ["yes"]),
    ],
)
def test_a_verdict_of_the_oracle_that_is_another_one_is_found(name, value):
    named = {"trial_id": "t", "method": "vae", "dataset": "d", "seed": 0} | VERDICTS
    check._check_verdicts(named | {"class_change_margin": [0.5, 0.25 + 1e-9]}, named)
    with pytest.raises(UsageError, match=f"{name} is .* in the archive, and by its data "):
        check._check_verdicts(named | {name: value}, named)


def test_another_status_and_a_score_on_one_side_alone_are_not():
    named = {"trial_id": "t", "method": "vae", "dataset": "d", "seed": 0}
    with pytest.raises(UsageError, match="its status is diverged in the archive, and ok when"):
        check._check_outcome(named | {"status": "diverged"}, named | {"status": "ok"})
    with pytest.raises(UsageError, match="could not be trained again here: no memory"):
        check._check_outcome(named | {"status": "ok"}, named | {"status": "crashed", "error": "no memory"})
    with pytest.raises(UsageError, match="it took too long; --time-limit allows more"):
        check._check_outcome(named | {"status": "ok"}, named | {"status": "timed-out", "error": "it took too long"})
    with pytest.raises(UsageError, match="r2_block is None in the archive, and 0.5 when"):
        check.compare([(named, named | {"r2_block": 0.5})])


@pytest.fixture(scope="module")
def judged():
    """Two rows of the same data and one of others, with the oracle's verdicts."""
    trials = [
        trial_of(method=method, seed=seed, n_samples=300) for method, seed in (("pca", 0), ("random", 0), ("pca", 1))
    ]
    return {trial.trial_id: (row_of(trial, mcc_spearman=0.5) | data.verdicts(trial), trial) for trial in trials}


def test_verdicts_of_all_rows_are_those_of_their_data_each_made_once(judged):
    check.verdicts(judged, 60.0, ())
    failed = {trial: (row_of(own, "failed"), own) for trial, (_, own) in judged.items()}
    check.verdicts(failed, 60.0, ())  # it may have had no data


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("name", ["promised_both", "promised_changes", "shadow_sizes", "class_change_margin"])
def test_a_verdict_that_was_changed_is_found_in_whatever_row_it_is(judged, place, name):
    trial, (row, own) = list(judged.items())[place]
    changed = judged | {
        trial: (row | {name: ["not covered", *row[name][1:]] if name[0] == "p" else [7, *row[name][1:]]}, own)
    }
    with pytest.raises(UsageError, match=f"the trial {trial} .* {name} is .* in the archive, and by its data "):
        check.verdicts(changed, 60.0, ())


def test_data_that_take_too_long_are_refused_in_time(judged, monkeypatch):
    start = time.monotonic()
    monkeypatch.setattr(data, "verdicts", slowly)
    with pytest.raises(UsageError, match="its data cannot be made here within 0.2 s"):
        check.verdicts(judged, 0.2, ())
    assert time.monotonic() - start < 10


def slowly(trial):
    time.sleep(60)


def test_data_that_take_more_memory_than_is_free_are_refused_before_they_take_it(judged, monkeypatch):
    monkeypatch.setattr(check, "free_memory", lambda: 2**26)
    trial = trial_of(n_samples=10**7)
    with pytest.raises(UsageError, match="and half of the memory that is free"):
        check.verdicts({trial.trial_id: (row_of(trial, mcc_spearman=0.5), trial)}, 60.0, ())
