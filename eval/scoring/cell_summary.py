"""metrics.json of a cell from its stored per-frame results: value and interval over people of every column."""

from __future__ import annotations

from pathlib import Path

from eval.scoring import set_distances
from eval.scoring.feature_cache import Cache
from eval.scoring.metric import OfSets, load
from eval.scoring.per_frame import Recipe, Stored
from eval.statistics import intervals
from pipeline.core.errors import InputError


def summary(stored: Stored, recipe: Recipe, cache: Path | None = None) -> dict[str, dict[str, float | int | None]]:
    """metrics.json of a cell, from its per-frame results alone.

    Column -> value, low, high, n_people, n_frames, n_failed and, for distances between sets, floor. NaN becomes None. `cache`
    stores distances over resampled people by content.
    """
    out: dict[str, dict[str, float | int | None]] = {}
    for name in recipe.order:
        metric = load(name, Cache(cache))
        if name in stored.columns:
            found = intervals.of_mean(stored.columns[name], stored.person, level=recipe.level, resamples=recipe.means,
                                      seed=recipe.seed, bounds=metric.range)
            out[name] = {**found._asdict(), "n_failed": len(stored.person) - found.n_frames}
        elif name in stored.features and isinstance(metric, OfSets):
            found = set_distances.spread(metric, stored, recipe).interval
            out[name] = {**found._asdict(), "n_failed": 0, "floor": set_distances.floor(metric, stored)}
        else:
            raise InputError(f"{name}: the per-frame results have no such column; remove the cell's folder and run `dvc repro`")
    return {name: {key: intervals.plain(value) for key, value in cell.items()} for name, cell in out.items()}
