"""Where packs run, what each may take and what it gives back: the one thing that travels from the command line to a worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.plan.packs import Pack
from bench.registry import UsageError


@dataclass(frozen=True)
class Placement:
    """`device` and `gpus` are those of a pack of stacked models; an estimator runs on one core of the CPU, whatever they are."""

    device: str = "cpu"  # or "cuda"
    gpus: float = 0.0  # that a pack holds: a fraction, where several share one
    executor: str = "auto"  # "serial", "ray", or "auto": Ray where there are several packs and cores
    address: str | None = None  # of an existing Ray cluster
    time_limit: float | None = None  # seconds that a trial may train
    keep: frozenset[str] = frozenset()  # what is kept of a trial beside its row: kinds of `bench.train.kept`

    def device_of(self, pack: Pack) -> str:
        return self.device if pack.is_stacked else "cpu"

    def gpus_of(self, pack: Pack) -> float:
        return self.gpus if pack.is_stacked else 0.0


def place(
    device: str = "auto",
    gpus: float | None = None,
    executor: str = "auto",
    address: str | None = None,
    time_limit: float | None = None,
    only_plans: bool = False,
) -> Placement:
    """A placement, as it was asked for, on what there is. Raises UsageError where the two do not fit.

    Torch is asked only if a card is in sight, or named: importing it takes seconds. Where `only_plans`, it is not asked at all.
    """
    if executor == "serial" and address:
        raise UsageError("--ray-address has no meaning with --executor serial; leave one of them out")
    device = _device(device, address, only_plans)
    if gpus and device == "cpu":
        raise UsageError("--gpus-per-pack: these packs train on the CPU; name --device cuda, or leave it out")
    usual = 1.0 if device == "cuda" else 0.0
    return Placement(device, usual if gpus is None else gpus, executor, address, time_limit)


def _device(wanted: str, address: str | None, only_plans: bool) -> str:
    in_sight = Path("/dev/nvidia0").exists()
    if wanted == "cuda" and (address or (only_plans and in_sight)):
        return "cuda"  # of a cluster, only its workers can say
    if wanted == "cuda" or (wanted == "auto" and in_sight):
        import torch

        if torch.cuda.is_available():
            return "cuda"
        if wanted == "cuda":
            raise UsageError("--device cuda: torch sees no CUDA device here; use --device cpu")
    return "cpu"
