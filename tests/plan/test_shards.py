"""Shards of a plan: every trial is in one, the same everywhere, and no data set is in two."""

import numpy as np
import pytest

from bench.plan.charts import chart_of
from bench.plan.shards import Shard, parse_shard
from bench.plan.trials import plan
from bench.registry import UsageError

DOMAINS = {"sparse-mixing": {"domains": list(range(2, 11))}}


def planned(axes=DOMAINS, names=("vae", "synergy-vae", "pca"), n_seeds=5, root_seed=0):
    return plan("sparse-mixing", axes, {}, names, n_seeds, root_seed)[0]


def shards(n):
    return [Shard(number, n) for number in range(1, n + 1)]


@pytest.mark.parametrize("n", [1, 3, 8])
def test_every_trial_is_in_one_shard(n):
    trials = planned()
    parts = [[trial.trial_id for trial in shard.part(trials)] for shard in shards(n)]
    assert sorted(sum(parts, [])) == sorted(trial.trial_id for trial in trials)


def test_a_trials_shard_does_not_depend_on_what_else_is_planned():
    alone = planned({"sparse-mixing": {"domains": [4]}}, ("synergy-vae",), 3)
    everything = planned(n_seeds=10)
    for shard in shards(3):
        mine = {trial.trial_id for trial in shard.part(everything)}
        assert {trial.trial_id for trial in shard.part(alone)} == mine & {trial.trial_id for trial in alone}


def test_a_trials_shard_is_the_same_on_every_machine():
    """Pinned: another number would split a run otherwise than the machines that started it."""
    trials = planned({"sparse-mixing": {"domains": [2, 3]}}, ("pca",), 2)
    assert [next(shard.number for shard in shards(8) if shard.part([trial])) for trial in trials] == [
        4,
        5,
        2,
        3,
        7,
        8,
        8,
        1,
        8,
        1,
        6,
        7,
    ]


@pytest.mark.parametrize("n", [2, 3, 8])
def test_no_chart_is_trained_by_two_shards(n):
    trials = planned() + planned(names=("gan",), root_seed=1)
    charts = [{spec.chart_id for trial in shard.part(trials) if (spec := chart_of(trial))} for shard in shards(n)]
    assert sum(map(len, charts)) == len(set.union(*charts)) == 2 * 27 * 5


@pytest.mark.parametrize("n", [2, 4, 8, 16])
def test_sizes_of_shards_spread_as_much_as_a_fair_deal_of_the_cells_leaves(n):
    """Of 5 seeds of a cell, 5 // n go to every shard; the other 5 % n go to a shard with probability (5 % n) / n, apart for each cell."""
    root_seeds, n_seeds = range(12), 5
    plans = [planned(names=("pca",), n_seeds=n_seeds, root_seed=root_seed) for root_seed in root_seeds]
    n_cells, rest = len(plans[0]) // n_seeds, n_seeds % n / n
    sizes = np.array([[len(shard.part(trials)) for shard in shards(n)] for trials in plans])
    expected = n_cells * rest * (1 - rest)
    freedom = len(root_seeds) * (n - 1)  # the sizes of a plan have a known sum
    found = ((sizes - n_cells * n_seeds / n) ** 2).sum() / freedom * (n - 1) / n
    assert found == pytest.approx(expected, rel=4 * np.sqrt(2 / freedom))
    assert expected < n_cells * n_seeds / n * (1 - 1 / n), "less than if each data set were dealt alone"


def test_with_as_many_seeds_as_shards_all_have_equally_many_data_sets():
    trials = planned(names=("pca",), n_seeds=10)
    assert len({len(shard.part(trials)) for shard in shards(5)}) == 1


def test_a_shard_is_read_as_it_is_written():
    assert parse_shard("3/8") == Shard(3, 8) and str(Shard(3, 8)) == "3/8" and Shard(3, 8).suffix == ".3of8"


@pytest.mark.parametrize(
    "text", ["0/8", "9/8", "3/0", "a/b", "3", "3/", "/8", "", "3/8/2", "-1/8", " 3/8", "1.5/2", "1/99999999999", "²/8"]
)
def test_what_names_no_shard_is_a_mistake(text):
    with pytest.raises(UsageError, match="as 3/8|as in 3/8"):
        parse_shard(text)
