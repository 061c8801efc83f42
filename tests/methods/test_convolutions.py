import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F

from bench.train.engine import Job, Stack
from datasets import Split
from methods import CHANGES, Batch, DataFacts, Shape, convolutions, gan, methods, nets

IMAGE, N_LATENTS = (3, 13, 10), 3  # sides that no stride divides
SHAPE = Shape(math.prod(IMAGE), N_LATENTS, 2, image=IMAGE)
SMALL = {"width": 8, "depth": 3}


def moved(module):
    """The module in float64, with weights none of which is 0."""
    torch.manual_seed(0)
    module = module.double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module


def torchs_kernel_of_down(layer, channels, stride):
    """The kernels (n_out, channels, kernel, kernel) of torch's convolution with a stride, from those of the blocks."""
    weight = layer.blocks.weight.unflatten(
        1, (channels, stride, stride)
    )  # (n_out, channels, row, column, block row, ...)
    return weight.permute(0, 1, 4, 2, 5, 3).flatten(4, 5).flatten(2, 3)


@pytest.mark.parametrize(("kernel", "stride"), [(8, 4), (4, 2)])
def test_down_is_torchs_convolution_with_a_stride(kernel, stride):
    channels, height, width = IMAGE
    smaller = (5, math.ceil(height / stride), math.ceil(width / stride))
    layer = moved(convolutions.Down(IMAGE, smaller, kernel, stride))
    x = torch.randn(4, *IMAGE, dtype=torch.float64)
    weight = torchs_kernel_of_down(layer, channels, stride)
    expected = F.conv2d(F.pad(x, layer.edges), weight, layer.blocks.bias, stride)
    assert expected.shape[1:] == smaller
    torch.testing.assert_close(layer(x), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("kernel", "stride"), [(8, 4), (4, 2)])
def test_up_is_torchs_transposed_convolution(kernel, stride):
    channels, height, width = IMAGE
    smaller = (5, math.ceil(height / stride), math.ceil(width / stride))
    layer = moved(convolutions.Up(smaller, IMAGE, kernel, stride))
    x = torch.randn(4, *smaller, dtype=torch.float64)
    # A block takes its points in the order of the picture, a transposed kernel in the opposite one.
    weight = layer.blocks.weight.unflatten(0, (channels, stride, stride)).flip(-2, -1)
    weight = weight.permute(3, 0, 4, 1, 5, 2).flatten(4, 5).flatten(2, 3)
    torch.nn.init.zeros_(layer.blocks.bias)
    top, left = layer.first
    expected = F.conv_transpose2d(x, weight, stride=stride)[..., top : top + height, left : left + width]
    torch.testing.assert_close(layer(x), expected, atol=1e-12, rtol=0)


def test_an_image_passes_through_as_it_is_flat_channels_first():
    """A kernel that keeps one pixel of one channel of each block gives that pixel of a flat image's view."""
    layer = convolutions.Down(IMAGE, (1, 4, 3), 4, 4).double()
    with torch.no_grad():
        layer.blocks.weight.zero_()
        layer.blocks.weight[0, 2 * 16 + 4 * 1 + 3] = 1.0  # channel 2, row 1, column 3 of a block
        layer.blocks.bias.zero_()
    x = torch.randn(2, SHAPE.n_observed, dtype=torch.float64)
    found = layer(x.reshape(-1, *IMAGE))[:, 0]
    left, _, top, _ = layer.edges
    flat = x.numpy().reshape(2, *IMAGE)
    assert found[1, 1, 1] == flat[1, 2, 4 + 1 - top, 4 + 3 - left]


def test_a_decoder_has_the_tangent_of_autograd():
    decoder = moved(nets.decoder(SHAPE, **SMALL))
    z, tangent = torch.randn(2, 6, N_LATENTS, dtype=torch.float64).unbind(0)
    values, found = nets.with_tangent(decoder, z, tangent)
    expected, derivative = torch.autograd.functional.jvp(decoder, z, tangent)
    torch.testing.assert_close(values, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(found, derivative, atol=1e-12, rtol=0)
    assert values.shape == (6, SHAPE.n_observed) and found.abs().min() > 0


def test_the_sparsity_term_is_that_of_the_jacobian_by_autograd():
    decoder = moved(nets.decoder(SHAPE, **SMALL))
    z = torch.randn(5, N_LATENTS, dtype=torch.float64)
    jacobian = torch.stack([torch.autograd.functional.jacobian(decoder, point) for point in z])
    expected = (jacobian.abs() * z.std(0)).mean(0)
    torch.testing.assert_close(nets.jacobian_strength_exact(decoder, z), expected, atol=1e-12, rtol=0)


def test_the_gradient_of_the_sparsity_term_is_that_of_finite_differences():
    decoder = moved(nets.decoder(SHAPE, **SMALL))
    z = torch.randn(5, N_LATENTS, dtype=torch.float64)
    weight = decoder.network[0].weight

    def term():
        return nets.jacobian_strength_exact(decoder, z).sum()

    (gradient,) = torch.autograd.grad(term(), weight)
    step = 1e-6
    with torch.no_grad():
        weight[2, 1] += step
        above = term()
        weight[2, 1] -= 2 * step
        below = term()
    assert gradient[2, 1].item() == pytest.approx(((above - below) / (2 * step)).item(), rel=1e-5)


def test_the_encoder_starts_linear_in_white_coordinates_and_the_decoder_near_the_mean_image():
    torch.manual_seed(0)
    x = 5 + torch.randn(300, 4) @ torch.randn(4, SHAPE.n_observed)
    encoder = nets.WhiteMLP(SHAPE.n_observed, N_LATENTS, 8, 2, IMAGE)
    encoder.mlp.network[-1].bias.data.zero_()
    encoder.whiten(x)
    decoder = nets.decoder(SHAPE, **SMALL)
    decoder.whiten(x)
    limits = torch.stack([x.min(), x.max()])
    torch.testing.assert_close(decoder(torch.zeros(1, N_LATENTS))[0], convolutions.within(x.mean(0), limits))
    white = (x - x.mean(0)) @ encoder.whitening
    torch.testing.assert_close(torch.cov(white.T)[:4, :4], torch.eye(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(encoder(x), white @ encoder.mlp.linear.weight.T, atol=1e-4, rtol=1e-4)


def test_a_pixel_stays_within_the_range_and_half_way_it_is_as_it_was():
    limits = torch.tensor([-1.0, 3.0], dtype=torch.float64)
    x = torch.tensor([-1e3, -1.0, 1.0, 3.0, 1e3], dtype=torch.float64, requires_grad=True)
    found = convolutions.within(x, limits)
    np.testing.assert_allclose(found.detach(), [-1, -1 + 4 / (1 + math.e**2), 1, 3 - 4 / (1 + math.e**2), 3])
    (slope,) = torch.autograd.grad(found.sum(), x)
    assert slope[2].item() == pytest.approx(1) and (slope >= 0).all()
    torch.testing.assert_close(convolutions.within(x, torch.full((2,), 0.5)), torch.full((5,), 0.5), check_dtype=False)


def test_the_range_is_that_of_the_pixels_but_for_single_ones_far_out():
    torch.manual_seed(0)
    x = torch.rand(50, 300)
    torch.testing.assert_close(convolutions.limits_of(x), torch.stack([x.min(), x.max()]))
    x[7, 5], x[9, 1] = 300.0, -40.0
    low, high = convolutions.limits_of(x)
    assert -1.1 < low < -0.9 and 1.9 < high < 2.1
    x[:, :20] = 300.0  # many are no exception
    assert convolutions.limits_of(x)[1] == 300


def test_a_trained_decoder_makes_no_pixel_beyond_those_of_the_training_images(digits):
    points, _ = digits
    stack = trained(make("vae", learning_rate=0.1), points, [0])
    (made,) = stack.decode([torch.randn(200, DIGITS.n_latents).numpy() * 30])
    assert points.x.min() - 1e-4 <= made.min() and made.max() <= points.x.max() + 1e-4


def test_leading_axes_are_those_of_an_eigendecomposition():
    torch.manual_seed(0)
    x = torch.randn(500, 40) * torch.logspace(1, -0.5, 40) + 3
    mean, axes, std = convolutions.leading_axes(x)
    values, vectors = torch.linalg.eigh(torch.cov(x.T.double()))
    torch.testing.assert_close(mean, x.mean(0))
    torch.testing.assert_close(std.double(), values.flip(0).sqrt(), rtol=1e-3, atol=0)
    torch.testing.assert_close((axes.T.double() @ vectors.flip(1)).abs(), torch.eye(40).double(), atol=2e-3, rtol=0)


def test_of_few_images_there_are_fewer_axes_and_none_is_blown_up():
    torch.manual_seed(0)
    _, axes, std = convolutions.leading_axes(torch.randn(6, 200))
    assert axes.shape == (200, convolutions.AXES)
    assert (axes[:, :5].norm(dim=0) > 0.99).all() and not axes[:, 5:].any()
    assert std.min() >= convolutions.LEAST_SCALE * std.max() * 0.999


@pytest.mark.parametrize("n_samples", [200, 2000])
def test_independent_numbers_are_counted_as_the_participation_ratio_however_few_samples(n_samples):
    """Of a Gaussian whose covariance has k eigenvalues of 1 and k of 4, (5 k)^2 / (17 k); in any frame, and without bias by few samples."""
    torch.manual_seed(0)
    k = 20
    scales = torch.cat([torch.ones(k), 2 * torch.ones(k), torch.zeros(60)])
    frame = torch.linalg.qr(torch.randn(100, 100))[0]
    residual = torch.randn(n_samples, 100) * scales @ frame
    assert convolutions.n_independent(residual).item() == pytest.approx(25 * k / 17, rel=0.06)


def test_where_nothing_is_left_one_number_counts():
    assert convolutions.n_independent(torch.zeros(5, 7)) == 1


def test_what_a_pixel_counts_is_told_from_what_the_leading_axes_leave():
    torch.manual_seed(0)
    n_left = 20
    axes = torch.linalg.qr(torch.randn(SHAPE.n_observed, N_LATENTS + n_left))[0]
    scales = torch.cat([30 * torch.ones(N_LATENTS), torch.ones(n_left)])
    decoder = nets.decoder(SHAPE, **SMALL)
    assert nets.share(decoder) == 1
    decoder.whiten(5 + torch.randn(900, N_LATENTS + n_left) * scales @ axes.T)
    assert nets.share(decoder).item() == pytest.approx(n_left / SHAPE.n_observed, rel=0.06)
    assert nets.share(nets.decoder(Shape(5, 2, 2), **SMALL)) == 1


@pytest.mark.parametrize("name", ["vae", "gan"])
def test_the_likelihood_of_an_image_is_that_of_its_pixels_times_what_one_counts(name):
    torch.manual_seed(0)
    method = make(name)
    model = method.build(SHAPE).double()
    decoder = model.decoder if name == "vae" else model.generator
    decoder.share.fill_(0.25)
    x, z = torch.randn(4, SHAPE.n_observed, dtype=torch.float64), torch.randn(4, N_LATENTS, dtype=torch.float64)
    expected = torch.distributions.Normal(decoder(z), model.log_noise.exp()).log_prob(x).sum(-1) / 4
    found = method.log_likelihood(model, x, decoder(z) if name == "vae" else z)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["sparse-vae", "sparse-gan"])
def test_the_sparsity_term_of_an_image_counts_as_its_likelihood_does(name):
    torch.manual_seed(0)
    method = make(name)
    model = method.build(SHAPE)
    decoder = model.decoder if name == "sparse-vae" else model.generator
    z, costs = torch.randn(4, N_LATENTS), []
    for share in (1.0, 0.25):
        decoder.share.fill_(share)
        costs.append(method.generate(model, z, nets.Rng(torch.zeros(0), torch.full((4,), 0.5)))[1].item())
    assert costs[0] > 0 and costs[1] == pytest.approx(costs[0] / 4)


def pictures_and_model(name, progress):
    """Eight images in two domains with what a loss needs of them, and an adversarial model none of whose parts is linear."""
    torch.manual_seed(0)
    method = make(name)
    model = moved(method.build(SHAPE))
    numbers = nets.Rng(torch.randn(200_000, dtype=torch.float64), torch.rand(100, dtype=torch.float64))
    u = torch.eye(2, dtype=torch.float64)[torch.arange(8) % 2]
    x = torch.randn(8, SHAPE.n_observed, dtype=torch.float64)
    return method, model, Batch(x, u, x[:, :0], progress), numbers


@pytest.mark.parametrize(("progress", "noise"), [(0.0, 0.2), (0.4, 0.1), (0.8, 0.0), (1.0, 0.0)])
def test_a_discriminator_sees_real_and_made_images_with_the_same_noise_which_falls_to_none(progress, noise):
    method, model, batch, numbers = pictures_and_model("domain-gan", progress)
    seen, log_odds = [], gan.log_odds

    def watched(discriminator, shown, u):
        seen.append(shown)
        return log_odds(discriminator, shown, u)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gan, "log_odds", watched)
        method.parts(model, batch, numbers)
    real, fake = seen[-1].chunk(2)
    z = method.sample(model, batch.u, nets.Rng(numbers._normal, numbers._uniform))[0]  # the first numbers drawn
    for shown, clean in ((real, batch.x), (fake, model.generator(z))):
        assert (shown - clean).std().item() == pytest.approx(noise, rel=0.05, abs=1e-9)


def test_an_encoder_of_images_gets_no_gradient_from_the_discriminator():
    method, model, batch, numbers = pictures_and_model("gan", 0.5)
    adversarial = method.terms(model, batch, numbers)["adversarial"]
    slopes = torch.autograd.grad(adversarial, list(model.encoder.parameters()), allow_unused=True, retain_graph=True)
    assert not any(slope.any() for slope in slopes if slope is not None)
    slopes = torch.autograd.grad(adversarial, list(model.flow.parameters()), allow_unused=True)
    assert any(slope.any() for slope in slopes if slope is not None)


def test_the_cycle_of_images_is_the_bound_of_a_vae():
    method, model, batch, numbers = pictures_and_model("domain-gan", 1.0)
    cycle = method.terms(model, batch, numbers)["cycle"].item()
    n_prior = 8 * N_LATENTS  # numbers that the sample of the flow takes first
    rest = nets.Rng(numbers._normal[n_prior:], numbers._uniform)
    assert cycle == pytest.approx(method.objective(model, batch, rest).item())


def test_images_have_one_noise_level_and_other_data_one_each():
    assert nets.log_noise(SHAPE, -1.0).shape == (1,)
    assert nets.log_noise(Shape(5, 2, 2), -1.0).shape == (5,)
    residual = torch.randn(1000, 5) * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    levels = nets.log_noise_of(residual, 1)
    assert levels.exp().item() == pytest.approx(nets.LOUDER * math.sqrt(11), rel=0.05)


@pytest.fixture(scope="module")
def digits():
    """Real digits of 8 by 8 pixels, in the red in one domain and in the blue in the other."""
    found = load_digits()
    grey = (found.images / 16).astype(np.float32).reshape(len(found.images), 1, -1)
    domains = np.arange(len(grey)) % 2
    colours = np.array([[1.0, 0.3, 0.0], [0.0, 0.3, 1.0]], np.float32)[domains]
    x = (grey * colours[:, :, None]).reshape(len(grey), -1)
    x = (x - x.mean()) / x.std()
    none = np.zeros((len(x), 0), np.float32)
    return Split(x[:1400], domains[:1400], none[:1400]), Split(x[1400:], domains[1400:], none[1400:])


DIGITS = Shape(192, 6, 2, image=(3, 8, 8))
SHORT = {"steps": 64, "width": 16, "batch_size": 32}


def make(name, **fields):
    own = methods[name].defaults
    return methods[name].make(own | {key: value for key, value in (SHORT | fields).items() if key in own})


def trained(method, points, seeds, shape=DIGITS):
    stack = Stack(method, shape, [Job(points, seed, seed + 1) for seed in seeds])
    stack.train()
    return stack


@pytest.mark.parametrize("name", ["synergy-vae", "synergy-gan", "tcl"])
def test_stacked_models_of_images_are_those_trained_alone(digits, name):
    method = make(name, steps=8)
    together = trained(method, digits[0], [1, 7]).encode([digits[1]] * 2)
    alone = [trained(method, digits[0], [seed]).encode([digits[1]])[0] for seed in (1, 7)]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one, other, atol=0.02 * np.abs(other).max())
    assert np.abs(together[0] - together[1]).max() > 0.1 * np.abs(together[0]).max()


@pytest.mark.parametrize("name", ["sparse-vae", "gan"])
def test_reconstruction_of_real_digits_beats_their_principal_components_half_way(digits, name):
    """With as many steps a model that trains is near the best linear code; one that does not is at the mean image, 1."""
    train, held_out = digits
    stack = trained(make(name, steps=160, learning_rate=1e-2), train, [1])
    error = ((stack.decode(stack.encode([held_out]))[0] - held_out.x) ** 2).mean()
    centred = held_out.x - train.x.mean(0)
    axes = np.linalg.svd(train.x - train.x.mean(0), full_matrices=False)[2][: DIGITS.n_latents]
    linear = ((centred - centred @ axes.T @ axes) ** 2).mean()
    assert error < (linear + (centred**2).mean()) / 2


def test_what_has_no_meaning_on_images_says_so():
    facts = DataFacts(192, 6, 2, False, None, image=(3, 8, 8))
    assert "images" in make("synergy-flow").skip(facts)
    assert "images" in make("sparse-vae", penalty="gate").skip(facts)
    assert make("synergy-vae").skip(facts) is None and make("synergy-gan").skip(facts) is None


@pytest.mark.parametrize("name", ["vae", "ivae", "synergy-gan", "sparse-dependent-vae"])
def test_a_trained_model_makes_images_of_the_domain_if_its_prior_sees_it(digits, name):
    """Of the red and the blue domain; those of a method with one prior for all are red as often for either."""
    stack = trained(make(name, steps=256, learning_rate=1e-2), digits[0], [1])
    found = stack.maker(0)(np.repeat([0, 1], 300)).reshape(2, 300, 3, 64)
    is_red = (found[:, :, 0].mean(-1) > found[:, :, 2].mean(-1)).mean(1)
    if CHANGES in stack.method.assumes:
        assert is_red[0] > 0.9 and is_red[1] < 0.1
    else:
        assert abs(is_red[0] - is_red[1]) < 0.15
    np.testing.assert_array_equal(stack.maker(0)(np.array([0, 1])), stack.maker(0)(np.array([0, 1])))


def test_the_flow_of_a_gan_keeps_the_pace_of_its_networks_on_images_alone(digits):
    points, _ = digits
    flat = Split(points.x[:, :4], points.domains, points.z)

    def rate_of_flow(points, shape):
        stack = Stack(make("domain-gan"), shape, [Job(points, 0, 1)])
        groups = zip(stack._optimiser.param_groups, stack._flat, strict=True)
        return [group["factor"] for group, (names, _) in groups if "flow.affine" in names]

    assert rate_of_flow(points, DIGITS) == [1]
    assert rate_of_flow(flat, Shape(4, 2, 2)) == [methods["domain-gan"].make({}).rates["flow"]] != [1]
