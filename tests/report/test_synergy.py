import dataclasses
import functools
import re

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wilcoxon

from bench.report import synergy
from bench.report.power import needed_seeds
from bench.report.texts import p_text
from bench.scores import statistics
from bench.scores.statistics import mean_interval
from tests.conftest import long
from tests.simulated import LADDERS, STRATA, facts, fail, ladder_trials, results, strata_trials


def table(trials, **options):
    return synergy.table(results(trials), **options)


def verdicts(trials, **known):
    own = results(trials, **known)
    return synergy.verdicts(own, synergy.table(own))


def verdict(trials, **known):
    (sentence,) = verdicts(trials, **known)
    return sentence


def test_effect_and_interaction_are_those_computed_by_hand():
    trials = ladder_trials(both=0.1, changes=0.02, cells=2)
    wide = trials.pivot(index="seed", columns=["method", "domains"], values="mcc_spearman")
    row = table(trials).iloc[1]
    assert row.domains == 3 and row.n_seeds == 10
    neither, changes, sparsity, both = (wide[name, 3] for name in LADDERS["VAE"])
    assert row.effect == pytest.approx(both.mean() - max(changes.mean(), sparsity.mean()))
    expected = mean_interval((both - changes - sparsity + neither).to_numpy()[:, None])
    assert row[["interaction", "interaction_low", "interaction_high"]].tolist() == pytest.approx(np.ravel(expected[:3]))
    lows = [mean_interval((both - other).to_numpy()[:, None]).low[0] for other in (changes, sparsity)]
    assert row.effect_low == pytest.approx(min(lows))
    logits = [np.log(score / (1 - score)) for score in (neither, changes, sparsity, both)]
    assert row.logit_interaction == pytest.approx((logits[3] - logits[2] - logits[1] + logits[0]).mean())


def test_the_last_row_of_a_ladder_is_the_mean_over_its_cells():
    rows = table(ladder_trials(both=0.1))
    own, overall = rows[rows.scope == "cell"], rows[rows.scope == "all"].iloc[0]
    for column in ("both", "changes", "over_changes", "over_sparsity", "interaction", "logit_interaction"):
        assert overall[column] == pytest.approx(own[column].mean())


def test_the_verdict_finds_a_synergy_that_is_there_and_says_where_it_is_largest():
    sentence = verdict(ladder_trials(both=[0.02, 0.1, 0.2, 0.02, 0.02, 0.02], noise=0.01))
    row = table(ladder_trials(both=[0.02, 0.1, 0.2, 0.02, 0.02, 0.02], noise=0.01)).iloc[-1]
    gain = f"{row.effect:.3f} MCC [{row.effect_low:.3f}, {row.effect_high:.3f}]".replace("0.", ".")
    assert sentence.startswith(
        f"VAE ladder: using both assumptions beats the better single one by {gain}, averaged over 6 cells; on its own in "
    )
    assert " of 6 cells, most at 4 domains, by ." in sentence
    assert ". synergy-vae against the better of flow-vae and sparse-vae: p " in sentence
    local = verdict(ladder_trials(both=[-0.05, 0.15, -0.05, -0.05, -0.05, -0.05], noise=0.01))
    assert local.startswith(
        "VAE ladder: using both assumptions beats the better single one in 1 of 6 cells, at 3 domains, by ."
    )
    assert "; averaged over 6 cells, there is no evidence of it, -." in local


def test_the_verdict_of_one_cell_says_which_it_is():
    sentence = verdict(ladder_trials(both=0.2, cells=1))
    assert re.match(
        r"VAE ladder: using both assumptions beats the better single one by \.\d+ MCC \[\.\d+, \.\d+\] at ", sentence
    )
    assert "cell on its own" not in sentence


def test_a_gain_over_one_assumption_alone_is_no_synergy():
    for parts in ({"changes": 0.2}, {"sparsity": 0.2}):
        sentence = verdict(ladder_trials(both=0.2, seed=3, **parts))
        assert sentence.startswith(f"VAE ladder: no evidence that {synergy.BEATS}: ")


def test_a_combination_that_harms_is_called_that():
    assert ": using both assumptions scores below the better single one: -.1" in verdict(ladder_trials(both=-0.1))


@pytest.mark.parametrize(
    ("seeds", "parts"),
    [pytest.param(3, {}, id="equal parts"), pytest.param(10, {"changes": -0.2}, id="one better part", marks=long)],
)
def test_where_there_is_no_effect_the_verdict_is_silent_in_19_of_20_studies(seeds, parts, monkeypatch):
    monkeypatch.setattr(statistics, "mean_interval", functools.partial(statistics.mean_interval, replicates=1000))
    sentences = [verdict(ladder_trials(seeds=seeds, seed=seed, **parts)) for seed in range(60)]
    n_claims = sum(f": {synergy.BEATS}" in sentence for sentence in sentences)
    assert n_claims <= 7  # 1 % of all series have more at a rate of 0.05


@pytest.mark.parametrize("parts", [{}, {"sparsity": 0.02}, {"sparsity": 0.2}], ids=["equal", "close", "far"])
def test_the_intervals_of_effect_and_interaction_cover(parts):
    """Three hundred independent cells of ten seeds each; see docs/statistics.md for why the effect's covers at least as often."""
    rows = table(ladder_trials(both=0.25, neither=-0.1, cells=300, **parts))[:-1]
    effect = 0.25 - parts.get("sparsity", 0)
    interaction = effect - 0.1
    assert np.mean((rows.effect_low <= effect) & (effect <= rows.effect_high)) > 0.92
    inside = (rows.interaction_low <= interaction) & (interaction <= rows.interaction_high)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.04)


def test_failed_trials_are_in_no_difference_and_counted():
    trials = fail(ladder_trials(both=0.1), method="sparse-vae", domains=2, seed=3)
    row = table(trials).iloc[0]
    assert (row.n_seeds, row.n_failed) == (9, 1)
    without = trials[~((trials.domains == 2) & (trials.seed == 3))]
    pd.testing.assert_series_equal(row[["effect", "effect_low"]], table(without).iloc[0][["effect", "effect_low"]])
    assert verdict(trials).endswith("10 data seeds; 1 trial that failed is in no difference.")


def test_what_cannot_be_judged_is_said_with_the_reason():
    trials = ladder_trials()
    assert "since sparse-vae is not in the run" in verdict(trials[trials.method != "sparse-vae"])
    assert "cannot be judged from 1 data seed." in verdict(trials[trials.seed == 0])
    other = trials[trials.method == "synergy-vae"].assign(alpha=1.0)
    assert "several settings of synergy-vae (alpha): choose one with --where" in verdict(pd.concat([trials, other]))
    assert verdicts(trials[trials.method == "vae"]) == []


def test_without_the_method_that_assumes_neither_there_is_an_effect_and_no_interaction():
    trials = ladder_trials(both=0.2)
    sentence = verdict(trials[trials.method != "vae"])
    assert f": {synergy.BEATS} by ." in sentence and "interaction" not in sentence


def test_a_field_that_all_methods_of_the_ladder_vary_makes_cells():
    trials = ladder_trials(both=0.2, cells=2)
    rows = table(pd.concat([trials, trials.assign(steps=300)]))
    assert rows.columns[2:4].tolist() == ["domains", "steps"] and len(rows) == 5


def test_what_is_not_asked_for_is_averaged_within_each_seed():
    rows = table(ladder_trials(both=0.2), by=[])
    assert (
        len(rows) == 2 and rows.effect[0] == pytest.approx(rows.effect[1]) and rows.effect_low[0] == rows.effect_low[1]
    )


def test_every_ladder_of_the_run_has_its_sentence_in_alphabetical_order(tmp_path):
    trials = pd.concat([ladder_trials(both=0.2, names=ladder) for ladder in LADDERS.values()], ignore_index=True)
    sentences = synergy.write(results(trials), tmp_path)
    assert [sentence.split()[0] for sentence in sentences] == ["flow", "GAN", "VAE"]
    text = (tmp_path / "synergy.md").read_text()
    assert all(sentence in text for sentence in sentences)
    assert "## GAN ladder: gan, domain-gan, sparse-gan, synergy-gan" in text
    assert len(pd.read_csv(tmp_path / "synergy.csv")) == 3 * 7


MINE = {"neither": "plain", "changes": "moving", "sparsity": "thin", "both": "mine"}


def plugin_facts(**corners):
    """What is known of methods where a plug-in has registered these `corners` of its own ladder."""
    methods, _ = facts()
    methods |= {
        name: dataclasses.replace(methods["pca"], role="method", ladder="Mine", corner=corner)
        for corner, name in corners.items()
    }
    return {"methods": methods}


def test_a_plug_ins_ladder_gets_its_verdict_as_ours_do():
    trials = ladder_trials(both=0.2, names=tuple(MINE.values()))
    sentence = verdict(trials, **plugin_facts(**MINE))
    ours = verdict(ladder_trials(both=0.2))
    for theirs, own in (("Mine", "VAE"), ("mine", "synergy-vae"), ("moving", "flow-vae"), ("thin", "sparse-vae")):
        sentence = sentence.replace(theirs, own, 1)
    assert sentence == ours and f": {synergy.BEATS} by" in ours


def test_a_ladder_with_a_corner_that_nobody_registered_says_so():
    trials = ladder_trials(both=0.2, names=tuple(MINE.values()))
    without = {corner: name for corner, name in MINE.items() if corner not in ("changes", "sparsity")}
    assert verdict(trials, **plugin_facts(**without)) == (
        "Mine ladder: synergy cannot be judged, since no method of it assumes changes alone or sparsity alone."
    )
    known = plugin_facts(**{corner: name for corner, name in MINE.items() if corner != "neither"})
    assert f"Mine ladder: {synergy.BEATS} by" in verdict(trials, **known)
    assert "interaction" not in verdict(trials, **known)


def test_two_methods_of_the_run_that_are_one_corner_are_said():
    trials = ladder_trials(both=0.2)
    twice = pd.concat([trials, trials[trials.method == "flow-vae"].assign(method="other")], ignore_index=True)
    methods, _ = facts()
    known = {"methods": methods | {"other": methods["flow-vae"]}}
    assert "since flow-vae and other both say that they assume changes: choose one with --where" in verdict(
        twice, **known
    )
    assert f"VAE ladder: {synergy.BEATS} by" in verdict(trials, **known)


# --- strata


def with_effects(**effects):
    """Trials of two numbers of domains in every stratum, in each of which the combination gains so much."""
    trials = strata_trials(ladder_trials(cells=2, noise=0.01))
    shift = np.repeat([*effects.values()], len(trials) // 3) * (trials.method == "synergy-vae")
    return trials.assign(mcc_spearman=trials.mcc_spearman + shift)


def test_every_stratum_has_a_row_of_the_means_over_its_cells_between_the_cells_and_all():
    trials = with_effects(none=0.2, strict=0.1, twins=-0.1)
    rows = table(fail(trials, method="vae", domains=2, violation=0.0, seed=1))
    assert rows.columns[:3].tolist() == ["ladder", "scope", "stratum"]
    assert rows.scope.tolist() == 6 * ["cell"] + 3 * ["stratum"] + ["all"]
    assert rows.stratum[6:9].tolist() == list(STRATA)
    for place, words in enumerate(STRATA):
        own, row = rows[(rows.scope == "cell") & (rows.stratum == words)], rows.iloc[6 + place]
        assert len(own) == 2 and row.n_failed == (1 if place == 0 else 0)
        for column in ("both", "over_changes", "over_sparsity"):
            assert row[column] == pytest.approx(own[column].mean())
        alone = table(trials[trials.violation.eq(STRATA[words][0]) & trials.twins.isna().eq(place < 2)]).iloc[-1]
        assert row[["effect", "effect_low"]].tolist() == pytest.approx(alone[["effect", "effect_low"]].tolist())
    for test in ("p", "p_wilcoxon"):
        own = rows[rows.scope == "stratum"]
        assert own[f"{test}_holm"].tolist() == pytest.approx(statistics.holm(own[test].to_numpy()).tolist())
    assert rows.claimed[6:9].tolist() == [True, True, False]


def test_every_stratum_has_its_sentence_before_that_of_all():
    sentences = verdicts(with_effects(none=0.2, strict=0.006, twins=-0.1))
    assert [sentence.split(":")[0] for sentence in sentences] == [
        *(f"VAE ladder, {words}" for words in STRATA),
        "VAE ladder",
    ]
    none, strict, twins, overall = sentences
    assert none.startswith(f"VAE ladder, no violation: {synergy.BEATS} by .196 MCC [") and "seeds" not in none
    assert (
        f": no evidence that {synergy.BEATS}: +." in strict
        and "corrected p" in strict
        and strict.endswith(" data seeds to show.")
    )
    assert ": using both assumptions scores below the better single one: -.1" in twins
    assert twins.endswith("; no number of data seeds would show an effect that is not above 0.")
    assert "averaged over 6 cells" in overall


def test_where_data_have_one_stratum_or_none_nothing_is_said_of_it():
    trials = ladder_trials(both=0.2)
    _, data = facts()
    known = {"datasets": data | {"gone": data["sparse-mixing"]}}  # of a plug-in that the report does not load
    gone = strata_trials(trials).assign(dataset="gone")
    for own in (trials, trials.assign(violation=0.5), gone):
        rows = synergy.table(results(own, **known))
        assert set(rows.scope) == {"cell", "all"} and "stratum" not in rows
        assert len(verdicts(own, **known)) == 1


def test_the_strata_are_in_the_files(tmp_path):
    synergy.write(results(with_effects(none=0.2, strict=0.1, twins=0.0)), tmp_path)
    text = (tmp_path / "synergy.md").read_text()
    assert all(f"| **{words}**" in text for words in STRATA)
    assert "| domains=2, twins=0.5, violation=0.5 " in text and "| domains=3, twins=none, violation=0 " in text


# --- tests and the number of seeds


def test_both_tests_are_those_of_the_harder_of_the_two_differences():
    trials = ladder_trials(both=0.03, changes=0.01, cells=1)
    wide = trials.pivot(index="seed", columns="method", values="mcc_spearman")
    row = table(trials).iloc[0]
    over = [wide["synergy-vae"] - wide[name] for name in ("flow-vae", "sparse-vae")]
    assert row.p_wilcoxon == pytest.approx(max(wilcoxon(each).pvalue for each in over))
    assert row.p == pytest.approx(max(mean_interval(each.to_numpy()[:, None]).p[0] for each in over))
    assert row.needed_seeds == max(needed_seeds(each.mean(), each.std()) for each in over)
    assert f"p {p_text(row.p)}, by Wilcoxon {p_text(row.p_wilcoxon)}" in verdict(trials)


def test_an_effect_that_is_not_above_0_has_a_p_of_1_by_both_tests():
    row = table(ladder_trials(both=0.1, changes=0.3, cells=1)).iloc[0]
    assert (row.p, row.p_wilcoxon, row.needed_seeds) == (1, 1, np.inf)


def test_no_evidence_ends_with_the_seeds_that_the_effect_would_take():
    sentence = verdict(ladder_trials(both=0.005))
    row = table(ladder_trials(both=0.005)).iloc[-1]
    assert np.isfinite(row.needed_seeds) and not row.claimed
    assert sentence.endswith(
        f"10 data seeds. An effect of this size takes about {row.needed_seeds:.0f} data seeds to show "
        "(80 % power, two-sided 5 %, paired t-test)."
    )
    assert "No number of data seeds would show an effect that is not above 0" in verdict(ladder_trials(both=-0.1))
    assert "to show" not in verdict(ladder_trials(both=0.2))


# --- other ladders on the same backbone


def with_ivae(level):
    trials = ladder_trials(both=0.2, cells=2)
    ivae = trials[trials.method == "flow-vae"].assign(method="ivae")
    return pd.concat([trials, ivae.assign(mcc_spearman=ivae.mcc_spearman + level)], ignore_index=True)


@pytest.mark.parametrize(
    ("level", "says", "by"),
    [
        (-0.1, "synergy-vae beats", ", by "),
        (0.15, "synergy-vae beats", ", by "),
        (0.2, "no evidence that synergy-vae beats", ": "),
        (0.4, "synergy-vae scores below", ": "),
    ],
)
def test_the_combination_is_compared_with_the_best_changes_only_method_of_any_ladder_on_its_backbone(level, says, by):
    trials = with_ivae(level)
    _, sentence = verdicts(trials)
    means = trials.groupby("method").mcc_spearman.mean()
    expected = means["synergy-vae"] - max(means["flow-vae"], means["ivae"])
    sign = "+" if by == ": " else ""
    number = f"{expected:{sign}.3f} MCC [".replace("0.", ".")
    start = f"VAE ladder: {says} the best method that assumes changes alone, of flow-vae and ivae{by}{number}"
    assert sentence.startswith(start)
    assert sentence.endswith(".") and "by Wilcoxon" in sentence


def test_without_another_such_method_or_with_several_settings_of_it_there_is_no_such_comparison():
    trials = with_ivae(0.1)
    assert len(verdicts(trials[trials.method != "ivae"])) == 1
    other = trials[trials.method == "ivae"].assign(steps=300)
    assert len(verdicts(pd.concat([trials, other], ignore_index=True))) == 1
    elsewhere = trials.assign(method=trials.method.replace("ivae", "domain-gan"))  # another backbone
    assert len(verdicts(elsewhere)) == 1


def test_starts_at_the_truth_are_in_no_verdict():
    trials = with_ivae(0.01).assign(start="chart")
    oracle = trials.assign(
        start="truth", role="oracle", mcc_spearman=0.99, trial_id="oracle-" + trials["trial_id"].astype(str)
    )
    both = pd.concat([trials, oracle], ignore_index=True)
    assert len(verdicts(trials)) > 1 and verdicts(both) == verdicts(trials)
    pd.testing.assert_frame_equal(table(both), table(trials))
