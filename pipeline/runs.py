"""Millions of rows of a sorted table as the few runs of equal values in them."""

from __future__ import annotations

import numpy as np
import pandas as pd


def runs(column: pd.Series) -> np.ndarray:
    """Where a value other than the one before begins: row numbers, ascending, the first is 0; millions of rows in a moment."""
    import pyarrow as arrow
    import pyarrow.compute as compute

    values = arrow.array(column)
    other = compute.not_equal(values[1:], values[:-1]).to_numpy(zero_copy_only=False)
    return np.r_[:min(len(values), 1), 1 + np.flatnonzero(other)]
