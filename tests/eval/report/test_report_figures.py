"""The figures of the report: marked synthetic, without a date, the same bytes each time."""

import re

import numpy as np
import pytest
from made_report import PEOPLE, SIZE, build

from eval.report import person_figures, svg_plots, training_curves


def test_every_picture_of_faces_is_marked_synthetic_and_no_figure_carries_a_date(results, tmp_path):
    from PIL import Image

    build(results, tmp_path / "report")
    files = sorted((tmp_path / "report" / "figures").iterdir())
    pictures = [file for file in files if file.suffix == ".webp"]
    ends = ("0", "3", "loop", "sources", "still")
    assert [file.name for file in pictures] == [f"sample-{person}-{end}.webp" for person in PEOPLE for end in ends]
    for file in pictures:
        with Image.open(file) as picture:
            if file.stem.endswith("sources"):  # real frames, of people who may be real: not to be called synthetic
                assert "xmp" not in picture.info and not picture.getexif()
                continue
            assert b'synthetic="true"' in picture.info["xmp"] and b"compositeWithTrainedAlgorithmicMedia" in picture.info["xmp"]
            assert picture.getexif()[person_figures.DESCRIPTION] == person_figures.MARK and len(picture.getexif()) == 1
    plotted = [file for file in files if file.suffix == ".svg"]
    assert "sample-training-l_cnt.svg" in {file.name for file in plotted}
    assert [file.name for file in files if file not in plotted + pictures] == ["overview-sample.png"]
    assert not any("dc:date" in file.read_text() or "<dc:creator" in file.read_text() for file in plotted)


def test_a_loop_shows_the_hold_out_frames_in_the_order_and_at_the_pace_of_the_video(results, tmp_path):
    from PIL import Image

    build(results, tmp_path / "report")
    with Image.open(tmp_path / "report" / "figures" / "sample-p1-loop.webp") as loop:
        assert loop.n_frames == 4 and loop.info["loop"] == 0
        step = SIZE + person_figures.GAP
        assert loop.size == (4 * step - person_figures.GAP,
                             2 * step - person_figures.GAP)  # landmarks, truth, mean, ft; T = 1, 8
        truth, durations = [], []
        for j in range(4):
            loop.seek(j)
            shown = loop.convert("RGBA")
            durations.append(loop.info["duration"])
            truth.append(shown.getpixel((step + 8, 8))[0])
            assert shown.getpixel((3 * step + 8, 8))[3] == 0  # ft at T = 1 was never run
    assert durations == [100] * 4
    assert truth == pytest.approx([102, 115, 128, 140], abs=3)


def test_a_grid_shows_each_face_once_in_its_own_cell_and_nothing_between_them():
    faces = [np.eye(3, dtype=np.float32)[j].reshape(3, 1, 1).repeat(8, 1).repeat(8, 2) for j in range(3)]
    picture = np.asarray(person_figures.grid([[faces[0], faces[1]], [None, faces[2]]]))
    assert picture.shape == (18, 18, 4)
    for colour, (top, left) in zip(np.eye(3), ((0, 0), (0, 10), (10, 10))):
        where = np.argwhere((picture == [*(255 * colour), 255]).all(axis=2))
        assert len(where) == 64 and where.min(axis=0).tolist() == [top, left]
    assert (picture[..., 3] > 0).sum() == 3 * 64
    assert person_figures.grid([[np.zeros((3, 256, 256), np.float32)]]).size == (person_figures.LARGEST, person_figures.LARGEST)


def test_a_difference_map_is_dark_where_nothing_differs_and_brightest_from_a_set_difference_on():
    truth = np.full((3, 4, 4), 0.5, np.float32)
    image = truth.copy()
    image[:, 0, 0] += person_figures.BRIGHT
    image[:, 1, 1] -= 0.5
    found = person_figures.heat(image, truth)
    assert found[:, 2, 2].max() < 0.02 and found[:, 0, 0].tolist() == found[:, 1, 1].tolist() and found[:, 0, 0].mean() > 0.8


def test_the_same_results_give_the_same_bytes(results, tmp_path):
    for name in ("a", "b"):
        build(results, tmp_path / name)
    files = [sorted(path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*.*")) for name in ("a", "b")]
    assert files[0] == files[1] and len(files[0]) > 10
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files[0])


def test_a_plot_in_the_page_has_the_pages_colours_and_says_what_it_shows(tmp_path):
    mark = svg_plots.marks(["ft"], {"ft": "FT"})["ft"]
    with svg_plots.panel("a.svg", "SSIM <up>", "Some & words.", tmp_path) as (axes, made):
        axes.plot([1, 2], [3, 4], mark.marker, color=mark.colour)
    inside = svg_plots.inline(made[0])
    assert inside.startswith("<svg") and "<title>SSIM &lt;up&gt;</title>\n <desc>Some &amp; words.</desc>" in inside
    assert not re.search("#[0-9a-f]{6}", re.sub(r'(href|id)="[^"]*"', "", inside))
    assert f"var(--m{mark.colour_number})" in inside and "currentColor" in inside and 'role="img"' in inside
    assert "font-family" not in inside
    assert "#" in (tmp_path / "a.svg").read_text() and "var(" not in (tmp_path / "a.svg").read_text()


def test_scalars_are_read_from_the_training_log(tmp_path):
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "ssim.tsv").write_text("step\tssim\n0\t0.1\n5\t0.2\n")
    (tmp_path / "images.tsv").write_text("step\timages\n5\t40\n")
    assert training_curves.scalars(tmp_path) == {"eval/ssim": ([0, 5], [0.1, 0.2])}


def test_a_long_curve_is_averaged_down_and_keeps_its_mean():
    steps, values = training_curves.thinned((list(range(10_000)), [float(j % 7) for j in range(10_000)]))
    assert len(steps) == len(values) == training_curves.POINTS
    assert np.mean(values) == pytest.approx(np.mean([j % 7 for j in range(10_000)]))
    assert training_curves.thinned(([1, 2], [3.0, 4.0])) == ([1, 2], [3, 4])
