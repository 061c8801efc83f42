"""A cluster of several hosts, made of namespaces: all rows arrive, whatever becomes of a host.

The other hosts have neither the project, nor the folder of results, nor the user's files. They take minutes, and run only where the
environment has LONG_TESTS=1.
"""

import time

import numpy as np
import pandas as pd
import pytest

from bench import cli
from bench.plan import plugins
from bench.run.store import Store
from tests import hosts
from tests.conftest import FULL, long
from tests.plan.test_plugins import METHOD

TIMING = ["train_s", "score_s", "chart_s", "finished_at"]
WORDS = ["--plugin", "mine.py", "--dataset", "file", "--set", "file.path=data.npz", "--seeds", "2",
         "--grid", "steps=3000", "--start", "random", "--methods", "ivae,vae,flow-vae,sparse-vae,projection", "--device", "cpu"]  # fmt: skip

pytestmark = [
    pytest.mark.skipif(bool(hosts.reason_not_to()), reason=hosts.reason_not_to() or "it can"),
    pytest.mark.xdist_group("hosts"),
    long,
]


def rows(folder, name):
    table = Store(folder / "results" / "runs" / name).table()
    table = table[sorted(table)]  # columns come in the order of the first rows
    return table.sort_values("trial_id").drop(columns=TIMING).reset_index(drop=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the user works: a plug-in, a file of data, and a run on this machine alone."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "mine.py").write_text(METHOD)
    rng = np.random.default_rng(0)
    domain = np.repeat([0, 1, 2], 200)
    z = rng.normal(size=(600, 2)) * np.array([1, 2, 3])[domain][:, None]
    np.savez(folder / "data.npz", x=z @ rng.normal(size=(2, 4)) + 0.1 * rng.normal(size=(600, 4)), domain=domain, z=z)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in FULL.items():  # as other processes have them
            patch.setattr(f"bench.train.{name}", value)
        patch.setattr("bench.report.write.write", lambda *_, **__: None)
        patch.chdir(folder)
        assert cli.main([*WORDS, "--executor", "serial", "--name", "alone"]) == 0
    plugins.unload([str(folder / "mine.py")])
    return folder


@pytest.fixture
def cluster(folder):
    found = hosts.Hosts(folder)
    try:
        yield found
    finally:
        found.end()


def wait_until_it_trains(cluster, host, process, log, seconds=180):
    until = time.monotonic() + seconds
    while not cluster.trains(host):
        assert process.poll() is None and time.monotonic() < until, log.read_text()
        time.sleep(0.2)
    time.sleep(2)


@pytest.mark.parametrize(
    "scenario",
    ["killed", "cut for 45 s", "cut for ever"],
)
def test_a_host_that_is_lost_costs_no_row_and_one_that_joins_is_used(scenario, cluster, folder, tmp_path):
    second = cluster.add()
    cluster.wait_for(2)
    log, name = tmp_path / "log", scenario.replace(" ", "-")
    process = cluster.start(*WORDS, "--ray-address", f"10.77.0.1:{hosts.PORT}", "--name", name, log=log)
    wait_until_it_trains(cluster, second, process, log)
    if scenario == "killed":
        cluster.kill(second)
    else:
        cluster.cut(second)
    third = cluster.add()
    if scenario == "cut for 45 s":
        time.sleep(45)
        cluster.mend(second)
    is_used, until = False, time.monotonic() + 600
    while process.poll() is None and time.monotonic() < until:
        is_used = is_used or cluster.trains(third)
        time.sleep(0.2)
    assert process.poll() == 0, log.read_text()
    pd.testing.assert_frame_equal(rows(folder, name), rows(folder, "alone"), check_exact=True, check_dtype=False)
    assert is_used, log.read_text()
