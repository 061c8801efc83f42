"""Learning curves: what is looked at while models train changes nothing, and says what a look from outside says."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from bench.report import figures, results
from bench.run.store import Store
from bench.scores import LOOK
from bench.train import engine
from bench.train.engine import Stack
from bench.train.errors import BrokenContract
from bench.train.pack import run_pack
from methods import Batch, TorchMethod, methods
from methods.nets import Rng
from tests.methods.test_vae import Numbers
from tests.packs import pack
from tests.simulated import simulated_run, simulated_trials
from tests.train.test_engine import SHAPE, job, method, points


def watched(seed, **changes):
    return job(seed, watched=points(seed + 50), **changes)


def test_a_look_is_the_objective_on_the_first_validation_points_and_the_mean_loss_of_the_chunk():
    this = method(steps=64)
    stack = Stack(this, SHAPE, [watched(0), watched(1)])
    losses = []
    advance = stack._minimise
    stack._advance = lambda *what: losses.append(advance(*what)) or losses[-1]
    stack.train()
    curve, model, own = stack.curve(1), stack.model(1), points(51)
    assert curve["step"].tolist() == [32, 64]
    np.testing.assert_allclose(curve["loss"], torch.stack(losses)[:, 1].reshape(2, 32).mean(1), rtol=1e-5)
    n, generator = engine.WATCHED, torch.Generator().manual_seed(0)
    needed = stack.numbers_needed(n, this.objective)
    rng = Rng(*(draw(1, k, generator=generator)[0] for draw, k in zip((torch.randn, torch.rand), needed, strict=True)))
    batch = Batch(torch.as_tensor(own.x[:n]), torch.eye(3)[torch.as_tensor(own.domains[:n])], torch.zeros(n, 0))
    with torch.no_grad():
        assert curve["objective"][1] == pytest.approx(float(this.objective(model, batch, rng)), rel=1e-4)


def test_looking_changes_no_bit_of_what_is_trained():
    stacks = [Stack(method(steps=64), SHAPE, [make(0), make(1)]) for make in (watched, job)]
    for stack in stacks:
        stack.train()
    mine, theirs = (stack.state_dict() for stack in stacks)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine if name != "looks")
    assert not len(stacks[1].curve(0)["step"])


def test_a_model_that_leaves_keeps_its_curve_and_a_saved_stack_goes_on_with_it(monkeypatch):
    monkeypatch.setattr(engine, "CHECK", 1)
    poisoned = watched(1, points=dataclasses.replace(points(1), x=np.full((200, 5), np.nan, np.float32)))
    through = Stack(method(steps=96), SHAPE, [watched(0), poisoned])
    through.train(64)
    assert through.alive == [0] and through.curve(1)["step"].tolist() == [32]
    again = Stack(method(steps=96), SHAPE, [watched(0), poisoned])
    again.load_state_dict(through.state_dict())
    for stack in (through, again):
        stack.train()
    for name, values in through.curve(0).items():
        np.testing.assert_array_equal(values, again.curve(0)[name])
    assert through.curve(0)["step"].tolist() == [32, 64, 96]


def test_each_trial_of_a_pack_leaves_the_curve_of_the_restart_that_was_kept(tmp_path):
    own = pack("ivae", n_seeds=2, steps=128, restarts=4, start="random")
    finished = run_pack(own)
    store = Store(tmp_path)
    store.write_pack(own.pack_id, finished.rows, finished.latents)
    for row in finished.rows:
        curve = store.curve(pd.Series(row))
        assert list(curve) == [*LOOK, "reconstruction", "KL"] and curve["step"].tolist() == [32, 64, 96, 128]
        assert np.isfinite(list(curve.values())).all() and curve["objective"][-1] < curve["objective"][0]
        # On the same points, with other noise: the objective of ivae is its loss.
        np.testing.assert_allclose(curve["reconstruction"] + curve["KL"], curve["objective"], atol=0.2)
        assert set(store.latents(pd.Series(row))) >= {"z", "z_hat"} and not any(
            "curve" in name for name in store.latents(pd.Series(row))
        )


def test_curves_of_a_run_are_drawn_and_one_without_has_no_such_figure(tmp_path):
    trials = simulated_trials(domains=(2,), violations=(0.0,), seeds=2)
    simulated_run(tmp_path / "run", trials)
    store = Store(tmp_path / "run")
    own = results.gather([store])
    assert figures.training(own, *results.curves(own), tmp_path) == []
    assert figures.training_terms(own, *results.curves(own), tmp_path) == []
    for pack_id, rows in own.trials.groupby("pack_id"):
        arrays = {
            f"{trial}.curve": np.array([[32, 2.0, 3.0 + seed], [64, 1.0, 1.0 + seed]])
            for trial, seed in zip(rows["trial_id"], rows["seed"], strict=True)
        }
        arrays |= {f"{trial}.curve.sparsity": np.array([np.inf, np.nan]) for trial in rows["trial_id"]}
        arrays |= {
            f"{trial}.curve.KL": np.array([4.0, 2.0]) for trial in rows.loc[rows["method"] == "ivae", "trial_id"]
        }
        store.write_pack(str(pack_id), store.packs()[str(pack_id)][0], store.pack_latents(str(pack_id)) | arrays)
    assert figures.training(own, *results.curves(own), tmp_path)
    drawn = pd.read_csv(tmp_path / "training.csv")
    assert drawn.groupby("step").excess.mean().to_dict() == {32: 2.0, 64: 0.0}
    assert drawn.label.nunique() == trials.method.nunique()
    assert figures.training_terms(own, *results.curves(own), tmp_path)
    drawn = pd.read_csv(tmp_path / "training_terms.csv")
    assert drawn.groupby(["label", "term", "step"])["value"].mean().to_dict() == {
        ("ivae", "KL", 32): 4.0,
        ("ivae", "KL", 64): 2.0,
    }


TERMED = [entry.name for entry in methods if getattr(entry.cls, "terms", TorchMethod.terms) is not TorchMethod.terms]


@pytest.mark.parametrize("name", TERMED)
def test_the_terms_of_a_method_add_up_to_its_loss(name):
    this, shape = methods[name].make({"start": "random"} if "start" in methods[name].fields else {}), SHAPE
    torch.manual_seed(0)
    model = this.build(shape).double()
    for module in model.modules():
        if hasattr(module, "whiten"):
            module.whiten(torch.randn(200, SHAPE.n_observed).double())
    rows = torch.arange(64)
    u = torch.eye(3).double()[rows % 3]
    batch = Batch(torch.randn(64, SHAPE.n_observed).double(), u, torch.zeros(64, 0).double())
    terms, loss = (of(model, batch, Numbers(0)) for of in (this.terms, this.loss))
    torch.testing.assert_close(sum(terms.values()), loss)
    assert len(terms) > 1 and all(not value.dim() for value in terms.values())
    assert list(Stack(this, shape, [watched(0)]).curve(0)) == [*LOOK, *terms]


def test_terms_of_another_loss_are_left_out_and_those_that_are_no_scalars_are_an_error():
    class Other(type(method(steps=64))):
        def loss(self, model, batch, rng):
            return 2 * super().loss(model, batch, rng)

    class Wrong(type(method(steps=64))):
        def terms(self, model, batch, rng):
            return {"KL": batch.x}

    stack = Stack(Other(**dataclasses.asdict(method(steps=32))), SHAPE, [watched(0)])
    stack.train()
    assert list(stack.curve(0)) == list(LOOK)
    with pytest.raises(BrokenContract, match="each of the terms must be a scalar tensor by its own name, unlike 'KL'"):
        Stack(Wrong(**dataclasses.asdict(method(steps=32))), SHAPE, [watched(0)])
