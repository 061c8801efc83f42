"""The chart of a data set: an autoencoder from which every method that has an encoder and a decoder starts.

With few domains what fails first is not identification but reconstruction: the autoencoder inside a method folds, so that a curved latent
takes two estimated ones and two others share one, from nearly all starts. A chart is trained once per data set, before any method and without
domains, prior or penalty. Its error is measured in a partly whitened metric that becomes the plain one, and many starts race.

A certificate says whether it lost a latent: its held-out error is compared with that of an autoencoder with more code units, which has no
need to fold. Until it is met there are more starts.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from bench.plan.charts import N_STARTS, RACE, ChartSpec, model_starts
from bench.plan.packs import CHUNK
from bench.plan.trials import model_shape
from bench.registry import CORNERS
from bench.scores.training import reconstruction_error
from bench.train import maps, projections, race
from bench.train.data import generated
from bench.train.engine import Job, Stack
from bench.train.errors import Diverged
from bench.train.projections import Projection
from datasets import Instance, Split
from methods import Batch, Shape, Start, TorchMethod, nets

EXPONENT, FADES = 0.6, (0.3, 0.7)  # of the metric, until it falls to 0 between these parts of the steps
JUDGED = 0.3  # exponent of the metric in which starts are compared
PULL = 10.0  # weight of the true latents in a chart that sees them
SPARE_UNITS, WIDE_STARTS = 2, 1  # of the autoencoder that has no need to fold
TOLERANCE, NEGLIGIBLE = (
    0.95,
    0.005,
)  # part of what noise alone makes a chart worse, and an error that needs no comparison
N_CHARTS = 2  # of a data set, at most: those of the least error
SLACK = 0.05  # log error by which a chart may exceed the best: others have mostly lost a latent
TINY = 1e-12  # against division by the length of an axis that the data lack
ROUNDS = 3  # of N_STARTS starts each, at most
MOST_PROGRESS = 0.95  # that is told before the charts are done: maps, and rounds that are rare, come last


_trained: dict[str, Atlas] = {}  # in this process, by id


@dataclass(frozen=True)
class Autoencoder(TorchMethod):
    """Loss: log of the mean over the batch of sum_k r_k^2 * v_k^-g, r_k the residual along principal axis k of the data, v_k its variance.

    The code is standardised by the batch. With g = 1 all axes count alike, the noise too; with g = 0, the plain error, weak latents and the
    curvature of strong ones count so late that the code has folded by then.
    """

    spare_units: int = 0

    def build(self, shape: Shape):
        model = torch.nn.Module()
        n_units = shape.n_latents + self.spare_units
        model.encoder = nets.WhiteMLP(shape.n_observed, n_units, self.width, self.depth, shape.image)
        model.decoder = nets.decoder(shape._replace(n_latents=n_units), self.width, self.depth)
        n_axes = model.encoder.whitening.shape[1]
        model.register_buffer("axes", torch.eye(shape.n_observed, n_axes))
        model.register_buffer("variances", torch.ones(n_axes))
        return model

    def prepare(self, model, x):
        super().prepare(model, x)
        if model.encoder.image is not None:
            scales = model.encoder.whitening.norm(dim=0)
            model.axes.copy_(model.encoder.whitening / scales)
            model.variances.copy_(scales**-2)
            return
        found = nets.white_axes(x)
        if found is not None:
            model.axes.copy_(found[0])
            model.variances.copy_(found[1] ** -2)

    def adopt(self, model, start: Projection):
        """Makes encoder and decoder those of a linear projection."""
        model.encoder.mlp.linear.weight.data.copy_(start.encoder @ torch.linalg.inv(model.encoder.whitening))
        model.decoder.linear.weight.data.copy_(start.decoder)

    def error(self, model, batch: Batch, exponent: float | torch.Tensor):
        """The loss, with g = `exponent`. Of images, the axes beyond the leading ones count as the last of these."""
        residual = batch.x - model.decoder(standardised(model.encoder(batch.x)))
        along, weights = (residual @ model.axes) ** 2, model.variances**-exponent
        beyond = 0.0
        if model.encoder.image is not None:
            beyond = (residual**2).sum(-1) - along.sum(-1)
            beyond = beyond * weights[-1]
        return torch.log(((along * weights).sum(-1) + beyond).mean() + 1e-6)

    def loss(self, model, batch: Batch, rng):
        begin, end = FADES
        left = torch.as_tensor((end - batch.progress) / (end - begin)).clamp(0.0, 1.0)
        return self.error(model, batch, EXPONENT * left)

    def objective(self, model, batch: Batch, rng):
        return self.error(model, batch, JUDGED)

    def encode(self, model, x, u):
        return model.encoder(x)

    def decode(self, model, z):
        return model.decoder(z)


@dataclass(frozen=True)
class TruthAutoencoder(Autoencoder):
    """The oracle: the plain error, plus `PULL` * the squared distance of the code from the true latents, both standardised by the batch."""

    sees_latents: ClassVar[bool] = True

    def loss(self, model, batch: Batch, rng):
        distance = ((standardised(model.encoder(batch.x)) - standardised(batch.z)) ** 2).sum(-1).mean()
        return self.error(model, batch, 0.0) + PULL * distance


def standardised(code: torch.Tensor) -> torch.Tensor:
    """`code` (batch, n), each column with mean 0 and variance 1."""
    return (code - code.mean(0)) / (code.std(0) + 1e-6)


def linear(shape: Shape, settings: Mapping[str, int], x: np.ndarray, restart: int, seed: int) -> Start:
    """The linear chart of images `x` (n_samples, n_observed): their leading principal coordinates, made white, and the way back.

    What the domain decides, a colour say, moves many pixels alike, and is on few principal axes; a random map of them spreads it over all latents, and no
    training brings it together again. The hidden layers are random, by `seed`, and count for nothing at first. Further restarts take a
    random rotation of the code.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Autoencoder(width=settings["width"], depth=settings["depth"]).build(shape)
    points = torch.as_tensor(x, dtype=torch.float32)
    model.encoder.whiten(points)
    model.decoder.whiten(points)
    whitening = model.encoder.whitening
    n = min(shape.n_latents, whitening.shape[1])
    rotation = torch.eye(n) if restart == 0 else torch.as_tensor(maps.random(n, seed), dtype=torch.float32)
    with torch.no_grad():
        code, image = model.encoder.mlp.linear.weight, model.decoder.linear.weight
        code[:n] = rotation @ torch.eye(n, whitening.shape[1])
        # An axis times its standard deviation: the whitening has the axis over it.
        image[:, :n] = (whitening / (whitening**2).sum(0).clamp(min=TINY))[:, :n] @ rotation.T
        model.encoder.mlp.network[-1].bias.zero_()
        return Start(model.encoder, model.decoder, points, points - model.decoder(model.encoder(points)))


@dataclass(frozen=True)
class Chart:
    """An autoencoder whose code has mean 0 and variance 1 on the training data; `weights` are those of an `Autoencoder`.

    `maps` has the linear map (n_latents, n_latents) that suits each corner of `CORNERS`, and `costs` what it costs there.
    """

    weights: dict[str, np.ndarray]
    maps: dict[str, np.ndarray]
    costs: dict[str, float]


@dataclass(frozen=True)
class Atlas:
    """The charts of one data set, that of the least error first. `facts` are what rows say of them."""

    shape: Shape
    width: int
    depth: int
    sees_latents: bool
    charts: list[Chart]
    facts: dict[str, Any]

    def model(self, place: int = 0) -> Any:
        """A new module with the `encoder` and the `decoder` of a chart."""
        model = Autoencoder(width=self.width, depth=self.depth).build(self.shape)
        model.load_state_dict({name: torch.as_tensor(value) for name, value in self.charts[place].weights.items()})
        return model

    def start(self, place: int, matrix: np.ndarray, x: np.ndarray) -> Start:
        """A chart with its code c mapped to `matrix` @ c, for models of data `x` (n_samples, n_observed)."""
        model = self.model(place)
        transform, inverse = (torch.as_tensor(m, dtype=torch.float32) for m in (matrix, np.linalg.inv(matrix)))
        with torch.no_grad():
            for layer in (model.encoder.mlp.linear, model.encoder.mlp.network[-1]):
                layer.weight.copy_(transform @ layer.weight)
            last = model.encoder.mlp.network[-1]
            last.bias.copy_(transform @ last.bias)
            for layer in (model.decoder.linear, model.decoder.network[0]):
                layer.weight.copy_(layer.weight @ inverse)
            points = torch.as_tensor(x, dtype=torch.float32)
            return Start(model.encoder, model.decoder, points, points - model.decoder(model.encoder(points)))

    def choose(self, assumes: Collection[str], restart: int, seed: int) -> tuple[int, np.ndarray]:
        """The chart that a restart starts from, by its place, and the map of its code.

        The first restarts take the map that suits what is assumed, on one chart after the other, the least cost first; further ones a random
        rotation, from `seed`, on the same charts: without them, restarts that agree could owe it to their start.
        """
        corner = next(name for name, own in CORNERS.items() if own == set(assumes))
        order = sorted(range(len(self.charts)), key=lambda place: self.charts[place].costs.get(corner, 0.0))
        place = order[restart % len(order)]
        if self.sees_latents:
            return place, np.eye(self.shape.n_latents)
        if restart < len(order) and corner in self.charts[place].maps:
            return place, self.charts[place].maps[corner]
        return place, maps.random(self.shape.n_latents, seed)

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it as arrays that a file can hold; `of_arrays` makes an atlas of them."""
        about = {"shape": self.shape, "width": self.width, "depth": self.depth, "sees_latents": self.sees_latents}
        about |= {"facts": self.facts, "costs": [chart.costs for chart in self.charts]}
        found = {"about": np.array(json.dumps(about))}
        for place, chart in enumerate(self.charts):
            for part, arrays in (("weights", chart.weights), ("maps", chart.maps)):
                found |= {f"{place}/{part}/{name}": array for name, array in arrays.items()}
        return found

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Atlas:
        """Raises whatever is raised where they are not those of an atlas."""
        about = json.loads(str(arrays["about"]))

        def part(start: str) -> dict[str, np.ndarray]:
            return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}

        charts = [
            Chart(part(f"{place}/weights/"), part(f"{place}/maps/"), costs)
            for place, costs in enumerate(about.pop("costs"))
        ]
        atlas = cls(**about | {"shape": _shape(about["shape"]), "charts": charts})
        for place in range(len(charts)):
            atlas.model(place)
        return atlas


def _shape(values: Sequence[Any]) -> Shape:
    """The shape whose values a file holds, where what was a tuple is a list."""
    shape: Any = Shape(*values)
    return shape if shape.image is None else shape._replace(image=tuple(shape.image))


def obtain(spec: ChartSpec, device: str, known: Mapping[str, Atlas]) -> Atlas:
    """The charts of `spec`, from `known` by its id, or trained before in this process, or trained now.

    Raises Diverged if no start stays finite, and what generating the data raises.
    """
    if spec.chart_id in known:
        return known[spec.chart_id]
    if spec.chart_id not in _trained:
        (atlas,) = train([spec], device)
        if isinstance(atlas, Exception):
            raise atlas
        _trained[spec.chart_id] = atlas
    return _trained[spec.chart_id]


def train(
    specs: Sequence[ChartSpec], device: str = "cpu", progress: Callable[[float], None] | None = None
) -> list[Atlas | Exception]:
    """Trains the charts of several data sets as one stack; they differ in their data alone. What keeps one from being trained is in its place.

    `progress` is told, now and then, the part that is done: of one round of starts, since further ones are rare.
    """
    first = specs[0]
    shape = model_shape(first.make_dataset())
    results: list[Atlas | Exception] = [Diverged("every start of the chart became NaN or infinite") for _ in specs]
    data: dict[int, Instance] = {}
    for place, spec in enumerate(specs):
        try:
            data[place] = generated(spec.make_dataset(), spec.root_seed, spec.seed, spec.content)
        except Exception as error:  # the others have data
            results[place] = error
    points = {place: (instance.train, instance.validation) for place, instance in data.items()}
    seeds = [spec.seeds for spec in specs]
    for place, atlas in fit(points, shape, first.settings, seeds, first.sees_latents, device, progress).items():
        results[place] = atlas
    return results


def fit(
    data: Mapping[int, tuple[Split, Split]],
    shape: Shape,
    settings: dict[str, int],
    seeds: Sequence[Callable[[int], tuple[int, int]]],
    sees_latents: bool = False,
    device: str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> dict[int, Atlas]:
    """The charts of several data sets, trained as one stack; that of a data set of which no start stays finite is missing.

    `data` has the points to train on and those on which starts are compared, both standardised by the columns of the former. `settings` are
    fields of `Autoencoder`; `seeds[i](start)` gives those of the weights and the batches of a start on data set i.
    """
    begin = time.perf_counter()
    model_steps, usual = 0, max(1.0, len(data) * settings["steps"] * (WIDE_STARTS + model_starts()))
    held_out = {place: validation for place, (_, validation) in data.items()}

    def best(
        method: Autoencoder,
        places: Iterable[int],
        starts: Iterable[int],
        stages: Sequence[tuple[float, int]],
        is_projected: bool = False,
    ):
        """The models of several starts on each data set that are left at the end, with their objectives, the best one first.

        They start from projections of the data, or else at random.
        """
        wanted = [(place, start, *seeds[place](start)) for place in places for start in starts]
        begun: list[Projection | None] = [None] * len(wanted)
        if is_projected:
            searches = [projections.Search(data[place][0].x, start, seed) for place, start, seed, _ in wanted]
            begun = projections.least_folding(searches, shape.n_latents)
        jobs = [
            Job(data[place][0], init_seed, noise_seed, place, own)
            for (place, _, init_seed, noise_seed), own in zip(wanted, begun, strict=True)
        ]
        found: dict[int, list[tuple[float, Any]]] = {}
        if not jobs:
            return found
        stack = Stack(method, shape, jobs, device)

        def after_chunk() -> None:
            nonlocal model_steps
            model_steps += CHUNK * len(stack.alive)
            if progress:
                progress(min(model_steps / usual, MOST_PROGRESS))

        for part, n_left in stages:
            stack.train(int(part * method.steps) // CHUNK * CHUNK, after_chunk=after_chunk)
            race.keep_best(stack, held_out, n_left)
        stack.train(after_chunk=after_chunk)
        objectives = race.keep_best(stack, held_out, len(jobs))
        for slot, place in enumerate(stack.owners):
            if np.isfinite(objectives[slot]):
                found.setdefault(place, []).append((float(objectives[slot]), stack.model(slot)))
        return found

    facts: dict[int, dict[str, Any]] = {
        place: {"chart_starts": 1, "chart_met": None, "wide_nmse": None} for place in data
    }
    if sees_latents:
        found = best(TruthAutoencoder(**settings), data, range(1), ())
    else:
        n_spare = min(SPARE_UNITS, (shape.n_observed - shape.n_latents) // 2)
        wide = best(Autoencoder(spare_units=n_spare, **settings), data if n_spare else (), range(WIDE_STARTS), ())
        found, unmet = {}, set(data)
        for begun in range(0, ROUNDS * N_STARTS, N_STARTS):
            # In one round they would not race fairly: projections lead early, and random starts that go another way are dropped.
            is_projected = begun // N_STARTS % 2 == 0 and shape.image is None
            starts = range(begun, begun + N_STARTS)
            rivals = best(Autoencoder(**settings), sorted(unmet), starts, RACE, is_projected)
            for place in sorted(unmet):
                rivals[place] = [*found.get(place, []), *rivals.get(place, [])]
                found[place] = sorted(rivals[place], key=lambda rival: rival[0])[:N_CHARTS]
                facts[place]["chart_starts"] = begun + N_STARTS
                if found[place] and _is_lossless(found[place][0], wide.get(place), data[place], shape, n_spare):
                    unmet.discard(place)
        for place in data:
            facts[place] |= {"chart_met": place not in unmet}
            if place in wide:
                facts[place] |= {"wide_nmse": _nmse(wide[place][0][1], *data[place])}
    models = {}
    for place, rivals in found.items():
        if rivals:
            models[place] = [model for error, model in rivals if error <= rivals[0][0] + SLACK]
            facts[place]["chart_nmse"] = _nmse(models[place][0], *data[place])
    charts = _charts(models, data, [own(0)[0] for own in seeds], sees_latents)
    seconds = {"chart_s": (time.perf_counter() - begin) / len(data)}
    return {
        place: Atlas(shape, settings["width"], settings["depth"], sees_latents, own, facts[place] | seconds)
        for place, own in charts.items()
    }


def _charts(
    models: Mapping[int, Sequence[Any]],
    data: Mapping[int, tuple[Split, Split]],
    seeds: Sequence[int],
    sees_latents: bool,
) -> dict[int, list[Chart]]:
    """Trained autoencoders of each data set as charts, which changes them."""
    owners = [place for place, own in models.items() for _ in own]
    scaled = [_scaled(model, data[place][0]) for place, own in models.items() for model in own]
    charts = [Chart(weights, {}, {}) for weights, _ in scaled]
    if not sees_latents:
        decoders = [model.decoder for own in models.values() for model in own]
        groups = {place: maps.groups(data[place][0]) for place in models}
        codes = [
            maps.Code(code, groups[place], decoder, seeds[place])
            for place, (_, code), decoder in zip(owners, scaled, decoders, strict=True)
        ]
        for name, assumed in CORNERS.items():
            for chart, found in zip(charts, maps.suited(codes, assumed), strict=True):
                if found is not None:
                    chart.maps[name], chart.costs[name] = found
    return {place: [chart for chart, owner in zip(charts, owners, strict=True) if owner == place] for place in models}


def _is_lossless(
    found: tuple[float, Any],
    wide: list[tuple[float, Any]] | None,
    data: tuple[Split, Split],
    shape: Shape,
    n_spare: int,
) -> bool:
    """The certificate of a chart, from models and their objectives."""
    if _nmse(found[1], *data) < NEGLIGIBLE:
        return True
    return wide is not None and found[0] < wide[0][0] + math.log(tolerance(shape, n_spare))


def tolerance(shape: Shape, n_spare: int) -> float:
    """By what factor a chart's error may exceed that of an autoencoder with `n_spare` units more.

    Where a chart leaves nothing but noise in n_observed - n_latents dimensions, the other leaves it in `n_spare` fewer.
    """
    n_noise = shape.n_observed - shape.n_latents
    return max(1.0, TOLERANCE * n_noise / (n_noise - n_spare))


@torch.no_grad()
def _encoded(model: Any, points: Split) -> torch.Tensor:
    return model.encoder(torch.as_tensor(points.x, dtype=torch.float32))


@torch.no_grad()
def _nmse(model: Any, points: Split, held_out: Split) -> float:
    """Reconstruction error of held-out points, the code standardised on `points`."""
    code = _encoded(model, points)
    decoded = model.decoder((_encoded(model, held_out) - code.mean(0)) / code.std(0))
    return reconstruction_error(held_out.x, decoded.numpy())


@torch.no_grad()
def _scaled(model: Any, points: Split) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The weights with the code's mean and scale on `points` taken into the encoder, and that code (n_samples, n_latents)."""
    code = _encoded(model, points)
    mean, std = code.mean(0), code.std(0)
    last = model.encoder.mlp.network[-1]
    last.bias.sub_(mean)
    for parameter in (model.encoder.mlp.linear.weight, last.weight, last.bias):
        parameter.div_(std if parameter.dim() == 1 else std[:, None])
    weights = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    return weights, ((code - mean) / std).double().numpy()
