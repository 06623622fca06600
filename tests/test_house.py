"""The rules of the house, as tests: imports go one way, DVC knows what a stage imports, values are spelled out."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.core import fingerprint

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pipeline", "model", "eval", "stages")
MAY_IMPORT = {"pipeline": {"pipeline"}, "model": {"model"}, "eval": {"eval", "model", "pipeline"}, "stages": set(PACKAGES)}
FOR_ALL = ("pipeline/core/errors.py",)  # imports nothing
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
STAGES = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]


def module_file(name: str) -> Path | None:
    path = ROOT.joinpath(*name.split("."))
    return next((found for found in (path.with_suffix(".py"), path / "__init__.py") if found.is_file()), None)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    package = path.relative_to(ROOT).parts[0]
    foreign = {file.relative_to(ROOT).parts[0] for file in project_imports(path)
               if str(file.relative_to(ROOT)) not in FOR_ALL} - MAY_IMPORT[package]
    assert not foreign, f"{package} must not import {foreign}"


def project_imports(path: Path) -> set[Path]:
    """The project files whose code an import statement of a file runs, at the top or inside a function."""
    found, waiting = set(), [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name for name in inner if module_file(name)]
            names += [node.module] * (len(names) < len(inner))  # not only submodules: names of the module itself
        found |= {file for name in names if name.split(".")[0] in PACKAGES and (file := module_file(name))}
    return found


def circles(graph: dict[Path, set[Path]]) -> list[list[Path]]:
    """Cycles of a directed graph, one for each edge that closes one in a depth-first walk."""
    found, done, trail = [], set(), list[Path]()

    def visit(node: Path) -> None:
        if node in trail:
            found.append([*trail[trail.index(node):], node])
        elif node not in done:
            trail.append(node)
            for other in sorted(graph[node]):
                visit(other)
            done.add(trail.pop())

    for node in sorted(graph):
        visit(node)
    return found


def test_there_is_no_circle_of_imports():
    assert not [" -> ".join(str(path.relative_to(ROOT)) for path in circle)
                for circle in circles({path: project_imports(path) for path in FILES})]


def test_a_circle_is_found():
    a, b, c = map(Path, "abc")
    assert circles({a: {b}, b: {c}, c: {b}}) == [[b, c, b]] and circles({a: {b, c}, b: {c}, c: set()}) == []


def test_a_stage_imports_no_stage():
    folder = ROOT / "stages"
    found = {(path.name, file.name) for path in folder.glob("*.py") for file in project_imports(path) if file.parent == folder}
    assert {imported for _, imported in found} <= {"_cli.py"}, sorted(found)


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "code"])
def test_a_stage_depends_on_its_own_fingerprint_and_on_no_code(stage):
    by = "-${item.dataset}" if stage in fingerprint.BY_SOURCE else "-${item.method}" if stage in fingerprint.BY_METHOD else ""
    code = [dep for dep in STAGES[stage]["deps"] if dep.split("/")[0] in ("code", *PACKAGES)]
    assert code == [f"code/{stage}{by}"]


def test_importing_a_module_loads_nothing_heavy_in_the_report_and_config():
    code = ("import sys, stages.report, stages.tables, stages.verify, eval.claims.claims; eval.claims.claims.load(); "
            "print([m for m in ('torch', 'cv2', 'dlib', 'matplotlib') if m in sys.modules])")
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_no_configuration_has_a_default_in_code():
    import importlib

    from pydantic import BaseModel
    for path in FILES:
        if (path.read_text().strip() and "Strict" in path.read_text()) or "BaseModel" in path.read_text():
            module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
            for item in vars(module).values():
                if isinstance(item, type) and issubclass(item, BaseModel) and item.__module__ == module.__name__:
                    given = [name for name, field in item.model_fields.items() if not field.is_required()]
                    assert not given, f"{item.__module__}.{item.__name__} has defaults for {given}; params.yaml spells out"


def test_the_paper_size_pins_carry_no_local_version_and_no_machine():
    for name in ("constraints.txt", "pyproject.toml", "Makefile", ".ci/run"):
        pins = [line.split("#")[0] for line in (ROOT / name).read_text().splitlines()]
        assert not re.search(r"\+cpu|https?://|(^|\s)/(opt|home|root)/", "\n".join(pins)), name


def test_the_tree_of_the_architecture_page_names_files_that_exist():
    tree = re.search(r"```text\n(.*?)```", (ROOT / "docs" / "architecture.md").read_text(), re.S)
    assert tree, "docs/architecture.md has no annotated tree"
    folders: dict[int, str] = {}
    for line in tree[1].splitlines():
        depth, name = len(line) - len(line.lstrip()), line.split()[0]
        path = "".join(folders[d] for d in sorted(folders) if d < depth) + name
        folders = {d: f for d, f in folders.items() if d < depth} | ({depth: name} if name.endswith("/") else {})
        assert (ROOT / path).exists() or path.split("/")[0] in ("data", "models", "results", "report", "weights"), path


def test_no_file_is_over_300_lines_but_the_two_baselines():
    folders = (*PACKAGES, "benchmarks", "tests")
    long = {str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).rglob("*.py")
            if len(path.read_text().splitlines()) > 300}
    assert long <= {"model/methods/x2face.py", "model/methods/pix2pixhd.py"}
