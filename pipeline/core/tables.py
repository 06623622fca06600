"""Tables of millions of rows: finds runs of equal values, joins Parquet files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd


def runs(column: pd.Series) -> np.ndarray:
    """First row of each run of equal values: ascending row numbers, the first is 0. Fast for millions of rows."""
    import pyarrow as arrow
    import pyarrow.compute as compute

    values = arrow.array(column)
    other = compute.not_equal(values[1:], values[:-1]).to_numpy(zero_copy_only=False)
    return np.r_[:min(len(values), 1), 1 + np.flatnonzero(other)]


def join(paths: Iterable[Path], out: Path) -> int:
    """Joins Parquet files of one schema (at least one) into `out`; returns the number of rows.

    Each file becomes a row group, an empty one none.
    """
    import pyarrow.parquet as parquet

    rows, writer = 0, None
    try:
        for path in paths:
            table = parquet.read_table(path, partitioning=None)
            writer = writer or parquet.ParquetWriter(out, table.schema)
            if len(table):
                writer.write_table(table)
            rows += len(table)
    finally:
        if writer:
            writer.close()
    return rows
