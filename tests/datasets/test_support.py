import itertools
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.plan.identity import data_seed
from bench.registry import UsageError
from datasets import datasets
from datasets import support as supports


def shadows_by_enumeration(support):
    """shadow(i), from every set of observed variables that have i as a parent: the smallest common parents."""
    m, n = support.shape
    inside = np.zeros((n, n), bool)
    for latent in range(n):
        rows = [k for k in range(m) if support[k, latent]]
        sets = [s for size in range(1, len(rows) + 1) for s in itertools.combinations(rows, size)]
        common = [set.intersection(*({j for j in range(n) if support[k, j]} for k in s)) for s in sets]
        for other in set(range(n)) - {latent}:
            inside[latent, other] = all(other in c for c in common)
    return inside


@given(
    st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=1, max_size=5)
    )
)
def test_shadows_are_those_of_the_definition(rows):
    support = np.array(rows)
    assert np.array_equal(supports.shadows(support), shadows_by_enumeration(support))


def test_violation_and_twins_of_a_known_support():
    support = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 1]], bool)
    assert supports.twins(support) == 0.5  # the first two
    assert supports.violation(support) == 0.75  # and the third, in whose only row the fourth stands too


def feasible(n):
    for violating in range(n + 1):
        for twin in (None, *range(violating + 1)):
            if twin != 1 and (twin is None or violating < n or twin >= 2):
                yield violating, twin


@pytest.mark.parametrize("density", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("n", "m"), [(2, 2), (3, 4), (4, 8), (5, 5), (8, 16)])
def test_every_feasible_violation_is_met_exactly_at_every_density(n, m, density):
    for violating, twin in feasible(n):
        counts = supports.counts(n, violating / n, None if twin is None else twin / n)
        for seed in range(3):
            rng = np.random.default_rng(seed)
            support = supports.build(supports.preorder(n, *counts, rng.permutation(n)), m, density, rng)
            fewest = 2 if violating == n else 0
            assert supports.violation(support) * n == pytest.approx(violating)
            assert supports.twins(support) * n == pytest.approx(fewest if twin is None else twin)
            assert support.any(axis=0).all() and support.any(axis=1).all()
            assert has_full_structural_rank(support)


def has_full_structural_rank(support):
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import structural_rank

    return structural_rank(csr_array(support.astype(int))) == support.shape[1]


def test_density_adds_edges_and_none_are_lost():
    def at(density):
        rng = np.random.default_rng(0)
        return supports.build(supports.preorder(4, 2, 0, None, np.arange(4)), 8, density, rng)

    sparse, middle, dense = at(0), at(0.5), at(1)
    assert (sparse <= middle).all() and (middle <= dense).all()
    assert sparse.sum() < middle.sum() < dense.sum()


def test_a_larger_violation_keeps_the_shadows_of_a_smaller_one():
    order = np.array([2, 0, 3, 1, 4])
    counts = [supports.counts(5, violating / 5, None) for violating in range(6)]
    shadows = [supports.preorder(5, *count, order) for count in counts]
    for smaller, larger in zip(shadows, shadows[1:], strict=False):
        assert (smaller <= larger).all() and (smaller != larger).any()


def test_a_third_may_be_written_with_two_digits():
    assert supports.counts(3, 0.33, None) == (1, 0, None)
    assert supports.counts(3, 0.67, 0.67) == (2, 2, None) and supports.counts(3, 0.3333, None) == (1, 0, None)
    for value, n in ((0.337, 3), (0.124, 100), (0.024, 50)):
        with pytest.raises(UsageError):
            supports.counts(n, value, None)


@pytest.mark.parametrize(
    ("n", "violation", "twins", "words"),
    [
        (4, 0.3, None, "0.25 and 0.5"),
        (4, 0.5, 0.25, "violation=0.5, twins=0.5"),
        (4, 1.0, 0.0, "violation=1, twins=0.5"),
        (4, 0.25, 0.5, "violation=0.5, twins=0.5"),
        (1, 1.0, None, "are violation=0"),
    ],
)
def test_an_infeasible_violation_names_the_nearest_feasible_ones(n, violation, twins, words):
    with pytest.raises(UsageError, match=words):
        supports.counts(n, violation, twins)


@pytest.mark.parametrize("n", [2, 3, 4, 6])
def test_every_feasible_shadow_size_is_met_exactly(n):
    met = 0
    for violating, twin in feasible(n):
        for size in range(1, n):
            try:
                counts = supports.counts(n, violating / n, None if twin is None else twin / n, size)
            except UsageError:
                continue
            rng = np.random.default_rng(size)
            support = supports.build(supports.preorder(n, *counts, rng.permutation(n)), 2 * n, 0.5, rng)
            sizes = supports.shadows(support).sum(1)
            assert set(sizes) <= {0, size} and (sizes > 0).sum() == violating == counts[0]
            assert supports.twins(support) * n == pytest.approx(counts[1])
            met += 1
    assert met >= n


def test_a_shadow_size_is_refused_only_where_no_support_has_it():
    """Against every support of three latents with at most three observed variables."""
    found = set()
    for bits in itertools.product([False, True], repeat=9):
        support = np.array(bits).reshape(3, 3)
        sizes = supports.shadows(support).sum(1)
        if support.any(0).all() and len(set(sizes[sizes > 0])) == 1:
            found.add((round(supports.violation(support) * 3), round(supports.twins(support) * 3), int(sizes.max())))
    for violating in range(1, 4):
        for twin in range(4):
            for size in (1, 2):
                try:
                    supports.counts(3, violating / 3, twin / 3, size)
                    feasible = True
                except UsageError:
                    feasible = False
                assert feasible == ((violating, twin, size) in found), (violating, twin, size)


def edges_where_it_stands_in(support, observed, order):
    """The edges of the support in which x_k stands for the last parent of `order`, by the sets of new latents behind each old one."""
    behind = {latent: {"x", *order[: place + 1]} for place, latent in enumerate(order[:-1])}
    behind[order[-1]] = {"x", *order[:-1]}
    others = [set(np.flatnonzero(row)) for k, row in enumerate(support) if k != observed]
    return 1 + sum(len(set().union(*(behind.get(latent, {latent}) for latent in row))) for row in others)


def test_stand_ins_are_those_found_by_trying_every_order():
    rng = np.random.default_rng(0)
    n_ties = 0
    for _ in range(500):
        support = rng.random((rng.integers(2, 6), rng.integers(2, 5))) < 0.5
        expected = [
            (k, tuple(np.flatnonzero(row)))
            for k, row in enumerate(support)
            if row.sum() >= 2
            and min(edges_where_it_stands_in(support, k, order) for order in permutations(np.flatnonzero(row)))
            <= support.sum()
        ]
        assert supports.stand_ins(support) == expected
        n_ties += len(expected)
    assert 100 < n_ties < 1000


def test_supports_of_the_default_generator_have_ties_where_sparsity_is_violated_and_none_elsewhere():
    """Counted elsewhere before this code was written: of ten data seeds 0, 4 and 2 at violation 0, .5 and 1."""
    found = []
    for violation in (0, 0.5, 1):
        maker = datasets["sparse-mixing"].make({"violation": violation})
        found.append(sum(bool(supports.stand_ins(maker.draw_support(data_seed(0, seed)))) for seed in range(10)))
    assert found == [0, 4, 2]


def test_what_is_feasible_is_what_counts_takes():
    assert supports.is_feasible(4, 0.5, None, None) and supports.is_feasible(4, 1.0, 0.5, None)
    assert not supports.is_feasible(4, 1.0, 0.0, None) and not supports.is_feasible(4, 0.0, 0.5, None)
