"""Linear methods against closed forms."""

import numpy as np
import pytest
from scipy.linalg import eigh

from methods import Shape, methods


def joint_diagonaliser(x, domains, n_latents):
    shape = Shape(n_observed=x.shape[1], n_latents=n_latents, n_domains=domains.max() + 1)
    return methods["joint-diagonalisation"].make({}).build(shape, 0).fit(x, domains)


def test_joint_diagonalisation_of_two_domains_is_the_generalised_eigenvalue_problem():
    rng = np.random.default_rng(0)
    domains = np.repeat([0, 1], 500)
    x = rng.normal(size=(1000, 3)) * np.array([[1, 2, 3], [2, 1.5, 0.5]])[domains] @ rng.normal(size=(3, 3))
    z = joint_diagonaliser(x, domains, 3).transform(x, domains)
    first, second = (np.cov(x[domains == u].T) for u in (0, 1))
    expected = (x - x.mean(axis=0)) @ eigh(first, second)[1]
    correlation = np.abs(np.corrcoef(z.T, expected.T)[:3, 3:])
    np.testing.assert_allclose(np.sort(correlation, axis=None)[-3:], 1, atol=1e-6)
    np.testing.assert_allclose(np.sort(correlation.max(axis=0)), 1, atol=1e-6)


def test_joint_diagonalisation_recovers_gaussian_latents_whose_scales_change_and_leaves_small_domains_out():
    rng = np.random.default_rng(1)
    domains = np.repeat([0, 1, 2, 3], [2000, 2000, 2000, 3])
    z = rng.normal(size=(6003, 3)) * rng.uniform(0.3, 3, (4, 3))[domains]
    x = z @ rng.normal(size=(3, 5)) + 0.01 * rng.normal(size=(6003, 5))
    found = joint_diagonaliser(x, domains, 3).transform(x, domains)
    correlation = np.abs(np.corrcoef(z.T, found.T)[:3, 3:])
    assert (correlation.max(axis=1) > 0.99).all() and len(set(correlation.argmax(axis=1))) == 3


def test_joint_diagonalisation_needs_two_domains_with_enough_points():
    with pytest.raises(ValueError, match="two domains with more than 3 points"):
        joint_diagonaliser(np.random.default_rng(2).normal(size=(53, 4)), np.repeat([0, 1], [50, 3]), 3)
