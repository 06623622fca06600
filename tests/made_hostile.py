"""A corpus of files that lie, break, point elsewhere or never end, among a handful of good clips. The same each time."""

from __future__ import annotations

import gzip
import io
import os
import random
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import made_boxes as mp4
import made_clips as clips
import numpy as np
from made_hostile_files import Corpus, names, specials, zipped

BIG = 2**32 - 1
os.environ["SVT_LOG"] = "0"  # the AV1 encoder has much to say


def pictures(n: int = 12, **more: int) -> list[np.ndarray]:
    return [clips.picture([(70 + k, 60, 20)], tone=40 + k, **more) for k in range(n)]


def encoded(folder: Path, name: str, codec: str, options: dict[str, str] | None = None, title: bytes = b"",
            shown: list[np.ndarray] | None = None) -> bytes:
    """A small clip of a walking disc, in the container that the name says."""
    path = folder / name
    shown = shown or pictures()
    with av.open(str(path), "w", options={"fflags": "bitexact", **(options or {})}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = shown[0].shape[:2]
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.options = {"libx264": {"crf": "8", "g": "5"}, "libx265": {"x265-params": "log-level=none:pools=none"},
                          "libsvtav1": {"preset": "12"}}.get(codec, {})
        stream.thread_count = 1
        if title:
            container.metadata["title"] = "T" * len(title)
        for image in shown:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode(None))
    return path.read_bytes().replace(b"T" * len(title), title) if title else path.read_bytes()


def bases(folder: Path) -> dict[str, bytes]:
    """One clip of each kind."""
    folder.mkdir(parents=True)
    made = {name: encoded(folder, name, codec, options) for name, codec, options in (
        ("plain.mp4", "libx264", {}), ("fast.mp4", "libx264", {"movflags": "faststart"}),
        ("parts.mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}), ("a.mkv", "libx264", {}),
        ("a.webm", "libvpx", {}), ("a.avi", "mpeg4", {}), ("a.ts", "mpeg2video", {}), ("a.gif", "gif", {}),
        ("a.flv", "flv", {}), ("hevc.mp4", "libx265", {}), ("av1.mp4", "libsvtav1", {}), ("a.h264", "libx264", {}))}
    made["titled.mp4"] = encoded(folder, "titled.mp4", "libx264", title=b"\xe9t\xe9 \xff\xfe")
    made["sound.m4a"] = clips.sound(folder / "sound.m4a").read_bytes()
    return made


def good(made: dict[str, bytes], root: Path) -> dict[str, str]:
    """The clips that must come through: path -> id."""
    chosen = {"good/first.mp4": "plain.mp4", "good/second.mkv": "a.mkv", "good/third.webm": "a.webm",
              "good/fourth.avi": "a.avi", "good/fifth.ts": "a.ts", "better/titled.mp4": "titled.mp4",
              "better/parts.mp4": "parts.mp4"}
    for path, base in chosen.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(made[base])
    return {path: path.rsplit(".", 1)[0] for path in chosen}


def corpus(made: dict[str, bytes], root: Path, canary: Path, address: str, scratch: Path) -> Corpus:
    """Lays the files below `root`. `canary` and `address`: what they point to; `scratch`: for what is in the making."""
    laid: Corpus = {}

    def lay(folder: str, files: Iterator[tuple[str, bytes]], maybe: bool) -> None:
        (root / folder).mkdir(exist_ok=True)
        for name, data in files:
            path = f"{folder}/{name}"
            assert path.encode() not in laid, path
            (root / path).write_bytes(data)
            laid[path.encode()] = maybe

    lay("x-cut", _cut(made), True)
    lay("x-flipped", _flipped(made), True)
    lay("x-boxes", _boxes(made["plain.mp4"], canary, address), True)
    lay("x-headers", _headers(made, scratch), False)
    lay("x-odd", _odd(made, scratch), True)
    lay("x-scripts", _scripts(canary, address), False)
    lay("x-foreign", _foreign(made, canary, address), False)
    return laid | names(made["plain.mp4"], root) | specials(made["plain.mp4"], root, canary)


def _cut(made: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Files that end early."""
    for name, count in (("plain.mp4", 7), ("fast.mp4", 7), ("parts.mp4", 4), ("a.mkv", 3), ("a.webm", 3), ("a.avi", 3),
                        ("a.ts", 2), ("a.gif", 2), ("hevc.mp4", 3), ("av1.mp4", 3), ("a.flv", 2)):
        for k in range(count):
            yield f"{name.replace('.', '-')}-{k}.{name.split('.')[1]}", made[name][:(k + 1) * len(made[name]) // (count + 1)]
    start, size = mp4.find(made["fast.mp4"], "moov")
    for k in range(8):
        yield f"moov-{k}.mp4", made["fast.mp4"][:start + k * size // 8 + 3]


def _flipped(made: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Files with a few bytes changed, most of them in headers."""
    for name, count in (("plain.mp4", 4), ("a.mkv", 6), ("a.webm", 4), ("a.avi", 4), ("a.ts", 4), ("a.gif", 3),
                        ("a.flv", 2), ("hevc.mp4", 4), ("av1.mp4", 4), ("parts.mp4", 4), ("a.h264", 2)):
        for k in range(count):
            chance, data = random.Random(f"{name} {k}"), bytearray(made[name])
            near = len(data) if k % 2 else min(len(data), 1200)  # every other one in the first bytes
            for _ in range(1 + 4 * k):
                data[chance.randrange(4, near)] ^= 1 << chance.randrange(8)
            yield f"{name.replace('.', '-')}-{k}.{name.split('.')[1]}", bytes(data)


def _boxes(clip: bytes, canary: Path, address: str) -> Iterator[tuple[str, bytes]]:
    """An mp4 whose boxes say what is not so."""
    for name in ("ftyp", "moov", "mvhd", "trak", "tkhd", "mdia", "mdhd", "hdlr", "minf", "stbl", "stsd", "stts", "stsz",
                 "stco"):
        start, size = mp4.find(clip, name)
        for size_said in (0, BIG):
            yield f"{name}-size-{size_said}.mp4", clip[:start] + struct.pack(">I", size_said) + clip[start + 4:]
        yield f"{name}-gone.mp4", clip[:start + 4] + b"zzzz" + clip[start + 8:]
        wide = struct.pack(">I", 1) + clip[start + 4:start + 8] + b"\xff" * 8
        yield f"{name}-wide.mp4", clip[:start] + wide + clip[start + 8:]
    changes = [("mvhd", 12, "I", 0), ("mvhd", 12, "I", BIG), ("mvhd", 16, "I", BIG), ("mdhd", 12, "I", 0), ("mdhd", 12, "I", 1),
               ("mdhd", 12, "I", BIG), ("mdhd", 16, "I", BIG), ("tkhd", 76, "II", BIG, BIG), ("tkhd", 40, "I", BIG),
               ("elst", 4, "I", 10**9), ("elst", 8, "I", BIG), ("elst", 8, "I", 0), ("elst", 12, "i", -1),
               ("elst", 12, "i", 2**31 - 1), ("elst", 12, "i", -2**31), ("elst", 16, "i", -65536), ("elst", 16, "i", 0),
               ("stts", 4, "I", 10**9), ("stts", 8, "II", 10**9, 1), ("stts", 8, "II", 12, 0), ("stts", 8, "II", 12, BIG),
               ("ctts", 4, "I", 10**9), ("ctts", 8, "Ii", 10**9, 1), ("ctts", 12, "i", -2**31), ("ctts", 12, "i", 2**31 - 1),
               ("stss", 4, "I", 10**9), ("stss", 8, "I", 0), ("stss", 8, "I", BIG), ("stsc", 4, "I", 10**9),
               ("stsc", 8, "I", 0),
               ("stsc", 12, "I", 10**9), ("stsc", 16, "I", 77), ("stsz", 4, "I", 10**9), ("stsz", 4, "I", 1),
               ("stsz", 8, "I", 10**9), ("stsz", 8, "I", BIG), ("stsz", 12, "I", 2**31), ("stsz", 12, "I", 0),
               ("stco", 4, "I", 10**9), ("stco", 8, "I", BIG), ("stco", 8, "I", 0), ("stco", 8, "I", len(clip) - 1),
               ("stsd", 4, "I", 10**9), ("stsd", 8, "I", BIG), ("stsd", 40, "HH", 65535, 65535), ("stsd", 40, "HH", 0, 0),
               ("stsd", 40, "HH", 1, 65535), ("stsd", 94, "I", BIG), ("stsd", 102, "I", BIG), ("stsd", 108, "I", BIG),
               ("hdlr", 8, "I", 0), ("dref", 4, "I", 10**9)]
    for number, (name, at, kind, *values) in enumerate(changes):
        yield f"{name}-{at}-{number}.mp4", mp4.patched(clip, name, at, kind, *values)
    targets = (str(canary), f"file://{canary}", "/etc/passwd", f"{address}/dref.mp4", "../../canary.txt")
    for number, target in enumerate(targets):
        yield f"dref-outside-{number}.mp4", mp4.outside(clip, target)
    start, size = mp4.find(clip, "moov")
    yield "moov-twice.mp4", clip + clip[start:start + size]
    yield "moov-thousandfold.mp4", clip + clip[start:start + size] * 1000
    start, size = mp4.find(clip, "trak")
    trak = clip[start:start + size]
    yield "trak-many.mp4", mp4.replaced(clip, "trak", trak * 400)
    yield "meta-huge.mp4", mp4.replaced(clip, "mvhd", mp4.box("udta", mp4.box("\xa9nam", bytes(2**20), BIG)))


def _headers(made: dict[str, bytes], scratch: Path) -> Iterator[tuple[str, bytes]]:
    """Sizes, counts and rates that no one has memory or time for, and files without moving pictures."""
    yield "h264.h264", mp4.h264(65535, 65535)
    yield "gif-wide.gif", mp4.gif(65535, 65535, 3)
    yield "gif-long.gif", mp4.gif(1, 1, 6000)
    yield "gif-stays.gif", mp4.gif(160, 120, 3, 65535)
    yield "ivf-wide.ivf", mp4.ivf(65535, 65535, 25, 1, 8)
    yield "ivf-none.ivf", mp4.ivf(160, 120, 0, 0, 10**9)
    for number, words in enumerate(("W65535 H65535 F25:1", "W160 H120 F0:0", "W0 H0 F25:1", "W-160 H-120 F25:1",
                                    "W160 H120 F1:0", "W99999999999 H99999999999 F25:1")):
        yield f"y4m-{number}.y4m", f"YUV4MPEG2 {words} Ip A1:1 C420jpeg\nFRAME\n".encode() + bytes(100)
    yield "y4m-long.y4m", b"YUV4MPEG2 W2 H2 F25:1 Ip A1:1 C420jpeg\n" + (b"FRAME\n" + b"\x80" * 6) * 3000
    yield "y4m-strip.y4m", b"YUV4MPEG2 W2 H8000 F25:1 Ip A1:1 C420jpeg\n" + (b"FRAME\n" + bytes(24000)) * 12
    yield "y4m-stretched.y4m", b"YUV4MPEG2 W160 H120 F25:1 Ip A65535:1 C420jpeg\n" + (b"FRAME\n" + bytes(28800)) * 12
    yield "y4m-squeezed.y4m", b"YUV4MPEG2 W160 H120 F25:1 Ip A1:65535 C420jpeg\n" + (b"FRAME\n" + bytes(28800)) * 12
    yield "nothing-moves.mp4", encoded(scratch, "one.mp4", "libx264", shown=pictures(1))
    empty = [np.full((120, 160, 3), k, np.uint8) for k in range(12)]
    yield "nobody.mp4", encoded(scratch, "nobody.mp4", "libx264", shown=empty)
    yield "sound.mp4", made["sound.m4a"]
    for name, codec, kind in (("mp3", "libmp3lame", "s16p"), ("flac", "flac", "s16"), ("ogg", "libopus", "flt"),
                              ("wav", "pcm_s16le", "s16"), ("mka", "libopus", "flt")):
        with av.open(str(scratch / f"a.{name}"), "w") as container:
            stream = container.add_stream(codec, rate=48000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), {"flt": np.float32}.get(kind, np.int16)), kind, "mono")
            frame.rate = 48000
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        yield f"sound-{name}.{name}", (scratch / f"a.{name}").read_bytes()
    cover = bytes(cv2.imencode(".jpg", clips.picture())[1])
    data = mp4.box("data", struct.pack(">II", 13, 0) + cover)
    tags = mp4.box("udta", mp4.box("meta", b"\0\0\0\0" + mp4.box("hdlr", b"\0" * 8 + b"mdirappl" + b"\0" * 9)
                                   + mp4.box("ilst", mp4.box("covr", data))))
    start, size = mp4.find(made["sound.m4a"], "mvhd")
    yield "cover.m4a", mp4.replaced(made["sound.m4a"], "mvhd", made["sound.m4a"][start:start + size] + tags)
    yield "squeezed.mov", mp4.squeezed(bytes(32 * 2**20), 32 * 2**20)
    yield "squeezed-lie.mov", mp4.squeezed(b"x" * 1000, 2**31 - 1)
    yield "nested.mp4", mp4.nested(20_000)
    yield "only-ftyp.mp4", mp4.box("ftyp", b"isom\0\0\0\0isom")
    yield "ftyp-and-hole.mp4", mp4.box("ftyp", b"isom\0\0\0\0isom") + bytes(300_000)


def _odd(made: dict[str, bytes], scratch: Path) -> Iterator[tuple[str, bytes]]:
    """What a careless program makes."""
    small, wide = (encoded(scratch, f"{n}.{kind}", codec, shown=pictures(8, width=n, height=n * 3 // 4))
                   for n, kind, codec in ((160, "h264", "libx264"), (320, "h264", "libx264")))
    yield "two-sizes.h264", small + wide
    yield "two-sizes-again.h264", (small + wide) * 6
    one, two = (encoded(scratch, f"{n}.ts", "mpeg2video", shown=pictures(8, width=n, height=n * 3 // 4)) for n in (160, 320))
    yield "two-sizes.ts", one + two
    yield "two-files.mp4", made["plain.mp4"] + made["fast.mp4"]
    yield "before.mp4", b"\0" * 100 + made["plain.mp4"]
    yield "raw.h264", made["a.h264"]
    yield "hevc.mp4", made["hevc.mp4"]
    yield "av1.mp4", made["av1.mp4"]
    ticks = [*range(0, 240, 40), *range(10**9, 10**9 + 240, 40)]
    yield "jump.mkv", clips.write(scratch / "jump.mkv", pictures(), ticks=ticks).read_bytes()
    pixels = bytes(cv2.imencode(".jpg", clips.picture())[1])
    yield "pictures.mjpeg", pixels * 12
    at = pixels.index(b"\xff\xc0")
    yield "wide.mjpeg", (pixels[:at + 5] + b"\xff\xff\xff\xff" + pixels[at + 9:]) * 12
    yield "last-wide.mjpeg", pixels * 11 + pixels[:at + 5] + b"\xff\xff\xff\xff" + pixels[at + 9:]
    for seed in range(4):
        yield f"noise-{seed}.mp4", random.Random(seed).randbytes(60_000)
    yield "noise-in-the-middle.mp4", made["plain.mp4"][:2000] + random.Random(9).randbytes(20_000) + made["plain.mp4"][2000:]


def _scripts(canary: Path, address: str) -> Iterator[tuple[str, bytes]]:
    """Texts that have a player open other files or ask a server."""
    targets = {"local": str(canary), "clip": "../good/first.mp4", "url": f"file://{canary}", "http": f"{address}/clip.mp4"}
    for name, target in targets.items():
        texts = {"m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
                 "key.m3u8": f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n#EXTINF:1,\nx.ts\n',
                 "concat": f"file '{target}'\n", "ffconcat": f"ffconcat version 1.0\nfile '{target}'\nduration 1\n",
                 "mpd": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><BaseURL>'
                        f'{target}</BaseURL><AdaptationSet><Representation id="1"/></AdaptationSet></Period></MPD>',
                 "pls": f"[playlist]\nFile1={target}\nNumberOfEntries=1\n",
                 "asx": f'<asx version="3.0"><entry><ref href="{target}"/>',
                 "xspf": f"<?xml version='1.0'?><playlist><trackList><track><location>{target}</location>",
                 "smil": f'<smil><body><video src="{target}"/></body></smil>', "ram": f"{target}\n",
                 "sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=control:{target}\n",
                 "ffmeta": f";FFMETADATA1\ntitle={target}\n", "url": f"[InternetShortcut]\nURL={target}\n"}
        for kind, text in texts.items():
            yield f"{name}-{kind.replace('.', '-')}.mp4", text.encode()
        hls = texts["m3u8"]
        yield f"{name}-in-subtitle.avi", mp4.gab2(hls)
        yield f"{name}-behind-ftyp.mp4", mp4.box("ftyp", b"isom\0\0\0\0isom") + hls.encode()
        yield f"{name}-utf16.mp4", hls.encode("utf-16")
    for kind, text in {"srt": "1\n00:00:00,000 --> 00:00:01,000\nhello\n", "vtt": "WEBVTT\n\n00:00.000 --> 00:01.000\nhello\n",
                       "ass": "[Script Info]\nScriptType: v4.00+\n[Events]\n", "lrc": "[00:00.00]hello\n",
                       "smi": "<SAMI><BODY><SYNC Start=0><P>hello", "sub": "{0}{25}hello\n"}.items():
        yield f"subtitle.{kind}", text.encode()


def _foreign(made: dict[str, bytes], canary: Path, address: str) -> Iterator[tuple[str, bytes]]:
    """Other kinds of file under a video's name."""
    for kind in ("png", "jpg", "bmp", "webp", "tiff", "ppm", "pgm"):
        image = clips.picture() if kind != "pgm" else clips.picture()[..., 0]
        yield f"picture-{kind}.mp4", bytes(cv2.imencode(f".{kind}", image)[1])
    yield "svg.mp4", f'<svg xmlns="http://www.w3.org/2000/svg"><image href="file://{canary}"/></svg>'.encode()
    yield "page.mp4", f'<!DOCTYPE html><html><img src="{address}/x.png"></html>'.encode()
    yield "sign-in.mp4", b"\n\n  <html><head><title>Sign in</title></head></html>"
    yield "entities.mp4", b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'
    yield "error.mp4", b'{"error": "quota exceeded"}'
    yield "script.mp4", b"#!/bin/sh\ntouch /tmp/evil\n"
    yield "program.mp4", b"\x7fELF\x02\x01\x01" + bytes(500)
    yield "pickle.mp4", b"\x80\x04cos\nsystem\n(S'touch /tmp/evil'\ntR."
    yield "document.mp4", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n"
    inner = zipped({"a": bytes(5 * 2**20)})
    yield "bomb.mp4", zipped({"a": bytes(20 * 2**20)})
    yield "bomb-in-bomb.mp4", zipped({f"{k}.zip": inner for k in range(10)})
    yield "packed.mp4", zipped({"first.mp4": made["plain.mp4"]})
    yield "climbing.zip", zipped({"../../evil.mp4": made["plain.mp4"], "/evil.mp4": b"x"})
    yield "packed-gz.mp4", gzip.compress(made["plain.mp4"], mtime=0)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        link = tarfile.TarInfo("link.mp4")
        link.type, link.linkname = tarfile.SYMTYPE, str(canary)
        tar.addfile(link)
    yield "packed-tar.mp4", file.getvalue()
    yield "packed-7z.mp4", b"7z\xbc\xaf\x27\x1c\0\4" + bytes(100)
    yield "empty.mp4", b""
    yield "one-byte.mp4", b"\0"
    yield "zeros.mp4", bytes(100_000)
    yield "ones.mp4", b"\xff" * 100_000
    yield "words.mp4", b"no video " * 1000
