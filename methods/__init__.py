"""The method registry, and the two shapes a method can have.

A method written in torch (`TorchMethod`) describes one model: its modules, its loss on a batch, its encoding. The engine stacks and
trains many at once. Any other method (`EstimatorMethod`) builds an object with scikit-learn's `fit` and `transform`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, make_dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from bench.registry import CHANGES, SPARSITY, Registry, UsageError, choice, field, lazy_module, loguniform, uniform

if TYPE_CHECKING:
    import numpy as np
    import torch

    from methods.nets import Rng

__all__ = [
    "CHANGES",
    "SPARSITY",
    "AutoencoderMethod",
    "Batch",
    "Blind",
    "DataFacts",
    "Estimator",
    "EstimatorMethod",
    "Shape",
    "Start",
    "TorchMethod",
    "choice",
    "field",
    "lazy_module",
    "loguniform",
    "methods",
    "register",
    "register_transformer",
    "uniform",
]

STARTS = ("chart", "random", "truth")  # where the training of a method with an encoder and a decoder can start

methods = Registry("method", __name__, helpers=("convolutions", "fused", "nets", "splines"))
register = methods.register


class Shape(NamedTuple):
    """What a model must know of its data.

    `n_domains` is the width of the one-hot domain: at least the number of domains, rounded up so that cells that differ in it
    have models of one shape. The columns of domains that do not exist are always 0. `n_u` is how many numbers the auxiliary variable has
    beside the domain: 0 where there are domains alone, and for a method that does not take numbers. `image` is (channels, height, width) where a point is a
    flat image, channels first: encoders, decoders and discriminators are then convolutional.
    """

    n_observed: int
    n_latents: int
    n_domains: int
    n_u: int = 0
    image: tuple[int, int, int] | None = None


class DataFacts(NamedTuple):
    """What is known of a data set before it is generated.

    `has_truth` says whether latents are known, and `n_known` how many, where these are fewer than are to be estimated. `n_u` is how many
    numbers the auxiliary variable has beside the domain. `image` is that of `Shape`.
    """

    n_observed: int
    n_latents: int
    n_domains: int
    has_truth: bool = True
    n_known: int | None = None
    n_u: int = 0
    image: tuple[int, int, int] | None = None


class Batch(NamedTuple):
    """One model's batch: `x` (batch, n_observed), standardised; `u` (batch, n_domains + n_u), the domain one-hot; `z` true latents.

    For a method that takes numbers, those of the auxiliary variable stand in `u` behind the domain, standardised; n_u is 0 for others.
    `z` is (batch, n_latents) only for a method with `sees_latents`, whose latents are those that are known; for every other it has no columns. `progress` is the fraction of
    the steps that is done, 1 where the objective is evaluated: for a loss that has a schedule. On a GPU it is a tensor of one number; a loss
    that branches on it is right there too, but its steps are not replayed as a CUDA graph.
    """

    x: torch.Tensor
    u: torch.Tensor
    z: torch.Tensor
    progress: float = 1.0


class Method:
    """What every method states about itself. What follows from it (promises, verdicts, line styles) is derived elsewhere."""

    role: ClassVar[str] = "method"  # or "floor", or "ceiling": how the leaderboard ranks it
    assumes: ClassVar[Collection[str]] = frozenset()  # CHANGES, SPARSITY, both or neither
    independent: ClassVar[bool] = (
        True  # takes its latents to be so: in each domain if it assumes CHANGES, else over all
    )
    ladder: ClassVar[str] = ""  # methods of one ladder differ in what they assume alone; a subclass does not inherit it
    in_main_job: ClassVar[bool] = False  # whether a run that names no methods has it; a subclass does not inherit it
    sees_latents: ClassVar[bool] = False  # whether it is trained on the true latents
    takes_numbers: ClassVar[bool] = (
        False  # whether `u` may have numbers behind the one-hot domain; a subclass inherits it
    )

    def skip(self, data: DataFacts) -> str | None:
        """Why the method has no meaning on such data, as "needs at least 2 domains, ..."; None if it has one."""
        if self.sees_latents and not data.has_truth:
            return "needs the true latents, and the data have none"
        n_u = data.n_u if self.takes_numbers else 0
        if set(self.assumes) == {CHANGES} and data.n_domains < 2 and not n_u:
            instead = "; it cannot use the numbers of u" if data.n_u else ""
            return f"needs at least 2 domains, and the data have {data.n_domains}{instead}"
        if data.n_observed < data.n_latents:
            return (
                f"needs at least as many observed variables as latents, and the data have {data.n_observed} for "
                f"{data.n_latents} latents"
            )
        return None


@dataclass(frozen=True)
class TorchMethod(Method):
    """A method whose model the engine trains by stochastic gradient descent; subclasses add fields, modules and a loss.

    Write for one model and one batch, `(batch, features)`. Randomness comes from `rng` alone, so that it belongs to the trial.
    """

    cost: ClassVar[float] = 1.0  # time of a model-step relative to `vae`, for the estimate of the time left
    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)  # of Adam
    rates: ClassVar[dict[str, float]] = {}  # factors on the learning rate, by attribute of the model
    max_norm: ClassVar[float] = 100.0  # of a model's gradient: the default is far above what a healthy step has

    steps: int = field(3000, help="optimiser steps", low=0)
    restarts: int = field(
        1,
        help="models started per trial; after a quarter of the steps a quarter of them go on, two at least, and the best objective is kept",
        low=1,
    )
    batch_size: int = field(128, help="points per step", low=2)
    learning_rate: float = field(
        2e-2, help="peak of the one-cycle schedule of Adam", low=0, tune=loguniform(3e-3, 5e-2)
    )
    width: int = field(64, help="units of each hidden layer", low=1)
    depth: int = field(2, help="hidden layers of encoder and decoder", low=1)

    def build(self, shape: Shape) -> torch.nn.Module:
        """One model with fresh weights, drawn from torch's global generator (which the engine seeds)."""
        raise NotImplementedError

    def rates_on(self, shape: Shape) -> dict[str, float]:
        """The factors on the learning rate for data of a shape: `rates`, unless a method says otherwise."""
        return self.rates

    def prior_domains(self, shape: Shape) -> int:
        """The number of rows of a domain's table: a method that does not assume changes has one prior for all domains."""
        return shape.n_domains if CHANGES in self.assumes else 1

    def prior_u(self, shape: Shape) -> int:
        """The numbers beside the domain that a prior sees: none if the method does not assume changes."""
        return shape.n_u if CHANGES in self.assumes else 0

    def prepare(self, model: torch.nn.Module, x: torch.Tensor) -> None:
        """Sets what a new model takes from its training data `x` (n_samples, n_observed): here, calls `whiten` of its modules."""
        for module in model.modules():
            whiten: Any = getattr(module, "whiten", None)
            if whiten is not None:
                whiten(x)

    def loss(self, model: torch.nn.Module, batch: Batch, rng: Rng) -> torch.Tensor:
        """What training minimises, a scalar: the mean over the batch, in nats per sample where it is a likelihood."""
        raise NotImplementedError

    def objective(self, model: torch.nn.Module, batch: Batch, rng: Rng) -> torch.Tensor:
        """What picks among restarts on validation data, lower is better: the loss, for all methods whose loss measures a fit."""
        return self.loss(model, batch, rng)

    def terms(self, model: torch.nn.Module, batch: Batch, rng: Rng) -> dict[str, torch.Tensor]:
        """The terms of the loss by name, each a scalar with its weight, for the learning curves: none by default. They add up to the loss."""
        return {}

    def encode(self, model: torch.nn.Module, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        """Estimated latents (batch, n_estimated): the posterior mean where there is a posterior."""
        raise NotImplementedError

    def decode(self, model: torch.nn.Module, z: torch.Tensor) -> torch.Tensor | None:
        """Reconstructed `x` (batch, n_observed), or None for a method that has no decoder."""
        return None

    def draw(self, model: torch.nn.Module, u: torch.Tensor, rng: Rng) -> torch.Tensor | None:
        """New points given `u` (batch, .), as the model makes them: (batch, n_observed), without noise. None for a method that makes none."""
        return None

    def readout(self, seed: int) -> Any:
        """A scikit-learn transformer, fitted on the encodings of the training data and applied to all, or None for none."""
        return None

    @property
    def has_decoder(self) -> bool:
        return type(self).decode is not TorchMethod.decode

    @property
    def makes_points(self) -> bool:
        return type(self).draw is not TorchMethod.draw

    @property
    def has_readout(self) -> bool:
        return type(self).readout is not TorchMethod.readout


class Start(NamedTuple):
    """An autoencoder to start from: the chart of a data set, its code mapped linearly.

    `encoder` (a nets.WhiteMLP) maps x (batch, n_observed) to a code (batch, n_latents) of mean 0 and variance 1 on the training data,
    `decoder` (a nets.MLP) maps it back. `x` are the training data and `residual` what is left of them, (n_samples, n_observed) both.
    """

    encoder: Any
    decoder: Any
    x: torch.Tensor
    residual: torch.Tensor


@dataclass(frozen=True)
class AutoencoderMethod(TorchMethod):
    """A torch method with an encoder and a decoder, which starts from the chart of its data set.

    The engine trains the chart once for all methods, and hands it to `adopt` after `build` and `prepare`. The code of the first restarts
    is mapped by what suits the method's own assumptions, that of the others at random.
    """

    start: str = field(
        "chart",
        help="where training starts: from the chart of the data set, from random weights, or (an oracle) beside the true latents",
        choices=STARTS,
    )

    def adopt(self, model: torch.nn.Module, start: Start) -> None:
        """Sets the weights of a new model so that its encoder and decoder are those of `start`."""
        raise NotImplementedError

    def skip(self, data: DataFacts) -> str | None:
        if self.start == "truth" and not data.has_truth:
            return "starts at the true latents, and the data have none"
        if self.start == "truth" and data.n_known is not None:
            return f"starts at the true latents, and of {data.n_latents} the data have {data.n_known}"
        return super().skip(data)


class Estimator(Protocol):
    """What `EstimatorMethod.build` gives: scikit-learn's shape, with the domains beside the data.

    `x` (n_samples, n_observed) is standardised; `domains` (n_samples,) counts from 0. A linear method may also have, once it is fitted,
    an attribute `loadings` (n_observed, n_estimated): by how much each observed variable changes with each latent. They are scored
    where the support of the mixing is known. The numbers of an auxiliary variable it does not see.
    """

    def fit(self, x: np.ndarray, domains: np.ndarray) -> Any: ...

    def transform(self, x: np.ndarray, domains: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class EstimatorMethod(Method):
    """A method that fits by itself, one data set at a time. No estimator is given the true latents."""

    def build(self, shape: Shape, seed: int) -> Estimator:
        """An estimator that is not fitted yet; all its randomness comes from `seed` (below 2^32)."""
        raise NotImplementedError


def register_transformer(
    name: str,
    make: Callable[..., Any],
    *,
    source: str,
    summary: str = "A scikit-learn transformer; it does not see the domains.",
    role: str = "method",
    assumes: Collection[str] = (),
) -> None:
    """Registers what `make(n_latents, seed)` gives, an unfitted scikit-learn transformer, as a method.

    Further parameters of `make` are the method's fields; each has a default: a number, a word, true or false.
    """
    names = list(inspect.signature(make).parameters)[2:]
    defaults = {name: inspect.signature(make).parameters[name].default for name in names}
    fields = []
    for key, default in defaults.items():
        if type(default) not in (bool, int, float, str):
            raise UsageError(f"{name}.{key}: give it a default that is a number, a word, True or False")
        fields.append((key, type(default), field(default, help=f"as in {source}; an argument of the transformer")))

    def build(self: Any, shape: Shape, seed: int) -> Estimator:
        return Blind(make(shape.n_latents, seed, **{key: getattr(self, key) for key in names}))

    namespace = {"build": build, "role": role, "assumes": frozenset(assumes), "__doc__": summary}
    cls = make_dataclass(name, fields, bases=(EstimatorMethod,), namespace=namespace, frozen=True)
    # A trial's identity follows the file of the caller.
    caller = sys._getframe(1)
    cls.__module__, cls.__qualname__ = caller.f_globals["__name__"], f"{name} (line {caller.f_lineno})"
    register(name, source=source)(cls)


@dataclass
class Blind:
    """A scikit-learn transformer as an `Estimator`: it does not see the domains.

    `decoder` names the attribute of the fitted transformer that has the loadings, if it has them: `mixing_` is (n_observed, n_latents),
    any other, as `components_`, (n_latents, n_observed).
    """

    transformer: Any
    decoder: str = ""

    @property
    def loadings(self) -> np.ndarray | None:
        if not self.decoder:
            return None
        matrix = getattr(self.transformer, self.decoder)
        return matrix if self.decoder == "mixing_" else matrix.T

    def fit(self, x: np.ndarray, domains: np.ndarray) -> Blind:
        self.transformer.fit(x)
        return self

    def transform(self, x: np.ndarray, domains: np.ndarray) -> np.ndarray:
        return self.transformer.transform(x)
