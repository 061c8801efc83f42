"""What can go wrong with a trial, as exceptions; `bench.train.outcomes` gives each its status."""

from __future__ import annotations

import dataclasses

from bench.plan.packs import Pack


class BrokenContract(Exception):
    """A method does what none may: its trial fails, and says so."""


class OutOfTime(Exception):
    """A trial was not done when its time was up."""


class NotApplicable(Exception):
    """The method has no meaning on these data."""


class Diverged(Exception):
    """What the method gives is not finite."""


class SourceChanged(Exception):
    """What would be trained is not what was planned."""


class EndedItsProcess(Exception):
    """The method's own code ended the process that it ran in."""


class LostProcess(Exception):
    """The process was ended from outside, or took more memory than there was."""


def check_source(pack: Pack) -> None:
    """Raises SourceChanged if a file changed between planning and now: the result would be filed under the old code."""
    for trial in pack.trials:
        if dataclasses.replace(trial).trial_id != trial.trial_id:
            raise SourceChanged("its source was edited while the run was going; run the same command again")
