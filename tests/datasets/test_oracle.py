import itertools

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq

from datasets import oracle
from datasets import support as supports
from datasets.latents import Sources, draw_sources
from datasets.oracle import NO, NOT_COVERED, YES
from datasets.sparse_mixing import SparseMixing


def seed(number=0):
    return np.random.SeedSequence(0, spawn_key=(98, number))


def verdicts(number=0, **fields):
    return oracle.columns(SparseMixing(**{"n_samples": 1000, **fields}).generate(seed(number)))


def smallest_common_parents(support, latent):
    """C_k of Zheng, Ng & Zhang 2022: the intersection of parents over the best set of observed variables that depend on `latent`."""
    rows = [k for k in range(len(support)) if support[k, latent]]
    sets = [s for size in range(1, len(rows) + 1) for s in itertools.combinations(rows, size)]
    return min((set.intersection(*({*np.flatnonzero(support[k])} for k in s)) for s in sets), key=len, default=None)


@pytest.mark.parametrize(("n", "m"), [(2, 3), (3, 3), (4, 4)])
def test_structural_sparsity_is_that_of_the_paper_for_every_support(n, m):
    bits = itertools.product([False, True], repeat=n * m) if n * m <= 9 else random_bits(n * m, 3000)
    for row in bits:
        support = np.array(row).reshape(m, n)
        inside = supports.shadows(support)
        for latent in range(n):
            common = smallest_common_parents(support, latent)
            holds = common == {latent}
            assert holds == (support[:, latent].any() and not inside[latent].any())


def random_bits(n, count):
    return np.random.default_rng(0).random((count, n)) < 0.5


def test_a_dense_mixing_needs_2n_plus_1_generic_domains_and_2n_are_too_few():
    for n in (2, 3):
        dense = {"n_latents": n, "n_observed": 2 * n, "violation": 1.0, "twins": 1.0, "shadow_size": n - 1}
        enough, few = verdicts(domains=2 * n + 1, **dense), verdicts(domains=2 * n, **dense)
        assert enough["promised_changes"] == enough["promised_both"] == [YES] * n
        assert few["promised_changes"] == few["promised_both"] == [NO] * n
        assert enough["change_rank"] == 2 * n and few["change_rank"] == 2 * n - 1
        assert enough["change_margin"] > 1e-3 and few["change_margin"] == 0
        assert enough["promised_sparsity"] == enough["promised_independence"] == [NO] * n


def test_changes_of_variance_alone_have_rank_n_and_are_promised_at_n_plus_1_domains():
    for domains, expected in ((5, YES), (4, NO)):
        found = verdicts(domains=domains, changes="scale")
        assert found["promised_changes"] == [expected] * 4
    assert verdicts(domains=20, changes="scale")["change_rank"] == 4


def test_changes_of_the_mean_alone_are_never_promised():
    """Gaussians of fixed variance can be rotated in every domain alike."""
    found = verdicts(domains=20, changes="mean")
    assert found["change_rank"] == 4 and found["promised_changes"] == [NO] * 4


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_rank_caps_what_many_domains_promise(rank):
    found = verdicts(domains=30, rank=rank)
    assert found["change_rank"] == rank and found["promised_changes"] == [NO] * 4
    assert verdicts(domains=30, rank=8)["promised_changes"] == [YES] * 4


def test_a_strict_shadow_is_promised_in_one_domain_but_not_by_sparsity_alone():
    found = verdicts(domains=1, violation=0.5, twins=0)
    assert sorted(found["promised_sparsity"]) == [NO] * 2 + [YES] * 2
    assert found["promised_independence"] == found["promised_both"] == [YES] * 4
    assert found["promised_changes"] == [NO] * 4 and found["change_rank"] == 0


def test_two_twins_are_promised_with_five_generic_domains_and_not_with_four():
    for domains, expected in ((5, YES), (4, NO)):
        found = verdicts(domains=domains, violation=0.5, twins=0.5)
        twin = [size == 2 for size in found["twin_class_sizes"]]
        assert sum(twin) == 2
        assert [v for v, t in zip(found["promised_both"], twin, strict=True) if t] == [expected] * 2
        assert [v for v, t in zip(found["promised_both"], twin, strict=True) if not t] == [YES] * 2
        assert found["promised_changes"] == [NO] * 4


def test_what_theory_does_not_cover_is_said():
    laplace = verdicts(sources="laplace", violation=0.5, twins=0.5)
    assert laplace["promised_changes"] == [NOT_COVERED] * 4
    assert sorted(laplace["promised_both"]) == [NOT_COVERED] * 2 + [YES] * 2  # the twins need changes
    for name in oracle.PROMISES:
        assert verdicts(dependence=0.5)[name] == [NOT_COVERED] * 4
    linear = verdicts(mixing="linear", domains=3)
    assert linear["promised_sparsity"] == linear["promised_both"] == [NOT_COVERED] * 4
    assert linear["promised_changes"] == [NO] * 4
    assert verdicts(mixing="linear", domains=9)["promised_both"] == [YES] * 4


@pytest.mark.parametrize("family", ["student-t", "uniform", "mixture", "skewed"])
def test_smooth_families_need_2n_plus_1_domains_as_well(family):
    for domains, expected in ((9, YES), (8, NO)):
        assert verdicts(domains=domains, sources=family)["promised_changes"] == [expected] * 4


def test_the_margin_is_that_of_a_known_matrix():
    rows = np.array([[[1.0, 0, 0], [0, 2, 0], [0, 0, 3], [-1, -2, -3]]])
    covariance = rows[0].T @ rows[0] / 4  # already centred
    rank, margin = oracle.rank_and_margin(rows + 7)
    assert rank == 3 and margin == pytest.approx(np.sqrt(np.linalg.eigvalsh(covariance)[0]))
    assert oracle.rank_and_margin(rows[:, :3]) == (2, 0.0)
    assert oracle.rank_and_margin(np.ones((4, 3, 2))) == (0, 0.0)


def test_the_margin_shrinks_with_the_changes_and_prefers_no_domain():
    strong, weak = (verdicts(domains=12, change_strength=s)["change_margin"] for s in (1.0, 0.01))
    assert 0 < weak < 0.05 * strong
    z = np.random.default_rng(0).normal(size=(5, 3))
    drawn = draw_sources(seed(), 0, 9, np.ones(3, bool))
    turned = Sources("gaussian", np.roll(drawn.mean, 1, 0), np.roll(drawn.std, 1, 0), drawn.shape)
    margins = [oracle.rank_and_margin(oracle.change_matrix(s, z, np.ones(3, bool)))[1] for s in (drawn, turned)]
    assert margins[0] == pytest.approx(margins[1])


def test_where_one_statistic_suffices_the_margin_is_that_of_its_changes():
    found = verdicts(domains=20, changes="scale")
    assert found["promised_changes"] == [YES] * 4 and found["change_rank"] == 4 and found["change_margin"] > 0.05


def test_gradients_that_do_not_span_their_support_are_not_covered():
    """A row of 16 parents and 8 hidden units has gradients in 9 dimensions."""
    dense = verdicts(n_latents=16, n_observed=32, density=1.0)
    assert dense["promised_sparsity"] == [NOT_COVERED] * 16
    assert verdicts(n_latents=6, n_observed=12, density=1.0)["promised_sparsity"] == [YES] * 6


def test_the_rank_of_gaussian_changes_is_that_of_their_natural_parameters():
    for number in range(20):
        rng = np.random.default_rng(number)
        n, domains = rng.integers(1, 5), rng.integers(2, 9)
        sources = draw_sources(seed(number), 0, domains, rng.random(n) < 0.7)
        natural = np.concatenate([sources.std**-2, sources.mean * sources.std**-2], axis=1)
        z = rng.normal(size=(5, n))
        found = oracle.rank_and_margin(oracle.change_matrix(sources, z, np.ones(n, bool)))[0]
        assert found == np.linalg.matrix_rank(natural[1:] - natural[0], tol=1e-9)


# An adversary: polynomial deformations z -> z + e * v(z), v_i a polynomial in the latents of B_i = {i} + shadow(i), that leave the
# latents independent in every domain to first order in e. The density of the deformed latents changes by the factor
# 1 - e * (div v + sum_i v_i q_i'), which must be a product over latents: every mixed derivative of the bracket must vanish.


def deformations(support, sources, degree=3):
    """Basis of the admissible deformations: terms as (i, exponents), and their coefficients (n_terms, n_deformations)."""
    n = support.shape[1]
    within = supports.shadows(support) | np.eye(n, dtype=bool)
    exponents = [e for e in itertools.product(range(degree + 1), repeat=n) if 0 < sum(e) <= degree]
    terms = [(i, e) for i in range(n) for e in exponents if all(within[i, j] or not e[j] for j in range(n))]
    equations = []
    for mean, std in zip(sources.mean, sources.std, strict=True):
        rows = {}
        for column, (i, e) in enumerate(terms):
            pieces = []  # of d/dz_i z^e - z^e (z_i - mean_i) / std_i^2
            if e[i]:
                pieces.append((tuple(x - (k == i) for k, x in enumerate(e)), e[i]))
            pieces.append((tuple(x + (k == i) for k, x in enumerate(e)), -(std[i] ** -2)))
            pieces.append((e, mean[i] / std[i] ** 2))
            for monomial, value in pieces:
                if sum(x > 0 for x in monomial) > 1:
                    rows.setdefault(monomial, np.zeros(len(terms)))[column] += value
        equations += rows.values()
    matrix = np.array(equations) if equations else np.zeros((1, len(terms)))
    values, right = np.linalg.svd(matrix)[1:]
    rank = int((values > 1e-9 * max(values[0], 1e-300)).sum())
    return terms, right[rank:].T


def entangled(support, sources):
    """Per latent: whether an admissible deformation makes it depend on another one."""
    terms, basis = deformations(support, sources)
    found = np.zeros(support.shape[1], bool)
    for row, (i, e) in zip(basis, terms, strict=True):
        found[i] |= any(x for j, x in enumerate(e) if j != i) and np.abs(row).max(initial=0) > 1e-7
    return found


def gaussians(domains, n, number):
    rng = np.random.default_rng(number)
    mean, std = rng.uniform(-2, 2, (domains, n)), 2 ** rng.uniform(-1, 1, (domains, n))
    return Sources("gaussian", mean, std, np.zeros((domains, n)))


@pytest.mark.parametrize("domains", [1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("n", [2, 3])
def test_no_admissible_deformation_entangles_a_latent_that_is_promised(n, domains):
    promised = found = 0
    choices = [(v, t) for v in range(n + 1) for t in range(v + 1) if t != 1 and (v < n or t)]
    for number, (violating, twin) in enumerate(choices):
        rng = np.random.default_rng(number)
        counts = supports.counts(n, violating / n, twin / n)
        support = supports.build(supports.preorder(n, *counts, rng.permutation(n)), n + 1, 0.5, rng)
        sources = gaussians(domains, n, number)
        alike = supports.shadows(support) & supports.shadows(support).T | np.eye(n, dtype=bool)
        z = rng.normal(size=(16, n))
        both = [row.sum() == 1 or oracle.judge_changes(sources, z, row)[2] for row in alike]
        mixed = entangled(support, sources)
        assert not mixed[np.array(both)].any(), (violating, twin, support, mixed)
        promised, found = promised + sum(both), found + mixed.sum()
    assert promised and (found or domains > 1)  # and it is an adversary: in one domain it does entangle


def test_twins_in_one_domain_are_entangled_by_the_adversary():
    support = np.array([[1, 1], [1, 1], [1, 1]], bool)
    assert entangled(support, gaussians(1, 2, 0)).all()
    assert not entangled(support, gaussians(5, 2, 0)).any()


def test_twins_whose_means_alone_change_are_entangled_whatever_the_number_of_domains():
    support, sources = np.ones((3, 2), bool), gaussians(12, 2, 0)
    still = Sources("gaussian", sources.mean, np.broadcast_to(sources.std[0], (12, 2)), sources.shape)
    assert entangled(support, still).all()
    assert not oracle.judge_changes(still, np.zeros((4, 2)), np.ones(2, bool))[2]


class TestACounterexample:
    """Two latents, two observed variables, one domain: as many edges as the truth has, and both latents mixed.

    x_1 = z_1, x_2 = z_2 + z_1 + z_1^2 / 2. The competitor: z_hat_2 = x_2, and z_hat_1 = F(x_1 | x_2), the conditional quantile.
    """

    SUPPORT = np.array([[True, False], [True, True]])
    GRID = np.linspace(-6, 6, 2001)

    def quantile(self, z_1, x_2):
        """F(z_1 | x_2), by numerical integration of p(z_1) p(x_2 | z_1), both densities standard normal in their latents."""
        density = stats.norm.pdf(self.GRID) * stats.norm.pdf(x_2[:, None] - self.GRID - self.GRID**2 / 2)
        cumulative = np.cumsum(density, axis=1)
        place = np.searchsorted(self.GRID, z_1)
        return cumulative[np.arange(len(z_1)), place] / cumulative[:, -1]

    @pytest.fixture
    def points(self):
        z = np.random.default_rng(0).normal(size=(4000, 2))
        x = np.stack([z[:, 0], z[:, 1] + z[:, 0] + z[:, 0] ** 2 / 2], axis=1)
        return z, x, np.stack([self.quantile(x[:, 0], x[:, 1]), x[:, 1]], axis=1)

    def test_its_latents_are_independent(self, points):
        """F is uniform in every slice of x_2: the p of 20 tests, corrected; without the conditioning the same test fails."""
        _, x, z_hat = points
        slices = np.array_split(np.argsort(z_hat[:, 1]), 20)
        assert min(stats.kstest(z_hat[rows, 0], "uniform").pvalue for rows in slices) > 0.05 / 20
        assert min(stats.kstest(stats.norm.cdf(x[rows, 0]), "uniform").pvalue for rows in slices) < 1e-10

    def test_it_has_as_many_edges_and_mixes_both_true_latents(self, points):
        """x_2 depends on one new latent and x_1 on both; each true latent moves with either new one, the other held fixed."""
        _, x, z_hat = points
        at = np.full(50, 0.3)
        x_2 = np.linspace(-1, 2, 50)
        x_1 = np.array(
            [brentq(lambda v, u=u: self.quantile(np.array([v]), np.array([u]))[0] - 0.3, -5, 5) for u in x_2]
        )
        z_2 = x_2 - x_1 - x_1**2 / 2
        np.testing.assert_allclose(self.quantile(x_1, x_2), at, atol=0.02)
        assert np.ptp(x_1) > 0.3 and np.ptp(z_2) > 0.3  # with z_hat_1 at 0.3, both true latents move with z_hat_2
        fixed = np.abs(x[:, 1] - 0.5) < 0.05
        true = np.stack([x[fixed, 0], (x[:, 1] - x[:, 0] - x[:, 0] ** 2 / 2)[fixed]], axis=1)
        assert all(abs(stats.spearmanr(z_hat[fixed, 0], latent)[0]) > 0.5 for latent in true.T)  # and with z_hat_1
        assert self.SUPPORT.sum() == 3

    def test_the_conditions_that_can_be_checked_hold_and_the_tie_is_found(self):
        """Latent 2 has a strict shadow, the gradients span, and only the condition on cancellation is left to exclude the competitor."""
        assert supports.shadows(self.SUPPORT).tolist() == [[False, False], [True, False]]
        z = np.random.default_rng(0).normal(size=(100, 1))
        gradients = np.hstack([1 + z, np.ones_like(z)])  # of x_2
        assert np.linalg.matrix_rank(gradients) == 2
        assert supports.stand_ins(self.SUPPORT) == [(1, (0, 1))]
        assert oracle.mixed_by_ties(self.SUPPORT).all()


def test_a_tie_among_twins_alone_is_no_news_of_them():
    """Sparsity promises nothing of twins, so that what mixes them takes nothing away; a latent beside them is not touched."""
    support = np.array([[True, True, False], [True, True, False], [False, False, True]])
    assert supports.stand_ins(support) == [(0, (0, 1)), (1, (0, 1))]
    assert not oracle.mixed_by_ties(support).any()


def test_a_tie_stands_against_what_sparsity_promises_and_not_against_what_changes_promise():
    maker = SparseMixing(n_samples=1000, violation=0.5, domains=3)
    tied = next(s for s in range(50) if oracle.mixed_by_ties(maker.draw_support(seed(s))).any())
    few, many = verdicts(tied, violation=0.5, domains=3), verdicts(tied, violation=0.5, domains=9)
    mixed = oracle.mixed_by_ties(maker.draw_support(seed(tied)))
    for latent in range(4):
        assert (
            (few["promised_independence"][latent] == oracle.TIE)
            == (few["promised_both"][latent] == oracle.TIE)
            == mixed[latent]
        )
        assert few["promised_sparsity"][latent] in ((oracle.TIE, NO) if mixed[latent] else (YES, NO))
        assert many["promised_both"][latent] == many["promised_changes"][latent] == YES
