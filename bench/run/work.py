"""What a run has to do, and what becomes of it: which charts and packs can start, what is kept of them, what is tried again."""

from __future__ import annotations

import dataclasses
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from bench.plan.charts import ChartPack, ChartSpec, charts_of, pack_charts
from bench.plan.packs import Pack
from bench.plan.trials import Trial
from bench.run.placement import Placement
from bench.run.process import Died, Done, Task
from bench.run.progress import Monitor
from bench.run.store import Store
from bench.statuses import FAILURES, OK
from bench.train.reporter import Progress, Rows, State

TRIES = 4  # of a pack whose process something else ended: a machine that is gone, the system that wants memory

Part = Pack | ChartPack


class Work:
    """The charts and packs of a run. Only here is anything written to its store.

    `trials` are all that the run is of, finished or not: which charts train together follows from their order.
    """

    def __init__(self, packs: Sequence[Pack], trials: Iterable[Trial], store: Store, placement: Placement):
        self.store, self.placement = store, placement
        self.charts: dict[str, Mapping[str, np.ndarray]] = {}
        self._tries: Counter[str] = Counter()
        self._failed: set[str] = set()  # packs of estimators some rows of which, so far, failed
        # Finished trials that are trained again for what was not kept of them.
        again = {pack.trials[slot].trial_id for pack in packs for slot in pack.slots}
        self._again = again & store.finished(placement.time_limit)
        needed = {pack.pack_id: charts_of(pack.trials[slot] for slot in pack.slots) for pack in packs}
        specs = {spec.chart_id: spec for own in needed.values() for spec in own}
        missing = {chart_id for chart_id, spec in specs.items() if not self._find(spec)}
        plugins = packs[0].plugins if packs else ()
        # In the order of all trials, so that a run that goes on has the packs that it had: rounding depends on them.
        lacking = [spec for spec in charts_of(trials) if spec.chart_id in missing] if missing else []
        chart_packs = pack_charts(lacking, plugins)
        self.needed = {pack_id: [spec.chart_id for spec in own] for pack_id, own in needed.items()}
        self._lacking = {spec.chart_id for own in chart_packs for spec in own.specs}
        self._blocked: dict[str, tuple[Pack, set[str]]] = {}
        self._waits_for: dict[str, list[str]] = {}
        self._ready: deque[Part] = deque(chart_packs)
        for pack in packs:
            self._queue(pack)
        self.parts: list[Part] = [*chart_packs, *packs]

    def _find(self, spec: ChartSpec) -> bool:
        """Whether a chart is in the store, and can be used."""
        from bench.train.chart import Atlas

        arrays = self.store.chart(spec.chart_id)
        try:
            is_atlas = arrays is not None and bool(Atlas.of_arrays(arrays))
        except Exception:  # a file that holds no chart: it is written anew
            is_atlas = False
        if arrays is not None and is_atlas:
            self.charts[spec.chart_id] = arrays
        return is_atlas

    def _queue(self, pack: Pack) -> None:
        lacking = self._lacking.intersection(self.needed[pack.pack_id])
        if not lacking:
            self._ready.append(pack)
            return
        self._blocked[pack.pack_id] = pack, lacking
        for chart_id in lacking:
            self._waits_for.setdefault(chart_id, []).append(pack.pack_id)

    # --- what is next

    def next(self) -> Part | None:
        """The next part that can start; None where the others wait for charts, or there are none."""
        return self._ready.popleft() if self._ready else None

    def task(self, part: Part) -> Task:
        if isinstance(part, ChartPack):
            return Task(part, self.placement.device)
        charts = {chart_id: self.charts[chart_id] for chart_id in self.needed[part.pack_id] if chart_id in self.charts}
        return Task(part, self.placement.device_of(part), self.placement.time_limit, charts, self.placement.keep)

    def state(self, part: Part) -> dict[str, np.ndarray] | None:
        """What an earlier process, or an earlier command, saved of a part."""
        return self.store.state(part.pack_id) if isinstance(part, Pack) and part.is_stacked else None

    # --- what becomes of it

    def take(self, part: Part, event: Any, monitor: Monitor) -> bool:
        """Keeps what a process says of a part. Says whether the part is over, done or not."""
        if isinstance(event, Progress):
            monitor.progress(part.pack_id, event.part)
        elif isinstance(event, State):
            self.store.write_state(part.pack_id, event.arrays)
        elif isinstance(event, Rows) and isinstance(part, Pack):
            self._keep_rows(part, event.rows, event.latents)
        elif isinstance(event, Done):
            self._done(part, event.result, monitor)
        elif isinstance(event, Died):
            self._died(part, event, monitor)
        return isinstance(event, (Done, Died))

    def _keep_rows(self, pack: Pack, rows: list[dict[str, Any]], latents: Mapping[str, np.ndarray]) -> None:
        """A trial that was finished before keeps its row where training it again came to nothing."""
        if any(row["status"] in FAILURES for row in rows):
            self._failed.add(pack.pack_id)
        done = {row["trial_id"] for row in rows if row["status"] == OK}
        rows = [row for row in rows if row["trial_id"] in done or row["trial_id"] not in self._again]
        self._again -= done
        if rows:
            self.store.add_rows(pack.pack_id, rows, latents)

    def _done(self, part: Part, result: Any, monitor: Monitor) -> None:
        if isinstance(part, ChartPack):
            self._keep_charts(part, result)
            monitor.finish(part.pack_id, None in result)
        elif result.is_too_large:
            self._split(part, monitor)
        else:
            self._keep_rows(part, result.rows, result.latents)
            self._over(part, monitor)

    def _over(self, pack: Pack, monitor: Monitor) -> None:
        self.store.drop_state(pack.pack_id)
        monitor.finish(pack.pack_id, pack.pack_id in self._failed)

    def _keep_charts(self, part: ChartPack, found: Sequence[Mapping[str, np.ndarray] | None]) -> None:
        """A chart that could not be trained is tried again by the trials that start from it, and their rows say why."""
        trained = {spec.chart_id: own for spec, own in zip(part.specs, found, strict=True) if own is not None}
        self.store.write_charts(part.pack_id, trained)
        self.charts |= trained
        for spec in part.specs:
            self._lacking.discard(spec.chart_id)
            for pack_id in self._waits_for.pop(spec.chart_id, []):
                pack, lacking = self._blocked[pack_id]
                lacking.discard(spec.chart_id)
                if not lacking:
                    del self._blocked[pack_id]
                    self._ready.append(pack)

    def _died(self, part: Part, end: Died, monitor: Monitor) -> None:
        from bench.train.outcomes import failure
        from bench.train.rows import without_result

        self._tries[part.pack_id] += 1
        if end.is_passing and self._tries[part.pack_id] < TRIES:
            self.put_back(part, monitor)
        elif isinstance(part, ChartPack):
            self._keep_charts(part, [None] * len(part.specs))
            monitor.finish(part.pack_id, True)
        elif end.is_too_large:
            self._split(part, monitor)
        else:
            device, limit = self.placement.device_of(part), self.placement.time_limit
            self._keep_rows(part, without_result(self._rest(part), failure(end.error), device, limit), {})
            self._over(part, monitor)

    def put_back(self, part: Part, monitor: Monitor) -> None:
        """A part is to be tried again, without what it has finished."""
        monitor.put_back(part.pack_id)
        self._ready.append(self._rest(part) if isinstance(part, Pack) else part)

    def _rest(self, pack: Pack) -> Pack:
        """A pack of estimators without those whose rows were written on the way."""
        if pack.is_stacked:
            return pack
        written = self.store.finished_in(pack.pack_id) - self._again
        own = {trial.trial_id for trial in pack.trials}
        return dataclasses.replace(pack, finished=pack.finished | (written & own))

    def _split(self, pack: Pack, monitor: Monitor) -> None:
        """The halves of a pack that was too large for the memory, in its place."""
        self.store.drop_state(pack.pack_id)
        monitor.remove(pack.pack_id)
        middle = len(pack.trials) // 2
        for own in (pack.trials[:middle], pack.trials[middle:]):
            half = dataclasses.replace(pack, trials=own)
            self.needed[half.pack_id] = [spec.chart_id for spec in charts_of(own)]
            monitor.add(half.pack_id, half.method, half.expected_s)
            self._ready.appendleft(half)


def name_of(part: Part) -> str:
    return "charts" if isinstance(part, ChartPack) else part.method
