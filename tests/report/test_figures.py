import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import rcParams
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from PIL import Image

from bench.registry import CORNERS, Facts, UsageError
from bench.report import figures, recovery
from bench.report.figures import latents, lines, looks, maps, page, ranks
from bench.report.results import gather
from datasets.oracle import NO, PROMISE_OF, PROMISES, YES
from methods import methods
from tests.conftest import long
from tests.simulated import (
    LADDERS,
    STRATA,
    facts,
    fail,
    ladder_trials,
    results,
    simulated_run,
    simulated_trials,
    strata_trials,
)

pytestmark = pytest.mark.xdist_group("figures")  # one process, for what its tests share

DEFAULT = (
    *("vae", "sparse-vae", "ivae", "flow-vae", "synergy-vae"),
    *("supervised", "fastica", "pca", "identity", "random"),
)
FIGURES = (
    *("score_lines", "phase_diagram", "recovered_latents", "recovered_support"),
    *("performance_profiles", "cost_score", "promise_recovery"),
)


def representations(own):
    """Latents of each label, whose estimates came in another order; those that have a decoder get half of each true edge."""
    rng = np.random.default_rng(0)
    z, domains = rng.normal(size=(100, 3)), rng.integers(0, 3, 100)
    support = np.array([[1, 0, 0], [0, 1, 1], [1, 1, 0], [0, 0, 1], [1, 0, 1]], bool)
    found = {
        label: {"z": z, "z_hat": z[:, ::-1] + 0.1 * rng.normal(size=z.shape), "domains": domains}
        for label in own.trials.label.unique()
    }
    for label in set(found) & {"vae", "ivae", "synergy-vae"}:
        found[label] |= {"support": support, "strength": (support * 0.5)[:, ::-1]}
    return found


def draw(trials, folder, monkeypatch, **others):
    monkeypatch.setattr(figures, "example", lambda own: (representations(own), "data seed 7"))
    return figures.draw_all(results(trials, **others), folder)


def promised(trials):
    """Sparsity and independence promise every latent; both assumptions from 3 domains on, below it the first of two; changes none."""
    trials = trials.assign(mcc_per_latent=[[score, score] for score in trials.mcc_spearman])
    verdicts = {"promised_sparsity": [YES, NO], "promised_independence": [YES, YES], "promised_changes": [NO, NO]}
    for promise, each in verdicts.items():
        trials[promise] = [each] * len(trials)
    return trials.assign(promised_both=[[YES, YES] if u >= 3 else [YES, NO] for u in trials.domains])


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        return draw(promised(simulated_trials()), tmp_path_factory.mktemp("figures"), monkeypatch).paths


@pytest.fixture(autouse=True)
def numbers_and_captions(monkeypatch):
    """What a test draws is kept as its numbers and caption: to write the pictures would take most of the time."""

    def save(figure, data, caption, folder, name):
        paths = [Path(folder) / f"{name}.{kind}" for kind in ("csv", "txt")]
        paths[0].parent.mkdir(exist_ok=True)
        data.to_csv(paths[0], index=False)
        paths[1].write_text(caption)
        return paths

    monkeypatch.setattr(page, "save", save)


def captured(monkeypatch):
    """The figures about to be saved, as they come."""
    drawn = []
    monkeypatch.setattr(page, "save", lambda figure, *rest: drawn.append(figure) or [])
    return drawn


# --- files


def test_every_figure_has_pdf_png_numbers_and_caption(paths):
    assert {path.name for path in paths} == {f"{name}.{kind}" for name in FIGURES for kind in page.FORMATS}
    assert all(path.stat().st_size > 0 for path in paths)


def test_pdf_fonts_are_embedded_truetype(paths):
    for path in (path for path in paths if path.suffix == ".pdf"):
        content = path.read_bytes()
        assert b"/FontFile2" in content and b"/Type3" not in content


def test_a_figure_is_as_wide_as_the_page_at_300_dots_per_inch(paths):
    for path in (path for path in paths if path.suffix == ".png"):
        with Image.open(path) as image:
            assert abs(image.width / 300 - figures.WIDTH) < 0.02
            assert image.height / 300 <= page.MAX_HEIGHT + 0.02


@pytest.mark.parametrize(("width", "inches"), [("icml-column", 3.25), ("jmlr", 6.0), (4.0, 4.0), ("4.5", 4.5)])
def test_figures_are_as_wide_as_they_are_wanted_and_nothing_is_cut(width, inches, tmp_path, monkeypatch):
    """What is drawn ends within the page: a label of an axis that is wider than a column goes on in the next line."""
    drawn, trials = captured(monkeypatch), simulated_trials(dict.fromkeys(DEFAULT, 0.8))
    own = results(trials)
    for draws in (
        figures.score_lines,
        figures.critical_difference,
        figures.performance_profiles,
        figures.phase_diagram,
    ):
        draws(own, tmp_path, width=width)
    figures.recovery_by_promise(results(promised(trials)), tmp_path, width=width)
    assert len(drawn) == 5
    for figure in drawn:
        assert figure.get_size_inches()[0] == pytest.approx(inches)
        FigureCanvasAgg(figure).draw()
        edges = figure.get_tightbbox()
        assert edges.x0 > -0.02 and edges.x1 < inches + 0.02


def test_the_numbers_beside_a_figure_are_the_means_of_its_cells(paths):
    trials, folder = simulated_trials(), paths[0].parent
    for name in ("score_lines", "phase_diagram"):
        rows = pd.read_csv(folder / f"{name}.csv").set_index(["label", "domains", "violation"])
        expected = trials.groupby(["method", "domains", "violation"]).mcc_spearman.mean()
        assert len(rows) == len(expected)
        for key, value in expected.items():
            assert rows.loc[key, "mcc_spearman"] == pytest.approx(value)


def test_captions_state_seeds_split_interval_failures_and_what_is_missing(tmp_path):
    trials = fail(simulated_trials(), method="ivae", domains=3, seed=0)
    figures.score_lines(results(trials, missing={"vae": 4}), tmp_path)
    caption = " ".join((tmp_path / "score_lines.txt").read_text().split())
    expected = ("2 to 3 data seeds", "test split", "95 %", "2 of them failed", "4 more were planned")
    assert all(words in caption for words in expected)


def test_the_caption_of_the_recovered_latents_says_of_which_seed_they_are(paths):
    caption = next(path for path in paths if path.name == "recovered_latents.txt").read_text()
    assert "one cell (data seed 7)" in " ".join(caption.split())


def test_a_style_of_matplotlib_changes_the_figure_but_not_its_fonts_and_an_unknown_one_is_an_error():
    with figures.setting("ggplot"):
        assert rcParams["axes.grid"] and rcParams["pdf.fonttype"] == 42
    with pytest.raises(UsageError, match="no style 'ggplott'"), figures.setting("ggplott"):
        pass


# --- latents that cannot be read, results without scores


def test_the_latents_of_one_seed_are_found_in_the_run(tmp_path):
    store = simulated_run(tmp_path / "run", simulated_trials({"ivae": 0.8, "vae": 0.7}))
    drawn = figures.draw_all(gather([store]), tmp_path / "figures")
    assert drawn.notes == []
    rows = pd.read_csv(tmp_path / "figures" / "recovered_latents.csv")
    assert set(rows.label) == {"ivae", "vae"} and len(rows) == 2 * 3 * 50


@pytest.mark.parametrize("lost", ["one", "all"])
def test_latents_that_cannot_be_read_leave_out_a_method_or_a_figure_and_the_caption_or_a_note_says_so(tmp_path, lost):
    store = simulated_run(tmp_path / "run", simulated_trials({"ivae": 0.8, "vae": 0.7}))
    for path in [path for path in store.representation_folder.iterdir() if lost == "all" or "ivae" in path.name]:
        path.write_bytes(b"PK")
    paths, notes, _ = figures.draw_all(gather([store]), tmp_path / "figures")
    captions = {path.stem: path.read_text() for path in paths if path.suffix == ".txt"}
    assert "score_lines" in captions
    if lost == "all":
        assert "recovered_latents" not in captions
        assert len(notes) == 1 and "not drawn" in notes[0]
    else:
        assert "Without latents: ivae." in captions["recovered_latents"] and not notes


def test_where_no_trial_has_a_score_nothing_is_drawn_and_a_note_says_so(tmp_path):
    unknown = simulated_trials({"ivae": 0.8}).assign(mcc_spearman=np.nan, has_truth=False)
    failed = fail(simulated_trials({"ivae": 0.8}), method="ivae")
    for trials, reason in ((unknown, "the true latents, which are not known"), (failed, "since no trial has a score")):
        drawn = figures.draw_all(results(trials), tmp_path)
        assert drawn.paths == [] and len(drawn.notes) == 1 and reason in drawn.notes[0]


# --- looks


def with_plugins(levels, **corners):
    """Results of methods that nobody knows, each at a corner of one ladder."""
    known, data = facts()
    new = {name: Facts("", "", (), corner=corner, ladder="mine") for name, corner in corners.items()}
    return results(simulated_trials(levels), methods=known | new, datasets=data)


def test_every_registered_method_has_a_look_of_its_own():
    own = looks.looks(results(simulated_trials({entry.name: 0.8 for entry in methods}, [2], [0.0], 1)))
    assert set(own) == set(looks.KNOWN) == set(methods.names())
    assert len({look.colour for look in own.values()}) == len(own)
    drawn_alike = [own[entry.name] for entry in methods if entry.facts.role == "method"]
    assert len({look.marker for look in drawn_alike}) == len(drawn_alike)


def test_the_line_of_a_method_follows_from_what_it_assumes():
    own = looks.looks(
        results(simulated_trials(dict.fromkeys(("vae", "sparse-vae", "domain-gan", "synergy-flow"), 0.8)))
    )
    plugins = looks.looks(with_plugins(dict.fromkeys("abcd", 0.8), **dict(zip("abcd", CORNERS, strict=True))))
    lines = [own[name].line for name in ("vae", "domain-gan", "sparse-vae", "synergy-flow")]
    assert lines == [plugins[name].line for name in "abcd"] == [looks.LINES[corner] for corner in CORNERS]
    assert len(set(lines)) == 4 and lines[-1] == "-"


def test_a_methods_look_does_not_depend_on_who_else_is_drawn():
    alone = results(simulated_trials({"synergy-vae": 0.9, "my-method": 0.8}))
    crowd = results(simulated_trials({"my-method": 0.8, "ivae": 0.8, "vae": 0.5, "synergy-vae": 0.9, "other": 0.1}))
    for name in ("synergy-vae", "my-method"):
        assert looks.looks(alone)[name] == looks.looks(crowd)[name]


@pytest.mark.parametrize("n", [2, 8, 40])
def test_new_methods_get_colours_and_markers_that_no_other_label_has_however_many_there_are(n):
    new = [f"method-{i}" for i in range(n)]
    own = looks.looks(results(simulated_trials(dict.fromkeys([*new, *DEFAULT], 0.8), [2], [0.0], 1)))
    assert len({own[name].colour for name in own}) == len(own)
    others = [own[name].marker for name in DEFAULT]
    markers = [own[name].marker for name in new]
    assert len(set(markers)) == n and not set(markers) & set(others)
    if n == 8:
        least = looks.contrast([own[name].colour for name in new], [own[name].colour for name in new])
        assert least[~np.eye(n, dtype=bool)].min() > 0.07


def test_variants_of_one_method_differ_in_colour_and_marker_and_share_the_line_of_their_corner():
    trials = simulated_trials({"synergy-vae": 0.9})
    variants = pd.concat([trials.assign(alpha=alpha) for alpha in (10.0, 0.03, 1.0, 0.3)], ignore_index=True)
    own = looks.looks(results(variants))
    assert list(own) == [f"synergy-vae (alpha={alpha})" for alpha in ("0.03", "0.3", "1", "10")]
    for channel in ("colour", "marker"):
        assert len({getattr(look, channel) for look in own.values()}) == 4
    assert {look.line for look in own.values()} == {looks.LINES["both"]}


def test_legends_have_known_methods_in_their_order_then_new_ones_then_ceiling_and_floors():
    levels = dict.fromkeys(("random", "zeta", "supervised", "synergy-vae", "alpha-2", "pca", "vae", "alpha-10"), 0.8)
    own = list(looks.looks(results(simulated_trials(levels))))
    assert own == ["vae", "synergy-vae", "alpha-10", "alpha-2", "zeta", "supervised", "pca", "random"]


def test_contrast_is_that_of_oklab_and_of_eyes_that_confuse_colours():
    # Grey looks the same to all of them: its lightness is the cube root of its linear value, 0.5029 for #bcbcbc.
    assert looks.contrast(["#000000"], ["#ffffff", "#bcbcbc"]) == pytest.approx(
        np.array([[1, 0.5029 ** (1 / 3)]]), abs=1e-3
    )
    # Bluish green and reddish purple of Okabe and Ito, which a deuteranope sees as two greys.
    assert looks.contrast(["#009E73"], ["#CC79A7"])[0, 0] == pytest.approx(0.076, abs=0.002)


def test_methods_that_share_a_panel_have_colours_that_every_eye_tells_apart():
    colours = {name: colour for name, (colour, _) in looks.KNOWN.items()}
    panels = [
        *(["vae", "sparse-vae", "ivae", "flow-vae", "synergy-vae", "beta-vae"],),
        *(["vae", "sparse-vae", "ivae", "flow-vae", "synergy-vae", "sparse-dependent-vae"],),
        *(["gaussian-vae", "sparse-gaussian-vae", "ivae", "sparse-ivae"],),
        *([f"{corner}gan" for corner in ("", "sparse-", "domain-", "synergy-")],),
        *([f"{corner}flow" for corner in ("", "sparse-", "domain-", "synergy-")],),
    ]
    for names, least in [*((panel, 0.09) for panel in panels), (DEFAULT, 0.07), (list(colours), 0.04)]:
        own = [colours[name] for name in names]
        assert looks.contrast(own, own)[~np.eye(len(own), dtype=bool)].min() > least


# --- score lines


def lines_of(axes):
    """The drawn lines by colour, without markers and error bars."""
    return {line.get_color(): line for line in axes.lines if line.get_linestyle() != "None"}


def markers_of(axes, face):
    """The points of the markers with such a face, by the colour of their edges."""
    found = {}
    for line in axes.lines:
        if line.get_marker() not in ("None", "", "x") and line.get_markerfacecolor() == face:
            found.setdefault(line.get_markeredgecolor(), []).extend(line.get_xydata().tolist())
    return found


def test_the_same_colour_stands_for_a_method_in_both_forms_of_the_score_figure(tmp_path, monkeypatch):
    drawn = captured(monkeypatch)
    for domains in ([2, 3], [2]):
        figures.score_lines(results(simulated_trials(domains=domains, violations=[0.0])), tmp_path)
    lines, listed = (figure.axes[0] for figure in drawn)
    names = ("ivae", "synergy-vae", "supervised", "identity", "random")
    colours = [looks.KNOWN[name][0] for name in names]
    assert set(lines_of(lines)) == set(colours)
    assert [tick.get_text() for tick in listed.get_yticklabels()] == list(names)
    bars = [bars.get_color()[0].tolist()[:3] for bars in listed.collections if bars.get_segments()]
    assert bars == [list(to_rgb(colour)) for colour in colours]


def test_a_line_has_a_gap_and_a_cross_where_all_trials_failed_and_an_open_marker_where_some_did(tmp_path, monkeypatch):
    trials = fail(simulated_trials({"ivae": 0.8}, violations=[0.0], domains=(2, 3, 4, 10)), domains=3)
    trials = fail(trials, domains=4, seed=0)
    drawn = captured(monkeypatch)
    figures.score_lines(results(trials), tmp_path)
    axes, (colour, _) = drawn[0].axes[0], looks.KNOWN["ivae"]
    at = dict(zip(("2", "3", "4", "10"), axes.get_xticks(), strict=True))
    line = lines_of(axes)[colour]
    assert np.isnan(line.get_ydata()).tolist() == [False, True, False, False]
    assert line.get_xdata() == pytest.approx(list(at.values()))
    assert [x for x, y in markers_of(axes, "white")[colour] if not np.isnan(y)] == pytest.approx([at["4"]])
    assert [x for x, y in markers_of(axes, colour)[colour] if not np.isnan(y)] == pytest.approx([at["2"], at["10"]])
    crosses = [line.get_xydata() for line in axes.lines if line.get_marker() == "x"]
    assert [x for points in crosses for x, y in points] == pytest.approx([at["3"]])


def test_the_bars_of_a_point_are_the_ends_of_its_interval(tmp_path, monkeypatch):
    own = results(simulated_trials({"ivae": 0.8, "vae": 0.6}, violations=[0.0]))
    drawn = captured(monkeypatch)
    figures.score_lines(own, tmp_path)
    rows = page.points(own, ["domains"], "mcc_spearman").set_index("label")
    for name in ("ivae", "vae"):
        colour = to_rgb(looks.KNOWN[name][0])
        bars = [b for b in drawn[0].axes[0].collections if len(b.get_color()) and tuple(b.get_color()[0][:3]) == colour]
        ends = np.concatenate([segment[:, 1] for each in bars for segment in each.get_segments()])
        expected = rows.loc[name, ["mcc_spearman_low", "mcc_spearman_high"]].to_numpy().ravel()
        assert ends == pytest.approx(expected)


def test_intervals_that_would_be_one_block_of_colour_are_bands_and_a_few_points_have_markers(tmp_path, monkeypatch):
    numbers = tuple(range(2, 202))
    trials = simulated_trials({"ivae": 0.8, "vae": 0.6}, violations=[0.0], domains=numbers)
    own = results(fail(trials, domains=17, seed=0))
    drawn = captured(monkeypatch)
    figures.score_lines(own, tmp_path)
    axes, colour = drawn[0].axes[0], to_rgb(looks.KNOWN["ivae"][0])
    (band,) = [each for each in axes.collections if tuple(each.get_facecolor()[0][:3]) == colour]
    rows = page.points(own, ["domains"], "mcc_spearman").set_index(["label", "domains"]).loc["ivae"]
    rows = rows.reindex([str(number) for number in numbers])
    ends = {(x, y) for path in band.get_paths() for x, y in path.vertices.tolist()}
    for low_or_high in ("mcc_spearman_low", "mcc_spearman_high"):
        assert set(zip(map(float, numbers), rows[low_or_high], strict=True)) <= ends
    marked = sum(len(points) for points in markers_of(axes, looks.KNOWN["ivae"][0]).values())
    assert marked == lines.N_MARKED and [x for x, _ in markers_of(axes, "white")[looks.KNOWN["ivae"][0]]] == [17]
    assert len(axes.get_xticks()) == sum(text.get_text() != "" for text in axes.get_xticklabels())
    monkeypatch.undo()
    figures.score_lines(own, tmp_path)
    caption = (tmp_path / "score_lines.txt").read_text()
    assert "Bands: 95 %" in caption and "side by side" not in caption


def test_where_there_are_bands_a_mean_without_neighbours_is_seen_and_uneven_values_have_bars(tmp_path, monkeypatch):
    drawn = captured(monkeypatch)
    both = pd.concat(
        simulated_trials({name: level}, violations=[0.0], domains=range(first, 202, 2))
        for name, level, first in (("ivae", 0.8, 2), ("vae", 0.6, 3))
    )
    figures.score_lines(results(both.reset_index(drop=True)), tmp_path)
    assert {len(markers_of(drawn[0].axes[0], looks.KNOWN[n][0])[looks.KNOWN[n][0]]) for n in ("ivae", "vae")} == {100}
    violations = [0.0, 0.005, 0.1, 0.3, 0.5, 0.8, 1.0]
    figures.score_lines(
        results(simulated_trials({"ivae": 0.8, "vae": 0.6}, domains=[2], violations=violations)), tmp_path
    )
    assert len(markers_of(drawn[1].axes[0], looks.KNOWN["ivae"][0])[looks.KNOWN["ivae"][0]]) == len(violations)


def test_methods_stand_side_by_side_and_ceiling_and_floors_at_the_value_itself(tmp_path, monkeypatch):
    drawn = captured(monkeypatch)
    figures.score_lines(results(simulated_trials(dict.fromkeys(DEFAULT, 0.8), violations=[0.0])), tmp_path)
    axes = drawn[0].axes[0]
    starts = {name: lines_of(axes)[looks.KNOWN[name][0]].get_xdata()[0] for name in DEFAULT}
    assert all(starts[name] == 2 for name in DEFAULT[5:])
    places = [starts[name] for name in DEFAULT[:5]]
    assert places == sorted(set(places)) and np.mean(places) == pytest.approx(2)
    assert places[-1] - places[0] < 1  # the next value's points begin only behind these


def test_many_methods_are_drawn_ladder_by_ladder_with_ceiling_and_floors_in_each_panel(tmp_path, monkeypatch):
    drawn = captured(monkeypatch)
    own = results(simulated_trials({entry.name: 0.8 for entry in methods}, seeds=2))
    figures.score_lines(own, tmp_path)
    panels = {axes.get_title(): set(lines_of(axes)) for axes in drawn[0].axes}
    colours = {name: colour for name, (colour, _) in looks.KNOWN.items()}
    others = {colours[entry.name] for entry in methods if entry.facts.role != "method"}
    ladder = {colours[name] for name in ("gan", "sparse-gan", "domain-gan", "synergy-gan")}
    assert panels["GAN ladder, violation 0.5"] == ladder | others
    titles = [
        f"{which}, violation {v}"
        for which in ("VAE ladder", "iVAE ladder", "GAN ladder", "flow ladder", "other methods")
        for v in ("0", "0.5")
    ]
    assert list(panels) == titles
    assert max(len(panel - others) for panel in panels.values()) <= looks.MOST
    assert set.union(*panels.values()) == set(colours.values())


@pytest.mark.parametrize("dial", ["n_samples", "domains"])
def test_the_dial_that_varies_becomes_the_horizontal_axis(dial, tmp_path, monkeypatch):
    trials = simulated_trials({"ivae": 0.8}, domains=[2], violations=[0.0])
    trials = pd.concat([trials.assign(**{dial: value}) for value in (100, 1000, 10000)], ignore_index=True)
    drawn = captured(monkeypatch)
    figures.score_lines(results(trials), tmp_path)
    axes = drawn[0].axes[0]
    assert axes.get_xlabel() == page.WORDS[dial]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["100", "1000", "10000"]
    assert np.exp(axes.get_xticks()) == pytest.approx([100, 1000, 10000])


@pytest.mark.parametrize("n_panels", [1, 3, 4, 5])
def test_the_lowest_panel_of_each_column_has_numbers_on_an_axis_that_is_shared(n_panels):
    _, panels = page.panels(n_panels, 2, 3.0, sharex=True)
    panels[0].plot([0, 1], [0, 1])
    named = [any(text.get_visible() and text.get_text() for text in axes.get_xticklabels()) for axes in panels]
    assert named == [place + 2 >= n_panels for place in range(n_panels)]


def test_values_stand_at_their_number_or_its_logarithm_whichever_spreads_them_more_evenly():
    even, spread = (page.axis("domains", pd.Series(values)) for values in (range(2, 11), (9, 2, 5, 3)))
    assert even.places.tolist() == list(range(2, 11))
    assert spread.levels == ["2", "3", "5", "9"] and spread.places == pytest.approx(np.log([2, 3, 5, 9]))
    words = page.axis("mixing", pd.Series(["smooth", None, "linear", "smooth"]))
    assert words.levels == ["linear", "none", "smooth"] and words.places.tolist() == [0, 1, 2] and not words.is_numeric
    assert page.axis("twins", pd.Series([None, 0.5, 0.25])).levels == ["0.25", "0.5", "none"]


def test_files_are_named_by_no_more_of_their_paths_than_tells_them_apart(tmp_path, monkeypatch):
    trials = simulated_trials({"ivae": 0.8}, domains=[2], violations=[0.0]).assign(dataset="file")
    files = ("/home/me/a/run.npz", "/home/me/b/run.npz", "/home/me/other.npz")
    trials = pd.concat([trials.assign(path=path) for path in files], ignore_index=True)
    drawn = draw(trials, tmp_path, monkeypatch)
    assert pd.read_csv(tmp_path / "score_lines.csv").path.tolist() == ["a/run.npz", "b/run.npz", "other.npz"]
    texts = [path.read_text() for path in drawn.paths if path.suffix in (".txt", ".csv")]
    assert texts and not any("/home/me" in text for text in texts)


# --- maps


def heat_maps(figure):
    """The panels by their titles."""
    return {axes.get_title(): axes for axes in figure.axes if axes.get_title()}


def test_heat_maps_hatch_the_cells_with_failures_and_no_others(tmp_path, monkeypatch):
    trials = fail(simulated_trials(), method="ivae", domains=3, violation=0.5, seed=1)
    drawn = captured(monkeypatch)
    figures.phase_diagram(results(trials), tmp_path)
    hatched = {
        title: [patch.get_xy() for patch in axes.patches if patch.get_hatch()]
        for title, axes in heat_maps(drawn[0]).items()
    }
    assert hatched.pop("ivae") == [(1, 1)]  # the second number of domains, the second violation
    assert not any(hatched.values())


def test_heat_maps_have_each_value_in_its_cell_and_say_where_a_method_does_not_apply(tmp_path, monkeypatch):
    trials = simulated_trials({"ivae": 0.8, "vae": 0.6})
    lost = (trials.method == "ivae") & (trials.domains == 2)
    trials.loc[lost, ["status", "mcc_spearman"]] = ["not-applicable", np.nan]
    trials.loc[~lost, "mcc_spearman"] = 0.1 * trials.domains + 0.02 * trials.violation
    drawn = captured(monkeypatch)
    figures.phase_diagram(results(trials), tmp_path)
    written = {text.get_position(): text.get_text() for text in heat_maps(drawn[0])["ivae"].texts}
    assert written == {
        (0.5, 0.5): "n/a", (1.5, 0.5): ".30", (2.5, 0.5): ".40", (0.5, 1.5): "n/a", (1.5, 1.5): ".31", (2.5, 1.5): ".41",
    }  # fmt: skip
    first = heat_maps(drawn[0])["vae"]
    assert [tick.get_text() for tick in first.get_yticklabels()] == ["0", "0.5"] and first.get_ylim() == (0, 2)


@pytest.mark.parametrize("n_methods", [1, 5, 10])
@pytest.mark.parametrize("n_violations", [1, 2, 5])
def test_heat_maps_of_up_to_ten_methods_and_nine_numbers_of_domains_have_room_for_their_values(n_methods, n_violations):
    n_columns, width, height = maps.map_shape(n_methods, 9, n_violations)
    assert width >= maps.MIN_CELL[0] and height >= maps.MIN_CELL[1]
    assert n_columns <= n_methods


def test_lines_and_maps_say_in_words_in_which_stratum_a_cell_is(tmp_path, monkeypatch):
    own = results(strata_trials(ladder_trials(both=0.1, cells=3)))
    drawn = captured(monkeypatch)
    for draw in (figures.score_lines, figures.phase_diagram, figures.synergy_map):
        draw(own, tmp_path)
    lines, *others = drawn
    assert [axes.get_title() for axes in lines.axes] == list(STRATA)
    for figure in others:
        first = figure.axes[0]
        assert [tick.get_text() for tick in first.get_yticklabels()] == list(STRATA)
        assert [tick.get_text() for tick in first.get_xticklabels()] in (["2", "3", "4"], ["", "", ""])
    trials = own.trials[own.trials.domains == 2].drop(columns="stratum")
    figures.score_lines(results(trials), tmp_path)
    assert [tick.get_text() for tick in drawn[-1].axes[0].get_xticklabels()] == list(STRATA)
    figures.synergy_map(results(trials), tmp_path)
    assert [tick.get_text() for tick in drawn[-1].axes[0].get_yticklabels()] == list(STRATA)


def test_what_theory_promises_is_beside_the_scores_and_outlined(tmp_path):
    figures.phase_diagram(results(promised(simulated_trials())), tmp_path)
    rows = pd.read_csv(tmp_path / "phase_diagram.csv")
    own = rows[rows.label == "synergy-vae"]
    assert own.set_index(["domains", "violation"]).promised.to_dict() == {
        (u, v): 0.5 if u == 2 else 1 for u in (2, 3, 4) for v in (0, 0.5)
    }
    assert (rows[rows.label == "ivae"].promised == 0).all()  # changes alone promise nothing here
    assert rows[~rows.label.isin(["synergy-vae", "ivae"])].promised.isna().all()
    assert "Solid outline" in (tmp_path / "phase_diagram.txt").read_text()
    figures.phase_diagram(results(simulated_trials()), tmp_path)
    assert "Solid outline" not in (tmp_path / "phase_diagram.txt").read_text()


def test_the_promise_of_a_method_is_that_of_its_corner(tmp_path):
    corners = dict(zip("abcd", CORNERS, strict=True))
    own = with_plugins(dict.fromkeys("abcd", 0.8), **corners)
    own = own.replaced(
        own.trials.assign(change_rank=0)
    )  # the domains are alike, and the latents independent over all of them
    shares = {promise: share for share, promise in zip((0, 0.25, 0.5, 1), PROMISES, strict=True)}
    verdicts = {
        promise: [[YES] * int(4 * share) + [NO] * int(4 - 4 * share)] * len(own.trials)
        for promise, share in shares.items()
    }
    figures.phase_diagram(own.replaced(own.trials.assign(**verdicts)), tmp_path)
    found = pd.read_csv(tmp_path / "phase_diagram.csv").groupby("label").promised.agg(lambda p: p.iloc[0])
    assert found.dropna().to_dict() == {
        name: shares[PROMISE_OF[corner]] for name, corner in corners.items() if corner in PROMISE_OF
    }


def segments(inside, *inset):
    return {tuple(map(tuple, segment.round(9).tolist())) for segment in maps.outline(np.array(inside, bool), *inset)}


def test_an_outline_goes_around_the_cells_that_are_inside():
    assert segments([[0, 1], [1, 1]]) == {
        ((1, 0), (2, 0)), ((0, 1), (1, 1)), ((0, 2), (1, 2)), ((1, 2), (2, 2)),
        ((1, 0), (1, 1)), ((2, 0), (2, 1)), ((0, 1), (0, 2)), ((2, 1), (2, 2)),
    }  # fmt: skip


def test_an_outline_inside_its_cells_meets_at_every_corner():
    assert segments([[0, 1], [1, 1]], (0.1, 0.2)) == {
        ((1.1, 0.2), (1.9, 0.2)), ((0.1, 1.2), (1.1, 1.2)), ((0.1, 1.8), (1, 1.8)), ((1, 1.8), (1.9, 1.8)),
        ((1.1, 0.2), (1.1, 1.2)), ((1.9, 0.2), (1.9, 1)), ((0.1, 1.2), (0.1, 1.8)), ((1.9, 1), (1.9, 1.8)),
    }  # fmt: skip


def test_synergy_marks_the_cells_whose_interval_excludes_0(tmp_path, monkeypatch):
    effects = [0.1, 0.0, -0.1]
    own = results(ladder_trials(both=effects, neither=0.0, cells=3, noise=0.01))
    drawn = captured(monkeypatch)
    figures.synergy_map(own, tmp_path)
    axes = heat_maps(drawn[0])["VAE: both − better single"]
    of_marks = [drawn for drawn in axes.collections if drawn.get_label() in (maps.ABOVE, maps.BELOW)]
    marks = {x: drawn.get_label() for drawn in of_marks for x, _ in drawn.get_offsets()}
    assert marks == {1: maps.ABOVE, 3: maps.BELOW}  # at the right edges of the cells


def test_the_synergy_of_a_ladder_on_one_stratum_stands_in_that_stratum(tmp_path):
    own = strata_trials(ladder_trials(cells=2))
    other = strata_trials(ladder_trials(names=LADDERS["GAN"], cells=2))
    words = results(own).trials.stratum.unique().tolist()
    only = results(other).trials.stratum == words[-1]
    together = results(pd.concat([own, other[only.to_numpy()]], ignore_index=True))
    figures.synergy_map(together, tmp_path)
    drawn = pd.read_csv(tmp_path / "synergy.csv")
    assert set(drawn[drawn.ladder == "GAN"].stratum) == {words[-1]} and set(
        drawn[drawn.ladder == "VAE"].stratum
    ) == set(words)


def test_the_synergy_of_a_ladder_of_plug_ins_is_drawn(tmp_path):
    names = ("mine", "mine-changes", "mine-sparse", "mine-both")
    known, data = facts()
    new = {name: Facts("", "", (), corner=corner, ladder="mine") for name, corner in zip(names, CORNERS, strict=True)}
    figures.synergy_map(results(ladder_trials(both=0.1, names=names), methods=new, datasets=data), tmp_path)
    assert set(pd.read_csv(tmp_path / "synergy.csv").ladder) == {"mine"}


@pytest.mark.parametrize("dial", ["domains", "violation", "n_latents"])
def test_the_synergy_effect_is_drawn_along_one_dial_too(dial, tmp_path):
    figures.synergy_map(results(ladder_trials(both=0.1, cells=3).rename(columns={"domains": dial})), tmp_path)
    rows = pd.read_csv(tmp_path / "synergy.csv")
    assert rows[dial].tolist() == [2, 3, 4]


def test_a_promise_map_has_the_means_over_what_else_varies(tmp_path):
    cells = [(u, v, twins) for u in (2, 3) for v in (0.0, 0.5) for twins in (0.0, 0.5)]
    audit = pd.DataFrame(cells, columns=["domains", "violation", "twins"]).assign(instances=3)
    for promise in PROMISES:
        audit[promise] = audit.domains / 4 - audit.twins / 2
    figures.promise_map(audit, "domains", "violation", tmp_path, "promises")
    rows = pd.read_csv(tmp_path / "promises.csv")
    assert len(rows) == 4 * 4
    assert rows[rows.domains == 3].promised.tolist() == pytest.approx([0.625] * 8)
    assert "3 data seeds" in " ".join((tmp_path / "promises.txt").read_text().split())


# --- ranks, profiles, promises, costs


def test_a_bar_joins_the_methods_that_do_not_differ_and_no_bar_is_part_of_another():
    assert ranks.undecided(np.array([1.0, 1.5, 2.5, 4.0]), 1.2) == [(1.0, 1.5), (1.5, 2.5)]
    assert ranks.undecided(np.array([1.0, 2.0, 3.0]), 5.0) == [(1.0, 3.0)]
    assert ranks.undecided(np.array([1.0, 2.0, 3.0]), 0.5) == []


def test_ranks_are_over_data_seeds_and_only_of_methods(tmp_path):
    levels = {"vae": 0.5, "ivae": 0.7, "synergy-vae": 0.9, "supervised": 0.99, "random": 0.1}
    figures.critical_difference(results(simulated_trials(levels)), tmp_path)
    rows = pd.read_csv(tmp_path / "critical_difference.csv")
    assert rows.label.tolist() == ["synergy-vae", "ivae", "vae"] and rows["rank"].tolist() == [1, 2, 3]
    assert (rows.n_seeds == 3).all()


def test_a_cell_in_which_one_method_has_no_score_ranks_none(tmp_path):
    trials = simulated_trials({"vae": 0.5, "ivae": 0.7, "synergy-vae": 0.9})
    trials.loc[trials.domains == 4, "mcc_spearman"] = (
        1 - trials.mcc_spearman
    )  # there, all ranks are the other way round
    figures.critical_difference(results(fail(trials, method="vae", domains=4)), tmp_path)
    assert pd.read_csv(tmp_path / "critical_difference.csv").label.tolist() == ["synergy-vae", "ivae", "vae"]


def test_a_failed_trial_is_above_no_threshold_of_a_profile(tmp_path):
    trials = fail(simulated_trials({"ivae": 0.8, "vae": 0.8}), method="ivae", domains=3)
    figures.performance_profiles(results(trials), tmp_path)
    rows = pd.read_csv(tmp_path / "performance_profiles.csv")
    assert rows.groupby("label").share.max().to_dict() == {"ivae": pytest.approx(2 / 3), "vae": 1}


def test_no_method_beats_one_on_the_front_in_both_cost_and_score(tmp_path):
    trials = simulated_trials({"vae": 0.5, "ivae": 0.7, "synergy-vae": 0.9, "flow-vae": 0.6, "supervised": 0.99})
    trials["train_s"] = trials.method.map({"vae": 1, "ivae": 2, "synergy-vae": 4, "flow-vae": 3, "supervised": 0.5})
    figures.cost_and_score(results(trials), tmp_path)
    rows = pd.read_csv(tmp_path / "cost_score.csv")
    assert set(rows.label[rows.on_front]) == {"vae", "ivae", "synergy-vae"}


def test_the_gains_of_single_latents_stand_by_kind_of_data_and_promise_and_are_filled_where_they_are_promised(
    tmp_path, monkeypatch
):
    own = results(promised(simulated_trials()))
    figures.recovery_by_promise(own, tmp_path)
    table = recovery.table(own)
    table = table[table.role != "floor"].reset_index(drop=True)
    assert pd.read_csv(tmp_path / "promise_recovery.csv").score.tolist() == pytest.approx(table.score.tolist())
    drawn = captured(monkeypatch)
    figures.recovery_by_promise(own, tmp_path)
    panels = heat_maps(drawn[0])
    assert list(panels) == [
        f"{data}\n{promise} (n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}9)"
        for data in ("no violation", "strict shadows 0.5")
        for promise in ("sparsity", "sparsity, independence")
    ]
    gains = table.set_index(["label", "data", "promise"]).gain
    for (title, axes), promise in zip(panels.items(), 2 * ["sparsity", "sparsity, independence"], strict=True):
        key = (title.split("\n")[0], promise)
        for place, name in enumerate(("ivae", "synergy-vae", "supervised")):
            # Changes promise nothing here; both promise the second latent from 3 domains on alone.
            is_filled = name == "supervised" or (name == "synergy-vae" and promise == "sparsity")
            colour = looks.KNOWN[name][0]
            means = markers_of(axes, colour if is_filled else "white")[colour]
            assert means == [[pytest.approx(gains[(name, *key)]), place]]


def test_without_a_floor_the_scores_of_single_latents_are_drawn_and_with_floors_alone_theirs(tmp_path):
    for levels, value in (({"ivae": 0.8}, "score"), ({"pca": 0.6, "random": 0.4}, "gain")):
        figures.recovery_by_promise(results(promised(simulated_trials(levels))), tmp_path)
        rows = pd.read_csv(tmp_path / "promise_recovery.csv")
        assert set(rows.label) == set(levels) and rows[value].notna().all()


# --- latents


def test_a_matched_estimate_is_aligned_in_order_and_sign():
    z = np.random.default_rng(0).normal(size=(200, 2))
    estimates, scores = latents.matched(z, np.column_stack([-np.exp(z[:, 1]), z[:, 0] ** 3]))
    assert scores == pytest.approx(np.ones(2))
    for latent in range(2):
        assert np.corrcoef(estimates[:, latent], z[:, latent])[0, 1] > 0.5


def test_a_latent_without_a_match_and_a_constant_estimate_score_zero():
    z = np.random.default_rng(0).normal(size=(200, 3))
    _, scores = latents.matched(z, np.column_stack([z[:, 1], np.zeros(200)]))
    assert sorted(scores) == [0, 0, pytest.approx(1)] and scores[1] == pytest.approx(1)


def test_latents_are_matched_as_their_scores_were_where_that_is_known():
    """The match of validation, against the one that would be found on the points given."""
    z = np.random.default_rng(0).normal(size=(200, 2))
    z_hat = np.column_stack([z[:, 0], z[:, 1], z[:, 1]])
    _, scores = latents.matched(z, z_hat, np.array([1, -1]))
    assert scores[0] < 0.3 and scores[1] == 0
    _, scores = latents.matched(z, z_hat, np.array([0, 2]))
    np.testing.assert_allclose(scores, 1)


def test_inputs_of_the_latents_figure_are_not_changed(tmp_path, monkeypatch):
    captured(monkeypatch)
    own = results(simulated_trials({"ivae": 0.8}))
    kept = representations(own)
    before = {name: values.copy() for name, values in kept["ivae"].items()}
    figures.recovered_latents(own, kept, "seed 7", tmp_path)
    figures.recovered_support(own, kept, "seed 7", tmp_path)
    for name, values in kept["ivae"].items():
        np.testing.assert_array_equal(before[name], values)


def test_the_recovered_support_stands_in_the_columns_of_the_matched_latents(tmp_path):
    own = results(simulated_trials({"ivae": 0.8}))
    figures.recovered_support(own, representations(own), "seed 7", tmp_path)
    edges = pd.read_csv(tmp_path / "recovered_support.csv")
    own = edges[edges.label == "ivae"]
    assert own.true.any() and not own.true.all()
    np.testing.assert_allclose(own.strength, 0.5 * own.true)  # the estimates came in another order


def test_where_no_decoder_or_only_a_full_support_is_known_no_support_is_drawn(tmp_path):
    own = results(simulated_trials({"ivae": 0.8}))
    kept = representations(own)
    full = {"ivae": kept["ivae"] | {"support": np.ones((5, 3), bool)}}
    without = {"ivae": {name: kept["ivae"][name] for name in ("z", "z_hat", "domains")}}
    for each in (full, without):
        assert figures.recovered_support(own, each, "seed 7", tmp_path) == []


# --- runs of any shape

ALL = {entry.name: 0.8 for entry in methods}
SHAPES = {
    "full": fail(simulated_trials(dict.fromkeys(DEFAULT, 0.8), range(2, 11), seeds=2), method="vae", domains=2, seed=0),
    "every method": simulated_trials(ALL, domains=[2, 9], violations=[0.0], seeds=2),
    "one cell": promised(simulated_trials(domains=[9], violations=[0.0])),
    "one method": simulated_trials({"ivae": 0.8}),
    "many wide ticks": simulated_trials({"ivae": 0.8}, domains=range(10000, 10025), seeds=2),
    "one seed": promised(simulated_trials(seeds=1)),
    "five panels": simulated_trials(domains=[2, 9], violations=[0.0, 0.25, 0.5, 0.75, 1.0], seeds=2),
    "a method that failed": fail(simulated_trials(), method="ivae"),
    "a ladder": ladder_trials(cells=2, seeds=3),
    "strata": promised(strata_trials(simulated_trials(dict.fromkeys(DEFAULT, 0.8), range(2, 11), [0.0], 2))),
    "strata of one number of domains": promised(strata_trials(ladder_trials(cells=1, seeds=3))),
    "long labels": pd.concat(
        [
            simulated_trials(domains=[2, 3], violations=[0.0], seeds=2).assign(alpha=a, beta=b, depth=a / b)
            for a in (0.125, 0.0625)
            for b in (1.5, 4.5)
        ]
    ),
}


EVERY_TIME = ("full", "every method", "a method that failed", "strata")  # the other shapes with LONG_TESTS=1


@pytest.mark.parametrize(
    "trials",
    [pytest.param(own, id=name, marks=() if name in EVERY_TIME else long) for name, own in SHAPES.items()],
)
def test_runs_of_any_shape_fit_the_page_without_a_warning(trials, tmp_path, monkeypatch, recwarn):
    drawn = captured(monkeypatch)
    draw(trials, tmp_path, monkeypatch)
    assert len(drawn) > 4
    for figure in drawn:
        figure.draw_without_rendering()
        used, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert min(used.x0, used.y0) > -0.01 and used.x1 < width + 0.01 and used.y1 < height + 0.01
        for axes in figure.axes:
            labels = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()]
            assert all(left.x1 < right.x0 for left, right in itertools.pairwise(labels))
    assert not [str(w.message) for w in recwarn if "jit" not in str(w.message)]
