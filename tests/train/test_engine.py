import dataclasses
from typing import ClassVar

import numpy as np
import pytest
import torch

from bench.train import engine
from bench.train.engine import Job, Stack
from datasets import Split, datasets
from methods import Batch, Shape, methods
from methods.nets import Rng

SHAPE = Shape(n_observed=5, n_latents=2, n_domains=3)


def points(seed, n=200):
    rng = np.random.default_rng(seed)
    return Split(
        rng.normal(size=(n, 5)).astype(np.float32), rng.integers(0, 3, n), rng.normal(size=(n, 2)).astype(np.float32)
    )


def job(seed, **changes):
    return dataclasses.replace(Job(points(seed), init_seed=seed, noise_seed=100 + seed), **changes)


def method(name="synergy-vae", **fields):
    return methods[name].make({"steps": 10, "width": 8, "batch_size": 16, **fields})


def trained(jobs, **fields):
    stack = Stack(method(**fields), SHAPE, jobs)
    stack.train()
    return stack


@pytest.mark.parametrize("max_norm", [100.0, 1.0])  # never reached, and at every step
def test_stacked_training_is_a_plain_loop_with_torchs_own_adam(max_norm, monkeypatch):
    """Also that no gradient reaches Adam's fused kernel in another memory order than its parameter."""
    monkeypatch.setattr(methods["synergy-vae"].cls, "max_norm", max_norm)
    seed, this = 3, method(steps=40)
    stack = trained([job(seed), job(4)], steps=40)

    reference = Stack(this, SHAPE, [job(seed)])
    needed = reference.numbers_needed(this.batch_size)
    chunks = [reference.draw(needed) for _ in range(2)]
    rows, normals, uniforms = (torch.cat([draw[0] for draw in draws]) for draws in zip(*chunks, strict=True))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = this.build(SHAPE)
    this.prepare(model, torch.as_tensor(points(seed).x))
    optimiser = torch.optim.Adam(model.parameters(), foreach=False, fused=False)
    for step in range(40):
        optimiser.zero_grad()
        batch = Batch(rows[step][:, :5], rows[step][:, 5:8], rows[step][:, 8:], progress=step / 40)
        this.loss(model, batch, Rng(normals[step], uniforms[step])).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        optimiser.param_groups[0]["lr"] = this.learning_rate * engine.one_cycle(step / 40)
        optimiser.step()
    x, u = torch.as_tensor(points(seed).x), torch.eye(3)[torch.as_tensor(points(seed).domains)]
    expected = this.encode(model, x, u).detach().numpy()
    np.testing.assert_allclose(stack.encode([points(seed), points(4)])[0], expected, atol=2e-3)
    untrained = Stack(this, SHAPE, [job(seed)]).encode([points(seed)])[0]
    assert np.abs(untrained - expected).max() > 0.05


def test_a_models_random_draws_do_not_depend_on_its_pack():
    alone, together = Stack(method(), SHAPE, [job(1)]), Stack(method(), SHAPE, [job(0), job(1), job(2)])
    needed = alone.numbers_needed(16)
    for _ in range(2):
        for mine, theirs in zip(alone.draw(needed), together.draw(needed), strict=True):
            assert torch.equal(mine[0], theirs[1])
    mine, theirs = alone.model(0).state_dict(), together.model(1).state_dict()
    assert mine and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_a_models_result_does_not_depend_on_its_pack_beyond_rounding():
    alone, together = trained([job(1)]), trained([job(0), job(1), job(2)])
    np.testing.assert_allclose(
        alone.encode([points(1)])[0], together.encode([points(i) for i in range(3)])[1], atol=1e-3
    )


def test_the_same_pack_gives_the_same_bits():
    first, second = (trained([job(0), job(1)]).encode([points(0), points(1)]) for _ in range(2))
    assert np.array_equal(first, second)


def test_a_model_that_turns_nan_leaves_its_neighbours_untouched():
    poisoned = job(1, points=dataclasses.replace(points(1), x=np.full((200, 5), np.nan, np.float32)))
    healthy, sick = trained([job(0), job(1), job(2)]), trained([job(0), poisoned, job(2)])
    assert sick.alive == [0, 2]
    expected = healthy.encode([points(0), points(1), points(2)])
    assert np.array_equal(sick.encode([points(0), points(2)]), expected[[0, 2]])


def test_a_diverged_model_leaves_the_stack_while_the_others_train_on(monkeypatch):
    monkeypatch.setattr(engine, "CHECK", 1)
    poisoned = job(1, points=dataclasses.replace(points(1), x=np.full((200, 5), np.nan, np.float32)))
    sizes = []
    draw = Stack.draw
    monkeypatch.setattr(Stack, "draw", lambda self, needed: (sizes.append(len(self.alive)), draw(self, needed))[1])
    sick = trained([job(0), poisoned, job(2)], steps=96)
    assert sizes == [3, 2, 2] and sick.alive == [0, 2]
    healthy = trained([job(0), job(2)], steps=96)
    np.testing.assert_allclose(sick.encode([points(0), points(2)]), healthy.encode([points(0), points(2)]), atol=0.02)


def test_a_stack_whose_models_all_diverge_ends(monkeypatch):
    monkeypatch.setattr(engine, "CHECK", 1)
    poisoned = job(1, points=dataclasses.replace(points(1), x=np.full((200, 5), np.nan, np.float32)))
    assert trained([poisoned, poisoned], steps=96).alive == []


def test_a_stack_that_was_saved_goes_on_bit_for_bit_in_a_new_one(tmp_path):
    """After a model has left, and before any step; the saved copy does not train on with its stack."""
    poisoned = job(1, points=dataclasses.replace(points(1), x=np.full((200, 5), np.nan, np.float32)))
    jobs, this = [job(0), poisoned, job(2)], method(steps=96)
    through, untouched, gone_on, begun = (Stack(this, SHAPE, jobs) for _ in range(4))
    begun.load_state_dict(untouched.state_dict())
    through.train(32)
    through.keep([1, 0])
    torch.save(through.state_dict(), tmp_path / "stack.pt")
    through.train()
    gone_on.load_state_dict(torch.load(tmp_path / "stack.pt"))
    assert gone_on.alive == [2, 0] and len(gone_on.owners) == 2
    gone_on.train()
    mine, theirs = gone_on.state_dict(), through.state_dict()
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
    begun.train()
    expected = Stack(this, SHAPE, jobs)
    expected.train()
    assert begun.alive == [0, 2] == expected.alive
    mine, theirs = begun.state_dict(), expected.state_dict()
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_clipping_looks_at_one_model_at_a_time():
    gradients = [torch.tensor([[3.0, 0.0], [0.3, 0.0]]), torch.tensor([[[4.0]], [[0.4]]])]
    clipped = engine.clip(gradients, max_norm=1.0)
    torch.testing.assert_close(clipped[0], torch.tensor([[0.6, 0.0], [0.3, 0.0]]))
    torch.testing.assert_close(clipped[1], torch.tensor([[[0.8]], [[0.4]]]))


def test_the_objective_is_the_methods_loss_on_the_whole_validation_set():
    stack = Stack(method("ivae"), SHAPE, [job(0), job(1)])
    x, u = torch.as_tensor(points(9).x), torch.eye(3)[torch.as_tensor(points(9).domains)]
    torch.manual_seed(0)
    model = method("ivae").build(SHAPE)
    generator = torch.Generator().manual_seed(1)
    noise = [torch.randn(400, generator=generator) for _ in range(400)]
    losses = [method("ivae").loss(model, Batch(x, u, x[:, :0]), Rng(n, n[:0])).item() for n in noise]
    spread = np.std(losses) / np.sqrt(engine.OBJECTIVE_DRAWS)
    assert abs(stack.objective([points(9), points(9)])[0] - np.mean(losses)) < 4 * spread


def test_the_learning_rate_rises_to_its_peak_and_falls_to_nothing():
    rates = [engine.one_cycle(step / 1000) for step in range(1000)]
    assert rates[0] == 0 and max(rates) == 1 and rates[-1] < 1e-4
    assert np.argmax(rates) == 100


def test_latents_reach_only_a_method_that_declares_to_see_them():
    hidden = Split(points(0).x, points(0).domains, np.full((200, 2), np.nan, np.float32))
    seen = trained([job(0)]).encode([points(0)])
    unseen = trained([job(0, points=hidden)]).encode([hidden])
    assert np.array_equal(seen, unseen)
    assert trained([job(0, points=hidden)], name="supervised").alive == []


def test_a_method_written_for_one_model_with_plain_torch_trains_in_a_stack():
    @dataclasses.dataclass(frozen=True)
    class Plain(type(method("supervised"))):
        role: ClassVar[str] = "method"
        sees_latents: ClassVar[bool] = False

        def build(self, shape):
            model = torch.nn.Module()
            model.encoder = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
            model.decoder = torch.nn.Linear(2, 5)
            model.gain = torch.nn.Parameter(torch.ones(()))  # a scalar
            model.unused = torch.nn.Linear(1, 1)
            return model

        def loss(self, model, batch, rng):
            return torch.nn.functional.mse_loss(model.gain * model.decoder(model.encoder(batch.x)), batch.x)

        def encode(self, model, x, u):
            return model.encoder(x)

    stack = Stack(Plain(steps=200, batch_size=32), SHAPE, [job(0), job(1)])
    before = stack.objective([points(0), points(1)])
    stack.train()
    assert (stack.objective([points(0), points(1)]) < 0.9 * before).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cpu_and_cuda_agree():
    on_cpu = trained([job(0), job(1)]).encode([points(0), points(1)])
    stack = Stack(method(), SHAPE, [job(0), job(1)], "cuda")
    stack.train()
    np.testing.assert_allclose(stack.encode([points(0), points(1)]), on_cpu, atol=1e-2)


def test_objectives_are_those_of_blocks_of_points_each_with_noise_of_its_own(monkeypatch):
    monkeypatch.setattr(engine, "OBJECTIVE_DRAWS", 1)
    judge = method("supervised")
    stack = Stack(judge, SHAPE, [job(0), job(1)])
    own = [points(5, 215), points(6, 215)]
    found = stack.objectives(own)
    assert found.shape == (2, 215 // engine.LEAST_BLOCK)
    size = 215 // found.shape[1]
    for model, split in enumerate(own):
        for block in range(found.shape[1]):
            rows = slice(block * size, (block + 1) * size)
            part = Split(split.x[rows], split.domains[rows], split.z[rows])
            alone = Stack(judge, SHAPE, [job(model)]).objective([part])
            assert found[model, block] == pytest.approx(alone[0], rel=1e-5)
    np.testing.assert_allclose(stack.objective(own), found.mean(axis=1))


def test_a_model_adopts_what_its_job_starts_from():
    seen = []

    class Adopting(type(method("vae"))):
        def adopt(self, model, start):
            seen.append(start)

    Stack(Adopting(width=8, steps=10), SHAPE, [job(0), job(1, start="a start")])
    assert seen == ["a start"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", ["synergy-vae", "ivae", "synergy-gan"])
def test_steps_that_a_gpu_replays_give_the_models_that_single_kernels_and_a_cpu_give(name, monkeypatch):
    dataset = datasets["sparse-mixing"].make({})
    instance = dataset.generate(0)
    method = methods[name].make({"steps": 96})

    recorded = []

    class Noted(engine.Replayed):
        def _record(self, arguments):
            super()._record(arguments)
            recorded.append(self._graph)

    monkeypatch.setattr(engine, "Replayed", Noted)

    def objective(device, warm_up):
        monkeypatch.setattr(engine.Replayed, "WARM_UP", warm_up)
        stack = Stack(method, Shape(*dataset.shape), [Job(instance.train, k, k) for k in range(3)], device)
        stack.train()
        return stack.objective([instance.validation] * 3)

    replayed, single = objective("cuda", 3), objective("cuda", 10**9)
    assert len(recorded) == 1 and recorded[0] is not None
    np.testing.assert_allclose(replayed, single, rtol=1e-4)
    np.testing.assert_allclose(replayed, objective("cpu", 3), rtol=0.02)
