"""Facts about reading videos: true times and numbers, nothing squashed, nothing hostile runs free."""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import made_clips as clips
import numpy as np
import pytest
from made_clips import LIMITS

from pipeline.core import image_ops
from pipeline.core.ledger import RejectedItem
from pipeline.media import sandbox, video


def moving(n: int) -> list[np.ndarray]:
    return [clips.picture([(30 + 2 * k, 60, 20)], tone=40 + 4 * k) for k in range(n)]


def test_numbers_and_seconds_are_those_of_an_independent_decoder(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "a.mp4", moving(40))
    chosen = video.spread(video.probe(path, LIMITS).times, 7)
    found = video.decode(path, chosen, LIMITS, 1280)
    with av.open(str(path)) as container:
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    for number, seconds, image in zip(found.numbers, found.seconds, found.images):
        assert seconds == pytest.approx(frames[number][0], abs=1e-5)
        errors = [np.abs(image.astype(int) - other).mean() for _, other in frames]
        assert int(np.argmin(errors)) == number


def test_chosen_pictures_are_evenly_spread_in_time_when_the_frame_rate_varies(tmp_path: Path) -> None:
    ticks = [*range(0, 1000, 20), *range(1000, 5000, 500)]  # 50 a second, then 2 a second
    path = clips.write(tmp_path / "vfr.mkv", [clips.picture(tone=20 + k) for k in range(len(ticks))], ticks=ticks)
    facts = video.probe(path, LIMITS)
    assert np.allclose(facts.times * 1000, ticks)
    found = video.decode(path, video.spread(facts.times, 5), LIMITS, 1280)
    assert np.allclose(found.seconds, facts.times[found.numbers])
    behind = (np.arange(5) + .5) / 5 * 4.58 - found.seconds  # the picture on screen at that time began then
    assert (behind >= 0).all() and (behind <= .5).all()
    assert np.allclose(found.images[:, 5, 5, 0], 20 + found.numbers, atol=2)


def test_a_rotated_phone_video_is_shown_upright(tmp_path: Path) -> None:
    upright = clips.picture([(50, 30, 12)], width=120, height=160)
    path = clips.write(tmp_path / "phone.mp4", [np.rot90(upright, 1).copy()] * 5, rotation=-90)
    image = video.decode(path, [0], LIMITS, 1280).images[0]
    assert image.shape == (160, 120, 3)
    assert np.abs(image.astype(int) - upright).mean() < 4


def test_pixels_that_are_not_square_are_made_square(tmp_path: Path) -> None:
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 80, 120, "yuv420p"
        stream.codec_context.sample_aspect_ratio = 2
        image = cv2.resize(clips.picture([(80, 60, 40)]), (80, 120), interpolation=cv2.INTER_AREA)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode(None))
    box = clips.detect(video.decode(path, [0], LIMITS, 1280).images)[0][0]
    assert box[2] - box[0] == pytest.approx(box[3] - box[1], abs=2)


def test_large_pictures_are_scaled_down_evenly(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "a.mp4", [clips.picture([(100, 100, 60)], width=320, height=240)] * 2)
    found = video.decode(path, [0, 1], LIMITS, 160)
    assert found.images.shape == (2, 120, 160, 3) and found.scale == .5
    x0, y0, x1, y1, _ = clips.detect(found.images)[0][0]
    assert np.allclose([x0, y0, x1, y1], [20, 20, 80, 80], atol=1.5)


def test_fewer_pictures_than_asked_for_means_all_of_them() -> None:
    assert video.spread(np.arange(5) / 25, 8).tolist() == [0, 1, 2, 3, 4]


def test_a_transport_stream_with_a_named_service_is_read(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "a.ts", moving(12), codec="mpeg2video")  # as ffmpeg writes it; it crashed there
    chosen = video.spread(video.probe(path, LIMITS).times, 4)
    assert video.decode(path, chosen, LIMITS, 1280).numbers.tolist() == chosen.tolist()


def test_a_title_in_no_known_alphabet_is_no_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt, container.metadata["title"] = 160, 120, "yuv420p", "TTTT"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(clips.picture(), "rgb24")))
        container.mux(stream.encode(None))
    path.write_bytes(path.read_bytes().replace(b"TTTT", b"\xe9t\xe9\xff"))
    assert len(video.probe(path, LIMITS).times) == 1


def test_a_picture_too_narrow_to_be_scaled_down_is_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "strip.y4m"
    path.write_bytes(b"YUV4MPEG2 W2 H8000 F25:1 Ip A1:1 C420jpeg\n" + (b"FRAME\n" + bytes(24000)) * 4)
    with pytest.raises(RejectedItem, match="2x8000 pixels"):
        video.decode(path, [0, 1], LIMITS, 720)


def test_what_a_process_prints_is_kept_up_to_a_bound_and_it_may_print_on() -> None:
    code = "import sys; sys.stdout.write('o' * 3_000_000); sys.stderr.write('e' * 20_000_000)"
    done = video._limited([sys.executable, "-c", code], LIMITS, 1_000_000)
    assert (done.returncode, len(done.stdout), len(done.stderr)) == (0, 1_000_000, sandbox.PRINTED)


def test_a_process_that_stays_silent_is_ended_by_the_clock() -> None:
    start = time.monotonic()
    code = "import os, time; os.close(1); os.close(2); time.sleep(60)"
    with pytest.raises(RejectedItem, match="wall time"):
        video._limited([sys.executable, "-c", code], LIMITS.model_copy(update={"seconds": 1}))
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("n, count", [(9, 8), (100, 32), (17, 16), (1000, 1)])
def test_spread_gives_different_ascending_numbers(n: int, count: int) -> None:
    rng = np.random.default_rng(n)
    numbers = video.spread(np.sort(rng.exponential(size=n).cumsum() * rng.integers(1, 9, n)), count)
    assert len(numbers) == count and (np.diff(numbers) > 0).all() and numbers[0] >= 0 and numbers[-1] < n


def test_a_circle_stays_a_circle_where_the_box_leaves_the_picture() -> None:
    crop = image_ops.crop(clips.picture([(20, 60, 15)]), (-20, 20, 60, 100), 64)
    red = (crop[..., 0].astype(int) - crop[..., 1]) > 100
    rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
    assert abs(len(rows) - 24) <= 1 and abs(len(columns) - 24) <= 1
    assert (rows.mean(), columns.mean()) == pytest.approx((31.5, 31.5), abs=.6)
    assert (crop[:, :2] == 60).all()  # padding repeats the border


def test_cropping_down_is_the_exact_area_average() -> None:
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    means = image[16:80, 8:72].reshape(16, 4, 16, 4, 3).mean((1, 3))
    assert np.abs(image_ops.crop(image, (8, 16, 72, 80), 16) - means).max() <= .51


def test_a_fractional_box_moves_a_ramp_by_its_fraction() -> None:
    ramp = np.repeat(np.tile(np.arange(0, 200, 2, dtype=np.uint8), (100, 1))[..., None], 3, 2)
    for shift in (0, .25, .5, .75):
        for size in (20, 40, 80):  # down, same, up
            crop = image_ops.crop(ramp, (20 + shift, 20, 60 + shift, 60), size).astype(float)
            expected = 2 * (20 + shift + (np.arange(size) + .5) * 40 / size - .5)
            assert np.abs(crop[10, 4:-4, 0] - expected[4:-4]).max() <= .6


def test_fine_stripes_average_out_instead_of_aliasing() -> None:
    stripes = np.zeros((120, 120, 3), np.uint8)
    stripes[:, ::2] = 255
    assert image_ops.crop(stripes, (3.3, 3.3, 113.3, 113.3), 32).std() < 20  # 3.4 pixels an output pixel
    assert cv2.resize(stripes, (32, 32), interpolation=cv2.INTER_NEAREST).std() > 100


def test_points_move_with_the_crop() -> None:
    image = clips.picture([(80, 60, 6)])
    box = (48.3, 30.7, 108.3, 90.7)
    crop = image_ops.crop(image, box, 128)
    weight = np.clip(crop[..., 0].astype(float) - crop[..., 1], 0, None)
    seen = np.array([(weight * np.arange(128)).sum(), (weight * np.arange(128)[:, None]).sum()]) / weight.sum()
    assert np.allclose(image_ops.to_crop(np.array([80, 60.]), box, 128), seen, atol=.3)


def test_png_is_lossless() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    assert (image_ops.from_png(image_ops.to_png(image)) == image).all()


@pytest.mark.parametrize("name, content", [
    ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"),
    ("list.mp4", "ffconcat version 1.0\nfile '{}'\n"),
    ("list.mpd", '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{}</BaseURL></MPD>')])
def test_a_playlist_cannot_make_us_read_another_file(tmp_path: Path, name: str, content: str) -> None:
    good = clips.write(tmp_path / "good.mp4", moving(5))
    path = tmp_path / name
    path.write_text(content.format(good.name))
    with pytest.raises(RejectedItem, match="not a readable video"):
        video.probe(path, LIMITS)
    with pytest.raises(RejectedItem, match="no frame"):
        video.decode(path, [0], LIMITS, 1280)


def test_sizes_are_refused_before_decoding(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "a.mp4", moving(5))
    with pytest.raises(RejectedItem, match="160x120 pixels, more than the 19199 allowed") as found:
        video.probe(path, LIMITS.model_copy(update={"pixels": 160 * 120 - 1}))
    assert found.value.status == "too-large"
    with pytest.raises(RejectedItem, match="no frame"):  # the decoder itself holds the cap too
        video.decode(path, [0], LIMITS.model_copy(update={"pixels": 4000}), 1280)
    with pytest.raises(RejectedItem, match="more than the 4 frames") as found:
        video.probe(path, LIMITS.model_copy(update={"frames": 4}))
    assert found.value.status == "too-large"


def test_a_file_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    pipe = tmp_path / "never.mp4"
    clips.write(pipe, moving(5))
    with pytest.raises(RejectedItem, match="processor time") as found:
        video._limited([sys.executable, "-c", "while True: pass"], LIMITS.model_copy(update={"seconds": 1}))
    assert found.value.status == "timeout"


def test_limits_hold_and_nothing_can_be_written(tmp_path: Path) -> None:
    def ends(code: str) -> int:
        return video._limited([sys.executable, "-c", code], LIMITS.model_copy(update={"memory": 512})).returncode

    assert ends("pass") == 0
    assert ends("bytearray(2**30)") != 0
    assert ends(f"import os; os.write(os.open({str(tmp_path / 'x')!r}, os.O_CREAT | os.O_WRONLY), b'x')") != 0
    assert (tmp_path / "x").stat().st_size == 0
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 0  # this process is as it was


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_the_limited_process_ends_with_its_parent(tmp_path: Path) -> None:
    code = ("from pipeline import video; import sys; from made_clips import LIMITS; "
            "video._limited([sys.executable, '-c', \"import os, time; print(os.getpid(), file=open('/dev/stderr', 'w')); "
            "os.execv('/bin/sleep', ['sleep', '30'])\"], LIMITS)")
    root = Path(__file__).resolve().parents[3]
    env = os.environ | {"PYTHONPATH": f"{root}:{root / 'tests'}"}
    parent = subprocess.Popen([sys.executable, "-c", code], env=env)
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    for _ in range(200):
        found = children.read_text().split()
        if found and "sleep" in Path(f"/proc/{found[0]}/cmdline").read_text():
            break
        time.sleep(.05)
    parent.kill()
    parent.wait()
    for _ in range(100):
        state = Path(f"/proc/{found[0]}/stat")
        if not state.exists() or state.read_text().split(")")[1].split()[0] == "Z":
            return
        time.sleep(.05)
    pytest.fail("the decoder outlived its parent")
