import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from bench import figures
from methods import methods
from tests.simulated import DATASET_FIELDS, METHOD_FIELDS, fail, simulated_trials


def representations(trials):
    rng = np.random.default_rng(0)
    z, domains = rng.normal(size=(100, 3)), rng.integers(0, 3, 100)
    return {name: (z, z[:, ::-1] + 0.1 * rng.normal(size=z.shape), domains) for name in trials.method.unique()}


def draw(trials, folder):
    return figures.draw_all(trials, METHOD_FIELDS, DATASET_FIELDS, representations(trials), "somewhere", folder)


def test_every_figure_has_pdf_png_numbers_and_caption(tmp_path):
    paths = draw(simulated_trials(), tmp_path)
    names = ("score_lines", "heat_map", "recovered_latents")
    assert {path.name for path in paths} == {f"{n}.{kind}" for n in names for kind in ("pdf", "png", "csv", "txt")}
    assert all(path.stat().st_size > 0 for path in paths)


def test_pdf_fonts_are_embedded_truetype(tmp_path):
    for path in draw(simulated_trials(), tmp_path):
        if path.suffix == ".pdf":
            content = path.read_bytes()
            assert b"/FontFile2" in content and b"/Type3" not in content


def test_a_figure_is_as_wide_as_the_page_at_300_dots_per_inch(tmp_path):
    from PIL import Image

    for path in draw(simulated_trials(), tmp_path):
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert abs(image.width / 300 - figures.WIDTH) < 0.02
                assert image.height / 300 <= figures.MAX_HEIGHT + 0.02


def test_the_numbers_beside_a_figure_are_the_means_of_its_cells(tmp_path):
    trials = simulated_trials()
    draw(trials, tmp_path)
    for name in ("score_lines", "heat_map"):
        rows = pd.read_csv(tmp_path / f"{name}.csv").set_index(["label", "domains", "violation"])
        expected = trials.groupby(["method", "domains", "violation"]).mcc_spearman.mean()
        assert len(rows) == len(expected)
        for key, value in expected.items():
            assert rows.loc[key, "mcc_spearman"] == pytest.approx(value)


def test_captions_state_seeds_split_interval_and_failures(tmp_path):
    draw(fail(simulated_trials(), method="ivae", domains=3, seed=0), tmp_path)
    caption = " ".join((tmp_path / "score_lines.txt").read_text().split())
    assert all(words in caption for words in ("2 to 3 data seeds", "test split", "95 %", "2 of them failed"))


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


@pytest.mark.parametrize(
    "trials",
    [
        simulated_trials(domains=[9], violations=[0.0]),
        simulated_trials({"ivae": 0.8}),
        simulated_trials(seeds=1),
        simulated_trials(violations=[0.0, 0.25, 0.5, 0.75, 1.0]),
        fail(simulated_trials(), method="ivae"),
        simulated_trials().assign(status="failed", mcc_spearman=np.nan, error="all of them"),
    ],
    ids=["one cell", "one method", "one seed", "five panels", "a method that failed", "nothing that is ok"],
)
def test_unusual_runs_are_drawn_without_a_warning(trials, tmp_path, recwarn):
    draw(trials, tmp_path)
    assert not [str(w.message) for w in recwarn if "jit" not in str(w.message)]


def test_a_matched_estimate_is_aligned_in_order_and_sign():
    z = np.random.default_rng(0).normal(size=(200, 2))
    (first, r1), (second, r2) = figures._matched(z, np.column_stack([-np.exp(z[:, 1]), z[:, 0] ** 3]))
    assert r1 == pytest.approx(1) and r2 == pytest.approx(1)
    assert np.corrcoef(first, z[:, 0])[0, 1] > 0.5 and np.corrcoef(second, z[:, 1])[0, 1] > 0.5
