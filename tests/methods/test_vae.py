"""The losses of the VAE ladder against cases with a known answer."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.stats import multivariate_normal

from bench.registry import UsageError
from methods import Batch, Shape, methods, nets

SHAPE = Shape(n_observed=4, n_latents=2, n_domains=2)
NOISE = 0.3
PRIOR_MEAN = np.array([[0.5, -1.0], [-0.8, 0.4]])


def exact_model(name):
    """A linear-Gaussian model whose encoder is the exact posterior, and log p(x|u) of some points, in closed form."""
    method = methods[name].make({"width": 4, "depth": 1})
    torch.manual_seed(0)
    model = method.build(SHAPE).double()
    rng = np.random.default_rng(0)
    loadings = np.linalg.qr(rng.normal(size=(4, 2)))[0] * [1.5, 0.7]  # orthogonal columns: the posterior is diagonal
    offset = rng.normal(size=4)
    precision = 1 + (loadings**2).sum(0) / NOISE**2
    gain = (loadings / NOISE**2 / precision).T  # posterior mean = gain (x - offset) + prior mean / precision
    with torch.no_grad():
        for mlp in (model.encoder.mlp, model.decoder):
            mlp.network[-1].weight.zero_()
        model.decoder.linear.weight.copy_(torch.tensor(loadings))
        model.decoder.network[-1].bias.copy_(torch.tensor(offset))
        model.encoder.mlp.linear.weight.copy_(torch.tensor(np.vstack([gain, np.zeros((2, 4))])))
        model.encoder.shift.copy_(torch.tensor(np.hstack([PRIOR_MEAN / precision, np.zeros((2, 2))])))
        log_std = -0.5 * np.log(precision) + 2  # the method adds -2
        model.encoder.mlp.network[-1].bias.copy_(torch.tensor(np.concatenate([-gain @ offset, log_std])))
        model.log_noise.fill_(np.log(NOISE))
        if name == "ivae":
            model.prior_mean.copy_(torch.tensor(PRIOR_MEAN))
        else:
            model.prior.affine[:, :, 0].copy_(torch.tensor(-PRIOR_MEAN))
    domains = np.arange(50) % 2
    x = rng.normal(size=(50, 4))
    covariance = loadings @ loadings.T + NOISE**2 * np.eye(4)
    means = PRIOR_MEAN @ loadings.T + offset
    log_evidence = [
        multivariate_normal(means[u], covariance).logpdf(point) for point, u in zip(x, domains, strict=True)
    ]
    batch = Batch(torch.tensor(x), torch.tensor(np.eye(2)[domains]), torch.zeros(50, 0))
    return method, model, batch, np.mean(log_evidence)


@pytest.mark.parametrize("n_latents", [2, 4])
def test_the_likelihood_is_that_of_noise_in_the_observed_variables_or_if_there_are_as_many_latents_in_the_whitened_ones(
    n_latents,
):
    method = methods["flow-vae"].make({})
    model = method.build(Shape(n_observed=4, n_latents=n_latents, n_domains=2)).double()
    rng = np.random.default_rng(0)
    x, mean = rng.normal(size=(20, 4)) @ rng.normal(size=(4, 4)), rng.normal(size=(20, 4))
    model.encoder.whiten(torch.tensor(x))
    levels = np.array([0.1, 0.5, 1.0, 2.0])
    with torch.no_grad():
        model.log_noise.copy_(torch.tensor(np.log(levels)))
        found = method.log_likelihood(model, torch.tensor(x), torch.tensor(mean)).numpy()
    axes = sqrtm(np.cov(x.T)) if n_latents == 4 else np.eye(4)
    expected = [
        multivariate_normal(m, axes @ np.diag(levels**2) @ axes).logpdf(point) for point, m in zip(x, mean, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


class Numbers(nets.Rng):
    def __init__(self, seed, n=10_000):
        generator = torch.Generator().manual_seed(seed)
        super().__init__(torch.randn(n, generator=generator).double(), torch.rand(n, generator=generator).double())


def test_the_elbo_of_an_exact_posterior_is_the_evidence_whatever_the_draw():
    method, model, batch, log_evidence = exact_model("flow-vae")
    for seed in range(3):
        assert -method.loss(model, batch, Numbers(seed)).item() == pytest.approx(log_evidence, abs=1e-6)


def test_the_ivae_elbo_with_its_closed_form_kl_is_the_evidence_on_average():
    method, model, batch, log_evidence = exact_model("ivae")
    losses = np.array([method.loss(model, batch, Numbers(seed)).item() for seed in range(400)])
    assert losses.std() > 1e-3
    assert abs(-losses.mean() - log_evidence) < 4 * losses.std() / 20


def test_a_worse_posterior_lowers_the_elbo():
    method, model, batch, log_evidence = exact_model("flow-vae")
    with torch.no_grad():
        model.encoder.mlp.network[-1].bias[2:] += 0.5
    losses = [method.loss(model, batch, Numbers(seed)).item() for seed in range(100)]
    assert -np.mean(losses) < log_evidence - 0.1


SPARSE = {
    "synergy-vae": "flow-vae",
    "sparse-vae": "vae",
    "sparse-ivae": "ivae",
    "sparse-gaussian-vae": "gaussian-vae",
}


@pytest.mark.parametrize(("name", "base"), SPARSE.items())
def test_the_sparse_corner_is_its_base_plus_alpha_times_the_penalty(name, base):
    method = methods[name].make({"alpha": 0.7})
    torch.manual_seed(0)
    model = method.build(SHAPE).double()
    batch = Batch(torch.randn(16, 4).double(), torch.eye(2).double()[torch.arange(16) % 2], torch.zeros(16, 0))
    rng = Numbers(0)
    plain, seen = methods[base].make({}), []
    model.decoder.register_forward_hook(lambda decoder, inputs, output: seen.append(inputs[0]))
    elbo_loss, cost = plain.negative_elbo(model, batch, rng)
    assert cost == 0
    strength = nets.jacobian_strength(model.decoder, seen[0], rng)
    torch.testing.assert_close(method.loss(model, batch, Numbers(0)), elbo_loss + 0.7 * strength.sum())


@pytest.mark.parametrize("name", ["vae", "sparse-vae"])
def test_the_domain_blind_prior_does_not_see_the_domain(name):
    model = methods[name].make({}).build(SHAPE)
    torch.nn.init.normal_(model.prior.spline)
    z = torch.randn(10, 2)
    assert torch.equal(*(model.prior.log_density(z, torch.eye(2)[[u] * 10]) for u in (0, 1)))
    assert model.prior.affine.shape[0] == 1


def test_ivae_can_fix_its_prior_means_as_the_published_code_does():
    model = methods["ivae"].make({"prior_mean": False}).build(SHAPE)
    assert not model.prior_mean.requires_grad and not model.prior_mean.any()


def test_the_concave_term_presses_weak_edges_as_l1_does_and_hardly_strong_ones():
    """Of a linear decoder, whose strengths are its weights: the derivative is 1 at 0 and STRONG / A where A is large."""
    method = methods["synergy-vae"].make({"penalty": "log", "alpha": 1.0})
    model = torch.nn.Module()
    weights = torch.tensor([[1e-6, 10.0]], dtype=torch.float64, requires_grad=True)
    model.decoder = lambda z: z @ weights.T
    z = torch.randn(5000, 2, dtype=torch.float64)
    z = z / z.std(0)
    every_latent_as_often = nets.Rng(torch.zeros(0), (torch.arange(5000) + 0.5) / 5000)
    slope = torch.autograd.grad(method.generate(model, z, every_latent_as_often)[1], weights)[0][0]
    torch.testing.assert_close(slope, torch.tensor([1.0, 0.1 / 10.1], dtype=torch.float64), rtol=1e-4, atol=0)


def test_the_gated_decoder_is_trained_and_read_through_its_gates():
    method = methods["synergy-vae"].make({"penalty": "gate", "width": 8})
    torch.manual_seed(0)
    model = method.build(SHAPE)
    model.gates.logits.data[1, 0] = -20.0  # surely closed, with noise or without
    z = torch.randn(2)
    rng = nets.CountingRng()
    for decode in (lambda z: method.decode(model, z[None])[0], lambda z: method.generate(model, z[None], rng)[0][0]):
        jacobian = torch.autograd.functional.jacobian(decode, z)
        assert jacobian[1, 0] == 0 and jacobian[0, 0] != 0
    assert method.generate(model, z[None], rng)[1] == method.alpha * model.gates.n_open()


def test_a_masked_prior_goes_from_one_for_all_domains_to_each_domains_own():
    torch.manual_seed(0)
    prior = nets.GatedLatentFlow(3, 2, weight=1.0).double()
    for parameter in (prior.affine, prior.spline, prior.shared_affine, prior.shared_spline):
        parameter.data.normal_()
    own, shared = nets.LatentFlow(3, 2).double(), nets.LatentFlow(1, 2).double()
    own.affine.data, own.spline.data = prior.affine.data, prior.spline.data
    shared.affine.data, shared.spline.data = prior.shared_affine.data[None], prior.shared_spline.data[None]
    z, u = torch.randn(30, 2, dtype=torch.float64), torch.eye(3, dtype=torch.float64)[torch.arange(30) % 3]
    prior.gate_logits.data[:] = torch.tensor([50.0, -50.0])  # the first latent changes, the second does not
    y, log_slope = prior(z, u)
    for latent, (flow, seen) in enumerate([(own, u), (shared, u[:, :1] * 0 + 1)]):
        torch.testing.assert_close(y[:, latent], flow(z, seen)[0][:, latent])
        torch.testing.assert_close(log_slope[:, latent], flow(z, seen)[1][:, latent])


def test_the_mask_costs_its_weight_times_the_sum_of_its_gates():
    plain, model, batch, _ = exact_model("synergy-vae")
    masked = dataclasses.replace(plain, mask=0.5)
    gated = masked.build(SHAPE).double()
    gated.load_state_dict(model.state_dict(), strict=False)
    gated.prior.gate_logits.data[:] = torch.tensor([60.0, 50.0])  # open: the prior is that of the model without a mask
    difference = masked.loss(gated, batch, Numbers(0)) - plain.loss(model, batch, Numbers(0))
    assert difference.item() == pytest.approx(0.5 * 2, abs=1e-9)


def test_the_gaussian_prior_of_all_domains_is_that_of_ivae_where_all_its_domains_are_alike():
    ivae, model, batch, _ = exact_model("ivae")
    shared = methods["gaussian-vae"].make({"width": 4, "depth": 1})
    one = shared.build(SHAPE).double()
    with torch.no_grad():
        model.prior_mean.copy_(torch.tensor(PRIOR_MEAN[0]).expand(2, 2))
        model.prior_log_std.copy_(torch.tensor([[0.2, -0.3]]).expand(2, 2))
        state = model.state_dict()
        one.load_state_dict(state | {name: state[name][:1] for name in ("prior_mean", "prior_log_std")})
    assert shared.loss(one, batch, Numbers(0)).item() == pytest.approx(ivae.loss(model, batch, Numbers(0)).item())


def test_the_prior_of_dependent_latents_does_not_see_the_domain_and_is_learned_with_the_model():
    method = methods["sparse-dependent-vae"].make({"components": 3, "width": 4})
    model = method.build(SHAPE)
    z = torch.randn(10, 2)
    assert torch.equal(*(model.prior.log_density(z, torch.eye(2)[[u] * 10]) for u in (0, 1)))
    batch = Batch(torch.randn(16, 4), torch.eye(2)[torch.arange(16) % 2], torch.zeros(16, 0))
    method.loss(model, batch, nets.CountingRng()).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.prior.parameters())


@pytest.mark.parametrize("name", ["vae", "sparse-vae", "ivae"])
def test_a_prior_that_cannot_be_masked_says_so(name):
    with pytest.raises(UsageError, match="mask"):
        methods[name].make({"mask": 0.1})
