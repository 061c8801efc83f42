"""Building blocks for torch methods: networks, the domain-conditional flow, densities, the Jacobian penalty, random numbers.

Everything here is written for one model, `(batch, features)`; the engine maps it over a stack of models.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from methods import Shape, convolutions, fused
from methods.splines import domain_spline, point_spline, rational_quadratic, rational_quadratic_inverse, spline_bins

LOG_2PI = math.log(2 * math.pi)
LOUDER, LEAST_NOISE = (
    1.5,
    1e-3,
)  # factor on what a chart leaves of the data, and the least level, in standard deviations of x
BOUND = 4.0  # where the splines of a coupling end, in standard deviations of white data


class MLP(nn.Module):
    """A linear map plus a network of `depth` hidden layers of `width` units with a smooth leaky activation.

    It starts linear. This keeps a decoder from folding early in training: without the linear part, local optima 1 to 2 nats
    worse were common, and fewer remain when the network's part starts from nothing.
    """

    def __init__(self, n_in: int, n_out: int, width: int, depth: int):
        super().__init__()
        sizes = [n_in] + [width] * depth
        hidden = [layer for a, b in zip(sizes, sizes[1:], strict=False) for layer in (nn.Linear(a, b), nn.SiLU())]
        self.network = nn.Sequential(*hidden, nn.Linear(sizes[-1], n_out))
        nn.init.zeros_(self.network[-1].weight)
        self.linear = nn.Linear(n_in, n_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Of `x` (..., n_in), (..., n_out)."""
        return fused.mlp(x.reshape(-1, x.shape[-1]), *self._weights()).reshape(*x.shape[:-1], -1)

    def with_tangent(self, x: Tensor, tangent: Tensor) -> tuple[Tensor, Tensor]:
        """Values at `x` (batch, n_in) and derivatives in the directions `tangent` (batch, n_in), both (batch, n_out)."""
        return fused.mlp_and_tangent(x, tangent, *self._weights())

    def _weights(self) -> list[Tensor]:
        layers: Any = list(self.network)[::2]
        return [self.linear.weight, *(part for layer in layers for part in (layer.weight, layer.bias))]


def white_axes(x: Tensor) -> tuple[Tensor, Tensor] | None:
    """The principal axes of `x` (n_samples, n), columns of rising variance, and one over the standard deviation along each.

    Directions of next to no variance are not blown up. None if x is not finite: the model diverges, and is reported so.
    """
    covariance = torch.cov(x.T.double()).reshape(x.shape[1], x.shape[1])
    if not covariance.isfinite().all():
        return None
    values, vectors = torch.linalg.eigh(covariance)
    return vectors, values.clamp(min=1e-4 * float(values.max())) ** -0.5


class WhiteMLP(nn.Module):
    """An MLP of the whitened data, (batch, n_observed) to (batch, n_out).

    Weak latents and the curvature of strong ones lie in the data's directions of small variance. Whitened, they are not lost in
    the first steps: on tuning data, one start then does as well as two to four without it.

    Of an `image` (channels, height, width), a convolutional network of the image, and a linear map of its leading white coordinates.
    """

    whitening: Tensor
    centre: Tensor  # of images
    mlp: Any

    def __init__(self, n_observed: int, n_out: int, width: int, depth: int, image: convolutions.Image | None = None):
        super().__init__()
        self.image = image
        if image is not None:
            self.mlp = convolutions.Encoder(image, n_out, width, depth)
            self.register_buffer("centre", torch.zeros(n_observed))
            self.register_buffer("whitening", torch.zeros(n_observed, min(convolutions.AXES, n_observed)))
            return
        self.mlp = MLP(n_observed, n_out, width, depth)
        self.register_buffer("whitening", torch.eye(n_observed))

    def whiten(self, x: Tensor) -> None:
        """Sets the symmetric whitening matrix of `x` (n_samples, n_observed); of images, that of their leading principal axes."""
        if self.image is not None:
            leading = convolutions.leading_axes(x)
            if leading is not None:
                self.centre.copy_(leading[0])
                self.whitening.copy_(leading[1] / leading[2])
            return
        axes = white_axes(x)
        if axes is not None:
            vectors, scales = axes
            self.whitening.copy_((vectors * scales) @ vectors.T)

    def forward(self, x: Tensor) -> Tensor:
        if self.image is not None:
            return self.mlp(x, (x - self.centre) @ self.whitening)
        return self.mlp(x @ self.whitening)


@torch.no_grad()
def take_over(target: WhiteMLP, source: WhiteMLP) -> None:
    """Makes the first outputs of `target` those of `source`, which has the same hidden layers, and the others constantly 0."""
    target.whitening.copy_(source.whitening)
    n_out = source.mlp.linear.weight.shape[0]
    theirs = dict(source.mlp.named_parameters())
    outermost = {"linear.weight", *(f"network.{len(source.mlp.network) - 1}.{name}" for name in ("weight", "bias"))}
    for name, parameter in target.mlp.named_parameters():
        if name in outermost:
            parameter.zero_()
            parameter[:n_out] = theirs[name]
        else:
            parameter.copy_(theirs[name])


def decoder(shape: Shape, width: int, depth: int) -> MLP | convolutions.Decoder:
    """From latents (batch, n_latents) to data (batch, n_observed)."""
    if shape.image is not None:
        return convolutions.Decoder(shape.image, shape.n_latents, width, depth)
    return MLP(shape.n_latents, shape.n_observed, width, depth)


def share(of: MLP | convolutions.Decoder) -> Tensor | float:
    """What an observed variable counts in a sum over all of a decoder's: 1, but for pixels."""
    return of.share if isinstance(of, convolutions.Decoder) else 1.0


class Discriminator(nn.Module):
    """What tells images apart that come with `n_more` numbers, (batch, n_observed + n_more) to (batch, n_out): an MLP of features and numbers."""

    def __init__(self, image: convolutions.Image, n_more: int, n_out: int, width: int, depth: int):
        super().__init__()
        self.image, self.n_observed = image, math.prod(image)
        self.features, n_features = convolutions.features(image, width, depth)
        self.dense = nn.Sequential(nn.Linear(n_features, width), nn.SiLU())
        self.mlp = MLP(width + n_more, n_out, width, 1)

    def forward(self, seen: Tensor) -> Tensor:
        x, more = seen.split([self.n_observed, seen.shape[-1] - self.n_observed], dim=-1)
        return self.mlp(torch.cat([self.dense(self.features(x.reshape(-1, *self.image))), more], dim=-1))


def discriminator(shape: Shape, n_latents: int, n_u: int, width: int, depth: int) -> MLP | Discriminator:
    """From the data, `n_latents` latents and `n_u` numbers side by side to (batch, n_u); from images alone, twice as wide, without latents."""
    if shape.image is not None:
        return Discriminator(shape.image, n_u, n_u, 2 * width, depth)
    return MLP(shape.n_observed + n_latents + n_u, n_u, width, depth)


def log_noise(shape: Shape, start: float) -> nn.Parameter:
    """The log noise levels of a Gaussian decoder, one of each observed variable; of images, one of all pixels (Rybkin et al. 2021).

    With one of its own, a pixel that hardly varies would get a level near 0, and count for more than those that show something.
    """
    return nn.Parameter(torch.full((shape.n_observed if shape.image is None else 1,), start))


def log_noise_of(residual: Tensor, n_levels: int) -> Tensor:
    """The log noise levels (n_levels,) at which a decoder starts that leaves `residual` (n_samples, n): louder than it, until it is tuned.

    There are n levels, or one of all variables.
    """
    return torch.log(LOUDER * residual.reshape(-1, n_levels).std(0) + LEAST_NOISE)


class Encoder(WhiteMLP):
    """A WhiteMLP whose output the auxiliary variable shifts: by a table of the domain, or by a network where there are `n_u` numbers too.

    An MLP that sees the domain can turn a latent's sign or swap two from domain to domain, and a decoder that tells the domain
    by the other latents will follow: a common local optimum with few domains. At 2 of them, twelve tuning data sets gave synergy-vae
    a mean MCC of .956 with the shift and .913 without; flow-vae .913 and .877.
    """

    def __init__(
        self,
        n_observed: int,
        n_domains: int,
        n_out: int,
        width: int,
        depth: int,
        n_u: int = 0,
        image: convolutions.Image | None = None,
    ):
        super().__init__(n_observed, n_out, width, depth, image)
        self.shift = of_domain_or_numbers(n_domains, n_u, n_out)

    def forward(self, x: Tensor, u: Tensor) -> Tensor:  # type: ignore[override]  # one input more
        return super().forward(x) + at(self.shift, u)


class Rng:
    """Random numbers of one model's step, taken in turn from what the engine drew from that trial's own seed."""

    def __init__(self, normal: Tensor, uniform: Tensor):
        self._normal, self._uniform = normal, uniform
        self._used = [0, 0]

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers."""
        return self._take(0, self._normal, shape)

    def uniform(self, *shape: int) -> Tensor:
        """Numbers uniform in [0, 1)."""
        return self._take(1, self._uniform, shape)

    def _take(self, which: int, numbers: Tensor, shape: tuple[int, ...]) -> Tensor:
        start = self._used[which]
        self._used[which] += math.prod(shape)
        return numbers[start : self._used[which]].reshape(shape)


class CountingRng(Rng):
    """Hands out fresh numbers and counts them: how the engine learns what one step of a method needs."""

    def __init__(self):
        self.n_normal = self.n_uniform = 0

    def normal(self, *shape: int) -> Tensor:
        self.n_normal += math.prod(shape)
        return torch.randn(shape)

    def uniform(self, *shape: int) -> Tensor:
        self.n_uniform += math.prod(shape)
        return torch.rand(shape)


def normal_log_density(x: Tensor, mean: Tensor | float, log_std: Tensor | float) -> Tensor:
    """log N(x; mean, exp(log_std)^2), elementwise, in nats."""
    log_std = torch.as_tensor(log_std)
    return -0.5 * (((x - mean) * torch.exp(-log_std)) ** 2 + LOG_2PI) - log_std


def as_seen(u: Tensor, n: int) -> Tensor:
    """The first `n` columns of `u` (batch, .): of n rows of a table, the one-hot domain without the numbers behind it; a constant for n = 1."""
    if n == 1:
        return torch.ones_like(u[:, :1])
    return u if u.shape[-1] == n else u[..., :n]


class OfNumbers(MLP):
    """A network from `u` (batch, n_domains + n_u), numbers and domain, to parameters (batch, n_out), which are 0 at the start.

    Of the one-hot domain alone any network is a table, which is what stands in its place where there are no numbers.
    """

    WIDTH, DEPTH = 64, 2

    def __init__(self, n_in: int, n_out: int):
        super().__init__(n_in, n_out, self.WIDTH, self.DEPTH)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.network[-1].bias)


def of_domain_or_numbers(n_domains: int, n_u: int, n_out: int) -> nn.Parameter | OfNumbers:
    """What gives parameters (batch, n_out) `at` an auxiliary variable: a table of the domain, or a network of domain and numbers."""
    return OfNumbers(n_domains + n_u, n_out) if n_u else nn.Parameter(torch.zeros(n_domains, n_out))


def at(parameters: Tensor | nn.Module, u: Tensor) -> Tensor:
    """The parameters (batch, n_out) at `u` (batch, .), of what `of_domain_or_numbers` gave."""
    return as_seen(u, len(parameters)) @ parameters if isinstance(parameters, Tensor) else parameters(u)


class LatentFlow(nn.Module):
    """Per latent and value of u, a monotone scalar flow from the latent to a standard normal: affine, then a spline.

    log p(z|u) = sum_i log N(f_i(z_i; u); 0, 1) + log f_i'(z_i; u) (Li et al. 2025). f is an affine map followed by a monotone
    rational-quadratic spline on [-bound, bound] with linear tails of slope 1 (Durkan et al. 2019). A network of a one-hot domain
    is a table, so the parameters are one: (n_domains, n_latents, .). With `n_domains=1` it is the same in all domains. Where u has `n_u`
    numbers behind the domain, a network gives each point its own parameters, and there is no table.
    """

    def __init__(self, n_domains: int, n_latents: int, n_bins: int = 6, bound: float = 4.0, n_u: int = 0):
        super().__init__()
        self.n_latents, self.n_bins, self.bound = n_latents, n_bins, bound
        self.network = OfNumbers(n_domains + n_u, n_latents * (3 * n_bins + 1)) if n_u else None
        if self.network is None:
            self.affine = nn.Parameter(torch.zeros(n_domains, n_latents, 2))
            self.spline = nn.Parameter(torch.zeros(n_domains, n_latents, 3 * n_bins - 1))

    def forward(self, z: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """f(z; u) and log f'(z; u), both (batch, n_latents), of `z` (batch, n_latents) and `u` (batch, n_domains + n_u)."""
        affine, spline = self.tables(u)
        u = as_seen(u, len(affine))
        shift, log_scale = self._affine(affine, u)
        y = shift + torch.exp(log_scale) * z
        own = domain_spline(self.bound)(y, u, spline) if self.network is None else point_spline(self.bound)(y, spline)
        return own[0], own[1] + log_scale

    def inverse(self, y: Tensor, u: Tensor) -> Tensor:
        """z with f(z; u) = y, (batch, n_latents): with standard normal `y`, a sample of the prior."""
        affine, spline = self.tables(u)
        u = as_seen(u, len(affine))
        shift, log_scale = self._affine(affine, u)
        bins = spline_bins(spline, self.bound)
        if self.network is None:
            bins = (u @ bins.flatten(1)).reshape(-1, *bins.shape[1:])
        return (rational_quadratic_inverse(y, bins, self.bound) - shift) * torch.exp(-log_scale)

    def sample(self, u: Tensor, rng: Rng) -> Tensor:
        """z (batch, n_latents) from p(z|u)."""
        return self.inverse(rng.normal(len(u), self.n_latents), u)

    def log_density(self, z: Tensor, u: Tensor) -> Tensor:
        """log p(z|u), (batch,), in nats."""
        y, log_slope = self(z, u)
        return (normal_log_density(y, 0.0, 0.0) + log_slope).sum(-1)

    def tables(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The parameters of every domain's flow: affine (n_domains, n_latents, 2) and spline (n_domains, n_latents, .).

        Where u has numbers they are those of every point's, (batch, n_latents, .).
        """
        if self.network is None:
            return self.affine, self.spline
        parameters = self.network(u).reshape(len(u), self.n_latents, -1)
        return parameters[..., :2], parameters[..., 2:]

    def _affine(self, table: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Shift and log-scale (batch, n_latents) of each sample."""
        if self.network is not None:
            return table[..., 0], table[..., 1]
        n_domains, n_latents, _ = table.shape
        return (u @ table.mT.reshape(n_domains, -1)).split(n_latents, dim=-1)  # type: ignore[return-value]


class GatedLatentFlow(LatentFlow):
    """A LatentFlow with one gate in (0, 1) per latent: how far its parameters go from those shared by all u to those of the point's own.

    The importance mask of Li et al. 2025: a latent whose gate is 0 has the same distribution in every domain. `weight` is that of
    the L1 penalty on the gates.
    """

    def __init__(
        self, n_domains: int, n_latents: int, weight: float, n_bins: int = 6, bound: float = 4.0, n_u: int = 0
    ):
        super().__init__(n_domains, n_latents, n_bins, bound, n_u)
        self.weight = weight
        self.shared_affine = nn.Parameter(torch.zeros(n_latents, 2))
        self.shared_spline = nn.Parameter(torch.zeros(n_latents, 3 * n_bins - 1))
        self.gate_logits = nn.Parameter(torch.full((n_latents,), 2.0))  # starts open

    def gates(self) -> Tensor:
        """(n_latents,)"""
        return torch.sigmoid(self.gate_logits)

    def penalty(self) -> Tensor:
        """What a loss adds for the gates, a scalar."""
        return self.weight * self.gates().sum()

    def tables(self, u: Tensor) -> tuple[Tensor, Tensor]:
        gates = self.gates()[:, None]
        affine, spline = super().tables(u)
        return torch.lerp(self.shared_affine, affine, gates), torch.lerp(self.shared_spline, spline, gates)


def jacobian_strength(decoder: Callable[[Tensor], Tensor], z: Tensor, rng: Rng) -> Tensor:
    """One-draw estimate of `jacobian_strength_exact`: one latent per sample, uniform, in a single forward-mode pass.

    Unbiased: the mean over draws is the exact value.
    """
    return values_and_strength(decoder, z, rng)[1]


def values_and_strength(decoder: Callable[[Tensor], Tensor], z: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
    """The decoder's values at `z` (batch, n_latents), and `jacobian_strength` there, in one pass for both."""
    n_samples, n = z.shape
    index = (rng.uniform(n_samples, 1) * n).floor()
    drawn = (torch.arange(n, device=z.device) == index).to(z.dtype)
    values, tangent = with_tangent(decoder, z, drawn * z.std(0))
    return values, n / n_samples * tangent.abs().T @ drawn


def jacobian_strength_exact(decoder: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """How much each observed variable depends on each latent: E |dx_k/dz_i| * std(z_i), (n_observed, n_latents).

    The mean is over the batch, in n forward-mode passes, with x of unit variance. std is over the batch and is differentiated:
    rescaling a latent, with the decoder to match, leaves value and gradient alone.
    """
    tangents = torch.diag(z.std(0)).unbind(0)
    return torch.stack([with_tangent(decoder, z, t.expand_as(z))[1].abs().mean(0) for t in tangents], dim=1)


def with_tangent(function: Callable[[Tensor], Tensor], z: Tensor, tangent: Tensor) -> tuple[Tensor, Tensor]:
    """`function(z)` and its derivative in the direction `tangent`, by forward mode."""
    if isinstance(function, MLP):
        return function.with_tangent(z, tangent)
    values, tangents = torch.func.jvp(function, (z,), (tangent,))  # type: ignore[misc]  # no auxiliary output
    return values, tangents


class Gates(nn.Module):
    """Which latents each observed variable may depend on: hard-concrete gates in [0, 1] (Louizos et al. 2018), learned.

    `forward` gives the gates (n_observed, n_latents) without noise, `sample` with it, and `n_open` the expected number that are not 0.
    """

    STRETCH, TEMPERATURE = (-0.1, 1.1), 2 / 3

    def __init__(self, n_observed: int, n_latents: int):
        super().__init__()
        self.logits = nn.Parameter(torch.full((n_observed, n_latents), 2.0))

    def forward(self) -> Tensor:
        return self._stretched(self.logits)

    def sample(self, rng: Rng) -> Tensor:
        uniform = rng.uniform(*self.logits.shape).clamp(1e-6, 1 - 1e-6)
        return self._stretched((torch.log(uniform) - torch.log1p(-uniform) + self.logits) / self.TEMPERATURE)

    def n_open(self) -> Tensor:
        low, high = self.STRETCH
        return torch.sigmoid(self.logits - self.TEMPERATURE * math.log(-low / high)).sum()

    def _stretched(self, logits: Tensor) -> Tensor:
        low, high = self.STRETCH
        return (low + (high - low) * torch.sigmoid(logits)).clamp(0, 1)


def gated(decoder: Callable[[Tensor], Tensor], z: Tensor, gates: Tensor) -> Tensor:
    """x_k = decoder(gates_k * z)_k for every observed variable k: (batch, n_observed), by n_observed passes."""
    return torch.diagonal(decoder(z[..., None, :] * gates), dim1=-2, dim2=-1)


def gaussian_kl(mean: Tensor, log_std: Tensor, prior_mean: Tensor, prior_log_std: Tensor) -> Tensor:
    """KL(N(mean, std^2) || N(prior_mean, prior_std^2)), elementwise, in nats."""
    ratio = torch.exp(2 * (log_std - prior_log_std))
    distance = ((mean - prior_mean) * torch.exp(-prior_log_std)) ** 2
    return 0.5 * (ratio + distance - 1) - log_std + prior_log_std


class Coupling(nn.Module):
    """Moves one half of its input by monotone splines whose parameters are a network of the other half (Durkan et al. 2019).

    The halves are those of a rotated frame, drawn at random and fixed. A spline keeps [-BOUND, BOUND] to itself and is the identity
    outside, so that no point is carried far off. The scales of affine couplings multiply instead, and single held-out points at the
    edge of the data then cost up to a million nats. It starts as the identity.
    """

    frame: Tensor

    def __init__(self, n: int, width: int, depth: int, n_bins: int):
        super().__init__()
        self.n_seen, self.n_moved = n // 2, n - n // 2
        self.register_buffer("frame", nn.init.orthogonal_(torch.empty(n, n)))
        self.network = MLP(self.n_seen, self.n_moved * (3 * n_bins - 1), width, depth)
        nn.init.zeros_(self.network.linear.weight)
        nn.init.zeros_(self.network.network[-1].bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The output (batch, n) and the log-determinant (batch,) of the Jacobian, of `x` (batch, n)."""
        seen, moved = self._halves(x)
        moved, log_slope = rational_quadratic(moved, self._bins(seen), BOUND)
        return torch.cat([seen, moved], dim=-1) @ self.frame.T, log_slope.sum(-1)

    def inverse(self, y: Tensor) -> Tensor:
        """x with forward(x) = y."""
        seen, moved = self._halves(y)
        moved = rational_quadratic_inverse(moved, self._bins(seen), BOUND)
        return torch.cat([seen, moved], dim=-1) @ self.frame.T

    def _halves(self, x: Tensor) -> tuple[Tensor, ...]:
        return (x @ self.frame).split([self.n_seen, self.n_moved], dim=-1)

    def _bins(self, seen: Tensor) -> Tensor:
        return spline_bins(self.network(seen).reshape(*seen.shape[:-1], self.n_moved, -1), BOUND)


class CouplingFlow(nn.Module):
    """An invertible network: the principal coordinates of the data, whitened, then couplings, then a linear map.

    It starts as the whitening alone.
    """

    whitening: Tensor

    def __init__(self, n: int, width: int, depth: int, n_couplings: int, n_bins: int):
        super().__init__()
        self.register_buffer("whitening", torch.eye(n))
        self.couplings = nn.ModuleList(Coupling(n, width, depth, n_bins) for _ in range(n_couplings))
        self.linear = nn.Parameter(torch.eye(n))

    def whiten(self, x: Tensor) -> None:
        """Sets the whitening matrix of `x` (n_samples, n), directions of great variance first."""
        axes = white_axes(x)
        if axes is not None:
            vectors, scales = axes
            self.whitening.copy_((vectors * scales).flip(1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The output (batch, n) and log |det dy/dx| (batch,)."""
        y = x @ self.whitening
        log_det = torch.linalg.slogdet(self.whitening)[1] + torch.linalg.slogdet(self.linear)[1]
        for coupling in self.couplings:
            y, more = coupling(y)
            log_det = log_det + more
        return y @ self.linear, log_det

    def inverse(self, y: Tensor) -> Tensor:
        """x with forward(x) = y, (batch, n)."""
        # Without a check of the result, for which a GPU would have to be waited for: what is singular is not finite.
        x = y @ torch.linalg.inv_ex(self.linear)[0]
        coupling: Any
        for coupling in reversed(self.couplings):
            x = coupling.inverse(x)
        return x @ torch.linalg.inv_ex(self.whitening)[0]


class GaussianMixture(nn.Module):
    """A density of latents that may depend on each other, the same in all domains: a mixture of Gaussians with full covariances.

    log p(z) = log sum_k w_k N(z; m_k, (L_k L_k^T)^-1), where L_k, the Cholesky factor of a component's precision, is lower triangular with a
    positive diagonal. It starts near a standard normal: means are drawn with standard deviation SPREAD, and the covariance SPREAD^2 less
    than the identity makes up for them, so that no two components are alike.
    """

    SPREAD = 0.3

    def __init__(self, n_components: int, n_latents: int):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(n_components))
        self.means = nn.Parameter(self.SPREAD * torch.randn(n_components, n_latents))
        self.log_diagonal = nn.Parameter(torch.full((n_components, n_latents), -0.5 * math.log(1 - self.SPREAD**2)))
        self.below = nn.Parameter(
            torch.zeros(n_components, n_latents, n_latents)
        )  # of which what is below the diagonal counts

    def factors(self) -> Tensor:
        """L, (n_components, n_latents, n_latents)."""
        return torch.tril(self.below, -1) + torch.diag_embed(torch.exp(self.log_diagonal))

    def sample(self, u: Tensor, rng: Rng) -> Tensor:
        """z (batch, n_latents) from p(z), for each row of `u`."""
        below = torch.softmax(self.logits, -1).cumsum(-1)[:-1]
        component = (rng.uniform(len(u), 1) > below).sum(-1)
        noise = rng.normal(len(u), self.means.shape[1], 1)
        return (
            self.means[component]
            + torch.linalg.solve_triangular(self.factors().mT[component], noise, upper=True)[..., 0]
        )

    def log_density(self, z: Tensor, u: Tensor) -> Tensor:
        """log p(z), (batch,), in nats, of `z` (batch, n_latents), whatever the domain `u`."""
        white = torch.einsum("bki,kij->bkj", z[:, None] - self.means, self.factors())
        log_components = normal_log_density(white, 0.0, 0.0).sum(-1) + self.log_diagonal.sum(-1)
        return torch.logsumexp(torch.log_softmax(self.logits, -1) + log_components, -1)
