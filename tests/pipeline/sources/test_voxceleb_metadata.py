"""Facts about VoxCeleb's metadata: whatever form it was passed on in, it is read, and what is wrong is a sentence."""

import io
import re
import struct
import zipfile
from pathlib import Path

import made_archives as archives
import made_site
import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.core.ledger import RejectedItem
from pipeline.sources.voxceleb import metadata, speakers, utterances

VIDEO = "_raOc3-IRsw"
GOOD = made_site.text("id00012", VIDEO, 349, [(.319, .067, .424, .753)] * 2).encode()


def read(data: bytes, kind: utterances.Kind = "fractions") -> tuple[utterances.Track, list[str]]:
    return utterances.text(data, kind, "id00012", VIDEO)


@pytest.mark.parametrize("form", [
    GOOD, b"\xef\xbb\xbf" + GOOD, GOOD.replace(b"\n", b"\r\n"), GOOD.replace(b"\n", b"\n\n"), GOOD.replace(b" \t", b","),
    GOOD.replace(b" \t", b"  "), GOOD.replace(b" \n", b" \t9.5 \textra \n"), GOOD.rstrip(), GOOD[GOOD.index(b"FRAME"):],
    GOOD.replace(b"Identity  ", b"IDENTITY")], ids=range(10))
def test_every_form_in_which_an_utterance_is_passed_on_gives_the_same_boxes(form: bytes) -> None:
    track, wrong = read(form)
    assert (track.first, track.last, wrong) == (349, 350, [])
    assert np.allclose(track.pixels(1280, 720)[0], [.319 * 1280, .067 * 720, .743 * 1280, .82 * 720])


def test_boxes_of_voxceleb1_are_pixels_of_a_picture_360_rows_high() -> None:
    track, _ = read(b"FRAME X Y W H\n002316 223 80 130 130\n", "360-rows")
    assert track.pixels(1280, 720).tolist() == [[446, 160, 706, 420]]
    assert track.pixels(480, 360).tolist() == [[223, 80, 353, 210]]


def test_pictures_without_a_row_have_no_box_and_the_first_row_of_a_picture_counts() -> None:
    track, wrong = read(b"FRAME X Y W H\n5 0 0 1 1\n5 9 9 9 9\n8 .5 .5 .25 .25\n")
    assert track.first == 5 and np.isnan(track.boxes[:, 0]).tolist() == [False, True, True, False] and not wrong
    assert track.boxes[0].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("line", [
    b"x .1 .1 .1 .1", b"7 .1 .1 .1", b"7 nan .1 .1 .1", b"7 .1 .1 0 .1", b"7 .1 .1 -1 .1", b"7.5 .1 .1 .1 .1", b"7 1e99 1 1 1",
    b"-7 .1 .1 .1 .1", b"999999999 .1 .1 .1 .1", b"\xff\xfe\x00", b"7 " + b"1" * 9999])
def test_a_line_that_is_wrong_is_a_sentence_and_the_others_count(line: bytes) -> None:
    track, wrong = read(GOOD + line + b"\n")
    assert (track.first, track.last) == (349, 350) and len(wrong) == 1
    assert wrong[0].startswith("line 10 ") and len(wrong[0]) < 200


@pytest.mark.parametrize("data, status, named", [
    (b"", "corrupt", "FRAME"), (b"\0" * 1000, "corrupt", "FRAME"),
    (b"FRAME X Y W H\n", "corrupt", None), (b"FRAME X Y W H\nx\n", "corrupt", "'x'.*FRAME X Y W H"),
    (GOOD.replace(b"id00012", b"id00013"), "bad-name", "'id00013'.*id00012"),
    (GOOD.replace(VIDEO.encode(), b"x"), "bad-name", "'x'"),
    (b"FRAME X Y W H\n0 1 1 1 1\n2000000 1 1 1 1\n", "too-large", None)])
def test_a_text_that_is_none_is_a_row_with_a_sentence(data: bytes, status: str, named: str | None) -> None:
    with pytest.raises(RejectedItem, match=named) as found:
        read(data)
    assert found.value.status == status


def test_a_line_of_the_csv_is_one_box_for_the_whole_clip() -> None:
    person, video, test, track = utterances.line(b"WMh3ye5tBsE,3657,3994,624-48-1018-553,25,1280,720,train,id10005\r\n")
    assert (person, video, test) == ("id10005", "WMh3ye5tBsE", False)
    assert (track.first, track.last) == (3657, 3993)  # the end is not a picture of it
    assert np.allclose(track.pixels(640, 360), [312, 24, 509, 276.5])
    assert utterances.line(b"WMh3ye5tBsE,30,60,0-0-9-9,30,9,9,test,id10005")[2:][1].first == 25


@pytest.mark.parametrize("line, status", [
    (b"WMh3ye5tBsE,3657", "corrupt"), (b"../../etcpas,1,2,0-0-9-9,25,9,9,train,id10005", "bad-name"),
    (b"WMh3ye5tBsE,1,2,0-0-9-9,25,9,9,train,me", "bad-name"), (b"WMh3ye5tBsE,9,2,0-0-9-9,25,9,9,train,id10005", "corrupt"),
    (b"WMh3ye5tBsE,1,2,0-0-9,25,9,9,train,id10005", "corrupt"), (b"WMh3ye5tBsE,1,2,9-0-0-9,25,9,9,train,id10005", "corrupt"),
    (b"WMh3ye5tBsE,1,2,0-0-9-9,0,9,9,train,id10005", "corrupt"), (b"WMh3ye5tBsE,1,2,0-0-9-9,25,0,9,train,id10005", "corrupt"),
    (b"WMh3ye5tBsE,1,9999999,0-0-9-9,25,9,9,train,id10005", "corrupt"),
    ("WMh3ye5tBsE,١,2,0-0-9-9,25,9,9,x,id10005".encode(), "corrupt")])
def test_a_wrong_line_of_the_csv_is_a_row(line: bytes, status: str) -> None:
    with pytest.raises(RejectedItem) as found:
        utterances.line(line)
    assert found.value.status == status


def laid(folder: Path, names: list[str]) -> dict[str, bytes]:
    """The same utterances as a zip and as a folder."""
    members = {f"txt/{name}.txt": made_site.text(*name.split("/")[:2], k, [(.1, .1, .2, .2)] * 3).encode()
               for k, name in enumerate(names)}
    (folder / "vox2_test_txt.zip").write_bytes(archives.zipped(members))
    for name, data in members.items():
        path = folder / "unpacked" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return members


NAMES = [f"id00012/{VIDEO}/00002", f"id00012/{VIDEO}/00001", f"id00099/{VIDEO}/00001", "id00012/-----------/99999"]


def test_a_packed_tree_and_a_folder_list_and_read_the_same(tmp_path: Path) -> None:
    laid(tmp_path, NAMES)
    tracks = {}
    for place in (tmp_path / "vox2_test_txt.zip", tmp_path / "unpacked", tmp_path / "unpacked/txt"):
        rows, twice, _ = metadata.plan([place])
        assert not len(twice) and [row["video"].decode() for row in rows] == ["-----------", *[VIDEO] * 3]
        assert rows["test"].all() == (place.suffix == ".zip")
        found = sorted(item for item in metadata.scan(place) if isinstance(item, metadata.Found))
        tracks[place] = [metadata.read(place, item, "fractions")[0] for item in found]
        assert ["/".join(item[:3]) for item in found] == sorted(NAMES)
    one, *others = ([(track.first, track.boxes.tolist()) for track in tracks[place]] for place in tracks)
    assert all(other == one for other in others)
    assert metadata.videos(metadata.plan([tmp_path / "unpacked"]).rows) == [(0, 1), (1, 4)]


def test_what_two_sources_list_counts_once(tmp_path: Path) -> None:
    laid(tmp_path, NAMES)
    rows, twice, _ = metadata.plan([tmp_path / "vox2_test_txt.zip", tmp_path / "unpacked"])
    assert (len(rows), len(twice)) == (4, 4) and not rows["source"].any() and twice["source"].all()


def test_names_that_lead_elsewhere_links_and_bombs_are_rows(tmp_path: Path) -> None:
    good = f"txt/id00012/{VIDEO}/00001.txt"
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in (good, f"dev/txt/id00012/{VIDEO}/00002.txt", "../../evil.txt", f"txt/../txt/id00012/{VIDEO}/00003.txt",
                     f"/txt/id00012/{VIDEO}/00003.txt", f"txt/id00012/{VIDEO}x/00003.txt", f"txt/id0001/{VIDEO}/00003.txt",
                     "txt/id00012/../../../../../00003.txt", f"txt/id00012/{VIDEO}/00003.txt\n",
                     "txt/id٠٠٠١٢/aaaaaaaaaaa/00001.txt"):
            archive.writestr(name, GOOD)
        archive.writestr(f"txt/id00012/{VIDEO}/00004.txt", b"0" * (metadata.LARGEST + 1))
        link = zipfile.ZipInfo(f"txt/id00012/{VIDEO}/00005.txt")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, b"/etc/passwd")
        archive.writestr("txt/", b"")
    found = list(metadata.scan(tmp_path / "x.zip"))
    assert ["/".join(item[:3]) for item in found if isinstance(item, metadata.Found)] == [
        f"id00012/{VIDEO}/00001", f"id00012/{VIDEO}/00002"]
    wrong = [item.status for item in found if isinstance(item, metadata.Wrong)]
    assert wrong == ["bad-name"] * 8 + ["too-large", "bad-name"]
    assert all("\n" not in item.name for item in found if isinstance(item, metadata.Wrong))
    folder = tmp_path / "tree/id00012" / VIDEO
    folder.mkdir(parents=True)
    (folder / "00001.txt").symlink_to("/etc/passwd")
    assert [item.status for item in metadata.scan(tmp_path / "tree")] == ["bad-name"]


def test_a_table_of_contents_with_64_bit_numbers_is_read(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in NAMES:
            with archive.open(zipfile.ZipInfo(f"txt/{name}.txt"), "w", force_zip64=True) as member:
                member.write(GOOD)
    data = file.getvalue()
    end = data.rindex(b"PK\5\6")
    start, size = struct.unpack_from("<L", data, end + 16)[0], struct.unpack_from("<L", data, end + 12)[0]
    large = struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 4, 4, size, start)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    last = b"PK\5\6" + struct.pack("<HHHHLLH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    (tmp_path / "x.zip").write_bytes(data[:end] + large + locator + last)
    assert sum(isinstance(item, metadata.Found) for item in metadata.scan(tmp_path / "x.zip")) == 4


@pytest.mark.parametrize("data", [b"", b"no zip", archives.zipped({"a": GOOD})[:-30], archives.zipped({"a": GOOD})[40:],
                                  b"PK\5\6" + b"\xff" * 18, archives.zipped({"a": GOOD}).replace(b"PK\1\2", b"PK\1\3")])
def test_what_is_no_zip_is_refused_in_a_sentence(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(InputError, match=r"x\.zip"):
        list(metadata.scan(tmp_path / "x.zip"))


def test_a_million_utterances_are_listed_in_bounded_memory(tmp_path: Path) -> None:
    """Here 20,000, for which a fiftieth of the memory must do."""
    import tracemalloc
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for k in range(20_000):
            archive.writestr(f"txt/id{k % 6000:05d}/{k // 8:011d}/{k % 8:05d}.txt", b"")
    tracemalloc.start()
    rows, _, _ = metadata.plan([tmp_path / "x.zip"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(rows) == 20_000 and len(metadata.videos(rows)) == 2500
    assert peak < 400 * len(rows)  # bytes an utterance; zipfile's own table takes 700


def test_speakers_are_read_from_every_form_of_the_list(tmp_path: Path) -> None:
    forms = {"tabs": "VoxCeleb1 ID\tVGGFace1 ID\tGender\tSet\nid10001\tA.J._B\tm\tdev\nid10270\tE\tm\ttesto \n",
             "commas": "﻿VoxCeleb2ID,VGGFace2ID,Gender,Set\r\nid10001,n1,m,dev\r\n\r\nid10270,n2,f,test\r\n",
             "spaces": "VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set \nid10001 ,n1 ,m ,dev \nid10270 ,n2 ,f ,TEST \n"}
    for name, text in forms.items():
        (tmp_path / name).write_text(text, newline="")
        found = speakers.read(tmp_path / name)
        assert (found.tested, found.known, found.wrong) == ({"id10270"}, {"id10001", "id10270"}, {}), name
    (tmp_path / "odd").write_text("ID,Set\nid1,dev\nid10002,\nid10003\nid10004,dev\n")
    odd = speakers.read(tmp_path / "odd")
    assert list(odd.wrong) == ["2", "3", "4"] and odd.known == {"id10004"}


def test_what_is_no_list_of_speakers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n")
    for name in ("a.csv", "none.csv"):
        with pytest.raises(InputError, match=re.escape(name)):
            speakers.read(tmp_path / name)


def test_the_real_lists_and_texts_are_read(shared_data: Path) -> None:
    real = shared_data / "voxmeta"
    one, two = speakers.read(real / "vox1_meta.csv"), speakers.read(real / "vox2_meta.csv")
    assert (len(one.known), len(one.tested), len(two.tested)) == (1251, 40, 120) and not one.wrong and not two.wrong
    rows, twice, _ = metadata.plan([real / "fomm_vox-metadata.csv"])
    assert len(rows) == 20_075 and not len(twice) and rows["test"].sum() == 525
    assert not any(isinstance(item, metadata.Wrong) for item in metadata.scan(real / "fomm_vox-metadata.csv"))
    track, wrong = utterances.text((real / "vox1_utterance.txt").read_bytes(), "360-rows", "id10661", "lSI69L4DidQ")
    assert (track.first, track.last, wrong) == (2316, 2319, [])
    track, wrong = utterances.text((real / "vox2_utterance.txt").read_bytes(), "fractions", "id00012", VIDEO)
    assert (track.first, track.last, wrong) == (349, 350, [])
