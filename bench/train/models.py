"""A model that was trained, on its own: it encodes and decodes points in the units in which they were measured.

It is kept as arrays from which the same model is built again, elsewhere and later. Nothing of it is code: the method's class builds the
model, its weights are filled in, and some points that are kept with their latents show that it is the same model still. All is computed in
double precision, in one way for latents that a run keeps, for a model that is loaded, and for one that is exported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.registry import UsageError, nearest
from bench.text import count
from bench.train.kept import facts_of, labels_of, text_of
from datasets import Instance, Split, Units
from datasets.tables import label_text
from methods import Shape, TorchMethod

TORCH, LINEAR, NONE = "torch", "linear", "none"  # kinds of models
N_CHECKED, CHECK = 8, "check/"  # points that are kept with their latents, and how their arrays are called
SAME = 1e-6  # root mean square difference, in standard deviations of the latents, below which a model is the one that was kept
ALIKE = 1e-3  # the same, between what was scored, in single precision, and what is kept of it
POINTS = 4096  # that are encoded at a time
NUMBERS = 2**22  # in the points at which a map is tried for being linear, at a time


class NotKept(Exception):
    """No model can be kept. The message says why, as the end of a sentence."""


class Step(nn.Module):
    """`Units` as a module, both ways."""

    centre: Tensor
    scale: Tensor

    def __init__(self, units: Units):
        super().__init__()
        # As arrays of the same type: a number that stands alone would not decide in which precision is computed.
        for name, value in zip(("centre", "scale"), units, strict=True):
            self.register_buffer(name, torch.tensor(np.atleast_1d(value)))

    def forward(self, x: Tensor) -> Tensor:
        return (x.to(self.centre.dtype) - self.centre) / self.scale

    def undo(self, x: Tensor) -> Tensor:
        scale = torch.where(self.scale.isinf(), 0, self.scale)
        return x * scale.double() + self.centre.double()


class Encoder(nn.Module):
    """Points (n, n_observed) in their own units, and the numbers (n,) of their domains, to estimated latents (n, n_estimated).

    Where the method takes numbers u beside the domain, these (n, n_u) are in their own units too. `read_out` is a matrix (n, n_estimated) and
    an offset (n_estimated,) that follow the method's encoding; without a method, all there is.
    """

    matrix: Tensor | None
    offset: Tensor | None

    def __init__(
        self,
        units: Sequence[Units],
        u_units: Sequence[Units],
        shape: Shape,
        method: TorchMethod | None,
        model: nn.Module | None,
        read_out: tuple[np.ndarray, np.ndarray] | None,
    ):
        super().__init__()
        self.units, self.u_units = nn.ModuleList(map(Step, units)), nn.ModuleList(map(Step, u_units))
        self.n_domains, self.n_u, self.method, self.model = shape.n_domains, shape.n_u, method, model
        for name, value in zip(("matrix", "offset"), read_out or (None, None), strict=True):
            self.register_buffer(name, None if value is None else torch.tensor(value, dtype=torch.float64))

    def forward(self, x: Tensor, domain: Tensor, u: Tensor | None = None) -> Tensor:
        for step in self.units:
            x = step(x)
        if u is not None:
            for step in self.u_units:
                u = step(u)
        return self.of_standardised(x, domain, u)

    def of_standardised(self, x: Tensor, domain: Tensor, u: Tensor | None = None) -> Tensor:
        """The same of points as methods get them."""
        z = x.double()
        if self.method is not None:
            one_hot = (domain[:, None] == torch.arange(self.n_domains, device=x.device)).double()
            known = one_hot if u is None else torch.cat([one_hot, u.double()], dim=1)
            z = self.method.encode(self.model, z, known)  # type: ignore[arg-type]  # a method has a model
        if self.matrix is not None and self.offset is not None:
            z = z @ self.matrix + self.offset
        return z


class Decoder(nn.Module):
    """Latents (n, n_latents) to points (n, n_observed) in their own units."""

    def __init__(self, units: Sequence[Units], method: TorchMethod, model: nn.Module):
        super().__init__()
        self.units = nn.ModuleList(map(Step, units))
        self.method, self.model = method, model

    def forward(self, z: Tensor) -> Tensor:
        x: Any = self.method.decode(self.model, z.double())
        for step in reversed(self.units):
            x = step.undo(x)  # type: ignore[operator]  # a step
        return x


@dataclass(frozen=True, eq=False)
class Model:
    """Encodes and decodes points in the units in which they were measured; `bench.load` gives one.

    `x_shape` is the shape of a point, and `columns` and `u_columns` are the names of its variables and of the numbers u where they were
    columns of a table. `labels` are those of the domains that it knows, in their order. `decoder` is None for a method that has none.
    """

    name: str
    encoder: Encoder
    decoder: Decoder | None
    x_shape: tuple[int, ...]
    n_latents: int
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    u_columns: tuple[str, ...]

    @property
    def needs_domains(self) -> bool:
        """Whether the latents of a point depend on its domain."""
        return self.encoder.method is not None and len(self.labels) > 1

    @property
    def n_u(self) -> int:
        """How many numbers u, as a time, the latents of a point depend on beside its domain."""
        return self.encoder.n_u

    def encode(self, x: Any, domains: Any = None, u: Any = None) -> np.ndarray:
        """Returns the estimated latents (n_samples, n_estimated) of new points.

        `x` (n_samples, ...) is in the units of the data that it was trained on; of a pandas frame with the columns that it was trained on,
        these are taken. `domains` (n_samples,) are labels as they are in those data; of generated data, numbers from 0. None for data of one
        domain. `u` (n_samples, n_u) are the numbers of an auxiliary variable, in its own units, for a method that takes them, and (n_samples,)
        where there is one; of a frame with the columns that it was trained on, these are taken; other methods do not look at them.

        Raises UsageError for points of another shape, for domains that it was not trained on, and where domains or numbers are missing.
        """
        points = self._points(x)
        numbers = self.domain_numbers(domains, len(points))
        beside = self._numbers(u, len(points))
        return self.encode_numbered(points, numbers, beside) if len(points) else np.zeros((0, self.n_latents))

    def decode(self, z: Any) -> np.ndarray:
        """Returns the points (n_samples, ...) that the model makes of latents `z` (n_samples, n_latents), in the data's own units.

        Raises UsageError for a method that has no decoder, and for latents of another number.
        """
        if self.decoder is None:
            raise UsageError(f"{self.name} has no decoder")
        latents = np.asarray(z, dtype=np.float64)
        if latents.ndim != 2 or latents.shape[1] != self.n_latents:
            raise UsageError(f"z must be latents (n_samples, {self.n_latents}), and has the shape {latents.shape}")
        with torch.no_grad():
            found = [self.decoder(torch.tensor(latents[at])).numpy() for at in _parts(len(latents))]
        return np.concatenate([np.zeros((0, math.prod(self.x_shape))), *found]).reshape(len(latents), *self.x_shape)

    def domain_numbers(self, domains: Any, n: int) -> np.ndarray:
        """The numbers (n,) of domains that are given by their labels. Raises UsageError."""
        if domains is None:
            if self.needs_domains:
                raise UsageError(
                    f"it was trained on several domains; pass the domain of every point, of {_some(self.labels)}"
                )
            return np.zeros(n, dtype=np.int64)
        given = np.asarray(domains, dtype=None if hasattr(domains, "dtype") else object)
        if given.shape != (n,):
            raise UsageError(f"domains must have the shape ({n},), and have {given.shape}")
        place_of = {label: place for place, label in enumerate(self.labels)}
        texts = [label_text(label) for label in given.tolist()]
        for text in texts:
            if text not in place_of:
                raise UsageError(
                    f"there is no domain {text!r} among those that it was trained on; {nearest(text, self.labels)}"
                )
        return np.array([place_of[text] for text in texts], dtype=np.int64)

    def _points(self, x: Any) -> np.ndarray:
        x = _of_frame(x, self.columns, "x")
        try:
            found = np.asarray(x, dtype=np.float64)
        except (ValueError, TypeError):
            raise UsageError("x must be numbers") from None
        n_observed = math.prod(self.x_shape)
        if not found.ndim or found.shape[1:] not in (self.x_shape, (n_observed,)):
            shape = ", ".join(map(str, self.x_shape))
            raise UsageError(f"x must be points of the shape (n_samples, {shape}), and has {found.shape}")
        found = found.reshape(len(found), n_observed)
        finite = np.isfinite(found).all(axis=1)
        if not finite.all():
            raise UsageError(f"x holds values that are not finite, the first in row {int(finite.argmin())}")
        return found

    def _numbers(self, u: Any, n: int) -> np.ndarray | None:
        """The numbers u of `n` points, (n, n_u); None for a method that takes none. Raises UsageError."""
        if not self.n_u:
            return None
        if u is None:
            named = f", {_some(self.u_columns)}" if self.u_columns else ""
            text = f"it was trained with {count(self.n_u, 'number')} u beside every point{named}"
            raise UsageError(f"{text}; pass u (n_samples, {self.n_u})")
        u = _of_frame(u, self.u_columns, "u")
        try:
            found = np.asarray(u, dtype=np.float64)
        except (ValueError, TypeError):
            raise UsageError("u must be numbers") from None
        found = found[:, None] if found.shape == (n,) and self.n_u == 1 else found
        if found.shape != (n, self.n_u):
            raise UsageError(f"u must have the shape ({n}, {self.n_u}), and has {found.shape}")
        if not np.isfinite(found).all():
            raise UsageError("u holds values that are not finite")
        return found

    @torch.no_grad()
    def encode_numbered(self, points: np.ndarray, domains: np.ndarray, u: np.ndarray | None = None) -> np.ndarray:
        """The same of points (n_samples, n_observed) in double precision, and the numbers (n_samples,) of their domains."""
        given = [np.asarray(each) for each in (points, domains, u) if each is not None]
        found = [self.encoder(*(torch.tensor(each[at]) for each in given)) for at in _parts(len(points))]
        return torch.cat(found).numpy()

    @torch.no_grad()
    def of_standardised(self, split: Split, device: str = "cpu") -> np.ndarray:
        """The same of points as methods get them."""
        encoder = self.encoder.to(device)
        try:
            given = [torch.tensor(each) for each in (split.x, split.domains, *[split.u] * bool(self.n_u))]
            found = [encoder.of_standardised(*(each[at].to(device) for each in given)) for at in _parts(len(split.x))]
            return torch.cat(found).cpu().numpy()
        finally:
            self.encoder.to("cpu")


def _of_frame(value: Any, columns: Sequence[str], name: str) -> Any:
    """The `columns` of a pandas frame, in their order; anything else as it is. Raises UsageError for one that is not there."""
    if not hasattr(value, "columns") or not columns:
        return value
    for column in columns:
        if column not in value.columns:
            raise UsageError(f"{name} has no column {column!r}; {nearest(column, map(str, value.columns))}")
    return value[list(columns)]


def _parts(n: int) -> list[slice]:
    return [slice(at, at + POINTS) for at in range(0, n, POINTS)]


def _some(labels: Sequence[str]) -> str:
    return ", ".join(labels[:12]) + (", ..." if len(labels) > 12 else "")


# --- to arrays


def arrays_of_torch(
    name: str,
    method: TorchMethod,
    model: nn.Module,
    shape: Shape,
    instance: Instance,
    encoded: np.ndarray,
    readout: Any,
    device: str = "cpu",
) -> tuple[dict[str, np.ndarray], Model]:
    """A model of a torch method as arrays, and as it is built of them.

    `encoded` (n_samples, n_encoded) are its encodings of the test points, on which `readout` follows, if the method has one: fitted. Raises
    NotKept where what is built encodes otherwise, since the encoding depends on more than parameters and buffers, say.
    """
    arrays = {}
    for key, value in model.state_dict().items():
        try:
            arrays[f"weights/{key}"] = value.cpu().numpy()
        except TypeError:
            raise NotKept(f"numpy has no numbers of the type of its {key!r}, {value.dtype}") from None
    if readout is not None:
        arrays |= linear_map(lambda z: np.asarray(readout.transform(z)), encoded.shape[1], "its read-out is not linear")
    scored = encoded if readout is None else readout.transform(encoded)
    other = "it encodes otherwise once it is built again from its parameters and buffers"
    return _checked(name, TORCH, arrays, shape, instance, method, scored, other, device)


def arrays_of_linear(
    name: str, transform: Callable[[np.ndarray, np.ndarray], np.ndarray], instance: Instance, scored: np.ndarray
) -> tuple[dict[str, np.ndarray], Model]:
    """A fitted estimator as arrays, if it is linear, and as it is built of them. Raises NotKept where it is not.

    `transform(x, domains)` is asked for points of its own, and `scored` are its latents (n_samples, n_estimated) of the test points.
    """
    n_observed, other = instance.test.x.shape[1], "it is no linear map of the data"
    arrays = linear_map(lambda x: np.asarray(transform(x, np.zeros(len(x), dtype=np.int64))), n_observed, other)
    shape = Shape(n_observed, scored.shape[1], instance.n_domains)
    return _checked(name, LINEAR, arrays, shape, instance, None, scored, other)


def linear_map(function: Callable[[np.ndarray], np.ndarray], n_in: int, otherwise: str) -> dict[str, np.ndarray]:
    """The `matrix` (n_in, n_out) and the `offset` (n_out,) of `function`, (n, n_in) to (n, n_out), from its values at 0 and at unit vectors.

    Raises NotKept(`otherwise`) where these are no finite numbers of one shape. That `function` is linear is for its other values to show.
    """
    size = max(1, NUMBERS // n_in)
    try:
        # 0 beside the unit vectors each time: of a single point some estimators give no matrix.
        axes = [np.eye(min(size, n_in - at), n_in, at) for at in range(0, n_in, size)]
        found = [function(np.concatenate([np.zeros((1, n_in)), own])) for own in axes]
        matrix, offset = np.concatenate([each[1:] - each[:1] for each in found]), found[0][0]
    except Exception as error:  # whatever a user's estimator may say to such points
        raise NotKept(otherwise) from error
    if matrix.shape != (n_in, *offset.shape) or offset.ndim != 1 or not np.isfinite([*matrix, offset]).all():
        raise NotKept(otherwise)
    return {"matrix": matrix, "offset": offset}


def no_model(reason: str) -> dict[str, np.ndarray]:
    """What is kept in the place of a model that cannot be kept: the reason."""
    return {"facts": text_of({"kind": NONE, "reason": reason})}


def _checked(
    name: str,
    kind: str,
    arrays: Mapping[str, np.ndarray],
    shape: Shape,
    instance: Instance,
    method: TorchMethod | None,
    scored: np.ndarray,
    otherwise: str,
    device: str = "cpu",
) -> tuple[dict[str, np.ndarray], Model]:
    facts = {
        "kind": kind,
        "shape": shape._asdict(),
        "n_estimated": scored.shape[1],
        "labels": labels_of(instance),
        "x_shape": list(instance.x_shape),
        "columns": list(instance.columns),
        "u_columns": list(instance.u_columns) if shape.n_u else [],
        "n_units": len(instance.units),
        "n_u_units": len(instance.u_units) if shape.n_u else 0,
    }
    found = dict(arrays) | {"facts": text_of(facts)}
    for kind_of_units, n_units in (("units", "n_units"), ("u_units", "n_u_units")):
        for place, units in enumerate(getattr(instance, kind_of_units)[: facts[n_units]]):
            found |= {f"{kind_of_units}/{place}/{part}": np.asarray(value) for part, value in units._asdict().items()}
    model = _built(name, found, method)
    test = model.of_standardised(instance.test, device)
    if test.shape != scored.shape or not _distance(test, scored) < ALIKE:
        raise NotKept(otherwise)
    checks = {
        "x": _undone(model.encoder.units, instance.test.x[:N_CHECKED]),
        "domain": np.asarray(instance.test.domains[:N_CHECKED], dtype=np.int64),
    }
    if shape.n_u and instance.test.u is not None:
        checks["u"] = _undone(model.encoder.u_units, instance.test.u[:N_CHECKED])
    checks["z_hat"] = model.encode_numbered(*checks.values())
    return found | {f"{CHECK}{key}": value for key, value in checks.items()}, model


def _undone(units: nn.ModuleList, values: np.ndarray) -> np.ndarray:
    """What the steps `units` made `values` (n, n_columns) of, in double precision."""
    found = torch.tensor(values).double()
    for step in reversed(units):
        found = step.undo(found)  # type: ignore[operator]  # a step
    return found.numpy()


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """Root mean square difference of latents, in units of their standard deviation."""
    return float(np.sqrt(np.mean((a - b) ** 2)) / max(float(np.std(b)), 1e-12))


# --- and back


def of_arrays(name: str, arrays: Mapping[str, np.ndarray], make_method: Callable[[], Any]) -> Model:
    """The model of the method called `name` that was kept as `arrays`; `make_method` gives the method.

    Raises UsageError where no model was kept, where it is damaged, and where the code that is here makes another one of it.
    """
    try:
        facts = facts_of(arrays["facts"])
        kind = facts["kind"]
    except (KeyError, TypeError, ValueError):
        raise UsageError(f"what was kept of the model of {name} is damaged") from None
    if kind == NONE:
        raise UsageError(f"no model of {name} was kept: {facts.get('reason', '')}")
    method = make_method() if kind == TORCH else None
    try:
        model = _built(name, arrays, method)
        found = model.encode_numbered(
            arrays[f"{CHECK}x"], arrays[f"{CHECK}domain"], arrays[f"{CHECK}u"] if model.n_u else None
        )
        distance = _distance(found, arrays[f"{CHECK}z_hat"])
    except Exception as error:  # whatever torch or a method finds wrong with it
        text = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UsageError(f"the model of {name} is damaged, or of other code than is here ({text[:200]})") from None
    if not distance < SAME:
        raise UsageError(f"the code of {name} that is here makes other latents than when the model was trained")
    return model


def _built(name: str, arrays: Mapping[str, np.ndarray], method: TorchMethod | None) -> Model:
    facts = facts_of(arrays["facts"])
    known: Any = {key: tuple(value) if isinstance(value, list) else value for key, value in facts["shape"].items()}
    shape = Shape(**known)
    units, u_units = (
        [Units(arrays[f"{kind}/{place}/centre"], arrays[f"{kind}/{place}/scale"]) for place in range(n)]
        for kind, n in (("units", facts["n_units"]), ("u_units", facts.get("n_u_units", 0)))
    )
    read_out = (arrays["matrix"], arrays["offset"]) if "matrix" in arrays else None
    model, decoder = None, None
    if method is not None:
        with torch.random.fork_rng(devices=[]):
            model = method.build(shape)
        prefix = "weights/"
        weights = {
            key.removeprefix(prefix): torch.tensor(value) for key, value in arrays.items() if key.startswith(prefix)
        }
        model.load_state_dict(weights)
        model = model.double().requires_grad_(False)
        # A read-out makes other estimates of those that the decoder takes.
        decoder = Decoder(units, method, model) if method.has_decoder and read_out is None else None
    encoder = Encoder(units, u_units, shape, method, model, read_out)
    labels, columns, u_columns = (tuple(map(str, facts.get(key, ()))) for key in ("labels", "columns", "u_columns"))
    x_shape = tuple(facts["x_shape"]) or (shape.n_observed,)
    return Model(name, encoder, decoder, x_shape, facts["n_estimated"], labels, columns, u_columns)
