"""The VAE ladder: one backbone, with and without a domain-conditional prior, with and without a sparsity term; and iVAE.

The parts come first: `Backbone` has what all share, the evidence lower bound for a prior; `Sparse` the sparsity term; `Masked` the importance
mask. Below them every method states its objective. The prior sees the domain where the method assumes changes, and nothing else differs
along the ladder.
"""

from __future__ import annotations

from dataclasses import dataclass

from methods import (
    CHANGES,
    SPARSITY,
    AutoencoderMethod,
    Batch,
    DataFacts,
    Shape,
    Start,
    field,
    lazy_module,
    loguniform,
    register,
)

torch = lazy_module("torch")
nets = lazy_module("methods.nets")

# exp(-1) of the data's standard deviation: from a louder start the sparsity term removes latents before they explain anything,
# from a quieter one training ends in local optima more often.
INITIAL_LOG_NOISE = -1.0
STRONG = 0.1  # standard deviations of x: from there on the concave form of the sparsity term leaves an edge alone


@dataclass(frozen=True)
class Backbone(AutoencoderMethod):
    """Encoder, Gaussian decoder and prior of a VAE, and its evidence lower bound.

    Loss per sample (nats): -log p(x|z) + beta * (log q(z|x,u) - log p(z|u)), z drawn once from q. The decoder is Gaussian with one
    learned noise level per observed variable, the posterior a diagonal Gaussian, the prior a monotone flow per latent and domain.
    Where there are as many latents as observed variables, the noise levels are those of the whitened variables instead: no direction
    is noise alone, and noise alike in all of them would hide the latents of the weakest. Of images log p(x|z) and the sparsity term, sums over
    pixels, count by the decoder's `share`.
    """

    takes_numbers = True
    beta: float = field(
        1.0, help="weight of the KL term; 1 is the evidence lower bound", low=0, tune=loguniform(0.3, 3), neutral=1
    )

    def make_prior(self, shape: Shape):
        """p(z|u), or p(z) for a method that does not assume changes: a module with `log_density(z, u)`."""
        return nets.LatentFlow(self.prior_domains(shape), shape.n_latents, n_u=self.prior_u(shape))

    def build(self, shape: Shape):
        model = torch.nn.Module()
        model.encoder = nets.Encoder(
            shape.n_observed, shape.n_domains, 2 * shape.n_latents, self.width, self.depth, shape.n_u, shape.image
        )
        model.decoder = nets.decoder(shape, self.width, self.depth)
        model.log_noise = nets.log_noise(shape, INITIAL_LOG_NOISE)
        model.prior = self.make_prior(shape)
        model.is_square = shape.n_observed == shape.n_latents
        return model

    def adopt(self, model, start: Start):
        nets.take_over(model.encoder, start.encoder)
        model.decoder.load_state_dict(start.decoder.state_dict())
        residual = start.residual @ model.encoder.whitening if model.is_square else start.residual
        model.log_noise.data.copy_(nets.log_noise_of(residual, len(model.log_noise)))

    def negative_elbo(self, model, batch: Batch, rng):
        """The loss above, and what `generate` costs beside it, a scalar."""
        log_likelihood, kl, cost = self.bound(model, batch, rng)
        return (-log_likelihood + self.beta * kl).mean(), cost

    def terms(self, model, batch: Batch, rng):
        log_likelihood, kl, cost = self.bound(model, batch, rng)
        found = {"reconstruction": -log_likelihood.mean(), "KL": self.beta * kl.mean()}
        return found | ({"sparsity": cost} if isinstance(cost, torch.Tensor) else {})

    def bound(self, model, batch: Batch, rng):
        """log p(x|z) and the KL term, (batch,) each, and what `generate` costs beside them, a scalar."""
        mean, log_std = self.posterior(model, batch.x, batch.u)
        noise = rng.normal(*mean.shape)
        z = mean + torch.exp(log_std) * noise
        generated, cost = self.generate(model, z, rng)
        log_likelihood = self.log_likelihood(model, batch.x, generated)
        return log_likelihood, self.kl(model, mean, log_std, noise, z, batch.u), cost

    def posterior(self, model, x, u):
        """Mean and log standard deviation of q(z|x,u), (batch, n_latents) each."""
        mean, log_std = model.encoder(x, u).chunk(2, -1)
        return mean, log_std - 2.0  # starts narrow

    def kl(self, model, mean, log_std, noise, z, u):
        """log q(z|x,u) - log p(z|u), (batch,), in nats, at z = mean + exp(log_std) * noise."""
        log_posterior = (nets.normal_log_density(noise, 0.0, 0.0) - log_std).sum(-1)
        return log_posterior - model.prior.log_density(z, u)

    def log_likelihood(self, model, x, mean):
        """log p(x|z), (batch,), in nats, of the decoder's `mean` of x."""
        residual, log_volume = x - mean, 0.0
        if model.is_square:
            residual = residual @ model.encoder.whitening
            log_volume = torch.linalg.slogdet(model.encoder.whitening)[1]
        own = nets.normal_log_density(residual, 0.0, model.log_noise).sum(-1)
        return nets.share(model.decoder) * own + log_volume

    def generate(self, model, z, rng):
        """The mean of x given z while training, and a cost of the decoder there: none."""
        return model.decoder(z), 0.0

    def encode(self, model, x, u):
        return self.posterior(model, x, u)[0]

    def draw(self, model, u, rng):
        return self.decode(model, self.prior_sample(model, u, rng))

    def prior_sample(self, model, u, rng):
        """z (batch, n_latents) from p(z|u)."""
        return model.prior.sample(u, rng)

    def decode(self, model, z):
        return model.decoder(z)


@dataclass(frozen=True)
class Sparse(Backbone):
    """Adds alpha * L_s, L_s = sum_{k,i} A_ki, A_ki = E |dx_k/dz_i| * std(z_i), from one random latent per sample, with x of unit variance.

    Two forms of the term count edges rather than measure them. `log`: sum_{k,i} STRONG * log(1 + A_ki / STRONG), which presses weak
    edges as L1 does and leaves strong ones alone. `gate`: the expected number of open gates of a decoder whose output k sees
    gates_k * z (an L0 norm).
    """

    cost = 1.7
    alpha: float = field(0.1, help="weight of the sparsity term", low=0, tune=loguniform(1e-2, 1), neutral=0)
    penalty: str = field("l1", help="form of the sparsity term on the decoder", choices=("l1", "log", "gate"))

    def skip(self, data: DataFacts) -> str | None:
        if self.penalty == "gate" and data.image is not None:
            return "with penalty=gate needs data that are no images, since it decodes each pixel by itself"
        return super().skip(data)

    def build(self, shape: Shape):
        model = super().build(shape)
        if self.penalty == "gate":
            model.gates = nets.Gates(shape.n_observed, shape.n_latents)
        return model

    def generate(self, model, z, rng):
        """The mean of x at the posterior sample `z`, and alpha * L_s there."""
        if self.penalty == "gate":
            return nets.gated(model.decoder, z, model.gates.sample(rng)), self.alpha * model.gates.n_open()
        mean, strength = nets.values_and_strength(model.decoder, z, rng)
        term = (strength if self.penalty == "l1" else STRONG * torch.log1p(strength / STRONG)).sum()
        return mean, self.alpha * nets.share(model.decoder) * term

    def decode(self, model, z):
        return nets.gated(model.decoder, z, model.gates()) if self.penalty == "gate" else model.decoder(z)


@dataclass(frozen=True)
class Masked(Backbone):
    """Gives the prior, if asked, a gate per latent that says how far it changes across domains, and adds mask * sum of the gates."""

    mask: float = field(0.0, help="weight of the L1 penalty on the prior's importance mask; 0: no mask", low=0)

    def make_prior(self, shape: Shape):
        if self.mask:
            n_domains, n_u = self.prior_domains(shape), self.prior_u(shape)
            return nets.GatedLatentFlow(n_domains, shape.n_latents, self.mask, n_u=n_u)
        return super().make_prior(shape)

    def mask_term(self, model):
        return model.prior.penalty() if self.mask else 0.0

    def terms(self, model, batch: Batch, rng):
        found = super().terms(model, batch, rng)
        return found | ({"mask": self.mask_term(model)} if self.mask else {})


# --- the four corners


@register("vae", source="Kingma & Welling 2014")
@dataclass(frozen=True)
class VAE(Backbone):
    """VAE with one flow prior for all domains: neither assumption.

    Loss per sample (nats): -log p(x|z) + beta * KL(q(z|x,u) || p(z)).
    """

    ladder = "VAE"
    in_main_job = True

    def loss(self, model, batch: Batch, rng):
        loss, _ = self.negative_elbo(model, batch, rng)
        return loss


@register("flow-vae", source="Li et al. 2025, domain encoding without the sparsity term")
@dataclass(frozen=True)
class FlowVAE(Masked):
    """VAE with a domain-conditional flow prior: sufficient changes only.

    Loss per sample (nats): -log p(x|z) + beta * KL(q(z|x,u) || p(z|u)).
    """

    assumes = frozenset({CHANGES})
    ladder = "VAE"
    in_main_job = True

    def loss(self, model, batch: Batch, rng):
        loss, _ = self.negative_elbo(model, batch, rng)
        return loss + self.mask_term(model)


@register("sparse-vae", source="Zheng, Ng & Zhang 2022, penalty; Kingma & Welling 2014, model")
@dataclass(frozen=True)
class SparseVAE(Sparse):
    """VAE with one flow prior for all domains and an L1 penalty on the decoder's Jacobian: sparse mixing only.

    Loss per sample (nats): -log p(x|z) + beta * KL(q(z|x,u) || p(z)) + alpha * L_s.
    """

    assumes = frozenset({SPARSITY})
    ladder = "VAE"
    in_main_job = True

    def loss(self, model, batch: Batch, rng):
        loss, sparsity = self.negative_elbo(model, batch, rng)
        return loss + sparsity


@register("synergy-vae", source="Li et al. 2025")
@dataclass(frozen=True)
class SynergyVAE(Masked, Sparse):
    """VAE with a domain-conditional flow prior and an L1 penalty on the decoder's Jacobian: both assumptions.

    Loss per sample (nats): -log p(x|z) + beta * KL(q(z|x,u) || p(z|u)) + alpha * L_s, with x of unit variance.
    """

    assumes = frozenset({CHANGES, SPARSITY})
    ladder = "VAE"
    in_main_job = True

    def loss(self, model, batch: Batch, rng):
        loss, sparsity = self.negative_elbo(model, batch, rng)
        return loss + self.mask_term(model) + sparsity


# --- beside the ladder


@register("beta-vae", source="Higgins et al. 2017")
@dataclass(frozen=True)
class BetaVAE(VAE):
    """VAE whose KL term weighs more than the evidence lower bound says: independence pressed harder, neither assumption.

    The loss of vae with another beta.
    """

    beta: float = field(
        4.0, help="weight of the KL term; 1 is the evidence lower bound", low=0, tune=loguniform(1, 10), neutral=1
    )


@register("ivae", source="Khemakhem et al. 2020")
@dataclass(frozen=True)
class IVAE(Backbone):
    """Identifiable VAE: the prior at every u is a Gaussian.

    Loss per sample (nats): -log p(x|z) + beta * KL(q(z|x,u) || N(mu(u), diag sigma(u)^2)), the KL in closed form.
    """

    cost = 0.7
    assumes = frozenset({CHANGES})
    ladder = "iVAE"
    in_main_job = True
    prior_mean: bool = field(True, help="learn mu(u); the published code fixes it at 0")

    def make_prior(self, shape: Shape):
        return None  # mean and log standard deviation, of the model's own

    def build(self, shape: Shape):
        model = super().build(shape)
        sizes = self.prior_domains(shape), self.prior_u(shape), shape.n_latents
        model.prior_mean = nets.of_domain_or_numbers(*sizes).requires_grad_(self.prior_mean)
        model.prior_log_std = nets.of_domain_or_numbers(*sizes)
        return model

    def loss(self, model, batch: Batch, rng):
        loss, _ = self.negative_elbo(model, batch, rng)
        return loss

    def prior_sample(self, model, u, rng):
        mean, log_std = nets.at(model.prior_mean, u), nets.at(model.prior_log_std, u)
        return mean + torch.exp(log_std) * rng.normal(*mean.shape)

    def kl(self, model, mean, log_std, noise, z, u):
        prior_mean, prior_log_std = nets.at(model.prior_mean, u), nets.at(model.prior_log_std, u)
        return nets.gaussian_kl(mean, log_std, prior_mean, prior_log_std).sum(-1)


# --- the ladder of ivae: the same four corners with Gaussian priors


@register("gaussian-vae", source="Kingma & Welling 2014")
@dataclass(frozen=True)
class GaussianVAE(IVAE):
    """VAE with one Gaussian prior for all domains: neither assumption.

    Loss per sample (nats): -log p(x|z) + beta * KL(q(z|x,u) || N(mu, diag sigma^2)), the KL in closed form.
    """

    assumes = frozenset()
    ladder = "iVAE"


@register("sparse-gaussian-vae", source="Zheng, Ng & Zhang 2022, penalty; Kingma & Welling 2014, model")
@dataclass(frozen=True)
class SparseGaussianVAE(Sparse, GaussianVAE):
    """VAE with one Gaussian prior for all domains and an L1 penalty on the decoder's Jacobian: sparse mixing only.

    Loss per sample (nats): -log p(x|z) + beta * KL(q(z|x,u) || N(mu, diag sigma^2)) + alpha * L_s, the KL in closed form.
    """

    assumes = frozenset({SPARSITY})
    ladder = "iVAE"

    def loss(self, model, batch: Batch, rng):
        loss, sparsity = self.negative_elbo(model, batch, rng)
        return loss + sparsity


@register("sparse-ivae", source="Khemakhem et al. 2020, model; Zheng, Ng & Zhang 2022, penalty")
@dataclass(frozen=True)
class SparseIVAE(Sparse, IVAE):
    """Identifiable VAE with an L1 penalty on the decoder's Jacobian: both assumptions.

    Loss per sample (nats): -log p(x|z) + beta * KL(q(z|x,u) || N(mu(u), diag sigma(u)^2)) + alpha * L_s, the KL in closed form.
    """

    assumes = frozenset({CHANGES, SPARSITY})
    ladder = "iVAE"

    def loss(self, model, batch: Batch, rng):
        loss, sparsity = self.negative_elbo(model, batch, rng)
        return loss + sparsity


# --- sparsity alone, where the latents are not independent


@register("sparse-dependent-vae", source="this project, prior; Zheng, Ng & Zhang 2022, penalty")
@dataclass(frozen=True)
class SparseDependentVAE(SparseVAE):
    """VAE with one prior for all domains in which latents may depend on each other, and an L1 penalty on the decoder's Jacobian.

    Loss per sample (nats): that of sparse-vae, with p(z) a mixture of Gaussians with full covariances. Sparse mixing is the only
    assumption: latents whose distributions change with the domain depend on each other over all domains together, so that the factorised
    prior of sparse-vae is wrong there. Here independence is not assumed, neither over all domains nor within one.
    """

    independent = False
    components: int = field(10, help="Gaussians in the mixture that is the prior", low=1)

    def make_prior(self, shape: Shape):
        return nets.GaussianMixture(self.components, shape.n_latents)
