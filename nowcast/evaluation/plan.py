"""How an evaluation is run and what it keeps."""

import math
from dataclasses import dataclass
from pathlib import Path

from nowcast.evaluation.intervals import Resampling
from nowcast.runtime.errors import UserError
from nowcast.runtime.threads import cores

_SECOND = 1 / 3600  # hours


@dataclass(frozen=True)
class EvaluationPlan:
    """How an evaluation is run.

    Args:
        workers: processes that make the baselines' forecasts and score; null: one for each core
            where a baseline is slow (those of pysteps), else none; 0: none, all happens in this
            process.
        cache: folder in which the forecasts of slow baselines are kept for the next evaluation of
            the same cases; null: nowhere.
        cache_gb: size of that folder [1e9 bytes]; beyond it the forecasts used longest ago are
            deleted.
        block_hours: length of the blocks that intervals are drawn from; null: whole days where
            there are ten, else the length of a case.
        draws: of the bootstrap.
        level: of the intervals.
        seed: of the draws.
        members: of the network, which must draw some (state noise, or the scenarios of
            model=lagrangian); 0: it is evaluated without members.
        show: whether the worst, a typical and the best case are kept as fields, for the report.

    Raises:
        UserError: a setting out of range.
    """

    workers: int | None = None
    cache: str | None = "runs/cache"
    cache_gb: float = 10.0
    block_hours: float | None = None
    draws: int = 1000
    level: float = 0.95
    seed: int = 1
    members: int = 0
    show: bool = True

    def __post_init__(self):
        in_range = {
            "workers": self.workers is None or 0 <= self.workers <= 256,
            "members": 0 <= self.members <= 1000,
            "cache_gb": 0 < self.cache_gb < math.inf,
            "block_hours": self.block_hours is None or _SECOND < self.block_hours < math.inf,
        }
        wrong = [
            f"evaluation.{name}={vars(self)[name]!r}"
            for name, is_in in in_range.items()
            if not is_in
        ]
        if wrong:
            raise UserError(
                f"{', '.join(wrong)} is out of range; workers are 0 to 256, members 0 to 1000, "
                "cache_gb above 0 and block_hours above a second."
            )
        Resampling(self.draws, self.level, self.seed)  # refuses what it cannot do

    @property
    def resampling(self) -> Resampling:
        """How intervals are made."""
        return Resampling(self.draws, self.level, self.seed)

    @property
    def cache_folder(self) -> Path | None:
        """The folder of kept forecasts."""
        return None if self.cache is None else Path(self.cache)

    def processes(self, slow: bool) -> int:
        """How many worker processes to start, where a baseline is slow or none is."""
        if self.workers is not None:
            return self.workers
        return cores() if slow else 0
