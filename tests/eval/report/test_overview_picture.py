"""The picture of the README: faces where they belong, and a mark that says which of them are synthetic."""

import numpy as np
from PIL import Image

from eval.report import overview_picture


def plain(value: float) -> np.ndarray:
    return np.full((3, 64, 64), value, np.float32)


def test_each_face_stands_in_its_row_and_column_and_the_file_says_that_it_is_synthetic(tmp_path):
    rows = [[plain(.1), plain(.2), plain(.3)], [plain(.4), plain(.5), plain(.6)]]
    overview_picture._save(overview_picture.sheet(rows, ["source", "FF", "truth"], "made"), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.text["synthetic"] == "true"
        assert "compositeWithTrainedAlgorithmicMedia" in picture.text["XML:com.adobe.xmp"]
        pixels = np.asarray(picture.convert("RGB"))
    step = overview_picture.SIDE + overview_picture.GAP
    assert pixels.shape == (2 * step + 2 * overview_picture.HEAD, 3 * step + overview_picture.GAP, 3)
    for k, row in enumerate(rows):
        for j, face in enumerate(row):
            y, x = overview_picture.HEAD + k * step, overview_picture.GAP + j * step
            assert (pixels[y:y + overview_picture.SIDE, x:x + overview_picture.SIDE] == np.rint(face[0, 0, 0] * 255)).all()
