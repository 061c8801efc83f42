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
    assert table.index.tolist() == ["both", "none"]
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
    assert table[table.label == "vae"].n_latents.tolist() == [12, 12]
    trials["promised_both"] = None
    assert recovery.table(results(trials)).empty
    assert recovery.table(results(simulated_trials())).empty


def test_the_files_say_what_each_promise_means_and_count_latents(tmp_path):
    trials = promised(simulated_trials(), ["both", "none"], lambda row: [0.95, 0.2])
    table = recovery.write(results(trials), tmp_path)
    text = (tmp_path / "recovery.md").read_text()
    assert "**both** (18 latents): promised only by sparsity and changes together" in text
    assert "| .950 [.950, .950] \\| 100 %" in text and "**none** (18 latents): by no condition" in text
    assert len(pd.read_csv(tmp_path / "recovery.csv")) == len(table) == 10
    assert table.role.tolist()[-4:] == ["floor"] * 4
    recovery.write(results(simulated_trials()), tmp_path / "empty")
    assert not (tmp_path / "empty").exists()
