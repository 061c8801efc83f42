"""Functions with derivatives by hand: what takes most of the time of a training step, in few operations.

Each is written for one model, and `torch.func.vmap` maps it over a stack of models: it then runs once for the whole stack, by a rule of
its own, rather than operation by operation. Forward mode, and derivatives of derivatives, are those of the plain formula beside each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils import _pytree as pytree


def stackable(plain: Callable, run: Callable, pull_back: Callable, n_points: int, n_results: int = 1) -> Callable:
    """The function `plain` of one model, made fast where it is mapped over a stack.

    It takes `n_points` tensors (batch, .), then parameters, and gives `n_results` tensors (batch, .). `run` and `pull_back` are its value and
    derivative for a stack, whose axis leads in all tensors: `run(*inputs)` gives the results and what is kept for
    `pull_back(needed, inputs, kept, *gradients)`, which gives the gradients of the inputs, None where one is not `needed`, from those of
    the results.
    """

    class OfStack(torch.autograd.Function):
        @staticmethod
        def forward(*inputs):
            return run(*inputs)

        @staticmethod
        def setup_context(ctx, inputs, output):
            kept = output[n_results:]
            ctx.mark_non_differentiable(*kept)
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(*inputs, *kept)
            ctx.save_for_forward(*inputs)
            ctx.n_inputs, ctx.n_kept = len(inputs), len(kept)
            ctx.shapes = [result.shape for result in output[:n_results]]

        @staticmethod
        def backward(ctx, *gradients):
            inputs, kept = ctx.saved_tensors[: ctx.n_inputs], ctx.saved_tensors[ctx.n_inputs :]
            given = zip(gradients[:n_results], ctx.shapes, strict=True)
            full = [inputs[0].new_zeros(shape) if gradient is None else gradient for gradient, shape in given]
            if torch.is_grad_enabled():  # to be differentiated again
                return _gradients(torch.func.vmap(plain), inputs, ctx.needs_input_grad, full)
            return tuple(pull_back(ctx.needs_input_grad, inputs, kept, *full))

        @staticmethod
        def jvp(ctx, *tangents):
            inputs = ctx.saved_tensors[: ctx.n_inputs]
            return *_tangents(torch.func.vmap(plain), inputs, tangents), *[None] * ctx.n_kept

        @staticmethod
        def vmap(info, in_dims, *inputs):
            stack = [_lead(value, dim, info.batch_size) for value, dim in zip(inputs, in_dims, strict=True)]
            found = OfStack.apply(*(value.flatten(0, 1) for value in stack))
            return tuple(value.unflatten(0, (info.batch_size, -1)) for value in found), (0,) * len(found)

    class OfOne(torch.autograd.Function):
        @staticmethod
        def forward(*inputs):
            return plain(*inputs)

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)
            ctx.save_for_forward(*inputs)

        @staticmethod
        def backward(ctx, *gradients):
            return _gradients(plain, ctx.saved_tensors, ctx.needs_input_grad, gradients)

        @staticmethod
        def jvp(ctx, *tangents):
            found = _tangents(plain, ctx.saved_tensors, tangents)
            return found if n_results > 1 else found[0]

        @staticmethod
        def vmap(info, in_dims, *inputs):
            size = info.batch_size
            if all(dim is None for dim in in_dims[n_points:]):  # one model still, of more points
                points = [_lead(value, dim, size) for value, dim in zip(inputs[:n_points], in_dims, strict=False)]
                found = OfOne.apply(*(value.flatten(0, 1) for value in points), *inputs[n_points:])
                if n_results > 1:
                    return tuple(value.unflatten(0, (size, -1)) for value in found), (0,) * n_results
                return found.unflatten(0, (size, -1)), 0
            found = OfStack.apply(*(_lead(value, dim, size) for value, dim in zip(inputs, in_dims, strict=True)))
            return (found[:n_results], (0,) * n_results) if n_results > 1 else (found[0], 0)

    return OfOne.apply


def _lead(value: Tensor, dim: int | None, size: int) -> Tensor:
    return value.expand(size, *value.shape) if dim is None else value.movedim(dim, 0)


def _gradients(
    function: Callable, inputs: Sequence[Tensor], needed: Sequence[bool], gradients: Sequence[Tensor]
) -> tuple[Tensor | None, ...]:
    """Of the inputs that are `needed`, from those of the results."""
    free = [place for place, is_needed in enumerate(needed) if is_needed]
    function, at = _of(function, inputs, free)
    found = torch.func.vjp(function, *at)[1](gradients[0] if len(gradients) == 1 else tuple(gradients))
    return _spread(free, found, len(inputs))


def _tangents(function: Callable, inputs: Sequence[Tensor], tangents: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
    """Of the results. By reverse mode twice, since forward mode does not nest: pulling gradients back is linear, and its transpose pushes forward."""
    moved = [place for place, tangent in enumerate(tangents) if tangent is not None]
    function, at = _of(function, inputs, moved)
    results, pull = torch.func.vjp(function, *at)  # type: ignore[misc]  # no auxiliary output
    anywhere = pytree.tree_map(torch.zeros_like, results)
    (found,) = torch.func.vjp(pull, anywhere)[1](tuple(tangents[place] for place in moved))
    return found if isinstance(found, tuple) else (found,)


def _of(function: Callable, inputs: Sequence[Tensor], free: Sequence[int]) -> tuple[Callable, list[Tensor]]:
    """`function` of the inputs at the places that are `free`, the others fixed, and those inputs."""

    def of_free(*values: Tensor) -> Any:
        given = dict(zip(free, values, strict=True))
        return function(*(given.get(place, value) for place, value in enumerate(inputs)))

    return of_free, [inputs[place] for place in free]


def _spread(places: Sequence[int], values: Sequence[Tensor], length: int) -> tuple[Tensor | None, ...]:
    found = dict(zip(places, values, strict=True))
    return tuple(found.get(place) for place in range(length))


def _empty_like(inputs: Sequence[Tensor], needed: Sequence[bool]) -> list[Any]:
    return [torch.empty_like(value) if is_needed else None for value, is_needed in zip(inputs, needed, strict=True)]


# --- networks


def plain_mlp(x: Tensor, linear: Tensor, *layers: Tensor) -> Tensor:
    """linear @ x + network(x), (batch, n_out), of `x` (batch, n_in).

    `layers` are weights (n_out, n_in) and biases (n_out,) in turn; SiLU follows all but the last.
    """
    h = x
    for weight, bias in _pairs(layers[:-2]):
        h = F.silu(F.linear(h, weight, bias))
    return F.linear(x, linear) + F.linear(h, *layers[-2:])


def plain_mlp_and_tangent(x: Tensor, tangent: Tensor, linear: Tensor, *layers: Tensor) -> tuple[Tensor, Tensor]:
    """`plain_mlp` at `x`, and how fast it changes there in the direction `tangent` (batch, n_in)."""
    h, t = x, tangent
    for weight, bias in _pairs(layers[:-2]):
        a = F.linear(h, weight, bias)
        s = torch.sigmoid(a)
        h = a * s
        t = F.linear(t, weight) * (s + h * (1 - s))
    return F.linear(x, linear) + F.linear(h, *layers[-2:]), F.linear(tangent, linear) + F.linear(t, layers[-2])


def _pairs(layers: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(layers[::2], layers[1::2], strict=True)


def _run_mlp(x, linear, *layers):
    *hidden, (last, last_bias) = _pairs(layers)
    before, after = [], [x]
    for weight, bias in hidden:
        before.append(torch.bmm(after[-1], weight.mT).add_(bias.unsqueeze(1)))
        after.append(F.silu(before[-1]))
    y = torch.bmm(after[-1], last.mT).baddbmm_(x, linear.mT).add_(last_bias.unsqueeze(1))
    return y, *before, *after[1:]


def _pull_back_mlp(needed, inputs, kept, grad):
    x, linear, *layers = inputs
    pairs = list(_pairs(layers))
    before, after = kept[: len(pairs) - 1], (x, *kept[len(pairs) - 1 :])
    found: list[Any] = [None] * len(inputs)
    if needed[1]:
        found[1] = torch.bmm(grad.mT, x)
    g = grad
    for place in reversed(range(len(pairs))):
        if needed[2 + 2 * place]:
            found[2 + 2 * place] = torch.bmm(g.mT, after[place])
        if needed[3 + 2 * place]:
            found[3 + 2 * place] = g.sum(1)
        if place:
            g = torch.ops.aten.silu_backward(torch.bmm(g, pairs[place][0]), before[place - 1])
    if needed[0]:
        found[0] = torch.bmm(grad, linear).baddbmm_(g, pairs[0][0])
    return found


def _run_mlp_and_tangent(x, tangent, linear, *layers):
    """Values and tangents go through each layer as points of one batch, the tangents last."""
    n = x.shape[1]
    *hidden, (last, last_bias) = _pairs(layers)
    slopes, bends, rates, after = [], [], [], [torch.cat([x, tangent], dim=1)]
    for weight, bias in hidden:
        both = torch.bmm(after[-1], weight.mT)
        a, rate = both[:, :n], both[:, n:]
        a += bias.unsqueeze(1)
        # SiLU is h = a s, s the logistic function of a; its slope is d = s + h (1 - s), its bend (1 - s) (2 d - h).
        s = torch.sigmoid(a)
        out = torch.empty_like(both)
        h = torch.mul(a, s, out=out[:, :n])
        slope = torch.addcmul(s, h, s, value=-1).add_(h)
        torch.mul(rate, slope, out=out[:, n:])
        bend = torch.sub(slope, h, alpha=0.5)
        bends.append(bend.addcmul_(bend, s, value=-1).mul_(2))
        slopes.append(slope)
        rates.append(rate)
        after.append(out)
    y = torch.bmm(after[-1], last.mT).baddbmm_(after[0], linear.mT)
    return y[:, :n] + last_bias.unsqueeze(1), y[:, n:].clone(), *slopes, *bends, *rates, *after


def _pull_back_mlp_and_tangent(needed, inputs, kept, grad, grad_tangent):
    x, _, linear, *layers = inputs
    n, pairs = x.shape[1], list(_pairs(layers))
    n_hidden = len(pairs) - 1
    slopes, bends, rates = (kept[at : at + n_hidden] for at in range(0, 3 * n_hidden, n_hidden))
    after = kept[3 * n_hidden :]
    found: list[Any] = [None] * len(inputs)
    both = torch.cat([grad, grad_tangent], dim=1)
    if needed[2]:
        found[2] = torch.bmm(both.mT, after[0])
    g = both
    for place in reversed(range(len(pairs))):
        if needed[3 + 2 * place]:
            found[3 + 2 * place] = torch.bmm(g.mT, after[place])
        if needed[4 + 2 * place]:
            found[4 + 2 * place] = g[:, :n].sum(1)
        if place:
            h = torch.bmm(g, pairs[place][0])
            g = (h.unflatten(1, (2, n)) * slopes[place - 1].unsqueeze(1)).flatten(1, 2)
            g[:, :n].addcmul_(h[:, n:].mul_(rates[place - 1]), bends[place - 1])
    if needed[0] or needed[1]:
        found[:2] = torch.bmm(both, linear).baddbmm_(g, pairs[0][0]).split(n, 1)
    return found


mlp = stackable(plain_mlp, _run_mlp, _pull_back_mlp, n_points=1)
mlp_and_tangent = stackable(
    plain_mlp_and_tangent, _run_mlp_and_tangent, _pull_back_mlp_and_tangent, n_points=2, n_results=2
)
