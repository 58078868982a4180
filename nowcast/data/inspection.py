"""What lies in an archive or a radar file, and what in an archive asks for a second look."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyproj

from nowcast.data.archive import Archive
from nowcast.data.cadence import is_step, usual_step, without_twins
from nowcast.data.windows import PARTS, TimeSplit, longest_run, window_starts
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames, Grid
from nowcast.types.task import Task
from nowcast.types.tolerance import DEFAULT, HIGHEST_RATE, Tolerance

_RAIN = 0.1  # mm/h
_LISTED = 20
_HIGH = 150.0  # mm/h: above it there is more clutter and hail than rain
_FROZEN_PIXELS = 10  # so many equal wet pixels in two frames are no chance
_COVERAGE = 0.005  # share of the grid that appears or is lost from one frame to the next
_FEWEST_FRAMES = 24  # pixels are judged by how often they are wet: fewer frames say nothing
_NEIGHBOURHOOD, _SELF = (
    9,
    3,
)  # pixels: a square around a pixel, without the square it is the middle of
_OFTENER, _SELDOM = (
    0.4,
    0.2,
)  # difference in wet share that makes clutter; wet share around a pixel that is never wet
_NAME = 12  # characters before the text of a line


def info(path: str | Path) -> str:
    """What an archive holds, in lines to read; one frame at a time is in memory.

    Raises:
        UserError: not an archive, or a damaged one.
    """
    with Archive(path) as archive:
        total = _Total(archive.shape)
        for index in range(len(archive)):
            total.add(archive.read(index, index + 1))
        files = len(set(archive.origins))
        settings = archive.settings or {}
        return in_lines(
            {
                "archive": str(path),
                **(
                    {"made from": f"{files} files, {_described(settings)}"}
                    if archive.settings
                    else {}
                ),
                **_contents(
                    archive.times, archive.grid, archive.quantity, total, archive.tolerance
                ),
                **_discarded_pixels(archive.discarded),
            }
        )


def _described(settings: dict) -> str:
    """How an archive was made, in words."""
    reader = str(settings.get("reader", {}).get("_target_", "an unknown reader")).rpartition(".")[2]
    clip, regrid = (
        settings.get("clip"),
        {k: v for k, v in settings.get("regrid", {}).items() if k != "_target_" and v is not None},
    )
    return ", ".join(
        [
            f"reader {reader}",
            *([f"rates clipped to {clip:g} mm/h"] if clip else []),
            *([f"regridded ({regrid})"] if regrid else []),
        ]
    )


def info_of_frames(frames: Frames, format: str, tolerance: Tolerance = DEFAULT) -> str:
    """What a radar file holds, in lines to read.

    Args:
        frames: what was read from it.
        format: name of the format it was read as.
        tolerance: how far times may lie off the cadence.
    """
    total = _Total(frames.values.shape)
    total.add(frames.values)
    described = _contents(frames.times, frames.grid, frames.quantity, total, tolerance)
    return in_lines(
        {
            "file": frames.source,
            "format": format,
            **described,
            **_discarded_pixels(frames.discarded),
        }
    )


def _discarded_pixels(counts: np.ndarray) -> dict[str, str]:
    """What there is to say of pixels that became missing, by frame (T,); nothing where there are
    none.
    """
    if not counts.any():
        return {}
    return {
        "discarded": f"{counts.sum()} pixels in {np.count_nonzero(counts)} frames, negative or "
        f"above {HIGHEST_RATE:g} mm/h in the file, are missing now"
    }


def info_of_members(
    name: str | Path,
    results: Iterable[tuple[Path, Frames | UserError]],
    tolerance: Tolerance = DEFAULT,
) -> str:
    """What several files contain together, in lines to read; the frames of one at a time are in
    memory.

    Args:
        name: of the files: an archive of them, a folder, or a list.
        results: path of each file, and its frames or the reason for none.
        tolerance: how far grids and times may be off.
    """
    read, times, refusals, others, total, first = 0, [], [], 0, None, None
    discarded = []
    for path, result in results:
        if isinstance(result, UserError):
            refusals.append(str(result))
            continue
        read += 1
        if first is None:
            first, total = result, _Total((0, *result.grid.shape))
        if first.quantity != result.quantity or first.grid.difference(
            result.grid, tolerance.pixels
        ):
            others += 1
            continue
        times.append(result.times)
        discarded.append(result.discarded)
        total.pixels += result.values.size
        total.add(result.values)
    entries = {"file": str(name), "files": f"{read + len(refusals)}, of which {read} can be read"}
    if first is not None:
        entries |= _contents(
            np.unique(np.concatenate(times)), first.grid, first.quantity, total, tolerance
        )
        entries |= _discarded_pixels(np.concatenate(discarded))
    if others:
        entries["others"] = (
            f"{others} files of another grid or quantity than the first, left out here"
        )
    if refusals:
        entries["unreadable"] = _counted(refusals, "files")
    return in_lines(entries)


class _Total:
    """Counts of pixels, added up."""

    def __init__(self, shape: tuple[int, int, int]):
        self.pixels = float(np.prod(shape, dtype=np.float64))
        self.observed = self.raining = self.empty = 0
        self.highest = np.nan

    def add(self, values: np.ndarray) -> None:
        observed = np.count_nonzero(~np.isnan(values), axis=(1, 2))
        self.observed += int(observed.sum())
        self.empty += int(np.count_nonzero(observed == 0))
        self.raining += np.count_nonzero(values >= _RAIN)
        self.highest = np.fmax(self.highest, np.fmax.reduce(values, axis=None))


def described_values(values: np.ndarray, grid: Grid, nothing: str) -> dict[str, str]:
    """Grid and rain of some fields [mm/h], (T, H, W), as entries for `in_lines`; ``nothing`` is
    said of fields without any value.
    """
    total = _Total(values.shape)
    total.add(values)
    return _described_total(grid, total, nothing)


def _described_total(
    grid: Grid, total: _Total, nothing: str = "nothing was observed"
) -> dict[str, str]:
    return {
        "grid": grid.describe(),
        "missing": f"{100 * (1 - total.observed / total.pixels):.2f} % of the pixels",
        "raining": f"{100 * total.raining / total.observed:.2f} % of the observed pixels (>= "
        f"{_RAIN} mm/h)"
        if total.observed
        else nothing,
        "maximum": f"{total.highest:.2f} mm/h" if total.observed else nothing,
    }


def _contents(
    times: np.ndarray, grid: Grid, quantity: str, total: _Total, tolerance: Tolerance
) -> dict[str, str]:
    empty = {"empty": f"{total.empty} frames without any observation"} if total.empty else {}
    return {
        "frames": str(len(times)),
        "period": f"{times[0]} to {times[-1]} UTC" if len(times) else "no frame",
        **_cadence(times, tolerance),
        "quantity": quantity,
        **_described_total(grid, total),
        **empty,
    }


def in_lines(entries: dict[str, str | list[str]]) -> str:
    """Name and text of each entry; a list goes on below its first line."""
    width = max(_NAME, *(len(name) + 1 for name in entries))
    indent = "\n" + " " * width
    return "\n".join(
        f"{name:<{width}}{text if isinstance(text, str) else indent.join(text)}"
        for name, text in entries.items()
    )


def _minutes(step: np.timedelta64) -> str:
    return f"{step / np.timedelta64(60, 's'):g} min"


def _listed(lines: list[str]) -> list[str]:
    """The first of many lines."""
    return lines[:_LISTED] + ([f"and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else [])


def _cadence(times: np.ndarray, tolerance: Tolerance) -> dict[str, str | list[str]]:
    """The most common step between frames, and where it is exceeded."""
    if len(times) < 2:
        return {"cadence": "one frame only", "gaps": "0"}
    steps, step = np.diff(times), usual_step(times, tolerance)
    regular = is_step(steps, step, tolerance)
    gaps = np.flatnonzero((steps > step) & ~regular)
    lines = [f"{times[gap]} to {times[gap + 1]}: {_minutes(steps[gap])}" for gap in gaps]
    return {
        "cadence": f"{_minutes(step)} ({np.count_nonzero(regular)} of {steps.size} "
        f"steps{_off_by(steps[regular] - step)})",
        "gaps": [str(len(gaps)), *_listed(lines)],
    }


def _off_by(deviations: np.ndarray) -> str:
    """How far regular steps are off, in words; nothing where they are not."""
    most = int(np.abs(deviations).max(initial=np.timedelta64(0, "s")) / np.timedelta64(1, "s"))
    return f", off by up to {most} s" if most else ""


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
        validation_from, test_from: where the archive would be cut, as in ``nowcast.data.radar``.

    Raises:
        UserError: not an archive, a damaged one, or cuts in the wrong order.
    """
    with Archive(path) as archive:
        task = task or Task(4, 12, common_minutes(archive.times, archive.tolerance))
        seen = _Seen(archive.shape[1:])
        for index, time in enumerate(archive.times):
            seen.add(time, archive.read(index, index + 1)[0])
        return in_lines(
            {
                "archive": str(path),
                "frames": f"{len(archive)}, {archive.times[0]} to {archive.times[-1]} UTC",
                **_cadence(_one_of_each(archive.times, archive.tolerance), archive.tolerance),
                "twins": _twins(archive),
                "odd times": _odd_times(archive.times, archive.tolerance),
                "frozen": _frozen(seen.equal),
                "coverage": _counted(
                    seen.coverage,
                    f"changes of more than {100 * _COVERAGE:g} % of the grid from one frame to "
                    "the next",
                ),
                "empty": _counted(
                    [str(time) for time in seen.empty], "frames without any observation"
                ),
                "discarded": _counted(
                    _discarded_frames(archive),
                    "frames with pixels that were negative or implausibly high, and are missing now",
                ),
                "clutter": _pixels(seen, archive.grid, clutter=True),
                "blocked": _pixels(seen, archive.grid, clutter=False),
                "high": _counted(
                    seen.high,
                    f"frames with rates above {_HIGH:g} mm/h (nowcast convert clip={_HIGH:g} "
                    "would limit them)",
                ),
                "split": _split_plan(archive, task, TimeSplit(validation_from, test_from)),
            }
        )


def common_minutes(times: np.ndarray, tolerance: Tolerance = DEFAULT) -> float:
    """The most common step between frames [minutes]; 5 for a single one."""
    step = usual_step(times, tolerance)
    return 5.0 if step is None else float(step / np.timedelta64(60, "s"))


def _discarded_frames(archive: Archive) -> list[str]:
    return [
        f"{archive.times[index]}: {archive.discarded[index]} pixels"
        for index in np.flatnonzero(archive.discarded)
    ]


@dataclass
class _Seen:
    """What the frames of an archive showed, one after the other.

    Args:
        shape: (H, W).
    """

    shape: tuple[int, int]
    frames: int = 0
    equal: list = field(
        default_factory=list
    )  # (time before, time) of wet frames that repeat the one before
    coverage: list = field(default_factory=list)
    empty: list = field(default_factory=list)
    high: list = field(default_factory=list)

    def __post_init__(self):
        self.observed, self.wet = np.zeros(self.shape, np.int32), np.zeros(self.shape, np.int32)
        self.before = self.time_before = self.observed_before = None

    def add(self, time: np.datetime64, values: np.ndarray) -> None:
        """One more frame, (H, W)."""
        observed, wet = ~np.isnan(values), values >= _RAIN
        share = observed.mean()
        self.frames += 1
        self.observed += observed
        self.wet += wet
        if not observed.any():
            self.empty.append(time)
        if self.before is not None:
            if np.count_nonzero(wet) >= _FROZEN_PIXELS and np.array_equal(
                values, self.before, equal_nan=True
            ):
                self.equal.append((self.time_before, time))
            changed = np.count_nonzero(observed != self.observed_before) / observed.size
            if changed > _COVERAGE:
                self.coverage.append(
                    f"{time}: {100 * self.observed_before.mean():.2f} % observed before, "
                    f"{100 * share:.2f} % then"
                )
        above = np.count_nonzero(values > _HIGH)
        if above:
            self.high.append(
                f"{time}: {above} pixels, up to {np.fmax.reduce(values, axis=None):.1f} mm/h"
            )
        self.before, self.time_before, self.observed_before = values, time, observed

    def suspects(self, *, clutter: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(whether a pixel is suspect, its wet share, that of its surroundings), each (H, W)."""
        from scipy.ndimage import uniform_filter

        def around(counts):
            sums = [
                side**2 * uniform_filter(counts.astype(np.float64), side, mode="constant")
                for side in (_NEIGHBOURHOOD, _SELF)
            ]
            return sums[0] - sums[1]

        enough = self.observed >= _FEWEST_FRAMES
        counts = np.where(enough, self.observed, 0), np.where(enough, self.wet, 0)
        share = counts[1] / np.maximum(counts[0], 1)
        pixels = around(counts[0])
        surroundings = np.where(pixels > 0.5, around(counts[1]) / np.maximum(pixels, 1), np.nan)
        with np.errstate(invalid="ignore"):
            odd = (
                share - surroundings >= _OFTENER
                if clutter
                else (counts[1] == 0) & (surroundings >= _SELDOM)
            )
        return odd & enough, share, surroundings


def _counted(lines: list[str], what: str) -> list[str]:
    return [f"{len(lines)} {what}", *_listed(lines)]


def _odd_times(times: np.ndarray, tolerance: Tolerance) -> list[str]:
    """Times that are no whole number of steps after the most common phase."""
    if len(times) < 3:
        return ["0"]
    usual = usual_step(times, tolerance)
    step = usual.astype("timedelta64[s]").astype(np.int64)
    phases = times.astype(np.int64) % step
    values, counts = np.unique(phases, return_counts=True)
    off = np.abs(phases - values[counts.argmax()])
    odd = times[
        np.minimum(off, step - off) * np.timedelta64(1, "s") > 2 * tolerance.off_time(usual)
    ]
    return _counted(
        [str(time) for time in odd],
        f"frames beside the most common times (every {step / 60:g} min)",
    )


def _one_of_each(times: np.ndarray, tolerance: Tolerance) -> np.ndarray:
    """The times of the frames that are used, where several are meant for one time."""
    return times[without_twins(times, usual_step(times, tolerance), tolerance)]


def _twins(archive: Archive) -> list[str]:
    """Frames that are not used, as another one is nearer to the regular time that both are meant
    for.
    """
    times = archive.times
    used = _one_of_each(times, archive.tolerance)
    lines = []
    for time in np.setdiff1d(times, used):
        beside = used[np.abs(used - time).argmin()]
        lines.append(f"{time} beside {beside}")
    return _counted(lines, "frames that another one of the same time is used instead of")


def _frozen(equal: list[tuple[np.datetime64, np.datetime64]]) -> list[str]:
    """Runs of frames that are equal although it rains."""
    runs = []
    for before, time in equal:
        if runs and runs[-1][-1] == before:
            runs[-1].append(time)
        else:
            runs.append([before, time])
    return _counted(
        [f"{run[0]} to {run[-1]}: {len(run)} equal frames" for run in runs],
        "runs of equal frames with rain in them",
    )


def _pixels(seen: _Seen, grid: Grid, *, clutter: bool) -> list[str]:
    what = (
        f"pixels wet at least {100 * _OFTENER:g} percentage points oftener than those around them"
        if clutter
        else f"pixels never wet although those around them are in at least {100 * _SELDOM:g} % "
        "of the frames"
    )
    if seen.frames < _FEWEST_FRAMES:
        return [
            f"not judged: {seen.frames} frames say nothing about single pixels, {_FEWEST_FRAMES} "
            "are needed"
        ]
    odd, share, surroundings = seen.suspects(clutter=clutter)
    rows, columns = np.nonzero(odd)
    worst = np.argsort(-np.abs(share - surroundings)[rows, columns], kind="stable")[:_LISTED]
    to_degrees = pyproj.Transformer.from_crs(
        pyproj.CRS(grid.crs), pyproj.CRS(grid.crs).geodetic_crs, always_xy=True
    )
    lines = []
    for row, column in zip(rows[worst], columns[worst]):
        longitude, latitude = to_degrees.transform(grid.x[column], grid.y[row])
        wet = (
            f"wet in {100 * share[row, column]:.0f} % of the frames, around it "
            f"{100 * surroundings[row, column]:.0f} %"
        )
        lines.append(f"row {row}, column {column} ({latitude:.3f} N, {longitude:.3f} E): {wet}")
    return [
        f"{len(rows)} {what}",
        *lines,
        *([f"and {len(rows) - _LISTED} more"] if len(rows) > _LISTED else []),
    ]


def _split_plan(archive: Archive, task: Task, split: TimeSplit) -> list[str]:
    """Windows that each part would hold."""
    tolerance = archive.tolerance
    times = archive.times[without_twins(archive.times, task.timedelta, tolerance)]
    lines = [
        f"windows of {task.context_length} + {task.forecast_length} frames every "
        f"{task.timestep:g} min; the longest gap-free run is "
        f"{longest_run(times, task.timedelta, tolerance)} frames"
    ]
    for name in PARTS:
        start, end = split.interval(name, times)
        count = len(window_starts(times, task, start=start, end=end, tolerance=tolerance))
        inside = np.count_nonzero(
            (times >= (times[0] if start is None else start))
            & ((times < end) if end is not None else True)
        )
        lines.append(
            f"{name}: {count} windows, {inside} frames, from {times[0] if start is None else start}"
            + (f", before {end}" if end is not None else "")
        )
    return lines
