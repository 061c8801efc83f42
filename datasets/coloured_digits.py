"""The data set `coloured-digits`: real handwritten digits, whose style the domain decides."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from bench.files import changed, named_by
from bench.registry import UsageError, lazy_module
from datasets import Instance, Seed, Split, digits, field, register, stream

ndimage, stats = lazy_module("scipy.ndimage"), lazy_module("scipy.stats")

FIXED, VARIES, CHANGES = "fixed", "varies", "changes"
DIALS = (FIXED, VARIES, CHANGES)
COLOURS = ("stroke", "ground")
STYLES = (*COLOURS, "thickness", "slant", "rotation", "brightness")  # in the order of the columns of `Split.style`
FILES = "*-ubyte*"  # of a folder
N_CLASSES = 10
N_HELD_OUT = 1000  # points of validation, and of test
HUES = 5 / 6  # of the circle, from red to magenta, so that its ends are no neighbours
GROUND_VALUE = 0.6  # of a coloured ground, so that a white stroke stands out
DIMMEST = 0.4
SHEAR, TURN = 0.4, np.pi / 6  # at most, to either side
BLUR, SOFTNESS = 0.8, 0.08  # by which strokes are made thinner or thicker, in pixels of 28 and in ink
THINNEST, THICKEST = 0.6, 0.2  # of the blurred ink, what is still stroke
MEAN, CONCENTRATION = (0.2, 0.8), (4.0, 20.0)  # ranges of the parameters of a style's distribution in a domain

# Independent random streams below a data seed.
DOMAIN, HELD_OUT, SAMPLE = range(3)


@register(
    "coloured-digits",
    source="after the two-colour digits of Li et al. 2025, section 6; digits of Alpaydin & Kaynak 1998",
)
@dataclass(frozen=True)
class ColouredDigits:
    """Real digits; the digit is the content, and each domain has a distribution of styles of its own.

    A style is a number in [0, 1]: the hue of the stroke and of the ground, from red to magenta, the thickness of the stroke, its slant, the
    rotation of the digit, the brightness of the picture. Each dial says whether it is fixed, varies alike in all domains (Beta(2, 2)),
    or changes: then its distribution in domain u is Beta(m k, (1 - m) k), m ~ U(.2, .8) and k ~ U(4, 20). With `two_colour`, strokes have a
    colour in domains 0, 2, ... alone, and are white in the others, where the ground has one: with two domains that is the published
    set-up. Digits that are held out are never trained on; they are the same real ones for every seed, which draws who is held
    out, domains and styles. The true latents are not known; digit and styles are kept for scoring.
    """

    domains: int = field(2, help="number of domains", low=1, high=100)
    n_samples: int = field(4000, help="training points over all domains", low=500, high=10_000_000)
    n_latents: int = field(16, help="number of latents to estimate", low=1, high=1000)
    size: int = field(28, help="pixels of a side", low=8, high=256)
    folder: str = field(
        "",
        help="where IDX files are, as MNIST's, gzipped or not; none: scikit-learn's digits",
        is_path=True,
        holds=FILES,
    )
    dependence: float = field(0.0, help="correlation of a style's normal score with the digit", low=0, high=1)
    two_colour: bool = field(True, help="whether stroke and ground have a colour in different domains")
    stroke: str = field(CHANGES, help="colour of the stroke", choices=DIALS)
    ground: str = field(CHANGES, help="colour of the ground", choices=DIALS)
    thickness: str = field(FIXED, help="thickness of the stroke", choices=DIALS)
    slant: str = field(FIXED, help="slant of the digit", choices=DIALS)
    rotation: str = field(FIXED, help="rotation of the digit", choices=DIALS)
    brightness: str = field(FIXED, help="brightness of the picture", choices=DIALS)

    def __post_init__(self):
        if self.folder and not self._paths:
            raise UsageError(f"coloured-digits.folder={self.folder}: no file there is called {FILES}")

    @property
    def _paths(self) -> tuple[str, ...]:
        return tuple(path for path in named_by(f"{self.folder}/{FILES}") if "*" not in path)

    @property
    def _digits(self) -> digits.Digits:
        return _of_files(self._paths, tuple(map(changed, self._paths))) if self.folder else digits.of_scikit_learn()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Gives (n_observed, n_latents, number of domains), which is known without generating."""
        return 3 * self.size**2, self.n_latents, self.domains

    @property
    def image(self) -> tuple[int, int, int]:
        """Gives (channels, height, width) of a point."""
        return 3, self.size, self.size

    has_truth = False
    n_known = 0

    @property
    def styles(self) -> tuple[str, ...]:
        """Gives the names of the styles that are not fixed, the columns of `Split.style`."""
        return tuple(name for name in STYLES if getattr(self, name) != FIXED)

    @property
    def fingerprint(self) -> str:
        """Gives a hash of the digits."""
        return self._digits.fingerprint

    def generate(self, seed: Seed) -> Instance:
        """Returns the instance of one data seed; the style of a part without a colour is NaN."""
        found = self._digits
        order = stream(seed, HELD_OUT).permutation(len(found.ink))
        rows = np.split(order, [round(0.6 * len(order)), round(0.8 * len(order))])
        sizes = (self.n_samples, N_HELD_OUT, N_HELD_OUT)
        train, validation, test = (
            self._split(seed, part, *each) for part, each in enumerate(zip(rows, sizes, strict=True))
        )
        labels = tuple(f"domain {u}" for u in range(self.domains))
        return Instance(train, validation, test, None, self.domains, None, None, x_shape=self.image, labels=labels)

    def _split(self, seed: Seed, part: int, rows: np.ndarray, size: int) -> Split:
        """`size` points of the digits `rows`, all domains and, in each of them, all digits in equal numbers to one point."""
        found, rng = self._digits, stream(seed, SAMPLE, part)
        domains = rng.permutation(np.arange(size) % self.domains)
        chosen = np.empty(size, np.int64)
        for u in range(self.domains):
            own = np.flatnonzero(domains == u)
            chosen[own] = np.concatenate([rng.permutation(rows) for _ in range(-(-len(own) // len(rows)))])[: len(own)]
        content = found.labels[chosen]
        style = self._styles(seed, domains, content, rng)
        x = self._drawn(found.ink[chosen], style)
        kept = [STYLES.index(name) for name in self.styles]
        none = np.zeros((size, 0), np.float32)
        return Split(x, domains.astype(np.int64), none, content, style[:, kept].astype(np.float32))

    def _styles(self, seed: Seed, domains: np.ndarray, content: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The styles (n_samples, 6) of points: 1/2 where fixed, NaN where a part has no colour."""
        of_digit = (content - (N_CLASSES - 1) / 2) / np.sqrt((N_CLASSES**2 - 1) / 12)
        styles = np.full((len(domains), len(STYLES)), 0.5)
        for column, name in enumerate(STYLES):
            scores = rng.normal(size=len(domains))
            scores = self.dependence * of_digit + np.sqrt(1 - self.dependence**2) * scores
            if getattr(self, name) != FIXED:
                first, second = np.array([self.distribution(seed, name, u) for u in range(self.domains)])[domains].T
                styles[:, column] = stats.beta.ppf(stats.norm.cdf(scores), first, second)
            if self.two_colour and name in COLOURS:
                styles[domains % 2 != COLOURS.index(name), column] = np.nan
        return styles

    def distribution(self, seed: Seed, style: str, domain: int) -> tuple[float, float]:
        """Returns the two parameters of the Beta distribution of a style in a domain; each domain has its own stream."""
        if getattr(self, style) == VARIES:
            return 2.0, 2.0
        draws = stream(seed, DOMAIN, domain, STYLES.index(style)).random(2)
        (low, high), (least, most) = MEAN, CONCENTRATION
        mean, concentration = low + (high - low) * draws[0], least + (most - least) * draws[1]
        return mean * concentration, (1 - mean) * concentration

    def _drawn(self, ink: np.ndarray, style: np.ndarray) -> np.ndarray:
        """The pictures (n_samples, 3 * size * size) of digits with their styles, channels first, in [0, 1]."""
        stroke, ground, thickness, slant, rotation, brightness = style.T
        canvas = digits.on_canvas(ink, self.size)
        if self.slant != FIXED or self.rotation != FIXED:
            canvas = _turned(canvas, SHEAR * (2 * slant - 1), TURN * (2 * rotation - 1))
        if self.thickness != FIXED:
            canvas = _of_thickness(canvas, thickness)
        ink = canvas.reshape(len(canvas), 1, -1)
        front = np.where(np.isnan(stroke)[:, None], 1.0, hue(stroke))
        back = np.where(np.isnan(ground)[:, None], 0.0, GROUND_VALUE * hue(ground))
        x = ink * front[:, :, None].astype(np.float32) + (1 - ink) * back[:, :, None].astype(np.float32)
        if self.brightness != FIXED:
            x *= (DIMMEST + (1 - DIMMEST) * brightness).astype(np.float32)[:, None, None]
        return x.reshape(len(x), -1)


def hue(style: np.ndarray) -> np.ndarray:
    """Returns the colours (n, 3), of full saturation and value, of styles (n,): red at 0, magenta at 1. NaN is white's place, and stays."""
    turn = 6 * HUES * style[:, None]
    return np.clip(
        np.abs(turn - np.array([3.0, 2.0, 4.0])) * np.array([1.0, -1.0, -1.0]) + np.array([-1.0, 2.0, 2.0]), 0, 1
    )


def _turned(ink: np.ndarray, shear: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Each picture sheared, then turned, about its middle; by linear interpolation."""
    middle = (np.array(ink.shape[1:]) - 1) / 2
    found = np.empty_like(ink)
    for place, (own, tilt, turn) in enumerate(zip(ink, shear, angle, strict=True)):
        cos, sin = np.cos(turn), np.sin(turn)
        # From where on the old picture a pixel of the new one comes, in (row, column).
        matrix = np.array([[1.0, 0.0], [tilt, 1.0]]) @ np.array([[cos, sin], [-sin, cos]])
        ndimage.affine_transform(own, matrix, middle - matrix @ middle, order=1, output=found[place])
    return found


def _of_thickness(ink: np.ndarray, thickness: np.ndarray) -> np.ndarray:
    """Each picture with strokes of another thickness: its blurred ink, above a level that sinks as the thickness grows."""
    blur = BLUR * ink.shape[1] / 28
    soft = ndimage.gaussian_filter(ink, (0, blur, blur))
    level = (THINNEST + (THICKEST - THINNEST) * thickness).astype(np.float32)[:, None, None]
    return np.clip(0.5 + (soft - level) / (2 * SOFTNESS), 0, 1)


@functools.lru_cache(maxsize=4)
def _of_files(paths: tuple[str, ...], written: tuple[int, ...]) -> digits.Digits:
    return digits.of_files(paths)
