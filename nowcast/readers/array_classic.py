"""Arrays in classic NetCDF files (NetCDF-3), whatever their variables say of themselves."""

import math
from collections.abc import Iterator

import numpy as np

from nowcast.readers.array_axes import Order
from nowcast.readers.array_files import MAX_TIMES, ArrayFile, axis_name
from nowcast.readers.array_moments import moments
from nowcast.readers.cf.source import Source, Variable
from nowcast.readers.limits import MAX_PIXELS
from nowcast.runtime.errors import UserError


class ClassicArrays(ArrayFile):
    """A NetCDF-3 file, open for reading.

    Args:
        source: its variables.
    """

    def __init__(self, source: Source):
        super().__init__(source.path)
        self._source = source

    def _variable(self, name: str | None) -> Variable:
        variable = self._source.variables.get((name or "").strip("/"))
        if variable is None:
            known = ", ".join(list(self._source.variables)[:20])
            raise UserError(
                f"{self.path} has no variable {name}, expected one of {known}; set reader.dataset."
            )
        if variable.dtype.kind not in "iuf":
            raise UserError(f"{self.path}: {name} is of type {variable.dtype}; numbers are needed.")
        return variable

    def shape(self, name: str | None) -> tuple[int, ...]:
        """As of `ArrayFile`."""
        return self._variable(name).shape

    def names(self, name: str | None) -> list[str | None]:
        """As of `ArrayFile`."""
        coordinates = self._source.variables
        found = []
        for dim in self._variable(name).dims:
            attributes = coordinates[dim].attributes if dim in coordinates else {}
            found.append(axis_name(dim, attributes))
        return found

    def described(self, name: str | None) -> list[tuple[str, dict]]:
        """As of `ArrayFile`."""
        variable = self._variable(name)
        own = self._source.attributes
        return [("the attribute ", own), (f"{variable.name}/", variable.attributes)]

    def beside(self, name: str | None) -> list[str]:
        """As of `ArrayFile`."""
        variables = self._source.variables.values()
        return [
            one.name
            for one in variables
            if one.dtype.kind in "iuf" and math.prod(one.shape) <= MAX_TIMES
        ]

    def fields(self, name: str | None, order: Order) -> Iterator[np.ndarray]:
        """As of `ArrayFile`."""
        variable = self._variable(name)
        index = [slice(None) if axis in order[1:] else 0 for axis in range(len(variable.shape))]
        for frame in range(order.lengths(variable.shape)[0]):
            if order.time is not None:
                index[order.time] = frame
            field = np.asarray(variable.read(tuple(index), True))
            yield field.T if order.columns < order.rows else field

    def read(self, name: str) -> np.ndarray:
        """As of `ArrayFile`."""
        variable = self._variable(name)
        if math.prod(variable.shape) > MAX_PIXELS:
            raise UserError(
                f"{self.path}: {name} claims {'x'.join(map(str, variable.shape))} values; more "
                f"than {MAX_PIXELS} are refused."
            )
        return np.asarray(variable.read((slice(None),) * len(variable.shape), True))

    def times(self, name: str) -> list:
        """As of `ArrayFile`."""
        variable = self._source.variables.get(name.strip("/"))
        if variable is None:
            return [self._attribute(name)]
        if not 1 <= math.prod(variable.shape) <= MAX_TIMES:
            raise UserError(
                f"{self.path}: {name} must be 1 to {MAX_TIMES} times, but its shape is "
                f"{variable.shape}."
            )
        values = np.asarray(variable.read((slice(None),) * len(variable.shape), True))
        if values.dtype.kind == "S" and values.ndim:  # one character after the other
            return ["".join(row).strip("\0 ") for row in _lines(values)]
        calendar = variable.text("calendar") or "standard"
        return moments(np.ravel(values), self.units(name), calendar, f"{self.path}: {name}")

    def _attribute(self, name: str):
        """An attribute of the file, or of a variable as in ``rain/time``."""
        owner, _, attribute = name.strip("/").rpartition("/")
        attributes = self._source.attributes
        if owner:
            variable = self._source.variables.get(owner)
            attributes = {} if variable is None else variable.attributes
        if attribute not in attributes:
            raise UserError(
                f"{self.path} has no dataset or attribute {name}; set reader.time_in_file to one "
                "that it has."
            )
        return attributes[attribute]

    def units(self, name: str) -> str | None:
        """As of `ArrayFile`."""
        variable = self._source.variables.get(name.strip("/"))
        return None if variable is None else variable.text("units") or None


def _lines(characters: np.ndarray) -> list[list[str]]:
    """Texts of a variable of characters, whose last axis is their length."""
    rows = characters.reshape(-1, characters.shape[-1])
    return [[one.decode("ascii", errors="replace") for one in row] for row in rows.tolist()]
