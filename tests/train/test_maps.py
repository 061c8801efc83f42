"""Linear maps that suit an assumption, where the right one is known."""

import numpy as np
import pytest
import torch
from pyriemann.utils.ajd import ajd_pham
from scipy import linalg

from bench.registry import CHANGES, SPARSITY
from bench.train import maps
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
