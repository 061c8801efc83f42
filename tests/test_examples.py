"""The examples for clusters: their shell runs against stand-ins for Slurm's commands, and their YAML fits this project."""

import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from bench.cli.options import Parser
from bench.cli.run import add_options

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"

# Each stand-in writes down how it was called. `srun` runs what it is given, once; `python` is no Python but for the texts of the scripts, of
# which the one that waits for the nodes waits until both steps have called `ray`.
STANDS_IN = {
    "sbatch": 'echo "${#*}"\n',
    "scontrol": "printf 'node1\\nnode2\\nnode3\\n'\n",
    "hostname": "echo 10.0.0.1 10.0.0.2\n",
    "srun": 'while [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"\n',
    "ray": 'echo "$$" >> "$CALLS.rays"\nexec sleep 60\n',
    "python": 'case "$1" in\n-c) echo a-token;;\n-) cat > "$CALLS.waits"; until [ "$(wc -l 2>/dev/null < "$CALLS.rays")" = 2 ]; do sleep 0.05; done;;\n*) case "$*" in *" doctor "*) exit "${DOCTOR:-0}";; esac\n'
    """trap 'echo told >> "$CALLS"; exit 7' USR1\nfor i in $(seq 1 "${TENTHS:-1}"); do sleep 0.1; done;;\nesac\n""",
}


@pytest.fixture
def slurm(tmp_path):
    """Calls a script with stand-ins first on the path; gives its process, and a function for what was called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    calls = tmp_path / "calls"
    calls.touch()
    for name, text in STANDS_IN.items():
        path = folder / name
        path.write_text(f'#!/bin/bash\n(printf "%q " {name} "$@"; echo) >> "$CALLS"\n{text}')
        path.chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "RAY"))}
    environment |= {"PATH": f"{folder}:{os.environ['PATH']}", "CALLS": str(calls), "PYTHON": str(folder / "python")}

    def start(script, *words, **more):
        command = ["bash", str(EXAMPLES / script), *words]
        return subprocess.Popen(
            command, env=environment | more | {"PAUSE": "0"}, cwd=tmp_path, stdout=subprocess.PIPE, text=True
        )

    def called(name):
        return [
            words[1:] for line in calls.read_text().splitlines() if (words := shlex.split(line)) and words[0] == name
        ]

    return start, called


@pytest.mark.parametrize("script", ["slurm_array.sh", "slurm_ray.sh"])
def test_a_script_is_one_that_bash_can_read(script):
    subprocess.run(["bash", "-n", EXAMPLES / script], check=True)
    assert os.access(EXAMPLES / script, os.X_OK)


def test_on_the_login_node_the_array_is_submitted_and_then_what_joins_it(slurm):
    start, called = slurm
    process = start("slurm_array.sh", "my run", "--grid", "domains=2,3", SHARDS="3")
    assert process.wait() == 0
    array, merge = called("sbatch")
    assert array == ["--parsable", "--array=1-3", str(EXAMPLES / "slurm_array.sh"), "my run", "--grid", "domains=2,3"]
    assert "--dependency=afterany:6" in merge
    first, last = shlex.split(merge[-1].replace("&&", "\n"))[1:], merge[-1].split(" && ")[1]
    assert first[:3] == ["run_bench.py", "merge", "results/runs/my run.*of3"] and "--out" in first
    assert shlex.split(last)[1:] == ["run_bench.py", "report", "my run"]


def test_a_task_of_the_array_trains_its_shard_of_all_however_many_tasks_were_submitted(slurm):
    start, called = slurm
    task = {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_COUNT": "2", "SHARDS": "16"}
    assert start("slurm_array.sh", "run", "--grid", "domains=2,3", **task).wait() == 0
    words = ["run_bench.py", "--grid", "domains=2,3", "--name", "run", "--executor", "serial", "--shard", "5/16"]
    assert called("python") == [words]


@pytest.mark.parametrize("script", ["slurm_array.sh", "slurm_ray.sh"])
def test_the_signal_reaches_the_main_job_and_its_exit_code_is_that_of_the_script(slurm, script):
    start, called = slurm
    job = {"SLURM_ARRAY_TASK_ID": "1", "SHARDS": "2"} if script == "slurm_array.sh" else JOB
    process = start(script, "run", **job, TENTHS="100")
    until(lambda: any("run_bench.py" in words and "doctor" not in words for words in called("python")))
    time.sleep(0.3)  # until the trap of the stand-in is set
    process.send_signal(signal.SIGUSR1)
    assert process.wait(10) == 7 and called("told") == [[]]


JOB = {
    "SLURM_JOB_ID": "123456",
    "SLURM_JOB_NODELIST": "node[1-3]",
    "SLURM_JOB_NUM_NODES": "3",
    "SLURM_CPUS_PER_TASK": "4",
}


def until(holds):
    for _ in range(100):
        if holds():
            return
        time.sleep(0.05)
    pytest.fail("it never came")


def is_running(pid):
    return Path(f"/proc/{pid}").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def test_a_cluster_starts_with_its_head_and_its_workers_and_ends_with_the_job(slurm, tmp_path):
    start, called = slurm
    assert start("slurm_ray.sh", "--name", "run", **JOB).wait(20) == 0
    address = f"10.0.0.1:{20000 + 123456 % 10000}"
    head, worker = sorted(called("ray"), key=lambda words: "--head" not in words)  # they start side by side
    assert "--head" in head and f"--port={address.split(':')[1]}" in head and "--num-cpus=4" in head
    assert "--head" not in worker and f"--address={address}" in worker and "--num-cpus=4" in worker
    steps = sorted((w for w in called("srun") if "start" in w), key=lambda words: "--head" not in words)
    assert "--nodelist=node1" in steps[0] and {"--nodes=2", "--ntasks=2", "--exclude=node1"} <= set(steps[1])
    doctor, main = (words for words in called("python") if words[0] == "run_bench.py")
    assert doctor == ["run_bench.py", "doctor", "--ray-address", address]
    assert main == ["run_bench.py", "--name", "run", "--ray-address", address, "--time-budget", "3h"]
    rays = (tmp_path / "calls.rays").read_text().split()
    until(lambda: not any(map(is_running, rays)))
    assert len(rays) == 2
    compile((tmp_path / "calls.waits").read_text(), "what waits for the nodes", "exec")


def test_a_trouble_that_the_doctor_finds_ends_the_job_before_it_trains(slurm, tmp_path):
    start, called = slurm
    assert start("slurm_ray.sh", **JOB, DOCTOR="1").wait(20) == 1
    assert [words[1] for words in called("python") if words[0] == "run_bench.py"] == ["doctor"]
    rays = (tmp_path / "calls.rays").read_text().split()
    until(lambda: not any(map(is_running, rays)))


def test_no_path_of_a_socket_is_too_long_in_the_folder_that_the_script_names():
    (folder,) = re.findall(r"^RAY_TMPDIR=(.+)\$SLURM_JOB_ID$", (EXAMPLES / "slurm_ray.sh").read_text(), re.M)
    assert len(f"{folder}{2**31}/ray/session_2026-11-27_17-55-23_893440_4194304/sockets/plasma_store") <= 107


# --- Kubernetes


def documents():
    return list(yaml.safe_load_all((EXAMPLES / "kuberay_job.yaml").read_text()))


def test_the_ray_job_has_the_versions_of_constraints_and_every_volume_that_it_mounts():
    job, claim = documents()
    assert (job["apiVersion"], job["kind"], claim["kind"]) == ("ray.io/v1", "RayJob", "PersistentVolumeClaim")
    (version,) = re.findall(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.M)
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == version and cluster["authOptions"] == {"mode": "token"}
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    pods = [group["template"]["spec"] for group in groups]
    for pod in pods:
        (container,) = pod["containers"]
        assert container["image"].endswith(f":{version}")
        assert container["resources"]["requests"] == container["resources"]["limits"]
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        assert {mount["name"] for mount in container.get("volumeMounts", [])} == volumes
    (volume,) = pods[0]["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert all(isinstance(value, str) for group in groups for value in group["rayStartParams"].values())


def test_the_time_budget_of_the_ray_job_ends_before_the_job_does():
    spec = documents()[0]["spec"]
    (hours,) = re.findall(r"--time-budget (\d+)h", spec["entrypoint"])
    assert int(hours) * 3600 + 1800 <= spec["activeDeadlineSeconds"]


def commands():
    """The lines of the examples that call the main job, each from there on."""
    texts = [documents()[0]["spec"]["entrypoint"], *(path.read_text() for path in EXAMPLES.glob("*.sh"))]
    return [found for text in texts for found in re.findall(r"run_bench\.py ([^\n&|]*)", text)]


def test_every_option_that_the_examples_give_the_main_job_exists():
    parser = Parser()
    add_options(parser)
    known = set(parser._option_string_actions)
    options = {word for command in commands() for word in re.findall(r"(?<!\S)--[a-z][a-z-]+", command)}
    assert {"--shard", "--ray-address", "--executor"} <= options <= known
