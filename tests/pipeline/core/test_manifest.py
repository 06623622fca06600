import tarfile

import pytest

from pipeline.core import fileio
from pipeline.core.errors import InputError
from pipeline.core.manifest import read_manifest, write_manifest
from pipeline.core.shards import ShardReader, ShardWriter


def fill(folder, members):
    folder.mkdir()
    writer = ShardWriter(folder, max_items=2)
    places = [writer.add(name, data) for name, data in members]
    writer.close()
    return places


MEMBERS = [("a/0.png", b"x" * 700), ("ü/1.png", b""), ("a/" + "long" * 40 + ".png", b"y" * 512), ("b", b"z")]


def test_members_are_read_back_at_their_place_and_by_plain_tar(tmp_path):
    places = fill(tmp_path / "s", MEMBERS)
    reader = ShardReader(tmp_path / "s")
    assert [reader.read(**place) for place in places] == [data for _, data in MEMBERS]
    assert [place["shard"] for place in places] == [0, 0, 1, 1]
    with tarfile.open(tmp_path / "s" / "00001.tar") as tar:
        assert [tar.extractfile(m).read() for m in tar] == [MEMBERS[2][1], MEMBERS[3][1]]


def test_same_members_give_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        fill(tmp_path / name, MEMBERS)
    assert fileio.sha256(tmp_path / "one" / "00000.tar") == fileio.sha256(tmp_path / "two" / "00000.tar")


def test_a_flipped_bit_in_a_shard_is_refused(tmp_path):
    places = fill(tmp_path / "s", MEMBERS)
    shard = tmp_path / "s" / "00000.tar"
    damaged = bytearray(shard.read_bytes())
    damaged[places[0]["offset"] + 5] ^= 1
    shard.write_bytes(damaged)
    with pytest.raises(InputError, match=r"00000\.tar"):
        ShardReader(tmp_path / "s").read(**places[0])


def test_a_folder_without_manifest_or_with_a_missing_or_shortened_file_is_not_whole(tmp_path):
    (tmp_path / "f.bin").write_bytes(b"1234")
    with pytest.raises(InputError, match=r"manifest\.json"):
        read_manifest(tmp_path, "frames")
    write_manifest(tmp_path, "frames", {"note": 1})
    assert read_manifest(tmp_path, "frames")["note"] == 1
    with pytest.raises(InputError, match=r"frames.*videos"):
        read_manifest(tmp_path, "videos")
    (tmp_path / "f.bin").write_bytes(b"123")
    with pytest.raises(InputError, match=r"f\.bin.*\b3\b.*\b4\b"):
        read_manifest(tmp_path, "frames")
    (tmp_path / "f.bin").unlink()
    with pytest.raises(InputError, match=r"f\.bin"):
        read_manifest(tmp_path, "frames")
