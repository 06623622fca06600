"""The trials of a study: which pictures, as many of every kind, the same from the same inputs, nobody who was taken down."""

import io
from collections import Counter

import made_study as made
import numpy as np
import pytest
from PIL import Image

from eval.study import build
from eval.study.trials import CHECK, Study
from pipeline.core.errors import InputError
from stages import study as study_stage


def test_a_trial_is_two_real_frames_of_two_other_videos_and_the_method_s_picture_of_a_held_out_frame(world):
    study = world[2]
    for trial in study.trials.values():
        rows = [made.row_of(study.png(trial, k)) for k in range(3)]
        assert rows[trial.fake] is None and len({clip.split("/")[1] for clip in trial.clips}) == 3
        fake = np.asarray(Image.open(io.BytesIO(study.png(trial, trial.fake))))
        if trial.method != CHECK:
            assert (fake == made.noise(trial.method, trial.shots, trial.row)).all()
            rows[trial.fake] = trial.row
        else:
            assert trial.row in rows and not trial.clips[trial.fake].endswith("v0")  # the held-out frame is there, whole
        for row, clip in zip(rows, trial.clips):
            assert clip.startswith(trial.person) and (row is None or clip == clip_of(row))


def clip_of(row):
    return f"p{row // 40}/v{row % 40 // 10}"


def test_every_cell_person_and_position_has_as_many_trials_as_any_other(world):
    trials = world[2].trials.values()
    assert len(trials) == 5 * 4 * 6  # four cells and the checks, four people, six frames
    kinds = ((5, lambda t: (t.method, t.shots)), (4, lambda t: t.person), (60, lambda t: (t.method, t.shots, t.person, t.fake)))
    for different, what in kinds:
        found = Counter(map(what, trials))
        assert len(found) == different and len(set(found.values())) == 1
    scenes = {}
    for t in trials:
        if t.method == CHECK:
            continue
        real = frozenset(p for k, p in enumerate(t.pictures) if k != t.fake)
        scenes.setdefault((t.method, t.shots), set()).add((t.scene, real))
    assert len({frozenset(found) for found in scenes.values()}) == 1  # every method is seen beside the same real frames


def test_the_same_inputs_give_the_same_bytes_and_another_seed_other_trials(world, tmp_path):
    _, inputs, study = world
    for name, seed in (("again", 0), ("other", 1)):
        made.study(tmp_path / name, inputs, seed=seed)
    again, other = (tmp_path / name / "study" / "made" / "trials" for name in ("again", "other"))
    for file in ("trials.json", "00000.tar", "manifest.json"):
        assert (again / file).read_bytes() == (study.folder / file).read_bytes()
    assert not Study(other).trials.keys() & study.trials.keys()


def test_a_person_on_the_take_down_list_has_no_trial_and_nobody_else_s_changes(world, tmp_path):
    inputs = made.data(tmp_path)
    (tmp_path / "data" / "made" / "takedown.txt").write_text("p2\n")
    fewer = made.study(tmp_path, inputs)
    assert fewer.trials.keys() == {name for name, t in world[2].trials.items() if t.person != "p2"}


def test_a_video_on_the_list_is_in_no_trial(tmp_path):
    inputs = made.data(tmp_path)
    (tmp_path / "data" / "made" / "takedown.txt").write_text("p1/v2\n")
    trials = made.study(tmp_path, inputs).trials.values()
    assert {clip for t in trials for clip in t.clips if clip.startswith("p1")} == {"p1/v0", "p1/v1", "p1/v3"}


def test_utterances_of_one_video_are_one_video(tmp_path):
    trials = made.study(tmp_path, made.data(tmp_path, videos=3, utterances=2)).trials.values()
    assert all({clip.split("/")[1] for clip in t.clips} == {"v0", "v1", "v2"} for t in trials)


def rows_shown(study):
    return {made.row_of(study.png(t, k)) for t in study.trials.values() for k in range(3) if k != t.fake}


def test_a_frame_without_landmarks_is_in_no_trial(tmp_path):
    one = rows_shown(made.study(tmp_path / "all", made.data(tmp_path / "all", people=1, videos=3)))
    blind = max(one)
    assert blind not in rows_shown(made.study(tmp_path / "few", made.data(tmp_path / "few", people=1, videos=3, blind=blind)))


def test_a_person_with_two_videos_is_left_out_with_a_sentence_and_the_other_rule_says_what_it_is(tmp_path):
    inputs = made.data(tmp_path, videos=2)
    with pytest.raises(InputError, match=r"p0 .*\b1\b.*\b2\b.*study\.rule"):
        made.study(tmp_path / "a", inputs)
    study = made.study(tmp_path / "b", inputs, made.config(rule="frames", apart=0.75))
    assert all(set(t.clips) == {f"{t.person}/v0"} for t in study.trials.values())
    assert "same-video" in "\n".join(study_stage.summary(study, [], 4))
    with pytest.raises(InputError, match=r"\b9 s\b.*study\.apart"):
        made.study(tmp_path / "c", inputs, made.config(rule="frames", apart=9.0))


def test_frames_of_the_same_video_are_apart_in_time_and_no_source_is_shown(tmp_path):
    study = made.study(tmp_path, made.data(tmp_path, people=1), made.config(rule="frames", apart=0.75))  # two frames
    for t in (t for t in study.trials.values() if t.method != CHECK):
        rows = sorted([t.row, *(made.row_of(study.png(t, k)) for k in range(3) if k != t.fake)])
        assert min(np.diff(rows)) >= 2 and not set(rows) & {0, 1}


def test_without_anything_drawn_the_way_out_is_said(tmp_path):
    inputs = made.data(tmp_path, cells=())
    with pytest.raises(InputError, match="make repro"):
        made.study(tmp_path, inputs)


def test_a_picture_in_pieces_has_all_its_pixels_and_none_of_its_squares_in_place():
    picture = made.noise("real", 0)
    out = build.in_pieces(picture, np.random.default_rng(0))
    assert Counter(map(tuple, out.reshape(-1, 3))) == Counter(map(tuple, picture.reshape(-1, 3)))
    same = (out == picture).reshape(4, 4, 4, 4, 3).all((1, 3, 4))
    assert not same.any()
