"""Contrastive methods: the domain as a label to predict."""

from __future__ import annotations

from dataclasses import dataclass

from methods import CHANGES, Batch, Shape, TorchMethod, lazy_module, register

torch = lazy_module("torch")
nets = lazy_module("methods.nets")
decomposition = lazy_module("sklearn.decomposition")


@register("tcl", source="Hyvarinen & Morioka 2016")
@dataclass(frozen=True)
class TCL(TorchMethod):
    """Time-contrastive learning: features that classify the domain, then linear ICA of them.

    Loss per sample (nats): the cross-entropy of a softmax regression of the domain on the features. Where one sufficient statistic
    per latent changes, the features are these statistics up to a linear map (theorem 1), which FastICA removes: where only scales
    change, what is found is |z| rather than z. Where means and scales change, no feature can hold both statistics of its latent.
    """

    cost = 0.4
    assumes = frozenset({CHANGES})

    def build(self, shape: Shape):
        model = torch.nn.Module()
        # No Encoder: the features must not see the domain that they are to tell.
        model.encoder = nets.WhiteMLP(shape.n_observed, shape.n_latents, self.width, self.depth, shape.image)
        model.classifier = torch.nn.Linear(shape.n_latents, shape.n_domains)
        return model

    def loss(self, model, batch: Batch, rng):
        scores = model.classifier(self.encode(model, batch.x, batch.u))
        return (torch.logsumexp(scores, -1) - (scores * batch.u).sum(-1)).mean()

    def encode(self, model, x, u):
        return model.encoder(x)

    def readout(self, seed: int):
        return decomposition.FastICA(whiten="unit-variance", max_iter=1000, random_state=seed)
