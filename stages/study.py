"""Builds, serves, scores or exports the user study: which of three images is the fake? (docs/study.md)"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path

from eval.study.answers_db import Answers, Row
from eval.study.trials import WORDS, Config, Study
from pipeline.core import config, fileio, stage, takedown
from pipeline.core.errors import InputError
from stages import _cli


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = _cli.parser(__doc__, "data", "results", "params")
    made.add_argument("verb", choices=list(VERBS))
    _cli.add(made, "dataset", required=False, help="a file of params/ (default: the first one of `datasets`)")
    made.add_argument("--study", type=Path, default=Path("study"), help="holds DATASET/trials and the answers")
    made.add_argument("--simulated", action="store_true", help="serve: mark all who begin as simulated; score, export: "
                      "only such answers, and nothing is written to results")
    return made


def main(words: Sequence[str] | None = None) -> None:
    """One verb over one data set."""
    given = parser().parse_args(words)
    params = config.load(given.params)
    given.dataset = given.dataset or params.datasets[0]
    config.dataset(given.params, given.dataset)  # refused when there is none
    VERBS[given.verb](given, params, config.parse(Config, params.study, f"{given.params}: study"))


def build(given: argparse.Namespace, params: config.Params, chosen: Config) -> None:
    """study/DATASET/trials from results/DATASET and data/DATASET."""
    from eval.study import build as make

    parts = {name: given.data / given.dataset / name for name in ("frames", "landmarks", "split")}
    cells = {(m, t): given.results / given.dataset / m / str(t) / "images" for m in params.methods for t in params.shots}
    drawn = {cell: folder for cell, folder in cells.items() if (folder / "manifest.json").exists()}
    inputs = parts | {f"{m} T={t}": folder for (m, t), folder in drawn.items()}
    out = given.study / given.dataset / "trials"
    with stage.run("study", out=out, inputs=inputs, config=[chosen.design(), params.seed]) as job:
        job.publish("study", make.build(make.Inputs(**parts, drawn=drawn), chosen, params.seed, given.dataset, job.out))
    print("\n".join(summary(Study(out), cells.keys() - drawn.keys(), chosen.trials)))


def summary(study: Study, absent: Collection[tuple[str, int]], each: int) -> list[str]:
    """What a study consists of, and what it lacks."""
    body = study.manifest
    cells = len(body["cells"]) - 1
    said = [f"{study.folder}: {body['trials']} trials: {body['people']} people, {cells} cells of method and T, "
            f"{body['trials'] // (cells + 1)} trials in each and as many attention checks; {WORDS[body['design']['rule']]}"]
    if (often := -(-each // body["people"])) > 1:
        said.append(f"with {each} trials a rater sees a person up to {often} times; all fakes of a person are of one video, "
                    "which may be noticed: lower study.trials, or test more people")
    said += [f"left out: {why}" for why in body["left_out"].values()]
    return said + ([f"not drawn, so not in it: {', '.join(f'{m} T={t}' for m, t in sorted(absent))}"] if absent else [])


def serve(given: argparse.Namespace, params: config.Params, chosen: Config) -> None:
    """The study as a web page, until it is stopped."""
    from eval.study import web_app

    study = opened(given)
    answers = Answers(base_of(given), study.design, simulated=given.simulated)
    try:
        server = web_app.server(web_app.create(study, answers, chosen, lists(given)), chosen)
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed; `make study` installs the extra `study`") from None
    except OSError as error:
        raise InputError(f"study.host, study.port: {chosen.host}:{chosen.port}: {error.strerror}; choose another port, or end "
                         "what has it") from None
    print(f"http://{chosen.host}:{server.effective_port}/ shows {len(study.trials)} trials; answers go to {answers.path}; "
          "Ctrl-C stops, nothing is lost", flush=True)
    server.run()


def score(given: argparse.Namespace, params: config.Params, chosen: Config) -> None:
    """results/DATASET/study/user.json, or with --simulated study/DATASET/simulated.json."""
    from eval.scoring import user_study
    from eval.study import user_score as make

    study = opened(given)
    rows, said = make.of_people(answers_of(given, study), given.simulated)
    body = make.score(study, rows, takedown.read(*lists(given)), chosen.level)
    tables = given.results / given.dataset / user_study.FOLDER / user_study.NAME
    out = base_of(given).with_name("simulated.json") if given.simulated else tables
    out.parent.mkdir(parents=True, exist_ok=True)
    fileio.write_json(out, body)
    print("\n".join(filter(None, [said, *make.lines(body), f"{out}: written"])))


def export(given: argparse.Namespace, params: config.Params, chosen: Config) -> None:
    """study/DATASET/answers.csv and answers.parquet: one line an answer, no personal data."""
    from eval.study import user_score as make

    study = opened(given)
    rows, said = make.of_people(answers_of(given, study), given.simulated)
    table = make.table(study, rows, takedown.read(*lists(given)))
    out = base_of(given).with_name("simulated" if given.simulated else "answers")
    table.to_csv(out.with_suffix(".csv"), index=False)
    table.to_parquet(out.with_suffix(".parquet"), index=False)
    counts = f"{len(table)} answers of {table['rater'].nunique()} raters: {out}.csv, {out}.parquet"
    print("\n".join(filter(None, [said, counts])))


def opened(given: argparse.Namespace) -> Study:
    """The trials that were built."""
    folder = given.study / given.dataset / "trials"
    if not (folder / "manifest.json").exists():
        raise InputError(f"{folder}: no study is built; run `python -m stages.study build`")
    return Study(folder)


def base_of(given: argparse.Namespace) -> Path:
    """Where the answers are."""
    return Path(given.study / given.dataset / "answers.sqlite")


def answers_of(given: argparse.Namespace, study: Study) -> list[Row]:
    """All answers so far; a server may be running."""
    if not (path := base_of(given)).exists():
        raise InputError(f"{path}: nobody has answered yet; run `python -m stages.study serve` and share its address")
    answers = Answers(path, study.design, simulated=given.simulated)
    try:
        return answers.rows()
    finally:
        answers.close()


def lists(given: argparse.Namespace) -> tuple[Path, ...]:
    """The take-down lists: of the checkout, of the data set, of the study (for a server that has neither)."""
    return (Path(takedown.NAME), given.data / given.dataset / takedown.NAME, given.study / given.dataset / takedown.NAME)


VERBS = {"build": build, "serve": serve, "score": score, "export": export}

if __name__ == "__main__":
    _cli.run(main)
