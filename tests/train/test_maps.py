"""Linear maps that suit an assumption, where the right one is known."""

import numpy as np
import pytest
import torch
from pyriemann.utils.ajd import ajd_pham
from scipy import linalg

from bench.registry import CHANGES, SPARSITY
from bench.train import maps
from datasets import Split
from methods import nets


@pytest.fixture(autouse=True)
def _(full_charts):
    """The searches for maps are those of a run."""


def suited(points, domains, decoder, assumed, seed):
    (found,) = maps.suited([maps.Code(points, domains, decoder, seed)], assumed)
    return found


def linear_decoder(matrix):
    decoder = nets.MLP(matrix.shape[1], matrix.shape[0], 8, 1)
    torch.nn.init.zeros_(decoder.network[-1].bias)
    decoder.linear.weight.data = torch.tensor(matrix, dtype=torch.float32)
    return decoder


def is_a_scaled_permutation(matrix, atol):
    rows = np.abs(matrix) / np.abs(matrix).max(axis=1, keepdims=True)
    return sorted(rows.argmax(axis=1)) == list(range(len(rows))) and (np.sort(rows, axis=1)[:, :-1] < atol).all()


def changing_latents(rng, scales, n=2000):
    """(n_domains * n, n_latents) Gaussian latents of the given standard deviations (n_domains, n_latents), and domains."""
    z = np.concatenate([rng.normal(size=(n, len(own))) * own for own in scales])
    return z, np.repeat(np.arange(len(scales)), n)


SCALES = np.array([[1, 1, 1], [0.3, 1, 2.5], [2, 0.4, 1], [1, 3, 0.5]])
SPARSE = np.array([[1.0, 0, 0], [0.9, 0, 0], [0, 1, 0], [0, 0.8, 0], [0, 0, 1], [0.3, 0, 0.9]])


@pytest.mark.parametrize("n_domains", [2, 4])
def test_changes_find_the_map_that_is_diagonal_in_every_domain(n_domains):
    rng = np.random.default_rng(0)
    z, domains = changing_latents(rng, SCALES[:n_domains])
    mixing = rng.normal(size=(3, 3))
    code = z @ mixing.T
    found, cost = suited(code, domains, linear_decoder(np.eye(3)), {CHANGES}, 0)
    assert is_a_scaled_permutation(found @ mixing, 0.15)
    np.testing.assert_allclose((code @ found.T).std(axis=0), 1)
    covariances = np.stack([np.cov(code[domains == u].T) for u in range(n_domains)])
    white = [np.linalg.slogdet(found @ own @ found.T)[1] / 2 for own in covariances]  # what no map can save
    assert cost >= np.mean(white) - np.linalg.slogdet(found @ np.linalg.cholesky(np.cov(code.T)))[1] - 1e-6
    other = linalg.eigh(*covariances)[1].T if n_domains == 2 else ajd_pham(covariances)[0]
    assert is_a_scaled_permutation(found @ np.linalg.inv(other), 0.02)


def test_sparsity_finds_the_map_with_the_least_edges():
    rng = np.random.default_rng(1)
    mixing = rng.normal(size=(3, 3))
    code = rng.normal(size=(1000, 3)) @ mixing.T
    found, cost = suited(code, np.zeros(1000, int), linear_decoder(SPARSE @ np.linalg.inv(mixing)), {SPARSITY}, 0)
    assert is_a_scaled_permutation(found @ mixing, 0.1)
    assert cost == pytest.approx(np.abs(SPARSE @ np.linalg.inv(found @ mixing)).sum(), rel=0.02)


def test_both_find_what_one_of_them_alone_does_not():
    """The first two latents have the same children, and the last two the same changes."""
    rng = np.random.default_rng(2)
    twins = np.array([[1.0, 0.6, 0], [0.7, 1, 0], [1, -0.4, 0], [0, 0, 1], [0, 0, 0.9]])
    z, domains = changing_latents(rng, np.array([[1.0, 1, 1], [0.3, 2, 2], [2, 0.4, 0.4], [1, 3, 3]]))
    mixing = rng.normal(size=(3, 3))
    decoder = linear_decoder(twins @ np.linalg.inv(mixing))
    is_right = {
        assumed: is_a_scaled_permutation(suited(z @ mixing.T, domains, decoder, set(assumed), 0)[0] @ mixing, 0.2)
        for assumed in ((CHANGES,), (SPARSITY,), (CHANGES, SPARSITY))
    }
    assert list(is_right.values()) == [False, False, True]


def test_independence_alone_is_found_by_ica():
    rng = np.random.default_rng(3)
    mixing = rng.normal(size=(3, 3))
    found, _ = suited(rng.laplace(size=(4000, 3)) @ mixing.T, np.zeros(4000, int), linear_decoder(np.eye(3)), set(), 0)
    assert is_a_scaled_permutation(found @ mixing, 0.1)


def test_changes_have_no_map_without_two_domains_of_enough_points():
    code = np.random.default_rng(4).normal(size=(100, 3))
    few = np.repeat([0, 1], [97, 3])
    decoder = linear_decoder(np.eye(3))
    assert suited(code, np.zeros(100, int), decoder, {CHANGES}, 0) is None
    assert suited(code, few, decoder, {CHANGES}, 0) is None
    alone, both = (suited(code, few, decoder, assumed, 0) for assumed in ({SPARSITY}, {SPARSITY, CHANGES}))
    np.testing.assert_array_equal(alone[0], both[0])


@pytest.mark.parametrize("assumed", [{CHANGES}, {SPARSITY}, {CHANGES, SPARSITY}])
def test_a_map_is_what_it_would_be_alone(assumed):
    """Whatever is sought with it: codes of fewer points, of fewer domains, of one domain, or whose decoder is no use."""
    rng = np.random.default_rng(5)
    codes = [
        maps.Code(*changing_latents(rng, SCALES[:2]), linear_decoder(SPARSE), 0),
        maps.Code(*changing_latents(rng, SCALES), linear_decoder(SPARSE @ rng.normal(size=(3, 3))), 1),
        maps.Code(*changing_latents(rng, SCALES[:3], n=30), linear_decoder(SPARSE), 2),
        maps.Code(rng.normal(size=(500, 3)), np.zeros(500, int), linear_decoder(SPARSE), 3),
        maps.Code(*changing_latents(rng, SCALES[:2]), linear_decoder(np.nan * SPARSE), 4),
    ]
    for code, found in zip(codes, maps.suited(codes, assumed), strict=True):
        alone = suited(*code[:3], assumed, code.seed)
        assert (alone is None) == (found is None)
        if found is not None:
            np.testing.assert_allclose(found[0], alone[0], rtol=1e-3, atol=1e-3)
            assert found[1] == pytest.approx(alone[1], rel=1e-5)


def test_random_maps_are_rotations_and_differ_by_their_seed():
    one, other = maps.random(4, 0), maps.random(4, 1)
    np.testing.assert_allclose(one @ one.T, np.eye(4), atol=1e-12)
    np.testing.assert_array_equal(one, maps.random(4, 0))
    assert not np.allclose(one, other)


def with_u(u, domains=None):
    u = np.asarray(u, dtype=float)
    domains = np.zeros(len(u), int) if domains is None else domains
    return Split(np.zeros((len(u), 1)), domains, np.zeros((len(u), 0)), u=u.reshape(len(u), -1))


class TestGroups:
    def test_without_numbers_they_are_the_domains(self):
        domains = np.arange(600) % 4
        np.testing.assert_array_equal(maps.groups(Split(np.zeros((600, 1)), domains, np.zeros((600, 0)))), domains)

    def test_of_one_number_they_are_intervals_of_similar_size(self):
        u = np.random.default_rng(0).uniform(size=4000)
        found = maps.groups(with_u(u))
        ends = sorted((u[found == group].min(), u[found == group].max()) for group in range(10))
        assert set(found) == set(range(10))
        assert all(before[1] < after[0] for before, after in zip(ends, ends[1:], strict=False))
        assert np.bincount(found).min() > 200

    def test_few_values_are_groups_of_their_own_and_few_points_are_not_cut(self):
        u = np.arange(900) % 3
        assert len({(value, group) for value, group in zip(u, maps.groups(with_u(u)), strict=True)}) == 3
        assert not maps.groups(with_u(np.arange(150))).any()

    def test_no_group_has_points_of_two_domains_or_of_two_places(self):
        rng = np.random.default_rng(0)
        places, domains = rng.integers(4, size=2000), rng.integers(2, size=2000)
        u = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])[places] * [1, 1e4] + 0.01 * rng.normal(size=(2000, 2)) * [1, 1e4]
        found = maps.groups(with_u(u, domains))
        assert set(found) == set(range(len(set(found)))) and len(set(found)) >= 8
        for group in set(found):
            assert len(set(domains[found == group])) == len(set(places[found == group])) == 1

    def test_by_them_changes_find_the_map_of_latents_whose_scales_drift(self):
        rng = np.random.default_rng(5)
        u = rng.uniform(size=8000)
        scales = np.exp(np.sin(2 * np.pi * u[:, None] + np.array([0, 2, 4])))
        matrix = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        code = (rng.normal(size=(8000, 3)) * scales) @ matrix.T
        found, _ = suited(code, maps.groups(with_u(u)), linear_decoder(np.eye(3)), {CHANGES}, 0)
        assert is_a_scaled_permutation(found @ matrix, atol=0.1)
