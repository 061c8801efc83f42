"""The data set `sprites`: pictures of soft shapes whose attributes are moved by latents that change across domains."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.registry import UsageError
from datasets import Seed, field, mixings, register, stream
from datasets import support as supports
from datasets.dials import MIXING, REFERENCE, Dials
from datasets.latents import LATENT_STD

# What can be moved of a shape, and how far at most to either side: half cells, half cells, log, radians, radians, log.
REACHES = {"across": 0.9, "down": 0.9, "size": 0.8, "angle": 2.8, "hue": 3.0, "brightness": 0.4}
ATTRIBUTES, REACH = tuple(REACHES), np.array(list(REACHES.values()))
WEIGHTS = (0.7, 1.0)  # part of a reach that a latent moves an attribute by, drawn for each shape and latent
BEND = 2.0  # a latent of one standard deviation moves an attribute by 2 / pi * arctan(BEND) = 0.70 of the way
OFFSET = (0.2, 0.4)  # distance of a resting shape from the centre of its cell, about which it turns, in half cells
LOG_SIZE, LOG_BRIGHTNESS = math.log(0.45), -0.4  # of a resting shape; no channel exceeds 1
ASPECT = 1.7  # root of the ratio of a shape's axes
GREY, COLOUR = 0.5, 0.4  # a channel is GREY + COLOUR * cos(hue - its own hue)

THRESHOLD = 0.05  # least effect of a latent on a pixel of a shape, in parts of its greatest effect on that shape
N_REFERENCE = 100  # points over which effects and margins are taken
MIN_SHARE = 0.25  # least part of a cell's pixels on which its shape is drawn
MIN_SINGULAR = 0.05  # least singular value of the Jacobian, latents in units of their spread, x in those of `unit`
MIN_STRETCH = 0.2  # least |x - x'| / |z - z'| over pairs of reference points, in the same units


@dataclass(frozen=True)
class Scene:
    """x = g(z): the picture of soft ellipses, each in a cell of its own, additive on black.

    Latent i moves one attribute of every shape s that it is a parent of, v = base + REACH * weight_si * 2 / pi * arctan(BEND * z_i /
    LATENT_STD). There are six attributes: of more latents, two that move the same one of a shape add up. At pixel p, in half cells from the
    centre of the cell, a shape adds

        brightness * (GREY + COLOUR * cos(hue - 2 pi c / 3)) / (1 + q),   q = (d_1 / (size * ASPECT))^2 + (d_2 * ASPECT / size)^2

    to channel c, where d = R(-angle) p - (across, down); size and brightness are exponentials of their attributes. Values are within 0 and 1
    where no shapes overlap and no two latents move the same brightness.
    """

    moves: np.ndarray  # (n_shapes, n_latents), boolean: which latents move which shape
    attribute: np.ndarray  # (n_shapes, n_latents), places in REACHES
    weight: np.ndarray  # (n_shapes, n_latents)
    base: np.ndarray  # (n_shapes, n_attributes)
    drawn: np.ndarray  # (n_shapes, side * side), boolean: the pixels on which a shape is drawn
    side: int
    smooth = True  # twice differentiable
    linear_only = False

    @property
    def support(self) -> np.ndarray:
        """Gives which values depend on which latents, (3 * side * side, n_latents): those on which a shape of theirs is drawn."""
        return np.tile((self.drawn.astype(int).T @ self.moves) > 0, (3, 1))

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """Returns pictures (n_samples, 3 * side * side), channels first, without noise, from latents (n_samples, n_latents)."""
        x = np.zeros((len(z), 3, self.side**2))
        for shape, pixels in enumerate(self.drawn):
            x[:, :, pixels] += self._render(shape, z)[0]
        return x.reshape(len(z), -1)

    def jacobian(self, z: np.ndarray) -> np.ndarray:
        """Returns dx_k/dz_i, (n_samples, 3 * side * side, n_latents), in closed form."""
        found = np.zeros((len(z), 3, self.side**2, z.shape[1]))
        for shape, pixels in enumerate(self.drawn):
            found[:, :, pixels] += self.effects(shape, z)
        return found.reshape(len(z), -1, z.shape[1])

    def effects(self, shape: int, z: np.ndarray) -> np.ndarray:
        """Returns the derivatives of what a shape adds, (n_samples, 3, n_drawn, n_latents)."""
        _, slope = self._render(shape, z)
        found = np.zeros((len(z), 3, self.drawn[shape].sum(), z.shape[1]))
        rate = 2 / np.pi * BEND / LATENT_STD / (1 + (BEND * z / LATENT_STD) ** 2)
        for latent in np.flatnonzero(self.moves[shape]):
            attribute = self.attribute[shape, latent]
            by_latent = REACH[attribute] * self.weight[shape, latent] * rate[:, latent]
            found[..., latent] = slope(ATTRIBUTES[attribute]) * by_latent[:, None, None]
        return found

    def attributes(self, shape: int, z: np.ndarray) -> np.ndarray:
        """Returns the attributes of a shape, (n_samples, n_attributes), in the order of REACHES."""
        moved = np.eye(len(REACH))[self.attribute[shape]] * REACH * (self.weight * self.moves)[shape][:, None]
        return self.base[shape] + 2 / np.pi * np.arctan(BEND * z / LATENT_STD) @ moved

    def _render(self, shape: int, z: np.ndarray) -> tuple[np.ndarray, Callable[[str], np.ndarray]]:
        """Returns what a shape adds, (n_samples, 3, n_drawn), and a function that gives its derivative in an attribute."""
        right, below = places(len(self.moves), self.side)[shape, self.drawn[shape]].T
        values = self.attributes(shape, z)[:, :, None, None]  # each (n_samples, 1, 1), to go with channels and pixels
        across, down, size, angle, hue, brightness = np.moveaxis(values, 1, 0)
        cos, sin = np.cos(angle), np.sin(angle)
        turned = cos * right + sin * below, cos * below - sin * right
        first, second = turned[0] - across, turned[1] - down
        width, height = np.exp(size) * ASPECT, np.exp(size) / ASPECT
        q = (first / width) ** 2 + (second / height) ** 2
        phase = hue - 2 * np.pi / 3 * np.arange(3)[:, None]
        light = np.exp(brightness) / (1 + q)
        added = (GREY + COLOUR * np.cos(phase)) * light

        def slope(attribute: str) -> np.ndarray:
            if attribute == "brightness":
                return added
            if attribute == "hue":
                return -COLOUR * np.sin(phase) * light
            by_first, by_second = 2 * first / width**2, 2 * second / height**2  # the derivatives of q
            of_q = {
                "across": -by_first,
                "down": -by_second,
                "size": -2 * q,
                "angle": by_first * turned[1] - by_second * turned[0],
            }
            return -added / (1 + q) * of_q[attribute]

        return added, slope


@functools.cache
def places(n_shapes: int, side: int) -> np.ndarray:
    """Returns where every pixel is from the centre of each shape's cell, to the right and down: (n_shapes, side * side, 2), in half cells.

    Cells are those of the smallest square board that has one for each shape, row by row.
    """
    n_cells = cells_per_side(n_shapes)
    at = (np.arange(side) + 0.5) * n_cells / side
    down, across = np.meshgrid(at, at, indexing="ij")
    row, column = np.divmod(np.arange(n_shapes)[:, None], n_cells)
    return 2 * np.stack([across.ravel() - column - 0.5, down.ravel() - row - 0.5], axis=-1)


def cells_per_side(n_shapes: int) -> int:
    return math.isqrt(n_shapes - 1) + 1


def draw_scene(moves: np.ndarray, side: int, overlap: float, reference: np.ndarray, rng: np.random.Generator) -> Scene:
    """Draws shapes that rest at random, and which attribute each latent moves of each, which does not depend on `moves`.

    A shape is drawn on those pixels of its cell, or within `overlap` half cells around it, of which each of its latents moves every
    channel by at least THRESHOLD of its greatest effect there: by the root-mean-square of the derivatives over `reference`.
    """
    n_shapes, n_latents = moves.shape
    n = max(n_latents, len(REACH))
    attribute = np.stack([rng.permutation(n)[:n_latents] % len(REACH) for _ in range(n_shapes)])
    weight = rng.uniform(*WEIGHTS, moves.shape) * rng.choice([-1, 1], moves.shape)
    distance, towards, angle, hue = rng.uniform(
        (OFFSET[0], 0, 0, 0), (OFFSET[1], 2 * np.pi, 2 * np.pi, 2 * np.pi), (n_shapes, 4)
    ).T
    log_size, log_brightness = np.full(n_shapes, LOG_SIZE), np.full(n_shapes, LOG_BRIGHTNESS)
    base = [distance * np.cos(towards), distance * np.sin(towards), log_size, angle, hue, log_brightness]
    within = (np.abs(places(n_shapes, side)) < 1 + overlap).all(axis=-1)
    scene = Scene(moves, attribute, weight, np.stack(base, axis=1), within, side)
    drawn = np.zeros_like(within)
    for shape, own in enumerate(moves):
        effect = np.sqrt((scene.effects(shape, reference)[..., own] ** 2).mean(axis=0))  # (3, n_within, n_parents)
        drawn[shape, within[shape]] = (effect >= THRESHOLD * effect.max(axis=(0, 1))).all(axis=(0, 2))
    return dataclasses.replace(scene, drawn=drawn)


def unit(x: np.ndarray, n_latents: int) -> float:
    """Returns what an average latent moves: the root of the variance of pictures `x` (n_samples, n_values) in all, for each latent."""
    return float(np.sqrt(x.var(axis=0).sum() / n_latents))


def is_well_posed(scene: Scene, reference: np.ndarray) -> bool:
    """Says whether every shape is drawn on enough pixels, overlap leaves the shadows, and the scene is injective by a margin on `reference`."""
    if scene.drawn.sum(axis=1).min() < MIN_SHARE * scene.side**2 / cells_per_side(len(scene.moves)) ** 2:
        return False
    if not np.array_equal(supports.shadows(scene.support), supports.shadows(scene.moves)):
        return False
    x = scene(reference)
    scale = unit(x, reference.shape[1])
    if mixings.least_stretch(x / scale, reference / LATENT_STD) < MIN_STRETCH:
        return False
    return mixings.least_singular_value(scene.jacobian(reference) * LATENT_STD / scale) >= MIN_SINGULAR


@register("sprites", source="this project")
@dataclass(frozen=True)
class Sprites(Dials):
    """Pictures of soft shapes whose position, size, angle, hue and brightness are moved by latents that change with the domain.

    The latents are those of sparse-mixing, and so are the dials; shapes stand where that has observed variables. A latent moves one
    attribute of each of its shapes (Scene has the formula). One that moves an attribute of all the shapes that another moves, as shared
    light does, is in its shadow; two that move the same shapes are twins. All latents of a shape move the same pixels: a shape is drawn only where
    each of them moves every channel by at least 5 % of its greatest effect on it. The support is that of the pixels.

    With `overlap` shapes shine into the cells around theirs, and pixels there depend on the latents of both. What would change a shadow is
    refused. A draw is repeated until each shape is drawn on enough of its cell and the pictures tell the latents by a margin.

    Along `domains` a seed keeps its scene and its first domains; along `violation` its sources, its shadows, how shapes rest and what a latent
    moves of each.

    The difficulty was frozen before any method was trained, on ten tuning seeds of each of five cells (2, 5 and 9 domains, violation 0 and 1/2, with
    twins and without): by cell, `pca` has a mean mcc_spearman of .58 to .74, `fastica` .65 to .85, and a linear probe of the pixels an R^2 of .95 to
    .96; the pixels themselves have an mcc_spearman of .85 to .87 (four seeds of four cells).
    """

    n_shapes: int = field(9, help="number of shapes, at least n_latents", low=1, high=1000)
    pixels: int = field(16, help="pixels along each side of the picture, at least 3 for each cell", low=3, high=512)
    overlap: float = field(0.0, help="how far shapes shine into the cells around theirs, in half cells", low=0, high=1)
    noise: float = field(
        0.02,
        help="standard deviation of the observation noise; pictures are from 0 to 1",
        low=0,
        high=10,
    )

    def __post_init__(self):
        super().__post_init__()
        if self.n_shapes < self.n_latents:
            raise UsageError(f"n_shapes={self.n_shapes} must be at least n_latents={self.n_latents}")
        needed = 3 * cells_per_side(self.n_shapes)
        if self.pixels < needed:
            raise UsageError(
                f"pixels={self.pixels} is too small for n_shapes={self.n_shapes}; it must be at least {needed}"
            )

    @property
    def image(self) -> tuple[int, int, int]:
        """Gives the shape of the pictures, (channels, height, width)."""
        return 3, self.pixels, self.pixels

    @property
    def shape(self) -> tuple[int, int, int]:
        """Gives (n_observed, n_latents, number of domains), which is known without generating."""
        return 3 * self.pixels**2, self.n_latents, self.domains

    @property
    def n_rows(self) -> int:
        return self.n_shapes

    def draw_mixing(self, seed: Seed) -> Scene:
        """Returns the first drawn scene that meets the margins, with the shadows of this seed along `violation` too.

        Raises UsageError if none of mixings.MAX_DRAWS does.
        """
        reference = stream(seed, REFERENCE).normal(size=(N_REFERENCE, self.n_latents)) * LATENT_STD

        def drawn(moves: np.ndarray, attempt: int) -> Scene | None:
            scene = draw_scene(moves, self.pixels, self.overlap, reference, stream(seed, MIXING, attempt))
            return scene if is_well_posed(scene, reference) else None

        ladder = [each.draw_support(seed) for each in self.along_violation()]
        scene = mixings.first_drawn(drawn, self.draw_support(seed), ladder)
        if scene is None:
            raise UsageError(
                f"no picture that tells the latents in {mixings.MAX_DRAWS} draws for n_latents={self.n_latents}, n_shapes={self.n_shapes}, "
                f"pixels={self.pixels}, overlap={self.overlap:g}; try more shapes or pixels, fewer latents or less overlap"
            )
        return scene
