import dataclasses
import importlib
import sys

import pytest

from bench import trials as module
from bench.trials import MODELS_PER_PACK, Trial, make_packs, model_shape, plan, source_hash
from registry import UsageError


def a_plan(**changes):
    options = {
        "dataset": "sparse-mixing",
        "axes": {"sparse-mixing": {"domains": [2, 3], "violation": [0.0, 0.5]}, "synergy-vae": {"alpha": [0.1, 1.0]}},
        "settings": {"ivae": {"steps": 7}},
        "names": ["ivae", "synergy-vae", "pca"],
        "n_seeds": 2,
        "root_seed": 0,
    }
    return plan(**(options | changes))


def test_a_plan_is_the_product_of_cells_methods_and_seeds():
    trials = a_plan()
    assert len(trials) == 4 * (1 + 2 + 1) * 2
    assert len({trial.trial_id for trial in trials}) == len(trials)
    assert {trial.method_fields["steps"] for trial in trials if trial.method == "ivae"} == {7}


def test_a_cell_that_no_data_set_has_stops_the_plan():
    with pytest.raises(UsageError, match="multiple of 1/n_latents"):
        a_plan(axes={"sparse-mixing": {"violation": [0.0, 0.3]}})


def test_a_trials_id_is_stable_and_moves_with_everything_that_determines_its_result(monkeypatch):
    trial = a_plan()[0]
    assert trial.trial_id == dataclasses.replace(trial).trial_id
    changed = [
        dataclasses.replace(trial, seed=1),
        dataclasses.replace(trial, root_seed=1),
        dataclasses.replace(trial, method="flow-vae"),
        dataclasses.replace(trial, method_fields=trial.method_fields | {"width": 32}),
        dataclasses.replace(trial, dataset_fields=trial.dataset_fields | {"noise": 0.1}),
    ]
    assert len({trial.trial_id, *(t.trial_id for t in changed)}) == len(changed) + 1
    monkeypatch.setattr(module, "ENGINE_VERSION", -1)
    assert dataclasses.replace(trial).trial_id != trial.trial_id


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a class, its base, a helper it imports lazily, and a bystander."""
    folder = tmp_path / "pack_of_tests"
    folder.mkdir()
    files = {
        "__init__": "",
        "base": "class Base: pass",
        "helper": "x = 1",
        "bystander": "x = 1",
        "sibling": "x = 1",
        "inner/__init__": "x = 1",
        "inner/deep": "from .. import cousin\nx = 1",
        "cousin": "x = 1",
        "one": "from pack_of_tests.base import Base\nfrom registry import lazy_module\nfrom . import sibling\n"
        "from .inner.deep import x\nhelper = lazy_module('pack_of_tests.helper')\nclass One(Base): pass",
    }
    (folder / "inner").mkdir()
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith("pack_of_tests")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("file", "moves"),
    [
        ("one", True),
        ("base", True),
        ("helper", True),
        ("sibling", True),
        ("inner/__init__", True),
        ("inner/deep", True),
        ("cousin", True),
        ("bystander", False),
    ],
)
def test_the_source_hash_follows_what_the_class_uses_and_nothing_else(package, file, moves):
    cls = importlib.import_module("pack_of_tests.one").One
    before = source_hash(cls)
    with open(package / f"{file}.py", "a") as handle:
        handle.write("\ny = 2\n")
    source_hash.cache_clear()
    assert (source_hash(cls) != before) == moves


def test_a_methods_hash_does_not_depend_on_what_is_imported():
    import subprocess

    code = "from methods import methods; from bench.trials import source_hash; print(source_hash(methods['ivae'].cls))"
    early = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    import methods.nets
    from methods import methods as registry

    assert methods.nets and source_hash(registry["ivae"].cls) == early


def test_packs_hold_each_trial_once_and_only_trials_of_one_method_and_shape():
    trials = a_plan(n_seeds=11)
    packs = make_packs(trials, "cpu")
    assert sorted(t.trial_id for p in packs for t in p.trials) == sorted(t.trial_id for t in trials)
    for pack in packs:
        first = pack.trials[0]
        assert all(t.method_fields == first.method_fields for t in pack.trials)
        assert len({model_shape(t.make_dataset().shape) for t in pack.trials}) == 1
        assert len(pack.trials) <= MODELS_PER_PACK["cpu"]
    assert any(len({t.dataset_fields["violation"] for t in pack.trials}) == 2 for pack in packs)
    assert any(len({t.dataset_fields["domains"] for t in pack.trials}) == 2 for pack in packs)


def test_models_have_room_for_the_domains_and_only_by_that_do_cells_share_a_shape():
    assert model_shape((8, 4, 2)) == model_shape((8, 4, 10)) == (8, 4, 10)
    assert model_shape((8, 4, 11)) == (8, 4, 20)


def test_restarts_count_in_a_packs_size():
    trials = a_plan(settings={"ivae": {"restarts": 5}}, names=["ivae"], axes={}, n_seeds=10)
    assert [len(pack.trials) * 5 for pack in make_packs(trials, "cpu")] == [30, 30, 30, 10]


def test_what_is_left_after_some_packs_finished_falls_into_the_same_packs():
    trials = a_plan(n_seeds=25, names=["ivae"])
    packs = make_packs(trials, "cpu")
    for done in range(len(packs)):
        finished = {t.trial_id for t in packs[done].trials}
        left = make_packs([t for t in trials if t.trial_id not in finished], "cpu")
        assert {p.pack_id for p in left} == {p.pack_id for p in packs} - {packs[done].pack_id}


def test_seeds_are_independent_streams_and_do_not_collide():
    trial = Trial("sparse-mixing", {}, "ivae", {}, 0, 0)
    seeds = [
        getattr(dataclasses.replace(trial, seed=seed, root_seed=root), kind)(restart)
        for kind in ("init_seed", "noise_seed")
        for seed in range(10)
        for root in range(3)
        for restart in range(4)
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_grid_beyond_the_bound_is_refused_before_it_is_planned():
    with pytest.raises(UsageError, match="at most"):
        a_plan(n_seeds=module.MAX_TRIALS)


def test_the_default_grid_fits_the_number_of_latents_of_each_cell():
    trials = a_plan(axes={"sparse-mixing": {"n_latents": [1, 3, 4]}}, names=["pca"], n_seeds=1)
    cells = {(t.dataset_fields["n_latents"], round(t.dataset_fields["violation"], 3)) for t in trials}
    assert cells == {(1, 0.0), (3, 0.0), (3, 0.333), (4, 0.0), (4, 0.5)}
