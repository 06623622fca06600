"""Surgery on video files: boxes of an mp4 found and changed, and headers of other formats written by hand."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

INSIDE = {"moov", "trak", "mdia", "minf", "dinf", "stbl", "edts", "udta"}


def boxes(data: bytes, start: int = 0, end: int | None = None, above: str = "") -> Iterator[tuple[str, int, int]]:
    """Path, offset and size of every box, outer ones first."""
    while start + 8 <= (end or len(data)):
        size, kind = struct.unpack_from(">I4s", data, start)
        path = f"{above}/{kind.decode('latin-1')}" if above else kind.decode("latin-1")
        yield path, start, size
        if kind.decode("latin-1") in INSIDE:
            yield from boxes(data, start + 8, start + size, path)
        start += max(size, 8)


def find(data: bytes, name: str) -> tuple[int, int]:
    """Offset and size of the first box whose path ends so."""
    return next((start, size) for path, start, size in boxes(data) if path.endswith(name))


def patched(data: bytes, name: str, at: int, kind: str, *values: int) -> bytes:
    """Numbers written over a box, `at` bytes into its content."""
    out = bytearray(data)
    struct.pack_into(f">{kind}", out, find(data, name)[0] + 8 + at, *values)
    return bytes(out)


def replaced(data: bytes, name: str, new: bytes) -> bytes:
    """Another box in the place of one, the sizes of those around it put right. Media data must lie before it."""
    start, size = find(data, name)
    out = bytearray(data[:start] + new + data[start + size:])
    for _, above, length in boxes(data):
        if above < start and above + length >= start + size:
            struct.pack_into(">I", out, above, length + len(new) - size)
    return bytes(out)


def box(kind: str, content: bytes, size: int | None = None) -> bytes:
    """One box; `size`: what it says of itself."""
    return struct.pack(">I4s", len(content) + 8 if size is None else size, kind.encode("latin-1")) + content


def squeezed(content: bytes, declared: int) -> bytes:
    """A compressed moov."""
    packed = box("cmvd", struct.pack(">I", declared) + zlib.compress(content, 9))
    return box("ftyp", b"qt  \0\0\0\0") + box("moov", box("cmov", box("dcom", b"zlib") + packed))


def nested(depth: int) -> bytes:
    """moov in moov in moov …"""
    return box("ftyp", b"isom\0\0\0\0") + b"".join(struct.pack(">I4s", 8 * (depth - k), b"moov") for k in range(depth))


def outside(data: bytes, target: str) -> bytes:
    """The clip, its media said to lie in another file: url, urn and alias."""
    url = box("url ", b"\0\0\0\0" + target.encode() + b"\0")
    urn = box("urn ", b"\0\0\0\0name\0" + target.encode() + b"\0")
    alias = box("alis", b"\0\0\0\0" + b"\0" * 6 + struct.pack(">H", 142) + b"\0" * 134 + struct.pack(
        ">hH", 2, len(target)) + target.encode() + b"\0" * (len(target) % 2) + b"\xff\xff\0\0")
    return replaced(data, "dref", box("dref", struct.pack(">II", 0, 3) + url + urn + alias))


def _golomb(*values: int) -> str:
    return "".join("0" * ((value + 1).bit_length() - 1) + f"{value + 1:b}" for value in values)


def h264(width: int, height: int) -> bytes:
    """A raw stream whose header declares that size; hardly a picture follows."""
    bits = "010000100000000000110011" + _golomb(0, 0, 2, 1) + "0" + _golomb(width // 16 - 1, height // 16 - 1) + "10001"
    bits += "0" * (-len(bits) % 8)
    header = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return b"\0\0\0\1\x67" + header + b"\0\0\0\1\x68\xce\x38\x80" + (b"\0\0\0\1\x65\x88\x84\x00" + b"\x11" * 400) * 30


def gif(width: int, height: int, frames: int, delay: int = 4) -> bytes:
    """Pictures of that declared size with a byte or two of content each."""
    one = b"\x21\xf9\x04\0" + struct.pack("<H", delay) + b"\0\0\x2c" + struct.pack("<4HB", 0, 0, width, height, 0) + \
        b"\x02\x02\x44\x01\0"
    return b"GIF89a" + struct.pack("<2H", width, height) + b"\x80\0\0\0\0\0\xff\xff\xff" + one * frames + b"\x3b"


def ivf(width: int, height: int, rate: int, scale: int, frames: int) -> bytes:
    """VP8 in its simplest container."""
    body = b"\x50\x42\x00\x9d\x01\x2a" + struct.pack("<2H", width & 0x3fff, height & 0x3fff) + b"\0" * 60
    one = struct.pack("<IQ", len(body), 0) + body
    return b"DKIF" + struct.pack("<2H4s2H4I", 0, 32, b"VP80", width, height, rate, scale, frames, 0) + one * 8


def gab2(text: str) -> bytes:
    """An AVI with a subtitle stream that holds a whole other file."""
    sub = b"GAB2\0" + struct.pack("<HI", 2, 2) + b"\0\0" + struct.pack("<HI", 4, len(text)) + text.encode()

    def chunk(name: bytes, content: bytes) -> bytes:
        return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)

    stream = chunk(b"strh", b"txts" + b"\0" * 16 + struct.pack("<7I", 1, 1, 0, 1, 0, 0, 0) + b"\0" * 8)
    stream += chunk(b"strf", b"\0" * 4)
    head = chunk(b"avih", struct.pack("<14I", 40000, 0, 0, 0x10, 1, 0, 1, 0, 160, 120, 0, 0, 0, 0))
    lists = [chunk(b"LIST", b"hdrl" + head + chunk(b"LIST", b"strl" + stream)), chunk(b"LIST", b"movi" + chunk(b"00tx", sub))]
    return chunk(b"RIFF", b"AVI " + b"".join(lists))
