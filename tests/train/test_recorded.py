"""A recorded function gives what the function gives; one that cannot be recorded runs as it is."""

import pytest
import torch
from torch.func import vmap

from bench.train.engine import Job, Stack
from bench.train.recorded import Recorded
from datasets import datasets
from methods import Shape, methods


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(Recorded, "WARM_UP", 2)


def called(function, n=6):
    torch.manual_seed(0)
    recorded = Recorded(function)
    pairs = []
    for _ in range(n):
        x, weight = torch.randn(3, 4), torch.randn(3, 4, requires_grad=True)
        pairs.append((recorded(x, weight), function(x, weight)))
    return recorded, pairs


def gradients(x, weight):
    values = vmap(lambda x, w: (torch.tanh(x * w).cumsum(0).mul_(2.0) + torch.arange(4)).sum())(x, weight)
    return [values.detach(), *torch.autograd.grad(values.sum(), [weight])]


def test_a_recording_of_vmap_and_gradients_gives_their_bits():
    recorded, pairs = called(gradients)
    assert recorded._recording is not None
    assert all(torch.equal(*both) for found, expected in pairs for both in zip(found, expected, strict=True))


def test_a_function_is_not_called_any_more_once_its_recording_has_been_checked():
    calls = []
    called(lambda x, weight: [calls.append(1), x * 2][1:], n=6)
    assert len(calls) == 3 + 6  # two before it is recorded, one to check; those of the test itself


def test_a_function_that_looks_at_a_number_runs_as_it_is():
    recorded, pairs = called(lambda x, weight: [x * 2 if x.sum() > 0 else x * 3])
    assert recorded._recording is None
    assert all(torch.equal(found[0], expected[0]) for found, expected in pairs)


def test_a_function_of_more_than_its_arguments_runs_as_it_is():
    state = []

    def function(x, weight):
        state.append(1)
        return [x * len(state)]

    recorded = Recorded(function)
    found = [recorded(torch.ones(1), torch.ones(1))[0].item() for _ in range(6)]
    assert found == [1, 2, 3, 4, 5, 6] and recorded._recording is None


def test_what_a_function_raises_while_it_is_recorded_is_raised():
    def function(x, weight):
        raise ValueError("no")

    recorded = Recorded(function)
    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            recorded(torch.ones(1), torch.ones(1))


@pytest.mark.parametrize("name", ["synergy-vae", "synergy-gan", "flow", "sparse-dependent-vae"])
def test_steps_that_are_recorded_train_to_the_same_bits(name, monkeypatch):
    dataset = datasets["sparse-mixing"].make({"n_samples": 400})
    points = dataset.generate(0).train

    def trained(warm_up):
        monkeypatch.setattr(Recorded, "WARM_UP", warm_up)
        method = methods[name].make({"steps": 10, "width": 8, "batch_size": 16})
        stack = Stack(method, Shape(*dataset.shape), [Job(points, seed, seed) for seed in range(2)])
        stack.train()
        return stack

    recorded, plain = trained(2), trained(10**9)
    assert recorded._slopes._recording is not None and plain._slopes._recording is None
    mine, theirs = recorded.state_dict(), plain.state_dict()
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs)
