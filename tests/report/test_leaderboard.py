import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.registry import UsageError
from bench.report import leaderboard, pairs
from bench.report.texts import number
from bench.scores import SCORES as DECLARED
from bench.scores.statistics import mean_interval
from tests.simulated import SCORES, fail, results, simulated_trials


def board(trials):
    return leaderboard.table(results(trials))


def printed(trials):
    own = results(trials)
    return leaderboard.render(leaderboard.table(own), own)


def test_means_and_intervals_are_over_seeds_of_the_means_over_cells():
    trials = simulated_trials()
    table = board(trials).set_index("label")
    own = trials[trials.method == "ivae"].pivot_table(index="seed", values="mcc_spearman", aggfunc="mean").to_numpy()
    mean, low, high, _ = np.stack(mean_interval(own, bounds=(0, 1)))[:, 0]
    row = table.loc["ivae"]
    np.testing.assert_allclose([row.mcc_spearman, row.mcc_spearman_low, row.mcc_spearman_high], [mean, low, high])


def test_methods_are_ranked_and_ceiling_and_floors_stand_apart():
    table = board(simulated_trials())
    assert table.label.tolist() == ["synergy-vae", "ivae", "supervised", "identity", "random"]
    assert table["rank"].tolist()[:2] == [1, 2] and table["rank"][2:].isna().all()


def test_failed_trials_are_counted_with_their_reason_and_mark_the_mean():
    trials = fail(simulated_trials(), method="ivae", domains=3)
    table = board(trials).set_index("label")
    assert table.loc["ivae", ["n_ok", "n_trials", "n_failed"]].tolist() == [12, 18, 6]
    text = printed(trials)
    assert "ivae †" in text and "synergy-vae †" not in text
    assert "6 of 18 trials failed, most often: every restart became NaN" in text


def test_a_method_whose_trials_all_failed_is_still_in_the_table():
    table = board(fail(simulated_trials(), method="ivae")).set_index("label")
    assert np.isnan(table.loc["ivae", "mcc_spearman"]) and table.loc["ivae", "n_failed"] == 18
    assert pd.isna(table.loc["ivae", "rank"])


def test_the_files_hold_the_same_numbers(tmp_path):
    trials = fail(simulated_trials(), method="ivae", domains=3, seed=1)
    leaderboard.write(results(trials), tmp_path)
    raw = pd.read_csv(tmp_path / "leaderboard.csv").set_index("label")
    mean = trials[trials.method == "synergy-vae"].mcc_spearman.mean()
    assert raw.loc["synergy-vae", "mcc_spearman"] == pytest.approx(mean)
    text = number(mean)
    markdown, latex = ((tmp_path / f"leaderboard.{kind}").read_text() for kind in ("md", "tex"))
    assert text in markdown and text in latex
    assert "domains=3, violation=0.5" in markdown and "(2/3)" in markdown


def test_the_latex_table_is_booktabs_with_the_best_method_in_bold_and_balanced_braces(tmp_path):
    leaderboard.write(results(simulated_trials()), tmp_path)
    latex = (tmp_path / "leaderboard.tex").read_text()
    assert latex.count("{") == latex.count("}")
    assert all(rule in latex for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
    scores = {
        name: [cell.strip() for cell in latex[latex.index(f"{name} &") :].splitlines()[0].split("&") if "$_{" in cell]
        for name in ("synergy-vae", "ivae")
    }
    assert len(scores["ivae"]) == 5
    assert all(cell.startswith(r"\textbf{") for cell in scores["synergy-vae"])
    assert not any(r"\textbf" in cell for cell in scores["ivae"])


def test_the_latex_heading_of_the_support_says_of_what_it_is(tmp_path):
    leaderboard.write(results(simulated_trials().assign(support_ap=0.9)), tmp_path)
    assert "& support AP &" in (tmp_path / "leaderboard.tex").read_text()


def test_methods_that_are_as_good_as_the_best_within_a_hundredth_are_underlined(tmp_path):
    """A method that is behind by a little on every seed is no tie although its interval overlaps that of the best."""
    rng = np.random.default_rng(0)
    seeds = 0.1 * rng.normal(size=10)
    trials = simulated_trials({"vae": 0, "ivae": 0, "flow-vae": 0, "tcl": 0, "supervised": 0}, seeds=10)
    level = {"vae": 0.70, "ivae": 0.702, "flow-vae": 0.68, "tcl": 0.5, "supervised": 0.9}
    trials["mcc_spearman"] = trials.method.map(level) + trials.seed.map(dict(enumerate(seeds)))
    trials["mcc_spearman"] += 0.005 * rng.normal(size=len(trials))
    rows = board(trials).set_index("label")
    assert rows.mcc_spearman_low["vae"] < rows.mcc_spearman_high["flow-vae"]
    first, second = rows.index[:2]
    assert {first, second} == {"vae", "ivae"}
    assert rows.mcc_spearman_best[rows.mcc_spearman_best].index.tolist() == [first]
    assert rows.mcc_spearman_tied[rows.mcc_spearman_tied].index.tolist() == [second]
    leaderboard.write(results(trials), tmp_path)
    latex = (tmp_path / "leaderboard.tex").read_text()
    assert rf"{second} & \underline{{" in latex and rf"{first} & \textbf{{" in latex


@pytest.mark.parametrize(
    ("behind", "scatter", "is_tie"),
    [(0.002, 0.001, True), (0.008, 0.0001, True), (0.0, 0.05, False), (0.02, 0.0001, False)],
)
def test_a_tie_is_a_paired_difference_that_is_known_to_be_small(behind, scatter, is_tie):
    """What few noisy seeds do not tell apart is no tie; what they tell apart by next to nothing is one."""
    trials = simulated_trials({"vae": 0.8, "ivae": 0.8}, seeds=10)
    noise = scatter * np.random.default_rng(0).normal(size=len(trials))
    trials["mcc_spearman"] = 0.8 + np.where(trials.method == "ivae", noise - noise.mean() - behind, 0.0)
    rows = board(trials).set_index("label")
    assert rows.mcc_spearman_tied.to_dict() in (
        [{"vae": False, "ivae": True}, {"vae": True, "ivae": False}] if is_tie else [{"vae": False, "ivae": False}]
    )


def test_the_columns_of_the_latex_table_are_chosen_by_name(tmp_path):
    trials = simulated_trials(seeds=4)
    leaderboard.write(results(trials), tmp_path, chosen=["train", "r2_block", "rank"])
    lines = (tmp_path / "leaderboard.tex").read_text().splitlines()
    assert "method & train s & $R^2$ block & rank" + r" \\" in lines
    leaderboard.write(results(trials), tmp_path)
    latex = (tmp_path / "leaderboard.tex").read_text()
    assert "seeds &" not in latex and "& ok" not in latex  # the same in all rows, and said above
    for uneven in (fail(trials, method="ivae", domains=2), trials[(trials.method != "ivae") | (trials.domains != 2)]):
        leaderboard.write(results(uneven), tmp_path)
        latex = (tmp_path / "leaderboard.tex").read_text()
        assert "& ok &" in latex and "(see ok)" in latex
        leaderboard.write(results(uneven), tmp_path, chosen=["iqm"])
        lines = (tmp_path / "leaderboard.tex").read_text().splitlines()
        assert not any("(see ok)" in line for line in lines if not line.startswith("%"))


def test_without_truth_there_is_no_rank_no_best_and_no_pair_of_errors_of_reconstruction():
    trials = simulated_trials().assign(has_truth=False)
    trials[[name for name in SCORES if name not in ("objective", "recon_nmse")]] = np.nan
    own = results(trials)
    rows = leaderboard.table(own)
    assert own.headline.name == "recon_nmse" and rows[["rank", "iqm", "pessimistic"]].isna().all(axis=None)
    assert not rows.filter(regex="_best$|_tied$").any(axis=None) and pairs.table(own).empty


def test_methods_that_start_from_random_weights_beside_charts_are_named():
    trials = simulated_trials({"vae": 0.8, "mine": 0.7, "pca": 0.5})
    trials["start"] = np.where(trials.method == "vae", "chart", None)
    trials.loc[trials.method == "pca", "steps"] = np.nan
    (note,) = [note for note in leaderboard.notes(board(trials), results(trials)) if "random weights" in note]
    assert note.startswith("From random weights: mine; others start from the chart")
    trials["start"] = np.where(trials.method == "vae", "random", None)
    assert not any("random weights" in note for note in leaderboard.notes(board(trials), results(trials)))


@pytest.mark.parametrize("name", ["rank", "iqm", "pessimistic"])
def test_a_column_that_data_without_truth_do_not_have_cannot_be_chosen(name):
    trials = simulated_trials().assign(has_truth=False)
    trials[[name for name in SCORES if name != "objective"]] = np.nan
    with pytest.raises(UsageError, match=f"there is no column '{name}'"):
        leaderboard.check_columns(results(trials), ["objective", name])


def test_ties_are_of_scores_of_which_a_hundredth_is_known_to_be_little():
    trials = simulated_trials({"vae": 0.8, "ivae": 0.8, "pca": 0.8}, seeds=10)
    trials["recon_nmse"] = trials.method.map({"vae": 0.0044, "ivae": 0.0061, "pca": 0.0062})
    assert not board(trials).recon_nmse_tied.any()


def test_with_one_seed_nothing_is_called_a_tie():
    assert not board(simulated_trials(seeds=1)).mcc_spearman_tied.any()


def test_the_interquartile_mean_is_scipys_over_all_trials_of_a_method():
    trials = simulated_trials(seeds=5)
    rows = board(trials).set_index("label")
    own = trials[trials.method == "ivae"].mcc_spearman
    assert rows.iqm["ivae"] == pytest.approx(stats.trim_mean(own, 0.25))


def test_the_pessimistic_mean_counts_a_failure_as_the_lowest_floor_of_its_cell_and_seed():
    trials = fail(
        tiny(ivae=[0.5, 0.7, 0.7, 0.9], random=[0.2, 0.1, 0.3, 0.4], identity=[0.3, 0.3, 0.3, 0.3]),
        method="ivae",
        domains=2,
        seed=0,
    )
    rows = board(trials).set_index("label")
    assert rows.pessimistic["ivae"] == pytest.approx(((0.2 + 0.7) / 2 + 0.8) / 2)
    assert rows.pessimistic["random"] == rows.mcc_spearman["random"]
    alone = board(trials[trials.method == "ivae"])
    assert alone.pessimistic[0] == pytest.approx((0.7 / 2 + 0.8) / 2)
    # A board of a part takes the floors from all trials: those of another setting are floors all the same.
    settings = trials.assign(alpha=np.where(trials.method == "ivae", 1.0, np.nan))
    part = leaderboard.boards(results(settings), ["alpha"])["alpha=1"]
    assert part.pessimistic[0] == rows.pessimistic["ivae"]


def test_the_terminal_and_the_markdown_are_narrow_and_the_csv_has_everything(tmp_path):
    trials = simulated_trials()
    text = printed(trials)
    assert "pessimistic" not in text  # nothing failed
    leaderboard.write(results(trials), tmp_path)
    assert "NMSE" not in (tmp_path / "leaderboard.md").read_text()
    columns = set(pd.read_csv(tmp_path / "leaderboard.csv"))
    assert {
        *SCORES,
        "mcc_within_low",
        "r2_block_tied",
        "iqm",
        "pessimistic",
        "n_seeds",
        "n_failed",
        "train_s",
    } <= columns


@pytest.mark.parametrize("others", [{}, {"width": 16}, {"beta": 1 / 3, "steps": 123456, "learning_rate": 0.000123}])
def test_the_table_fits_a_terminal_of_80_columns_and_says_what_it_leaves_out(others):
    trials = simulated_trials()
    trials = fail(pd.concat([trials, trials.assign(**others)]), method="ivae", domains=2)
    body, _, below = printed(trials).partition("\n\n")
    assert max(map(len, body.splitlines())) <= 80
    assert "[" in body and "R²" not in body
    assert "Not shown, for want of room: MCC" in below and "MCC within, R² block; leaderboard.md has them" in below
    for name, value in others.items():  # a long name goes on in the next line
        assert f"{name}={value}" in body


def test_where_there_is_no_room_for_all_a_score_of_a_plug_in_stays():
    from bench.scores import Score

    mine = Score("mine", "mine", "a test", heading=("a heading of", "my own score"), tables=("terminal",))
    own = results(simulated_trials().assign(mine=0.25))
    own = dataclasses.replace(own, scores={**own.scores, "mine": mine})
    text = leaderboard.render(leaderboard.table(own), own)
    assert "my own score" in text and ".250" in text and "IQM" in text
    assert "Not shown, for want of room: MCC within, R² block; leaderboard.md has them" in text


def test_where_the_truth_is_unknown_the_reconstruction_error_is_shown():
    trials = simulated_trials().assign(**dict.fromkeys(SCORES[:-2], np.nan), has_truth=False)
    text = printed(trials)
    assert "NMSE" in text and "MCC\n" not in text and "IQM" not in text


def tiny(**scores):
    """Two cells and two seeds of each method: its scores in the order (cell 1, seed 0), (1, 1), (2, 0), (2, 1)."""
    trials = simulated_trials(dict.fromkeys(scores, 0.0), domains=[2, 3], violations=[0.0], seeds=2)
    trials[list(SCORES)] = np.repeat(np.concatenate(list(scores.values())), len(SCORES)).reshape(len(trials), -1)
    return trials


def test_the_numbers_of_a_tiny_table_are_those_computed_by_hand():
    row = board(tiny(ivae=[0.5, 0.7, 0.7, 0.9])).iloc[0]
    # Seeds have means .6 and .8: mean .7, standard error .1, and the 97.5 % quantile of t with one degree of freedom.
    # On the logit scale, whose slope at .7 is 1 / (.7 * .3): 12.7062 standard errors are 6.0506 from the logit of .7, .8473.
    assert row.mcc_spearman == pytest.approx(0.7)
    assert row.mcc_spearman_low == pytest.approx(1 / (1 + np.exp(6.0506 - 0.8473)), rel=1e-3)
    assert row.mcc_spearman_high == pytest.approx(1 / (1 + np.exp(-6.0506 - 0.8473)), rel=1e-3)
    assert (row.n_seeds, row.n_trials, row.n_ok, row.train_s) == (2, 4, 4, 2.0)


def test_with_a_failure_the_mean_is_over_the_remaining_trials_of_each_seed_and_marked_as_not_comparable():
    trials = fail(tiny(ivae=[0.5, 0.7, 0.7, 0.9], vae=[0.1, 0.1, 0.1, 0.1]), method="ivae", domains=2, seed=0)
    table = board(trials).set_index("label")
    assert table.loc["ivae", "mcc_spearman"] == pytest.approx((0.7 + 0.8) / 2)
    assert not table.loc["ivae", "comparable"] and table.loc["vae", "comparable"]


def test_trials_that_do_not_apply_are_counted_apart_from_failures():
    trials = simulated_trials()
    hit = (trials.method == "ivae") & (trials.domains == 2)
    trials.loc[hit, "status"] = "not-applicable"
    trials.loc[hit, list(SCORES)] = np.nan
    table = board(trials)
    row = table.set_index("label").loc["ivae"]
    assert (row.n_ok, row.n_failed, row.n_not_applicable) == (12, 0, 6)
    assert "ivae: not applicable to 6 of 18 trials." in printed(trials)


def test_every_trial_is_in_exactly_one_count_even_one_that_is_ok_without_a_score():
    trials = fail(simulated_trials(), method="ivae", seed=0)
    trials.loc[trials.method == "random", "mcc_spearman"] = np.nan
    table = board(trials)
    assert (table.n_ok + table.n_failed + table.n_not_applicable == table.n_trials).all()
    assert table.n_trials.sum() == len(trials)
    assert table.set_index("label").loc["random", ["n_failed", "reason"]].tolist() == [18, "no score"]


def test_the_most_common_reason_is_the_one_named():
    trials = simulated_trials({"ivae": 0.8})
    trials.loc[:2, ["status", "error"]] = ["failed", "rare"]
    trials.loc[3:9, ["status", "error"]] = ["failed", "Traceback\n  ...\nValueError: common"]
    assert board(trials).reason[0] == "ValueError: common"


def test_methods_with_equal_scores_share_a_rank():
    table = board(tiny(ivae=[0.5] * 4, vae=[0.5] * 4, **{"flow-vae": [0.4] * 4}))
    assert table["rank"].tolist() == [1, 1, 3]


def test_one_seed_is_shown_without_an_interval():
    text = printed(simulated_trials(seeds=1))
    assert "[" not in text and "over 1 data seed;" in text


def test_the_best_reconstruction_is_the_lowest():
    trials = simulated_trials({"ivae": 0.8, "vae": 0.7})
    trials["recon_nmse"] = np.where(trials.method == "ivae", 0.2, 0.1)
    table = board(trials)
    assert table.recon_nmse_best.tolist() == [False, True]
    assert table.mcc_spearman_best.tolist() == [True, False]


def test_special_characters_of_labels_are_escaped_for_latex():
    assert leaderboard.escape("a_b (p=50%, c=#1&2)") == r"a\_b (p=50\%, c=\#1\&2)"


def test_cells_without_a_score_say_why(tmp_path):
    trials = fail(simulated_trials(domains=[2, 3], violations=[0.0]), method="ivae", domains=2)
    trials = trials[~((trials.method == "synergy-vae") & (trials.domains == 3))]
    trials.loc[(trials.method == "random") & (trials.domains == 2), "status"] = "not-applicable"
    leaderboard.write(results(trials), tmp_path)
    by_cell = (tmp_path / "leaderboard.md").read_text().split("by cell")[1]
    entries = {line.split("|")[1].strip(): line for line in by_cell.splitlines() if line.startswith("|")}
    assert "failed" in entries["ivae"] and "not run" in entries["synergy-vae"] and "not applicable" in entries["random"]


def without_truth(trials):
    """The same trials of data without known latents: what training itself measures is all that there is."""
    compared = [name for name, score in DECLARED.items() if score.compute]
    trials = trials.assign(has_truth=False, **dict.fromkeys(compared, np.nan))
    fitted = trials.role == "method"
    return trials.assign(
        recon_nmse=np.where(fitted, 0.1, np.nan), objective=np.where(fitted, trials.seed - 5.0, np.nan)
    )


class TestWithoutTruth:
    def test_what_there_is_is_shown_without_ranks_and_what_has_no_score_is_named(self, tmp_path):
        own = results(without_truth(simulated_trials()))
        table = leaderboard.write(own, tmp_path)[""]
        text = leaderboard.render(table, own)
        assert set(table.label) == {"synergy-vae", "ivae"}
        assert "objective" in text and "NMSE" in text and "MCC" not in text and "\nrank" not in text
        assert "without ranks, since the true latents are not known" in text
        assert "have no score: identity, random, supervised." in text
        assert not table.objective_best.any() and not table.objective_tied.any()
        assert "MCC" not in (tmp_path / "leaderboard.md").read_text()
        assert "by cell" in (tmp_path / "leaderboard.md").read_text()

    def test_settings_of_one_method_stand_in_the_order_of_their_objective(self):
        trials = without_truth(simulated_trials())
        ivae = trials[trials.method == "ivae"]
        more = [ivae.assign(width=width, objective=value) for width, value in ((16, 2.0), (32, -1.0), (64, 0.5))]
        table = board(pd.concat([*more, trials[trials.method == "synergy-vae"].assign(width=8)], ignore_index=True))
        assert table.label.tolist() == ["ivae (width=32)", "ivae (width=64)", "ivae (width=16)", "synergy-vae"]

    def test_a_method_whose_trials_failed_is_listed(self):
        table = board(fail(without_truth(simulated_trials()), method="ivae")).set_index("label")
        assert table.loc["ivae", "n_failed"] == 18
