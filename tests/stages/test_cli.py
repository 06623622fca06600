"""The commands: `thb`, what is loaded to print a help, and how errors end."""

import argparse
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from stages import __main__ as thb
from stages import _cli

ROOT = Path(__file__).resolve().parents[2]
VERBS = {path.stem for path in (ROOT / "stages").glob("[!_]*.py")}
HEAVY = ("pandas", "torch", "cv2", "scipy", "pyarrow", "matplotlib", "dlib", "av", "PIL", "flask")


def raises(error):
    def main():
        raise error
    return main


def test_a_refusal_is_one_sentence_and_exit_1_and_a_defect_keeps_its_traceback(capsys):
    with pytest.raises(SystemExit) as end:
        _cli.run(raises(InputError("f.yaml: found 3; write a word")))
    assert end.value.code == 1 and capsys.readouterr().err == "error: f.yaml: found 3; write a word\n"
    with pytest.raises(ValueError, match="defect"):
        _cli.run(raises(ValueError("defect")))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_sentence_and_any_other_error_of_a_file_a_traceback(capsys, number):
    with pytest.raises(SystemExit) as end:
        _cli.run(raises(OSError(number, os.strerror(number), "data/part")))
    assert end.value.code == 1 and capsys.readouterr().err.count("\n") == 1
    with pytest.raises(PermissionError):
        _cli.run(raises(PermissionError(errno.EACCES, "denied", "data/part")))


def test_an_interruption_is_130():
    with pytest.raises(SystemExit) as end:
        _cli.run(raises(KeyboardInterrupt()))
    assert end.value.code == 130


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_a_parser_is_built_without_the_libraries_of_the_work(verb):
    code = (f"import sys, stages.{verb} as verb; verb.parser().format_help(); "
            f"print([name for name in {HEAVY} if name in sys.modules])")
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_the_list_of_verbs_has_every_stage_in_the_order_of_the_pipeline_and_imports_none(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    before = {name for name in sys.modules if name.startswith("stages.")}
    thb.main(["--help"])
    said = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ") and line[2] != " "]
    assert set(said) == VERBS and len(said) == len(VERBS)
    assert said[:4] == ["code", "fetch", "frames", "landmarks"] and said.index("report") < said.index("crops")
    assert {name for name in sys.modules if name.startswith("stages.")} <= before | {"stages._cli"}


def test_a_misspelt_verb_is_refused_with_the_nearest_one(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as end:
        thb.main(["scroe"])
    said = capsys.readouterr().err
    assert end.value.code == 1 and said.count("\n") == 1 and "'score'" in said


def test_a_verb_gets_its_words_and_its_help_calls_it_by_its_name(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["thb"])
    with pytest.raises(SystemExit) as end:
        thb.main(["use", "--help"])
    assert end.value.code == 0 and capsys.readouterr().out.startswith("usage: thb use ")


def test_outside_of_a_checkout_is_one_sentence(tmp_path):
    done = subprocess.run([sys.executable, ROOT / "stages" / "__main__.py", "--help"], cwd=tmp_path, capture_output=True,
                          text=True)
    assert done.returncode == 1 and not done.stdout and done.stderr.count("\n") == 1 and str(tmp_path) in done.stderr


def test_the_code_of_the_current_checkout_runs_whichever_was_installed(tmp_path):
    other, script = tmp_path / "other", tmp_path / "bin" / "thb"
    for name in ("stages/__init__.py", "stages/__main__.py", "stages/_cli.py", "dvc.yaml", "params.yaml"):
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, other / name)
    shutil.copytree(ROOT / "pipeline" / "core", other / "pipeline" / "core")
    shutil.copy(ROOT / "pipeline" / "__init__.py", other / "pipeline")
    (other / "stages" / "hello.py").write_text(
        "from pipeline.core import errors\ndef main(words): print(__file__, errors.__file__, *words)\n")
    script.parent.mkdir()
    script.write_text(f"import sys\nsys.path.append({str(ROOT)!r})\nfrom stages.__main__ import main\nsys.exit(main())\n")
    done = subprocess.run([sys.executable, script, "hello", "you"], cwd=other, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(other / "stages/hello.py"), str(other / "pipeline/core/errors.py"), "you"]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_completion_knows_every_verb_and_option(monkeypatch, shell):
    monkeypatch.chdir(ROOT)
    script = thb.completion(shell)
    assert not [verb for verb in VERBS if verb not in script]
    assert "--i-have-consent" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_options_of_one_name_mean_the_same_everywhere():
    made = argparse.ArgumentParser()
    for name in _cli.OPTIONS:
        _cli.add(made, name, required=False)
    given = made.parse_args(["--dataset", "ci", "--shots", "8", "--out", "here"])
    assert (given.dataset, given.shots, given.out, given.params) == ("ci", 8, Path("here"), Path("params.yaml"))
