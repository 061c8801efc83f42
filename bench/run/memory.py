"""How much memory this process may still take."""

from __future__ import annotations

from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")  # where a container or a batch system says how much of the machine is its own


def available_memory(cgroup: Path = CGROUP) -> int:
    """Bytes that are free on this machine, and in the control group that this process is in, if it has a limit."""
    free = psutil.virtual_memory().available
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            free = min(free, int((cgroup / limit).read_text()) - int((cgroup / used).read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return max(free, 0)
