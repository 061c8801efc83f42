import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from bench import scores
from bench.plan import plugins
from bench.plan.profiles import PROFILES, Profile
from bench.train import chart, engine, maps
from datasets import datasets
from methods import methods

long = pytest.mark.skipif(not os.environ.get("LONG_TESTS"), reason="it takes long: LONG_TESTS=1 runs it")
ROOT = Path(__file__).resolve().parent.parent
CHEAP = {
    "chart.N_STARTS": 1,
    "chart.ROUNDS": 1,
    "chart.RACE": (),
    "chart.WIDE_STARTS": 1,
    "maps.N_STEPS": 2,
    "maps.N_STARTS": 2,
}
FULL = {name: getattr({"chart": chart, "maps": maps}[name.split(".")[0]], name.split(".")[1]) for name in CHEAP}


def pytest_addoption(parser):
    parser.addoption("--plugin", action="append", default=[], help="a file whose methods and data sets are tested too")


def pytest_configure(config):
    plugins.load(config.getoption("--plugin"))
    engine.use_one_thread()  # as every process that trains packs: rounding depends on the number


@pytest.fixture(scope="session", autouse=True)
def cheap_charts():
    """Charts of few starts: most tests are of something else. `full_charts` gives what a run has."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CHEAP.items():
            patch.setattr(f"bench.train.{name}", value)
        yield


@pytest.fixture
def full_charts(monkeypatch):
    for name, value in FULL.items():
        monkeypatch.setattr(f"bench.train.{name}", value)


@pytest.fixture(scope="session")
def ray_session():
    import logging

    import ray

    os.environ |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=128 * 2**20,
        logging_level=logging.CRITICAL,
        log_to_driver=False,
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def data_file(tmp_path_factory):
    """A user's file: three domains, two latents, four observed variables, with the truth."""
    rng = np.random.default_rng(0)
    domain = np.repeat([0, 1, 2], 200)
    z = rng.normal(size=(600, 2)) * np.array([1, 2, 3])[domain][:, None] + domain[:, None]
    x = z @ rng.normal(size=(2, 4)) + 0.1 * rng.normal(size=(600, 4))
    path = tmp_path_factory.mktemp("file") / "data.npz"
    np.savez(path, x=x, domain=domain, z=z, support=np.ones((4, 2), bool))
    return path


@pytest.fixture
def without_figures(monkeypatch):
    """No figures are drawn: they take most of the time of a small run, and are no matter of most tests."""
    from bench.report.figures import Drawn

    monkeypatch.setattr("bench.report.figures.draw_all", lambda *_, **__: Drawn([], []))


@pytest.fixture
def notebook(monkeypatch):
    """A function that runs a cell as IPython does, in a main module that has no file; it returns the module."""
    main = types.ModuleType("__main__")
    main.In = [""]
    monkeypatch.setitem(sys.modules, "__main__", main)

    def run(cell):
        main.In.append(cell)
        exec(compile(cell, f"<cell {len(main.In)}>", "exec"), main.__dict__)
        return main

    yield run
    for registry in (methods, datasets, scores):
        registry.drop("__main__")


@pytest.fixture
def tiny(monkeypatch, without_figures):
    """Runs that are as small as they can be, in this process, and that write no figures: what a page or an example says works."""
    for name in PROFILES:
        monkeypatch.setitem(PROFILES, name, Profile(seeds=2, steps=32, batch_size=128, restarts=1))
    monkeypatch.setattr("bench.run.executors.choose", lambda *_: "serial")
