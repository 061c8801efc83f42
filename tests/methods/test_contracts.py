"""What every registered method must keep: a new one is tested by being registered."""

import dataclasses

import numpy as np
import pytest

from bench.plan.packs import Pack
from bench.plan.trials import Trial
from bench.registry import CORNERS
from bench.scores import SCORES
from bench.train.data import standardised
from bench.train.outcomes import KEPT_POINTS, Outcome
from bench.train.pack import run_pack
from datasets import datasets
from methods import DataFacts, TorchMethod, methods
from tests.conftest import long
from tests.packs import SMALL_BUDGET, SMALL_DATA, fields, pack, rows_of

ALWAYS = (
    "mcc_spearman",
    "mcc_pearson",
    "mcc_within",
    "r2_component",
    "r2_block",
    "r2_linear",
)  # of any data with truth
TORCH = [entry.name for entry in methods if issubclass(entry.cls, TorchMethod)]


# One method of each make every time, and whatever a plugin has; the others, whose parts are those of these, with LONG_TESTS=1.
LINEAR = {"pca", "fastica", "factor-analysis", "sparse-dictionary", "joint-diagonalisation"}  # with loadings
EVERY_TIME = {"synergy-vae", "ivae", "synergy-gan", "sparse-dependent-vae", "tcl", "supervised", "pca"}


def often(names):
    """`names` as parameters, of which some are tested on demand."""
    own = [methods[name].cls.__module__.startswith("methods.") for name in names]
    return [
        pytest.param(name, marks=long if is_own and name not in EVERY_TIME else ())
        for name, is_own in zip(names, own, strict=True)
    ]


@pytest.fixture(params=often(methods.names()))
def name(request):
    return request.param


def test_a_method_gives_a_finite_scored_row_per_trial(name):
    planned = pack(name)
    rows, latents, _ = run_pack(planned)
    has_decoder = getattr(methods[name].make({}), "has_decoder", name in LINEAR)
    for slot, row in enumerate(rows):
        assert row["status"] == "ok", row["error"]
        assert row["pack_slot"] == slot and row["method"] == name and row["domains"] == 3
        assert set(SCORES) <= set(row) and set(methods[name].fields) <= set(row)
        assert all(np.isfinite(row[score]) for score in ALWAYS)
        assert all((row[score] is not None) == has_decoder for score in ("support_ap", "support_f1"))
        assert len(row["mcc_per_latent"]) == len(row["promised_both"]) == 4
        assert len(latents[f"{row['trial_id']}.z_hat"]) == len(latents[f"{row['trial_id']}.z"]) == KEPT_POINTS
        assert (row["objective"] is not None) == (name in TORCH)


def test_a_method_gives_the_same_row_again(name):
    first, second = (rows_of(pack(name)) for _ in range(2))
    timing = {"finished_at", "train_s", "score_s"}
    for a, b in zip(first, second, strict=True):
        assert {k: v for k, v in a.items() if k not in timing} == {k: v for k, v in b.items() if k not in timing}


def test_a_methods_seeds_differ(name):
    first, second = rows_of(pack(name))
    assert first["mcc_per_latent"] != second["mcc_per_latent"]


def test_a_method_leaves_its_data_alone_and_sees_no_truth_it_does_not_declare(name, monkeypatch):
    """Its latents come out the same when every true latent, the test set and the support are hidden from it."""

    def estimated(hide):
        instance = datasets["sparse-mixing"].make(SMALL_DATA).generate(np.random.SeedSequence(5))
        if hide:
            splits = {
                name: dataclasses.replace(split, z=np.full_like(split.z, np.nan))
                for name, split in vars(instance).items()
                if name in ("train", "validation", "test")
            }
            instance = dataclasses.replace(instance, **splits, support=np.zeros_like(instance.support))
        before = [split.x.copy() for split in (instance.train, instance.validation, instance.test)]
        seen = []
        for module in ("stacked", "estimators"):
            monkeypatch.setattr(f"bench.train.{module}.standardised", lambda trial: instance)
            monkeypatch.setattr(
                f"bench.train.{module}.scored", lambda i, validation, test, *_: seen.append(test) or Outcome("ok")
            )
        run_pack(pack(name, n_seeds=1))
        after = [split.x for split in (instance.train, instance.validation, instance.test)]
        assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
        return seen

    shown, hidden = estimated(False), estimated(True)
    if methods[name].cls.sees_latents:
        assert methods[name].facts.role == "ceiling"
        assert not hidden
    else:
        assert np.array_equal(shown[0], hidden[0])


@pytest.mark.parametrize("name", often(TORCH))
def test_training_lowers_a_torch_methods_objective(name):
    plain = {"start": "random"} if "start" in methods[name].fields else {}  # a chart would have done the training
    untrained, short = (rows_of(pack(name, steps=steps, **plain)) for steps in (0, 150))
    for before, after in zip(untrained, short, strict=True):
        assert after["objective"] < before["objective"]


@pytest.mark.parametrize("entry", list(methods), ids=lambda entry: entry.name)
def test_a_method_says_what_it_is_and_what_it_assumes(entry):
    facts = entry.facts
    assert facts.summary and facts.source and facts.corner in CORNERS
    assert facts.role in ("method", "floor", "ceiling")
    assert all(field.metadata["help"] for field in entry.fields.values())
    assert entry.make(entry.defaults) == entry.cls()


@pytest.mark.parametrize(
    "data", [DataFacts(6, 3, 4), DataFacts(2, 3, 4), DataFacts(6, 3, 1), DataFacts(6, 3, 4, False)]
)
def test_a_method_says_in_words_why_it_does_not_apply(name, data):
    reason = methods[name].make({}).skip(data)
    assert reason is None or (isinstance(reason, str) and len(reason.split()) > 2)


def test_all_methods_see_the_same_data():
    trials = [pack(name, n_seeds=1).trials[0] for name in methods.names()]
    first, *others = (standardised(trial) for trial in trials)
    assert all(np.array_equal(first.train.x, other.train.x) for other in others)


OF_IMAGES = {
    "synergy-vae",
    "synergy-gan",
    "synergy-flow",
    "supervised",
}  # one of each make, and all that are no torch method


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=long if n in TORCH and n not in OF_IMAGES else ()) for n in methods.names()]
)
def test_a_method_runs_on_images_or_says_why_not(name):
    data = datasets["coloured-digits"].defaults | {"size": 8, "n_samples": 500, "n_latents": 3}
    own = fields(methods[name], SMALL_BUDGET)
    (row,) = run_pack(Pack((Trial("coloured-digits", data, name, own, 0, 0),))).rows
    needs = {"flow": "needs data that are no images", "supervised": "needs the true latents"}
    reason = needs.get("flow" if name.endswith("flow") else name)
    assert row["status"] == ("not-applicable" if reason else "ok"), row["error"]
    assert (reason or "") in (row["error"] or "")
