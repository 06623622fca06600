"""Good clips under misleading names, links, pipes, holes, and zips with members of every bad kind."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import stat
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

Corpus = dict[bytes, bool]  # path below the folder -> whether it may turn out to be usable after all


def zipped(members: dict[str, bytes], modes: Mapping[str, int] | None = None) -> bytes:
    """A deflated zip without the time of day."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (modes or {}).get(name, 0o644 | stat.S_IFREG) << 16
            archive.writestr(info, data)
    return file.getvalue()


def archive(clips: Sequence[bytes], bad: Sequence[bytes]) -> tuple[bytes, list[str], int]:
    """A zip in the manner of VoxCeleb2: good clips among members of every bad kind; the good ids; how many members it has."""
    place = "dev/mp4/id00012/21Uxsk56VDQ"
    good = [f"id0001{k}/21Uxsk56VDQ/00001" for k in range(len(clips))]
    members = {f"dev/mp4/{name}.mp4": clip for name, clip in zip(good, clips)}
    names = ["../../evil.mp4", "/evil.mp4", "PLACE/../../../evil.mp4", "C:\\evil.mp4", "dev/mp4/evil\n.mp4",
             "PLACE/00003.mp4/x", "PLACE/00003.MP4", "PLACE/\u0660\u0660\u0660\u0660\u0663.mp4", "x/PLACE/00003.mp4",
             f"PLACE/{'9' * 5000}.mp4", "PLACE/00003.mp4\u202e", "\x1b[31m.mp4", "//PLACE/00003.mp4", "PLACE//00003.mp4",
             "~/evil.mp4", "nul"]
    members |= {name.replace("PLACE", place): b"evil" for name in names}
    members |= {f"{place}/00100.mp4": b"/etc/passwd", f"{place}/00101.mp4": b"", f"{place}/00102.mp4": b"",
                f"{place}/00103.mp4": bytes(30 * 2**20), f"{place}/00104.mp4": zipped({"a": bytes(2**20)}),
                f"{place}/00105.mp4": zipped({"b.zip": zipped({"a": bytes(2**20)})}),
                f"{place}/00106.mp4": b"#EXTM3U\n/etc/passwd\n",
                **{f"{place}/002{k:02d}.mp4": clips[0] + bytes([k]) for k in range(8)},
                **{f"{place}/003{k:02d}.mp4": data for k, data in enumerate(bad)}}
    modes = {f"{place}/00100.mp4": 0o777 | stat.S_IFLNK, f"{place}/00102.mp4": stat.S_IFIFO}
    data = bytearray(zipped(members, modes))
    table = data.index(b"PK\1\2")

    def spoil(number: int, at: int, kind: str, value: int) -> None:
        line = data.index(b"PK\1\2", data.index(f"{place}/002{number:02d}.mp4".encode(), table) - 46)
        struct.pack_into(kind, data, line + at, value)

    spoil(0, 8, "<H", 1)  # encrypted
    spoil(1, 16, "<I", 12345)  # another CRC
    spoil(2, 20, "<I", 10**6)  # reaches into the members after it
    spoil(3, 24, "<I", 77)  # a bomb that says it is small
    spoil(4, 24, "<I", 2**32 - 2)
    spoil(5, 10, "<H", 14)  # LZMA
    spoil(6, 42, "<I", data.index(b"PK\3\4", 10))  # the bytes of another member
    spoil(7, 42, "<I", len(data) - 5)
    return bytes(data), good, len(members)


def names(clip: bytes, root: Path) -> Corpus:
    """A good clip under names that a program may take for something else."""
    said = ["new\nline.mp4", "tab\tstop.mp4", "\x1b[31mred.mp4", "\u202e4pm.exe.mp4", "zero\u200bwidth.mp4", "-i.mp4",
            "--version.mp4", "concat:a|b.mp4", "file:x.mp4", "http:x.mp4", "pipe:0.mp4", "%03d.mp4", "a#1,2,3,4,0.mp4",
            "$(touch evil).mp4", ";x;.mp4", "`x`.mp4", "back\\slash.mp4", "quo'te\".mp4", "[a-z].mp4", "*.mp4", "?.mp4",
            " lead.mp4", "trail .mp4", "up..mp4", "a\\..\\up.mp4", "CON.mp4", "nul\u2400.mp4", "e\u0301.mp4", "٠١٢.mp4",
            "l" * 251 + ".mp4", "e." + "x" * 250, "noend", "two.dots.mp4", "~home.mp4", "id=1&x.mp4", "{a}.mp4", "<b>.mp4",
            "manifest.json", "ledger.parquet", "a,b.mp4"]
    odd = [name.encode() for name in said] + [b"\xff\xfe.mp4", b"caf\xe9.mp4", b"\xed\xa0\x80.mp4"]
    (root / "x-names").mkdir()
    people = [b"x..people", b"x\npeople", b"\xffpeople", b"x-deep/er/still", b"-x"]
    paths = [b"x-names/" + name for name in odd] + [b"%b/clip%d.mp4" % (person, k) for k, person in enumerate(people)]
    laid: Corpus = dict.fromkeys([*paths, b"stray.mp4"], True)
    for path in laid:
        whole = os.fsencode(root) + b"/" + path
        os.makedirs(os.path.dirname(whole), exist_ok=True)
        with open(whole, "wb") as file:
            file.write(clip)
    return laid


def specials(clip: bytes, root: Path, canary: Path) -> Corpus:
    """Links, pipes, devices, holes."""
    folder = root / "x-specials"
    folder.mkdir()
    links = {"canary.mp4": str(canary), "passwd.mp4": "/etc/passwd", "clip.mp4": "../good/first.mp4", "broken.mp4": "nowhere",
             "loop.mp4": "loop.mp4", "zero.mp4": "/dev/zero", "tree.mp4": "/etc", "up": ".."}
    for name, target in links.items():
        (folder / name).symlink_to(target)
    (root / "x-linked").symlink_to("/etc")
    os.mkfifo(folder / "pipe.mp4")
    with socket.socket(socket.AF_UNIX) as listening:
        before = os.getcwd()
        os.chdir(folder)  # an address is short
        listening.bind("socket.mp4")
        os.chdir(before)
    made = [*links, "pipe.mp4", "socket.mp4", "wide-hole.mp4", "hole.mp4", "hole-in-clip.mp4", "hard.mp4", "hard-clip.mp4"]
    with contextlib.suppress(PermissionError):  # not everyone may make a device
        os.mknod(folder / "device.mp4", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
        made.append("device.mp4")
    for name, size, head in (("wide-hole.mp4", 2**40, b""), ("hole.mp4", 600 * 2**20, b""),
                             ("hole-in-clip.mp4", 600 * 2**20, clip[:len(clip) // 2])):
        with (folder / name).open("wb") as file:
            file.write(head)
            file.truncate(size)
    os.link(canary, folder / "hard.mp4")
    os.link(root / "good/first.mp4", folder / "hard-clip.mp4")
    return {f"x-specials/{name}".encode(): name == "hard-clip.mp4" for name in made} | {b"x-linked": False}
