"""What is done to the frames of every file before they go into an archive, and whether that is what
was done to those that are in it.
"""

import json
from collections.abc import Iterator
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass

from nowcast.data.archive import Archive
from nowcast.data.regrid import Onto, Regular, Unchanged, clipped
from nowcast.runtime.build import as_settings, resolve
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames
from nowcast.types.places import projection_text, same_projection
from nowcast.types.tolerance import DEFAULT, Tolerance


@dataclass(frozen=True)
class Preparation:
    """What is done to the frames of every file before they go into the archive; recorded in it.

    Args:
        reader: settings of the reader, as data.
        clip: rates above it [mm/h] are set to it; None: they stay.
        regrid: another grid, or ``Unchanged()``.
        tolerance: how far values, coordinates, grids and times of the files may be off.
    """

    reader: dict
    clip: float | None = None
    regrid: Unchanged | Regular | Onto = field(default_factory=Unchanged)
    tolerance: Tolerance = DEFAULT

    def __post_init__(self):
        if self.clip is not None and not 0 < self.clip < float("inf"):
            raise UserError(
                f"clip is {self.clip!r}; the highest rate [mm/h] to keep, above 0, is needed, or "
                "null."
            )

    def __call__(self, frames: Frames) -> Frames:
        """Frames as they go into the archive."""
        return self.regrid(clipped(frames, self.clip))

    def as_data(self) -> dict:
        """The same as JSON can hold it; equal data, equal treatment."""
        settings = {
            "reader": self.reader,
            "clip": self.clip,
            "regrid": as_settings(self.regrid),
            "tolerance": asdict(self.tolerance),
        }
        # through text and back: tuples become lists, as they are when an archive is read
        return json.loads(json.dumps(settings))

    def differences(self, archive: Archive) -> list[str]:
        """What an archive was made with instead, in words; empty where it was made the same way."""
        wanted = self.as_data()
        # an older nowcast, which accepted nothing off, did not note the tolerance, nor one those of
        # its fields that are newer
        kept = {"tolerance": wanted["tolerance"]} | archive.settings
        if isinstance(kept["tolerance"], dict):
            kept["tolerance"] = asdict(DEFAULT) | kept["tolerance"]
        found = []
        for name in wanted:
            found += _differences(name, kept.get(name), wanted[name], archive)
        return found


def _differences(name: str, kept, wanted, archive: Archive) -> Iterator[str]:
    """What settings differ in, in words.

    Projections differ where they do not put the archive's grid in the same place, whatever they are
    called. What an older nowcast did not note, as it had no such setting, was as by default now.
    """
    both = isinstance(kept, dict) and isinstance(wanted, dict)
    if both and kept.get("_target_") == wanted.get("_target_"):
        kept = _defaults(wanted.get("_target_"), wanted.keys() - kept.keys()) | kept
        if kept.keys() == wanted.keys():
            for key in wanted:
                yield from _differences(f"{name}.{key}", kept[key], wanted[key], archive)
            return
    # one projection has many spellings
    same_place = name.endswith(".crs") and _in_the_same_place(kept, wanted, archive)
    if kept != wanted and not same_place:
        yield f"{name} {json.dumps(kept):.300} against {json.dumps(wanted):.300}"


def _defaults(target: str | None, names: set[str]) -> dict:
    """Those settings of a class that have a default, of the names given."""
    if not names or target is None:
        return {}
    try:
        defined = resolve(target, "reader")
    except UserError:
        return {}
    if not is_dataclass(defined):
        return {}
    return {
        one.name: one.default
        for one in fields(defined)
        if one.name in names and one.default is not MISSING
    }


def _in_the_same_place(kept, wanted, archive: Archive) -> bool:
    if kept is None or wanted is None:
        return False
    try:
        projections = projection_text(kept), projection_text(wanted)
        x, y = archive.grid.x, archive.grid.y
        return same_projection(*projections, x, y, archive.tolerance.pixels)
    except UserError:
        return False
