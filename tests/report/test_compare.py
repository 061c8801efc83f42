import numpy as np
import pandas as pd
import pytest

from bench import cli
from bench.report import compare
from bench.report import results as report
from bench.scores.statistics import mean_interval
from tests.simulated import fail, simulated_run, simulated_trials

LEVELS = {"ivae": 0.8, "synergy-vae": 0.7, "random": 0.4}


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """The folder of runs, in which a test puts its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results" / "runs"


def shifted(trials, by, noise=0.0):
    """The same trials with so much more of every method's headline score, by name."""
    rng = np.random.default_rng(1)
    more = trials.method.map(by).fillna(0.0) + noise * rng.normal(size=len(trials))
    return trials.assign(mcc_spearman=trials.mcc_spearman + more)


def compared(runs, first, second, **of_second):
    sides = [
        report.gather([simulated_run(runs / "a", first)]),
        report.gather([simulated_run(runs / "b", second, **of_second)]),
    ]
    found, cells = compare.matched(*sides)
    return sides, compare.table(found, cells), found


def test_differences_are_paired_by_data_seed_and_their_intervals_those_of_the_statistics(runs):
    first = simulated_trials(LEVELS, seeds=10)
    second = shifted(first, {"ivae": 0.05}, noise=0.01)
    _, rows, _ = compared(runs, first, second)
    key = ["method", "domains", "violation", "seed"]
    expected = second.set_index(key).mcc_spearman - first.set_index(key).mcc_spearman
    expected = expected.sort_index()
    own = rows[rows.scope == "cell"]
    assert len(own) == 3 * 6 and (own.n_seeds == 10).all()
    for row in own.itertuples():
        seeds = expected[row.label, row.domains, row.violation].to_numpy()[:, None]
        np.testing.assert_allclose(
            [row.difference, row.difference_low, row.difference_high, row.p], np.ravel(mean_interval(seeds))
        )
    overall = rows[rows.scope == "all"].set_index("label")
    means = expected["ivae"].groupby("seed").mean().to_numpy()[:, None]
    columns = ["difference", "difference_low", "difference_high"]
    np.testing.assert_allclose(overall.loc["ivae", columns].astype(float), np.ravel(mean_interval(means)[:3]))
    assert overall.loc["ivae", "b"] - overall.loc["ivae", "a"] == pytest.approx(overall.loc["ivae", "difference"])


def test_what_shows_in_no_mean_shows_in_the_pairs(runs):
    """Data seeds differ by far more than the versions of the method."""
    rng = np.random.default_rng(0)
    first = simulated_trials(LEVELS, seeds=10)
    first["mcc_spearman"] += first.seed.map(dict(enumerate(0.2 * rng.normal(size=10))))
    _, rows, _ = compared(runs, first, shifted(first, {"ivae": -0.02}, noise=0.01))
    overall = rows[rows.scope == "all"].set_index("label")
    assert overall.loc["ivae", "difference_high"] < 0
    assert overall.loc["random", "difference_low"] < 0 < overall.loc["random", "difference_high"]


def test_failures_are_in_no_difference_and_counted_per_run(runs):
    first = simulated_trials(LEVELS)
    _, rows, _ = compared(runs, first, fail(first, method="ivae", domains=3, violation=0.5, seed=1))
    row = rows[(rows.label == "ivae") & (rows.domains == 3) & (rows.violation == 0.5)].iloc[0]
    assert (row.n_seeds, row.failed_a, row.failed_b) == (2, 0, 1)
    assert rows[rows.label == "ivae"].failed_b.sum() == 2  # in its cell, and over all cells


def test_code_and_settings_that_changed_are_said_and_compared_all_the_same(runs):
    first = simulated_trials(LEVELS)
    second = first.assign(steps=200, trial_id=first.trial_id + "-b")
    sides, rows, _ = compared(runs, first, second, code="other")
    assert "ivae: other code on sparse-mixing; steps 100 → 200." in compare.changes(*sides)
    assert len(rows) == 3 * 7 and (rows.difference == 0).all()


def test_what_only_one_run_has_is_listed(runs):
    first = simulated_trials(LEVELS | {"vae": 0.5})
    second = simulated_trials(LEVELS | {"tcl": 0.5}, domains=(2, 3, 9))
    second = second[~((second.method == "random") & (second.seed == 2) & (second.domains == 2))]
    _, rows, found = compared(runs, first, second)
    assert set(rows.label) == set(LEVELS) and set(rows.domains.dropna()) == {2, 3}
    assert compare.only(found, "a") == [
        "vae (18 trials)", "domains=4, violation=0 (9 trials)", "domains=4, violation=0.5 (9 trials)",
        "2 other trials, of cells or data seeds that the other run lacks for their method",
    ]  # fmt: skip
    assert compare.only(found, "b")[0] == "tcl (18 trials)"


def test_a_variant_is_matched_with_the_same_setting_of_the_other_run(runs):
    one = simulated_trials({"synergy-vae": 0.9})
    both = pd.concat([one, one.assign(alpha=1.0, trial_id=one.trial_id + "-1")], ignore_index=True)
    _, rows, found = compared(runs, both, one)
    assert set(rows.label) == {"synergy-vae (alpha=0.1)"}
    assert compare.only(found, "a") == ["synergy-vae (alpha=1) (18 trials)"]


def test_the_command_prints_the_change_and_writes_every_cell(runs, capsys):
    first = simulated_trials(LEVELS, seeds=10)
    simulated_run(runs / "a", first)
    simulated_run(runs / "b", shifted(first, {"ivae": 0.05}, noise=0.001))
    assert cli.main(["compare", "a", "b", "--out", "there"]) == 0
    out = capsys.readouterr().out
    assert "A = a, B = b." in out and "of 18 cells changed" in out and "+.050" in out
    assert len(pd.read_csv("there/compare.csv")) == 3 * 7
    assert "+.050" in (runs.parents[1] / "there" / "compare.md").read_text()


def test_a_run_compared_with_itself_has_not_changed(runs, capsys):
    simulated_run(runs / "a", simulated_trials(LEVELS))
    assert cli.main(["compare", "a", "a"]) == 0
    out = capsys.readouterr().out
    assert "the same code and settings" in out and "0 of 18 cells changed." in out and "Only in" not in out


def test_runs_on_other_data_are_not_compared(runs, capsys):
    simulated_run(runs / "a", simulated_trials(LEVELS))
    simulated_run(runs / "b", simulated_trials(LEVELS), data_version=2)
    assert cli.main(["compare", "a", "b"]) == 2
    assert "A = a has version 1, B = b has version 2" in capsys.readouterr().err


def test_runs_with_no_data_in_common_are_told_apart_by_what_differs(runs, capsys):
    first = simulated_trials(LEVELS)
    simulated_run(runs / "a", first)
    simulated_run(runs / "b", first.assign(n_latents=6))
    assert cli.main(["compare", "a", "b"]) == 0
    out = capsys.readouterr().out
    assert (
        "No method was run on the same data in both." in out
        and "domains=2, n_latents=6, violation=0.5 (9 trials)" in out
    )
