"""The doctor: what it says of a machine, of folders, and of a cluster that it meets."""

import contextlib
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from bench import cli, machine
from bench.run import doctor
from tests.conftest import long
from tests.run.test_ray_troubles import said

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "0123456789abcdef" * 2


def test_this_machine_is_described_without_a_trouble():
    found = list(doctor.machine())
    assert not [each for each in found if each.is_trouble]
    said = {each.what: each.text for each in found}
    assert said["cores"].startswith(f"{machine.cores()} that this process may use")
    assert " GiB, " in said["memory"] and said["memory"].endswith(" GiB free")
    assert "torch 2" in said["packages"] and len(said["code"].split(",")[0]) == 16


@pytest.mark.parametrize(
    ("groups", "files", "n_cores", "limit"),
    [
        ("0::/pod/own\n", {"pod/cpu.max": "100000 100000", "pod/own/cpu.max": "max 100000", "pod/memory.max": "1024"}, 1, 1024),
        ("0::/\n", {"memory.max": "max"}, None, None),
        ("3:cpu,cpuacct:/a\n4:memory:/a\n", {"cpu/a/cpu.cfs_quota_us": "50000", "cpu/a/cpu.cfs_period_us": "100000",
                                            "memory/memory.limit_in_bytes": "2048"}, 1, 2048),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": str(2**63 - 4096)}, None, None),
        ("", {}, None, None),
    ],
)  # fmt: skip
def test_limits_of_control_groups_count_in_both_versions(monkeypatch, tmp_path, groups, files, n_cores, limit):
    own = tmp_path / "own"
    own.write_text(groups)
    for name, text in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(text + "\n")
    monkeypatch.setattr(machine, "OWN_CGROUPS", own)
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "root")
    usual = len(os.sched_getaffinity(0))
    assert machine.cores() == (usual if n_cores is None else min(usual, n_cores))
    assert machine.memory()["limit"] == limit


def test_a_folder_of_results_that_is_usable_is_left_as_it_was(tmp_path):
    found = doctor.results_folder(tmp_path / "results" / "runs")
    assert not found.is_trouble and "can be written and locked" in found.text
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "runs").mkdir()
    doctor.results_folder(tmp_path / "runs")
    assert list(tmp_path.rglob("*")) == [tmp_path / "runs"]


def test_a_folder_of_results_that_cannot_be_written_or_locked_is_a_trouble(monkeypatch, tmp_path):
    found = doctor.results_folder(Path("/proc/nothing/runs"))
    assert found.is_trouble and "cannot be written" in found.text

    def no_locks(*_):
        raise OSError(38, "Function not implemented")

    with monkeypatch.context() as patch:
        patch.setattr("fcntl.flock", no_locks)
        found = doctor.results_folder(tmp_path)
    assert found.is_trouble and "cannot be locked" in found.text
    monkeypatch.setattr("fcntl.flock", lambda *_: None)
    found = doctor.results_folder(tmp_path)
    assert found.is_trouble and "no working locks" in found.text
    assert list(tmp_path.iterdir()) == []


def test_a_node_that_differs_is_a_trouble_and_how_is_said():
    here = {"versions": {"python": "3.11.7", "torch": "2.9", "numpy": "2.4"}, "code": "a", "memory": machine.memory()}
    assert [each.is_trouble for each in doctor.differences("node", here, here)] == [False]
    there = {"versions": {"python": "3.11.7", "torch": None, "numpy": "2.3"}, "code": "b", "memory": machine.memory()}
    lacks, other, code = doctor.differences("node", there, here)
    assert "lacks torch" in lacks.text and "numpy 2.3 beside 2.4 here" in other.text and "other code" in code.text
    assert lacks.is_trouble and other.is_trouble and code.is_trouble


def test_what_packs_would_use_is_counted():
    nodes = [{"Resources": {"CPU": 4.0}}, {"Resources": {"CPU": 8.0, "GPU": 2.0}}, {"Resources": {"memory": 1.0}}]
    assert doctor.used(nodes).text == "packs would train on 12 cores of 2 nodes, or on 2 GPUs with --device cuda"
    assert doctor.used(nodes[2:]).is_trouble


def test_more_cores_than_this_process_may_use_are_a_trouble():
    """As under Slurm, which gives a job some of a node's cores: Ray counts them all."""
    nodes = [{"NodeManagerHostname": platform.node(), "Resources": {"CPU": 64.0}}]
    (found,) = doctor.crowded(nodes, {"cores": 8})
    assert found.is_trouble and "64 cores on this machine, of which this process may use 8" in found.text
    assert not list(doctor.crowded(nodes, {"cores": 64}))
    assert not list(doctor.crowded([nodes[0] | {"NodeManagerHostname": "another"}], {"cores": 8}))


def test_the_hash_of_the_project_is_that_of_what_executes(monkeypatch, tmp_path):
    for room in ("bench", "methods", "datasets"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "a.py").write_text("x = 1\n")
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    before = doctor.project_hash()
    (tmp_path / "bench" / "a.py").write_text("# a comment\nx = 1\n")
    assert doctor.project_hash() == before
    (tmp_path / "bench" / "a.py").write_text("x = 2\n")
    assert doctor.project_hash() != before


# --- a cluster

PORTS = (
    "port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
)


def free_ports(n):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture(scope="module")
def cluster():
    """A cluster of one core that asks for a token: its address, and an environment in which a run here has that token."""
    with tempfile.TemporaryDirectory(prefix="rd", dir="/tmp") as folder:
        Path(folder, ".ray").mkdir()
        Path(folder, ".ray", "auth_token").write_text(TOKEN)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        environment = kept | {"HOME": folder, "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
        environment |= {"PYTHONPATH": str(ROOT), "RAY_NUM_REDIS_GET_RETRIES": "1"}
        ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        options = [f"--{name}={port}" for name, port in ports.items()]
        words = ["start", "--head", "--block", "--num-cpus=1", f"--temp-dir={folder}/t", *options]
        words += ["--include-dashboard=false", "--object-store-memory=134217728"]
        ray = [sys.executable, "-m", "ray.scripts.scripts"]
        with open(Path(folder, "log"), "w") as log:
            head = subprocess.Popen([*ray, *words], env=environment, stdout=log, stderr=log)
        try:
            for _ in range(300):
                if "Ray runtime started" in Path(folder, "log").read_text():
                    break
                assert head.poll() is None, Path(folder, "log").read_text()
                time.sleep(0.1)
            yield f"127.0.0.1:{ports['port']}", environment
        finally:
            head.terminate()
            head.wait()


@long
@pytest.mark.xdist_group("ray")
def test_a_cluster_that_works_is_described(cluster, tmp_path):
    address, environment = cluster
    words = [sys.executable, "-m", "run_bench", "doctor", "--ray-address", address]
    done = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    out = done.stdout
    assert done.returncode == 0, out + done.stderr
    assert "1 core, 0 GPUs" in out and "node 1             the same versions and code as here" in out
    assert "a task there and back takes" in out and "packs would train on 1 core of 1 node\n" in out
    assert "no trouble was found" in out and list(tmp_path.iterdir()) == []


HERE = f"Ray {version('ray')} on Python {platform.python_version()}"


@pytest.mark.xdist_group("ray")
@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RAY_AUTH_MODE": "disabled"}, "unless RAY_AUTH_MODE is set: copy ~/.ray/auth_token"),
        ({"RAY_AUTH_TOKEN": "f" * 32}, "the token here is not that of the cluster"),
        ({"BEFORE": "ray.__version__ = '2.49.0'"}, f"runs {HERE}, and this is Ray 2.49.0 on"),
    ],
    ids=["no token", "another token", "another version"],
)
def test_a_cluster_that_does_not_take_this_machine_is_a_sentence(cluster, monkeypatch, environment, message):
    address, usual = cluster
    for name, value in usual.items():
        monkeypatch.setenv(name, value)
    assert message in said(CLUSTER=address, **environment)


def test_a_trouble_is_marked_and_the_exit_code_is_1(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/dev/null/home")
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    assert cli.main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith("! folders            Ray cannot keep its token") and "1 trouble," in lines[-1]
