import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from bench import figures
from bench.figures import comparisons, latents, maps, page
from methods import methods
from tests.simulated import DATASET_FIELDS, METHOD_FIELDS, fail, ladder_trials, simulated_trials

TEN = (
    *("vae", "sparse-vae", "ivae", "flow-vae", "synergy-vae"),
    *("supervised", "fastica", "pca", "identity", "random"),
)


def representations(trials):
    rng = np.random.default_rng(0)
    z, domains = rng.normal(size=(100, 3)), rng.integers(0, 3, 100)
    support = rng.random((5, 3)) < 0.5
    found = {
        name: {"z": z, "z_hat": z[:, ::-1] + 0.1 * rng.normal(size=z.shape), "domains": domains}
        for name in trials.method.unique()
    }
    for name in set(found) & {"vae", "ivae", "synergy-vae"}:  # those with a decoder
        found[name] |= {"support": support, "strength": (support * 0.5)[:, ::-1]}
    return found


def draw(trials, folder):
    return figures.draw_all(trials, METHOD_FIELDS, DATASET_FIELDS, representations(trials), folder, "data seed 7")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return draw(simulated_trials(), tmp_path_factory.mktemp("figures"))


def test_every_figure_has_pdf_png_numbers_and_caption(paths):
    names = (
        "score_lines",
        "phase_diagram",
        "recovered_latents",
        "recovered_support",
        "performance_profiles",
        "cost_score",
    )
    assert {path.name for path in paths} == {f"{n}.{kind}" for n in names for kind in page.FORMATS}
    assert all(path.stat().st_size > 0 for path in paths)


def test_pdf_fonts_are_embedded_truetype(paths):
    for path in paths:
        if path.suffix == ".pdf":
            content = path.read_bytes()
            assert b"/FontFile2" in content and b"/Type3" not in content


def test_a_figure_is_as_wide_as_the_page_at_300_dots_per_inch(paths):
    from PIL import Image

    for path in paths:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert abs(image.width / 300 - figures.WIDTH) < 0.02
                assert image.height / 300 <= page.MAX_HEIGHT + 0.02


def test_the_numbers_beside_a_figure_are_the_means_of_its_cells(paths):
    trials, folder = simulated_trials(), paths[0].parent
    for name in ("score_lines", "phase_diagram"):
        rows = pd.read_csv(folder / f"{name}.csv").set_index(["label", "domains", "violation"])
        expected = trials.groupby(["method", "domains", "violation"]).mcc_spearman.mean()
        assert len(rows) == len(expected)
        for key, value in expected.items():
            assert rows.loc[key, "mcc_spearman"] == pytest.approx(value)


def test_captions_state_seeds_split_interval_and_failures(tmp_path):
    trials = fail(simulated_trials(), method="ivae", domains=3, seed=0)
    figures.score_lines(trials, METHOD_FIELDS, DATASET_FIELDS, tmp_path)
    caption = " ".join((tmp_path / "score_lines.txt").read_text().split())
    assert all(words in caption for words in ("2 to 3 data seeds", "test split", "95 %", "2 of them failed"))


def test_the_caption_of_the_recovered_latents_says_of_which_seed_they_are(paths):
    caption = next(path for path in paths if path.name == "recovered_latents.txt").read_text()
    assert "one cell (data seed 7)" in " ".join(caption.split())


def test_every_registered_method_has_a_look_of_its_own():
    looks = [figures.style(entry.name, entry.cls.role) for entry in methods]
    assert len({look.colour for look in looks}) == len(looks)
    methods_only = [figures.style(entry.name) for entry in methods if entry.cls.role == "method"]
    assert len({(look.marker, look.line) for look in methods_only}) == len(methods_only)


def test_a_methods_look_does_not_depend_on_who_else_is_drawn():
    alone = simulated_trials({"synergy-vae": 0.9, "my-method": 0.8})
    crowd = simulated_trials({"my-method": 0.8, "ivae": 0.8, "vae": 0.5, "synergy-vae": 0.9, "other": 0.1})
    for name in ("synergy-vae", "my-method"):
        assert figures.styles(alone, METHOD_FIELDS)[name] == figures.styles(crowd, METHOD_FIELDS)[name]


def test_the_colours_of_the_ladder_differ_in_grey_and_for_the_colour_blind():
    names = ("vae", "sparse-vae", "ivae", "flow-vae", "synergy-vae")
    rgb = {name: np.array(to_rgb(figures.style(name).colour)) for name in names}
    deuteranopia = np.array(
        [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]
    )  # Machado et al. 2009
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            assert np.abs(deuteranopia @ (rgb[a] - rgb[b])).max() > 0.1


def test_no_spare_colour_or_marker_belongs_to_a_known_method():
    known = page.KNOWN.values()
    spare = {colour.lower() for colours in page.SPARE_COLOURS.values() for colour in colours}
    assert not spare & {look.colour.lower() for look in known}
    assert not set(page.SPARE_MARKERS) & {look.marker for look in known}


def test_variants_of_one_method_differ_in_colour_marker_and_line():
    trials = simulated_trials({"synergy-vae": 0.9})
    variants = pd.concat([trials.assign(alpha=alpha) for alpha in (0.03, 0.1, 0.3, 1.0)], ignore_index=True)
    looks = figures.styles(variants, METHOD_FIELDS)
    assert list(looks) == [f"synergy-vae (alpha={alpha})" for alpha in ("0.03", "0.1", "0.3", "1")]
    for channel in zip(*looks.values(), strict=True):
        assert len(set(channel)) == 4


def lines_of(axes):
    """The drawn lines by colour, without markers and error bars."""
    return {line.get_color(): line.get_ydata() for line in axes.lines if line.get_linestyle() != "None"}


def test_the_same_colour_stands_for_a_method_in_both_forms_of_the_score_figure(tmp_path, monkeypatch):
    drawn = captured(monkeypatch)
    for domains in ([2, 3], [2]):
        figures.score_lines(
            simulated_trials(domains=domains, violations=[0.0]), METHOD_FIELDS, DATASET_FIELDS, tmp_path
        )
    lines, listed = (figure.axes[0] for figure in drawn)
    colours = [figures.style(name).colour for name in ("ivae", "synergy-vae", "supervised", "identity", "random")]
    assert set(lines_of(lines)) == set(colours)
    assert [bars.get_color()[0].tolist()[:3] for bars in listed.collections] == [list(to_rgb(c)) for c in colours]


def captured(monkeypatch):
    """The figures about to be saved, as they come."""
    drawn = []
    monkeypatch.setattr(page, "save", lambda figure, *rest: drawn.append(figure) or [])
    return drawn


def test_a_line_has_a_gap_and_a_cross_where_all_trials_failed_and_an_open_marker_where_some_did(tmp_path, monkeypatch):
    trials = fail(simulated_trials({"ivae": 0.8}, violations=[0.0], domains=(2, 3, 4, 10)), domains=3)
    trials = fail(trials, domains=4, seed=0)
    drawn = captured(monkeypatch)
    figures.score_lines(trials, METHOD_FIELDS, DATASET_FIELDS, tmp_path)
    axes, colour = drawn[0].axes[0], figures.style("ivae").colour
    assert np.isnan(lines_of(axes)[colour]).tolist() == [False, True, False, False]
    open_markers = [line.get_xydata() for line in axes.lines if line.get_markerfacecolor() == "white"]
    crosses = [line.get_xydata() for line in axes.lines if line.get_marker() == "x"]
    assert [x for points in open_markers for x, y in points if not np.isnan(y)] == [4.0]
    assert [x for points in crosses for x, y in points] == [3.0]
    assert next(line.get_xdata() for line in axes.lines if line.get_linestyle() != "None").tolist() == [2, 3, 4, 10]


def test_heat_maps_hatch_the_cells_with_failures_and_no_others(tmp_path, monkeypatch):
    trials = fail(simulated_trials(), method="ivae", domains=3, violation=0.5, seed=1)
    drawn = captured(monkeypatch)
    figures.phase_diagram(trials, METHOD_FIELDS, DATASET_FIELDS, tmp_path)
    hatched = {
        axes.get_title(): [patch.get_xy() for patch in axes.patches if patch.get_hatch()] for axes in drawn[0].axes
    }
    assert hatched.pop("ivae") == [(2.5, 0.25)]  # cells end halfway between two values
    assert not any(hatched.values())


@pytest.mark.parametrize("dial", ["n_samples", "domains"])
def test_the_dial_that_varies_becomes_the_horizontal_axis(dial, tmp_path, monkeypatch):
    trials = simulated_trials({"ivae": 0.8}, domains=[2], violations=[0.0])
    trials = pd.concat([trials.assign(**{dial: value}) for value in (100, 1000, 10000)], ignore_index=True)
    drawn = captured(monkeypatch)
    figures.score_lines(trials, METHOD_FIELDS, ["domains", "violation", "n_samples"], tmp_path)
    assert drawn[0].axes[0].get_xlabel() == page.WORDS[dial]
    assert drawn[0].axes[0].get_xticks().tolist() == [100, 1000, 10000]


@pytest.mark.parametrize("n_methods", [1, 5, 10])
@pytest.mark.parametrize("n_violations", [1, 2, 5])
def test_heat_maps_of_up_to_ten_methods_and_nine_numbers_of_domains_have_room_for_their_values(n_methods, n_violations):
    n_columns, width, height = maps._map_shape(n_methods, 9, n_violations)
    assert width >= maps.MIN_CELL[0] and height >= maps.MIN_CELL[1]
    assert n_columns <= n_methods


@pytest.mark.parametrize(
    "trials",
    [
        fail(simulated_trials(dict.fromkeys(TEN, 0.8), domains=range(2, 11), seeds=2), method="vae", domains=2, seed=0),
        simulated_trials(domains=[9], violations=[0.0]),
        simulated_trials({"ivae": 0.8}),
        simulated_trials({"ivae": 0.8}, domains=range(10000, 10025), seeds=2),
        simulated_trials(seeds=1),
        simulated_trials(domains=[2, 9], violations=[0.0, 0.25, 0.5, 0.75, 1.0], seeds=2),
        fail(simulated_trials(), method="ivae"),
        simulated_trials().assign(status="failed", mcc_spearman=np.nan, error="all of them"),
    ],
    ids=[
        "full",
        "one cell",
        "one method",
        "many wide ticks",
        "one seed",
        "five panels",
        "a method that failed",
        "nothing that is ok",
    ],
)
def test_runs_of_any_shape_fit_the_page_without_a_warning(trials, tmp_path, monkeypatch, recwarn):
    drawn = captured(monkeypatch)
    draw(trials, tmp_path)
    for figure in drawn:
        figure.draw_without_rendering()
        used, page = figure.get_tightbbox(), figure.get_size_inches()
        assert min(used.x0, used.y0) > -0.01 and used.x1 < page[0] + 0.01 and used.y1 < page[1] + 0.01
        for axes in figure.axes:
            labels = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()]
            assert all(left.x1 < right.x0 for left, right in itertools.pairwise(labels))
    assert not [str(w.message) for w in recwarn if "jit" not in str(w.message)]


def test_a_matched_estimate_is_aligned_in_order_and_sign():
    z = np.random.default_rng(0).normal(size=(200, 2))
    (first, r1), (second, r2) = latents._matched(z, np.column_stack([-np.exp(z[:, 1]), z[:, 0] ** 3]))
    assert r1 == pytest.approx(1) and r2 == pytest.approx(1)
    assert np.corrcoef(first, z[:, 0])[0, 1] > 0.5 and np.corrcoef(second, z[:, 1])[0, 1] > 0.5


def test_a_latent_without_a_match_and_a_constant_estimate_score_zero():
    z = np.random.default_rng(0).normal(size=(200, 3))
    scores = [spearman for _, spearman in latents._matched(z, np.column_stack([z[:, 1], np.zeros(200)]))]
    assert sorted(scores) == [0, 0, pytest.approx(1)] and scores[1] == pytest.approx(1)


def test_inputs_of_the_latents_figure_are_not_changed(tmp_path, monkeypatch):
    captured(monkeypatch)
    trials = simulated_trials({"ivae": 0.8})
    kept = representations(trials)
    before = {name: values.copy() for name, values in kept["ivae"].items()}
    figures.recovered_latents(kept, trials, METHOD_FIELDS, tmp_path)
    figures.recovered_support(kept, trials, METHOD_FIELDS, tmp_path)
    for name, values in kept["ivae"].items():
        np.testing.assert_array_equal(before[name], values)


def test_the_recovered_support_stands_in_the_columns_of_the_matched_latents(tmp_path):
    trials = simulated_trials({"ivae": 0.8})
    figures.recovered_support(representations(trials), trials, METHOD_FIELDS, tmp_path)
    edges = pd.read_csv(tmp_path / "recovered_support.csv")
    own = edges[edges.label == "ivae"]
    assert own.true.any() and not own.true.all()
    np.testing.assert_allclose(own.strength, 0.5 * own.true)  # the estimates came in another order


def test_where_no_decoder_or_only_a_full_support_is_known_no_support_is_drawn(tmp_path):
    trials = simulated_trials({"ivae": 0.8})
    kept = representations(trials)
    full = {"ivae": kept["ivae"] | {"support": np.ones((5, 3), bool)}}
    without = {"ivae": {name: kept["ivae"][name] for name in ("z", "z_hat", "domains")}}
    for each in (full, without):
        assert figures.recovered_support(each, trials, METHOD_FIELDS, tmp_path) == []


def promised(trials):
    """Synergy-vae rests on a promise that holds for every latent from 3 domains on, and for half of them at 2."""
    verdicts = [["yes", "yes"] if u >= 3 else ["yes", "no condition met"] for u in trials.domains]
    return trials.assign(promise=np.where(trials.method == "synergy-vae", "promised_both", ""), promised_both=verdicts)


def test_what_theory_promises_is_beside_the_scores_and_outlined(tmp_path):
    trials = promised(simulated_trials())
    figures.phase_diagram(trials, METHOD_FIELDS, DATASET_FIELDS, tmp_path)
    rows = pd.read_csv(tmp_path / "phase_diagram.csv")
    own = rows[rows.label == "synergy-vae"]
    assert own.set_index(["domains", "violation"]).promised.to_dict() == {
        (u, v): 0.5 if u == 2 else 1 for u in (2, 3, 4) for v in (0, 0.5)
    }
    assert rows[rows.label != "synergy-vae"].promised.isna().all()
    assert "Solid outline" in (tmp_path / "phase_diagram.txt").read_text()
    figures.phase_diagram(simulated_trials(), METHOD_FIELDS, DATASET_FIELDS, tmp_path)
    assert "Solid outline" not in (tmp_path / "phase_diagram.txt").read_text()


def test_an_outline_goes_around_the_cells_that_are_inside():
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    maps._outline(axes, np.array([[False, True], [True, True]]), np.arange(3), np.arange(3))
    segments = {tuple(map(tuple, segment.tolist())) for segment in axes.collections[-1].get_segments()}
    assert segments == {
        ((1, 0), (2, 0)), ((0, 1), (1, 1)), ((0, 2), (1, 2)), ((1, 2), (2, 2)),
        ((1, 0), (1, 1)), ((2, 0), (2, 1)), ((0, 1), (0, 2)), ((2, 1), (2, 2)),
    }  # fmt: skip


def test_a_bar_joins_the_methods_that_do_not_differ_and_no_bar_is_part_of_another():
    assert comparisons._bars(np.array([1.0, 1.5, 2.5, 4.0]), 1.2) == [(1.0, 1.5), (1.5, 2.5)]
    assert comparisons._bars(np.array([1.0, 2.0, 3.0]), 5.0) == [(1.0, 3.0)]
    assert comparisons._bars(np.array([1.0, 2.0, 3.0]), 0.5) == []


def test_ranks_are_over_data_seeds_and_only_of_methods(tmp_path):
    levels = {"vae": 0.5, "ivae": 0.7, "synergy-vae": 0.9, "supervised": 0.99, "random": 0.1}
    figures.critical_difference(simulated_trials(levels), METHOD_FIELDS, DATASET_FIELDS, tmp_path)
    rows = pd.read_csv(tmp_path / "critical_difference.csv")
    assert rows.label.tolist() == ["synergy-vae", "ivae", "vae"] and rows["rank"].tolist() == [1, 2, 3]
    assert (rows.n_seeds == 3).all()


def test_a_failed_trial_is_above_no_threshold_of_a_profile(tmp_path):
    trials = fail(simulated_trials({"ivae": 0.8, "vae": 0.8}), method="ivae", domains=3)
    figures.performance_profiles(trials, METHOD_FIELDS, tmp_path)
    rows = pd.read_csv(tmp_path / "performance_profiles.csv")
    assert rows.groupby("label").share.max().to_dict() == {"ivae": pytest.approx(2 / 3), "vae": 1}


def test_no_method_beats_one_on_the_front_in_both_cost_and_score(tmp_path):
    trials = simulated_trials({"vae": 0.5, "ivae": 0.7, "synergy-vae": 0.9, "flow-vae": 0.6, "supervised": 0.99})
    trials["train_s"] = trials.method.map({"vae": 1, "ivae": 2, "synergy-vae": 4, "flow-vae": 3, "supervised": 0.5})
    figures.cost_and_score(trials, METHOD_FIELDS, tmp_path)
    rows = pd.read_csv(tmp_path / "cost_score.csv")
    assert set(rows.label[rows.on_front]) == {"vae", "ivae", "synergy-vae"}


def test_synergy_marks_the_cells_whose_interval_excludes_0(tmp_path, monkeypatch):
    effects = pd.DataFrame({"ladder": "VAE", "domains": [2, 3, 10], "violation": 0.5, "n_seeds": 5})
    effects = effects.assign(effect=[0.1, 0.0, -0.1], effect_low=[0.05, -0.05, -0.15], effect_high=[0.15, 0.05, -0.05])
    drawn = captured(monkeypatch)
    figures.synergy_map(effects, "domains", "violation", tmp_path, {"effect": "both − better single"})
    marks = {text.xy[0]: text.get_text() for text in drawn[0].axes[0].texts if text.get_text() in "▲▼"}
    assert marks == {2.5: "▲", 13.5: "▼"}  # at the right edges of the cells


@pytest.mark.parametrize("dial", ["domains", "violation", "n_latents"])
def test_the_synergy_effect_is_drawn_along_one_dial_too(dial, tmp_path):
    trials = ladder_trials(both=0.1, cells=3).rename(columns={"domains": dial})
    draw(trials, tmp_path)
    rows = pd.read_csv(tmp_path / "synergy.csv")
    assert rows[dial].tolist() == [2, 3, 4] and (tmp_path / "synergy.svg").exists()


def test_a_map_has_its_cells_where_the_values_are():
    side = maps.dial("domains", ["2", "3", "10"])
    assert side.edges.tolist() == [1.5, 2.5, 6.5, 13.5] and side.n_narrow == 12
    assert maps.dial("n_samples", ["100", "1000", "10000"]).is_log
    assert not maps.dial("mixing", ["linear", "smooth"]).is_numeric


def test_a_style_of_matplotlib_changes_the_figure_but_not_its_fonts_and_an_unknown_one_is_an_error(tmp_path):
    from matplotlib import rcParams

    from registry import UsageError

    with figures.setting("ggplot"):
        assert rcParams["axes.grid"] and rcParams["pdf.fonttype"] == 42
    with pytest.raises(UsageError, match="no style 'ggplott'"), figures.setting("ggplott"):
        pass
