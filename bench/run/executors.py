"""Runs packs, one after the other in this process or as tasks on Ray, and writes each to the store as it finishes.

A task trains a chart, or gets a pack with its charts and gives back its rows and small arrays; this process alone writes.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.plan.charts import ChartPack, ChartSpec, charts_of, pack_charts
from bench.plan.packs import Pack
from bench.registry import UsageError
from bench.run.placement import Placement
from bench.run.progress import Monitor
from bench.run.store import Store
from bench.statuses import FAILURES
from bench.train.chart import Atlas
from bench.train.pack import Finished, run_pack

ROOT = Path(__file__).resolve().parents[2]
PENDING_PER_CORE = 2  # tasks that wait or run: enough to keep every core busy
SECONDS_BETWEEN_LOOKS = 0.5
UNIT = "charts and packs"


def choose(placement: Placement, packs: Sequence[Pack]) -> str:
    """The executor for `packs`, "serial" or "ray"."""
    if placement.executor != "auto":
        return placement.executor
    several = len(packs) > 1 and (os.cpu_count() or 1) > 1
    return "ray" if placement.address or several else "serial"


def run(packs: Sequence[Pack], store: Store, placement: Placement, console: Console) -> None:
    """Runs `packs`, after the charts that they start from. Every one that finishes is in `store`, whatever stops the others."""
    specs = charts_of(packs)
    charts = {spec.chart_id: kept for spec in specs if (kept := _kept_chart(spec, store)) is not None}
    missing = pack_charts(spec for spec in specs if spec.chart_id not in charts)
    work = _Work(store, placement, packs, missing, charts)
    if choose(placement, packs) == "serial":
        _run_serial(work, console)
    else:
        _run_ray(work, console)


def _kept_chart(spec: ChartSpec, store: Store) -> Atlas | None:
    arrays = store.chart(spec.chart_id)
    try:
        return None if arrays is None else Atlas.of_arrays(arrays)
    except Exception:  # a file that is no chart: it is written anew
        return None


@dataclass
class _Work:
    """What is to do, and what is known: a pack is ready once its charts are, or could not be trained (then it trains them, and says why)."""

    store: Store
    placement: Placement
    packs: Sequence[Pack]
    missing: Sequence[ChartPack]
    charts: dict[str, Atlas]

    def __post_init__(self):
        self.lacking = {spec.chart_id for pack in self.missing for spec in pack.specs}
        self.needed = {pack.pack_id: {spec.chart_id for spec in charts_of([pack])} for pack in self.packs}

    @property
    def expected(self) -> list[float]:
        return [*(pack.expected_s for pack in self.missing), *(pack.expected_s for pack in self.packs)]

    def is_ready(self, part: ChartPack | Pack) -> bool:
        return isinstance(part, ChartPack) or not self.needed[part.pack_id] & self.lacking

    def charts_for(self, pack: Pack) -> dict[str, Atlas]:
        return {chart_id: self.charts[chart_id] for chart_id in self.needed[pack.pack_id] & self.charts.keys()}

    def keep_charts(self, pack: ChartPack, charts: Sequence[Atlas | None]) -> bool:
        """Writes the charts that could be trained; says whether all could."""
        for spec, chart in zip(pack.specs, charts, strict=True):
            self.lacking.discard(spec.chart_id)
            if chart is not None:
                self.charts[spec.chart_id] = chart
                self.store.write_chart(spec.chart_id, chart.arrays())
        return None not in charts

    def keep(self, pack: Pack, finished: Finished) -> bool:
        """Writes the rows and latents of a pack; says whether nothing went wrong."""
        self.store.write_pack(pack.pack_id, finished.rows, finished.latents)
        return not any(row["status"] in FAILURES for row in finished.rows)


def _run_serial(work: _Work, console: Console) -> None:
    with Monitor(work.expected, console, workers=1, unit=UNIT) as monitor:
        for charts in work.missing:
            monitor.started()
            is_well = work.keep_charts(charts, _train_charts(charts, work.placement))
            monitor.finished(charts.expected_s, not is_well)
        for pack in work.packs:
            monitor.started()
            is_well = work.keep(pack, _train(pack, work.placement, work.charts_for(pack)))
            monitor.finished(pack.expected_s, not is_well)


def _train(pack: Pack, placement: Placement, charts: Mapping[str, Atlas]) -> Finished:
    from bench.train import engine

    engine.use_one_thread()
    return run_pack(pack, placement.device_of(pack), placement.time_limit, charts)


def _train_charts(pack: ChartPack, placement: Placement) -> list[Atlas | None]:
    """None for one that cannot be trained: the trials that start from it try it again, and their rows say why."""
    from bench.train import chart, engine

    engine.use_one_thread()
    return [found if isinstance(found, Atlas) else None for found in chart.train(pack.specs, placement.device)]


def _run_ray(work: _Work, console: Console) -> None:
    placement = work.placement
    with ray_session(placement) as cores:
        import ray

        waiting: list[Any] = [*work.missing, *work.packs]
        workers = max(1, min(len(waiting), cores))
        # By the share of a GPU: said to `ray.remote` itself, Ray ends the worker after its task, which else keeps its first GPU.
        shares = {placement.gpus_of(pack) for pack in work.packs}
        trains: dict[float, Any] = {
            gpus: ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(_train) for gpus in shares
        }
        train_charts: Any = ray.remote(num_cpus=1, num_gpus=placement.gpus, max_retries=0)(_train_charts)
        pending: dict[Any, Any] = {}
        with Monitor(work.expected, console, workers, unit=UNIT) as monitor:
            while waiting or pending:
                ready = [part for part in waiting if work.is_ready(part)][: PENDING_PER_CORE * workers - len(pending)]
                for part in ready:
                    waiting.remove(part)
                    if isinstance(part, ChartPack):
                        reference = train_charts.remote(part, placement)
                    else:
                        reference = trains[placement.gpus_of(part)].remote(part, placement, work.charts_for(part))
                    pending[reference] = part
                monitor.running = min(len(pending), workers)
                done, _ = ray.wait(list(pending), timeout=SECONDS_BETWEEN_LOOKS)
                for reference in done:
                    part = pending.pop(reference)
                    result = _result(reference, part, placement)
                    is_well = work.keep_charts(part, result) if isinstance(part, ChartPack) else work.keep(part, result)
                    monitor.finished(part.expected_s, not is_well)
                monitor.update()


def _result(reference, part: ChartPack | Pack, placement: Placement) -> Any:
    """What a task gave; where its process died, no charts, and of a pack rows that say so, which the next run tries again."""
    import ray

    from bench.train.rows import crashed

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        reason = str(error).strip().splitlines()[-1]
    except ray.exceptions.RayError:
        reason = "the worker process died (out of memory, or killed)"
    if isinstance(part, ChartPack):
        return [None] * len(part.specs)
    return Finished(crashed(part, reason, placement.device_of(part)), {})


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
