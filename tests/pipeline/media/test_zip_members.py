"""Facts about archives in parts: read as one file, judged member by member, never unpacked as a whole."""

import io
import os
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import made_archives as archives
import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.core.ledger import RejectedItem
from pipeline.frames.clips import shelves
from pipeline.media import zip_members
from pipeline.media.multipart import Parts
from pipeline.media.zip_members import Place

NAME = "dev/mp4/id00012/21Uxsk56VDQ/00001.mp4"


def lay(folder: Path, data: bytes) -> list[Path]:
    for name, part in archives.cut(data).items():
        (folder / name).write_bytes(part)
    return [folder / name for name in archives.PARTS]


def only(data: bytes, folder: Path) -> zip_members.Member:
    return next(zip_members.members(lay(folder, data)))


def test_nine_parts_read_like_the_file_they_were_cut_from(tmp_path: Path) -> None:
    whole = np.random.default_rng(0).bytes(10_007)
    rng = np.random.default_rng(1)
    with Parts(lay(tmp_path, whole)) as parts, io.BufferedReader(parts, 64) as buffered:
        assert buffered.read() == whole
        for _ in range(300):
            start, length = (int(value) for value in rng.integers(0, 11_000, 2))
            for file in (buffered, io.BytesIO(whole)):
                file.seek(start - len(whole), os.SEEK_END) if start <= len(whole) else file.seek(start)
                file.seek(-min(start, 7), os.SEEK_CUR)
                assert file.tell() == start - min(start, 7)
                assert file.read(length) == whole[start - min(start, 7):][:length]
        with pytest.raises(ValueError):
            parts.seek(-1)


def test_empty_parts_and_cuts_inside_a_header_are_no_trouble(tmp_path: Path) -> None:
    data = archives.zipped({NAME: b"a clip" * 100})
    paths = []
    for k, piece in enumerate([data[:0], data[:5], data[5:5], data[5:-7], data[-7:], b""]):
        paths.append(tmp_path / str(k))
        paths[-1].write_bytes(piece)
    with Parts(paths) as parts, zipfile.ZipFile(io.BufferedReader(parts)) as file:
        assert file.testzip() is None and file.read(NAME) == b"a clip" * 100


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    paths = lay(tmp_path, b"x" * 90)
    paths[3].unlink()
    with pytest.raises(InputError, match="vox2_dev_mp4_partad"):
        Parts(paths)


def test_a_members_bytes_are_found_by_its_place_alone(tmp_path: Path) -> None:
    clips = {f"dev/mp4/id00012/21Uxsk56VDQ/0000{k}.mp4": np.random.default_rng(k).bytes(500 + k) * 2 for k in range(5)}
    paths = lay(tmp_path, archives.zipped({"dev/": b"", "dev/mp4/": b"", **clips}))
    with Parts(paths) as parts:
        for member in zip_members.members(paths):
            where = Place.parse(str(zip_members.place(member, 10**6)))
            assert zip_members.read(parts, where) == clips[member.name]


def test_an_archive_of_more_than_four_gigabytes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as made:
        made.start_dir = 5 * 2**30  # a hole before it: no bytes on the disk
        made.writestr(NAME, b"a clip")
    member = next(zip_members.members([path]))
    assert member.info.header_offset > 2**32
    with Parts([path]) as parts:
        assert zip_members.read(parts, zip_members.place(member, 100)) == b"a clip"


def test_what_is_not_a_zip_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"vox2_dev_mp4_partaa.*\b8\b"):
        list(zip_members.members(lay(tmp_path, b"<html>login</html>" * 50)))


@pytest.mark.parametrize("change, status", [
    ({"external_attr": (stat.S_IFLNK | 0o777) << 16}, "bad-name"),
    ({"external_attr": (stat.S_IFCHR | 0o666) << 16}, "bad-name"),
    ({"flag_bits": 1}, "corrupt"),
    ({"flag_bits": 0x40}, "corrupt"),
    ({"compress_type": 12}, "corrupt"),
    ({"file_size": 2**40}, "too-large"),
    ({"compress_size": 2**40}, "too-large"),
    ({"file_size": 0}, "empty"),
    ({"compress_size": 900}, "corrupt"),
    ({"header_offset": -5}, "corrupt"),
])
def test_a_hostile_line_of_the_table_of_contents_is_a_reason(tmp_path: Path, change: dict, status: str) -> None:
    member = only(archives.zipped({NAME: b"a clip" * 20}), tmp_path)
    for key, value in change.items():
        setattr(member.info, key, value)
    with pytest.raises(RejectedItem) as found:
        zip_members.place(member, 1000)
    assert found.value.status == status


def test_the_ordinary_modes_of_a_zip_made_anywhere_are_files(tmp_path: Path) -> None:
    member = only(archives.zipped({NAME: b"a clip" * 20}), tmp_path)
    for mode in (0, 0o600 << 16, (stat.S_IFREG | 0o644) << 16, 0x20):
        member.info.external_attr = mode
        assert zip_members.place(member, 1000).size == 120


@pytest.mark.parametrize("change, words", [
    ({"crc": 1}, "CRC"), ({"size": 119}, "119"), ({"size": 121}, "121"),
    ({"offset": 3}, None), ({"packed": 10**6}, None), ({"method": 0}, "120"),
])
def test_a_member_that_is_not_what_was_listed_is_damaged(tmp_path: Path, change: dict, words: str | None) -> None:
    paths = lay(tmp_path, archives.zipped({NAME: b"a clip" * 20}))
    where = zip_members.place(next(zip_members.members(paths)), 1000)
    with Parts(paths) as parts, pytest.raises(RejectedItem, match=words) as found:
        zip_members.read(parts, where._replace(**change))
    assert found.value.status == "corrupt"


def test_a_bomb_that_lies_about_its_size_is_unpacked_no_further_than_it_says(tmp_path: Path) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(bytes(200 * 2**20)) + packer.flush()
    data = struct.pack("<4s22xHH", b"PK\3\4", 1, 0) + b"x" + bomb
    paths = lay(tmp_path, data)
    import tracemalloc

    with Parts(paths) as parts:
        tracemalloc.start()
        with pytest.raises(RejectedItem, match=r"1001 .*1000"):
            zip_members.read(parts, Place(0, len(bomb), 1000, 0, 8))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 8 * 2**20


def test_a_packed_clip_is_a_file_only_while_it_is_read(tmp_path: Path) -> None:
    paths = lay(tmp_path, archives.zipped({NAME: b"a clip" * 20}))
    where = zip_members.place(next(zip_members.members(paths)), 1000)
    sizes = {"vox2_mp4.zip": {path.name: path.stat().st_size for path in paths}}
    shelf = shelves(tmp_path / "videos", tmp_path, sizes)
    with shelf.open(f"vox2_mp4.zip#{where}") as path:
        assert path.read_bytes() == b"a clip" * 20
    assert not path.exists()
    with shelf.open("p000/v0#1.mkv") as path:
        assert path == tmp_path / "videos/p000/v0#1.mkv"


def test_a_part_that_changed_since_it_was_fetched_is_refused(tmp_path: Path) -> None:
    paths = lay(tmp_path, archives.zipped({NAME: b"a clip" * 20}))
    sizes = {"vox2_mp4.zip": {path.name: path.stat().st_size for path in paths}}
    paths[2].write_bytes(b"")
    with pytest.raises(InputError, match=r"partac: .*\b0 bytes .*vox2_mp4\.zip"):
        shelves(tmp_path, tmp_path, sizes)
    paths[2].unlink()
    with pytest.raises(InputError, match="partac"):
        shelves(tmp_path, tmp_path, sizes)
