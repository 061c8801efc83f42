"""An auxiliary variable of numbers: what a table gives by domain, a network gives by point. A table is its special case."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.func import vmap

from bench.plan.packs import Pack
from bench.train.data import standardised
from bench.train.engine import Stack
from bench.train.pack import run_pack
from bench.train.stacked import jobs_of
from methods import CHANGES, Batch, DataFacts, Shape, TorchMethod, methods, nets
from tests.packs import pack

N_DOMAINS, N_LATENTS = 3, 2
SHAPE = Shape(n_observed=4, n_latents=2, n_domains=3, n_u=2)
EYE = torch.eye(N_DOMAINS, dtype=torch.float64)


def disturbed(module, std=0.3):
    """A module far from what it starts as, in float64."""
    module = module.double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return module


def one_hot_with(numbers, n=60):
    """u of points of all domains, each with the same numbers behind its one-hot domain."""
    return torch.cat([EYE[torch.arange(n) % N_DOMAINS], torch.full((n, numbers), 0.7, dtype=torch.float64)], dim=1)


def flows(gated):
    """A flow by a network, and that by the table which the network is where the numbers are the same for all points."""
    torch.manual_seed(0)
    cls, more = (nets.GatedLatentFlow, (0.1,)) if gated else (nets.LatentFlow, ())
    by_network, by_table = disturbed(cls(N_DOMAINS, N_LATENTS, *more, n_u=2)), cls(N_DOMAINS, N_LATENTS, *more).double()
    shared = {name: value for name, value in by_network.state_dict().items() if "network" not in name}
    by_table.load_state_dict(shared, strict=False)
    own = by_network.network(one_hot_with(2, N_DOMAINS)).reshape(N_DOMAINS, N_LATENTS, -1)
    by_table.affine.data, by_table.spline.data = own[..., :2], own[..., 2:]
    return by_network, by_table


@pytest.mark.parametrize("gated", [False, True])
def test_a_flow_by_a_network_of_the_one_hot_domain_is_one_by_a_table(gated):
    by_network, by_table = flows(gated)
    u = one_hot_with(2)
    z = 3 * torch.randn(len(u), N_LATENTS, dtype=torch.float64)
    torch.testing.assert_close(by_network(z, u), by_table(z, u[:, :N_DOMAINS]))
    torch.testing.assert_close(by_network.log_density(z, u), by_table.log_density(z, u[:, :N_DOMAINS]))
    torch.testing.assert_close(by_network.inverse(z, u), by_table.inverse(z, u[:, :N_DOMAINS]))


def test_gradients_through_a_flow_by_a_network_are_those_of_autograd_in_a_stack_too():
    """vmap has derivatives by hand; one model alone runs the plain formula."""
    by_network, _ = flows(True)
    names, values = zip(*by_network.named_parameters(), strict=True)
    u = torch.randn(20, N_DOMAINS + 2, dtype=torch.float64)
    z = (3 * torch.randn(20, N_LATENTS, dtype=torch.float64)).requires_grad_()

    def density(z, *values):
        return torch.func.functional_call(by_network, dict(zip(names, values, strict=True)), (z, u))[1].sin().sum()

    expected = torch.autograd.grad(density(z, *values), [z, *values])
    stacked = [value.detach()[None].clone().requires_grad_() for value in (z, *values)]
    found = torch.autograd.grad(vmap(density)(*stacked).sum(), stacked)
    torch.testing.assert_close([each[0] for each in found], [*expected])


def test_a_flow_by_a_network_inverts_and_its_density_integrates_to_one_at_any_u():
    torch.manual_seed(1)
    flow = disturbed(nets.LatentFlow(1, 1, n_u=1), std=0.15)
    z = torch.linspace(-60, 60, 60_001, dtype=torch.float64)[:, None]
    for number in (-1.5, 0.0, 2.0):
        u = torch.tensor([1.0, number], dtype=torch.float64).expand(len(z), 2)
        assert torch.trapezoid(flow.log_density(z, u).exp(), z[:, 0]).item() == pytest.approx(1, abs=1e-4)
        torch.testing.assert_close(flow.inverse(flow(z, u)[0], u), z, atol=1e-8, rtol=0)


def test_an_encoder_whose_network_is_linear_in_the_domain_is_one_with_a_table():
    torch.manual_seed(0)
    by_network, by_table = (nets.Encoder(4, N_DOMAINS, 2, 8, 1, n_u).double() for n_u in (1, 0))
    by_network.mlp.load_state_dict(by_table.mlp.state_dict())
    table = torch.randn(N_DOMAINS, 2, dtype=torch.float64)
    by_table.shift.data = table
    by_network.shift.linear.weight.data[:, :N_DOMAINS] = table.T
    x, u = torch.randn(60, 4, dtype=torch.float64), one_hot_with(1)
    torch.testing.assert_close(by_network(x, u), by_table(x, u[:, :N_DOMAINS]))


def test_a_table_sees_the_domain_alone_whatever_stands_behind_it():
    """So that parts of a method that takes no numbers can stand beside those of one that does."""
    table, u = torch.randn(N_DOMAINS, 2).double(), one_hot_with(2)
    torch.testing.assert_close(nets.at(table, u), table[torch.arange(len(u)) % N_DOMAINS])
    assert torch.equal(nets.at(table[:1], u), table[:1].expand(len(u), 2))


def test_ivaes_prior_at_a_point_is_the_gaussian_that_its_networks_say():
    method = methods["ivae"].make({"width": 8})
    model = disturbed(method.build(SHAPE))
    u = torch.randn(30, 5, dtype=torch.float64)
    mean, log_std = torch.randn(2, 30, 2, dtype=torch.float64)
    prior = Normal(model.prior_mean(u), model.prior_log_std(u).exp())
    expected = kl_divergence(Normal(mean, log_std.exp()), prior).sum(-1)
    torch.testing.assert_close(method.kl(model, mean, log_std, None, None, u), expected)
    assert prior.mean.std() > 0.1
    fixed = methods["ivae"].make({"width": 8, "prior_mean": False}).build(SHAPE)
    assert not any(parameter.requires_grad for parameter in fixed.prior_mean.parameters())
    assert not fixed.prior_mean(u.float()).any()


@pytest.mark.parametrize("name", [name for name in methods.names() if issubclass(methods[name].cls, TorchMethod)])
def test_where_there_are_no_numbers_a_model_has_tables_and_starts_as_it_did(name):
    method = methods[name].make({"width": 8})
    with_numbers, without = method.build(SHAPE), method.build(SHAPE._replace(n_u=0))
    assert not any(isinstance(module, nets.OfNumbers) for module in without.modules())
    sees = any(isinstance(module, nets.OfNumbers) for module in with_numbers.modules())
    assert sees == (CHANGES in method.assumes or not name.endswith("flow"))  # whose encoder is a chart


def test_the_discriminator_weighs_its_outputs_by_the_numbers_as_by_the_domain():
    torch.manual_seed(0)
    from methods import gan

    model = methods["domain-gan"].make({"width": 8}).build(SHAPE).double()
    pairs, u = torch.randn(6, 6).double(), torch.randn(6, 5).double()
    out = model.discriminator(torch.cat([pairs, u], 1))
    assert out.shape == (6, 5)
    torch.testing.assert_close(gan.log_odds(model.discriminator, pairs, u), torch.einsum("bi,bi->b", out, u))
    blind = methods["gan"].make({"width": 8}).build(SHAPE)
    assert blind.n_u == 1 and blind.flow.network is None


class TestTCL:
    method = methods["tcl"].make({"width": 8})

    def test_its_loss_is_the_cross_entropy_of_the_u_of_each_point_among_those_of_the_batch(self):
        model = disturbed(self.method.build(SHAPE))
        x, u = torch.randn(7, 4).double(), torch.randn(7, 5).double()
        scores = torch.empty(7, 7).double()
        for i in range(7):
            for j in range(7):
                *weights, bias = model.classifier(u[j : j + 1])[0]
                scores[i, j] = torch.stack(weights) @ model.encoder(x[i : i + 1])[0] + bias
        expected = torch.nn.functional.cross_entropy(scores, torch.arange(7))
        torch.testing.assert_close(self.method.loss(model, Batch(x, u, x[:, :0]), None), expected)

    def test_the_true_densities_have_the_least_loss_of_all_scalings(self):
        """x | u ~ N(u, 1): log p(u|x) is u x - u^2 / 2 and what does not depend on u. Of c u x - c^2 u^2 / 2 the best c is 1."""
        torch.manual_seed(0)
        u = torch.randn(4000, 1).double()
        x = u + torch.randn(4000, 1).double()

        def loss(c):
            model = torch.nn.Module()
            model.encoder = torch.nn.Identity()
            model.classifier = nets.OfNumbers(1, 2)
            model.classifier.forward = lambda u: torch.cat([c * u, -((c * u) ** 2) / 2], dim=1)
            return self.method.loss(model, Batch(x, u, x[:, :0]), None).item()

        found = {c: loss(c) for c in (0.0, 0.7, 1.0, 1.4)}
        assert min(found, key=found.get) == 1.0
        assert found[0.0] == pytest.approx(np.log(4000))
        assert found[0.0] - found[1.0] == pytest.approx(0.5 * np.log(2), abs=0.03)  # the mutual information


# --- in a run


def on_numbers(name, n_seeds=1, give_u=True, **changes):
    """Trials of a method on small data whose latents drift with u, without domains."""
    trials = pack(name, n_seeds, **changes).trials
    data = {"domains": 1, "drift": 100, "give_u": give_u}
    return Pack(tuple(dataclasses.replace(t, dataset_fields=t.dataset_fields | data) for t in trials))


EVERY_KIND = ("synergy-vae", "ivae", "synergy-gan", "domain-flow", "sparse-dependent-vae", "tcl", "supervised", "pca")


@pytest.mark.parametrize("name", EVERY_KIND)
def test_a_method_gives_a_scored_row_of_data_with_numbers(name):
    (row,) = run_pack(on_numbers(name)).rows
    assert row["status"] == "ok", row["error"]
    assert row["domains"] == 1 and row["drift"] == 100 and 0 < row["mcc_spearman"] <= 1


def test_what_needs_domains_is_not_applicable_and_says_so():
    (row,) = run_pack(on_numbers("joint-diagonalisation")).rows
    assert row["status"] == "not-applicable"
    assert row["error"] == (
        "joint-diagonalisation needs at least 2 domains, and the data have 1; it cannot use the numbers of u"
    )


@pytest.mark.parametrize("name", methods.names())
def test_of_the_methods_that_learn_from_changes_those_apply_that_take_numbers(name):
    method = methods[name].make({})
    facts = DataFacts(6, 3, 1, n_u=2)
    only_changes = set(method.assumes) == {CHANGES}
    assert (method.skip(facts) is None) == (method.takes_numbers or not only_changes)
    assert method.skip(facts._replace(n_domains=4)) is None


@dataclasses.dataclass(frozen=True)
class Old(TorchMethod):
    """Written before there were numbers: a table with one row per domain, of its own."""

    def build(self, shape):
        model = nets.WhiteMLP(shape.n_observed, shape.n_latents, self.width, self.depth)
        model.table = torch.nn.Parameter(torch.zeros(shape.n_domains, shape.n_latents))
        return model

    def loss(self, model, batch, rng):
        return (self.encode(model, batch.x, batch.u) ** 2).mean()

    def encode(self, model, x, u):
        return model(x) + u @ model.table


def trained(method, trial):
    instance = standardised(trial)
    n_u = 0 if instance.train.u is None else 1
    stack = Stack(method, Shape(8, 4, 10, n_u), jobs_of(trial, instance, 1, 0, None))
    stack.train()
    return stack, instance


def test_a_method_of_before_gets_the_domain_alone_and_what_it_found_without_numbers():
    method = Old(steps=40, width=8)
    found = []
    for give_u in (True, False):
        stack, instance = trained(method, on_numbers("vae", give_u=give_u).trials[0])
        assert (instance.train.u is None) == (not give_u) and stack.shape.n_u == 0
        found.append(stack.encode([instance.test]))
    np.testing.assert_array_equal(*found)


@dataclasses.dataclass(frozen=True)
class Probe(TorchMethod):
    """Its code is the u that it is given."""

    takes_numbers = True

    def build(self, shape):
        return torch.nn.Linear(1, 1)

    def loss(self, model, batch, rng):
        return model.weight.sum() * batch.u.mean()

    def encode(self, model, x, u):
        return u


def test_a_batch_has_the_one_hot_domain_and_then_the_numbers_standardised_by_the_training_part():
    trial = on_numbers("vae").trials[0]
    stack, instance = trained(Probe(steps=2), trial)
    raw = trial.make_dataset().generate(np.random.SeedSequence(0, spawn_key=(0, 0)))
    (u,) = stack.encode([instance.test])
    assert u.shape == (2000, 11)
    np.testing.assert_array_equal(u[:, :10], np.eye(10)[raw.test.domains])
    mean, std = raw.train.u.mean(), raw.train.u.std()
    np.testing.assert_allclose(u[:, 10], (raw.test.u[:, 0] - mean) / std, atol=1e-5)
