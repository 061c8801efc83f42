"""The losses of the adversarial ladder against autograd and cases with a known answer."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from methods import Batch, Shape, gan, methods, nets

SHAPE = Shape(n_observed=4, n_latents=2, n_domains=3)
CORNERS = ("gan", "sparse-gan", "domain-gan", "synergy-gan")


def numbers(seed=0, n=10_000):
    generator = torch.Generator().manual_seed(seed)
    return nets.Rng(torch.randn(n, generator=generator).double(), torch.rand(n, generator=generator).double())


def batch(n=16):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 4, generator=generator).double()
    return Batch(x, torch.eye(3).double()[torch.arange(n) % 3], x[:, :0])


def bent_model(method):
    """A model none of whose parts is linear, constant or the same in every domain."""
    torch.manual_seed(0)
    model = method.build(SHAPE).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def gradients(value, module):
    return torch.autograd.grad(value, list(module.parameters()), allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize("name", CORNERS)
def test_the_discriminators_gradient_is_that_of_its_own_part_alone(name):
    method = methods[name].make({"width": 8})
    model, data = bent_model(method), batch()
    parts = method.parts(model, data, numbers())
    assert not any(gradient.any() for gradient in gradients(parts.others, model.discriminator))
    assert any(gradient.any() for gradient in gradients(method.parts(model, data, numbers()).own, model.discriminator))


@pytest.mark.parametrize("name", CORNERS)
def test_the_discriminators_part_gives_no_other_module_a_gradient(name):
    method = methods[name].make({"width": 8})
    model, data = bent_model(method), batch()
    for part in (model.encoder, model.generator, model.flow):
        assert not any(g.any() for g in gradients(method.parts(model, data, numbers()).own, part))
        assert any(g.any() for g in gradients(method.parts(model, data, numbers()).others, part))


def test_a_generator_that_costs_costs_in_any_class():
    """As that of a plug-in that is no sparse corner: its cost is a part of the loss, and a term by name."""

    @dataclass(frozen=True)
    class Costly(gan.GAN):
        def generate(self, model, z, rng):
            return model.generator(z), z.sum() * 0 + 1000.0

    plain, costly = methods["gan"].make({"width": 8}), Costly(width=8)
    losses = [method.loss(bent_model(method), batch(), numbers()).item() for method in (plain, costly)]
    assert losses[1] - losses[0] == pytest.approx(1000)
    assert costly.terms(bent_model(costly), batch(), numbers())["sparsity"].item() == 1000


def judge(n_domains):
    """A discriminator of 4 inputs beside the domain, of which no part is linear."""
    torch.manual_seed(0)
    network = nets.MLP(4 + n_domains, n_domains, 8, 2).double()
    torch.nn.init.normal_(network.network[-1].weight)
    return network, torch.randn(5, 4).double(), torch.eye(n_domains).double()[[0, 1, 1, 2, 0]]


def test_the_log_odds_of_a_pair_are_the_output_for_its_domain():
    network, pairs, u = judge(3)
    outputs = network(torch.cat([pairs, u], dim=1))
    torch.testing.assert_close(gan.log_odds(network, pairs, u), outputs[range(5), [0, 1, 1, 2, 0]])


def test_the_gradient_penalty_is_the_squared_gradient_by_data_and_latents():
    network, pairs, u = judge(3)
    (slope,) = torch.autograd.grad(gan.log_odds(network, pairs.requires_grad_(), u).sum(), pairs)
    torch.testing.assert_close(gan.r1(network, pairs.detach(), u), (slope**2).sum() / 5)


def test_the_gradient_penalty_can_be_trained():
    """Its gradient by the discriminator's weights, against finite differences."""
    network, pairs, u = judge(3)
    weight = network.network[0].weight
    (slope,) = torch.autograd.grad(gan.r1(network, pairs, u), weight)
    values = []
    for step in (1e-5, -1e-5):
        with torch.no_grad():
            weight[1, 2] += step
            values.append(gan.r1(network, pairs, u).item())
            weight[1, 2] -= step
    assert slope[1, 2].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)


@pytest.mark.parametrize(("name", "base"), [("synergy-gan", "domain-gan"), ("sparse-gan", "gan")])
def test_the_sparse_corner_adds_the_penalty_on_the_generator_at_the_flows_sample(name, base, monkeypatch):
    method, plain = methods[name].make({"alpha": 0.7, "width": 8}), methods[base].make({"width": 8})
    model, data = bent_model(method), batch()
    exact = nets.jacobian_strength_exact
    monkeypatch.setattr(nets, "values_and_strength", lambda generator, z, rng: (generator(z), exact(generator, z)))
    total, rest = method.loss(model, data, numbers()), plain.loss(model, data, numbers())

    z = model.flow.inverse(numbers().normal(16, 2), data.u)  # the first numbers drawn
    jacobian = torch.stack([torch.autograd.functional.jacobian(model.generator, point) for point in z.detach()])
    penalty = (jacobian.abs() * z.std(0)).sum((1, 2)).mean()
    torch.testing.assert_close(total - rest, 0.7 * penalty)


@pytest.mark.parametrize("name", ["gan", "sparse-gan"])
def test_the_flow_and_the_discriminator_of_a_blind_corner_do_not_see_the_domain(name):
    method = methods[name].make({"width": 8})
    model = bent_model(method)
    pairs, noise = torch.randn(10, 6).double(), torch.randn(10, 2).double()
    first, second = (torch.eye(3).double()[[u] * 10] for u in (0, 1))
    seen = [nets.as_seen(u, model.n_u) for u in (first, second)]
    assert torch.equal(*(gan.log_odds(model.discriminator, pairs, u) for u in seen))
    assert torch.equal(model.flow.inverse(noise, first), model.flow.inverse(noise, second))
    assert model.flow.affine.shape[0] == 1


def test_a_latent_whose_gate_is_0_is_the_same_in_every_domain_and_one_whose_gate_is_1_has_the_domains_own():
    flow = bent_model(methods["synergy-gan"].make({"width": 8})).flow
    with torch.no_grad():
        flow.gate_logits.copy_(torch.tensor([-1e3, 1e3]))
    free = nets.LatentFlow(3, 2).double()
    free.load_state_dict(flow.state_dict(), strict=False)
    noise = torch.randn(20, 2).double()
    domains = [torch.eye(3).double()[[u] * 20] for u in range(3)]
    of_domain = [flow.inverse(noise, u) for u in domains]
    for u, z in zip(domains[1:], of_domain[1:], strict=True):
        torch.testing.assert_close(z[:, 0], of_domain[0][:, 0])
        assert not torch.allclose(z[:, 1], of_domain[0][:, 1])
        torch.testing.assert_close(z[:, 1], free.inverse(noise, u)[:, 1])


def exact_model(method):
    """A linear-Gaussian model whose encoder is the exact posterior, and data drawn from it."""
    torch.manual_seed(0)
    model = method.build(SHAPE).double()
    rng = np.random.default_rng(0)
    noise, loadings = 0.3, np.linalg.qr(rng.normal(size=(4, 2)))[0] * [1.5, 0.7]
    precision = 1 + (loadings**2).sum(0) / noise**2
    gain = (loadings / noise**2 / precision).T
    with torch.no_grad():
        for mlp in (model.encoder.mlp, model.generator):
            mlp.network[-1].weight.zero_()
            mlp.network[-1].bias.zero_()
            mlp.linear.weight.zero_()
        model.generator.linear.weight.copy_(torch.tensor(loadings))
        model.encoder.mlp.linear.weight[:2, :4].copy_(torch.tensor(gain))
        model.encoder.mlp.network[-1].bias[2:] = torch.tensor(-0.5 * np.log(precision) + 2)  # the method adds -2
        model.log_noise.fill_(np.log(noise))
    z = rng.normal(size=(500, 2))
    x = torch.tensor(z @ loadings.T + noise * rng.normal(size=(500, 4)))
    return model, Batch(x, torch.eye(3).double()[torch.arange(500) % 3], x[:, :0])


@pytest.mark.parametrize("name", CORNERS)
def test_the_objective_is_lower_for_the_true_model_than_for_a_wrong_one(name):
    method = methods[name].make({"width": 8, "alpha": 0.0} if "alpha" in methods[name].fields else {"width": 8})
    model, data = exact_model(method)
    right = method.objective(model, data, numbers()).item()
    covariance = model.generator.linear.weight @ model.generator.linear.weight.T + 0.09 * torch.eye(4).double()
    evidence = torch.distributions.MultivariateNormal(torch.zeros(4).double(), covariance).log_prob(data.x).mean()
    assert right == pytest.approx(-evidence.item(), abs=1e-6)

    generator, encoder = model.generator.linear.weight, model.encoder.mlp.linear.weight
    for wrong, change in ((generator, 0.3), (encoder, 0.3), (model.log_noise, 0.5)):
        with torch.no_grad():
            wrong += change
            assert method.objective(model, data, numbers()).item() > right + 0.05
            wrong -= change


@pytest.mark.parametrize("name", CORNERS)
def test_the_cycle_of_the_noise_is_indifferent_to_the_scale_of_the_latents(name):
    """Latents twice as large, with generator, encoder and discriminator to match: the same loss."""
    method = methods[name].make({"width": 8, "gradient_penalty": 0.0})
    model, data = exact_model(method)
    before = method.loss(model, data, numbers()).item()
    with torch.no_grad():
        model.flow.affine[..., 1] -= np.log(2)
        model.flow.shared_affine[..., 1] -= np.log(2)
        model.generator.linear.weight /= 2
        model.encoder.mlp.linear.weight[:2] *= 2
        model.encoder.mlp.network[-1].bias[2:] += np.log(2)
        model.discriminator.linear.weight[:, 4:6] /= 2
        model.discriminator.network[0].weight[:, 4:6] /= 2
    assert method.loss(model, data, numbers()).item() == pytest.approx(before, abs=1e-9)
