import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from bench import cli
from bench.plan.identity import ROOT_SEEDS, data_seed, tuning_root
from bench.plan.packs import Pack
from bench.plan.trials import Trial, model_shape, plan_cells
from bench.registry import choice, loguniform, uniform
from bench.train import engine
from bench.train.data import standardised
from bench.train.pack import run_pack
from bench.tune import execution, rules
from bench.tune.configuration import reports, train
from bench.tune.execution import Ledger
from bench.tune.search import CHUNK, plan_rungs, plan_searches, tunable
from bench.tune.summary import chosen
from methods import methods
from tests.conftest import long

SMALL = {"steps": 128, "width": 8, "batch_size": 16}


def a_search(name="synergy-vae", root_seed=0, n_seeds=1, **settings):
    cells, _ = plan_cells("sparse-mixing", {}, {"sparse-mixing": {"domains": 2, "violation": 0.0, "n_samples": 500}})
    return plan_searches([name], {name: SMALL | settings}, "sparse-mixing", cells, n_seeds, root_seed)[0]


# --- search spaces


def test_a_space_is_its_distribution():
    p = (np.arange(1000) + 0.5) / 1000
    assert np.allclose([uniform(2, 4).quantile(q) for q in p], 2 + 2 * p)
    assert np.allclose(np.log10([loguniform(1e-2, 1).quantile(q) for q in p]), -2 + 2 * p)
    drawn = [choice("a", "b", "c", "d").quantile(q) for q in p]
    assert {option: drawn.count(option) for option in drawn} == dict.fromkeys("abcd", 250)


@pytest.mark.parametrize(
    ("name", "field"), [(entry.name, field) for entry in methods for field in entry.spaces], ids="-".join
)
def test_every_value_of_a_declared_space_is_one_of_its_field(name, field):
    entry = methods[name]
    for p in (0.0, 0.3, 0.7, 1 - 1e-12):
        value = entry.spaces[field].quantile(p)
        assert entry.check(field, value) == pytest.approx(value)


def test_configurations_are_the_defaults_and_then_draws_that_the_root_seed_determines():
    search, again, other = a_search(), a_search(), a_search(root_seed=1)
    assert search.fields(0) == methods["synergy-vae"].defaults | SMALL | {"restarts": 1}
    drawn = [search.fields(number) for number in range(1, 20)]
    assert drawn == [again.fields(number) for number in range(1, 20)]
    assert all(a != b for a, b in zip(drawn, [other.fields(number) for number in range(1, 20)], strict=True))
    assert len({fields["alpha"] for fields in drawn}) == 19
    assert all(0.01 <= fields["alpha"] <= 1 for fields in drawn)


def test_methods_share_the_values_of_shared_fields_and_what_is_fixed_is_not_searched():
    ours, theirs = a_search("synergy-vae", beta=2.0), a_search("flow-vae")
    for number in range(5):
        assert ours.fields(number)["learning_rate"] == theirs.fields(number)["learning_rate"]
        assert ours.fields(number)["beta"] == 2.0


def test_floors_and_the_ceiling_are_not_tuned():
    assert {"synergy-vae", "sparse-vae", "flow-vae", "vae", "ivae"} <= set(tunable())
    assert not {"supervised", "random", "pca"} & set(tunable())


# --- seeds


def test_no_data_of_a_search_are_those_of_any_leaderboard():
    def states(roots):
        return {tuple(data_seed(root, seed).generate_state(4)) for root in roots for seed in range(50)}

    roots = range(100)
    assert len(states(roots)) == len(states(map(tuning_root, roots))) == 5000
    assert not states(roots) & states(map(tuning_root, roots))


def test_the_command_line_takes_no_root_seed_of_a_search(capsys):
    search = a_search()
    root_seeds = {trial.root_seed for trial in search.trials(search.fields(0))}
    assert root_seeds == {tuning_root(0)} and min(root_seeds) >= ROOT_SEEDS
    assert cli.main(["--dry-run", "--root-seed", str(tuning_root(0))]) == 2
    assert "not below 2^63" in capsys.readouterr().err


# --- rungs and budget


@pytest.mark.parametrize("n_rungs", [1, 2, 3, 4])
@pytest.mark.parametrize("steps", [32, 100, 600, 3000, 4500])
def test_rungs_are_whole_chunks_and_every_stage_a_multiple_of_the_first(steps, n_rungs):
    rungs = plan_rungs(steps, n_rungs)
    assert len(rungs) <= n_rungs and rungs[-1] <= steps
    assert all(rung % engine.CHUNK == 0 for rung in rungs)
    search = dataclasses.replace(a_search(), rungs=rungs)
    costs = [search.cost(stage) for stage in range(len(rungs))]
    assert sum(costs) == search.full_cost and all(cost % costs[0] == 0 for cost in costs)


def test_the_usual_rungs_lose_little_of_the_length_of_training():
    assert plan_rungs(3000) == (736, 2944)
    assert CHUNK == engine.CHUNK


def test_a_ledger_grants_what_is_left_and_no_more():
    search = a_search()
    first, second = search.cost(0), search.cost(1)
    old = [{"trial_id": search.trial_id(number), "model_steps": first} for number in (0, 2)]
    ledger = Ledger(search, first * 4 + second, old)
    assert ledger.left_slices() == 2 + second // first
    assert ledger.begin() == 1 and ledger.charge(1, 1) and ledger.begin() == 3
    assert not ledger.charge(1, 3) and ledger.begin() is None
    assert ledger.spent == ledger.budget


def test_what_the_defaults_need_is_set_aside_until_they_end():
    search = a_search()
    first = search.cost(0)
    ledger = Ledger(search, search.full_cost + 3 * first, [])
    assert [ledger.begin() for _ in range(5)] == [0, 1, 2, 3, None]  # however slow the defaults are
    assert not ledger.charge(1, 1) and ledger.charge(1, 0) and ledger.spent == ledger.budget
    failing = Ledger(search, search.full_cost + first, [])
    assert [failing.begin() for _ in range(3)] == [0, 1, None]
    failing.ended(1)
    assert failing.begin() is None
    failing.ended(0)
    assert failing.charge(1, 1) and failing.begin() is None
    again = Ledger(search, search.full_cost, [{"trial_id": search.trial_id(0), "model_steps": search.full_cost}])
    assert again.begin() is None


def test_a_search_is_another_one_where_anything_that_moves_its_results_is_changed():
    searches = [a_search(), a_search(root_seed=1), a_search(n_seeds=2), a_search("ivae"), a_search(beta=1.0)]
    assert len({search.question for search in searches}) == len(searches)
    assert a_search().question == searches[0].question


# --- one configuration


@pytest.fixture
def one_seed(monkeypatch):
    """Models that should differ in their own seeds do not."""
    init_seed, noise_seed = Trial.init_seed, Trial.noise_seed
    monkeypatch.setattr(Trial, "init_seed", lambda trial, restart=0: init_seed(trial))
    monkeypatch.setattr(Trial, "noise_seed", lambda trial, restart=0: noise_seed(trial))


@pytest.mark.parametrize("name", ["synergy-vae", "tcl"])
def test_a_search_measures_what_a_run_scores(name, one_seed):
    """tcl has a read-out and no decoder. 32 steps leave rounding, which differs between sizes of packs, no time to grow."""
    neutral = methods[name].neutral
    plain = (
        {"start": "random"} if "start" in methods[name].fields else {}
    )  # from a chart, the two models differ in its map
    search = a_search(name, steps=32, **neutral, **plain)
    fields = search.fields(3)
    (found,) = train(search, fields, "cpu")
    (row,) = run_pack(Pack(tuple(search.trials(fields)))).rows
    assert found["reached"] == 32 and found["n_lost"] == 0
    assert found["mcc_spearman"] == pytest.approx(row["mcc_spearman"], abs=1e-2)
    assert found["fit"] == pytest.approx(row["objective"], rel=1e-3)
    assert found["consistency"] == pytest.approx(1, abs=1e-2)
    assert np.isnan(found["sparsity"]) == (name == "tcl")


def test_the_fit_leaves_the_penalties_out():
    """Weights that move after training change the objective and not the fit."""
    search = a_search(steps=32)
    trial, *_ = search.trials(search.fields(0))
    instance = standardised(trial)
    stack = engine.Stack(trial.make_method(), model_shape(trial.make_dataset()), [engine.Job(instance.train, 0, 0)])
    stack.train()
    heavy = methods["synergy-vae"].make(search.fields(0) | {"alpha": 5.0, "beta": 3.0})
    bound = methods["synergy-vae"].make(search.fields(0) | {"alpha": 0.0, "beta": 1.0})
    plain = methods["synergy-vae"].make(search.fields(0) | methods["synergy-vae"].neutral)
    assert plain == bound
    assert stack.objective([instance.validation], heavy) > stack.objective([instance.validation], plain) + 1


def test_models_that_were_lost_count_as_no_agreement_and_nothing_recovered():
    search = a_search(steps=32)
    (found,) = train(search, search.fields(0) | {"learning_rate": 1e30}, "cpu")
    assert found["n_lost"] == 2 and found["consistency"] == found["mcc_spearman"] == 0
    assert np.isnan(found["fit"])


def test_a_configuration_that_fails_is_a_report_that_says_why(monkeypatch):
    def broken(self, model, batch, rng):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(methods["synergy-vae"].cls, "loss", broken)
    (report,) = reports(a_search(), 0, "cpu")
    assert report["status"] == "failed" and report["error"] == "RuntimeError: no such luck" and report["stage"] == 0


# --- the choice


def test_rules_choose_among_the_configurations_that_got_furthest():
    rows = pd.DataFrame(
        {
            "number": [2, 0, 1, 3],
            "reached": [128, 128, 32, None],
            "consistency": [0.8, 0.7, 0.99, None],
            "fit": [1.0, 1.01, 0.1, None],
            "sparsity": [3.0, 2.0, 1.0, None],
            "mcc_spearman": [0.5, 0.9, 0.95, None],
        },
        dtype=object,
    )
    numbers = {rule: row["number"] for rule, row in chosen(rows).items()}
    assert numbers == {"consistency": 2, "fit-then-sparsest": 0, "fit-then-consistent": 2, "oracle": 0}
    nothing = chosen(rows[rows.reached.isna()])
    assert set(nothing.values()) == {None}


# --- the real command


@pytest.mark.xdist_group("ray")
@long
def test_a_search_spends_the_same_on_every_method_leaves_what_it_promises_and_goes_on(
    ray_session, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    words = ["tune", "--methods", "ivae,synergy-vae", "--seeds", "1", "--name", "small"]
    words += ["--grid", "domains=2", "--grid", "violation=0", "--set", "sparse-mixing.n_samples=500"]
    for name in ("ivae", "synergy-vae"):
        for field, value in SMALL.items():
            words += ["--set", f"{name}.{field}={value}"]
    words += ["--budget"]
    assert cli.main([*words, "700"]) == 0  # 10 slices of 2 models and 32 steps, and 60 model-steps too few for another
    assert "cost of not knowing the truth" in capsys.readouterr().out

    folder = tmp_path / "results/tuning/small"
    rows = pd.read_parquet(folder / "trials.parquet")
    assert rows.groupby("method").model_steps.sum().to_dict() == {"ivae": 640, "synergy-vae": 640}
    assert set(rows.status) <= {"ok", "stopped", "cut"} and set(rows.reached) <= {32, 128}
    assert (rows.model_steps == 2 * rows.reached).all()
    assert {"alpha", "beta", "learning_rate", "consistency", "fit", "sparsity", "mcc_spearman"} <= set(rows.columns)
    assert {0} < set(rows.number) and (rows.reached[rows.number == 0] == 128).all()
    assert (folder / "trials.csv").stat().st_size > 0
    choices = json.loads((folder / "chosen.json").read_text())
    assert set(choices) == {"ivae", "synergy-vae"} and set(choices["ivae"]) == set(rules.RULES)
    assert set(choices["ivae"]["consistency"]) == {"learning_rate", "beta"}
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["commands"][0]["config"]["budget"] == 700 and set(rules.DEFINITIONS) == set(manifest["definitions"])
    assert "oracle" in (folder / "summary.md").read_text()

    def parts():
        return {path.name: path.stat().st_mtime_ns for path in (folder / "parts").iterdir()}

    before = parts()
    monkeypatch.setattr(execution, "ray_session", None)
    assert cli.main([*words, "700"]) == 0 and parts() == before  # nothing is left to do
    assert cli.main(["tune", "--config", str(folder / "config.toml")]) == 0 and parts() == before
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)

    lost = rows[(rows.model_steps == 64) & (rows.method == "ivae")].iloc[0]
    (folder / "parts" / f"{lost.trial_id}.jsonl").unlink()  # as if it had been killed
    assert cli.main([*words, "700"]) == 0
    assert {name: time for name, time in parts().items() if lost.trial_id not in name}.items() <= before.items()
    again = pd.read_parquet(folder / "trials.parquet").set_index("trial_id")
    assert len(again) == len(rows) and again.model_steps.sum() == 1280
    for measured in ("consistency", "fit", "sparsity", "mcc_spearman"):
        assert again.loc[lost.trial_id, measured] == lost[measured]
