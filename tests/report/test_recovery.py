import numpy as np
import pandas as pd
import pytest

from bench.report import recovery
from bench.scores.statistics import mean_interval
from datasets.oracle import NO, NOT_COVERED, PROMISES, TIE, YES
from tests.simulated import fail, results, simulated_trials

# promised_sparsity, promised_independence, promised_changes, promised_both
KINDS = {
    "sparsity, changes": (YES, YES, YES, YES),
    "sparsity": (YES, YES, NO, YES),
    "changes": (NO, NO, YES, YES),
    "sparsity, independence": (NO, YES, NO, YES),
    "both": (NO, NO, NO, YES),
    "tie": (NO, TIE, NO, TIE),
    "none": (NO, NO, NO, NO),
    "not covered": (NO, NOT_COVERED, NO, NOT_COVERED),
}


def promised(trials, kinds, scores):
    """The same trials, each with one latent of every of the `kinds`, which score so much (a function of the row)."""
    verdicts = {name: [KINDS[kind][place] for kind in kinds] for place, name in enumerate(recovery.VERDICTS)}
    trials = trials.assign(**{name: [verdict] * len(trials) for name, verdict in verdicts.items()})
    per_latent = [scores(row) for row in trials.itertuples()]
    return trials.assign(mcc_per_latent=pd.Series(per_latent, index=trials.index))


def test_the_verdicts_are_the_columns_of_the_oracle():
    assert set(recovery.VERDICTS) == set(PROMISES)


def test_every_latent_is_in_the_one_promise_that_fits():
    trials = promised(simulated_trials(seeds=1), list(KINDS), lambda row: [0.5] * len(KINDS))
    rows = recovery.latents(results(trials))
    assert len(rows) == len(trials) * len(KINDS)
    assert rows.promise.tolist() == list(KINDS) * len(trials) and list(KINDS) == list(recovery.PROMISES)


def test_scores_by_promise_are_means_over_data_seeds_of_means_over_latents():
    trials = promised(
        simulated_trials({"ivae": 0.8}, domains=[2, 3], violations=[0.0], seeds=4),
        ["both", "both", "none"],
        lambda row: [0.95, 0.9 + 0.01 * row.seed, 0.1 * row.domains],
    )
    table = recovery.table(results(trials)).set_index("promise")
    assert table.index.tolist() == ["both", "none"] and set(table.data) == {""} and table.gain.isna().all()
    assert table.loc["both", ["n_seeds", "n_trials", "n_latents"]].tolist() == [4, 8, 16]
    seeds = np.array([[(0.95 + 0.9 + 0.01 * seed) / 2] for seed in range(4)])
    expected = np.ravel(mean_interval(seeds, bounds=(0, 1))[:3])
    assert table.loc["both", ["score", "score_low", "score_high"]].tolist() == pytest.approx(expected)
    assert table.loc["both", "recovered"] == (8 + 2 * 3) / 16
    assert table.loc["none", "score"] == pytest.approx(0.25)


def test_failed_trials_and_unknown_truths_have_no_latents():
    trials = fail(simulated_trials({"ivae": 0.8, "vae": 0.7}), method="vae", seed=1)
    trials = promised(trials, ["both", "none"], lambda row: [0.9, 0.2] if row.status == "ok" else None)
    table = recovery.table(results(trials))
    assert table[table.label == "vae"].n_latents.tolist() == 4 * [6]  # of two kinds of data
    trials["promised_both"] = None
    assert recovery.table(results(trials)).empty
    assert recovery.table(results(simulated_trials())).empty


def test_the_files_say_what_each_promise_means_and_count_latents(tmp_path):
    trials = promised(simulated_trials(), ["both", "none"], lambda row: [0.95, 0.2])
    table = recovery.write(results(trials), tmp_path)
    text = (tmp_path / "recovery.md").read_text()
    assert "**both** (18 latents): promised only by sparsity and changes together" in text
    assert "| +.000 [.000, .000] \\| .950 \\| 100 %" in text and "**none** (18 latents): by no condition" in text
    assert "## no violation\n" in text and "## strict shadows 0.5\n" in text
    assert "| ivae        | changes, independence in each domain " in text
    assert (
        "| **+.000 [.000, .000] \\| .950 \\| 100 %** | +.000" in text
    )  # what synergy-vae is promised, and what nobody is
    assert len(pd.read_csv(tmp_path / "recovery.csv")) == len(table) == 20
    assert table.role.tolist()[-8:] == ["floor"] * 8
    recovery.write(results(simulated_trials()), tmp_path / "empty")
    assert not (tmp_path / "empty").exists()


def test_the_gain_is_over_the_floor_that_is_best_on_the_latents_of_the_same_cell_and_promise():
    """Of two floors one is better on latents of one promise, and in one cell; each is so on the mean of its latents alone."""
    levels = {"ivae": 0.8, "identity": 0.7, "random": 0.4, "supervised": 0.99}
    scores = {  # of latents "both", "both", "none" with 2 and with 3 domains
        "ivae": ([0.9, 0.8, 0.5], [0.9, 0.8, 0.6]),
        "identity": ([0.6, 0.8, 0.1], [0.1, 0.1, 0.1]),
        "random": ([0.9, 0.3, 0.3], [0.2, 0.4, 0.0]),
        "supervised": ([1.0, 1.0, 1.0], [1.0, 1.0, 1.0]),
    }
    trials = promised(
        simulated_trials(levels, domains=[2, 3], violations=[0.0]),
        ["both", "both", "none"],
        lambda row: [0.001 * row.seed + score for score in scores[row.method][row.domains - 2]],
    )
    rows = recovery.latents(results(trials)).merge(trials[["trial_id", "domains"]])
    expected = {2: [0.9 - 0.6, 0.8 - 0.8, 0.5 - 0.3], 3: [0.9 - 0.2, 0.8 - 0.4, 0.6 - 0.1]}
    for domains, gains in expected.items():
        own = rows[(rows.label == "ivae") & (rows.domains == domains)]
        for _, seed in own.groupby("seed"):  # floors of the same data seed
            assert seed.gain.tolist() == pytest.approx(gains)
    table = recovery.table(results(trials)).set_index(["label", "promise"])
    assert table.gain["ivae", "both"] == pytest.approx((0.3 + 0.0 + 0.7 + 0.4) / 4)
    lost = recovery.latents(results(fail(trials, method="random", domains=2, seed=0)))
    is_lost = lost.gain.isna()
    assert set(lost[is_lost].promise) == {"none"} and set(lost[is_lost].seed) == {0}  # whose best floor it is


def test_latents_are_averaged_over_the_numbers_of_domains_and_over_nothing_else_that_varies():
    trials = promised(simulated_trials({"ivae": 0.8}, seeds=2), ["both"], lambda row: [0.5 + 0.5 * row.violation])
    other = trials.assign(n_latents=2, trial_id="other " + trials.trial_id)
    table = recovery.table(results(pd.concat([trials, other], ignore_index=True)))
    assert table.data.tolist() == [
        "no violation, n_latents=2",
        "no violation, n_latents=4",
        "strict shadows 0.5, n_latents=2",
        "strict shadows 0.5, n_latents=4",
    ]
    assert table.score.tolist() == [0.5, 0.5, 0.75, 0.75] and set(table.n_trials) == {6}


@pytest.mark.parametrize(
    ("name", "words", "promises"),
    [
        ("vae", "independence over all domains", []),
        ("sparse-vae", "sparsity, independence over all domains", []),
        ("sparse-dependent-vae", "sparsity", ["sparsity, changes", "sparsity"]),
        ("ivae", "changes, independence in each domain", ["sparsity, changes", "changes"]),
        ("synergy-vae", "changes, sparsity, independence in each domain", list(KINDS)[:5]),
    ],
)
def test_a_method_is_promised_what_its_own_assumptions_suffice_for(name, words, promises):
    trials = promised(simulated_trials({name: 0.8}), list(KINDS), lambda row: [0.5] * len(KINDS)).assign(change_rank=2)
    table = recovery.table(results(trials))
    assert set(table.assumes) == {words}
    assert set(table[table.promised == 1].promise) == set(promises)
    assert name == "vae" or table.promised.isin([0, 1]).all()


def test_sparsity_and_independence_over_all_domains_suffice_only_where_the_domains_are_alike():
    trials = promised(simulated_trials({"sparse-vae": 0.8}), list(KINDS), lambda row: [0.5] * len(KINDS))
    alike = recovery.table(results(trials.assign(change_rank=0)))
    assert set(alike[alike.promised == 1].promise) == {"sparsity, changes", "sparsity", "sparsity, independence"}
    assert recovery.table(results(trials)).promised.isna().all()  # an early run did not say
