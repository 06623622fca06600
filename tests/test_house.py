"""The rules of the house, as tests: imports go one way, DVC knows what a stage imports, values are spelled out."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pipeline", "model", "eval", "stages")
MAY_IMPORT = {"pipeline": {"pipeline"}, "model": {"model"}, "eval": {"eval", "model", "pipeline"}, "stages": set(PACKAGES)}
FOR_ALL = ("pipeline/core/errors.py",)  # imports nothing
# What a stage loads by name at run time, beyond what its source says.
BY_NAME = {"fetch": ["pipeline/sources/*.py"], "train": ["model/methods/*.py"], "adapt": ["model/methods/*.py"],
           "timing": ["model/methods/*.py"], "score": ["eval/metrics/*.py"], "floors": ["eval/metrics/*.py"],
           "report": ["eval/metrics/*.py"]}
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
STAGES = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]


def module_file(name: str) -> Path | None:
    path = ROOT.joinpath(*name.split("."))
    return next((found for found in (path.with_suffix(".py"), path / "__init__.py") if found.is_file()), None)


def imports(path: Path) -> set[Path]:
    """The project files that a file imports, at the top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.endswith(".py"):
            found |= {file for file in [path.parent / node.value] if file.is_file()}  # runs in a process of its own
        found |= {file for name in names if name.split(".")[0] in PACKAGES and (file := module_file(name))}
    return found


def closure(path: Path) -> set[Path]:
    """Everything of ours that runs when a file is imported."""
    seen, waiting = set(), [path]
    while waiting:
        file = waiting.pop()
        if file not in seen:
            seen.add(file)
            waiting += imports(file)
    return {file for file in seen if file.read_text().strip()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    package = path.relative_to(ROOT).parts[0]
    foreign = {file.relative_to(ROOT).parts[0] for file in imports(path)
               if str(file.relative_to(ROOT)) not in FOR_ALL} - MAY_IMPORT[package]
    assert not foreign, f"{package} must not import {foreign}"


@pytest.mark.parametrize("stage", STAGES)
def test_the_deps_of_a_stage_cover_what_it_imports(stage):
    needed = closure(ROOT / "stages" / f"{stage}.py")
    for pattern in BY_NAME.get(stage, []):
        needed |= {file for path in ROOT.glob(pattern) for file in closure(path)}
    methods = ROOT / "model" / "methods"
    needed = {file for file in needed if file.parent != methods}  # a method's own file is a templated dep, checked below
    listed = [dep for dep in STAGES[stage]["deps"] if "$" not in dep]
    missing = sorted(str(file.relative_to(ROOT)) for file in needed
                     if not any(file.relative_to(ROOT).is_relative_to(dep) for dep in listed))
    assert not missing, "add to deps in dvc.yaml: " + ", ".join(missing)


@pytest.mark.parametrize("stage", STAGES)
def test_every_listed_code_dep_exists_and_is_used(stage):
    used = closure(ROOT / "stages" / f"{stage}.py")
    for pattern in BY_NAME.get(stage, []):
        used |= {file for path in ROOT.glob(pattern) for file in closure(path)}
    for dep in STAGES[stage]["deps"]:
        if dep.endswith(".py") and "$" not in dep:
            assert ROOT / dep in used, f"{stage} does not use {dep}"


@pytest.mark.parametrize("stage", ["train", "adapt", "timing"])
def test_a_change_of_one_method_concerns_that_method_only(stage):
    code = [dep for dep in STAGES[stage]["deps"] if dep.startswith("model/methods")]
    assert code == ["model/methods/${item.method}.py"]


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


def test_the_tree_of_the_readme_names_files_that_exist():
    tree = re.search(r"```text\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert tree, "README.md has no annotated tree"
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
