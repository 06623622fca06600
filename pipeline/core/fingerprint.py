"""The code that a stage runs, as hashes of its files: what DVC and resumed work depend on (docs/code-fingerprints.md).

A stage's files are its import closure: its own file, every project file that these import at the top or inside a function, what
it loads by name, and the data files that they name. Comments, docstrings, blank lines and trailing spaces do not count.
"""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # of the code, wherever the work lies
PACKAGES = ("pipeline", "model", "eval", "stages")
# What a stage loads by name while it runs; its import closure ends there.
BY_SOURCE = ("fetch",)  # pipeline/sources/SOURCE.py
BY_METHOD = ("train", "adapt", "timing")  # model/methods/METHOD.py
BY_METRIC = ("score", "floors", "report")  # every file of eval/metrics/
PLAIN = ("frames", "landmarks", "split", *BY_METRIC)


def files(stage: str, *, method: str = "", source: str = "", root: Path = ROOT) -> dict[str, str]:
    """Path -> sha256 of each file that stages/STAGE.py runs, in the order of the paths.

    method: of the stages in BY_METHOD; source: of those in BY_SOURCE; other stages take neither.
    """
    entries = [root / "stages" / f"{stage}.py"]
    if method and stage in BY_METHOD:
        entries.append(root / "model" / "methods" / f"{method}.py")
    if source and stage in BY_SOURCE:
        entries.append(root / "pipeline" / "sources" / f"{source}.py")
    if stage in BY_METRIC:
        entries += sorted((root / "eval" / "metrics").glob("[!_]*.py"))
    paths = closure(entries, root)
    paths |= {data for path in paths if path.suffix == ".py" for data in named_files(path, path.stat().st_mtime_ns)}
    return {path.relative_to(root).as_posix(): _sha256(path, path.stat().st_mtime_ns) for path in sorted(paths)}


def stages(params: Path, root: Path = ROOT) -> dict[str, str]:
    """Name of a file of code/ -> its text, for every stage of dvc.yaml, every method and every data set beside `params`."""
    from pipeline.core import config

    methods = sorted(path.stem for path in (root / "model" / "methods").glob("[!_]*.py"))
    wanted: dict[str, dict[str, str]] = {name: {} for name in PLAIN}
    wanted |= {f"{name}-{method}": {"method": method} for name in BY_METHOD for method in methods}
    wanted |= {f"fetch-{name}": {"source": config.dataset(params, name).data.source} for name in config.known_datasets(params)}
    return {name: text(files(name.split("-")[0], root=root, **given)) for name, given in wanted.items()}


def write(out: Path, made: Mapping[str, str]) -> None:
    """What `stages` returned as the files of `out`, nothing else left there; a file whose text stays is left alone."""
    out.mkdir(exist_ok=True)
    for path in sorted(out.iterdir()):
        if path.name not in made:
            path.unlink()
    for name, lines in made.items():
        path = out / name
        if not path.is_file() or path.read_text() != lines:
            path.write_text(lines)


def text(made: Mapping[str, str]) -> str:
    """What `files` returned, a line for each: hash and path."""
    return "".join(f"{value}  {name}\n" for name, value in made.items())


def digest(made: Mapping[str, str]) -> str:
    """sha256 over what `files` returned."""
    return hashlib.sha256(text(made).encode()).hexdigest()


def closure(entries: Iterable[Path], root: Path = ROOT) -> set[Path]:
    """Every project file with code in it that runs when `entries` are imported and their functions called."""
    seen, waiting = set[Path](), list(entries)
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += imports(path, root, path.stat().st_mtime_ns)
    return {path for path in seen if path.stat().st_size}


@cache
def imports(path: Path, root: Path, changed: int) -> frozenset[Path]:
    """The project files that a file imports, at the top or inside a function, and scripts beside it that it starts by name.

    What stands under `if TYPE_CHECKING:` never runs and does not count. `changed` is the file's time stamp, for the cache.
    """
    found = set[Path]()
    for node in _running(_tree(path, changed)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.endswith(".py"):
            found |= {file for file in [path.parent / node.value] if "\0" not in node.value and file.is_file()}
        for name in names:
            if name.split(".")[0] in PACKAGES:
                found |= _modules(name, root)
    return frozenset(found)


@cache
def named_files(path: Path, changed: int) -> frozenset[Path]:
    """Data files beside a source file that a string in it names: `crops.yaml`, `.md5` for its own name, a template folder."""
    found = set[Path]()
    for node in _running(_tree(path, changed)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and 1 < len(node.value) < 60 \
                and "/" not in node.value and node.value.isprintable():
            beside = path.with_suffix(node.value) if _is_suffix(node.value) else path.parent / node.value
            if beside.is_file() and beside.suffix != ".py":
                found.add(beside)
            elif beside.is_dir() and beside.parent == path.parent and not (beside / "__init__.py").exists():
                found |= {file for file in beside.rglob("*") if file.is_file() and "__pycache__" not in file.parts}
    return frozenset(found)


def normalised(source: str) -> str:
    """The source without comments, docstrings, blank lines and trailing spaces, cut out by their positions.

    The text is cut, not its tokens hashed: Python 3.12 splits f-strings into other tokens than 3.11.
    """
    lines = source.splitlines()
    cuts: list[tuple[int, int, int, int]] = []  # first line, first column, last line, last column
    starts = set[tuple[int, int]]()
    for text in _docstrings(ast.parse(source)):
        assert text.end_lineno is not None and text.end_col_offset is not None
        first, last = _column(lines, text.lineno, text.col_offset), _column(lines, text.end_lineno, text.end_col_offset)
        cuts.append((text.lineno, first, text.end_lineno, last))
        starts.add((text.lineno, first))
    kept, depth, begun = set[int](), 0, 0  # lines whose end lies in a string
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = tokenize.tok_name[token.type]
        if kind == "COMMENT":
            cuts.append((*token.start, *token.end))
        elif kind == "STRING" and not depth and token.start not in starts:
            kept |= set(range(token.start[0], token.end[0]))
        elif kind == "FSTRING_START":
            begun = begun if depth else token.start[0]
            depth += 1
        elif kind == "FSTRING_END":
            depth -= 1
            kept |= set() if depth else set(range(begun, token.end[0]))
    for first, start, last, end in sorted(cuts, reverse=True):
        lines[first - 1:last] = [lines[first - 1][:start] + lines[last - 1][end:], *[""] * (last - first)]
    cut = [line if number in kept else line.rstrip() for number, line in enumerate(lines, 1)]
    return "\n".join(line for number, line in enumerate(cut, 1) if line or number in kept or number - 1 in kept) + "\n"


def _docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
                yield first.value


def _column(lines: list[str], line: int, offset: int) -> int:
    """Characters before a place that the syntax tree gives in bytes."""
    return len(lines[line - 1].encode()[:offset].decode())


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker reads."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


def _modules(name: str, root: Path) -> set[Path]:
    """The file of a module, or of the package with that name, with the __init__.py of the packages around it."""
    parts, found = name.split("."), set[Path]()
    for length in range(1, len(parts) + 1):
        path = root.joinpath(*parts[:length])
        found |= {file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()}
    return found


def _is_suffix(text: str) -> bool:
    return text[0] == "." and text[1:].isalnum()


@cache
def _tree(path: Path, changed: int) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def _sha256(path: Path, changed: int) -> str:
    data = normalised(path.read_text()).encode() if path.suffix == ".py" else path.read_bytes()
    return hashlib.sha256(data).hexdigest()
