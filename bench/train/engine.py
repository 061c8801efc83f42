"""Trains many models of one method at once: parameters with a leading model axis, one process, one thread.

A method describes one model; `torch.func.vmap` maps it over the stack, and plain autograd and Adam, which are elementwise in the
model axis, do the rest. Each model keeps its own initialisation, data, batch order and noise, drawn from its own seeds whatever
stands beside it.
"""

from __future__ import annotations

import copy
import ctypes
import functools
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.func import vmap
from torch.nn.functional import one_hot

from bench.plan.packs import CHUNK
from bench.scores import LOOK
from bench.train.errors import BrokenContract, OutOfTime
from bench.train.recorded import Recorded
from datasets import Split
from methods import Batch, Shape, TorchMethod
from methods.nets import CountingRng, Rng, jacobian_strength_exact

CHECK = 16  # chunks between two looks for diverged models
OBJECTIVE_DRAWS = 4  # noise draws over which the validation objective is averaged
LEAST_BLOCK = 32
WATCHED = 128  # validation points on which learning curves are drawn, at most
BLOCKS = (
    16  # of points, in which it is evaluated apart: how they scatter tells how sure a difference between two models is
)


@dataclass(frozen=True)
class Job:
    """One model to train, on standardised data. The true latents are read only for a method that sees them.

    `owner` says whose model it is, where several restarts belong to one trial.
    """

    points: Split
    init_seed: int
    noise_seed: int
    owner: int = 0
    start: Any = None  # what the model adopts, by a hook of its method
    watched: Split | None = None  # points on which its learning curve is drawn, of all models of a stack or of none


class Stack:
    """Models of one method with the same shapes. `alive` says which jobs the model axis holds, in order."""

    def __init__(self, method: TorchMethod, shape: Shape, jobs: Sequence[Job], device: str = "cpu"):
        self.method, self.device = method, torch.device(device)
        self.shape = shape if method.takes_numbers else shape._replace(n_u=0)
        shape = self.shape
        self.alive = list(range(len(jobs)))
        self._owners = [job.owner for job in jobs]
        models = [_build(method, shape, job) for job in jobs]
        self._holder = _Holder(models[0])
        states = [model.state_dict() for model in models]
        self._state = {name: torch.stack([state[name] for state in states]) for name in self._holder.names}
        self._state = {name: value.to(self.device) for name, value in self._state.items()}
        self._holder.model.to(self.device)
        self._trainable = [name for name, p in models[0].named_parameters() if p.requires_grad]
        rows = [self._columns(job.points) for job in jobs]
        self._data = torch.cat(rows)
        self._sizes = [len(row) for row in rows]
        self._starts = np.cumsum([0, *self._sizes[:-1]])
        self._generators = [torch.Generator().manual_seed(job.noise_seed) for job in jobs]
        self._step = 0
        self._optimiser = self._new_optimiser()
        watched = [self._columns(job.watched)[:WATCHED] for job in jobs if job.watched is not None]
        size = min(map(len, watched), default=0)
        self._watched = torch.stack([points[:size] for points in watched]) if len(watched) == len(jobs) else None
        self._numbers_to_look: tuple[int, int] | None = None
        self._looks = torch.zeros(0, len(jobs), len(LOOK) + len(self._terms[0]))

    @property
    def owners(self) -> list[int]:
        """Whose model each one is that the stack holds, in the order of the model axis."""
        return [self._owners[job] for job in self.alive]

    @property
    def step(self) -> int:
        """The steps that every model of the stack has been trained for."""
        return self._step

    def train(
        self, until: int | None = None, deadline: float = math.inf, after_chunk: Callable[[], None] | None = None
    ) -> None:
        """Minimises each model's own loss up to step `until`, a multiple of CHUNK, or to the end.

        `after_chunk` is called wherever training stands between two chunks: `state_dict` then gives what it goes on from.

        Models that are no longer finite leave the stack. Raises OutOfTime before a chunk that would start after `deadline`, in
        seconds of `time.monotonic`, and BrokenContract for a loss that is not a scalar or writes to its batch.
        """
        method = self.method
        needed = self.numbers_needed(method.batch_size)
        end = method.steps if until is None else min(until, method.steps)
        while self._step < end and self.alive:
            if time.monotonic() > deadline:
                raise OutOfTime(f"training stood at step {self._step} of {method.steps}")
            rows, normals, uniforms = self.draw(needed)
            total, n_steps = torch.zeros((), device=self.device), min(CHUNK, end - self._step)
            for offset in range(n_steps):
                self._set_rates()
                losses = self._advance(rows[:, offset], normals[:, offset], uniforms[:, offset], self._progress())
                total = total + losses
                self._step += 1
            self._look(total / n_steps)
            if self._step % (CHUNK * CHECK) == 0 and not losses.isfinite().all():
                self.keep(losses.isfinite().nonzero().flatten().tolist())
            if after_chunk and self._step < end:
                after_chunk()
        if self.alive:
            values = [value.detach().reshape(len(value), -1) for value in self._state.values()]
            self.keep(torch.stack([value.isfinite().all(1) for value in values]).all(0).nonzero().flatten().tolist())

    def curve(self, job: int) -> dict[str, np.ndarray]:
        """The learning curve of a job as long as its model was in the stack: those of `LOOK` and the terms of its loss, (n_looks,) each."""
        own = self._looks[:, job]
        return dict(zip((*LOOK, *self._terms[0]), own[own[:, 0] > 0].numpy().T, strict=True))

    @functools.cached_property
    def _terms(self) -> tuple[list[str], tuple[int, int]]:
        """The names of the method's terms, and how many normal and uniform numbers they take together on the watched points.

        No name where they do not add up to the loss, as where a subclass has another loss than the class whose terms it inherits. Raises
        BrokenContract for terms that are no scalars by name.
        """
        if self._watched is None:
            return [], (0, 0)
        found: list[str] = []
        watched = self._watched[0].cpu()

        def total(model: torch.nn.Module, batch: Batch, rng: Any) -> Tensor:
            batch = Batch(*self._batch(watched))  # of points that are all the same, the loss may be no number
            torch.manual_seed(0)
            terms = self.method.terms(model, batch, rng)
            for name, value in terms.items():
                if not isinstance(name, str) or name in LOOK or not isinstance(value, Tensor) or value.dim():
                    raise BrokenContract(f"each of the terms must be a scalar tensor by its own name, unlike {name!r}")
            added = sum(terms.values(), torch.zeros(()))
            torch.manual_seed(0)  # the same numbers for both
            loss = self.method.loss(model, batch, CountingRng()) if terms else added
            found[:] = terms if torch.allclose(loss, added, rtol=1e-3, atol=1e-4) else []
            return added

        numbers = self.numbers_needed(self._watched.shape[1], total)
        return found, numbers

    @torch.no_grad()
    def _look(self, losses: Tensor) -> None:
        """Adds a point to the learning curves: of `losses` (n_models,), the means since the last one."""
        if self._watched is None:
            return
        blocks = self._watched[self.alive][:, None]
        if self._numbers_to_look is None:
            self._numbers_to_look = self.numbers_needed(blocks.shape[2], self.method.objective)
        objectives = self._objectives(blocks, self.method.objective, 1, self._numbers_to_look)[:, 0]
        look = torch.zeros(1, *self._looks.shape[1:])
        steps = torch.full(losses.shape, float(self._step), device=self.device)
        found = [steps, losses, objectives]
        names, numbers = self._terms
        if names:

            def terms(*arguments: Any) -> Tensor:
                return torch.stack([value.detach() for value in self.method.terms(*arguments).values()])

            found += self._objectives(blocks, terms, 1, numbers)[:, 0].unbind(-1)
        look[0, self.alive] = torch.stack(found, dim=1).float().cpu()
        self._looks = torch.cat([self._looks, look])

    def _minimise(self, columns: Tensor, normals: Tensor, uniforms: Tensor, progress: Tensor) -> Tensor:
        """One step of the optimiser, on one batch of each model; gives the losses (n_models,)."""
        with _left_alone(columns, "loss"):
            losses, *gradients = self._slopes(*self._state.values(), columns, normals, uniforms, progress)
        for (_, parameter), gradient in zip(self._flat, gradients, strict=True):
            parameter.grad = gradient
        self._optimiser.step()
        return losses

    def _losses_and_gradients(self, *tensors: Tensor) -> list[Tensor]:
        """The losses, and the gradient, clipped, of each part of `_flat`; of the state and of what a step takes."""
        *values, columns, normals, uniforms, progress = tensors
        state = dict(zip(self._state, values, strict=True))

        def loss(model, batch, normal, uniform):
            return self.method.loss(model, Batch(*batch)._replace(progress=progress), Rng(normal, uniform))

        losses = self._map(loss)(state, self._batch(columns), normals, uniforms)
        parameters = [state[name] for names, _ in self._flat for name in names]
        found = iter(torch.autograd.grad(losses.sum(), parameters, allow_unused=True, materialize_grads=True))
        gradients = [torch.cat([next(found).reshape(len(losses), -1) for _ in names], dim=1) for names, _ in self._flat]
        return [losses.detach(), *clip(gradients, self.method.max_norm)]

    def _progress(self) -> Tensor:
        """The part of the steps that is done: where the step is computed, and not a number that a recording would keep."""
        return torch.full((), self._step / self.method.steps, device=self.device)

    def _set_rates(self) -> None:
        rate = self.method.learning_rate * one_cycle(self._step / self.method.steps)
        for group in self._optimiser.param_groups:
            if self.device.type == "cpu":
                group["lr"] = group["factor"] * rate
            else:
                group["lr"].fill_(group["factor"] * rate)

    def model(self, position: int) -> torch.nn.Module:
        """A copy of the model at this position of the model axis, on the CPU."""
        model = copy.deepcopy(self._holder.model).cpu()
        # Not strict: a parameter that has two names is here by one.
        model.load_state_dict({name: value[position] for name, value in self._state.items()}, strict=False)
        return model

    def keep(self, positions: Sequence[int]) -> None:
        """Leaves only the models at these positions of the model axis, in this order, ready to train on."""
        if list(positions) == list(range(len(self.alive))):
            return  # and what was recorded of a step is still of use
        moments = [self._optimiser.state[parameter] for _, parameter in self._flat]
        self.alive = [self.alive[position] for position in positions]
        self._generators = [self._generators[position] for position in positions]
        self._state = {name: value.detach()[list(positions)] for name, value in self._state.items()}
        self._optimiser = self._new_optimiser()
        for (_, parameter), state in zip(self._flat, moments, strict=True):
            # Adam's moments have a model axis, its count of steps has none.
            kept = {key: value[list(positions)] if value.dim() else value for key, value in state.items()}
            self._optimiser.state[parameter] = kept

    def state_dict(self) -> dict[str, Tensor]:
        """All that training goes on from, copied: weights, Adam's moments, random streams, steps done, and which jobs are left.

        Where `train` has ended, a new stack of the same method and jobs that loads it goes on to the same bits.
        """
        found = {f"models/{name}": value for name, value in self._state.items()}
        for place, (_, parameter) in enumerate(self._flat):
            moments = self._optimiser.state[parameter]
            found |= {f"optimiser/{place}/{key}": value for key, value in moments.items()}
        found |= {f"generators/{place}": generator.get_state() for place, generator in enumerate(self._generators)}
        found |= {"alive": torch.tensor(self.alive, dtype=torch.int64), "step": torch.tensor(self._step)}
        found |= {"looks": self._looks}
        return {name: value.detach().clone() for name, value in found.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes over what `state_dict` gave, on whatever device that was. Raises KeyError or ValueError for the state of another stack."""
        for name, value in self._state.items():
            if state[f"models/{name}"].shape[1:] != value.shape[1:]:
                raise ValueError(f"{name} has another shape in the state of another stack")
        self.alive, self._step = state["alive"].tolist(), int(state["step"])
        self._looks = state["looks"].cpu()
        self._generators = [torch.Generator() for _ in self.alive]
        for place, generator in enumerate(self._generators):
            generator.set_state(state[f"generators/{place}"].cpu())
        self._state = {name: state[f"models/{name}"].to(self.device, copy=True) for name in self._state}
        self._optimiser = self._new_optimiser()
        for place, (_, parameter) in enumerate(self._flat):
            start = f"optimiser/{place}/"
            moments = {key.removeprefix(start): value for key, value in state.items() if key.startswith(start)}
            self._optimiser.state[parameter] = {key: value.to(self.device, copy=True) for key, value in moments.items()}

    def objective(self, points: Sequence[Split], method: TorchMethod | None = None) -> np.ndarray:
        """The method's objective of each model in the stack on its own `points`, (n_models,): the mean of `objectives`."""
        return self.objectives(points, method).mean(axis=1)

    @torch.no_grad()
    def objectives(self, points: Sequence[Split], method: TorchMethod | None = None) -> np.ndarray:
        """The method's objective of each model on blocks of its own `points`, (n_models, BLOCKS), the same noise for all models.

        `points` are all of one size; what is over when they are dealt out is left aside, and few points make fewer blocks. `method` stands
        in for the one that the models were trained with: with other weights of its terms, say.
        """
        judge = method or self.method
        data = torch.stack([self._columns(p) for p in points])
        n_models, n_points, n_columns = data.shape
        n_blocks = max(1, min(BLOCKS, n_points // LEAST_BLOCK))
        size = n_points // n_blocks
        blocks = data[:, : n_blocks * size].reshape(n_models, n_blocks, size, n_columns)
        needed = self.numbers_needed(size, judge.objective)
        return self._objectives(blocks, judge.objective, OBJECTIVE_DRAWS, needed).cpu().numpy()

    def _objectives(self, blocks: Tensor, judge: Callable, n_draws: int, needed: tuple[int, int]) -> Tensor:
        """What `judge`, as an objective, says of each model on its own blocks, (n_models, n_blocks, ...), the mean over draws of noise.

        `blocks` (n_models, n_blocks, size, n_columns) are columns of points; `needed` are the numbers that one of them takes.
        """
        n_blocks = blocks.shape[1]
        loss = self._map(
            over_blocks(lambda model, batch, normal, uniform: judge(model, Batch(*batch), Rng(normal, uniform))),
            (0, 0, None, None),
        )
        generator = torch.Generator().manual_seed(0)
        with _left_alone(blocks, "objective"):
            draws = [
                loss(
                    self._state,
                    self._batch(blocks),
                    torch.randn(n_blocks, needed[0], generator=generator).to(self.device),
                    torch.rand(n_blocks, needed[1], generator=generator).to(self.device),
                )
                for _ in range(n_draws)
            ]
        return torch.stack(draws).mean(0)

    @torch.no_grad()
    def encode(self, points: Sequence[Split]) -> np.ndarray:
        """Estimated latents (n_models, n_samples, n_estimated) of each model's own `points`, which are repeated to one size.

        Raises BrokenContract for an `encode` that gives another shape or writes to its data.
        """
        n_samples = max(len(p.x) for p in points)
        columns = [self._columns(p) for p in points]
        filled = [c.repeat(math.ceil(n_samples / len(c)), 1)[:n_samples] for c in columns]
        data = torch.stack(filled)
        x, u, _ = self._batch(data)
        with _left_alone(data, "encode"):
            encoded = self._map(self.method.encode)(self._state, x, u)
        if encoded.dim() != 3 or encoded.shape[1] != n_samples or not encoded.shape[2]:
            raise BrokenContract(
                f"encode gives shape {tuple(encoded.shape[1:])} for {n_samples} points, and must give (n_points, n_estimated)"
            )
        return encoded.cpu().numpy()

    @torch.no_grad()
    def decode(self, z: np.ndarray) -> np.ndarray | None:
        """Reconstructions (n_models, n_samples, n_observed) from `z` (n_models, n_samples, n_estimated), if the method has them."""
        if not self.method.has_decoder:
            return None
        latents = torch.tensor(z, device=self.device)
        with _left_alone(latents, "decode"):
            return self._map(self.method.decode)(self._state, latents).cpu().numpy()

    def decoder(self, position: int) -> Callable[[np.ndarray], np.ndarray]:
        """What maps estimates (n_samples, n_estimated) of one model to x (n_samples, n_observed), in the method's own decoder."""
        model = self.model(position)

        @torch.no_grad()
        def decode(z: np.ndarray) -> np.ndarray:
            found = self.method.decode(model, torch.as_tensor(z, device=next(model.parameters()).device))
            assert found is not None, "asked only of a method with a decoder"
            return found.cpu().numpy()

        return decode

    def maker(self, position: int) -> Callable[[np.ndarray], np.ndarray]:
        """What makes new points (n, n_observed) of one model for domains (n,), by a method that makes some; the same ones in every call."""
        model = copy.deepcopy(self.model(position)).cpu()

        @torch.no_grad()
        def make(domains: np.ndarray) -> np.ndarray:
            u = one_hot(torch.as_tensor(domains), self.shape.n_domains).to(torch.float32)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                found = self.method.draw(model, u, CountingRng())
            assert found is not None, "asked only of a method that makes points"
            return found.numpy()

        return make

    @torch.no_grad()
    def jacobian_strength(self, z: np.ndarray) -> np.ndarray | None:
        """E |dx_k/dz_i| * std(z_i) of each model's decoder, (n_models, n_observed, n_estimated), if the method has one.

        At `z` (n_models, n_samples, n_estimated); x has unit variance.
        """
        if not self.method.has_decoder:
            return None
        decode: Callable = self.method.decode
        strength = self._map(lambda model, z: jacobian_strength_exact(functools.partial(decode, model), z))
        return strength(self._state, torch.as_tensor(z).to(self.device)).cpu().numpy()

    def _map(self, function: Callable, in_dims: tuple = (0, 0, 0, 0)) -> Callable:
        """`function(model, *args)` over the stack: called with the stacked state and stacked arguments."""

        def one(state: dict[str, Tensor], *args):
            return self._holder.call(state, function, *args)

        return lambda state, *args: vmap(one, in_dims=in_dims[: 1 + len(args)])(state, *args)

    def _new_optimiser(self) -> torch.optim.Adam:
        """One for the weights as they are, which become views of `_flat`: by learning rate, names and a tensor (n_models, .) of all weights.

        So Adam and the clipping of gradients are few operations, however many layers a model has.
        """
        on_gpu = self.device.type == "cuda"
        # On a GPU the whole step is replayed, on a CPU the part before the optimiser.
        self._advance: Callable = Replayed(self._minimise) if on_gpu else self._minimise
        self._slopes: Callable = self._losses_and_gradients if on_gpu else Recorded(self._losses_and_gradients)
        rates = self.method.rates_on(self.shape)
        factors = {name: rates.get(name.split(".")[0], 1.0) for name in self._trainable}
        self._flat: list[tuple[list[str], Tensor]] = []
        groups = []
        for factor in sorted(set(factors.values())):
            names = [name for name in self._trainable if factors[name] == factor]
            own = [self._state[name].detach() for name in names]
            sizes = [math.prod(value.shape[1:]) for value in own]
            flat = torch.cat([value.reshape(len(value), n) for value, n in zip(own, sizes, strict=True)], dim=1)
            parts = flat.split(sizes, dim=1)
            for name, value, part in zip(names, own, parts, strict=True):
                self._state[name] = part.view(value.shape).detach().requires_grad_()
            self._flat.append((names, flat))
            rate = {"lr": torch.zeros((), device=self.device)} if on_gpu else {}
            groups.append({"params": [flat], "factor": factor} | rate)
        return torch.optim.Adam(groups, betas=self.method.betas, fused=True, capturable=on_gpu)

    def draw(self, needed: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """Columns (models, CHUNK, batch, .) and noise (models, CHUNK, .) of the next steps, each model's from its own generator."""
        indices, normals, uniforms = [], [], []
        for job, generator in zip(self.alive, self._generators, strict=True):
            index = torch.randint(self._sizes[job], (CHUNK, self.method.batch_size), generator=generator)
            indices.append(index + int(self._starts[job]))
            normals.append(torch.randn(CHUNK, needed[0], generator=generator))
            uniforms.append(torch.rand(CHUNK, needed[1], generator=generator))
        draws = [torch.stack(part) for part in (indices, normals, uniforms)]
        if self.device.type == "cuda":
            draws = [part.pin_memory().to(self.device, non_blocking=True) for part in draws]
        rows = draws[0]
        return self._data.index_select(0, rows.flatten()).reshape(*rows.shape, -1), draws[1], draws[2]

    def _columns(self, points: Split) -> Tensor:
        z = points.z if self.method.sees_latents else points.z[:, :0]
        u = one_hot(torch.as_tensor(points.domains), self.shape.n_domains)
        numbers = [] if points.u is None or not self.shape.n_u else [torch.as_tensor(points.u)]
        parts = [torch.as_tensor(points.x), u, *numbers, torch.as_tensor(z)]
        return torch.cat([part.to(torch.float32) for part in parts], dim=1).to(self.device)

    def _batch(self, columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x, u and z of a Batch, side by side in `columns`."""
        end_of_x = self.shape.n_observed
        end_of_u = end_of_x + self.shape.n_domains + self.shape.n_u
        return columns[..., :end_of_x], columns[..., end_of_x:end_of_u], columns[..., end_of_u:]

    def numbers_needed(self, n_samples: int, loss: Callable | None = None) -> tuple[int, int]:
        """How many normal and uniform numbers one loss (by default, the method's) on `n_samples` points takes."""
        rng = CountingRng()
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            n_columns = self._data.shape[1]
            batch = Batch(*self._batch(torch.zeros(n_samples, n_columns)))
            value = (loss or self.method.loss)(self.method.build(self.shape), batch, rng)
        if not isinstance(value, Tensor) or value.dim():
            raise BrokenContract(
                f"the loss must be a scalar tensor, and is {tuple(getattr(value, 'shape', ()))} of {type(value).__name__}"
            )
        return rng.n_normal, rng.n_uniform


def over_blocks(function: Callable) -> Callable:
    """`function(model, batch, *numbers)` over a leading axis of batch and numbers."""
    return lambda model, *arguments: vmap(functools.partial(function, model))(*arguments)


class Replayed:
    """A function of tensors on a GPU that is recorded as a CUDA graph once it has run a few times, and replayed from then on.

    A training step launches hundreds of small kernels, which take longer to launch than to run. What cannot be recorded, since it looks at
    a number on the way, runs as it is.
    """

    WARM_UP = 3  # calls before it is recorded: they fill what is allocated once

    def __init__(self, function: Callable[..., Tensor]):
        self.function, self.n_calls = function, 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, *arguments: Tensor) -> Tensor:
        if self.n_calls == self.WARM_UP:
            self._record(arguments)
        self.n_calls += 1
        if self._graph is None:
            return self.function(*arguments)
        for own, given in zip(self._inputs, arguments, strict=True):
            own.copy_(given)
        self._graph.replay()
        return self._output

    def _record(self, arguments: Sequence[Tensor]) -> None:
        self._inputs = [argument.clone() for argument in arguments]
        graph = torch.cuda.CUDAGraph()
        try:
            torch.cuda.synchronize()
            with torch.cuda.graph(graph):
                self._output = self.function(*self._inputs)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:  # it waits for the GPU
            torch.cuda.synchronize()
        else:
            self._graph = graph


class _Holder:
    """Calls functions of a module with other tensors in place of its parameters and buffers, which have `names`.

    As torch's functional_call, without its checks: at every step they would take longer than half of the arithmetic.
    """

    def __init__(self, model: torch.nn.Module):
        self.model = model
        saved = set(model.state_dict())
        first: dict[int, str] = {}  # a tensor that has several names goes by one
        self._slots: list[tuple[dict[str, Any], str, str]] = []
        for prefix, module in model.named_modules():
            for own in (module._parameters, module._buffers):
                for key, value in own.items():
                    name = f"{prefix}.{key}" if prefix else key
                    if value is not None and name in saved:
                        self._slots.append((own, key, first.setdefault(id(value), name)))
        self.names = list(first.values())

    def call(self, state: Mapping[str, Tensor], function: Callable, *args: Any) -> Any:
        """`function(module, *args)` with the tensors of `state`, by name."""
        before = [own[key] for own, key, _ in self._slots]
        try:
            for own, key, name in self._slots:
                own[key] = state[name]
            return function(self.model, *args)
        finally:
            for (own, key, _), value in zip(self._slots, before, strict=True):
                own[key] = value


def clip(gradients: Sequence[Tensor], max_norm: float) -> list[Tensor]:
    """Scales each model's gradient, over all its parameters, to a norm of at most `max_norm`, in place. The model axis leads."""
    norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
    factors = (max_norm / norms).clamp(max=1.0)
    return [gradient.mul_(factors.reshape(-1, *[1] * (gradient.dim() - 1))) for gradient in gradients]


def one_cycle(progress: float, warm_up: float = 0.1) -> float:
    """Learning rate relative to its peak, by the fraction of steps done: a linear rise, then half a cosine down to 0."""
    if progress < warm_up:
        return progress / warm_up
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


def use_one_thread() -> None:
    """For a process that trains packs: one thread, and no returning of memory to the system between steps.

    Without the second, page faults cost as much as stacking gains (glibc trims and unmaps the freed activations at every step).
    """
    torch.set_num_threads(1)
    # scipy's and numpy's linear algebra, whose rounding depends on the number: what is loaded, and what will be.
    threadpool_limits(1)
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
        libc.mallopt(trim_threshold, 1 << 30)
        libc.mallopt(mmap_threshold, 1 << 30)


def _build(method: TorchMethod, shape: Shape, job: Job) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.init_seed)
        model = method.build(shape)
    x = torch.tensor(job.points.x, dtype=torch.float32)
    with _left_alone(x, "prepare"):
        method.prepare(model, x)
    if job.start is not None:
        adopt: Any = method.adopt  # type: ignore[attr-defined]  # whoever gives a start knows the method
        adopt(model, job.start)
    return model


@contextmanager
def _left_alone(data: Tensor, hook: str) -> Iterator[None]:
    """Raises BrokenContract if `data` is written to. A tensor counts its writes, those to its views and under vmap included."""
    version = data._version
    yield
    if data._version != version:
        raise BrokenContract(f"{hook} writes to the data that it is given")
