"""Facts about cutting: picture n is what was on screen at n / 25 s whatever the source's rate; boxes are where faces are."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import made_clips as clips
import made_site
import numpy as np
import pytest

from pipeline.core.ledger import RejectedItem
from pipeline.media import video
from pipeline.sources.voxceleb.utterances import Track
from pipeline.sources.ytdlp import cut

LIMITS = clips.LIMITS
FULL = [0.0, 0.0, 1.0, 1.0]


def numbered(number: int, side: int = 96) -> np.ndarray:
    """A picture that carries its number as 12 black or white fields."""
    image = np.zeros((side, side, 3), np.uint8)
    for bit in range(12):
        x, y = bit % 4 * side // 4, bit // 4 * side // 3
        image[y:y + side // 3, x:x + side // 4] = 235 if number >> bit & 1 else 20
    return image


def number_of(image: np.ndarray) -> int:
    side = image.shape[0]
    fields = cv2.resize(image[..., 0], (4, 3), interpolation=cv2.INTER_AREA)
    return sum(1 << bit for bit in range(12) if fields[bit // 4, bit % 4] > 127) if side else -1


def film(path: Path, times: list[Fraction], base: Fraction) -> Path:
    """Numbered pictures at these times, in units of `base` seconds."""
    with av.open(str(path), "w", options={"video_track_timescale": str(base.denominator)}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height = stream.width = 96
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "16", "g": "30", "bf": "2", "preset": "veryfast"}
        stream.time_base = stream.codec_context.time_base = base
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(numbered(number), "rgb24")
            frame.pts, frame.time_base = int(time / base), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def shown(clip: cut.Clip, folder: Path) -> list[int]:
    """The numbers that a clip's pictures carry."""
    path = folder / "shown.mp4"
    path.write_bytes(clip.video)
    facts = video.probe(path, LIMITS)
    assert np.allclose(facts.times, np.arange(len(facts.times)) / 25)
    return [number_of(image) for image in video.decode(path, range(len(facts.times)), LIMITS, 999).images]


def on_screen(times: list[Fraction], first: int, count: int) -> list[int]:
    """What a player shows at n / 25 s: the last picture due by then."""
    return [max((k for k, time in enumerate(times) if time <= Fraction(n, 25)), default=0) for n in range(first, first + count)]


RATES = {"24": (Fraction(24), Fraction(1, 24000), "mp4"), "25": (Fraction(25), Fraction(1, 12800), "mp4"),
         "29.97": (Fraction(30000, 1001), Fraction(1, 30000), "mp4"), "30": (Fraction(30), Fraction(1, 15360), "mp4"),
         "50": (Fraction(50), Fraction(1, 12800), "mp4"), "12.5": (Fraction(25, 2), Fraction(1, 90000), "mp4"),
         "23.976": (Fraction(24000, 1001), Fraction(1, 24000), "mp4"), "30-webm": (Fraction(30), Fraction(1, 1000), "mkv")}


@pytest.mark.parametrize("rate, base, form", RATES.values(), ids=RATES)
def test_picture_n_is_what_was_on_screen_at_n_25ths_of_a_second_whatever_the_rate(tmp_path: Path, rate, base, form) -> None:
    times = [Fraction(int(k / rate / base + Fraction(1, 2))) * base for k in range(int(7 * rate))]  # as the container has them
    of = cut.source(film(tmp_path / f"film.{form}", times, base), None, LIMITS)
    for first, count in ((0, 10), (33, 30), (140, 20)):  # key frames come each 30 pictures
        clip = cut.cut(of, Track(first, np.tile(FULL, (count, 1)), 0.), 0., 14, LIMITS, tmp_path)
        assert shown(clip, tmp_path) == on_screen(times, first, count)
        assert clip.boxes.shape == (count, 4) and not clip.damaged


def test_where_the_rate_varies_the_same_holds(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    ticks = np.cumsum(rng.integers(1, 400, 40)) - 1  # pictures 1 to 400 ms apart
    times = [Fraction(int(tick), 1000) for tick in ticks]
    of = cut.source(film(tmp_path / "film.mkv", times, Fraction(1, 1000)), None, LIMITS)
    for first, count in ((0, 60), (77, 40)):
        clip = cut.cut(of, Track(first, np.tile(FULL, (count, 1)), 0.), 0., 14, LIMITS, tmp_path)
        assert shown(clip, tmp_path) == on_screen(times, first, count)


def test_the_same_section_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(made_site.film(tmp_path, 1))
    of = cut.source(path, None, LIMITS)
    cuts = [cut.cut(of, Track(5, np.tile([.2, .2, .8, .8], (20, 1)), 0.), .1, 12, LIMITS, tmp_path) for _ in range(2)]
    assert cuts[0].video == cuts[1].video and (cuts[0].boxes == cuts[1].boxes).all()


def test_the_window_is_even_inside_the_picture_and_holds_all_boxes_with_their_margin() -> None:
    boxes = np.array([[10, 20, 50, 60], [30.5, 20, 70.5, 61], [np.nan] * 4])
    assert cut.window(boxes, (320, 240), 0.) == (10, 20, 72, 62)
    assert cut.window(boxes, (320, 240), .5) == (0, 0, 92, 82)
    assert cut.window(np.array([[-50., -9, 999, 999]]), (321, 241), 0.) == (0, 0, 320, 240)  # an odd last row is left out
    for box in ([400., 10, 500, 60], [10, 10, 20, 20]):
        with pytest.raises(RejectedItem, match="less than 16 pixels of the 320x240"):
            cut.window(np.array([box]), (320, 240), 0.)


def test_boxes_of_voxceleb1_land_in_the_clips_pixels_at_any_size_of_the_source(tmp_path: Path) -> None:
    for side in (240, 480):
        scale = side / 360
        disc = (160 * scale, 180 * scale, 40 * scale)
        path = clips.write(tmp_path / f"{side}.mp4", [clips.picture([disc], side * 4 // 3, side)] * 10)
        of = cut.source(path, None, LIMITS)
        clip = cut.cut(of, Track(0, np.tile([120., 140, 200, 220], (10, 1)), 360.), .5, 12, LIMITS, tmp_path)
        (tmp_path / "clip.mp4").write_bytes(clip.video)
        found = clips.detect(video.decode(tmp_path / "clip.mp4", [4], LIMITS, 999).images)[0][0, :4]
        assert np.abs(found - clip.boxes[4]).max() < 2.5


def test_a_turned_video_and_one_with_oblong_pixels_are_cut_as_they_are_shown(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "turned.mp4", [clips.picture([(120, 60, 20)])] * 10, rotation=90)
    of = cut.source(path, None, LIMITS)
    assert (of.width, of.height) == (120, 160)
    clip = cut.cut(of, Track(0, np.tile(FULL, (10, 1)), 0.), 0., 12, LIMITS, tmp_path)
    (tmp_path / "clip.mp4").write_bytes(clip.video)
    image = video.decode(tmp_path / "clip.mp4", [0], LIMITS, 999).images[0]
    whole = video.decode(path, [0], LIMITS, 999).images[0]
    assert image.shape == whole.shape and np.abs(image.astype(int) - whole).mean() < 4


def test_a_video_that_ends_early_gives_what_there_is_or_a_sentence(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "film.mp4", [clips.picture()] * 30)
    of = cut.source(path, None, LIMITS)
    clip = cut.cut(of, Track(20, np.tile(FULL, (14, 1)), 0.), 0., 12, LIMITS, tmp_path)
    assert len(clip.boxes) == 10 and len(shown(clip, tmp_path)) == 10
    for first in (25, 400):
        with pytest.raises(RejectedItem, match=r"the video ends at 1.2 s") as found:
            cut.cut(of, Track(first, np.tile(FULL, (14, 1)), 0.), 0., 12, LIMITS, tmp_path)
        assert found.value.status == "too-short"


def test_damage_inside_a_video_is_seen(tmp_path: Path) -> None:
    data = bytearray(made_site.film(tmp_path, 0))
    start = 3 * len(data) // 10
    data[start:start + 400] = bytes(400)  # over the ends of several pictures
    (tmp_path / "film.mp4").write_bytes(data)
    of = cut.source(tmp_path / "film.mp4", None, LIMITS)
    assert cut.cut(of, Track(0, np.tile(FULL, (70, 1)), 0.), 0., 12, LIMITS, tmp_path).damaged


def test_ffmpeg_writes_its_clip_and_nothing_else(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "film.mp4", [clips.picture()] * 10)
    before = set(tmp_path.rglob("*"))
    cut.cut(cut.source(path, path, LIMITS), Track(0, np.tile(FULL, (10, 1)), 0.), 0., 12, LIMITS, tmp_path)
    assert set(tmp_path.rglob("*")) == before
