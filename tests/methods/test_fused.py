"""Derivatives by hand are those of the plain formulas: alone, under vmap, mapped over blocks, in forward mode, and differentiated again."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, jacfwd, jacrev, jvp, vmap

from methods import fused, splines

N_MODELS, N_POINTS = 2, 3


def mlp_weights(depth):
    sizes = [2, *[3] * depth, 4]
    shapes = [(4, 2), *[shape for a, b in zip(sizes, sizes[1:], strict=False) for shape in ((b, a), (b,))]]
    return [torch.randn(N_MODELS, *shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def points(n=2, scale=1.0):
    return (scale * torch.randn(N_MODELS, N_POINTS, n, dtype=torch.float64)).requires_grad_()


def plain_domain_spline(x, u, table):
    bins = splines.spline_bins(table, 4.0)
    return splines.rational_quadratic(x, (u @ bins.flatten(1)).reshape(-1, *bins.shape[1:]), 4.0)


def domain_spline_inputs(n_domains):
    u = torch.eye(n_domains, dtype=torch.float64)[torch.randint(n_domains, (N_MODELS, N_POINTS))]
    table = torch.randn(N_MODELS, n_domains, 2, 3 * 3 - 1, dtype=torch.float64, requires_grad=True)
    return points(scale=3.0), u, table  # some of the points are outside the bound


def plain_point_spline(x, parameters):
    return splines.rational_quadratic(x, splines.spline_bins(parameters, 4.0), 4.0)


def point_spline_inputs():
    parameters = torch.randn(N_MODELS, N_POINTS, 2, 3 * 3 - 1, dtype=torch.float64, requires_grad=True)
    return points(scale=3.0), parameters


CASES = {
    "mlp, one hidden layer": lambda: (fused.mlp, fused.plain_mlp, (points(), *mlp_weights(1))),
    "mlp, two hidden layers": lambda: (fused.mlp, fused.plain_mlp, (points(), *mlp_weights(2))),
    "mlp and tangent": lambda: (
        fused.mlp_and_tangent,
        fused.plain_mlp_and_tangent,
        (points(), points(), *mlp_weights(2)),
    ),
    "spline of a domain": lambda: (splines.domain_spline(4.0), plain_domain_spline, domain_spline_inputs(3)),
    "spline of all domains": lambda: (splines.domain_spline(4.0), plain_domain_spline, domain_spline_inputs(1)),
    "spline of a point": lambda: (splines.point_spline(4.0), plain_point_spline, point_spline_inputs()),
}


@pytest.fixture(params=CASES)
def case(request):
    torch.manual_seed(0)
    return CASES[request.param]()


def test_values_are_those_of_the_plain_formula_alone_and_in_a_stack(case):
    fast, plain, inputs = case
    torch.testing.assert_close(vmap(fast)(*inputs), vmap(plain)(*inputs))
    one = [value[0] for value in inputs]
    torch.testing.assert_close(fast(*one), plain(*one))


def test_gradients_are_those_of_finite_differences_twice_and_in_forward_mode_too(case):
    fast, _, inputs = case
    assert gradcheck(vmap(fast), inputs, check_forward_ad=True)
    assert gradgradcheck(vmap(fast), inputs)
    assert gradcheck(fast, [value[0].detach().requires_grad_(value.requires_grad) for value in inputs])


def test_gradients_under_vmap_and_of_gradients_are_those_of_the_plain_formula(case):
    """As a penalty on a gradient has them: reverse mode inside vmap, and autograd over both."""
    fast, plain, (x, *others) = case

    def slope(function):
        def first(x, *others):
            found = function(x, *others)
            return sum(part.sin().sum() for part in (found if isinstance(found, tuple) else (found,)))

        values = vmap(lambda x, *others: (grad(first)(x, *others) ** 2).sum())(x, *others)
        free = [value for value in (x, *others) if value.requires_grad]
        return values, *torch.autograd.grad(values.sum(), free, allow_unused=True, materialize_grads=True)

    torch.testing.assert_close(slope(fast), slope(plain))


def test_blocks_of_points_and_jacobians_are_those_of_the_plain_mlp():
    torch.manual_seed(0)
    x, *weights = points(), *mlp_weights(2)
    blocks = torch.stack([x, 2 * x], dim=1)
    over_blocks = vmap(lambda x, *weights: vmap(lambda x: fused.mlp(x, *weights))(x))(blocks, *weights)
    torch.testing.assert_close(over_blocks[:, 1], vmap(fused.plain_mlp)(2 * x, *weights))
    expected = vmap(lambda x, *w: vmap(jacrev(lambda point: fused.plain_mlp(point[None], *w)[0]))(x))(x, *weights)
    for mode in (jacrev, jacfwd):
        found = vmap(lambda x, *w, mode=mode: vmap(mode(lambda point: fused.mlp(point[None], *w)[0]))(x))(x, *weights)
        torch.testing.assert_close(found, expected)


def test_blocks_of_points_have_the_splines_of_their_own():
    torch.manual_seed(0)
    x, parameters = point_spline_inputs()
    scales = range(1, 6)  # as many blocks, which divide nothing that a spline has
    blocks = [torch.stack([c * value for c in scales], dim=1) for value in (x, parameters)]
    found = vmap(vmap(splines.point_spline(4.0)))(*blocks)
    for place, c in enumerate(scales):
        expected = vmap(plain_point_spline)(c * x, c * parameters)
        torch.testing.assert_close([part[:, place] for part in found], [*expected])


def test_points_of_one_domain_have_the_spline_of_that_domain():
    torch.manual_seed(0)
    x, u, table = domain_spline_inputs(3)
    own = torch.stack([table[model][u[model].argmax(-1)] for model in range(N_MODELS)])
    found, expected = vmap(splines.point_spline(4.0))(x, own), vmap(splines.domain_spline(4.0))(x, u, table)
    torch.testing.assert_close(found, expected)


def test_the_tangent_of_an_mlp_is_its_derivative_in_that_direction():
    torch.manual_seed(0)
    x, tangent, *weights = points(), points(), *mlp_weights(2)
    one = [value[0] for value in weights]
    expected = jvp(lambda x: fused.plain_mlp(x, *one), (x[0],), (tangent[0],))
    torch.testing.assert_close(fused.mlp_and_tangent(x[0], tangent[0], *one), expected)
