import dataclasses

import pytest

from bench.plan.packs import MODELS_PER_PACK, duration, expected_time, make_packs, model_steps, step_s, survivors
from bench.plan.trials import model_shape
from datasets import datasets
from methods import methods
from tests.plan.test_trials import a_plan


def test_packs_hold_each_trial_once_and_only_trials_of_one_method_and_shape():
    trials = a_plan(n_seeds=11)
    packs = make_packs(trials, "cpu")
    assert sorted(t.trial_id for p in packs for t in p.trials) == sorted(t.trial_id for t in trials)
    for pack in packs:
        first = pack.trials[0]
        assert all(t.method_fields == first.method_fields for t in pack.trials)
        assert len({model_shape(t.make_dataset()) for t in pack.trials}) == 1
        assert len(pack.trials) <= MODELS_PER_PACK["cpu"]
    assert any(len({t.dataset_fields["violation"] for t in pack.trials}) == 2 for pack in packs)
    assert any(len({t.dataset_fields["domains"] for t in pack.trials}) == 2 for pack in packs)


def test_models_have_room_for_the_domains_and_only_by_that_do_cells_share_a_shape():
    shapes = {u: model_shape(datasets["sparse-mixing"].make({"domains": u}))[:3] for u in (2, 10, 11)}
    assert shapes == {2: (8, 4, 10), 10: (8, 4, 10), 11: (8, 4, 20)}


def test_restarts_count_in_a_packs_size():
    axes = {"sparse-mixing": {"violation": [0.0, 0.5]}}
    trials = a_plan(settings={"ivae": {"restarts": 5}}, names=["ivae"], axes=axes, n_seeds=10)
    assert [len(pack.trials) * 5 for pack in make_packs(trials, "cpu")] == [30, 30, 30, 10]


def test_what_is_left_after_some_packs_finished_falls_into_the_same_packs():
    trials = a_plan(n_seeds=25, names=["ivae"])
    packs = make_packs(trials, "cpu")
    for done in range(len(packs)):
        finished = {t.trial_id for t in packs[done].trials}
        left = make_packs([t for t in trials if t.trial_id not in finished], "cpu")
        assert {p.pack_id for p in left} == {p.pack_id for p in packs} - {packs[done].pack_id}


def test_the_cost_of_a_trial_counts_all_restarts_up_to_the_race_and_the_survivors_after_it():
    method = methods["vae"].make({"steps": 1000, "restarts": 8})
    assert [survivors(n) for n in (1, 2, 4, 8, 12)] == [1, 2, 2, 2, 3]
    assert model_steps(method) == 8 * 250 + 2 * 750
    assert model_steps(dataclasses.replace(method, restarts=1)) == 1000
    assert step_s(dataclasses.replace(method, width=128)) == pytest.approx(2 * step_s(method))


def test_work_takes_no_less_than_its_longest_part_and_its_share():
    assert expected_time([10.0, 1.0, 1.0], 4) == 10.0
    assert expected_time([3.0, 3.0, 3.0], 2) == 4.5
    assert expected_time([], 2) == 0.0
    assert [duration(s) for s in (12, 200, 3900)] == ["12 s", "3 min 20 s", "1 h 05 min"]
