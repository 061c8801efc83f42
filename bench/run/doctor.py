"""What a run would find here: this machine, the folder of results, Ray and its nodes. Trains nothing, and leaves nothing behind."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bench.machine import cores, memory
from bench.plan.identity import code_hash, digest
from bench.registry import UsageError
from bench.run import manifest, ray_troubles
from bench.run.placement import Placement
from bench.run.store import Store
from bench.text import count

ROOT = Path(__file__).resolve().parents[2]
SECONDS_FOR_A_NODE = 60
ROUND_TRIPS = 5
GIB = 2**30


class Finding(NamedTuple):
    """`text` is one line; `is_trouble` where a run would not work, or not as it should."""

    what: str
    text: str
    is_trouble: bool = False


def examine(runs: Path, address: str | None) -> Iterator[Finding]:
    """Everything there is to say, as it is found: Ray, which takes seconds, comes last."""
    yield from machine()
    yield results_folder(runs)
    folders = folders_of_ray(address)
    yield folders
    if not folders.is_trouble:
        yield from of_ray(address)


# --- this machine


def machine() -> Iterator[Finding]:
    facts = node_facts()
    yield Finding("python", f"{platform.python_version()} on {platform.platform()}")
    yield Finding("cores", f"{facts['cores']} that this process may use, of {os.cpu_count()}")
    yield Finding("memory", memory_text(facts["memory"]))
    yield gpus()
    yield from packages(facts["versions"])
    state = manifest.git_state()
    commit = f", commit {state['commit'][:10]}{' with changes' if state['modified'] else ''}" if state["commit"] else ""
    yield Finding("code", f"{facts['code']}{commit}")


def node_facts() -> dict[str, Any]:
    """What is compared between nodes: versions, the hash of this project's code, and what there is to train on."""
    return {
        "versions": manifest.versions(),
        "code": project_hash(),
        "cores": cores(),
        "memory": memory(),
    }


def project_hash() -> str:
    """Hash of all that executes of this project."""
    files = sorted(path for room in ("bench", "methods", "datasets") for path in (ROOT / room).rglob("*.py"))
    return digest([[str(path.relative_to(ROOT)), code_hash(path.read_bytes())] for path in files])


def memory_text(found: dict[str, int | None]) -> str:
    if found["total"] is None:
        return "cannot be read here"
    limit = f", of which its control group allows {found['limit'] / GIB:.1f}" if found["limit"] else ""
    free = f", {found['free'] / GIB:.1f} GiB free" if found["free"] is not None else ""
    return f"{found['total'] / GIB:.1f} GiB{limit}{free}"


def gpus() -> Finding:
    try:
        import torch

        names = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    except Exception as error:  # whatever a driver may do
        return Finding("gpus", f"torch cannot say ({type(error).__name__}: {error})", True)
    return Finding("gpus", ", ".join(names) if names else "torch sees none: packs train on the CPU")


def packages(versions: dict[str, str | None]) -> Iterator[Finding]:
    absent = [name for name, found in versions.items() if not found]
    yield Finding("packages", ", ".join(f"{name} {found}" for name, found in versions.items() if found))
    if absent:
        yield Finding(
            "packages", f"{', '.join(absent)} cannot be found: install what constraints.txt names, here too", True
        )


# --- folders


def results_folder(runs: Path) -> Finding:
    """Whether a run can be written there, and held by one process alone."""
    what, made = "results", [folder for folder in (runs, *runs.parents) if not folder.exists()]
    try:
        runs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=runs) as name:
            store = Store(name)
            with store.lock():
                store.write_text("text", "text")
                if _can_be_locked(Path(name)):
                    text = f"{runs}: two processes can hold the same run, so its disk has no working locks; start one at a time"
                    return Finding(what, text, True)
        free = shutil.disk_usage(runs).free
    except UsageError as error:
        return Finding(what, f"{error}; start from a folder on another disk", True)
    except OSError as error:
        return Finding(what, f"{runs} cannot be written ({error.strerror}); start from another folder", True)
    finally:
        for folder in made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
    return Finding(what, f"{runs} can be written and locked, {free / GIB:.1f} GiB free", free < GIB)


def _can_be_locked(folder: Path) -> bool:
    try:
        with Store(folder).lock():
            return True
    except UsageError:
        return False


def folders_of_ray(address: str | None) -> Finding:
    trouble = ray_troubles.home_trouble(address) or ray_troubles.temporary_trouble(address)
    return Finding("folders", trouble or "HOME and the temporary folder are as Ray needs them", bool(trouble))


# --- Ray


def of_ray(address: str | None) -> Iterator[Finding]:
    """Ray as the main job would have it: at `address`, or started on this machine, and ended again."""
    note = ray_troubles.address_note(address)
    if note:
        yield Finding("ray", note)
    try:
        ray_troubles.prepare(address)
        from bench.run.executors import ray_session  # here: a node that lacks torch must be able to say so

        with ray_session(Placement(executor="ray", address=address)):
            yield from cluster()
    except Exception as error:  # whatever Ray may raise
        plain = str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
        yield Finding("ray", ray_troubles.explain(error, address) or plain.strip().splitlines()[0], True)


def cluster() -> Iterator[Finding]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = node_facts()
    nodes = [node for node in ray.nodes() if node["Alive"]]
    probe: Any = ray.remote(num_cpus=0, max_retries=0)(node_facts)
    asked = [
        probe.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote()
        for node in nodes
    ]
    for number, (node, reference) in enumerate(zip(nodes, asked, strict=True), 1):
        name, has = f"node {number}", node["Resources"]
        where = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        size = f"{count(has.get('CPU', 0), 'core')}, {count(has.get('GPU', 0), 'GPU')}, {has.get('memory', 0) / GIB:.1f} GiB for tasks"
        yield Finding(name, f"{where}: {size}")
        try:
            yield from differences(name, ray.get(reference, timeout=SECONDS_FOR_A_NODE), here)
        except ray.exceptions.GetTimeoutError:
            yield Finding(name, f"it did not answer within {SECONDS_FOR_A_NODE} s: is it overloaded, or cut off?", True)
        except ray.exceptions.RayError as error:
            text = ray_troubles.explain(error) or str(error).strip().splitlines()[-1]
            yield Finding(name, text, True)
    yield Finding("ray", f"a task there and back takes {1000 * round_trip():.1f} ms")
    yield used(nodes)
    yield from crowded(nodes, here)


def differences(name: str, there: dict[str, Any], here: dict[str, Any]) -> Iterator[Finding]:
    """Where a node is not as this machine is: then it would fail, or compute something else."""
    absent = [package for package, found in there["versions"].items() if not found and here["versions"].get(package)]
    if absent:
        yield Finding(name, f"lacks {', '.join(absent)}: install there what constraints.txt names", True)
    other = {k: v for k, v in there["versions"].items() if v and v != here["versions"].get(k)}
    if other:
        pairs = ", ".join(f"{k} {v} beside {here['versions'].get(k) or 'none'} here" for k, v in other.items())
        yield Finding(name, f"has {pairs}: scores may differ in their last digits, or more", True)
    if there["code"] != here["code"]:
        yield Finding(name, "has other code of this project: is another copy in its PYTHONPATH?", True)
    if not absent and not other and there["code"] == here["code"]:
        yield Finding(name, f"the same versions and code as here, {memory_text(there['memory'])}")


def round_trip() -> float:
    """Seconds, the median of several, from a task's submission to its result."""
    import ray

    nothing: Any = ray.remote(num_cpus=1)(lambda: None)
    ray.get(nothing.remote(), timeout=SECONDS_FOR_A_NODE)
    times = []
    for _ in range(ROUND_TRIPS):
        started = time.perf_counter()
        ray.get(nothing.remote(), timeout=SECONDS_FOR_A_NODE)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def crowded(nodes: list[dict[str, Any]], here: dict[str, Any]) -> Iterator[Finding]:
    """Where Ray was started here, it counts the cores of the machine, whatever part of them a batch system gave to this process."""
    own = here["cores"]
    for node in nodes:
        if node["NodeManagerHostname"] == platform.node() and node["Resources"].get("CPU", 0) > own:
            text = f"Ray counts {node['Resources']['CPU']:g} cores on this machine, of which this process may use {own}: start it by "
            yield Finding("ray", f"{text}`ray start --head --num-cpus {own}` and name --ray-address auto", True)


def used(nodes: list[dict[str, Any]]) -> Finding:
    with_cores = [node for node in nodes if node["Resources"].get("CPU", 0) >= 1]
    cores = int(sum(node["Resources"]["CPU"] for node in with_cores))
    n_gpus = sum(node["Resources"].get("GPU", 0) for node in nodes)
    text = f"packs would train on {count(cores, 'core')} of {count(len(with_cores), 'node')}"
    return Finding("ray", text + (f", or on {count(n_gpus, 'GPU')} with --device cuda" if n_gpus else ""), not cores)
