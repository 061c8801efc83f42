"""The exact-likelihood ladder: an invertible network, with and without a domain-conditional base, with and without a sparsity term.

`Backbone` has what all share, `Sparse` adds the sparsity term; below them are the four corners. The base sees the domain where the method
assumes changes.
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

PENALISED = 4  # the penalty is estimated on one point in so many: on all of them it costs several times what the likelihood does
STEP = 0.01  # standard deviations: of the differences that stand for derivatives


@dataclass(frozen=True)
class Backbone(AutoencoderMethod):
    """Normalizing flow: the exact likelihood, for the base that it is given, of the data's code c in their chart.

    Loss per sample (nats): -log p(c|u) = -log p(z|u) - log |det dz/dc|, z = flow(c). p(z|u) is the prior of the VAE ladder, the flow a
    chain of spline couplings (Durkan et al. 2019). The chart stays as it is: its decoder, after the flow's inverse, maps z to the data.

    With `start=random` there is no chart, and the flow is one of the data: -log p(x|u) = -log p(z|u) - log p(e) - log |det d(z, e)/dx|,
    (z, e) = flow(x). It has as many dimensions as the data. Where more variables are observed than there are latents, the first n_latents
    dimensions are the latents z and the n_observed - n_latents others are noise e, after Sorrenson, Rother & Koethe (2020): Gaussian
    with a learned scale each, independent of z and alike in every domain, which is what tells them from latents. Unlike there, which
    dimensions are which is fixed, since the flow starts as the white principal coordinates, the greatest variance first; the
    estimate is z, and decoding sets e to its mean 0.
    """

    takes_numbers = True
    cost = 3.3
    learning_rate: float = field(
        1e-2, help="peak of the one-cycle schedule of Adam", low=0, tune=loguniform(3e-3, 3e-2)
    )
    couplings: int = field(4, help="couplings of the flow", low=1)
    bins: int = field(4, help="bins of the couplings' splines", low=2)

    def skip(self, data: DataFacts) -> str | None:
        if data.image is not None:
            return "needs data that are no images: these have no chart, and too many dimensions for a flow without one"
        return super().skip(data)

    def build(self, shape: Shape):
        model = torch.nn.Module()
        n = shape.n_observed if self.start == "random" else shape.n_latents
        if self.start != "random":
            model.encoder = nets.WhiteMLP(shape.n_observed, n, self.width, self.depth, shape.image).requires_grad_(
                False
            )
            model.decoder = nets.decoder(shape, self.width, self.depth).requires_grad_(False)
        model.flow = nets.CouplingFlow(n, self.width, self.depth, self.couplings, self.bins)
        model.base = nets.LatentFlow(self.prior_domains(shape), shape.n_latents, n_u=self.prior_u(shape))
        model.log_noise = torch.nn.Parameter(torch.zeros(n - shape.n_latents))
        return model

    def prepare(self, model, x):
        if self.start == "random":
            super().prepare(model, x)  # else the flow starts as the identity of the code

    def adopt(self, model, start: Start):
        nets.take_over(model.encoder, start.encoder)
        model.decoder.load_state_dict(start.decoder.state_dict())

    def code(self, model, x):
        """What the flow is a flow of: the code in the chart, or the data."""
        return x if self.start == "random" else model.encoder(x)

    def render(self, model, y):
        """x of the flow's output `y`, (batch, n_observed)."""
        code = model.flow.inverse(y)
        return code if self.start == "random" else model.decoder(code)

    def loss(self, model, batch: Batch, rng):
        return -self.log_likelihood(model, batch.x, batch.u).mean()

    def objective(self, model, batch: Batch, rng):
        """The loss; from a chart, with the volume by which its decoder changes the code's density: 1/2 log det(J^T J), J = dx/dc.

        Charts of one data set differ in it, and it is the same for all models of one chart.
        """
        loss = self.loss(model, batch, rng)
        if self.start == "random":
            return loss
        jacobian = torch.func.vmap(torch.func.jacfwd(model.decoder))(model.encoder(batch.x))
        return loss + 0.5 * torch.linalg.slogdet(jacobian.mT @ jacobian)[1].mean()

    def log_likelihood(self, model, x, u):
        """log p(c|u), or log p(x|u) without a chart, (batch,), in nats."""
        return self._log_likelihood(model, x, u)[0]

    def _log_likelihood(self, model, x, u):
        """Also the latents (batch, n_latents) and the noise, which has no columns from a chart."""
        y, log_det = model.flow(self.code(model, x))
        z, noise = self.split(model, y)
        log_noise = nets.normal_log_density(noise, 0.0, model.log_noise).sum(-1)
        return model.base.log_density(z, u) + log_noise + log_det, z, noise

    def split(self, model, y):
        n_noise = model.log_noise.shape[-1]
        return y.split([y.shape[-1] - n_noise, n_noise], dim=-1)

    def encode(self, model, x, u):
        return self.split(model, model.flow(self.code(model, x))[0])[0]

    def decode(self, model, z):
        noise = torch.zeros_like(z[..., :1]).expand(*z.shape[:-1], model.log_noise.shape[-1])
        return self.render(model, torch.cat([z, noise], dim=-1))


@dataclass(frozen=True)
class Sparse(Backbone):
    """Adds alpha * L_s, L_s = E sum_{k,j} |dx_k/dy_j| * std(y_j), y = (z, e), of the flow's inverse.

    The noise e counts as the latents do: were it left out, a flow hides latents in it, where they cost nothing.

    Public code penalises the unmixing instead, another assumption: L_s = E sum_{k,i} |dz_i/dx_k| * std(x_k) / std(z_i).
    """

    cost = 6.0
    # The derivatives of the inverse, a chain of splines, can be large at single points: one such step ended three of forty trials.
    max_norm = 5.0
    alpha: float = field(
        0.1, help="weight of the L1 penalty on the Jacobian", low=0, tune=loguniform(1e-2, 1), neutral=0
    )
    penalise: str = field(
        "mixing", help="whose Jacobian: latents to data, or data to latents", choices=("mixing", "unmixing")
    )

    def loss(self, model, batch: Batch, rng):
        terms = self._terms(model, batch, rng)
        return terms["likelihood"] + terms["sparsity"]

    def terms(self, model, batch: Batch, rng):
        return self._terms(model, batch, rng)

    def _terms(self, model, batch: Batch, rng):
        log_likelihood, z, noise = self._log_likelihood(model, batch.x, batch.u)
        n_used = max(2, len(z) // PENALISED)
        penalty = self.penalty(model, batch.x[:n_used], torch.cat([z, noise], dim=-1)[:n_used], rng)
        return {"likelihood": -log_likelihood.mean(), "sparsity": self.alpha * penalty}

    def penalty(self, model, x, y, rng):
        if self.penalise == "mixing":
            return strength(lambda y: self.render(model, y), y, rng)
        scale = self.split(model, y)[0].std(0)
        return strength(lambda x: self.encode(model, x, None) / scale, x, rng)


def strength(function, point, rng):
    """E sum_{k,j} |df_k/dp_j| * std(p_j) of `function` at `point` (batch, n), from one random j per sample, by central differences.

    As nets.jacobian_strength, whose forward-mode pass through a chain of splines takes eight times as long as the chain.
    """
    n_samples, n = point.shape
    index = (rng.uniform(n_samples, 1) * n).floor()
    drawn = (torch.arange(n, device=point.device) == index).to(point.dtype)
    step = STEP * drawn * point.std(0)
    return n / n_samples * (function(point + step) - function(point - step)).abs().sum() / (2 * STEP)


# --- the four corners


@register("flow", source="Dinh, Sohl-Dickstein & Bengio 2017; Durkan et al. 2019")
@dataclass(frozen=True)
class Flow(Backbone):
    """Normalizing flow with one base for all domains: neither assumption.

    Loss per sample (nats): -log p(x) = -log p(z) - log p(e) - log |det d(z, e)/dx|.
    """

    ladder = "flow"


@register("domain-flow", source="this project, after Khemakhem et al. 2020 and Sorrenson, Rother & Koethe 2020")
@dataclass(frozen=True)
class DomainFlow(Backbone):
    """Normalizing flow with a domain-conditional base: sufficient changes only.

    Loss per sample (nats): -log p(x|u) = -log p(z|u) - log p(e) - log |det d(z, e)/dx|.
    """

    assumes = frozenset({CHANGES})
    ladder = "flow"


@register("sparse-flow", source="Zheng, Ng & Zhang 2022")
@dataclass(frozen=True)
class SparseFlow(Sparse):
    """Normalizing flow with one base for all domains and an L1 penalty on the mixing's Jacobian: sparse mixing only.

    Loss per sample (nats): that of flow + alpha * L_s.
    """

    assumes = frozenset({SPARSITY})
    ladder = "flow"


@register("synergy-flow", source="this project, after Li et al. 2025")
@dataclass(frozen=True)
class SynergyFlow(Sparse):
    """Normalizing flow with a domain-conditional base and an L1 penalty on the mixing's Jacobian: both assumptions.

    Loss per sample (nats): that of domain-flow + alpha * L_s, with x of unit variance.
    """

    assumes = frozenset({CHANGES, SPARSITY})
    ladder = "flow"
