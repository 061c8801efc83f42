"""Linear methods against closed forms."""

import numpy as np
import pytest
from scipy.linalg import eigh

from bench.plan.trials import model_shape
from bench.train.data import standardised
from bench.train.pack import run_pack
from methods import Shape, methods
from tests.packs import pack


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


def linear_data(n_samples=20_000, seed=0):
    """Six observed variables of two factors with simple structure, standardised, their loadings and the variances of the noise."""
    rng = np.random.default_rng(seed)
    loadings = np.array([[0.9, 0], [0.8, 0], [0.7, 0], [0, 0.9], [0, 0.6], [0, 0.5]])
    noise = 1 - (loadings**2).sum(axis=1)
    x = rng.normal(size=(n_samples, 2)) @ loadings.T + rng.normal(size=(n_samples, 6)) * np.sqrt(noise)
    return x.astype(np.float32), loadings, noise


def fitted(name, x, n_latents=2, domains=None):
    domains = np.zeros(len(x), dtype=int) if domains is None else domains
    return methods[name].make({}).build(Shape(x.shape[1], n_latents, 10), 0).fit(x, domains)


def test_factor_analysis_finds_loadings_of_simple_structure_up_to_sign_and_order():
    x, loadings, _ = linear_data()
    found = fitted("factor-analysis", x).loadings
    order = np.argsort(np.abs(found).argmax(axis=0))
    found = found[:, order] * np.sign(found[np.abs(found).argmax(axis=0), range(2)])[order]
    np.testing.assert_allclose(found, loadings, atol=0.03)


def test_the_scores_of_factor_analysis_are_the_posterior_means():
    """E[z | x] = (I + L' D^-1 L)^-1 L' D^-1 x, of noise with the variances D (Bartholomew et al. 2011)."""
    x, _, _ = linear_data(2000)
    estimator = fitted("factor-analysis", x)
    own, noise = estimator.loadings, estimator.transformer.noise_variance_
    expected = (x - x.mean(0)) @ (own / noise[:, None]) @ np.linalg.inv(np.eye(2) + own.T @ (own / noise[:, None]))
    np.testing.assert_allclose(estimator.transform(x, None), expected, atol=1e-5)


def test_varimax_has_the_greatest_variance_of_squared_loadings_of_all_rotations():
    x, _, _ = linear_data(2000, seed=1)
    own = fitted("factor-analysis", x).loadings
    angles = np.linspace(0, np.pi / 2, 200)
    rotations = np.moveaxis(np.array([[np.cos(angles), np.sin(angles)], [-np.sin(angles), np.cos(angles)]]), -1, 0)
    criteria = ((own @ rotations) ** 2).var(axis=1).sum(axis=1)
    assert (own**2).var(axis=0).sum() >= criteria.max() - 1e-6


@pytest.mark.parametrize("name", ["pca", "fastica", "joint-diagonalisation"])
def test_loadings_turn_latents_into_what_they_explain_of_the_observed_variables(name):
    """As least squares of x on the latents finds them: of methods on the leading principal components that is the same."""
    rng = np.random.default_rng(0)
    domains = np.arange(3000) % 3
    z = rng.laplace(size=(3000, 3)) * np.array([[1, 3, 0.5], [2, 1, 1], [0.5, 1, 3]])[domains]
    x = (z @ rng.normal(size=(3, 5)) + 0.1 * rng.normal(size=(3000, 5))).astype(np.float32)
    estimator = fitted(name, x, 3, domains)
    latents = estimator.transform(x, domains)
    expected = np.linalg.lstsq(latents - latents.mean(0), x - x.mean(0), rcond=None)[0].T
    np.testing.assert_allclose(estimator.loadings, expected, atol=1e-4 * np.abs(expected).max())


def test_the_strength_of_an_edge_is_the_loading_times_the_deviation_of_the_latent():
    planned = pack("pca")
    rows, latents, _ = run_pack(planned)
    trial = planned.trials[0]
    instance = standardised(trial)
    estimator = trial.make_method().build(model_shape(trial.make_dataset()), trial.init_seed() % 2**32)
    estimator.fit(instance.train.x, instance.train.domains)
    test = estimator.transform(instance.test.x, instance.test.domains)
    kept = latents[f"{rows[0]['trial_id']}.strength"]
    np.testing.assert_allclose(kept, np.abs(estimator.loadings) * test.std(0), rtol=1e-5)
    assert rows[0]["support_ap"] > rows[0]["support_ap_chance"]
