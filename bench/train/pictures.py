"""What is kept of a trial on images, to be looked at: blocks of latents swapped between images, and every latent traversed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from datasets import Instance

N_IMAGES, N_STEPS = 6, 7  # of a swap grid, on a side; of a traversal
N_MADE, MOST_DOMAINS = 8, 10  # images that a model makes for each domain, and domains
ENDS = (0.01, 0.99)  # of a latent's values on test, by their quantiles


def pictures(
    instance: Instance, z_hat: np.ndarray, style: np.ndarray, decode: Callable[[np.ndarray], np.ndarray]
) -> dict[str, np.ndarray]:
    """Images in 256 levels, from the darkest to the brightest value on test; each has the instance's `x_shape`.

    `images` (6, ...) are test points of different content, of every domain in turn; `swaps` (6, 6, ...) have in row i and column j the content
    block of image i and the style block of image j; `traversals` (n_estimated, 7, ...) change one latent of the first image through its range.
    `is_style` (n_estimated,) says which latents are the style block.
    """
    chosen = _different(instance)
    own = z_hat[chosen]
    swaps = np.where(style, own[None], own[:, None]).reshape(-1, z_hat.shape[1])
    steps = np.quantile(z_hat, np.linspace(*ENDS, N_STEPS), axis=0)  # (N_STEPS, n_estimated)
    moved = np.where(np.eye(z_hat.shape[1], dtype=bool)[:, None], steps[None], own[0])
    moved_flat = moved.reshape(-1, z_hat.shape[1]).astype(np.float32)
    return {
        "images": _levels(instance, instance.test.x[chosen], len(chosen)),
        "swaps": _levels(instance, decode(swaps.astype(np.float32)), len(chosen), len(chosen)),
        "traversals": _levels(instance, decode(moved_flat), z_hat.shape[1], N_STEPS),
        "is_style": style,
    }


def made(instance: Instance, make: Callable[[np.ndarray], np.ndarray]) -> dict[str, np.ndarray]:
    """`made` (n_domains, 8, ...): images in the same levels that a model makes of its prior, for each of the first domains."""
    n_domains = min(instance.n_domains, MOST_DOMAINS)
    return {"made": _levels(instance, make(np.repeat(np.arange(n_domains), N_MADE)), n_domains, N_MADE)}


def _levels(instance: Instance, x: np.ndarray, *shape: int) -> np.ndarray:
    low, high = float(instance.test.x.min()), float(instance.test.x.max())
    scaled = np.clip((x - low) / (high - low), 0, 1) * 255
    return np.round(scaled).astype(np.uint8).reshape(*shape, *instance.x_shape)


def _different(instance: Instance) -> np.ndarray:
    """The first test points that differ in their content, of the domains in turn."""
    content, domains = instance.test.content, instance.test.domains
    assert content is not None, "the content is known"
    found: list[int] = []
    for turn in range(N_IMAGES):
        left = ~np.isin(content, content[found])
        wanted = np.flatnonzero(left & (domains == turn % instance.n_domains))
        found += wanted[:1].tolist()
    return np.array(found)
