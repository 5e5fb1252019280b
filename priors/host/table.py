"""Rows of a table to numbers: numeric columns as they are, categories one-hot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from priors.errors import BadTable
from priors.host._config import Configured, HostConfig

F32 = NDArray[np.float32]
Name = Annotated[str, Field(min_length=1, max_length=1_000)]


class NumberColumn(HostConfig):
    """A column of numbers; `mean` stands in for missing ones where the table's `missing` says so."""

    name: Name
    kind: Literal["num"]
    mean: float = 0.0


class CategoryColumn(HostConfig):
    """A column of categories: one place for each of `values`, and a last one for anything else, missing included."""

    name: Name
    kind: Literal["category"]
    values: list[str] = Field(max_length=10_000)


class TableConfig(HostConfig):
    """The columns in order; `missing` says what happens to a number that is absent, NaN or infinite."""

    encoder: Literal["table"] = "table"
    columns: list[Annotated[NumberColumn | CategoryColumn, Field(discriminator="kind")]] = Field(
        min_length=1, max_length=10_000
    )
    missing: Literal["error", "mean"] = "error"


class TableEncoder(Configured[TableConfig]):
    """Rows (n, C) float32 in the order of the columns; a category of k values takes k + 1 places."""

    schema = TableConfig

    @classmethod
    def fit(
        cls,
        table: Mapping[str, Sequence[Any]],
        kinds: Mapping[str, Literal["num", "category"]],
        *,
        missing: str = "error",
    ) -> TableEncoder:
        """The encoder for the columns of `kinds`, knowing the means and categories of the training rows in `table`.

        Categories are sorted; a missing one is no category. Raises BadTable as `arrays_of_columns` does.
        """
        columns: list[dict[str, Any]] = []
        for name, kind in kinds.items():
            values = _column(table, name)
            if kind == "category":
                known = sorted({label for value in values if (label := _label(value)) is not None})
                columns.append({"name": name, "kind": "category", "values": known})
            else:
                numbers = _numbers(name, values)
                finite = numbers[np.abs(numbers) <= np.finfo(np.float32).max]
                columns.append({"name": name, "kind": "num", "mean": float(finite.mean()) if len(finite) else 0.0})
        return cls.from_host({"encoder": "table", "columns": columns, "missing": missing})

    @property
    def spec(self) -> dict[str, Any]:
        return self.config.model_dump()

    @property
    def width(self) -> int:
        """C: how many numbers a row becomes."""
        return len(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """What each place is: the column's name, or `column=value`; `column=?` is any other value."""
        found: list[str] = []
        for column in self.config.columns:
            if isinstance(column, NumberColumn):
                found.append(column.name)
            else:
                found += [f"{column.name}={value}" for value in column.values] + [f"{column.name}=?"]
        return tuple(found)

    def arrays(self, values: Sequence[Any]) -> tuple[F32]:
        """(rows (n, C) float32,) of rows that are mappings by column name, or sequences in the order of the columns."""
        names = [column.name for column in self.config.columns]
        for row, value in enumerate(values):
            if not isinstance(value, Mapping) and len(value) != len(names):
                raise BadTable(f"row {row} has {len(value)} values for {len(names)} columns. Give one a column.")
        return self.arrays_of_columns(
            {
                name: [value.get(name) if isinstance(value, Mapping) else value[at] for value in values]
                for at, name in enumerate(names)
            }
        )

    def arrays_of_columns(self, table: Mapping[str, Sequence[Any]]) -> tuple[F32]:
        """(rows (n, C) float32,) of columns by name; further columns of `table` are ignored.

        Raises BadTable naming the column and rows when a column is absent, a value is no number, or one is missing,
        NaN or infinite and `missing` is `error`.
        """
        parts = []
        first = self.config.columns[0].name
        for column in self.config.columns:
            values = _column(table, column.name)
            if len(values) != len(table[first]):
                raise BadTable(
                    f"{column.name!r} has {len(values)} values, {first!r} has {len(table[first])}. Give one a row."
                )
            parts.append(self._filled(column, values) if isinstance(column, NumberColumn) else _one_hot(column, values))
        return (np.concatenate(parts, axis=1),)

    def _filled(self, column: NumberColumn, values: Sequence[Any]) -> F32:
        numbers = _numbers(column.name, values)
        absent = ~(np.abs(numbers) <= np.finfo(np.float32).max)  # NaN, infinite, or so in float32
        if absent.any():
            if self.config.missing == "error":
                raise BadTable(
                    f"column {column.name!r} has no finite number in {_rows(np.flatnonzero(absent))}. "
                    "Fill them in, drop the rows, or set missing to 'mean'."
                )
            numbers[absent] = column.mean
        return numbers[:, None].astype(np.float32)


def _column(table: Mapping[str, Sequence[Any]], name: str) -> Sequence[Any]:
    if name not in table:
        raise BadTable(f"column {name!r} is missing. Columns are: {', '.join(map(str, list(table)[:20]))}.")
    return table[name]


def _numbers(name: str, values: Sequence[Any]) -> NDArray[np.float64]:
    """float64, NaN where a value is None or blank."""
    numbers = np.empty(len(values))
    wrong = []
    for row, value in enumerate(values):
        try:
            numbers[row] = np.nan if value is None or value == "" else float(value)
        except (TypeError, ValueError):
            wrong.append(row)
        except OverflowError:  # an integer beyond float64
            numbers[row] = np.inf
    if wrong:
        raise BadTable(
            f"column {name!r} has no number in {_rows(wrong)} ({str(values[wrong[0]])[:40]!r}). "
            "Correct them, or make the column a category."
        )
    return numbers


def _one_hot(column: CategoryColumn, values: Sequence[Any]) -> F32:
    place = {value: at for at, value in enumerate(column.values)}
    hot = np.zeros((len(values), len(place) + 1), np.float32)
    for row, value in enumerate(values):
        label = _label(value)
        hot[row, len(place) if label is None else place.get(label, len(place))] = 1
    return hot


def _label(value: Any) -> str | None:
    """A category as text; None for a missing one (None, blank, NaN)."""
    if value is None or value == "" or (isinstance(value, float) and value != value):
        return None
    return str(value)


def _rows(rows: Sequence[int] | NDArray[np.intp]) -> str:
    shown = ", ".join(str(row) for row in rows[:5])
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return f"row{'s' if len(rows) > 1 else ''} {shown}{more}"
