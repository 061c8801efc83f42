import numpy as np
import pytest
import torch

from bench.registry import UsageError
from datasets import mixings
from datasets import support as supports
from datasets.latents import LATENT_STD


def drawn(kind, n=4, m=8, nonlinearity=1.0, number=0, violating=2):
    rng = np.random.default_rng(number)
    support = supports.build(supports.preorder(n, violating, 0, None, rng.permutation(n)), m, 0.5, rng)
    return mixings.first_well_posed(support, kind, nonlinearity, np.random.SeedSequence(number), 0, 1)


def in_torch(mixing, z):
    """The mixing written again, for one point, from its weights."""
    z = z / LATENT_STD
    hidden = torch.tensor(mixing.inner) @ z + torch.tensor(mixing.bias)
    active = hidden**2 / 4 + hidden**3 / 12 if mixing.polynomial else torch.tanh(hidden)
    x = torch.tensor(mixing.linear) @ z + (active * torch.tensor(mixing.outer)).sum(-1)
    return (x - torch.tensor(mixing.shift)) / torch.tensor(mixing.scale)


KINDS = {"masked-mlp": 1.0, "linear": 1.0, "additive": 1.0, "polynomial": 0.5}


@pytest.mark.parametrize("kind", mixings.KINDS)
class TestKinds:
    def test_values_and_jacobian_are_those_of_autograd_and_the_support_is_exact(self, kind):
        mixing = drawn(kind, nonlinearity=KINDS[kind])
        z = np.random.default_rng(5).normal(size=(40, 4)) * LATENT_STD
        points = torch.tensor(z)
        jacobian = torch.stack([torch.func.jacrev(lambda point: in_torch(mixing, point))(point) for point in points])
        np.testing.assert_allclose(mixing(z), torch.stack([in_torch(mixing, p) for p in points]), atol=1e-10)
        np.testing.assert_allclose(mixing.jacobian(z), jacobian, atol=1e-10)
        assert np.array_equal((jacobian != 0).any(0).numpy(), mixing.support)

    def test_observed_variables_have_mean_0_and_variance_1_over_the_reference(self, kind):
        z = np.random.default_rng(5).normal(size=(20_000, 4)) * LATENT_STD
        x = drawn(kind, nonlinearity=KINDS[kind])(z)
        np.testing.assert_allclose(x.mean(0), 0, atol=0.25)
        np.testing.assert_allclose(x.std(0), 1, atol=0.25)

    def test_it_is_injective_by_the_margin_where_it_was_checked(self, kind):
        mixing = drawn(kind, nonlinearity=KINDS[kind])
        z = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(0,))).normal(size=(500, 4)) * LATENT_STD
        singular = np.linalg.svd(mixing.jacobian(z) * LATENT_STD, compute_uv=False).min()
        assert singular >= mixings.MIN_SINGULAR
        x, z = mixing(z), z / LATENT_STD
        i, j = np.triu_indices(500, 1)
        assert (np.linalg.norm(x[i] - x[j], axis=1) / np.linalg.norm(z[i] - z[j], axis=1)).min() >= mixings.MIN_STRETCH


def test_an_additive_mixing_has_no_interactions_and_the_others_do():
    """The second mixed derivatives vanish for an additive mixing only."""
    z = torch.tensor(np.random.default_rng(0).normal(size=4))
    for kind in ("additive", "masked-mlp"):
        mixing = drawn(kind)
        hessian = torch.func.hessian(lambda point, mixing=mixing: in_torch(mixing, point))(z)
        off = hessian[:, ~torch.eye(4, dtype=torch.bool)].abs().max()
        assert (off < 1e-10) == (kind == "additive")


def test_a_linear_mixing_is_linear_and_says_so():
    for mixing in (drawn("linear"), drawn("masked-mlp", nonlinearity=0.0)):
        jacobian = mixing.jacobian(np.random.default_rng(0).normal(size=(20, 4)))
        assert mixing.linear_only and np.abs(jacobian - jacobian[0]).max() < 1e-12
    assert not drawn("masked-mlp").linear_only


@pytest.mark.parametrize("nonlinearity", [0.5, 1.0])
def test_nonlinearity_is_the_size_of_the_nonlinear_part_relative_to_the_linear_part(nonlinearity):
    mixing = drawn("masked-mlp", nonlinearity=nonlinearity)
    reference = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(0,))).normal(size=(500, 4)) * LATENT_STD
    ratio = mixing.network_part(reference).std(0) / mixing.linear_part(reference).std(0)
    np.testing.assert_allclose(ratio, nonlinearity, rtol=1e-9)


def test_a_folded_mixing_is_not_well_posed():
    """x = z^2 has a fold: two latents, one observation."""
    z = np.linspace(-1, 1, 101)[:, None]
    assert mixings.least_stretch(z**2, z) < 1e-6 < mixings.least_stretch(z**3 + z, z)


def test_what_no_draw_can_meet_is_refused_with_what_to_change(monkeypatch):
    monkeypatch.setattr(mixings, "MAX_DRAWS", 3)
    with pytest.raises(UsageError, match="try less nonlinearity"):
        drawn("polynomial", m=4, nonlinearity=10.0)
