import dataclasses

import pytest

from bench.plan import trials as module
from bench.plan.trials import Trial, plan, plan_cells
from bench.registry import UsageError
from datasets import datasets


def a_plan(**changes):
    options = {
        "dataset": "sparse-mixing",
        "axes": {"sparse-mixing": {"domains": [2, 3], "violation": [0.0, 0.5]}, "synergy-vae": {"alpha": [0.1, 1.0]}},
        "settings": {"ivae": {"steps": 7}},
        "names": ["ivae", "synergy-vae", "pca"],
        "n_seeds": 2,
        "root_seed": 0,
    }
    return plan(**(options | changes))[0]


def test_a_plan_is_the_product_of_cells_methods_and_seeds():
    trials = a_plan()
    assert len(trials) == 4 * (1 + 2 + 1) * 2
    assert len({trial.trial_id for trial in trials}) == len(trials)
    assert {trial.method_fields["steps"] for trial in trials if trial.method == "ivae"} == {7}


def test_a_cell_that_no_data_set_has_stops_the_plan():
    with pytest.raises(UsageError, match="multiple of 1/n_latents"):
        a_plan(axes={"sparse-mixing": {"violation": [0.0, 0.3]}})


def test_a_trials_id_is_stable_and_moves_with_everything_that_determines_its_result(monkeypatch):
    trial = a_plan()[0]
    assert trial.trial_id == dataclasses.replace(trial).trial_id
    changed = [
        dataclasses.replace(trial, seed=1),
        dataclasses.replace(trial, root_seed=1),
        dataclasses.replace(trial, method="flow-vae"),
        dataclasses.replace(trial, method_fields=trial.method_fields | {"width": 32}),
        dataclasses.replace(trial, dataset_fields=trial.dataset_fields | {"noise": 0.1}),
    ]
    assert len({trial.trial_id, *(t.trial_id for t in changed)}) == len(changed) + 1
    monkeypatch.setattr(module, "ENGINE_VERSION", -1)
    assert dataclasses.replace(trial).trial_id != trial.trial_id


def test_seeds_are_independent_streams_and_do_not_collide():
    trial = Trial("sparse-mixing", {}, "ivae", {}, 0, 0)
    seeds = [
        getattr(dataclasses.replace(trial, seed=seed, root_seed=root), kind)(restart)
        for kind in ("init_seed", "noise_seed")
        for seed in range(10)
        for root in range(3)
        for restart in range(4)
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_grid_beyond_the_bound_is_refused_before_it_is_planned():
    with pytest.raises(UsageError, match="at most"):
        a_plan(n_seeds=module.MAX_TRIALS)


def strata(cells):
    return [(cell["violation"], cell["twins"]) for cell in cells]


def test_the_default_grid_is_no_violation_then_strict_shadows_then_twins_and_no_product():
    cells, added = plan_cells("sparse-mixing", {"sparse-mixing": {"domains": [2, 3]}}, {})
    assert strata(cells) == 2 * [(0.0, None), (0.5, None), (0.5, 0.5)]
    assert added == [{"violation": 0.0}, {"violation": 0.5}, {"violation": 0.5, "twins": 0.5}]
    words = [datasets["sparse-mixing"].make(cell).stratum for cell in cells[:3]]
    assert words == ["no violation", "strict shadows 0.5", "twins 0.5"]


def test_the_default_grid_fits_the_number_of_latents_of_each_cell():
    axes = {"sparse-mixing": {"n_latents": [1, 2, 3, 4, 10], "n_observed": [12]}}
    trials = a_plan(axes=axes, names=["pca"], n_seeds=1)
    cells = [(t.dataset_fields["n_latents"], t.make_dataset().stratum) for t in trials]
    assert cells == [
        (1, "no violation"),
        *((2, words) for words in ("no violation", "strict shadows 0.5", "twins 1")),
        *((3, words) for words in ("no violation", "strict shadows 0.333", "twins 0.667")),
        *((4, words) for words in ("no violation", "strict shadows 0.5", "twins 0.5")),
        *((10, words) for words in ("no violation", "strict shadows 0.5", "strict shadows 0.3, twins 0.2")),
    ]


def test_who_names_a_dial_of_the_default_grid_gets_what_is_named():
    for axes, settings, expected in (
        ({"violation": [0.0, 0.5]}, {}, [(0.0, None), (0.5, None)]),
        ({}, {"violation": 0.5}, [(0.5, None)]),
        ({"twins": [0.0, 0.5]}, {}, [(0.0, 0.0), (0.5, 0.0), (0.5, 0.5)]),
        ({}, {"twins": 1.0}, [(1.0, 1.0)]),
        ({"violation": [0.5, 1.0], "twins": [0.5]}, {}, [(0.5, 0.5), (1.0, 0.5)]),
    ):
        cells, added = plan_cells("sparse-mixing", {"sparse-mixing": axes}, {"sparse-mixing": settings})
        assert strata(cells) == expected
        assert not any(setting.keys() & (axes | settings).keys() for setting in added)
