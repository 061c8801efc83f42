"""The VAE ladder: one backbone, with and without a domain-conditional prior, with and without a sparsity term; and iVAE."""

from __future__ import annotations

from dataclasses import dataclass

from methods import Batch, Shape, TorchMethod, choice, field, lazy_module, loguniform, register
from registry import UsageError

torch = lazy_module("torch")
nets = lazy_module("methods.nets")

# exp(-1) of the data's standard deviation: from a louder start the sparsity term removes latents before they explain anything,
# from a quieter one training ends in local optima more often.
INITIAL_LOG_NOISE = -1.0
EDGE = 0.1  # standard deviations of x: what counts as a strong edge


@register("flow-vae", source="Li et al. 2025, domain encoding without the sparsity term")
@dataclass(frozen=True)
class FlowVAE(TorchMethod):
    """VAE with a domain-conditional flow prior: sufficient changes only.

    Loss per sample (nats): -log p(x|z) + beta * (log q(z|x,u) - log p(z|u)), z drawn once from q. The decoder is Gaussian with one
    learned noise level per observed variable, the posterior a diagonal Gaussian, the prior a monotone flow per latent and domain.
    Where there are as many latents as observed variables, the noise levels are those of the whitened variables instead: no direction
    is noise alone, and noise alike in all of them would hide the latents of the weakest.
    With `mask`, the prior has a gate per latent that says how far it changes across domains, and the loss + mask * sum of the gates.
    """

    cost = 1.0
    min_domains = 2
    promise = "promised_changes"
    beta: float = field(
        1.0, help="weight of the KL term; 1 is the evidence lower bound", low=0, tune=loguniform(0.3, 3), neutral=1
    )
    mask: float = field(0.0, help="weight of the L1 penalty on the prior's importance mask; 0: no mask", low=0)

    def n_prior_domains(self, shape: Shape) -> int:
        return shape.n_domains

    def build(self, shape: Shape):
        model = torch.nn.Module()
        model.encoder = nets.Encoder(shape.n_observed, shape.n_domains, 2 * shape.n_latents, self.width, self.depth)
        model.decoder = nets.MLP(shape.n_latents, shape.n_observed, self.width, self.depth)
        model.log_noise = torch.nn.Parameter(torch.full((shape.n_observed,), INITIAL_LOG_NOISE))
        flow = nets.GatedFlow if self.mask else nets.DomainFlow
        model.prior = flow(self.n_prior_domains(shape), shape.n_latents)
        model.is_square = shape.n_observed == shape.n_latents
        return model

    def loss(self, model, batch: Batch, rng):
        return self.elbo_loss(model, batch, rng)[0]

    def elbo_loss(self, model, batch: Batch, rng):
        """The loss, and the posterior sample (batch, n_latents) that it was computed from."""
        mean, log_std = self.posterior(model, batch.x, batch.u)
        noise = rng.normal(*mean.shape)
        z = mean + torch.exp(log_std) * noise
        log_likelihood = self.log_likelihood(model, batch.x, self.generate(model, z, rng))
        log_posterior = (nets.normal_log_density(noise, 0.0, 0.0) - log_std).sum(-1)
        kl = log_posterior - self.log_prior(model, z, batch.u)
        mask = self.mask * model.prior.gates().sum() if self.mask else 0.0
        return (-log_likelihood + self.beta * kl).mean() + mask, z

    def log_likelihood(self, model, x, mean):
        """log p(x|z), (batch,), in nats, of the decoder's `mean` of x."""
        residual, log_volume = x - mean, 0.0
        if model.is_square:
            residual = residual @ model.encoder.whitening
            log_volume = torch.linalg.slogdet(model.encoder.whitening)[1]
        return nets.normal_log_density(residual, 0.0, model.log_noise).sum(-1) + log_volume

    def posterior(self, model, x, u):
        mean, log_std = model.encoder(x, u).chunk(2, -1)
        return mean, log_std - 2.0  # starts narrow

    def log_prior(self, model, z, u):
        return model.prior.log_density(z, u)

    def generate(self, model, z, rng):
        """The mean of x given z while training."""
        return model.decoder(z)

    def encode(self, model, x, u):
        return self.posterior(model, x, u)[0]

    def decode(self, model, z):
        return model.decoder(z)


def refuse_mask(method: FlowVAE) -> None:
    if method.mask:
        raise UsageError(f"mask={method.mask:g}: only a domain-conditional flow prior has a mask; leave it 0")


@register("vae", source="Kingma & Welling 2014")
@dataclass(frozen=True)
class VAE(FlowVAE):
    """VAE with one flow prior for all domains: neither assumption.

    The loss of flow-vae; the prior is the same flow with a constant in place of the domain.
    """

    min_domains = 1
    promise = ""

    def __post_init__(self):
        refuse_mask(self)

    def n_prior_domains(self, shape: Shape) -> int:
        return 1

    def log_prior(self, model, z, u):
        return model.prior.log_density(z, torch.ones_like(u[:, :1]))


@register("beta-vae", source="Higgins et al. 2017")
@dataclass(frozen=True)
class BetaVAE(VAE):
    """VAE whose KL term weighs more than the evidence lower bound says: independence pressed harder, neither assumption.

    The loss of vae with another beta.
    """

    beta: float = field(
        4.0, help="weight of the KL term; 1 is the evidence lower bound", low=0, tune=loguniform(1, 10), neutral=1
    )


@dataclass(frozen=True)
class _Sparse(FlowVAE):
    """Adds alpha * L_s, L_s = sum_{k,i} A_ki, A_ki = E |dx_k/dz_i| * std(z_i).

    Once the data are explained and before the learning rate falls, alpha is `boost` times as large: latents that are entangled by
    twos and threes come apart, which they rarely do at the weight that is right in the end. Earlier, it would remove weak latents.

    Two forms of the term count edges rather than measure them. `log`: sum_{k,i} EDGE * log(1 + A_ki / EDGE), which presses weak
    edges as L1 does and leaves strong ones alone. `gate`: the expected number of open gates of a decoder whose output k sees
    gates_k * z (an L0 norm).
    """

    cost = 1.7
    min_domains = 1
    promise = "promised_both"
    alpha: float = field(0.1, help="weight of the sparsity term", low=0, tune=loguniform(1e-2, 1), neutral=0)
    boost: float = field(
        2.0,
        help="factor on alpha between 30 and 60 % of the steps; the objective has alpha itself",
        low=0,
        tune=choice(1.0, 2.0, 5.0, 10.0),
    )
    penalty: str = field("l1", help="form of the sparsity term on the decoder", choices=("l1", "log", "gate"))
    exact_jacobian: bool = field(False, help="the penalty from every latent; false: from one random latent per sample")

    def build(self, shape: Shape):
        model = super().build(shape)
        if self.penalty == "gate":
            model.gates = nets.Gates(shape.n_observed, shape.n_latents)
        return model

    def loss(self, model, batch: Batch, rng):
        loss, z = self.elbo_loss(model, batch, rng)
        form, weight = self.sparsity_term(batch.progress)
        return loss + weight * self.sparsity(model, z, rng, form)

    def sparsity_term(self, progress: float) -> tuple[str, float]:
        """Form and weight of the sparsity term when `progress` of the steps are done."""
        return self.penalty, nets.boosted(self.alpha, self.boost, progress)

    def sparsity(self, model, z, rng, form: str):
        if form == "gate":
            return model.gates.n_open()
        strength = (
            nets.jacobian_strength_exact(model.decoder, z)
            if self.exact_jacobian
            else nets.jacobian_strength(model.decoder, z, rng)
        )
        return strength.sum() if form == "l1" else EDGE * torch.log1p(strength / EDGE).sum()

    def generate(self, model, z, rng):
        return nets.gated(model.decoder, z, model.gates.sample(rng)) if self.penalty == "gate" else model.decoder(z)

    def decode(self, model, z):
        return nets.gated(model.decoder, z, model.gates()) if self.penalty == "gate" else model.decoder(z)


@register("synergy-vae", source="Li et al. 2025")
@dataclass(frozen=True)
class SynergyVAE(_Sparse):
    """VAE with a domain-conditional flow prior and an L1 penalty on the decoder's Jacobian: both assumptions.

    Loss per sample (nats): -log p(x|z) + beta * KL(q(z|x,u) || p(z|u)) + alpha * L_s, with x of unit variance.
    """


@register("adaptive-synergy-vae", source="this project")
@dataclass(frozen=True)
class AdaptiveSynergyVAE(SynergyVAE):
    """Synergy-VAE whose sparsity term stops fighting the changes once the latents have come apart: from there on it counts edges.

    Where j is in the shadow of i, z_i + c z_j has as many edges as z_i for every c, but an L1 norm prefers some wrong c against what
    the changes say. Here the training is that of synergy-vae until the boost ends, from the same start with the same noise, and ends
    in the same optimum; then the term is the concave `log` form with `late` times the weight, which is nearly flat in c and presses
    hardest where an edge is next to nothing. The objective, which picks among restarts, has alpha and `penalty`.
    """

    late: float = field(3.0, help="factor on alpha after the boost, where the sparsity term is concave", low=0)
    penalty: str = field("l1", help="form of the sparsity term until the boost ends", choices=("l1", "log"))

    def sparsity_term(self, progress: float) -> tuple[str, float]:
        is_late = nets.BOOSTED[1] <= progress < 1
        return ("log", self.late * self.alpha) if is_late else super().sparsity_term(progress)


@register("sparse-vae", source="Zheng, Ng & Zhang 2022, penalty; Kingma & Welling 2014, model")
@dataclass(frozen=True)
class SparseVAE(VAE, _Sparse):
    """VAE with one flow prior for all domains and an L1 penalty on the decoder's Jacobian: sparse mixing only.

    The loss of synergy-vae; the prior is the same flow with a constant in place of the domain.
    """

    promise = "promised_independence"


@register("ivae", source="Khemakhem et al. 2020")
@dataclass(frozen=True)
class IVAE(FlowVAE):
    """Identifiable VAE: the prior of every domain is a Gaussian.

    Loss per sample (nats): -log p(x|z) + beta * KL(q(z|x,u) || N(mu(u), diag sigma(u)^2)), the KL in closed form.
    """

    cost = 0.7
    prior_mean: bool = field(True, help="learn mu(u); the published code fixes it at 0")

    def __post_init__(self):
        refuse_mask(self)

    def build(self, shape: Shape):
        model = super().build(shape)
        model.prior = None
        model.prior_mean = torch.nn.Parameter(
            torch.zeros(shape.n_domains, shape.n_latents), requires_grad=self.prior_mean
        )
        model.prior_log_std = torch.nn.Parameter(torch.zeros(shape.n_domains, shape.n_latents))
        return model

    def elbo_loss(self, model, batch: Batch, rng):
        mean, log_std = self.posterior(model, batch.x, batch.u)
        z = mean + torch.exp(log_std) * rng.normal(*mean.shape)
        log_likelihood = self.log_likelihood(model, batch.x, self.generate(model, z, rng))
        prior_log_std = batch.u @ model.prior_log_std
        kl = nets.gaussian_kl(mean, log_std, batch.u @ model.prior_mean, prior_log_std).sum(-1)
        return (-log_likelihood + self.beta * kl).mean(), z
