"""How time and memory of the ConvLSTM layer grow: one axis is doubled again and again, the others
stay as they are.

Axes: B batch, T time, C input channels, F hidden channels, H rows, W columns.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from nowcast.benchmark.layer import Case, Stack, step_of
from nowcast.benchmark.measuring import (
    MEGABYTE,
    PHASES,
    RECORDED,
    Host,
    Report,
    check_settings,
    device,
    grid,
    measure_together,
    peak_memory,
    title,
)
from nowcast.runtime.errors import UserError
from nowcast.runtime.precision import check_precision, precision_of

MEASURED = ("milliseconds", "peak_memory_mb")
EXPONENT = (
    "Exponent: the slope of a line through the logarithms by least squares; 1 is linear growth, "
    "below 1 is less. Area doubles by its rows and its columns "
    "in turn. Of the channels, only the input's grow; the convolution of the hidden state stays, "
    "and with it a part of the time and the memory."
)
BOTH = (
    "Where input and hidden channels grow together, the multiplications of a convolution are "
    "a product of the two: 2 is expected of the time, 1 of the activations' memory."
)


class Size(NamedTuple):
    """Inputs (B, T, C, H, W) and F hidden channels."""

    length: int
    height: int
    width: int
    batch_size: int
    input_channels: int
    hidden_channels: int


@dataclass(frozen=True)
class Growth:
    """One training step and one forward pass of a ConvLSTM layer at sizes that double along one
    axis at a time.

    Args:
        length: T to begin with.
        side: H and W to begin with.
        batch_size: B to begin with.
        input_channels, hidden_channels: C and F to begin with.
        kernel: side of both kernels, odd.
        doublings: of each axis; one fewer (but at least one) where both channels grow, whose work
            is four times as much each time.
        precision: "float32" or "bf16-mixed"; "auto": bf16-mixed where the hardware is fast at it,
            as nowcast itself does.
        seconds: of every timing; there are at least three repeats.

    Raises:
        UserError: a setting that makes no sense.
    """

    length: int = 10
    side: int = 16
    batch_size: int = 4
    input_channels: int = 64
    hidden_channels: int = 16
    kernel: int = 5
    doublings: int = 4
    precision: str = "auto"
    seconds: float = 1.0

    def __post_init__(self):
        check_settings(self)
        check_precision(self.precision)
        if self.doublings > 10:
            raise UserError(
                f"doublings is {self.doublings}; at most 10 are accepted, which is a thousand "
                "times the first size."
            )
        if not self.kernel % 2:
            raise UserError(
                f"kernel is {self.kernel}; an odd side is needed for a ConvLSTM that keeps the "
                "size of its maps."
            )

    def run(self, host: Host) -> Report:
        """Measure all axes."""
        on = device()
        precision = RECORDED[precision_of(self.precision, on.type)]
        records = [
            record
            for axis in host.progress(list(self.axes()))
            for record in self._records(axis, precision, on)
        ]
        exponents = [
            {"axis": axis, "phase": phase}
            | {
                name: fitted_exponent(
                    *zip(
                        *(
                            (r["size"], r[name])
                            for r in records
                            if (r["axis"], r["phase"]) == (axis, phase)
                        ),
                        strict=True,
                    )
                )
                for name in MEASURED
            }
            for axis in self.axes()
            for phase in PHASES
        ]
        return Report(
            records,
            [self._table(records, exponents, precision)],
            [EXPONENT, BOTH],
            facts={"exponents": exponents, "device": on.type},
        )

    def axes(self) -> dict[str, list[tuple[int, Size]]]:
        """Axis -> its sizes as a number, and the whole size that belongs to each."""
        first = Size(
            self.length,
            self.side,
            self.side,
            self.batch_size,
            self.input_channels,
            self.hidden_channels,
        )
        factors = [2**n for n in range(self.doublings + 1)]
        sizes = {
            "length": [(self.length * n, first._replace(length=self.length * n)) for n in factors],
            "area": [
                (
                    first.height * rows * first.width * columns,
                    first._replace(height=first.height * rows, width=first.width * columns),
                )
                for rows, columns in _parted(factors)
            ],
            "batch": [
                (self.batch_size * n, first._replace(batch_size=self.batch_size * n))
                for n in factors
            ],
            "input channels": [
                (self.input_channels * n, first._replace(input_channels=self.input_channels * n))
                for n in factors
            ],
        }
        both = [
            first._replace(
                input_channels=self.input_channels * n, hidden_channels=self.hidden_channels * n
            )
            for n in factors[: max(2, self.doublings)]
        ]
        return sizes | {
            "input and hidden channels": [(size.hidden_channels, size) for size in both]
        }

    def _records(self, axis: str, precision: str, on: torch.device) -> Iterator[dict]:
        steps, memory, sizes = {}, {}, self.axes()[axis]
        for number, size in sizes:
            inputs = torch.randn(
                size.batch_size,
                size.length,
                size.input_channels,
                size.height,
                size.width,
                generator=torch.Generator().manual_seed(0),
            ).to(on)
            layer = Stack(self._case(size)).to(on)
            for phase in PHASES:
                steps[number, phase] = step_of(layer, inputs, phase, precision)
                memory[number, phase] = peak_memory(steps[number, phase], on) / MEGABYTE
        times = measure_together(steps, on, seconds=self.seconds)
        for number, size in sizes:
            case = self._case(size)
            name = (
                f"{'>'.join(map(str, case.channels))} {case.kernel}x{case.kernel} "
                f"{case.height}x{case.width}"
            )
            for phase in PHASES:
                key = number, phase
                yield {
                    "case": name,
                    "implementation": "nowcast",
                    "precision": precision,
                    "phase": phase,
                    "milliseconds": times[key],
                    "peak_memory_mb": memory[key],
                    "axis": axis,
                    "size": number,
                    **size._asdict(),
                }

    def _case(self, size: Size) -> Case:
        return Case(
            (size.input_channels, size.hidden_channels), self.kernel, size.height, size.width
        )

    def _table(self, records: list[dict], exponents: list[dict], precision: str):
        rows = []
        for axis in self.axes():
            of_axis = [record for record in records if record["axis"] == axis]
            for index, size in enumerate(dict.fromkeys(record["size"] for record in of_axis)):
                both = [
                    next(
                        record
                        for record in of_axis
                        if (record["size"], record["phase"]) == (size, phase)
                    )
                    for phase in PHASES
                ]
                rows.append(
                    [
                        "" if index else axis,
                        f"{size:,}",
                        *(f"{record[name]:,.1f}" for record in both for name in MEASURED),
                    ]
                )
            rows.append(
                [
                    "",
                    "exponent",
                    *(
                        f"{found[name]:.2f}"
                        for found in exponents
                        if found["axis"] == axis
                        for name in MEASURED
                    ),
                ]
            )
        what = (
            f"ConvLSTM {self.input_channels}>{self.hidden_channels} "
            f"{self.kernel}x{self.kernel} {self.side}x{self.side}, T {self.length}, batch "
            f"{self.batch_size}"
        )
        return grid(
            title(what, f"in {precision}; one axis grows at a time"),
            ["axis", "size", "train\n[ms]", "train\n[MB]", "forward\n[ms]", "forward\n[MB]"],
            rows,
        )


def _parted(factors: list[int]) -> list[tuple[int, int]]:
    """1, 2, 4, 8 as products of two that double in turn: (1, 1), (2, 1), (2, 2), (4, 2)."""
    return [(2 ** ((n + 1) // 2), 2 ** (n // 2)) for n in range(len(factors))]


def fitted_exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """P of values = constant x sizes^p, by least squares of the logarithms.

    Args:
        sizes, values: positive, of one length, at least two sizes that differ.
    """
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])
