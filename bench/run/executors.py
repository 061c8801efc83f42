"""Runs packs, one after the other in this process or as tasks on Ray, and writes each to the store as it finishes.

A task gets a pack and gives back its rows and small arrays; this process alone writes.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.plan.packs import Pack
from bench.registry import UsageError
from bench.run.placement import Placement
from bench.run.progress import Monitor
from bench.run.store import Store
from bench.statuses import FAILURES
from bench.train.pack import Finished, run_pack

ROOT = Path(__file__).resolve().parents[2]
PENDING_PER_CORE = 2  # tasks that wait or run: enough to keep every core busy
SECONDS_BETWEEN_LOOKS = 0.5


def choose(placement: Placement, packs: Sequence[Pack]) -> str:
    """The executor for `packs`, "serial" or "ray"."""
    if placement.executor != "auto":
        return placement.executor
    several = len(packs) > 1 and (os.cpu_count() or 1) > 1
    return "ray" if placement.address or several else "serial"


def run(packs: Sequence[Pack], store: Store, placement: Placement, console: Console) -> None:
    """Runs `packs`. Every one that finishes is in `store`, whatever stops the others."""
    if choose(placement, packs) == "serial":
        _run_serial(packs, store, placement, console)
    else:
        _run_ray(packs, store, placement, console)


def _run_serial(packs: Sequence[Pack], store: Store, placement: Placement, console: Console) -> None:
    with Monitor([pack.expected_s for pack in packs], console, workers=1) as monitor:
        for pack in packs:
            monitor.started()
            _keep(pack, _train(pack, placement), store, monitor)


def _train(pack: Pack, placement: Placement) -> Finished:
    from bench.train import engine

    engine.use_one_thread()
    return run_pack(pack, placement.device_of(pack), placement.time_limit)


def _keep(pack: Pack, finished: Finished, store: Store, monitor: Monitor) -> None:
    store.write_pack(pack.pack_id, finished.rows, finished.latents)
    monitor.finished(pack.expected_s, any(row["status"] in FAILURES for row in finished.rows))


def _run_ray(packs: Sequence[Pack], store: Store, placement: Placement, console: Console) -> None:
    with ray_session(placement) as cores:
        import ray

        workers = max(1, min(len(packs), cores))
        # By the share of a GPU: said to `ray.remote` itself, Ray ends the worker after its task, which else keeps its first GPU.
        shares = {placement.gpus_of(pack) for pack in packs}
        trains = {gpus: ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(_train) for gpus in shares}
        waiting = list(reversed(packs))
        pending: dict[Any, Pack] = {}
        with Monitor([pack.expected_s for pack in packs], console, workers) as monitor:
            while waiting or pending:
                while waiting and len(pending) < PENDING_PER_CORE * workers:
                    pack = waiting.pop()
                    pending[trains[placement.gpus_of(pack)].remote(pack, placement)] = pack
                monitor.running = min(len(pending), workers)
                done, _ = ray.wait(list(pending), timeout=SECONDS_BETWEEN_LOOKS)
                for reference in done:
                    pack = pending.pop(reference)
                    _keep(pack, _result(reference, pack, placement), store, monitor)
                monitor.update()


def _result(reference, pack: Pack, placement: Placement) -> Finished:
    """What a task gave; where its process died, rows that say so, which the next run tries again."""
    import ray

    from bench.train.rows import crashed

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        reason = str(error).strip().splitlines()[-1]
    except ray.exceptions.RayError:
        reason = "the worker process died (out of memory, or killed)"
    return Finished(crashed(pack, reason, placement.device_of(pack)), {})


@contextmanager
def ray_session(placement: Placement) -> Iterator[int]:
    """Ray on this machine, on the cluster at the placement's address, or as it runs already; gives the number of its cores."""
    # Read by Ray when it is imported or started, and by the processes that it starts.
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C must stop a search, not end it as if it were complete
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    import ray

    logging.getLogger("ray").setLevel(logging.CRITICAL)  # the progress display and the rows say what there is to say
    mine = not ray.is_initialized()
    if mine and placement.address:
        try:
            _knock(placement.address)
            ray.init(
                address=placement.address,
                runtime_env={"working_dir": str(ROOT), "excludes": ["results", ".git", ".venv"]},
                log_to_driver=False,
                logging_level=logging.CRITICAL,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise UsageError(f"--ray-address {placement.address}: no Ray cluster answers there ({error})") from None
    elif mine:
        ray.init(
            include_dashboard=False,
            object_store_memory=128 * 2**20,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
        )
    try:
        gpus = ray.cluster_resources().get("GPU", 0)
        if placement.gpus > gpus:
            raise UsageError(f"a pack asks for {placement.gpus:g} GPUs, and Ray has {gpus:g}; see --gpus-per-pack")
        yield int(ray.cluster_resources().get("CPU", 1))
    finally:
        if mine:
            ray.shutdown()


def _knock(address: str) -> None:
    """Raises OSError or ValueError if nothing listens at HOST:PORT: Ray itself takes minutes to say so."""
    if address != "auto":
        host, _, port = address.rpartition("//")[2].rpartition(":")
        socket.create_connection((host, int(port)), timeout=5).close()
