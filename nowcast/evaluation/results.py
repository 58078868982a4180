"""What an evaluation found, kept as a file: the sums of every model by block of cases, from which
all scores, intervals and pictures are made.

N blocks, T leads, S draws.
"""

import io
import json
import shlex
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from nowcast.evaluation.intervals import (
    FEWEST_BLOCKS,
    Estimate,
    Resampling,
    differences,
    drawn,
    estimates,
)
from nowcast.evaluation.statistics.scores import ScoreRow
from nowcast.evaluation.statistics.sums import ScoreKey, Values
from nowcast.runtime.build import part
from nowcast.runtime.errors import Unavailable, UserError, first_line
from nowcast.runtime.files import replacing, run_folder
from nowcast.runtime.renamed import with_todays_names
from nowcast.runtime.unreadable import unreadable
from nowcast.types.frames import Grid
from nowcast.types.task import Task

FILE = "evaluation.h5"
ALL_CASES = "all cases"
"""The event that cases without a time belong to."""
FORMAT = 2  # raised when an older nowcast could misread the file
_LARGEST = 2**31  # bytes of one array in the file


@dataclass(frozen=True)
class Block:
    """Cases that may depend on each other, and are drawn together.

    Args:
        label: what they have in common, e.g. their day.
        event: the event they belong to; several blocks can share one.
        cases: how many.
    """

    label: str
    event: str
    cases: int


@dataclass(frozen=True)
class ShownCase:
    """One case as fields, for pictures.

    Args:
        kind: "worst", "typical" or "best", by the judged model's squared error relative to the
            first baseline's.
        title: which case it is, e.g. its analysis time.
        context: (T_context, H, W) physical values, NaN = not observed.
        observation: (T, H, W).
        forecasts: by model, (T, H, W).
        grid: of the fields; None where they are on none.
    """

    kind: str
    title: str
    context: np.ndarray
    observation: np.ndarray
    forecasts: dict[str, np.ndarray]
    grid: Grid | None = None


@dataclass(frozen=True)
class Results:
    """An evaluation.

    Args:
        settings: {"task": ..., "scores": ...} as data, from which the objects are built again.
        blocks: N of them.
        totals: by model, the judged one first, its totals by name, (N, ...) float64, see
            ``nowcast.evaluation.statistics.sums``.
        members: by model that forecasts an ensemble, how many members.
        ensembles: by such a model, the totals of its ensemble scores, (N, ...) float64.
        resampling: how intervals are made.
        facts: plain data for readers: what was evaluated on what, when, with which versions; see
            ``nowcast.evaluation``.
        shown: cases to look at.
    """

    settings: dict
    blocks: list[Block]
    totals: dict[str, dict[str, np.ndarray]]
    members: dict[str, int] = field(default_factory=dict)
    ensembles: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    resampling: Resampling = field(default_factory=Resampling)
    facts: dict = field(default_factory=dict)
    shown: list[ShownCase] = field(default_factory=list)

    @cached_property
    def task(self) -> Task:
        """What was forecast."""
        return part(self.settings, "task")

    @cached_property
    def scores(self):
        """The settings of the scores, see ``nowcast.evaluation``."""
        return part(self.settings, "scores")

    @property
    def models(self) -> list[str]:
        """Names; the judged model first, then the baselines."""
        return list(self.totals)

    @property
    def baselines(self) -> list[str]:
        """All models but the first."""
        return self.models[1:]

    @property
    def events(self) -> list[str]:
        """The events, in order."""
        return list(dict.fromkeys(block.event for block in self.blocks))

    @property
    def by_time(self) -> bool:
        """Whether cases are of weather at some time; else they are sequences that are independent
        of each other.
        """
        return self.events != [ALL_CASES]

    @cached_property
    def pooled(self) -> bool:
        """Whether a score over all leads is made of the sums of all leads; else it is their mean,
        or their sum.
        """
        return self.scores.pooled

    @property
    def cases(self) -> int:
        """How many cases were judged."""
        return sum(block.cases for block in self.blocks)

    @property
    def has_intervals(self) -> bool:
        """Whether there are enough blocks to draw from."""
        return len(self.blocks) >= FEWEST_BLOCKS

    def of_event(self, event: str) -> "Results":
        """The same of the blocks of one event alone, without cases to look at."""
        mine = [block.event == event for block in self.blocks]

        def part_of(by_model: dict) -> dict:
            return {
                model: {name: array[mine] for name, array in totals.items()}
                for model, totals in by_model.items()
            }

        blocks = [block for block in self.blocks if block.event == event]
        if not blocks:
            raise UserError(f"there is no event {event!r}; there are {', '.join(self.events)}.")
        return Results(
            self.settings,
            blocks,
            part_of(self.totals),
            self.members,
            part_of(self.ensembles),
            self.resampling,
            self.facts,
        )

    def values(self, model: str) -> Values:
        """Every score of a model, (T + 1,): by lead, then over all leads."""
        return self._scored(
            model, {name: array.sum(0) for name, array in self._merged(model).items()}
        )

    def estimates(self, model: str) -> dict[ScoreKey, Estimate]:
        """The same with intervals."""
        if not self.has_intervals:
            nothing = np.full(self.task.forecast_length + 1, np.nan)
            return {
                key: Estimate(value, nothing, nothing) for key, value in self.values(model).items()
            }
        return estimates(self.values(model), self._samples(model), self.resampling)

    def differences(self, model: str, other: str) -> dict[ScoreKey, Estimate]:
        """Paired differences, model minus other, of every score that both have."""
        if not self.has_intervals:
            nothing = np.full(self.task.forecast_length + 1, np.nan)
            others = self.values(other)
            return {
                key: Estimate(value - others[key], nothing, nothing)
                for key, value in self.values(model).items()
                if key in others
            }
        return differences(
            self.values(model),
            self._samples(model),
            self.values(other),
            self._samples(other),
            self.resampling,
        )

    def rows(self, model: str) -> list[ScoreRow]:
        """Every score of a model as rows with intervals."""
        leads = [*range(1, self.task.forecast_length + 1), None]
        return [
            ScoreRow(*key, lead, *map(float, row))
            for key, estimate in self.estimates(model).items()
            for lead, row in zip(leads, zip(estimate.value, estimate.low, estimate.high))
        ]

    @cached_property
    def _weights(self) -> np.ndarray:
        return self.resampling.weights(len(self.blocks))

    @cached_property
    def _drawn(self) -> dict[str, Values]:
        return {}

    def _samples(self, model: str) -> Values:
        if model not in self._drawn:
            self._drawn[model] = self._scored(model, drawn(self._merged(model), self._weights))
        return self._drawn[model]

    def _merged(self, model: str) -> dict[str, np.ndarray]:
        """The totals of a model and of its ensemble, named apart."""
        return self.totals[model] | {
            f"ensemble {name}": array for name, array in self.ensembles.get(model, {}).items()
        }

    def _scored(self, model: str, totals: dict[str, np.ndarray]) -> Values:
        """All scores of a model."""
        length = self.task.forecast_length
        own = {name: array for name, array in totals.items() if not name.startswith("ensemble ")}
        values = self.scores.scored(own, length)
        if model in self.members:
            ensemble = {
                name.removeprefix("ensemble "): array
                for name, array in totals.items()
                if name.startswith("ensemble ")
            }
            values |= self.scores.ensemble(self.members[model]).scored(ensemble, length)
        return values

    def conclusion(self) -> list[str]:
        """What a reader may conclude from this number of independent events, in sentences."""
        return conclusion(len(self.events), len(self.blocks), by_time=self.by_time)

    def save(self, folder: str | Path) -> None:
        """Write evaluation.h5 into a folder."""
        about = {
            "format": FORMAT,
            "settings": self.settings,
            "blocks": [asdict(block) for block in self.blocks],
            "models": self.models,
            "members": self.members,
            "resampling": asdict(self.resampling),
            "facts": self.facts,
            "shown": [
                {
                    "kind": case.kind,
                    "title": case.title,
                    "models": list(case.forecasts),
                    "grid": _grid_as_data(case.grid),
                }
                for case in self.shown
            ],
        }
        content = io.BytesIO()  # on a full disk HDF5 can crash, while writing bytes raises
        with h5py.File(content, "w", libver=("v110", "v110")) as file:
            file.create_dataset(
                "about", data=np.frombuffer(json.dumps(about).encode(), np.uint8), fletcher32=True
            )
            for kind, by_model in (("totals", self.totals), ("ensembles", self.ensembles)):
                for number, model in enumerate(self.models):
                    for name, array in by_model.get(model, {}).items():
                        _write(file, f"{kind}/{number}/{name}", np.asarray(array, np.float64))
            for k, case in enumerate(self.shown):
                fields = {"context": case.context, "observation": case.observation} | {
                    str(i): values for i, values in enumerate(case.forecasts.values())
                }
                for name, values in fields.items():
                    _write(file, f"shown/{k}/{name}", np.asarray(values, np.float16))
        with replacing(Path(folder) / FILE) as temporary:
            temporary.write_bytes(content.getbuffer())

    @classmethod
    def load(cls, folder: str | Path) -> "Results":
        """Read what ``save`` wrote.

        Args:
            folder: of the evaluation, or the run folder that holds it as ``evaluation``.

        Raises:
            UserError: there is none, it is damaged, or of another version.
        """
        folder = Path(folder)
        path = next(
            (path for path in (folder / FILE, folder / "evaluation" / FILE) if path.is_file()), None
        )
        if path is None:
            if run_folder(str(folder)) != folder:
                raise UserError(
                    "the model that comes with nowcast has no evaluation of its own; nowcast "
                    f"evaluate run={folder} data=radar data.archive=FILE says which folder to "
                    "give."
                )
            raise UserError(
                f"{folder} holds no {FILE}; make it with: "
                f"{shlex.join(['nowcast', 'evaluate', f'run={folder}'])}"
            )
        try:
            with h5py.File(path, "r") as file:
                about = json.loads(_read(file, "about").tobytes())
                if about["format"] != FORMAT:
                    newer = isinstance(about["format"], int) and about["format"] > FORMAT
                    advice = (
                        "it was made by a newer nowcast; update this one"
                        if newer
                        else "evaluate again"
                    )
                    raise UserError(
                        f"{path} is an evaluation of format {about['format']!r}; this nowcast "
                        f"reads {FORMAT}: {advice}."
                    )
                return cls._of_file(file, with_todays_names(about))
        except UserError:
            raise
        except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
            reason = unreadable(path, error)
            if isinstance(reason, Unavailable):
                raise reason from error
            raise UserError(f"{path} is damaged ({first_line(error)}); evaluate again.") from error

    @classmethod
    def _of_file(cls, file: h5py.File, about: dict) -> "Results":
        def totals(kind: str) -> dict:
            groups = {
                model: _inside(file, f"{kind}/{number}")
                for number, model in enumerate(about["models"])
            }
            return {
                model: {name: _read(group, name) for name in group}
                for model, group in groups.items()
                if group is not None
            }

        shown = []
        for k, case in enumerate(about["shown"]):
            read = [
                _read(file, f"shown/{k}/{name}").astype(np.float32)
                for name in ("context", "observation", *map(str, range(len(case["models"]))))
            ]
            grid = case["grid"] and Grid(
                case["grid"]["crs"], np.array(case["grid"]["x"]), np.array(case["grid"]["y"])
            )
            shown.append(
                ShownCase(
                    case["kind"],
                    case["title"],
                    read[0],
                    read[1],
                    dict(zip(case["models"], read[2:])),
                    grid,
                )
            )
        blocks, resampling = (
            [Block(**block) for block in about["blocks"]],
            Resampling(**about["resampling"]),
        )
        return cls(
            about["settings"],
            blocks,
            totals("totals"),
            about["members"],
            totals("ensembles"),
            resampling,
            about["facts"],
            shown,
        )


def conclusion(events: int, blocks: int, *, by_time: bool) -> list[str]:
    """What may be concluded, see ``Results.conclusion``.

    Args:
        events: independent ones.
        blocks: that intervals are drawn from.
        by_time: whether cases are of weather; others are independent sequences.
    """
    few = (
        [
            f"Intervals from {blocks} blocks are too narrow: bootstraps of fewer than ten miss "
            "the truth more often than they say."
        ]
        if FEWEST_BLOCKS <= blocks < 10
        else []
    )
    none = ["One block of cases has no interval."] if blocks < FEWEST_BLOCKS else []
    many = "Of many scores at 95 %, one in twenty differs by chance."
    if not by_time:
        return [
            f"The sequences are independent of each other: intervals from {blocks} groups of "
            "them hold for other sequences of the same kind.",
            *few,
            *none,
            many,
        ]
    if events == 1:
        said = (
            "All cases are of one event: the scores, their intervals and every difference "
            "describe this event alone, and say nothing about another one."
        )
    elif events < 5:
        said = (
            f"The cases are of {events} events: differences that hold in each of them are an "
            "indication; how models compare on other events cannot "
            "be told from so few, and the intervals hold for these events."
        )
    elif events < 20:
        said = (
            f"The cases are of {events} events: a difference whose interval leaves out 0 is "
            "likely to hold on similar events; its size is known roughly."
        )
    else:
        said = (
            f"The cases are of {events} events: a difference whose interval leaves out 0 can "
            "be expected on other events of the same kind, radar and season."
        )
    return [said, *few, *none, many]


def _grid_as_data(grid: Grid | None) -> dict | None:
    return None if grid is None else {"crs": grid.crs, "x": grid.x.tolist(), "y": grid.y.tolist()}


def _write(file: h5py.File, name: str, values: np.ndarray) -> None:
    """A compressed array whose damage shows."""
    chunked = (
        {"compression": "gzip", "compression_opts": 1, "shuffle": True, "fletcher32": True}
        if values.ndim and values.size
        else {}
    )
    file.create_dataset(name, data=values, **chunked)


def _inside(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset | None:
    """What lies at a path in the file itself, not behind links; None where nothing does."""
    for part_ in name.split("/"):
        link = group.get(part_, getlink=True) if isinstance(group, h5py.Group) else None
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"{name} is no array of this file")
        group = group[part_]
    return group


def _read(group: h5py.Group, name: str) -> np.ndarray:
    """An array that lies in the file itself and is no larger than its limit."""
    dataset = _inside(group, name)
    if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
        raise ValueError(f"{name} is no array of this file")
    if dataset.size * dataset.dtype.itemsize > _LARGEST:
        raise ValueError(f"{name} claims {dataset.size} values")
    return dataset[()]
