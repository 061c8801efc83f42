"""What methods make of images: the blocks of two images swapped, every latent traversed, and new images for each domain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from bench.report.figures import page
from bench.report.figures.looks import looks
from bench.report.results import Results

N_COLUMNS = 3  # of methods side by side
GAP = 1  # pixels between two images
STYLE = "#D55E00"  # of the numbers of latents that are style
SWAPS = ("n_changing", "swap_content", "swap_style", "swap_domain")
MADE = ("made_content", "made_domain", "made_variety", "made_distance")
Kept = Mapping[str, Mapping[str, np.ndarray]]


@page.printed
def swap_grids(results: Results, kept: Kept, where: str, folder: str | Path) -> list[Path]:
    """swap_grids.*: for each method the images that its decoder makes of the content of one test image and the style of another.

    `kept` has for each label `images` (n, channels, height, width) and `swaps` (n, n, ...), as `bench.train.pictures` makes them. Nothing
    where no label has them.
    """
    names = [label for label in looks(results) if "swaps" in kept.get(label, ())]
    if not names:
        return []
    tiles = {}
    for name in names:
        images, swaps = kept[name]["images"], kept[name]["swaps"]
        corner = np.full_like(images[:1], 255)
        rows = [np.concatenate([corner, images])] + [
            np.concatenate([images[i : i + 1], own]) for i, own in enumerate(swaps)
        ]
        tiles[name] = np.stack(rows)
    figure = _draw(tiles, "Style of", "Content of")
    caption = (
        "What each decoder makes of the content block of one test image (rows) and the style block of another (columns); in the first row and "
        "the first column the images themselves. The style block are the estimates whose distribution changes between domains. One data seed "
        f"of one cell ({where}); no interval: this is a single trial."
    )
    return page.save(figure, _counted(results, names), caption, folder, "swap_grids")


@page.printed
def traversals(results: Results, kept: Kept, where: str, folder: str | Path) -> list[Path]:
    """traversals.*: for each method one test image with one latent after the other moved through its range.

    `kept` has for each label `traversals` (n_estimated, n_steps, channels, height, width) and `is_style` (n_estimated,). Nothing where no
    label has them.
    """
    names = [label for label in looks(results) if "traversals" in kept.get(label, ())]
    if not names:
        return []
    marks = {name: kept[name]["is_style"].astype(bool) for name in names}
    figure = _draw({name: kept[name]["traversals"] for name in names}, "From low to high", "Latent", marks)
    caption = (
        "One test image, decoded with one latent at a time moved from its 1st to its 99th percentile on test (columns), all others as they are. "
        f"Coloured numbers: latents of the style block, which change between domains. One data seed of one cell ({where})."
    )
    return page.save(figure, _counted(results, names), caption, folder, "traversals")


@page.printed
def samples_per_domain(results: Results, kept: Kept, where: str, folder: str | Path) -> list[Path]:
    """samples_per_domain.*: for each method the images that it makes of its prior, a row for each domain.

    `kept` has for each label `made` (n_domains, n, channels, height, width). Nothing where no label has them.
    """
    names = [label for label in looks(results) if "made" in kept.get(label, ())]
    if not names:
        return []
    figure = _draw({name: kept[name]["made"] for name in names}, "Made by chance", "Domain")
    caption = (
        "Images that each model makes of latents drawn from its prior in each domain (rows); that of a method which does not assume changes is one for "
        f"all domains. One data seed of one cell ({where}); no interval: this is a single trial."
    )
    return page.save(figure, _counted(results, names, MADE), caption, folder, "samples_per_domain")


def _counted(results: Results, names: list[str], of: Sequence[str] = SWAPS) -> pd.DataFrame:
    """What is said in numbers of the methods that are drawn: their scores, mean over the trials that are ok."""
    trials = results.trials[results.ok & results.trials["label"].isin(names)]
    scores = [name for name in of if name in trials]
    return trials.groupby("label")[scores].mean().reindex(names).reset_index()


def _draw(tiles: Mapping[str, np.ndarray], x: str, y: str, marks: Mapping[str, np.ndarray] | None = None) -> Figure:
    """A panel of tiles for each method, (n_rows, n_columns, channels, height, width) each; `marks` says which rows are coloured."""
    n_columns = min(N_COLUMNS, len(tiles))
    n_rows = math.ceil(len(tiles) / n_columns)
    width = (page.width() - 0.5) / n_columns
    first = next(iter(tiles.values()))
    ratio = max(own.shape[0] * own.shape[3] / (own.shape[1] * own.shape[4]) for own in tiles.values())
    height = min(width * ratio, (page.MAX_HEIGHT - 0.5) / n_rows - 0.25)
    figure, grid = page.panels(len(tiles), n_columns, n_rows * (height + 0.25) + 0.5)
    figure.set_layout_engine("compressed")  # images keep their shape, and leave no room between each other
    for axes, (name, own) in zip(grid, tiles.items(), strict=True):
        axes.imshow(mosaic(own), interpolation="nearest", cmap="gray", vmin=0, vmax=255)
        axes.set_title(page.wrapped(name, width), linespacing=1.1)
        axes.set_xticks(())
        axes.set_yticks(())
        axes.spines[:].set_visible(False)
        if marks is not None:
            step = first.shape[3] + GAP
            axes.set_yticks(np.arange(len(own)) * step + step / 2, [str(number + 1) for number in range(len(own))])
            axes.tick_params(length=0)
            for label, is_style in zip(axes.get_yticklabels(), marks[name], strict=True):
                label.set_color(STYLE if is_style else "black")
    figure.supxlabel(x, fontsize=8)
    figure.supylabel(y, fontsize=8)
    return figure


def mosaic(tiles: np.ndarray) -> np.ndarray:
    """One picture (height, width) or (height, width, 3) of tiles (n_rows, n_columns, channels, height, width), with white between."""
    n_rows, n_columns, channels, height, width = tiles.shape
    padded = np.pad(tiles, ((0, 0), (0, 0), (0, 0), (0, GAP), (0, GAP)), constant_values=255)
    whole = padded.transpose(0, 3, 1, 4, 2).reshape(n_rows * (height + GAP), n_columns * (width + GAP), channels)
    return whole.squeeze(-1) if channels == 1 else whole[:, :, :3]
