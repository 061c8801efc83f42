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

    Where u has numbers, their density takes the place of the classes' probabilities: p(u|x) proportional to exp(w(u) . features + b(u)), w and
    b a network, over the values of u in the batch (Hyvarinen, Sasaki & Turner 2019; van den Oord et al. 2018). A regression of u on the
    features by least squares would not do: all that it learns of x is the mean of u, one number, whatever the number of latents.
    """

    takes_numbers = True
    cost = 0.4
    assumes = frozenset({CHANGES})

    def build(self, shape: Shape):
        model = torch.nn.Module()
        # No Encoder: the features must not see the domain that they are to tell.
        model.encoder = nets.WhiteMLP(shape.n_observed, shape.n_latents, self.width, self.depth, shape.image)
        if shape.n_u:
            model.classifier = nets.OfNumbers(shape.n_domains + shape.n_u, shape.n_latents + 1)
        else:
            model.classifier = torch.nn.Linear(shape.n_latents, shape.n_domains)
        return model

    def loss(self, model, batch: Batch, rng):
        features = self.encode(model, batch.x, batch.u)
        if isinstance(model.classifier, nets.OfNumbers):
            of_u = model.classifier(batch.u)
            scores = features @ of_u[:, :-1].T + of_u[:, -1]  # (batch, batch): of each x and each u
            return (torch.logsumexp(scores, -1) - scores.diagonal()).mean()
        scores = model.classifier(features)
        return (torch.logsumexp(scores, -1) - (scores * batch.u).sum(-1)).mean()

    def encode(self, model, x, u):
        return model.encoder(x)

    def readout(self, seed: int):
        return decomposition.FastICA(whiten="unit-variance", max_iter=1000, random_state=seed)
