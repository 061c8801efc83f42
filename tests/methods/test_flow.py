"""The exact-likelihood ladder against closed forms, autograd in float64, and numerical integration."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from methods import Batch, Shape, Start, flow, methods, nets

LADDER = ("flow", "sparse-flow", "domain-flow", "synergy-flow")
SHAPE = Shape(n_observed=5, n_latents=3, n_domains=2)


def some_data(n_samples=64, n_observed=5):
    rng = np.random.default_rng(0)
    return torch.tensor(rng.normal(size=(n_samples, n_observed)) @ rng.normal(size=(n_observed, n_observed)))


def one_hot(domains):
    return torch.eye(2, dtype=torch.float64)[domains]


def batch_of(x):
    return Batch(x, one_hot(torch.arange(len(x)) % 2), x[:, :0])


def in_float64(model):
    model.double()
    for coupling in model.flow.couplings:
        coupling.frame.copy_(torch.linalg.qr(coupling.frame)[0])  # orthogonal to the new precision
    return model


def far_from_the_start(name, shape=SHAPE, moved=0.3, **fields):
    """A flow of the data in float64, whitened, with every trainable number moved: nothing is the identity any more."""
    method = methods[name].make({"width": 8, "couplings": 3, "start": "random"} | fields)
    torch.manual_seed(0)
    model = in_float64(method.build(shape))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += moved * torch.randn_like(parameter)
    method.prepare(model, some_data(500, shape.n_observed))
    return method, model


def jacobians(function, points):
    return torch.stack([torch.autograd.functional.jacobian(lambda p: function(p[None])[0], p) for p in points])


def test_the_inverse_of_the_flow_inverts_it():
    _, model = far_from_the_start("flow")
    x = some_data()
    y, _ = model.flow(x)
    assert (y - x).abs().mean() > 0.1
    # The moved numbers make slopes of up to 1e4, by which rounding grows.
    torch.testing.assert_close(model.flow.inverse(y), x, atol=1e-7, rtol=1e-7)


def test_the_likelihood_is_the_base_density_plus_the_log_determinant_of_autograds_jacobian():
    method, model = far_from_the_start("domain-flow")
    batch = batch_of(some_data())
    y = model.flow(batch.x)[0]
    log_base = model.base.log_density(y[:, :3], batch.u)
    log_noise = torch.distributions.Normal(0.0, model.log_noise.exp()).log_prob(y[:, 3:]).sum(-1)
    log_det = torch.linalg.slogdet(jacobians(lambda x: model.flow(x)[0], batch.x))[1]
    expected = -(log_base + log_noise + log_det).mean()
    torch.testing.assert_close(method.loss(model, batch, None), expected)


def test_no_point_is_carried_far_off_however_the_splines_bend():
    """A coordinate that moves ends within BOUND or where it was."""
    _, model = far_from_the_start("flow", moved=3.0)
    x = torch.randn(200, 5, dtype=torch.float64) * torch.logspace(-1, 3, 200, dtype=torch.float64)[:, None]
    for coupling in model.flow.couplings:
        y, _ = coupling(x)
        assert (y - x).abs().max() > 1
        assert (y.square().sum(1) <= x.square().sum(1) + coupling.n_moved * nets.BOUND**2 + 1e-6).all()


def test_the_density_of_the_data_integrates_to_one_in_every_domain():
    method, model = far_from_the_start("domain-flow", Shape(2, 1, 2), couplings=2, moved=0.15)
    edge = torch.linspace(-15, 15, 1001, dtype=torch.float64)
    x = torch.cartesian_prod(edge, edge)
    for domain in (0, 1):
        u = one_hot(torch.full((len(x),), domain))
        with torch.no_grad():
            density = method.log_likelihood(model, x, u).exp()
        assert (density.sum() * (edge[1] - edge[0]) ** 2).item() == pytest.approx(1, abs=2e-3)


def test_a_linear_flow_is_the_gaussian_of_each_domain_in_closed_form():
    """At the start the flow is linear; with affine base flows, x given the domain is Gaussian."""
    method = methods["domain-flow"].make(
        {
            "start": "random",
        }
    )
    torch.manual_seed(0)
    model = in_float64(method.build(SHAPE))
    method.prepare(model, some_data(500))
    rng = np.random.default_rng(1)
    mean, std, noise_std = rng.normal(size=(2, 3)), rng.uniform(0.5, 2, size=(2, 3)), np.array([0.1, 0.3])
    linear = rng.normal(size=(5, 5))
    with torch.no_grad():
        model.flow.linear.copy_(torch.tensor(linear))
        model.base.affine.copy_(torch.tensor(np.stack([-mean / std, -np.log(std)], axis=-1)))
        model.log_noise.copy_(torch.tensor(np.log(noise_std)))
    batch = batch_of(some_data())
    unmix = np.linalg.inv(model.flow.whitening.numpy() @ linear)
    expected = [
        multivariate_normal(
            np.append(mean[u], [0, 0]) @ unmix, unmix.T @ np.diag(np.append(std[u], noise_std) ** 2) @ unmix
        ).logpdf(x)
        for x, u in zip(batch.x.numpy(), np.arange(64) % 2, strict=True)
    ]
    torch.testing.assert_close(method.log_likelihood(model, batch.x, batch.u), torch.tensor(expected))


def test_the_flow_starts_from_the_white_principal_coordinates_the_greatest_first():
    method = methods["flow"].make(
        {
            "start": "random",
        }
    )
    x = some_data(2000)
    model = in_float64(method.build(SHAPE))
    method.prepare(model, x)
    y = model.flow(x)[0]
    torch.testing.assert_close(torch.cov(y.T), torch.eye(5, dtype=torch.float64), atol=1e-6, rtol=0)
    explained = torch.linalg.lstsq(y, x - x.mean(0)).solution.square().sum(1)
    assert (explained.diff() < 0).all()


class EveryLatentInTurn:
    """Stands for Rng: the value that makes every sample's index `latent`, out of `n`."""

    def __init__(self, latent, n):
        self.value = (latent + 0.5) / n

    def uniform(self, *shape):
        return torch.full(shape, self.value, dtype=torch.float64)


@pytest.mark.parametrize("name", ["sparse-flow", "synergy-flow"])
def test_the_penalty_is_that_of_autograds_jacobian_of_the_inverse(name, monkeypatch):
    monkeypatch.setattr(flow, "STEP", 1e-6)  # the slopes of this flow change within the step that training takes
    method, model = far_from_the_start(name, alpha=0.7)
    batch = batch_of(some_data())
    y = model.flow(batch.x)[0].detach()[: 64 // flow.PENALISED]
    expected = (jacobians(model.flow.inverse, y).abs() * y.std(0)).sum((1, 2)).mean()
    free = dataclasses.replace(method, alpha=0.0)
    extra = [
        method.loss(model, batch, EveryLatentInTurn(i, 5)) - free.loss(model, batch, EveryLatentInTurn(i, 5))
        for i in range(5)
    ]
    torch.testing.assert_close(sum(extra) / 5, 0.7 * expected, rtol=1e-5, atol=0)


def test_the_penalty_of_the_unmixing_is_that_of_autograds_jacobian_of_the_encoding(monkeypatch):
    monkeypatch.setattr(flow, "STEP", 1e-6)
    method, model = far_from_the_start("synergy-flow", penalise="unmixing")
    x, u = some_data(), one_hot(torch.arange(64) % 2)
    z = method.encode(model, x, u)
    expected = (
        (jacobians(lambda x: method.encode(model, x, None), x).abs() / z.std(0)[:, None] * x.std(0)).sum((1, 2)).mean()
    )
    y = model.flow(x)[0]
    found = [method.penalty(model, x, y, EveryLatentInTurn(k, 5)) for k in range(5)]
    torch.testing.assert_close(sum(found) / 5, expected, rtol=1e-5, atol=0)


def test_differences_of_the_step_that_training_takes_are_derivatives_of_a_smooth_map():
    p = torch.randn(200, 2, dtype=torch.float64)
    found = sum(flow.strength(torch.sin, p, EveryLatentInTurn(i, 2)) for i in range(2)) / 2
    torch.testing.assert_close(found, (torch.cos(p).abs() * p.std(0)).sum(1).mean(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", LADDER)
def test_only_the_domain_conditional_corners_see_the_domain_and_their_noise_does_not(name):
    method, model = far_from_the_start(name)
    x = some_data()
    domains = [one_hot(torch.full((64,), u)) for u in (0, 1)]
    first, second = (method.log_likelihood(model, x, u) for u in domains)
    if name in ("flow", "sparse-flow"):
        assert torch.equal(first, second) and model.base.affine.shape[0] == 1
    else:
        z = method.encode(model, x, domains[0])
        difference = model.base.log_density(z, domains[0]) - model.base.log_density(z, domains[1])
        assert difference.abs().mean() > 0.1
        torch.testing.assert_close(first - second, difference)
    assert torch.equal(*(method.encode(model, x, u) for u in domains))


@pytest.mark.parametrize("name", LADDER)
def test_decoding_is_the_inverse_with_noise_at_its_mean(name):
    method, model = far_from_the_start(name)
    z = torch.randn(20, 3, dtype=torch.float64)
    y = model.flow(method.decode(model, z))[0]
    torch.testing.assert_close(y, torch.cat([z, torch.zeros(20, 2, dtype=torch.float64)], 1), atol=1e-7, rtol=0)


# --- a flow of the code in a chart


def of_a_chart(name, **fields):
    """A flow of three latents on a curved chart of five observed variables, in float64, with every trainable number moved."""
    method = methods[name].make({"width": 8, "couplings": 3} | fields)
    torch.manual_seed(0)
    encoder, decoder = nets.WhiteMLP(5, 3, 8, 2), nets.MLP(3, 5, 8, 2)
    for part in (encoder, decoder):
        torch.nn.init.normal_((part.mlp if part is encoder else part).network[-1].weight)
    x = some_data().float()
    model = method.build(SHAPE)
    method.prepare(model, x)
    method.adopt(model, Start(encoder, decoder, x, x))
    model = in_float64(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * parameter.requires_grad * torch.randn_like(parameter)
    return method, model


@pytest.mark.parametrize("name", LADDER)
def test_from_a_chart_a_flow_starts_as_the_identity_of_the_code_and_trains_no_part_of_the_chart(name):
    method = methods[name].make({"width": 8})
    torch.manual_seed(0)
    encoder, decoder = nets.WhiteMLP(5, 3, 8, 2), nets.MLP(3, 5, 8, 2)
    x = some_data().float()
    model = method.build(SHAPE)
    method.prepare(model, x)
    method.adopt(model, Start(encoder, decoder, x, x))
    code = encoder(x)
    torch.testing.assert_close(method.encode(model, x, None), code)
    torch.testing.assert_close(method.decode(model, code), decoder(code))
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert {name.split(".")[0] for name in frozen} == {"encoder", "decoder"}
    assert not any(parameter.requires_grad for parameter in [*model.encoder.parameters(), *model.decoder.parameters()])


def test_from_a_chart_the_likelihood_is_that_of_the_code_and_the_objective_that_of_points_on_the_decoders_surface():
    """By the change of variables of an injective map: p(x) = p(c) / sqrt(det(J^T J)), J the decoder's Jacobian, here autograd's."""
    method, model = of_a_chart("domain-flow")
    batch = batch_of(some_data())
    code = model.encoder(batch.x).detach()
    y = model.flow(code)[0]
    log_det = torch.linalg.slogdet(jacobians(lambda c: model.flow(c)[0], code))[1]
    expected = -(model.base.log_density(y, batch.u) + log_det).mean()
    torch.testing.assert_close(method.loss(model, batch, None), expected)
    decoder = jacobians(model.decoder, code)
    volume = 0.5 * torch.logdet(decoder.mT @ decoder).mean()
    assert abs(volume) > 0.1
    torch.testing.assert_close(method.objective(model, batch, None), expected + volume)


def test_from_a_chart_the_penalty_is_that_of_autograds_jacobian_from_latents_to_data(monkeypatch):
    monkeypatch.setattr(flow, "STEP", 1e-6)
    method, model = of_a_chart("synergy-flow")
    z = model.flow(model.encoder(some_data()))[0].detach()
    expected = (jacobians(lambda y: method.render(model, y), z).abs() * z.std(0)).sum((1, 2)).mean()
    found = [method.penalty(model, None, z, EveryLatentInTurn(i, 3)) for i in range(3)]
    torch.testing.assert_close(sum(found) / 3, expected, rtol=1e-5, atol=0)
