"""Swap grids and traversals, from a decoder of which every picture is known."""

import numpy as np

from bench.train.pictures import N_MADE, N_STEPS, made, pictures
from datasets import Instance, Split

SHAPE = (1, 2, 2)


def split(n=40):
    domains = np.arange(n) % 2
    x = np.tile(np.linspace(-1, 1, 4, dtype=np.float32), (n, 1))
    return Split(x, domains, np.zeros((n, 0)), np.arange(n) // 2 % 10, np.zeros((n, 1)))


def decode(z):
    """Pixels that are the latents, content first: 0 is the middle of the range of x."""
    return np.concatenate([z, z], axis=1)


def found():
    instance = Instance(split(), split(), split(), None, 2, None, None, x_shape=SHAPE)
    z_hat = np.stack([np.linspace(-1, 1, 40), np.linspace(1, -1, 40)], 1).astype(np.float32)
    return instance, z_hat, pictures(instance, z_hat, np.array([False, True]), decode)


def levels(z):
    return np.round((z + 1) / 2 * 255).astype(np.uint8)


def test_a_grid_has_the_content_of_its_row_and_the_style_of_its_column():
    instance, z_hat, kept = found()
    # Points of different content, from domain 0 and 1 in turn.
    chosen = [0, 3, 4, 7, 8, 11]
    np.testing.assert_array_equal(kept["images"].reshape(6, 4), levels(instance.test.x[chosen]))
    content, style = levels(z_hat[chosen]).T
    for row in range(6):
        for column in range(6):
            expected = [content[row], style[column]] * 2
            np.testing.assert_array_equal(kept["swaps"][row, column].ravel(), expected)


def test_a_traversal_moves_one_latent_through_its_range_and_leaves_the_others():
    _, z_hat, kept = found()
    assert kept["traversals"].shape == (2, N_STEPS, *SHAPE) and kept["is_style"].tolist() == [False, True]
    steps = np.quantile(z_hat[:, 0], np.linspace(0.01, 0.99, N_STEPS))
    moved = kept["traversals"].reshape(2, N_STEPS, 4)
    np.testing.assert_allclose(moved[0, :, 0], levels(steps), atol=1)
    assert (moved[0, :, 1] == levels(z_hat[0, 1])).all() and (moved[1, :, 0] == levels(z_hat[0, 0])).all()


def test_what_a_decoder_makes_beyond_the_range_of_the_data_is_cut():
    instance, z_hat, _ = found()
    kept = pictures(instance, 9 * z_hat, np.array([False, True]), decode)
    assert set(np.unique(kept["swaps"])) == {0, 255}


def test_images_that_are_made_have_a_row_for_each_domain():
    instance, _, _ = found()
    kept = made(instance, lambda domains: np.tile(domains[:, None] - 0.5, (1, 4)))["made"]
    assert kept.shape == (2, N_MADE, *SHAPE)
    assert (kept[0] == levels(-0.5)).all() and (kept[1] == levels(0.5)).all()
