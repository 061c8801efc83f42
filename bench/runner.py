"""Places packs: one after the other in this process, or on Ray, one Tune trial per pack; and shows how far they are.

Workers write their rows to the store themselves; nothing but a word of progress travels through Ray.
"""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from bench.store import Store
from bench.trials import Pack, Work, duration, expected_time
from registry import UsageError

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Monitor:
    """Counts packs and says how far the run is: one live line on a terminal, a line now and then elsewhere."""

    packs: Sequence[Work]
    console: Console
    workers: int
    unit: str = "packs"
    running: int = 0
    done: int = 0
    failed: int = 0
    _left: list[Work] = field(init=False)
    _started: float = field(default_factory=time.monotonic)
    _last_finish: float = field(default_factory=time.monotonic)
    _pace: float = 1.0  # seconds per expected second, from the packs that finished
    _last_line: float = float("-inf")

    def __post_init__(self):
        self._left = list(self.packs)
        self._bar = Progress(
            TextColumn(self.unit),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=self.console,
        )
        self._task = self._bar.add_task("", total=len(self.packs))
        self._live = Live(self._bar, console=self.console, refresh_per_second=2, transient=True)

    def __enter__(self) -> Monitor:
        if self.console.is_terminal:
            self._live.start()
        self.update()
        return self

    def __exit__(self, *_):
        if self.console.is_terminal:
            self._live.stop()
        self.console.print(
            f"{self.unit}: {self.done} done, {self.failed} of them with failed trials, in {duration(self._elapsed)}"
        )

    def started(self) -> None:
        self.running += 1
        self.update()

    def finished(self, pack: Work, statuses: Sequence[str]) -> None:
        if pack not in self._left:
            return
        self.running -= 1
        self.done += 1
        self.failed += any(status in ("failed", "crashed", "diverged", "timed-out") for status in statuses)
        self._left.remove(pack)
        self._last_finish = time.monotonic()
        finished = sum(p.expected_s for p in self.packs) - sum(p.expected_s for p in self._left)
        self._pace = self._elapsed * self.workers / finished
        self.update()

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def update(self) -> None:
        since = time.monotonic() - self._last_finish
        left = max(self._pace * expected_time(self._left, self.workers) - since, 0)
        text = f"{self.running} running, {self.failed} failed, about {duration(left)} left"
        if self.console.is_terminal:
            self._bar.update(self._task, completed=self.done, description=text)
        elif time.monotonic() - self._last_line > 30:
            self.console.print(f"{self.unit}: {self.done} of {len(self.packs)} done, {text}")
            self._last_line = time.monotonic()


def run(
    packs: Sequence[Pack],
    store: Store,
    *,
    executor: str,
    device: str,
    console: Console,
    ray_address: str | None = None,
    gpus_per_pack: float = 0.0,
    time_limit: float | None = None,
) -> None:
    """Runs `packs`, writing each to `store` as it finishes. `executor` is `serial` or `ray`."""
    if executor == "serial":
        _run_serial(packs, store, device, console, time_limit)
    else:
        _run_ray(packs, store, device, console, ray_address, gpus_per_pack, time_limit)


def _run_serial(packs: Sequence[Pack], store: Store, device: str, console: Console, time_limit: float | None) -> None:
    from bench import engine, worker

    engine.use_one_thread()
    with Monitor(packs, console, workers=1) as monitor:
        for pack in packs:
            monitor.started()
            rows = worker.run_pack(pack, store, device, time_limit)
            monitor.finished(pack, [row["status"] for row in rows])


def _knock(address: str) -> None:
    """Raises OSError or ValueError if nothing listens at HOST:PORT: Ray itself takes minutes to say so."""
    if address != "auto":
        host, _, port = address.rpartition("//")[2].rpartition(":")
        socket.create_connection((host, int(port)), timeout=5).close()


@contextmanager
def ray_session(address: str | None, gpus_per_pack: float) -> Iterator[int]:
    """Ray on this machine, on the cluster at `address`, or as it runs already; gives the number of its cores."""
    # Read by Ray when it is imported or started, and by the processes that it starts.
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C must stop the run, not end it as if it were complete
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    import ray

    logging.getLogger("ray").setLevel(logging.CRITICAL)  # the progress display and the rows say what there is to say
    mine = not ray.is_initialized()
    if mine and address:
        try:
            _knock(address)
            ray.init(
                address=address,
                runtime_env={"working_dir": str(ROOT), "excludes": ["results", ".git", ".venv"]},
                log_to_driver=False,
                logging_level=logging.CRITICAL,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise UsageError(f"--ray-address {address}: no Ray cluster answers there ({error})") from None
    elif mine:
        ray.init(
            include_dashboard=False,
            object_store_memory=128 * 2**20,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
        )
    try:
        gpus = ray.cluster_resources().get("GPU", 0)
        if gpus_per_pack > gpus:
            raise UsageError(f"a pack asks for {gpus_per_pack:g} GPUs, and Ray has {gpus:g}; see --gpus-per-pack")
        yield int(ray.cluster_resources().get("CPU", 1))
    finally:
        if mine:
            ray.shutdown()


def scratch_folder() -> tempfile.TemporaryDirectory:
    """Where Tune writes what nobody reads: rows go to the store."""
    return tempfile.TemporaryDirectory(prefix="ray-tune-", ignore_cleanup_errors=True)


def _run_ray(
    packs: Sequence[Pack],
    store: Store,
    device: str,
    console: Console,
    address: str | None,
    gpus_per_pack: float,
    time_limit: float | None,
) -> None:
    with ray_session(address, gpus_per_pack) as cores, scratch_folder() as scratch:
        workers = max(1, min(len(packs), cores))
        with Monitor(packs, console, workers) as monitor:
            _tune_packs(packs, store, device, monitor, scratch, gpus_per_pack, time_limit)


def _tune_packs(
    packs: Sequence[Pack],
    store: Store,
    device: str,
    monitor: Monitor,
    scratch: str,
    gpus_per_pack: float,
    time_limit: float | None,
) -> None:
    import ray
    from ray import tune

    folder = str(store.folder.resolve())

    def train(config: dict, packs: Sequence[Pack]) -> None:
        from bench import engine, worker

        engine.use_one_thread()
        rows = worker.run_pack(packs[config["pack"]], Store(folder), device, time_limit)
        tune.report({"statuses": [row["status"] for row in rows]})

    class Watch(tune.Callback):
        def __reduce__(self):
            # Tune saves its callbacks to restore an experiment; ours resumes by the store, and holds a live display.
            return tune.Callback, ()

        def on_trial_start(self, iteration, trials, trial, **info):
            monitor.started()

        def on_trial_result(self, iteration, trials, trial, result, **info):
            monitor.finished(packs[trial.config["pack"]], result["statuses"])

        def on_trial_error(self, iteration, trials, trial, **info):
            from bench import worker

            pack = packs[trial.config["pack"]]
            if {t.trial_id for t in pack.trials} <= store.finished(time_limit):
                return  # the process died after it had written its rows
            path = trial.pickled_error_file
            error = ray.cloudpickle.loads(Path(path).read_bytes()) if path else None
            died = error is None or isinstance(error, ray.exceptions.RayActorError)
            reason = "the worker process died (out of memory, or killed)" if died else str(error).splitlines()[-1]
            rows = worker.crashed(pack, reason, device)
            store.write_pack(pack.pack_id, rows, {})
            monitor.finished(pack, ["crashed"])

        def on_step_end(self, iteration, trials, **info):
            monitor.update()

    tune.Tuner(
        tune.with_resources(tune.with_parameters(train, packs=packs), {"cpu": 1, "gpu": gpus_per_pack}),
        param_space={"pack": tune.grid_search(list(range(len(packs))))},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(storage_path=scratch, verbose=0, callbacks=[Watch()]),
    ).fit()
    if monitor.done < len(packs):
        raise KeyboardInterrupt
