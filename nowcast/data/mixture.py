"""Training cases drawn from several data sets, each with its own share, grid, cadence and scale.

Every part is a data set like any other, one of a plug-in, too. Cases of one size are mixed within
a batch; those of different sizes take turns, batch by batch.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from nowcast.data.base import Cases, DataSet
from nowcast.data.sampling import sample_generator
from nowcast.data.windows import PARTS
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Grid
from nowcast.types.task import Task


@dataclass(frozen=True)
class Part:
    """One of the data sets of a `Mixture`.

    Args:
        data: a data set.
        share: of the training cases that are drawn from it; 0: none, it only validates or tests.

    Raises:
        UserError: a share that is none.
    """

    data: DataSet
    share: float = 0.0

    def __post_init__(self):
        if not 0 <= self.share <= 1:
            raise UserError(
                f"data.parts.NAME.share is {self.share:g} for one of the parts; expected a number "
                "from 0 to 1."
            )


@dataclass(frozen=True)
class Mixture(DataSet):
    """Several data sets as one.

    Training takes the stated share of its cases from each part. Their draws are independent of each
    other: with a share of 0.3 the cases of a part are those that come with a share of 1, only more
    slowly. Validation and test are the cases of the parts that are named, one part after another,
    so that a part counts by the number of its cases.

    Args:
        parts: `Part` by name; null: a part of another file that is left out.
        task: context and forecast length of all; timestep of the test.
        seed: of the order in which the cases of a part are taken.
        validation: names of the parts to validate on.
        test: names of those to test on.
        samples_per_epoch: training cases in an epoch, of all parts together.

    Raises:
        UserError: shares that do not add up to 1 or come to no case, a name that no part has, or a
            part that nothing is taken from.
    """

    parts: dict[str, Part | None]
    task: Task
    seed: int
    validation: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    samples_per_epoch: int = 640

    def __post_init__(self):
        if not isinstance(self.samples_per_epoch, int) or self.samples_per_epoch < 1:
            raise UserError(
                f"data.samples_per_epoch is {self.samples_per_epoch!r}; expected a whole number of "
                "at least 1."
            )
        self._refuse_wrong_parts()
        self._refuse_wrong_names()
        shares = {name: part.share for name, part in self._used.items()}
        total = sum(shares.values())
        if not math.isclose(total, 1, abs_tol=1e-6):
            listed = ", ".join(f"{name} {share:g}" for name, share in shares.items())
            raise UserError(
                f"data.parts have the shares {listed}, together {total:g}; expected 1. Set "
                "data.parts.NAME.share."
            )
        none = [name for name, count in self.counts.items() if not count and shares[name]]
        if none:
            raise UserError(
                f"data.parts.{none[0]}.share={shares[none[0]]:g} of "
                f"data.samples_per_epoch={self.samples_per_epoch} is no case; give more of one."
            )

    @property
    def _used(self) -> dict[str, Part]:
        """The parts, but for those that are left out."""
        return {name: part for name, part in self.parts.items() if part is not None}

    def _refuse_wrong_parts(self) -> None:
        for name, part in self._used.items():
            if not isinstance(part, Part) or "." in name:
                raise UserError(
                    f"data.parts.{name} is {part!r}; expected settings with _target_: "
                    "nowcast.data.mixture.Part, under a name without a dot."
                )
            if not isinstance(part.data, DataSet) or isinstance(part.data, Mixture):
                raise UserError(
                    f"data.parts.{name}.data is {type(part.data).__name__}; expected a data set, "
                    "not a mixture of others."
                )

    def _refuse_wrong_names(self) -> None:
        for setting, listed in (("validation", self.validation), ("test", self.test)):
            if not set(listed) <= set(self._used) or len(set(listed)) < len(listed):
                raise UserError(
                    f"data.{setting} names {', '.join(map(str, listed))}; expected different ones "
                    f"of data.parts: {', '.join(self._used) or 'there is none'}."
                )
        for name, part in self._used.items():
            if not part.share and name not in (*self.validation, *self.test):
                raise UserError(
                    f"nothing is taken from data.parts.{name}: its share is 0, and neither "
                    f"data.validation nor data.test names it. Leave it out: ~data.parts.{name}"
                )

    @property
    def counts(self) -> dict[str, int]:
        """Training cases of each part in an epoch."""
        wanted = {name: part.share * self.samples_per_epoch for name, part in self._used.items()}
        counts = {name: math.floor(number + 1e-6) for name, number in wanted.items()}
        # those cut off by most get the cases that are left; of equals the first
        by_rest = sorted(wanted, key=lambda name: counts[name] - wanted[name])
        for name in by_rest[: self.samples_per_epoch - sum(counts.values())]:
            counts[name] += 1
        return counts

    def bounds(self) -> dict[str, str]:
        """Where validation and test begin in each part, as settings."""
        return {
            f"parts.{name}.data.{setting}": bound
            for name, part in self._used.items()
            for setting, bound in part.data.bounds().items()
        }

    def part(self, name: str) -> "DrawnCases | JoinedCases":
        """The cases of "train", "validation" or "test".

        Raises:
            UserError: an unknown part, one that no part of the mixture has cases for, or parts
                whose cases do not go together.
        """
        if name not in PARTS:
            raise UserError(f"the part {name!r} is unknown; accepted are {', '.join(PARTS)}.")
        if name == "train":
            cases = self._cases([part for part, count in self.counts.items() if count], name)
            return DrawnCases(cases, self.counts, self.seed)
        names = getattr(self, name)
        if not names:
            raise UserError(
                f"data=mixture has no {name} cases; name parts: data.{name}="
                f"[{','.join(self._used)}]."
            )
        return JoinedCases(self._cases(names, name))

    def _cases(self, names: list[str], part: str) -> dict[str, Cases]:
        """The training, validation or test cases of some parts, which must go together."""
        found = {}
        for name in names:
            where = f"data.parts.{name}.data"
            try:
                found[name] = self._used[name].data.part(part)
            except UserError as error:
                raise UserError(f"{where}: {error}") from error
            if not len(found[name]):
                raise UserError(f"{where} has no {part} case; leave it out, or set its share to 0.")
            frames = len(found[name].case(0, 0))
            if frames != self.task.window_length:
                raise UserError(
                    f"{where} has {part} cases of {frames} frames, but the task has "
                    f"{self.task.context_length} and {self.task.forecast_length}; give it the "
                    "same context_length and forecast_length."
                )
        self._refuse_scales({name: cases.scale(0, 0) for name, cases in found.items()}, part)
        return found

    def _refuse_scales(self, scales: dict[str, tuple[float, float] | None], part: str) -> None:
        """Refuse cases with a scale beside cases without, and test cases of another cadence."""
        without = [name for name, scale in scales.items() if scale is None]
        if without and len(without) < len(scales):
            raise UserError(
                f"data.parts.{without[0]}.data has no cadence and no grid spacing, but the "
                f"{part} cases of other parts do; they cannot be mixed."
            )
        for name, scale in scales.items():
            # scores are by lead time
            if part == "test" and scale is not None and scale[0] != self.task.timestep:
                raise UserError(
                    f"data.test names {name}, whose frames come every {scale[0]:g} min, but scores "
                    f"are by lead times of task.timestep={self.task.timestep:g}; test on it by "
                    "itself: nowcast evaluate run=DIR data=..."
                )


class _OfParts(Cases):
    """Cases of several parts; a subclass says which.

    Args:
        cases: of each part, by name.
        counts: how many cases of each there are.
    """

    def __init__(self, cases: dict[str, Cases], counts: dict[str, int]):
        self._cases = cases
        self._names = list(cases)
        self._ends = np.cumsum([counts[name] for name in self._names])
        self.stride_hours = max(found.stride_hours for found in cases.values())
        self._kinds: dict[tuple, int] = {}

    def __len__(self) -> int:
        return int(self._ends[-1])

    def _part(self, index: int) -> tuple[str, int]:
        """The part of a case, and which of its cases it is."""
        if not 0 <= index < len(self):
            raise IndexError(f"there are cases 0 to {len(self) - 1}, not {index}")
        number = int(np.searchsorted(self._ends, index, side="right"))
        return self._names[number], index - int(self._ends[number - 1] if number else 0)

    def _place(self, epoch: int, index: int) -> tuple[Cases, int, int]:
        """The cases of a part, and epoch and index there."""
        name, index = self._part(index)
        return self._cases[name], epoch, index

    def case(self, epoch: int, index: int) -> np.ndarray:
        """Physical values of context and target, (T, h, w) float32, NaN = not observed."""
        cases, *place = self._place(epoch, index)
        return cases.case(*place)

    def scale(self, epoch: int, index: int) -> tuple[float, float] | None:
        """(minutes between frames, kilometres between pixels) of a case."""
        cases, *place = self._place(epoch, index)
        return cases.scale(*place)

    def analysis_time(self, index: int) -> np.datetime64 | None:
        """UTC time of the case's last context frame; None where it is not of any time."""
        cases, _, index = self._place(0, index)
        return cases.analysis_time(index)

    def source(self, index: int) -> str:
        """The name of the case's part, and which of its archives the case is of."""
        name, _ = self._part(index)
        cases, _, index = self._place(0, index)
        inside = cases.source(index)
        return f"{name}/{inside}" if inside else name

    def size_of(self, index: int) -> tuple[int, int]:
        """(h, w) of the case."""
        cases, _, index = self._place(0, index)
        return cases.size_of(index)

    def grid_of(self, index: int) -> Grid | None:
        """The grid of a test case; None where it is nowhere."""
        cases, _, index = self._place(0, index)
        return cases.grid_of(index)

    def kind_of(self, index: int) -> int:
        """The same for cases of one size."""
        cases, _, index = self._place(0, index)
        kind = cases.size_of(index), cases.kind_of(index)
        return self._kinds.setdefault(kind, len(self._kinds))


class JoinedCases(_OfParts):
    """All cases of several parts, one part after another.

    Args:
        cases: of each part, by name.
    """

    def __init__(self, cases: dict[str, Cases]):
        super().__init__(cases, {name: len(found) for name, found in cases.items()})


class DrawnCases(_OfParts):
    """Training cases, so many of each part in an epoch.

    A part goes through its cases in an order of its own, drawn anew each time that all of them have
    come; where that is depends on epoch and index alone.

    Args:
        cases: of each part, by name.
        counts: cases of each in an epoch.
        seed: of the orders.
    """

    def __init__(self, cases: dict[str, Cases], counts: dict[str, int], seed: int):
        super().__init__(cases, counts)
        self._counts, self._seed = counts, seed
        self._orders: dict[str, tuple[int, np.ndarray]] = {}

    def _place(self, epoch: int, index: int) -> tuple[Cases, int, int]:
        name, index = self._part(index)
        cases = self._cases[name]
        own_epoch, place = divmod(epoch * self._counts[name] + index, len(cases))
        if self._orders.get(name, (None,))[0] != own_epoch:
            order = sample_generator(self._seed, own_epoch, len(cases)).permutation(len(cases))
            self._orders[name] = own_epoch, order
        return cases, own_epoch, int(self._orders[name][1][place])
