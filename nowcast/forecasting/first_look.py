"""What a watch finds in its folder that no forecast can come from, in words: nothing, files that
cannot be read, or frames that are too old.
"""

import shlex
import textwrap
from collections.abc import Sequence

import numpy as np

from nowcast.data.inputs import Inputs
from nowcast.forecasting.incoming import Incoming

_MINUTE, _HOUR, _DAY = (np.timedelta64(seconds, "s") for seconds in (60, 3600, 86400))
_REASON = 200  # characters of the reason for which a file was not taken; status.json has all of it
_LONG = 48  # hours from which an age is told in days


def age_in_words(span: np.timedelta64) -> str:
    """How old something is: 95 minutes, 30 hours, 12 days."""
    if span < 2 * _HOUR:
        return f"{span / _MINUTE:.0f} minutes"
    if span < _LONG * _HOUR:
        return f"{int(span / _HOUR)} hours"
    return f"{int(span / _DAY):,} days"


def _shortened(name: str, reason: str) -> str:
    """Why a file was not taken, in a line."""
    text = reason if reason.startswith(name) else f"{name}: {reason}"
    return textwrap.shorten(text, _REASON, placeholder=" …").rstrip(".")


class FirstLook:
    """Says what keeps a watch from forecasting, each kind of it once, as soon as it is known.

    Args:
        inputs: what is watched, as it was typed.
        max_age: a forecast is not made from frames further behind their cycle.
    """

    def __init__(self, inputs: Inputs, max_age: np.timedelta64):
        self.inputs, self.max_age = str(inputs), max_age
        self._said: str | None = None  # the kind that was said last

    def words(
        self,
        incoming: Incoming,
        cycle: np.datetime64,
        now: np.datetime64,
        rejected: Sequence[tuple[str, str]],
    ) -> str | None:
        """What is to be said now; None: nothing, or it was said already.

        Args:
            incoming: the folder, looked into.
            cycle: the newest one that has begun.
            now: UTC.
            rejected: (name, reason) of files that were not taken.
        """
        if not incoming.files.all_read:
            return None  # what is still arriving may be what is waited for
        kind, text = self._found(incoming, cycle, now, rejected)
        if kind == self._said:
            return None
        self._said = kind
        return text

    def _found(
        self,
        incoming: Incoming,
        cycle: np.datetime64,
        now: np.datetime64,
        rejected: Sequence[tuple[str, str]],
    ) -> tuple[str | None, str | None]:
        """(kind, words) of what was found; None where a forecast can come of it."""
        if not incoming.files.known:
            return "empty", f"no file in {self.inputs} yet; waiting for radar files to arrive there"
        if not incoming.frames:
            if not rejected:
                return self._said, None
            count = len(incoming.files.known)
            which = "the one file" if count == 1 else f"any of the {count} files"
            reason = _shortened(*rejected[0])
            return "unusable", (
                f"no frame could be taken from {which} in {self.inputs}: {reason}. "
                "Waiting for others (nowcast info FILE says what a file contains)"
            )
        newest = max(incoming.frames)
        if cycle - newest <= self.max_age:
            return None, None
        typed = shlex.quote(self.inputs)
        return "old", (
            f"the newest frame in {self.inputs}, of {str(newest).replace('T', ' ')} UTC, is "
            f"{age_in_words(now - newest)} old, and no forecast will come from it: frames may be "
            f"{self.max_age / _MINUTE:g} minutes behind (operation.max_age_minutes). For old "
            f"files: nowcast predict input={typed} output=FILE.nc; for a whole archive of them: "
            "nowcast replay. Waiting for newer frames"
        )
