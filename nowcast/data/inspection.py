"""What an archive or radar files contain, in lines to read."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from nowcast.data.archive import Archive
from nowcast.data.cadence import is_step, usual_step
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames, Grid
from nowcast.types.tolerance import DEFAULT, HIGHEST_RATE, Tolerance

RAIN = 0.1  # mm/h from which on it rains
LISTED = 20  # lines of a list; the others are counted
_NAME = 12  # characters before the text of a line


class PixelCounts:
    """Counts of pixels, added up over fields [mm/h] that are NaN where not observed."""

    def __init__(self):
        self.pixels = self.observed = self.raining = self.empty = 0
        self.highest = np.nan

    def add(self, values: np.ndarray) -> None:
        """Fields (T, H, W)."""
        observed = np.count_nonzero(~np.isnan(values), axis=(1, 2))
        self.pixels += values.size
        self.observed += int(observed.sum())
        self.empty += int(np.count_nonzero(observed == 0))
        self.raining += np.count_nonzero(values >= RAIN)
        # fmax passes over what is NaN
        self.highest = np.fmax(self.highest, np.fmax.reduce(values, axis=None))

    def entries(self, nothing: str = "nothing was observed") -> dict[str, str]:
        """What was counted, for `in_lines`; ``nothing`` is said where no pixel was observed."""
        missing = 1 - self.observed / max(self.pixels, 1)
        raining = maximum = nothing
        if self.observed:
            share = 100 * self.raining / self.observed
            raining = f"{share:.2f} % of the observed pixels (>= {RAIN} mm/h)"
            maximum = f"{self.highest:.2f} mm/h"
        return {
            "missing": f"{100 * missing:.2f} % of the pixels",
            "raining": raining,
            "maximum": maximum,
        }


def info(path: str | Path) -> str:
    """What an archive contains, in lines to read; one frame at a time is in memory.

    Raises:
        UserError: not an archive, or a damaged one.
    """
    with Archive(path) as archive:
        counts = PixelCounts()
        for index in range(len(archive)):
            counts.add(archive.read(index, index + 1))
        entries = {"archive": str(path)}
        if archive.settings:
            files = len(set(archive.origins))
            entries["made from"] = f"{files} files, {_described(archive.settings)}"
        entries |= _contents(
            archive.times, archive.grid, archive.quantity, counts, archive.tolerance
        )
        entries |= _discarded_pixels(archive.discarded) | _remarks(archive.remarks)
        return in_lines(entries)


def _described(settings: dict) -> str:
    """How an archive was made, in words."""
    reader = str(settings.get("reader", {}).get("_target_", "an unknown reader")).rpartition(".")[2]
    text = f"reader {reader}"
    if settings.get("clip"):
        text += f", rates clipped to {settings['clip']:g} mm/h"
    regrid = settings.get("regrid", {})
    given = {key: regrid[key] for key in regrid if key != "_target_" and regrid[key] is not None}
    return f"{text}, regridded ({given})" if given else text


def info_of_frames(frames: Frames, format: str, tolerance: Tolerance = DEFAULT) -> str:
    """What a radar file contains, in lines to read.

    Args:
        frames: what was read from it.
        format: name of the format it was read as.
        tolerance: how far times may lie off the cadence.
    """
    counts = PixelCounts()
    counts.add(frames.values)
    return in_lines(
        {"file": frames.source, "format": format}
        | _contents(frames.times, frames.grid, frames.quantity, counts, tolerance)
        | _discarded_pixels(frames.discarded)
        | _remarks(frames.remarks)
    )


def info_of_files(
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
    first, counts = None, PixelCounts()
    read, others = 0, 0
    times, discarded, refusals, remarks = [], [], [], {}
    for _, result in results:
        if isinstance(result, UserError):
            refusals.append(str(result))
            continue
        read += 1
        # its grid and quantity; not its values
        first = first or result[:0]
        same_grid = not first.grid.difference(result.grid, tolerance.pixels)
        if first.quantity == result.quantity and same_grid:
            times.append(result.times)
            discarded.append(result.discarded)
            remarks |= dict.fromkeys(result.remarks)
            counts.add(result.values)
        else:
            others += 1
    entries = {"file": str(name), "files": f"{read + len(refusals)}, of which {read} can be read"}
    if first is not None:
        together = np.unique(np.concatenate(times))
        entries |= _contents(together, first.grid, first.quantity, counts, tolerance)
        entries |= _discarded_pixels(np.concatenate(discarded)) | _remarks(remarks)
    if others:
        entries["others"] = (
            f"{others} files of another grid or quantity than the first, left out here"
        )
    if refusals:
        entries["unreadable"] = counted(refusals, "files")
    return in_lines(entries)


def info_of_fields(values: np.ndarray, grid: Grid, nothing: str) -> dict[str, str]:
    """Grid and rain of some fields [mm/h], (T, H, W), as entries for `in_lines`; ``nothing`` is
    said of fields without any value.
    """
    counts = PixelCounts()
    counts.add(values)
    return {"grid": grid.describe()} | counts.entries(nothing)


def _contents(
    times: np.ndarray, grid: Grid, quantity: str, counts: PixelCounts, tolerance: Tolerance
) -> dict[str, str | list[str]]:
    entries = {
        "frames": str(len(times)),
        "period": f"{times[0]} to {times[-1]} UTC" if len(times) else "no frame",
        **cadence_entries(times, tolerance),
        "quantity": quantity,
        "grid": grid.describe(),
        **counts.entries(),
    }
    if counts.empty:
        entries["empty"] = f"{counts.empty} frames without any observation"
    return entries


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


def _remarks(remarks: Iterable[str]) -> dict[str, list[str]]:
    """What a reader remarked, as an entry; nothing where it had no reason to."""
    lines = list(remarks)
    return {"remarks": lines} if lines else {}


def in_lines(entries: dict[str, str | list[str]]) -> str:
    """Name and text of each entry; a list goes on below its first line."""
    width = max(_NAME, *(len(name) + 1 for name in entries))
    indent = "\n" + " " * width
    lines = []
    for name, text in entries.items():
        lines.append(f"{name:<{width}}{text if isinstance(text, str) else indent.join(text)}")
    return "\n".join(lines)


def counted(lines: list[str], what: str = "", *, total: int | None = None) -> list[str]:
    """How many there are of something, and the first of them.

    Args:
        lines: a line for each, or for the first of them.
        what: it is.
        total: how many there are; None: as many as lines.
    """
    total = len(lines) if total is None else total
    found = [f"{total} {what}".rstrip(), *lines[:LISTED]]
    if total > LISTED:
        found.append(f"and {total - LISTED} more")
    return found


def cadence_entries(times: np.ndarray, tolerance: Tolerance) -> dict[str, str | list[str]]:
    """The most common step between frames, and where it is exceeded."""
    if len(times) < 2:
        return {"cadence": "one frame only", "gaps": "0"}
    steps, step = np.diff(times), usual_step(times, tolerance)
    regular = is_step(steps, step, tolerance)
    off = np.abs(steps[regular] - step).max(initial=np.timedelta64(0, "s"))
    seconds = int(off / np.timedelta64(1, "s"))
    off_by = f", off by up to {seconds} s" if seconds else ""
    lines = []
    for gap in np.flatnonzero((steps > step) & ~regular):
        lines.append(f"{times[gap]} to {times[gap + 1]}: {_minutes(steps[gap])}")
    return {
        "cadence": f"{_minutes(step)} ({np.count_nonzero(regular)} of {steps.size} steps{off_by})",
        "gaps": counted(lines),
    }


def _minutes(step: np.timedelta64) -> str:
    return f"{step / np.timedelta64(60, 's'):g} min"
