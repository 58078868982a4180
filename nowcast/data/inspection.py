"""What an archive or radar files contain, in lines to read."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from nowcast.data.archive import Archive
from nowcast.data.cadence import is_step, usual_step
from nowcast.readers.auto import accepted
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
    sets: list[_FilesOfOneKind] = []
    refusals: list[str] = []
    for _, result in results:
        if isinstance(result, UserError):
            refusals.append(str(result))
            continue
        own = next((one for one in sets if one.fits(result, tolerance)), None)
        if own is None:
            own = _FilesOfOneKind(result.grid, result.quantity)
            sets.append(own)
        own.add(result)
    read = sum(one.files for one in sets)
    entries = {"file": str(name), "files": f"{read + len(refusals)}, of which {read} can be read"}
    sets.sort(key=lambda one: -one.frames)  # what is described is what there is most of
    if len(sets) > 1:
        entries["mixture"] = _mixture(sets)
    if sets:
        entries |= sets[0].entries(tolerance)
    if refusals:
        entries["unreadable"] = counted(_with_formats_once(refusals), "files", total=len(refusals))
    return in_lines(entries)


class _FilesOfOneKind:
    """Files of one grid and quantity, of which all but the values is kept."""

    def __init__(self, grid: Grid, quantity: str):
        self.grid, self.quantity = grid, quantity
        self.files = 0
        self._times: list[np.ndarray] = []
        self._discarded: list[np.ndarray] = []
        self._remarks: dict[str, None] = {}
        self._counts = PixelCounts()

    @property
    def frames(self) -> int:
        """How many there are, of different times."""
        return len(np.unique(np.concatenate(self._times)))

    def fits(self, frames: Frames, tolerance: Tolerance) -> bool:
        """Whether frames are of this grid and quantity."""
        same_grid = not self.grid.difference(frames.grid, tolerance.pixels)
        return self.quantity == frames.quantity and same_grid

    def add(self, frames: Frames) -> None:
        """The frames of one file."""
        self.files += 1
        self._times.append(frames.times)
        self._discarded.append(frames.discarded)
        self._remarks |= dict.fromkeys(frames.remarks)
        self._counts.add(frames.values)

    def entries(self, tolerance: Tolerance) -> dict[str, str | list[str]]:
        """What the files contain together."""
        times = np.unique(np.concatenate(self._times))
        entries = _contents(times, self.grid, self.quantity, self._counts, tolerance)
        discarded = _discarded_pixels(np.concatenate(self._discarded))
        return entries | discarded | _remarks(self._remarks)


def _mixture(sets: list[_FilesOfOneKind]) -> list[str]:
    """What there is of several grids and quantities, which no archive takes together."""
    quantities = len({one.quantity for one in sets})
    grids = len({(one.grid.shape, one.grid.describe()) for one in sets})
    kinds = [(quantities, "quantities"), (grids, "grids")]
    several = " and ".join(f"{count} {name}" for count, name in kinds if count > 1)
    lines = [
        f"{one.frames} frames of {one.quantity} in {one.files} file{'s' * (one.files != 1)}, "
        f"on {one.grid.describe()}"
        for one in sets
    ]
    found = counted(lines, total=len(sets))
    found[0] = f"{several or f'{len(sets)} grids'}, to be converted apart; below is the first alone"
    return found


def _with_formats_once(refusals: list[str]) -> list[str]:
    """Reasons of which only the first names all formats that are known."""
    formats, found = accepted(), []
    for text in refusals:
        known_already = any(formats in earlier for earlier in found)
        found.append(text.replace(f"; {formats}", ".") if known_already else text)
    return found


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
