"""The elements of a PLY file: rows of numbers and of lists, as text or bytes, given column by column.

Rows whose lists are all of one length are read at once; others are walked one by one to find where each list starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from shape3d_amodal.errors import DataError, counted
from shape3d_amodal.meshes.formats.text import Numbers, as_integers


@dataclass(frozen=True)
class Property:
    """A column: its name, the type of its numbers such as ``f4``, and for lists the type of their length."""

    name: str
    kind: str
    count: str | None = None


@dataclass(frozen=True)
class Element:
    """A table of the file: its name, number of rows and columns."""

    name: str
    rows: int
    properties: tuple[Property, ...]


@dataclass(frozen=True)
class ListColumn:
    """Lists [R]: all their numbers one after the other, and how many each has."""

    values: np.ndarray
    sizes: np.ndarray


Columns = dict[str, "np.ndarray | ListColumn"]


class BinaryRows:
    """Reads the elements of a binary body one after the other.

    Args:
        data: the body.
        order: ``<`` (little endian) or ``>``.
    """

    def __init__(self, data: bytes, order: str) -> None:
        self._data = data
        self._order = order
        self._byte_order: Literal["little", "big"] = "little" if order == "<" else "big"
        self._position = 0

    def behind(self, others: Sequence[Element]) -> str:
        """How many bytes stand behind what was read and the elements ``others``, in words; empty where none do.

        Where lists stand in ``others`` it is not known, as damage in what nobody reads shall do no harm.
        """
        if any(one.count for element in others for one in element.properties):
            return ""
        widths = (self._record({}, element).itemsize * element.rows for element in others)
        left = len(self._data) - self._position - sum(widths)
        return counted(left, "byte") if left > 0 else ""

    def read(self, element: Element) -> Columns:
        """The columns of the next element.

        Raises:
            DataError: the file ends before, or a list has a negative length.
        """
        sizes = {one.name: 0 for one in element.properties if one.count}
        self._fits(element, self._record(dict.fromkeys(sizes, 0), element).itemsize)
        if sizes and element.rows:
            sizes = self._first_sizes(element)
        record = self._record(sizes, element)
        if self._position + record.itemsize * element.rows <= len(self._data):
            table = np.frombuffer(self._data, record, element.rows, self._position)
            if all((table[f"{name} size"] == size).all() for name, size in sizes.items()):
                self._position += table.nbytes
                return {one.name: _column(table, one, sizes) for one in element.properties}
        return self._walk(element)

    def _fits(self, element: Element, least: int) -> None:
        if self._position + least * element.rows > len(self._data):
            raise DataError(_too_few(element), field=f"element {element.name}")

    def _record(self, sizes: dict[str, int], element: Element) -> np.dtype:
        fields: list[tuple[str, str] | tuple[str, str, tuple[int]]] = []
        for one in element.properties:
            if one.count:
                fields.append((f"{one.name} size", self._order + one.count))
                fields.append((one.name, self._order + one.kind, (sizes[one.name],)))
            else:
                fields.append((one.name, self._order + one.kind))
        return np.dtype(fields)

    def _first_sizes(self, element: Element) -> dict[str, int]:
        """The length of each list in the next row."""
        position = self._position
        sizes: dict[str, int] = {}
        for one in element.properties:
            if one.count:
                sizes[one.name] = size = self._size(position, one, element)
                position += np.dtype(one.count).itemsize + size * np.dtype(one.kind).itemsize
            else:
                position += np.dtype(one.kind).itemsize
        return sizes

    def _size(self, position: int, one: Property, element: Element) -> int:
        """The length of the list at ``position``, which must lie within the file."""
        width = np.dtype(one.count).itemsize
        size = int.from_bytes(
            self._data[position : position + width],
            self._byte_order,
            signed=str(one.count).startswith("i"),
        )
        if not 0 <= size <= (len(self._data) - position - width) // np.dtype(one.kind).itemsize:
            raise DataError(_too_few(element), field=f"element {element.name}")
        return size

    def _walk(self, element: Element) -> Columns:
        """Rows whose lists differ in length."""
        widths = [(np.dtype(one.kind).itemsize, one) for one in element.properties]
        starts: dict[str, list[int]] = {one.name: [] for one in element.properties}
        sizes: dict[str, list[int]] = {one.name: [] for one in element.properties if one.count}
        position, total, order = self._position, len(self._data), self._byte_order
        steps = [
            (
                width,
                starts[one.name],
                None if one.count is None else (np.dtype(one.count).itemsize, one.count[0] == "i", sizes[one.name]),
            )
            for width, one in widths
        ]
        for _ in range(element.rows):
            for width, places, listed in steps:
                if listed is None:
                    places.append(position)
                    position += width
                    continue
                bytes_of_size, signed, lengths = listed
                size = int.from_bytes(self._data[position : position + bytes_of_size], order, signed=signed)
                position += bytes_of_size
                places.append(position)
                lengths.append(size)
                if size < 0:
                    raise DataError(f"expected lists of at least 0, got {size}", field=f"element {element.name}")
                position += width * size
            if position > total:
                raise DataError(_too_few(element), field=f"element {element.name}")
        self._position = position
        columns: Columns = {}
        for one in element.properties:
            counts = np.array(sizes[one.name], np.int64) if one.count else np.ones(element.rows, np.int64)
            values = self._gather(np.array(starts[one.name], np.int64), counts, self._order + one.kind)
            columns[one.name] = ListColumn(values, counts) if one.count else values
        return columns

    def _gather(self, starts: np.ndarray, sizes: np.ndarray, kind: str) -> np.ndarray:
        """``sizes[k]`` numbers from each byte ``starts[k]`` on."""
        width = np.dtype(kind).itemsize
        step = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        places = np.repeat(starts, sizes) + width * step
        found = np.frombuffer(self._data, np.uint8)[places[:, None] + np.arange(width)]
        return np.ascontiguousarray(found).view(kind)[:, 0] if len(found) else np.zeros(0, kind)


class TextRows:
    """Reads the elements of a body of text one after the other.

    Rows start on lines of their own; a file in which they do not must hold exactly the numbers that its header lists.
    """

    def __init__(self, found: Numbers) -> None:
        self._found = found
        self._position = 0
        self._aligned = True
        self._starts = np.zeros(len(found.values) + 1, bool)
        self._starts[found.lines] = True
        self._starts[-1] = True

    def read(self, element: Element) -> Columns:
        """The columns of the next element, with the errors of ``BinaryRows.read``."""
        values, position = self._found.values, self._position
        lists = [one for one in element.properties if one.count]
        if self._position + len(element.properties) * element.rows > len(values):
            raise DataError(_too_few(element), field=f"element {element.name}")
        if not lists:
            width = len(element.properties)
            self._position += width * element.rows
            table = values[position : self._position].reshape(element.rows, width)
            self._note_rows(position + width * np.arange(element.rows))
            return {one.name: _typed(table[:, k], one) for k, one in enumerate(element.properties)}
        return self._walk(element)

    def _walk(self, element: Element) -> Columns:
        values, position = self._found.values, self._position
        numbers, total = values[position:].tolist(), len(values) - position
        starts: dict[str, list[int]] = {one.name: [] for one in element.properties}
        sizes: dict[str, list[int]] = {one.name: [] for one in element.properties if one.count}
        rows, place = [], 0
        for _ in range(element.rows):
            rows.append(place)
            for one in element.properties:
                if one.count is None:
                    starts[one.name].append(place)
                    place += 1
                    continue
                size = numbers[place] if place < total else -1.0
                if not (0 <= size <= total - place - 1 and size == int(size)):
                    raise DataError(_too_few(element), field=f"element {element.name}")
                starts[one.name].append(place + 1)
                sizes[one.name].append(int(size))
                place += 1 + int(size)
            if place > total:
                raise DataError(_too_few(element), field=f"element {element.name}")
        self._note_rows(position + np.array(rows, np.int64))
        self._position += place
        columns: Columns = {}
        for one in element.properties:
            begin = position + np.array(starts[one.name], np.int64)
            lengths = np.array(sizes[one.name], np.int64) if one.count else np.ones(element.rows, np.int64)
            step = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            found = values[np.repeat(begin, lengths) + step]
            columns[one.name] = ListColumn(found, lengths) if one.count else _typed(found, one)
        return columns

    def _note_rows(self, rows: np.ndarray) -> None:
        self._aligned &= bool(self._starts[rows].all())

    def behind(self, others: Sequence[Element]) -> str:
        """How many lines stand behind what was read and the elements ``others``, in words; empty where none do.

        Raises:
            DataError: the rows are not where the lines are, and there are more numbers than the header lists.
        """
        values, lines = self._found.values, self._found.lines
        if self._aligned and self._starts[self._position]:
            left = len(lines) - np.searchsorted(lines, self._position)
            left -= sum(element.rows for element in others if element.properties)
            return counted(int(left), "line") if left > 0 else ""
        for element in others:
            self.read(element)
        if self._position != len(values):
            problem = f"expected {self._position} numbers as the header lists, got {len(values)}"
            raise DataError(f"{problem}, and lines that do not match it; export the mesh anew", field="header")
        return ""


def _column(table: np.ndarray, one: Property, sizes: dict[str, int]) -> np.ndarray | ListColumn:
    column = table[one.name]
    if one.count:
        return ListColumn(column.reshape(-1), np.full(len(table), sizes[one.name], np.int64))
    return column


def _typed(column: np.ndarray, one: Property) -> np.ndarray:
    """Numbers of a text in the type of their property, so that they are those of a binary file."""
    with np.errstate(invalid="ignore", over="ignore"):
        return column.astype(one.kind)


def integers(column: np.ndarray, field: str) -> np.ndarray:
    """The numbers of a column as int64, refused where one is no integer."""
    return as_integers(column, field) if column.dtype.kind == "f" else column.astype(np.int64)


def _too_few(element: Element) -> str:
    one, many = {"vertex": ("vertex", "vertices"), "face": ("face", "faces")}.get(element.name, ("row", "rows"))
    rows = counted(element.rows, one, many) + (f" of {element.name[:20]}" if one == "row" else "")
    return f"expected {rows} as the header says, the data are damaged or end before; replace the file"
