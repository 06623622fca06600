"""Reads eval/claims/claims.yaml, strictly: the paper's statements about its tables, as comparisons between cells.

The file contains none of our numbers.

Kinds of a part: less, greater (left, right: {method: T}) | lowest, highest (method, among, shots) | rises, falls (methods,
shots) | times (slow takes at_least times as long as fast, at each T) | at_most (cell, number).
"""

from __future__ import annotations

import importlib.util
import pkgutil
from collections.abc import Collection, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

from eval.claims.paper import paper
from eval.scoring import metric
from eval.statistics.comparison import Place
from pipeline.core.config import Strict, parse, pick
from pipeline.core.errors import InputError

FILE = Path(__file__).with_name("claims.yaml")
SECONDS = ("few_shot_seconds", "frame_seconds")  # metrics read from timing.json; the second has no T


class Atom(NamedTuple):
    """One comparison that a claim requires: small < large, or small · times ≤ large, or small ≤ number."""

    small: Place
    large: Place | None
    times: float = 1.0
    number: float | None = None


class Pair(Strict):
    """left is less or greater than right."""

    kind: Literal["less", "greater"]
    metric: str
    left: dict[str, int]  # {method: T}
    right: dict[str, int]

    def atoms(self) -> list[Atom]:
        """One comparison."""
        if len(self.left) != 1 or len(self.right) != 1:
            return []
        left, right = *self.left.items(), *self.right.items()
        return [Atom(left, right) if self.kind == "less" else Atom(right, left)]


class Extreme(Strict):
    """method has the lowest (highest) value among the others, at every T."""

    kind: Literal["lowest", "highest"]
    metric: str
    method: str
    among: list[str]
    shots: list[int]

    def atoms(self) -> list[Atom]:
        """One comparison per other method and T."""
        pairs = [((self.method, t), (other, t)) for t in self.shots for other in self.among if other != self.method]
        return [Atom(a, b) if self.kind == "lowest" else Atom(b, a) for a, b in pairs]


class Trend(Strict):
    """The value of each method rises (falls) from each T to the next."""

    kind: Literal["rises", "falls"]
    metric: str
    methods: list[str]
    shots: list[int]

    def atoms(self) -> list[Atom]:
        """One comparison per method and step."""
        steps = [((m, t), (m, u)) for m in self.methods for t, u in pairwise(sorted(set(self.shots)))]
        return [Atom(a, b) if self.kind == "rises" else Atom(b, a) for a, b in steps]


class Times(Strict):
    """slow takes at least `at_least` times as long as fast, at every T."""

    kind: Literal["times"]
    metric: Literal["few_shot_seconds", "frame_seconds"]
    slow: str
    fast: str
    at_least: float
    shots: list[int]

    def atoms(self) -> list[Atom]:
        """One comparison per T."""
        return [Atom((self.fast, t), (self.slow, t), times=self.at_least) for t in self.shots]


class AtMost(Strict):
    """A cell's value is at most a number."""

    kind: Literal["at_most"]
    metric: str
    cell: dict[str, int]
    number: float

    def atoms(self) -> list[Atom]:
        """One comparison."""
        return [Atom(place, None, number=self.number) for place in self.cell.items()] if len(self.cell) == 1 else []


Part = Pair | Extreme | Trend | Times | AtMost
KINDS: dict[str, type[Part]] = {"less": Pair, "greater": Pair, "lowest": Extreme, "highest": Extreme, "rises": Trend,
                                "falls": Trend, "times": Times, "at_most": AtMost}


class Claim(Strict):
    """One statement; it holds if all its parts do."""

    id: str
    says: str
    source: str
    block: Literal["voxceleb1", "voxceleb2", "seconds", "none"]  # where the paper's own numbers are
    parts: list[dict[str, Any]]


class File(Strict):
    """The data file."""

    metrics: dict[str, list[str]]  # the paper's column -> our columns that may replace it, best first
    claims: list[Claim]


class Claims(NamedTuple):
    """The checked data file."""

    metrics: Mapping[str, list[str]]
    claims: list[tuple[Claim, list[tuple[Part, list[Atom]]]]]


def load(path: Path = FILE) -> Claims:
    """The checked claims. InputError, naming the claim: unknown kind, metric, method or key, or a part without comparison."""
    from ruamel.yaml import YAML, YAMLError

    try:
        body = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except YAMLError as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())[:200]})") from None
    file = parse(File, body, path.name)
    for name, columns in file.metrics.items():
        if name in SECONDS:
            raise InputError(f"{path.name}: metrics.{name}: times come from timing.json and have no columns; remove the line")
        for column in columns:
            metric.load(column)  # InputError for an unknown column
    if twice := {claim.id for claim in file.claims if [c.id for c in file.claims].count(claim.id) > 1}:
        raise InputError(f"{path.name}: two claims have the id {min(twice)!r}; rename one")
    if empty := [claim.id for claim in file.claims if not claim.parts]:
        raise InputError(f"{path.name}: claim {empty[0]!r} has no parts; add a comparison")
    methods = known_methods()
    return Claims(file.metrics, [(claim, [_part(file, part, methods, f"{path.name}: claim {claim.id!r}, part {j}")
                                          for j, part in enumerate(claim.parts, 1)]) for claim in file.claims])


def _part(file: File, body: dict[str, Any], methods: Collection[str], where: str) -> tuple[Part, list[Atom]]:
    part = parse(pick(KINDS, body.get("kind", ""), f"{where}: kind"), body, where)
    pick({**file.metrics, **dict.fromkeys(SECONDS)}, part.metric, f"{where}: metric")
    atoms = part.atoms()
    if not atoms:
        raise InputError(f"{where}: compares nothing; name one method and T per side, another method, or two T")
    for atom in atoms:
        for place in filter(None, (atom.small, atom.large)):
            pick(dict.fromkeys(methods), place[0], f"{where}: method")
    return part, atoms


def known_methods() -> list[str]:
    """Names of the files in model/methods/ and of the methods in the paper's tables, sorted."""
    spec = importlib.util.find_spec("model.methods")
    assert spec is not None and spec.submodule_search_locations is not None
    ours = {module.name for module in pkgutil.iter_modules(list(spec.submodule_search_locations))}
    return sorted(ours | {row["ours"] for row in paper()})
