"""The ceiling: what the encoder can express when it is told the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from methods import Batch, Shape, TorchMethod, lazy_module, register

nets = lazy_module("methods.nets")


@register("supervised", source="this project")
@dataclass(frozen=True)
class Supervised(TorchMethod):
    """The same encoder regressed on the true latents; sees the truth, and is no method.

    Loss: mean over the batch of sum_i (z_hat_i - z_i)^2.
    """

    role: ClassVar[str] = "ceiling"
    in_main_job: ClassVar[bool] = True
    sees_latents: ClassVar[bool] = True
    takes_numbers: ClassVar[bool] = True
    cost: ClassVar[float] = 0.4

    def build(self, shape: Shape):
        return nets.Encoder(
            shape.n_observed, shape.n_domains, shape.n_latents, self.width, self.depth, shape.n_u, shape.image
        )

    def loss(self, model, batch: Batch, rng):
        return ((self.encode(model, batch.x, batch.u) - batch.z) ** 2).sum(-1).mean()

    def encode(self, model, x, u):
        return model(x, u)
