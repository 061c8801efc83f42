import numpy as np
import pandas as pd
import pytest

from bench import leaderboard
from bench.statistics import mean_interval
from tests.simulated import DATASET_FIELDS, METHOD_FIELDS, fail, simulated_trials


def test_means_and_intervals_are_over_seeds_of_the_means_over_cells():
    trials = simulated_trials()
    table = leaderboard.table(trials, METHOD_FIELDS).set_index("label")
    own = trials[trials.method == "ivae"].pivot_table(index="seed", values="mcc_spearman", aggfunc="mean").to_numpy()
    mean, low, high = mean_interval(own[:, 0])
    row = table.loc["ivae"]
    np.testing.assert_allclose([row.mcc_spearman, row.mcc_spearman_low, row.mcc_spearman_high], [mean, low, high])


def test_methods_are_ranked_and_ceiling_and_floors_stand_apart():
    table = leaderboard.table(simulated_trials(), METHOD_FIELDS)
    assert table.label.tolist() == ["synergy-vae", "ivae", "supervised", "identity", "random"]
    assert table["rank"].tolist()[:2] == [1, 2] and table["rank"][2:].isna().all()


def test_failed_trials_are_counted_with_their_reason_and_mark_the_mean():
    trials = fail(simulated_trials(), method="ivae", domains=3)
    table = leaderboard.table(trials, METHOD_FIELDS).set_index("label")
    assert table.loc["ivae", ["n_ok", "n_trials", "n_failed"]].tolist() == [12, 18, 6]
    text = leaderboard.render(table.reset_index())
    assert "ivae †" in text and "synergy-vae †" not in text
    assert "6 of 18 trials failed, most often: every restart became NaN" in text


def test_a_method_whose_trials_all_failed_is_still_in_the_table():
    table = leaderboard.table(fail(simulated_trials(), method="ivae"), METHOD_FIELDS).set_index("label")
    assert np.isnan(table.loc["ivae", "mcc_spearman"]) and table.loc["ivae", "n_failed"] == 18
    assert pd.isna(table.loc["ivae", "rank"])


def test_settings_that_vary_within_a_method_are_in_its_label_and_no_others():
    trials = simulated_trials()
    other = trials[trials.method == "synergy-vae"].assign(alpha=1.0)
    names = set(leaderboard.labels(pd.concat([trials, other], ignore_index=True), METHOD_FIELDS))
    assert {"synergy-vae (alpha=0.1)", "synergy-vae (alpha=1)", "ivae"} <= names
    assert "synergy-vae" in set(leaderboard.labels(trials, METHOD_FIELDS))


def test_cells_are_the_dataset_fields_that_vary():
    assert leaderboard.cells(simulated_trials(), DATASET_FIELDS) == ["domains", "violation"]
    assert leaderboard.cells(simulated_trials(domains=[2], violations=[0.0]), DATASET_FIELDS) == []


def test_the_files_hold_the_same_numbers(tmp_path):
    trials = fail(simulated_trials(), method="ivae", domains=3, seed=1)
    leaderboard.write(trials, METHOD_FIELDS, DATASET_FIELDS, tmp_path)
    raw = pd.read_csv(tmp_path / "leaderboard.csv").set_index("label")
    mean = trials[trials.method == "synergy-vae"].mcc_spearman.mean()
    assert raw.loc["synergy-vae", "mcc_spearman"] == pytest.approx(mean)
    text = leaderboard.number(mean)
    markdown, latex = ((tmp_path / f"leaderboard.{kind}").read_text() for kind in ("md", "tex"))
    assert text in markdown and text in latex
    assert "domains=3, violation=0.5" in markdown and "(2/3)" in markdown


def test_the_latex_table_is_booktabs_with_the_best_method_in_bold_and_balanced_braces(tmp_path):
    leaderboard.write(simulated_trials(), METHOD_FIELDS, DATASET_FIELDS, tmp_path)
    latex = (tmp_path / "leaderboard.tex").read_text()
    assert latex.count("{") == latex.count("}")
    assert all(rule in latex for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
    best = latex[latex.index("synergy-vae") :].splitlines()[0].split("&")
    others = latex[latex.index("ivae &") :]
    assert all(cell.strip().startswith(r"\textbf") for cell in best[1:7])
    assert not any(cell.strip().startswith(r"\textbf") for line in others.splitlines() for cell in line.split("&")[1:7])


def test_numbers_are_printed_as_papers_do():
    assert [leaderboard.number(x) for x in (0.9512, 1.0, -0.25, 1.5, float("nan"))] == [
        ".951",
        "1.000",
        "-.250",
        "1.500",
        "",
    ]
    assert [leaderboard.value_text(x) for x in (3000.0, 0.25, 7, None, float("nan"))] == [
        "3000",
        "0.25",
        "7",
        "none",
        "none",
    ]
