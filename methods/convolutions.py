"""Networks of images: convolutions beside a linear map, in the places that MLPs have for other data.

A point stays flat, (batch, channels * height * width), channels first. Like an MLP, each network is a linear map plus a network whose last
layer starts from nothing, so that an autoencoder starts linear, but for the decoder's `within`. The encoder's linear map is one of the leading
principal coordinates, made white; the decoder's is to all pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

AXES = 64  # leading principal axes that the linear part of an encoder sees
POINTS = 4096  # of which they are computed, at most
SHARE_POINTS = 1024  # from which it is told how many independent numbers are left, and what values are common, at most
TINY = 1e-12  # where all pixels of all images are alike
LEAST_SCALE = 1e-2  # of the greatest standard deviation: directions of less are not blown up
STRIDE, KERNEL = 4, 8  # pixels of the outermost convolution
INNER_STRIDE, INNER_KERNEL = 2, 4  # of those further in


Image = tuple[int, int, int]  # channels, height, width


def leading_axes(x: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """Mean (n,) of `x` (n_samples, n), its leading principal axes (n, AXES), the greatest variance first, and standard deviations (AXES,).

    By subspace iteration from a fixed start (Halko, Martinsson & Tropp 2011), since all axes of an image take seconds. Where the data have
    fewer axes, the others are 0, and their standard deviation is the least. None if x is not finite.
    """
    x = x[:POINTS]
    if not x.isfinite().all():
        return None
    mean = x.mean(0)
    n = min(AXES, x.shape[1])
    n_found = min(n, len(x) - 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _, values, vectors = torch.svd_lowrank(x - mean, q=min(n_found + 16, *x.shape), niter=4)
    axes, std = x.new_zeros(x.shape[1], n), x.new_zeros(n)
    axes[:, :n_found], std[:n_found] = vectors[:, :n_found], values[:n_found] / math.sqrt(max(1, len(x) - 1))
    return mean, axes, std.clamp(min=LEAST_SCALE * float(std.max()))


def n_independent(residual: Tensor) -> Tensor:
    """How many independent numbers of one variance would be as many as what is left of images, `residual` (n_samples, n), centred; a scalar.

    The participation ratio of the eigenvalues l of their covariance, (sum l)^2 / sum l^2. From samples, sum l is the mean of |r|^2, and
    sum l^2 that of (r_i . r_j)^2 over pairs i != j, without the bias of the squares i = j. At least 1, also where nothing is left.
    """
    inner = residual @ residual.T
    squares, n = inner.diagonal(), len(inner)
    apart = ((inner**2).sum() - (squares**2).sum()) / (n * (n - 1))
    return (squares.mean() ** 2 / apart.clamp(min=torch.finfo(apart.dtype).tiny)).clamp(1.0, residual.shape[1])


def within(x: Tensor, limits: Tensor) -> Tensor:
    """`x` drawn smoothly between two `limits` (2,): half way between them it stays as it is, and so does its slope."""
    low, high = limits
    span = (high - low).clamp(min=TINY)
    return low + span * torch.sigmoid(4 / span * (x - (low + high) / 2))


def limits_of(x: Tensor) -> Tensor:
    """The least and the greatest value (2,) of images `x` (n_samples, n).

    Single pixels far out do not count: no limit is further from the middle 99.8 % of the values than these are from each other.
    """
    values = x[:SHARE_POINTS].flatten()
    n_out = values.numel() // 1000
    low, high = (values.kthvalue(place).values for place in (n_out + 1, values.numel() - n_out))
    return torch.stack([torch.maximum(x.min(), 2 * low - high), torch.minimum(x.max(), 2 * high - low)])


class _Layers:
    """The sizes of the convolutions of `depth` hidden layers, of which the innermost is dense with `width` units.

    `sizes` are (channels, height, width) from the image inwards. Halving the side doubles the channels, of which the innermost has `width` / 2.
    """

    def __init__(self, image: Image, width: int, depth: int):
        self.sizes = [image]
        for place in range(1, depth):
            stride = STRIDE if place == 1 else INNER_STRIDE
            channels = max(1, width >> (depth - place))
            height, width_of_image = (math.ceil(side / stride) for side in self.sizes[-1][1:])
            self.sizes.append((channels, height, width_of_image))

    def convolutions(self) -> list[tuple[Image, Image, int, int]]:
        """From the image inwards: the larger size, the smaller one, kernel and stride."""
        kinds = [(KERNEL, STRIDE)] + [(INNER_KERNEL, INNER_STRIDE)] * len(self.sizes)
        return [(a, b, *kind) for a, b, kind in zip(self.sizes, self.sizes[1:], kinds, strict=False)]


def margins(larger: int, smaller: int, kernel: int, stride: int) -> tuple[int, int]:
    """The pixels that a side of `larger` lacks on its two ends to be covered by `smaller` strides of a kernel."""
    missing = (smaller - 1) * stride + kernel - larger
    return missing // 2, missing - missing // 2


class Down(nn.Module):
    """A convolution (batch, channels, height, width) whose kernels, in steps of their stride, reach over the image's edge on all sides alike.

    The image is cut into blocks of stride * stride pixels, and a plain convolution takes kernel / stride neighbouring blocks on either
    axis: its derivative by the image is several times faster than that of torch's own convolution with a stride.
    """

    def __init__(self, larger: Image, smaller: Image, kernel: int, stride: int):
        super().__init__()
        self.blocks = nn.Conv2d(larger[0] * stride**2, smaller[0], kernel // stride)
        self.stride = stride
        self.edges = (*margins(larger[2], smaller[2], kernel, stride), *margins(larger[1], smaller[1], kernel, stride))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(F.pixel_unshuffle(F.pad(x, self.edges), self.stride))


class Up(nn.Module):
    """A transposed convolution, which goes the other way than `Down`; the pixels beyond the edge are cut off.

    Each block of pixels is a linear map of the kernel / stride nearest points on either axis.
    """

    def __init__(self, smaller: Image, larger: Image, kernel: int, stride: int):
        super().__init__()
        reach = kernel // stride
        self.blocks = nn.Conv2d(smaller[0], larger[0] * stride**2, reach, padding=reach - 1)
        self.stride, self.size = stride, larger[1:]
        self.first = [margins(larger[k], smaller[k], kernel, stride)[0] for k in (1, 2)]

    def forward(self, x: Tensor) -> Tensor:
        (top, left), (height, width) = self.first, self.size
        return F.pixel_shuffle(self.blocks(x), self.stride)[..., top : top + height, left : left + width]


def features(image: Image, width: int, depth: int) -> tuple[nn.Sequential, int]:
    """Convolutions and activations from images (batch, channels, height, width) to flat features, and how many these are."""
    layers = _Layers(image, width, depth)
    convolutions = [layer for each in layers.convolutions() for layer in (Down(*each), nn.SiLU())]
    return nn.Sequential(*convolutions, nn.Flatten()), math.prod(layers.sizes[-1])


class Encoder(nn.Module):
    """From an image, flat (batch, n_observed), and its white principal coordinates (batch, AXES), to (batch, n_out)."""

    def __init__(self, image: Image, n_out: int, width: int, depth: int):
        super().__init__()
        self.image = image
        self.features, n_features = features(image, width, depth)
        last = nn.Linear(width, n_out)
        nn.init.zeros_(last.weight)
        self.network = nn.Sequential(nn.Linear(n_features, width), nn.SiLU(), last)
        self.linear = nn.Linear(min(AXES, math.prod(image)), n_out, bias=False)

    def forward(self, x: Tensor, white: Tensor) -> Tensor:
        return self.linear(white) + self.network(self.features(x.reshape(-1, *self.image)))


class Decoder(nn.Module):
    """From (..., n_in) to images, flat (..., n_observed). It starts at the mean image, drawn `within` the range, and a random linear map.

    No pixel leaves the range of those that `whiten` saw: a ground that a latent makes black stays black then, whatever the others are.

    `share` is what a pixel counts in a sum over pixels, in likelihoods and norms: what a code leaves of an image is no noise of its own in each
    pixel, and its neighbours go wrong with it. It is `n_independent` of what the n_in leading principal axes leave, over the number of pixels.
    """

    share: Tensor
    limits: Tensor  # the least and the greatest value of a pixel

    def __init__(self, image: Image, n_in: int, width: int, depth: int):
        super().__init__()
        layers = _Layers(image, width, depth)
        inner = layers.sizes[-1]
        ups: list[nn.Module] = []
        for larger, smaller, kernel, stride in reversed(layers.convolutions()):
            ups += [nn.SiLU(), Up(smaller, larger, kernel, stride)]
        self.network = nn.Sequential(
            nn.Linear(n_in, width), nn.SiLU(), nn.Linear(width, math.prod(inner)), nn.Unflatten(-1, inner), *ups
        )
        for last in list(self.network.parameters())[-2:]:
            nn.init.zeros_(last)
        self.linear = nn.Linear(n_in, math.prod(image))
        self.register_buffer("share", torch.ones(()))
        self.register_buffer("limits", torch.tensor([-1.0, 1.0]))

    def whiten(self, x: Tensor) -> None:
        """Sets the bias to the mean of `x` (n_samples, n_observed), `limits` and `share`."""
        self.linear.bias.data.copy_(x.mean(0))
        self.limits.copy_(limits_of(x))
        leading = leading_axes(x)
        if leading is not None:
            mean, axes, _ = leading
            axes = axes[:, : self.linear.in_features]
            residual = x[:SHARE_POINTS] - mean
            residual = residual - residual @ axes @ axes.T
            self.share.copy_(n_independent(residual) / x.shape[1])

    def forward(self, z: Tensor) -> Tensor:
        flat = z.reshape(-1, z.shape[-1])
        image = within(self.linear(flat) + self.network(flat).flatten(1), self.limits)
        return image.reshape(*z.shape[:-1], -1)
