import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest

from bench.report import choices, leaderboard
from bench.report.figures.looks import looks
from tests.simulated import SCORES, fail, ladder_trials, results, simulated_trials, strata_trials


@pytest.fixture(autouse=True)
def without_vega(monkeypatch):
    """The script that draws is no matter of the numbers, and takes seconds to make."""
    monkeypatch.setattr(choices, "script", lambda: "")


def offered(trials):
    own = results(trials)
    return choices.offered(own, leaderboard.table(own))


def different(trials):
    """The trials with other numbers in each score."""
    rng = np.random.default_rng(1)
    return trials.assign(**{name: trials[name] * rng.uniform(0.8, 1, len(trials)) for name in SCORES})


def places(numbers):
    """(label, level of each dial in words, None where it is left open) -> (n_ok, n_trials, numbers)."""
    found = {}
    for method, levels, n_ok, n_trials, means in numbers["rows"]:
        words = [None if at is None else d["levels"][at] for at, d in zip(levels, numbers["dials"], strict=True)]
        found[(numbers["methods"][method]["label"], *words)] = n_ok, n_trials, means
    assert len(found) == len(numbers["rows"])  # each place once
    return found


def test_every_number_is_that_of_the_leaderboard_of_the_trials_that_are_chosen():
    trials = fail(different(simulated_trials()), method="ivae", domains=3, seed=0)
    numbers = offered(trials)["numbers"]
    assert [dial["word"] for dial in numbers["dials"]] == ["Number of domains", "Violation of structural sparsity"]
    found, names = places(numbers), [score["name"] for score in numbers["scores"]]
    scores = [name for name, score in results(trials).shown().items() if " ".join(score.heading).strip() in names]
    assert len(found) == 5 * (1 + 3) * (1 + 2)
    for domains in (None, 2, 3, 4):
        for violation in (None, 0.0, 0.5):
            kept = np.ones(len(trials), bool)
            for field, value in (("domains", domains), ("violation", violation)):
                kept &= value is None or trials[field].eq(value)
            board = leaderboard.table(results(trials[kept]))
            where = [None if value is None else f"{value:g}" for value in (domains, violation)]
            for row in board.to_dict("records"):
                n_ok, n_trials, means = found[(row["label"], *where)]
                assert (n_ok, n_trials) == (row["n_ok"], row["n_trials"])
                expected = [row[name + end] for name in scores for end in ("", "_low", "_high")]
                assert [np.nan if mean is None else mean for mean in means] == pytest.approx(
                    expected, abs=0.000501, nan_ok=True
                )


def test_a_score_is_offered_with_its_direction_and_its_meaning_and_the_headline_first():
    numbers = offered(different(simulated_trials()))["numbers"]
    by_name = {score["name"]: score for score in numbers["scores"]}
    assert numbers["scores"][numbers["first"]]["name"] == "MCC Spearman"
    assert by_name["MCC Pearson"]["about"].startswith("Higher is better. ")
    assert by_name["NMSE"]["about"].startswith("Lower is better. ")
    assert by_name["R² block"]["axis"] == "R² by block, test"


def test_a_stratum_takes_the_place_of_the_dials_that_it_sums_up():
    numbers = offered(strata_trials(ladder_trials(cells=2, seeds=3)))["numbers"]
    assert [dial["word"] for dial in numbers["dials"]] == ["Number of domains", "Stratum of the data"]
    assert ("vae", "2", "twins 0.5") in places(numbers)
    assert [dial["joined"] for dial in numbers["dials"]] == [True, False]


def test_a_page_holds_no_more_means_than_it_may_and_says_of_how_many_dials_they_are(monkeypatch):
    trials = simulated_trials()
    n_scores = len(offered(trials)["numbers"]["scores"])
    of_dials = {0: 5, 1: 5 * (1 + 3 + 2), 2: 5 * (1 + 3 + 2 + 6)}  # labels times places, on so many dials at once
    for n_dials, n_places in of_dials.items():
        monkeypatch.setattr(choices, "MOST", n_scores * n_places)
        numbers = offered(trials)["numbers"]
        assert numbers["most_dials"] == n_dials and len(numbers["rows"]) == n_places
        assert len(numbers["dials"]) == (2 if n_dials else 0)
    monkeypatch.setattr(choices, "MOST", n_scores * 5 - 1)
    assert offered(trials) is None


def test_of_one_cell_one_method_and_one_seed_there_is_a_mean_without_interval():
    trials = simulated_trials({"ivae": 0.8}, domains=[2], violations=[0.0], seeds=1)
    numbers = offered(trials)["numbers"]
    (row,) = numbers["rows"]
    assert numbers["dials"] == [] and row[:4] == [0, [], 1, 1]
    assert row[4][:3] == [round(trials.mcc_spearman[0], 3), None, None]


def test_where_no_trial_has_a_score_nothing_is_offered():
    assert offered(fail(simulated_trials({"ivae": 0.8}), method="ivae")) is None


def test_of_re_splits_the_caption_says_that_bars_are_no_intervals():
    assert "spread over re-splits" in offered(simulated_trials().assign(resplits=True))["caption"]
    assert "95 % Student-t intervals" in offered(simulated_trials())["caption"]


def test_of_data_without_truth_a_score_says_what_it_cannot_tell():
    trials = simulated_trials().assign(has_truth=False)
    trials[[name for name in SCORES if name not in ("objective", "recon_nmse")]] = np.nan
    about = {score["name"]: score["about"] for score in offered(trials)["numbers"]["scores"]}
    assert "compares no two methods" in about["objective"]


def test_of_many_methods_the_best_are_ticked_and_so_are_floors_and_ceiling_but_no_oracle():
    level = {f"method-{n}": 0.4 + 0.02 * n for n in range(12)} | {"supervised": 0.99, "random": 0.3}
    level |= {"synergy-vae": 0.95}
    trials = simulated_trials(level, domains=[2], violations=[0.0])
    trials.loc[trials.method == "synergy-vae", ["role", "start"]] = ["oracle", "truth"]
    methods = offered(trials)["numbers"]["methods"]
    ticked = {method["label"] for method in methods if method["ticked"]}
    assert ticked == {*(f"method-{n}" for n in range(5, 12)), "supervised", "random"}


def test_a_method_has_the_colour_and_the_marker_of_every_other_figure():
    trials = simulated_trials({"ivae": 0.8, "synergy-vae": 0.9, "my-method": 0.7, "random": 0.4})
    own = looks(results(trials))
    for method in offered(trials)["numbers"]["methods"]:
        look = own[method["label"]]
        assert method["colour"] == look.colour
        numbers = np.array(re.findall(r"-?\d+\.\d+", method["shape"]), float).reshape(-1, 2) / [2, -2]
        (line,) = plt.figure().add_subplot().plot([0], [0], marker=look.marker)
        marker = line._marker
        drawn = marker.get_path().transformed(marker.get_transform())
        assert numbers.min(axis=0) == pytest.approx(drawn.get_extents().min, abs=0.02)
        assert numbers.max(axis=0) == pytest.approx(drawn.get_extents().max, abs=0.02)
    plt.close("all")


def test_all_that_is_offered_is_strict_json():
    trials = fail(simulated_trials(), method="ivae")
    text = json.dumps(offered(trials)["numbers"], allow_nan=False)
    assert "NaN" not in text
