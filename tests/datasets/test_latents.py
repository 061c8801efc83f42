import numpy as np
import pytest
from scipy import integrate, stats

from bench.registry import UsageError
from datasets.latents import FAMILIES, LATENT_STD, draw_sources


def smoothed_uniform(a):
    """Density of U(-w, w) + a * w * logistic, with variance 1, by numerical convolution."""
    w = np.sqrt(3 / (1 + (np.pi * a) ** 2))

    def density(e):
        return integrate.quad(lambda v: stats.logistic.pdf(e - v, scale=a * w), -w, w)[0] / (2 * w)

    return density


def skew_normal(a):
    free = stats.skewnorm(a)
    return stats.skewnorm(a, loc=-free.mean() / free.std(), scale=1 / free.std())


REFERENCE = {
    "gaussian": lambda a: stats.norm().pdf,
    "laplace": lambda a: stats.laplace(scale=np.sqrt(0.5)).pdf,
    "student-t": lambda a: stats.t(a, scale=np.sqrt((a - 2) / a)).pdf,
    "uniform": smoothed_uniform,
    "mixture": lambda a: lambda e: sum(stats.norm(m, np.sqrt(1 - a**2)).pdf(e) for m in (-a, a)) / 2,
    "skewed": lambda a: skew_normal(a).pdf,
}
CASES = [(name, shape) for name, f in FAMILIES.items() for shape in {f.shape, *(f.shapes or ())}]


@pytest.mark.parametrize(("name", "shape"), CASES)
class TestFamilies:
    def test_slope_and_curvature_are_those_of_the_logarithm_of_the_density(self, name, shape):
        density = REFERENCE[name](shape)
        e, h = np.array([-2.3, -1.1, -0.4, 0.3, 0.9, 1.7, 2.6]), 1e-3
        below, here, above = (np.log([density(point) for point in e + step]) for step in (-h, 0, h))
        family, a = FAMILIES[name], np.full(len(e), shape)
        np.testing.assert_allclose(family.slope(e, a), (above - below) / (2 * h), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(family.curvature(e, a), (above - 2 * here + below) / h**2, rtol=1e-3, atol=2e-3)

    def test_the_quantile_takes_a_normal_number_to_one_with_the_same_rank(self, name, shape):
        density, g = REFERENCE[name](shape), np.array([-2.0, -0.7, 0.1, 1.3, 2.4])
        e = FAMILIES[name].quantile(g, np.full(len(g), shape))
        below = [
            integrate.quad(density, -np.inf, min(end, 0))[0] + integrate.quad(density, 0, max(end, 0))[0] for end in e
        ]
        np.testing.assert_allclose(below, stats.norm.cdf(g), atol=1e-6)

    def test_mean_is_0_and_variance_1(self, name, shape):
        density = REFERENCE[name](shape)
        reach = 6 if name == "uniform" else 60  # beyond 6 its density, an integral at every point, is below 1e-20
        grid = np.linspace(-reach, reach, (100 if name == "uniform" else 400) * reach + 1)
        values = np.array([density(e) for e in grid]) if name == "uniform" else density(grid)
        heavy = name == "student-t" and shape < 4  # its variance converges slowly
        assert np.trapezoid(values * grid, grid) == pytest.approx(0, abs=1e-6)
        assert np.trapezoid(values * grid**2, grid) == pytest.approx(1, abs=0.05 if heavy else 2e-3)


def sources(n_domains=40, n_latents=4, changing=None, **fields):
    changing = np.ones(n_latents, bool) if changing is None else np.array(changing)
    return draw_sources(np.random.SeedSequence(3), 0, n_domains, changing, **fields)


def moves(values):
    """Which latents' values differ between domains."""
    return np.ptp(values, axis=0) > 1e-9


@pytest.mark.parametrize(
    ("fields", "moving"),
    [
        ({}, (True, True, False)),
        ({"changes": "mean"}, (True, False, False)),
        ({"changes": "scale"}, (False, True, False)),
        ({"changes": "shape", "family": "skewed"}, (False, False, True)),
        ({"changes": "none"}, (False, False, False)),
        ({"strength": 0.0}, (False, False, False)),
    ],
)
def test_changes_move_what_they_name_and_nothing_else(fields, moving):
    drawn = sources(**fields)
    for values, expected in zip((drawn.mean, drawn.std, drawn.shape), moving, strict=True):
        assert (moves(values) == expected).all()


def test_latents_that_do_not_change_are_the_same_in_every_domain():
    drawn = sources(changing=[True, False, True, False])
    for values in (drawn.mean, drawn.std):
        assert moves(values).tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    "fields", [{}, {"strength": 0.5}, {"changes": "mean"}, {"changes": "scale"}, {"changes": "none"}]
)
def test_a_latents_variance_over_all_domains_does_not_depend_on_the_changes(fields):
    drawn = sources(n_domains=4000, **fields)
    variance = (drawn.std**2 + drawn.mean**2).mean(0)
    np.testing.assert_allclose(variance, LATENT_STD**2, rtol=0.06)


def test_a_larger_strength_makes_larger_changes_in_the_same_directions():
    weak, strong = sources(strength=0.25), sources(strength=1.0)
    np.testing.assert_allclose(weak.mean * 4, strong.mean)
    ratio = [np.log(s.std / s.std.prod(0) ** (1 / 40)) for s in (weak, strong)]
    np.testing.assert_allclose(ratio[0] * 4, ratio[1])


def test_the_first_domains_stay_when_there_are_more():
    few, many = sources(n_domains=5), sources(n_domains=9)
    assert np.array_equal(few.mean, many.mean[:5]) and np.array_equal(few.std, many.std[:5])


@pytest.mark.parametrize("changes", ["both", "mean", "scale"])
def test_rank_caps_the_directions_of_change_and_leaves_the_first_domains(changes):
    free, capped = sources(changes=changes), sources(changes=changes, rank=3)
    np.testing.assert_allclose(free.mean[:4], capped.mean[:4])
    np.testing.assert_allclose(free.std[:4], capped.std[:4])
    natural = np.concatenate([capped.std**-2, capped.mean * capped.std**-2], axis=1)
    assert np.linalg.matrix_rank(natural[1:] - natural[0], tol=1e-8) == 3
    assert len(np.unique(natural.round(9), axis=0)) == 40  # and no two domains are the same
    assert (moves(capped.mean) == moves(free.mean)).all() and (moves(capped.std) == moves(free.std)).all()


def test_latents_have_the_stated_correlation_within_a_domain_and_their_own_distribution():
    dependent, free = sources(dependence=0.6, family="skewed"), sources(family="skewed")
    normal = np.random.default_rng(0).normal(size=(40_000, 4))
    z, independent = dependent.sample(0, normal), free.sample(0, normal)
    gauss = stats.norm.ppf(stats.rankdata(z, axis=0) / (len(z) + 1))
    np.testing.assert_allclose(np.corrcoef(gauss.T)[np.triu_indices(4, 1)], 0.6, atol=0.02)
    assert np.abs(np.corrcoef(independent.T)[np.triu_indices(4, 1)]).max() < 0.02
    assert all(stats.ks_2samp(z[:, i], independent[:, i]).pvalue > 1e-3 for i in range(4))


def test_derivatives_are_those_of_each_domains_density():
    drawn = sources(n_domains=3, family="student-t")
    z, h = np.random.default_rng(0).normal(size=(6, 4)), 1e-4
    logs = [
        np.stack([stats.t(5, loc=m, scale=s * np.sqrt(3 / 5)).logpdf(z + d) for m, s in zip(drawn.mean, drawn.std, strict=True)])
        for d in (-h, 0, h)
    ]  # fmt: skip
    slope, curvature = drawn.derivatives(z)
    np.testing.assert_allclose(slope, (logs[2] - logs[0]) / (2 * h), atol=1e-6)
    np.testing.assert_allclose(curvature, (logs[2] - 2 * logs[1] + logs[0]) / h**2, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "words"), [({"changes": "shape"}, "no shape"), ({"rank": 2, "family": "laplace"}, "gaussian")]
)
def test_changes_that_a_family_cannot_make_are_refused(fields, words):
    with pytest.raises(UsageError, match=words):
        sources(**fields)


def test_a_cap_on_the_rank_leaves_invariant_latents_and_the_variance_that_the_docs_state():
    drawn = sources(changing=[True, False, True, False], rank=2)
    assert (
        (np.ptp(drawn.mean, axis=0) == 0).tolist()
        == (np.ptp(drawn.std, axis=0) == 0).tolist()
        == [False, True, False, True]
    )
    seeds = [np.random.SeedSequence(s) for s in range(100)]
    for rank in (1, 2, 4, 8):
        spread = [draw_sources(s, 0, 60, np.ones(4, bool), rank=rank).spread ** 2 for s in seeds]
        assert 0.55 < np.mean(spread) / LATENT_STD**2 < 0.7, rank
