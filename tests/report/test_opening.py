import numpy as np
import pandas as pd
import pytest

from bench.report import leaderboard, opening, pairs, synergy
from tests.simulated import LADDERS, SCORES, fail, ladder_trials, results, simulated_trials


def sentences(trials):
    own = results(trials)
    return opening.sentences(own, leaderboard.table(own), pairs.table(own))


def test_it_says_who_is_best_by_how_much_over_the_best_floor_and_over_the_next():
    trials = simulated_trials()
    means = trials.groupby("method").mcc_spearman.mean()
    first = sentences(trials)[0]
    best = f"{means['synergy-vae']:.3f}"[1:]
    assert first.startswith(f"synergy-vae recovered the true latents best: MCC (Spearman) {best} [")
    over = f"{means['synergy-vae'] - means['identity']:.3f}"[1:]
    assert f"that is {over} above the best floor, identity." in first
    lead = f"{means['synergy-vae'] - means['ivae']:.3f}"[1:]
    assert f"It leads the next method, ivae, by {lead} [" in first and "which is significant (5 %)" in first


def test_a_lead_that_may_be_chance_is_said_to_be_not_significant():
    text = sentences(simulated_trials({"ivae": 0.8, "synergy-vae": 0.8001}))[0]
    assert "not significant (5 %)" in text and "floor" not in text


def test_a_method_that_is_behind_where_both_were_scored_is_not_called_the_best():
    """Its mean is the highest since it failed where the data are hard."""
    trials = simulated_trials({"ivae": 0.7, "synergy-vae": 0.8}, seeds=6)
    easy = trials.domains == 2
    trials.loc[easy, "mcc_spearman"] += 0.19
    trials.loc[(trials.method == "ivae") & ~easy, "status"] = "not-applicable"
    text = sentences(trials)[0]
    assert text.startswith("ivae has the highest mean, MCC (Spearman) .8") and "best" not in text
    assert "On the data sets that both have, the next method, synergy-vae, is not behind but ahead by .10" in text
    trials.loc[(trials.method == "synergy-vae") & easy, "status"] = "not-applicable"
    assert (
        "With the next, synergy-vae, it shares no data set, so that the two cannot be compared." in sentences(trials)[0]
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"resplits": True}, "; re-splits of one data set do not say"),
        ({"seed": 0}, "; so few data seeds do not say"),
    ],
)
def test_what_allows_no_test_is_not_called_significant(change, words):
    text = sentences(simulated_trials().assign(**change))[0]
    assert words in text and "significant" not in text


def test_a_method_that_is_below_the_best_floor_is_said_to_be_so():
    text = sentences(simulated_trials({"ivae": 0.5, "identity": 0.7}))[0]
    assert text.startswith("ivae, the only method with a score, has MCC (Spearman) .497 [")
    assert "below the best floor, identity" in text


def test_means_over_other_trials_are_marked():
    trials = fail(simulated_trials(), method="ivae", domains=3)
    assert leaderboard.MARK_MEANING in sentences(trials)[0]
    assert leaderboard.MARK_MEANING not in sentences(simulated_trials())[0]


def test_without_truth_no_method_is_called_best():
    trials = simulated_trials().assign(has_truth=False)
    trials[[name for name in SCORES if name != "objective"]] = np.nan
    assert sentences(trials) == [
        "No method can be called the best, since the true latents of these data are not known."
    ]


def test_where_no_method_has_a_score_nothing_is_said_of_the_best():
    assert sentences(fail(simulated_trials({"ivae": 0.8}), method="ivae")) == []


@pytest.mark.parametrize(
    ("both", "words"),
    [
        (
            [0.1, 0.1, 0, 0, 0, 0],
            "on average. At each of the 6 numbers of domains against the one that is better there, tested together: 2 (+.1",
        ),
        ([0.05] * 6, "beats the better single one (flow-vae or sparse-vae) by .0"),
        ([0.2, -0.05, -0.05, -0.05, -0.05, -0.05], "at 2 (+.2"),
        ([-0.1] * 6, "scores below the better single one (flow-vae or sparse-vae): -."),
        ([0.0] * 6, "on average, and none at any number of domains (2 to 7)."),
    ],
)
def test_whether_both_assumptions_beat_the_better_one_and_at_which_domains(both, words):
    trials = ladder_trials(both=both)
    text = sentences(trials)[1]
    assert "changes between domains and sparse mixing (synergy-vae)" in text and words in text
    rows = synergy.table(results(trials))
    claimed = bool(rows.loc[rows["scope"] == synergy.ALL, "claimed"].iloc[0])
    assert ("on average. At each of" in text) == claimed
    assert "too few" not in text


def test_a_claim_of_three_data_seeds_is_called_a_first_impression():
    trials = ladder_trials(both=0.2, seeds=3)
    first, second = sentences(trials)
    assert "significant (5 %, corrected for 6 pairs of methods), though 3 data seeds are too few to rest on" in first
    assert "3 data seeds are a first impression, and too few to rest on." in second
    assert any(
        "3 data seeds, too few to rest on" in verdict
        for verdict in synergy.verdicts(results(trials), synergy.table(results(trials)))
    )


def test_of_a_single_cell_no_numbers_of_domains_are_named():
    text = sentences(ladder_trials(both=0.1, cells=1))[1]
    assert "MCC [" in text and text.endswith("].") and "average" not in text
    assert sentences(ladder_trials(cells=1, seeds=1))[1:] == []


def test_of_several_ladders_the_one_with_the_best_method_of_both_speaks():
    parts = [ladder_trials(both=level, names=LADDERS[name]) for name, level in (("VAE", 0.0), ("GAN", 0.1))]
    texts = sentences(pd.concat(parts))
    assert len(texts) == 2 and "synergy-gan" in texts[1] and "synergy-vae" not in texts[1]
    assert texts[1].endswith("Of 2 such sets of methods, this is the one that scores best.")
