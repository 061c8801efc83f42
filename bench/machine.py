"""What of this machine this process may use: cores and memory, by what the system, a container or a batch system allows it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil

CGROUPS, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cores() -> int:
    """Those that this process may use: by its affinity, which Slurm sets, and by the quota of its control group, which Kubernetes sets."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = []
    for words in _limits("cpu", "cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"):
        quota, period = (words + ["", ""])[:2]
        if quota.isdigit() and period.isdigit() and int(period):
            quotas.append(max(1, int(quota) // int(period)))
    return min([allowed, *quotas])


def memory() -> dict[str, int | None]:
    """Bytes: of the machine, free, and the limit of the control group that this process is in; None for what cannot be read."""
    lines = _read(Path("/proc/meminfo")).splitlines()
    info = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines) if rest}
    total = info.get("MemTotal")
    limits = [int(words[0]) for words in _limits("memory", "memory.max", "memory.limit_in_bytes") if words[0].isdigit()]
    real = [limit for limit in limits if total is None or limit < total]  # a limit above what there is is none
    return {"total": total, "free": info.get("MemAvailable"), "limit": min(real, default=None)}


def _limits(controller: str, file: str, *former: str) -> Iterator[list[str]]:
    """The words of the files with a limit on this process, of its control group and all above: of version 2 `file`, of 1 `former` together."""
    for line in _read(OWN_CGROUPS).splitlines():
        _, controllers, group = (line + "::").split(":")[:3]
        if controllers and controller not in controllers.split(","):
            continue
        top, names = (CGROUPS / controller, former) if controllers else (CGROUPS, (file,))
        folder = top / group.lstrip("/")
        for each in (folder, *folder.parents):
            words = " ".join(_read(each / name) for name in names).split()
            if words:
                yield words
            if each == top:
                break


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def free_memory() -> int:
    """Bytes that are free on this machine, and no more than the control group that this process is in allows."""
    return min(psutil.virtual_memory().available, memory()["limit"] or 2**63)
