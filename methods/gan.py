"""The adversarial ladder: one generator, encoder and discriminator, with and without a domain-conditional flow, with and without
a sparsity term.

Generator, encoder and discriminator each minimise their own part of one loss: what belongs to the other side is detached. `Backbone` has
what all share, `Sparse` adds the sparsity term; below them are the four corners. Flow and discriminator see the domain where the method
assumes changes, and a constant elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from methods import (
    CHANGES,
    SPARSITY,
    AutoencoderMethod,
    Batch,
    Shape,
    Start,
    field,
    lazy_module,
    loguniform,
    register,
)

if TYPE_CHECKING:
    from torch import Tensor

torch = lazy_module("torch")
nets = lazy_module("methods.nets")

# exp(-1) of the data's standard deviation, as in the VAE ladder; here of the observed variables, however many latents there are.
INITIAL_LOG_NOISE = -1.0
# Standard deviation of the noise on the images that the discriminator sees, at first, and the part of the steps after which there is none.
NOISE_SEEN, NOISE_UNTIL = 0.2, 0.8
LOG_STD = (-10.0, 3.0)  # of the posterior, least and greatest
MASK = 0.01  # weight of the gates of the flow; where it is one for all domains they gate nothing, and all corners have the same parts


class Parts(NamedTuple):
    """What the discriminator minimises, and what all others minimise: two scalars."""

    own: Tensor
    others: Tensor


@dataclass(frozen=True)
class Backbone(AutoencoderMethod):
    """Adversarially learned inference.

    Noise e ~ N(0, 1) -> flow of the domain, z = f^-1(e; u) -> generator, x_hat = G(z) + noise of a learned level. An encoder
    q(z|x,u), a diagonal Gaussian, inverts it. The discriminator tells (x, E(x,u), u) from (x_hat, z, u) (Dumoulin et al. 2017,
    Donahue et al. 2017). Loss (nats): its cross-entropy + `gradient_penalty` / 2 * |gradient at the data|^2 (R1, Mescheder et al.
    2018), and for the others `adversarial` * the non-saturating cross-entropy + `cycle` * (-log p(x|E(x,u)) - log q(e|x_hat,u)), the
    two conditional entropies (Li et al. 2017), + `mask` * sum of the gates that say how far a latent changes across domains.

    Of images log p(x|.) and the sparsity term count by the generator's `share`, as in the VAE ladder. The discriminator, of twice the width,
    sees images without latents, real and generated ones with the same noise, which falls to none (Sonderby et al. 2017), and
    KL(q(z|x,u) || p(z|u)) stands in the place of -log q(e|x_hat,u) (Larsen et al. 2016): of pairs it is sure within a hundred
    steps, and what it asks of the encoder then costs the content.
    """

    takes_numbers = True
    cost = 3.0
    betas = (0.5, 0.99)
    # Generator and encoder are faster than the rest: where the noise falls before they fit, which the discriminator asks for, latents
    # are lost for good.
    rates: ClassVar = {"discriminator": 0.3, "flow": 0.3, "log_noise": 0.1}

    def rates_on(self, shape: Shape):
        # The discriminator of images does not see the noise of the likelihood, and so does not hurry its fall; and at the pace of the
        # networks a gate of the flow can close within 1,000 steps.
        return self.rates if shape.image is None else self.rates | {"flow": 1.0, "log_noise": 0.3}

    learning_rate: float = field(
        1e-2, help="peak of the one-cycle schedule of Adam", low=0, tune=loguniform(3e-3, 2e-2)
    )
    adversarial: float = field(
        10.0,
        help="weight of the adversarial loss of generator, flow and, but for images, encoder",
        low=0,
        tune=loguniform(3, 30),
    )
    cycle: float = field(
        1.0, help="weight of the two cycle losses; of images, of the negative evidence lower bound", low=0
    )
    gradient_penalty: float = field(0.1, help="weight of the gradient penalty on the discriminator (R1)", low=0)

    def make_flow(self, shape: Shape):
        return self._flow(shape, MASK)

    def _flow(self, shape: Shape, weight: float):
        return nets.GatedLatentFlow(self.prior_domains(shape), shape.n_latents, weight, n_u=self.prior_u(shape))

    def build(self, shape: Shape):
        n_u = self.prior_domains(shape) + self.prior_u(shape)
        model = torch.nn.Module()
        model.encoder = nets.Encoder(
            shape.n_observed, shape.n_domains, 2 * shape.n_latents, self.width, self.depth, shape.n_u, shape.image
        )
        model.generator = nets.decoder(shape, self.width, self.depth)
        model.log_noise = nets.log_noise(shape, INITIAL_LOG_NOISE)
        model.flow = self.make_flow(shape)
        model.discriminator = nets.discriminator(shape, shape.n_latents, n_u, self.width, self.depth)
        model.n_u = n_u  # columns of u that flow and discriminator see
        return model

    def adopt(self, model, start: Start):
        nets.take_over(model.encoder, start.encoder)
        model.generator.load_state_dict(start.decoder.state_dict())
        model.log_noise.data.copy_(nets.log_noise_of(start.residual, len(model.log_noise)))

    def loss(self, model, batch: Batch, rng):
        parts = self.parts(model, batch, rng)
        return parts.own + parts.others

    def parts(self, model, batch: Batch, rng) -> Parts:
        terms = self._terms(model, batch, rng)
        others = terms["adversarial"] + terms["cycle"] + terms["mask"] + terms["sparsity"]
        return Parts(terms["discriminator"] + terms["gradient penalty"], others)

    def terms(self, model, batch: Batch, rng):
        terms = self._terms(model, batch, rng)
        return {name: value for name, value in terms.items() if isinstance(value, torch.Tensor)}

    def _terms(self, model, batch: Batch, rng):
        """The terms of the loss, whose sum it is; that of `generate`'s cost is a number where it costs nothing."""
        x, u = batch.x, nets.as_seen(batch.u, model.n_u)
        z, log_slope = self.sample(model, u, rng)
        rendered, cost = self.generate(model, z, rng)
        shown = self._images_alone if model.encoder.image is not None else self._pairs
        real, fake, encoded, forth = shown(model, batch, z, log_slope, rendered, rng)
        both, domains = torch.cat([real, fake]), torch.cat([u, u])

        softplus = torch.nn.functional.softplus
        on_real, on_fake = log_odds(model.discriminator, both.detach(), domains).chunk(2)
        own = softplus(-on_real) + softplus(on_fake)
        penalty = r1(model.discriminator, real.detach(), u)

        on_real, on_fake = log_odds(frozen(model.discriminator), both, domains).chunk(2)
        adversarial = softplus(on_real) + softplus(-on_fake)
        back = -self.log_likelihood(model, x, encoded)
        return {
            "discriminator": own.mean(),
            "gradient penalty": 0.5 * self.gradient_penalty * penalty,
            "adversarial": self.adversarial * adversarial.mean(),
            "cycle": self.cycle * (back + forth).mean(),
            "mask": model.flow.penalty(),
            "sparsity": cost,
        }

    def _pairs(self, model, batch: Batch, z, log_slope, rendered, rng):
        """What the discriminator sees of data and of generated points, q's sample at the data (batch, n_latents), and -log q(e|x_hat) (batch,)."""
        x, u = batch.x, batch.u
        generated = rendered + torch.exp(model.log_noise) * rng.normal(*x.shape)
        mean, log_std = self.posterior(model, torch.cat([x, generated]), torch.cat([u, u]))
        (mean, mean_back), (log_std, log_std_back) = mean.chunk(2), log_std.chunk(2)
        encoded = mean + torch.exp(log_std) * rng.normal(*mean.shape)
        # Of the noise, not of z, whose scale is free and would shrink: q(e|x) = q(z|x) / f'(z).
        forth = (log_slope - nets.normal_log_density(z, mean_back, log_std_back)).sum(-1)
        return seen(model, x, encoded), seen(model, generated, z), encoded, forth

    def _images_alone(self, model, batch: Batch, z, log_slope, rendered, rng):
        """The same of images, with log q(z|x,u) - log p(z|u) in the place of -log q(e|x_hat)."""
        x = batch.x
        encoded, log_posterior = self.posterior_sample(model, batch, rng)
        kl = log_posterior - model.flow.log_density(encoded, batch.u)
        blur = NOISE_SEEN * torch.relu(1 - torch.as_tensor(batch.progress) / NOISE_UNTIL)
        return x + blur * rng.normal(*x.shape), rendered + blur * rng.normal(*x.shape), encoded, kl

    def generate(self, model, z, rng):
        """The generator's output at the flow's sample `z`, and a cost of the generator there: none."""
        return model.generator(z), 0.0

    def sample(self, model, u, rng):
        """z (batch, n_latents) from the flow, and log f'(z; u)."""
        z = model.flow.inverse(rng.normal(len(u), model.flow.n_latents), u)
        return z, model.flow(z, u)[1]

    def posterior(self, model, x, u):
        mean, log_std = model.encoder(x, u).chunk(2, -1)
        # Starts narrow; bounded, since noise of generated data can lie far out where the data hardly vary.
        return mean, (log_std - 2.0).clamp(*LOG_STD)

    def posterior_sample(self, model, batch: Batch, rng):
        """z (batch, n_latents) from q(z|x,u), and log q(z|x,u) there, (batch,), in nats."""
        mean, log_std = self.posterior(model, batch.x, batch.u)
        noise = rng.normal(*mean.shape)
        return mean + torch.exp(log_std) * noise, (nets.normal_log_density(noise, 0.0, 0.0) - log_std).sum(-1)

    def objective(self, model, batch: Batch, rng):
        """The negative evidence lower bound (nats) of flow, generator and encoder, which are a VAE however they were trained.

        An adversarial loss measures the discriminator too.
        """
        z, log_posterior = self.posterior_sample(model, batch, rng)
        log_likelihood = self.log_likelihood(model, batch.x, z)
        return (log_posterior - log_likelihood - model.flow.log_density(z, batch.u)).mean()

    def log_likelihood(self, model, x, z):
        """log p(x|z), (batch,), in nats."""
        own = nets.normal_log_density(x, model.generator(z), model.log_noise).sum(-1)
        return nets.share(model.generator) * own

    def encode(self, model, x, u):
        return self.posterior(model, x, u)[0]

    def decode(self, model, z):
        return model.generator(z)

    def draw(self, model, u, rng):
        return model.generator(self.sample(model, nets.as_seen(u, model.n_u), rng)[0])


def seen(model, x, z):
    """What the discriminator sees of a pair: white data (see nets.Encoder) and latents, (batch, n_observed + n_latents)."""
    return torch.cat([x @ model.encoder.whitening, z], dim=-1)


def log_odds(discriminator, pairs, u):
    """The log odds of each pair to be of the data, (batch,): the discriminator's output for the domain, which is also one of its inputs.

    A projection discriminator (Miyato & Koyama 2018): with one output for all domains it learns late how their densities differ. Numbers
    behind the domain have outputs too, which count in proportion.
    """
    return (discriminator(torch.cat([pairs, u], dim=-1)) * u).sum(-1)


def r1(discriminator, pairs, u):
    """Mean over the batch of the squared gradient of the log odds by data and latents."""
    slope = torch.func.grad(lambda free: log_odds(discriminator, free, u).sum())(pairs)
    return (slope**2).sum(-1).mean()


def frozen(module):
    """`module` as a function through which gradients flow but to whose weights none do."""
    weights = {name: value.detach() for name, value in module.named_parameters()}
    return lambda *inputs: torch.func.functional_call(module, weights, inputs)


@dataclass(frozen=True)
class Sparse(Backbone):
    """Adds alpha * L_s, L_s = E sum_{k,i} |dG_k/dz_i| * std(z_i) at the flow's samples, from one random latent per sample."""

    cost = 4.0
    alpha: float = field(
        0.2, help="weight of the L1 penalty on the generator's Jacobian", low=0, tune=loguniform(3e-2, 3), neutral=0
    )

    def generate(self, model, z, rng):
        rendered, strength = nets.values_and_strength(model.generator, z, rng)
        return rendered, self.alpha * nets.share(model.generator) * strength.sum()

    def objective(self, model, batch: Batch, rng):
        """The bound above, plus the sparsity term."""
        bound = super().objective(model, batch, rng)
        z, _ = self.sample(model, nets.as_seen(batch.u, model.n_u), rng)
        strength = nets.jacobian_strength(model.generator, z, rng)
        return bound + self.alpha * nets.share(model.generator) * strength.sum()


@dataclass(frozen=True)
class Masked(Backbone):
    """The importance mask of Li et al. 2025 with a weight of its own: a latent whose gate closes does not change across domains."""

    mask: float = field(MASK, help="weight of the L1 penalty on how far each latent changes across domains", low=0)

    def make_flow(self, shape: Shape):
        return self._flow(shape, self.mask)


# --- the four corners


@register("gan", source="Goodfellow et al. 2014; inference, Dumoulin et al. 2017, Donahue et al. 2017")
@dataclass(frozen=True)
class GAN(Backbone):
    """Adversarially learned inference with one flow for all domains: neither assumption.

    The loss of domain-gan; flow and discriminator get a constant in place of the domain.
    """

    ladder = "GAN"


@register("domain-gan", source="Li et al. 2025, domain encoding without the sparsity term; Dumoulin et al. 2017")
@dataclass(frozen=True)
class DomainGAN(Masked):
    """Adversarially learned inference with a domain-conditional flow: sufficient changes only.

    Loss (nats): the discriminator's cross-entropy + `gradient_penalty` / 2 * R1; for the others `adversarial` * the non-saturating
    cross-entropy + `cycle` * (-log p(x|E(x,u)) - log q(e|x_hat,u)) + `mask` * sum of the gates. Of images, `Backbone` says what differs.
    """

    assumes = frozenset({CHANGES})
    ladder = "GAN"


@register("sparse-gan", source="Zheng, Ng & Zhang 2022, penalty; Dumoulin et al. 2017, model")
@dataclass(frozen=True)
class SparseGAN(Sparse):
    """Adversarially learned inference with one flow for all domains and an L1 penalty on the generator's Jacobian: sparse mixing only.

    The loss of synergy-gan; flow and discriminator get a constant in place of the domain.
    """

    assumes = frozenset({SPARSITY})
    ladder = "GAN"


@register("synergy-gan", source="Li et al. 2025")
@dataclass(frozen=True)
class SynergyGAN(Masked, Sparse):
    """Adversarially learned inference with a domain-conditional flow and an L1 penalty on the generator's Jacobian: both assumptions.

    The loss of domain-gan + alpha * L_s, with x of unit variance.
    """

    assumes = frozenset({CHANGES, SPARSITY})
    ladder = "GAN"
