"""Histories as Arrow tables: every row, one column a key, each column of one type.

Numbers, truth values and texts have a type of their own. A column that holds anything else, or values of
different kinds, holds JSON texts, which its field says in its metadata: ``{"encoding": "json"}``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class HistoryTable:
    """A whole history.

    Anything that speaks the Arrow C stream interface takes it as it is: ``pyarrow.table(table)``,
    ``polars.DataFrame(table)``, DuckDB.

    Attributes:
        arrow: the ``pyarrow.Table``.
    """

    def __init__(self, arrow: pa.Table) -> None:
        self.arrow = arrow

    @property
    def num_rows(self) -> int:
        return int(self.arrow.num_rows)

    @property
    def column_names(self) -> list[str]:
        return list(self.arrow.column_names)

    def __len__(self) -> int:
        return self.num_rows

    def to_pandas(self) -> pd.DataFrame:
        """A frame; a cell that nothing was logged to is NaN or None."""
        frame: pd.DataFrame = self.arrow.to_pandas()
        return frame

    def to_polars(self) -> Any:
        """A ``polars.DataFrame``; polars has to be installed."""
        import polars

        return polars.from_arrow(self.arrow)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.arrow.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        return f"<HistoryTable {self.num_rows} rows, {len(self.column_names)} columns>"
