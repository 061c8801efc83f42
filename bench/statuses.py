"""What can become of a trial: one table, from which rows, progress, resuming and reports take what they need."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Status:
    """`is_failure`: something went wrong, and the leaderboard counts it. `runs_again`: the same command trains the trial again."""

    name: str
    meaning: str
    is_failure: bool = True
    runs_again: bool = False


OK = "ok"
DIVERGED = "diverged"
FAILED = "failed"
NOT_APPLICABLE = "not-applicable"
TIMED_OUT = "timed-out"
CRASHED = "crashed"
# Of a configuration in a hyper-parameter search, which compares configurations before their training ends:
STOPPED = "stopped"
CUT = "cut"

STATUSES = {
    status.name: status
    for status in (
        Status(OK, "It was trained and scored.", is_failure=False),
        Status(DIVERGED, "Weights, loss or encoding became NaN or infinite."),
        Status(FAILED, "The method raised an error or broke its contract."),
        Status(NOT_APPLICABLE, "The method has no meaning on these data.", is_failure=False),
        # Tried again under a higher limit only, which `Store.finished` knows.
        Status(TIMED_OUT, "It had trained longer than --time-limit allows."),
        Status(CRASHED, "Its process died or ran out of memory, or its source was edited meanwhile.", runs_again=True),
        Status(STOPPED, "Others were better at a rung of the search.", is_failure=False),
        Status(CUT, "The budget of the search was spent.", is_failure=False),
    )
}
FAILURES = frozenset(status.name for status in STATUSES.values() if status.is_failure)
