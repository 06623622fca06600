"""Facts about the split: people, not frames, are kept apart."""

import numpy as np
import pandas as pd
import pytest

from pipeline import split
from pipeline.core.errors import InputError
from pipeline.split import Config

CONFIG = Config(test_people=2, sources=4, holdout=3, least=3)


def index(people: int = 6, videos: int = 3, count: int = 10) -> pd.DataFrame:
    return pd.DataFrame([{"clip": f"p{p}/v{v}", "person": f"p{p}", "video": f"v{v}", "frame": f}
                         for p in range(people) for v in range(videos) for f in range(count)])


def everywhere(table: pd.DataFrame) -> np.ndarray:
    return np.ones(len(table), bool)


def test_test_people_never_appear_in_training() -> None:
    table = index()
    made = split.make(table, everywhere(table), CONFIG, 0)
    tested = {subject["person"] for subject in made.test}
    assert len(tested) == 2 and not tested & set(made.train["person"])
    assert len(made.train) == 4 * 3
    assert made.excluded["reason"].str.contains("is a test person").sum() == 2 * 2


def test_every_video_is_in_exactly_one_place() -> None:
    table = index()
    found = everywhere(table)
    found[35:40] = False
    made = split.make(table, found, CONFIG, 0)
    places = [*made.train["video"], *made.excluded["video"], *(subject["video"] for subject in made.test)]
    assert sorted(places) == sorted(table["clip"].unique())


def test_sources_and_held_out_frames_have_landmarks_are_disjoint_and_of_that_video() -> None:
    table = index()
    found = np.random.default_rng(0).random(len(table)) < .85
    for subject in split.make(table, found, CONFIG, 0).test:
        rows = subject["sources"] + subject["holdout"]
        assert len(set(rows)) == 7 and len(subject["sources"]) == 4
        assert found[rows].all() and (table["clip"].iloc[rows] == subject["video"]).all()


def test_frames_are_drawn_from_the_whole_clip_not_its_beginning() -> None:
    table = index(count=200)
    rows = split.make(table, everywhere(table), CONFIG, 0).test[0]["sources"]
    assert rows != sorted(rows) and max(rows) - min(rows) > 50


def test_row_ranges_lead_to_the_rows_of_the_video() -> None:
    table = index()
    for row in split.make(table, everywhere(table), CONFIG, 0).train.to_dict("records"):
        part = table.iloc[row["start"]:row["stop"]]
        assert (part["clip"] == row["video"]).all() and len(part) == 10 and part["person"].iloc[0] == row["person"]


def test_the_same_data_give_the_same_split_and_another_seed_another() -> None:
    table = index(people=20)
    one, two = (split.make(table, everywhere(table), CONFIG, 0) for _ in range(2))
    assert one.test == two.test and one.train.equals(two.train)
    other = split.make(table, everywhere(table), CONFIG, 1)
    assert [s["person"] for s in other.test] != [s["person"] for s in one.test]


def test_one_more_person_leaves_the_frames_of_the_others_as_they_were() -> None:
    def frames(people: int) -> dict[str, list[int]]:
        table = index(people=people)
        made = split.make(table, everywhere(table), CONFIG.model_copy(update={"test_people": 5}), 0)
        return {s["video"]: table["frame"].iloc[s["sources"]].tolist() for s in made.test}

    before, after = frames(6), frames(7)
    common = set(before) & set(after)
    assert len(common) >= 4 and all(before[video] == after[video] for video in common)


def test_a_video_with_too_few_landmarks_is_left_out_with_a_sentence() -> None:
    table = index()
    found = everywhere(table)
    person = split.make(table, found, CONFIG, 0).train.iloc[0]
    found[person["start"]:person["stop"] - 2] = False
    made = split.make(table, found, CONFIG, 0)
    reason = made.excluded.set_index("video")["reason"][person["video"]]
    assert reason.startswith("2 of 10 ") and "3 needed" in reason


def test_too_few_people_is_refused_with_the_way_out() -> None:
    table = index(people=3, count=6)
    with pytest.raises(InputError, match=r"^split\.test_people: 2 .*0 have a video with 7 usable"):
        split.make(table, everywhere(table), CONFIG, 0)
    table = index(people=2)
    with pytest.raises(InputError, match="no video is left for training"):
        split.make(table, everywhere(table), CONFIG, 0)


def test_who_is_listed_is_neither_tested_nor_trained_on() -> None:
    table = index(people=4)
    made = split.make(table, everywhere(table), CONFIG, 0, {"p1", "p2/v0"})
    used = {*made.train["video"], *(subject["video"] for subject in made.test)}
    assert not any(video.startswith("p1/") or video == "p2/v0" for video in used)
    listed = made.excluded[made.excluded["reason"] == "on the take-down list"]["video"]
    assert sorted(listed) == ["p1/v0", "p1/v1", "p1/v2", "p2/v0"]


def test_only_people_of_the_data_sets_own_test_part_are_tested_and_none_of_them_trains() -> None:
    table = index()
    made = split.make(table, everywhere(table), CONFIG, 0, reserved=["p1", "p3", "p4"])
    tested = {subject["person"] for subject in made.test}
    assert len(tested) == 2 and tested < {"p1", "p3", "p4"}
    assert set(made.train["person"]) == {"p0", "p2", "p5"}
    assert made.excluded["reason"].str.contains("belongs to the data set's test part").sum() == 3


def test_a_data_set_whose_test_part_is_too_small_is_refused() -> None:
    table = index()
    with pytest.raises(InputError, match=r"^split\.test_people: 2 .*1 have"):
        split.make(table, everywhere(table), CONFIG, 0, reserved=["p1"])


def test_the_utterances_of_a_video_are_one_video() -> None:
    table = index()
    parts = table.assign(clip=table["clip"] + "/" + (table["frame"] // 5).astype(str))
    whole, made = (split.make(rows, everywhere(rows), CONFIG, 0) for rows in (table, parts))
    assert made.train.equals(whole.train) and made.test == whole.test and made.excluded.equals(whole.excluded)


@pytest.mark.parametrize("listed, count", [("p0/v1/0", 5), ("p0/v1", 0), ("p0", 0)])
def test_a_listed_utterance_costs_its_frames_and_a_listed_video_all_of_them(listed: str, count: int) -> None:
    table = index()
    table["clip"] += "/" + (table["frame"] // 5).astype(str)
    config = CONFIG.model_copy(update={"test_people": 0})
    made = split.make(table, everywhere(table), config, 0, [listed])
    assert ("p0/v1" in set(made.train["video"])) == (count > 0)
    assert made.excluded["reason"].eq("on the take-down list").sum() == {"p0/v1/0": 0, "p0/v1": 1, "p0": 3}[listed]
