"""Figures of images: what is drawn where, and when there is nothing to draw."""

import numpy as np
import pandas as pd
from matplotlib.image import imread

from bench.report.figures import pictures
from tests.simulated import results, simulated_trials

RNG = np.random.default_rng(0)


def kept(channels=3, n_latents=4):
    tiles = {
        "images": RNG.integers(0, 256, (6, channels, 8, 8)),
        "swaps": RNG.integers(0, 256, (6, 6, channels, 8, 8)),
        "traversals": RNG.integers(0, 256, (n_latents, 7, channels, 8, 8)),
        "made": RNG.integers(0, 256, (2, 8, channels, 8, 8)),
    }
    return {name: own.astype(np.uint8) for name, own in tiles.items()} | {"is_style": np.arange(n_latents) == 1}


def simulated():
    trials = simulated_trials({"vae": 0.5, "synergy-vae": 0.8}, [2], [0.0], 2)
    scores = {"swap_content": 0.75, "swap_style": 0.5, "swap_domain": 1.0, "n_changing": 1.0, "made_content": 0.75}
    return results(trials.assign(**scores))


def test_every_method_with_pictures_has_a_panel_and_its_numbers_a_row(tmp_path):
    images = {"vae": kept(), "synergy-vae": kept(channels=1)}
    draws = (pictures.swap_grids, "swap_grids"), (pictures.traversals, "traversals"), (pictures.samples_per_domain, "samples_per_domain")  # fmt: skip
    for draw, name in draws:
        paths = draw(simulated(), images, "data set digits, data seed 0", tmp_path)
        assert {path.name for path in paths} == {f"{name}.{kind}" for kind in ("pdf", "png", "svg", "csv", "txt")}
        rows = pd.read_csv(tmp_path / f"{name}.csv")
        assert rows.label.tolist() == ["vae", "synergy-vae"]
        assert (rows["made_content" if draw == pictures.samples_per_domain else "swap_content"] == 0.75).all()
        assert "data seed 0" in (tmp_path / f"{name}.txt").read_text()
        assert imread(tmp_path / f"{name}.png").shape[1] == 1650  # 5.5 inches at 300 dpi


def test_amosaic_has_every_tile_in_its_place():
    tiles = RNG.integers(0, 256, (2, 3, 3, 4, 5)).astype(np.uint8)
    whole = pictures.mosaic(tiles)
    assert whole.shape == (2 * 5, 3 * 6, 3)
    np.testing.assert_array_equal(whole[5:9, 12:17], tiles[1, 2].transpose(1, 2, 0))
    assert (whole[4] == 255).all() and (whole[:, 5] == 255).all()


def test_without_pictures_nothing_is_drawn(tmp_path):
    assert pictures.swap_grids(simulated(), {}, "", tmp_path) == []
    assert pictures.samples_per_domain(simulated(), {}, "", tmp_path) == []
    assert pictures.traversals(simulated(), {"vae": {"z": np.zeros((3, 1))}}, "", tmp_path) == []
