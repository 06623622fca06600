"""Facts about the store of clips: the same tars in any order, nothing lost in a kill, nothing kept that is not wanted."""

import itertools
import os
import tarfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.core.ledger import RejectedItem
from pipeline.media.clip_store import Buckets, Item, Place, read
from pipeline.media.multipart import Parts

VIDEOS = {letter * 11: np.random.default_rng(k).bytes(700 + 300 * k) for k, letter in enumerate("abc")}


def made(video: str, status: str = "ok") -> list[tuple[Item, dict[str, bytes]]]:
    members = {".mp4": VIDEOS[video], ".boxes.npy": VIDEOS[video][:90]} if status == "ok" else {}
    return [(Item(f"id00001/{video}/{k:05d}", f"key{k}", status, "", {}), members) for k in range(2)]


def wanted(videos: list[str]) -> dict[str, str]:
    return {item.name: item.key for video in videos for item, _ in made(video)}


def everything(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_any_order_and_any_number_of_sittings_give_the_same_files(tmp_path: Path) -> None:
    found = []
    for number, order in enumerate(itertools.permutations(VIDEOS)):
        folder = tmp_path / str(number)
        for video in order:
            Buckets(folder, 1).keep(video, made(video))  # a process each
            if number % 2:  # finished in between
                Buckets(folder, 1).finish(0, wanted(list(VIDEOS)))
        Buckets(folder, 1).finish(0, wanted(list(VIDEOS)))
        found.append(everything(folder))
    assert all(files == found[0] for files in found) and len(found[0]) == 2


def test_members_are_found_by_their_place_and_by_tar(tmp_path: Path) -> None:
    store = Buckets(tmp_path, 1)
    for video in VIDEOS:
        store.keep(video, made(video))
    store.finish(0, wanted(list(VIDEOS)))
    name, size = store.archive(0) or ("", 0)
    assert (tmp_path / name).stat().st_size == size
    with tarfile.open(tmp_path / name) as archive, Parts([tmp_path / name]) as parts:
        assert archive.getnames() == sorted(archive.getnames())
        for item in store.items(0):
            for suffix, place in item.members.items():
                member = archive.extractfile(f"{item.name}{suffix}")
                assert member and member.read() == read(parts, Place(*place))
                with pytest.raises(RejectedItem, match="damaged"):
                    read(parts, Place(place[0] + 1, *place[1:]))
    assert Place.parse(str(Place(1, 2, 3))) == Place(1, 2, 3)


def test_a_record_torn_at_any_byte_is_passed_over_and_the_others_count(tmp_path: Path) -> None:
    store = Buckets(tmp_path, 1)
    store.keep("aaaaaaaaaaa", made("aaaaaaaaaaa"))
    (journal,) = tmp_path.glob("*.journal")
    first = journal.stat().st_size
    store.keep("bbbbbbbbbbb", made("bbbbbbbbbbb"))
    data = journal.read_bytes()
    for end in [*range(first, first + 30), *range(first + 30, len(data), 97)]:
        journal.write_bytes(data[:end])
        assert set(Buckets(tmp_path, 1).known("aaaaaaaaaaa")) == set(wanted(["aaaaaaaaaaa"]))
    Buckets(tmp_path, 1).keep("ccccccccccc", made("ccccccccccc"))  # the next process does not write behind the torn one
    assert set(Buckets(tmp_path, 1).known("aaaaaaaaaaa")) == set(wanted(["aaaaaaaaaaa", "ccccccccccc"]))
    Buckets(tmp_path, 1).finish(0, wanted(list(VIDEOS)))
    assert {item.name for item in Buckets(tmp_path, 1).items(0)} == set(wanted(["aaaaaaaaaaa", "ccccccccccc"]))


def test_what_is_not_wanted_any_more_leaves_the_tar_and_the_list(tmp_path: Path) -> None:
    store = Buckets(tmp_path, 1)
    for video in VIDEOS:
        store.keep(video, made(video, "gone" if video.startswith("c") else "ok"))
    store.finish(0, wanted(list(VIDEOS)))
    store.finish(0, wanted(["bbbbbbbbbbb"]))
    files = everything(tmp_path)
    assert len(files) == 2 and all(b"aaaa" not in data and VIDEOS["aaaaaaaaaaa"] not in data for data in files.values())
    assert dict(store.known("bbbbbbbbbbb")) == wanted(["bbbbbbbbbbb"])
    store.finish(0, {})
    assert len(everything(tmp_path)) == 1 and store.archive(0) is None


def test_another_text_of_an_utterance_is_another_key_and_made_anew(tmp_path: Path) -> None:
    store = Buckets(tmp_path, 1)
    store.keep("aaaaaaaaaaa", made("aaaaaaaaaaa"))
    store.finish(0, wanted(["aaaaaaaaaaa"]) | {"id00001/aaaaaaaaaaa/00001": "new"})
    assert list(store.known("aaaaaaaaaaa")) == ["id00001/aaaaaaaaaaa/00000"]


def test_a_kill_between_any_two_steps_of_finishing_loses_nothing(tmp_path: Path, monkeypatch) -> None:
    class Killed(Exception):
        pass

    whole = Buckets(tmp_path / "whole", 1)
    for video in VIDEOS:
        whole.keep(video, made(video))
    whole.finish(0, wanted(list(VIDEOS)))
    for steps in range(8):
        store = Buckets(tmp_path / str(steps), 1)
        store.keep("aaaaaaaaaaa", made("aaaaaaaaaaa"))
        store.finish(0, wanted(list(VIDEOS)))
        for video in ("bbbbbbbbbbb", "ccccccccccc"):
            store.keep(video, made(video))
        left = iter(range(steps))

        def step(function, *args, left=left, **kwargs):
            if next(left, None) is None:
                raise Killed
            return function(*args, **kwargs)

        with monkeypatch.context() as patch:
            for name, where in (("replace", os), ("unlink", Path), ("write_text", Path)):
                original = getattr(where, name)
                patch.setattr(where, name, lambda *args, original=original, **kwargs: step(original, *args, **kwargs))
            with suppress(Killed):
                store.finish(0, wanted(list(VIDEOS)))
        Buckets(tmp_path / str(steps), 1).finish(0, wanted(list(VIDEOS)))
        assert everything(tmp_path / str(steps)) == everything(tmp_path / "whole"), steps


def test_a_tar_that_is_gone_or_cut_is_refused_in_a_sentence(tmp_path: Path) -> None:
    store = Buckets(tmp_path, 1)
    store.keep("aaaaaaaaaaa", made("aaaaaaaaaaa"))
    store.finish(0, wanted(list(VIDEOS)))
    (tar,) = tmp_path.glob("*.tar")
    tar.write_bytes(tar.read_bytes()[:-1])
    with pytest.raises(InputError,
                       match=r"000\.jsonl: .*remove it to fetch its clips again"):
        Buckets(tmp_path, 1).known("aaaaaaaaaaa")
