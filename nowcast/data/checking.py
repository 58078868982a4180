"""What in an archive asks for a second look before a model learns from it."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyproj

from nowcast.data.archive import Archive
from nowcast.data.cadence import usual_step, without_twins
from nowcast.data.inspection import LISTED, RAIN, cadence_entries, counted, in_lines
from nowcast.data.windows import PARTS, TimeSplit, longest_run, window_starts
from nowcast.types.frames import Grid
from nowcast.types.task import Task
from nowcast.types.tolerance import DEFAULT, Tolerance


@dataclass(frozen=True)
class Limits:
    """From what on something is mentioned.

    Args:
        high: rate [mm/h] above which there is more clutter and hail than rain.
        frozen_pixels: so many equal wet pixels in two frames are no chance.
        coverage: share of the grid that appears or is lost from one frame to the next.
        fewest_frames: pixels are judged by how often they are wet: fewer frames say nothing.
        neighbourhood: side of the square around a pixel that it is compared with [pixels].
        middle: side of the square in the middle of it that is left out: clutter is not one pixel
            wide.
        oftener: difference in wet share that makes clutter.
        seldom: wet share around a pixel that is never wet that makes it blocked.
    """

    high: float = 150.0
    frozen_pixels: int = 10
    coverage: float = 0.005
    fewest_frames: int = 24
    neighbourhood: int = 9
    middle: int = 3
    oftener: float = 0.4
    seldom: float = 0.2


_LIMITS = Limits()


def check(
    path: str | Path,
    task: Task | None = None,
    *,
    validation_from: str | None = None,
    test_from: str | None = None,
) -> str:
    """What in an archive asks for a second look before a model learns from it, in lines to read.

    Gaps, odd times, and frames beside another one of the same time; frames that repeat the one
    before although it rains; changes of what is observed; pixels that are wet far oftener than
    those around them (clutter) or never (a beam that is blocked); rates above 150 mm/h; and how
    many windows training, validation and test would get. One frame at a time is in memory.

    Args:
        path: the archive.
        task: windows of what length and step; None: 4 frames in and 12 out at the archive's own
            step.
        validation_from: where validation would begin, as in ``nowcast.data.radar``.
        test_from: where the test would begin.

    Raises:
        UserError: not an archive, a damaged one, or bounds in the wrong order.
    """
    with Archive(path) as archive:
        times, tolerance = archive.times, archive.tolerance
        task = task or Task(4, 12, common_minutes(times, tolerance))
        seen = _Seen(archive.shape[1:])
        for index, time in enumerate(times):
            seen.add(time, archive.read(index, index + 1)[0])
        used = times[without_twins(times, usual_step(times, tolerance), tolerance)]
        limits = _LIMITS
        return in_lines(
            {
                "archive": str(path),
                "frames": f"{len(archive)}, {times[0]} to {times[-1]} UTC",
                **cadence_entries(used, tolerance),
                "twins": _twins(times, used),
                "odd times": _odd_times(times, tolerance),
                "frozen": _frozen(seen.equal),
                "coverage": counted(
                    seen.coverage,
                    f"changes of more than {100 * limits.coverage:g} % of the grid from one frame "
                    "to the next",
                ),
                "empty": counted(seen.empty, "frames without any observation"),
                "discarded": _discarded(archive),
                "clutter": _pixels(seen, archive.grid, clutter=True),
                "blocked": _pixels(seen, archive.grid, clutter=False),
                "high": counted(
                    seen.high,
                    f"frames with rates above {limits.high:g} mm/h (nowcast convert "
                    f"clip={limits.high:g} would limit them)",
                ),
                "split": _split_lines(archive, task, TimeSplit(validation_from, test_from)),
            }
        )


def common_minutes(times: np.ndarray, tolerance: Tolerance = DEFAULT) -> float:
    """The most common step between frames [minutes]; 5 for a single one."""
    step = usual_step(times, tolerance)
    return 5.0 if step is None else float(step / np.timedelta64(60, "s"))


@dataclass
class _Seen:
    """What the frames of an archive showed, one after the other.

    Args:
        shape: (H, W).
        frames: how many there were.
        equal: (time before, time) of wet frames that repeat the one before.
        coverage: a line for each change of what is observed.
        empty: times of frames without any observation.
        high: a line for each frame with high rates.
    """

    shape: tuple[int, int]
    frames: int = 0
    equal: list[tuple[np.datetime64, np.datetime64]] = field(default_factory=list)
    coverage: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    high: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.observed, self.wet = np.zeros(self.shape, np.int32), np.zeros(self.shape, np.int32)
        self._before: tuple[np.datetime64, np.ndarray, np.ndarray] | None = None

    def add(self, time: np.datetime64, values: np.ndarray) -> None:
        """One more frame, (H, W)."""
        observed, wet = ~np.isnan(values), values >= RAIN
        self.frames += 1
        self.observed += observed
        self.wet += wet
        if not observed.any():
            self.empty.append(str(time))
        if self._before is not None:
            time_before, values_before, observed_before = self._before
            repeated = np.array_equal(values, values_before, equal_nan=True)
            if repeated and np.count_nonzero(wet) >= _LIMITS.frozen_pixels:
                self.equal.append((time_before, time))
            changed = np.count_nonzero(observed != observed_before) / observed.size
            if changed > _LIMITS.coverage:
                self.coverage.append(
                    f"{time}: {100 * observed_before.mean():.2f} % observed before, "
                    f"{100 * observed.mean():.2f} % then"
                )
        above = np.count_nonzero(values > _LIMITS.high)
        if above:
            highest = np.fmax.reduce(values, axis=None)
            self.high.append(f"{time}: {above} pixels, up to {highest:.1f} mm/h")
        # one frame is kept, not all: archives are larger than memory
        self._before = time, values, observed

    def suspects(self, *, clutter: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(whether a pixel is suspect, its wet share, that of its surroundings), each (H, W)."""
        # seldom observed pixels, as at the rim of the range, would be suspect by chance
        judged = self.observed >= _LIMITS.fewest_frames
        observed, wet = np.where(judged, self.observed, 0), np.where(judged, self.wet, 0)
        share = wet / np.maximum(observed, 1)
        around, wet_around = _around(observed), _around(wet)
        surroundings = np.where(around > 0.5, wet_around / np.maximum(around, 1), np.nan)
        with np.errstate(invalid="ignore"):
            if clutter:
                suspect = share - surroundings >= _LIMITS.oftener
            else:
                suspect = (wet == 0) & (surroundings >= _LIMITS.seldom)
        return suspect & judged, share, surroundings


def _around(counts: np.ndarray) -> np.ndarray:
    """Sums of counts (H, W) over the neighbourhood of each pixel, without its middle."""
    from scipy.ndimage import uniform_filter

    whole, middle = (
        side**2 * uniform_filter(counts.astype(np.float64), side, mode="constant")
        for side in (_LIMITS.neighbourhood, _LIMITS.middle)
    )
    return whole - middle


def _discarded(archive: Archive) -> list[str]:
    lines = []
    for index in np.flatnonzero(archive.discarded):
        lines.append(f"{archive.times[index]}: {archive.discarded[index]} pixels")
    what = "frames with pixels that were negative or implausibly high, and are missing now"
    return counted(lines, what)


def _odd_times(times: np.ndarray, tolerance: Tolerance) -> list[str]:
    """Times that are no whole number of steps after the most common phase."""
    if len(times) < 3:
        return ["0"]
    usual = usual_step(times, tolerance)
    step = int(usual / np.timedelta64(1, "s"))
    phases = times.astype(np.int64) % step
    values, counts = np.unique(phases, return_counts=True)
    off = np.abs(phases - values[counts.argmax()])
    # the shorter way round: a frame just before the phase is not a step late
    apart = np.minimum(off, step - off) * np.timedelta64(1, "s")
    odd = times[apart > 2 * tolerance.off_time(usual)]
    return counted(
        [str(time) for time in odd],
        f"frames beside the most common times (every {step / 60:g} min)",
    )


def _twins(times: np.ndarray, used: np.ndarray) -> list[str]:
    """Frames that are not used, as another one is nearer to the regular time that both are meant
    for.
    """
    lines = []
    for time in np.setdiff1d(times, used):
        beside = used[np.abs(used - time).argmin()]
        lines.append(f"{time} beside {beside}")
    return counted(lines, "frames that another one of the same time is used instead of")


def _frozen(equal: list[tuple[np.datetime64, np.datetime64]]) -> list[str]:
    """Runs of frames that are equal although it rains."""
    runs = []
    for before, time in equal:
        if runs and runs[-1][-1] == before:
            runs[-1].append(time)
        else:
            runs.append([before, time])
    lines = [f"{run[0]} to {run[-1]}: {len(run)} equal frames" for run in runs]
    return counted(lines, "runs of equal frames with rain in them")


def _pixels(seen: _Seen, grid: Grid, *, clutter: bool) -> list[str]:
    """Pixels that are wet too often or never, the worst first."""
    if seen.frames < _LIMITS.fewest_frames:
        return [
            f"not judged: {seen.frames} frames say nothing about single pixels, "
            f"{_LIMITS.fewest_frames} are needed"
        ]
    if clutter:
        often = f"at least {100 * _LIMITS.oftener:g} percentage points oftener"
        what = f"pixels wet {often} than those around them"
    else:
        share = f"in at least {100 * _LIMITS.seldom:g} % of the frames"
        what = f"pixels never wet although those around them are {share}"
    odd, share, surroundings = seen.suspects(clutter=clutter)
    rows, columns = np.nonzero(odd)
    worst = np.argsort(-np.abs(share - surroundings)[rows, columns], kind="stable")[:LISTED]
    crs = pyproj.CRS(grid.crs)
    to_degrees = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    lines = []
    for row, column in zip(rows[worst], columns[worst]):
        longitude, latitude = to_degrees.transform(grid.x[column], grid.y[row])
        place = f"row {row}, column {column} ({latitude:.3f} N, {longitude:.3f} E)"
        wet = f"wet in {100 * share[row, column]:.0f} % of the frames"
        lines.append(f"{place}: {wet}, around it {100 * surroundings[row, column]:.0f} %")
    return counted(lines, what, total=len(rows))


def _split_lines(archive: Archive, task: Task, split: TimeSplit) -> list[str]:
    """Windows that each part would have."""
    tolerance = archive.tolerance
    times = archive.times[without_twins(archive.times, task.timedelta, tolerance)]
    lines = [
        f"windows of {task.context_length} + {task.forecast_length} frames every "
        f"{task.timestep:g} min; the longest gap-free run is "
        f"{longest_run(times, task.timedelta, tolerance)} frames"
    ]
    empty = []
    for name in PARTS:
        start, end = split.interval(name, times)
        count = len(window_starts(times, task, start=start, end=end, tolerance=tolerance))
        first = times[0] if start is None else start
        inside = np.count_nonzero(
            (times >= first) & (times < (times[-1] + 1 if end is None else end))
        )
        before = "" if end is None else f", before {end}"
        lines.append(f"{name}: {count} windows, {inside} frames, from {first}{before}")
        if not count:
            empty.append(name)
    if empty:
        lines.append(
            f"not enough to train: {' and '.join(empty)} {'has' if len(empty) == 1 else 'have'} no "
            f"window; shorten task.forecast_length (now {task.forecast_length}) or "
            "task.context_length, set data.validation_from and data.test_from, or add frames"
        )
    return lines
