import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch.distributions import Normal, kl_divergence

from methods import nets


@pytest.fixture
def flow():
    """A flow far from the identity, in float64, with points on both tails and in every bin."""
    torch.manual_seed(0)
    flow = nets.LatentFlow(n_domains=3, n_latents=2).double()
    torch.nn.init.normal_(flow.affine, std=0.5)
    torch.nn.init.normal_(flow.spline, std=1.5)
    return flow


def one_hot(domains, n):
    return torch.nn.functional.one_hot(domains, n).double()


def test_the_flows_log_slope_is_the_log_of_its_derivative_by_autograd(flow):
    z = torch.linspace(-9, 9, 601, dtype=torch.float64).repeat(2, 1).T.contiguous().requires_grad_()
    u = one_hot(torch.arange(601) % 3, 3)
    y, log_slope = flow(z, u)
    (derivative,) = torch.autograd.grad(y.sum(), z)
    assert (derivative > 0).all()
    torch.testing.assert_close(log_slope, derivative.log(), atol=1e-10, rtol=0)


def test_the_flows_inverse_inverts_it_on_both_tails_and_inside(flow):
    z = torch.linspace(-9, 9, 601, dtype=torch.float64).repeat(2, 1).T
    u = one_hot(torch.arange(601) % 3, 3)
    y, _ = flow(z, u)
    assert (y.abs() > flow.bound).any() and (y.abs() < flow.bound).any()
    torch.testing.assert_close(flow.inverse(y, u), z, atol=1e-9, rtol=0)


def test_the_priors_density_integrates_to_one_in_every_domain():
    torch.manual_seed(1)
    flow = nets.LatentFlow(n_domains=3, n_latents=1).double()
    torch.nn.init.normal_(flow.affine, std=0.3)
    torch.nn.init.normal_(flow.spline)
    z = torch.linspace(-30, 30, 60_001, dtype=torch.float64)[:, None]
    for domain in range(3):
        density = flow.log_density(z, one_hot(torch.full((len(z),), domain), 3)).exp()
        assert torch.trapezoid(density, z[:, 0]).item() == pytest.approx(1, abs=1e-4)


def test_an_affine_flow_is_the_gaussian_prior_of_each_domain():
    flow = nets.LatentFlow(n_domains=2, n_latents=1).double()
    mean, std = torch.tensor([0.7, -1.2]), torch.tensor([0.6, 1.7])
    with torch.no_grad():
        flow.affine[:, 0, 0], flow.affine[:, 0, 1] = -mean / std, -std.log()
    z, domains = torch.randn(50, 1, dtype=torch.float64), torch.arange(50) % 2
    expected = Normal(mean[domains].double(), std[domains].double()).log_prob(z[:, 0])
    torch.testing.assert_close(flow.log_density(z, one_hot(domains, 2)), expected, atol=1e-6, rtol=1e-6)


@pytest.fixture
def mixture():
    """Four components of three latents, with weights, means and covariances that differ."""
    torch.manual_seed(0)
    mixture = nets.GaussianMixture(4, 3).double()
    for parameter in mixture.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return mixture


def test_the_density_of_a_mixture_is_that_of_scipy(mixture):
    z = torch.randn(20, 3, dtype=torch.float64)
    factors = mixture.factors().detach().numpy()
    assert (np.diagonal(factors, axis1=1, axis2=2) > 0).all() and not np.triu(factors, 1).any()
    covariances = np.linalg.inv(factors @ factors.transpose(0, 2, 1))
    weights = torch.softmax(mixture.logits, 0).detach().numpy()
    expected = sum(
        weight * multivariate_normal(mean, covariance).pdf(z.numpy())
        for weight, mean, covariance in zip(weights, mixture.means.detach().numpy(), covariances, strict=True)
    )
    found = mixture.log_density(z, torch.ones(20, 1)).detach().numpy()
    np.testing.assert_allclose(found, np.log(expected), rtol=1e-10)


def test_the_density_of_a_mixture_integrates_to_one(mixture):
    """By 200,000 points from a wider normal, weighted by its density: the standard error is below 0.005."""
    wide = multivariate_normal(np.zeros(3), 9 * np.eye(3))
    z = wide.rvs(200_000, random_state=0)
    log_density = mixture.log_density(torch.as_tensor(z), torch.ones(len(z), 1)).detach().numpy()
    ratios = np.exp(log_density - wide.logpdf(z))
    assert ratios.std() / np.sqrt(len(z)) < 0.005
    assert ratios.mean() == pytest.approx(1, abs=0.015)


def test_a_mixture_starts_near_a_standard_normal_with_components_that_differ():
    torch.manual_seed(0)
    mixture = nets.GaussianMixture(10, 4)
    z = torch.randn(2000, 4)
    difference = mixture.log_density(z, torch.ones(2000, 1)) - nets.normal_log_density(z, 0.0, 0.0).sum(-1)
    assert difference.abs().mean() < 0.25 and difference.mean().abs() < 0.1
    assert torch.pdist(mixture.means).min() > 0.1


def test_gaussian_kl_is_that_of_torch():
    mean, log_std, prior_mean, prior_log_std = torch.randn(4, 100, dtype=torch.float64)
    expected = kl_divergence(Normal(mean, log_std.exp()), Normal(prior_mean, prior_log_std.exp()))
    torch.testing.assert_close(nets.gaussian_kl(mean, log_std, prior_mean, prior_log_std), expected)


def decoder_and_latents():
    torch.manual_seed(2)
    return nets.MLP(4, 6, width=16, depth=2).double(), torch.randn(32, 4, dtype=torch.float64) * torch.tensor(
        [1, 2, 3, 0.5]
    )


def test_the_exact_jacobian_penalty_is_that_of_autograd_in_float64():
    decoder, z = decoder_and_latents()
    jacobians = torch.stack([torch.autograd.functional.jacobian(decoder, point) for point in z])
    expected = (jacobians.abs() * z.std(0)).mean(0)
    torch.testing.assert_close(nets.jacobian_strength_exact(decoder, z), expected, rtol=1e-12, atol=0)


def test_the_estimated_jacobian_penalty_has_the_exact_one_as_its_expectation():
    decoder, z = decoder_and_latents()

    class EveryLatentInTurn:  # the four values that the index of each sample can take
        def __init__(self, latent):
            self.latent = latent

        def uniform(self, *shape):
            return torch.full(shape, (self.latent + 0.5) / 4, dtype=torch.float64)

    mean = sum(nets.jacobian_strength(decoder, z, EveryLatentInTurn(latent)) for latent in range(4)) / 4
    torch.testing.assert_close(mean, nets.jacobian_strength_exact(decoder, z), rtol=1e-12, atol=0)


def test_the_estimated_jacobian_penalty_draws_every_latent_alike():
    decoder, z = decoder_and_latents()
    draws = torch.stack([nets.jacobian_strength(decoder, z, nets.CountingRng()).sum() for _ in range(400)])
    error = (draws.mean() - nets.jacobian_strength_exact(decoder, z).sum()).abs().item()
    assert error < 4 * draws.std().item() / math.sqrt(400)


def test_rescaling_a_latent_leaves_the_jacobian_penalty_and_its_gradient_alone():
    torch.manual_seed(3)
    x = torch.randn(64, 3, dtype=torch.float64)
    weights = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    outer = torch.randn(5, 2, dtype=torch.float64)

    def penalty(scale):
        z = (x @ weights.T) * torch.tensor([1.0, scale], dtype=torch.float64)
        unscale = torch.tensor([1.0, 1 / scale], dtype=torch.float64)
        value = nets.jacobian_strength_exact(lambda z: torch.tanh((z * unscale) @ outer.T), z).sum()
        return value, torch.autograd.grad(value, weights)[0]

    (value, gradient), (value3, gradient3) = penalty(1.0), penalty(3.0)
    torch.testing.assert_close(value, value3)
    torch.testing.assert_close(gradient, gradient3)


def test_the_penalty_does_not_shrink_by_growing_a_latent():
    """With the scale detached, the gradient along a latent's own scale is not 0: the penalty then grows latents."""
    z = torch.randn(64, 2, dtype=torch.float64)
    log_scale = torch.zeros((), dtype=torch.float64, requires_grad=True)
    scaled = z * log_scale.exp()
    value = nets.jacobian_strength_exact(lambda s: torch.sin(s / log_scale.exp()), scaled).sum()
    assert abs(torch.autograd.grad(value, log_scale)[0].item()) < 1e-12


def test_rng_hands_out_each_number_once_and_in_order():
    rng = nets.Rng(torch.arange(6.0), torch.arange(3.0))
    assert rng.normal(2, 2).tolist() == [[0, 1], [2, 3]]
    assert rng.uniform(3).tolist() == [0, 1, 2]
    assert rng.normal(2).tolist() == [4, 5]


def test_an_encoder_sees_white_data_and_does_not_blow_up_what_hardly_varies():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(5000, 4, generator=rng) * torch.tensor([1.0, 0.1, 3.0, 0.0]) @ torch.randn(4, 4, generator=rng)
    encoder = nets.Encoder(4, 2, 3, 8, 1)
    encoder.whiten(x)
    values = torch.linalg.eigvalsh(torch.cov((x @ encoder.whitening).T))
    torch.testing.assert_close(values[1:], torch.ones(3), atol=1e-2, rtol=0)
    assert values[0] < 0.1
    torch.testing.assert_close(encoder.whitening, encoder.whitening.T)
    assert "whitening" not in dict(encoder.named_parameters())


def test_the_domain_shifts_an_encoder_by_the_same_at_every_point():
    encoder = nets.Encoder(4, 3, 2, 8, 1)
    encoder.shift.data.normal_()
    x, domains = torch.randn(20, 4), torch.eye(3)
    shifts = [encoder(x, u.expand(20, 3)) - encoder(x, domains[0].expand(20, 3)) for u in domains]
    for domain, shift in enumerate(shifts):
        torch.testing.assert_close(shift, (encoder.shift[domain] - encoder.shift[0]).expand(20, 2))


def test_gates_count_themselves_and_open_as_often_as_they_say():
    gates = nets.Gates(3, 2).double()
    gates.logits.data = torch.tensor([[-3.0, 0.0], [1.0, 2.0], [5.0, -8.0]], dtype=torch.float64)
    rng = nets.CountingRng()
    draws = torch.stack([gates.sample(rng) for _ in range(4000)]).detach()
    share = (draws > 0).double().mean(0)
    assert (draws >= 0).all() and (draws <= 1).all()
    assert abs(share.sum().item() - gates.n_open().item()) < 0.05
    assert gates()[2, 1] == 0 and gates()[2, 0] == 1


def test_a_closed_gate_cuts_one_edge_of_the_decoder_and_no_other():
    decoder, z = decoder_and_latents()
    gates = torch.ones(6, 4, dtype=torch.float64)
    torch.testing.assert_close(nets.gated(decoder, z, gates), decoder(z))
    gates[2, 1] = 0
    jacobian = torch.autograd.functional.jacobian(lambda point: nets.gated(decoder, point, gates), z[0])
    full = torch.autograd.functional.jacobian(decoder, z[0])
    assert jacobian[2, 1] == 0
    kept = [row for row in range(6) if row != 2]
    torch.testing.assert_close(jacobian[kept], full[kept])


@pytest.mark.parametrize("kind", ["flow", "mixture"])
def test_samples_of_a_prior_have_its_density(kind):
    """The mean log density of samples is minus the entropy, by numerical integration over one latent."""
    torch.manual_seed(0)
    prior = nets.LatentFlow(2, 1) if kind == "flow" else nets.GaussianMixture(3, 1)
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    u = torch.eye(2)[[0] * 20_000 + [1] * 20_000]
    grid = torch.linspace(-60, 60, 40_001)[:, None]
    with torch.no_grad():
        z = prior.sample(u, nets.CountingRng())
        for domain in (0, 1):
            own = torch.eye(2)[[domain] * len(grid)]
            density = prior.log_density(grid, own).exp()
            mean, square = ((density * grid[:, 0] ** power).sum() * 0.003 for power in (1, 2))
            entropy = -(density * density.clamp(min=1e-30).log()).sum() * 0.003
            mine = z[u[:, domain] == 1]
            assert density.sum().item() * 0.003 == pytest.approx(1, abs=1e-3)
            assert mine.mean().item() == pytest.approx(mean.item(), abs=0.03 * square.sqrt().item())
            assert (mine**2).mean().item() == pytest.approx(square.item(), rel=0.06)
            assert -prior.log_density(mine, u[u[:, domain] == 1]).mean().item() == pytest.approx(
                entropy.item(), abs=0.02
            )
