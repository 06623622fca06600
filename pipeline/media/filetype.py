"""Recognises files that are not videos by their first bytes, before a decoder starts."""

from __future__ import annotations

HEAD = 4096  # bytes that are inspected
SIGNS = (  # offset, magic bytes, type
    (0, b"PK\3\4", "a zip archive"), (0, b"PK\5\6", "a zip archive"), (0, b"\x1f\x8b\x08", "a gzip file"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"), (0, b"Rar!\x1a\x07", "a rar archive"), (0, b"BZh", "a bzip2 file"),
    (0, b"\xfd7zXZ", "an xz file"), (257, b"ustar", "a tar archive"), (0, b"%PDF-", "a PDF document"),
    (0, b"\x7fELF", "a program"), (0, b"\x89PNG\r\n\x1a\n", "a PNG image"), (0, b"II*\0", "a TIFF image"),
    (0, b"MM\0*", "a TIFF image"), (8, b"WEBP", "a WebP image"), (8, b"WAVE", "audio only"), (0, b"fLaC", "audio only"),
    (0, b"ID3", "audio only"))
TEXTS = (  # first bytes in lower case, type
    (b"#extm3u", "a playlist, which is not followed"), (b"ffconcat", "a playlist, which is not followed"),
    (b"[playlist]", "a playlist, which is not followed"), (b"<!doctype html", "a web page"), (b"<html", "a web page"))
VIDEO = b"YUV4MPEG2 "  # the only video format that begins with text
_TEXT = bytes({*range(32, 256), 7, 8, 9, 10, 12, 13, 27} - {127})


def kind(head: bytes) -> str | None:
    """The type of a file, not a video, from its first HEAD bytes (or all of them); None if it may be a video."""
    for at, sign, what in SIGNS:
        if head[at:at + len(sign)] == sign:
            return what
    if not head.strip(b"\0"):
        return "zeros"
    if head.startswith(VIDEO) or head.translate(None, _TEXT):
        return None
    try:
        head[:-3].decode() if len(head) == HEAD else head.decode()  # the last character may be cut
    except UnicodeDecodeError:
        return None
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:20].lower()
    return next((what for sign, what in TEXTS if start.startswith(sign)), "a text file")
