"""Monotone rational-quadratic splines (Durkan et al. 2019): their bins, their values and slopes, their inverse.

A spline is the identity outside [-bound, bound]. `bins` (batch, 6, n, n_bins) hold, of every bin, left knot, width, lower knot, height and
the slopes at both ends.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from methods import fused

MIN_BIN, MIN_SLOPE = 1e-2, 1e-2  # keep the inverse and the log-slope finite
SLOPE_OFFSET = math.log(math.expm1(1 - MIN_SLOPE))  # where a slope is 1


def spline_bins(parameters: Tensor, bound: float) -> Tensor:
    """The bins (..., 6, n, n_bins) of `parameters` (..., n, 3 * n_bins - 1); zeros are the identity."""
    n_bins = (parameters.shape[-1] + 1) // 3
    widths, heights, slopes = parameters.split([n_bins, n_bins, n_bins - 1], dim=-1)
    left, width = _knots(widths, bound)
    low, height = _knots(heights, bound)
    slopes = F.pad(MIN_SLOPE + F.softplus(slopes + SLOPE_OFFSET), (1, 1), value=1.0)
    return torch.stack([left, width, low, height, slopes[..., :-1], slopes[..., 1:]], dim=-3)


def _knots(logits: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    sizes = 2 * bound * (MIN_BIN + (1 - MIN_BIN * logits.shape[-1]) * torch.softmax(logits, dim=-1))
    return torch.cumsum(sizes, dim=-1) - sizes - bound, sizes


def rational_quadratic(x: Tensor, bins: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """The spline (eq. 4-5) and the log of its slope, both (batch, n), at `x` (batch, n)."""
    return _value_and_log_slope(x, _bin_of(x.clamp(-bound, bound), bins, edge=0), bound)


def _value_and_log_slope(x: Tensor, own: Sequence[Tensor], bound: float) -> tuple[Tensor, Tensor]:
    """As `rational_quadratic`, of the six parameters of the bin of each value, which have the shape of `x`."""
    left, width, low, height, slope0, slope1 = own
    t = (x.clamp(-bound, bound) - left) / width
    secant, bend = height / width, t * (1 - t)
    denominator = secant + (slope0 + slope1 - 2 * secant) * bend
    y = low + height * (secant * t**2 + slope0 * bend) / denominator
    slope = secant**2 * (slope1 * t**2 + 2 * secant * bend + slope0 * (1 - t) ** 2) / denominator**2
    outside = x.abs() > bound
    return torch.where(outside, x, y), torch.where(outside, torch.zeros_like(x), torch.log(slope))


def _pull_back(x: Tensor, own: Sequence[Tensor], bound: float, grad: Tensor, grad_log: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of `x` and of the parameters `own`, (6, *x.shape), from those of `_value_and_log_slope`.

    y = low + height N / D and log slope = 2 log secant + log M - 2 log D, in the order of the chain rule.
    """
    left, width, _, height, slope0, slope1 = own
    outside = x.abs() > bound
    direct, zero = grad, torch.zeros((), dtype=x.dtype, device=x.device)
    grad, grad_log = torch.where(outside, zero, grad), torch.where(outside, zero, grad_log)
    t = (x.clamp(-bound, bound) - left) / width
    rest = 1 - t
    secant, bend, t2, rest2 = height / width, t * rest, t * t, rest * rest
    excess = slope0 + slope1 - 2 * secant
    denominator = secant + excess * bend
    numerator = secant * t2 + slope0 * bend
    slope_part = slope1 * t2 + 2 * secant * bend + slope0 * rest2  # M
    found = x.new_empty(6, *x.shape)
    ratio = numerator / denominator
    to_n = grad * height / denominator
    to_d = -(to_n * ratio) - 2 * grad_log / denominator
    to_m = grad_log / slope_part
    to_secant = 2 * grad_log / secant + to_n * t2 + 2 * to_m * bend + to_d * (1 - 2 * bend)
    to_bend = (to_n + to_d) * slope0 + to_d * (slope1 - 2 * secant) + 2 * to_m * secant
    to_t = 2 * (to_n * secant * t + to_m * (slope1 * t - slope0 * rest)) + to_bend * (rest - t)
    to_x = to_t / width
    torch.neg(to_x, out=found[0])
    torch.mul(to_t * t + to_secant * secant, -1 / width, out=found[1])
    found[2] = grad
    torch.add(grad * ratio, to_secant / width, out=found[3])
    on_bend = to_n + to_d  # both ends' slopes come with the bend
    torch.add(on_bend * bend, to_m * rest2, out=found[4])
    torch.add(to_d * bend, to_m * t2, out=found[5])
    return torch.where(outside, direct, to_x), found


def rational_quadratic_inverse(y: Tensor, bins: Tensor, bound: float) -> Tensor:
    """x with `rational_quadratic(x, bins, bound)` = y (eq. 6-8)."""
    inside = y.clamp(-bound, bound)
    left, width, low, height, slope0, slope1 = _bin_of(inside, bins, edge=2)
    secant, rise = height / width, inside - low
    bend = rise * (slope0 + slope1 - 2 * secant)
    a, b, c = height * (secant - slope0) + bend, height * slope0 - bend, -secant * rise
    t = 2 * c / (-b - torch.sqrt((b**2 - 4 * a * c).clamp(min=0)))
    return torch.where(y.abs() > bound, y, left + width * t)


def _bin_of(value: Tensor, bins: Tensor, edge: int) -> tuple[Tensor, ...]:
    """The six parameters, each (batch, n), of the bin that holds `value`; `edge` is 0 to look along x, 2 along y."""
    above = F.pad((value[..., None] >= bins[:, edge, :, 1:]).to(value.dtype), (1, 0), value=1.0)
    here = above - F.pad(above[..., 1:], (0, 1))  # 1 in the bin that holds the value, 0 elsewhere
    return (bins * here[:, None]).sum(-1).unbind(1)


# --- of a latent in its domain, or at its point


@functools.cache
def domain_spline(bound: float) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The spline of each value's domain: a function of `x` (batch, n), one-hot `u` (batch, n_domains) and a table of parameters.

    The table is (n_domains, n, 3 * n_bins - 1); the function gives what `rational_quadratic` gives.
    """

    def plain(x: Tensor, u: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        bins = spline_bins(table, bound)
        return rational_quadratic(x, (u @ bins.flatten(1)).reshape(-1, *bins.shape[1:]), bound)

    def run(x, u, table):
        n_models, n_domains, n = table.shape[:3]
        bins = spline_bins(table, bound).movedim(2, 0)  # (6, n_models, n_domains, n, n_bins)
        n_bins = bins.shape[-1]
        bins = bins.reshape(6, -1)
        splines = torch.arange(n_models * n_domains * n, device=x.device).reshape(n_models, n_domains, n)
        domain = (u @ torch.arange(n_domains, dtype=u.dtype, device=u.device)).long()
        spline = splines.flatten(0, 1)[domain + n_domains * torch.arange(n_models, device=x.device)[:, None]].flatten()
        knots = bins[0].reshape(-1, n_bins).T[1:].contiguous().index_select(1, spline)
        place = spline * n_bins + (x.clamp(-bound, bound).flatten() >= knots).sum(0)
        own = bins.index_select(1, place).reshape(6, *x.shape)
        return *_value_and_log_slope(x, own.unbind(0), bound), own, place, bins

    def pull_back(needed, inputs, kept, grad, grad_log):
        x, _, table = inputs
        own, place, bins = kept
        to_x, to_own = _pull_back(x, own.unbind(0), bound, grad, grad_log)
        shape = (6, *table.shape[:-1], (table.shape[-1] + 1) // 3)
        to_bins = torch.zeros_like(bins).index_add_(1, place, to_own.flatten(1))
        return to_x, None, _pull_back_bins(table, bins.reshape(shape), bound, to_bins.reshape(shape))

    return fused.stackable(plain, run, pull_back, n_points=2, n_results=2)


@functools.cache
def point_spline(bound: float) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The spline of each value's own: a function of `x` (batch, n) and `parameters` (batch, n, 3 * n_bins - 1).

    It gives what `domain_spline` gives where every point is a domain of its own.
    """

    def plain(x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return rational_quadratic(x, spline_bins(parameters, bound), bound)

    def run(x, parameters):
        bins = spline_bins(parameters, bound)  # (n_models, batch, 6, n, n_bins)
        place = (x.clamp(-bound, bound)[..., None] >= bins[..., 0, :, 1:]).sum(-1)
        own = bins.gather(-1, _of_all_six(place)).squeeze(-1)
        return *_value_and_log_slope(x, own.unbind(-2), bound), own, place, bins

    def pull_back(needed, inputs, kept, grad, grad_log):
        x, parameters = inputs
        own, place, bins = kept
        to_x, to_own = _pull_back(x, own.unbind(-2), bound, grad, grad_log)
        to_bins = torch.zeros_like(bins).scatter_(-1, _of_all_six(place), to_own.movedim(0, -2)[..., None])
        return to_x, _pull_back_bins(parameters, bins.movedim(-3, 0), bound, to_bins.movedim(-3, 0))

    # Parameters are those of points, so that no input is shared by the points of a model.
    return fused.stackable(plain, run, pull_back, n_points=0, n_results=2)


def _of_all_six(place: Tensor) -> Tensor:
    """The place of a bin (..., n) as an index of its six parameters, (..., 6, n, 1)."""
    return place[..., None, :, None].expand(*place.shape[:-1], 6, -1, 1)


def _pull_back_bins(parameters: Tensor, bins: Tensor, bound: float, grad: Tensor) -> Tensor:
    """The gradient of `parameters` (..., n, 3 * n_bins - 1) from that of their `bins`, both with the six parameters first."""
    n_bins = grad.shape[-1]
    slopes = parameters[..., 2 * n_bins :]
    found: list[Any] = []
    for size, to_start, to_size in ((bins[1], grad[0], grad[1]), (bins[3], grad[2], grad[3])):
        later = to_start.sum(-1, keepdim=True) - to_start.cumsum(-1)  # a bin moves all that come after it
        to_share = 2 * bound * (1 - MIN_BIN * n_bins) * (to_size + later)
        share = (size / (2 * bound) - MIN_BIN) / (1 - MIN_BIN * n_bins)  # the softmax
        found.append(share * (to_share - (share * to_share).sum(-1, keepdim=True)))
    found.append(torch.sigmoid(slopes + SLOPE_OFFSET) * (grad[4][..., 1:] + grad[5][..., :-1]))
    return torch.cat(found, dim=-1)
