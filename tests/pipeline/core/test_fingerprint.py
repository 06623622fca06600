"""The fingerprint of a stage's code: what does not run changes nothing, what runs changes what runs it and nothing else."""

import ast
import shutil
import textwrap
from pathlib import Path

import pytest

from pipeline.core import fingerprint

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = fingerprint.PACKAGES


@pytest.fixture(scope="module")
def before():
    return fingerprint.stages(ROOT / "params.yaml")


@pytest.fixture
def copy(tmp_path):
    for name in (*PACKAGES, "params"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return tmp_path


def differing(before, root):
    now = fingerprint.stages(root / "params.yaml", root)
    assert now.keys() == before.keys()
    return {name for name in now if now[name] != before[name]}


def documented(source: str) -> str:
    """The source with a docstring in every function and class that has none, a comment and a blank line after every line."""
    tree, lines = ast.parse(source), source.splitlines()
    put = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not ast.get_docstring(node) \
                and node.body[0].lineno > node.lineno:
            put[node.body[0].lineno] = " " * node.body[0].col_offset + '"""Made up for a test: # "no" comment."""'
    for line in sorted(put, reverse=True):
        if not lines[line - 1].lstrip().startswith("@"):
            lines.insert(line - 1, put[line])
    return "# first\n\n" + "\n".join(lines) + "\n\n# last  \n"


def test_comments_docstrings_and_blank_lines_in_every_file_change_no_fingerprint(before, copy):
    for path in copy.rglob("*.py"):
        if path.stat().st_size:
            path.write_text(documented(path.read_text()))
    assert differing(before, copy) == set()


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_changed_number_of_one_method_concerns_the_stages_of_that_method(before, copy):
    edit(copy / "model/methods/x2face.py", "size < 8", "size < 9")
    assert differing(before, copy) == {"train-x2face", "adapt-x2face", "timing-x2face"}


def test_a_changed_source_concerns_fetching_from_it(before, copy):
    edit(copy / "pipeline/sources/folder.py", "import", "import math\nimport")
    assert differing(before, copy) == {"fetch-folder"}


@pytest.mark.parametrize(("path", "concerned"), [
    ("pipeline/frames/crops.yaml", {"frames"}), ("eval/report/templates/page.html.j2", {"report"}),
    ("eval/claims/claims.yaml", {"report"}), ("eval/claims/paper.csv", {"report"}),
    ("pipeline/sources/voxceleb2.md5", {"fetch-voxceleb2"}),
    ("pipeline/sources/ytdlp/responses.yaml", {"fetch-voxceleb1", "fetch-voxceleb2_youtube"}),
    ("eval/study/templates/trial.html", set())])
def test_a_changed_data_file_concerns_who_reads_it(before, copy, path, concerned):
    (copy / path).write_text((copy / path).read_text() + "\n")
    assert differing(before, copy) == concerned


def test_what_the_paper_is_about_concerns_every_stage_that_learns_by_it(before, copy):
    edit(copy / "model/few_shot/meta_learning.py", "import", "import math\nimport")
    assert differing(before, copy) == {f"{stage}-{method}" for stage in ("train", "adapt", "timing") for method in ("ff", "ft")}


def test_a_new_import_is_followed_and_one_for_the_type_checker_is_not(tmp_path):
    (tmp_path / "stages").mkdir()
    (tmp_path / "pipeline").mkdir()
    for name in "abc":
        (tmp_path / "pipeline" / f"{name}.py").write_text(f"{name} = 1\n")
    stage = tmp_path / "stages" / "x.py"
    stage.write_text(textwrap.dedent("""
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from pipeline import a
        def late():
            from pipeline.b import b
            import pipeline.c as c
    """))
    assert fingerprint.files("x", root=tmp_path).keys() == {"stages/x.py", "pipeline/b.py", "pipeline/c.py"}


@pytest.mark.parametrize(("source", "plain"), [
    ('"""Doc."""\nx = 1  # why\n\n\ny = "# kept"\n', 'x = 1\ny = "# kept"\n'),
    ('def f():\n    """Only this."""\n', "def f():\n"),
    ('def f():\n    """Doc."""; return 1\n', "def f():\n    ; return 1\n"),
    ("class A:\n    '''Doc.\n\n    # not a comment\n    '''\n\n    x = 1\n", "class A:\n    x = 1\n"),
    ('x = """a\n\n  # kept  \n"""  # gone\n', 'x = """a\n\n  # kept  \n"""\n'),
    ('x = f"""a {y}\n\n  # kept\n{z}"""  # gone\n\n', 'x = f"""a {y}\n\n  # kept\n{z}"""\n'),
    ("x = f'{a:{b}}#{c!r}' \\\n    'd'   \n", "x = f'{a:{b}}#{c!r}' \\\n    'd'\n"),
    ('é = "ä"  # ö\nasync def f():\n    "ü"\n    return é\n', 'é = "ä"\nasync def f():\n    return é\n'),
    ('x = ("a"  # one\n\n     # two\n     f"b")\n', 'x = ("a"\n     f"b")\n'),
    ('@g  # why\n\ndef f(): return "#"\n', '@g\ndef f(): return "#"\n'),
])
def test_a_source_without_what_does_not_run(source, plain):
    assert fingerprint.normalised(source) == plain
